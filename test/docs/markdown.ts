import { globSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { modules as importable } from "../utils/exports.ts"

export const root = join(import.meta.dirname, "../..")

/** Documents written by hand; the reference in docs/api is generated. */
export const documents: ReadonlyArray<string> = ["*.md", "docs/*.md"].flatMap((pattern) =>
  globSync(pattern, { cwd: root }).map((path) => path.replaceAll("\\", "/")).sort()
)

export const read = (document: string): string => readFileSync(join(root, document), "utf8")

/** A block of code and its position in the document. */
export interface Block {
  readonly document: string
  /** Line of the first line of code, from 1. */
  readonly line: number
  readonly language: string
  /** Words after the language: `run` for a complete program. */
  readonly marks: ReadonlyArray<string>
  readonly code: string
}

export const blocks: ReadonlyArray<Block> = documents.flatMap((document) => {
  const text = read(document)
  return [...text.matchAll(/^```(\S+)(.*)\n([^]*?)^```$/gm)].map((
    { 1: language, 2: marks, 3: code, index }
  ): Block => ({
    document,
    line: text.slice(0, index).split("\n").length + 1,
    language,
    marks: marks.split(" ").filter(Boolean),
    code
  }))
})

/** Modules that a program can import (`exports` of package.json), by path. */
export const modules: ReadonlyArray<string> = importable.map((module) => `src/${module}.ts`)

/** These, and the modules that they are made of. */
export const sources: ReadonlyArray<string> = [
  ...modules,
  ...globSync("src/{Assembly,InFlight,Renewal,Spans,TransactionId,WakeUp,core/*,http/*,internal/*,wire/*}.ts", {
    cwd: root
  })
    .map((path) => path.replaceAll("\\", "/"))
]

/** Examples in the docstrings of a module: code blocks in its comments. */
export const examplesOf = (document: string, source: string): ReadonlyArray<Block> =>
  [...source.matchAll(/^( *) \* ```(\S+)(.*)\n((?:\1 \*(?! ```).*\n)*)\1 \* ```$/gm)].map((
    { 2: language, 3: marks, 4: code, index }
  ): Block => ({
    document,
    line: source.slice(0, index).split("\n").length + 1,
    language,
    marks: marks.split(" ").filter(Boolean),
    code: code.replace(/^ * \* ?/gm, "")
  }))

export const examples: ReadonlyArray<Block> = modules.flatMap((path) => examplesOf(path, read(path)))

/** A document without its code blocks. */
export const proseOf = (document: string): string => read(document).replace(/^```[^]*?^```$/gm, "")
