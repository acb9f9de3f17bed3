/**
 * The command `effect-dht`.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Argument from "effect/cli/Argument"
import * as CliConfig from "effect/cli/CliConfig"
import * as CliOutput from "effect/cli/CliOutput"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as GlobalFlag from "effect/cli/GlobalFlag"
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Option from "effect/Option"
import * as References from "effect/References"
import * as Schema from "effect/Schema"
import type { Stdio } from "effect/Stdio"
import type { Terminal } from "effect/Terminal"
import { version } from "../internal/version.ts"
import { logFormats, settings } from "../node/internal/settings.ts"
import { hinted, integer, number } from "../node/internal/textCodec.ts"
import * as Options from "./Options.ts"
import * as Output from "./Output.ts"
import * as Parameter from "./Parameter.ts"
import * as SimulationFlags from "./SimulationFlags.ts"

/** Defers loading a command's implementation until the command runs. */
const handler = <Input>(
  load: () => Promise<(input: Input) => Effect.Effect<void, Error, Stdio | Terminal>>
) =>
(input: Input) =>
  Effect.promise(load).pipe(
    Effect.flatMap((run) => run(input)),
    Effect.mapError((error) => error instanceof Output.Failure ? error : Output.failed(error.message)),
    Effect.catchDefect((defect) =>
      Effect.andThen(
        Effect.logDebug("Internal error", Cause.die(defect)),
        Output.failed(`Internal error: ${String(defect)} (use --log-level debug for details)`)
      )
    )
  )

const toggle = (name: string, description: string) =>
  Flag.Boolean(name).pipe(Flag.withDescription(description), Flag.withoutNegation, Flag.withDefault(false))

// --- A long-running node -----------------------------------------------------

/** Flags of every long-running node. */
const running = {
  listen: Options.listen,
  ...Options.joining,
  data: Options.data,
  http: Parameter.defaulted(settings.http),
  noHttp: Parameter.toggle(settings.noHttp),
  httpTokenEnv: Options.httpTokenEnv,
  httpOpen: Parameter.toggle(settings.httpOpen),
  httpOrigin: Options.httpOrigin,
  httpRecords: Options.httpRecords,
  otlp: Flag.optional(Parameter.ofSetting(settings.otlp)),
  logFormat: Parameter.defaulted(settings.logFormat, Flag.Literals("log-format", logFormats)),
  passphraseEnv: Options.newPassphraseEnv,
  passive: Parameter.toggle(settings.passive, Flag.Boolean("passive")),
  noSessions: Parameter.toggle(settings.noSessions),
  publicHost: Flag.optional(Parameter.ofSetting(settings.publicHost)),
  ...Options.networks,
  maxKeys: Parameter.defaulted(settings.maxKeys),
  maxBytes: Parameter.defaulted(settings.maxBytes),
  hostingDatagrams: Parameter.defaulted(settings.hostingDatagrams),
  hostingSignatures: Parameter.defaulted(settings.hostingSignatures),
  verifyThreads: Flag.optional(Parameter.ofSetting(settings.verifyThreads)),
  json: Options.jsonEvents
}

const node = Command.make(
  "node",
  { ...running, hosting: Parameter.toggle(settings.hosting) },
  handler(() => import("./commands/Node.ts").then(({ node }) => node))
).pipe(
  Command.withDescription(
    "Run a node until it is interrupted (Ctrl-C). The first start creates its identity, the file identity.ed25519 in the " +
      "data directory"
  ),
  Command.withShortDescription("Run a node"),
  Command.withExamples([
    { command: "effect-dht node", description: "The first node of a network" },
    { command: "effect-dht node --bootstrap dht.example.net:4121", description: "Another node, on another machine" },
    {
      command: "DHT_LISTEN=[::]:4121 DHT_DATA=/var/lib/dht DHT_LOG_FORMAT=json effect-dht node",
      description: "Configured by the environment"
    }
  ])
)

const host = Command.make(
  "host",
  {
    ...running,
    database: Flag.optional(Parameter.ofSetting(settings.database)),
    databaseKeyEnv: Options.databaseKeyEnv
  },
  handler(() => import("./commands/Host.ts").then(({ host }) => host))
).pipe(
  Command.withDescription(
    "Run a node that hosts the identities of a table in a database until it is interrupted (Ctrl-C). Several of them share " +
      "the table: each hosts its part, and takes over from those that stop"
  ),
  Command.withShortDescription("Run a node that hosts identities from a database"),
  Command.withExamples([
    {
      command: "effect-dht host --database-key-env HOSTING_KEY --bootstrap dht.example.net:4121",
      description: "A single runner, whose table is a file in its data directory"
    },
    {
      command:
        "DHT_DATABASE=postgres://agents:secret@db.example.net/agents effect-dht host --database-key-env HOSTING_KEY",
      description: "One of many, on each machine"
    }
  ])
)

// --- Queries -----------------------------------------------------------------

