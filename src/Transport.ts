/**
 * Datagram transport: all that the DHT needs from a network.
 *
 * `layerMemory` joins a network within the process, whose peers have names and
 * whose failures are typed; the UDP layers are in `effect-dht/node`. All can
 * share the port with another protocol: the first byte of a datagram says which
 * protocol it belongs to, see {@link Transport}.
 *
 * @module
 * @since 0.1.0
 */
import { isArrayNonEmpty, type NonEmptyArray, type NonEmptyReadonlyArray } from "effect/Array"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { FairQueue } from "./core/fairQueue.ts"
import { NetworkFilter, type NetworkRules } from "./core/networkFilter.ts"
import { RateLimit } from "./internal/rateLimit.ts"
import { maxDatagram } from "./Message.ts"
import * as SocketAddress from "./SocketAddress.ts"

export type { NetworkRules } from "./core/networkFilter.ts"

/**
 * The sender of a datagram. An answer to it, given as it is, leaves by the socket
 * that the datagram came in on.
 *
 * @category models
 * @since 0.1.0
 */
export interface Sender extends SocketAddress.SocketAddress {
  /** Index of that socket in `addresses` of the transport, if it has several. */
  readonly via?: number | undefined
}

/**
 * A received datagram and its sender. The receiver owns the payload.
 *
 * @category models
 * @since 0.1.0
 */
export interface Datagram {
  readonly payload: Uint8Array
  readonly from: Sender
}

/**
 * Sends and receives datagrams.
 *
 * A datagram whose first byte has bit 0x40 set belongs to the protocol that
 * shares the port (such as QUIC: RFC 9000, 17.2). One that begins with `00 EC`
 * is an echo probe and is returned unchanged. The rest belongs to the DHT.
 *
 * @category services
 * @since 0.1.0
 */
export class Transport extends Context.Service<Transport, {
  /** The bound address of this node; of several the one that most peers can reach. */
  readonly address: SocketAddress.SocketAddress
  /** All bound addresses. */
  readonly addresses: NonEmptyReadonlyArray<SocketAddress.SocketAddress>
  /** Whether datagrams can be sent to a host, by its address family. */
  readonly reaches: (host: string) => boolean
  /**
   * Passes one DHT datagram of at most 1200 bytes to the network. The bytes
   * must not change afterwards. Delivery is not guaranteed.
   */
  readonly send: (payload: Uint8Array, to: Sender) => Effect.Effect<void, SendError>
  /** Sends for a caller outside a fiber: returns the error. */
  readonly sendUnsafe: (payload: Uint8Array, to: Sender) => SendError | undefined
  /** Returns the next DHT datagrams, at most 32, or waits for one. Networks, hosts and ports are served in turn. */
  readonly receive: Effect.Effect<NonEmptyArray<Datagram>, TransportClosed>
  /**
   * Passes DHT datagrams to a receiver as they arrive, instead of queueing them
   * for `receive`, until the scope closes: first those that wait. For a reader
   * with a queue of its own. There is one receiver at a time: a second is a
   * defect.
   */
  readonly deliverTo: (receiver: Deliver) => Effect.Effect<void, never, Scope.Scope>
  /** The protocol that shares the port. */
  readonly foreign: {
    readonly send: (payload: Uint8Array, to: Sender) => Effect.Effect<void, SendError>
    readonly receive: Effect.Effect<NonEmptyArray<Datagram>, TransportClosed>
  }
  /** Number of DHT datagrams lost because the inbox of `receive` was full. */
  readonly dropped: Effect.Effect<number>
  /** Number of datagrams dropped because of the network that they came from. */
  readonly denied: Effect.Effect<number>
}>()("effect-dht/Transport") {}

// --- Errors ------------------------------------------------------------------

/**
 * The transport cannot listen on the local address.
 *
 * @category errors
 * @since 0.1.0
 */
export class CannotBind extends Data.TaggedError("CannotBind")<{
  readonly address: SocketAddress.SocketAddress
  readonly kind: "AddressInUse" | "AddressNotAvailable" | "PermissionDenied" | "Unknown"
  readonly cause: unknown
}> {
  override get message() {
    const why = {
      AddressInUse: "the port is in use",
      AddressNotAvailable: "this machine does not have that address",
      PermissionDenied: "permission denied",
      Unknown: String(this.cause)
    }
    return `Cannot listen on ${SocketAddress.format(this.address)}: ${why[this.kind]}`
  }
}

/**
 * No peer of the in-memory network has that name.
 *
 * @category errors
 * @since 0.1.0
 */
export class UnknownPeer extends Data.TaggedError("UnknownPeer")<{ readonly to: SocketAddress.SocketAddress }> {
  override get message() {
    return `No peer is at ${SocketAddress.format(this.to)}`
  }
}

/**
 * The name is taken on the in-memory network.
 *
 * @category errors
 * @since 0.1.0
 */
export class DuplicatePeer extends Data.TaggedError("DuplicatePeer")<{
  readonly address: SocketAddress.SocketAddress
}> {
  override get message() {
    return `${SocketAddress.format(this.address)} is taken`
  }
}

