/**
 * The primitives in native code. Separate from `NodeCrypto`, so that a worker
 * thread that only verifies signatures loads nothing else.
 *
 * @since 0.1.0
 */
import * as Crypto from "node:crypto"
import { createRequire } from "node:module"
import type { Encryption, Provider } from "../../Crypto.ts"
import { assertSeed, isSound, isStrict } from "../../internal/ed25519Strict.ts"
import * as ExchangeKeys from "../../internal/exchangeKeys.ts"
import * as Hex from "../../internal/hex.ts"
import * as Hkdf from "../../internal/hkdf.ts"
import { orUndefined } from "../../internal/orUndefined.ts"
import { RecencyMap } from "../../internal/recencyMap.ts"

// --- Encryption ----------------------------------------------------------------

/** OpenSSL's for both providers: libsodium has AES only where the processor has. */
const cipher: Pick<Encryption, "deriveKey" | "encrypt" | "decrypt"> = {
  deriveKey: Hkdf.derive,
  encrypt: (key, nonce, plaintext) => {
    const encryption = Crypto.createCipheriv("aes-256-gcm", key, nonce)
    const parts = [encryption.update(plaintext), encryption.final()]
    return new Uint8Array(Buffer.concat([...parts, encryption.getAuthTag()]))
  },
  decrypt: (key, nonce, ciphertext) => {
    const tagAt = ciphertext.length - tagLength
    if (tagAt < 0) return undefined
    return orUndefined(() => {
      const decryption = Crypto.createDecipheriv("aes-256-gcm", key, nonce)
      decryption.setAuthTag(ciphertext.subarray(tagAt))
      return new Uint8Array(Buffer.concat([decryption.update(ciphertext.subarray(0, tagAt)), decryption.final()]))
    })
  }
}

/** Bytes of the tag that ends a ciphertext. */
const tagLength = 16

// --- libsodium ---------------------------------------------------------------

/** The parts of `sodium-native` in use; the package has no types. */
interface Sodium {
  readonly crypto_sign_seed_keypair: (publicKey: Uint8Array, secretKey: Uint8Array, seed: Uint8Array) => void
  readonly crypto_sign_detached: (signature: Uint8Array, message: Uint8Array, secretKey: Uint8Array) => void
  readonly crypto_sign_verify_detached: (
    signature: Uint8Array,
    message: Uint8Array,
    publicKey: Uint8Array
  ) => boolean
  readonly crypto_sign_ed25519_pk_to_curve25519: (exchangeKey: Uint8Array, publicKey: Uint8Array) => void
  readonly crypto_scalarmult_base: (publicKey: Uint8Array, privateKey: Uint8Array) => void
  readonly crypto_scalarmult: (secret: Uint8Array, privateKey: Uint8Array, publicKey: Uint8Array) => void
}

const loadSodium = (): Sodium | undefined => {
  try {
    return createRequire(import.meta.url)("sodium-native")
  } catch {
    return undefined
  }
}

const sodiumExchangeKey = (lib: Sodium): Encryption["exchangeKey"] =>
  ExchangeKeys.make((privateKey) => ({
    publicKey: () => {
      const publicKey = new Uint8Array(32)
      lib.crypto_scalarmult_base(publicKey, privateKey)
      return publicKey
    },
    agree: (publicKey) =>
      orUndefined(() => {
        const secret = new Uint8Array(32)
        lib.crypto_scalarmult(secret, privateKey, publicKey)
        return secret
      })
  }))

/** Undefined for a key that libsodium refuses: one of composite order, or that is not a point of the curve. */
const convertBySodium = (lib: Sodium, publicKey: Uint8Array): Uint8Array | undefined =>
  orUndefined(() => {
    const exchangeKey = new Uint8Array(32)
    lib.crypto_sign_ed25519_pk_to_curve25519(exchangeKey, publicKey)
    return exchangeKey
  })

