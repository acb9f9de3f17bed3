/**
 * Codecs of texts that people write: settings, flags and arguments. A text that
 * cannot be decoded is quoted in the message, with what to write instead.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type * as SchemaAST from "effect/SchemaAST"
import * as SchemaIssue from "effect/SchemaIssue"
import * as SchemaTransformation from "effect/SchemaTransformation"

/**
 * @internal
 */
export type TextCodec<A> = Schema.Codec<A, string>

/**
 * A codec of a parser, which fails with a reason, and a formatter.
 *
 * @internal
 */
export const parsed = <A>(
  type: Schema.Codec<A>,
  parse: (text: string) => Result.Result<A, string>,
  format: (value: A) => string
): TextCodec<A> =>
  Schema.String.pipe(Schema.decodeTo(
    type,
    SchemaTransformation.transformEffect({
      decode: (text) =>
        Effect.mapError(
          Effect.fromResult(parse(text)),
          (reason) => new SchemaIssue.InvalidValue({ message: `"${text}": ${reason}` })
        ),
      encode: (value) => Effect.succeed(format(value))
    })
  ))

/**
 * A codec with one reason for every text that it cannot decode.
 *
 * @internal
 */
export const hinted = (hint: string) => <A>(codec: TextCodec<A>): TextCodec<A> =>
  parsed(
    Schema.toType(codec),
    (text) => Result.mapError(Schema.decodeResult(codec)(text), () => hint),
    (value) => Schema.encodeSync(codec)(value)
  )

/**
 * A text that is not empty.
 *
 * @internal
 */
export const nonEmpty: TextCodec<string> = Schema.NonEmptyString.pipe(hinted("the value is empty"))

/** Digits, without a sign. */
const digits = /^\d+$/

/** Digits with a fraction or an exponent, without a sign: what `String` writes for a positive number. */
const decimal = /^\d+(\.\d+)?(e-?\d+)?$/

type Checks = readonly [SchemaAST.Check<number>, ...Array<SchemaAST.Check<number>>]

const numeric = (pattern: RegExp, checks: Checks): TextCodec<number> =>
  Schema.Trim.check(Schema.isPattern(pattern)).pipe(Schema.decodeTo(Schema.FiniteFromString.check(...checks)))

/**
 * A number without a sign, for use under a hint.
 *
 * @internal
 */
export const number = (...checks: Checks): TextCodec<number> => numeric(decimal, checks)

/**
 * An integer without a sign, of `unit` if given.
 *
 * @internal
 */
export const integer = (minimum: number, maximum: number, unit?: string): TextCodec<number> =>
  numeric(digits, [Schema.isInt(), Schema.isBetween({ minimum, maximum })]).pipe(
    hinted(`write ${unit === undefined ? "an integer" : `a whole number of ${unit}`} from ${minimum} to ${maximum}`)
  )

/**
 * @internal
 */
export const boolean: TextCodec<boolean> = parsed(
  Schema.Boolean,
  (text) => {
    const word = text.trim().toLowerCase()
    return ["true", "yes", "on", "1"].includes(word)
      ? Result.succeed(true)
      : ["false", "no", "off", "0"].includes(word)
      ? Result.succeed(false)
      : Result.fail("write true or false")
  },
  String
)

/**
 * One of several words.
 *
 * @internal
 */
export const oneOf = <const Words extends ReadonlyArray<string>>(words: Words): TextCodec<Words[number]> =>
  Schema.Literals(words).pipe(hinted(`write ${words.join(", ")}`))
