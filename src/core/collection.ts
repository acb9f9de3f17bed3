/**
 * Collects all records of a key from its holders, each record from one of them.
 *
 * Holders list the digests of records that did not fit into their responses. A
 * plain state machine decides which holder to request them from: requests come
 * out of {@link Collection.poll}, and their outcomes go back in. A record that a
 * holder lists and does not deliver is requested from the others, so a lying
 * holder costs a bounded number of requests and hides nothing.
 *
 * @since 0.1.0
 */
import type { Contact } from "../Contact.ts"
import type { RecordDigest } from "../Message.ts"
import type { NodeId } from "../NodeId.ts"

/**
 * The next action. `Fetch`: request these records from this holder, then call
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
  /** Digests in one request, about as many as a response has room for; defaults to 8. */
  readonly perRequest?: number | undefined
  /** Requests in flight to one holder; defaults to 4. */
  readonly maxInFlight?: number | undefined
  /** Requests in total; defaults to 512. */
  readonly maxRequests?: number | undefined
  /** Remembered digests; defaults to 4096. */
  readonly maxDigests?: number | undefined
}

interface Holder {
  readonly contact: Contact
  /** Digests that it listed and has not failed to deliver. */
  readonly lists: Set<RecordDigest>
  inFlight: number
  /** Consecutive requests without a requested record. */
  failures: number
}

/** Consecutive requests without a requested record after which a holder is skipped. */
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
  /** The state of each record that a holder is known to have. */
  private readonly known = new Map<RecordDigest, "Received" | "Requested" | "Missing">()
  private requests = 0
  private received = 0

  constructor(options: Options = {}) {
    this.perRequest = options.perRequest ?? 8
    this.maxInFlight = options.maxInFlight ?? 4
    this.maxRequests = options.maxRequests ?? 512
    this.maxDigests = options.maxDigests ?? 4096
  }

  /** Number of records that holders are known to have. */
  get held(): number {
    return this.known.size
  }

  /** Number of records received. */
  get seen(): number {
    return this.received
  }

  /** Registers a received record. */
  has(digest: RecordDigest): void {
    const state = this.known.get(digest)
    if (state === "Received" || state === undefined && this.known.size >= this.maxDigests) return
    this.known.set(digest, "Received")
    this.received++
  }

  /** Registers the records that a holder lists. */
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

  /** Returns the next action. */
  poll(): Action {
    if (this.requests < this.maxRequests) {
      // The least busy first, so that holders share the work.
      const ready = Array.from(this.holders.values())
        .filter(({ failures, inFlight }) => inFlight < this.maxInFlight && failures < maxFailures)
        .sort((a, b) => a.inFlight - b.inFlight || a.lists.size - b.lists.size)
      for (const holder of ready) {
        const digests = this.missingAt(holder)
        if (digests.length === 0) continue
        for (const digest of digests) this.known.set(digest, "Requested")
        holder.inFlight++
        this.requests++
        return { _tag: "Fetch", holder: holder.contact, digests }
      }
    }
    const isWaiting = Array.from(this.holders.values()).some(({ inFlight }) => inFlight > 0)
    return isWaiting ? { _tag: "Wait" } : { _tag: "Done" }
  }

  /** Registers a response. Requested records that it lacks are requested again. */
  delivered(id: NodeId, requested: ReadonlyArray<RecordDigest>, received: ReadonlyArray<RecordDigest>): void {
    const holder = this.end(id, requested)
    for (const digest of received) this.has(digest)
    if (holder === undefined) return
    const isUseful = requested.some((digest) => received.includes(digest))
    holder.failures = isUseful ? 0 : holder.failures + 1
    // It no longer has any of them, or never had.
    if (!isUseful) { for (const digest of requested) holder.lists.delete(digest) }
  }

  /** Registers a request without a response. */
  failed(id: NodeId, requested: ReadonlyArray<RecordDigest>): void {
    const holder = this.end(id, requested)
    if (holder !== undefined) holder.failures++
  }

  private end(id: NodeId, requested: ReadonlyArray<RecordDigest>): Holder | undefined {
    const holder = this.holders.get(id)
    if (holder === undefined || holder.inFlight === 0) return undefined
    holder.inFlight--
    for (const digest of requested) if (this.known.get(digest) === "Requested") this.known.set(digest, "Missing")
    return holder
  }

  private missingAt(holder: Holder): ReadonlyArray<RecordDigest> {
    const found: Array<RecordDigest> = []
    for (const digest of holder.lists) {
      const state = this.known.get(digest)
      if (state === "Received") holder.lists.delete(digest)
      else if (state === "Missing" && found.push(digest) === this.perRequest) break
    }
    return found
  }
}
