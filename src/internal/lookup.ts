/**
 * The iterative lookup: from our own contacts towards a target, asking
 * the closest known nodes for closer ones, until the k closest live nodes have
 * answered (Maymounkov and Mazières, 2002, §2.3).
 *
 * A plain state machine: time comes in as milliseconds, requests come out of
 * {@link Lookup.poll}, and what becomes of them goes back in.
 *
 * One idea is behind all its decisions. A candidate *stands* when it has
 * answered, or was asked and is not slow yet. The k closest that stand are the
 * answer as far as anybody can tell now, so the next to be asked is the closest
 * candidate that would be among them. A slow request no longer stands and
 * thereby makes room for another candidate, but still counts once it is
 * answered.
 *
 * Every node in the result answered to this very lookup. Contacts that answered
 * us a while ago are asked like all others: their neighbours may be closer than
 * anybody we know, and one that went away since must not be found.
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
  /** What hosts that may all belong to one party have in common; `undefined` for a host that stands for itself. */
  readonly subnet: (host: string) => string | undefined
  /** Whether a node has failed us lately: it is asked only if fewer than `k` would answer otherwise. */
  readonly isBad: (id: NodeId.NodeId) => boolean
  /** Milliseconds after which a request to a node is slow. */
  readonly slowAfter: (id: NodeId.NodeId) => number
  /** How many nodes are wanted, 16. */
  readonly k?: number | undefined
  /** Requests in flight that are not slow, while the lookup still comes closer, 3. */
  readonly alpha?: number | undefined
  /** Requests in flight, slow ones included, 32. */
  readonly maxInFlight?: number | undefined
  /**
   * Ends the lookup once so many of the k/2 nodes nearest to the target have
   * answered with the record. Without it, all of the k closest are asked.
   */
  readonly quorum?: number | undefined
  /**
   * Whether nodes that stand so near to the target, nearest first, surround it on
   * purpose; then they are no quorum. By default they never do.
   */
  readonly isSurrounded?: ((ids: ReadonlyArray<NodeId.NodeId>) => boolean) | undefined
  /**
   * Whether the lookup, once k nodes have answered, still waits for slow ones
   * that are closer, true. A record is on several of the k closest, so a search
   * for records misses nothing without one or two of them.
   */
  readonly awaitsSlow?: boolean | undefined
  /** Nodes taken from one answer, 20. */
  readonly maxNodesPerAnswer?: number | undefined
  /** Candidates remembered, and requests made, 128. */
  readonly maxCandidates?: number | undefined
  /** How many of the k closest may be of one subnet as long as others can take the places, 4. */
  readonly maxPerSubnet?: number | undefined
}

/**
 * What to do next.
 *
 * `Ask`: send this contact a request. A search for nodes asks `about` the given
 * point, which is the target or beside it; a search for a record asks about the
 * target. `Wait`: for an outcome, at most until the given time.
 *
 * @internal
 */
export type Action =
  | { readonly _tag: "Ask"; readonly contact: Contact; readonly about: NodeId.NodeId }
  | { readonly _tag: "Wait"; readonly until: number | undefined }
  | { readonly _tag: "Done" }

/**
 * What an asked node answered.
 *
 * @internal
 */
export interface Answer {
  readonly nodes: ReadonlyArray<Contact>
  /** Whether it came with a valid record of those looked for. */
  readonly holdsRecord: boolean
  /** Whether the node will be gone soon, and so is none of the closest. */
  readonly isClient?: boolean | undefined
}

/**
 * One request and what became of it; times in milliseconds.
 *
 * @internal
 */
export interface Step {
  readonly contact: Contact
  /** `Unanswered`: the lookup ended before. */
  readonly outcome: "Answered" | "Failed" | "Unanswered"
  readonly askedAt: number
  readonly endedAt: number | undefined
  readonly holdsRecord: boolean
  /** Leading bits that the node's id and the target share. */
  readonly commonPrefixLength: number
  /** Who named it; undefined for our own contacts. */
  readonly learnedFrom: NodeId.NodeId | undefined
  /** 0 for our own contacts, one more than the referrer's for a node learned from an answer. */
  readonly depth: number
  /** Nodes it named that were new to us and closer to the target than itself. */
  readonly closerNodes: number
}

