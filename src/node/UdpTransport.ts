/**
 * Transport of datagrams over UDP, on `node:dgram`.
 *
 * @module
 * @since 0.1.0
 */
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as Dgram from "node:dgram"
import * as Net from "node:net"
import { RecencyMap } from "../internal/recencyMap.ts"
import * as SocketAddress from "../SocketAddress.ts"
import * as Transport from "../Transport.ts"

/**
 * Where to listen, and the networks to exchange datagrams with. Port 0 lets the
 * system choose a free one.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options extends Transport.NetworkRules {
  /** Defaults to every address of the family. */
  readonly host?: string | undefined
  readonly port: number
}

/** Received datagrams waiting for the receive loop: about a tenth of a second of work at most. */
const inbox = { capacity: 1024, perSender: 256 }

/** Bytes of kernel buffer to request, so that datagrams are kept while the process is busy: first `most`, at last `least`. */
const kernelBuffer = { most: 1 << 21, least: 1 << 18 }

const mapped = "::ffff:"

type Family = "ipv4" | "ipv6" | "dual"

/** Converts an IPv4-mapped address, as a dual socket reports IPv4 peers, to plain IPv4. */
const unmap = (host: string): string => host.startsWith(mapped) && host.includes(".") ? host.slice(mapped.length) : host

/** The host in the form that the family's socket takes; undefined if the socket cannot reach it. */
const destination = (family: Family, host: string): string | undefined =>
  SocketAddress.isIpv4(host)
    ? family === "ipv4" ? host : family === "dual" ? mapped + host : undefined
    : family !== "ipv4" && Net.isIPv6(host)
    ? host
    : undefined

const make = (
  family: Family,
  host: string,
  { port, ...rules }: Options
): Effect.Effect<Transport.Transport["Service"], Transport.CannotBind, Scope.Scope> =>
  Transport.fromSocket((deliver) => open(family, { host, port }, deliver), inbox, rules)

/** A socket and the hosts that it can send to. */
interface Opened extends Transport.Socket {
  readonly reaches: (host: string) => boolean
}

const open = (
  family: Family,
  local: SocketAddress.SocketAddress,
  deliver: Transport.Deliver
): Effect.Effect<Opened, Transport.CannotBind, Scope.Scope> =>
  Effect.acquireRelease(bind(family, local, deliver), close).pipe(
    Effect.map((socket) => {
      const { address, port } = socket.address()
      return {
        address: { host: unmap(address), port },
        reaches: (host) => destination(family, host) !== undefined,
        transmit: (payload, to) => {
          const host = destination(family, to.host)
          if (host === undefined || !SocketAddress.isPort(to.port) || to.port === 0) {
            return new Transport.Unroutable({ to, reason: "Address" })
          }
          try {
            // No callback: `send` does not wait for the datagram. Later
            // failures arrive as the socket's `error` event.
            socket.send(payload, to.port, host)
            return undefined
          } catch {
            return new Transport.TransportClosed()
          }
        }
      }
    })
  )

// --- Several addresses -----------------------------------------------------------

/** Peers of which it is remembered by which socket they were last heard. */
const maxHeard = 4096

/** The scope of the peers that can reach a bound host. */
const scopeOf = (host: string): SocketAddress.Scope =>
  host === "0.0.0.0" || host === "::" ? SocketAddress.Scope.global : SocketAddress.scope(host)

/** Of several sockets, the one for a host that was not heard from: of the narrowest scope that includes it, or else of the widest. */
const socketFor = (sockets: ReadonlyArray<Opened>, host: string): Opened | undefined => {
  const wanted = SocketAddress.scope(host)
  let best: Opened | undefined
  for (const socket of sockets) {
    if (!socket.reaches(host)) continue
    const [has, hasBest] = [scopeOf(socket.address.host), best === undefined ? -1 : scopeOf(best.address.host)]
    const isBetter = hasBest < wanted ? has > hasBest : has >= wanted && has < hasBest
    if (isBetter) best = socket
  }
  return best
}

/** Opens a socket for each address, or none. */
const openAll = Effect.fnUntraced(
  function*(
    listen: NonEmptyReadonlyArray<SocketAddress.SocketAddress>,
    deliver: Transport.Deliver
  ): Effect.fn.Return<Transport.Socket, Transport.CannotBind, Scope.Scope> {
    // Behind a NAT, a peer receives only from the address that it has sent to.
    const heard = new RecencyMap<string, number>(maxHeard)
    const isMixed = listen.some(({ host }) => Net.isIPv4(host))
    const sockets = yield* Effect.forEach(
      listen,
      (local, via) =>
        open(familyOf(local.host, isMixed), local, (payload, from) => {
          if (listen.length > 1) heard.set(SocketAddress.key(from), via)
          return deliver(payload, { ...from, via })
        })
    )
    const [first, ...others] = sockets.map(({ address }) => address)
    return {
      address: others.reduce((widest, other) => scopeOf(other.host) > scopeOf(widest.host) ? other : widest, first),
      addresses: [first, ...others],
      reaches: (host) => sockets.some((socket) => socket.reaches(host)),
      transmit: (payload, to) => {
        const via = to.via ?? heard.get(SocketAddress.key(to))
        const socket = via === undefined ? socketFor(sockets, to.host) : sockets[via]
        return socket === undefined
          ? new Transport.Unroutable({ to, reason: "Address" })
          : socket.transmit(payload, to)
      }
    }
  }
)

