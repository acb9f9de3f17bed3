/**
 * Encrypted messages as values: sealing one for a recipient, opening one that
 * came in a record, and choosing the key to encrypt to. `Mail` sends and reads
 * them through a node, `browser/Agent` through a gateway.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import * as Result from "effect/Result"
import * as Address from "../Address.ts"
import { noble, type Provider } from "../Crypto.ts"
import * as Delegation from "../Delegation.ts"
import type { Identity } from "../Identity.ts"
import { RecencyMap } from "../internal/recencyMap.ts"
import * as Record from "../Record.ts"
import * as Cbor from "../wire/cbor.ts"
import { tooLong } from "../wire/fields.ts"
import * as Payload from "../wire/mailbox.ts"

/**
 * The recipient's key is unknown, so the message cannot be encrypted: no record
 * of its own was found (endpoint, profile or custom), and it has not written to
 * us.
 *
 * @category errors
 * @since 0.1.0
 */
export class NoRecipientKey extends Data.TaggedError("NoRecipientKey")<{ readonly recipient: Address.Address }> {
  override get message() {
    return `The public key of ${Address.format(this.recipient)} is unknown: no record of its own was found. ` +
      "It can receive messages once it publishes a profile or an endpoint"
  }
}

/**
 * The message is for another recipient, or was modified in transit.
 *
 * @category errors
 * @since 0.1.0
 */
export class CannotDecrypt extends Data.TaggedError("CannotDecrypt")<{ readonly reason: string }> {
  override get message() {
    return `Cannot decrypt: ${this.reason}`
  }
}

/**
 * A message, decrypted. `type` is any number up to 255.
 *
 * @category models
 * @since 0.1.0
 */
export interface Message {
  readonly type: number
  readonly body: Uint8Array
  /** Authenticated by the encryption. */
  readonly sender: Address.Address
}

/**
 * A message and the record that it came in.
 *
 * @category models
 * @since 0.1.0
 */
export interface ReceivedMessage extends Message {
  /** Gives the message its time and expiry. */
  readonly record: Record.SignedRecord
}

/**
 * The types of message that the protocol defines.
 *
 * @internal
 */
export const MessageType = { connectRequest: 1, candidates: 2, text: 3 } as const

/**
 * The longest body of a message, in bytes; one byte less for a type above 23.
 *
 * @internal
 */
export const maxBody = 389

// --- Keys to encrypt to ---

/** Addresses whose keys are remembered. */
const rememberedKeys = 1024

/** The key to encrypt to for an address, as shown by one of its records. */
type Shown = Pick<
  Record.SignedRecord,
  "publicKey" | "delegation" | "delegatedAt" | "seq" | "timestamp" | "expiresAt"
>

/** Whether the key no longer acts for its address at `now`, in Unix seconds. */
const isExpired = ({ delegation }: Shown, now: number): boolean =>
  delegation !== undefined &&
  Result.match(Delegation.decode(delegation), {
    onFailure: () => true,
    onSuccess: (delegation) => Delegation.isExpired(delegation, now - Record.clockSkew)
  })

/**
 * The keys to encrypt to, as the newest records of their addresses show them.
 * Times are Unix seconds.
 *
 * @internal
 */
export class RecipientKeys {
  private readonly known = new RecencyMap<Address.Address, { newest: Shown | undefined }>(rememberedKeys)

  /** Takes a valid record of an address. */
  remember(record: Record.SignedRecord): void {
    const { address, delegatedAt, delegation, expiresAt, publicKey, seq, timestamp } = record
    const shown = { delegatedAt, delegation, expiresAt, publicKey, seq, timestamp }
    const entry = this.known.use(address, () => ({ newest: shown }))
    if (entry.newest === undefined || Record.isNewer(shown, entry.newest)) entry.newest = shown
  }

  /** The key of an address if no record could show another one. */
  certain(address: Address.Address, now: number): Uint8Array | undefined {
    const entry = this.known.get(address)
    if (entry?.newest !== undefined && isExpired(entry.newest, now)) entry.newest = undefined
    const shown = entry?.newest
    // An operational key may have been replaced.
    return shown !== undefined && shown.delegation === undefined && shown.expiresAt >= now ? shown.publicKey : undefined
  }