interface Candidate {
  readonly contact: Contact
  /** The first 32 bits of its distance from the target, which nearly always decide which of two is closer. */
  readonly near: number
  readonly target: NodeId.NodeId
  /** The number of its subnet in this lookup; undefined for a host that stands for itself. */
  readonly subnet: number | undefined
  readonly isBad: boolean
  /** Who named it; nobody for our own contacts. */
  readonly referrer: Candidate | undefined
  /** It failed at another address before. */
  readonly isRetry: boolean
  /** Where another referrer says it is. */
  elsewhere: Contact | undefined
  state: "Unasked" | "Asked" | "Answered" | "Failed"
  /** Asked for want of better ones. */
  isLastResort: boolean
  askedAt: number
  slowAt: number
  endedAt: number | undefined
  holdsRecord: boolean
  isClient: boolean
  closerNodes: number
}

/** Some candidates nearest first, apart from those whose subnet had its share before. */
interface Ranking {
  readonly ranked: ReadonlyArray<Candidate>
  readonly crowded: ReadonlyArray<Candidate>
}

/**
 * One lookup. Seed it, then poll it until it says `Wait` or `Done`, and again
 * after every outcome and at the time it names.
 *
 * @internal
 */
export class Lookup {
  private readonly options: Options
  private readonly k: number
  private readonly alpha: number
  private readonly maxInFlight: number
  private readonly quorum: number
  private readonly awaitsSlow: boolean
  private readonly maxNodesPerAnswer: number
  private readonly maxCandidates: number
  private readonly maxPerSubnet: number
  /** Nearest first. */
  private readonly candidates: Array<Candidate> = []
  private readonly byId = new Map<NodeId.NodeId, Candidate>()
  private readonly subnets = new Map<string, number>()
  /** In the order of asking. */
  private readonly asked: Array<Candidate> = []
  private hasQuorum = false
  private isDone = false

  constructor(options: Options) {
    this.options = options
    this.k = options.k ?? 16
    this.alpha = options.alpha ?? 3
    this.maxInFlight = options.maxInFlight ?? 32
    this.quorum = options.quorum ?? Infinity
    this.awaitsSlow = options.awaitsSlow ?? true
    this.maxNodesPerAnswer = options.maxNodesPerAnswer ?? 20
    this.maxCandidates = options.maxCandidates ?? 128
    this.maxPerSubnet = options.maxPerSubnet ?? 4
  }

  /**
   * Adds a contact of our own. They come before the first `poll`: whoever is
   * known first stays where it is, so unverified contacts cannot redirect them, and it
   * cannot push them out either.
   */
  seed(contact: Contact): void {
    this.learn(contact, undefined)
  }

  /** Says what to do next. */
  poll(now: number): Action {
    if (this.isDone) return { _tag: "Done" }
    const standing = this.nearest(this.k, (candidate) => stands(candidate, now))
    const next = this.next(standing, now)
    if (this.hasQuorum || next === undefined && !this.isAwaiting(now)) {
      this.isDone = true
      return { _tag: "Done" }
    }
    // Nobody closer is expected once the closest node known has answered. The
    // rest of the k closest have to be heard in any case: nothing is saved by
    // asking them a few at a time.
    const closest = standing.ranked.at(0)
    const hasArrived = closest?.state === "Answered" && isCloser(closest, next)
    let inFlight = 0
    let prompt = 0
    let slowAt = Infinity
    for (const candidate of this.asked) {
      if (candidate.state !== "Asked") continue
      inFlight++
      if (!stands(candidate, now)) continue
      prompt++
      if (candidate.slowAt < slowAt) slowAt = candidate.slowAt
    }
    if (next !== undefined && inFlight < this.maxInFlight && prompt < (hasArrived ? this.k : this.alpha)) {
      // Every other one, so that a liar who pretends to be the closest cannot
      // turn the whole lookup aside.
      const isBeside = hasArrived && this.asked.length % 2 === 1
      const { slowAfter, target } = this.options
      next.state = "Asked"
      next.isLastResort = next.isBad || this.isFull(standing, next.subnet)
      next.askedAt = now
      next.slowAt = now + slowAfter(next.contact.id)
      this.asked.push(next)
      return { _tag: "Ask", contact: next.contact, about: isBeside ? beside(target, next.contact.id) : target }
    }
    return { _tag: "Wait", until: prompt === 0 ? undefined : slowAt }
  }

  /** Takes an answer; ignored unless one is awaited from this node. */
  answered(id: NodeId.NodeId, now: number, answer: Answer): void {
    const candidate = this.end(id, now, "Answered")
    if (candidate === undefined) return
    candidate.holdsRecord = answer.holdsRecord
    candidate.isClient = answer.isClient ?? false
    if (answer.holdsRecord && this.quorum !== Infinity) this.hasQuorum = this.isQuorum()
    for (const contact of answer.nodes.slice(0, this.maxNodesPerAnswer)) {
      const learned = this.learn(contact, candidate)
      if (learned !== undefined && isCloser(learned, candidate)) candidate.closerNodes++
    }
  }

