/**
 * The routing table of Kademlia (Maymounkov and Mazières, 2002): 256 buckets of
 * contacts, by the number of leading bits that their ids share with ours.
 *
 * This module alone changes the table. It learns of peers from the messages
 * that arrive, and sends the liveness checks that decide who stays; the rest of
 * the node reports what it found (members in the past tense) and reads. A
 * contact that answers cannot be displaced by newcomers, and reports by others
 * never change where its datagrams go.
 *
 * @module
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as FiberSet from "effect/FiberSet"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type { Contact } from "./Contact.ts"
import type { NetworkSize } from "./core/networkSize.ts"
import { type Done, type Ping, type Proof, Proofs } from "./core/proofs.ts"
import * as Core from "./core/routingTable.ts"
import type { Bucket, Entry, Options } from "./core/routingTable.ts"
import * as Maintenance from "./core/tableMaintenance.ts"
import * as Features from "./Features.ts"
import { NodeIdentity } from "./Identity.ts"
import { RecencyMap } from "./internal/recencyMap.ts"
import * as Message from "./Message.ts"
import { NodeEvents } from "./NodeEvents.ts"
import * as NodeId from "./NodeId.ts"
import * as PeerHealth from "./PeerHealth.ts"
import type * as Request from "./Request.ts"
import * as Rpc from "./Rpc.ts"
import { SeenPeers } from "./SeenPeers.ts"
import * as SocketAddress from "./SocketAddress.ts"
import * as WakeUp from "./WakeUp.ts"

export type { NetworkSize } from "./core/networkSize.ts"
export type { Bucket, Entry, Options } from "./core/routingTable.ts"

/**
 * Milliseconds since its last message within which a contact is fresh:
 * preferred in responses and in lookups, and not checked for a newcomer.
 *
 * @category constants
 * @since 0.1.0
 */
export const freshMillis: number = Core.freshMillis

/**
 * The families that a requester sends over: that of its request, or both.
 *
 * @category models
 * @since 0.1.0
 */
export type Families = "Own" | "Both"

/**
 * The contacts of this node.
 *
 * @example
 * ```ts
 * import { NodeId, Routing } from "effect-dht"
 * import * as Effect from "effect/Effect"
 *
 * const program = Effect.gen(function*() {
 *   const routing = yield* Routing.Routing
 *   const { confidence, size } = yield* routing.networkSize("30 minutes")
 *   yield* Effect.log(`About ${size} nodes (confidence ${confidence})`)
 *   return yield* routing.nearest(NodeId.fromTopic("weather"), 16)
 * })
 * ```
 *
 * @category services
 * @since 0.1.0
 */
export class Routing extends Context.Service<Routing, {
  /** Our own id. */
  readonly self: NodeId.NodeId
  /** Contacts per bucket. */
  readonly k: number

