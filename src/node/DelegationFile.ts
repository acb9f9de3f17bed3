/**
 * The delegation of a data directory, in the file `delegation` beside the
 * identity: it names the address that the key acts for.
 *
 * The file is text. Lines that begin with `#` are comments, and exactly one
 * line has the encoded delegation in hex digits. It contains no secrets.
 *
 * @module
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import * as Address from "../Address.ts"
import * as Delegation from "../Delegation.ts"
import * as Hex from "../internal/hex.ts"
import * as NewFile from "./internal/newFile.ts"

/**
 * @category constants
 * @since 0.1.0
 */
export const fileName = "delegation"

/**
 * The delegation file is malformed, is for another key, or cannot be accessed.
 *
 * @category errors
 * @since 0.1.0
 */
export class UnusableDelegationFile extends Data.TaggedError("UnusableDelegationFile")<{
  readonly path: string
  readonly reason: string
}> {
  override get message() {
    return `Cannot use ${this.path}: ${this.reason}. Get a new delegation, or remove the file to act for no other address`
  }
}

/** Maximum bytes of the file: enough for comments and a wallet's signature. */
const maxLength = 16_384

/**
 * Parses text with an encoded delegation in hex digits.
 *
 * @category conversions
 * @since 0.1.0
 */
export const parse = (text: string): Result.Result<Delegation.Delegation, string> => {
  const lines = text.split("\n").map((line) => line.trim())
  const [line, ...more] = lines.filter((line) => line !== "" && !line.startsWith("#"))
  if (line === undefined || more.length > 0) return Result.fail("expected one line of hex digits")
  const digits = line.replace(/^0x/i, "").toLowerCase()
  if (!/^(?:[0-9a-f]{2})+$/.test(digits)) return Result.fail("the delegation is not written in hex digits")
  return Result.mapError(Delegation.decode(Hex.decode(digits)), ({ message }) => message)
}

/**
 * Reads the delegation of a data directory; undefined if there is no file.
 *
 * @category constructors
 * @since 0.1.0
 */
export const load = (directory: string): Effect.Effect<Delegation.Delegation | undefined, UnusableDelegationFile> => {
  const path = Path.join(directory, fileName)
  return attempt(path, () => read(path)).pipe(
    Effect.flatMap((text) =>
      text === undefined
        ? Effect.undefined
        : Effect.mapError(Effect.fromResult(parse(text)), (reason) => new UnusableDelegationFile({ path, reason }))
    )
  )
}

/**
 * Writes a delegation to a data directory, replacing any earlier one. Succeeds
 * with the path of the file.
 *
 * @category constructors
 * @since 0.1.0
 */
export const save = (
  directory: string,
  delegation: Delegation.Delegation
): Effect.Effect<string, UnusableDelegationFile> => {
  const path = Path.join(directory, fileName)
  return Effect.as(attempt(path, () => write(path, format(delegation))), path)
}

const format = (delegation: Delegation.Delegation): string =>
  `# Lets the key in this directory act for ${Address.format(delegation.agent)}.\n` +
  `${Hex.encode(Delegation.encode(delegation))}\n`

const read = async (path: string): Promise<string | undefined> => {
  try {
    const found = await Fs.stat(path)
    // Reading a pipe would block until another process writes to it.
    if (!found.isFile()) throw new Error("it is not a file")
    if (found.size > maxLength) throw new Error("it is too long")
    return await Fs.readFile(path, "utf8")
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "ENOENT") return undefined
    throw cause
  }
}

/** Replaces the file atomically: readers see the old text or the new one, even after a power loss. */
const write = (path: string, text: string): Promise<void> =>
  NewFile.write(path, text, (temporary) => Fs.rename(temporary, path))

const attempt = <A>(path: string, evaluate: () => Promise<A>): Effect.Effect<A, UnusableDelegationFile> =>
  Effect.uninterruptible(Effect.tryPromise({
    try: evaluate,
    catch: (cause) => new UnusableDelegationFile({ path, reason: (cause as Error).message })
  }))
