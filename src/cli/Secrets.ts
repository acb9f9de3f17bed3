/**
 * Secrets from environment variables: the command line has the name of the
 * variable, never the secret.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type * as Redacted from "effect/Redacted"
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
