/**
 * Flags and arguments shared by several commands.
 *
 * Their parsers are loaded when a value is read, so that `--help` starts fast.
 *
 * @since 0.1.0
 */
import * as Argument from "effect/cli/Argument"
import * as CliError from "effect/cli/CliError"
import * as Flag from "effect/cli/Flag"
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import type { Host } from "../NameResolver.ts"
import type * as Settings from "../node/internal/settings.ts"
import type { SocketAddress } from "../SocketAddress.ts"
import * as Input from "./Input.ts"

/** Parses a text with a parser loaded on demand; a message names the source of an invalid text. */
const read = <A>(where: string, text: string, load: () => Promise<Settings.Parse<A>>) =>
  Effect.flatMap(Effect.promise(load), (parse) =>
    Effect.mapError(
      Effect.fromResult(parse(text)),
      (reason) => new CliError.ValidationError({ message: `${where} "${text}": ${reason}` })
    ))

/** Same for an argument, whose parser's message is complete. */
const parsed = <A>(load: () => Promise<Settings.Parse<A>>) => (text: string) =>
  Effect.flatMap(
    Effect.promise(load),
    (parse) => Effect.mapError(Effect.fromResult(parse(text)), (message) => new CliError.ValidationError({ message }))
  )

const settings = () => import("../node/internal/settings.ts")

/** A setting's text and where it was given. */
interface TextSetting {
  readonly where: string
  readonly text: string
}

const variableOf = (name: string): string => `DHT_${name.toUpperCase().replaceAll("-", "_")}`

/** Adds the environment variable and the default to a description. */
const described = (name: string, description: string, standard?: string) => <A>(flag: Flag.Flag<A>): Flag.Flag<A> => {
  const from = `environment: ${variableOf(name)}`
  return Flag.withDescription(
    flag,
    `${description} (${standard === undefined ? from : `default ${standard}; ${from}`})`
  )
}

/** The environment variable of a flag, used if the flag is not given. An empty one counts as unset. */
const fallback = (name: string): Config.Config<TextSetting> =>
  Config.map(Config.String(variableOf(name)), (text) => ({ where: variableOf(name), text }))

/** A flag with an environment variable. */
const setting = <A>(
  name: string,
  metavar: string,
  description: string,
  load: () => Promise<Settings.Parse<A>>,
  standard?: string
): Flag.Flag<Option.Option<A>> =>
  Flag.String(name).pipe(
    Flag.withMetavar(metavar),
    described(name, description, standard),
    Flag.map((text): TextSetting => ({ where: `--${name}`, text })),
    Flag.withFallbackConfig(fallback(name)),
    Flag.optional,
    Flag.mapEffect(Option.match({
      onNone: () => Effect.succeedNone,
      onSome: ({ text, where }) => Effect.asSome(read(where, text, load))
    }))
  )

/** A boolean flag with an environment variable. */
const truth = (name: string, flag: (plain: Flag.Flag<boolean>) => Flag.Flag<boolean>): Flag.Flag<boolean> =>
  flag(Flag.Boolean(name)).pipe(
    Flag.withFallbackConfig(fallback(name)),
    Flag.withDefault(false),
    Flag.mapEffect((given) =>
      typeof given === "boolean"
        ? Effect.succeed(given)
        : read(given.where, given.text, () => settings().then(({ truth }) => truth))
    )
  )

/**
 * @category flags
 * @since 0.1.0
 */
export const json = Flag.Boolean("json").pipe(
  Flag.withDescription("Print JSON, as one line"),
  Flag.withoutNegation,
  Flag.withDefault(false)
)

/**
 * For a command that keeps running.
 *
 * @category flags
 * @since 0.1.0
 */
export const jsonEvents = truth(
  "json",
  (flag) => flag.pipe(described("json", "Print JSON, one event per line"), Flag.withoutNegation)
)

/**
 * Nodes to join through; empty if none is given.
 *
 * @category flags
 * @since 0.1.0
 */
export const bootstrap = Flag.String("bootstrap").pipe(
  Flag.withMetavar("host:port"),
  Flag.withDescription("A node to join the network through; repeatable (environment: DHT_BOOTSTRAP, comma-separated)"),
  Flag.atLeast(1),
  Flag.withFallbackConfig(fallback("bootstrap")),
  Flag.withDefault<ReadonlyArray<string>>([]),
  Flag.mapEffect((given) =>
    "text" in given
      ? read(given.where, given.text, () => settings().then(({ hosts }) => hosts))
      : Effect.forEach(given, (text) => read("--bootstrap", text, () => settings().then(({ host }) => host(1))))
  )
)

