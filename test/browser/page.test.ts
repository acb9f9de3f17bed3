import { assert, layer } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Redacted from "effect/Redacted"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import type { Browser as Chromium, BrowserContextOptions, Page } from "playwright-core"
import * as NodeHttp from "../../src/node/NodeHttp.ts"
import * as NodeId from "../../src/NodeId.ts"
import * as Transport from "../../src/Transport.ts"
import * as Program from "../examples/program.ts"
import * as Browser from "../utils/browser.ts"
import * as Network from "../utils/network.ts"

const token = "0123456789abcdef"

/** The HTTP server of a node, which takes records of pages of an origin. */
const serve = Effect.fnUntraced(function*(node: Network.Node, origin: string) {
  const server = yield* Layer.build(
    NodeHttp.layer({ port: 0, token: Redacted.make(token), readable: true, records: [origin] })
  ).pipe(
    Effect.provideContext(node),
    Effect.provideService(Metric.MetricRegistry, new Map())
  )
  const { port } = yield* Effect.provideContext(NodeHttp.localAddress, server)
  return `http://127.0.0.1:${port}`
})

interface Answer {
  readonly status: number
  readonly body: string
}

/** Changes what a gateway answers; the path is that of the request. */
type Lie = (path: string, answer: (path: string) => Promise<Answer>) => Promise<Answer>

/** A gateway that lies: it answers requests for records through another, as `lie` says. */
const liar = Effect.fnUntraced(function*(url: string, origin: string, lie: { current: Lie }) {
  const answer = async (path: string): Promise<Answer> => {
    const response = await fetch(url + path)
    return { status: response.status, body: await response.text() }
  }
  const server = createServer((request, response) => {
    const headers = { "access-control-allow-origin": origin, "access-control-allow-headers": "authorization" }
    if (request.method === "OPTIONS") return response.writeHead(204, headers).end()
    lie.current(request.url ?? "", answer).then(({ body, status }) => response.writeHead(status, headers).end(body))
  })
  yield* Effect.acquireRelease(
    Effect.callback<void>((resume) => {
      server.listen(0, "127.0.0.1", () => resume(Effect.void))
    }),
    () =>
      Effect.sync(() => {
        server.close()
        server.closeAllConnections()
      })
  )
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
})

class World extends Context.Service<World, {
  readonly browser: Chromium
  readonly origin: string
  readonly nodes: ReadonlyArray<Network.Node>
  /** URLs of two gateways. */
  readonly gateways: readonly [string, string]
}>()("test/World") {}

const world = Effect.gen(function*() {
  const opened = yield* Effect.forkChild(Effect.acquireRelease(
    Effect.promise(() => Browser.launch()),
    (browser) => Effect.promise(() => browser.close())
  ))
  const example = yield* Program.start("browser/serve.ts", "0")
  const [origin] = yield* example.prints(/^Open (\S+)$/m)
  const nodes: Array<Network.Node> = []
  for (let i = 0; i < 8; i++) {
    nodes.push(yield* Network.node(`node ${i}`, Network.socketOf(i + 1)))
    if (i > 0) yield* Network.dht(nodes[i]).bootstrap([Network.socketOf(1)])
  }
  const gateways = [yield* serve(nodes[1], origin), yield* serve(nodes[2], origin)] as const
  return World.of({ browser: yield* Fiber.join(opened), origin, nodes, gateways })
}).pipe(Effect.provide(Transport.layerMemoryNetwork))

interface Opening extends BrowserContextOptions {
  /** Error messages that the test expects in the console. */
  readonly expected?: RegExp
}

