/**
 * Secrets, which no command line takes: an environment variable has them, and
 * the command line its name.
 *
 * @since 0.1.0
 */
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Output from "./Output.ts"

/**
 * The value of the environment variable that a flag names. `what` says what the
 * variable holds.
 *
 * @category constructors
 * @since 0.1.0
 */
export const fromEnv = Effect.fnUntraced(function*(flag: string, what: string, name: string) {
  // Not repeated: it may well be the secret itself.
  if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name)) {
    return yield* Output.usage(`${flag} takes the name of an environment variable, not the ${what}`)
  }
  const value = yield* Effect.orElseSucceed(Config.Redacted(name), () => Redacted.make(""))
  return Redacted.value(value) === ""
    ? yield* Output.usage(`${flag}: the environment variable ${name} is empty or not set`)
    : value
})
