import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { pathToFileURL } from "node:url"
import type { Browser as Chromium, BrowserContextOptions, Page } from "playwright-core"
import { afterAll, beforeAll } from "vitest"
import * as ReplayPage from "../../src/node/ReplayPage.ts"
import { Violation } from "../../src/testing/Properties.ts"
import * as Recorder from "../../src/testing/Recorder.ts"
import type * as Recording from "../../src/testing/Recording.ts"
import * as SimCrypto from "../../src/testing/SimCrypto.ts"
import * as SimWorld from "../../src/testing/SimWorld.ts"
import * as Browser from "../utils/browser.ts"
import { temporary } from "../utils/temporary.ts"

/** Text that would run, or end the script that contains it, if it became markup. */
const markup = `</script><script>document.title = "run"</script><img src=x onerror="document.title='run'"><!--<script>`

/** A recording of a world with a partition and a failure; texts of others than the project are markup. */
const recorded = (): Recording.Recording => {
  let recorder: Recorder.Recorder | undefined = undefined as Recorder.Recorder | undefined
  const violation = SimWorld.runSync(
    Effect.gen(function*() {
      const world = yield* SimWorld.SimWorld
      recorder = Recorder.start(world)
      const nodes = yield* world.startNodes(4)
      const named = world.node(markup, { through: nodes.slice(0, 2) })
      yield* named.start
      yield* Effect.sleep("1 minute")
      world.note(`a step ${markup}`, nodes[1])
      world.network.partition(nodes.slice(0, 2).map(({ host }) => host))
      yield* Effect.sleep("2 minutes")
      const violation = new Violation({
        property: "LiveContactsStay",
        node: nodes[0].name,
        atMillis: world.timeline.elapsedMillis,
        facts: { gone: nodes[3].name, id: nodes[3].identity.nodeId, why: markup },
        seed: 1,
        scheduleSeed: undefined
      })
      // The nodes end later.
      yield* Effect.sleep("1 second")
      return violation
    }),
    { seed: 1, crypto: SimCrypto.simulated }
  )
  return recorder!.finish({ title: markup, story: [markup], command: `again ${markup}` }, [violation])
}

let browser: Chromium
beforeAll(async () => {
  browser = await Browser.launch()
}, 60_000)
afterAll(() => browser.close())

/** Opens the page of the recording from a file. Fails on any error or request. */
const visit = (options: BrowserContextOptions, use: (page: Page) => Promise<void>) =>
  Effect.gen(function*() {
    const where = yield* ReplayPage.write(yield* temporary)({ ...recorded(), title: "a title" })
    yield* Effect.promise(async () => {
      const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options })
      const complaints: Array<string> = []
      try {
        const page = await context.newPage()
        page.on("console", (message) => complaints.push(`console: ${message.text()}`))
        page.on("pageerror", (error) => complaints.push(`error: ${error.message}`))
        const url = pathToFileURL(where).href
        page.on("request", (request) => {
          if (request.url() !== url) complaints.push(`request: ${request.url()}`)
        })
        await page.goto(url)
        await use(page)
        assert.deepStrictEqual(complaints, [])
      } finally {
        await context.close()
      }
    })
  })

const text = async (page: Page, selector: string): Promise<string> => await page.locator(selector).textContent() ?? ""

/** The number of the event at the cursor, from 1 on. */
const position = async (page: Page): Promise<number> => Number((await text(page, "#position")).split(" ")[0])

/** The number of pixels of the color of marks in the diagram. */
const markedPixels = (page: Page): Promise<unknown> =>
  page.evaluate(`new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(() => {
    const canvas = document.getElementById("lanes")
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height)
    let count = 0
    for (let i = 0; i < data.length; i += 4) if (data[i] === 0xc4 && data[i + 1] === 0x16 && data[i + 2] === 0x2a) count++
    resolve(count)
  })))`)

