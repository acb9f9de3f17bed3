/**
 * Encrypted messages. Each is stored in the mailbox of its recipient, at the
 * recipient's node id, until it expires. Only the recipient can decrypt it; its
 * sender and recipient are public.
 *
 * {@link Mail} sends and reads for the node's own agent. {@link seal} and
 * {@link open} are for programs that sign or store records themselves.
 *
 * @module
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import * as Address from "./Address.ts"
import { Crypto, noble, type Provider } from "./Crypto.ts"
import * as Delegation from "./Delegation.ts"
import { type Identity, NodeIdentity } from "./Identity.ts"
import { RecencyMap } from "./internal/recencyMap.ts"
import { sha256Hex } from "./internal/sha256.ts"
import * as NodeId from "./NodeId.ts"
import { Publisher, type PublishError } from "./Publisher.ts"
import { type Completeness, Query } from "./Query.ts"
import * as Record from "./Record.ts"
import type { Publication } from "./Replication.ts"
import { Watch } from "./Watch.ts"
import * as Cbor from "./wire/cbor.ts"
import { tooLong } from "./wire/fields.ts"
import * as Payload from "./wire/mailbox.ts"
import { limits } from "./wire/payload.ts"

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
 * The types of message that the protocol defines. Programs may use others, up
 * to 255.
 *
 * @category constants
 * @since 0.1.0
 */
export const MessageType = { connectRequest: 1, candidates: 2, text: 3 } as const

/**
 * The longest payload of a mailbox record, in bytes.
 *
 * @category constants
 * @since 0.1.0
 */
export const maxPayload = limits.mailbox

/**
 * The longest body of a message, in bytes; one byte less for a type above 23.
 *
 * @category constants
 * @since 0.1.0
 */
export const maxBody = 389

/**
 * A message, decrypted. `type` is one of {@link MessageType} or any other number
 * up to 255.
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

export type { SealedMessage } from "./wire/mailbox.ts"

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
 * The messages in a mailbox, oldest first, and how complete they are.
 *
 * @category models
 * @since 0.1.0
 */
export interface Mailbox {
  readonly messages: ReadonlyArray<ReceivedMessage>
  readonly completeness: Completeness
}

/**
 * A message as it arrives, and how complete the mailbox was when the holders
 * were last asked.
 *
 * @category models
 * @since 0.1.0
 */
export interface ArrivingMessage extends ReceivedMessage {
  readonly completeness: Completeness
}

/**
 * Sends messages to other addresses, and reads those sent to the node's own.
 *
 * @example
 * ```ts
 * import { type Address, Mail } from "effect-dht"
 * import * as Effect from "effect/Effect"
 * import * as Stream from "effect/Stream"
 *
 * const greet = (recipient: Address.Address) =>
 *   Effect.gen(function*() {
 *     const mail = yield* Mail.Mail
 *     const body = new TextEncoder().encode("See you at noon")
 *     yield* mail.send({ recipient, type: Mail.MessageType.text, body, ttl: 7200 })
 *   }).pipe(
 *     Effect.catchTag("NoRecipientKey", ({ message }) => Effect.logWarning(message)),
 *     Effect.catchTag("InvalidRecord", ({ excess }) => Effect.logError("It does not fit", excess))
 *   )
 *
 * // Each message once, as it arrives.
 * const inbox = Mail.Mail.use((mail) =>
 *   Stream.runForEach(mail.messages, ({ body, sender }) => Effect.log(sender, new TextDecoder().decode(body)))
 * )
 * ```
 *
 * @category services
 * @since 0.1.0
 */
export class Mail extends Context.Service<Mail, {
  /**
   * Encrypts a message of at most {@link maxBody} bytes and stores it in the
   * recipient's mailbox. It is encrypted to the key that signs the recipient's
   * records: its own, or one that it delegated to.
   */
  readonly send: (message: {
    readonly recipient: Address.Address
    /** One of {@link MessageType}, or any other number up to 255. */
    readonly type: number
    readonly body: Uint8Array
    /** Seconds, by default 3600; more than seven days count as seven days. */
    readonly ttl?: number | undefined
  }) => Effect.Effect<Publication, NoRecipientKey | PublishError>
  /**
   * Returns the messages in our mailbox that can be decrypted. Each holder is
   * read until it has delivered every record it lists.
   */
  readonly read: Effect.Effect<Mailbox>
  /** Streams every message to us once: first those that the network holds, then each as it arrives. */
  readonly messages: Stream.Stream<ArrivingMessage>
}>()("effect-dht/Mail") {}

