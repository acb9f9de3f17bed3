/**
 * A simulated Internet in one process: hosts with IP addresses, latency, loss,
 * network address translation and partitions. All random choices are drawn from
 * a seed.
 *
 * Every host has a `Transport` of the production code, including its inboxes; only
 * the wire is simulated. Datagrams in flight are plain timers, so millions of them
 * are cheap.
 *
 * @module
 * @since 0.1.0
 */
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { Timer } from "../internal/timerQueue.ts"
import * as SocketAddress from "../SocketAddress.ts"
import * as Transport from "../Transport.ts"
import { Prng } from "./internal/prng.ts"
import { Translator } from "./internal/translator.ts"
import * as Latency from "./Latency.ts"
import type * as Nat from "./Nat.ts"
import { type Timeline, VirtualTime } from "./VirtualTime.ts"

/**
 * The conditions for every datagram. All can be changed while the network runs.
 *
 * @category models
 * @since 0.1.0
 */
export interface Conditions {
  /** One-way latency. Default: hosts in a plane with a median of 50 ms. */
  latency: Latency.Latency
  /**
   * Mean of the random delay added to each datagram, which is mostly small and at
   * most five times the mean. It reorders datagrams. Default 2 ms.
   */
  jitterMillis: number
  /** Fraction of datagrams that are lost, 0 to 1. Default 0. */
  loss: number
  /** Fraction of datagrams that arrive twice, 0 to 1. Default 0. */
  duplication: number
}

/**
 * Options of a network.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options extends Partial<Conditions> {
  readonly seed: number | string
}

/**
 * The number of datagrams so far, by outcome. Those in flight are `sent` plus
 * `duplicated` minus all others.
 *
 * @category models
 * @since 0.1.0
 */
export interface Counts {
  readonly sent: number
  readonly duplicated: number
  /** Accepted by a transport. */
  readonly delivered: number
  /** Lost at random. */
  readonly lost: number
  /** Stopped by a partition, a cut, or a host that is down. */
  readonly blocked: number
  /** Rejected by a NAT, in either direction. */
  readonly filtered: number
  /** Sent to an address without a listener. */
  readonly unreachable: number
  /** Dropped because the inbox was full. */
  readonly overflowed: number
}

/**
 * A datagram at the moment of its arrival. The object belongs to the network: do
 * not modify or keep it.
 *
 * @category models
 * @since 0.1.0
 */
export interface Delivery {
  readonly source: Host
  readonly target: Host
  /** The sender's address as the receiver sees it. */
  readonly from: SocketAddress.SocketAddress
  /** The address to which the receiver is bound. */
  readonly to: SocketAddress.SocketAddress
  readonly payload: Uint8Array
  readonly sentAtMillis: number
}

/**
 * Why a datagram does not reach its receiver, as in {@link Counts}.
 *
 * @category models
 * @since 0.1.0
 */
export type DropReason = "lost" | "blocked" | "filtered" | "unreachable" | "overflowed"

/**
 * A datagram at the moment it is dropped. The object belongs to the network: do not
 * modify or keep it.
 *
 * @category models
 * @since 0.1.0
 */
export interface Drop {
  readonly source: Host
  /** Undefined if no host has the address. */
  readonly target: Host | undefined
  /** The sender's address as far as it is translated by then. */
  readonly from: SocketAddress.SocketAddress
  readonly to: SocketAddress.SocketAddress
  readonly payload: Uint8Array
  readonly sentAtMillis: number
  readonly reason: DropReason
}

/**
 * Callbacks for events, called before the event has an effect. An exception ends
 * the run, so an observer can check invariants.
 *
 * @category models
 * @since 0.1.0
 */
export interface Observer {
  /** Called with each datagram that arrives, also if the inbox is full and drops it. */
  readonly delivered?: ((delivery: Delivery) => void) | undefined
  readonly dropped?: ((drop: Drop) => void) | undefined
  /** Called with a description of a cut, a partition or a similar change. */
  readonly changed?: ((what: string) => void) | undefined
}

/**
 * Options of a host.
 *
 * @category models
 * @since 0.1.0
 */