const ping = Command.make(
  "ping",
  { peer: Options.peer, ...Options.joining, data: Options.acquainted, json: Options.json },
  handler(() => import("./commands/Ask.ts").then(({ ping }) => ping))
).pipe(
  Command.withDescription(
    "Ask a node for its identity and the address at which it sees us. One that is given by its address is found through " +
      "other nodes, which help to get through routers"
  ),
  Command.withShortDescription("Ask a node for its identity"),
  Command.withExamples([
    { command: "effect-dht ping dht.example.net:4121" },
    { command: "effect-dht ping a0… --bootstrap dht.example.net:4121", description: "Also behind a router" }
  ])
)

const resolve = Command.make(
  "resolve",
  {
    address: Options.address,
    verifyCard: toggle("verify-card", "Fetch the agent card that the profile names, and check that it is unchanged"),
    allowPrivate: Options.allowPrivate,
    ...Options.joining,
    data: Options.acquainted,
    json: Options.json
  },
  handler(() => import("./commands/Ask.ts").then(({ resolve }) => resolve))
).pipe(
  Command.withDescription(
    "Show everything that an address has published about itself: endpoints, profile, and records of other types"
  ),
  Command.withShortDescription("Show what an address has published"),
  Command.withExamples([
    { command: "effect-dht resolve a0… --bootstrap dht.example.net:4121" },
    { command: "effect-dht resolve a0… --data ./data", description: "Through the local node" },
    {
      command: "effect-dht resolve a0… --verify-card --data ./data",
      description: "With exit code 1 unless the agent's card matches its profile"
    }
  ])
)

const findNode = Command.make(
  "find-node",
  { target: Options.target, ...Options.joining, data: Options.acquainted, json: Options.json },
  handler(() => import("./commands/Ask.ts").then(({ findNode }) => findNode))
).pipe(
  Command.withDescription("Find the live nodes closest to a node id"),
  Command.withExamples([{ command: "effect-dht find-node a0… --bootstrap dht.example.net:4121 --json" }])
)

const discover = Command.make(
  "discover",
  {
    topic: Options.topic,
    protocol: Flag.String("protocol").pipe(
      Flag.withDescription("Only agents that support this protocol; repeatable, any of them matches"),
      Flag.atLeast(0)
    ),
    tag: Flag.String("tag").pipe(
      Flag.withDescription("Only agents with this tag; repeatable, all of them must match"),
      Flag.atLeast(0)
    ),
    resolve: toggle("resolve", "Look up the endpoints of each agent as well"),
    watch: toggle("watch", "Show each change, until Ctrl-C"),
    ...Options.joining,
    data: Options.acquainted,
    json: Options.json
  },
  handler(() => import("./commands/Ask.ts").then(({ discover }) => discover))
).pipe(
  Command.withDescription("Find the agents that have published under a topic"),
  Command.withExamples([
    { command: "effect-dht discover translate --bootstrap dht.example.net:4121" },
    {
      command: "effect-dht discover translate --protocol a2a --tag de --tag fr --data ./data",
      description: "With filters, through the local node"
    },
    {
      command: "effect-dht discover translate --resolve --watch --json --data ./data",
      description: "Each change with the agent's endpoints, one per line"
    }
  ])
)

const network = Command.make(
  "network",
  { ...Options.joining, data: Options.acquainted, httpTokenEnv: Options.nodeTokenEnv, json: Options.json },
  handler(() => import("./commands/Ask.ts").then(({ network }) => network))
).pipe(
  Command.withDescription(
    "Show the size of the network; of the running node of --data also how it belongs to it and where it can be reached"
  ),
  Command.withShortDescription("Show the network and its size"),
  Command.withExamples([
    { command: "effect-dht network --data ./data" },
    { command: "effect-dht network --bootstrap dht.example.net:4121" }
  ])
)

// --- Publishing --------------------------------------------------------------

const common = {
  ttl: Options.ttl,
  ...Options.joining,
  data: Options.author,
  passphraseEnv: Options.passphraseEnv,
  json: Options.json
}

/** Flags that describe an agent. `bound` is the length limit of `--brief`, for its help. */
const about = (bound: string) => ({
  name: Flag.String("name").pipe(Flag.withDescription("Name of the agent"), Flag.withDefault("")),
  brief: Flag.String("brief").pipe(
    Flag.withDescription(`One-sentence description${bound}`),
    Flag.withDefault("")
  ),
  protocol: Flag.String("protocol").pipe(
    Flag.withDescription("Protocol that the agent supports; repeatable"),
    Flag.atLeast(0)
  )
})

const endpointFlags = {
  endpoint: Options.endpoint,
  natType: Flag.ChoiceWithValue("nat-type", [
    ["unknown", "unknown"],
    ["full-cone", "fullCone"],
    ["restricted", "restricted"],
    ["port-restricted", "portRestricted"],
    ["symmetric", "symmetric"]
  ]).pipe(
    Flag.withDescription("NAT type of the agent's router"),
    Flag.withDefault("unknown")
  )
}

const topicFlags = {
  topic: Options.topic,
  ...about(", at most 140 characters"),
  tag: Flag.String("tag").pipe(Flag.withDescription("Tag to filter by; repeatable"), Flag.atLeast(0))
}

