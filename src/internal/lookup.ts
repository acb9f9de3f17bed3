/**
 * The iterative lookup: walks from the contacts we have towards a target, by
 * asking the closest known nodes for closer ones, until the k closest live
 * nodes have answered (Maymounkov and Mazières, 2002, §2.3).
 *
 * A plain state machine: time comes in as milliseconds, requests come out of
 * {@link Lookup.poll}, and what became of them goes back in.
 *
 * The one idea behind its decisions: a candidate *stands* while it has answered
 * or is expected to, that is from the moment it is asked until it fails or is
 * slow. The k closest that stand are the answer as far as it is known; whoever
 * is closer than the farthest of them, and unasked, is asked next. A slow
 * request thereby makes room for another candidate, and still counts when it
 * is answered after all.
 *
 * @since 0.1.0
 */
import type { Contact } from "../Contact.ts"
import * as NodeId from "../NodeId.ts"

/**
 * @internal
 */
export interface Options {
  /** Never a candidate. */
  readonly self: NodeId.NodeId
  readonly target: NodeId.NodeId
  /** The group that hosts share when one party may own them all, `undefined` for hosts without such a limit. */
  readonly subnet: (host: string) => string | undefined
  /** Whether a node failed us lately: it is asked when fewer than `k` would answer without it. */
  readonly isBad: (id: NodeId.NodeId) => boolean
  /** Milliseconds after which a request to a node counts as slow. */
  readonly expectedRtt: (id: NodeId.NodeId) => number
  /** How many live nodes are wanted, 16. */
  readonly k?: number | undefined
  /** How many requests that are not slow may be in flight while the walk still comes closer, 3. */
  readonly alpha?: number | undefined
  /** How many requests may be in flight, slow ones included, 32. */
  readonly maxInFlight?: number | undefined
  /** Ends as soon as so many nodes have answered with the record looked for. Without it, all of the k closest are asked. */
  readonly quorum?: number | undefined
  /** Nodes taken from one answer, 20. */
  readonly maxNodesPerAnswer?: number | undefined
  /** Candidates remembered, and so an upper bound on the requests, 128. */
  readonly maxCandidates?: number | undefined
  /** How many of the k closest may be of one subnet while there are others, 4. */
  readonly maxPerSubnet?: number | undefined
}

/**
 * What to do next.
 *
 * `Ask` a node for what it knows `about` an id. That is the target, or, in a
 * search for nodes, a point beside it (see {@link Lookup.poll}); a search for
 * a record always asks about the target. `Wait` for an answer or failure, and
 * at most until the given time.
 *
 * @internal
 */
export type Action =
  | { readonly _tag: "Ask"; readonly contact: Contact; readonly about: NodeId.NodeId }
  | { readonly _tag: "Wait"; readonly until: number | undefined }
  | { readonly _tag: "Done" }

/**
 * What became of one request.
 *
 * @internal
 */
export interface Step {
  readonly contact: Contact
  readonly outcome: "Answered" | "Failed" | "Unanswered"
  readonly askedAt: number
  /** When it was answered or given up. */
  readonly endedAt: number | undefined
  readonly holdsRecord: boolean
  /** Leading bits shared with the target. */
  readonly commonPrefixLength: number
  /** 0 for a contact of our own, one more than its teacher's for a learned one. */
  readonly depth: number
  /** Nodes new to us and closer to the target than itself that it named. */
  readonly closerNodes: number
}

interface Candidate {
  readonly contact: Contact
  /** To the target, in hex: compares as text. */
  readonly distance: string
  readonly subnet: string | undefined
  readonly isBad: boolean
  readonly depth: number
  state: "Unasked" | "Asked" | "Answered" | "Failed"
  /** Asked because there was nobody better to ask. */
  isLastResort: boolean
  askedAt: number
  slowAt: number
  endedAt: number | undefined
  holdsRecord: boolean
  closerNodes: number
}

/** Candidates nearest first, apart those whose subnet has had its share. */
interface Ranking {
  readonly within: ReadonlyArray<Candidate>
  readonly crowded: ReadonlyArray<Candidate>
  readonly isFull: (subnet: string | undefined) => boolean
}

/**
 * One lookup. Seed it, then call `poll` until it says `Wait` or `Done`, and
 * again after every event and at the time it names.
 *
 * @internal
 */
