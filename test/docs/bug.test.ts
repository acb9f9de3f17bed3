import { afterAll, assert, describe, it } from "@effect/vitest"
import { execFile } from "node:child_process"
import { readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import type { Recording } from "../../src/testing/Recording.ts"
import { blocks, read, root } from "./markdown.ts"
import { makeProject } from "./project.ts"

const document = "docs/testing-your-app.md"
const section = read(document).split("\n## ").find((text) => text.startsWith("A bug, found and explained"))!
const blockOf = (mark: string) => {
  const found = blocks.filter((block) =>
    block.document === document && section.includes(block.code) && [block.language, ...block.marks].includes(mark)
  )
  assert.lengthOf(found, 1, mark)
  return found[0].code
}

const project = makeProject()
afterAll(() => rmSync(project, { recursive: true }))
writeFileSync(join(project, "Services.ts"), blockOf("Services.ts"))
// A busy machine takes longer to shrink the story.
writeFileSync(
  join(project, "Services.test.ts"),
  blockOf("Services.test.ts").replace("explain:", "timeout: 240_000, explain:")
)
writeFileSync(
  join(project, "vitest.config.ts"),
  `import base from ${JSON.stringify(join(root, "vitest.config.ts"))}\n` +
    "export default { ssr: base.ssr }\n"
)

/** Runs a command of the document in the project. */
const run = (command: string) =>
  new Promise<{ readonly code: number | string; readonly output: string }>((resolve) => {
    execFile(
      "sh",
      ["-c", command.replace("npx vitest", `"$NODE" ${join(root, "node_modules/vitest/vitest.mjs")}`)],
      { cwd: project, env: { ...process.env, NODE: process.execPath, NO_COLOR: "1" }, timeout: 280_000 },
      (error, stdout, stderr) =>
        resolve({
          code: error === null ? 0 : error.code ?? "killed",
          output: `${stdout}${stderr}`.replaceAll(project, "…").replaceAll(/ +$/gm, "")
        })
    )
  })

/** The file with the lines of a diff without numbers, whose parts are in order. */
const patched = (source: string, diff: string): string => {
  const lines = source.split("\n")
  let at = 0
  for (const line of diff.trimEnd().split("\n")) {
    const [sign, text] = [line[0] ?? " ", line.slice(1)]
    if (sign === "+") {
      lines.splice(at++, 0, text)
    } else {
      at = lines.indexOf(text, at)
      assert.isAtLeast(at, 0, line)
      if (sign === "-") lines.splice(at, 1)
      else at++
    }
  }
  return lines.join("\n")
}

describe("the bug in the guide to testing", () => {
  const message = blockOf("text")
  const [command] = /SIM_REPLAY=.*/.exec(message) ?? [""]

  it("is found and shrunk to the story in the document", { timeout: 300_000 }, async () => {
    const { code, output } = await run("npx vitest run")
    assert.strictEqual(code, 1)
    assert.include(output, message)
    const drawn = await run(`SIM_REPLAY='{"seed":1}' npx vitest run`)
    const [, nodes, steps] = /first story that fails has (\w+) nodes and (\w+) steps/.exec(section)!
    assert.deepStrictEqual([nodes, steps], ["five", "twelve"])
    assert.match(drawn.output, /^seed 1: 5 nodes, .*\n(?: {2}at .*\n){12}run it again/m)
    assert.match(drawn.output, / crashes [^]*are blocked/)
  })

  it("recurs with the command in the document", { timeout: 300_000 }, async () => {
    const { code, output } = await run(command)
    assert.strictEqual(code, 1)
    assert.include(output, message)
  })

  it("is on the page, with the events that the document quotes in order", () => {
    const [, name] = /^see it: …\/(.*)$/m.exec(message)!
    const [, json] = /<script type="application\/json"[^>]*>(.*?)<\/script>/s.exec(
      readFileSync(join(project, name), "utf8")
    )!
    const { bands, events, failures: [failure] }: Recording = JSON.parse(json)
    const quoted = [...section.matchAll(/^- `(.*?)`/gm)].map(([, what]) => what)
    assert.lengthOf(quoted, 3)
    const from = Math.max(...failure.events)
    const seen = events.slice(from).flatMap((event) => event.kind === "node" && event.machine === 0 ? [event] : [])
    const positions = quoted.map((what) => seen.findIndex((event) => event.what.startsWith(what)))
    assert.isAtLeast(positions[0], 0)
    assert.deepStrictEqual(positions, positions.toSorted((a, b) => a - b))
    assert.lengthOf(seen.filter(({ what }) => what.startsWith(quoted[0])), 2)
    const [, started, renewed] = positions.map((at) => seen[at].at)
    assert.isBelow(renewed - started, 20)
    const [first, second] = bands.filter((band) => band.kind === "lookup" && band.what.includes("NotFound"))
    assert.isBelow(Math.max(first.from, second.from), Math.min(first.to, second.to))
    const stores = events.filter((event) => event.kind === "datagram" && event.type === "Store" && event.from === 0)
    assert.isTrue(stores.every(({ at }) => at > renewed))
  })

  it("is gone with the change in the document", { timeout: 300_000 }, async () => {
    writeFileSync(join(project, "Services.ts"), patched(blockOf("Services.ts"), blockOf("diff")))
    for (const again of [command, "npx vitest run"]) {
      const { code, output } = await run(again)
      assert.strictEqual(code, 0, output)
    }
  })
})
