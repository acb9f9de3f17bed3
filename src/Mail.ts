/**
 * Encrypted messages to one recipient, kept in the network until they are
 * fetched or expire. Only the recipient can read them. Sender and recipient are
 * visible to everyone.
 *
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
import * as Delegation from "./Delegation.ts"
import { NodeIdentity } from "./Identity.ts"
import { RecencyMap } from "./internal/recencyMap.ts"
import { sha256Hex } from "./internal/sha256.ts"
import * as Mailbox from "./Mailbox.ts"
import * as NodeId from "./NodeId.ts"
import { Publisher, type PublishError } from "./Publisher.ts"
import { type Completeness, Query } from "./Query.ts"
import * as Record from "./Record.ts"
import type { Publication } from "./Replication.ts"
import { Watch } from "./Watch.ts"

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
      "It can receive mail once it publishes a profile or an endpoint"
  }
}

/**
 * A received message, decrypted.
 *
 * @category models
 * @since 0.1.0
 */
export interface Letter extends Mailbox.Message {
  /** The record that carried it, with its time and expiry. */
  readonly record: Record.SignedRecord
}

/**
 * The messages of a mailbox, oldest first, and how complete they are.
 *
 * @category models
 * @since 0.1.0
 */
export interface Letters {
  readonly letters: ReadonlyArray<Letter>
  readonly completeness: Completeness
}

/**
 * A message as it arrives, and how complete the messages were when the holders
 * were last asked.
 *
 * @category models
 * @since 0.1.0
 */
export interface Arrival extends Letter {
  readonly completeness: Completeness
}

/**
 * Sends messages to other addresses, and reads those sent to the node's own.
 *
 * @example
 * ```ts
 * import { type Address, Mail, Mailbox } from "effect-dht"
 * import * as Effect from "effect/Effect"
 * import * as Stream from "effect/Stream"
 *
 * const greet = (recipient: Address.Address) =>
 *   Effect.gen(function*() {
 *     const mail = yield* Mail.Mail
 *     const body = new TextEncoder().encode("See you at noon")
 *     yield* mail.send({ recipient, type: Mailbox.MessageType.text, body, ttl: 7200 })
 *   }).pipe(
 *     Effect.catchTag("NoRecipientKey", ({ message }) => Effect.logWarning(message)),
 *     Effect.catchTag("InvalidRecord", ({ excess }) => Effect.logError("It does not fit", excess))
 *   )
 *
 * // Each message once, as it arrives. Its sender is authenticated.
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
   * Encrypts a message of at most 389 bytes and stores it at the recipient's
   * node id. The key it is encrypted to is the one that signs the recipient's
   * records: its own, or one that it delegated to.
   */
  readonly send: (message: {
    readonly recipient: Address.Address
    /** One of `Mailbox.MessageType`, or any other 8-bit number. */
    readonly type: number
    readonly body: Uint8Array
    /** Seconds; defaults to 3600, and no more than seven days count. */
    readonly ttl?: number | undefined
  }) => Effect.Effect<Publication, NoRecipientKey | PublishError>
  /**
   * Returns all messages to us that the network holds and that can be
   * decrypted. Each holder is read until it has delivered every record it
   * lists.
   */
  readonly read: Effect.Effect<Letters>
  /** Streams every message to us once: first those that the network holds, then each as it arrives. */
  readonly messages: Stream.Stream<Arrival>
}>()("effect-dht/Mail") {}

/** Delivered messages that are remembered so that none is delivered twice: many times what a mailbox holds. */
const rememberedLetters = 10_000

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
    // All types come last: mail at the same key can crowd the recipient's own
    // records out of such a response.
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
    const payload = yield* Effect.fromResult(Mailbox.seal({
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

  /** The messages among the records of our mailbox, oldest first. */
  const open = (records: ReadonlyArray<Record.SignedRecord>): ReadonlyArray<Letter> => {
    const letters = records.flatMap((record): Array<Letter> => {
      const note = Mailbox.decode(record.payload)
      // The record must belong to the note's sender. The note must be for
      // `agent`: our key may act for another address.
      if (Result.isFailure(note) || note.success.sender !== record.address) return []
      if (note.success.recipient !== identity.agent) return []
      const letter = Mailbox.open({ note: note.success, identity })
      if (Result.isFailure(letter)) return []
      remember(record.address, record)
      return [{ ...letter.success, record }]
    })
    return letters.sort((a, b) => Record.isNewer(a.record, b.record) ? 1 : -1)
  }

  const read = query.lookup(mailbox, { type: Record.RecordType.mailbox }).pipe(
    Effect.map(({ completeness, records }) => ({ letters: open(records), completeness })),
    Effect.withSpan("Mail.read")
  )

  const messages = watch.records(mailbox, Record.RecordType.mailbox).pipe(
    Stream.mapAccum(
      () => new RecencyMap<string, true>(rememberedLetters),
      (seen, { completeness, records }) => {
        // A delivered message is not decrypted again.
        const fresh = records.filter(({ payload }) => seen.get(sha256Hex(payload)) === undefined)
        for (const { payload } of fresh) seen.use(sha256Hex(payload), () => true)
        return [seen, open(fresh).map((letter): Arrival => ({ ...letter, completeness }))]
      }
    )
  )

  return Mail.of({ send, read, messages })
})

/**
 * Mail of the node's own identity.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<Mail, never, NodeIdentity | Query | Publisher | Watch | SecureRandom.SecureRandom> =
  Layer
    .effect(Mail, make)
