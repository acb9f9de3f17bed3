import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as References from "effect/References"
import { fastest } from "../../src/node/NodeCrypto.ts"
import { Routing } from "../../src/Routing.ts"
import * as Nat from "../../src/testing/Nat.ts"
import type * as SimNetwork from "../../src/testing/SimNetwork.ts"
import * as SimWorld from "../../src/testing/SimWorld.ts"

const kinds = {
  restrictedCone: Nat.restrictedCone,
  portRestrictedCone: Nat.portRestrictedCone,
  symmetric: Nat.symmetric,
  symmetricRandom: Nat.symmetricRandom
}

describe("an hour at rest", () => {
  it("takes at most 180 datagrams of a client behind each kind of router, 170 of an open node, whose contacts stay verified, and 400 sleeps of each", () => {
    SimWorld.runSync(
      SimWorld.SimWorld.use((world) =>
        Effect.gen(function*() {
          const open = yield* world.startNodes(40)
          const clients = new Map<SimNetwork.Host, keyof typeof kinds>()
          for (const [name, behind] of Object.entries(kinds)) {
            const [{ host }] = yield* world.startNodes(1, { host: { behind } })
            clients.set(host, name as keyof typeof kinds)
          }
          yield* Effect.sleep("30 minutes")
          const sent = new Map<SimNetwork.Host, number>()
          world.network.observe({
            delivered: ({ source }) => {
              sent.set(source, (sent.get(source) ?? 0) + 1)
            }
          })
          let sleeps = 0
          const { timeline } = world
          const sleep = timeline.sleep.bind(timeline)
          timeline.sleep = (duration) => {
            sleeps++
            return sleep(duration)
          }
          yield* Effect.sleep("1 hour")
          for (const [host, name] of clients) assert.isAtMost(sent.get(host) ?? 0, 180, name)
          const ofOpen = open.map(({ host }) => sent.get(host) ?? 0)
          assert.isAtMost(ofOpen.reduce((sum, count) => sum + count) / open.length, 170)
          assert.isAtMost(sleeps / (open.length + clients.size), 400)
          // The tables are none the worse for it.
          for (const node of open) {
            const routing = yield* node.run(Routing)
            assert.isAbove(routing.entriesUnsafe().length, 30)
            for (const { verifiedAt } of routing.entriesUnsafe()) assert.isDefined(verifiedAt)
          }
        })
      ).pipe(Effect.provideService(References.MinimumLogLevel, "Error")),
      { seed: 7, crypto: fastest }
    )
  })
})