const profileFlags = {
  ...about(""),
  skill: Flag.String("skill").pipe(Flag.withDescription("Skill of the agent; repeatable"), Flag.atLeast(0)),
  agentCard: Options.agentCard,
  allowPrivate: Options.allowPrivate
}

const publishEndpoint = Command.make(
  "endpoint",
  { ...endpointFlags, ...common },
  handler(() => import("./commands/Publish.ts").then(({ endpoint }) => endpoint))
).pipe(
  Command.withDescription(
    "Publish the endpoints of an agent, about 850 bytes in total at most"
  ),
  Command.withShortDescription("Publish the endpoints of an agent"),
  Command.withExamples([{
    command: "effect-dht publish endpoint --endpoint tcp://203.0.113.5:8080 --data ./data --ttl 86400",
    description: "Valid for one day"
  }])
)

const publishTopic = Command.make(
  "topic",
  { ...topicFlags, ...common, ttl: Options.topicTtl },
  handler(() => import("./commands/Publish.ts").then(({ topic }) => topic))
).pipe(
  Command.withDescription(
    "Publish an agent's offer under a topic. The topic and all fields take at most 512 bytes in total"
  ),
  Command.withShortDescription("Publish an agent's offer under a topic"),
  Command.withExamples([{
    command: "effect-dht publish topic translate --name Ann --protocol a2a --tag de --tag fr --data ./data"
  }])
)

const publishProfile = Command.make(
  "profile",
  { ...profileFlags, ...common },
  handler(() => import("./commands/Publish.ts").then(({ profile }) => profile))
).pipe(
  Command.withDescription(
    "Publish the profile of an agent, which also lets it receive messages. All fields take at most 700 bytes in total"
  ),
  Command.withShortDescription("Publish the profile of an agent"),
  Command.withExamples([{
    command: "effect-dht publish profile --name Ann --brief \"Translates letters\" --skill translation --data ./data"
  }])
)

const publishCustom = Command.make(
  "custom",
  { type: Options.customType, value: Options.value, key: Options.key, ...common },
  handler(() => import("./commands/Publish.ts").then(({ custom }) => custom))
).pipe(
  Command.withDescription(
    "Publish a value under a record type that is left to applications. The value takes at most about 850 bytes"
  ),
  Command.withShortDescription("Publish a value of an application"),
  Command.withExamples([
    { command: "effect-dht publish custom 0x07 '{\"jobs\": 3}' --data ./data" },
    {
      command: "cat note.json | effect-dht publish custom 0x11 - --key a0… --data ./data",
      description: "At a key that is not the publisher's"
    }
  ])
)

const publish = Command.make("publish").pipe(
  Command.withDescription(
    "Sign a record with the identity of --data and store it on up to 8 nodes, where it expires after --ttl seconds. It " +
      "is not renewed: publish again before then. Without --data a temporary identity is used. A node may be running in " +
      "--data at the same time: the command joins the network under another identity"
  ),
  Command.withShortDescription("Publish a record"),
  Command.withSubcommands([publishEndpoint, publishTopic, publishProfile, publishCustom])
)

// --- Announcements ------------------------------------------------------------

const announceFlags = { ...common, httpTokenEnv: Options.nodeTokenEnv }

const announceEndpoint = Command.make(
  "endpoint",
  { ...endpointFlags, ...announceFlags },
  handler(() => import("./commands/Announce.ts").then(({ endpoint }) => endpoint))
).pipe(
  Command.withDescription("Announce the endpoints of an agent"),
  Command.withExamples([{ command: "effect-dht announce endpoint --endpoint tcp://203.0.113.5:8080 --data ./data" }])
)

const announceTopic = Command.make(
  "topic",
  { ...topicFlags, ...announceFlags, ttl: Options.topicTtl },
  handler(() => import("./commands/Announce.ts").then(({ topic }) => topic))
).pipe(
  Command.withDescription("Announce an agent's offer under a topic"),
  Command.withExamples([
    { command: "effect-dht announce topic translate --name Ann --protocol a2a --data ./data" },
    {
      command: "effect-dht announce topic translate --name Ann --bootstrap dht.example.net:4121",
      description: "Until Ctrl-C, under a temporary identity"
    }
  ])
)

const announceProfile = Command.make(
  "profile",
  { ...profileFlags, ...announceFlags },
  handler(() => import("./commands/Announce.ts").then(({ profile }) => profile))
).pipe(
  Command.withDescription("Announce the profile of an agent, which also lets it receive messages"),
  Command.withExamples([{ command: "effect-dht announce profile --name Ann --skill translation --data ./data" }])
)

const announce = Command.make("announce").pipe(
  Command.withDescription(
    "Keep a record alive: it is renewed, and copied to 8 nodes. If a node that serves HTTP runs in --data, it keeps the " +
      "announcement until \"effect-dht withdraw\", also over its restarts. Otherwise the command itself does, until Ctrl-C, " +
      "with the identity of --data or a temporary one"
  ),
  Command.withShortDescription("Keep a record alive"),
  Command.withSubcommands([announceEndpoint, announceTopic, announceProfile])
)

const nodeFlags = { data: Options.data, httpTokenEnv: Options.nodeTokenEnv, json: Options.json }

