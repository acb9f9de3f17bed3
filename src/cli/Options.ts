/**
 * Flags and arguments shared by several commands.
 *
 * The parsers of records and addresses are loaded when a value is read, so that
 * `--help` starts fast.
 *
 * @since 0.1.0
 */
import * as Argument from "effect/cli/Argument"
import * as CliError from "effect/cli/CliError"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as SchemaTransformation from "effect/SchemaTransformation"
import type { Address } from "../Address.ts"
import { decodeUtf8 } from "../internal/text.ts"
import type { Host } from "../NameResolver.ts"
import { httpUrl, listenFault, nodeHost, type Setting, settings } from "../node/internal/settings.ts"
import { hinted, integer, type TextCodec } from "../node/internal/textCodec.ts"
import * as Input from "./Input.ts"
import * as Parameter from "./Parameter.ts"

/** Parses an argument with a parser loaded on demand, whose message is complete. */
const parsed = <A>(load: () => Promise<(text: string) => Result.Result<A, string>>) => (text: string) =>
  Effect.flatMap(
    Effect.promise(load),
    (parse) => Effect.mapError(Effect.fromResult(parse(text)), (message) => new CliError.ValidationError({ message }))
  )

const parsedAddress = parsed(async () => {
  const { fromString } = await import("../Address.ts")
  return (text) => Result.mapError(fromString(text), ({ message }) => message)
})

/**
 * A flag that is on if it is given.
 *
 * @category flags
 * @since 0.1.0
 */
export const toggle = (name: string, description: string): Flag.Flag<boolean> =>
  Flag.Boolean(name).pipe(Flag.withDescription(description), Flag.withoutNegation, Flag.withDefault(false))

/** The flag of a setting with a list, each occurrence of which adds to it. */
const occurrences = <A>(setting: Setting<ReadonlyArray<A>>): Flag.Flag<ReadonlyArray<A>> =>
  Flag.map(
    Flag.atLeast(Parameter.flag(setting.flag, setting.metavar, setting.codec, setting.description), 1),
    (lists) => lists.flat()
  )

/** A setting with a list; empty if it is not given. */
const repeated = <A>(setting: Setting<ReadonlyArray<A>>): Flag.Flag<ReadonlyArray<A>> =>
  Parameter.ofSetting(setting, occurrences(setting)).pipe(Flag.withDefault<ReadonlyArray<A>>([]))

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
export const jsonEvents = Parameter.toggle(settings.json)

/**
 * Nodes to join through; empty if none is given.
 *
 * @category flags
 * @since 0.1.0
 */
export const bootstrap = Parameter.ofSetting(
  settings.bootstrap,
  Flag.atLeast(Parameter.flag("bootstrap", "host:port", nodeHost, settings.bootstrap.description), 1)
).pipe(Flag.withDefault<ReadonlyArray<Host>>([]))

/**
 * The network that a command or a node takes part in.
 *
 * @category flags
 * @since 0.1.0
 */
export const network = {
  network: Flag.optional(Parameter.ofSetting(settings.network)),
  networkKeyEnv: Flag.optional(Parameter.ofSetting(settings.networkKeyEnv))
}

/**
 * Where a command joins: nodes to join through, and their network.
 *
 * @category flags
 * @since 0.1.0
 */
export const joining = { bootstrap, ...network }

/**
 * @category flags
 * @since 0.1.0
 */
export const httpTokenEnv = Flag.optional(Parameter.ofSetting(settings.httpTokenEnv))

/**
 * The token of a running node that a command acts through.
 *
 * @category flags
 * @since 0.1.0
 */
export const nodeTokenEnv = Flag.optional(Parameter.ofSetting({
  ...settings.httpTokenEnv,
  description:
    "The environment variable that holds the token of the running node's HTTP server; without it, the one in " +
    "the file http-token of --data"
}))

/**
 * Addresses to listen on.
 *
 * @category flags
 * @since 0.1.0
 */
export const listen = Parameter.defaulted(
  settings.listen,
  Flag.mapEffect(occurrences(settings.listen), (addresses) => {
    // Each occurrence by itself was checked before.
    const fault = listenFault(addresses)
    return fault === undefined
      ? Effect.succeed(addresses)
      : Effect.fail(new CliError.ValidationError({ message: `--listen ${fault}` }))
  })
)

/**
 * Origins whose pages may send HTTP requests; empty if none is given.
 *
 * @category flags
 * @since 0.1.0
 */
export const httpOrigin = repeated(settings.httpOrigin)

/**
 * Origins whose pages may publish records without the token; empty if none is
 * given.
 *
 * @category flags
 * @since 0.1.0
 */
export const httpRecords = repeated(settings.httpRecords)

/**
 * Networks to exchange datagrams with, and those to exchange none with; empty if
 * none is given.
 *
 * @category flags
 * @since 0.1.0
 */
