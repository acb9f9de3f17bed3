/**
 * Settings of nodes and commands. Each is declared once: the flag, the
 * environment variable, `--help` and the documents are derived from it.
 *
 * @since 0.1.0
 */
import * as Config from "effect/Config"
import * as LogLevel from "effect/LogLevel"
import * as IpInterface from "effect/net/IpInterface"
import * as IpNetwork from "effect/net/IpNetwork"
import * as NetAddress from "effect/net/NetAddress"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { networkFault } from "../../internal/text.ts"
import type { Host } from "../../NameResolver.ts"
import * as SocketAddress from "../../SocketAddress.ts"
import { boolean, hinted, integer, nonEmpty, oneOf, parsed, type TextCodec } from "./textCodec.ts"

// --- Codecs --------------------------------------------------------------------

const hostAndPort = Schema.Struct({ host: Schema.String, port: Schema.Int })

const formatHost = ({ host, port }: Host): string => `${host.includes(":") ? `[${host}]` : host}:${port}`

const parseHost = (minPort: 0 | 1) => (text: string): Result.Result<Host, string> =>
  Result.filterOrFail(
    Result.mapError(SocketAddress.splitHostPort(text), ({ reason }) => reason),
    ({ port }) => port >= minPort,
    () => "a node cannot have port 0"
  )

/** A name or an IP address, and a port. Port 0 is valid for listening only. */
const boundHost: TextCodec<Host> = parsed(hostAndPort, parseHost(0), formatHost)

/**
 * The host and port of a node.
 *
 * @internal
 */
export const nodeHost: TextCodec<Host> = parsed(hostAndPort, parseHost(1), formatHost)

const nodeHosts: TextCodec<ReadonlyArray<Host>> = parsed(
  Schema.Array(hostAndPort),
  (text) =>
    Result.all(
      text.split(",").map((part) => part.trim()).filter(Boolean).map((part) =>
        Result.mapError(parseHost(1)(part), (reason) => part === text ? reason : `"${part}": ${reason}`)
      )
    ),
  (hosts) => hosts.map(formatHost).join(",")
)

const parseListen = (text: string): Result.Result<SocketAddress.SocketAddress, string> =>
  Result.mapError(SocketAddress.fromString(text), ({ reason }) =>
    Result.isSuccess(SocketAddress.splitHostPort(text))
      ? "write an IP address of this machine, or 0.0.0.0 for all of them"
      : reason)

const socketAddresses: TextCodec<ReadonlyArray<SocketAddress.SocketAddress>> = parsed(
  Schema.Array(hostAndPort),
  (text) => {
    const parts = text.split(",").map((part) => part.trim())
    const parsed = Result.all(
      parts.map((part) =>
        Result.mapError(parseListen(part), (reason) => parts.length === 1 ? reason : `"${part}": ${reason}`)
      )
    )
    return Result.flatMap(parsed, (addresses) => {
      const fault = listenFault(addresses)
      return fault === undefined ? Result.succeed(addresses) : Result.fail(fault)
    })
  },
  (addresses) => addresses.map(formatHost).join(",")
)

/**
 * Why a node cannot listen on all of these addresses, which may come from
 * several flags; undefined if it may.
 *
 * @internal
 */
export const listenFault = (addresses: ReadonlyArray<SocketAddress.SocketAddress>): string | undefined => {
  if (addresses.length > maxListen) return `give at most ${maxListen} addresses to listen on`
  const seen = new Set<string>()
  for (const address of addresses) {
    const key = SocketAddress.key(address)
    if (address.port !== 0 && seen.has(key)) return `${formatHost(address)} is given twice`
    seen.add(key)
  }
  return undefined
}

/** Most addresses that a node listens on. */
const maxListen = 16

const ip: TextCodec<string> = parsed(
  Schema.String,
  (text) => {
    const address = SocketAddress.fromIp(text.trim(), 0)
    return address === undefined
      ? Result.fail(SocketAddress.zoneReason(text.trim()) ?? "write an IP address")
      : Result.succeed(address.host)
  },
  (host) => host
)

const networkHint = "write a network such as 203.0.113.0/24 or 2001:db8::/32, or an IP address"