const makeSodium = (lib: Sodium, exchangeKey = sodiumExchangeKey(lib)): Provider => ({
  ...cipher,
  name: "sodium",
  exchangeKey,
  // A third of the time of the portable conversion. Libsodium would reduce a y that is not below the field's prime.
  toExchangeKey: ExchangeKeys.converter((publicKey) =>
    isSound(publicKey) && convertBySodium(lib, publicKey) || ExchangeKeys.convertPortably(publicKey)
  ),
  signingKey: (seed) => {
    assertSeed(seed)
    const publicKey = new Uint8Array(32)
    const secretKey = new Uint8Array(64)
    lib.crypto_sign_seed_keypair(publicKey, secretKey, seed)
    return {
      publicKey,
      sign: (message) => {
        const signature = new Uint8Array(64)
        lib.crypto_sign_detached(signature, message, secretKey)
        return signature
      },
      exchangeKey: exchangeKey(ExchangeKeys.privateKeyOf(seed))
    }
  },
  verify: (publicKey, message, signature) =>
    isStrict(publicKey, signature) && lib.crypto_sign_verify_detached(signature, message, publicKey)
})

const lib = loadSodium()

/**
 * @internal
 */
export const sodium: Provider | undefined = lib === undefined ? undefined : makeSodium(lib)

// --- OpenSSL -----------------------------------------------------------------

type Curve = "Ed25519" | "X25519"

/** PKCS #8 prefixes of a 32-byte private key (RFC 8410). */
const pkcs8: { readonly [curve in Curve]: Uint8Array } = {
  Ed25519: Hex.decode("302e020100300506032b657004220420"),
  X25519: Hex.decode("302e020100300506032b656e04220420")
}

const privateKeyOf = (curve: Curve, privateKey: Uint8Array): Crypto.KeyObject =>
  Crypto.createPrivateKey({ key: Buffer.concat([pkcs8[curve], privateKey]), format: "der", type: "pkcs8" })

const publicKeyOf = (curve: Curve, publicKey: Uint8Array): Crypto.KeyObject =>
  Crypto.createPublicKey({
    key: { kty: "OKP", crv: curve, x: Buffer.from(publicKey).toString("base64url") },
    format: "jwk"
  })

/** The public key of a private key, 32 bytes. */
const exported = (privateKey: Crypto.KeyObject): Uint8Array =>
  new Uint8Array(Crypto.createPublicKey(privateKey).export({ format: "der", type: "spki" }).subarray(-32))

const exchangeKey: Encryption["exchangeKey"] = ExchangeKeys.make((bytes) => {
  const privateKey = privateKeyOf("X25519", bytes)
  return {
    publicKey: () => exported(privateKey),
    // OpenSSL refuses a secret of zeros, which a public key of small order gives.
    agree: (publicKey) =>
      orUndefined(() =>
        new Uint8Array(Crypto.diffieHellman({ privateKey, publicKey: publicKeyOf("X25519", publicKey) }))
      )
  }
})

/** Parsed public keys by their hex text: parsing takes a third as long as verifying. */
const publicKeys = new RecencyMap<string, Crypto.KeyObject>(1024)

/**
 * @internal
 */
export const openssl: Provider = {
  ...cipher,
  name: "openssl",
  exchangeKey,
  toExchangeKey: ExchangeKeys.converter(ExchangeKeys.convertPortably),
  signingKey: (seed) => {
    assertSeed(seed)
    const key = privateKeyOf("Ed25519", seed)
    return {
      publicKey: exported(key),
      sign: (message) => new Uint8Array(Crypto.sign(null, message, key)),
      exchangeKey: exchangeKey(ExchangeKeys.privateKeyOf(seed))
    }
  },
  verify: (publicKey, message, signature) =>
    isStrict(publicKey, signature) &&
    Crypto.verify(
      null,
      message,
      publicKeys.use(Hex.encode(publicKey), () => publicKeyOf("Ed25519", publicKey)),
      signature
    )
}

/**
 * @internal
 */
export const fastest: Provider = sodium ?? openssl
