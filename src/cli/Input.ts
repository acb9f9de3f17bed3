/**
 * Arguments read from the standard input: where the argument is `-`, or where it
 * is missing and something is piped in.
 *
 * @since 0.1.0
 */
import * as CliError from "effect/cli/CliError"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { Stdio } from "effect/Stdio"
import * as Stream from "effect/Stream"

/** Bytes: several times the maximum of any argument. */
const maxBytes = 1 << 16

/**
 * Time to wait for a standard input that no argument names: a service manager
 * may leave one open that never delivers anything.
 */
const timeout = "2 seconds"

const wrong = (message: string) => new CliError.ValidationError({ message })

const missing = (what: string) =>
  wrong(`The ${what} is missing: give it as an argument, or pipe it in (with - as the argument if the input is slow)`)

/** Reads all bytes to the end of the input. */
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
      // A pipe is read in real time, even under a test clock.
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
 * The bytes of an argument, from its text or from the standard input. `what`
 * names it in messages.
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
