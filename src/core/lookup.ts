/**
 * The iterative lookup: starting from our own contacts, it asks the closest
 * known nodes for closer ones until the k closest live nodes have answered
 * (Maymounkov and Mazières, 2002, §2.3).
 *
 * It is a synchronous state machine. Time is a parameter in milliseconds,
 * {@link Lookup.poll} returns the next request, and the caller reports outcomes
 * with `answered` and `failed`.
 *
 * All decisions follow from one notion. A candidate is *standing* when it has
 * answered, or when a request to it is in flight and not yet slow. The k closest
 * standing candidates are the best result known so far, so the next request goes
 * to the closest candidate that would be among them. A slow candidate stops
 * standing, which makes room for another one, but its response still counts.
 *
 * Every node in the result answered this lookup. Contacts that answered us
 * earlier are asked like all others: their neighbours may be closer than any
 * node we know, and a contact that has left since must not be in the result.
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
  /** When the lookup began; its steps count from there. */
  readonly startedAt: number
  /** The subnet of a host, whose hosts may all belong to one operator; `undefined` for a host that is exempt. */
  readonly subnet: (host: string) => string | undefined
  /** Whether a node failed recently: it is asked only if fewer than `k` would answer otherwise. */
  readonly isBad: (id: NodeId.NodeId) => boolean
  /** Milliseconds after which a request to a node is slow. */
  readonly slowAfter: (id: NodeId.NodeId) => number
  /** Number of nodes to find. Default 16. */
  readonly k?: number | undefined
  /** Most requests in flight that are not slow, until the lookup has converged. Default 3. */
  readonly alpha?: number | undefined
  /** Most requests in flight, slow ones included. Default 32. */
  readonly maxInFlight?: number | undefined
  /**
   * Number of the k/2 nodes closest to the target that must return the record to
   * end the lookup early. Without it, all of the k closest are asked.
   */
  readonly quorum?: number | undefined
  /**
   * Whether these nodes, nearest first, are suspiciously close to the target;
   * then they form no quorum. By default they never are.
   */
  readonly isSurrounded?: ((ids: ReadonlyArray<NodeId.NodeId>) => boolean) | undefined
  /**
   * Whether the lookup, once k nodes have answered, still waits for slow nodes
   * that are closer. Default true. A lookup of records can do without: several
   * of the k closest hold each record.
   */
  readonly awaitsSlow?: boolean | undefined
  /** Most nodes used from one response. Default 20. */
  readonly maxNodesPerAnswer?: number | undefined
  /** Most candidates remembered, and most requests made. Default 128. */
  readonly maxCandidates?: number | undefined
  /** Most of the k closest in one subnet, as long as other candidates can fill the places. Default 4. */
  readonly maxPerSubnet?: number | undefined
}

/**
 * What to do next.
 *
 * - `Ask`: send this contact a request. FIND_NODE asks `about` the given point,
 *   which is the target or a point beside it; FIND_VALUE asks about the target.
 * - `Wait`: wait for an outcome, at most until the given time.
 *
 * @internal
 */
export type Action =
  | { readonly _tag: "Ask"; readonly contact: Contact; readonly about: NodeId.NodeId }
  | { readonly _tag: "Wait"; readonly until: number | undefined }
  | { readonly _tag: "Done" }

/**
 * The response of a queried node.
 *
 * @internal
 */
export interface Answer {
  readonly nodes: ReadonlyArray<Contact>
  /** Whether it contained a valid record of the kind looked up. */
  readonly holdsRecord: boolean
  /** Whether the node is a short-lived client, which is never among the closest. */
  readonly isClient?: boolean | undefined
}

/**
 * One request of a lookup and its current state.
 *
 * @category models
 * @since 0.1.0
 */
export interface QueryStep {
  readonly contact: Contact
  /** The node that reported the contact; undefined for one of our own. */
  readonly learnedFrom: NodeId.NodeId | undefined
  /** 0 for a contact of our own; for a learned one, one more than its referrer's. */
  readonly depth: number
  /** Leading bits that the contact's id shares with the target. */
  readonly commonPrefixLength: number
  /** Milliseconds from the start of the lookup. */
  readonly askedAfterMillis: number
  /** Until it was answered or given up; undefined while the request is in flight. */
  readonly tookMillis: number | undefined
  /** Unanswered: it is in flight, or the lookup ended first. */
  readonly outcome: "Answered" | "Failed" | "Unanswered"
  /** Whether the response contained a valid record of the wanted type. */
  readonly holdsRecord: boolean
  /** Number of nodes that the contact reported, new to the lookup and closer to the target than itself. */
  readonly closerNodes: number
}