describe("ReplayPage", () => {
  it.live("opens at the failure, and shows the property, its facts and the events that it rests on", () =>
    visit({ colorScheme: "light" }, async (page) => {
      const { events, failures: [failure] } = recorded()
      assert.strictEqual(await text(page, "#title"), "LiveContactsStay")
      assert.strictEqual(await text(page, "#sentence"), "a contact that responds keeps its place")
      assert.include(await text(page, "#facts"), failure.facts[0][1])
      assert.include(await text(page, "#kicker"), "node 0")
      assert.strictEqual(await page.locator("#machine").inputValue(), "0")
      assert.isAtMost(events[await position(page) - 1].at, failure.at)
      assert.isAbove(Number(await markedPixels(page)), 200)
      assert.isAbove(failure.events.length, 1)
      await page.keyboard.press("Home")
      for (const i of failure.events.filter((i) => i > 0)) {
        await page.keyboard.press("n")
        assert.strictEqual(await position(page), i + 1)
        assert.include(await text(page, "#now"), "the failure rests on it")
      }
    }))

  it.live("steps through the events by keys and buttons, and shows what each says", () =>
    visit({}, async (page) => {
      const { events } = recorded()
      await page.keyboard.press("Home")
      assert.strictEqual(await position(page), 1)
      await page.keyboard.press("ArrowRight")
      await page.getByRole("button", { name: "One event forth" }).click()
      assert.strictEqual(await position(page), 3)
      await page.keyboard.press("ArrowLeft")
      assert.strictEqual(await position(page), 2)
      await page.keyboard.press("End")
      assert.strictEqual(await position(page), events.length)
      await page.keyboard.press("Home")
      const i = events.findIndex((event) => event.kind === "datagram" && event.type === "FindNodeResponse")
      while (await position(page) <= i) await page.keyboard.press("ArrowRight")
      assert.include(await text(page, "#now"), ": FindNodeResponse nodes node ")
      await page.getByLabel("pings").uncheck()
      await page.keyboard.press("Home")
      for (let steps = 0; steps < 40; steps++) {
        await page.keyboard.press("ArrowRight")
        const event = events[await position(page) - 1]
        if (event.kind === "datagram") assert.notInclude(["Ping", "Pong"], event.type)
      }
    }))

  it.live("shows the table, the store and the pending requests of a node at the cursor", () =>
    visit({}, async (page) => {
      await page.locator("#machine").selectOption("1")
      await page.keyboard.press("Home")
      assert.strictEqual(await text(page, "#table-count"), "0")
      await page.keyboard.press("v")
      const rows = await page.locator("#table tr").allTextContents()
      assert.isTrue(rows.some((row) => row.startsWith("node 0bucket")), rows.join())
      assert.match(await text(page, "#status"), /^up · separated: only node 0, node 1 · /)
      await page.keyboard.press("Home")
      for (let steps = 0; steps < 60 && await text(page, "#pending-count") === "0"; steps++) {
        await page.keyboard.press("ArrowRight")
      }
      assert.match((await page.locator("#pending li").allTextContents()).join(), / to node \d · since .* in \d/)
    }))

  it.live("shows texts of the recording as text", () =>
    Effect.gen(function*() {
      const recording = recorded()
      const page = ReplayPage.page(recording)
      const [, rest] = page.split(`id="recording">`)
      const embedded = rest.slice(0, rest.indexOf("</script>"))
      assert.deepStrictEqual(JSON.parse(embedded), JSON.parse(JSON.stringify(recording)))
      assert.notInclude(embedded, "<")
      yield* visit({}, async (page) => {
        assert.strictEqual(await page.title(), "a title · effect-dht replay")
        assert.strictEqual(await page.locator("img").count(), 0)
        assert.strictEqual(await page.locator("script").count(), 2)
        assert.include(await text(page, "#command"), `again ${markup}`)
        assert.include(await text(page, "#steps"), `a step ${markup}`)
        assert.include(await text(page, "#facts"), markup)
        assert.include(await text(page, "#machine"), markup)
      })
    }))

  for (const colorScheme of ["light", "dark"] as const) {
    it.live(`fits a screen of 360 pixels, in the ${colorScheme} theme`, () =>
      visit({ colorScheme, viewport: { width: 360, height: 740 } }, async (page) => {
        assert.strictEqual(await page.evaluate("document.documentElement.scrollWidth"), 360)
        const background = await page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert.strictEqual(background, colorScheme === "light" ? "rgb(251, 251, 250)" : "rgb(18, 20, 23)")
      }))
  }

  it.effect("writes a page for each title, and replaces that of the same title", () =>
    Effect.gen(function*() {
      const write = ReplayPage.write(yield* temporary)
      const recording = recorded()
      const titles = [`${"nodes ".repeat(12)}meet`, `${"nodes ".repeat(12)}part`, "встреча", "прощание", "a-b", "a b"]
      const named = yield* Effect.forEach(titles, (title) => write({ ...recording, title }))
      assert.strictEqual(new Set(named).size, titles.length)
      assert.deepStrictEqual(yield* Effect.forEach(titles, (title) => write({ ...recording, title })), named)
      for (const path of named) assert.match(path, /\/[a-z0-9-]+\.html$/)
    }))

  it.effect("says why a page could not be written", () =>
    Effect.gen(function*() {
      const file = join(yield* temporary, "file")
      const write = ReplayPage.write(file)
      const where = yield* write(recorded())
      assert.strictEqual(readFileSync(where, "utf8"), ReplayPage.page(recorded()))
      assert.match(yield* ReplayPage.write(where)(recorded()), /, which could not be written: /)
    }))
})
