/**
 * What a command takes from the standard input in place of an argument: where
 * the argument is `-`, or is missing while something is piped in.
 *
 * @since 0.1.0
 */
import * as CliError from "effect/cli/CliError"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { Stdio } from "effect/Stdio"
import * as Stream from "effect/Stream"

/** Many times what any argument may be. */
const maxBytes = 1 << 16

/**
 * What a standard input that no argument names is given to say something: a
 * service manager may leave one open that never will.
 */
const timeout = "2 seconds"

const wrong = (message: string) => new CliError.ValidationError({ message })

const missing = (what: string) =>
  wrong(`There is no ${what}: write it as an argument, or pipe it in (with - in its place, where it takes a while)`)

/** All bytes up to the end. */
const read = (what: string, named: boolean) =>
  Effect.gen(function*() {
    const { stdin } = yield* Stdio
    const chunks: Array<Uint8Array> = []
    let size = 0
    const reading = Stream.runForEach(stdin, (chunk) => {
      size += chunk.length
      chunks.push(chunk)
      return size > maxBytes ? wrong(`The ${what} on the standard input is longer than ${maxBytes} bytes`) : Effect.void
    })
    const silence = Effect.sleep(timeout).pipe(
      // A pipe knows nothing of virtual time.
      Effect.provideService(Clock.Clock, Clock.Clock.defaultValue()),
      Effect.flatMap(() => size === 0 ? missing(what) : Effect.never)
    )
    yield* named ? reading : Effect.raceFirst(reading, silence)
    if (size === 0 && !named) return yield* missing(what)
    const bytes = new Uint8Array(size)
    let at = 0
    for (const chunk of chunks) {
      bytes.set(chunk, at)
      at += chunk.length
    }
    return bytes
  }).pipe(
    Effect.catchTag("PlatformError", ({ message }) => wrong(`The standard input cannot be read: ${message}`))
  )

/**
 * The bytes of an argument: those of its text, or of the standard input.
 * `what` says what is read.
 *
 * @category constructors
 * @since 0.1.0
 */
export const bytesOf = (
  what: string,
  argument: Option.Option<string>
): Effect.Effect<Uint8Array, CliError.CliError, Stdio> =>
  Effect.gen(function*() {
    if (Option.isSome(argument)) {
      return argument.value === "-" ? yield* read(what, true) : new TextEncoder().encode(argument.value)
    }
    const { stdinIsTerminal } = yield* Stdio
    return (yield* stdinIsTerminal) ? yield* missing(what) : yield* read(what, false)
  })

/**
 * Bytes as text, or undefined where they are not UTF-8.
 *
 * @category conversions
 * @since 0.1.0
 */
export const textOf = (bytes: Uint8Array): string | undefined => {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    return undefined
  }
}
