/**
 * Notes for an agent that may be offline: encrypted for one recipient, short
 * enough for one record.
 *
 * Each note is sealed with a fresh key pair. The recipient's Ed25519 key is
 * used as an X25519 key (RFC 7748) through the birational map between the two
 * curves. HKDF-SHA-256 (RFC 5869) turns the shared secret into the key of
 * AES-256-GCM.
 *
 * @since 0.1.0
 */
import { gcm } from "@noble/ciphers/aes.js"
import { ed25519, x25519 } from "@noble/curves/ed25519.js"
import { hkdf } from "@noble/hashes/hkdf.js"
import { sha256 } from "@noble/hashes/sha2.js"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Address from "./Address.ts"
import { CannotDecrypt, InvalidRecord } from "./DhtError.ts"
import type { Identity } from "./Identity.ts"
import * as Cbor from "./wire/cbor.ts"
import { tooLong } from "./wire/fields.ts"

/**
 * The payload of a mailbox record: recipient, sender and encrypted message.
 * `ephemeralPublicKey` is an X25519 key of 32 bytes, `nonce` 12 bytes, and the
 * last 16 bytes of `ciphertext` are its tag.
 *
 * @category models
 * @since 0.1.0
 */
export interface Note {
  readonly recipient: Address.Address
  readonly sender: Address.Address
  readonly ephemeralPublicKey: Uint8Array
  readonly ciphertext: Uint8Array
  readonly nonce: Uint8Array
}

/**
 * Kinds of message. Programs may use other types, up to 255.
 *
 * @category constants
 * @since 0.1.0
 */
export const MessageType = { connectRequest: 1, candidates: 2, text: 3 } as const

/**
 * The longest payload, in bytes.
 *
 * @category constants
 * @since 0.1.0
 */
export const maxPayload = 512

/**
 * The longest body of a message, in bytes; one byte less for a type above 23.
 *
 * @category constants
 * @since 0.1.0
 */
export const maxBody = 389

/**
 * Decodes a payload. The note's byte fields are views of it. The ciphertext is
 * not examined; the caller must check that the sender is the record's address.
 *
 * @category encoding
 * @since 0.1.0
 */
export const decode = (payload: Uint8Array): Result.Result<Note, InvalidRecord> => {
  if (payload.length > maxPayload) return invalid(`the note is ${payload.length} bytes, the limit is ${maxPayload}`)
  const reader = new Cbor.Reader(payload)
  const fields = readFields(reader)
  const recipient = Address.fromBytes(fields.get(1) ?? none)
  const sender = Address.fromBytes(fields.get(2) ?? none)
  const ephemeralPublicKey = fields.get(3) ?? none
  const ciphertext = fields.get(4)
  const nonce = fields.get(5) ?? none
  const fault = reader.finish()
  if (fault !== undefined) return invalid(fault)
  if (Result.isFailure(recipient)) return invalid("the recipient is not an address")
  if (Result.isFailure(sender)) return invalid("the sender is not an address")
  if (ephemeralPublicKey.length !== 32) return invalid("the ephemeral key is not 32 bytes")
  if (ciphertext === undefined) return invalid("the ciphertext is missing")
  if (nonce.length !== 12) return invalid("the nonce is not 12 bytes")
  return Result.succeed({
    recipient: recipient.success,
    sender: sender.success,
    ephemeralPublicKey,
    ciphertext,
    nonce
  })
}

/**
 * Encodes a payload.
 *
 * @category encoding
 * @since 0.1.0
 */
export const encode = (note: Note): Uint8Array => {
  const writer = new Cbor.Writer(maxPayload)
  writer.map(5)
  writer.uint(1)
  writer.hexString(note.recipient)
  writer.uint(2)
  writer.hexString(note.sender)
  writer.uint(3)
  writer.byteString(note.ephemeralPublicKey)
  writer.uint(4)
  writer.byteString(note.ciphertext)
  writer.uint(5)
  writer.byteString(note.nonce)
  return writer.result()
}

/**
 * Encrypts a message and returns the payload that carries it. The caller gives
 * the randomness, fresh for each note: 32 bytes of `ephemeralSeed` and 12 of
 * `nonce`. `recipientPublicKey` is the recipient's Ed25519 key (32 bytes);
 * `type` is at most 255. Fails if the key cannot be used or the body does not
 * fit. Throws a `RangeError` for randomness of another length.
 *
 * @example
 * ```ts run
 * import { Crypto, Identity, Mailbox } from "effect-dht"
 * import * as Result from "effect/Result"
 *
 * const [ann, ben] = [1, 2].map((n) => Identity.fromSeed(Crypto.noble, new Uint8Array(32).fill(n)))
 * const payload = Mailbox.seal({
 *   sender: ann.address,
 *   recipient: ben.address,
 *   recipientPublicKey: ben.publicKey,
 *   type: Mailbox.MessageType.text,
 *   body: new TextEncoder().encode("See you at noon"),
 *   // Use fresh bytes from a secure source each time: these are for show.
 *   ephemeralSeed: new Uint8Array(32).fill(3),
 *   nonce: new Uint8Array(12)
 * })
 * const note = Result.getOrThrow(Result.flatMap(payload, Mailbox.decode))
 * const { body } = Result.getOrThrow(Mailbox.open({ note, identity: ben }))
 * console.log(new TextDecoder().decode(body)) // => See you at noon
 * console.log(Result.isFailure(Mailbox.open({ note, identity: ann }))) // => true
 * ```
 *
 * @category encryption
 * @since 0.1.0
 */