/**
 * @category flags
 * @since 0.1.0
 */
export const listen = setting(
  "listen",
  "ip:port",
  "UDP address to listen on; port 0 takes a free port, [::] is IPv6 and IPv4",
  () => settings().then(({ listen }) => listen),
  "0.0.0.0:4121"
).pipe(Flag.map(Option.getOrElse((): SocketAddress => ({ host: "0.0.0.0", port: 4121 }))))

/**
 * @category flags
 * @since 0.1.0
 */
export const http = setting(
  "http",
  "host:port",
  "Address of the HTTP server: dashboard, JSON documents, metrics and health. An address that other machines " +
    "can reach needs --http-token-env",
  () => settings().then(({ host }) => host(0)),
  "127.0.0.1:2634"
).pipe(Flag.map(Option.getOrElse((): Host => ({ host: "127.0.0.1", port: 2634 }))))

/**
 * Same without an environment variable, since that one is about another node.
 *
 * @category flags
 * @since 0.1.0
 */
export const demoHttp = Flag.String("http").pipe(
  Flag.withMetavar("host:port"),
  Flag.withDescription(
    "Address of the HTTP server, on this machine only; the next free port if it is in use (default 127.0.0.1:2634)"
  ),
  Flag.withDefault("127.0.0.1:2634"),
  Flag.mapEffect((text) => read("--http", text, () => settings().then(({ host }) => host(0))))
)

/**
 * @category flags
 * @since 0.1.0
 */
export const noHttp = truth(
  "no-http",
  (flag) => flag.pipe(described("no-http", "Do not serve HTTP"), Flag.withoutNegation)
)

/** Any non-empty text; its user validates it. */
const asIs = () =>
  Promise.resolve((text: string) => text === "" ? Result.fail("the value is empty") : Result.succeed(text))

/**
 * @category flags
 * @since 0.1.0
 */
export const httpTokenEnv = setting(
  "http-token-env",
  "name",
  "The environment variable that holds the token that HTTP requests must send, at least 16 characters",
  asIs
)

/** Parses the URL of an HTTP server; the example is for the message. */
const httpUrl = (example: string): Settings.Parse<string> => (text) =>
  /^https?:$/.test(URL.parse(text)?.protocol ?? "")
    ? Result.succeed(text)
    : Result.fail(`write a URL such as ${example}`)

/**
 * @category flags
 * @since 0.1.0
 */
export const otlp = setting(
  "otlp",
  "url",
  "OpenTelemetry collector for traces, metrics and logs (OTLP over HTTP), such as http://127.0.0.1:4318",
  () => Promise.resolve(httpUrl("http://127.0.0.1:4318"))
)

/**
 * URL of a node's HTTP server.
 *
 * @category flags
 * @since 0.1.0
 */
export const url = setting(
  "url",
  "url",
  "URL of the node's HTTP server",
  () => Promise.resolve(httpUrl("http://127.0.0.1:2634")),
  "http://127.0.0.1:2634"
).pipe(Flag.map(Option.getOrElse(() => "http://127.0.0.1:2634")))

const logFormats = ["pretty", "json", "logfmt"] as const

const logFormatOf = (text: string) =>
  Result.fromNullishOr(logFormats.find((format) => format === text), () => `write ${logFormats.join(", ")}`)

/**
 * @category flags
 * @since 0.1.0
 */
export const logFormat = Flag.Literals("log-format", logFormats).pipe(
  described("log-format", "Format of log messages, on the standard error", "pretty"),
  Flag.withFallbackConfig(fallback("log-format")),
  Flag.withDefault("pretty"),
  Flag.mapEffect((given) =>
    typeof given === "string"
      ? Effect.succeed(given)
      : read(given.where, given.text, () => Promise.resolve(logFormatOf))
  )
)

/**
 * @category flags
 * @since 0.1.0
 */
export const passive = truth(
  "passive",
  (flag) => flag.pipe(described("passive", "Answer requests, but start no lookups of its own accord"))
)

/**
 * @category flags
 * @since 0.1.0
 */
export const publicHost = setting(
  "public-host",
  "ip",
  "The node's public IP address, if known; otherwise the node accepts what enough of its peers observe",
  () => settings().then(({ ip }) => ip)
)