const announcements = Command.make(
  "announcements",
  nodeFlags,
  handler(() => import("./commands/Announce.ts").then(({ list }) => list))
).pipe(
  Command.withDescription("List the records that the running node of --data keeps alive, with their copies"),
  Command.withShortDescription("List the announcements of a running node"),
  Command.withExamples([{ command: "effect-dht announcements --data ./data" }])
)

const reachability = Command.make(
  "reachability",
  nodeFlags,
  handler(() => import("./commands/Ask.ts").then(({ reachability }) => reachability))
).pipe(
  Command.withDescription(
    "Explain whether nodes that the running node of --data never contacted can reach it, and what to do if not"
  ),
  Command.withShortDescription("Explain whether others can reach a running node"),
  Command.withExamples([{ command: "effect-dht reachability --data ./data" }])
)

const withdraw = Command.make("withdraw").pipe(
  Command.withDescription("Withdraw an announcement that the running node of --data keeps"),
  Command.withShortDescription("Withdraw an announcement of a running node"),
  Command.withSubcommands([
    Command.make(
      "endpoint",
      nodeFlags,
      handler(() => import("./commands/Announce.ts").then(({ withdrawEndpoint }) => withdrawEndpoint))
    ).pipe(
      Command.withDescription("Withdraw the endpoints"),
      Command.withExamples([{ command: "effect-dht withdraw endpoint --data ./data" }])
    ),
    Command.make(
      "topic",
      { topic: Options.topic, ...nodeFlags },
      handler(() => import("./commands/Announce.ts").then(({ withdrawTopic }) => withdrawTopic))
    ).pipe(
      Command.withDescription("Withdraw the offer under a topic"),
      Command.withExamples([{ command: "effect-dht withdraw topic translate --data ./data" }])
    ),
    Command.make(
      "profile",
      nodeFlags,
      handler(() => import("./commands/Announce.ts").then(({ withdrawProfile }) => withdrawProfile))
    ).pipe(
      Command.withDescription("Withdraw the profile"),
      Command.withExamples([{ command: "effect-dht withdraw profile --data ./data" }])
    )
  ])
)

// --- Hosted identities -----------------------------------------------------------

const hostingFlags = {
  database: Options.hostedDatabase,
  databaseKeyEnv: Options.databaseKeyEnv,
  node: Options.node,
  data: Options.actingThrough,
  httpTokenEnv: Options.nodeTokenEnv,
  json: Options.json
}

const hostedList = Command.make(
  "list",
  {
    state: Flag.Literals("state", ["failing", "ended", "good"]).pipe(
      Flag.withDescription("Only identities in this state"),
      Flag.optional
    ),
    limit: Parameter.flag(
      "limit",
      "number",
      integer(0, 1000),
      "Maximum number of identities (default 100)"
    ).pipe(Flag.withDefault(100)),
    ...hostingFlags
  },
  handler(() => import("./commands/Hosted.ts").then(({ list }) => list))
).pipe(
  Command.withDescription("List the hosted identities and their figures: those that fail first"),
  Command.withShortDescription("List the hosted identities"),
  Command.withExamples([{ command: "effect-dht hosted list --state failing --data ./data" }])
)

const hostedShow = Command.make(
  "show",
  { address: Options.address, ...hostingFlags },
  handler(() => import("./commands/Hosted.ts").then(({ show }) => show))
).pipe(
  Command.withDescription("Show a hosted identity with its records and their copies"),
  Command.withExamples([{ command: "effect-dht hosted show a0… --data ./data" }])
)

const hostedAdd = Command.make(
  "add",
  {
    identity: Flag.String("identity").pipe(
      Flag.withMetavar("directory"),
      Flag.withDescription(
        "The data directory of the identity: the node gets its key, and its delegation if it acts for another address"
      )
    ),
    passphraseEnv: Options.passphraseEnv,
    endpoint: Options.endpoint.pipe(Flag.withDefault<ReadonlyArray<string>>([])),
    topic: Flag.String("topic").pipe(
      Flag.withDescription("A topic to announce an offer under; repeatable"),
      Flag.atLeast(0)
    ),
    ...about(", at most 140 characters with a topic"),
    tag: topicFlags.tag,
    skill: profileFlags.skill,
    replicas: Parameter.flag(
      "replicas",
      "number",
      integer(1, 16),
      "Number of copies of each record (default 8)"
    ).pipe(Flag.withDefault(8)),
    ttl: Options.hostedTtl,
    ...hostingFlags
  },
  handler(() => import("./commands/Hosted.ts").then(({ add }) => add))
).pipe(
  Command.withDescription(
    "Have the running node host an identity until it is removed: its endpoints, its profile if it has a --name, and an offer " +
      "under each --topic. The node keeps the key, encrypted"
  ),
  Command.withShortDescription("Host an identity"),
  Command.withExamples([{
    command:
      "effect-dht hosted add --identity ./ann --name Ann --endpoint https://agents.example/ann --topic translate " +
      "--data ./data"
  }])
)

