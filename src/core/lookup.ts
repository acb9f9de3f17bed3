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
 * Beside the k closest of all, the closest that are *dual* are found, that is,
 * reachable over both address families, if any are known: the nodes of one family
 * find there what those of the other one store. They are ranked in the same way
 * and asked at the same time.
 *
 * Responders that test which nodes strangers can reach, and name only those,
 * *vouch* for them. Others name nodes behind routers as well, which would
 * not answer us. So while at least half of the responses are of nodes that vouch,
 * a node that only others named is *doubtful*: it is asked beside the rest, and
 * not waited for.
 *
 * Every node in the result answered this lookup. Contacts that answered us
 * earlier are asked like all others: their neighbours may be closer than any
 * node we know, and a contact that has left since must not be in the result.
 * Only a caller that looks for newcomers, at a place where it knows most nodes, may
 * name those that it has *heard* from: they count as if they had answered.
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
  /** Whether a node was heard from lately, so that it counts as one that has answered and is not asked. Default: none. */
  readonly isHeard?: ((id: NodeId.NodeId) => boolean) | undefined
  /** Milliseconds after which a request to a node is slow. */
  readonly slowAfter: (id: NodeId.NodeId) => number
  /** Number of nodes to find. Default 16. */
  readonly k?: number | undefined
  /** Number of dual nodes to find. Default {@link dualWanted}. */
  readonly dual?: number | undefined
  /**
   * Most requests in flight that are not slow, until the lookup has converged; as
   * many besides go to nodes that are wanted for being dual. Default 3.
   */
  readonly alpha?: number | undefined
  /** Most requests in flight, slow ones included. Default 32. */
  readonly maxInFlight?: number | undefined
  /**
   * Number of the k/2 nodes closest to the target that must return the record to
   * end the lookup early. Without it, all of the k closest are asked. If as many
   * of them have none, the same share of the closest dual nodes suffices.
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
  /** Most candidates remembered. Default 128. */
  readonly maxCandidates?: number | undefined
  /** Most requests made. Default: as many as candidates. */
  readonly maxRequests?: number | undefined
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
 * Number of dual nodes that a lookup finds.
 *
 * @internal
 */
export const dualWanted = 3

/**
 * The response of a queried node.
 *
 * @internal
 */
export interface Answer {
  readonly nodes: ReadonlyArray<Contact>
  /** How many of the nodes, the first ones, are dual as the responder says. Default 0. */
  readonly dual?: number | undefined
  /** Whether the responder itself is dual, as it says. */
  readonly isDual?: boolean | undefined
  /** Whether the responder tests which nodes strangers can reach, and names only those. Default true. */
  readonly vouches?: boolean | undefined
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
  /** Whether it is dual, as others say until it has answered. */
  isDual: boolean
  /** Whether it was asked only because it is dual. */
  isBeside: boolean
  /** Whether it is our own contact, or one that vouches named it. */
  isVouched: boolean
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
  private readonly dual: number
  private readonly alpha: number
  private readonly maxInFlight: number
  private readonly quorum: number
  private readonly awaitsSlow: boolean
  private readonly maxNodesPerAnswer: number
  private readonly maxCandidates: number
  private readonly maxRequests: number
  private readonly maxPerSubnet: number
  /** Nearest first. */
  private readonly candidates: Array<Candidate> = []
  private readonly byId = new Map<NodeId.NodeId, Candidate>()
  private readonly subnets = new Map<string, number>()
  /** In the order of the requests. */
  private readonly asked: Array<Candidate> = []
  /** Whether any candidate was ever taken for dual. */
  private hasDual = false
  /** Number of responses, and of those by nodes that vouch. */
  private responses = 0
  private vouched = 0
  private hasQuorum = false
  private isDone = false