/**
 * The receiver on the in-memory network reads too slowly.
 *
 * @category errors
 * @since 0.1.0
 */
export class InboxFull extends Data.TaggedError("InboxFull")<{ readonly to: SocketAddress.SocketAddress }> {
  override get message() {
    return `The inbox of ${SocketAddress.format(this.to)} is full`
  }
}

/**
 * The datagram is too large. Sizes are in bytes.
 *
 * @category errors
 * @since 0.1.0
 */
export class DatagramTooLarge extends Data.TaggedError("DatagramTooLarge")<{
  readonly size: number
  readonly limit: number
}> {
  override get message() {
    return `The datagram has ${this.size} bytes, and at most ${this.limit} can be sent`
  }
}

/**
 * The destination is not an IP address with a port, or of an address family
 * that the socket cannot send to (`Address`), or its network is excluded
 * (`Network`).
 *
 * @category errors
 * @since 0.1.0
 */
export class Unroutable extends Data.TaggedError("Unroutable")<{
  readonly to: SocketAddress.SocketAddress
  readonly reason: "Address" | "Network"
}> {
  override get message() {
    const to = SocketAddress.format(this.to)
    return this.reason === "Address"
      ? `No datagram can go to ${to} from here`
      : `No datagram goes to ${to}, whose network is excluded`
  }
}

/**
 * The transport's scope is closed.
 *
 * @category errors
 * @since 0.1.0
 */
export class TransportClosed extends Data.TaggedError("TransportClosed")<{}> {
  override get message() {
    return "The transport is closed"
  }
}

/**
 * Why a datagram was not sent.
 *
 * @category errors
 * @since 0.1.0
 */
export type SendError = UnknownPeer | InboxFull | DatagramTooLarge | Unroutable | TransportClosed

// --- From a socket -----------------------------------------------------------

/**
 * The operations a network must provide to become a {@link Transport}.
 *
 * @category models
 * @since 0.1.0
 */
export interface Socket {
  readonly address: SocketAddress.SocketAddress
  /** All bound addresses, if there are several. */
  readonly addresses?: NonEmptyReadonlyArray<SocketAddress.SocketAddress> | undefined
  /** Whether it can send to a host. By default to those of the families of its addresses. */
  readonly reaches?: ((host: string) => boolean) | undefined
  /** Sends a datagram of any size that the network allows. Must not throw. */
  readonly transmit: (payload: Uint8Array, to: Sender) => SendError | undefined
}

/**
 * Receives a datagram. Returns false if there was no room for it.
 *
 * @category models
 * @since 0.1.0
 */
export type Deliver = (payload: Uint8Array, from: Sender) => boolean

/**
 * Bounds on waiting datagrams: in all, and from one host and port.
 *
 * @category models
 * @since 0.1.0
 */
export interface InboxOptions {
  readonly capacity: number
  readonly perSender: number
}

/** An echo is never larger than its probe, but two nodes could be made to bounce one forever. */
const echoLimit = { limit: 10, windowMillis: 10_000, capacity: 1024 }

/**
 * Makes a transport from a socket: one bounded inbox for the DHT and one for
 * the protocol that shares the port. Echo probes are answered at once. Datagrams
 * from and to networks that the rules exclude are dropped, whatever they are.
 * Both inboxes close with the scope; the caller closes the socket.
 *
 * @category constructors
 * @since 0.1.0
 */
export const fromSocket = Effect.fnUntraced(function*<E>(
  open: (deliver: Deliver) => Effect.Effect<Socket, E, Scope.Scope>,
  options: InboxOptions,
  rules: NetworkRules = {}
) {
  const clock = yield* Clock.Clock
  const inbox = yield* makeInbox(options)
  const foreign = yield* makeInbox(options)
  const echoes = new RateLimit(echoLimit)
  const filter = new NetworkFilter(rules)
  let dropped = 0
  let denied = 0
  let closed = false
  let receiver: Deliver | undefined
  // Undefined while the socket opens: it may deliver before `open` returns.
  let bound: Socket | undefined

  const deliver: Deliver = (payload, from) => {
    if (!filter.admits(from.host)) {
      denied++
      return true
    }
    if (payload.length > 1 && payload[0] === 0x00 && payload[1] === 0xec) {
      if (echoes.allow(SocketAddress.source(from.host), clock.currentTimeMillisUnsafe())) bound?.transmit(payload, from)
      return true
    }
    const datagram = { payload, from }
    if ((payload[0] & 0x40) !== 0) return foreign.offer(datagram) !== datagram
    if (receiver !== undefined) return receiver(payload, from)
    const lost = inbox.offer(datagram)
    if (lost !== undefined) dropped++
    return lost !== datagram
  }
  const deliverTo = (next: Deliver) =>
    Effect.acquireRelease(
      Effect.sync(() => {
        if (receiver !== undefined) throw new Error("Datagrams have a receiver already: close its scope first")
        receiver = next
        for (const { from, payload } of inbox.takeAll()) next(payload, from)
      }),
      () =>
        Effect.sync(() => {
          receiver = undefined
        })
    )
  yield* Effect.addFinalizer(() =>
    Effect.sync(() => {
      closed = true
    })
  )
  const socket = yield* open(deliver)
  bound = socket

  const transmit = (payload: Uint8Array, to: Sender): SendError | undefined =>
    closed
      ? new TransportClosed()
      : filter.admits(to.host)
      ? socket.transmit(payload, to)
      : new Unroutable({ to, reason: "Network" })
  const sendUnsafe = (payload: Uint8Array, to: Sender): SendError | undefined =>
    payload.length > maxDatagram
      ? new DatagramTooLarge({ size: payload.length, limit: maxDatagram })
      : transmit(payload, to)
  const asEffect = (send: typeof transmit) => (payload: Uint8Array, to: Sender) =>
    Effect.suspend(() => {
      const error = send(payload, to)
      return error === undefined ? Effect.void : Effect.fail(error)
    })

  const { address, addresses = [address] } = socket
  const families = new Set(addresses.map(({ host }) => SocketAddress.family(host)))
  return Transport.of({
    address,
    addresses,
    reaches: socket.reaches ?? ((host) => families.has(SocketAddress.family(host))),
    send: asEffect(sendUnsafe),
    sendUnsafe,
    receive: inbox.receive,
    deliverTo,
    foreign: { send: asEffect(transmit), receive: foreign.receive },
    dropped: Effect.sync(() => dropped),
    denied: Effect.sync(() => denied)
  })
})

