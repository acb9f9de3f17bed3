/**
 * Ed25519 in native code. Separate from `NodeCrypto`, so that a worker thread
 * that only verifies signatures loads nothing else.
 *
 * @since 0.1.0
 */
import * as Crypto from "node:crypto"
import { createRequire } from "node:module"
import type { Ed25519 } from "../../Crypto.ts"
import { assertSeed, isStrict } from "../../internal/ed25519Strict.ts"
import * as Hex from "../../internal/hex.ts"
import { RecencyMap } from "../../internal/recencyMap.ts"

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
}

const loadSodium = (): Sodium | undefined => {
  try {
    return createRequire(import.meta.url)("sodium-native")
  } catch {
    return undefined
  }
}

const makeSodium = (lib: Sodium): Ed25519 => ({
  name: "sodium",
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
      }
    }
  },
  verify: (publicKey, message, signature) =>
    isStrict(publicKey, signature) && lib.crypto_sign_verify_detached(signature, message, publicKey)
})

const lib = loadSodium()

/**
 * @internal
 */
export const sodium: Ed25519 | undefined = lib === undefined ? undefined : makeSodium(lib)

// --- OpenSSL -----------------------------------------------------------------

/** PKCS #8 prefix of a 32-byte seed (RFC 8410). */
const pkcs8 = Hex.decode("302e020100300506032b657004220420")

const privateKeyOf = (seed: Uint8Array): Crypto.KeyObject =>
  Crypto.createPrivateKey({ key: Buffer.concat([pkcs8, seed]), format: "der", type: "pkcs8" })

const publicKeyOf = (publicKey: Uint8Array): Crypto.KeyObject =>
  Crypto.createPublicKey({
    key: { kty: "OKP", crv: "Ed25519", x: Buffer.from(publicKey).toString("base64url") },
    format: "jwk"
  })

/** Parsed public keys by their hex text: parsing takes a third as long as verifying. */
const publicKeys = new RecencyMap<string, Crypto.KeyObject>(1024)

/**
 * @internal
 */
export const openssl: Ed25519 = {
  name: "openssl",
  signingKey: (seed) => {
    assertSeed(seed)
    const key = privateKeyOf(seed)
    return {
      publicKey: new Uint8Array(Crypto.createPublicKey(key).export({ format: "der", type: "spki" }).subarray(-32)),
      sign: (message) => new Uint8Array(Crypto.sign(null, message, key))
    }
  },
  verify: (publicKey, message, signature) =>
    isStrict(publicKey, signature) &&
    Crypto.verify(null, message, publicKeys.use(Hex.encode(publicKey), () => publicKeyOf(publicKey)), signature)
}

/**
 * @internal
 */
export const fastest: Ed25519 = sodium ?? openssl
