import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as TestClock from "effect/testing/TestClock"
import type { NodeId } from "../src/NodeId.ts"
import * as Reachability from "../src/Reachability.ts"
import { layerMemoryNetwork } from "../src/Transport.ts"
import * as network from "./utils/network.ts"
import { helpful, serve } from "./utils/served.ts"

const onNetwork = Effect.provide(layerMemoryNetwork)

/** Has the node ask one peer every minute, as an open node does that sends nothing else. */
const layerEveryMinute = Layer.effect(
  Reachability.Reachability,
  Effect.gen(function*() {
    const reachability = yield* Reachability.Reachability
    let askedAt = yield* Clock.currentTimeMillis
    return Reachability.Reachability.of({
      ...reachability,
      stateUnsafe: () => "open",
      nextUnsafe: (now) =>
        now < askedAt + 60_000 ? { _tag: "Wait", until: askedAt + 60_000 } : { _tag: "Ask", peers: 1 },
      askedUnsafe: (_, now) => {
        askedAt = now
      }
    })
  })
).pipe(Layer.provide(Reachability.layer()))

describe("the check whether an open node is still reached", () => {
  it.effect("pings the contacts in turn, the longest silent first, so that they need no pings of their own", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(network.now * 1000)
      const node = yield* network.node("node", network.socketOf(1), { services: { reachability: layerEveryMinute } })
      const pinged: Array<NodeId> = []
      const silent: Array<NodeId | undefined> = []
      const longestSilent = () =>
        network.tableOf(node).entries().toSorted((a, b) => (a.verifiedAt ?? 0) - (b.verifiedAt ?? 0)).at(0)?.contact.id
      for (let i = 0; i < 8; i++) {
        const peer = yield* network.puppet(`peer ${i}`, { host: `8.8.${i}.8`, port: 4121 })
        const help = helpful(peer)
        yield* serve(peer, (body, from) => {
          if (body._tag === "Ping") {
            pinged.push(peer.id)
            silent.push(longestSilent())
          }
          return help(body, from)
        })
        network.tableOf(node).add(peer, network.now * 1000 + 1000 * i, network.now * 1000)
      }
      yield* TestClock.adjust("20 minutes")
      assert.isAbove(pinged.length, 15)
      assert.deepStrictEqual(pinged, silent)
      assert.strictEqual(new Set(pinged).size, 8)
    }).pipe(onNetwork))
})
