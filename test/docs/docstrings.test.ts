import { assert, describe, it } from "@effect/vitest"
import { globSync, readFileSync } from "node:fs"
import { join } from "node:path"

const src = join(import.meta.dirname, "../../src")

/** The modules that a program can import (`exports` of package.json). */
const modules = globSync("{*,http/*,node/*,testing/*}.ts", { cwd: src }).filter((path) =>
  path !== "bin.ts" && !path.endsWith("index.ts")
)

const read = (path: string): string => readFileSync(join(src, path), "utf8")

const comment = String.raw`(?:/\*\*(?<text>(?:[^*]|\*(?!/))*)\*/\n)?`
const exported = String.raw`export (?:const|class|function|interface|type|abstract class) (?<name>\w+)`

/** The exported names of a module whose docstring lacks something, each with what that is. */
const incomplete = (source: string): ReadonlyArray<string> =>
  [...source.matchAll(new RegExp(comment + exported, "g"))].flatMap(({ groups }) => {
    const { name, text = "" } = groups as { readonly name: string; readonly text?: string }
    if (/@internal\b/.test(text)) return []
    const missing = ["@category \\w", "@since \\d"].filter((tag) => !new RegExp(tag).test(text))
    return missing.map((tag) => `${name}: ${tag.split(" ")[0]}`)
  })

describe("docstrings", () => {
  it("tell of every module what it is for", () => {
    const silent = modules.filter((path) => !/^\/\*\*\n \* \w(?:[^*]|\*(?!\/))*@since \d/.test(read(path)))
    assert.deepStrictEqual(silent, [])
  })

  it("tell of every exported name its category, and since when it is there", () => {
    assert.deepStrictEqual(modules.flatMap((path) => incomplete(read(path)).map((what) => `${path}: ${what}`)), [])
  })

  it("are missed where there are none", () => {
    const source = `/**
 * @category models
 * @since 0.1.0
 */
export interface A {}
/** Says nothing of when. */
export const b = 1
export class C {}
/**
 * @internal
 */
export type D = 1
`
    assert.deepStrictEqual(incomplete(source), ["b: @category", "b: @since", "C: @category", "C: @since"])
  })
})
