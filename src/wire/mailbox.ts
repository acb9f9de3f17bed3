/**
 * The payload of a mailbox record: a message of an agent, encrypted for one
 * recipient.
 *
 * Each message is encrypted with a fresh key pair. The recipient's Ed25519 key
 * is used as an X25519 key (RFC 7748) through the birational map between the
 * two curves. HKDF-SHA-256 (RFC 5869) turns the shared secret into the key of
 * AES-256-GCM.
 *
 * @since 0.1.0
 */
import * as Address from "../Address.ts"
import type { Encryption, ExchangeKey } from "../Crypto.ts"
import * as Cbor from "./cbor.ts"
import { limits } from "./payload.ts"
import { bytes, type Codec, expected, Struct, uint } from "./struct.ts"

/**
 * An encrypted message: the payload of a mailbox record, decoded.
 *
 * @category models
 * @since 0.1.0
 */
export interface SealedMessage {
  readonly recipient: Address.Address
  readonly sender: Address.Address
  /** An X25519 key, 32 bytes. */
  readonly ephemeralPublicKey: Uint8Array
  /** The last 16 bytes are its tag. */
  readonly ciphertext: Uint8Array
  /** 12 bytes. */
  readonly nonce: Uint8Array
}

/**
 * What the ciphertext contains.
 *
 * @internal
 */
export interface Content {
  readonly type: number
  readonly body: Uint8Array
}

/**
 * The largest type of a message.
 *
 * @internal
 */
export const maxType = 0xff

const none = new Uint8Array(0)

/** An address, whose form is checked after all fields. */
const addressBytes: Codec<Uint8Array, Address.Address> = {
  read: bytes.read,
  write: (writer, address) => writer.hexString(address)
}

const fields = new Struct({
  recipient: expected(1, addressBytes, none),
  sender: expected(2, addressBytes, none),
  ephemeralPublicKey: expected(3, bytes, none),
  ciphertext: expected(4, bytes, undefined),
  nonce: expected(5, bytes, none)
})

/**
 * Reads a payload; returns the fault as text. The byte fields are views of the
 * payload. The ciphertext is not examined.
 *
 * @internal
 */
export const read = (payload: Uint8Array): SealedMessage | string => {
  if (payload.length > limits.mailbox) return `the message is ${payload.length} bytes, the limit is ${limits.mailbox}`
  const reader = new Cbor.Reader(payload)
  const { ciphertext, ephemeralPublicKey, nonce, recipient, sender } = fields.read(reader)
  const fault = reader.finish()
  if (fault !== undefined) return fault
  if (Address.faultOf(recipient) !== undefined) return "the recipient is not an address"
  if (Address.faultOf(sender) !== undefined) return "the sender is not an address"
  if (ephemeralPublicKey.length !== 32) return "the ephemeral key is not 32 bytes"
  if (ciphertext === undefined) return "the ciphertext is missing"
  if (nonce.length !== 12) return "the nonce is not 12 bytes"
  return {
    recipient: Address.fromBytesUnsafe(recipient),
    sender: Address.fromBytesUnsafe(sender),
    ephemeralPublicKey,
    ciphertext,
    nonce
  }
}

/**
 * Writes a payload.
 *
 * @internal
 */
export const write = (message: SealedMessage): Uint8Array => fields.encode(message)

const content = new Struct({
  type: expected(1, uint(maxType), undefined),
  // Go writes null for bytes that were never set.
  body: expected(2, { ...bytes, read: (reader) => reader.null() ? none : reader.byteString() }, undefined)
})

/**
 * Reads the plaintext of a message: a map of type and body. Returns the fault
 * as text.
 *
 * @internal
 */
export const readContent = (plaintext: Uint8Array): Content | string => {
  const reader = new Cbor.Reader(plaintext)
  const { body, type } = content.read(reader)
  const fault = reader.finish()
  if (fault !== undefined) return fault
  return type === undefined || body === undefined ? "the message lacks its type or its body" : { type, body }
}

/**
 * Writes the plaintext of a message.
 *
 * @internal
 */
export const writeContent = (message: Content): Uint8Array => content.encode(message)

/**
 * Encrypts a plaintext to a recipient's Ed25519 key (32 bytes), with fresh
 * randomness: 32 bytes of `ephemeralSeed` and 12 of `nonce`. Undefined if the
 * key cannot be used.
 *
 * @internal
 */
export const encrypt = (
  plaintext: Uint8Array,
  { crypto, ephemeralSeed, nonce, recipient, recipientPublicKey, sender }:
    & Pick<SealedMessage, "recipient" | "sender" | "nonce">
    & { readonly crypto: Encryption; readonly recipientPublicKey: Uint8Array; readonly ephemeralSeed: Uint8Array }
): SealedMessage | undefined => {
  const exchangeKey = crypto.toExchangeKey(recipientPublicKey)
  const ephemeral = crypto.exchangeKey(ephemeralSeed)
  const secret = exchangeKey && ephemeral.agree(exchangeKey)
  return secret && {
    recipient,
    sender,
    ephemeralPublicKey: ephemeral.publicKey,
    ciphertext: crypto.encrypt(keyOf(crypto, secret, { sender, recipient }), nonce, plaintext),
    nonce
  }
}

/**
 * Decrypts a message with the recipient's key; returns the fault as text.
 *
 * @internal
 */
export const decrypt = (message: SealedMessage, key: ExchangeKey, crypto: Encryption): Uint8Array | string => {
  const { ciphertext, ephemeralPublicKey, nonce } = message
  const secret = key.agree(ephemeralPublicKey)
  if (secret === undefined) return "the ephemeral key is unusable"
  const plaintext = crypto.decrypt(keyOf(crypto, secret, message), nonce, ciphertext)
  return plaintext ?? "it is for another recipient, or was modified in transit"
}

const salt = new TextEncoder().encode("a2al-mailbox\0")

/** The key of the cipher, to which both addresses contribute, so that neither can be replaced. */
const keyOf = (
  crypto: Encryption,
  secret: Uint8Array,
  { recipient, sender }: Pick<SealedMessage, "recipient" | "sender">
): Uint8Array => {
  const info = new Uint8Array(2 * Address.length)
  info.set(Address.toBytes(sender))
  info.set(Address.toBytes(recipient), Address.length)
  return crypto.deriveKey(secret, salt, info)
}
