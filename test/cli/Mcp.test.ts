import { assert, describe, it } from "@effect/vitest"
import { Client } from "@modelcontextprotocol/sdk/client/index.js"
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js"
import { ResourceUpdatedNotificationSchema } from "@modelcontextprotocol/sdk/types.js"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import { createHash } from "node:crypto"
import { join } from "node:path"
import * as Dht from "../../src/Dht.ts"
import * as SocketAddress from "../../src/SocketAddress.ts"
import { startWithInput } from "../utils/processes.ts"
import { directory, joined, startNode } from "../utils/runningNode.ts"
import { webServer } from "../utils/webServer.ts"

const bin = join(import.meta.dirname, "../../src/bin.ts")

const start = (...args: ReadonlyArray<string>) => startWithInput("mcp", ...args)

const lines = (...messages: ReadonlyArray<unknown>): string =>
  messages.map((each) => `${typeof each === "string" ? each : JSON.stringify(each)}\n`).join("")

/** The official client, connected to the command as its assistant would be. */
const connect = (...args: ReadonlyArray<string>) =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      const client = new Client({ name: "test", version: "1" })
      await client.connect(
        new StdioClientTransport({ command: process.execPath, args: [bin, "mcp", ...args], stderr: "ignore" })
      )
      return client
    }),
    (client) => Effect.promise(() => client.close())
  )

const call = (client: Client, name: string, args: { readonly [name: string]: unknown } = {}) =>
  Effect.promise(async () => (await client.callTool({ name, arguments: args })).structuredContent as any)

const initialize = {
  jsonrpc: "2.0",
  id: 1,
  method: "initialize",
  params: { protocolVersion: "2025-11-25", capabilities: {}, clientInfo: { name: "test", version: "1" } }
}

const network = Effect.map(startNode(), (node) => ({
  node,
  bootstrap: SocketAddress.format(Context.get(node, Dht.Dht).localAddress)
}))