export class Lookup {
  private readonly options: Options
  private readonly k: number
  private readonly alpha: number
  private readonly maxInFlight: number
  private readonly quorum: number
  private readonly maxNodesPerAnswer: number
  private readonly maxCandidates: number
  private readonly maxPerSubnet: number
  /** Nearest first. */
  private readonly candidates: Array<Candidate> = []
  private readonly byId = new Map<NodeId.NodeId, Candidate>()
  /** In the order of asking. */
  private readonly asked: Array<Candidate> = []
  private holders = 0
  private isDone = false

  constructor(options: Options) {
    this.options = options
    this.k = options.k ?? 16
    this.alpha = options.alpha ?? 3
    this.maxInFlight = options.maxInFlight ?? 32
    this.quorum = options.quorum ?? Infinity
    this.maxNodesPerAnswer = options.maxNodesPerAnswer ?? 20
    this.maxCandidates = options.maxCandidates ?? 128
    this.maxPerSubnet = options.maxPerSubnet ?? 4
  }

  /**
   * A contact of our own. All are given before the first `poll`, so that no
   * hearsay decides where they are; nor does any displace them.
   */
  seed(contact: Contact): void {
    this.learn(contact, 0)
  }

  /** What to do next. */
  poll(now: number): Action {
    if (this.isDone) return { _tag: "Done" }
    const standing = this.nearest(this.k, (candidate) => stands(candidate, now))
    const next = this.next(standing, now)
    if (this.holders >= this.quorum || next === undefined && !this.isAwaiting()) {
      this.isDone = true
      return { _tag: "Done" }
    }
    const inFlight = this.asked.filter((candidate) => candidate.state === "Asked")
    const prompt = inFlight.filter((candidate) => stands(candidate, now))
    if (next !== undefined && inFlight.length < this.maxInFlight) {
      // The closest node we know has answered, so nobody closer is to be
      // expected. What is left is to hear each of the k closest, and nothing
      // is gained by holding their requests back.
      const isArriving = standing.within.length > 0 && standing.within[0].state === "Answered" &&
        standing.within[0].distance < next.distance
      if (prompt.length < (isArriving ? Math.max(this.k, this.alpha) : this.alpha)) {
        next.state = "Asked"
        next.isLastResort = next.isBad || standing.isFull(next.subnet)
        next.askedAt = now
        next.slowAt = now + this.options.expectedRtt(next.contact.id)
        this.asked.push(next)
        return {
          _tag: "Ask",
          contact: next.contact,
          about: isArriving ? besideTarget(this.options.target, next.contact.id) : this.options.target
        }
      }
    }
    return {
      _tag: "Wait",
      until: prompt.length === 0 ? undefined : Math.min(...prompt.map((candidate) => candidate.slowAt))
    }
  }

  /** A node answered. Ignored unless it was asked and nothing was heard of it since. */
  answered(
    id: NodeId.NodeId,
    now: number,
    answer: { readonly nodes: ReadonlyArray<Contact>; readonly holdsRecord: boolean }
  ): void {
    const candidate = this.end(id, now, "Answered")
    if (candidate === undefined) return
    candidate.holdsRecord = answer.holdsRecord
    if (answer.holdsRecord) this.holders++
    for (const contact of answer.nodes.slice(0, this.maxNodesPerAnswer)) {
      const learned = this.learn(contact, candidate.depth + 1)
      if (learned !== undefined && learned.distance < candidate.distance) candidate.closerNodes++
    }
  }

  /** A node did not answer in its time. Ignored like a late answer. */
  failed(id: NodeId.NodeId, now: number): void {
    this.end(id, now, "Failed")
  }

  /** The closest nodes that answered, nearest first. */
  closest(n = this.k): ReadonlyArray<Contact> {
    return merge(this.nearest(n, hasAnswered), n).map((candidate) => candidate.contact)
  }

  /** Every request of this lookup, in the order of asking. */
  get trace(): ReadonlyArray<Step> {
    return this.asked.map((candidate) => ({
      contact: candidate.contact,
      outcome: candidate.state === "Answered" || candidate.state === "Failed" ? candidate.state : "Unanswered",
      askedAt: candidate.askedAt,
      endedAt: candidate.endedAt,
      holdsRecord: candidate.holdsRecord,
      commonPrefixLength: NodeId.commonPrefixLength(this.options.target, candidate.contact.id),
      depth: candidate.depth,
      closerNodes: candidate.closerNodes
    }))
  }