/**
 * @category flags
 * @since 0.1.0
 */
export const maxKeys = setting(
  "max-keys",
  "number",
  "Maximum number of keys that the node stores records for",
  () => settings().then(({ maxKeys }) => maxKeys),
  "100000"
)

/**
 * @category flags
 * @since 0.1.0
 */
export const maxBytes = setting(
  "max-bytes",
  "bytes",
  "Maximum memory for the records that the node stores, in bytes",
  () => settings().then(({ maxBytes }) => maxBytes),
  "67108864"
)

/**
 * @category flags
 * @since 0.1.0
 */
export const verifyThreads = setting(
  "verify-threads",
  "number",
  "Threads that verify signatures; 0 verifies on the node's own thread",
  () => settings().then(({ verifyThreads }) => verifyThreads),
  "one per core, up to 4"
)

const dataFlag = (description: string, standard?: string) => setting("data", "directory", description, asIs, standard)

/**
 * A data directory, `./data` by default.
 *
 * @category flags
 * @since 0.1.0
 */
export const data = dataFlag("Directory of the node's identity and state", "./data").pipe(
  Flag.map(Option.getOrElse(() => "./data"))
)

/**
 * A data directory, for the peers in it; optional.
 *
 * @category flags
 * @since 0.1.0
 */
export const acquainted = dataFlag(
  "The data directory of a node: without --bootstrap, the command joins through its running node and stored peers"
)

/**
 * A data directory, for the identity in it; optional.
 *
 * @category flags
 * @since 0.1.0
 */
export const author = dataFlag(
  "The data directory of the identity, which a running node may be using; without --bootstrap, the command joins " +
    "through its running node and stored peers"
)

/**
 * @category flags
 * @since 0.1.0
 */
export const passphraseEnv = setting(
  "passphrase-env",
  "name",
  "The environment variable that holds the passphrase of an encrypted identity",
  asIs
)

/**
 * Same for commands that may create an identity.
 *
 * @category flags
 * @since 0.1.0
 */
export const newPassphraseEnv = setting(
  "passphrase-env",
  "name",
  "The environment variable that holds the passphrase of an encrypted identity; a new one is encrypted with it",
  asIs
)

/** Seconds, at most `max`; `bound` is what is said of longer times. */
const ttlUpTo = (max: number, bound: string) =>
  Flag.String("ttl").pipe(
    Flag.withMetavar("seconds"),
    Flag.withDescription(`Lifetime of the record (default 3600${bound})`),
    Flag.withDefault("3600"),
    Flag.mapEffect((text) => {
      const ttl = /^\d+$/.test(text) ? Number(text) : 0
      return ttl >= 1 && ttl <= max
        ? Effect.succeed(ttl)
        : new CliError.ValidationError({ message: `--ttl "${text}": write a number of seconds, 1 to ${max}` })
    })
  )

/**
 * Lifetime of a record in seconds.
 *
 * @category flags
 * @since 0.1.0
 */
export const ttl = ttlUpTo(0xffff_ffff, "; after 604800, seven days, it is gone in any case")

/**
 * Same for a record under a topic.
 *
 * @category flags
 * @since 0.1.0
 */
export const topicTtl = ttlUpTo(7200, ", at most 7200")

/**
 * @category arguments
 * @since 0.1.0
 */
export const peer = Argument.String("host:port").pipe(
  Argument.withDescription("UDP address of a node"),
  Argument.mapEffect((text) => read("the node", text, () => settings().then(({ host }) => host(1))))
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
 * A node id, given as such or by the address that it is derived from.
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
  Argument.withDescription("The topic's name"),
  Argument.mapEffect(parsed(async () => {
    const { parse } = await import("../Topic.ts")
    return (text) => Result.mapError(parse(text), ({ message }) => message)
  }))
)

/** Maximum bytes of text in a message. */
const maxText = 389

/** Node's replacement for bytes in an argument that are not UTF-8. */
const replacement = "\ufffd"

/**
 * The text of a message, as UTF-8.
 *
 * @category arguments
 * @since 0.1.0
 */
