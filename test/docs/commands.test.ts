import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as TestConsole from "effect/testing/TestConsole"
import { existsSync, readFileSync } from "node:fs"
import { dirname, join } from "node:path"
import * as Cli from "../../src/cli/Cli.ts"
import { blocks, documents, proseOf, read, root } from "./markdown.ts"

const scripts: { readonly [name: string]: string } =
  JSON.parse(readFileSync(join(root, "package.json"), "utf8")).scripts

/** Every command line in the code blocks and the prose, with its document. */
const commands = [
  ...blocks.filter(({ language }) => language === "sh").map(({ code, document }) => [document, code] as const),
  ...documents.flatMap((document) =>
    [...proseOf(document).matchAll(/`((?:npm|effect-dht|npx effect-dht) [^`]*)`/g)].map(([, code]) =>
      [document, code] as const
    )
  )
].flatMap(([document, code]) =>
  code
    .replaceAll("\\\n", " ")
    .split(/\n|&&|\|\||;/)
    .map((line) => line.replace(/#.*|>.*/, "").trim())
    .filter((line) => /^(npm|npx|effect-dht) /.test(line))
    .map((line) => ({ document, line, words: line.split(/\s+/).filter((word) => word !== "…") }))
)

/** The `--help` text of an effect-dht command; undefined if there is no such command. */
const helpOf = Effect.fnUntraced(function*(path: ReadonlyArray<string>) {
  const before = (yield* TestConsole.logLines).length
  yield* Cli.main([...path, "--help"]).pipe(Effect.provide(NodeServices.layer))
  const help = (yield* TestConsole.logLines).slice(before).join("\n")
  return help.includes(["effect-dht", ...path].join(" ")) ? help : undefined
})

const flagsIn = (words: ReadonlyArray<string>) =>
  words.filter((word) => word.startsWith("--") && word !== "--").map((word) => word.split("=")[0])

/** What is wrong with an effect-dht command line. */
const wrongWithCli = Effect.fnUntraced(function*(args: ReadonlyArray<string>) {
  const path: Array<string> = []
  let help = yield* helpOf(path)
  while (help?.includes("SUBCOMMANDS") && args.length > path.length && /^[a-z]/.test(args[path.length])) {
    path.push(args[path.length])
    help = yield* helpOf(path)
  }
  if (help === undefined) return [`there is no command "${path.join(" ")}"`]
  return flagsIn(args).filter((flag) => !new RegExp(`${flag}\\b(?!-)`).test(help)).map((flag) => `there is no ${flag}`)
})

/** What is wrong with a script's name, its file, or its flags. */
const wrongWithScript = (name: string, args: ReadonlyArray<string>) => {
  const script = scripts[name]
  if (script === undefined) return [`there is no script "${name}"`]
  const path = [...script.split(" "), ...args].find((word) => word.endsWith(".ts"))
  if (path === undefined) return []
  if (!existsSync(join(root, path))) return [`there is no ${path}`]
  const source = readFileSync(join(root, path), "utf8")
  return flagsIn(args).filter((flag) => !new RegExp(`\\b${flag.slice(2)}\\b`).test(source)).map((flag) =>
    `${path} has no ${flag}`
  )
}

const wrong = ([program, ...args]: ReadonlyArray<string>): Effect.Effect<ReadonlyArray<string>> => {
  if (program === "effect-dht") return wrongWithCli(args)
  if (program === "npx") return args[0] === "effect-dht" ? wrongWithCli(args.slice(1)) : Effect.succeed([])
  if (["ci", "install"].includes(args[0])) return Effect.succeed([])
  const [name, ...rest] = (args[0] === "run" ? args.slice(1) : args).filter((word) => word !== "--")
  if (name === undefined) return Effect.succeed([])
  return name === "dht" ? wrongWithCli(rest) : Effect.sync(() => wrongWithScript(name, rest))
}

describe("commands in the documents", () => {
  it.effect("exist and accept their flags", () =>
    Effect.gen(function*() {
      assert.isAbove(commands.length, 20)
      const found = yield* Effect.forEach(commands, ({ document, line, words }) =>
        Effect.map(wrong(words), (reasons) =>
          reasons.map((reason) => `${document}: ${line}: ${reason}`)))
      assert.deepStrictEqual(found.flat(), [])
    }))

  it.effect("are reported if they are wrong", () =>
    Effect.gen(function*() {
      const lines = [
        "npm run nothing",
        "npm run bench -- --nothing",
        "npm run dht -- nothing",
        "effect-dht node --nothing"
      ]
      for (const line of lines) assert.lengthOf(yield* wrong(line.split(" ")), 1, line)
    }))
})

describe("links in the documents", () => {
  it("lead to existing files", () => {
    const broken = documents.flatMap((document) =>
      [...read(document).matchAll(/\]\((?!https?:)([^)#]+)/g)]
        .filter(([, path]) => !existsSync(join(root, dirname(document), path)))
        .map(([, path]) => `${document}: ${path}`)
    )
    assert.deepStrictEqual(broken, [])
  })
})

/** The source files that a text names, each as it does: below src or the root. */
const named = (text: string): ReadonlyArray<string> => [...text.matchAll(/`([\w./-]+\.ts)`/g)].map(([, path]) => path)

const isSource = (path: string): boolean => ["src", "."].some((folder) => existsSync(join(root, folder, path)))

describe("source files that a contributor is told of", () => {
  it("are there", () => {
    const documents = ["CONTRIBUTING.md", "docs/architecture.md"]
    const files = documents.flatMap((document) => named(read(document)))
    assert.isAbove(files.length, 50)
    assert.deepStrictEqual(files.filter((path) => !isSource(path)), [])
  })

  it("stand on the floors that the architecture says they do", () => {
    const modulesIn = (text: string, row: RegExp, name: RegExp) =>
      [...text.matchAll(row)].map(([, modules]) => [...modules.matchAll(name)].map(([, module]) => module))
    const [, table] = /^## Floors$([^]*?)^`http/m.exec(read("docs/architecture.md")) ?? []
    const told = modulesIn(table, /^\| [a-z ]+ \| (`[^|]*) \|/gm, /`([^`]+)`/g)
    const tested = modulesIn(read("test/architecture.test.ts"), /^ {2}\["[a-z ]+", \[([^\]]*)\]\]/gm, /"([^"]+)"/g)
    assert.isAbove(tested.length, 10)
    assert.deepStrictEqual(told.toReversed(), tested)
  })
})