/** A network, or one host as the network of itself. */
const parseNetwork = (text: string): Result.Result<IpNetwork.IpNetwork, string> => {
  const zone = SocketAddress.zoneReason(text)
  if (zone !== undefined) return Result.fail(zone)
  const parsed = IpInterface.fromString(text)
  if (Result.isFailure(parsed)) return Result.fail(networkHint)
  const { address, prefixLength } = parsed.success
  const network = IpNetwork.fromInterface(parsed.success)
  // Senders over IPv4 have their own form of address on every socket.
  if (SocketAddress.ipBytes(NetAddress.formatIp(address))?.length === 4 && NetAddress.isIpv6Address(address)) {
    return Result.fail("write a network of IPv4 in its own form, such as 203.0.113.0/24")
  }
  return NetAddress.formatIp(network.address) === NetAddress.formatIp(address)
    ? Result.succeed(network)
    : Result.fail(`only the first ${prefixLength} bits may be set; write ${IpNetwork.format(network)}`)
}

const networks: TextCodec<ReadonlyArray<IpNetwork.IpNetwork>> = parsed(
  Schema.Array(Schema.declare(IpNetwork.isIpNetwork)),
  (text) => {
    const parts = text.split(",").map((part) => part.trim()).filter(Boolean)
    // Without a network, all would be allowed.
    if (parts.length === 0) return Result.fail(networkHint)
    return Result.all(
      parts.map((part) =>
        Result.mapError(parseNetwork(part), (reason) => part === text ? reason : `"${part}": ${reason}`)
      )
    )
  },
  (networks) => networks.map(IpNetwork.format).join(",")
)

/**
 * The URL of a web server or a document.
 *
 * @internal
 */
export const httpUrl = (example: string): TextCodec<string> =>
  Schema.String.check(Schema.makeFilter((text) => /^https?:$/.test(URL.parse(text)?.protocol ?? ""))).pipe(
    hinted(`write a URL such as ${example}`)
  )

/** Origins; `*` for every one of them, where that is allowed. */
const originsOr = (all: "*" | undefined): TextCodec<ReadonlyArray<string>> =>
  parsed(
    Schema.Array(Schema.String),
    (text) => {
      const parts = text.split(",").map((part) => part.trim()).filter(Boolean)
      const wrong = parts.find((part) =>
        part !== all && (!/^https?:$/.test(URL.parse(part)?.protocol ?? "") || URL.parse(part)?.origin !== part)
      )
      return wrong === undefined
        ? Result.succeed(parts)
        : Result.fail(
          `"${wrong}" is not an origin: write a scheme and a host such as https://app.example, without a path` +
            (all === undefined ? "" : ", or * for every origin")
        )
    },
    (parts) => parts.join(",")
  )

const networkName: TextCodec<string> = parsed(
  Schema.String,
  (text) => {
    const fault = networkFault(text)
    return fault === undefined ? Result.succeed(text) : Result.fail(fault)
  },
  (name) => name
)

/**
 * A database, as its URL names it.
 *
 * @internal
 */
export type Database =
  | { readonly _tag: "Postgres"; readonly url: Redacted.Redacted }
  | { readonly _tag: "Sqlite"; readonly path: string }

const sqlitePrefix = "sqlite:"

/** The message does not quote the URL, which may have a password in it. */
const database: TextCodec<Database> = parsed(
  Schema.Union([
    Schema.TaggedStruct("Postgres", { url: Schema.Redacted(Schema.String) }),
    Schema.TaggedStruct("Sqlite", { path: Schema.String })
  ]),
  (text) => {
    const path = text.startsWith(sqlitePrefix) ? text.slice(sqlitePrefix.length) : ""
    if (path !== "") return Result.succeed({ _tag: "Sqlite", path } as const)
    return /^postgres(?:ql)?:$/.test(URL.parse(text)?.protocol ?? "")
      ? Result.succeed({ _tag: "Postgres", url: Redacted.make(text) } as const)
      : Result.fail("write postgres://USER:PASSWORD@HOST/NAME or sqlite:PATH")
  },
  (database) => database._tag === "Sqlite" ? sqlitePrefix + database.path : Redacted.value(database.url)
)