export interface HostOptions {
  /** The name in traces. Default `host` and its number. */
  readonly name?: string | undefined
  /** Its position, `x` and `y` from 0 to 1. Default: random, or that of its router. */
  readonly position?: { readonly x: number; readonly y: number } | undefined
  /** The NAT in front of it: a {@link SimNetwork.router}, or the behaviour of one of its own. */
  readonly behind?: Router | Nat.Behaviour | undefined
  /** The families of its addresses. Default `["ipv4"]`, the only one behind a router. */
  readonly families?: NonEmptyReadonlyArray<SocketAddress.Family> | undefined
}

/** A bound port of a host. */
interface Endpoint {
  readonly address: SocketAddress.SocketAddress
  readonly deliver: Transport.Deliver
  isPlugged: boolean
}

/** A port of a host in the table of a NAT, bound or not. */
interface Inside {
  readonly key: string
  readonly host: Host
  readonly port: number
}

/**
 * A machine of the simulated network.
 *
 * @category models
 * @since 0.1.0
 */
export class Host implements Latency.Place {
  readonly name: string
  readonly index: number
  readonly x: number
  readonly y: number
  /** Its own IP address, of two the first; a private one if it is behind a router. */
  ip: string
  /** Its address of the other family, if it has both. */
  readonly otherIp: string | undefined
  router: Router | undefined
  /** Fraction of datagrams that its own link loses in either direction, 0 to 1. */
  loss = 0
  /** Whether it sends and receives datagrams; see {@link SimNetwork.setUp}. */
  isUp = true
  /** @internal */
  group = 0
  /** @internal */
  cuts: Set<Host> | undefined
  /** @internal */
  readonly endpoints = new Map<number, Endpoint>()
  /** @internal */
  readonly insides = new Map<number, Inside>()
  private readonly network: SimNetwork
  private nextPort = 4121

  /** @internal */
  constructor(
    network: SimNetwork,
    options: HostOptions & Latency.Place & { readonly ip: string; readonly otherIp: string | undefined },
    router?: Router
  ) {
    this.network = network
    this.name = options.name ?? `host ${options.index}`
    this.index = options.index
    this.x = options.x
    this.y = options.y
    this.ip = options.ip
    this.otherIp = options.otherIp
    this.router = router
  }

  /** Whether strangers reach it: there is no router in front of it, or one that admits every remote endpoint. */
  get admitsStrangers(): boolean {
    return this.router === undefined || this.router.behaviour.filtering === "EndpointIndependent"
  }

  /**
   * The address from which it sends to one; undefined if it has none of that family.
   *
   * @internal
   */
  ipFor(to: string): string | undefined {
    const family = SocketAddress.family(to)
    return SocketAddress.family(this.ip) === family
      ? this.ip
      : this.otherIp !== undefined && SocketAddress.family(this.otherIp) === family
      ? this.otherIp
      : undefined
  }

  /** A port of this host that is neither bound nor was returned before. */
  freePort(): number {
    while (this.endpoints.has(this.nextPort)) this.nextPort++
    return this.nextPort++
  }

  /** A transport on a port of this host, by default a free one. */
  transport(port?: number): Effect.Effect<Transport.Transport["Service"], Transport.CannotBind, Scope.Scope> {
    return Effect.suspend(() => this.network.bind(this, port ?? this.freePort()))
  }

  /** Provides {@link transport} as a layer. */
  layer(port?: number): Layer.Layer<Transport.Transport, Transport.CannotBind> {
    return Layer.effect(Transport.Transport, this.transport(port))
  }
}

/**
 * A router with NAT for the hosts behind it.
 *
 * @category models
 * @since 0.1.0
 */
export class Router {
  /** The external IP address shared by all hosts behind it. */
  readonly ip: string
  readonly behaviour: Nat.Behaviour
  /** @internal */
  readonly table: Translator<Inside>
  /** @internal */
  readonly lan = new Map<string, Host>()
  /**
   * Number of hosts that ever were behind it.
   *
   * @internal
   */
  hosts = 0
  /** @internal */
  readonly x: number
  /** @internal */
  readonly y: number
  /** @internal */
  readonly index: number