const hostedImport = Command.make(
  "import",
  {
    file: Argument.String("file").pipe(
      Argument.withDescription(
        "Path of a file with an identity on each line, in the JSON of POST /v1/hosted; - reads the standard input"
      )
    ),
    update: toggle(
      "update",
      "Change identities that are hosted already; otherwise they are errors, except those that are the same in the database"
    ),
    ...hostingFlags
  },
  handler(() => import("./commands/Hosted.ts").then(({ importFrom }) => importFrom))
).pipe(
  Command.withDescription(
    "Have the running node host the identities in a file. Each line that cannot be is an error of its own, on the standard " +
      "error, and the others go on. The file has private keys: keep it as safe as those"
  ),
  Command.withShortDescription("Host many identities"),
  Command.withExamples([
    { command: "effect-dht hosted import agents.ndjson --data ./data" },
    { command: "effect-dht hosted import - --update --data ./data < agents.ndjson" },
    {
      command: "DHT_DATABASE=postgres://agents:secret@db.example.net/agents effect-dht hosted import agents.ndjson " +
        "--database-key-env HOSTING_KEY",
      description: "Into the table of a cluster, 500 lines at a time"
    }
  ])
)

const hostedRemove = Command.make(
  "remove",
  {
    address: Options.address,
    keepRecords: toggle("keep-records", "Leave its records to expire; by default they are withdrawn"),
    ...hostingFlags
  },
  handler(() => import("./commands/Hosted.ts").then(({ remove }) => remove))
).pipe(
  Command.withDescription("Stop hosting an identity, and have the node forget its key"),
  Command.withShortDescription("Stop hosting an identity"),
  Command.withExamples([{ command: "effect-dht hosted remove a0… --data ./data" }])
)

const hosted = Command.make("hosted").pipe(
  Command.withDescription(
    "Identities that a running node hosts (\"effect-dht node --hosting\"): the node of --data, or the one at --node. With " +
      "--database, those of a table that runners follow (\"effect-dht host\")"
  ),
  Command.withShortDescription("Manage the identities that a node or a cluster hosts"),
  Command.withSubcommands([hostedList, hostedShow, hostedAdd, hostedImport, hostedRemove])
)

// --- Messages ------------------------------------------------------------------

const send = Command.make(
  "send",
  {
    address: Options.address,
    text: Options.text,
    ...common
  },
  handler(() => import("./commands/Mail.ts").then(({ send }) => send))
).pipe(
  Command.withDescription(
    "Send an encrypted message to an address that has published a record of its own, such as a profile or an endpoint"
  ),
  Command.withShortDescription("Send an encrypted message to an address"),
  Command.withExamples([
    { command: "effect-dht mailbox send a0… \"See you at noon\" --data ./data" },
    { command: "date | effect-dht mailbox send a0… - --data ./data", description: "The output of another command" }
  ])
)

const read = Command.make(
  "read",
  {
    watch: toggle("watch", "Show each message as it arrives, until Ctrl-C"),
    ...Options.joining,
    data: Options.author,
    passphraseEnv: Options.passphraseEnv,
    json: Options.json
  },
  handler(() => import("./commands/Mail.ts").then(({ read }) => read))
).pipe(
  Command.withDescription("Show the messages to the identity of --data, which are stored until they expire"),
  Command.withExamples([
    { command: "effect-dht mailbox read --data ./data" },
    { command: "effect-dht mailbox read --watch --json --data ./data", description: "Each message as it arrives" }
  ])
)

const mailbox = Command.make("mailbox").pipe(
  Command.withDescription("Send and read encrypted messages"),
  Command.withSubcommands([send, read])
)

// --- Assistants ----------------------------------------------------------------

const mcp = Command.make(
  "mcp",
  {
    node: Options.node,
    data: Options.shared,
    ...Options.joining,
    httpTokenEnv: Options.nodeTokenEnv,
    passphraseEnv: Options.newPassphraseEnv,
    allowPrivate: Options.allowPrivate
  },
  handler(() => import("./commands/Mcp.ts").then(({ mcp }) => mcp))
).pipe(
  Command.withDescription(
    "Serve the Model Context Protocol on the standard input and output, for an assistant that starts this command: tools to " +
      "announce, discover, resolve, and to send and read notes, and resources with the state of the node. Runs until the " +
      "input ends. Logs go to the standard error"
  ),
  Command.withShortDescription("Give an AI assistant an agent in the network"),
  Command.withExamples([
    {
      command: "effect-dht mcp --data ./data --bootstrap dht.example.net:4121",
      description: "Through the node of ./data, which several assistants may share"
    },
    {
      command: "effect-dht mcp --node http://192.0.2.1:2634 --http-token-env DHT_TOKEN",
      description: "Through a node on another machine"
    }
  ])
)

// --- Offline -----------------------------------------------------------------

const show = Command.make(
  "show",
  { data: Options.data, passphraseEnv: Options.passphraseEnv, json: Options.json },
  handler(() => import("./commands/Identity.ts").then(({ show }) => show))
).pipe(
  Command.withDescription("Show the address, node id and public key of a data directory"),
  Command.withExamples([{ command: "effect-dht identity show --data ./data --json" }])
)