interface Candidate {
  readonly contact: Contact
  /** The first 32 bits of its distance from the target, which nearly always decide which of two is closer. */
  readonly near: number
  readonly target: NodeId.NodeId
  /** The number of its subnet in this lookup; undefined for an exempt host. */
  readonly subnet: number | undefined
  readonly isBad: boolean
  /** The node that named it; undefined for our own contacts. */
  readonly referrer: Candidate | undefined
  /** Whether it failed at another address before. */
  readonly isRetry: boolean
  /** The same node at the address that another referrer named. */
  elsewhere: Contact | undefined
  state: "Unasked" | "Asked" | "Answered" | "Failed"
  /** Whether it was asked only because no better candidate was left. */
  isLastResort: boolean
  askedAt: number
  slowAt: number
  endedAt: number | undefined
  holdsRecord: boolean
  isClient: boolean
  closerNodes: number
}

/** Candidates, nearest first. */
interface Ranking {
  readonly ranked: ReadonlyArray<Candidate>
  /** Those left out because nearer ones filled the share of their subnet. */
  readonly crowded: ReadonlyArray<Candidate>
}

/**
 * One lookup. Seed it, then poll it until it returns `Wait` or `Done`. Poll it
 * again after every outcome and at the time that `Wait` names.
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
  /** In the order of the requests. */
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
   * Adds one of our own contacts, before the first `poll`. The first address
   * known for an id is used, so responses can neither redirect nor evict our own
   * contacts.
   */
  seed(contact: Contact): void {
    this.learn(contact, undefined)
  }

  /** Returns what to do next. */
  poll(now: number): Action {
    if (this.isDone) return { _tag: "Done" }
    const standing = this.nearest(this.k, (candidate) => isStanding(candidate, now))
    const next = this.next(standing, now)
    if (this.hasQuorum || next === undefined && !this.isAwaiting(now)) {
      this.isDone = true
      return { _tag: "Done" }
    }
    // Once the closest known node has answered, no closer one is expected. The
    // rest of the k closest must be asked in any case, so a limit of alpha would
    // save no requests.
    const closest = standing.ranked.at(0)
    const hasConverged = closest?.state === "Answered" && isCloser(closest, next)
    let inFlight = 0
    let prompt = 0
    let slowAt = Infinity
    for (const candidate of this.asked) {
      if (candidate.state !== "Asked") continue
      inFlight++
      if (!isStanding(candidate, now)) continue
      prompt++
      if (candidate.slowAt < slowAt) slowAt = candidate.slowAt
    }
    if (next !== undefined && inFlight < this.maxInFlight && prompt < (hasConverged ? this.k : this.alpha)) {
      // Only every other request, so that a node that lies about its distance
      // cannot divert the whole lookup.
      const isBeside = hasConverged && this.asked.length % 2 === 1
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

  /** Records a response; does nothing unless a request to this node is in flight. */
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

  /** Gives a node that is being asked as much time again, because it does more than respond. */
  delayed(id: NodeId.NodeId, now: number): void {
    const candidate = this.byId.get(id)
    if (candidate?.state === "Asked") candidate.slowAt = now + this.options.slowAfter(id)
  }

  /** Records a failure; does nothing unless a request to this node is in flight. */
  failed(id: NodeId.NodeId, now: number): void {
    const candidate = this.end(id, now, "Failed")
    if (candidate !== undefined) this.retry(candidate)
  }

  /** The closest nodes that have answered, nearest first. */
  closest(n = this.k): ReadonlyArray<Contact> {
    return withCrowded(this.nearest(n, hasAnswered), n).map(({ contact }) => contact)
  }

  /** The requests made, in order. */
  get trace(): ReadonlyArray<QueryStep> {
    return this.asked.map((candidate) => this.stepOf(candidate))
  }

  /** Number of requests made. */
  get requests(): number {
    return this.asked.length
  }

  /** The last request made to a node. */
  step(id: NodeId.NodeId): QueryStep | undefined {
    const candidate = this.asked.findLast(({ contact }) => contact.id === id)
    return candidate === undefined ? undefined : this.stepOf(candidate)
  }

  private stepOf(candidate: Candidate): QueryStep {
    return {
      contact: candidate.contact,
      outcome: candidate.state === "Answered" || candidate.state === "Failed" ? candidate.state : "Unanswered",
      askedAfterMillis: candidate.askedAt - this.options.startedAt,
      tookMillis: candidate.endedAt === undefined ? undefined : candidate.endedAt - candidate.askedAt,
      holdsRecord: candidate.holdsRecord,
      commonPrefixLength: NodeId.commonPrefixLength(this.options.target, candidate.contact.id),
      learnedFrom: candidate.referrer?.contact.id,
      depth: depthOf(candidate),
      closerNodes: candidate.closerNodes
    }
  }

  /** The closest candidate worth a request. */
  private next(standing: Ranking, now: number): Candidate | undefined {
    if (this.asked.length === this.maxCandidates) return undefined
    const farthest = standing.ranked.at(this.k - 1)
    const next = this.candidates.find((candidate) =>
      isUnasked(candidate) && !candidate.isBad && !this.isFull(standing, candidate.subnet)
    )
    if (next !== undefined && isCloser(next, farthest)) return next
    if (farthest !== undefined) return undefined
    // There are fewer than k, even if all requests in flight are answered. Crowded
    // candidates and then bad ones are used once no response is expected that
    // could name better ones.
    const isAnotherExpected = this.asked.some((candidate) =>
      candidate.state === "Asked" && isStanding(candidate, now) && !candidate.isLastResort
    )
    if (isAnotherExpected) return undefined
    const last = withCrowded(standing, this.k).at(this.k - 1)
    return this.candidates.find((candidate) => isUnasked(candidate) && !candidate.isBad && isCloser(candidate, last)) ??
      (last === undefined ? this.candidates.find(isUnasked) : undefined)
  }

  /**
   * Whether enough of the nodes responsible for the record have returned it.
   * Nodes farther away may hold stale records, an older version for example.
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

  /** Whether a response is pending that could change the k closest. */
  private isAwaiting(now: number): boolean {
    const farthest = this.nearest(this.k, hasAnswered).ranked.at(this.k - 1)
    const awaitsSlow = this.awaitsSlow || farthest === undefined
    return this.asked.some((candidate) =>
      candidate.state === "Asked" && isCloser(candidate, farthest) && (awaitsSlow || isStanding(candidate, now))
    )
  }

  private end(id: NodeId.NodeId, now: number, state: "Answered" | "Failed"): Candidate | undefined {
    const candidate = this.byId.get(id)
    if (this.isDone || candidate?.state !== "Asked") return undefined
    candidate.state = state
    candidate.endedAt = now
    return candidate
  }

  /** Adds a contact and returns the new candidate; `undefined` if it was known. */
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
   * Replaces a failed candidate, once, by the same node at the address that
   * another referrer named. Otherwise one lying node could hide others by naming
   * them first, at wrong addresses.
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
      // Evicts the farthest. An unverified newcomer can evict only another unverified candidate.
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

  /** The `n` nearest candidates that pass, with at most `maxPerSubnet` of each subnet. */
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

  /** Whether the ranked candidates fill the share of a subnet. */
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

const isStanding = (candidate: Candidate, now: number): boolean =>
  hasAnswered(candidate) || candidate.state === "Asked" && now < candidate.slowAt

const isCloser = (candidate: Candidate, other: Candidate | undefined): boolean =>
  other === undefined || candidate.near < other.near ||
  candidate.near === other.near && NodeId.compareDistance(candidate.target, candidate.contact.id, other.contact.id) < 0

/** The `n` nearest; crowded candidates fill the places that are left. */
const withCrowded = ({ crowded, ranked }: Ranking, n: number): ReadonlyArray<Candidate> =>
  [...ranked, ...crowded.slice(0, n - ranked.length)].sort((a, b) => isCloser(a, b) ? -1 : 1)

/**
 * The target with the first bit flipped in which it differs from the node.
 *
 * The nodes around a target all know each other, and a response has no room for
 * all k. Asked about the target, they all name the same nearest few; if some of
 * those are dead, none names the rest. Asked about this point, a node first
 * names the nodes on its own side of the target, which it knows best, in the
 * order of their distance to the target.
 */
const beside = (target: NodeId.NodeId, id: NodeId.NodeId): NodeId.NodeId =>
  NodeId.flip(target, NodeId.commonPrefixLength(target, id))
