/**
 * Records that guests have signed, who have no token of the node: as many as a
 * bound allows, shared fairly among the networks that they come from.
 *
 * The copies of such a record are maintained by this run of the node only, so the
 * bound holds over a restart: there is nothing then that counts for no network.
 *
 * @module
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { Shares } from "../core/shares.ts"
import type * as NodeId from "../NodeId.ts"
import { type PublishError, RecordTooLarge } from "../Publisher.ts"
import * as Record from "../Record.ts"
import * as Replication from "../Replication.ts"
import { isSame, slotAt } from "../replication/job.ts"
import { Store } from "../Store.ts"
import * as Limits from "./Limits.ts"
import type * as Problem from "./Problem.ts"

/**
 * Maximum number of records whose copies the node maintains for guests.
 *
 * @category constants
 * @since 0.1.0
 */
export const maxRecords = 1024

/**
 * The records of guests.
 *
 * @category services
 * @since 0.1.0
 */
export class GuestRecords extends Context.Service<GuestRecords, {
  /**
   * Publishes a record, which `Store.vet` has passed for the key, for a guest of
   * the network. At the bound, the network with the most records loses its latest
   * one if it has at least two more than this network; otherwise this fails.
   */
  readonly publish: (
    network: string,
    key: NodeId.NodeId,
    record: Record.SignedRecord
  ) => Effect.Effect<
    Replication.Publication,
    PublishError | Problem.Problem<"TooMany">
  >
  /** Number of records whose copies are maintained for guests. */
  readonly size: Effect.Effect<number>
}>()("effect-dht/http/GuestRecords") {}

/** A record of a guest. */
interface Entry {
  readonly weight: 1
  readonly number: number
  readonly slot: string
  readonly publication: Replication.Publication
  network: string
  /** Unix seconds. */
  expiresAt: number
}

const make = Effect.gen(function*() {
  const store = yield* Store
  const replication = yield* Replication.Replication
  const entries = new Map<string, Entry>()
  const shares = new Shares<Entry>()
  let made = 0

  const remove = (entry: Entry): void => {
    shares.remove(entry.network, entry)
    entries.delete(entry.slot)
  }

  const removeExpired = (now: number): void => {
    for (const entry of entries.values()) if (entry.expiresAt < now) remove(entry)
  }

  /** Whether there is room for another record of a network, if need be in place of another's. */
  const hasRoom = (network: string, now: number): boolean => {
    if (entries.size >= maxRecords) removeExpired(now)
    return entries.size < maxRecords || (shares.heaviest()?.weight ?? 0) > shares.weight(network) + 1
  }

  /** Counts a record for the network with the smaller share of those that have published it, so that repeating it costs its guest nothing. */
  const recount = (entry: Entry, network: string): void => {
    if (shares.weight(network) + 1 >= shares.weight(entry.network)) return
    shares.remove(entry.network, entry)
    entry.network = network
    shares.add(network, entry)
  }

  const add = Effect.fnUntraced(function*(entry: Entry) {
    const displaced = entries.size < maxRecords ? undefined : shares.heaviest()?.newest
    if (displaced !== undefined) {
      remove(displaced)
      yield* replication.release(displaced.publication)
    }
    entries.set(entry.slot, entry)
    shares.add(entry.network, entry)
  })

  const publish: GuestRecords["Service"]["publish"] = Effect.fnUntraced(function*(network, key, record) {
    const size = record.bytes.length
    if (size > Record.maxResolvableSize) {
      return yield* new RecordTooLarge({ size, limit: Record.maxResolvableSize })
    }
    const now = Math.floor((yield* Clock.currentTimeMillis) / 1000)
    const slot = slotAt(key, record)
    const known = entries.get(slot)
    if (known === undefined && !hasRoom(network, now)) {
      return yield* Effect.fail(Limits.tooMany("records of guests", maxRecords))
    }
    const admission = store.admitUnsafe(key, record, now, network)
    if (admission._tag === "Refused") {
      const { reason } = admission
      return yield* reason._tag === "InvalidDelegation" ? reason : Record.toError(reason)
    }
    // A repeated record may be one whose copies are no longer maintained.
    if (admission._tag === "Stale" && !isSame(record, admission.held)) {
      return yield* Record.stale(record, admission.held)
    }
    const publication = yield* replication.replicate(key, record, { isTransient: true })
    // Others are maintained for the node's owner anyway.
    if (yield* publication.isTransient) {
      const { expiresAt } = publication.record
      if (known === undefined) {
        yield* add({ weight: 1, number: ++made, slot, publication, network, expiresAt })
      } else {
        recount(known, network)
        known.expiresAt = expiresAt
      }
    } else if (known !== undefined) remove(known)
    return publication
  }, Effect.uninterruptible)

  return GuestRecords.of({
    publish,
    size: Effect.map(Clock.currentTimeMillis, (millis) => {
      removeExpired(Math.floor(millis / 1000))
      return entries.size
    })
  })
})

/**
 * No records at first.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<GuestRecords, never, Replication.Replication | Store> = Layer.effect(
  GuestRecords,
  make
)
