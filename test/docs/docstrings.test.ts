import { assert, describe, it } from "@effect/vitest"
import { examples, examplesOf, modules, read, sources } from "./markdown.ts"

const comment = String.raw`(?:/\*\*(?<text>(?:[^*]|\*(?!/))*)\*/\n)?`
const exported = String.raw`export (?:const|class|function|interface|type|abstract class) (?<name>\w+)`

/** Services of a module, and their members, without a description. */
const wordless = (source: string): ReadonlyArray<string> =>
  [...source.matchAll(new RegExp(`${comment}${exported}`, "g"))].flatMap(({ groups, index }) => {
    const { name, text = "" } = groups as { readonly name: string; readonly text?: string }
    const isLayer = name.startsWith("layer")
    const service = new RegExp(`export class ${name} extends Context\\.Service<${name}, \\{\\n([^]*?)^\\}>`, "m")
      .exec(source.slice(index))
    if (/@internal\b/.test(text) || !isLayer && service === null) return []
    const lines = (service?.[1] ?? "").split("\n")
    const members = lines.flatMap((line, i) => {
      const member = /^ {2}readonly (\w+)/.exec(line)?.[1]
      return member === undefined || lines[i - 1]?.endsWith("*/") === true ? [] : [`${name}.${member}`]
    })
    return [
      ...(/^ \* \w/m.test(text.split("@")[0]) ? [] : [name]),
      ...members
    ]
  })

/** Exported names of a module with an incomplete docstring, and what is missing. */
const incomplete = (source: string): ReadonlyArray<string> =>
  [...source.matchAll(new RegExp(comment + exported, "g"))].flatMap(({ groups }) => {
    const { name, text = "" } = groups as { readonly name: string; readonly text?: string }
    if (/@internal\b/.test(text)) return []
    const missing = ["@category \\w", "@since \\d"].filter((tag) => !new RegExp(tag).test(text))
    return missing.map((tag) => `${name}: ${tag.split(" ")[0]}`)
  })

describe("docstrings", () => {
  it("describe every module", () => {
    const silent = modules.filter((path) => !/^\/\*\*\n \* \w(?:[^*]|\*(?!\/))*@module\n \* @since \d/.test(read(path)))
    assert.deepStrictEqual(silent, [])
  })

  it("give the category and the version of every exported name", () => {
    assert.deepStrictEqual(sources.flatMap((path) => incomplete(read(path)).map((what) => `${path}: ${what}`)), [])
  })

  it("describe every service, each of its members and every layer", () => {
    assert.deepStrictEqual(sources.flatMap((path) => wordless(read(path)).map((what) => `${path}: ${what}`)), [])
  })

  it("have an example in the modules that most programs start with", () => {
    const shown = new Set(examples.map(({ document }) => document))
    const first = [
      "Announce",
      "Delegation",
      "Dht",
      "Discovery",
      "Endpoint",
      "Identity",
      "Mail",
      "Persistence",
      "Profile",
      "Publisher",
      "Query",
      "Record",
      "Routing",
      "Store",
      "Topic",
      "node/DhtLive",
      "node/NodeConfig",
      "testing/SimWorld"
    ]
    assert.deepStrictEqual(first.filter((module) => !shown.has(`src/${module}.ts`)), [])
    assert.deepStrictEqual(examplesOf("A", "  /**\n   * ```ts run\n   * a\n   *\n   *   b\n   * ```\n   */\n"), [
      { document: "A", line: 3, language: "ts", marks: ["run"], code: "a\n\n  b\n" }
    ])
  })

  it("are reported if they are missing", () => {
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
    const service = `/**
 * @category services
 */
export class A extends Context.Service<A, {
  readonly a: string
  /** Said. */
  readonly b: string
  readonly c: string
}>()("A") {}
/**
 * @category layers
 */
export const layer = 1
`
    assert.deepStrictEqual(wordless(service), ["A", "A.a", "A.c", "layer"])
    assert.deepStrictEqual(incomplete(source), ["b: @category", "b: @since", "C: @category", "C: @since"])
  })
})