/** The family of a socket: `::` is both, unless addresses of IPv4 are given as well. */
const familyOf = (host: string, isMixed = false): Family =>
  Net.isIPv6(host) ? host === "::" && !isMixed ? "dual" : "ipv6" : "ipv4"

/**
 * A socket that is not bound yet. Its listeners are made here and not in {@link bind}, whose variables, the fiber that
 * waits for it among them, would be kept with them while the socket is open.
 */
const unbound = (family: Family, deliver: Transport.Deliver): Dgram.Socket =>
  Dgram.createSocket({
    type: family === "ipv4" ? "udp4" : "udp6",
    ipv6Only: family === "ipv6",
    // Destinations are IP addresses already, so there is no name to look up.
    lookup: (host, _options, done) => done(null, host, family === "ipv4" ? 4 : 6)
  })
    // A datagram lost to a missing route or an ICMP report counts as packet loss, which the DHT tolerates.
    .on("error", () => {})
    // Views of a plain array cost a third of a Buffer's.
    .on(
      "message",
      ({ buffer, byteOffset, length }, { address, port }) =>
        deliver(new Uint8Array(buffer, byteOffset, length), { host: unmap(address), port })
    )

const bind = (family: Family, local: SocketAddress.SocketAddress, deliver: Transport.Deliver) =>
  Effect.callback<Dgram.Socket, Transport.CannotBind>((resume) => {
    let socket: Dgram.Socket | undefined
    let failure: Transport.CannotBind | undefined
    const failed = (cause: unknown) => {
      failure = new Transport.CannotBind({ address: local, kind: kindOf(cause), cause })
      socket?.off("error", failed)
      socket?.close()
      resume(Effect.fail(failure))
    }
    // Node would take such a port modulo 65536.
    if (!(Number.isInteger(local.port) && local.port >= 0 && local.port < 0x10000)) {
      return failed(new RangeError("the port is not from 0 to 65535"))
    }
    // `bind` reports failures as an event or by throwing.
    try {
      const opened = unbound(family, deliver)
      socket = opened
      opened.once("error", failed)
      opened.bind({ address: local.host, port: local.port, exclusive: true }, () => {
        opened.off("error", failed)
        // Resumes only after `bind` has returned: it may call back first and throw afterwards.
        resume(Effect.suspend(() => failure ?? Effect.as(enlargeBuffers(opened), opened)))
      })
    } catch (cause) {
      failed(cause)
    }
  })

/**
 * Enlarges the kernel's socket buffers to absorb bursts. Linux caps the size at its limit; other systems, such as
 * FreeBSD above 2 MiB, refuse, and then half is tried. Failure is harmless.
 */
const enlargeBuffers = (socket: Dgram.Socket): Effect.Effect<void> => {
  const enlarge = (direction: string, set: (bytes: number) => void) =>
    Effect.suspend(() => {
      let refusal: unknown
      for (let bytes = kernelBuffer.most; bytes >= kernelBuffer.least; bytes /= 2) {
        try {
          set(bytes)
          return Effect.void
        } catch (cause) {
          refusal = cause
        }
      }
      return Effect.logDebug(`The kernel refused a larger ${direction} buffer: ${String(refusal)}`)
    })
  return Effect.andThen(
    enlarge("receive", (bytes) => socket.setRecvBufferSize(bytes)),
    enlarge("send", (bytes) => socket.setSendBufferSize(bytes))
  )
}

const close = (socket: Dgram.Socket) =>
  Effect.callback<void>((resume) => {
    socket.close(() => resume(Effect.void))
  })

const kindOf = (cause: unknown): Transport.CannotBind["kind"] => {
  switch ((cause as NodeJS.ErrnoException).code) {
    case "EADDRINUSE":
      return "AddressInUse"
    case "EADDRNOTAVAIL":
    case "ENOTFOUND":
      return "AddressNotAvailable"
    case "EACCES":
      return "PermissionDenied"
    default:
      return "Unknown"
  }
}

/**
 * A transport over IPv4 only.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerIpv4 = (options: Options): Layer.Layer<Transport.Transport, Transport.CannotBind> =>
  Layer.effect(Transport.Transport, make("ipv4", options.host ?? "0.0.0.0", options))

/**
 * A transport over IPv6 only.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerIpv6 = (options: Options): Layer.Layer<Transport.Transport, Transport.CannotBind> =>
  Layer.effect(Transport.Transport, make("ipv6", options.host ?? "::", options))

/**
 * A transport over IPv4 and IPv6 on one socket. IPv4 peers appear under their
 * IPv4 addresses.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerDual = (
  options: Omit<Options, "host">
): Layer.Layer<Transport.Transport, Transport.CannotBind> =>
  Layer.effect(Transport.Transport, make("dual", "::", options))

/**
 * A transport for the family of the address: `::` is dual, any other IPv6
 * address is IPv6 only, and an IPv4 address is IPv4 only.
 *
 * With several addresses it has a socket for each, or fails with the one that
 * cannot be bound; `::` is IPv6 only beside addresses of IPv4. A datagram to a
 * peer leaves by the socket on which the last one from it came in.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (
  listen: SocketAddress.SocketAddress | NonEmptyReadonlyArray<SocketAddress.SocketAddress>,
  rules: Transport.NetworkRules = {}
): Layer.Layer<Transport.Transport, Transport.CannotBind> => {
  const [first, ...others] = "host" in listen ? [listen] : listen
  return Layer.effect(
    Transport.Transport,
    others.length === 0
      ? make(familyOf(first.host), first.host, { ...rules, port: first.port })
      : Transport.fromSocket((deliver) => openAll([first, ...others], deliver), inbox, rules)
  )
}
