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
import * as Context from "effect/Context"
import type * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import type * as Address from "./Address.ts"
import * as Letters from "./core/letters.ts"
import * as Correspondence from "./Correspondence.ts"
import type { Crypto, Provider } from "./Crypto.ts"
import { type Identity, NodeIdentity } from "./Identity.ts"
import { RecencyMap } from "./internal/recencyMap.ts"
import { sha256Hex } from "./internal/sha256.ts"
import * as NodeId from "./NodeId.ts"
import { Publisher, type PublishError } from "./Publisher.ts"
import { type Completeness, Query } from "./Query.ts"
import * as Record from "./Record.ts"
import type { Publication } from "./Replication.ts"
import { spanned } from "./Spans.ts"
import { Watch } from "./Watch.ts"
import * as Payload from "./wire/mailbox.ts"
import { limits } from "./wire/payload.ts"

export { CannotDecrypt, NoRecipientKey } from "./core/letters.ts"
export type { Message, ReceivedMessage } from "./core/letters.ts"

/**
 * The types of message that the protocol defines. Programs may use others, up
 * to 255.
 *
 * @category constants
 * @since 0.1.0
 */
export const MessageType: {
  readonly connectRequest: 1
  readonly candidates: 2
  readonly text: 3
} = Letters.MessageType

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
export const maxBody = Letters.maxBody

export type { SealedMessage } from "./wire/mailbox.ts"

/**
 * The messages in a mailbox, oldest first, and how complete they are.
 *
 * @category models
 * @since 0.1.0
 */
export interface Mailbox {
  readonly messages: ReadonlyArray<Letters.ReceivedMessage>
  readonly completeness: Completeness
}

/**
 * A message as it arrives, and how complete the mailbox was when the holders
 * were last asked.
 *
 * @category models
 * @since 0.1.0
 */
export interface ArrivingMessage extends Letters.ReceivedMessage {
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
  }) => Effect.Effect<Publication, Letters.NoRecipientKey | PublishError>
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

const payloadIds = new WeakMap<Record.SignedRecord, string>()

/** The hash of a record's payload. Each version of a mailbox has mostly the records of the last one. */
const payloadId = (record: Record.SignedRecord): string => {
  let id = payloadIds.get(record)
  if (id === undefined) payloadIds.set(record, id = sha256Hex(record.payload))
  return id
}

/**
 * The service in the caller's scope; {@link layer} has a scope of its own.
 *
 * @internal
 */
export const make = Effect.gen(function*() {
  const mailbox = NodeId.fromAddress((yield* NodeIdentity).agent)
  const query = yield* Query
  const publisher = yield* Publisher
  const watch = yield* Watch
  const { open, seal } = yield* Correspondence.make((key, type) =>
    Effect.orElseSucceed(
      type === undefined ? query.aggregateRecords(key) : query.findRecords(key, { type }),
      (): ReadonlyArray<Record.SignedRecord> => []
    )
  )

  const send: Mail["Service"]["send"] = Effect.fnUntraced(function*({ ttl, ...message }) {
    return yield* publisher.publishCustom({
      type: Record.RecordType.mailbox,
      payload: yield* seal(message),
      key: NodeId.fromAddress(message.recipient),
      ttl
    })
  }, spanned("Mail.send"))

  const read = query.lookup(mailbox, { type: Record.RecordType.mailbox }).pipe(
    Effect.flatMap(({ completeness, records }) =>
      Effect.map(open(records), (messages) => ({ messages, completeness }))
    ),
    spanned("Mail.read")
  )

  const messages = watch.records(mailbox, Record.RecordType.mailbox).pipe(
    Stream.mapAccumEffect(
      () => new RecencyMap<string, true>(rememberedMessages),
      (seen, { completeness, records }) => {
        // A delivered message is not decrypted again.
        const fresh = records.filter((record) => seen.get(payloadId(record)) === undefined)
        for (const record of fresh) seen.set(payloadId(record), true)
        return Effect.map(
          open(fresh),
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
export const seal: (options: {
  /** Default: `Crypto.noble`, which is portable. */
  readonly crypto?: Provider | undefined
  readonly sender: Address.Address
  readonly recipient: Address.Address
  readonly recipientPublicKey: Uint8Array
  readonly type: number
  readonly body: Uint8Array
  readonly ephemeralSeed: Uint8Array
  readonly nonce: Uint8Array
}) => Result.Result<Uint8Array, Record.InvalidRecord> = Letters.seal

/**
 * Decrypts a message with the recipient's private key. Both addresses are
 * authenticated, so a message under another name does not decrypt.
 *
 * @category encryption
 * @since 0.1.0
 */
export const open: (options: {
  readonly message: Payload.SealedMessage
  readonly identity: Identity
  /** Default: `Crypto.noble`, which is portable. */
  readonly crypto?: Provider | undefined
}) => Result.Result<Letters.Message, Letters.CannotDecrypt> = Letters.open

/**
 * Decodes the payload of a mailbox record. The byte fields of the result are
 * views of it. The ciphertext is not examined; the caller must check that the
 * sender is the record's address.
 *
 * @category conversions
 * @since 0.1.0
 */
export const decode: (payload: Uint8Array) => Result.Result<Payload.SealedMessage, Record.InvalidRecord> =
  Letters.decode

/**
 * Encodes the payload of a mailbox record.
 *
 * @category conversions
 * @since 0.1.0
 */
export const encode: (message: Payload.SealedMessage) => Uint8Array = Payload.write