/** A tab that is connected to a gateway. Fails the test on errors in the console. */
const tab = Effect.fnUntraced(function*(gateway: string, { expected, ...options }: Opening = {}) {
  const { browser, origin } = yield* World
  const complaints: Array<string> = []
  const page = yield* Effect.acquireRelease(
    Effect.promise(async () => {
      const context = await browser.newContext(options)
      context.setDefaultTimeout(15_000)
      const page = await context.newPage()
      page.on("console", (message) => complaints.push(`console: ${message.text()}`))
      page.on("pageerror", (error) => complaints.push(`error: ${error.message}`))
      await page.goto(origin)
      return page
    }),
    (page) => Effect.promise(() => page.context().close())
  )
  yield* Effect.promise(async () => {
    await fill(page, "gateway", { url: gateway })
    await says(page, "status", /^Connected$/)
  })
  yield* Effect.addFinalizer(() =>
    Effect.sync(() =>
      // That there are no records is an answer with status 404.
      assert.deepStrictEqual(complaints.filter((text) => !/404/.test(text) && expected?.test(text) !== true), [])
    )
  )
  return page
})

/** Fills a form in and sends it. */
const fill = async (page: Page, form: string, texts: { readonly [name: string]: string }): Promise<void> => {
  for (const [name, text] of Object.entries(texts)) await page.fill(`#${form} [name=${name}]`, text)
  await page.click(`#${form} .primary`)
}

/** Waits until an element has a text. */
const says = (page: Page, id: string, text: RegExp): Promise<void> =>
  page.locator(`#${id}`).filter({ hasText: text }).waitFor()

const ann = { name: "Ann", topic: "translate", brief: "English and German", endpoint: "https://ann.example/" }

