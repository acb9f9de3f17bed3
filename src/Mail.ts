/**
 * Notes to one recipient, left in the network until they are fetched or
 * expire. Nobody else can read them; everybody can see who wrote to whom.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import * as Address from "./Address.ts"
import { NodeIdentity } from "./Identity.ts"
import { RecencyMap } from "./internal/recencyMap.ts"
import { sha256Hex } from "./internal/sha256.ts"
import * as Mailbox from "./Mailbox.ts"
import * as NodeId from "./NodeId.ts"
import { Publisher, type PublishError } from "./Publisher.ts"
import { Query } from "./Query.ts"
import * as Record from "./Record.ts"
import type { Publication } from "./Replication.ts"
import { Watch } from "./Watch.ts"

/**
 * A note can only be encrypted to a key, and nobody has shown the recipient's:
 * it has published no endpoint, signed with its own key, and has not written
 * to us.
 *
 * @category errors
 * @since 0.1.0
 */
export class NoRecipientKey extends Data.TaggedError("NoRecipientKey")<{ readonly recipient: Address.Address }> {
  override get message() {
    return `The public key of ${Address.format(this.recipient)} is not known: it has published no endpoint`
  }
}

/**
 * @category models
 * @since 0.1.0
 */
export interface Letter extends Mailbox.Message {
  readonly record: Record.SignedRecord
}

/**
 * @category services
 * @since 0.1.0
 */
export class Mail extends Context.Service<Mail, {
  /** Encrypts a message of at most 389 bytes and leaves it at the recipient's key. */
  readonly send: (message: {
    readonly recipient: Address.Address
    /** One of `Mailbox.MessageType`, or any other of 8 bits. */
    readonly type: number
    readonly body: Uint8Array
    /** Seconds; defaults to 3600. */
    readonly ttl?: number | undefined
  }) => Effect.Effect<Publication, NoRecipientKey | PublishError>
  /** All messages to us that the network holds and that open, oldest first. */
  readonly read: Effect.Effect<ReadonlyArray<Letter>>
  /** Every message to us once: those that the network holds, then each as it arrives. */
  readonly messages: Stream.Stream<Letter>
}>()("effect-dht/Mail") {}

/** Letters that are remembered so that each is delivered once: many times what a mailbox holds. */
const rememberedLetters = 10_000

/** Senders whose keys are remembered. */
const rememberedKeys = 1024

const make = Effect.gen(function*() {
  const identity = yield* NodeIdentity
  const query = yield* Query
  const publisher = yield* Publisher
  const random = yield* SecureRandom.SecureRandom
  const watch = yield* Watch
  const keys = new RecencyMap<Address.Address, Uint8Array>(rememberedKeys)

  const keyOf = Effect.fnUntraced(function*(recipient: Address.Address) {
    const known = keys.get(recipient)
    if (known !== undefined) return known
    const resolved = yield* query.resolve(NodeId.fromAddress(recipient)).pipe(
      Effect.catchTag("NoEndpoint", () => new NoRecipientKey({ recipient }))
    )
    const { publicKey } = resolved.record
    // The key of a delegate is not the recipient's.
    if (Address.fromPublicKey(publicKey) !== recipient) return yield* new NoRecipientKey({ recipient })
    keys.use(recipient, () => publicKey)
    return publicKey
  })

  const send: Mail["Service"]["send"] = Effect.fn("Mail.send")(function*({ body, recipient, ttl, type }) {
    const payload = yield* Effect.fromResult(Mailbox.seal({
      sender: identity.address,
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
      const letter = Result.flatMap(Mailbox.decode(record.payload), (note) => Mailbox.open({ note, identity }))
      // Whoever signed the record must be who the note says it is from.
      if (Result.isFailure(letter) || letter.success.sender !== record.address) return []
      if (Address.fromPublicKey(record.publicKey) === record.address) keys.use(record.address, () => record.publicKey)
      return [{ ...letter.success, record }]
    })
    return letters.sort((a, b) => Record.isNewer(a.record, b.record) ? 1 : -1)
  }

  const read = query.aggregateRecords(identity.nodeId, Record.RecordType.mailbox).pipe(
    Effect.catchTag("NoMatchingRecords", () => Effect.succeed<ReadonlyArray<Record.SignedRecord>>([])),
    Effect.map(open),
    Effect.withSpan("Mail.read")
  )

  const messages = watch.records(identity.nodeId, Record.RecordType.mailbox).pipe(
    Stream.mapAccum(
      () => new RecencyMap<string, true>(rememberedLetters),
      (seen, records) => {
        // What was delivered is not even decrypted again.
        const fresh = records.filter(({ payload }) => seen.get(sha256Hex(payload)) === undefined)
        for (const { payload } of fresh) seen.use(sha256Hex(payload), () => true)
        return [seen, open(fresh)]
      }
    )
  )

  return Mail.of({ send, read, messages })
})

/**
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<Mail, never, NodeIdentity | Query | Publisher | Watch | SecureRandom.SecureRandom> =
  Layer
    .effect(Mail, make)