  // --- Reading
  /** Number of contacts in the table. */
  readonly size: Effect.Effect<number>
  /** Returns the contact with this id. */
  readonly get: (id: NodeId.NodeId) => Effect.Effect<Option.Option<Contact>>
  /** Returns the `n` known contacts closest to `target`, nearest first, including unverified ones. */
  readonly nearest: (target: NodeId.NodeId, n: number) => Effect.Effect<ReadonlyArray<Contact>>
  /**
   * Returns the `n` closest verified contacts: first those heard from within
   * `window`, nearest first, then the others likewise.
   */
  readonly nearestVerified: (
    target: NodeId.NodeId,
    n: number,
    window: Duration.Input
  ) => Effect.Effect<ReadonlyArray<Contact>>
  /** The whole table by bucket, each bucket with the least recently seen contact first. */
  readonly entries: Effect.Effect<ReadonlyArray<Entry>>
  /** The contact that was heard from last. */
  readonly freshest: Effect.Effect<Option.Option<Contact>>
  /** When a contact was last heard from that has left no request unanswered since; -Infinity if there is none. */
  readonly heardAtUnsafe: () => number
  /** Contacts that were evicted because they fell silent, the latest first; at most 64. */
  readonly evictedUnsafe: () => ReadonlyArray<Contact>
  /** Number of contacts heard from directly within `window`. */
  readonly countVerified: (window: Duration.Input) => Effect.Effect<number>
  /**
   * Estimates the size of the network from the density of the deepest buckets,
   * by their contacts heard from within `window`.
   */
  readonly networkSize: (window: Duration.Input) => Effect.Effect<NetworkSize>
  /**
   * Whether this node may be among the 16 closest to a key, by the estimated
   * size of the network. There is a wide margin of error, and the result is
   * true if the estimate is poor.
   */
  readonly isNearUnsafe: (key: NodeId.NodeId) => boolean
  /**
   * Estimates the size as `networkSize` does, from all contacts ever heard
   * from, or from unverified ones if there are no others.
   */
  readonly networkSizeUnfiltered: Effect.Effect<number>
  /** Returns the entry with this id. */
  readonly entryUnsafe: (id: NodeId.NodeId) => Entry | undefined
  /** Returns the whole table as `entries` does. */
  readonly entriesUnsafe: () => ReadonlyArray<Entry>
  /** Returns the contact with this id, if it is verified. For code that runs once per named node. */
  readonly verifiedUnsafe: (id: NodeId.NodeId) => Contact | undefined
  /** Returns the bucket of this index, empty or not. */
  readonly bucketUnsafe: (index: number) => Bucket
  /** Returns the same contacts as `nearest`. */
  readonly nearestUnsafe: (target: NodeId.NodeId, n: number) => ReadonlyArray<Contact>
  /**
   * Returns the contacts for the response to a FIND request of the host
   * `requester`, at most 16. Fresh ones come first. Bad peers are included only
   * where fewer than half as many contacts would remain, unverified ones and those that
   * the requester cannot reach never. `families` are those that the requester sends
   * over, if it says so.
   */
  readonly answerUnsafe: (
    target: NodeId.NodeId,
    requester: string,
    families: Families | undefined,
    now: number
  ) => ReadonlyArray<Contact>
  /**
   * Returns the `n` verified contacts closest to `target` that are reachable over
   * both families, for the response to a host that says which it sends over.
   */
  readonly dualAnswerUnsafe: (
    target: NodeId.NodeId,
    n: number,
    requester: string,
    families: Families,
    now: number
  ) => ReadonlyArray<Contact>
  /** Returns the `n` verified contacts closest to `target` that are reachable over both families, nearest first. */
  readonly nearestDualUnsafe: (target: NodeId.NodeId, n: number) => ReadonlyArray<Contact>
  /**
   * Returns the network size estimated from lookups, otherwise from the contacts
   * of the last half hour, which an attacker with ids near ours can inflate; 0
   * without a confident estimate.
   */
  readonly plausibleSizeUnsafe: (now: number) => number
  /**
   * Returns a network size that an attacker with ids near ours cannot inflate:
   * estimated from lookups, otherwise the smallest that a bucket with room implies.
   */
  readonly robustSizeUnsafe: (now: number) => number

