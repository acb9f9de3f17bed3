/**
 * Echoes of NAT probes, and probes passed on to another peer, whose echo comes
 * from an address that the requester has not contacted; and pings to the contacts
 * of others, which do not find out themselves whether strangers reach them.
 *
 * What a probe causes goes to the requester's own IP only, or to where a contact
 * of ours says that a peer is; it is hardly larger than the probe.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import type { Contact } from "../Contact.ts"
import * as Features from "../Features.ts"
import { NodeIdentity } from "../Identity.ts"
import { RateLimit } from "../internal/rateLimit.ts"
import { RecencyMap } from "../internal/recencyMap.ts"
import { type Body, relay } from "../Message.ts"
import * as PeerHealth from "../PeerHealth.ts"
import { Reachability } from "../Reachability.ts"
import { Routing } from "../Routing.ts"
import { type Reply, Rpc } from "../Rpc.ts"
import * as SocketAddress from "../SocketAddress.ts"
import * as TransactionId from "../TransactionId.ts"

type Probe = Extract<Body, { readonly _tag: "NatProbe" }>

/**
 * Probes answered of one source, those passed on for one, those passed on by one contact, and those whose echo goes to
 * one source for others.
 */
const ownLimit = { limit: 3, windowMillis: 10_000, capacity: 4096 }
const wantedLimit = { limit: 6, windowMillis: 10_000, capacity: 4096 }
const foreignLimit = { limit: 10, windowMillis: 10_000, capacity: 4096 }
const passedOnLimit = { limit: 20, windowMillis: 10_000, capacity: 4096 }

/** Maximum number of probes passed on, and echoes to be repeated, at the same time. */
const maxPassing = 32

/** Peers remembered to which a probe of a requester was passed on. */
const maxUsed = 4096

/** Peers that a probe is passed on to, one after the other until one confirms, and the time that each has. */
const maxPeers = 2
const passOptions = { attempts: 1, deadline: 1200 }

/** For a ping to the contact of another peer, which waits three seconds. */
const pingOptions = { deadline: 2500, failFast: true, maintenance: true }

/** Milliseconds between the three echoes for another peer: if all are lost, its router seems to filter. */
const againMillis = 100

/** How long a router lets our datagrams through to a peer that may send echoes for us. */
const helperMillis = 90_000

/**
 * Returns the handler of NAT probes.
 *
 * @internal
 */
