import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schedule from "effect/Schedule"
import * as TestConsole from "effect/testing/TestConsole"
import { createSocket } from "node:dgram"
import * as Address from "../../src/Address.ts"
import * as Dht from "../../src/Dht.ts"
import * as RunningNode from "../../src/node/RunningNode.ts"
import * as SocketAddress from "../../src/SocketAddress.ts"
import * as commandLine from "../utils/commandLine.ts"
import { directory, running, startNode } from "../utils/runningNode.ts"

const run = (...args: ReadonlyArray<string>) => commandLine.run(args)

/** Between two looks at what another process does in real time. */
const pause = Schedule.spaced("50 millis")

const captured = Effect.provide(TestConsole.layer)

const said = ({ error, exitCode, out }: commandLine.Ran) => {
  assert.deepStrictEqual({ exitCode, error }, { exitCode: 0, error: [] })
  return JSON.parse(out.join())
}

describe("announce", () => {
  it.live("leaves the announcement to the running node, where it is listed and withdrawn", () =>
    Effect.gen(function*() {
      const { address, data, peer } = yield* running
      const announced = said(yield* run("announce", "topic", "translate", "--name", "Ann", "--json", "--data", data))
      assert.include(announced, {
        title: "translate",
        address,
        keptBy: "node",
        standing: true,
        durable: true,
        copies: 1
      })
      assert.deepStrictEqual((yield* peer.discover("translate")).offers.map(({ name }) => name), ["Ann"])
      yield* run("announce", "endpoint", "--endpoint", "tcp://203.0.113.5:80", "--data", data)
      yield* run("announce", "profile", "--name", "Ann", "--data", data)
      const { announcements } = said(yield* run("announcements", "--json", "--data", data))
      assert.deepStrictEqual(
        announcements.map(({ title }: { readonly title: string }) => title).sort(),
        ["Ann", "tcp://203.0.113.5:80", "translate"]
      )

      for (const slot of [["topic", "translate"], ["endpoint"], ["profile"]]) {
        assert.strictEqual((yield* run("withdraw", ...slot, "--data", data)).exitCode, 0)
      }
      assert.deepStrictEqual((yield* run("announcements", "--data", data)).out, ["No announcements"])
      const again = yield* run("withdraw", "topic", "translate", "--data", data)
      assert.deepStrictEqual([again.exitCode, again.error], [
        1,
        ["effect-dht: Nothing is announced under the topic \"translate\""]
      ])
    }).pipe(captured))

  it.live("names the option that does not fit, also through the node", () =>
    Effect.gen(function*() {
      const { data } = yield* running
      const { error, exitCode } = yield* run(
        "announce",
        "topic",
        "translate",
        "--name",
        "A".repeat(600),
        "--data",
        data
      )
      assert.strictEqual(exitCode, 2)
      assert.match(error.join(), /^effect-dht: --name is too long: 600 bytes, and at most \d+ fit into the record$/)
    }).pipe(captured))

  it.live("keeps the record alive itself if no node runs in the directory, until it is interrupted", () =>
    Effect.gen(function*() {
      const peer = Context.get(yield* startNode(), Dht.Dht)
      const { address, data } = yield* directory
      // The address of a node that has crashed.
      yield* RunningNode.publishServing(data, { host: "127.0.0.1", port: 9 })
      const at = SocketAddress.format(peer.localAddress)
      const command = yield* Effect.forkScoped(
        run("announce", "topic", "translate", "--name", "Ann", "--data", data, "--bootstrap", at)
      )
      const found = yield* Effect.retry(peer.discover("translate"), { times: 200, schedule: pause })
      assert.deepStrictEqual(found.offers.map((offer) => Address.format(offer.address)), [address])
      const exitCode = process.exitCode
      yield* Fiber.interrupt(command)
      assert.strictEqual(process.exitCode, 0)
      process.exitCode = exitCode
      assert.strictEqual((yield* TestConsole.logLines).at(-1), "Withdrawn")
      const gone = yield* Effect.flip(peer.discover("translate"))
      assert.strictEqual(gone._tag, "NoMatchingRecords")
    }).pipe(captured))

  it.live("withdraws nothing if it is interrupted before it has announced anything", () =>
    Effect.gen(function*() {
      const silent = yield* Effect.acquireRelease(
        Effect.sync(() => createSocket("udp4")),
        (socket) => Effect.promise(() => new Promise<void>((resolve) => socket.close(resolve)))
      )
      const arrival = new Promise((resolve) => silent.once("message", resolve))
      yield* Effect.promise(() => new Promise<void>((resolve) => silent.bind(0, "127.0.0.1", resolve)))
      const at = `127.0.0.1:${silent.address().port}`
      const command = yield* Effect.forkScoped(
        run("announce", "topic", "translate", "--name", "Ann", "--bootstrap", at)
      )
      yield* Effect.promise(() => arrival)
      const exitCode = process.exitCode
      yield* Fiber.interrupt(command)
      assert.strictEqual(process.exitCode, exitCode)
      assert.deepStrictEqual(yield* TestConsole.logLines, [])
    }).pipe(captured))

  it.live("shows the command that withdraws it as a shell reads it", () =>
    Effect.gen(function*() {
      const { data } = yield* running
      const { out } = yield* run("announce", "topic", "it's $HOME", "--name", "Ann", "--data", data)
      assert.strictEqual(
        out.join("\n").split("\n").at(-1),
        `It ends with: effect-dht withdraw topic 'it'\\''s $HOME' --data ${data}`
      )
    }).pipe(captured))

  it.live("needs a running node to list and to withdraw", () =>
    Effect.gen(function*() {
      const { data } = yield* directory
      for (const command of [["announcements"], ["withdraw", "endpoint"]]) {
        const { error, exitCode } = yield* run(...command, "--data", data)
        assert.strictEqual(exitCode, 1)
        assert.include(error.join(), `No node that serves HTTP runs in ${data}`)
      }
    }).pipe(captured))
})