/** The name of an environment variable. The message does not quote it: it may be the secret itself. */
const nameOf = (what: string): TextCodec<string> =>
  Schema.String.check(
    Schema.isPattern(/^[A-Za-z_][A-Za-z0-9_]*$/, {
      message: `takes the name of an environment variable, not the ${what}`
    })
  )

/**
 * @internal
 */
export const logFormats = ["pretty", "json", "logfmt"] as const

const logLevels: TextCodec<LogLevel.LogLevel> = parsed(
  Schema.Literals(LogLevel.values),
  (text) => {
    const word = text.toLowerCase()
    const level = word === "warning" ? "Warn" : LogLevel.values.find((level) => level.toLowerCase() === word)
    return Result.fromNullishOr(level, () => `write ${LogLevel.values.join(", ").toLowerCase()}, warning`)
  },
  (level) => level.toLowerCase()
)

// --- Declarations ----------------------------------------------------------------

/**
 * A value that an operator sets, by a flag or by an environment variable.
 *
 * @internal
 */
export interface Setting<A, Standard = A | undefined> {
  /** The flag, without its dashes. */
  readonly flag: string
  readonly variable: string
  /** The placeholder of the value in help and usage, such as `host:port`. */
  readonly metavar: string
  readonly codec: TextCodec<A>
  readonly description: string
  /** The default of commands. */
  readonly standard: Standard
}

function setting<A>(flag: string, metavar: string, codec: TextCodec<A>, description: string): Setting<A>
function setting<A>(
  flag: string,
  metavar: string,
  codec: TextCodec<A>,
  description: string,
  standard: NoInfer<A>
): Setting<A, A>
function setting<A>(flag: string, metavar: string, codec: TextCodec<A>, description: string, standard?: A): Setting<A> {
  const variable = `DHT_${flag.toUpperCase().replaceAll("-", "_")}`
  return { flag, variable, metavar, codec, description, standard }
}

/**
 * All settings. Booleans are false by default.
 *
 * @internal
 */
