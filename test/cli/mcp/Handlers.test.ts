import { assert, describe, it } from "@effect/vitest"
import * as McpProtocol from "effect/ai/McpProtocol"
import * as McpServer from "effect/ai/McpServer"
import * as McpTest from "effect/ai/McpTest"
import * as Arr from "effect/Array"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as Redacted from "effect/Redacted"
import * as TestClock from "effect/testing/TestClock"
import * as Address from "../../../src/Address.ts"
import * as Gateway from "../../../src/cli/Gateway.ts"
import * as Handlers from "../../../src/cli/mcp/Handlers.ts"
import * as Resources from "../../../src/cli/mcp/Resources.ts"
import { tools } from "../../../src/cli/mcp/Tools.ts"
import * as Output from "../../../src/cli/Output.ts"
import * as Discovery from "../../../src/Discovery.ts"
import * as Client from "../../../src/http/Client.ts"
import * as Query from "../../../src/Query.ts"
import * as Transport from "../../../src/Transport.ts"
import { serve } from "../../utils/httpNode.ts"
import * as network from "../../utils/network.ts"
import { settled } from "../../utils/served.ts"

const onNetwork = Effect.provide(Transport.layerMemoryNetwork)

const token = Redacted.make("0123456789abcdef")

const url = "http://localhost:2634"

/** An assistant's connection to a server that acts through `node`. */
const assistant = Effect.fnUntraced(function*(
  node: network.Node,
  given: { readonly token: Redacted.Redacted | undefined } = { token }
) {
  const fetch = yield* serve(node, { token, readable: true })
  const context = yield* Effect.context<never>()
  const send: typeof globalThis.fetch = (input, init) =>
    Effect.runPromiseWith(context)(fetch(String(input).slice(url.length), init))
  const client = yield* Client.make({ url, ...given }).pipe(
    Effect.provide(Layer.provide(FetchHttpClient.layer, Layer.succeed(FetchHttpClient.Fetch, send)))
  )
  const ended = yield* Latch.make()
  const mcp = yield* connect({ served: Effect.succeed({ client, url }) }, ended.await)
  return { ...mcp, end: ended.open }
})

const connect = Effect.fnUntraced(function*(access: Handlers.Options["access"], ended: Effect.Effect<void>) {
  const registrations = Layer.merge(
    Layer.provide(McpServer.toolkit(tools), Handlers.layer({ access, ended })),
    Resources.layer(access)
  )
  const client = yield* McpTest.makeClient(registrations, { protocols: [McpProtocol.v2025_11_25] })
  /** The structured result of a call, or its error. */
  const call = Effect.fnUntraced(function*(name: string, args: { readonly [name: string]: unknown } = {}) {
    const { content, isError, structuredContent } = yield* client.callTool({ name, arguments: args })
    const [{ text }] = content as ReadonlyArray<{ readonly text: string }>
    return { isError, result: structuredContent as any, text }
  })
  return { ...client, call }
})

/** The error of a call, as a model reads it. */
const errorOf = ({ isError, result, text }: { isError?: boolean | undefined; result: unknown; text: string }) => {
  assert.isTrue(isError)
  assert.isUndefined(result)
  return JSON.parse(text) as { readonly error: string; readonly message: string }
}

/** Two assistants, each with a node of its own. */
const pair = Effect.gen(function*() {
  yield* TestClock.setTime(network.now * 1000)
  const nodes = [yield* network.node("ann", network.socketOf(1)), yield* network.node("ben", network.socketOf(2))]
  yield* network.dht(nodes[0]).bootstrap([network.socketOf(1)])
  yield* network.dht(nodes[1]).bootstrap([network.socketOf(1)])
  const [ann, ben] = yield* Effect.forEach(nodes, (node) => assistant(node))
  const [annAddress, benAddress] = nodes.map((node) => Address.format(network.dht(node).agent))
  return { ann, ben, annAddress, benAddress, nodes }
})