  /** The key of an address as far as is known. */
  newest(address: Address.Address): Uint8Array | undefined {
    return this.known.get(address)?.newest?.publicKey
  }
}

/**
 * Types of the records that usually show an address's key. The rest comes after
 * them: the messages at the same key can crowd the recipient's own records out
 * of a response for all types.
 *
 * @internal
 */
export const usual = [Record.RecordType.endpoint, Record.RecordType.profile] as const

/**
 * Whether a record at the key of an address is one of its own.
 *
 * @internal
 */
export const isOwn = ({ type }: Record.SignedRecord): boolean => Record.category(type) === "sovereign"

// --- Sealing and opening ---

/**
 * Encrypts a message and returns the payload of the record that carries it.
 * `Mail.seal` describes the options.
 *
 * @internal
 */
export const seal = (options: {
  readonly crypto?: Provider | undefined
  readonly sender: Address.Address
  readonly recipient: Address.Address
  readonly recipientPublicKey: Uint8Array
  readonly type: number
  readonly body: Uint8Array
  readonly ephemeralSeed: Uint8Array
  readonly nonce: Uint8Array
}): Result.Result<Uint8Array, Record.InvalidRecord> => {
  const { body, ephemeralSeed, nonce, type } = options
  if (ephemeralSeed.length !== 32) throw new RangeError(`ephemeralSeed is 32 bytes, got ${ephemeralSeed.length}`)
  if (nonce.length !== 12) throw new RangeError(`nonce is 12 bytes, got ${nonce.length}`)
  if (!Number.isInteger(type) || type < 0 || type > Payload.maxType) {
    return invalid(`${type} is not a message type: use 0 to ${Payload.maxType}`)
  }
  const limit = maxBody - (Cbor.uintSize(type) - 1)
  const size = body.length
  if (size > limit) return Result.fail(tooLong({ field: "body", size, limit, unit: "bytes" }))
  const message = Payload.encrypt(Payload.writeContent({ type, body }), { ...options, crypto: options.crypto ?? noble })
  return message === undefined
    ? invalid("the recipient's public key cannot be used for encryption")
    : Result.succeed(Payload.write(message))
}

/**
 * Decrypts a message. `Mail.open` describes the options.
 *
 * @internal
 */
export const open = (options: {
  readonly message: Payload.SealedMessage
  readonly identity: Pick<Identity, "exchangeKey">
  readonly crypto?: Provider | undefined
}): Result.Result<Message, CannotDecrypt> => {
  const { crypto = noble, identity, message } = options
  const plaintext = Payload.decrypt(message, identity.exchangeKey, crypto)
  const content = typeof plaintext === "string" ? plaintext : Payload.readContent(plaintext)
  return typeof content === "string"
    ? Result.fail(new CannotDecrypt({ reason: content }))
    : Result.succeed({ ...content, sender: message.sender })
}

/**
 * Decodes the payload of a record that carries a message.
 *
 * @internal
 */
export const decode = (payload: Uint8Array): Result.Result<Payload.SealedMessage, Record.InvalidRecord> => {
  const message = Payload.read(payload)
  return typeof message === "string" ? invalid(message) : Result.succeed(message)
}

/**
 * Opens the message in a record of the mailbox of `identity`; undefined if it is
 * none that the identity can read.
 *
 * @internal
 */
export const received = (
  record: Record.SignedRecord,
  identity: Pick<Identity, "agent" | "exchangeKey">,
  crypto: Provider
): ReceivedMessage | undefined => {
  const sealed = Payload.read(record.payload)
  // The record must belong to the message's sender. The message must be for
  // `agent`: our key may act for another address.
  if (typeof sealed === "string" || sealed.sender !== record.address || sealed.recipient !== identity.agent) return
  const message = open({ message: sealed, identity, crypto })
  return Result.isSuccess(message) ? { ...message.success, record } : undefined
}

/**
 * Orders messages from the oldest to the newest.
 *
 * @internal
 */
export const byAge = (a: ReceivedMessage, b: ReceivedMessage): number => Record.isNewer(a.record, b.record) ? 1 : -1

const invalid = (reason: string): Result.Result<never, Record.InvalidRecord> =>
  Result.fail(new Record.InvalidRecord({ reason }))