export const networks = { allowFrom: repeated(settings.allowFrom), denyFrom: repeated(settings.denyFrom) }

/**
 * A data directory, `./data` by default.
 *
 * @category flags
 * @since 0.1.0
 */
export const data = Parameter.defaulted(settings.data)

/**
 * The running node of this machine that a command acts through.
 *
 * @category flags
 * @since 0.1.0
 */
export const runningNode = { data, httpTokenEnv: nodeTokenEnv, json }

const otherData = (description: string) =>
  Flag.optional(Parameter.ofSetting({ ...settings.data, standard: undefined, description }))

/**
 * A data directory, for the peers in it; optional.
 *
 * @category flags
 * @since 0.1.0
 */
export const acquainted = otherData(
  "The data directory of a node: without --bootstrap, the command joins through its running node and stored peers"
)

/**
 * A data directory, for the identity in it; optional.
 *
 * @category flags
 * @since 0.1.0
 */
export const author = otherData(
  "The data directory of the identity, which a running node may be using; without --bootstrap, the command joins " +
    "through its running node and stored peers"
)

/**
 * A data directory, whose node a command runs unless it runs already; optional.
 *
 * @category flags
 * @since 0.1.0
 */
export const shared = otherData(
  "The data directory of the node: the command acts through the node that runs there, or runs it itself. Without it the " +
    "node has a new identity each time and keeps nothing. With --node, the directory is for its token only"
)

/**
 * The data directory of the node that a command acts through; optional.
 *
 * @category flags
 * @since 0.1.0
 */
export const actingThrough = otherData(
  "The data directory of the running node (default ./data); with --node, the directory is for its token only"
)

/**
 * The environment variable that holds the key of a database; optional.
 *
 * @category flags
 * @since 0.1.0
 */
export const databaseKeyEnv = Flag.optional(Parameter.ofSetting(settings.databaseKeyEnv))

/**
 * The database whose identities a command manages; optional.
 *
 * @category flags
 * @since 0.1.0
 */
export const hostedDatabase = Flag.optional(Parameter.ofSetting({
  ...settings.database,
  description:
    "The database of the identities, as \"effect-dht host\" takes it: postgres://… or sqlite:PATH. Without it, they are " +
    "those of a running node"
}))

/**
 * The node that a command acts through; optional.
 *
 * @category flags
 * @since 0.1.0
 */
export const node = Flag.optional(
  Parameter.flag(
    "node",
    "url",
    settings.url.codec,
    "URL of a running node's HTTP server, such as http://127.0.0.1:2634"
  )
)

/**
 * @category flags
 * @since 0.1.0
 */
export const passphraseEnv = Parameter.ofSetting({
  ...settings.passphraseEnv,
  description: "The environment variable that holds the passphrase of an encrypted identity"
}).pipe(Flag.optional)

/**
 * Same for commands that may create an identity.
 *
 * @category flags
 * @since 0.1.0
 */
export const newPassphraseEnv = Flag.optional(Parameter.ofSetting(settings.passphraseEnv))

/**
 * The passphrase of an identity file that a command writes.
 *
 * @category flags
 * @since 0.1.0
 */
export const rewrittenPassphraseEnv = Flag.optional(
  Parameter.flag(
    "new-passphrase-env",
    "name",
    settings.passphraseEnv.codec,
    "The environment variable that holds the passphrase of the file that is written"
  )
)

/**
 * @category arguments
 * @since 0.1.0
 */
export const identityFile = Argument.String("file").pipe(
  Argument.withDescription("Path of an identity file"),
  Argument.filter((path) => path !== "" && path !== "-", () => "Write the path of a file")
)

/** Seconds, at most `max`; `bound` is the part of the description about longer times. */
const ttlUpTo = (max: number, bound: string) =>
  Parameter.flag(
    "ttl",
    "seconds",
    integer(1, max, "seconds"),
    `Lifetime of the record (default 3600${bound})`
  ).pipe(Flag.withDefault(3600))

/**
 * Lifetime of a record in seconds.
 *
 * @category flags
 * @since 0.1.0
 */
export const ttl = ttlUpTo(0xffff_ffff, "; after 604800, seven days, it is gone in any case")

/**
 * Same for the records of a hosted identity.
 *
 * @category flags
 * @since 0.1.0
 */
export const hostedTtl = ttlUpTo(604_800, ", under a topic at most 7200")

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
export const peer = Argument.String("host:port|address").pipe(
  Argument.withDescription("UDP address of a node, or the address that it has as an agent"),
  Argument.mapEffect((text): Effect.Effect<Host | Address, CliError.CliError> =>
    text.includes(":")
      ? Parameter.decode(nodeHost, "the node")(text)
      : Effect.mapError(
        parsedAddress(text),
        ({ message }) => new CliError.ValidationError({ message: `${message}; or write host:port` })
      )
  )
)

/**
 * @category arguments
 * @since 0.1.0
 */