layer(Layer.effect(World, world), { excludeTestServices: true, timeout: 90_000 })("the page of an agent", (it) => {
  it.effect(
    "announces through one gateway, is found and verified through another, and gets a note",
    () =>
      Effect.scoped(Effect.gen(function*() {
        const { gateways } = yield* World
        const first = yield* tab(gateways[0])
        const second = yield* tab(gateways[1])
        yield* Effect.promise(async () => {
          await fill(first, "offer", ann)
          await says(first, "status", /^Announced under translate/)
          const address = await first.textContent("#address")

          await fill(second, "find", { topic: "translate" })
          await says(second, "offers", /Ann.*signature verified.*https:\/\/ann\.example\//)
          assert.include(await second.textContent("#offers"), address)
          await second.click("#offers button")
          await fill(second, "note", { text: "Good <b>morning</b>" })
          await says(second, "status", /^Sent$/)

          const sender = await second.textContent("#address")
          assert.notStrictEqual(sender, address)
          await says(first, "notes", /Good <b>morning<\/b>/)
          assert.include(await first.textContent("#notes"), sender)
          // A reply needs no profile of the sender.
          await fill(first, "note", { to: sender ?? "", text: "And to you" })
          await says(second, "notes", /And to you/)

          await first.click("#withdraw")
          await says(first, "status", /^Withdrawn$/)
          await fill(second, "find", { topic: "translate" })
          await says(second, "status", /^0 offers/)
        })
      })),
    60_000
  )

  it.effect("withdraws its offer when the tab is closed", () =>
    Effect.scoped(Effect.gen(function*() {
      const { gateways } = yield* World
      const first = yield* tab(gateways[0])
      const second = yield* tab(gateways[1])
      yield* Effect.promise(async () => {
        await fill(first, "offer", { ...ann, topic: "closing" })
        await says(first, "status", /^Announced/)
        await fill(second, "find", { topic: "closing" })
        await says(second, "status", /^1 offer /)
        await first.goto("about:blank")
        for (let left = 20;; left--) {
          await fill(second, "find", { topic: "closing" })
          await says(second, "status", /^\d offers? /)
          if ((await second.textContent("#status"))?.startsWith("0 ")) break
          assert.isAbove(left, 0, "the offer is still there")
          await new Promise((resolve) => setTimeout(resolve, 250))
        }
      })
    })), 60_000)

  it.effect("keeps its identity over a reload", () =>
    Effect.scoped(Effect.gen(function*() {
      const { gateways } = yield* World
      const page = yield* tab(gateways[0])
      yield* Effect.promise(async () => {
        const address = await page.textContent("#address")
        await page.reload()
        await fill(page, "gateway", { url: gateways[1] })
        await says(page, "status", /^Connected$/)
        assert.strictEqual(await page.textContent("#address"), address)
      })
    })), 60_000)

  it.effect(
    "shows nothing of a gateway that changes, exchanges or brings back records",
    () =>
      Effect.scoped(Effect.gen(function*() {
        const { gateways, nodes, origin } = yield* World
        const honest: Lie = (path, answer) => answer(path)
        const lie = { current: honest }
        const lying = yield* liar(gateways[1], origin, lie)
        const mallory = Network.dht(nodes[3])
        yield* mallory.publishEndpoint({ endpoints: ["https://mallory.example/"] })
        yield* mallory.publishTopic({ topic: "lies", name: "Mallory" })
        const publisher = yield* tab(gateways[0])
        const reader = yield* tab(lying)
        const topic = `/v1/records/${NodeId.fromTopic("truth")}`
        yield* Effect.promise(async () => {
          const find = () => fill(reader, "find", { topic: "truth" })
          await fill(publisher, "offer", { ...ann, topic: "truth" })
          await says(publisher, "status", /^Announced/)
          await find()
          await says(reader, "status", /^1 offer /)
          await says(reader, "offers", /Ann.*https:\/\/ann\.example\//)

          // Another name in the record.
          lie.current = async (path, answer) => {
            const { body, status } = await answer(path)
            return { status, body: body.replaceAll("63416e6e", "63457665") }
          }
          await find()
          await says(reader, "error", /does not hold.*bad signature/)

          // The offer of another topic, and the endpoint of another agent.
          lie.current = (path, answer) => answer(path.replace(topic, `/v1/records/${NodeId.fromTopic("lies")}`))
          await find()
          await says(reader, "error", /does not hold.*another topic/)
          lie.current = (path, answer) =>
            answer(path.startsWith(topic) ? path : path.replace(/records\/\w+/, `records/${mallory.nodeId}`))
          await find()
          await says(reader, "error", /does not hold.*its own address/)

          // An offer that the publisher has replaced since.
          lie.current = honest
          const old = { status: 200, body: await (await fetch(gateways[1] + topic)).text() }
          await fill(publisher, "offer", { ...ann, name: "Ann again", topic: "truth" })
          await says(publisher, "status", /^Announced/)
          await find()
          await says(reader, "offers", /Ann again/)
          lie.current = async (path, answer) => path.startsWith(topic) ? old : answer(path)
          await find()
          await says(reader, "error", /does not hold.*newer record is held/)
        })
      })),
    90_000
  )

  it.effect(
    "tells why a gateway cannot be used, and what is wrong with an address",
    () =>
      Effect.scoped(Effect.gen(function*() {
        const { gateways } = yield* World
        const page = yield* tab(gateways[0], { expected: /401|ERR_UNSAFE_PORT/ })
        yield* Effect.promise(async () => {
          await fill(page, "note", { to: "nonsense", text: "Hello" })
          await says(page, "error", /^"nonsense" is not an address/)
          await fill(page, "gateway", { token: "fedcba9876543210" })
          await says(page, "status", /^Connected$/)
          await fill(page, "offer", ann)
          await says(page, "error", /refused: .*token/)
          await fill(page, "gateway", { url: "http://127.0.0.1:9" })
          await says(page, "error", /^No answer from the gateway http:\/\/127\.0\.0\.1:9.*--http-origin/)
        })
      })),
    60_000
  )

  for (const colorScheme of ["light", "dark"] as const) {
    it.effect(`fits 360 pixels in ${colorScheme} colors`, () =>
      Effect.scoped(Effect.gen(function*() {
        const { gateways } = yield* World
        const page = yield* tab(gateways[0], { colorScheme, viewport: { width: 360, height: 740 } })
        yield* Effect.promise(async () => {
          await fill(page, "offer", { ...ann, topic: `narrow ${colorScheme}` })
          await says(page, "status", /^Announced/)
          await fill(page, "find", { topic: `narrow ${colorScheme}` })
          await says(page, "offers", /Ann/)
          assert.strictEqual(await page.evaluate("document.documentElement.scrollWidth"), 360)
          const paper = await page.evaluate("getComputedStyle(document.body).backgroundColor")
          assert.strictEqual(paper, colorScheme === "light" ? "rgb(247, 247, 245)" : "rgb(18, 20, 23)")
        })
      })), 60_000)
  }
})
