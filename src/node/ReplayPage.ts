/**
 * The recording of a simulated world as one self-contained HTML page, to step
 * through it in a browser.
 *
 * @module
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import { createHash } from "node:crypto"
import { readFileSync } from "node:fs"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import type { Recording } from "../testing/Recording.ts"

const asset = (name: string): string => readFileSync(new URL(`./internal/replay/${name}`, import.meta.url), "utf8")

const sourceOf = (text: string): string => `'sha256-${createHash("sha256").update(text).digest("base64")}'`

/** JSON for a script element, which ends at the first `</script` and which `<!--` would confuse. */
const embedded = (recording: Recording): string => JSON.stringify(recording).replaceAll("<", "\\u003c")

/**
 * Renders the page. It loads nothing, and shows texts of the recording only as
 * text.
 *
 * @category conversions
 * @since 0.1.0
 */
export const page = (recording: Recording): string => {
  const [style, script] = [asset("style.css"), asset("page.js")]
  const parts: { readonly [name: string]: string } = {
    policy: `default-src 'none'; style-src ${sourceOf(style)}; script-src ${sourceOf(script)}`,
    style,
    script,
    recording: embedded(recording)
  }
  return asset("index.html").replace(/\{\{(\w+)\}\}/g, (_, name: string) => parts[name])
}

/** A file name for a title, with a hash of it: titles can have their first words in common, or no Latin letters. */
const nameOf = (title: string): string => {
  const words = title.toLowerCase().replaceAll(/[^a-z0-9]+/g, "-").replaceAll(/^-|-$/g, "").slice(0, 60)
  return `${words || "replay"}-${createHash("sha256").update(title).digest("hex").slice(0, 8)}.html`
}

/**
 * Writes pages into a directory, which is created if need be, for the option
 * `explain` of `SimTest`. A page replaces that of the same title. Returns where it
 * is, or why it could not be written.
 *
 * @category output
 * @since 0.1.0
 */
export const write = (directory: string) => (recording: Recording): Effect.Effect<string> => {
  const path = Path.resolve(directory, nameOf(recording.title))
  return Effect.tryPromise(async () => {
    await Fs.mkdir(directory, { recursive: true })
    await Fs.writeFile(path, page(recording))
  }).pipe(
    Effect.match({
      onFailure: ({ cause }) =>
        `${path}, which could not be written: ${cause instanceof Error ? cause.message : String(cause)}`,
      onSuccess: () => path
    })
  )
}