/** Messages remembered so that none is delivered twice: many times the capacity of a mailbox. */
const rememberedMessages = 10_000

/** Messages decrypted without a pause: each takes some 3 ms where the crypto is not native. */
const openedAtOnce = 4

const payloadIds = new WeakMap<Record.SignedRecord, string>()

/** The hash of a record's payload. Each version of a mailbox has mostly the records of the last one. */
const payloadId = (record: Record.SignedRecord): string => {
  let id = payloadIds.get(record)
  if (id === undefined) payloadIds.set(record, id = sha256Hex(record.payload))
  return id
}

/** Recipients whose keys are remembered. */
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

const make = Effect.gen(function*() {
  const crypto = yield* Crypto
  const identity = yield* NodeIdentity
  const mailbox = NodeId.fromAddress(identity.agent)
  const query = yield* Query
  const publisher = yield* Publisher
  const random = yield* SecureRandom.SecureRandom
  const watch = yield* Watch
  const known = new RecencyMap<Address.Address, { newest: Shown | undefined }>(rememberedKeys)

  const remember = (address: Address.Address, record: Record.SignedRecord): void => {
    const { delegatedAt, delegation, expiresAt, publicKey, seq, timestamp } = record
    const shown = { delegatedAt, delegation, expiresAt, publicKey, seq, timestamp }
    const entry = known.use(address, () => ({ newest: shown }))
    if (entry.newest === undefined || Record.isNewer(shown, entry.newest)) entry.newest = shown
  }

  const orNone = Effect.orElseSucceed((): ReadonlyArray<Record.SignedRecord> => [])

  /** Looks up the recipient's own records. */
  const published = Effect.fnUntraced(function*(recipient: Address.Address) {
    const key = NodeId.fromAddress(recipient)
    const usual = yield* Effect.forEach(
      [Record.RecordType.endpoint, Record.RecordType.profile],
      (type) => orNone(query.findRecords(key, { type })),
      { concurrency: "unbounded" }
    )
    if (usual.flat().length > 0) return usual.flat()
    // All types come last: the messages at the same key can crowd the
    // recipient's own records out of such a response.
    const all = yield* orNone(query.aggregateRecords(key))
    return all.filter(({ type }) => Record.category(type) === "sovereign")
  })

  const keyOf = Effect.fnUntraced(function*(recipient: Address.Address) {
    const now = Math.floor((yield* Clock.currentTimeMillis) / 1000)
    const entry = known.get(recipient)
    if (entry?.newest !== undefined && isExpired(entry.newest, now)) entry.newest = undefined
    const remembered = entry?.newest
    // An operational key may have been replaced, so the network is asked each
    // time.
    if (remembered !== undefined && remembered.delegation === undefined && remembered.expiresAt >= now) {
      return remembered.publicKey
    }
    for (const record of yield* published(recipient)) remember(recipient, record)
    const newest = known.get(recipient)?.newest
    return newest === undefined ? yield* new NoRecipientKey({ recipient }) : newest.publicKey
  })

  const send: Mail["Service"]["send"] = Effect.fn("Mail.send")(function*({ body, recipient, ttl, type }) {
    const payload = yield* Effect.fromResult(seal({
      crypto,
      sender: identity.agent,
      recipient,
      recipientPublicKey: yield* keyOf(recipient),
      type,
      body,
      ephemeralSeed: yield* random.randomBytes(32),
      nonce: yield* random.randomBytes(12)
    }))
    return yield* publisher.publishCustom({
      type: Record.RecordType.mailbox,
      payload,
      key: NodeId.fromAddress(recipient),
      ttl
    })
  })

  const openOne = (record: Record.SignedRecord): ReceivedMessage | undefined => {
    const sealed = decode(record.payload)
    // The record must belong to the message's sender. The message must be for
    // `agent`: our key may act for another address.
    if (Result.isFailure(sealed) || sealed.success.sender !== record.address) return undefined
    if (sealed.success.recipient !== identity.agent) return undefined
    const message = open({ message: sealed.success, identity, crypto })
    if (Result.isFailure(message)) return undefined
    remember(record.address, record)
    return { ...message.success, record }
  }

  /** Decrypts the messages among the records of our mailbox, oldest first. A turn decrypts a few only. */
  const openAll = Effect.fnUntraced(function*(records: ReadonlyArray<Record.SignedRecord>) {
    const messages: Array<ReceivedMessage> = []
    for (let at = 0; at < records.length; at += openedAtOnce) {
      if (at > 0) yield* Effect.yieldNow
      for (const record of records.slice(at, at + openedAtOnce)) {
        const message = openOne(record)
        if (message !== undefined) messages.push(message)
      }
    }
    return messages.sort((a, b) => Record.isNewer(a.record, b.record) ? 1 : -1)
  })

  const read = query.lookup(mailbox, { type: Record.RecordType.mailbox }).pipe(
    Effect.flatMap(({ completeness, records }) =>
      Effect.map(openAll(records), (messages) => ({ messages, completeness }))
    ),
    Effect.withSpan("Mail.read")
  )

  const messages = watch.records(mailbox, Record.RecordType.mailbox).pipe(
    Stream.mapAccumEffect(
      () => new RecencyMap<string, true>(rememberedMessages),
      (seen, { completeness, records }) => {
        // A delivered message is not decrypted again.
        const fresh = records.filter((record) => seen.get(payloadId(record)) === undefined)
        for (const record of fresh) seen.use(payloadId(record), () => true)
        return Effect.map(
          openAll(fresh),
          (opened) => [seen, opened.map((message): ArrivingMessage => ({ ...message, completeness }))] as const
        )
      }
    )
  )

  return Mail.of({ send, read, messages })
})

