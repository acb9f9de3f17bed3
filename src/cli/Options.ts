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
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import type { Host } from "../NameResolver.ts"
import type * as Settings from "../node/internal/settings.ts"
import type { SocketAddress } from "../SocketAddress.ts"
import * as Input from "./Input.ts"

/** Reads a text with a parser that is loaded first, and says where a wrong one is from. */
const read = <A>(where: string, text: string, load: () => Promise<Settings.Parse<A>>) =>
  Effect.flatMap(Effect.promise(load), (parse) =>
    Effect.mapError(
      Effect.fromResult(parse(text)),
      (reason) => new CliError.ValidationError({ message: `${where} "${text}": ${reason}` })
    ))

/** The same for an argument, whose parser says all there is to say. */
const parsed = <A>(load: () => Promise<Settings.Parse<A>>) => (text: string) =>
  Effect.flatMap(
    Effect.promise(load),
    (parse) => Effect.mapError(Effect.fromResult(parse(text)), (message) => new CliError.ValidationError({ message }))
  )

const settings = () => import("../node/internal/settings.ts")

/** What a setting says, and where. */
interface Said {
  readonly where: string
  readonly text: string
}

const variableOf = (name: string): string => `DHT_${name.toUpperCase().replaceAll("-", "_")}`

/** A description that names the environment variable, and the default if there is one. */
const described = (name: string, description: string, standard?: string) => <A>(flag: Flag.Flag<A>): Flag.Flag<A> => {
  const from = `environment: ${variableOf(name)}`
  return Flag.withDescription(
    flag,
    `${description} (${standard === undefined ? from : `default ${standard}; ${from}`})`
  )
}

/** The environment variable of a flag, for whoever does not type the flag. An empty one counts as none. */
const fallback = (name: string): Config.Config<Said> =>
  Config.map(Config.String(variableOf(name)), (text) => ({ where: variableOf(name), text }))

/** A flag that the environment stands in for. */
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
    Flag.map((text): Said => ({ where: `--${name}`, text })),
    Flag.withFallbackConfig(fallback(name)),
    Flag.optional,
    Flag.mapEffect(Option.match({
      onNone: () => Effect.succeedNone,
      onSome: ({ text, where }) => Effect.asSome(read(where, text, load))
    }))
  )

/** A flag that is there or not, or that the environment stands in for. */
const truth = (name: string, flag: (plain: Flag.Flag<boolean>) => Flag.Flag<boolean>): Flag.Flag<boolean> =>
  flag(Flag.Boolean(name)).pipe(
    Flag.withFallbackConfig(fallback(name)),
    Flag.withDefault(false),
    Flag.mapEffect((said) =>
      typeof said === "boolean"
        ? Effect.succeed(said)
        : read(said.where, said.text, () => settings().then(({ truth }) => truth))
    )
  )

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
 * For a command that goes on.
 *
 * @category flags
 * @since 0.1.0
 */
export const jsonEvents = truth(
  "json",
  (flag) => flag.pipe(described("json", "Print JSON, one event on a line"), Flag.withoutNegation)
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
  "Where to listen for UDP; port 0 takes a free one, [::] is IPv6 and IPv4",
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
  "Where to serve HTTP: a page that shows the node, its documents, metrics and health. An address that other machines " +
    "can reach needs --http-token-env",
  () => settings().then(({ host }) => host(0)),
  "127.0.0.1:2634"
).pipe(Flag.map(Option.getOrElse((): Host => ({ host: "127.0.0.1", port: 2634 }))))

/**
 * The same, where the environment speaks of another node.
 *
 * @category flags
 * @since 0.1.0
 */
export const demoHttp = Flag.String("http").pipe(
  Flag.withMetavar("host:port"),
  Flag.withDescription(
    "Where to serve the page, for this machine only; at the next free port if it is taken (default 127.0.0.1:2634)"
  ),
  Flag.withDefault("127.0.0.1:2634"),
  Flag.mapEffect((text) => read("--http", text, () => settings().then(({ host }) => host(0))))
)

/**
 * @category flags
 * @since 0.1.0
 */
export const noHttp = truth("no-http", (flag) => flag.pipe(described("no-http", "Serve no HTTP"), Flag.withoutNegation))

/** Any name: whoever uses it judges it. */
const asIs = () =>
  Promise.resolve((text: string) => text === "" ? Result.fail("there is nothing in it") : Result.succeed(text))

/**
 * @category flags
 * @since 0.1.0
 */
export const httpTokenEnv = setting(
  "http-token-env",
  "name",
  "The environment variable that holds the token which HTTP requests have to send, 16 characters or more",
  asIs
)

/** Reads the URL of an HTTP server, such as the example. */
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
  "Where an OpenTelemetry collector takes traces, metrics and logs over HTTP, such as http://127.0.0.1:4318",
  () => Promise.resolve(httpUrl("http://127.0.0.1:4318"))
)

/**
 * Where a node serves HTTP.
 *
 * @category flags
 * @since 0.1.0
 */
