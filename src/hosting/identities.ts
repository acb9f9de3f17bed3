/**
 * The hosted identities: their states, and how they are shown.
 *
 * @since 0.1.0
 */
import type * as Address from "../Address.ts"
import type * as Delegation from "../Delegation.ts"
import type * as NodeId from "../NodeId.ts"
import type * as Record from "../Record.ts"
import { type Entry, Owner } from "./entry.ts"
import { type Failure, type Reason, reasons, type RenewalError } from "./failure.ts"

/**
 * A record of a hosted identity.
 *
 * @category models
 * @since 0.1.0
 */
export interface HostedRecord {
  readonly key: NodeId.NodeId
  readonly type: number
  /** The record as last signed; undefined before that. */
  readonly record: Record.SignedRecord | undefined
  /** Number of nodes that hold it, and that should. */
  readonly copies: number
  readonly wanted: number
  /** The first 32 bits of the ids of the nodes that hold it. */
  readonly holders: ReadonlyArray<number>
  /** When it is renewed, or tried again, in Unix milliseconds. */
  readonly due: number
  /** Failures since the last success. */
  readonly failures: number
  /** Whether the last attempt failed. */
  readonly isFailing: boolean
  /** Why the last attempt failed; undefined if it did not, and for a fault of this library, which is logged. */
  readonly reason: RenewalError | undefined
}

/**
 * A hosted identity.
 *
 * @category models
 * @since 0.1.0
 */
export interface Hosted {
  readonly address: Address.Address
  readonly state: State
  /** Whether its delegation has ended, and its records are no longer renewed. */
  readonly hasEnded: boolean
  /** The delegation of its key; undefined for the address's own key. */
  readonly delegation: Delegation.Delegation | undefined
  readonly replicas: number
  /** Seconds that its records live, where their content does not say. */
  readonly ttl: number
  /** Whether its mailbox is read. */
  readonly readsMail: boolean
  readonly records: ReadonlyArray<HostedRecord>
}

/**
 * The states of an identity, in the order of a page: `Failing` if the last
 * attempt to renew one of its records failed, `Ended` if its delegation has.
 *
 * @category constants
 * @since 0.1.0
 */
export const states = ["Failing", "Ended", "Good"] as const

/**
 * @category models
 * @since 0.1.0
 */
export type State = typeof states[number]

/**
 * The position of an identity in a list of pages.
 *
 * @category models
 * @since 0.1.0
 */
export interface Place {
  readonly state: State
  /** Counts the identities in the order in which they were hosted. */
  readonly number: number
}

/**
 * Which identities a page has.
 *
 * @category models
 * @since 0.1.0
 */
export interface PageOptions {
  readonly limit: number
  /** The `next` of the page before. */
  readonly after?: Place | undefined
  /** Only those in this state; all by default. */
  readonly state?: State | undefined
}

/**
 * A page of hosted identities.
 *
 * @category models
 * @since 0.1.0
 */
export interface Page {
  readonly hosted: ReadonlyArray<Hosted>
  /** Undefined on the last page. */
  readonly next: Place | undefined
}

const stateOf = ({ failing, hasEnded }: Owner): State => hasEnded ? "Ended" : failing > 0 ? "Failing" : "Good"

/**
 * The hosted identities, in the order in which they were hosted.
 *
 * @internal
 */
export class Identities {
  private readonly owners = new Map<Address.Address, Owner>()
  /** Those that do not count as good, by their state. */
  private readonly others = { Failing: new Set<Owner>(), Ended: new Set<Owner>() }
  private readonly counts = Object.fromEntries(reasons.map((reason) => [reason, 0])) as { [reason in Reason]: number }
  private readonly dueOf: (entry: Entry) => number
  private hosted = 0

  /** `dueOf`: when a record is due, in Unix milliseconds. */
  constructor(dueOf: (entry: Entry) => number) {
    this.dueOf = dueOf
  }

  get size(): number {
    return this.owners.size
  }

  /** Number of identities in each state. */
  get states(): { readonly [state in State]: number } {
    const { Ended: { size: Ended }, Failing: { size: Failing } } = this.others
    return { Failing, Ended, Good: this.size - Failing - Ended }
  }

  /** Records whose last attempt failed, by the tag of the reason. */
  get failing(): { readonly [reason in Reason]: number } {
    return { ...this.counts }
  }

  get(address: Address.Address): Owner | undefined {
    return this.owners.get(address)
  }

  /** Whether this identity is hosted, and not a later one of its address. */
  has(owner: Owner): boolean {
    return this.owners.get(owner.address) === owner
  }

  add(options: Pick<Owner, "address" | "signer" | "replicas" | "ttl" | "readsMail">): Owner {
    const owner = new Owner({ ...options, number: this.hosted++ })
    this.owners.set(owner.address, owner)
    return owner
  }

  remove(owner: Owner): void {
    this.owners.delete(owner.address)
    this.classify(owner)
  }

  /** Notes that the delegation of an identity has ended, or that it has another one. */
  end(owner: Owner, hasEnded: boolean): void {
    owner.hasEnded = hasEnded
    this.classify(owner)
  }

  /** Notes the outcome of the last attempt to renew a record. */
  judge(entry: Entry, failure: Failure | undefined): void {
    const { failure: before, owner } = entry
    entry.failure = failure
    if (before !== undefined) this.counts[before.tag]--
    if (failure !== undefined) this.counts[failure.tag]++
    owner.failing += Number(failure !== undefined) - Number(before !== undefined)
    this.classify(owner)
  }

  shown(owner: Owner): Hosted {
    return {
      address: owner.address,
      state: stateOf(owner),
      hasEnded: owner.hasEnded,
      delegation: owner.signer.delegation,
      replicas: owner.replicas,
      ttl: owner.ttl,
      readsMail: owner.mailbox !== undefined,
      records: owner.records.map((entry) => ({
        key: entry.key,
        type: entry.type,
        record: entry.isSigned ? entry.record : undefined,
        copies: entry.holders.length,
        wanted: entry.wanted,
        holders: entry.holders,
        due: this.dueOf(entry),
        failures: entry.failures,
        isFailing: entry.failure !== undefined,
        reason: entry.failure?.reason
      }))
    }
  }

  /** All identities, in the order in which they were hosted. */
  all(): Iterable<Owner> {
    return this.owners.values()
  }

  page({ after, limit, state }: PageOptions): Page {
    const first = after === undefined ? 0 : states.indexOf(after.state)
    const found: Array<Owner> = []
    for (const each of states.slice(first)) {
      if (state !== undefined && each !== state) continue
      for (const owner of this.inState(each)) {
        const isBefore = each === after?.state && owner.number <= after.number
        if (isBefore || stateOf(owner) !== each) continue
        // One more than there is room for: there is another page.
        if (found.push(owner) > limit) break
      }
      if (found.length > limit) break
    }
    const hosted = found.slice(0, limit)
    const last = hosted.at(-1)
    return {
      hosted: hosted.map((owner) => this.shown(owner)),
      next: last === undefined || found.length <= limit ? undefined : { state: stateOf(last), number: last.number }
    }
  }

  /** The identities in a state, in the order in which they were hosted. */
  private inState(state: State): Iterable<Owner> {
    return state === "Good" ? this.all() : Array.from(this.others[state]).sort((a, b) => a.number - b.number)
  }

  /** Files an identity by its state. */
  private classify(owner: Owner): void {
    const state = stateOf(owner)
    this.others.Failing.delete(owner)
    this.others.Ended.delete(owner)
    if (state !== "Good" && this.has(owner)) this.others[state].add(owner)
  }
}
