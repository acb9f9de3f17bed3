/**
 * The token of a node's HTTP server, in the file `http-token` of its data
 * directory, readable by its owner only. Programs on the machine that act for
 * the node take it from there.
 *
 * @module
 * @since 0.1.0
 */
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import * as Hex from "../internal/hex.ts"
import * as NewFile from "./internal/newFile.ts"

/**
 * @category constants
 * @since 0.1.0
 */
export const fileName = "http-token"

/**
 * The token file cannot be read or written, or others can read it.
 *
 * @category errors
 * @since 0.1.0
 */
export class UnusableTokenFile extends Data.TaggedError("UnusableTokenFile")<{
  readonly path: string
  readonly reason: string
}> {
  override get message() {
    return `Cannot use ${this.path}: ${this.reason}. Remove the file, and the node makes another token`
  }
}

/**
 * A token and the path of its file.
 *
 * @category models
 * @since 0.1.0
 */
export interface Kept {
  readonly token: Redacted.Redacted
  readonly path: string
}

/** Maximum bytes of the file. */
const maxLength = 1024

/** Bytes of a token. */
const size = 32

/**
 * Reads the token of a data directory; undefined if there is none.
 *
 * @category constructors
 * @since 0.1.0
 */
export const load = (directory: string): Effect.Effect<Kept | undefined, UnusableTokenFile> => {
  const path = Path.join(directory, fileName)
  return Effect.map(
    attempt(path, () => read(path)),
    (text) => text === undefined ? undefined : { token: Redacted.make(text), path }
  )
}

/**
 * Reads the token of a data directory, or makes one if there is none; of
 * concurrent calls, all get the same.
 *
 * @category constructors
 * @since 0.1.0
 */
export const loadOrCreate = (
  directory: string
): Effect.Effect<Kept, UnusableTokenFile, SecureRandom.SecureRandom> =>
  Effect.gen(function*() {
    const found = yield* load(directory)
    if (found !== undefined) return found
    const path = Path.join(directory, fileName)
    const text = Hex.encode(yield* SecureRandom.SecureRandom.use((random) => random.randomBytes(size)))
    yield* attempt(path, () => write(path, `${text}\n`))
    const made = yield* load(directory)
    return made ?? (yield* new UnusableTokenFile({ path, reason: "it was removed when it had been written" }))
  })

const read = async (path: string): Promise<string | undefined> => {
  let found
  try {
    found = await Fs.stat(path)
  } catch (cause) {
    if (codeOf(cause) === "ENOENT") return undefined
    throw cause
  }
  // Reading a pipe would block until another process writes to it.
  if (!found.isFile()) throw new Error("it is not a file")
  if (found.size > maxLength) throw new Error("it is too long")
  // Windows has no user ids, so the mode is not checked there.
  if (found.uid === process.getuid?.() && (found.mode & 0o077) !== 0) {
    throw new Error("other users of this machine can read or change it (chmod 600 restricts access)")
  }
  const text = (await Fs.readFile(path, "utf8")).trim()
  if (!/^[\x21-\x7e]{16,}$/.test(text)) {
    throw new Error("it has fewer than 16 characters, or characters that are not visible ASCII")
  }
  return text
}

/** Writes the file unless there is one. */
const write = async (path: string, text: string): Promise<void> => {
  try {
    await NewFile.write(path, text, (temporary) => Fs.link(temporary, path))
  } catch (cause) {
    if (codeOf(cause) !== "EEXIST") throw cause
  }
}

const codeOf = (cause: unknown): string | undefined => (cause as NodeJS.ErrnoException).code

const attempt = <A>(path: string, evaluate: () => Promise<A>): Effect.Effect<A, UnusableTokenFile> =>
  Effect.uninterruptible(Effect.tryPromise({
    try: evaluate,
    catch: (cause) => new UnusableTokenFile({ path, reason: (cause as Error).message })
  }))