const create = Command.make(
  "new",
  { data: Options.data, passphraseEnv: Options.newPassphraseEnv, json: Options.json },
  handler(() => import("./commands/Identity.ts").then(({ create }) => create))
).pipe(
  Command.withDescription("Create an identity in a data directory that has none"),
  Command.withExamples([
    { command: "effect-dht identity new --data ./data" },
    {
      command: "DHT_PASSPHRASE=… effect-dht identity new --data ./data --passphrase-env DHT_PASSPHRASE",
      description: "Encrypted"
    }
  ])
)

const identityFileFlags = {
  data: Options.data,
  passphraseEnv: Options.passphraseEnv,
  newPassphraseEnv: Options.rewrittenPassphraseEnv,
  json: Options.json
}

const exportTo = Command.make(
  "export",
  { file: Options.identityFile, ...identityFileFlags },
  handler(() => import("./commands/Identity.ts").then(({ exportTo }) => exportTo))
).pipe(
  Command.withDescription(
    "Copy the identity of a data directory to a new file, encrypted with --new-passphrase-env. A copy is enough to " +
      "act as the node: keep it as safe as the directory"
  ),
  Command.withShortDescription("Copy an identity to a file"),
  Command.withExamples([{
    command: "DHT_BACKUP=… effect-dht identity export ann.identity --data ./data --new-passphrase-env DHT_BACKUP"
  }])
)

const importFrom = Command.make(
  "import",
  { file: Options.identityFile, ...identityFileFlags },
  handler(() => import("./commands/Identity.ts").then(({ importFrom }) => importFrom))
).pipe(
  Command.withDescription(
    "Give a data directory that has no identity the one in a file, whose passphrase is in --passphrase-env. Only one node " +
      "of an identity can run at a time"
  ),
  Command.withShortDescription("Take an identity from a file"),
  Command.withExamples([{
    command: "DHT_BACKUP=… effect-dht identity import ann.identity --data ./new --passphrase-env DHT_BACKUP " +
      "--new-passphrase-env DHT_BACKUP"
  }])
)

const passphrase = Command.make(
  "passphrase",
  { ...identityFileFlags, none: toggle("none", "Store the identity without encryption") },
  handler(() => import("./commands/Identity.ts").then(({ passphrase }) => passphrase))
).pipe(
  Command.withDescription(
    "Encrypt the identity of a data directory with another passphrase, or the first one. A running node is not affected"
  ),
  Command.withShortDescription("Change the passphrase of an identity"),
  Command.withExamples([
    {
      command: "effect-dht identity passphrase --data ./data --passphrase-env OLD --new-passphrase-env NEW",
      description: "Both variables hold a passphrase"
    },
    { command: "effect-dht identity passphrase --data ./data --passphrase-env OLD --none" }
  ])
)

const delegate = Command.make(
  "delegate",
  {
    publicKey: Options.publicKey,
    lifetime: Options.lifetime,
    data: Options.data,
    passphraseEnv: Options.passphraseEnv,
    json: Options.json
  },
  handler(() => import("./commands/Identity.ts").then(({ delegate }) => delegate))
).pipe(
  Command.withDescription(
    "Sign a delegation: it lets another key publish and read messages for the address of --data, whose own key can then " +
      "stay offline. A later delegation to another key replaces an earlier one"
  ),
  Command.withShortDescription("Let another key act for an address"),
  Command.withExamples([{
    command: "effect-dht identity delegate PUBLIC-KEY --data ./master --lifetime 2592000",
    description: "Valid for thirty days"
  }])
)

const accept = Command.make(
  "accept",
  {
    delegation: Options.delegation,
    data: Options.data,
    passphraseEnv: Options.passphraseEnv,
    json: Options.json
  },
  handler(() => import("./commands/Identity.ts").then(({ accept }) => accept))
).pipe(
  Command.withDescription(
    "Store a delegation in the data directory: from then on the node there and all commands with the same --data " +
      "publish and read messages for the address that signed it"
  ),
  Command.withShortDescription("Act for the address of a delegation"),
  Command.withExamples([{ command: "effect-dht identity accept DELEGATION --data ./data" }])
)

const identity = Command.make("identity").pipe(
  Command.withDescription("Show, create, move or encrypt the identity of a node, and let it act for another address"),
  Command.withSubcommands([show, create, exportTo, importFrom, passphrase, delegate, accept])
)

const decode = Command.make(
  "decode",
  { hex: Options.hex, json: Options.json },
  handler(() => import("./commands/Record.ts").then(({ decode }) => decode))
).pipe(
  Command.withDescription("Show the contents of a record, and whether its signature, time and authority are valid"),
  Command.withExamples([
    { command: "effect-dht record decode a801…" },
    { command: "effect-dht record decode - < record.hex", description: "From a file" }
  ])
)

const record = Command.make("record").pipe(
  Command.withDescription("Inspect a record"),
  Command.withSubcommands([decode])
)

// --- Simulation --------------------------------------------------------------

const maxSoakMinutes = 60 * 24 * 365
const maxWorkers = 1024
const maxSeed = Number.MAX_SAFE_INTEGER - 1_000_000_000

