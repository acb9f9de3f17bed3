import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Random from "effect/Random"
import { execFileSync } from "node:child_process"
import * as vitest from "vitest"
import { Dht } from "../../src/Dht.ts"
import * as Fault from "../../src/testing/Fault.ts"
import type * as Recording from "../../src/testing/Recording.ts"
import * as SimCrypto from "../../src/testing/SimCrypto.ts"
import * as SimTest from "../../src/testing/SimTest.ts"
import * as SimWorld from "../../src/testing/SimWorld.ts"

const crypto = SimCrypto.simulated

/** Runs the test that `define` registers. */
const registered = (define: (test: SimTest.SimTest) => void): Promise<void> => {
  let run: (() => Promise<void>) | undefined
  define(SimTest.make((_name, _options, test) => {
    run = () => test({})
  }, { crypto }))
  return run!()
}

const failure = async (define: (test: SimTest.SimTest) => void): Promise<SimTest.TestFailed> => {
  const error: unknown = await registered(define).then(() => undefined, (error: unknown) => error)
  assert.instanceOf(error, SimTest.TestFailed)
  return error
}

/** Runs with the story or the seeds of a failure in the environment. */
const replaying = async <A>(run: object, then: () => Promise<A>): Promise<A> => {
  vitest.vi.stubEnv("SIM_REPLAY", JSON.stringify(run))
  try {
    return await then()
  } finally {
    vitest.vi.unstubAllEnvs()
  }
}