export const seal = (options: {
  readonly sender: Address.Address
  readonly recipient: Address.Address
  readonly recipientPublicKey: Uint8Array
  readonly type: number
  readonly body: Uint8Array
  readonly ephemeralSeed: Uint8Array
  readonly nonce: Uint8Array
}): Result.Result<Uint8Array, InvalidRecord> => {
  const { ephemeralSeed, nonce, recipient, sender } = options
  if (ephemeralSeed.length !== 32) throw new RangeError(`ephemeralSeed is 32 bytes, got ${ephemeralSeed.length}`)
  if (nonce.length !== 12) throw new RangeError(`nonce is 12 bytes, got ${nonce.length}`)
  const ephemeralPublicKey = x25519.getPublicKey(ephemeralSeed)
  const secret = agree(ephemeralSeed, () => ed25519.utils.toMontgomery(options.recipientPublicKey))
  if (secret === undefined) return invalid("the recipient's public key cannot be used for encryption")
  if (!isType(options.type)) return invalid(`${options.type} is not a message type: use 0 to 255`)
  const limit = maxBody - (Cbor.uintSize(options.type) - 1)
  const size = options.body.length
  if (size > limit) return Result.fail(tooLong({ field: "body", size, limit, unit: "bytes" }))
  const ciphertext = gcm(keyOf(secret, sender, recipient), nonce).encrypt(encodeMessage(options.type, options.body))
  return Result.succeed(encode({ recipient, sender, ephemeralPublicKey, ciphertext, nonce }))
}

/**
 * The content of a note. `type` is one of {@link MessageType} or any other
 * number up to 255.
 *
 * @category models
 * @since 0.1.0
 */
export interface Message {
  readonly type: number
  readonly body: Uint8Array
  readonly sender: Address.Address
}

/**
 * Decrypts a note with the recipient's private key. Both addresses are
 * authenticated, so a note under another name does not decrypt.
 *
 * @category encryption
 * @since 0.1.0
 */
export const open = (options: {
  readonly note: Note
  readonly identity: Identity
}): Result.Result<Message, CannotDecrypt> => {
  const { ciphertext, ephemeralPublicKey, nonce, recipient, sender } = options.note
  const privateKey = ed25519.utils.toMontgomerySecret(Redacted.value(options.identity.seed))
  const secret = agree(privateKey, () => ephemeralPublicKey)
  if (secret === undefined) return Result.fail(new CannotDecrypt({ reason: "the ephemeral key is unusable" }))
  const plaintext = orUndefined(() => gcm(keyOf(secret, sender, recipient), nonce).decrypt(ciphertext))
  if (plaintext === undefined) {
    return Result.fail(new CannotDecrypt({ reason: "it is for another recipient, or was modified in transit" }))
  }
  const message = decodeMessage(plaintext)
  return typeof message === "string"
    ? Result.fail(new CannotDecrypt({ reason: message }))
    : Result.succeed({ ...message, sender })
}

// --- Encoding ----------------------------------------------------------------

const none = new Uint8Array(0)

/** Reads the byte strings of keys 1 to 5, and skips keys that later versions may add. */
const readFields = (reader: Cbor.Reader): ReadonlyMap<number, Uint8Array> => {
  const fields = new Map<number, Uint8Array>()
  reader.fields((key) => {
    if (key < 1 || key > 5) return false
    fields.set(key, reader.byteString())
    return true
  })
  return fields
}

const isType = (type: number): boolean => Number.isInteger(type) && type >= 0 && type <= 0xff

/** The plaintext: a map of type and body. */
const encodeMessage = (type: number, body: Uint8Array): Uint8Array => {
  const writer = new Cbor.Writer()
  writer.map(2)
  writer.uint(1)
  writer.uint(type, 0xff)
  writer.uint(2)
  writer.byteString(body)
  return writer.result()
}

const decodeMessage = (plaintext: Uint8Array): { readonly type: number; readonly body: Uint8Array } | string => {
  const reader = new Cbor.Reader(plaintext)
  let type = -1
  let body: Uint8Array | undefined
  reader.fields((key) => {
    if (key === 1) type = reader.uint(0xff)
    // Go writes null for bytes that were never set.
    else if (key === 2) body = reader.null() ? none : reader.byteString()
    else return false
    return true
  })
  const fault = reader.finish()
  if (fault !== undefined) return fault
  return type === -1 || body === undefined ? "the message lacks its type or its body" : { type, body }
}

const invalid = (reason: string): Result.Result<never, InvalidRecord> => Result.fail(new InvalidRecord({ reason }))

// --- Keys --------------------------------------------------------------------

const salt = new TextEncoder().encode("a2al-mailbox\0")

const keyOf = (secret: Uint8Array, sender: Address.Address, recipient: Address.Address): Uint8Array => {
  const info = new Uint8Array(2 * Address.length)
  info.set(Address.toBytes(sender))
  info.set(Address.toBytes(recipient), Address.length)
  return hkdf(sha256, secret, salt, info, 32)
}

/**
 * Returns the shared secret of a private and a public X25519 key; undefined if
 * the public key is invalid, or of small order and so gives everyone the same
 * secret.
 */
const agree = (privateKey: Uint8Array, publicKey: () => Uint8Array): Uint8Array | undefined =>
  orUndefined(() => x25519.getSharedSecret(privateKey, publicKey()))

// The libraries throw for invalid keys and for modified ciphertext; here both
// are values.
const orUndefined = <A>(evaluate: () => A): A | undefined => {
  try {
    return evaluate()
  } catch {
    return undefined
  }
}