const simulate = Command.make(
  "simulate",
  {
    ...SimulationFlags.flags,
    report: Flag.String("report").pipe(
      Flag.withMetavar("file.html"),
      Flag.withDescription("Write an HTML report with plots to this file"),
      Flag.filter((path) => path !== "" && path !== "-", () => "the name of a file"),
      Flag.optional
    ),
    json: Options.json
  },
  handler(() => import("./commands/Simulate.ts").then(({ simulate }) => simulate))
).pipe(
  Command.withDescription(
    "Run a whole network in this process, hours in minutes, and print a report at the end. The same options " +
      "reproduce the same run, byte for byte. Exit code 1 if an expectation of every run does not hold"
  ),
  Command.withShortDescription("Simulate a whole network"),
  Command.withExamples([
    { command: "effect-dht simulate", description: "100 nodes for two hours, in about 20 seconds" },
    {
      command: "effect-dht simulate --nodes 1000 --hours 24 --loss 0.05 --churn 0.3/h --byzantine 0.1 " +
        "--partition at=2h,for=30m,share=0.4 --report report.html",
      description: "With loss, churn, lying nodes and a partition"
    }
  ])
)

const soak = Command.make(
  "soak",
  {
    minutes: Parameter.flag(
      "minutes",
      "number",
      number(Schema.isBetween({ minimum: 0, maximum: maxSoakMinutes })).pipe(
        hinted(`write a number of minutes up to ${maxSoakMinutes}`)
      ),
      "Minutes after which no further world starts (default 1)"
    ).pipe(Flag.withDefault(1)),
    worlds: Flag.optional(Parameter.flag(
      "worlds",
      "number",
      integer(1, Number.MAX_SAFE_INTEGER),
      "Most worlds (default no limit). Give each of several machines a range of its own with --from"
    )),
    workers: Flag.optional(
      Parameter.flag("workers", "number", integer(1, maxWorkers), "Number of threads (default one per core)")
    ),
    from: Flag.optional(
      Parameter.flag("from", "number", integer(0, maxSeed), "First seed; the following count up (default random)")
    ),
    seed: Flag.optional(Parameter.flag("seed", "number", integer(0, maxSeed), "Run only the world of this seed")),
    all: toggle("all", "Continue after a failure, and collect failures by kind"),
    state: Flag.optional(
      Flag.String("state").pipe(
        Flag.withMetavar("file"),
        Flag.withDescription("Save the progress in this file, and continue from it the next time")
      )
    ),
    junit: Flag.optional(
      Flag.String("junit").pipe(Flag.withMetavar("file.xml"), Flag.withDescription("Write a JUnit report to this file"))
    ),
    json: Options.json
  },
  handler(() => import("./commands/Soak.ts").then(({ soak }) => soak))
).pipe(
  Command.withDescription(
    "Run random worlds of a few nodes with faults, on all cores, and check that every property holds. A world that " +
      "fails is shortened to a story of a few lines, with the command that runs it again. Exit code 1 if a world fails"
  ),
  Command.withShortDescription("Search for failures in random worlds"),
  Command.withExamples([
    { command: "effect-dht soak --minutes 10", description: "Until a world fails, for at most ten minutes" },
    {
      command: "effect-dht soak --all --minutes 480 --state soak.json --junit soak.xml",
      description: "One night; the next continues where it ended"
    }
  ])
)

const replay = Command.make(
  "replay",
  {
    story: Argument.String("story").pipe(Argument.withDescription("A story as soak prints it, in JSON")),
    html: Flag.optional(
      Flag.String("html").pipe(
        Flag.withMetavar("file.html"),
        Flag.withDescription("Write a page to this file, to step through what happened in a browser")
      )
    ),
    json: Options.json
  },
  handler(() => import("./commands/Replay.ts").then(({ replay }) => replay))
).pipe(
  Command.withDescription(
    "Run one story again, with the same trace. The page shows each datagram and what it says, faults, lookups and " +
      "timeouts, the routing table and store of each node at every moment, and the events that a violated property " +
      "rests on. Exit code 1 if the story fails"
  ),
  Command.withShortDescription("Repeat a story, and show what happened"),
  Command.withExamples([
    {
      command: "effect-dht replay --html replay.html \"$(cat story.json)\"",
      description: "A story that was saved to a file"
    }
  ])
)

// --- Demo and monitoring -------------------------------------------------------

const maxDemoNodes = 256

const demo = Command.make(
  "demo",
  {
    nodes: Parameter.flag("nodes", "number", integer(2, maxDemoNodes), "Number of nodes (default 32)").pipe(
      Flag.withDefault(32)
    ),
    http: Parameter.flag(
      "http",
      "host:port",
      // Not the setting: its variable is about another node.
      settings.http.codec,
      "Address of the HTTP server, on this machine only; the next free port if it is in use (default 127.0.0.1:2634)"
    ).pipe(Flag.withDefault(settings.http.standard)),
    json: Options.jsonEvents
  },
  handler(() => import("./commands/Demo.ts").then(({ demo }) => demo))
).pipe(
  Command.withDescription(
    "Run a small network in this process until it is interrupted. Its agents announce offers, send messages and " +
      "look each other up, and a web page shows it. Nothing is written to disk"
  ),
  Command.withShortDescription("Run a small demo network"),
  Command.withExamples([
    { command: "effect-dht demo" },
    { command: "effect-dht demo --nodes 100 --http 127.0.0.1:8080", description: "A larger one" }
  ])
)

