/**
 * The check whether strangers can reach this node: it asks peers of different
 * networks where they see us, and has them pass NAT probes on to peers of
 * theirs, as `Reachability` decides. A node that turns out to be closed tells
 * the peers that it heard from, which then no longer count on it.
 *
 * @module
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import * as Ref from "effect/Ref"
import type { Contact } from "./Contact.ts"
import { quorum, type Report } from "./core/reachability.ts"
import * as DialBack from "./DialBack.ts"
import * as Features from "./Features.ts"
import { NodeIdentity } from "./Identity.ts"
import { NodeSettings } from "./NodeSettings.ts"
import * as PeerHealth from "./PeerHealth.ts"
import { Reachability } from "./Reachability.ts"
import * as Routing from "./Routing.ts"
import * as Rpc from "./Rpc.ts"
import * as SocketAddress from "./SocketAddress.ts"
import { spanned } from "./Spans.ts"
import * as WakeUp from "./WakeUp.ts"

/** Longest time between two looks at what is due, in milliseconds, as a sleep does not notice when the clock is set. */
const maxLookMillis = 5 * 60_000

/** Time between two looks of a passive node, which may become active. */
const passiveMillis = 30_000

/** Time for a probe to be passed on to two peers and confirmed. */
const dialOptions = { attempts: 1, deadline: 4000 }

/** Peers that are told whether this node is closed, and how many of them at the same time. */
const maxTold = 256
const toldTogether = 8

/**
 * Runs in the caller's scope what {@link layer} runs in a scope of its own.
 *
 * @internal
 */