  /** @internal */
  constructor(behaviour: Nat.Behaviour, place: Latency.Place & { readonly ip: string }, draw: () => number) {
    this.behaviour = behaviour
    this.ip = place.ip
    this.x = place.x
    this.y = place.y
    this.index = place.index
    this.table = new Translator({
      host: place.ip,
      mapping: behaviour.mapping,
      filtering: behaviour.filtering,
      lifetimeMillis: Duration.toMillis(behaviour.lifetime),
      draw: behaviour.ports === "Random" ? draw : undefined
    })
  }
}

/** Latency within one host and between hosts behind one router, in milliseconds. */
const localMillis = 0.5

/** Limits of a transport's inbox, the same as over UDP. */
const inbox = { capacity: 1024, perSender: 256 }

/** Most hosts behind one router. */
const maxBehind = 253

/** A datagram in flight. */
class Packet extends Timer implements Delivery {
  readonly network: SimNetwork
  readonly source: Host
  readonly target: Host
  readonly port: number
  readonly from: SocketAddress.SocketAddress
  /** The external port to which it was sent, if a NAT must admit it. */
  readonly through: number | undefined
  readonly payload: Uint8Array
  readonly sentAtMillis: number
  to: SocketAddress.SocketAddress

  constructor(
    network: SimNetwork,
    source: Host,
    from: SocketAddress.SocketAddress,
    target: Host,
    port: number,
    to: SocketAddress.SocketAddress,
    through: number | undefined,
    payload: Uint8Array,
    sentAtMillis: number
  ) {
    super()
    this.network = network
    this.source = source
    this.from = from
    this.target = target
    this.port = port
    this.to = to
    this.through = through
    this.payload = payload
    this.sentAtMillis = sentAtMillis
  }

  fire(): void {
    this.network.arrive(this)
  }
}

/**
 * A simulated network.
 *
 * @category models
 * @since 0.1.0
 */
export class SimNetwork {
  readonly conditions: Conditions
  private readonly timeline: Timeline
  private readonly seed: number | string
  private readonly places: Prng
  private readonly chance: Prng
  private readonly addresses = new Map<string, Host | Router>()
  private readonly allHosts: Array<Host> = []
  private readonly observers: Array<Observer> = []
  private subnets = 0
  private routers = 0
  private closed = false
  private readonly tally = {
    sent: 0,
    duplicated: 0,
    delivered: 0,
    lost: 0,
    blocked: 0,
    filtered: 0,
    unreachable: 0,
    overflowed: 0
  }

  /** @internal */
  constructor(timeline: Timeline, options: Options) {
    this.timeline = timeline
    this.seed = options.seed
    this.places = new Prng(options.seed, "network places")
    this.chance = new Prng(options.seed, "network chance")
    this.conditions = {
      latency: options.latency ?? Latency.plane({ medianMillis: 50 }),
      jitterMillis: options.jitterMillis ?? 2,
      loss: options.loss ?? 0,
      duplication: options.duplication ?? 0
    }
  }

  get counts(): Counts {
    return { ...this.tally }
  }

  get hosts(): ReadonlyArray<Host> {
    return this.allHosts
  }

  /** Adds an observer; returns a function that removes it. */
  observe(observer: Observer): () => void {
    this.observers.push(observer)
    return () => {
      const at = this.observers.indexOf(observer)
      if (at >= 0) this.observers.splice(at, 1)
    }
  }

  // --- Hosts and routers

  /** Adds a host with a public IP in its own /24 or /48, or with a private one behind a router. */
  host(options: HostOptions = {}): Host {
    const { behind, families: [first, other] = ["ipv4"] } = options
    if (behind !== undefined && (first !== "ipv4" || other !== undefined)) {
      throw new RangeError("A host behind a router has an IPv4 address only: leave out its families")
    }
    const router = behind === undefined || behind instanceof Router ? behind : this.router(behind, options.position)
    const place = router ?? options.position ?? { x: this.places.double(), y: this.places.double() }
    const index = this.allHosts.length
    const ip = router === undefined ? this.publicIp(first) : privateIp(router)
    const otherIp = other === undefined ? undefined : this.publicIp(other)
    const host = new Host(this, { ...options, index, ip, otherIp, x: place.x, y: place.y }, router)
    this.allHosts.push(host)
    if (router === undefined) this.addresses.set(ip, host)
    else router.lan.set(ip, host)
    if (otherIp !== undefined) this.addresses.set(otherIp, host)
    return host
  }