  // --- Reporting
  /**
   * Reports nodes that the node `from` named, the first `dual` of them as reachable
   * over both families. They become unverified contacts.
   */
  readonly learnedUnsafe: (nodes: ReadonlyArray<Contact>, from: NodeId.NodeId, now: number, dual?: number) => void
  /** Reports a contact that the program knows and trusts. It counts as heard from. */
  readonly givenUnsafe: (contact: Contact, now: number) => void
  /**
   * Reports that a peer did not answer. That evicts an unverified contact, whose
   * place is for another; a verified one is checked in the next heartbeat.
   */
  readonly unansweredUnsafe: (id: NodeId.NodeId) => void
  /** Reports that strangers cannot reach a contact, which makes it a client. */
  readonly closedUnsafe: (id: NodeId.NodeId) => void
  /** Reports the nodes that a lookup found, nearest to its target first: a sample of the network's density. */
  readonly lookedUpUnsafe: (target: NodeId.NodeId, closest: ReadonlyArray<Contact>, now: number) => void
  /** Reports the nodes that lookups of unpredictable targets found, which replace all samples before. */
  readonly measuredUnsafe: (
    lookups: ReadonlyArray<readonly [target: NodeId.NodeId, closest: ReadonlyArray<Contact>]>,
    now: number
  ) => void
  /** Reports the nodes that a lookup of our own id found. Buckets that it covered completely are not refilled for a while. */
  readonly lookedUpSelfUnsafe: (closest: ReadonlyArray<Contact>, now: number) => void
  /**
   * Reports the nodes that a lookup of an id in a bucket found, with the bucket
   * as it was before; none if the lookup was cut short. Returns the buckets that
   * it covered completely.
   */
  readonly refilledUnsafe: (before: Bucket, closest: ReadonlyArray<Contact>, now: number) => ReadonlyArray<number>

  // --- Checking
  /**
   * Makes the checks of a heartbeat that are due: of contacts that wait for a
   * place, of those unverified for long, and unless `isPassive` of silent ones.
   * Returns the buckets that are due for a refill, in ascending order; none if
   * `isPassive`.
   */
  readonly maintainUnsafe: (isPassive: boolean, now: number) => ReadonlyArray<number>
  /**
   * Waits until another heartbeat may find a check or a refill to make, at most
   * for so many milliseconds. Ends just before that, so that a beat at that very
   * time finds it.
   */
  readonly untilDue: (isPassive: boolean, maxMillis: number) => Effect.Effect<void>
  /**
   * Whether a peer answered a request of ours at this address, which a datagram
   * from there alone does not show, or the program gave it there.
   */
  readonly isProvedUnsafe: (contact: Contact) => boolean
  /**
   * Bytes that may be sent to a requester, with what its earlier requests left:
   * not limited once it has proved its address, or another port of the same host,
   * as of a router that forgot it (RFC 9000, 9.3.1).
   */
  readonly allowanceUnsafe: (from: Rpc.Requester) => number
  /**
   * Whether a requester is pinged after its response, because the table lacks
   * such contacts or its earlier response was cut; `now` is Unix milliseconds.
   */
  readonly willProveUnsafe: (from: Rpc.Requester, now: number) => boolean
  /**
   * Checks that a peer answers at its source address, by as many pings as
   * `room` allows: the bytes that are not kept for the response to its request,
   * or undefined if that was handled before. Calls `done` with the outcome: with
   * false at once if no ping may be sent, and after a second if no response has
   * arrived by then.
   */
  readonly proveUnsafe: (
    contact: Contact,
    room: number | undefined,
    done: (isProved: boolean) => void
  ) => void
}>()("effect-dht/Routing") {}

/** Three times Kademlia's K: tables differ, and the estimate is off by half at times. */
const nearRanks = 48

/** Nodes that a lookup looks for, and that a response names at most: Kademlia's K. */
const k = 16

/** Age at which an unverified contact is probed, and evicted if it is silent. */
const staleMillis = 10 * 60_000

/** Silence after which a contact is probed, while it still counts as fresh. */
const quietMillis = 25 * 60_000

const periods: Maintenance.Periods = { fresh: freshMillis, stale: staleMillis, quiet: quietMillis }

/** Milliseconds that a response waits for the requester's proof, before what needs none is sent. */
const proofMillis = 1000

/** Contacts per bucket of the tables of nodes that are reachable over both families. */
const dualK = 8

/** Addresses of the other family at which contacts were pinged, and the pause before one is pinged again. */
const maxMet = 256
const meetPauseMillis = 10 * 60_000

/** Maximum number of evicted contacts remembered: a split network may have evicted those of its other part. */
const maxEvicted = 64

