/**
 * Secrets from environment variables: the command line has the name of the
 * variable, never the secret.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Redacted from "effect/Redacted"
import type * as Network from "../Network.ts"
import { secret } from "../node/internal/settings.ts"
import * as Output from "./Output.ts"

/**
 * Reads the environment variable named by a flag.
 *
 * @category constructors
 * @since 0.1.0
 */
export const fromEnv = (flag: string, name: string): Effect.Effect<Redacted.Redacted, Output.Failure> =>
  Effect.mapError(secret(name), () => Output.usage(`${flag}: the environment variable ${name} is empty or not set`))

/**
 * Why an HTTP server refuses the token, or its absence.
 *
 * @category constants
 * @since 0.1.0
 */
export const noToken = "the token is missing or wrong; give the name of its variable with --http-token-env"

/**
 * Flags that select a network, see `Options.network`.
 *
 * @category models
 * @since 0.1.0
 */
export interface NetworkFlags {
  readonly network: Option.Option<string>
  /** The name of an environment variable. */
  readonly networkKeyEnv: Option.Option<string>
}

/**
 * The network of the flags, with its key.
 *
 * @category constructors
 * @since 0.1.0
 */
export const networkOf = (flags: NetworkFlags): Effect.Effect<Network.Options, Output.Failure> =>
  Effect.gen(function*() {
    return {
      network: Option.getOrUndefined(flags.network),
      networkKey: Option.isNone(flags.networkKeyEnv)
        ? undefined
        : yield* fromEnv("--network-key-env", flags.networkKeyEnv.value)
    }
  })