  /** Adds a router for several hosts, with a public IP in its own /24. */
  router(behaviour: Nat.Behaviour, position?: HostOptions["position"]): Router {
    const { x, y } = position ?? { x: this.places.double(), y: this.places.double() }
    const index = this.routers++
    const ports = new Prng(this.seed, `ports of router ${index}`)
    const router = new Router(behaviour, { index, x, y, ip: this.publicIp() }, () => ports.double())
    this.addresses.set(router.ip, router)
    return router
  }

  /**
   * Moves a host to another network: a public IP in a /24 of its own, or a private
   * one behind a router. It must have one IPv4 address only. Its bound ports stay bound, as on the unspecified address.
   */
  move(host: Host, behind?: Router | Nat.Behaviour): void {
    const router = behind === undefined || behind instanceof Router ? behind : this.router(behind, host)
    this.changed(`move ${host.name}`)
    if (host.router === undefined) this.addresses.delete(host.ip)
    else host.router.lan.delete(host.ip)
    host.router = router
    host.ip = router === undefined ? this.publicIp() : privateIp(router)
    host.insides.clear()
    if (router === undefined) this.addresses.set(host.ip, host)
    else {
      router.lan.set(host.ip, host)
      for (const port of host.endpoints.keys()) host.insides.set(port, insideOf(host, port))
    }
  }

  private publicIp(family: SocketAddress.Family = "ipv4"): string {
    const n = ++this.subnets
    if (n >= maxSubnets) throw new RangeError(`A simulated network has at most ${maxSubnets} public addresses`)
    if (family === "ipv6") return `2400:${((n >> 16) + 1).toString(16)}:${((n & 0xffff) + 1).toString(16)}::1`
    return `${firstOctets[n >> 16]}.${n >> 8 & 255}.${n & 255}.1`
  }

  // --- Faults

  /** Takes a host down or brings it up. */
  setUp(host: Host, isUp: boolean): void {
    if (host.isUp === isUp) return
    this.changed(`${isUp ? "up" : "down"} ${host.name}`)
    host.isUp = isUp
  }

  /** Blocks datagrams from `from` to `to`, but not in the other direction. */
  cut(from: Host, to: Host): void {
    this.changed(`cut ${from.name} -> ${to.name}`)
    from.cuts ??= new Set()
    from.cuts.add(to)
  }

  /** Undoes {@link cut}. */
  mend(from: Host, to: Host): void {
    this.changed(`mend ${from.name} -> ${to.name}`)
    from.cuts?.delete(to)
  }

  /**
   * Partitions the network. The hosts of a group reach only each other, and so do
   * the hosts in no group. Replaces an earlier partition.
   */
  partition(...groups: ReadonlyArray<Iterable<Host>>): void {
    const members = groups.map((group) => Array.from(group))
    this.changed(`partition ${members.map((group) => group.map(({ index }) => index).join(",")).join(" | ")}`)
    for (const host of this.allHosts) host.group = 0
    for (const [i, group] of members.entries()) for (const host of group) host.group = i + 1
  }

  /** Ends the partition and all cuts. Hosts that are down stay down. */
  heal(): void {
    this.changed("heal")
    for (const host of this.allHosts) {
      host.group = 0
      host.cuts = undefined
    }
  }

  private changed(what: string): void {
    for (const observer of this.observers) observer.changed?.(what)
  }

  // --- Datagrams

  /** @internal */
  bind(host: Host, port: number): Effect.Effect<Transport.Transport["Service"], Transport.CannotBind, Scope.Scope> {
    const address: SocketAddress.SocketAddress = { host: host.ip, port }
    const addresses: NonEmptyReadonlyArray<SocketAddress.SocketAddress> = host.otherIp === undefined
      ? [address]
      : [address, { host: host.otherIp, port }]
    return Transport.fromSocket(
      (deliver) =>
        Effect.acquireRelease(
          Effect.suspend(() => {
            if (host.endpoints.has(port)) {
              return Effect.fail(new Transport.CannotBind({ address, kind: "AddressInUse", cause: undefined }))
            }
            const endpoint: Endpoint = { address, deliver, isPlugged: true }
            host.endpoints.set(port, endpoint)
            if (host.router !== undefined) host.insides.set(port, insideOf(host, port))
            return Effect.succeed(endpoint)
          }),
          (endpoint) =>
            Effect.sync(() => {
              if (endpoint.isPlugged) host.endpoints.delete(port)
            })
        ).pipe(
          Effect.map((endpoint): Transport.Socket => ({
            address,
            addresses,
            transmit: (payload, to) =>
              endpoint.isPlugged ? this.transmit(host, address, payload, to) : new Transport.TransportClosed()
          }))
        ),
      inbox
    )
  }

