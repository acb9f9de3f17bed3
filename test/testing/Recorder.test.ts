import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { Dht } from "../../src/Dht.ts"
import { Violation } from "../../src/testing/Properties.ts"
import * as Recorder from "../../src/testing/Recorder.ts"
import type * as Recording from "../../src/testing/Recording.ts"
import * as SimCrypto from "../../src/testing/SimCrypto.ts"
import * as SimWorld from "../../src/testing/SimWorld.ts"
import { layerReachability } from "../utils/network.ts"

const about = { title: "a title", story: ["a story"], command: "a command" }

interface Recorded {
  readonly hash: string
  readonly recording: Recording.Recording | undefined
}

/** Runs a program, and records it unless `isRecorded` is false. */
const run = (
  program: (world: SimWorld.World) => Effect.Effect<ReadonlyArray<unknown>, unknown>,
  options: Recorder.Options & { readonly isRecorded?: boolean; readonly scheduleSeed?: number | string } = {}
): Recorded => {
  const { isRecorded = true, scheduleSeed } = options
  let hash = ""
  let recorder: Recorder.Recorder | undefined = undefined as Recorder.Recorder | undefined
  const failures = SimWorld.runSync(
    Effect.gen(function*() {
      const world = yield* SimWorld.SimWorld
      if (isRecorded) recorder = Recorder.start(world, options)
      const failures = yield* program(world)
      hash = world.trace.hash
      return failures
    }),
    { seed: 1, scheduleSeed, crypto: SimCrypto.simulated }
  )
  return { hash, recording: recorder?.finish(about, failures) }
}

const recordingOf = (...args: Parameters<typeof run>): Recording.Recording => run(...args).recording!

/** Five nodes with an announcement, a partition, a wrong clock and a crash. */
const eventful = Effect.fnUntraced(function*(world: SimWorld.World) {
  const nodes = yield* world.startNodes(5)
  yield* nodes[1].run(Dht.use((dht) => dht.announceEndpoint({ endpoints: ["tcp://192.0.2.1:1"] })))
  yield* Effect.sleep("1 minute")
  world.note("the first two are separated", nodes[0])
  world.network.partition(nodes.slice(0, 2).map(({ host }) => host))
  yield* nodes[4].setClock("1 hour")
  yield* Effect.ignore(nodes[2].run(Dht.use((dht) => dht.resolve(nodes[1].identity.address))))
  yield* Effect.sleep("1 minute")
  yield* nodes[3].crash()
  yield* Effect.sleep("1 minute")
  world.network.heal()
  yield* nodes[3].start
  yield* Effect.sleep("1 minute")
  return []
})

const isDatagram = (event: Recording.Event): event is Recording.Datagram => event.kind === "datagram"

