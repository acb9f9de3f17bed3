/**
 * The requests of hosting: lookups of the nodes of a region, and the signing,
 * storing and withdrawing of records.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type { Contact } from "../Contact.ts"
import * as Seq from "../core/seq.ts"
import { type Found, lookupCost, type Placement, type Sweep } from "../core/sweep.ts"
import * as Features from "../Features.ts"
import * as Identity from "../Identity.ts"
import * as NodeId from "../NodeId.ts"
import { PeerHealth } from "../PeerHealth.ts"
import * as Record from "../Record.ts"
import { KeyFull, NotEnoughReplicas } from "../Replication.ts"
import * as Copies from "../replication/copies.ts"
import { Routing } from "../Routing.ts"
import { Store } from "../Store.ts"
import * as internal from "../wire/record.ts"
import * as Withdrawal from "../Withdrawal.ts"
import type { Entry, Mailbox } from "./entry.ts"
import type { RenewalError } from "./failure.ts"
import { drafter, signDraft } from "./signer.ts"

/** Attempts to sign a record whose slot other records keep taking. */
const maxSignedOver = 4

/**
 * Outcome of a lookup.
 *
 * @internal
 */
export interface Lookup {
  readonly _tag: "Found"
  readonly target: NodeId.NodeId
  readonly found: Found
}

/**
 * Outcome of asking an absent node whether it is back.
 *
 * @internal
 */
export interface Probed {
  readonly _tag: "Probed"
  readonly contact: Contact
  readonly isBack: boolean
}

/**
 * Outcome of the renewal of a record.
 *
 * @internal
 */
export type Renewal =
  | {
    readonly _tag: "Placed"
    readonly entry: Entry
    readonly sent: number
    /** Whether nodes that did not answer may take a copy later. */
    readonly isPartial: boolean
  }
  /** A newer record was found, which can be superseded. */
  | { readonly _tag: "Overtaken"; readonly entry: Entry; readonly sent: number }
  /** A record is stored at nodes that had arrived. */
  | { readonly _tag: "HandedOff"; readonly entry: Entry; readonly sent: number }
  /** No reason: a fault of this library, which is logged. */
  | { readonly _tag: "Failed"; readonly entry: Entry; readonly sent: number; readonly reason: RenewalError | undefined }

/** Outcome of a lookup that found no node. */
const nothingAt = (target: NodeId.NodeId): Lookup => ({
  _tag: "Found",
  target,
  found: { closest: [], dual: [], isFull: false, isSurrounded: false, region: [], networkSize: 0 }
})

/**
 * Returns effects that look up, renew and withdraw, and counters of what they did.
 *
 * @internal
 */
