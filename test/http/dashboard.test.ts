import { assert, layer } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as SubscriptionRef from "effect/SubscriptionRef"
import { readdirSync } from "node:fs"
import { join } from "node:path"
import type { Browser as Chromium, BrowserContextOptions, Page } from "playwright-core"
import * as Address from "../../src/Address.ts"
import * as Bootstrap from "../../src/Bootstrap.ts"
import { SignerFailed } from "../../src/Hosting.ts"
import * as Api from "../../src/http/Api.ts"
import * as NodeHttp from "../../src/node/NodeHttp.ts"
import type { QueryStep } from "../../src/NodeEvents.ts"
import * as NodeId from "../../src/NodeId.ts"
import { NodeSettings } from "../../src/NodeSettings.ts"
import * as Query from "../../src/Query.ts"
import { Reachability, type Status } from "../../src/Reachability.ts"
import { NoAnswer } from "../../src/Request.ts"
import { Rpc } from "../../src/Rpc.ts"
import { type Standing, StandingAnnouncements } from "../../src/StandingAnnouncements.ts"
import { Store } from "../../src/Store.ts"
import * as Transport from "../../src/Transport.ts"
import * as Browser from "../utils/browser.ts"
import { hosting, hostOn } from "../utils/hosting.ts"
import * as Network from "../utils/network.ts"

const token = "0123456789abcdef"

/** An offer's name that would run as a script if it became markup. */
const markup = {
  topic: "<img src=x onerror=\"document.title='run'\">",
  name: "<b class=\"evil\">bold</b>",
  brief: "<script>document.title='run'</script>"
}

// --- Nodes and a browser --------------------------------------------------------------

/** The HTTP server of a node, on its own port. */
const serve = (node: Network.Node, options: NodeHttp.Options = {}) =>
  Effect.gen(function*() {
    const server = yield* Layer.build(NodeHttp.layer({ port: 0, ...options })).pipe(
      Effect.provideContext(node),
      Effect.provideService(Metric.MetricRegistry, new Map())
    )
    const { port } = yield* Effect.provideContext(NodeHttp.localAddress, server)
    return `http://127.0.0.1:${port}`
  })

const browser = Effect.acquireRelease(
  Effect.promise(() => Browser.launch()),
  (browser) => Effect.promise(() => browser.close())
)

/** 32 joined nodes, some of which publish, and the server of one of them. */
class World extends Context.Service<World, {
  readonly browser: Chromium
  readonly nodes: ReadonlyArray<Network.Node>
  readonly url: string
}>()("test/World") {}

const world = Effect.gen(function*() {
  const opened = yield* Effect.forkChild(browser)
  const first = yield* Network.node("node 0", Network.socketOf(1))
  const others = yield* Effect.forEach(
    Array.from({ length: 31 }, (_, i) => i + 1),
    (i) =>
      Network.node(`node ${i}`, Network.socketOf(i + 1)).pipe(
        Effect.tap((node) => Network.dht(node).bootstrap([Network.socketOf(1)]))
      )
  )
  const nodes = [first, ...others]
  const url = yield* serve(first)
  for (const [i, node] of nodes.slice(0, 12).entries()) {
    yield* Network.dht(node).announceEndpoint({ endpoints: [`quic://203.0.113.${i}:4121`] })
  }
  yield* Network.dht(first).announceTopic({ topic: "translate", name: "Ann", protocols: ["a2a"] })
  yield* Network.dht(nodes[1]).announceTopic(markup)
  yield* Network.dht(first).announceTopic(markup)
  return World.of({ browser: yield* Fiber.join(opened), nodes, url })
}).pipe(Effect.provide(Transport.layerMemoryNetwork))

// --- Pages ----------------------------------------------------------------------------

interface Opening extends BrowserContextOptions {
  readonly url?: string
  /** Path, query and fragment: the section to open. Defaults to the overview. */
  readonly at?: string
  /** Another origin that the page may lead to. */
  readonly also?: string
  /** Expected error messages of the test. */
  readonly expected?: RegExp
}

/**
 * A page in a browser of its own. Fails the test on any error, failed request or
 * request to another origin.
 */
const visit = Effect.fnUntraced(function*(
  { also, at = "/", expected, url, ...options }: Opening,
  use: (page: Page) => Promise<void>
) {
  const { browser, ...world } = yield* World
  const origin = url ?? world.url
  yield* Effect.promise(async () => {
    const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options })
    context.setDefaultTimeout(8000)
    const complaints: Array<string> = []
    const page = await context.newPage()
    page.on("console", (message) => complaints.push(`console: ${message.text()}`))
    page.on("pageerror", (error) => complaints.push(`error: ${error.message}`))
    page.on("requestfailed", (request) => {
      const why = request.failure()?.errorText
      // Cancelled by the page or a reload; Chromium also reports a stream read to its end this way.
      if (why !== "net::ERR_ABORTED") complaints.push(`failed: ${request.url()} ${why}`)
    })
    page.on("response", (response) => {
      if (response.status() >= 400) complaints.push(`response: ${response.status()} ${response.url()}`)
    })
    page.on("request", (request) => {
      if (![origin, also].includes(new URL(request.url()).origin)) complaints.push(`elsewhere: ${request.url()}`)
    })
    try {
      await page.goto(`${origin}${at}`)
      await use(page)
      assert.deepStrictEqual(complaints.filter((text) => expected === undefined || !expected.test(text)), [])
    } finally {
      await context.close()
    }
  })
})