export const make = Effect.gen(function*() {
  const clock = yield* Clock.Clock
  const dialBackThrough = yield* DialBack.make
  const health = yield* PeerHealth.PeerHealth
  const identity = yield* NodeIdentity
  const reachability = yield* Reachability
  const routing = yield* Routing.Routing
  const rpc = yield* Rpc.Rpc
  const settings = yield* NodeSettings

  const now = () => clock.currentTimeMillisUnsafe()
  const ping = (contact: Contact) =>
    rpc.request(contact, { _tag: "Ping", address: identity.address }, {
      ...Rpc.probeOptions(health),
      maintenance: true
    })

  /** Verified contacts of different public networks, in the order of the entries. */
  const witnesses = (entries: ReadonlyArray<Routing.Entry>, isSuitable: (contact: Contact) => boolean) => {
    const byNetwork = new Map<string, Contact>()
    for (const { contact, verifiedAt } of entries) {
      const network = SocketAddress.subnet(contact.host)
      if (network === undefined || verifiedAt === undefined || health.isBadUnsafe(contact.id)) continue
      if (!byNetwork.has(network) && isSuitable(contact)) byNetwork.set(network, contact)
    }
    return Array.from(byNetwork.values())
  }

  /** The contacts at random, so that no one can choose what we hear. */
  const atRandom = Effect.suspend(() => Random.shuffle(routing.entriesUnsafe()))

  /** The verified contact that was silent for longest: the ping shows that it is alive, which is due anyway. */
  const longestSilent = Effect.gen(function*() {
    // What those of the other address family see is another address.
    const observed = yield* reachability.observed
    const family = observed && SocketAddress.family(observed.host)
    let longest: Routing.Entry | undefined
    for (const entry of routing.entriesUnsafe()) {
      const { contact: { host, id }, verifiedAt } = entry
      if (verifiedAt === undefined || verifiedAt >= (longest?.verifiedAt ?? Infinity)) continue
      if (family !== undefined && SocketAddress.family(host) !== family) continue
      if (SocketAddress.subnet(host) === undefined) continue
      if (!health.isBadUnsafe(id)) longest = entry
    }
    return longest === undefined ? [] : [longest.contact]
  })

  /** So many contacts of different networks and one address family; none if they are too few to agree. */
  const reporters = Effect.fnUntraced(function*(peers: number) {
    const { ipv4 = [], ipv6 = [] } = Object.groupBy(
      witnesses(yield* atRandom, () => true),
      ({ host }) => SocketAddress.family(host)
    )
    const known = ipv4.length >= quorum || ipv4.length >= ipv6.length ? ipv4 : ipv6
    return known.length < quorum ? [] : known.slice(0, peers)
  })

  const ask = Effect.fnUntraced(function*(peers: number) {
    const asked = yield* peers === 1 ? longestSilent : reporters(peers)
    const answers = yield* Effect.forEach(
      asked,
      (peer) =>
        Effect.option(
          Effect.tapError(ping(peer), ({ _tag }) =>
            Effect.sync(() => {
              if (_tag === "NoAnswer") routing.unansweredUnsafe(peer.id)
            }))
        ),
      { concurrency: "unbounded" }
    )
    const reports = answers.flatMap((answer): ReadonlyArray<Report> => {
      if (answer._tag === "None" || answer.value.body.observed === undefined) return []
      const { body, from } = answer.value
      const observed = SocketAddress.decodeObserved(body.observed)
      return observed === undefined ? [] : [{ reporter: from, observed }]
    })
    reachability.askedUnsafe(reports, now())
  }, spanned("ReachabilityCheck.ask"))

  const dialBack = Effect.fnUntraced(function*(claimed: SocketAddress.SocketAddress) {
    const family = SocketAddress.family(claimed.host)
    const helps = ({ host, id }: Contact) =>
      SocketAddress.family(host) === family && health.hasUnsafe(id, Features.Bit.dialBack)
    const relays = witnesses(yield* atRandom, helps).map((via) => ({ via, claimed }))
    const lacksStrangers = yield* dialBackThrough(relays, dialOptions)
    reachability.dialedUnsafe(now(), lacksStrangers)
  }, spanned("ReachabilityCheck.dialBack"))

  /** Tells the peers that may have us in their tables, which learn it from the header of any message. */
  const tell = Effect.suspend(() =>
    Effect.forEach(
      Array.from(rpc.peersUnsafe()).slice(0, maxTold),
      ({ contact }) => Effect.ignore(ping(contact)),
      { concurrency: toldTogether, discard: true }
    )
  )

  let wasClosed = false

  const look = Effect.gen(function*() {
    if (yield* Ref.get(settings.passive)) return passiveMillis
    const step = reachability.nextUnsafe(now())
    if (step._tag === "Ask") yield* ask(step.peers)
    else if (step._tag === "DialBack") yield* dialBack(step.claimed)
    const isClosed = reachability.isClosedUnsafe()
    if (isClosed !== wasClosed) {
      wasClosed = isClosed
      const { filtering, mapping, state } = yield* reachability.status
      yield* Effect.logInfo("Reachability changed").pipe(Effect.annotateLogs({ state, mapping, filtering }))
      yield* tell
    }
    return step._tag === "Wait" ? Math.min(Math.max(step.until - now(), 1), maxLookMillis) : 0
  })

  if (settings.client) return
  const awake = yield* WakeUp.make
  yield* reachability.onChange(awake.wakeUnsafe)
  yield* look.pipe(
    Effect.catchCause((cause) =>
      Effect.as(Effect.logWarning("A check of the reachability failed", cause), passiveMillis)
    ),
    Effect.flatMap(awake.sleep),
    Effect.forever,
    // Nodes that started together should not all ask together.
    Effect.delay((1 + 4 * (yield* Random.next)) * 1000),
    Effect.annotateLogs({ module: "effect-dht/ReachabilityCheck", fiber: "Check" }),
    Effect.forkScoped
  )
})

/**
 * Runs the check in the layer's scope.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<
  never,
  never,
  NodeIdentity | NodeSettings | PeerHealth.PeerHealth | Reachability | Routing.Routing | Rpc.Rpc
> = Layer.effectDiscard(make)