export const settings = {
  listen: setting(
    "listen",
    "ip:port",
    socketAddresses,
    "UDP address to listen on; port 0 takes a free port, [::] is IPv6 and IPv4, or IPv6 beside an address of IPv4; " +
      "repeatable, and as a variable comma-separated",
    [{ host: "0.0.0.0", port: 4121 }]
  ),
  bootstrap: setting(
    "bootstrap",
    "host:port",
    nodeHosts,
    "A node to join the network through; repeatable, and as a variable comma-separated"
  ),
  network: setting(
    "network",
    "name",
    networkName,
    "Name of a private network, whose nodes and those of other networks refuse each other's messages"
  ),
  networkKeyEnv: setting(
    "network-key-env",
    "name",
    nameOf("key"),
    "The environment variable that holds the secret key of a private network, the same on all of its nodes"
  ),
  data: setting("data", "directory", nonEmpty, "Directory of the node's identity and state", "./data"),
  http: setting(
    "http",
    "host:port",
    boundHost,
    "Address of the HTTP server: dashboard, JSON documents, metrics and health. An address that other machines can " +
      "reach needs --http-token-env",
    { host: "127.0.0.1", port: 2634 }
  ),
  noHttp: setting("no-http", "boolean", boolean, "Do not serve HTTP"),
  httpTokenEnv: setting(
    "http-token-env",
    "name",
    nameOf("token"),
    "The environment variable that holds the token that HTTP requests must send, at least 16 characters. Without it, on " +
      "this machine, only requests that act for the node need a token, the one in the file http-token of --data"
  ),
  httpOpen: setting(
    "http-open",
    "boolean",
    boolean,
    "Let every program on this machine act for the node over HTTP, without a token"
  ),
  httpOrigin: setting(
    "http-origin",
    "origin",
    originsOr(undefined),
    "An origin, such as https://app.example, whose pages may send HTTP requests; repeatable, and as a variable " +
      "comma-separated"
  ),
  httpRecords: setting(
    "http-records",
    "origin|*",
    originsOr("*"),
    "An origin whose pages may publish records that they have signed over HTTP, without a token, and read records; * is " +
      "every origin and program; repeatable, and as a variable comma-separated"
  ),
  otlp: setting(
    "otlp",
    "url",
    httpUrl("http://127.0.0.1:4318"),
    "OpenTelemetry collector for traces, metrics and logs (OTLP over HTTP), such as http://127.0.0.1:4318"
  ),
  logFormat: setting(
    "log-format",
    logFormats.join("|"),
    oneOf(logFormats),
    "Format of log messages, on the standard error",
    "pretty"
  ),
  logLevel: setting("log-level", "level", logLevels, "Minimum level of log messages", "Info"),
  passphraseEnv: setting(
    "passphrase-env",
    "name",
    nameOf("passphrase"),
    "The environment variable that holds the passphrase of an encrypted identity; a new one is encrypted with it"
  ),
  passive: setting("passive", "boolean", boolean, "Answer requests, but start no lookups of its own accord"),
  noSessions: setting(
    "no-sessions",
    "boolean",
    boolean,
    "Sign every message, also to peers that would accept a MAC in its place"
  ),
  publicHost: setting(
    "public-host",
    "ip",
    ip,
    "The node's public IP address, if known; otherwise the node accepts what enough of its peers observe"
  ),
  allowFrom: setting(
    "allow-from",
    "network",
    networks,
    "A network, such as 203.0.113.0/24, to exchange datagrams with, and with no other; repeatable, and as a variable " +
      "comma-separated"
  ),
  denyFrom: setting(
    "deny-from",
    "network",
    networks,
    "A network to exchange no datagrams with, also as a part of an allowed one; repeatable, and as a variable " +
      "comma-separated"
  ),
  maxKeys: setting(
    "max-keys",
    "number",
    integer(1, 10_000_000),
    "Maximum number of keys that the node stores records for",
    100_000
  ),
  maxBytes: setting(
    "max-bytes",
    "bytes",
    integer(2 ** 20, 2 ** 40, "bytes"),
    "Maximum memory for the records that the node stores, in bytes; an idle node takes 120 to 170 MiB besides",
    2 ** 26
  ),
  hosting: setting(
    "hosting",
    "boolean",
    boolean,
    "Host identities: keep the records of others alive, each with its own key, as requests over HTTP tell"
  ),
  hostingDatagrams: setting(
    "hosting-datagrams",
    "number",
    integer(1, 1_000_000, "datagrams a second"),
    "Requests a second that hosting may send: 444 renew 100 000 records of an hour",
    500
  ),
  hostingSignatures: setting(
    "hosting-signatures",
    "number",
    integer(1, 1_000_000, "signatures a second"),
    "Signatures a second that hosting may make",
    200
  ),
  database: setting(
    "database",
    "url",
    database,
    "Database of the identities to host: postgres://…, for any number of runners, needs the package @effect/sql-pg; " +
      "sqlite:PATH is for one. Without it, the file hosted.sqlite of --data"
  ),
  databaseKeyEnv: setting(
    "database-key-env",
    "name",
    nameOf("key"),
    "The environment variable that holds the key of the seeds in the database, at least 32 characters, the same for all " +
      "that use it"
  ),
  verifyThreads: setting(
    "verify-threads",
    "number",
    integer(0, 64),
    "Threads that verify signatures; 0 verifies on the node's own thread. Without it, one per core, up to 4"
  ),
  json: setting("json", "boolean", boolean, "Print JSON, one event per line"),
  url: setting(
    "url",
    "url",
    httpUrl("http://127.0.0.1:2634"),
    "URL of the node's HTTP server",
    "http://127.0.0.1:2634"
  )
}

/**
 * Reads a setting from its environment variable; an empty one counts as unset.
 *
 * @internal
 */
export const config = <A>({ codec, variable }: Setting<A>): Config.Config<A> => Config.schema(codec, variable)

/**
 * Reads a secret from the environment variable with this name.
 *
 * @internal
 */
export const secret = (name: string): Config.Config<Redacted.Redacted> =>
  Config.schema(Schema.Redacted(Schema.NonEmptyString), name)