describe("network", () => {
  it.live("shows the network as the running node sees it, or as a new one finds it", () =>
    Effect.gen(function*() {
      const { data, peer } = yield* running
      const seen = said(yield* run("network", "--json", "--data", data))
      assert.include(seen, { membership: "joined", contacts: 1 })
      const at = SocketAddress.format(peer.localAddress)
      assert.isAtLeast(said(yield* run("network", "--json", "--bootstrap", at)).contacts, 1)
    }).pipe(captured))
})

describe("reachability", () => {
  it.live("explains whether strangers can reach the running node", () =>
    Effect.gen(function*() {
      const { data } = yield* running
      const { reachable, why } = said(yield* run("reachability", "--json", "--data", data))
      assert.strictEqual(reachable, "unknown")
      const { out } = yield* run("reachability", "--data", data)
      assert.include(out.join("\n"), why)
    }).pipe(captured))
})

describe("discover", () => {
  it.live("shows the endpoints of each agent with --resolve, and each change with --watch", () =>
    Effect.gen(function*() {
      const { address, data, peer } = yield* running
      yield* run("announce", "topic", "translate", "--name", "Ann", "--data", data)
      yield* run("announce", "endpoint", "--endpoint", "tcp://203.0.113.5:80", "--data", data)
      const at = SocketAddress.format(peer.localAddress)
      const { offers } = said(yield* run("discover", "translate", "--resolve", "--json", "--bootstrap", at))
      assert.deepStrictEqual(offers.map((offer: typeof offers) => [offer.address, offer.endpoints]), [
        [address, ["tcp://203.0.113.5:80"]]
      ])
      const before = (yield* TestConsole.logLines).length
      const watching = yield* Effect.forkScoped(run("discover", "translate", "--watch", "--json", "--bootstrap", at))
      const events = Effect.map(
        TestConsole.logLines,
        (lines) => lines.slice(before).map(String).filter((line) => line.startsWith("{\"event\""))
      )
      const until = (count: number) =>
        Effect.repeat(events, { until: (events) => events.length >= count, schedule: pause })
      assert.include(JSON.parse((yield* until(1))[0]), { event: "appeared", name: "Ann", address })
      yield* run("withdraw", "topic", "translate", "--data", data)
      assert.include(JSON.parse((yield* until(2))[1]), { event: "gone", name: "Ann", address })
      const exitCode = process.exitCode
      yield* Fiber.interrupt(watching)
      process.exitCode = exitCode
    }).pipe(captured))
})
