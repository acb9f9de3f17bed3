/**
 * The flags and arguments that several commands share.
 *
 * What they are made of is loaded when a value has to be read, so that help is
 * there at once.
 *
 * @since 0.1.0
 */
import * as Argument from "effect/cli/Argument"
import * as CliError from "effect/cli/CliError"
import * as Flag from "effect/cli/Flag"
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type { Host } from "../node/Hosts.ts"

/** Reads a value with a parser that is loaded first; what is wrong is wrong usage. */
const parsed = <B>(load: () => Promise<(text: string) => Result.Result<B, string>>) => (text: string) =>
  Effect.flatMap(Effect.promise(load), (parse) =>
    Effect.mapError(
      Effect.fromResult(parse(text)),
      (message) => new CliError.ValidationError({ message })
    ))

/** `host:port`, where port 0 makes sense or not. */
const hostPort = (what: string, minPort: 0 | 1) =>
  parsed<Host>(async () => {
    const { splitHostPort } = await import("../SocketAddress.ts")
    return (text) =>
      Result.filterOrFail(
        Result.mapError(splitHostPort(text), ({ reason }) => `${what} "${text}": ${reason}`),
        ({ port }) => port >= minPort,
        () => `${what} "${text}": nobody can be at port 0`
      )
  })

/**
 * @category flags
 * @since 0.1.0
 */
export const json = Flag.Boolean("json").pipe(
  Flag.withDescription("Print JSON, on one line"),
  Flag.withoutNegation,
  Flag.withDefault(false)
)

/**
 * The nodes to begin with; none if none is given.
 *
 * @category flags
 * @since 0.1.0
 */
export const bootstrap = Flag.String("bootstrap").pipe(
  Flag.withMetavar("host:port"),
  Flag.withDescription("A node of the network to start from; repeatable (environment: DHT_BOOTSTRAP, comma-separated)"),
  Flag.atLeast(1),
  Flag.withFallbackConfig(Config.map(Config.String("DHT_BOOTSTRAP"), (text) => text.split(",").filter(Boolean))),
  Flag.withDefault<ReadonlyArray<string>>([]),
  Flag.mapEffect((texts) => Effect.forEach(texts, hostPort("--bootstrap or DHT_BOOTSTRAP", 1)))
)

/**
 * @category flags
 * @since 0.1.0
 */
export const listen = Flag.String("listen").pipe(
  Flag.withMetavar("ip:port"),
  Flag.withDescription(
    "Where to listen for UDP; port 0 takes a free one, [::] is IPv6 and IPv4 (default 0.0.0.0:4121; environment: DHT_LISTEN)"
  ),
  Flag.withFallbackConfig(Config.String("DHT_LISTEN")),
  Flag.withDefault("0.0.0.0:4121"),
  Flag.mapEffect(parsed(async () => {
    const { fromString, splitHostPort } = await import("../SocketAddress.ts")
    return (text) =>
      Result.mapError(
        fromString(text),
        ({ reason }) =>
          `--listen or DHT_LISTEN "${text}": ${
            Result.isSuccess(splitHostPort(text))
              ? "write an IP address of this machine, or 0.0.0.0 for all it has"
              : reason
          }`
      )
  }))
)

/**
 * @category flags
 * @since 0.1.0
 */
export const http = Flag.String("http").pipe(
  Flag.withMetavar("host:port"),
  Flag.withDescription(
    "Where to serve HTTP: what the node knows and does, metrics and health (default 127.0.0.1:2634; environment: " +
      "DHT_HTTP). Others than this machine need --http-token-env"
  ),
  Flag.withFallbackConfig(Config.String("DHT_HTTP")),
  Flag.withDefault("127.0.0.1:2634"),
  Flag.mapEffect(hostPort("--http or DHT_HTTP", 0))
)

/**
 * @category flags
 * @since 0.1.0
 */
export const noHttp = Flag.Boolean("no-http").pipe(
  Flag.withDescription("Serve no HTTP"),
  Flag.withoutNegation,
  Flag.withDefault(false)
)

/**
 * @category flags
 * @since 0.1.0
 */
export const httpTokenEnv = Flag.String("http-token-env").pipe(
  Flag.withMetavar("name"),
  Flag.withDescription(
    "The environment variable that holds the token which HTTP requests have to send, 16 characters or more"
  ),
  Flag.optional
)

/**
 * @category flags
 * @since 0.1.0
 */
export const otlp = Flag.String("otlp").pipe(
  Flag.withMetavar("url"),
  Flag.withDescription(
    "Where an OpenTelemetry collector takes traces, metrics and logs over HTTP, such as http://127.0.0.1:4318 " +
      "(environment: DHT_OTLP)"
  ),
  Flag.withFallbackConfig(Config.String("DHT_OTLP")),
  Flag.filter(
    (text) => /^https?:$/.test(URL.parse(text)?.protocol ?? ""),
    () => "a URL such as http://127.0.0.1:4318"
  ),
  Flag.optional
)

/**
 * @category flags
 * @since 0.1.0
 */
export const logFormat = Flag.Literals("log-format", ["pretty", "json", "logfmt"]).pipe(
  Flag.withDescription("How log messages are written, on the standard error (default pretty)"),
  Flag.withDefault("pretty")
)

