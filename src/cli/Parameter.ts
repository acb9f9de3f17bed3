/**
 * Flags and arguments whose text is decoded by a codec, and flags of settings,
 * which the environment also gives.
 *
 * @since 0.1.0
 */
import * as CliError from "effect/cli/CliError"
import * as Flag from "effect/cli/Flag"
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import { identity } from "effect/Function"
import * as Schema from "effect/Schema"
import type { Setting } from "../node/internal/settings.ts"
import type { TextCodec } from "../node/internal/textCodec.ts"

/**
 * Decodes a text; a message names its source.
 *
 * @category conversions
 * @since 0.1.0
 */
export const decode = <A>(codec: TextCodec<A>, where: string) => (text: string): Effect.Effect<A, CliError.CliError> =>
  Effect.mapError(
    Schema.decodeEffect(codec)(text),
    ({ message }) => new CliError.ValidationError({ message: `${where} ${message}` })
  )

/**
 * A flag with a value.
 *
 * @category flags
 * @since 0.1.0
 */
export const flag = <A>(name: string, metavar: string, codec: TextCodec<A>, description: string): Flag.Flag<A> =>
  Flag.String(name).pipe(
    Flag.withMetavar(metavar),
    Flag.withDescription(description),
    Flag.mapEffect(decode(codec, `--${name}`))
  )

/**
 * The flag of a setting. Without it the value is that of the environment
 * variable; an empty variable counts as unset.
 *
 * @category flags
 * @since 0.1.0
 */
export const ofSetting = <A>(
  setting: Setting<A>,
  given: Flag.Flag<A> = flag(setting.flag, setting.metavar, setting.codec, setting.description)
): Flag.Flag<A> => {
  const { codec, description, standard, variable } = setting
  const byDefault = standard === undefined ? "" : `default ${Schema.encodeSync(codec)(standard)}; `
  return given.pipe(
    Flag.withDescription(`${description} (${byDefault}environment: ${variable})`),
    Flag.map(Effect.succeed),
    Flag.withFallbackConfig(Config.map(Config.String(variable), decode(codec, variable))),
    Flag.mapEffect(identity)
  )
}

/**
 * The flag of a setting with a default.
 *
 * @category flags
 * @since 0.1.0
 */
export const defaulted = <A>(setting: Setting<A, A>, given?: Flag.Flag<A>): Flag.Flag<A> =>
  Flag.withDefault(ofSetting(setting, given), setting.standard)

/**
 * The flag of a boolean setting, false by default.
 *
 * @category flags
 * @since 0.1.0
 */
export const toggle = (
  setting: Setting<boolean>,
  given: Flag.Flag<boolean> = Flag.withoutNegation(Flag.Boolean(setting.flag))
): Flag.Flag<boolean> => Flag.withDefault(ofSetting(setting, given), false)
