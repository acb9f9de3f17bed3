/**
 * The commands about the identities that a node or a cluster hosts.
 *
 * @since 0.1.0
 */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import { integer } from "../../node/internal/textCodec.ts"
import * as Options from "../Options.ts"
import * as Parameter from "../Parameter.ts"
import { handler } from "./Handler.ts"
import { about, profileFlags, topicFlags } from "./RecordFlags.ts"

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
  handler(() => import("../commands/Hosted.ts").then(({ list }) => list))
).pipe(
  Command.withDescription("List the hosted identities and their figures: those that fail first"),
  Command.withShortDescription("List the hosted identities"),
  Command.withExamples([{ command: "effect-dht hosted list --state failing --data ./data" }])
)

const hostedShow = Command.make(
  "show",
  { address: Options.address, ...hostingFlags },
  handler(() => import("../commands/Hosted.ts").then(({ show }) => show))
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
  handler(() => import("../commands/Hosted.ts").then(({ add }) => add))
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
    update: Options.toggle(
      "update",
      "Change identities that are hosted already; otherwise they are errors, except those that are the same in the database"
    ),
    ...hostingFlags
  },
  handler(() => import("../commands/Hosted.ts").then(({ importFrom }) => importFrom))
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
    keepRecords: Options.toggle("keep-records", "Leave its records to expire; by default they are withdrawn"),
    ...hostingFlags
  },
  handler(() => import("../commands/Hosted.ts").then(({ remove }) => remove))
).pipe(
  Command.withDescription("Stop hosting an identity, and have the node forget its key"),
  Command.withShortDescription("Stop hosting an identity"),
  Command.withExamples([{ command: "effect-dht hosted remove a0… --data ./data" }])
)

export const hosted = Command.make("hosted").pipe(
  Command.withDescription(
    "Identities that a running node hosts (\"effect-dht node --hosting\"): the node of --data, or the one at --node. With " +
      "--database, those of a table that runners follow (\"effect-dht host\")"
  ),
  Command.withShortDescription("Manage the identities that a node or a cluster hosts"),
  Command.withSubcommands([hostedList, hostedShow, hostedAdd, hostedImport, hostedRemove])
)