const dataFlag = Flag.String("data").pipe(Flag.withMetavar("directory"))
const dataConfig = Config.String("DHT_DATA")

/**
 * A data directory, `./data` by default.
 *
 * @category flags
 * @since 0.1.0
 */
export const data = dataFlag.pipe(
  Flag.withDescription("Where the node keeps its identity (default ./data; environment: DHT_DATA)"),
  Flag.withFallbackConfig(dataConfig),
  Flag.withDefault("./data")
)

/**
 * A data directory for whom it knows, or none.
 *
 * @category flags
 * @since 0.1.0
 */
export const acquainted = dataFlag.pipe(
  Flag.withDescription(
    "A data directory: without --bootstrap, the node that runs there and the peers it remembers are asked " +
      "(environment: DHT_DATA)"
  ),
  Flag.withFallbackConfig(dataConfig),
  Flag.optional
)

/**
 * A data directory for its identity, or none.
 *
 * @category flags
 * @since 0.1.0
 */
export const author = dataFlag.pipe(
  Flag.withDescription(
    "The data directory whose identity to use, also that of a node that runs; without --bootstrap, that node and " +
      "the peers it remembers are asked (environment: DHT_DATA)"
  ),
  Flag.withFallbackConfig(dataConfig),
  Flag.optional
)

/**
 * @category flags
 * @since 0.1.0
 */
export const passphraseEnv = Flag.String("passphrase-env").pipe(
  Flag.withMetavar("name"),
  Flag.withDescription("The environment variable that holds the passphrase of the identity, which is encrypted then"),
  Flag.optional
)

/**
 * Seconds.
 *
 * @category flags
 * @since 0.1.0
 */
export const ttl = Flag.String("ttl").pipe(
  Flag.withMetavar("seconds"),
  Flag.withDescription("How long the record lives (default 3600)"),
  Flag.withDefault("3600"),
  Flag.mapEffect((text) => {
    const ttl = /^\d+$/.test(text) ? Number(text) : 0
    return ttl >= 1 && ttl <= 0xffff_ffff
      ? Effect.succeed(ttl)
      : new CliError.ValidationError({ message: `--ttl "${text}": write a number of seconds, 1 to 4294967295` })
  })
)

/**
 * @category arguments
 * @since 0.1.0
 */
export const peer = Argument.String("host:port").pipe(
  Argument.withDescription("Where a node listens"),
  Argument.mapEffect(hostPort("the node", 1))
)

/**
 * @category arguments
 * @since 0.1.0
 */
export const address = Argument.String("address").pipe(
  Argument.withDescription("An address: 42 hex digits, 0x… (Ethereum), bc1… or 1… (Paralism)"),
  Argument.mapEffect(parsed(async () => {
    const { fromString } = await import("../Address.ts")
    return (text) => Result.mapError(fromString(text), ({ message }) => message)
  }))
)

/**
 * A node id, given as it is or by the address it is made of.
 *
 * @category arguments
 * @since 0.1.0
 */
export const target = Argument.String("target").pipe(
  Argument.withDescription("A node id (64 hex digits) or an address"),
  Argument.mapEffect(parsed(async () => {
    const Address = await import("../Address.ts")
    const NodeId = await import("../NodeId.ts")
    return (text) =>
      Result.orElse(
        NodeId.fromString(text),
        () =>
          Result.mapBoth(Address.fromString(text), {
            onFailure: ({ reason }) => `"${text}" is neither a node id (64 hex digits) nor an address: ${reason}`,
            onSuccess: NodeId.fromAddress
          })
      )
  }))
)

/**
 * @category arguments
 * @since 0.1.0
 */
export const topic = Argument.String("topic").pipe(
  Argument.withDescription("The name under which agents find each other"),
  Argument.filter((topic) => topic !== "", () => "at least one character")
)

/** Bytes of text that fit into one message. */
const maxText = 389

/**
 * The text of a message.
 *
 * @category arguments
 * @since 0.1.0
 */
export const text = Argument.String("text").pipe(
  Argument.withDescription(`The message, at most ${maxText} bytes of UTF-8`),
  Argument.mapEffect((text) => {
    const size = new TextEncoder().encode(text).length
    return size >= 1 && size <= maxText
      ? Effect.succeed(text)
      : new CliError.ValidationError({ message: `The text has ${size} bytes: write 1 to ${maxText}` })
  })
)

/**
 * @category arguments
 * @since 0.1.0
 */
export const hex = Argument.String("hex").pipe(
  Argument.withDescription("The bytes in hex digits; 0x in front and white space are ignored"),
  Argument.mapEffect(parsed(async () => {
    const { decode } = await import("../internal/hex.ts")
    return (text) => {
      const digits = text.replace(/\s/g, "").replace(/^0x/i, "").toLowerCase()
      return !/^[0-9a-f]+$/.test(digits)
        ? Result.fail("The record is not written in hex digits")
        : digits.length % 2 !== 0
        ? Result.fail(`The record ends in the middle of a byte: ${digits.length} hex digits`)
        : Result.succeed(decode(digits))
    }
  }))
)