  constructor(options: Options) {
    this.options = options
    this.k = options.k ?? 16
    this.dual = options.dual ?? dualWanted
    this.alpha = options.alpha ?? 3
    this.maxInFlight = options.maxInFlight ?? 32
    this.quorum = options.quorum ?? Infinity
    this.awaitsSlow = options.awaitsSlow ?? true
    this.maxNodesPerAnswer = options.maxNodesPerAnswer ?? 20
    this.maxCandidates = options.maxCandidates ?? 128
    this.maxRequests = options.maxRequests ?? this.maxCandidates
    this.maxPerSubnet = options.maxPerSubnet ?? 4
  }

  /**
   * Adds one of our own contacts, before the first `poll`. The first address
   * known for an id is used, so responses can neither redirect nor evict our own
   * contacts. One that is not verified is known only because others named it.
   */
  seed(contact: Contact, { isDual = false, isVerified = true } = {}): void {
    this.learn(contact, undefined, isDual, isVerified)
  }

  /** Returns what to do next. */
  poll(now: number): Action {
    if (this.isDone) return { _tag: "Done" }
    const standing = this.nearest(this.k, (candidate) => this.isStanding(candidate, now))
    const next = this.next(standing, now)
    const nextDoubtful = this.nextDoubtful(standing)
    const nextDual = this.nextDual(now)
    if (this.hasQuorum || next === undefined && nextDual === undefined && !this.isAwaiting(now)) {
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
    let promptBeside = 0
    let promptDoubtful = 0
    let slowAt = Infinity
    for (const candidate of this.asked) {
      if (candidate.state !== "Asked") continue
      inFlight++
      if (!isPrompt(candidate, now)) continue
      if (this.isDoubtful(candidate)) promptDoubtful++
      else if (candidate.isBeside) promptBeside++
      else prompt++
      if (candidate.slowAt < slowAt) slowAt = candidate.slowAt
    }
    if (inFlight < this.maxInFlight) {
      if (next !== undefined && prompt < (hasConverged ? this.k : this.alpha)) {
        next.isLastResort = next.isBad || this.isFull(standing, next.subnet)
        // Only every other request, so that a node that lies about its distance
        // cannot divert the whole lookup.
        return this.ask(next, now, hasConverged && this.asked.length % 2 === 1)
      }
      if (nextDual !== undefined && promptBeside < this.alpha) {
        nextDual.isBeside = true
        return this.ask(nextDual, now, false)
      }
      if (nextDoubtful !== undefined && promptDoubtful < this.alpha) return this.ask(nextDoubtful, now, false)
    }
    return { _tag: "Wait", until: slowAt === Infinity ? undefined : slowAt }
  }

  private ask(candidate: Candidate, now: number, isAboutSide: boolean): Action {
    const { slowAfter, target } = this.options
    const { contact } = candidate
    candidate.state = "Asked"
    candidate.askedAt = now
    candidate.slowAt = now + slowAfter(contact.id)
    this.asked.push(candidate)
    return { _tag: "Ask", contact, about: isAboutSide ? beside(target, contact.id) : target }
  }

  /** Records a response; does nothing unless a request to this node is in flight. */
  answered(id: NodeId.NodeId, now: number, answer: Answer): void {
    const candidate = this.end(id, now, "Answered")
    if (candidate === undefined) return
    candidate.holdsRecord = answer.holdsRecord
    candidate.isClient = answer.isClient ?? false
    candidate.isDual = answer.isDual ?? false
    if (candidate.isDual) this.hasDual = true
    const { dual = 0, nodes, vouches = true } = answer
    this.responses++
    if (vouches) this.vouched++
    // One that holds none can complete a quorum of dual nodes.
    if (this.quorum !== Infinity && (answer.holdsRecord || this.hasDual)) this.hasQuorum = this.isQuorum()
    for (const [i, contact] of nodes.slice(0, this.maxNodesPerAnswer).entries()) {
      const learned = this.learn(contact, candidate, i < dual, vouches)
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

  /** Whether a node is a candidate at this address. */
  knows({ host, id, port }: Contact): boolean {
    const known = this.byId.get(id)?.contact
    return known !== undefined && known.host === host && known.port === port
  }

  /** The closest nodes that have answered, or were heard from, nearest first. */
  closest(n = this.k): ReadonlyArray<Contact> {
    return withCrowded(this.nearest(n, hasAnswered), n).map(({ contact }) => contact)
  }

  /** The closest dual nodes that have answered, nearest first. */
  closestDual(): ReadonlyArray<Contact> {
    return this.nearestDual(hasAnswered).map(({ contact }) => contact)
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
    if (this.asked.length === this.maxRequests) return undefined
    const farthest = standing.ranked.at(this.k - 1)
    const next = this.candidates.find((candidate) =>
      isUnasked(candidate) && !candidate.isBad && !this.isDoubtful(candidate) &&
      !this.isFull(standing, candidate.subnet)
    )
    if (next !== undefined && isCloser(next, farthest)) return next
    if (farthest !== undefined) return undefined
    // There are fewer than k, even if all requests in flight are answered. Crowded
    // and doubtful candidates, and then bad ones, are used once no response is expected that
    // could name better ones.
    const isAnotherExpected = this.asked.some((candidate) =>
      candidate.state === "Asked" && this.isStanding(candidate, now) && !candidate.isLastResort
    )
    if (isAnotherExpected) return undefined
    const last = withCrowded(standing, this.k).at(this.k - 1)
    return this.candidates.find((candidate) => isUnasked(candidate) && !candidate.isBad && isCloser(candidate, last)) ??
      (last === undefined ? this.candidates.find(isUnasked) : undefined)
  }

  /** The closest doubtful candidate that would be among the k closest. */
  private nextDoubtful(standing: Ranking): Candidate | undefined {
    if (this.asked.length === this.maxRequests) return undefined
    const next = this.candidates.find((candidate) =>
      isUnasked(candidate) && !candidate.isBad && this.isDoubtful(candidate) &&
      !this.isFull(standing, candidate.subnet)
    )
    return next !== undefined && isCloser(next, standing.ranked.at(this.k - 1)) ? next : undefined
  }

  /** Whether only nodes that do not vouch named a candidate, while at least half of the responses are vouched for. */
  private isDoubtful({ isVouched, state }: Candidate): boolean {
    return !isVouched && state !== "Answered" && this.vouched > 0 && 2 * this.vouched >= this.responses
  }

  private isStanding(candidate: Candidate, now: number): boolean {
    return hasAnswered(candidate) || isPrompt(candidate, now) && !this.isDoubtful(candidate)
  }

  /** The closest dual candidate worth a request. */
  private nextDual(now: number): Candidate | undefined {
    if (!this.hasDual || this.asked.length === this.maxRequests) return undefined
    const next = this.candidates.find((candidate) => candidate.isDual && isUnasked(candidate) && !candidate.isBad)
    if (next === undefined) return undefined
    const farthest = this.nearestDual((candidate) => this.isStanding(candidate, now)).at(this.dual - 1)
    return isCloser(next, farthest) ? next : undefined
  }

  /** The nearest dual candidates that pass. */
  private nearestDual(passes: (candidate: Candidate) => boolean): ReadonlyArray<Candidate> {
    const nearest: Array<Candidate> = []
    if (!this.hasDual) return nearest
    for (const candidate of this.candidates) {
      if (nearest.length === this.dual) break
      if (candidate.isDual && passes(candidate)) nearest.push(candidate)
    }
    return nearest
  }

  /**
   * Whether enough of the nodes responsible for the record have returned it.
   * Nodes farther away may hold stale records, an older version for example.
   *
   * A record of our own family is at those closest to the target. Only if as many
   * of them have none may it be one of the other family.
   */
  private isQuorum(): boolean {
    const nearest: Array<Candidate> = []
    for (const candidate of this.candidates) {
      if (nearest.length === this.k) break
      if (mayHold(candidate) && !this.isDoubtful(candidate)) nearest.push(candidate)
    }
    const half = Math.ceil(this.k / 2)
    const responsible = nearest.slice(0, half)
    const holders = responsible.filter(({ holdsRecord }) => holdsRecord).length
    const isEnough = holders >= this.quorum ||
      responsible.filter((candidate) => hasAnswered(candidate) && !candidate.holdsRecord).length >= this.quorum &&
        this.nearestDual(mayHold).filter(({ holdsRecord }) => holdsRecord).length >=
          Math.ceil(this.quorum * this.dual / half)
    return isEnough && !this.options.isSurrounded?.(nearest.map(({ contact }) => contact.id))
  }

  /** Whether a response is pending that could change the k closest, or the closest dual nodes. */
  private isAwaiting(now: number): boolean {
    return this.isAwaitingAny(now) || this.isAwaitingDual(now)
  }

  private isAwaitingDual(now: number): boolean {
    if (!this.hasDual) return false
    const farthest = this.nearestDual(hasAnswered).at(this.dual - 1)
    return this.asked.some((candidate) =>
      candidate.isDual && candidate.state === "Asked" && isCloser(candidate, farthest) &&
      (this.awaitsSlow || this.isStanding(candidate, now))
    )
  }

  private isAwaitingAny(now: number): boolean {
    const farthest = this.nearest(this.k, hasAnswered).ranked.at(this.k - 1)
    if (farthest === undefined) return this.asked.some(({ state }) => state === "Asked")
    return this.asked.some((candidate) =>
      candidate.state === "Asked" && isCloser(candidate, farthest) && !this.isDoubtful(candidate) &&
      (this.awaitsSlow || this.isStanding(candidate, now))
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
  private learn(
    contact: Contact,
    referrer: Candidate | undefined,
    isDual: boolean,
    isVouched: boolean
  ): Candidate | undefined {
    if (contact.id === this.options.self) return undefined
    if (isDual) this.hasDual = true
    const known = this.byId.get(contact.id)
    if (known === undefined) return this.add(contact, referrer, { isRetry: false, isDual, isVouched })
    if (isVouched) known.isVouched = true
    if (isDual && known.state !== "Answered") known.isDual = true
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
  private retry({ contact, elsewhere, isDual, isRetry, isVouched, referrer, state }: Candidate): void {
    if (state !== "Failed" || isRetry || elsewhere === undefined) return
    this.remove(contact.id)
    this.add(elsewhere, referrer, { isRetry: true, isDual, isVouched })
  }

  private add(
    contact: Contact,
    referrer: Candidate | undefined,
    { isDual, isRetry, isVouched }: Pick<Candidate, "isDual" | "isRetry" | "isVouched">
  ): Candidate {
    const candidate: Candidate = {
      contact,
      near: (NodeId.prefix(this.options.target) ^ NodeId.prefix(contact.id)) >>> 0,
      target: this.options.target,
      subnet: this.subnetOf(contact.host),
      isBad: this.options.isBad(contact.id),
      referrer,
      isRetry,
      isDual,
      isBeside: false,
      isVouched,
      elsewhere: undefined,
      state: this.options.isHeard?.(contact.id) === true ? "Answered" : "Unasked",
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

/** Whether a candidate may turn out to hold the record, or does. */
const mayHold = ({ isClient, state }: Candidate): boolean => state !== "Failed" && !isClient

const isUnasked = ({ state }: Candidate): boolean => state === "Unasked"

const hasAnswered = (candidate: Candidate): boolean => candidate.state === "Answered" && !candidate.isClient

const depthOf = ({ referrer }: Candidate): number => referrer === undefined ? 0 : depthOf(referrer) + 1

/** Whether a request to it is in flight and not yet slow. */
const isPrompt = ({ slowAt, state }: Candidate, now: number): boolean => state === "Asked" && now < slowAt

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