  /** Gives an asked node up; ignored unless an answer is awaited from it. */
  failed(id: NodeId.NodeId, now: number): void {
    const candidate = this.end(id, now, "Failed")
    if (candidate !== undefined) this.retry(candidate)
  }

  /** The closest nodes that have answered, nearest first. */
  closest(n = this.k): ReadonlyArray<Contact> {
    return filledUp(this.nearest(n, hasAnswered), n).map(({ contact }) => contact)
  }

  /** The requests made, in the order of asking. */
  get trace(): ReadonlyArray<Step> {
    return this.asked.map((candidate) => this.stepOf(candidate))
  }

  /** How many requests were made. */
  get requests(): number {
    return this.asked.length
  }

  /** The last request made to a node. */
  step(id: NodeId.NodeId): Step | undefined {
    const candidate = this.asked.findLast(({ contact }) => contact.id === id)
    return candidate === undefined ? undefined : this.stepOf(candidate)
  }

  private stepOf(candidate: Candidate): Step {
    return {
      contact: candidate.contact,
      outcome: candidate.state === "Answered" || candidate.state === "Failed" ? candidate.state : "Unanswered",
      askedAt: candidate.askedAt,
      endedAt: candidate.endedAt,
      holdsRecord: candidate.holdsRecord,
      commonPrefixLength: NodeId.commonPrefixLength(this.options.target, candidate.contact.id),
      learnedFrom: candidate.referrer?.contact.id,
      depth: depthOf(candidate),
      closerNodes: candidate.closerNodes
    }
  }

  /** The closest candidate worth asking. */
  private next(standing: Ranking, now: number): Candidate | undefined {
    if (this.asked.length === this.maxCandidates) return undefined
    const farthest = standing.ranked.at(this.k - 1)
    const next = this.candidates.find((candidate) =>
      isUnasked(candidate) && !candidate.isBad && !this.isFull(standing, candidate.subnet)
    )
    if (next !== undefined && isCloser(next, farthest)) return next
    if (farthest !== undefined) return undefined
    // Fewer than k, even if all those asked do answer. The crowded and then the
    // bad have their turn when nobody is left who may name better ones.
    const isAnotherExpected = this.asked.some((candidate) =>
      candidate.state === "Asked" && stands(candidate, now) && !candidate.isLastResort
    )
    if (isAnotherExpected) return undefined
    const last = filledUp(standing, this.k).at(this.k - 1)
    return this.candidates.find((candidate) => isUnasked(candidate) && !candidate.isBad && isCloser(candidate, last)) ??
      (last === undefined ? this.candidates.find(isUnasked) : undefined)
  }

  /**
   * Whether enough of the nodes where the record belongs have returned it. Nodes
   * farther away may hold what anybody left there, an older version for one.
   */
  private isQuorum(): boolean {
    const nearest: Array<Candidate> = []
    for (const candidate of this.candidates) {
      if (nearest.length === this.k) break
      if (candidate.state !== "Failed" && !candidate.isClient) nearest.push(candidate)
    }
    const holders = nearest.slice(0, Math.ceil(this.k / 2)).filter(({ holdsRecord }) => holdsRecord).length
    return holders >= this.quorum && !this.options.isSurrounded?.(nearest.map(({ contact }) => contact.id))
  }

  /** Whether an answer is on its way that could change the k closest. */
  private isAwaiting(now: number): boolean {
    const farthest = this.nearest(this.k, hasAnswered).ranked.at(this.k - 1)
    const awaitsSlow = this.awaitsSlow || farthest === undefined
    return this.asked.some((candidate) =>
      candidate.state === "Asked" && isCloser(candidate, farthest) && (awaitsSlow || stands(candidate, now))
    )
  }

  private end(id: NodeId.NodeId, now: number, state: "Answered" | "Failed"): Candidate | undefined {
    const candidate = this.byId.get(id)
    if (this.isDone || candidate?.state !== "Asked") return undefined
    candidate.state = state
    candidate.endedAt = now
    return candidate
  }

  /** The new candidate; `undefined` if it was known. */
  private learn(contact: Contact, referrer: Candidate | undefined): Candidate | undefined {
    if (contact.id === this.options.self) return undefined
    const known = this.byId.get(contact.id)
    if (known === undefined) return this.add(contact, referrer, false)
    const { host, port } = known.contact
    if (known.referrer !== referrer && (contact.host !== host || contact.port !== port)) known.elsewhere ??= contact
    this.retry(known)
    return undefined
  }