/** Waits until the check passes, since pages and networks take a moment. */
const eventually = async (check: () => Promise<void>): Promise<void> => {
  for (let left = 60;; left--) {
    try {
      return await check()
    } catch (error) {
      if (left === 0) throw error
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
  }
}

const read = async <S extends Schema.ConstraintDecoder<unknown>>(url: string, path: string, schema: S) => {
  const response = await fetch(url + path)
  return Schema.decodeUnknownSync(schema)(await response.json())
}

/** The document in a page, untyped because the tests' types have no DOM. */
const evaluate = (page: Page, code: string): Promise<unknown> => page.evaluate(code)

const lookUp = async (page: Page, value: string): Promise<void> => {
  await page.getByLabel("Address, topic or node id").fill(value)
  await page.getByRole("button", { name: "Look up", exact: true }).click()
}

const status = (page: Page) => page.locator("#lookup-status")

/** Opens a section by its link. */
const open = (page: Page, name: string) =>
  page.getByRole("navigation", { name: "Sections" }).getByRole("link", { name, exact: true }).click()

/** Opens the path of the lookup. */
const openPath = (page: Page) => page.locator("#lookup-steps summary").click()

const shows = (page: Page, text: string | RegExp) => page.getByText(text).first().waitFor()

// --- Contents -------------------------------------------------------------------------

layer(Layer.effect(World, world), { excludeTestServices: true, timeout: "30 seconds" })("the page of a node", (it) => {
  it.effect("loads only its own files, each with its content type, and sends none twice", () =>
    Effect.gen(function*() {
      const { url } = yield* World
      yield* Effect.promise(async () => {
        const types: Record<string, string> = {
          js: "text/javascript",
          css: "text/css",
          svg: "image/svg+xml",
          html: "text/html"
        }
        const files = readdirSync(join(import.meta.dirname, "../../src/http/dashboard"))
        for (const name of files) {
          const type = types[name.split(".").at(-1) ?? ""]
          const path = name === "index.html" ? "/" : `/assets/${name}`
          const response = await fetch(url + path)
          if (type === undefined) {
            assert.strictEqual(response.status, 404, name)
            continue
          }
          assert.strictEqual(response.status, 200, name)
          assert.include(response.headers.get("content-type") ?? "", type)
          assert.include(response.headers.get("content-security-policy") ?? "", "script-src 'self'; style-src 'self'")
          assert.strictEqual(response.headers.get("cache-control"), "no-cache")
          const text = await response.text()
          if (type === "text/html") assert.notMatch(text, /<style|style=|<script(?![^>]* src="\/assets\/)|\son\w+=/)
          const again = await fetch(url + path, { headers: { "if-none-match": response.headers.get("etag") ?? "" } })
          assert.strictEqual(again.status, 304, name)
          const other = await fetch(url + path, { headers: { "if-none-match": "\"other\"" } })
          assert.strictEqual(other.status, 200, name)
        }
        assert.strictEqual((await fetch(`${url}/assets/none.js`)).status, 404)
        assert.strictEqual((await fetch(`${url}/`, { method: "HEAD" })).status, 200)
      })
    }))

  it.effect("shows the figures of the documents", () =>
    Effect.gen(function*() {
      const { url } = yield* World
      yield* visit({}, async (page) => {
        const tile = (name: string) => page.locator(".tile", { hasText: name }).locator("dd")
        await page.locator("#identity summary").click()
        await eventually(async () => {
          const overview = await read(url, "/v1/overview", Api.Overview)
          const { network, publishing, store } = overview
          const identity = await page.locator("#identity").innerText()
          assert.include(identity, overview.identity.address)
          assert.include(identity, overview.identity.node_id_hex)
          assert.include(identity, overview.reachability.local_addr)
          assert.include(identity, overview.reachability.public_host ?? "not known")
          assert.include(identity, overview.reachability.mapping)
          assert.match(await tile("Contacts").innerText(), new RegExp(`^${network.contacts}\n`))
          assert.include(await tile("Network").innerText(), `confidence ${Math.round(network.confidence * 100)} %`)
          assert.match(await tile("Keys held").innerText(), new RegExp(`^${store.keys}\n`))
          const { announcements, complete, records } = publishing
          assert.match(
            await tile("Published").innerText(),
            new RegExp(`^${records}\n+${complete === records ? "all" : `${complete} of ${records}`} with all copies; `)
          )
          assert.include(await tile("Published").innerText(), `${announcements} kept alive`)
        })
        assert.strictEqual(await page.locator("#state").innerText(), "ready")
      })
    }))

  it.effect("draws the buckets in use, one by one, counts the empty ones, and lists the contacts", () =>
    Effect.gen(function*() {
      const { url } = yield* World
      yield* visit({ at: "/#contacts" }, async (page) => {
        await page.getByText(/^All \d+ contacts$/).click()
        await eventually(async () => {
          const { buckets, k } = await read(url, "/v1/buckets", Api.Buckets)
          assert.include(
            await page.locator("#buckets").innerText(),
            `${buckets.length} buckets, and ${256 - buckets.length} empty`
          )
          const rows = page.getByRole("region", { name: "Buckets in use" }).locator("tbody tr")
          const fresh = buckets.map(({ bucket, contacts }) => [
            String(bucket),
            `${contacts.filter(({ fresh, health }) => fresh && health !== "bad").length} of ${contacts.length}`
          ])
          const shown = (await rows.allInnerTexts()).map((text) => text.split("\t"))
          assert.deepStrictEqual(shown.map((cells) => [cells[0], cells[2]]), fresh)
          assert.strictEqual(await rows.first().locator("rect").count(), k)
          const contacts = page.getByRole("region", { name: "Contacts" }).locator("tbody tr")
          assert.strictEqual(await contacts.count(), buckets.flatMap(({ contacts }) => contacts).length)
        })
      })
    }))

  it.effect("lists the stored records, of every type or of one", () =>
    Effect.gen(function*() {
      const { url } = yield* World
      yield* visit({ at: "/#store" }, async (page) => {
        const rows = page.getByRole("region", { name: "Stored records" }).locator("tbody tr")
        for (const type of ["all", "topic", "endpoint", "all"]) {
          await page.getByRole("button", { name: new RegExp(`^${type} \\d+$`) }).click()
          await eventually(async () => {
            const { by_type, records } = await read(url, "/v1/store", Api.StoreReport)
            const held = type === "all" ? records : by_type.find(({ type_name }) => type_name === type)?.records ?? 0
            assert.isAbove(held, 0)
            assert.strictEqual(await rows.count(), Math.min(held, 25))
            assert.strictEqual(
              await rows.locator(`.type${type === "all" ? "" : `.${type}`}`).count(),
              Math.min(held, 25)
            )
          })
        }
      })
    }))

  it.effect("shows the node's announcements and the holders of copies", () =>
    Effect.gen(function*() {
      const { url } = yield* World
      yield* visit({ at: "/#published" }, async (page) => {
        const card = page.locator("#announcements .own", { hasText: "translate" })
        await card.getByText("Holders of copies").click()
        await eventually(async () => {
          const { announcements } = await read(url, "/v1/announcements", Api.Announcements)
          assert.strictEqual(await page.locator("#announcements .own").count(), announcements.length)
          const announced = announcements.find(({ topic }) => topic === "translate")
          const copies = announced?.confirmed.length ?? -1
          assert.strictEqual(await card.locator(".replica.confirmed").count(), copies)
          assert.include(await card.innerText(), `${copies} of 8 copies confirmed`)
          assert.strictEqual(await card.locator(".peers li", { hasText: "confirmed" }).count(), copies)
        })
      })
    }))

  it.effect("shows the contents of a record published once, like those of an announced one", () =>
    Effect.gen(function*() {
      const { nodes } = yield* World
      const dht = Network.dht(nodes[5])
      yield* dht.publishEndpoint({ endpoints: ["quic://198.51.100.5:4121"], ttl: 3600 })
      yield* dht.publishTopic({ topic: "go", name: "Bea" })
      yield* dht.publishProfile({ name: "Bea" })
      const url = yield* serve(nodes[5])
      yield* visit({ url, at: "/#published" }, async (page) => {
        for (const [type, text] of [["endpoint", "quic://198.51.100.5:4121"], ["topic", "go"], ["profile", "Bea"]]) {
          const card = page.locator("#announcements .own", { has: page.locator(`.type.${type}`) })
          await card.locator("h3", { hasText: text }).waitFor()
        }
      })
    }))

  it.effect("shows a bounded number of records, and how many more there are, page by page", () =>
    Effect.gen(function*() {
      // Without copies, which the order of the list depends on.
      const node = yield* Network.node("many", Network.socketOf(98))
      const dht = Network.dht(node)
      for (let i = 0; i < 81; i++) yield* dht.publishTopic({ topic: `topic ${i}`, name: "Cy" })
      const [{ timestamp }] = yield* Context.get(node, Store).getAll(NodeId.fromTopic("topic 0"), 0)
      Network.fill(node, 3000, Number(timestamp))
      const url = yield* serve(node, { first: true })
      yield* visit({ url, at: "/#published" }, async (page) => {
        const published = page.locator("#announcements .own")
        await shows(page, "1–12 of 81 records")
        assert.strictEqual(await published.count(), 12)
        const titles = new Set(await published.locator("h3").allInnerTexts())
        for (let from = 13; from <= 81; from += 12) {
          await page.getByRole("button", { name: "Next records" }).click()
          await shows(page, `${from}–${Math.min(81, from + 11)} of 81 records`)
          for (const title of await published.locator("h3").allInnerTexts()) titles.add(title)
        }
        assert.strictEqual(titles.size, 81)
        await page.getByRole("button", { name: "Previous records" }).click()
        await shows(page, "61–72 of 81 records")
        await open(page, "Store")
        const rows = page.getByRole("region", { name: "Stored records" }).locator("tbody tr")
        await shows(page, /^1–25 of 3,\d+ records$/)
        assert.strictEqual(await rows.count(), 25)
        await page.getByRole("button", { name: "Next records" }).click()
        await shows(page, /^26–50 of 3,\d+ records$/)
        assert.strictEqual(await rows.count(), 25)
        assert.isBelow(Number(await evaluate(page, "document.querySelectorAll('*').length")), 2000)
      })
    }).pipe(Effect.provide(Layer.fresh(Transport.layerMemoryNetwork))))

  it.effect("distinguishes late answers from datagrams refused for other reasons", () =>
    Effect.gen(function*() {
      const { nodes } = yield* World
      const rpc = Context.get(nodes[0], Rpc)
      const counts = {
        late: 1170,
        unawaited: 0,
        malformed: 16,
        unknown_type: 0,
        too_large: 0,
        unreachable: 0,
        bad_signature: 0,
        bad_mac: 0,
        denied: 0,
        overload: 0
      }
      const traffic = Effect.map(rpc.traffic, (traffic) => ({ ...traffic, refused: 1186, refusedBy: counts }))
      const url = yield* serve(Context.add(nodes[0], Rpc, { ...rpc, traffic }))
      yield* visit({ url }, async (page) => {
        await page.locator(".tile", { hasText: "16 refused so far, besides 1,170 late answers" }).waitFor()
        await open(page, "Traffic")
        const reasons = page.getByRole("region", { name: "Refused datagrams by reason" }).locator("tbody tr")
        await reasons.first().waitFor()
        const shown = (await reasons.allInnerTexts()).map((text) => text.split("\t").slice(0, 2))
        assert.deepStrictEqual(shown, [["Late answer", "1,170"], ["Malformed", "16"]])
      })
    }))

  it.effect("plots the traffic, and counts the requests", () =>
    Effect.gen(function*() {
      const { url } = yield* World
      yield* visit({}, async (page) => {
        await lookUp(page, "translate")
        await open(page, "Traffic")
        await page.locator("#plot-traffic .line.s0").last().waitFor({ state: "attached" })
        await page.locator("#plot-latency .line.s0").last().waitFor({ state: "attached" })
        await eventually(async () => {
          const { requests } = await read(url, "/v1/traffic", Api.TrafficReport)
          const rows = await page.getByRole("region", { name: "Requests by kind" }).locator("tbody tr").allInnerTexts()
          assert.deepStrictEqual(
            rows.map((row) => row.split("\t").slice(0, 2)),
            requests.map(({ answered, request }) => [request, answered.count.toLocaleString("en")])
          )
        })
      })
    }))

  it.effect("has the last hour of the node as soon as it is opened, and continues it", () =>
    Effect.gen(function*() {
      const { url } = yield* World
      const samples = async () => (await read(url, "/v1/history", Api.History)).samples
      const before = (yield* Effect.promise(samples)).length
      yield* visit({ at: "/#traffic" }, async (page) => {
        const path = page.locator("#plot-keys .line.s0").last()
        const points = async () => ((await path.getAttribute("d")) ?? "").split(/[ML]/).length - 1
        await path.waitFor({ state: "attached" })
        assert.isAtLeast(await points(), before)
        await eventually(async () => {
          assert.isAbove((await samples()).length, before)
          assert.strictEqual(await points(), (await samples()).length)
        })
      })
    }))

  it.effect("draws an axis from 0 to 1 if all values are 0, and none that makes a flat line of numbers close together", () =>
    visit({}, async (page) => {
      const scale = (values: ReadonlyArray<number>, options = {}) =>
        evaluate(
          page,
          `import("/assets/plots.js").then(({ scale }) => scale(${JSON.stringify(values)}, ${JSON.stringify(options)}))`
        )
      assert.deepStrictEqual(await scale([0, 0]), [0, 1])
      assert.deepStrictEqual(await scale([0, 7]), [0, 2, 4, 6, 8])
      assert.deepStrictEqual(await scale([0.001]), [0, 0.00025, 0.0005, 0.00075, 0.001])
      assert.deepStrictEqual(await scale([250, 256], { isLevel: true, isWhole: true }), [250, 260])
      assert.deepStrictEqual(await scale([31], { isLevel: true, isWhole: true }), [30, 31, 32])
      assert.deepStrictEqual(await scale([2, 40], { isLevel: true, isWhole: true }), [0, 10, 20, 30, 40])
    }))

  it.effect("draws p95 below p50 and wider, so that both are seen where they are equal", () =>
    visit({ at: "/#traffic" }, async (page) => {
      await page.locator("#plot-latency .plot .line.s0").waitFor({ state: "attached" })
      const lines = await evaluate(
        page,
        `[...document.querySelectorAll("#plot-latency .plot .line")].map((line) => [
          line.getAttribute("class"), parseFloat(getComputedStyle(line).strokeWidth)
        ])`
      ) as ReadonlyArray<[string, number]>
      assert.deepStrictEqual(lines.map(([name]) => name), ["line s1", "line s0"])
      assert.isAbove(lines[0][1], lines[1][1])
    }))

  it.effect("says first whether the node can be reached, and why", () =>
    Effect.gen(function*() {
      const { nodes } = yield* World
      const reachability = Context.get(nodes[3], Reachability)
      const at = { host: "203.0.113.5", port: 4121 }
      const statusOf = (status: Status) => ({ status: Effect.succeed(status) })
      const cases = [
        [
          {
            ...statusOf({ state: "open", mapping: "EndpointIndependent", filtering: "EndpointIndependent" }),
            observed: Effect.succeed(at)
          },
          "yes",
          "203.0.113.5:4121"
        ],
        [
          statusOf({ state: "closed", mapping: "EndpointDependent", filtering: "Unknown" }),
          "no",
          "uses a different port for each peer"
        ],
        [
          statusOf({ state: "closed", mapping: "EndpointIndependent", filtering: "EndpointDependent" }),
          "no",
          "lets in only what this node asked for"
        ],
        [statusOf({ state: "unknown", mapping: "Unknown", filtering: "Unknown" }), "not known yet", "three contacts"]
      ] as const
      for (const [known, answer, why] of cases) {
        const url = yield* serve(Context.add(nodes[3], Reachability, { ...reachability, ...known }))
        yield* visit({ url }, async (page) => {
          await page.locator("#reachable h3", { hasText: `Reachable: ${answer}` }).waitFor()
          assert.include(await page.locator("#reachable").innerText(), why)
          // The words of the protocol are below, and folded.
          assert.isFalse(await page.getByText("NAT mapping").isVisible())
        })
      }
    }))

  it.effect("shows the identities that the node hosts, failing ones first, and no such section if it hosts none", () =>
    Effect.gen(function*() {
      const { nodes } = yield* World
      yield* visit({}, async (page) => {
        await page.locator("#reachable h3").waitFor()
        assert.isFalse(await page.getByRole("link", { name: "Hosted" }).isVisible())
      })
      const host = yield* hostOn(nodes[4])
      const sealed = Network.identity("sealed")
      const announce = [{ _tag: "Endpoint", endpoints: ["https://agents.example"] }] as const
      for (const name of ["a", "b"]) {
        yield* hosting(host).host({ signer: Network.identity(`hosted ${name}`), announce })
      }
      const sign = () => Effect.fail(new SignerFailed({ reason: "<b>the vault</b> is sealed" }))
      yield* hosting(host).host({ signer: { ...sealed, sign }, announce })
      const url = yield* serve(host)
      yield* visit({ url, at: "/" }, async (page) => {
        await open(page, "Hosted")
        await shows(page, "1 record failing: the signer gave no valid signature.")
        const rows = page.locator("#hosting tbody tr")
        assert.include(await rows.first().innerText(), "<b>the vault</b> is sealed")
        assert.strictEqual(await rows.count(), 3)
        assert.include(await page.locator("#hosting .tiles").innerText(), "identities with 3 records")
      })
      yield* visit({ url, at: "/#hosted", viewport: { width: 360, height: 740 } }, async (page) => {
        await shows(page, "Hosted identities")
        assert.isAtMost(Number(await evaluate(page, "document.documentElement.scrollWidth")), 360)
      })
    }))

  it.effect("names the node in its title and header, by the profile that it announces or else by its address", () =>
    Effect.gen(function*() {
      const { nodes } = yield* World
      const short = (node: Network.Node) => {
        const address = Address.format(Network.dht(node).address)
        return `${address.slice(0, 8)}…${address.slice(-4)}`
      }
      const unnamed = yield* serve(nodes[20])
      yield* visit({ url: unnamed }, async (page) => {
        await page.locator("h1", { hasText: short(nodes[20]) }).waitFor()
        assert.strictEqual(await page.title(), `${short(nodes[20])} · effect-dht`)
      })
      yield* Network.dht(nodes[21]).announceProfile({ name: "Dora" })
      const named = yield* serve(nodes[21])
      yield* visit({ url: named }, async (page) => {
        await page.locator("h1", { hasText: "Dora" }).waitFor()
        assert.strictEqual(await page.title(), `Dora, ${short(nodes[21])} · effect-dht`)
      })
    }))

  it.effect("shows what changed while a text was selected, as soon as it is not", () =>
    Effect.gen(function*() {
      const run = Effect.runPromiseWith(yield* Effect.context<Scope.Scope>())
      const { nodes } = yield* World
      const url = yield* serve(nodes[22])
      yield* visit({ url }, async (page) => {
        await page.locator("#identity code").first().waitFor()
        await evaluate(page, "getSelection().selectAllChildren(document.querySelector('#name'))")
        await run(Network.dht(nodes[22]).announceProfile({ name: "Edna" }))
        await eventually(async () => assert.match(await page.title(), /^Edna, /))
        assert.notInclude(await page.locator("#name").innerText(), "Edna")
        await evaluate(page, "getSelection().removeAllRanges()")
        await page.locator("#name", { hasText: "Edna" }).waitFor()
      })
    }))

  it.effect("leads to the pages of the other nodes of its process, at the same section", () =>
    Effect.gen(function*() {
      const { nodes } = yield* World
      const pages: Array<{ readonly name: string; readonly url: string }> = []
      for (const i of [24, 25]) {
        const url = yield* serve(nodes[i], { pages: () => pages })
        pages.push({ name: `node ${i}`, url: `${url}/` })
      }
      const [from, to] = pages.map(({ url }) => new URL(url).origin)
      yield* visit({ url: from, at: "/#traffic", also: to }, async (page) => {
        const menu = page.getByText("2 nodes")
        const links = page.getByRole("list", { name: "Nodes of this process" }).getByRole("link")
        await menu.click()
        assert.deepStrictEqual(await links.allInnerTexts(), ["node 24", "node 25"])
        await page.keyboard.press("Escape")
        assert.isFalse(await links.first().isVisible())
        await page.keyboard.press("Enter")
        await links.last().click()
        await page.waitForURL(`${to}/#traffic`)
        await page.locator("h1", { hasText: Address.format(Network.dht(nodes[25]).address).slice(0, 8) }).waitFor()
      })
      yield* visit({}, async (page) => {
        await page.locator("#tiles .tile").first().waitFor()
        assert.strictEqual(await page.locator("#nodes details").count(), 0)
      })
    }))

  it.effect("counts records in the overview as in their section, where messages are one group", () =>
    Effect.gen(function*() {
      const { nodes } = yield* World
      const dht = Network.dht(nodes[8])
      for (const [i, text] of ["one", "two", "three"].entries()) {
        const recipient = Network.dht(nodes[9 + i]).address
        yield* dht.mail.send({ recipient, type: 3, body: new TextEncoder().encode(text) })
      }
      const url = yield* serve(nodes[8])
      yield* visit({ url }, async (page) => {
        const tile = page.locator(".tile", { hasText: "Published" })
        await tile.getByText("1 kept alive, 3 messages").waitFor()
        assert.match(await tile.locator("dd").innerText(), /^4\n/)
        await open(page, "Published")
        await shows(page, /^4 records: /)
        assert.strictEqual(await page.locator("#announcements .own").count(), 1)
        await page.getByText("3 messages sent").click()
        const rows = page.getByRole("region", { name: "Messages sent" }).locator("tbody tr")
        assert.strictEqual(await rows.count(), 3)
      })
    }))

  // --- Sections -----------------------------------------------------------------------

  it.effect("shows the section that the URL names, and the one before on the way back", () =>
    visit({ at: "/#store" }, async (page) => {
      const visible = () =>
        evaluate(
          page,
          "[...document.querySelectorAll('main section')].filter(({ hidden }) => !hidden).map(({ id }) => id).join()"
        )
      const current = () =>
        page.getByRole("navigation", { name: "Sections" }).locator("[aria-current=page]").allInnerTexts()
      await page.locator("#store table").waitFor()
      assert.strictEqual(await visible(), "store")
      assert.deepStrictEqual(await current(), ["Store"])
      await open(page, "Traffic")
      assert.strictEqual(await visible(), "traffic")
      assert.match(page.url(), /\/#traffic$/)
      await page.goBack()
      await eventually(async () => assert.strictEqual(await visible(), "store"))
      assert.deepStrictEqual(await current(), ["Store"])
    }))

  it.effect("makes the lookup that the URL names, and names each lookup in the URL", () =>
    Effect.gen(function*() {
      const { nodes } = yield* World
      yield* visit({ at: "/?q=translate" }, async (page) => {
        await page.locator("#lookup-result h3", { hasText: "Ann" }).waitFor()
        const { nodeId } = Network.dht(nodes[9])
        await lookUp(page, nodeId)
        await shows(page, /Found the 16 closest nodes after/)
        assert.strictEqual(new URL(page.url()).search, `?q=${nodeId}`)
        await page.goBack()
        await page.locator("#lookup-result h3", { hasText: "Ann" }).waitFor()
      })
    }))

  it.effect("shows what was found in full, and above the path on a phone", () =>
    visit({ at: "/?q=translate", viewport: { width: 360, height: 740 } }, async (page) => {
      await page.locator("#lookup-status.good").waitFor()
      const [top, bottom, ring, isClipped] = await evaluate(
        page,
        `(() => {
          const list = document.querySelector("#lookup-result .owns")
          const { bottom, top } = list.getBoundingClientRect()
          return [top, bottom, document.querySelector("#ring").getBoundingClientRect().top, list.scrollHeight > list.clientHeight]
        })()`
      ) as [number, number, number, boolean]
      assert.isBelow(top, 740)
      assert.isBelow(bottom, ring)
      assert.isFalse(isClipped)
    }))

  // --- Lookups ------------------------------------------------------------------------

  it.effect("finds the endpoint of an address, and draws the path", () =>
    Effect.gen(function*() {
      const { nodes, url } = yield* World
      yield* visit({ at: "/#lookup" }, async (page) => {
        await shows(page, /^Path: /)
        await lookUp(page, Address.format(Network.dht(nodes[7]).address))
        await page.locator("#lookup-status.good").waitFor()
        await page.locator("#lookup-result h3", { hasText: "quic://203.0.113.7:4121" }).waitFor()
        await openPath(page)
        // The node also runs lookups of its own accord.
        const { queries } = await read(url, "/debug/queries", Api.Queries)
        const query = queries.find(({ target_hex }) => target_hex === Network.dht(nodes[7]).nodeId)
        assert(query !== undefined)
        assert.strictEqual(await page.locator(".ring .edge").count(), query.steps.length)
        const holding = query.steps.filter(({ holds_record }) => holds_record).length
        assert.isAbove(holding, 0)
        assert.strictEqual(await page.locator(".ring .node.holds").count(), holding)
        const path = page.getByRole("region", { name: "Path of the lookup" }).locator("tbody tr")
        assert.strictEqual(await path.count(), query.steps.length)
        // The list of recent lookups updates itself, and draws another one on a click.
        const recent = page.getByRole("region", { name: "Recent lookups" })
        await recent.locator("tr.chosen", { hasText: "found" }).waitFor()
        await recent.locator("tbody tr:not(.chosen)").last().getByRole("button", { name: /^Draw the path/ }).click()
        await recent.locator("tbody tr.chosen:not(:first-child)").waitFor()
      })
    }))

  it.effect("finds offers under a topic, and the nodes closest to an id", () =>
    Effect.gen(function*() {
      const { nodes } = yield* World
      yield* visit({}, async (page) => {
        await lookUp(page, "translate")
        await page.locator("#lookup-result h3", { hasText: "Ann" }).waitFor()
        await page.locator("#lookup-result .tags li", { hasText: "a2a" }).waitFor()
        const { nodeId } = Network.dht(nodes[9])
        await lookUp(page, nodeId)
        await shows(page, /Found the 16 closest nodes after/)
        const nearest = page.locator("#lookup-result .peers li").first()
        assert.strictEqual(await nearest.locator("code").getAttribute("title"), nodeId)
      })
    }))

  it.effect("shows a lookup in progress", () =>
    Effect.gen(function*() {
      const { nodes } = yield* World
      const run = Effect.runPromiseWith(yield* Effect.context())
      const goOn = yield* Deferred.make<void>()
      const query = Context.get(nodes[0], Query.Query)
      const [asked, told] = [Network.contactOf(nodes[3]), Network.contactOf(nodes[4])]
      const step = (more: Partial<QueryStep>): QueryStep => ({
        contact: asked,
        learnedFrom: undefined,
        depth: 0,
        commonPrefixLength: 3,
        askedAfterMillis: 0.5,
        tookMillis: undefined,
        outcome: "Unanswered",
        holdsRecord: false,
        closerNodes: 0,
        ...more
      })
      const lookup: typeof query.lookup = (target, find, listener) =>
        Effect.gen(function*() {
          const goal = { kind: "FindValue" as const, target, type: find?.type }
          const tell = listener ?? (() => {})
          tell({ _tag: "QueryStarted", at: 0, query: 7, ...goal })
          tell({ _tag: "QueryStepped", at: 0, query: 7, step: step({ outcome: "Answered", tookMillis: 12 }) })
          tell({
            _tag: "QueryStepped",
            at: 0,
            query: 7,
            step: step({ contact: told, learnedFrom: asked.id, depth: 1 })
          })
          yield* Deferred.await(goOn)
          return { closest: [], records: [] } as unknown as Effect.Success<ReturnType<typeof query.lookup>>
        })
      const url = yield* serve(Context.add(nodes[0], Query.Query, { ...query, lookup }))
      yield* visit({ url }, async (page) => {
        await lookUp(page, "slow")
        await page.getByRole("button", { name: "Looking…" }).waitFor()
        await page.locator(".ring .node.waiting").waitFor()
        await openPath(page)
        assert.strictEqual(await page.locator(".ring .node.answered").count(), 1)
        assert.include(await status(page).innerText(), "Looking for the topic “slow”…")
        const path = page.getByRole("region", { name: "Path of the lookup" }).locator("tbody tr")
        await eventually(async () => {
          const cells = (await path.allInnerTexts()).map((row) => row.split("\t"))
          assert.deepStrictEqual(cells.map(([, from, , , answer]) => [from, answer]), [
            ["this node", "answered, 12 ms"],
            [`${asked.id.slice(0, 8)}…${asked.id.slice(-4)}`, "pending"]
          ])
        })
        await run(Deferred.succeed(goOn, undefined))
        await shows(page, /Nothing is published under the topic “slow”/)
        await page.getByRole("button", { name: "Look up", exact: true }).waitFor()
        await path.nth(1).getByText("abandoned").waitFor()
      })
    }))

  it.effect("reports invalid input, and empty results", () =>
    visit({ expected: /400/ }, async (page) => {
      await lookUp(page, "nobody offers this either")
      await page.locator("#lookup-steps summary", { hasText: "Path" }).waitFor()
      await page.getByLabel("Type", { exact: true }).selectOption("address")
      await lookUp(page, "nonsense")
      await page.locator("#lookup-status.error", { hasText: "is not an address" }).waitFor()
      assert.strictEqual(await page.locator("#lookup-steps summary").count(), 0)
      const field = page.getByLabel("Address, topic or node id")
      assert.strictEqual(await field.getAttribute("aria-invalid"), "true")
      await page.getByLabel("Type", { exact: true }).selectOption("auto")
      await lookUp(page, "0x12")
      await page.locator("#lookup-status.error", { hasText: "0x12" }).waitFor()
      await lookUp(page, "nobody offers this")
      await page.locator("#lookup-status.none", { hasText: "Nothing is published under the topic" }).waitFor()
      assert.isNull(await field.getAttribute("aria-invalid"))
      assert.strictEqual(await status(page).getAttribute("aria-live"), "polite")
    }))

  it.effect("shows untrusted content as text", () =>
    visit({}, async (page) => {
      await lookUp(page, markup.topic)
      await page.locator("#lookup-status.good").waitFor()
      const result = page.locator("#lookup-result")
      for (const text of [markup.topic, markup.name, markup.brief]) assert.include(await result.innerText(), text)
      await open(page, "Published")
      await page.locator("#announcements h3", { hasText: markup.topic }).waitFor()
      assert.strictEqual(await page.locator("main :is(img, script, .evil)").count(), 0)
      assert.notStrictEqual(await page.title(), "run")
    }))

  // --- Actions ------------------------------------------------------------------------------

  it.effect("announces, sends and withdraws with the token, for which it prompts once", () =>
    Effect.gen(function*() {
      const { nodes } = yield* World
      const recipient = Address.format(Network.dht(nodes[9]).address)
      const url = yield* serve(nodes[22], { token: Redacted.make(token), readable: true })
      yield* visit({ url, at: "/#published", expected: /401/ }, async (page) => {
        page.on("dialog", (dialog) => void dialog.accept())
        const done = page.locator("#actions-status.good")
        const gate = page.getByRole("dialog", { name: "This needs the node's token" })
        const card = page.locator("#announcements .own", { hasText: "knitting / wool?" })

        await page.getByText("Announce", { exact: true }).first().click()
        await page.getByLabel("Topic", { exact: true }).fill("knitting / wool?")
        await page.getByLabel("Name", { exact: true }).fill("Eda")
        await page.getByLabel("Protocols").fill("a2a, http")
        await page.keyboard.press("Enter")
        await gate.waitFor()
        await gate.getByLabel("Token", { exact: true }).fill("a wrong one, of some length")
        await page.keyboard.press("Enter")
        await gate.getByRole("alert").filter({ hasText: "rejected this token" }).waitFor()
        await gate.getByLabel("Token", { exact: true }).fill(token)
        await page.keyboard.press("Enter")
        await done.filter({ hasText: "Announced “knitting / wool?”" }).waitFor()
        await card.waitFor()
        assert.include(await card.innerText(), "Eda")
        const { announcements } = await read(url, "/v1/announcements", Api.Announcements)
        assert.deepStrictEqual(announcements.map(({ protocols, standing }) => ({ protocols, standing })), [
          { protocols: ["a2a", "http"], standing: true }
        ])

        await page.getByText("Send a message", { exact: true }).click()
        await page.getByLabel("To the address").fill(recipient)
        await page.getByLabel("Message", { exact: true }).fill("Good morning!")
        await page.getByRole("button", { name: "Send", exact: true }).click()
        await done.filter({ hasText: "Left in the mailbox of" }).waitFor()
        await shows(page, "1 message sent")

        await page.getByRole("button", { name: "Withdraw topic knitting / wool?" }).click()
        await done.filter({ hasText: "Withdrew the offer under “knitting / wool?”" }).waitFor()
        await card.waitFor({ state: "detached" })
        await page.reload()
        await page.getByRole("link", { name: "Metrics" }).waitFor()

        assert.isFalse(await gate.isVisible())
        const kept = "JSON.stringify([{ ...localStorage }, document.cookie, location.href])"
        assert.notInclude(String(await evaluate(page, kept)), token)
      })
    }))

  it.effect("does nothing if the prompt is cancelled, and tells why the node refuses an action", () =>
    Effect.gen(function*() {
      const { nodes } = yield* World
      const guarded = yield* serve(nodes[23], { token: Redacted.make(token), readable: true })
      const announce = async (page: Page, topic: string) => {
        await page.getByText("Announce", { exact: true }).first().click()
        await page.getByLabel("Topic", { exact: true }).fill(topic)
        await page.keyboard.press("Enter")
      }
      yield* visit({ url: guarded, at: "/#published", expected: /401/ }, async (page) => {
        await announce(page, "wool")
        const gate = page.getByRole("dialog")
        await gate.waitFor()
        await page.keyboard.press("Escape")
        await gate.waitFor({ state: "hidden" })
        assert.strictEqual(await page.locator("#actions-status").innerText(), "")
        assert.strictEqual(await page.getByLabel("Topic", { exact: true }).inputValue(), "wool")
      })
      assert.strictEqual((yield* Effect.promise(() => read(guarded, "/v1/announcements", Api.Announcements))).total, 0)
      const open = yield* serve(nodes[23], { open: true })
      yield* visit({ url: open, at: "/#published", expected: /422|400/ }, async (page) => {
        await announce(page, "w".repeat(600))
        await page.locator("#actions-status.error").filter({ hasText: /at most|too long|512/ }).waitFor()
      })
      const closed = yield* serve(nodes[23])
      yield* visit({ url: closed, at: "/#published" }, async (page) => {
        await shows(page, "started without a token")
        assert.strictEqual(await page.locator("#actions form").count(), 0)
      })
    }))

  it.effect("shows an announcement that cannot be published, and why", () =>
    Effect.gen(function*() {
      const { nodes } = yield* World
      const standing = Context.get(nodes[23], StandingAnnouncements)
      const problem = { message: "the delegation ended" } as NonNullable<Standing["problem"]>
      const all = Effect.succeed([
        { content: { _tag: "Topic" as const, topic: "go" }, announcement: undefined, problem, isDurable: true }
      ])
      const url = yield* serve(Context.add(nodes[23], StandingAnnouncements, { ...standing, all }), { open: true })
      yield* visit({ url, at: "/#published" }, async (page) => {
        await shows(page, "The offer under “go” cannot be published: the delegation ended.")
        await page.getByRole("button", { name: "Withdraw topic go" }).waitFor()
      })
    }))

  it.effect("has the command with which another node joins through this one", () =>
    Effect.gen(function*() {
      const { nodes } = yield* World
      const at = { host: "203.0.113.5", port: 4242 }
      const reachability = Context.get(nodes[3], Reachability)
      const settings = Context.get(nodes[3], NodeSettings)
      const url = yield* serve(
        nodes[3].pipe(
          Context.add(Reachability, { ...reachability, observed: Effect.succeed(at) }),
          Context.add(NodeSettings, { ...settings, network: { ...settings.network, name: "our own", hasKey: true } })
        )
      )
      yield* visit({ url, permissions: ["clipboard-read", "clipboard-write"] }, async (page) => {
        await page.getByText("Join another node through this one").click()
        const command = "effect-dht node --bootstrap 203.0.113.5:4242 --network 'our own' --network-key-env DHT_KEY " +
          "--listen 0.0.0.0:0 --data ./another --no-http"
        await page.getByText(command).waitFor()
        await page.getByRole("button", { name: "Copy the command" }).click()
        await page.getByText("Copied").waitFor()
        assert.strictEqual(await evaluate(page, "navigator.clipboard.readText()"), command)
      })
    }))

  // --- Accessibility --------------------------------------------------------------------

  it.effect("can be used with the keyboard alone", () =>
    visit({}, async (page) => {
      await page.locator("#tiles .tile").first().waitFor()
      await page.keyboard.press("Tab")
      assert.strictEqual(await evaluate(page, "document.activeElement.textContent"), "Skip to the lookup form")
      await page.keyboard.press("Enter")
      assert.strictEqual(await evaluate(page, "document.activeElement.id"), "lookup-value")
      await page.keyboard.type("translate")
      await page.keyboard.press("Enter")
      await page.locator("#lookup-status.good").waitFor()
      // Focus survives re-rendering, and reaches the end of the page.
      const seen: Array<string> = []
      const focused = `(() => {
        const { activeElement: element } = document
        const { outlineStyle, outlineWidth } = getComputedStyle(element)
        const name = element.id || element.getAttribute("aria-label") || element.textContent.slice(0, 40)
        return [name, outlineStyle !== "none" && outlineWidth !== "0px", element.dataset.key ?? ""]
      })()`
      const walk = async (until: string) => {
        for (let i = 0; i < 200; i++) {
          await page.keyboard.press("Tab")
          const [name, isVisible] = await evaluate(page, focused) as [string, boolean]
          assert.isTrue(isVisible, `the focus of ${name} is invisible`)
          seen.push(name)
          if (name === until) return
        }
        assert.fail(`${until} cannot be reached`)
      }
      await walk("Health")
      for (const section of ["Published", "Store"]) {
        await evaluate(page, "document.querySelector('.skip').focus()")
        await walk(section)
        await page.keyboard.press("Enter")
        await page.locator(`#${section.toLowerCase()} [data-key]`).first().waitFor()
        await walk("Health")
      }
      for (const name of ["lookup-kind", "lookup-go", "Path: ", "Holders of copies", "all ", "Overview"]) {
        assert.isTrue(seen.some((other) => other.startsWith(name)), `${name} cannot be reached`)
      }
    }))

  it.effect("keeps the focus and open details on updates", () =>
    Effect.gen(function*() {
      const run = Effect.runPromiseWith(yield* Effect.context())
      const { nodes } = yield* World
      yield* visit({ at: "/#published" }, async (page) => {
        await page.locator("#announcements summary").first().focus()
        await page.keyboard.press("Enter")
        await evaluate(page, "void (document.querySelector('#announcements .owns').dataset.old = 'yes')")
        // Another record re-renders the list.
        await run(Effect.scoped(Effect.andThen(
          Network.dht(nodes[0]).announceTopic({ topic: "new", name: "Ann" }),
          Effect.promise(() => page.locator("#announcements h3", { hasText: "new" }).waitFor())
        )))
        assert.strictEqual(await page.locator("#announcements [data-old]").count(), 0)
        assert.strictEqual(await evaluate(page, "document.activeElement.textContent"), "Holders of copies")
        assert.isTrue(await evaluate(page, "document.activeElement.parentElement.open"))
      })
    }))

  it.effect("names its tables, columns, pictures and landmarks", () =>
    visit({}, async (page) => {
      for (const section of ["Look up", "Published", "Contacts", "Traffic", "Store"]) await open(page, section)
      await page.locator("#store table").waitFor()
      const unnamed = await evaluate(
        page,
        `[
          ...[...document.querySelectorAll("table")].filter((table) => !table.caption?.textContent || table.querySelector("thead th:not([scope])")),
          ...[...document.querySelectorAll("[role=img]")].filter((picture) => !picture.getAttribute("aria-label")),
          ...[...document.querySelectorAll("input, select, textarea")].filter((field) => field.labels.length === 0),
          ...[...document.querySelectorAll("section")].filter((section) => !document.getElementById(section.getAttribute("aria-labelledby"))),
          ...[...document.querySelectorAll("button")].filter((button) => !button.textContent && !button.getAttribute("aria-label"))
        ].map((element) => element.outerHTML.slice(0, 80))`
      )
      assert.deepStrictEqual(unnamed, [])
      assert.strictEqual(await page.locator("main").count(), 1)
      assert.strictEqual(await page.locator("h1").count(), 1)
      assert.strictEqual(await page.locator("html").getAttribute("lang"), "en")
    }))

  it.effect("has texts that contrast with what they are on, in both themes (WCAG 2, AA)", () =>
    Effect.gen(function*() {
      for (const colorScheme of ["light", "dark"] as const) {
        yield* visit({ at: "/?q=translate", colorScheme }, async (page) => {
          await page.locator("#lookup-status.good").waitFor()
          for (const section of ["Look up", "Overview", "Published", "Contacts", "Traffic", "Store"]) {
            await open(page, section)
            await page.locator("main section:not([hidden]) :is(.card, table)").first().waitFor()
            await evaluate(page, "document.querySelectorAll('details').forEach((element) => { element.open = true })")
            const faint = await evaluate(
              page,
              `(() => {
                const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true })
                const rgba = (color) => {
                  canvas.clearRect(0, 0, 1, 1)
                  canvas.fillStyle = color
                  canvas.fillRect(0, 0, 1, 1)
                  return [...canvas.getImageData(0, 0, 1, 1).data]
                }
                const light = ([r, g, b]) =>
                  [r, g, b].map((c) => c / 255).map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
                    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0)
                const behind = (element) => {
                  for (let at = element; at !== null; at = at.parentElement) {
                    const color = rgba(getComputedStyle(at).backgroundColor)
                    if (color[3] > 128) return color
                  }
                }
                return [...document.querySelectorAll("body *")].filter((element) =>
                  element.checkVisibility() && element.closest("svg, .unseen, .skip") === null &&
                  [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim() !== "")
                ).map((element) => {
                  const [a, b] = [rgba(getComputedStyle(element).color), behind(element)].map(light)
                  return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), element.outerHTML.slice(0, 90)]
                }).filter(([ratio]) => ratio < 4.5)
              })()`
            )
            assert.deepStrictEqual(faint, [], `${colorScheme}, ${section}`)
          }
        })
      }
    }))

  const paper = "getComputedStyle(document.body).backgroundColor"

  it.effect("is light or dark like the system or as chosen, and remembers the choice", () =>
    Effect.gen(function*() {
      const papers: Array<unknown> = []
      for (const colorScheme of ["light", "dark"] as const) {
        yield* visit({ colorScheme }, async (page) => {
          papers.push(await evaluate(page, paper))
          const other = colorScheme === "light" ? "Dark" : "Light"
          await page.getByText(other, { exact: true }).click()
          const chosen = await evaluate(page, paper)
          papers.push(chosen)
          if (colorScheme === "dark") return
          await page.locator("#tiles .tile").first().waitFor()
          await page.reload()
          assert.strictEqual(await evaluate(page, paper), chosen)
          assert.isTrue(await page.getByLabel(other, { exact: true }).isChecked())
        })
      }
      const [light, dark] = papers
      assert.notStrictEqual(light, dark)
      assert.deepStrictEqual(papers, [light, dark, dark, light])
    }))

  it.effect("fits a phone, and scrolls vertically only", () =>
    visit({ viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true }, async (page) => {
      const fits = async (what: string) => {
        assert.strictEqual(await evaluate(page, "document.documentElement.scrollWidth"), 360, what)
        const wide = await evaluate(
          page,
          `[...document.querySelectorAll("body *")].filter((element) =>
            element.closest(".scroll, .unseen, .skip, svg, #sections") === null &&
              element.getBoundingClientRect().right > 360.5
          ).map((element) => element.outerHTML.slice(0, 80))`
        )
        assert.deepStrictEqual(wide, [], what)
      }
      await page.locator("#identity summary").click()
      await fits("Overview")
      await lookUp(page, markup.topic)
      await page.locator("#lookup-status.good").waitFor()
      await openPath(page)
      await fits("Look up")
      for (const section of ["Published", "Contacts", "Traffic", "Store"]) {
        await open(page, section)
        await page.locator(`#${section.toLowerCase()} :is(.scroll, .own)`).first().waitFor()
        if (section === "Contacts") await page.getByText(/^All \d+ contacts$/).click()
        await fits(section)
      }
    }))

  it.effect("has no animations if the system prefers reduced motion", () =>
    visit({ reducedMotion: "reduce" }, async (page) => {
      const animation = "getComputedStyle(document.querySelector('.ring .edge')).animationName"
      await lookUp(page, "translate")
      await page.locator("#lookup-status.good").waitFor()
      assert.strictEqual(await evaluate(page, animation), "none")
      await page.emulateMedia({ reducedMotion: "no-preference" })
      assert.strictEqual(await evaluate(page, animation), "draw")
    }))

  // --- Failures ----------------------------------------------------------------------------

  it.effect("prompts for the token if there is one, and keeps it for the tab", () =>
    Effect.gen(function*() {
      const { nodes } = yield* World
      const url = yield* serve(nodes[1], { token: Redacted.make(token) })
      yield* visit({ url, expected: /401/ }, async (page) => {
        const field = page.getByLabel("Token", { exact: true })
        await field.waitFor()
        assert.strictEqual(await page.locator("#page").isVisible(), false)
        await field.fill("a wrong one, of some length")
        await page.keyboard.press("Enter")
        await page.getByRole("alert").filter({ hasText: "rejected this token" }).waitFor()
        await field.fill(token)
        await page.keyboard.press("Enter")
        const address = Address.format(Network.dht(nodes[1]).address)
        await shows(page, address)
        await lookUp(page, "translate")
        await page.locator("#lookup-result h3", { hasText: "Ann" }).waitFor()
        await page.reload()
        await open(page, "Overview")
        await shows(page, address)
        assert.isFalse(await page.getByRole("link", { name: "Metrics" }).isVisible(), "a link cannot send the token")
        assert.notInclude(page.url(), token)
      })
    }))

  it.effect("reports a lost node, and resumes when it is back", () =>
    Effect.gen(function*() {
      const { nodes } = yield* World
      const run = Effect.runPromiseWith(yield* Effect.context())
      const scope = yield* Scope.make()
      const url = yield* Scope.provide(serve(nodes[2]), scope)
      yield* visit({ url, expected: /ERR_|failed to fetch/i }, async (page) => {
        await page.locator("#tiles .tile").first().waitFor()
        await run(Scope.close(scope, Exit.void))
        await page.getByRole("alert").filter({ hasText: "The connection to the node was lost" }).waitFor()
        await page.locator("#state", { hasText: "disconnected" }).waitFor()
        // The last known state remains visible.
        await shows(page, Address.format(Network.dht(nodes[2]).address))
        await run(Effect.scoped(
          Effect.andThen(
            serve(nodes[2], { port: Number(new URL(url).port) }),
            Effect.promise(async () => {
              await page.locator("#state", { hasText: "ready" }).waitFor()
              assert.isFalse(await page.locator("#lost").isVisible())
            })
          )
        ))
      })
    }))

  it.effect("explains the next step for a node without contacts and records", () =>
    Effect.gen(function*() {
      const alone = yield* Network.node("alone", Network.socketOf(99))
      const url = yield* serve(alone, { first: true })
      yield* visit({ url }, async (page) => {
        await shows(page, "The first node of its network")
        await shows(page, "effect-dht node --bootstrap 9.0.99.1:4121")
        for (
          const [section, text] of [
            ["Contacts", "All 256 buckets are empty."],
            ["Store", "No records are stored here."],
            ["Published", "This node publishes no records."],
            ["Look up", "No lookups yet."]
          ]
        ) {
          await open(page, section)
          await shows(page, text)
        }
        await lookUp(page, NodeId.fromTopic("anything"))
        await shows(page, "No nodes found: this node has no contacts.")
      })
      const lost = yield* serve(alone)
      yield* visit({ url: lost }, async (page) => {
        await shows(page, "No contacts yet")
        await page.locator("#state", { hasText: "not ready" }).waitFor()
        assert.match(await page.title(), /, not ready · effect-dht$/)
      })
    }).pipe(Effect.provide(Layer.fresh(Transport.layerMemoryNetwork))))

  it.effect("has the command to join in its advice, and after the first contact with its address", () =>
    Effect.gen(function*() {
      const run = Effect.runPromiseWith(yield* Effect.context<Scope.Scope>())
      const first = yield* Network.node("first", Network.socketOf(98))
      const second = yield* Network.node("second", Network.socketOf(99))
      const url = yield* serve(first, { first: true })
      yield* visit({ url }, async (page) => {
        await page.locator("#advice").getByText("effect-dht node --bootstrap 9.0.98.1:4121").waitFor()
        assert.strictEqual(await page.locator("#reachable details").count(), 0)
        await run(Network.dht(second).bootstrap([Network.socketOf(98)]))
        await page.locator("#reachable summary").waitFor()
        assert.isFalse(await page.locator("#advice").isVisible())
      })
    }).pipe(Effect.provide(Layer.fresh(Transport.layerMemoryNetwork))))

  it.effect("tells which bootstrap nodes a node without contacts tried, what they said, and when it tries again", () =>
    Effect.gen(function*() {
      const alone = yield* Network.node("alone", Network.socketOf(97))
      const bootstrap = Context.get(alone, Bootstrap.Bootstrap)
      const peer = Network.socketOf(9)
      const address = `${peer.host}:${peer.port}`
      const error = new NoAnswer({ peer, request: "Ping", attempts: 8, waitedMillis: 10_000 })
      const now = yield* Clock.currentTimeMillis
      const attempt = { hosts: [address], remembered: 2, startedAt: now - 20_000, nextAt: undefined }
      const cases: ReadonlyArray<
        readonly [Bootstrap.Membership, Bootstrap.Attempt, ReadonlyArray<string | RegExp>]
      > = [
        [
          { _tag: "Alone", failures: [] },
          { ...attempt, number: 1, endedAt: undefined },
          ["Trying 1 bootstrap node and 2 remembered from the last run.", /Attempt 1 began \d+ s ago/, "no answer yet"]
        ],
        [
          { _tag: "Alone", failures: [{ address: peer, error }] },
          { ...attempt, number: 3, endedAt: now - 10_000, nextAt: now + 60_000 },
          [
            /Attempt 3 ended \d+ s ago. The next begins in \d+ s/,
            "did not answer Ping (8 attempts in 10000 ms)",
            "Check that a node runs there"
          ]
        ]
      ]
      for (const [membership, lastAttempt, texts] of cases) {
        const url = yield* serve(Context.add(alone, Bootstrap.Bootstrap, {
          ...bootstrap,
          membership: yield* SubscriptionRef.make(membership),
          lastAttempt: Effect.succeed(lastAttempt)
        }))
        yield* visit({ url }, async (page) => {
          const row = page.getByRole("region", { name: "Bootstrap nodes" }).locator("tbody tr")
          await row.getByText(address).waitFor()
          for (const text of texts) await page.locator("#advice").getByText(text).waitFor()
        })
      }
    }).pipe(Effect.provide(Layer.fresh(Transport.layerMemoryNetwork))))
})
