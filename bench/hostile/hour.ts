/**
 * An hour of a crowded topic, in virtual time: how many copies each of its
 * publishers has, and what their replicas reported.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import { Dht } from "../../src/Dht.ts"
import { NodeEvents, type ReplicaOutcome } from "../../src/NodeEvents.ts"
import * as SimCrypto from "../../src/testing/SimCrypto.ts"
import * as SimWorld from "../../src/testing/SimWorld.ts"
import { quantile } from "../measure.ts"
import type { Section } from "../report.ts"
import { mean } from "./network.ts"

const topic = "an hour"

export const hour = (options: { readonly nodes: number; readonly publishers: number; readonly minutes: number }) =>
  Effect.sync((): Section => {
    const started = performance.now()
    const outcomes = new Map<ReplicaOutcome, number>()
    const { copies, found } = SimWorld.runSync(
      Effect.gen(function*() {
        const world = yield* SimWorld.SimWorld
        const nodes = yield* world.startNodes(options.nodes)
        const publishers = nodes.slice(0, options.publishers)
        const announcements = yield* Effect.forEach(publishers, (node, i) =>
          node.run(Effect.gen(function*() {
            const dht = yield* Dht
            yield* (yield* NodeEvents).listen((event) => {
              if (event._tag !== "ReplicaReported") return
              outcomes.set(event.outcome, (outcomes.get(event.outcome) ?? 0) + 1)
            })
            return yield* dht.announceTopic({ topic, name: `agent ${i}`, brief: "It does something" })
          })))
        yield* Effect.sleep(`${options.minutes} minutes`)
        const copies = yield* Effect.forEach(
          announcements,
          (announcement) =>
            Effect.map(Effect.flatMap(announcement.current, ({ confirmed }) => confirmed), ({ length }) => length)
        )
        const found = yield* nodes[options.nodes - 1].run(
          Effect.map(Dht.use((dht) => dht.discover(topic)), ({ offers }) => offers.length)
        )
        return { copies, found }
      }),
      { seed: 7, crypto: SimCrypto.simulated }
    )
    const count = (outcome: ReplicaOutcome) => ({ value: outcomes.get(outcome) ?? 0, unit: "" }) as const
    return {
      title:
        `${options.publishers} publishers of a topic for ${options.minutes} minutes of virtual time, ${options.nodes} nodes`,
      note: `Simulated, with stand-in signatures, in ${((performance.now() - started) / 1000).toFixed(0)} s.`,
      rows: [{
        name: "confirmed copies",
        figures: {
          "least": { value: Math.min(...copies), unit: "", atLeast: 8 },
          "p50": { value: quantile(copies, 0.5), unit: "" },
          "mean": { value: mean(copies), unit: "" },
          "found by another": { value: found, unit: "", atLeast: Math.min(options.publishers, 100) },
          "Stored": count("Stored"),
          "Kept": count("Kept"),
          "Full": count("Full"),
          "Lost": { ...count("Lost"), atMost: 0 },
          "Refused": { ...count("Refused"), atMost: 0 },
          "Failed": count("Failed")
        }
      }]
    }
  })
