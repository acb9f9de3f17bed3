/**
 * The commands for those who operate a node, or try one.
 *
 * @since 0.1.0
 */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import { settings } from "../../node/internal/settings.ts"
import { integer } from "../../node/internal/textCodec.ts"
import * as Options from "../Options.ts"
import * as Parameter from "../Parameter.ts"
import { handler } from "./Handler.ts"

const maxDemoNodes = 256

export const demo = Command.make(
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
  handler(() => import("../commands/Demo.ts").then(({ demo }) => demo))
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

export const backup = Command.make(
  "backup",
  {
    file: Argument.String("file").pipe(
      Argument.withDescription("Path of the copy, which must not exist yet"),
      Argument.filter((path) => path !== "" && path !== "-", () => "Write the path of a file")
    ),
    ...Options.runningNode
  },
  handler(() => import("../commands/Backup.ts").then(({ backup }) => backup))
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

export const reachability = Command.make(
  "reachability",
  Options.runningNode,
  handler(() => import("../commands/Ask.ts").then(({ reachability }) => reachability))
).pipe(
  Command.withDescription(
    "Explain whether nodes that the running node of --data never contacted can reach it, and what to do if not"
  ),
  Command.withShortDescription("Explain whether others can reach a running node"),
  Command.withExamples([{ command: "effect-dht reachability --data ./data" }])
)

export const top = Command.make(
  "top",
  {
    url: Parameter.defaulted(settings.url),
    httpTokenEnv: Options.httpTokenEnv,
    once: Options.toggle("once", "Print one frame and exit, as without a terminal"),
    json: Options.json
  },
  handler(() => import("../commands/Top.ts").then(({ top }) => top))
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
