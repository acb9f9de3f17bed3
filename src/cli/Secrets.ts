/**
 * Secrets from environment variables: the command line has the name of the
 * variable, never the secret.
 *
 * @since 0.1.0
 */
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Output from "./Output.ts"

/**
 * Reads the environment variable named by a flag. `what` says what it holds, for
 * messages.
 *
 * @category constructors
 * @since 0.1.0
 */
export const fromEnv = Effect.fnUntraced(function*(flag: string, what: string, name: string) {
  // The name is not repeated in the message: it may be the secret itself.
  if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name)) {
    return yield* Output.usage(`${flag} takes the name of an environment variable, not the ${what}`)
  }
  const value = yield* Effect.orElseSucceed(Config.Redacted(name), () => Redacted.make(""))
  return Redacted.value(value) === ""
    ? yield* Output.usage(`${flag}: the environment variable ${name} is empty or not set`)
    : value
})
