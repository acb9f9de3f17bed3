/**
 * The text of `--help`, wrapped to the width of the terminal.
 *
 * @since 0.1.0
 */
import { displayWidth } from "effect/cli/CliOutput"
import type { ExampleDoc, FlagDoc, HelpDoc } from "effect/cli/HelpDoc"
import * as Option from "effect/Option"

/**
 * @category models
 * @since 0.1.0
 */
export interface Style {
  /** Cells per line. */
  readonly columns: number
  readonly colors: boolean
}

/** Maximum width of a table's first column; a longer entry takes a line of its own. */
const maxLeft = 28

/** Minimum width of a second column; with less space it goes below the first. */
const minRight = 30

/**
 * Formats the help of a command. A line exceeds the width only for a single
 * word that is longer.
 *
 * @category output
 * @since 0.1.0
 */
export const format = (doc: HelpDoc, { colors, columns }: Style): string => {
  const paint = (code: number) => (text: string): string => colors ? `\u001b[${code}m${text}\u001b[0m` : text
  const [bold, dim, green, cyan] = [1, 2, 32, 36].map(paint)

  const section = (title: string, lines: ReadonlyArray<string>): string =>
    [bold(title), ...lines.map((line) => line === "" ? "" : `  ${line}`)].join("\n")
  const fit = (text: string) => wrap(text.split(" "), columns - 2)

  const table = (rows: ReadonlyArray<readonly [left: string, right: string]>): Array<string> => {
    const widest = Math.max(...rows.map(([left]) => displayWidth(left)).filter((width) => width <= maxLeft), 0)
    const beside = widest + 2
    const isWide = columns - 2 - beside >= minRight
    const indent = isWide ? beside : 4
    return rows.flatMap(([left, right]) => {
      if (right === "") return [left]
      const lines = wrap(right.split(" "), columns - 2 - indent).map((line) => " ".repeat(indent) + line)
      const width = displayWidth(left)
      return isWide && width <= widest ? [left + lines[0].slice(width), ...lines.slice(1)] : [left, ...lines]
    })
  }

  const flag = ({ aliases, description, name, type }: FlagDoc) =>
    [
      [`--${name}`, ...aliases].map(green).join(", ") + (type === "boolean" ? "" : ` ${dim(type)}`),
      Option.getOrElse(description, () => "")
    ] as const

  const example = ({ command, description }: ExampleDoc, index: number): Array<string> => [
    ...(index > 0 ? [""] : []),
    ...(description === undefined ? [] : wrap(description.split(" "), columns - 4).map((line) => dim(`# ${line}`))),
    // Continued with backslashes, so that the lines can be copied into a shell.
    ...wrap(command.match(argument) ?? [], columns - 4).map((line, i, { length }) =>
      (i === 0 ? "" : "  ") + cyan(line) + (i < length - 1 ? " \\" : "")
    )
  ]

  const commands = (doc.subcommands ?? []).flatMap((group) => group.commands)
  const [args, inherited, globals, examples] = [
    doc.args ?? [],
    doc.inheritedFlags ?? [],
    doc.globalFlags ?? [],
    doc.examples ?? []
  ] as const
  return [
    section("DESCRIPTION", fit(doc.description)),
    section("USAGE", fit(doc.usage).map(cyan)),
    ...(args.length === 0 ? [] : [section(
      "ARGUMENTS",
      table(args.map(({ description, name, required, type, variadic }) => [
        `${green(variadic ? `${name}...` : name)} ${dim(type)}`,
        Option.getOrElse(description, () => "") + (required ? "" : " (optional)")
      ]))
    )]),
    ...([["FLAGS", doc.flags], ["INHERITED FLAGS", inherited], ["GLOBAL FLAGS", globals]] as const).flatMap((
      [title, flags]
    ) => flags.length === 0 ? [] : [section(title, table(flags.map(flag)))]),
    ...(commands.length === 0 ? [] : [section(
      "SUBCOMMANDS",
      table(commands.map(({ description, name, shortDescription }) => [cyan(name), shortDescription ?? description]))
    )]),
    ...(examples.length === 0 ? [] : [section("EXAMPLES", examples.flatMap(example))])
  ].join("\n\n")
}

/** An argument of a command line, with its quotes; a flag and its value stay together. */
const argument = /(?:--\S+ (?!-))?(?:"[^"]*"|[^\s"])+/g

/** Wraps words into lines of at most `width` cells; returns at least one line. */
const wrap = (words: ReadonlyArray<string>, width: number): Array<string> => {
  const lines: Array<string> = []
  let line = ""
  for (const word of words) {
    if (line === "") line = word
    else if (displayWidth(line) + 1 + displayWidth(word) <= width) line += ` ${word}`
    else {
      lines.push(line)
      line = word
    }
  }
  return [...lines, line]
}

/**
 * Whether one name is probably a misspelling of the other: the edit distance is
 * at most a third of its length, and swapped neighbours count once.
 *
 * @category predicates
 * @since 0.1.0
 */
export const isSlip = (typed: string, name: string): boolean =>
  distance(typed, name) <= Math.max(typed.length, name.length) / 3

/** Damerau-Levenshtein distance: insertions, deletions, substitutions and swaps of neighbours. */
const distance = (a: string, b: string): number => {
  const rows = [Array.from({ length: b.length + 1 }, (_, j) => j)]
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    for (let j = 1; j <= b.length; j++) {
      const changed = rows[i - 1][j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1)
      const isSwapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]
      row.push(
        Math.min(rows[i - 1][j] + 1, row[j - 1] + 1, changed, isSwapped ? rows[i - 2][j - 2] + 1 : Infinity)
      )
    }
    rows.push(row)
  }
  return rows[a.length][b.length]
}