describe("SimTest", () => {
  describe("it", () => {
    SimTest.make(vitest.it, { crypto }).it("registers with the `it` of vitest", (world) => world.startNodes(3))
    SimTest.make(it, { crypto }).it("registers with the `it` of @effect/vitest", (world) => world.startNodes(3))

    vitest.it("runs the program in each world, with its time and randomness", async () => {
      const seen: Array<unknown> = []
      const record = (test: SimTest.SimTest) =>
        test.it("records", (world) =>
          Effect.gen(function*() {
            yield* Effect.sleep("1 day").pipe(Effect.timeoutOption("10 hours"))
            seen.push([world.seed, yield* Random.next, yield* Clock.currentTimeMillis])
          }), { seed: 5, worlds: 3 })
      await registered(record)
      const first = seen.splice(0)
      assert.deepStrictEqual(first.map((entry) => (entry as Array<unknown>)[0]), [5, 6, 7])
      assert.strictEqual(new Set(first.map((entry) => (entry as Array<unknown>)[1])).size, 3)
      await registered(record)
      assert.deepStrictEqual(seen, first)
    })

    vitest.it("fails with the seeds and the command that runs it again, which does", async () => {
      const seeds: Array<unknown> = []
      const define = (test: SimTest.SimTest) =>
        test.it("odd worlds only", ({ seed }) => {
          seeds.push(seed)
          return seed === 4 ? Effect.fail("even") : Effect.void
        }, { seed: 3, worlds: 5, scheduleSeed: 7 })
      const { message, run } = await failure(define)
      assert.strictEqual(
        message,
        "even\nseed 4, schedule seed 7\n" +
          `run it again: SIM_REPLAY='{"seed":4,"scheduleSeed":7}' npx vitest run -t 'odd worlds only'`
      )
      assert.deepStrictEqual(seeds, [3, 4])
      const again = await replaying(run, () => failure(define))
      assert.strictEqual(again.message, message)
      assert.deepStrictEqual(seeds, [3, 4, 4])
    })

    vitest.it("quotes the name of the test for the shell and for the pattern of the runner", async () => {
      const name = "Ann's node (and 1+1 others) costs $2 [a|b] \\ {c}^?.*"
      const { message } = await failure((test) => test.it(name, () => Effect.fail("no")))
      const command = message.split("run it again: ")[1]
      const words = execFileSync("sh", ["-c", command.replace("npx", "printf '%s\\n'")], { encoding: "utf8" })
      const [pattern] = words.split("\n").slice(3)
      assert.match(name, new RegExp(`^${pattern}$`))
    })

    vitest.it("names the variable with the run to repeat if that cannot be read", async () => {
      for (const text of [`{"seed":4`, "4", "[]", "null"]) {
        vitest.vi.stubEnv("SIM_REPLAY", text)
        try {
          const error: unknown = await registered((test) => test.it("starts", () => Effect.void)).catch((error) =>
            error
          )
          assert.instanceOf(error, RangeError)
          assert.match(error.message, /^SIM_REPLAY is not a story or seeds as JSON: /)
          assert.include(error.message, text)
        } finally {
          vitest.vi.unstubAllEnvs()
        }
      }
    })

    vitest.it("has the recording of a world that fails explained, and says where", async () => {
      const recordings: Array<Recording.Recording> = []
      const { message, run } = await failure((test) =>
        test.it("finds all", (world) =>
          Effect.gen(function*() {
            yield* world.startNodes(3)
            yield* Effect.sleep("1 minute")
            return yield* Effect.fail("node 1 is not found")
          }), {
          seed: 4,
          explain: (recording) => {
            recordings.push(recording)
            return Effect.succeed("page.html")
          }
        })
      )
      assert.deepStrictEqual(run, { seed: 4, scheduleSeed: undefined })
      assert.match(message, /\nsee it: page.html$/)
      const [{ command, failures, machines, story, title }] = recordings
      assert.strictEqual(recordings.length, 1)
      assert.deepStrictEqual([title, story, machines.length], ["finds all", ["seed 4"], 3])
      assert.include(message, `run it again: ${command}`)
      assert.deepStrictEqual(failures.map(({ sentence }) => sentence), ["node 1 is not found"])
      assert.isNotEmpty(failures[0].events)
    })

    vitest.it("has its own message although there is nothing to explain", async () => {
      const { message } = await failure((test) =>
        test.it("starts", () => Effect.void, {
          scheduleSeed: "no schedule",
          explain: () => Effect.die("there is no recording")
        })
      )
      assert.match(message, /no schedule/)
      assert.notInclude(message, "see it")
    })

    vitest.it("fails at once if the program awaits a promise, and says so", async () => {
      const { message } = await failure((test) =>
        test.it("waits", (world) =>
          Effect.andThen(world.startNodes(3), Effect.promise(() => new Promise((resolve) => setTimeout(resolve, 1)))))
      )
      assert.match(message, /resumed from outside .* awaited a promise/)
    })

    vitest.it("ends with its nodes if the runner gives up", async () => {
      const controller = new AbortController()
      let ended = false
      let run: Promise<void> | undefined
      const started = Promise.withResolvers<void>()
      SimTest.make((_name, _options, test) => {
        run = test({ signal: controller.signal })
      }, { crypto }).it("endless", (world) =>
        Effect.andThen(world.startNodes(3), Effect.sync(started.resolve)).pipe(
          Effect.andThen(Effect.never),
          Effect.onInterrupt(() =>
            Effect.sync(() => {
              ended = true
            })
          )
        ))
      await started.promise
      controller.abort()
      await run!.then(() => assert.fail("it ended"), () => undefined)
      assert.isTrue(ended)
    })
  })

  describe("prop", () => {
    const endpoints = ["https://ann.example"]
    const subject: SimTest.Subject<never, never> = {
      nodes: 6,
      during: "2 minutes",
      operations: {
        publish: ({ node }) => node.run(Dht.use((dht) => dht.publishEndpoint({ endpoints }))),
        resolve: ({ node, peer }) => Effect.ignore(node.run(Dht.use((dht) => dht.resolve(peer.identity.address))))
      }
    }

    vitest.it("runs an application in stories, and checks it after all nodes are back", async () => {
      const seen = new Set<number>()
      await registered((test) =>
        test.prop("all are up", {
          ...subject,
          check: (nodes) =>
            Effect.sync(() => {
              seen.add(nodes.length)
              assert.isTrue(nodes.every(({ isUp }) => isUp))
            })
        }, { worlds: 10 })
      )
      assert.isAbove(seen.size, 1)
    })

    vitest.it("shrinks a story that fails to the steps that make it fail, and repeats it", async () => {
      const define = (test: SimTest.SimTest) =>
        test.prop("nothing is published after a crash", {
          ...subject,
          operations: {
            ...subject.operations,
            publish: ({ nodes }) =>
              nodes.every(({ isUp }) => isUp) ? Effect.void : Effect.fail("published while a node was down")
          }
        }, { worlds: 100 })
      const { message, run } = await failure(define)
      assert.match(message, /^published while a node was down\nseed \d+: 3 nodes, 20 ms apart, 0 % lost\n/)
      assert.strictEqual("steps" in run ? run.steps.length : 0, 2)
      assert.match(message, /\n {2}at 00:00:00 node [012] (crashes|leaves|crashes and loses its state)\n/)
      assert.match(message, /\n {2}at 00:00:00 node [012]: publish \(peer [012], number 0\)\n/)
      assert.strictEqual((await replaying(run, () => failure(define))).message, message)
    })

    vitest.it(
      "has nodes behind routers, with both families and liars, and shrinks a failure to those that it needs",
      async () => {
        const { message, run } = await failure((test) =>
          test.prop("no application is behind a symmetric router", {
            ...subject,
            hosts: ["fullCone", "symmetric", "dual"],
            liars: ["floods"],
            check: (nodes) =>
              nodes.some(({ host: { router } }) => router?.behaviour.mapping === "AddressAndPortDependent")
                ? Effect.fail("it is")
                : Effect.void
          }, { worlds: 100 })
        )
        assert.match(
          message,
          /^it is\nseed \d+: 3 nodes, 20 ms apart, 0 % lost\n {2}node 3 is behind a symmetric NAT\nrun it again/
        )
        assert.deepStrictEqual("steps" in run ? [run.hosts, run.liars ?? [], run.steps] : [], [["symmetric"], [], []])
        assert.strictEqual(
          SimTest.format({
            seed: 1,
            nodes: 3,
            hosts: ["dual"],
            liars: ["floods"],
            latency: 20,
            loss: 0,
            steps: [{ at: 1, deed: { do: "crash", node: 7 } }]
          }),
          "seed 1: 3 nodes, liars: floods, 20 ms apart, 0 % lost\n" +
            "  node 3 has addresses of both families\n" +
            "  at 00:00:01 node 3 crashes"
        )
      }
    )

    vitest.it("has steps at the same time, and shrinks those that fail only together", async () => {
      const last = new WeakMap<object, number>()
      const { run } = await failure((test) =>
        test.prop("never twice at once", {
          nodes: 6,
          operations: {
            act: ({ number, world }) => {
              const at = world.timeline.elapsedMillis
              const isTwice = last.get(world) === at
              last.set(world, at)
              return isTwice && number > 2 ? Effect.fail("twice") : Effect.void
            }
          }
        }, { worlds: 100 })
      )
      assert.deepStrictEqual("steps" in run ? run.steps : [], [
        { at: 0, deed: { do: "act", node: 0, peer: 0, number: 0 } },
        { at: 0, deed: { do: "act", node: 0, peer: 0, number: 3 } }
      ])
    })

    vitest.it("has the shrunk story explained, with its steps", async () => {
      const recordings: Array<Recording.Recording> = []
      const { run } = await failure((test) =>
        test.prop("nothing is published after a crash", {
          ...subject,
          operations: {
            publish: ({ nodes }) => nodes.every(({ isUp }) => isUp) ? Effect.void : Effect.fail("a node is down")
          }
        }, {
          worlds: 100,
          explain: (recording) => {
            recordings.push(recording)
            return Effect.succeed("page.html")
          }
        })
      )
      const [{ events, failures: [failed], story }] = recordings
      assert.strictEqual(recordings.length, 1)
      assert.deepStrictEqual(story, SimTest.format(run as SimTest.Story).split("\n"))
      const steps = failed.events.map((i) => events[i]).filter(({ kind }) => kind === "step")
      assert.deepStrictEqual(
        steps.map((step) => "machine" in step ? step.what : ""),
        story.slice(1).map((line) => line.replace(/^ {2}at [\d:]+ /, ""))
      )
    })

    vitest.it("names only nodes that exist, in faults as in operations", () => {
      const steps = ([
        { do: "crash", node: 5 },
        { do: "cut", from: 3, to: 7 },
        { do: "clock", node: 4, seconds: -30 },
        { do: "partition", nodes: 3 },
        { do: "partition", nodes: 6 },
        { do: "publish", node: 8, peer: 3, number: 9 }
      ] as const).map((deed) => ({ at: 0, deed }))
      assert.deepStrictEqual(
        SimTest.format({ seed: 1, nodes: 3, latency: 20, loss: 0, steps }).split("\n").slice(1).map((line) =>
          line.replace("  at 00:00:00 ", "")
        ),
        [
          "node 2 crashes",
          "datagrams from node 0 to node 1 are blocked",
          "the clock of node 1 jumps to 30 s behind",
          "the first node is separated from the others",
          "the first 2 nodes are separated from the others",
          "node 2: publish (peer 0, number 9)"
        ]
      )
    })

    vitest.it("refuses operations with the name of a fault, which would never run", () => {
      const { prop } = SimTest.make(() => assert.fail("registered"), { crypto })
      for (const kind of Fault.kinds) {
        assert.throws(
          () => prop("faulty", { operations: { [kind]: () => Effect.void } }),
          RangeError,
          `The operation "${kind}" has the name of a fault`
        )
      }
    })

    vitest.it("does not fail if an operation ends because its node goes down", async () => {
      await registered((test) =>
        test.prop("sleeps", {
          nodes: 4,
          faults: ["crash", "restart"],
          operations: { sleep: ({ node }) => node.run(Effect.sleep("1 hour")) }
        }, { worlds: 10 })
      )
    })
  })

  describe("SimWorld.layer", () => {
    it.effect("gives a test with `it.effect` a world with time of its own", () =>
      Effect.gen(function*() {
        const world = yield* SimWorld.SimWorld
        const nodes = yield* world.startNodes(5)
        yield* nodes[0].run(Dht.use((dht) => dht.publishEndpoint({ endpoints: ["https://ann.example"] })))
        yield* Effect.sleep("10 minutes")
        const found = yield* nodes[4].run(Dht.use((dht) => dht.resolve(nodes[0].identity.address)))
        assert.deepStrictEqual(found.endpoints, ["https://ann.example"])
        assert.isAtLeast(world.timeline.elapsedMillis, 600_000)
      }).pipe(Effect.provide(SimWorld.layer({ seed: 1, crypto }))))

    it.effect("runs the same way each time", () =>
      Effect.gen(function*() {
        const run = Effect.gen(function*() {
          const world = yield* SimWorld.SimWorld
          yield* world.startNodes(5)
          yield* Effect.sleep("10 minutes")
          return [world.trace.hash, yield* Random.next]
        })
        const [a, b] = yield* Effect.forEach([1, 1], (seed) => Effect.provide(run, SimWorld.layer({ seed, crypto })))
        assert.deepStrictEqual(a, b)
        assert.deepStrictEqual(a, SimWorld.runSync(run, { seed: 1, crypto }))
      }))

    it.effect("fails with the reason if the program awaits a promise, or what never comes", () =>
      Effect.gen(function*() {
        const stuck = (program: Effect.Effect<unknown, unknown, SimWorld.SimWorld>, within?: Duration.Input) =>
          Effect.provide(program, SimWorld.layer({ seed: 1, crypto, within })).pipe(
            Effect.forkChild,
            Effect.flatMap(Fiber.await),
            Effect.map(String)
          )
        const nodes = SimWorld.SimWorld.use((world) => world.startNodes(2))
        const promise = Effect.promise(() => new Promise((resolve) => setTimeout(resolve, 1)))
        // One that resolved meanwhile would resume the program from outside.
        const unresolved = Effect.promise(() => new Promise(() => {}))
        assert.match(yield* stuck(Effect.never), /Deadlock/)
        assert.match(yield* stuck(Effect.andThen(Effect.yieldNow, unresolved)), /Deadlock/)
        assert.match(yield* stuck(Effect.andThen(nodes, promise)), /ResumedFromOutside/)
        assert.match(yield* stuck(Effect.andThen(nodes, Effect.never), "1 hour"), /NotFinished/)
      }))

    it.layer(SimWorld.layer({ seed: 1, crypto }))("of a suite", (it) => {
      it.effect("is shared by its tests", () =>
        Effect.gen(function*() {
          const world = yield* SimWorld.SimWorld
          yield* world.startNodes(3)
          yield* Effect.sleep("1 minute")
        }))

      it.effect("keeps its nodes from one test to the next", () =>
        Effect.gen(function*() {
          const world = yield* SimWorld.SimWorld
          assert.strictEqual(world.network.hosts.length, 3)
          yield* Effect.sleep("1 minute")
        }))
    })
  })
})