export const address = Argument.String("address").pipe(
  Argument.withDescription("An address: 42 hex digits, 0x… (Ethereum), bc1… or 1… (Paralism)"),
  Argument.mapEffect(parsedAddress)
)

const nodeIdOrAddress = parsed(async () => {
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
})

/**
 * A node id, given as such or by the address that it is derived from.
 *
 * @category arguments
 * @since 0.1.0
 */
export const target = Argument.String("target").pipe(
  Argument.withDescription("A node id (64 hex digits) or an address"),
  Argument.mapEffect(nodeIdOrAddress)
)

/**
 * The key of a record that need not be at its publisher's.
 *
 * @category flags
 * @since 0.1.0
 */
export const key = Flag.String("key").pipe(
  Flag.withDescription(
    "Key of the record: a node id (64 hex digits) or an address, for the types 0x11 to 0x1f and 0x81 to 0x8f; by default " +
      "the publisher's own"
  ),
  Flag.mapEffect(nodeIdOrAddress),
  Flag.optional
)

/**
 * A record type that is left to applications.
 *
 * @category arguments
 * @since 0.1.0
 */
export const customType = Argument.String("type").pipe(
  Argument.withDescription("The record type: 0x03 to 0x0f, 0x11 to 0x1f or 0x81 to 0x8f"),
  Argument.mapEffect(parsed(async () => {
    const { isCustom } = await import("../Record.ts")
    return (text) => {
      const type = /^(0x[0-9a-f]+|\d+)$/i.test(text) ? Number(text) : NaN
      return isCustom(type)
        ? Result.succeed(type)
        : Result.fail(`"${text}" is not a type of custom records: write 0x03 to 0x0f, 0x11 to 0x1f or 0x81 to 0x8f`)
    }
  }))
)

/**
 * A value as JSON.
 *
 * @category arguments
 * @since 0.1.0
 */
export const value = Argument.String("value").pipe(
  Argument.withDescription("The value, as JSON; - or nothing reads it from the standard input"),
  Argument.optional,
  Argument.mapEffect((argument) =>
    Effect.flatMap(Input.bytesOf("value", argument), (bytes) =>
      parsed(async () => {
        const Schema = await import("effect/Schema")
        const decode = Schema.decodeUnknownResult(Schema.fromJsonString(Schema.Json))
        return (text) => Result.mapError(decode(text), () => "The value is not JSON")
      })(decodeUtf8(bytes) ?? ""))
  )
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
      const isText = given === "-" ? decodeUtf8(bytes) !== undefined : !given.includes(replacement)
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
 * The card of an agent.
 *
 * @category flags
 * @since 0.1.0
 */
export const agentCard = Flag.optional(Parameter.flag(
  "agent-card",
  "url",
  httpUrl("https://agent.example/.well-known/agent-card.json"),
  "URL of the agent's A2A card, which is fetched: the profile names it and the SHA-256 of its bytes"
))

/**
 * @category flags
 * @since 0.1.0
 */
export const allowPrivate = Flag.Boolean("allow-private").pipe(
  Flag.withDescription("Fetch agent cards from this machine and private networks as well"),
  Flag.withoutNegation,
  Flag.withDefault(false)
)

const keyFromHex: TextCodec<Uint8Array> = Schema.String.check(Schema.isPattern(/^[0-9a-f]{64}$/i)).pipe(
  Schema.decodeTo(Schema.Uint8ArrayFromHex),
  hinted("write its 64 hex digits")
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
  Argument.mapEffect(Parameter.decode(keyFromHex, "the public key"))
)

/**
 * Lifetime of a delegation in seconds; unlimited if not given.
 *
 * @category flags
 * @since 0.1.0
 */
export const lifetime = Parameter.flag(
  "lifetime",
  "seconds",
  integer(1, 9_999_999_999, "seconds"),
  "Lifetime of the delegation (default: until a later one)"
).pipe(Flag.optional)

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
      (bytes) => parsed(async () => (await import("../node/DelegationFile.ts")).parse)(decodeUtf8(bytes) ?? "")
    )
  )
)

const hexDigits: TextCodec<Uint8Array> = Schema.String.pipe(
  Schema.decodeTo(
    Schema.String.check(
      Schema.isPattern(/^[0-9a-f]+$/i, { message: "is not written in hex digits" }),
      Schema.makeFilter(({ length }) => length % 2 === 0 || `ends in the middle of a byte: ${length} hex digits`)
    ),
    SchemaTransformation.transform({
      decode: (text: string) => text.replace(/\s/g, "").replace(/^0x/i, ""),
      encode: (digits) => digits
    })
  ),
  Schema.decodeTo(Schema.Uint8ArrayFromHex)
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
      const text = decodeUtf8(bytes)
      // A record's first byte never starts a UTF-8 text.
      return text === undefined ? bytes : yield* Parameter.decode(hexDigits, "The record")(text)
    })
  )
)
