/**
 * The commands that look something up in the network.
 *
 * @since 0.1.0
 */
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Options from "../Options.ts"
import { handler } from "./Handler.ts"

export const ping = Command.make(
  "ping",
  { peer: Options.peer, ...Options.joining, data: Options.acquainted, json: Options.json },
  handler(() => import("../commands/Ask.ts").then(({ ping }) => ping))
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

export const resolve = Command.make(
  "resolve",
  {
    address: Options.address,
    verifyCard: Options.toggle(
      "verify-card",
      "Fetch the agent card that the profile names, and check that it is unchanged"
    ),
    allowPrivate: Options.allowPrivate,
    ...Options.joining,
    data: Options.acquainted,
    json: Options.json
  },
  handler(() => import("../commands/Ask.ts").then(({ resolve }) => resolve))
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

export const findNode = Command.make(
  "find-node",
  { target: Options.target, ...Options.joining, data: Options.acquainted, json: Options.json },
  handler(() => import("../commands/Ask.ts").then(({ findNode }) => findNode))
).pipe(
  Command.withDescription("Find the live nodes closest to a node id"),
  Command.withExamples([{ command: "effect-dht find-node a0… --bootstrap dht.example.net:4121 --json" }])
)

export const discover = Command.make(
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
    resolve: Options.toggle("resolve", "Look up the endpoints of each agent as well"),
    watch: Options.toggle("watch", "Show each change, until Ctrl-C"),
    ...Options.joining,
    data: Options.acquainted,
    json: Options.json
  },
  handler(() => import("../commands/Ask.ts").then(({ discover }) => discover))
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

export const network = Command.make(
  "network",
  { ...Options.joining, data: Options.acquainted, httpTokenEnv: Options.nodeTokenEnv, json: Options.json },
  handler(() => import("../commands/Ask.ts").then(({ network }) => network))
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