describe("the tools", () => {
  it.effect("are described, with schemas that accept no unknown parameters", () =>
    Effect.gen(function*() {
      const { ann } = yield* pair
      const { tools } = yield* ann.listTools()
      assert.deepStrictEqual(tools.map(({ name }) => name), [
        "whoami",
        "announce",
        "withdraw",
        "discover",
        "resolve",
        "send_note",
        "read_notes"
      ])
      for (const { description, inputSchema, name, outputSchema } of tools) {
        assert.isAbove(description?.length ?? 0, 50, name)
        assert.include(inputSchema, { type: "object", additionalProperties: false }, name)
        assert.include(outputSchema, { type: "object" }, name)
        for (const [parameter, schema] of Object.entries(inputSchema.properties ?? {})) {
          assert.property(schema, "description", `${name}: ${parameter}`)
        }
      }
      const readOnly = tools.filter(({ annotations }) => annotations?.readOnlyHint).map(({ name }) => name)
      assert.deepStrictEqual(readOnly, ["whoami", "discover", "resolve", "read_notes"])
    }).pipe(onNetwork))

  it.effect("let two assistants find each other and write to each other", () =>
    Effect.gen(function*() {
      const { ann, annAddress, ben, benAddress } = yield* pair
      const { result: me } = yield* ann.call("whoami")
      assert.deepInclude(me, { address: annAddress, receives_notes: false, announcements: [], page: `${url}/` })

      yield* ann.call("announce", { kind: "profile", name: "Ann", skills: ["translation"] })
      const { result: offered } = yield* ann.call("announce", {
        kind: "topic",
        topic: "translate",
        name: "Ann",
        protocols: ["note"],
        tags: ["de"]
      })
      assert.include(offered, { kind: "topic", topic: "translate", copies: 1, wanted: 8 })
      assert.match(offered.expires_at, /^2023-11-14T23:1\d:\d\dZ$/)
      yield* ann.call("announce", { kind: "endpoint", endpoints: ["https://ann.example/a2a"] })

      const { result: found } = yield* ben.call("discover", { topic: "translate", protocols: ["note"], resolve: true })
      assert.deepStrictEqual([found.total, found.complete, found.next], [1, true, null])
      assert.deepInclude(found.offers[0], {
        address: annAddress,
        name: "Ann",
        tags: ["de"],
        endpoints: ["https://ann.example/a2a"]
      })
      const { result: agent } = yield* ben.call("resolve", { address: annAddress })
      assert.deepInclude(agent, { address: annAddress, endpoints: ["https://ann.example/a2a"], receives_notes: true })
      assert.deepInclude(agent.profile, { name: "Ann", skills: ["translation"] })

      yield* ben.call("announce", { kind: "profile", name: "Ben" })
      const { result: sent } = yield* ben.call("send_note", { to: annAddress, text: "Good morning" })
      assert.include(sent, { to: annAddress, copies: 1 })
      const { result: read } = yield* ann.call("read_notes")
      assert.deepStrictEqual(read.notes.map(({ from, text }: any) => [from, text]), [[benAddress, "Good morning"]])
      assert.deepStrictEqual((yield* ann.call("read_notes", { after: read.cursor })).result.notes, [])

      const { result: now } = yield* ann.call("whoami")
      assert.isTrue(now.receives_notes)
      assert.deepStrictEqual(now.announcements.map(({ kind }: any) => kind).sort(), ["endpoint", "profile", "topic"])
      const { result: gone } = yield* ann.call("withdraw", { kind: "topic", topic: "translate" })
      assert.deepStrictEqual(gone, { withdrawn: "the offer under the topic \"translate\"" })
      yield* settled
      assert.strictEqual((yield* ben.call("discover", { topic: "translate" })).result.total, 0)
    }).pipe(onNetwork))

  it.effect("say of a wrong call what is wrong and what to do", () =>
    Effect.gen(function*() {
      const { ann, annAddress, benAddress } = yield* pair
      const wrong: ReadonlyArray<readonly [name: string, args: object, error: string, message: RegExp]> = [
        ["announce", { kind: "topic", name: "Ann" }, "InvalidInput", /^topic is missing: kind topic needs it\.$/],
        ["announce", { kind: "endpoint" }, "InvalidInput", /^endpoints is missing/],
        [
          "announce",
          { kind: "profile", tags: ["a"] },
          "InvalidInput",
          /^tags is not a parameter of kind profile, which takes name/
        ],
        ["announce", { kind: "endpoint", endpoints: ["nonsense"] }, "InvalidInput", /^"nonsense" is no URL/],
        ["announce", { kind: "profile", name: "A".repeat(2000) }, "InvalidRecord", /name/],
        ["withdraw", { kind: "topic" }, "InvalidInput", /^topic is missing/],
        ["withdraw", { kind: "profile", topic: "a" }, "InvalidInput", /^topic is not a parameter/],
        ["withdraw", { kind: "profile" }, "NotAnnounced", /No profile is announced\. whoami lists/],
        ["resolve", { address: "nonsense" }, "BadRequest", /"nonsense" is not an address/],
        ["resolve", { address: benAddress }, "NoMatchingRecords", /try again later\.$/],
        ["send_note", { to: benAddress, text: "Hello" }, "NoRecipientKey", /once it publishes a profile/],
        ["send_note", { to: annAddress, text: "x".repeat(390) }, "InvalidRecord", /389/]
      ]
      yield* ann.call("announce", { kind: "endpoint", endpoints: ["tcp://203.0.113.5:80"] })
      for (const [name, args, error, message] of wrong) {
        const found = errorOf(yield* ann.call(name, { ...args }))
        assert.strictEqual(found.error, error, `${name} ${JSON.stringify(args)}: ${found.message}`)
        assert.match(found.message, message)
      }
      for (const args of [{}, { topic: "" }, { topic: "a", limit: 0 }, { topic: "a", unknown: 1 }, { topic: 5 }]) {
        const { isError, text } = yield* ann.call("discover", args)
        assert.isTrue(isError, JSON.stringify(args))
        assert.match(text, /topic|limit|unknown/)
      }
    }).pipe(onNetwork))

  it.effect("say who can help if the token is wrong or there is no node", () =>
    Effect.gen(function*() {
      const { nodes } = yield* pair
      const stranger = yield* assistant(nodes[0], { token: undefined })
      assert.isFalse((yield* stranger.call("whoami")).isError ?? false)
      const unauthorized = errorOf(yield* stranger.call("announce", { kind: "profile", name: "Ann" }))
      assert.strictEqual(unauthorized.error, "Unauthorized")
      assert.include(unauthorized.message, "--http-token-env")

      const silent = yield* Gateway.at("http://127.0.0.1:1", { data: Option.none(), httpTokenEnv: Option.none() })
      const unreachable = errorOf(
        yield* (yield* connect({ served: Effect.succeed(silent) }, Effect.never)).call("whoami")
      )
      assert.strictEqual(unreachable.error, "NodeUnavailable")
      assert.match(unreachable.message, /^No node answers at http:\/\/127\.0\.0\.1:1\. /)

      const nowhere = yield* connect({ served: Effect.fail(Output.failed("Port 4121 is in use")) }, Effect.never)
      assert.deepStrictEqual(errorOf(yield* nowhere.call("whoami")), {
        error: "NodeUnavailable",
        message: "Port 4121 is in use."
      })
    }).pipe(onNetwork))

  it.effect("report progress to a client that asks for it, and interrupt the lookup of a call that is cancelled", () =>
    Effect.gen(function*() {
      const { nodes } = yield* pair
      const interrupted = yield* Latch.make()
      const query = Context.get(nodes[0], Query.Query)
      const resolveAll = () => Effect.onInterrupt(Effect.never, () => interrupted.open)
      const slow = yield* assistant(Context.add(nodes[0], Query.Query, { ...query, resolveAll }))
      const address = Address.format(network.dht(nodes[1]).agent)
      const call = yield* Effect.forkScoped(
        slow.callTool({ name: "resolve", arguments: { address }, _meta: { progressToken: "p" } })
      )
      yield* settled
      yield* TestClock.adjust("2 seconds")
      yield* settled
      const told = yield* Queue.takeAll(slow.notifications)
      const progress = told.flatMap((each) => each.method === "notifications/progress" ? [each.payload] : [])
      const message = `Looking for the records of ${address}`
      assert.deepStrictEqual(
        progress,
        [0, 1, 2].map((progress) => ({ progressToken: "p", progress, total: 15, message }))
      )
      yield* Fiber.interrupt(call)
      yield* interrupted.await
    }).pipe(onNetwork))

  it.effect("find the endpoints of all offers in the time of one lookup, and claim none that were not looked up", () =>
    Effect.gen(function*() {
      const { ann, nodes } = yield* pair
      yield* ann.call("announce", { kind: "topic", topic: "translate" })
      yield* ann.call("announce", { kind: "endpoint", endpoints: ["https://ann.example/a2a"] })
      const query = Context.get(nodes[1], Query.Query)
      const discovery = Context.get(nodes[1], Discovery.Discovery)
      let lookups = 0
      const slow = yield* assistant(nodes[1].pipe(
        Context.add(Query.Query, {
          ...query,
          // Each of the agents has what Ann announces.
          resolveAll: () =>
            Effect.suspend(() => {
              lookups++
              return Effect.delay(query.resolveAll(network.dht(nodes[0]).agent), "10 seconds")
            })
        }),
        Context.add(Discovery.Discovery, {
          ...discovery,
          discover: (...given) =>
            Effect.map(discovery.discover(...given), ({ offers: [offer], ...found }) => ({
              ...found,
              offers: Arr.makeBy(9, (i) => ({ ...offer, address: network.addressOf(`agent ${i}`) }))
            }))
        })
      ))
      const call = yield* Effect.forkScoped(slow.call("discover", { topic: "translate", resolve: true }))
      yield* settled
      for (const pause of ["10 seconds", "5 seconds"] as const) {
        yield* TestClock.adjust(pause)
        yield* settled
      }
      const { result } = yield* Fiber.join(call)
      const found = ["https://ann.example/a2a"]
      assert.deepStrictEqual(
        result.offers.map(({ endpoints }: any) => endpoints),
        [found, found, found, found, undefined, undefined, undefined, undefined, undefined]
      )
      assert.strictEqual(lookups, 8)
    }).pipe(onNetwork))

  it.effect("withdraw a first announcement that is cancelled, and leave one that was there before", () =>
    Effect.gen(function*() {
      const { ann, nodes } = yield* pair
      const announced = Effect.map(
        ann.call("whoami"),
        ({ result }) => result.announcements.map(({ topic }: { readonly topic: string }) => topic)
      )
      let port = 3
      /** Announces, and waits for the copy at a node that does not answer. */
      const announcing = Effect.fnUntraced(function*(topic: string) {
        const silent = yield* network.puppet(`silent ${port}`, network.socketOf(port++))
        network.tableOf(nodes[0]).add(silent, network.now, network.now)
        const call = yield* Effect.forkScoped(ann.call("announce", { kind: "topic", topic }))
        yield* settled
        assert.include(yield* announced, topic)
        assert.isUndefined(call.pollUnsafe())
        return call
      })
      const first = yield* announcing("kept")
      yield* TestClock.adjust("10 seconds")
      yield* settled
      assert.strictEqual((yield* Fiber.join(first)).result.copies, 1)
      for (const topic of ["kept", "new"]) {
        yield* Effect.flatMap(announcing(topic), Fiber.interrupt)
        yield* settled
      }
      assert.deepStrictEqual(yield* announced, ["kept"])
    }).pipe(onNetwork))

  it.effect("wait for a note if there is none, until it arrives, the time is over or the client leaves", () =>
    Effect.gen(function*() {
      const { ann, annAddress, ben } = yield* pair
      yield* ann.call("announce", { kind: "profile", name: "Ann" })
      const waiting = yield* Effect.forkScoped(ann.call("read_notes", { wait_seconds: 50 }))
      yield* settled
      yield* ben.call("send_note", { to: annAddress, text: "Good morning" })
      yield* settled
      const { result } = yield* Fiber.join(waiting)
      assert.deepStrictEqual(result.notes.map(({ text }: any) => text), ["Good morning"])

      const inVain = yield* Effect.forkScoped(ann.call("read_notes", { wait_seconds: 5, after: result.cursor }))
      yield* settled
      yield* TestClock.adjust("5 seconds")
      yield* settled
      assert.deepStrictEqual((yield* Fiber.join(inVain)).result.notes, [])

      const left = yield* Effect.forkScoped(ann.call("read_notes", { wait_seconds: 50, after: result.cursor }))
      yield* settled
      yield* ann.end
      yield* settled
      assert.deepStrictEqual((yield* Fiber.join(left)).result.notes, [])
    }).pipe(onNetwork))
})

describe("the resources", () => {
  it.effect("show the state of the node as JSON", () =>
    Effect.gen(function*() {
      const { ann, annAddress } = yield* pair
      yield* ann.call("announce", { kind: "profile", name: "Ann" })
      const { resources } = yield* ann.listResources()
      const uris = ["status", "network", "announcements"].map((name) => `effect-dht://node/${name}`)
      assert.deepStrictEqual(resources.map(({ uri }) => uri).sort(), uris.toSorted())
      const [status, net, announcements] = yield* Effect.forEach(uris, (uri) =>
        Effect.map(ann.readResource({ uri }), ({ contents: [content] }) => {
          assert.include(content, { uri, mimeType: "application/json" })
          return JSON.parse("text" in content ? content.text : "")
        }))
      assert.strictEqual(status.agent, annAddress)
      assert.strictEqual(net.contacts, 1)
      assert.deepStrictEqual(
        announcements.announcements.map(({ title }: any) =>
          title
        ),
        ["Ann"]
      )
    }).pipe(onNetwork))
})
