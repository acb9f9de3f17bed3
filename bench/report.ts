/**
 * Benchmark results as tables for a terminal and as JSON.
 *
 * @since 0.1.0
 */
import { mkdirSync, writeFileSync } from "node:fs"
import { availableParallelism, cpus } from "node:os"
import { join } from "node:path"

/** A measured value and its goal, at most or at least. */
export interface Figure {
  readonly value: number
  readonly unit: "µs" | "ms" | "/s" | "×" | "%" | "B" | "KiB" | "MiB" | "MB" | "s" | ""
  readonly atMost?: number | undefined
  readonly atLeast?: number | undefined
}

export interface Row {
  readonly name: string
  readonly figures: { readonly [column: string]: Figure }
}

export interface Section {
  readonly title: string
  /** Context needed to judge the figures. */
  readonly note?: string | undefined
  readonly rows: ReadonlyArray<Row>
}

/** Whether a figure meets its goal; undefined if it has none. */
export const isMet = ({ atLeast, atMost, value }: Figure): boolean | undefined =>
  atMost === undefined && atLeast === undefined
    ? undefined
    : value <= (atMost ?? Infinity) && value >= (atLeast ?? -Infinity)

const number = (value: number): string => {
  const digits = Number.isInteger(value) || Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2
  return value.toFixed(digits).replace(/\B(?=(\d{3})+$)/g, " ")
}

const cell = (figure: Figure | undefined): string => {
  if (figure === undefined) return ""
  const { atLeast, atMost, unit, value } = figure
  const text = `${number(value)}${unit === "" ? "" : ` ${unit}`}`
  const met = isMet(figure)
  if (met === undefined) return text
  return `${text} (${atMost === undefined ? `≥ ${number(atLeast ?? 0)}` : `≤ ${number(atMost)}`} ${
    met ? "ok" : "MISS"
  })`
}

/** A section as a plain-text table. */
export const table = ({ note, rows, title }: Section): string => {
  const columns = Array.from(new Set(rows.flatMap((row) => Object.keys(row.figures))))
  const lines = [["", ...columns], ...rows.map((row) => [row.name, ...columns.map((name) => cell(row.figures[name]))])]
  const widths = lines[0].map((_, at) => Math.max(...lines.map((line) => line[at].length)))
  const text = lines.map((line) =>
    "  " + line.map((value, at) => at === 0 ? value.padEnd(widths[at]) : value.padStart(widths[at])).join("  ")
  )
  return [`\n## ${title}`, ...(note === undefined ? [] : [note]), ...text].join("\n")
}

/** Writes all sections to a new file and returns its path. */
export const save = (sections: ReadonlyArray<Section>, directory: string, at: Date): string => {
  mkdirSync(directory, { recursive: true })
  const path = join(directory, `${at.toISOString().replace(/[:.]/g, "-")}.json`)
  const machine = { cpu: cpus()[0]?.model, cores: availableParallelism(), platform: process.platform }
  writeFileSync(path, JSON.stringify({ at, node: process.version, machine, sections }, undefined, 2) + "\n")
  return path
}
