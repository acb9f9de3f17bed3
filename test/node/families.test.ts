import { describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import { networkInterfaces } from "node:os"
import { DhtLive } from "../../src/node/DhtLive.ts"
import { Routing } from "../../src/Routing.ts"
import type { SocketAddress } from "../../src/SocketAddress.ts"
import { dht } from "../utils/network.ts"

const hasIpv6 = Object.values(networkInterfaces()).flat().some((one) => one?.address === "::1")

const ipv4 = { host: "127.0.0.1", port: 0 }
const ipv6 = { host: "::1", port: 0 }

let seeds = 0

/** Starts a node on loopback addresses, which joins through others. */
const node = (listen: readonly [SocketAddress, ...ReadonlyArray<SocketAddress>], bootstrap: Array<SocketAddress>) =>
  Effect.map(
    Layer.build(Layer.fresh(DhtLive({ listen, bootstrap, seed: new Uint8Array(32).fill(++seeds) }))),
    (services) => ({ ...dht(services), routing: Context.get(services, Routing) })
  )

/** Waits until a condition holds: nodes learn of each other in the background. */
const eventually = <E>(condition: Effect.Effect<boolean, E>) =>
  condition.pipe(
    Effect.filterOrFail((holds) => holds),
    Effect.retry(Schedule.spaced("100 millis"))
  )

describe("nodes of IPv4, of IPv6 and of both, on real sockets", () => {
  it.live.skipIf(!hasIpv6)(
    "know who is reachable over both, and find what each other publish",
    () =>
      Effect.gen(function*() {
        const first = yield* node([ipv4, ipv6], [])
        const second = yield* node([ipv4, ipv6], [...first.localAddresses])
        const [ofIpv4, ofIpv6] = [0, 1].map((i) => [first.localAddresses[i], second.localAddresses[i]])
        const start = (listen: SocketAddress, bootstrap: Array<SocketAddress>) =>
          Effect.forEach(Array.from({ length: 6 }), () => node([listen], bootstrap))
        const nodes = { ipv4: yield* start(ipv4, ofIpv4), ipv6: yield* start(ipv6, ofIpv6) }
        const all = [...nodes.ipv4, ...nodes.ipv6]
        for (const node of all) yield* node.publishEndpoint({ endpoints: ["tcp://192.0.2.1:1"] })
        // Each of the two knows the other one at both of its addresses, and the rest know both.
        for (const [i, host] of [ipv4.host, ipv6.host].entries()) {
          yield* eventually(Effect.map(Clock.currentTimeMillis, (now) => {
            const [named] = first.routing.dualAnswerUnsafe(second.nodeId, 3, host, "Own", now)
            return named?.host === host && named.port === second.localAddresses[i].port
          }))
        }
        for (const { routing } of all) {
          yield* eventually(Effect.sync(() => routing.nearestDualUnsafe(first.nodeId, 3).length === 2))
        }
        for (const [readers, publishers] of [[nodes.ipv4, nodes.ipv6], [nodes.ipv6, nodes.ipv4]]) {
          for (const [i, { address }] of publishers.entries()) {
            yield* eventually(Effect.as(readers[i].resolve(address), true))
          }
        }
      }).pipe(Effect.scoped),
    60_000
  )
})