export const text = Argument.String("text").pipe(
  Argument.withDescription(
    `The message, at most ${maxText} bytes of UTF-8; - or nothing reads it from the standard input unchanged`
  ),
  Argument.optional,
  Argument.mapEffect((argument) =>
    Effect.gen(function*() {
      const bytes = yield* Input.bytesOf("text", argument)
      const given = Option.getOrElse(argument, () => "-")
      const isText = given === "-" ? Input.textOf(bytes) !== undefined : !given.includes(replacement)
      if (!isText) {
        return yield* new CliError.ValidationError({
          message: "The text is not UTF-8, which messages must be. Encode other bytes, for example in Base64"
        })
      }
      return bytes.length >= 1 && bytes.length <= maxText
        ? bytes
        : yield* new CliError.ValidationError({ message: `The text has ${bytes.length} bytes: write 1 to ${maxText}` })
    })
  )
)

/**
 * @category flags
 * @since 0.1.0
 */
export const endpoint = Flag.String("endpoint").pipe(
  Flag.withMetavar("url"),
  Flag.withDescription(
    "URL of the agent, such as tcp://203.0.113.5:8080; repeatable. Use quic://IP:PORT for the address of the node " +
      "itself only: v0.2 peers take the first one for that"
  ),
  Flag.mapEffect(parsed(async () => {
    const { isUrl } = await import("../Endpoint.ts")
    return (text) =>
      isUrl(text)
        ? Result.succeed(text)
        : Result.fail(`--endpoint "${text}": write a URL such as tcp://203.0.113.5:8080`)
  })),
  Flag.atLeast(1)
)

/**
 * The public key that a delegation authorizes, 32 bytes.
 *
 * @category arguments
 * @since 0.1.0
 */
export const publicKey = Argument.String("public-key").pipe(
  Argument.withDescription(
    "The public key to act for the address: 64 hex digits, as \"identity show\" prints it there"
  ),
  Argument.mapEffect(parsed(async () => {
    const { decode } = await import("../internal/hex.ts")
    return (text) =>
      /^[0-9a-f]{64}$/i.test(text)
        ? Result.succeed(decode(text.toLowerCase()))
        : Result.fail(`"${text}" is not a public key: write 64 hex digits`)
  }))
)

/**
 * Lifetime of a delegation in seconds; unlimited if not given.
 *
 * @category flags
 * @since 0.1.0
 */
export const lifetime = Flag.String("lifetime").pipe(
  Flag.withMetavar("seconds"),
  Flag.withDescription("Lifetime of the delegation (default: until a later one)"),
  Flag.mapEffect((text) =>
    /^[1-9]\d{0,9}$/.test(text)
      ? Effect.succeed(Number(text))
      : new CliError.ValidationError({ message: `--lifetime "${text}": write a number of seconds, 1 to 9999999999` })
  ),
  Flag.optional
)

/**
 * A delegation as `identity delegate` prints it.
 *
 * @category arguments
 * @since 0.1.0
 */
export const delegation = Argument.String("delegation").pipe(
  Argument.withDescription(
    "The delegation in hex digits, as \"identity delegate\" prints it; - or nothing reads it from the standard input"
  ),
  Argument.optional,
  Argument.mapEffect((argument) =>
    Effect.flatMap(
      Input.bytesOf("delegation", argument),
      (bytes) => parsed(async () => (await import("../node/DelegationFile.ts")).parse)(Input.textOf(bytes) ?? "")
    )
  )
)

/**
 * @category arguments
 * @since 0.1.0
 */
export const hex = Argument.String("hex").pipe(
  Argument.withDescription(
    "The record in hex digits; a 0x prefix and white space are ignored. - or nothing reads it from the standard input, " +
      "in hex digits or as raw bytes"
  ),
  Argument.optional,
  Argument.mapEffect((argument) =>
    Effect.gen(function*() {
      const bytes = yield* Input.bytesOf("record", argument)
      const text = Input.textOf(bytes)
      // A record's first byte never starts a UTF-8 text.
      return text === undefined ? bytes : yield* parsed(hexDigits)(text)
    })
  )
)

const hexDigits = async () => {
  const { decode } = await import("../internal/hex.ts")
  return (text: string) => {
    const digits = text.replace(/\s/g, "").replace(/^0x/i, "").toLowerCase()
    return !/^[0-9a-f]+$/.test(digits)
      ? Result.fail("The record is not written in hex digits")
      : digits.length % 2 !== 0
      ? Result.fail(`The record ends in the middle of a byte: ${digits.length} hex digits`)
      : Result.succeed(decode(digits))
  }
}
