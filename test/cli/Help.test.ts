import { assert, describe, it } from "@effect/vitest"
import type { HelpDoc } from "effect/cli/HelpDoc"
import * as Context from "effect/Context"
import * as Option from "effect/Option"
import * as Help from "../../src/cli/Help.ts"

const doc: HelpDoc = {
  description: "Does one thing, and does it so well that a line of the usual width does not do",
  usage: "dht do <what> [flags]",
  annotations: Context.empty(),
  args: [{ name: "what", type: "string", description: Option.some("The thing"), required: false, variadic: true }],
  flags: [
    { name: "how", aliases: ["-h"], type: "choice", description: Option.some("In which way"), required: false },
    {
      name: "in-the-name-of",
      aliases: [],
      type: "<one|two|three|four>",
      description: Option.some("For whom it is done, where that is not the one who does it"),
      required: false
    },
    { name: "dry", aliases: [], type: "boolean", description: Option.none(), required: false }
  ],
  subcommands: [{
    group: undefined,
    commands: [
      { name: "again", alias: undefined, shortDescription: undefined, description: "Once more" },
      { name: "undo", alias: undefined, shortDescription: "Back", description: "As if it had not been done" }
    ]
  }],
  examples: [
    { command: "dht do this" },
    { command: "VAR=1 dht do --how \"with many words\" --dry --in-the-name-of another", description: "All of it" }
  ]
}

const lines = (columns: number, colors = false) => Help.format(doc, { columns, colors }).split("\n")

describe("Help", () => {
  it("puts descriptions beside names, wraps them there, and separates sections with an empty line", () => {
    assert.deepStrictEqual(lines(50), [
      "DESCRIPTION",
      "  Does one thing, and does it so well that a line",
      "  of the usual width does not do",
      "",
      "USAGE",
      "  dht do <what> [flags]",
      "",
      "ARGUMENTS",
      "  what... string  The thing (optional)",
      "",
      "FLAGS",
      "  --how, -h choice  In which way",
      "  --in-the-name-of <one|two|three|four>",
      "                    For whom it is done, where",
      "                    that is not the one who does",
      "                    it",
      "  --dry",
      "",
      "SUBCOMMANDS",
      "  again  Once more",
      "  undo   Back",
      "",
      "EXAMPLES",
      "  dht do this",
      "",
      "  # All of it",
      "  VAR=1 dht do --how \"with many words\" --dry \\",
      "    --in-the-name-of another"
    ])
  })

  it("puts descriptions below names in a narrow terminal", () => {
    const flags = lines(45).slice(lines(45).indexOf("FLAGS") + 1, lines(45).indexOf("SUBCOMMANDS") - 1)
    assert.deepStrictEqual(flags, [
      "  --how, -h choice",
      "      In which way",
      "  --in-the-name-of <one|two|three|four>",
      "      For whom it is done, where that is not",
      "      the one who does it",
      "  --dry"
    ])
  })

  it("fits any width, unless a word is longer", () => {
    for (let columns = 45; columns <= 120; columns++) {
      for (const line of lines(columns)) assert.isAtMost(line.length, columns, line)
    }
  })

  it("has the same text in colours", () => {
    // oxlint-disable-next-line no-control-regex
    const plain = lines(60, true).map((line) => line.replace(/\u001b\[\d+m/g, ""))
    assert.deepStrictEqual(plain, lines(60))
    assert.notDeepEqual(lines(60, true), lines(60))
  })

  it("treats a name as a misspelling of another if at most a third of the letters differ", () => {
    const slips = [["nod", "node"], ["tpo", "top"], ["lisen", "listen"], ["dsicvoer", "discover"], ["top", "top"]]
    const others = [["foo", "top"], ["bar", "read"], ["x", "top"], ["", "top"], ["ls", "new"]]
    for (const [typed, name] of slips) assert.isTrue(Help.isSlip(typed, name), typed)
    for (const [typed, name] of others) assert.isFalse(Help.isSlip(typed, name), typed)
  })
})
