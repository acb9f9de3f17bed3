import { afterAll, assert, describe, it } from "@effect/vitest"
import { execFile, type ExecFileException } from "node:child_process"
import { rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { blocks, examples, root } from "./markdown.ts"
import { makeProject } from "./project.ts"

const programs = [...blocks, ...examples].filter(({ language }) => language === "ts").map((block) => ({
  ...block,
  // A block can be marked with the name of its file, by which others import it.
  file: block.marks.find((mark) => mark.endsWith(".ts")) ?? `${block.document.replace(/\W/g, "-")}-${block.line}.ts`
}))

const project = makeProject()
afterAll(() => rmSync(project, { recursive: true }))
// One process for all: starting one each would take longer than running them.
const together = programs.filter(({ document, marks }) => document.startsWith("src/") && marks.includes("run"))
writeFileSync(
  join(project, "together.ts"),
  together.map(({ file }) => `await import("./${file}")\n`).join("") + "export {}\n"
)
// Keeps the line numbers of the document.
for (const { code, file, line } of programs) writeFileSync(join(project, file), "\n".repeat(line - 1) + code)

const node = (...args: ReadonlyArray<string>) =>
  new Promise<{ readonly error: ExecFileException | null; readonly stdout: string; readonly stderr: string }>(
    (resolve) => {
      execFile(
        process.execPath,
        args,
        { cwd: project, timeout: 50_000 },
        (error, stdout, stderr) => resolve({ error, stdout, stderr })
      )
    }
  )

/** The output that a program announces in its comments. */
const expected = (code: string) => [...code.matchAll(/\/\/ => (.*)$/gm)].map(([, line]) => line)

describe.concurrent("programs in the documents and docstrings", () => {
  it("are type-checked", async () => {
    const { stdout } = await node(join(root, "node_modules/typescript/bin/tsc"), "--project", project)
    assert.strictEqual(stdout, "")
  })

  for (const { code, document, file, line, marks } of programs) {
    if (!marks.includes("run") || document.startsWith("src/")) continue
    it(`run, and print the output stated in ${document}, line ${line}`, async () => {
      const { error, stderr, stdout } = await node("--conditions=effect-dht-source", file)
      assert.deepStrictEqual({ error, stderr }, { error: null, stderr: "" })
      assert.deepStrictEqual(stdout.split("\n").filter(Boolean), expected(code))
    })
  }

  it("run, and print the output stated in the docstrings", async () => {
    const { error, stderr, stdout } = await node("--conditions=effect-dht-source", "together.ts")
    assert.deepStrictEqual({ error, stderr }, { error: null, stderr: "" })
    assert.deepStrictEqual(stdout.split("\n").filter(Boolean), together.flatMap(({ code }) => expected(code)))
  })

  it("run if a document marks them so", () => {
    assert.isAbove(programs.filter(({ marks }) => marks.includes("run")).length, together.length)
    assert.isAbove(together.length, 10)
  })
})