describe("effect-dht mcp", () => {
  it.live(
    "lets two assistants find each other with the official client, through a node of its own and a running one",
    () =>
      Effect.gen(function*() {
        const { bootstrap, node } = yield* network
        const { address, data, url } = yield* joined(node)
        const [ann, ben] = yield* Effect.all(
          [connect("--node", url, "--data", data), connect("--bootstrap", bootstrap)],
          { concurrency: 2 }
        )
        assert.strictEqual(ann.getServerVersion()?.name, "effect-dht")
        assert.include(ann.getInstructions(), "whoami")
        assert.lengthOf((yield* Effect.promise(() => ann.listTools())).tools, 7)
        assert.strictEqual((yield* call(ann, "whoami")).address, address)

        yield* call(ann, "announce", { kind: "profile", name: "Ann" })
        yield* call(ann, "announce", { kind: "topic", topic: "translate", name: "Ann" })
        const { offers } = yield* call(ben, "discover", { topic: "translate" })
        assert.deepStrictEqual(offers.map((offer: typeof offers) => [offer.name, offer.address]), [["Ann", address]])
        assert.strictEqual((yield* call(ben, "resolve", { address })).profile.name, "Ann")

        const progress: Array<number> = []
        const waiting = ann.callTool({ name: "read_notes", arguments: { wait_seconds: 30 } }, undefined, {
          onprogress: ({ progress: now }) => progress.push(now)
        })
        yield* call(ben, "send_note", { to: address, text: "Good morning" })
        const { notes } = (yield* Effect.promise(() => waiting)).structuredContent as any
        const { address: from } = yield* call(ben, "whoami")
        assert.deepStrictEqual(notes.map((note: typeof notes) => [note.text, note.from]), [["Good morning", from]])
        assert.strictEqual(progress[0], 0)

        yield* Effect.timeoutOption(
          Effect.promise((signal) =>
            ann.callTool({ name: "read_notes", arguments: { wait_seconds: 50, after: "none" } }, undefined, { signal })
              .catch(() => {})
          ),
          0
        )
        yield* Effect.promise(() => ann.ping())
      }),
    60_000
  )

  it.live(
    "tells a client that has subscribed to a resource when it changes, and others nothing",
    () =>
      Effect.gen(function*() {
        const { bootstrap, node } = yield* network
        const { data, url } = yield* joined(node)
        const options = ["--node", url, "--data", data]
        const [ann, ben] = yield* Effect.all([connect(...options), connect(...options)], { concurrency: 2 })
        assert.deepStrictEqual(ann.getServerCapabilities()?.resources?.subscribe, true)
        const updated = (client: Client) => {
          const uris: Array<string> = []
          client.setNotificationHandler(ResourceUpdatedNotificationSchema, ({ params }) => void uris.push(params.uri))
          return uris
        }
        const [told, other] = [updated(ann), updated(ben)]
        const uri = "effect-dht://node/announcements"
        yield* Effect.promise(() => ann.subscribeResource({ uri }))
        // The state at the time of the subscription is what changes are compared with.
        yield* Effect.sleep("1 second")
        const hears = (change: Effect.Effect<unknown>) =>
          Effect.gen(function*() {
            const before = told.length
            yield* change
            yield* Effect.repeat(Effect.sync(() => told.length > before), {
              until: (isTold) => isTold,
              schedule: Schedule.spaced("100 millis"),
              times: 200
            })
            assert.isAbove(told.length, before)
          })
        yield* hears(call(ann, "announce", { kind: "topic", topic: "translate", name: "Ann" }))
        yield* hears(call(ben, "withdraw", { kind: "topic", topic: "translate" }))
        assert.deepStrictEqual([...new Set(told)], [uri])
        assert.deepStrictEqual(other, [])
        assert.isNotEmpty(bootstrap)
      }),
    60_000
  )

  it.live("names an agent's card in a profile, and checks the card of another", () =>
    Effect.gen(function*() {
      const { bootstrap } = yield* network
      let card = "{\"name\": \"Ann\"}"
      const web = yield* webServer((_, response) => response.end(card))
      const [ann, ben, careful] = yield* Effect.all(
        [
          connect("--bootstrap", bootstrap, "--allow-private"),
          connect("--bootstrap", bootstrap, "--allow-private"),
          connect("--bootstrap", bootstrap)
        ],
        { concurrency: 3 }
      )
      const { address } = yield* call(ann, "whoami")
      yield* call(ann, "announce", { kind: "profile", name: "Ann" })
      const resolve = (client: Client) => call(client, "resolve", { address, verify_card: true })
      assert.isNull((yield* resolve(ben)).card)
      assert.notProperty(yield* call(ben, "resolve", { address }), "card")
      yield* call(ann, "announce", { kind: "profile", name: "Ann", agent_card: web.url })
      const sha256 = createHash("sha256").update(card).digest("hex")
      assert.deepStrictEqual((yield* resolve(ben)).card, { result: "matches", url: web.url, sha256 })
      assert.deepInclude((yield* resolve(careful)).card, {
        result: "unreachable",
        reason: "its address is private or special, which is not allowed"
      })
      card = "{\"name\": \"Eve\"}"
      assert.deepInclude((yield* resolve(ben)).card, { result: "changed", sha256 })

      const refused = (client: Client, agent_card: string) =>
        Effect.promise(async () => {
          const { content, isError } = await client.callTool({
            name: "announce",
            arguments: { kind: "profile", agent_card }
          })
          assert.isTrue(isError)
          return JSON.parse((content as ReadonlyArray<{ readonly text: string }>)[0].text) as unknown
        })
      assert.deepStrictEqual(yield* refused(careful, web.url), {
        error: "NoCard",
        message: `There is no agent card at ${web.url}: its address is private or special, which is not allowed.`
      })
      for (const url of ["ann.example", "ftp://ann.example/card", ""]) {
        assert.deepInclude(yield* refused(ann, url), { error: "InvalidInput" }, url)
      }
    }), 60_000)

  it.live("writes only messages, answers malformed lines, and ends with its input", () =>
    Effect.gen(function*() {
      const { bootstrap } = yield* network
      const server = yield* start("--bootstrap", bootstrap, "--log-level", "trace")
      yield* server.write(lines(initialize))
      const hello = JSON.parse(yield* server.line(/"id":1\b/))
      assert.strictEqual(hello.result.protocolVersion, "2025-11-25")
      yield* server.write(lines(
        { jsonrpc: "2.0", method: "notifications/initialized" },
        { jsonrpc: "2.0", id: 2, method: "ping" },
        "{\"jsonrpc\": ",
        { jsonrpc: "2.0", id: 3, method: "no/such" },
        { jsonrpc: "2.0", id: 4, method: "tools/call", params: { name: "no_such", arguments: {} } },
        { jsonrpc: "2.0", id: 5, method: "tools/call", params: { name: "whoami", arguments: {} } },
        { jsonrpc: "2.0", id: 6, method: "tools/call", params: { name: "discover", arguments: { topic: "none" } } }
      ))
      // The last one has no end of line, and the input ends before its response.
      yield* server.endInput(JSON.stringify({ jsonrpc: "2.0", id: 7, method: "ping" }))
      const { code, error, out } = yield* server.ended
      assert.strictEqual(code, 0)
      const answers = out.slice(1).map((line) => JSON.parse(line))
      assert.deepStrictEqual(answers.map(({ error, id }) => `${id} ${error?.code}`).sort(), [
        "2 undefined",
        "3 -32601",
        "4 -32602",
        "5 undefined",
        "6 undefined",
        "7 undefined",
        "null -32700"
      ])
      assert.isAbove(error.length, 0)
    }), 120_000)

  it.live("shares the node of a directory with others, and takes it over when they end", () =>
    Effect.gen(function*() {
      const { bootstrap } = yield* network
      const { address, data } = yield* directory
      const options = ["--data", data, "--bootstrap", bootstrap]
      const first = yield* start(...options)
      yield* first.write(lines(initialize))
      yield* first.line(/"id":1\b/)
      const second = yield* connect(...options)
      const before = yield* call(second, "whoami")
      yield* call(second, "announce", { kind: "topic", topic: "translate", name: "Ann" })
      yield* first.kill("SIGTERM")
      assert.strictEqual((yield* first.ended).code, 0)
      const after = yield* call(second, "whoami")
      assert.deepStrictEqual([before.address, after.address], [address, address])
      assert.notStrictEqual(after.page, before.page)
      assert.deepStrictEqual(after.announcements.map(({ topic }: any) => topic), ["translate"])
    }), 120_000)

  it.live("reports options that do not go together, and ends", () =>
    Effect.gen(function*() {
      const { ended } = yield* start("--node", "http://127.0.0.1:1", "--bootstrap", "127.0.0.1:1")
      const { code, error, out } = yield* ended
      assert.deepStrictEqual([code, out], [2, []])
      assert.match(error.join(), /--node and --bootstrap exclude each other/)
    }), 120_000)
})