export const make = Effect.fnUntraced(function*(sweep: Sweep<Entry | Mailbox>) {
  const store = yield* Store
  const routing = yield* Routing
  const health = yield* PeerHealth
  const clock = yield* Clock.Clock
  const copies = yield* Copies.make
  const counts = { lookups: 0, stores: 0, signatures: 0 }

  const millis = () => clock.currentTimeMillisUnsafe()

  const neighbourhood = (target: NodeId.NodeId) =>
    Effect.suspend(() => {
      counts.lookups++
      return copies.neighbourhood(target)
    })

  const isDual = ({ id }: Contact): boolean => health.hasUnsafe(id, Features.Bit.dual)

  const lookUp = (target: NodeId.NodeId): Effect.Effect<Lookup> =>
    Effect.map(neighbourhood(target), ({ closest, dual, isSurrounded, region }): Lookup => ({
      _tag: "Found",
      target,
      found: {
        closest,
        dual: Array.from(new Set([...dual, ...[...closest, ...region].filter(isDual)])),
        isFull: closest.length >= Copies.candidates,
        isSurrounded,
        region,
        networkSize: routing.plausibleSizeUnsafe(millis())
      }
    })).pipe(
      // The records that wait for it must not wait for ever.
      Effect.catchCause((cause) => Effect.as(Effect.logError("A lookup for hosting failed", cause), nothingAt(target)))
    )

  /** Signs the content of an entry with a new seq and timestamp. */
  const sign = Effect.fnUntraced(function*(entry: Entry) {
    const { above, key, signer } = entry
    const { address, payload, seq: last, ttl, type } = entry.record
    const seconds = Math.floor(millis() / 1000)
    const delegation = yield* Effect.fromResult(Identity.mandate(signer, seconds))
    const nanos = yield* Clock.currentTimeNanos
    const draft = yield* Effect.fromResult(internal.seal({
      signer: drafter(signer),
      address,
      delegation,
      seq: Seq.over(nanos, above !== undefined && above > last ? above : last),
      timestamp: BigInt(seconds),
      ttl,
      type,
      payload
    }))
    const record = yield* signDraft(signer, draft)
    counts.signatures++
    // Every node would refuse a record with a wrong signature.
    yield* Effect.fromResult(store.vet(key, record, Math.floor(millis() / 1000)))
    entry.holders = []
    entry.signed(record)
    return record
  })

  /** Stores a record at one node of each list: the first that takes it. A list that is given twice yields two nodes. */
  const storeFrom = Effect.fnUntraced(function*(
    entry: Entry,
    record: Record.SignedRecord,
    lists: ReadonlyArray<Array<Contact>>
  ) {
    const holders = [...entry.holders]
    const full: Array<Contact> = []
    const silent: Array<Contact> = []
    const count = { checking: 0 }
    let sent = 0
    let newer: Record.SignedRecord | undefined
    const fillFrom = Effect.fnUntraced(function*(left: Array<Contact>) {
      while (entry.removal === "None") {
        const peer = left.shift()
        if (peer === undefined) return
        sent++
        const outcome = yield* Effect.orElseSucceed(
          copies.store(peer, entry.key, record, count),
          () => "Silent" as const
        )
        if (outcome === "Stored") return void holders.push(NodeId.prefix(peer.id))
        if (outcome === "Silent") silent.push(peer)
        else if (outcome === "Full") full.push(peer)
        else if (typeof outcome !== "string" && (newer === undefined || Record.isNewer(outcome, newer))) newer = outcome
      }
    })
    yield* Effect.forEach(lists, fillFrom, { concurrency: "unbounded", discard: true })
    counts.stores += sent
    // A copy has no room to grow.
    entry.holders = holders.slice()
    if (silent.length > 0) sweep.unanswered(entry, silent, millis())
    return { full, newer, sent, silent: silent.length }
  })

  /** Stores a record at those of the nodes that do not hold it, until `wanted` do, and at those of `dual`. */
  const place = Effect.fnUntraced(function*(
    entry: Entry,
    record: Record.SignedRecord,
    { dual, nodes, wanted }: Placement
  ): Effect.fn.Return<Renewal, RenewalError> {
    const { key } = entry
    const held = new Set(entry.holders)
    const lacks = ({ id }: Contact) => !held.has(NodeId.prefix(id))
    const left = (yield* copies.usable(nodes)).filter(lacks)
    const leftDual = (yield* copies.usable(dual)).filter(lacks)
    const besides = new Set(dual.map(({ id }) => NodeId.prefix(id)))
    const near = (holders: ReadonlyArray<number>) => holders.filter((holder) => !besides.has(holder)).length
    const missing = Math.max(wanted - near(entry.holders), 0)
    const { full, newer, sent, silent } = yield* storeFrom(entry, record, [
      ...Array.from({ length: missing }, () => left),
      ...leftDual.map((peer) => [peer])
    ])
    if (newer !== undefined) {
      // A record under a later delegation is newer whatever our seq.
      if (newer.delegatedAt > record.delegatedAt || entry.signedOver >= maxSignedOver) {
        return { _tag: "Failed", entry, sent, reason: Record.stale(record, newer) }
      }
      entry.above = newer.seq
      return { _tag: "Overtaken", entry, sent }
    }
    const { holders } = entry
    if (holders.length > 0) return { _tag: "Placed", entry, sent, isPartial: silent > 0 && near(holders) < wanted }
    const reason = full.length > 0
      ? new KeyFull({ key, record, wanted, confirmed: [], full })
      : new NotEnoughReplicas({ key, wanted, confirmed: [] })
    return { _tag: "Failed", entry, sent, reason }
  })

  const renew = (entry: Entry, placement: Placement): Effect.Effect<Renewal> =>
    Effect.gen(function*() {
      yield* Effect.fromResult(Identity.mandate(entry.signer, Math.floor(millis() / 1000)))
      const record = entry.needsSignature(millis()) ? yield* sign(entry) : entry.record
      return yield* place(entry, record, placement)
    }).pipe(
      Effect.catchCause((cause) => {
        const reason = Result.getOrUndefined(Cause.findError(cause))
        const failed: Renewal = { _tag: "Failed", entry, sent: 0, reason }
        return reason === undefined
          ? Effect.as(Effect.logError("A hosted record could not be renewed", cause), failed)
          : Effect.succeed(failed)
      })
    )

  /** Stores a record as it is at nodes that have arrived. */
  const handOff = (entry: Entry, nodes: ReadonlyArray<Contact>): Effect.Effect<Renewal> =>
    Effect.gen(function*() {
      const usable = yield* copies.usable(nodes)
      const { newer, sent } = yield* storeFrom(entry, entry.record, usable.map((peer) => [peer]))
      if (newer === undefined) return { _tag: "HandedOff", entry, sent } as const
      entry.above = newer.seq
      return { _tag: "Overtaken", entry, sent } as const
    }).pipe(
      Effect.catchCause((cause) =>
        Effect.as(
          Effect.logError("A hosted record could not be handed to nodes that are back", cause),
          { _tag: "HandedOff", entry, sent: 0 } as const
        )
      )
    )

  /** Asks a node whether it is back. One that has become a client is not. */
  const probe = (contact: Contact): Effect.Effect<Probed> =>
    Effect.map(copies.isAlive(contact), (isAlive) => ({
      _tag: "Probed",
      contact,
      isBack: isAlive && !health.isClientUnsafe(contact.id)
    }))

  const withdraw = Effect.fnUntraced(function*(entry: Entry) {
    const { holders, key, record, signer, wanted } = entry
    const now = millis()
    if (entry.expires <= now) return sweep.sent(0, entry)
    const seconds = Math.floor(now / 1000)
    yield* Effect.fromResult(Identity.mandate(signer, seconds))
    const draft = yield* Effect.fromResult(Withdrawal.sign({ signer: drafter(signer), record, now: seconds }))
    const withdrawal = yield* signDraft(signer, draft)
    counts.signatures++
    let placement: Pick<Placement, "nodes" | "dual"> | undefined = sweep.placementOf(entry, now)
    if (placement === undefined) {
      sweep.sent(lookupCost)
      const { closest, dual } = yield* neighbourhood(key)
      const known = new Set(closest.map(({ id }) => id))
      placement = { nodes: closest, dual: dual.filter(({ id }) => !known.has(id)) }
    }
    const near = placement.nodes
    const held = new Set(holders)
    const nodes = (yield* copies.usable([...near, ...placement.dual]))
      .filter(({ id }, i) => i < wanted || held.has(NodeId.prefix(id)))
    sweep.sent(nodes.length, entry)
    counts.stores += nodes.length
    const outcomes = yield* Effect.forEach(
      nodes,
      (peer) => Effect.orElseSucceed(copies.store(peer, key, withdrawal, { checking: 0 }), () => "Silent" as const),
      { concurrency: "unbounded" }
    )
    const told = outcomes.filter((outcome) => outcome !== "Silent").length
    // The network may be out of reach, or the node not know it yet.
    if (told < Math.max(Math.min(wanted, near.length) / 2, 1)) sweep.notWithdrawn(entry, millis())
  }, (work, { key }) =>
    work.pipe(
      Effect.catchCause((cause) =>
        Cause.hasInterruptsOnly(cause)
          ? Effect.void
          : Effect.logWarning("A hosted record could not be withdrawn, and is left to expire", cause)
      ),
      Effect.annotateLogs({ module: "effect-dht/Hosting", key })
    ))

  return { counts, handOff, lookUp, probe, renew, withdraw }
})