/** Maximum number of datagrams that `receive` returns at once. */
const batch = 32

/** Datagrams that wait for a reader, which fails when the scope ends. */
const makeInbox = Effect.fnUntraced(function*(options: InboxOptions) {
  const waiting = new FairQueue<Datagram>({ capacity: options.capacity, perSource: options.perSender })
  const filled = Latch.makeUnsafe()
  let closed = false
  yield* Effect.addFinalizer(() =>
    Effect.sync(() => {
      closed = true
      waiting.clear()
      filled.openUnsafe()
    })
  )
  const receive: Effect.Effect<NonEmptyArray<Datagram>, TransportClosed> = Effect.suspend(() => {
    if (closed) return Effect.fail(new TransportClosed())
    const taken = waiting.take(batch)
    if (isArrayNonEmpty(taken)) return Effect.succeed(taken)
    filled.closeUnsafe()
    return Effect.andThen(filled.await, receive)
  })
  return {
    receive,
    takeAll: (): ReadonlyArray<Datagram> => waiting.take(waiting.size),
    /** Queues a datagram and returns the one that is lost for it. */
    offer: (datagram: Datagram): Datagram | undefined => {
      const lost = waiting.offer(datagram.from, datagram)
      if (lost !== datagram) filled.openUnsafe()
      return lost
    }
  }
})

// --- In memory ---------------------------------------------------------------

/**
 * A network within the process: peers that join under a name are reachable at
 * once and without loss.
 *
 * @category services
 * @since 0.1.0
 */
export class MemoryNetwork extends Context.Service<MemoryNetwork, {
  /** Binds an address until the scope closes. Fails if another peer has it. */
  readonly join: (
    address: SocketAddress.SocketAddress
  ) => Effect.Effect<Transport["Service"], DuplicatePeer, Scope.Scope>
}>()("effect-dht/Transport/MemoryNetwork") {}

/** The inbox of each peer of an in-memory network. */
const memoryInbox = { capacity: 256, perSender: 256 }

const makeMemoryNetwork = Effect.sync(() => {
  const peers = new Map<string, Deliver>()

  const join = (address: SocketAddress.SocketAddress) => {
    const name = SocketAddress.key(address)
    const transmit = (payload: Uint8Array, to: SocketAddress.SocketAddress): SendError | undefined => {
      const deliver = peers.get(SocketAddress.key(to))
      if (deliver === undefined) return new UnknownPeer({ to })
      // Sender and receiver own separate bytes, as on a real network.
      return deliver(payload.slice(), address) ? undefined : new InboxFull({ to })
    }
    return fromSocket(
      (deliver) =>
        Effect.acquireRelease(
          Effect.suspend(() => {
            if (peers.has(name)) return Effect.fail(new DuplicatePeer({ address }))
            peers.set(name, deliver)
            return Effect.succeed<Socket>({ address, transmit })
          }),
          () => Effect.sync(() => peers.delete(name))
        ),
      memoryInbox
    )
  }
  return MemoryNetwork.of({ join })
})

/**
 * An empty in-memory network.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerMemoryNetwork: Layer.Layer<MemoryNetwork> = Layer.effect(MemoryNetwork, makeMemoryNetwork)

/**
 * Joins the in-memory network under an address: an IP and a port of your
 * choice, so that nodes can report it to each other, or a bare name with port
 * 0.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerMemory = (
  address: SocketAddress.SocketAddress
): Layer.Layer<Transport, DuplicatePeer, MemoryNetwork> =>
  Layer.effect(Transport, MemoryNetwork.use((network) => network.join(address)))