  private next(standing: Ranking, now: number): Candidate | undefined {
    const farthest = standing.within.at(this.k - 1)
    const next = this.candidates.find((candidate) =>
      candidate.state === "Unasked" && !candidate.isBad && !standing.isFull(candidate.subnet) &&
      (farthest === undefined || candidate.distance < farthest.distance)
    )
    if (next !== undefined || farthest !== undefined) return next
    // Too few to go by. Before the rest are tried, whoever may still name
    // others has its say.
    if (
      this.asked.some((candidate) => stands(candidate, now) && candidate.state === "Asked" && !candidate.isLastResort)
    ) {
      return undefined
    }
    const last = merge(standing, this.k).at(this.k - 1)
    return this.candidates.find((candidate) =>
      candidate.state === "Unasked" &&
      (last === undefined || !candidate.isBad && candidate.distance < last.distance)
    )
  }

  private end(id: NodeId.NodeId, now: number, state: "Answered" | "Failed"): Candidate | undefined {
    const candidate = this.byId.get(id)
    if (this.isDone || candidate?.state !== "Asked") return undefined
    candidate.state = state
    candidate.endedAt = now
    return candidate
  }

  /** Whether an answer on its way can still be among the k closest. */
  private isAwaiting(): boolean {
    const farthest = this.nearest(this.k, hasAnswered).within.at(this.k - 1)
    return this.asked.some((candidate) =>
      candidate.state === "Asked" && (farthest === undefined || candidate.distance < farthest.distance)
    )
  }

  private learn(contact: Contact, depth: number): Candidate | undefined {
    if (contact.id === this.options.self || this.byId.has(contact.id)) return undefined
    const candidate: Candidate = {
      contact,
      distance: NodeId.distance(this.options.target, contact.id),
      subnet: this.options.subnet(contact.host),
      isBad: this.options.isBad(contact.id),
      depth,
      state: "Unasked",
      isLastResort: false,
      askedAt: 0,
      slowAt: 0,
      endedAt: undefined,
      holdsRecord: false,
      closerNodes: 0
    }
    this.byId.set(contact.id, candidate)
    this.candidates.splice(this.placeOf(candidate), 0, candidate)
    if (this.candidates.length > this.maxCandidates) {
      const at = this.candidates.findLastIndex((other) => other.state === "Unasked" && (other.depth > 0 || depth === 0))
      const [dropped] = this.candidates.splice(at, 1)
      this.byId.delete(dropped.contact.id)
    }
    return candidate
  }

  private placeOf({ distance }: Candidate): number {
    let low = 0
    let high = this.candidates.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.candidates[middle].distance < distance) low = middle + 1
      else high = middle
    }
    return low
  }

  private nearest(n: number, passes: (candidate: Candidate) => boolean): Ranking {
    const within: Array<Candidate> = []
    const crowded: Array<Candidate> = []
    const taken = new Map<string, number>()
    const isFull = (subnet: string | undefined) => subnet !== undefined && (taken.get(subnet) ?? 0) >= this.maxPerSubnet
    for (const candidate of this.candidates) {
      if (!passes(candidate)) continue
      const { subnet } = candidate
      if (isFull(subnet)) {
        crowded.push(candidate)
        continue
      }
      if (subnet !== undefined) taken.set(subnet, (taken.get(subnet) ?? 0) + 1)
      if (within.push(candidate) === n) break
    }
    return { within, crowded, isFull }
  }
}

const hasAnswered = (candidate: Candidate): boolean => candidate.state === "Answered"

const stands = (candidate: Candidate, now: number): boolean =>
  candidate.state === "Answered" || candidate.state === "Asked" && now < candidate.slowAt

/** The `n` nearest, filled up with crowded ones where the others are too few. */
const merge = ({ crowded, within }: Ranking, n: number): ReadonlyArray<Candidate> =>
  [...within, ...crowded.slice(0, n - within.length)].sort((a, b) => a.distance < b.distance ? -1 : 1)

/**
 * The target, moved to the node's side of the first bit in which they differ.
 *
 * All nodes around the target know each other, and an answer has room for
 * fewer than k of them: asked about the target, they would all name the same
 * nearest ones, and the farther of the k closest would stay unknown. Asked
 * about this point, a node names those on its own side of the target, in the
 * same order of distance.
 */
const besideTarget = (target: NodeId.NodeId, id: NodeId.NodeId): NodeId.NodeId => {
  const bit = NodeId.commonPrefixLength(target, id)
  const digit = bit >> 2
  const flipped = parseInt(target[digit], 16) ^ (8 >> (bit & 3))
  return target.slice(0, digit) + flipped.toString(16) + target.slice(digit + 1) as NodeId.NodeId
}