/**
 * Sends and reads as the node's own identity.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<
  Mail,
  never,
  Crypto | NodeIdentity | Query | Publisher | Watch | SecureRandom.SecureRandom
> = Layer
  .effect(Mail, make)

// --- Programs that sign themselves ---

/**
 * Encrypts a message and returns the payload of the mailbox record that carries
 * it. The caller gives the randomness, fresh for each message: 32 bytes of
 * `ephemeralSeed` and 12 of `nonce`. `recipientPublicKey` is the recipient's
 * Ed25519 key (32 bytes); `type` is at most 255. Fails if the key cannot be used
 * or the body does not fit. Throws a `RangeError` for randomness of another
 * length.
 *
 * @example
 * ```ts run
 * import { Crypto, Identity, Mail } from "effect-dht"
 * import * as Result from "effect/Result"
 *
 * const [ann, ben] = [1, 2].map((n) => Identity.fromSeed(Crypto.noble, new Uint8Array(32).fill(n)))
 * const payload = Mail.seal({
 *   sender: ann.address,
 *   recipient: ben.address,
 *   recipientPublicKey: ben.publicKey,
 *   type: Mail.MessageType.text,
 *   body: new TextEncoder().encode("See you at noon"),
 *   // Use fresh bytes from a secure source each time: these are for show.
 *   ephemeralSeed: new Uint8Array(32).fill(3),
 *   nonce: new Uint8Array(12)
 * })
 * const message = Result.getOrThrow(Result.flatMap(payload, Mail.decode))
 * const { body } = Result.getOrThrow(Mail.open({ message, identity: ben }))
 * console.log(new TextDecoder().decode(body)) // => See you at noon
 * console.log(Result.isFailure(Mail.open({ message, identity: ann }))) // => true
 * ```
 *
 * @category encryption
 * @since 0.1.0
 */
export const seal = (options: {
  /** Default: `Crypto.noble`, which is portable. */
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
    : Result.succeed(encode(message))
}

/**
 * Decrypts a message with the recipient's private key. Both addresses are
 * authenticated, so a message under another name does not decrypt.
 *
 * @category encryption
 * @since 0.1.0
 */
export const open = (options: {
  readonly message: Payload.SealedMessage
  readonly identity: Identity
  /** Default: `Crypto.noble`, which is portable. */
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
 * Decodes the payload of a mailbox record. The byte fields of the result are
 * views of it. The ciphertext is not examined; the caller must check that the
 * sender is the record's address.
 *
 * @category conversions
 * @since 0.1.0
 */
export const decode = (payload: Uint8Array): Result.Result<Payload.SealedMessage, Record.InvalidRecord> => {
  const message = Payload.read(payload)
  return typeof message === "string" ? invalid(message) : Result.succeed(message)
}

/**
 * Encodes the payload of a mailbox record.
 *
 * @category conversions
 * @since 0.1.0
 */
export const encode: (message: Payload.SealedMessage) => Uint8Array = Payload.write

const invalid = (reason: string): Result.Result<never, Record.InvalidRecord> =>
  Result.fail(new Record.InvalidRecord({ reason }))