export const make = Effect.gen(function*() {
  const clock = yield* Clock.Clock
  const health = yield* PeerHealth.PeerHealth
  const routing = yield* Routing
  const rpc = yield* Rpc
  const identity = yield* NodeIdentity
  const reachability = yield* Reachability
  const random = yield* SecureRandom.SecureRandom
  const transactionId = TransactionId.generator(random)
  const run = yield* FiberSet.makeRuntime<never>()
  const own = new RateLimit(ownLimit)
  const wanted = new RateLimit(wantedLimit)
  const passedOn = new RateLimit(passedOnLimit)
  const foreign = new RateLimit(foreignLimit)
  /** Peers that a probe of a requester was passed on to: it may have contacted them, and is asking for a stranger. */
  const used = new RecencyMap<string, true>(maxUsed)
  let passing = 0

  yield* rpc.observe({
    heard: ({ contact, isAnswer }) => {
      if (!isAnswer && pinged.size > 0 && pinged.has(contact.host)) pinged.set(contact.host, "Heard")
    }
  })

  /** Random peers that can send an echo to a requester: not in its network, because that may be behind its router. */
  const helpersFor = Effect.fnUntraced(function*(from: Contact) {
    const now = clock.currentTimeMillisUnsafe()
    const network = SocketAddress.network(from.host)
    // One of the other address family would send nothing, and confirm it.
    const family = SocketAddress.family(from.host)
    const isSuitable = ({ host, id }: Contact) =>
      SocketAddress.subnet(host) !== undefined && SocketAddress.family(host) === family &&
      SocketAddress.network(host) !== network &&
      health.hasUnsafe(id, Features.Bit.dialBack)
    const known = routing.entriesUnsafe().filter(({ verifiedAt }) => verifiedAt !== undefined)
      .map(({ contact }) => contact).filter(isSuitable)
    // Peers behind routers are the better helpers: hardly any node has contacted them.
    const clients = Array.from(rpc.peersUnsafe())
      .filter(({ contact: { id }, heardAt }) => now - heardAt < helperMillis && routing.entryUnsafe(id) === undefined)
      .map(({ contact }) => contact).filter(isSuitable)
    const bytes = yield* random.randomBytes(4 * maxPeers)
    const draws = new Uint32Array(bytes.buffer, bytes.byteOffset, maxPeers)
    const nameOf = ({ id }: Contact) => `${from.host} ${id}`
    const isUnused = (contact: Contact) => used.get(nameOf(contact)) === undefined
    const all = [...clients, ...known]
    if (!all.some(isUnused)) { for (const contact of all) used.delete(nameOf(contact)) }
    const [unusedClients, unused] = [clients.filter(isUnused), known.filter(isUnused)]
    const chosen: Array<Contact> = []
    for (const draw of draws) {
      const from = unusedClients.length > 0 ? unusedClients : unused
      chosen.push(...from.splice(draw % from.length, 1))
    }
    return chosen
  })

  /** Passes a probe on. Returns the peer that confirmed that it sent the echo. */
  const passOn = Effect.fnUntraced(function*(probe: Probe, from: Contact) {
    for (const helper of yield* helpersFor(from)) {
      used.use(`${from.host} ${helper.id}`, () => true)
      if (yield* rpc.passOn(helper, probe, passOptions)) return helper
    }
    return undefined
  }, Effect.orElseSucceed(() => undefined))

  /** Hosts that are pinged, and those of them that sent us something meanwhile. */
  const pinged = new Map<string, "Silent" | "Heard">()

  /** Says whether a peer answers us at an address, unless its router may have let us in. */
  const tryThere = (address: SocketAddress.SocketAddress, say: (isReached: boolean) => void): Effect.Effect<void> => {
    const { host } = address
    pinged.set(host, "Silent")
    return Effect.match(
      rpc.request(address, { _tag: "Ping", address: identity.address }, {
        attempts: health.attemptsUnsafe(),
        ...pingOptions
      }),
      {
        onFailure: () => say(false),
        onSuccess: () => {
          if (pinged.get(host) === "Silent") say(true)
        }
      }
    ).pipe(Effect.ensuring(Effect.sync(() => pinged.delete(host))))
  }

  /** Returns false if there is too much to do. */
  const inBackground = (sending: Effect.Effect<void>): boolean => {
    if (passing >= maxPassing) return false
    passing++
    run(sending.pipe(
      Effect.catchDefect((defect) =>
        Effect.annotateLogs(Effect.logError("A NAT probe could not be passed on", defect), {
          module: "effect-dht/Responder",
          fiber: "Dial-back"
        })
      ),
      Effect.ensuring(Effect.sync(() => {
        passing--
      }))
    ))
    return true
  }

  return (probe: Probe, from: Contact, now: number, reply: (reply: Reply) => void): void => {
    const claimed = SocketAddress.decodeObserved(probe.claimed)
    if (claimed === undefined || !SocketAddress.isPublic(claimed.host) || !SocketAddress.isReachable(claimed)) return
    const source = SocketAddress.source(from.host)
    const echo = (to: SocketAddress.SocketAddress, reached?: boolean, by?: SocketAddress.SocketAddress) => {
      const sender = by === undefined ? undefined : SocketAddress.encodeObserved(by)
      reply({ body: { _tag: "NatProbeEcho", token: probe.token, reached, sender }, to, transactionId: transactionId() })
    }
    const again = (to: SocketAddress.SocketAddress) => Effect.delay(Effect.sync(() => echo(to)), againMillis)
    if (probe.relay === relay.passedOn || probe.relay === relay.ping) {
      // A contact vouches for the requester.
      const isVouched = routing.verifiedUnsafe(from.id) !== undefined && routing.isProvedUnsafe(from)
      // The host that gets the echo or the ping need not have asked for it.
      if (!isVouched || !passedOn.allow(source, now) || !foreign.allow(SocketAddress.source(claimed.host), now)) {
        return echo(from, probe.relay === relay.ping ? undefined : false)
      }
      if (probe.relay === relay.ping) {
        if (pinged.has(claimed.host) || !reachability.isStrangerUnsafe(claimed.host, now)) return echo(from)
        if (!inBackground(Effect.suspend(() => tryThere(claimed, (isReached) => echo(from, isReached))))) echo(from)
        return
      }
      // A lost echo would look like a filtered one.
      const isRepeated = inBackground(Effect.andThen(again(claimed), again(claimed)))
      if (!isRepeated) return echo(from, false)
      echo(claimed)
      return echo(from)
    }
    if (claimed.host !== from.host) return
    if (probe.relay === undefined && own.allow(source, now)) return echo(claimed)
    if (probe.relay === relay.wanted && wanted.allow(source, now)) {
      const isPassing = inBackground(
        Effect.map(passOn(probe, from), (sender) => echo(from, sender === undefined ? false : undefined, sender))
      )
      if (!isPassing) echo(from, false)
    }
  }
})
