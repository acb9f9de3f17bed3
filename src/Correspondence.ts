/**
 * Sealing messages for recipients whose keys have to be looked up, and opening
 * those that came: the same for `Mail` and for `browser/Agent`, which read
 * records in different ways.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import type * as Address from "./Address.ts"
import * as Letters from "./core/letters.ts"
import { Crypto } from "./Crypto.ts"
import { NodeIdentity } from "./Identity.ts"
import * as NodeId from "./NodeId.ts"
import type * as Record from "./Record.ts"

/** Messages decrypted without a pause: each takes some 3 ms where the crypto is not native. */
const openedAtOnce = 4

/**
 * Makes the correspondence of the provided identity. `records` reads the records
 * at a key, of one type or of all.
 *
 * @internal
 */
export const make = Effect.fnUntraced(function*<E>(
  records: (key: NodeId.NodeId, type?: number) => Effect.Effect<ReadonlyArray<Record.SignedRecord>, E>
) {
  const crypto = yield* Crypto
  const identity = yield* NodeIdentity
  const random = yield* SecureRandom.SecureRandom
  const keys = new Letters.RecipientKeys()

  /** Reads the recipient's own records. */
  const published = Effect.fnUntraced(function*(recipient: Address.Address) {
    const key = NodeId.fromAddress(recipient)
    const usual = yield* Effect.forEach(Letters.usual, (type) => records(key, type), { concurrency: "unbounded" })
    return usual.flat().length > 0 ? usual.flat() : (yield* records(key)).filter(Letters.isOwn)
  })

  const keyOf = Effect.fnUntraced(function*(recipient: Address.Address) {
    const now = Math.floor((yield* Clock.currentTimeMillis) / 1000)
    const certain = keys.certain(recipient, now)
    if (certain !== undefined) return certain
    for (const record of yield* published(recipient)) keys.remember(record)
    return keys.newest(recipient) ?? (yield* new Letters.NoRecipientKey({ recipient }))
  })

  /** Encrypts a message and returns the payload of the record that carries it. */
  const seal = Effect.fnUntraced(function*(message: {
    readonly recipient: Address.Address
    readonly type: number
    readonly body: Uint8Array
  }) {
    return yield* Effect.fromResult(Letters.seal({
      ...message,
      crypto,
      sender: identity.agent,
      recipientPublicKey: yield* keyOf(message.recipient),
      ephemeralSeed: yield* random.randomBytes(32),
      nonce: yield* random.randomBytes(12)
    }))
  })

  /** Decrypts the messages among the records of our mailbox, oldest first. A turn decrypts a few only. */
  const open = Effect.fnUntraced(function*(records: ReadonlyArray<Record.SignedRecord>) {
    const messages: Array<Letters.ReceivedMessage> = []
    for (const [i, record] of records.entries()) {
      if (i > 0 && i % openedAtOnce === 0) yield* Effect.yieldNow
      const message = Letters.received(record, identity, crypto)
      if (message === undefined) continue
      keys.remember(record)
      messages.push(message)
    }
    return messages.sort(Letters.byAge)
  })

  return { open, seal }
})
