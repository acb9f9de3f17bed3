/**
 * Datagrams over UDP, on `node:dgram`.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as Dgram from "node:dgram"
import * as Net from "node:net"
import type { SocketAddress } from "../SocketAddress.ts"
import * as Transport from "../Transport.ts"

/**
 * Where to listen. Port 0 lets the system choose a free one.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** Defaults to every address of the family. */
  readonly host?: string | undefined
  readonly port: number
}

/** Datagrams that wait for the receive loop: at most some tenth of a second's work. */
const inbox = { capacity: 1024, perSender: 256 }

/** What the kernel is asked to hold for us while the process does something else, in bytes, and the least worth asking for. */
const kernelBuffer = { most: 1 << 21, least: 1 << 18 }

const mapped = "::ffff:"

type Family = "ipv4" | "ipv6" | "dual"

/** An IPv4-mapped address, which is how a dual socket names an IPv4 peer, as plain IPv4. */
const unmap = (host: string): string => host.startsWith(mapped) && host.includes(".") ? host.slice(mapped.length) : host

/** What the family's socket calls a destination; undefined when it cannot reach it. */
const destination = (family: Family, host: string): string | undefined => {
  switch (Net.isIP(host)) {
    case 4:
      return family === "ipv4" ? host : family === "dual" ? mapped + host : undefined
    case 6:
      return family === "ipv4" ? undefined : host
    default:
      return undefined
  }
}

const make = (
  family: Family,
  local: SocketAddress
): Effect.Effect<Transport.Transport["Service"], Transport.CannotBind, Scope.Scope> =>
  Transport.fromSocket((deliver) => open(family, local, deliver), inbox)

const open = (
  family: Family,
  local: SocketAddress,
  deliver: Transport.Deliver
): Effect.Effect<Transport.Socket, Transport.CannotBind, Scope.Scope> =>
  Effect.acquireRelease(bind(family, local, deliver), close).pipe(
    Effect.map((socket) => {
      const { address, port } = socket.address()
      return {
        address: { host: unmap(address), port },
        transmit: (payload, to) => {
          const host = destination(family, to.host)
          if (host === undefined || !(to.port > 0 && to.port < 0x10000)) return new Transport.Unroutable({ to })
          try {
            // No callback: nobody waits for a datagram. What goes wrong later
            // is the socket's `error` event.
            socket.send(payload, to.port, host)
            return undefined
          } catch {
            return new Transport.TransportClosed()
          }
        }
      }
    })
  )

const bind = (family: Family, local: SocketAddress, deliver: Transport.Deliver) =>
  Effect.callback<Dgram.Socket, Transport.CannotBind>((resume) => {
    let socket: Dgram.Socket | undefined
    let failure: Transport.CannotBind | undefined
    const failed = (cause: unknown) => {
      failure = new Transport.CannotBind({ address: local, kind: kindOf(cause), cause })
      socket?.off("error", failed)
      socket?.close()
      resume(Effect.fail(failure))
    }
    // Node would take the remainder of such a number.
    if (!(Number.isInteger(local.port) && local.port >= 0 && local.port < 0x10000)) {
      return failed(new RangeError("no such port"))
    }
    // What is refused comes as an event, or is thrown.
    try {
      const opened = Dgram.createSocket({
        type: family === "ipv4" ? "udp4" : "udp6",
        ipv6Only: family === "ipv6",
        // Destinations are IP addresses already.
        lookup: (host, _options, done) => done(null, host, family === "ipv4" ? 4 : 6)
      })
      socket = opened
      opened.once("error", failed)
      // A lost datagram (no route, an ICMP report) is what the DHT expects of a network.
      opened.on("error", () => {})
      // A plain array, whose views cost a third of a Buffer's.
      opened.on(
        "message",
        ({ buffer, byteOffset, length }, { address, port }) =>
          deliver(new Uint8Array(buffer, byteOffset, length), { host: unmap(address), port })
      )
      opened.bind({ address: local.host, port: local.port, exclusive: true }, () => {
        opened.off("error", failed)
        // Not before `bind` has returned, which may throw after it called us.
        resume(Effect.suspend(() => failure ?? Effect.as(enlargeBuffers(opened), opened)))
      })
    } catch (cause) {
      failed(cause)
    }
  })

/**
 * Asks for larger buffers than usual. Linux gives what it has where that is less; others refuse, FreeBSD 2 MiB for one,
 * and then half is asked for. They are a help in bursts, so a socket without them is as good.
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
      return Effect.logDebug(`The kernel gives no larger ${direction} buffer: ${String(refusal)}`)
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
 * IPv4 only.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerIpv4 = (options: Options): Layer.Layer<Transport.Transport, Transport.CannotBind> =>
  Layer.effect(Transport.Transport, make("ipv4", { host: options.host ?? "0.0.0.0", port: options.port }))

/**
 * IPv6 only.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerIpv6 = (options: Options): Layer.Layer<Transport.Transport, Transport.CannotBind> =>
  Layer.effect(Transport.Transport, make("ipv6", { host: options.host ?? "::", port: options.port }))

/**
 * IPv4 and IPv6 on one socket. IPv4 peers appear under their IPv4 addresses.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerDual = (options: { readonly port: number }): Layer.Layer<Transport.Transport, Transport.CannotBind> =>
  Layer.effect(Transport.Transport, make("dual", { host: "::", port: options.port }))

/**
 * The layer that fits the address: `::` is dual, any other IPv6 address is
 * IPv6 only, and an IPv4 address is IPv4 only.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (local: SocketAddress): Layer.Layer<Transport.Transport, Transport.CannotBind> =>
  local.host === "::" ? layerDual(local) : Net.isIPv6(local.host) ? layerIpv6(local) : layerIpv4(local)
