import { assert, describe, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import { type Setting, settings } from "../../src/node/internal/settings.ts"
import { read } from "./markdown.ts"

const code = (text: string): string => `\`${text.replaceAll("|", "\\|")}\``

const rowOf = ({ codec, description, flag, metavar, standard, variable }: Setting<unknown>): ReadonlyArray<string> => [
  code(`--${flag}`),
  code(variable),
  metavar === "boolean" ? "" : code(metavar),
  standard === undefined ? "" : code(Schema.encodeSync(codec)(standard)),
  description
]

const cells = (line: string): ReadonlyArray<string> =>
  line.replace(/^\| | *\|$/g, "").split(/ *(?<!\\)\| */).map((cell) => cell.trim())

describe("the table of settings in the operations document", () => {
  it("has a row for each setting, with its variable, default and description", () => {
    const [, table = ""] = /^\| option +\|.*\n\|[-| ]+\|\n((?:\|.*\n)+)/m.exec(read("docs/operations.md")) ?? []
    assert.deepStrictEqual(table.trimEnd().split("\n").map(cells), Object.values(settings).map(rowOf))
  })
})
