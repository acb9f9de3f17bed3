/**
 * The mailboxes of hosted identities, which are read in turn.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as PubSub from "effect/PubSub"
import * as Stream from "effect/Stream"
import { type HostedMessage, Inbox } from "../core/inbox.ts"
import * as Letters from "../core/letters.ts"
import type { Placement, Sweep } from "../core/sweep.ts"
import { Crypto } from "../Crypto.ts"
import { Query } from "../Query.ts"
import * as Record from "../Record.ts"
import * as Copies from "../replication/copies.ts"
import { type Entry, Mailbox, mailHolders, type Owner } from "./entry.ts"

/** Messages decrypted without a pause. */
const openedAtOnce = 4

/** Messages that a slow reader may fall behind. */
const maxMessages = 4096

/**
 * Outcome of the reading of a mailbox.
 *
 * @internal
 */
export interface Reading {
  readonly _tag: "Read"
  readonly mailbox: Mailbox
  readonly sent: number
  /** Whether a node answered. */
  readonly isAnswered: boolean
  readonly messages: ReadonlyArray<HostedMessage>
}

/**
 * Returns what reads mailboxes, each at intervals, and the messages that were in them.
 *
 * @internal
 */
export const make = Effect.fnUntraced(function*(sweep: Sweep<Entry | Mailbox>, intervalMillis: number) {
  const query = yield* Query
  const crypto = yield* Crypto
  const clock = yield* Clock.Clock
  const copies = yield* Copies.make
  const messages = yield* PubSub.sliding<HostedMessage>(maxMessages)
  const inbox = new Inbox()
  const counts = { mailReadings: 0, messages: 0 }
  let mailboxes = 0

  const millis = () => clock.currentTimeMillisUnsafe()

  /** Decrypts the messages among the records of a mailbox that were not read before. */
  const decrypt = Effect.fnUntraced(function*(
    { address, signer }: Owner,
    records: ReadonlyArray<Record.SignedRecord>
  ) {
    const messages: Array<HostedMessage> = []
    const fresh = inbox.unknown(records)
    const exchangeKey = fresh.length === 0 ? undefined : signer.exchangeKey
    if (exchangeKey === undefined) return messages
    for (const [i, record] of fresh.entries()) {
      if (i > 0 && i % openedAtOnce === 0) yield* Effect.yieldNow
      const message = Letters.received(record, { agent: address, exchangeKey }, crypto)
      if (message !== undefined) messages.push({ ...message, recipient: address })
    }
    return messages.sort(Letters.byAge)
  })

  const read = (mailbox: Mailbox, { dual, nodes }: Placement): Effect.Effect<Reading> =>
    Effect.gen(function*() {
      const { key, owner } = mailbox
      const holders = [...(yield* copies.usable(nodes)).slice(0, mailHolders), ...yield* copies.usable(dual)]
      const find = { type: Record.RecordType.mailbox, known: inbox.recordsOf(owner.address, millis()) }
      const { completeness: { answered }, records, requests } = yield* query.readAt(key, find, holders)
      const messages = yield* decrypt(owner, records)
      return { _tag: "Read", mailbox, sent: requests, isAnswered: answered > 0, messages } as const
    }).pipe(
      Effect.catchCause((cause) =>
        Effect.as(
          Effect.logError("The mailbox of a hosted identity could not be read", cause),
          { _tag: "Read", mailbox, sent: 0, isAnswered: false, messages: [] } as const
        )
      )
    )

  const close = (owner: Owner): void => {
    if (owner.mailbox === undefined) return
    sweep.remove(owner.mailbox)
    owner.mailbox = undefined
    mailboxes--
  }

  /** Has the mailbox of an identity read, or no longer. */
  const open = (owner: Owner): void => {
    close(owner)
    if (!owner.readsMail || owner.signer.exchangeKey === undefined) return
    owner.mailbox = new Mailbox(owner, intervalMillis)
    mailboxes++
    // It never expires, so records go before it. Readings are spread over the interval.
    const now = millis()
    const due = now + Math.floor(owner.mailbox.position / 2 ** 32 * intervalMillis)
    sweep.restore(owner.mailbox, { due, deadline: Infinity }, now)
  }

  /** Takes the outcome of a reading. `isHosted`: whether the identity still is. */
  const apply = ({ isAnswered, mailbox, messages: found, sent }: Reading, isHosted: boolean): void => {
    const now = millis()
    sweep.sent(sent, mailbox)
    if (isAnswered) sweep.renewed(mailbox, { expires: Infinity }, now)
    else sweep.failed(mailbox, {}, now)
    counts.mailReadings++
    if (!isHosted) return
    for (const message of found) {
      counts.messages++
      inbox.remember(message, now)
      PubSub.publishUnsafe(messages, message)
    }
  }

  return {
    counts,
    read,
    apply,
    open,
    close,
    forget: (owner: Owner): void => {
      close(owner)
      inbox.forget(owner.address)
    },
    mailboxes: () => mailboxes,
    messages: Stream.unwrap(Effect.map(PubSub.subscribe(messages), (subscription) =>
      // Without a pause in between, so that no message is missed or told twice.
      Stream.concat(Stream.fromArray(inbox.all(millis())), Stream.fromSubscription(subscription))))
  }
})