  /**
   * Disconnects the port's current transport. Sending on it fails as if it were
   * closed, so that no request waits for a response.
   *
   * @internal
   */
  unplug(host: Host, port: number): void {
    const endpoint = host.endpoints.get(port)
    if (endpoint === undefined) return
    endpoint.isPlugged = false
    host.endpoints.delete(port)
  }

  private transmit(
    source: Host,
    bound: SocketAddress.SocketAddress,
    payload: Uint8Array,
    to: SocketAddress.SocketAddress
  ): Transport.SendError | undefined {
    if (this.closed) return new Transport.TransportClosed()
    const local = this.localHost(source, to.host)
    const gate = local ?? this.addresses.get(to.host)
    if (!(to.port > 0 && to.port < 0x10000)) return new Transport.Unroutable({ to, reason: "Address" })
    if (gate === undefined && SocketAddress.ipBytes(to.host) === undefined) {
      return new Transport.Unroutable({ to, reason: "Address" })
    }
    const ip = source.ipFor(to.host)
    if (ip === undefined) return new Transport.Unroutable({ to, reason: "Address" })
    this.tally.sent++
    const now = this.timeline.elapsedMillis
    let from = bound.host === ip ? bound : { host: ip, port: bound.port }
    const drop = (reason: DropReason, target?: Host): undefined =>
      this.drop({ source, target, from, to, payload, sentAtMillis: now, reason })
    if (!source.isUp) return drop("blocked", gate instanceof Host ? gate : undefined)
    const { router } = source
    if (gate instanceof Router) this.timeline.accesses(gate)
    if (router !== undefined && local === undefined) {
      this.timeline.accesses(router)
      const external = router.table.outbound(source.insides.get(bound.port)!, to, now)
      if (external === undefined) return drop("filtered")
      from = external
    }
    if (gate === undefined) return drop("unreachable")
    let target: Host
    let port = to.port
    let through: number | undefined
    if (gate instanceof Router) {
      const inside = gate.table.owner(port, now)
      if (inside === undefined || (gate === router && !gate.behaviour.hairpinning)) {
        return drop("filtered", inside?.host)
      }
      through = port
      port = inside.port
      target = inside.host
    } else {
      target = gate
    }
    if (this.isBlocked(source, target)) return drop("blocked", target)
    if (this.isLost(source, target)) return drop("lost", target)
    const millis = this.millisBetween(source, target)
    this.launch(source, from, target, port, to, through, payload, millis)
    if (this.happens(this.conditions.duplication)) {
      this.tally.duplicated++
      this.launch(source, from, target, port, to, through, payload, millis)
    }
    return undefined
  }

  /** A host with an IP address that is only known to itself and behind its router. */
  private localHost(source: Host, ip: string): Host | undefined {
    return ip === source.ip || ip === source.otherIp ? source : source.router?.lan.get(ip)
  }

  private isBlocked(source: Host, target: Host): boolean {
    return source.group !== target.group || (source.cuts?.has(target) ?? false)
  }

  private isLost(source: Host, target: Host): boolean {
    return this.happens(this.conditions.loss) || this.happens(source.loss) || this.happens(target.loss)
  }

  private millisBetween(source: Host, target: Host): number {
    return source === target || (source.router !== undefined && source.router === target.router)
      ? localMillis
      : this.conditions.latency(source, target)
  }

  // --- Connections

  /**
   * The host with an IP address; undefined if there is none, or a router.
   *
   * @internal
   */
  hostAt(source: Host, ip: string): Host | undefined {
    const host = this.localHost(source, ip) ?? this.addresses.get(ip)
    return host instanceof Host ? host : undefined
  }

