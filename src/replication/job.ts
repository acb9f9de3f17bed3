/**
 * A replication job: the record of one slot, its replicas, and what is known of
 * other nodes close to its key.
 *
 * @since 0.1.0
 */
import * as Bytes from "effect/Bytes"
import type * as Effect from "effect/Effect"
import type * as Latch from "effect/Latch"
import type { Contact } from "../Contact.ts"
import { slotOf } from "../core/recordMerge.ts"
import type { ReplicaSet } from "../core/replicaSet.ts"
import type { InFlight } from "../InFlight.ts"
import type { NodeId } from "../NodeId.ts"
import type { PublishHint } from "../PublishHint.ts"
import type { Neighbourhood } from "../Query.ts"
import * as Record from "../Record.ts"

/**
 * Number of nodes that should hold a copy.
 *
 * @category constants
 * @since 0.1.0
 */
export const replicas = 8

/**
 * Options of a replicated record.
 *
 * @category models
 * @since 0.1.0
 */
export interface ReplicateOptions {
  /** Signs the content again, newer than a record that a node holds; undefined if that is impossible. */
  readonly signOver?: ((held: Record.SignedRecord) => Effect.Effect<Record.SignedRecord | undefined>) | undefined
  readonly hints?: ReadonlyArray<PublishHint> | undefined
  /** Whether the job is for this run of the node only, unless a job of its slot is for later runs too. Defaults to false. */
  readonly isTransient?: boolean | undefined
}

/** Nodes without room that are remembered: of two lookups. */
const maxFull = 32

/**
 * Outcome of a request; `Woken`: there may be more to do.
 *
 * @internal
 */
export type Outcome =
  | { readonly _tag: "Woken" }
  | {
    readonly _tag: "Found"
    readonly neighbourhood: Neighbourhood
    /** Whether a node is reachable over both families, as it last said. */
    readonly isDual: (id: NodeId) => boolean
  }
  | {
    readonly _tag: "Stored" | "Refused" | "Unwanted" | "Full" | "Kept" | "Lost" | "Failed"
    readonly contact: Contact
  }
  | {
    /** The node holds a newer record. */
    readonly _tag: "Superseded"
    readonly contact: Contact
    readonly held: Record.SignedRecord
    readonly by: "Store" | "Probe"
  }

/**
 * One publication: its record and state.
 *
 * @internal
 */
export interface Edition {
  record: Record.SignedRecord
  readonly options: ReplicateOptions
  /** Whether it was ever placed completely; a newer record found after that was published later. */
  isPlaced: boolean
  signedOver: number
  /** A newer record that readers see instead. */
  supersededBy: Record.SignedRecord | undefined
  /** Whether its maintenance has ended. */
  isOver: boolean
  readonly isWithdrawal: boolean
}

/**
 * @internal
 */
export const editionOf = (record: Record.SignedRecord): Edition => ({
  record,
  options: {},
  isPlaced: false,
  signedOver: 0,
  supersededBy: undefined,
  isOver: false,
  isWithdrawal: false
})

/**
 * @internal
 */
export interface Job {
  /** Number of the job, counted from the start of the node. */
  readonly number: number
  readonly key: NodeId
  edition: Edition
  readonly set: ReplicaSet
  /** Nodes without room for the record. */
  readonly full: Map<NodeId, Contact>
  isSurrounded: boolean
  /** Whether the job ends with this run of the node. */
  isTransient: boolean
  /** The warnings that were logged, so that none is repeated. */
  readonly warned: Set<"Full" | "Surrounded">
  /** Answers that have to be checked before they count. */
  checking: number
  readonly inFlight: InFlight<Outcome>
  /** Opened at every change that a caller may wait for. */
  readonly changed: Latch.Latch
}

/**
 * Applies the outcome of a request to the job.
 *
 * @internal
 */
export const apply = (job: Job, outcome: Exclude<Outcome, { readonly _tag: "Superseded" }>, now: number): void => {
  const { full, set } = job
  switch (outcome._tag) {
    case "Woken":
      return
    case "Found": {
      const { closest, dual, isSurrounded, region } = outcome.neighbourhood
      job.isSurrounded = isSurrounded
      // Nodes that surround the key would take all copies and show none.
      set.want(isSurrounded ? closest.length + region.length : replicas)
      return set.found([...closest, ...region], now, { dual, isDual: outcome.isDual })
    }
    case "Full":
      if (full.size < maxFull) full.set(outcome.contact.id, outcome.contact)
      return set.refused(outcome.contact.id, now, { stable: true })
    case "Stored":
      full.delete(outcome.contact.id)
      return set.stored(outcome.contact.id, now)
    case "Refused":
      return set.refused(outcome.contact.id, now, { stable: false })
    case "Unwanted":
      return set.refused(outcome.contact.id, now, { stable: true })
    case "Kept":
      return set.kept(outcome.contact.id, now)
    case "Lost":
      return set.lost(outcome.contact.id, now)
    case "Failed":
      return set.failed(outcome.contact.id, now)
  }
}

/**
 * Identifies the slot of a record at a key.
 *
 * @internal
 */
export const slotAt = (key: NodeId, record: Record.SignedRecord): string =>
  `${key} ${slotOf(Record.category(record.type), record)}`

/**
 * Equal signatures mean equal records.
 *
 * @internal
 */
export const isSame = (a: Record.SignedRecord, b: Record.SignedRecord): boolean =>
  Bytes.Equivalence(a.signature, b.signature)