/** Work of a heartbeat on these tables: no contact of theirs is unverified, and lookups fill them. */
const noWork: Maintenance.Limits = { pendingProbes: 0, spareFull: true, staleProbes: 0, refills: 0 }

const isSame = (a: Contact, b: Contact): boolean => a.id === b.id && SocketAddress.isSame(a, b)

const otherThan = (family: SocketAddress.Family): SocketAddress.Family => family === "ipv4" ? "ipv6" : "ipv4"

/** The `n` contacts closest to a target, each once, at the address that comes first. */
const nearestOf = (target: NodeId.NodeId, n: number, contacts: ReadonlyArray<Contact>): ReadonlyArray<Contact> => {
  const byId = new Map<NodeId.NodeId, Contact>()
  for (const contact of contacts) if (!byId.has(contact.id)) byId.set(contact.id, contact)
  return Array.from(byId.values()).sort((a, b) => NodeId.compareDistance(target, a.id, b.id)).slice(0, n)
}

/**
 * The service in the caller's scope; {@link layer} has a scope of its own.
 *
 * @internal
 */
export const make = Effect.fnUntraced(function*(options?: Options) {
  const clock = yield* Clock.Clock
  const events = yield* NodeEvents
  const health = yield* PeerHealth.PeerHealth
  const identity = yield* NodeIdentity
  const rpc = yield* Rpc.Rpc
  const seen = yield* SeenPeers

  const core = new Core.RoutingTable({ ...options, self: identity.nodeId })
  const tell = (_tag: "PeerAdded" | "PeerRemoved") => (contact: Contact, bucket: number): void => {
    if (events.hasListeners) events.tellUnsafe({ _tag, at: clock.currentTimeMillisUnsafe(), contact, bucket })
  }
  core.watcher = { added: tell("PeerAdded"), removed: tell("PeerRemoved") }

  /** Whether a peer would waste a place in the table. */
  const isClient = health.isClientUnsafe
  core.admits = (contact) => SocketAddress.isReachable(contact) && !isClient(contact.id)

  /**
   * The contacts that are reachable over both families, by the family of the
   * address at which they have proved it. In the network of one family they are
   * too few for each bucket of the table to have some.
   */
  const isDual = (id: NodeId.NodeId): boolean => health.hasUnsafe(id, Features.Bit.dual)
  const makeDual = (): Core.RoutingTable => {
    const table = new Core.RoutingTable({ self: identity.nodeId, k: dualK })
    table.admits = (contact) => core.admits(contact) && isDual(contact.id)
    return table
  }
  const dual = { ipv4: makeDual(), ipv6: makeDual() }
  const tables = [core, dual.ipv4, dual.ipv6]
  const dualAt = ({ host }: SocketAddress.SocketAddress): Core.RoutingTable => dual[SocketAddress.family(host)]

  const isKnownDual = (id: NodeId.NodeId): boolean => dual.ipv4.contains(id) || dual.ipv6.contains(id)

  const forget = (id: NodeId.NodeId): void => {
    for (const table of tables) table.forget(id)
  }

  // --- Liveness checks -----------------------------------------------------------

  const ping: Request.Request = { _tag: "Ping", address: identity.address }
  const pingBytes = Message.size(ping, Features.own({ client: true, sessions: true }))

  /** Whether a contact answers. The table has noted a response by then. */
  const check = (contact: Contact, options?: Request.Options): Effect.Effect<boolean> =>
    Effect.match(rpc.request(contact, ping, { ...Rpc.probeOptions(health), ...options }), {
      onFailure: () => false,
      onSuccess: () => true
    })

  const maintenance: Request.Options = { maintenance: true }
  const onceMore: Request.Options = { maintenance: true, attempts: 1 }

  // What is heard and given arrives outside of any fiber.
  const run = yield* FiberSet.makeRuntime<never>()
  const inBackground = (checking: Effect.Effect<void>): Fiber.Fiber<void> =>
    run(checking.pipe(
      Effect.catchDefect((defect) =>
        Effect.annotateLogs(Effect.logError("A liveness check failed", defect), {
          module: "effect-dht/Routing",
          fiber: "Liveness check"
        })
      )
    ))

  // --- Proofs of addresses ---------------------------------------------------------

  const proofs = new Proofs({ self: identity.nodeId, pingBytes })

  const isProvedUnsafe: Routing["Service"]["isProvedUnsafe"] = (contact) =>
    health.isProvedUnsafe(contact.id, contact) || isKnownAt(contact)

  /** Whether the table has a verified contact at this address. */
  const isKnownAt = (contact: Contact): boolean => {
    const known = core.verified(contact.id)
    return known !== undefined && SocketAddress.isSame(known, contact)
  }

  const allowanceUnsafe: Routing["Service"]["allowanceUnsafe"] = (from) =>
    isProvedUnsafe(from) || health.isProvedAtHostUnsafe(from.id, from.host)
      ? Infinity
      : Rpc.amplification * from.bytes + (proofs.creditOf(from) ?? 0)

  const willProveUnsafe: Routing["Service"]["willProveUnsafe"] = (from, now) => {
    if (isProvedUnsafe(from) || !proofs.mayProve(from, now)) return false
    if (proofs.get(from) !== undefined) return true
    // Its response will be the proof.
    if (rpc.isAskingUnsafe(from)) return false
    // Its last answer took all that was allowed, so it was cut: a whole one is worth a ping.
    if ((proofs.creditOf(from) ?? Infinity) < pingBytes) return true
    if (isClient(from.id) || Features.has(from.features, Features.Bit.client)) return false
    return core.isWanted(from, now, now - freshMillis) ||
      Features.has(from.features, Features.Bit.dual) && dualAt(from).isWanted(from, now, now - freshMillis)
  }

  /** Calls `done`, if there is one, with the outcome. */
  const prove = (contact: Contact, room: number | undefined, done: Done | undefined): void => {
    const now = clock.currentTimeMillisUnsafe()
    const { displaced, pings, proof } = proofs.attempt(contact, {
      room,
      most: health.attemptsUnsafe(),
      timeout: health.timeoutUnsafe(undefined, now),
      hasRoom: core.hasRoom(contact.id),
      now
    })
    displaced?.end(undefined)
    if (proof !== undefined && pings > 0) pingForProof(proof, pings, now)
    // Within one process the response may have arrived by now.
    if (done !== undefined && proof?.wait(done) !== true) done(isProvedUnsafe(contact))
  }

  const pingForProof = (proof: Proof, attempts: number, now: number): void => {
    const { contact } = proof
    const ping: Ping = { cancel: () => pinging.interruptUnsafe(), waiting: [], isLate: false }
    proofs.pinged(proof, ping, attempts, now)
    const tooLong = Effect.delay(Effect.sync(() => proof.delayed(ping)), proofMillis)
    const pinging = inBackground(
      // Silence at an address that may be forged says nothing about the peer.
      check(contact, { ...maintenance, attempts }).pipe(
        Effect.raceFirst(Effect.andThen(tooLong, Effect.never)),
        Effect.onExit((exit) =>
          Effect.sync(() => {
            if (Exit.isFailure(exit)) return void proofs.abandoned(proof, ping)
            // An answer from elsewhere proves nothing.
            if (isProvedUnsafe(contact)) proofs.succeeded(proof, ping)
            else proofs.failed(proof, ping, clock.currentTimeMillisUnsafe())
          })
        )
      )
    )
  }

  // --- Contacts --------------------------------------------------------------------

  /** Number of responses that have arrived. */
  let answers = 0

  /**
   * A signed message proves that its sender exists, and not where: it may be a
   * replay from any address, and a new key costs nothing. So neither a newcomer
   * nor a new address of a contact counts before it has answered a request there,
   * as only its owner can.
   */
  const heard = ({ contact, features, isAnswer, now }: Rpc.Heard): void => {
    if (isAnswer) answers++
    const isProved = isAnswer || isProvedUnsafe(contact)
    // Replays must not change what a contact elsewhere can do.
    if (isProved || core.verified(contact.id) === undefined) health.showsUnsafe(contact.id, features)
    if (isClient(contact.id)) return forget(contact.id)
    if (!isDual(contact.id)) {
      dual.ipv4.remove(contact.id)
      dual.ipv6.remove(contact.id)
    }
    seen.seenUnsafe(contact.id, now)
    if (isProved) admit(contact, now)
  }

  /**
   * Pings a newcomer after its request was answered, with what the request allows
   * besides. Most strangers ask once and have no place in the table, so a ping to
   * each would double the traffic of lookups.
   */
  const handled = (from: Rpc.Requester, now: number, room: number): void => {
    if (isProvedUnsafe(from)) return
    const willProve = willProveUnsafe(from, now)
    const left = proofs.earn(from, room)
    if (willProve) prove(from, left, undefined)
  }

  /** Adds or updates a contact that counts as heard from. This is the one way for a newcomer to become verified. */
  const admit = (contact: Contact, now: number): void => {
    settle(core, contact, core.add(contact, now, now), now)
    if (!isDual(contact.id)) return
    const table = dualAt(contact)
    settle(table, contact, table.add(contact, now, now), now)
  }

  /** A newcomer gets a place in a full bucket only if the oldest contact is silent. */
  const settle = (table: Core.RoutingTable, newcomer: Contact, outcome: Core.AddResult, now: number): void => {
    if (outcome._tag !== "Probe") return
    const { oldest } = outcome
    // A contact that was heard from recently needs no check.
    if (table.isTaken(newcomer.id, now - freshMillis)) return table.probed(oldest.id, true, now)
    inBackground(
      Effect.map(check(oldest), (isAlive) => table.probed(oldest.id, isAlive, clock.currentTimeMillisUnsafe()))
    )
  }

  const met = new RecencyMap<string, number>(maxMet)

  /**
   * Pings a contact at its address of the other family, which others named, so
   * that nodes of either family can be told of it. One that is not known at all
   * is left to the lookups that it matters to.
   */
  const meet = (contact: Contact, now: number): void => {
    if (dualAt(contact).contains(contact.id) || !isKnownDual(contact.id)) return
    const address = SocketAddress.key(contact)
    const last = met.get(address)
    if (last !== undefined && Math.abs(now - last) < meetPauseMillis) return
    met.set(address, now)
    inBackground(Effect.asVoid(check(contact, maintenance)))
  }

  const answerUnsafe: Routing["Service"]["answerUnsafe"] = (target, requester, families, now) => {
    const scope = SocketAddress.scope(requester)
    if (families !== "Own") return core.answer(target, k, now, health.isBadUnsafe, scope)
    const family = SocketAddress.family(requester)
    const known = dual[family]
    const reaches: Core.Reaches = (entry) => entry.family === family || known.contains(entry.id)
    const named: Array<Contact> = []
    for (const contact of core.answer(target, k, now, health.isBadUnsafe, scope, reaches)) {
      if (SocketAddress.family(contact.host) === family) {
        named.push(contact)
        continue
      }
      const other = known.get(contact.id)
      if (other !== undefined && SocketAddress.scope(other.host) >= scope) named.push(other)
    }
    return named
  }

  const dualAnswerUnsafe: Routing["Service"]["dualAnswerUnsafe"] = (target, n, requester, families, now) => {
    if (dual.ipv4.size + dual.ipv6.size === 0) return []
    const family = SocketAddress.family(requester)
    const scope = SocketAddress.scope(requester)
    const answerOf = (table: Core.RoutingTable) => table.answer(target, n, now, health.isBadUnsafe, scope)
    const named = answerOf(dual[family])
    return families === "Own" ? named : nearestOf(target, n, [...named, ...answerOf(dual[otherThan(family)])])
  }

  // --- The heartbeat -----------------------------------------------------------------

  const checkPending = Effect.fnUntraced(function*(contact: Contact) {
    if (!(yield* check(contact, maintenance))) return core.pendingFailed(contact.id)
    const now = clock.currentTimeMillisUnsafe()
    settle(core, contact, core.pendingVerified(contact.id, now, now), now)
  })

  const checkStale = Effect.fnUntraced(function*(contact: Contact) {
    if (!(yield* check(contact, maintenance))) core.remove(contact.id)
  })

  /** Silent contacts and the tables that have them, pending a check of our own connectivity. */
  const suspects = new Map<Contact, Core.RoutingTable>()

  const evicted = new RecencyMap<NodeId.NodeId, Contact>(maxEvicted)

  const evict = (contact: Contact, table: Core.RoutingTable): void => {
    table.remove(contact.id)
    evicted.set(contact.id, contact)
  }

  /**
   * While no other peer answers, the fault may be ours and not the contact's; `before`
   * is the number of responses before the beat.
   */
  const checkSilent = Effect.fnUntraced(function*(contact: Contact, table: Core.RoutingTable, before: number) {
    // A request to it was repeated as often as packet loss explains.
    if (yield* check(contact, table.maintenance.isDoubted(contact.id) ? onceMore : maintenance)) return
    // Another one answered in the meantime.
    if (answers > before) return evict(contact, table)
    const witness = core.freshest()
    if (witness === undefined || isSame(witness, contact)) return
    suspects.set(contact, table)
    // One witness decides for all of them.
    if (suspects.size > 1) return
    yield* Effect.ensuring(
      Effect.map(check(witness, maintenance), (isConnected) => {
        if (!isConnected) return
        for (const [suspect, table] of suspects) if (!isSame(suspect, witness)) evict(suspect, table)
      }),
      Effect.sync(() => suspects.clear())
    )
  })

  const limitsOf = (isPassive: boolean): Maintenance.Limits =>
    isPassive ? { ...Maintenance.heartbeatLimits, refills: 0 } : Maintenance.heartbeatLimits

  const maintainUnsafe: Routing["Service"]["maintainUnsafe"] = (isPassive, now) => {
    const limits = limitsOf(isPassive)
    const work = core.maintenance.work(now, now - freshMillis, now - staleMillis, limits)
    for (const contact of work.pendingToProbe) inBackground(checkPending(contact))
    for (const contact of work.staleToProbe) inBackground(checkStale(contact))
    if (!isPassive) {
      const before = answers
      const left = limits.staleProbes - work.staleToProbe.length
      const quiet = core.maintenance.quiet(now, now - quietMillis, left)
      for (const contact of quiet) inBackground(checkSilent(contact, core, before))
      for (const table of [dual.ipv4, dual.ipv6]) {
        table.maintenance.work(now, now - freshMillis, now - staleMillis, noWork)
        for (const contact of table.maintenance.quiet(now, now - quietMillis, limits.staleProbes)) {
          if (!quiet.some((other) => isSame(other, contact))) inBackground(checkSilent(contact, table, before))
        }
      }
    }
    return work.bucketsToRefill
  }

  const hurried = yield* WakeUp.make
  for (const table of tables) table.maintenance.hurry = hurried.wakeUnsafe

  const untilDue: Routing["Service"]["untilDue"] = (isPassive, maxMillis) =>
    Effect.suspend(() => {
      const now = clock.currentTimeMillisUnsafe()
      const due = Math.min(
        core.maintenance.dueAt(now, limitsOf(isPassive), periods),
        ...[dual.ipv4, dual.ipv6].map((table) => table.maintenance.dueAt(now, noWork, periods))
      )
      return hurried.sleep(Math.min(due - now, maxMillis) - 1)
    })

  const knows = (from: SocketAddress.SocketAddress): boolean =>
    core.hasAt(from, (id) => health.isProvedUnsafe(id, from))

  yield* rpc.observe({ heard, handled, knows })

  const before = (window: Duration.Input) =>
    Effect.map(Clock.currentTimeMillis, (now) => now - Duration.toMillis(window))

  return Routing.of({
    self: core.self,
    k: core.k,
    size: Effect.sync(() => core.size),
    get: (id) => Effect.sync(() => Option.fromUndefinedOr(core.get(id))),
    nearest: (target, n) => Effect.sync(() => core.nearest(target, n)),
    nearestVerified: (target, n, window) =>
      Effect.map(before(window), (cutoff) => core.nearestVerified(target, n, cutoff)),
    entries: Effect.sync(() => core.entries()),
    freshest: Effect.sync(() => Option.fromUndefinedOr(core.freshest())),
    heardAtUnsafe: () => core.heardAt(),
    evictedUnsafe: () => Array.from(evicted, ({ value }) => value),
    countVerified: (window) => Effect.map(before(window), (cutoff) => core.countVerified(cutoff)),
    networkSize: (window) => Effect.map(before(window), (cutoff) => core.networkSize.ofContacts(cutoff)),
    isNearUnsafe: (key) => core.networkSize.closerNodes(key, clock.currentTimeMillisUnsafe()) < nearRanks,
    networkSizeUnfiltered: Effect.sync(() => core.networkSize.ofAllContacts()),
    entryUnsafe: (id) => core.entry(id),
    verifiedUnsafe: (id) => core.verified(id),
    entriesUnsafe: () => core.entries(),
    bucketUnsafe: (index) => core.bucket(index),
    nearestUnsafe: (target, n) => core.nearest(target, n),
    answerUnsafe,
    dualAnswerUnsafe,
    nearestDualUnsafe: (target, n) =>
      nearestOf(target, n, [...dual.ipv4.nearest(target, n), ...dual.ipv6.nearest(target, n)]),
    plausibleSizeUnsafe: (now) => core.networkSize.plausible(now),
    robustSizeUnsafe: (now) => core.networkSize.ofLookups(now) ?? core.networkSize.least(),
    learnedUnsafe: (nodes, from, now, dual = 0) => {
      // One that has proved itself in another table is not unverified.
      for (const node of nodes) {
        if (core.contains(node.id) || !isKnownDual(node.id)) core.add(node, undefined, now, from)
      }
      for (const node of nodes.slice(0, dual)) meet(node, now)
    },
    givenUnsafe: admit,
    unansweredUnsafe: (id) => core.unanswered(id, clock.currentTimeMillisUnsafe()),
    closedUnsafe: (id) => {
      health.reachableUnsafe(id, false)
      forget(id)
    },
    lookedUpUnsafe: (target, closest, now) => core.networkSize.sampled(target, closest.map(({ id }) => id), k, now),
    measuredUnsafe: (lookups, now) =>
      core.networkSize.resampled(lookups.map(([target, closest]) => [target, closest.map(({ id }) => id)]), k, now),
    lookedUpSelfUnsafe: (closest, now) => {
      core.maintenance.lookedUp(NodeId.bits, closest, now)
    },
    refilledUnsafe: ({ entries, index, pending }, closest, now) => {
      const after = core.bucket(index)
      core.maintenance.recordRefill(index, after.entries.length + after.pending > entries.length + pending)
      return core.maintenance.lookedUp(index, closest, now)
    },
    maintainUnsafe,
    untilDue,
    isProvedUnsafe,
    allowanceUnsafe,
    willProveUnsafe,
    proveUnsafe: prove
  })
})

/**
 * A table for the node's own identity, filled from the messages that `Rpc`
 * receives.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (
  options?: Options
): Layer.Layer<Routing, never, NodeIdentity | NodeEvents | PeerHealth.PeerHealth | Rpc.Rpc | SeenPeers> =>
  Layer.effect(Routing, make(options))