describe("Recorder", () => {
  for (const scheduleSeed of [undefined, 7, "pct:2:3:5000"]) {
    it(`does not change the run with the schedule ${scheduleSeed}`, () => {
      const options = scheduleSeed === undefined ? {} : { scheduleSeed }
      assert.strictEqual(run(eventful, options).hash, run(eventful, { ...options, isRecorded: false }).hash)
    })
  }

  it("has every datagram with its way, what it says and its outcome, in order", () => {
    const { events, machines } = recordingOf(eventful)
    assert.deepStrictEqual(machines.map(({ name }) => name), [0, 1, 2, 3, 4].map((i) => `node ${i}`))
    const datagrams = events.filter(isDatagram)
    assert.deepStrictEqual(events.map(({ at }) => at), events.map(({ at }) => at).toSorted((a, b) => a - b))
    const outcomes = new Set(datagrams.map(({ outcome }) => outcome))
    assert.deepStrictEqual([...outcomes].sort(), ["blocked", "delivered", "unreachable"])
    for (const { at, outcome, sentAt } of datagrams) if (outcome === "delivered") assert.isAbove(at, sentAt)
    const stores = datagrams.filter(({ type }) => type === "Store")
    assert.isNotEmpty(stores)
    for (const { what } of stores) assert.match(what, /^endpoint of node 1, seq \d+ at node 1$/)
    const { transaction } = stores[0]
    const [request, response] = datagrams.filter((datagram) => datagram.transaction === transaction)
    assert.deepStrictEqual([request.type, request.isResponse], ["Store", false])
    assert.deepStrictEqual([response.type, response.what, response.isResponse], ["StoreResponse", "stored", true])
    assert.deepStrictEqual([request.from, request.to], [response.to, response.from])
  })

  it("has what lasts: partitions, wrong clocks, nodes that are up, requests and lookups", () => {
    const { bands, events } = recordingOf(eventful)
    const of = (kind: Recording.Band["kind"]) => bands.filter((band) => band.kind === kind)
    const note = events.find(({ kind }) => kind === "step")!
    assert.deepStrictEqual(note, { kind: "step", at: note.at, machine: 0, what: "the first two are separated" })
    assert.deepStrictEqual(
      of("partition").map(({ from, machine, what }) => [machine, from, what]),
      [0, 1, 2, 3, 4].map((machine) => [
        machine,
        note.at,
        machine < 2 ? "only node 0, node 1" : "only node 2, node 3, node 4"
      ])
    )
    assert.deepStrictEqual(of("clock").map(({ machine, what }) => [machine, what]), [[4, "clock +01:00:00"]])
    const lives = of("up").filter(({ machine }) => machine === 3)
    const crash = events.find((event) => !isDatagram(event) && event.what === "crash node 3")!
    assert.strictEqual(lives.length, 2)
    assert.strictEqual(lives[0].to, crash.at)
    assert.isTrue(of("request").some(({ isGood }) => isGood))
    const failed = of("request").find(({ isGood }) => !isGood)!
    assert.isTrue(
      events.some((event) =>
        !isDatagram(event) && event.machine === failed.machine && event.at === failed.to &&
        event.what.startsWith(`${failed.what} failed: `)
      )
    )
    assert.isTrue(of("lookup").some(({ what }) => what.startsWith("FindNode ")))
    for (const { from, to } of bands) assert.isAtLeast(to, from)
  })

  /** The rows of a part of a machine's state after an event. */
  const stateAt = (recording: Recording.Recording, machine: number, part: "table" | "store", event: number) => {
    const rows = new Map<string, ReadonlyArray<string>>()
    for (const { after, key, machine: of, part: where, row } of recording.changes) {
      if (of !== machine || where !== part || after > event) continue
      if (row === null) rows.delete(key)
      else rows.set(key, row)
    }
    return rows
  }

  it("has the table and the store of each node at every moment", () => {
    const recording = recordingOf(eventful)
    const { events } = recording
    const last = events.findIndex(({ kind }) => kind === "step")
    const published = events.findIndex((event) => isDatagram(event) && event.type === "Store")
    assert.deepStrictEqual([...stateAt(recording, 0, "store", published - 1).values()], [])
    const [[what, seq, at]] = [...stateAt(recording, 0, "store", last).values()]
    assert.deepStrictEqual([what, seq.slice(0, 4), at], ["endpoint of node 1", "seq ", "at node 1"])
    const names = [...stateAt(recording, 0, "table", last).values()].map(([name]) => name)
    assert.deepStrictEqual(names.toSorted(), [1, 2, 3, 4].map((i) => `node ${i}`))
    const crash = events.findIndex((event) => !isDatagram(event) && event.what === "crash node 3")
    const started = events.findLastIndex((event) => !isDatagram(event) && event.what === "start node 3")
    assert.isNotEmpty([...stateAt(recording, 3, "table", crash - 1)])
    assert.isEmpty([...stateAt(recording, 3, "table", started - 1)])
  })

  it("keeps the latest events, with the state at the first", () => {
    const whole = recordingOf(eventful)
    const kept = recordingOf(eventful, { keep: 100 })
    assert.strictEqual(kept.events.length, 100)
    assert.isBelow(kept.events.length, whole.events.length)
    assert.strictEqual(kept.omitted + kept.events.length, whole.events.length)
    const withoutNumbers = (event: Recording.Event) => isDatagram(event) ? { ...event, transaction: null } : event
    assert.deepStrictEqual(kept.events.map(withoutNumbers), whole.events.slice(kept.omitted).map(withoutNumbers))
    for (const part of ["table", "store"] as const) {
      for (const machine of whole.machines.keys()) {
        for (const i of [0, kept.events.length - 1]) {
          assert.deepStrictEqual(
            stateAt(kept, machine, part, i),
            stateAt(whole, machine, part, kept.omitted + i),
            `${part} of ${machine}`
          )
        }
      }
    }
  })

  describe("marks of a failure", () => {
    const violation = (facts: Violation["facts"], node: string, atMillis: number) =>
      new Violation({ property: "OneReply", node, atMillis, facts, seed: 1, scheduleSeed: undefined })

    it("the steps of the story, and the events on the node that are about the facts", () => {
      const { events, failures: [failure] } = recordingOf((world) =>
        Effect.map(eventful(world), () => [violation({ key: ids[1] }, "node 0", world.timeline.elapsedMillis)])
      )
      const rests = failure.events.map((i) => events[i])
      assert.deepStrictEqual([failure.title, failure.machine], ["OneReply", 0])
      assert.deepStrictEqual(failure.facts, [["key", ids[1]]])
      assert.isTrue(rests.some((event) => isDatagram(event) && event.type === "Store"))
      for (const event of rests) {
        if (isDatagram(event)) assert.include([event.from, event.to], 0)
        else if (event.kind !== "step") assert.strictEqual(event.machine, 0)
      }
      assert.deepStrictEqual(
        rests.filter(({ kind }) => kind === "step"),
        events.filter(({ kind }) => kind === "step")
      )
    })

    it("no event elsewhere that came before a timer of the node", () => {
      const { changes, events, failures: [failure], machines } = recordingOf((world) =>
        Effect.gen(function*() {
          // Nothing may reach node 0 between the expiry of the record and its removal.
          const nodes = yield* world.startNodes(5, { dht: { services: { reachability: layerReachability } } })
          yield* nodes[1].run(Dht.use((dht) => dht.publishEndpoint({ endpoints: ["tcp://192.0.2.1:1"], ttl: 60 })))
          yield* Effect.sleep("10 minutes")
          return [violation({ key: nodes[1].identity.nodeId }, "node 0", world.timeline.elapsedMillis)]
        })
      )
      const involves = (event: Recording.Event) =>
        isDatagram(event) ? event.from === 0 || event.to === 0 : event.kind === "step" || event.machine === 0
      const expired = changes.find(({ key, machine, part, row }) =>
        machine === 0 && part === "store" && row === null && key.startsWith(machines[1].id)
      )!
      assert.isFalse(involves(events[expired.after]))
      assert.isNotEmpty(failure.events)
      for (const i of failure.events) assert.isTrue(involves(events[i]))
    })

    it("no event after it", () => {
      const { events, failures: [failure] } = recordingOf((world) =>
        Effect.as(eventful(world), [violation({ key: ids[1] }, "node 0", 30_000)])
      )
      assert.isNotEmpty(failure.events)
      for (const i of failure.events) assert.isAtMost(events[i].at, 30_000)
    })

    it("requests without a response, if the facts name nothing", () => {
      const { events, failures: [failure] } = recordingOf((world) =>
        Effect.map(eventful(world), () => [violation({ pending: 2 }, "node 2", world.timeline.elapsedMillis)])
      )
      const rests = failure.events.map((i) => events[i]).filter(isDatagram)
      assert.isNotEmpty(rests)
      for (const { from, isResponse, transaction } of rests) {
        assert.deepStrictEqual([from, isResponse], [2, false])
        const responses = events.filter((event) =>
          isDatagram(event) && event.transaction === transaction && event.isResponse && event.outcome === "delivered"
        )
        assert.deepStrictEqual(responses, [])
      }
    })

    it("the machines that the message of an error names", () => {
      const { events, failures: [failure] } = recordingOf((world) =>
        Effect.as(eventful(world), [new Error("node 3 is not found")])
      )
      assert.deepStrictEqual([failure.title, failure.sentence, failure.machine], [
        "The run failed",
        "node 3 is not found",
        null
      ])
      const machines = failure.events.flatMap((i) => {
        const event = events[i]
        return event.kind === "node" || event.kind === "change" ? [event.machine] : []
      })
      assert.include(machines, 3)
    })

    /** The ids of the nodes of this seed. */
    const ids = recordingOf(eventful).machines.map(({ id }) => id)
  })
})