export const url = setting(
  "url",
  "url",
  "Where the node serves HTTP",
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
  described("log-format", "How log messages are written, on the standard error", "pretty"),
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
  (flag) => flag.pipe(described("passive", "Answer others, but look nothing up of its own accord"))
)

/**
 * @category flags
 * @since 0.1.0
 */
export const publicHost = setting(
  "public-host",
  "ip",
  "The node's own public IP, where it is known; else the node believes what enough others see",
  () => settings().then(({ ip }) => ip)
)

/**
 * @category flags
 * @since 0.1.0
 */
export const maxKeys = setting(
  "max-keys",
  "number",
  "Keys that the node holds records for, at most",
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
  "Memory for the records that the node holds, at most",
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
  "Threads that check signatures; 0 leaves it to the node's own",
  () => settings().then(({ verifyThreads }) => verifyThreads),
  "one for each core, up to 4"
)

const dataFlag = (description: string, standard?: string) => setting("data", "directory", description, asIs, standard)

/**
 * A data directory, `./data` by default.
 *
 * @category flags
 * @since 0.1.0
 */
export const data = dataFlag("Where the node keeps its identity and its state", "./data").pipe(
  Flag.map(Option.getOrElse(() => "./data"))
)

/**
 * A data directory for whom it knows, or none.
 *
 * @category flags
 * @since 0.1.0
 */
export const acquainted = dataFlag(
  "The data directory of a node: without --bootstrap, the node that runs there and the peers it remembers are asked"
)

/**
 * A data directory for its identity, or none.
 *
 * @category flags
 * @since 0.1.0
 */
export const author = dataFlag(
  "The data directory whose identity to use, also that of a node that runs; without --bootstrap, that node and the " +
    "peers it remembers are asked"
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
 * The same where an identity may be made.
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
    Flag.withDescription(`How long the record lives (default 3600${bound})`),
    Flag.withDefault("3600"),
    Flag.mapEffect((text) => {
      const ttl = /^\d+$/.test(text) ? Number(text) : 0
      return ttl >= 1 && ttl <= max
        ? Effect.succeed(ttl)
        : new CliError.ValidationError({ message: `--ttl "${text}": write a number of seconds, 1 to ${max}` })
    })
  )

/**
 * Seconds.
 *
 * @category flags
 * @since 0.1.0
 */
export const ttl = ttlUpTo(0xffff_ffff, "; after 604800, seven days, it is gone in any case")

/**
 * The same for a record under a topic.
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
  Argument.withDescription("Where a node listens"),
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
  Argument.mapEffect(parsed(async () => {
    const { parse } = await import("../Topic.ts")
    return (text) => Result.mapError(parse(text), ({ message }) => message)
  }))
)

/** Bytes of text that fit into one message. */
const maxText = 389

/** What Node makes of bytes in an argument that are not UTF-8. */
const replacement = "\ufffd"

/**
 * The text of a message, in UTF-8.
 *
 * @category arguments
 * @since 0.1.0
 */
export const text = Argument.String("text").pipe(
  Argument.withDescription(
    `The message, at most ${maxText} bytes of UTF-8; - or nothing takes it from the standard input, as it is`
  ),
  Argument.optional,
  Argument.mapEffect((argument) =>
    Effect.gen(function*() {
      const bytes = yield* Input.bytesOf("text", argument)
      const said = Option.getOrElse(argument, () => "-")
      const isText = said === "-" ? Input.textOf(bytes) !== undefined : !said.includes(replacement)
      if (!isText) {
        return yield* new CliError.ValidationError({
          message:
            "The text is not UTF-8, and a message of other bytes could not be read: encode them, in Base64 for one"
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
    "Where the agent can be reached, such as tcp://203.0.113.5:8080; repeatable. quic://IP:PORT is for the address of " +
      "the node itself: nodes of version 0.2 take the first one for that"
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
 * The key that a master lets act for it, 32 bytes.
 *
 * @category arguments
 * @since 0.1.0
 */
export const publicKey = Argument.String("public-key").pipe(
  Argument.withDescription("The public key that shall act for the address: 64 hex digits, of \"identity show\" there"),
  Argument.mapEffect(parsed(async () => {
    const { decode } = await import("../internal/hex.ts")
    return (text) =>
      /^[0-9a-f]{64}$/i.test(text)
        ? Result.succeed(decode(text.toLowerCase()))
        : Result.fail(`"${text}" is not a public key: write 64 hex digits`)
  }))
)

/**
 * Seconds, or none for ever.
 *
 * @category flags
 * @since 0.1.0
 */
export const lifetime = Flag.String("lifetime").pipe(
  Flag.withMetavar("seconds"),
  Flag.withDescription("How long the key may act for the address (default: until a later delegation)"),
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
    "The delegation in hex digits, as \"identity delegate\" prints it; - or nothing takes it from the standard input"
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
    "The record in hex digits; 0x in front and white space are ignored. - or nothing takes it from the standard input, " +
      "in hex digits or as it is"
  ),
  Argument.optional,
  Argument.mapEffect((argument) =>
    Effect.gen(function*() {
      const bytes = yield* Input.bytesOf("record", argument)
      const text = Input.textOf(bytes)
      // No record begins with a byte that a text could begin with.
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
