import { globSync, readFileSync } from "node:fs"
import { join } from "node:path"

export const root = join(import.meta.dirname, "../..")

/** What a person reads; the reference in docs/api is made by a program. */
export const documents: ReadonlyArray<string> = ["README.md", ...globSync("docs/*.md", { cwd: root }).sort()]

export const read = (document: string): string => readFileSync(join(root, document), "utf8")

/** A block of code, and where in its document it begins. */
export interface Block {
  readonly document: string
  /** Of the first line of code, from 1. */
  readonly line: number
  readonly language: string
  /** What follows the language: `run` for a program that runs by itself. */
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

/** A document without its blocks. */
export const proseOf = (document: string): string => read(document).replace(/^```[^]*?^```$/gm, "")
