import { assert, describe, it } from "@effect/vitest"
import { examples, examplesOf, modules, read } from "./markdown.ts"

const comment = String.raw`(?:/\*\*(?<text>(?:[^*]|\*(?!/))*)\*/\n)?`
const exported = String.raw`export (?:const|class|function|interface|type|abstract class) (?<name>\w+)`

/** The names of the services of a module, and of their members, that no words explain. */
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

  it("say of every service, of each of its members and of every layer what it is", () => {
    assert.deepStrictEqual(modules.flatMap((path) => wordless(read(path)).map((what) => `${path}: ${what}`)), [])
  })

  it("show by an example how the modules are used that most programs begin with", () => {
    const shown = new Set(examples.map(({ document }) => document))
    const first = [
      "Announce",
      "Delegation",
      "Dht",
      "Discovery",
      "Endpoint",
      "Identity",
      "Mail",
      "Mailbox",
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