  /**
   * Whether a host accepts connections of another: routers let none in.
   *
   * @internal
   */
  accepts(target: Host, source: Host): boolean {
    return target === source || target.router === undefined || target.router === source.router
  }

  /**
   * Carries a part of a connection, which is not counted as a datagram: calls
   * `arrive` after the latency, or `lose` as soon as it is lost.
   *
   * @internal
   */
  carry(source: Host, target: Host, arrive: () => void, lose: () => void): void {
    this.timeline.accesses(source)
    const isLost = !source.isUp || this.isBlocked(source, target) || this.isLost(source, target)
    if (this.closed || isLost) return lose()
    this.timeline.after(this.millisBetween(source, target) + this.jitter(), () => {
      this.timeline.accesses(target)
      if (this.closed || !target.isUp) lose()
      else arrive()
    })
  }

  private drop(drop: Drop): undefined {
    this.tally[drop.reason]++
    for (const observer of this.observers) observer.dropped?.(drop)
  }

  /** A random number. The order of draws is state that all hosts share. */
  private random(): number {
    this.timeline.accesses(this)
    return this.chance.double()
  }

  private happens(share: number): boolean {
    return share > 0 && this.random() < share
  }

  private launch(
    source: Host,
    from: SocketAddress.SocketAddress,
    target: Host,
    port: number,
    to: SocketAddress.SocketAddress,
    through: number | undefined,
    payload: Uint8Array,
    millis: number
  ): void {
    const packet = new Packet(
      this,
      source,
      from,
      target,
      port,
      to,
      through,
      payload,
      this.timeline.elapsedMillis
    )
    this.timeline.add(packet, millis + this.jitter())
  }

  /** A random delay; the fourth power of a uniform number has the mean 1/5. */
  private jitter(): number {
    const { jitterMillis } = this.conditions
    if (jitterMillis === 0) return 0
    const u = this.random()
    return 5 * jitterMillis * u * u * u * u
  }

  /** @internal */
  arrive(packet: Packet): void {
    const { from, payload, port, sentAtMillis, source, target, through } = packet
    const drop = (reason: DropReason): void =>
      this.drop({ source, target, from, to: packet.to, payload, sentAtMillis, reason })
    this.timeline.accesses(target)
    if (target.router !== undefined) this.timeline.accesses(target.router)
    if (!target.isUp) return drop("blocked")
    if (through !== undefined && target.router?.table.admits(through, from, this.timeline.elapsedMillis) !== true) {
      return drop("filtered")
    }
    const endpoint = target.endpoints.get(port)
    if (endpoint === undefined) return drop("unreachable")
    packet.to = packet.to.host === target.otherIp ? packet.to : endpoint.address
    for (const observer of this.observers) observer.delivered?.(packet)
    if (endpoint.deliver(payload, from)) this.tally.delivered++
    else drop("overflowed")
  }

  /**
   * Drops the datagrams in flight and refuses further ones.
   *
   * @internal
   */
  close(): void {
    this.closed = true
    this.timeline.removeWhere((timer) => timer instanceof Packet && timer.network === this)
  }
}

const insideOf = (host: Host, port: number): Inside => ({
  key: SocketAddress.key({ host: host.ip, port }),
  host,
  port
})

/** First octets of the public addresses, without reserved ranges. */
const firstOctets = Array.from({ length: 89 }, (_, i) => i + 9).filter((octet) => octet !== 10)

const maxSubnets = firstOctets.length << 16

/** The next IP in the private network of a router; no two routers have the same network. */
const privateIp = (router: Router): string => {
  const { index } = router
  if (router.hosts >= maxBehind || index > 0xffff) {
    throw new RangeError(`A simulated network has at most 65536 routers with at most ${maxBehind} hosts each`)
  }
  return `10.${index >> 8}.${index & 255}.${router.hosts++ + 2}`
}

/**
 * Creates an empty network. Closing the scope drops the datagrams in flight.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (options: Options): Effect.Effect<SimNetwork, never, VirtualTime | Scope.Scope> =>
  Effect.acquireRelease(
    Effect.map(VirtualTime, (timeline) => new SimNetwork(timeline, options)),
    (network) => Effect.sync(() => network.close())
  )
