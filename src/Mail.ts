/**
 * Notes to one recipient, left in the network until they are fetched or
 * expire. Nobody else can read them; everybody can see who wrote to whom.
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
 * A note can only be encrypted to a key, and the recipient's is unknown: no
 * record of its own was found (endpoint, profile or custom), and it has not
 * written to us.
 *
 * @category errors
 * @since 0.1.0
 */
export class NoRecipientKey extends Data.TaggedError("NoRecipientKey")<{ readonly recipient: Address.Address }> {
  override get message() {
    return `The public key of ${Address.format(this.recipient)} is not known: it has published no record of its own, ` +
      "or that has expired. It can be written to once it announces a profile or an endpoint"
  }
}

/**
 * A message that was left for us, decrypted.
 *
 * @category models
 * @since 0.1.0
 */
export interface Letter extends Mailbox.Message {
  /** What carried it: when it was written, and when it expires. */
  readonly record: Record.SignedRecord
}

/**
 * The messages of a mailbox, oldest first, and how much of what the network
 * holds of it was read.
 *
 * @category models
 * @since 0.1.0
 */
export interface Letters {
  readonly letters: ReadonlyArray<Letter>
  readonly completeness: Completeness
}

/**
 * A message as it arrives, and how much of what the network holds had been read
 * when the holders were last asked.
 *
 * @category models
 * @since 0.1.0
 */
export interface Arrival extends Letter {
  readonly completeness: Completeness
}

/**
 * Writes to other addresses, and reads what was written to the node's own.
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
 * // Each message once, as it arrives; its sender is proven.
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
   * Encrypts a message of at most 389 bytes and leaves it at the recipient's
   * node id. It is encrypted to the key that signs the recipient's records: its
   * own, or one that it delegated to.
   */
  readonly send: (message: {
    readonly recipient: Address.Address
    /** One of `Mailbox.MessageType`, or any other of 8 bits. */
    readonly type: number
    readonly body: Uint8Array
    /** Seconds; defaults to 3600, and no more than seven days count. */
    readonly ttl?: number | undefined
  }) => Effect.Effect<Publication, NoRecipientKey | PublishError>
  /**
   * All messages to us that the network holds and that open: every node that
   * holds any is read until it has delivered what it lists.
   */
  readonly read: Effect.Effect<Letters>
  /** Every message to us once: those that the network holds, then each as it arrives. */
  readonly messages: Stream.Stream<Arrival>
}>()("effect-dht/Mail") {}

/** Letters that are remembered so that each is delivered once: many times what a mailbox holds. */
const rememberedLetters = 10_000

/** Recipients whose keys are remembered. */
const rememberedKeys = 1024

/** What a record shows of the key that its address reads mail with. */
type Shown = Pick<
  Record.SignedRecord,
  "publicKey" | "delegation" | "delegatedAt" | "seq" | "timestamp" | "expiresAt"
>

/** Whether the key acts for its address no longer, at `now` in Unix seconds. */
const isOver = ({ delegation }: Shown, now: number): boolean =>
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

  /** What records of the recipient's own there are. */
  const published = Effect.fnUntraced(function*(recipient: Address.Address) {
    const key = NodeId.fromAddress(recipient)
    const usual = yield* Effect.forEach(
      [Record.RecordType.endpoint, Record.RecordType.profile],
      (type) => orNone(query.findRecords(key, { type })),
      { concurrency: "unbounded" }
    )
    if (usual.flat().length > 0) return usual.flat()
    // Asked for last, as notes at the same key can crowd the others out of an answer with all types.
    const all = yield* orNone(query.aggregateRecords(key))
    return all.filter(({ type }) => Record.category(type) === "sovereign")
  })

  const keyOf = Effect.fnUntraced(function*(recipient: Address.Address) {
    const now = Math.floor((yield* Clock.currentTimeMillis) / 1000)
    const entry = known.get(recipient)
    if (entry?.newest !== undefined && isOver(entry.newest, now)) entry.newest = undefined
    const remembered = entry?.newest
    // An operational key may have been replaced since, so for one the network is asked each time.
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

  /** The letters among records of our mailbox, oldest first. */
  const open = (records: ReadonlyArray<Record.SignedRecord>): ReadonlyArray<Letter> => {
    const letters = records.flatMap((record): Array<Letter> => {
      const note = Mailbox.decode(record.payload)
      // The record must be of who the note says it is from, and the note for whom we read: our key may read for another.
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
        // What was delivered is not even decrypted again.
        const fresh = records.filter(({ payload }) => seen.get(sha256Hex(payload)) === undefined)
        for (const { payload } of fresh) seen.use(sha256Hex(payload), () => true)
        return [seen, open(fresh).map((letter): Arrival => ({ ...letter, completeness }))]
      }
    )
  )

  return Mail.of({ send, read, messages })
})

/**
 * Mail from and to the node's own identity.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<Mail, never, NodeIdentity | Query | Publisher | Watch | SecureRandom.SecureRandom> =
  Layer
    .effect(Mail, make)