  /**
   * Gives a node that failed one more chance, where another referrer says it is.
   * Otherwise one liar could hide nodes by naming them first, at wrong
   * addresses.
   */
  private retry({ contact, elsewhere, isRetry, state, referrer }: Candidate): void {
    if (state !== "Failed" || isRetry || elsewhere === undefined) return
    this.remove(contact.id)
    this.add(elsewhere, referrer, true)
  }

  private add(contact: Contact, referrer: Candidate | undefined, isRetry: boolean): Candidate {
    const candidate: Candidate = {
      contact,
      near: (NodeId.prefix(this.options.target) ^ NodeId.prefix(contact.id)) >>> 0,
      target: this.options.target,
      subnet: this.subnetOf(contact.host),
      isBad: this.options.isBad(contact.id),
      referrer,
      isRetry,
      elsewhere: undefined,
      state: "Unasked",
      isLastResort: false,
      askedAt: 0,
      slowAt: 0,
      endedAt: undefined,
      holdsRecord: false,
      isClient: false,
      closerNodes: 0
    }
    this.byId.set(contact.id, candidate)
    this.candidates.splice(this.placeOf(candidate), 0, candidate)
    if (this.candidates.length > this.maxCandidates) {
      // The farthest has to go, of the unverified ones if it was one of these that came.
      const dropped = this.candidates.findLast((other) =>
        other.state === "Unasked" && (referrer === undefined || other.referrer !== undefined)
      )
      if (dropped !== undefined) this.remove(dropped.contact.id)
    }
    return candidate
  }

  private remove(id: NodeId.NodeId): void {
    this.candidates.splice(this.candidates.findIndex(({ contact }) => contact.id === id), 1)
    this.byId.delete(id)
  }

  private placeOf(candidate: Candidate): number {
    let low = 0
    let high = this.candidates.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (isCloser(this.candidates[middle], candidate)) low = middle + 1
      else high = middle
    }
    return low
  }

  private subnetOf(host: string): number | undefined {
    const subnet = this.options.subnet(host)
    if (subnet === undefined) return undefined
    const known = this.subnets.get(subnet)
    if (known === undefined) this.subnets.set(subnet, this.subnets.size)
    return known ?? this.subnets.size - 1
  }

  /** The `n` nearest that pass, each subnet within its share. */
  private nearest(n: number, passes: (candidate: Candidate) => boolean): Ranking {
    const ranked: Array<Candidate> = []
    const crowded: Array<Candidate> = []
    const ranking = { ranked, crowded }
    for (const candidate of this.candidates) {
      if (ranked.length === n) break
      if (passes(candidate)) (this.isFull(ranking, candidate.subnet) ? crowded : ranked).push(candidate)
    }
    return ranking
  }

  /** Whether a subnet has its share among those ranked. */
  private isFull({ ranked }: Ranking, subnet: number | undefined): boolean {
    if (subnet === undefined) return false
    let taken = 0
    for (const candidate of ranked) if (candidate.subnet === subnet) taken++
    return taken >= this.maxPerSubnet
  }
}

const isUnasked = ({ state }: Candidate): boolean => state === "Unasked"

const hasAnswered = (candidate: Candidate): boolean => candidate.state === "Answered" && !candidate.isClient

const depthOf = ({ referrer }: Candidate): number => referrer === undefined ? 0 : depthOf(referrer) + 1

const stands = (candidate: Candidate, now: number): boolean =>
  hasAnswered(candidate) || candidate.state === "Asked" && now < candidate.slowAt

const isCloser = (candidate: Candidate, other: Candidate | undefined): boolean =>
  other === undefined || candidate.near < other.near ||
  candidate.near === other.near && NodeId.compareDistance(candidate.target, candidate.contact.id, other.contact.id) < 0

/** The `n` nearest, with the crowded ones where there are too few others. */
const filledUp = ({ crowded, ranked }: Ranking, n: number): ReadonlyArray<Candidate> =>
  [...ranked, ...crowded.slice(0, n - ranked.length)].sort((a, b) => isCloser(a, b) ? -1 : 1)

/**
 * The target, moved over the first bit in which it differs from the node.
 *
 * The nodes around a target all know each other, and an answer has no room for
 * all k: asked about the target, they name the same nearest few, and when some
 * of those are gone, nobody names the rest. Asked about this point, a node
 * begins with the nodes on its own side of the target, which are the ones it
 * knows best, in the order of their distance to the target.
 */
const beside = (target: NodeId.NodeId, id: NodeId.NodeId): NodeId.NodeId =>
  NodeId.flip(target, NodeId.commonPrefixLength(target, id))