const backup = Command.make(
  "backup",
  {
    file: Argument.String("file").pipe(
      Argument.withDescription("Path of the copy, which must not exist yet"),
      Argument.filter((path) => path !== "" && path !== "-", () => "Write the path of a file")
    ),
    data: Options.data,
    httpTokenEnv: Options.nodeTokenEnv,
    json: Options.json
  },
  handler(() => import("./commands/Backup.ts").then(({ backup }) => backup))
).pipe(
  Command.withDescription(
    "Copy the state of the node that runs in --data to a file, while it runs: records, publications, announcements and " +
      "peers, as of one moment. To restore it, put it into a data directory as state.sqlite, beside the identity, before " +
      "the node starts there. The key is not in it; \"identity export\" copies that"
  ),
  Command.withShortDescription("Copy the state of a running node to a file"),
  Command.withExamples([
    { command: "effect-dht backup state-monday.sqlite --data ./data" }
  ])
)

const top = Command.make(
  "top",
  {
    url: Parameter.defaulted(settings.url),
    httpTokenEnv: Options.httpTokenEnv,
    once: toggle("once", "Print one frame and exit, as without a terminal"),
    json: Options.json
  },
  handler(() => import("./commands/Top.ts").then(({ top }) => top))
).pipe(
  Command.withDescription(
    "Show a running node in the terminal, through its HTTP server: peers, traffic, lookups, stored records and announcements. Press p to pause, and q to quit"
  ),
  Command.withShortDescription("Watch a running node in the terminal"),
  Command.withExamples([
    { command: "effect-dht top" },
    {
      command: "effect-dht top --url http://192.0.2.1:2634 --http-token-env DHT_TOKEN",
      description: "A node on another machine"
    }
  ])
)

// --- The root command --------------------------------------------------------

/**
 * The `effect-dht` command with all subcommands.
 *
 * @category commands
 * @since 0.1.0
 */
export const command = Command.make("effect-dht").pipe(
  Command.withDescription(
    "A distributed hash table of signed records, in which agents find each other by cryptographic address. " +
      "Exit codes: 0 done, 1 not found, no answer or failed, 2 wrong usage, 130 interrupted before it was done"
  ),
  Command.withExamples([
    { command: "effect-dht demo", description: "A small network in this process, with a page to watch it" },
    { command: "effect-dht node", description: "The first node of a network" },
    { command: "effect-dht node --help", description: "All options of a node, and their environment variables" }
  ]),
  Command.withSubcommands([
    node,
    host,
    ping,
    resolve,
    findNode,
    network,
    reachability,
    discover,
    publish,
    announce,
    announcements,
    withdraw,
    hosted,
    mailbox,
    mcp,
    identity,
    backup,
    record,
    simulate,
    soak,
    replay,
    demo,
    top
  ])
)

/** The flag for shell completions, without `sh`, for which Effect would print the script of Bash. */
const completions: typeof GlobalFlag.Completions = GlobalFlag.Action({
  flag: Flag.ChoiceWithValue("completions", [
    ["bash", "bash"],
    ["zsh", "zsh"],
    ["fish", "fish"],
    ["powershell", "powershell"],
    ["pwsh", "powershell"]
  ]).pipe(
    Flag.optional,
    Flag.withMetavar("shell"),
    Flag.withDescription("Print shell completion script")
  ),
  run: GlobalFlag.Completions.run
})

const services = Layer.mergeAll(
  CliConfig.layer({
    builtIns: CliConfig.defaults.builtIns.map((flag) => flag === GlobalFlag.Completions ? completions : flag)
  }),
  CliOutput.layerPresenter(Output.presenter),
  Logger.layer([Output.logger])
)

/** The log level of the environment, used without `--log-level`. */
const logLevel = Effect.flatMap(
  Config.option(Config.String(settings.logLevel.variable)),
  Option.match({
    onNone: () => References.MinimumLogLevel,
    onSome: Parameter.decode(settings.logLevel.codec, settings.logLevel.variable)
  })
)

/**
 * Runs a command line (without the program's name) and succeeds with the exit
 * code. A code other than 0 comes with one line on the standard error. Fails
 * only by interruption.
 *
 * @category running
 * @since 0.1.0
 */
export const main = (args: ReadonlyArray<string>): Effect.Effect<number, never, Command.Environment> =>
  logLevel.pipe(
    Effect.flatMap((level) =>
      Effect.provideService(Command.runWith(command, { version })(args), References.MinimumLogLevel, level)
    ),
    Effect.as(0),
    Effect.catch((error) => {
      // The parser has already printed what is wrong.
      if (error._tag === "ShowHelp") return Effect.succeed(Output.usageCode)
      return Effect.as(Output.warn(error.message), error._tag === "Failure" ? error.exitCode : Output.usageCode)
    }),
    Effect.catchDefect((defect) => Effect.as(Output.warn(`Internal error: ${String(defect)}`), Output.failedCode)),
    Effect.provide(services)
  )
