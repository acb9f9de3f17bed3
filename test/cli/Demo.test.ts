import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import type * as Api from "../../src/http/Api.ts"
import * as Problem from "../../src/http/Problem.ts"
import { run, start } from "../utils/processes.ts"

const demo = (http: string) => start("demo", "--nodes", "4", "--http", http, "--json")

const overviewAt = (url: string) =>
  Effect.promise(async () => {
    const response = await fetch(`${url}v1/overview`)
    return await response.json() as typeof Api.Overview.Type
  })

describe("effect-dht demo", () => {
  it.live(
    "runs a network that announces and looks up, shows its first node, and ends on interruption",
    () =>
      Effect.gen(function*() {
        const network = yield* demo("127.0.0.1:0")
        const { url } = yield* network.event("serving")
        yield* network.event("joined")
        const overview = yield* Effect.repeat(overviewAt(url), {
          until: ({ network, pages, publishing }) =>
            network.contacts === 3 && publishing.announcements === 3 && pages.length === 4
        })
        assert.isTrue(overview.ready)
        assert.isNull(overview.persistence)

        // Each node has a page, which lists those of all.
        assert.deepStrictEqual(overview.pages.map(({ name }) => name), ["Ann", "Ben", "Cleo", "Dan"])
        const addresses = yield* Effect.forEach(overview.pages, (page) =>
          Effect.map(overviewAt(page.url), ({ identity, name, pages, writes }) => {
            assert.deepStrictEqual({ name, writes }, { name: page.name, writes: "open" })
            assert.deepStrictEqual(pages, overview.pages)
            return identity.address
          }))
        assert.strictEqual(new Set(addresses).size, 4)

        const top = yield* run("top", "--url", url)
        assert.deepStrictEqual({ code: top.code, error: top.error }, { code: 0, error: [] })
        assert.include(top.out[0], `effect-dht top  ${url}  ready`)
        assert.include(top.out.join("\n"), overview.identity.address)

        const document = yield* run("top", "--url", url, "--json")
        assert.strictEqual(JSON.parse(document.out[0]).overview.identity.address, overview.identity.address)

        yield* network.kill("SIGINT")
        const { code, error, out } = yield* network.ended
        assert.deepStrictEqual({ code, error }, { code: 0, error: [] })
        assert.deepStrictEqual(JSON.parse(out[out.length - 1]), { event: "stopped" })
      }),
    60_000
  )

  it.live("takes the next port if its own is in use", () =>
    Effect.gen(function*() {
      const { url: first } = yield* (yield* demo("127.0.0.1:0")).event("serving")
      const port = Number(new URL(first).port)
      const { url: second } = yield* (yield* demo(`127.0.0.1:${port}`)).event("serving")
      assert.isAbove(Number(new URL(second).port), port)
    }), 60_000)
})

/** Answers every request with this status and document, until the scope closes. */
const answering = (status: number, document = "{}") =>
  Effect.map(
    Effect.acquireRelease(
      Effect.promise(async () => {
        const server = createServer((_, response) => response.writeHead(status).end(document))
        await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
        return server
      }),
      (server) => Effect.sync(() => server.close())
    ),
    (server) => `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  )

const wantsToken = Problem.make("Unauthorized", "This request needs the token")

describe("effect-dht top", () => {
  const failing: ReadonlyArray<readonly [what: string, url: ReturnType<typeof answering>, says: string]> = [
    ["no server answers", Effect.succeed("http://127.0.0.1:1"), "no server answers there"],
    ["a token is wanted", answering(401, JSON.stringify(wantsToken)), "--http-token-env"],
    ["a proxy wants one", answering(401, "<h1>Unauthorized</h1>"), "--http-token-env"],
    ["something else answers", answering(404), "not a node of this version"],
    ["something else answers in JSON", answering(200), "not a node of this version"]
  ]
  for (const [what, at, says] of failing) {
    it.live(`fails with one line if ${what}`, () =>
      Effect.gen(function*() {
        const url = yield* at
        const { code, error, out } = yield* run("top", "--url", url)
        assert.deepStrictEqual({ code, lines: error.length, out }, { code: 1, lines: 1, out: [] })
        assert.include(error[0], `effect-dht: ${url}: `)
        assert.include(error[0], says)
      }), 60_000)
  }
})
