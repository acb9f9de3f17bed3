/**
 * Collecting all records of a key from the nodes that hold them, each record
 * from one holder.
 *
 * Holders list the digests of what had no room in their answers. A plain state
 * machine decides which holder to ask for which of them: requests come out of
 * {@link Collection.poll}, and their outcomes go back in. What a holder lists
 * and does not deliver is asked of the others, so a liar costs a bounded number
 * of requests and hides nothing.
 *
 * @since 0.1.0
 */
import type { Contact } from "../Contact.ts"
import type { RecordDigest } from "../Message.ts"
import type { NodeId } from "../NodeId.ts"

/**
 * What to do next. `Fetch`: ask this holder for these records, and report
 * `delivered` or `failed`. `Wait`: for an outcome.
 *
 * @internal
 */
export type Action =
  | { readonly _tag: "Fetch"; readonly holder: Contact; readonly digests: ReadonlyArray<RecordDigest> }
  | { readonly _tag: "Wait" }
  | { readonly _tag: "Done" }

/**
 * @internal
 */
export interface Options {
  /** Digests in one request: about what the answer has room for, 8. */
  readonly perRequest?: number | undefined
  /** Requests to one holder at the same time, 4. */
  readonly maxInFlight?: number | undefined
  /** Requests in all, 512. */
  readonly maxRequests?: number | undefined
  /** Digests that are remembered, 4096. */
  readonly maxDigests?: number | undefined
}

interface Holder {
  readonly contact: Contact
  /** What it lists, and is not yet known not to have. */
  readonly lists: Set<RecordDigest>
  inFlight: number
  /** Requests in a row that brought nothing. */
  failures: number
}

/** A holder is given up after so many requests in a row that brought nothing. */
const maxFailures = 3

/**
 * @internal
 */
export class Collection {
  private readonly perRequest: number
  private readonly maxInFlight: number
  private readonly maxRequests: number
  private readonly maxDigests: number
  private readonly holders = new Map<NodeId, Holder>()
  /** All that is known to be held somewhere, and whether it is here. */
  private readonly known = new Map<RecordDigest, "Here" | "Asked" | "Missing">()
  private requests = 0
  private here = 0

  constructor(options: Options = {}) {
    this.perRequest = options.perRequest ?? 8
    this.maxInFlight = options.maxInFlight ?? 4
    this.maxRequests = options.maxRequests ?? 512
    this.maxDigests = options.maxDigests ?? 4096
  }

  /** Records that are known to be held somewhere. */
  get held(): number {
    return this.known.size
  }

  /** How many of them are here. */
  get seen(): number {
    return this.here
  }

  /** Takes note of a record that is here. */
  has(digest: RecordDigest): void {
    const state = this.known.get(digest)
    if (state === "Here" || state === undefined && this.known.size >= this.maxDigests) return
    this.known.set(digest, "Here")
    this.here++
  }

  /** Takes note of what a holder has. */
  lists(contact: Contact, digests: ReadonlyArray<RecordDigest>): void {
    const holder = this.holders.get(contact.id) ??
      { contact, lists: new Set<RecordDigest>(), inFlight: 0, failures: 0 }
    this.holders.set(contact.id, holder)
    for (const digest of digests) {
      if (!this.known.has(digest)) {
        if (this.known.size >= this.maxDigests) return
        this.known.set(digest, "Missing")
      }
      holder.lists.add(digest)
    }
  }

  /** Says what to do next. */
  poll(): Action {
    if (this.requests < this.maxRequests) {
      // The least busy first, so that the work is shared among the holders.
      const ready = Array.from(this.holders.values())
        .filter(({ failures, inFlight }) => inFlight < this.maxInFlight && failures < maxFailures)
        .sort((a, b) => a.inFlight - b.inFlight || a.lists.size - b.lists.size)
      for (const holder of ready) {
        const digests = this.missingAt(holder)
        if (digests.length === 0) continue
        for (const digest of digests) this.known.set(digest, "Asked")
        holder.inFlight++
        this.requests++
        return { _tag: "Fetch", holder: holder.contact, digests }
      }
    }
    const isWaiting = Array.from(this.holders.values()).some(({ inFlight }) => inFlight > 0)
    return isWaiting ? { _tag: "Wait" } : { _tag: "Done" }
  }

  /** A holder answered a request with these records; what it did not bring is asked for again. */
  delivered(id: NodeId, asked: ReadonlyArray<RecordDigest>, brought: ReadonlyArray<RecordDigest>): void {
    const holder = this.end(id, asked)
    for (const digest of brought) this.has(digest)
    if (holder === undefined) return
    const isUseful = asked.some((digest) => brought.includes(digest))
    holder.failures = isUseful ? 0 : holder.failures + 1
    // It has none of them any more, or never had.
    if (!isUseful) { for (const digest of asked) holder.lists.delete(digest) }
  }

  /** A holder did not answer. */
  failed(id: NodeId, asked: ReadonlyArray<RecordDigest>): void {
    const holder = this.end(id, asked)
    if (holder !== undefined) holder.failures++
  }

  private end(id: NodeId, asked: ReadonlyArray<RecordDigest>): Holder | undefined {
    const holder = this.holders.get(id)
    if (holder === undefined || holder.inFlight === 0) return undefined
    holder.inFlight--
    for (const digest of asked) if (this.known.get(digest) === "Asked") this.known.set(digest, "Missing")
    return holder
  }

  private missingAt(holder: Holder): ReadonlyArray<RecordDigest> {
    const found: Array<RecordDigest> = []
    for (const digest of holder.lists) {
      const state = this.known.get(digest)
      if (state === "Here") holder.lists.delete(digest)
      else if (state === "Missing" && found.push(digest) === this.perRequest) break
    }
    return found
  }
}
