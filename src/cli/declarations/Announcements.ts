/**
 * The commands about the standing announcements of a running node.
 *
 * @since 0.1.0
 */
import * as Command from "effect/cli/Command"
import * as Options from "../Options.ts"
import { handler } from "./Handler.ts"
import { common, endpointFlags, profileFlags, topicFlags } from "./RecordFlags.ts"

const announceFlags = { ...common, httpTokenEnv: Options.nodeTokenEnv }

const announceEndpoint = Command.make(
  "endpoint",
  { ...endpointFlags, ...announceFlags },
  handler(() => import("../commands/Announce.ts").then(({ endpoint }) => endpoint))
).pipe(
  Command.withDescription("Announce the endpoints of an agent"),
  Command.withExamples([{ command: "effect-dht announce endpoint --endpoint tcp://203.0.113.5:8080 --data ./data" }])
)

const announceTopic = Command.make(
  "topic",
  { ...topicFlags, ...announceFlags, ttl: Options.topicTtl },
  handler(() => import("../commands/Announce.ts").then(({ topic }) => topic))
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
  handler(() => import("../commands/Announce.ts").then(({ profile }) => profile))
).pipe(
  Command.withDescription("Announce the profile of an agent, which also lets it receive messages"),
  Command.withExamples([{ command: "effect-dht announce profile --name Ann --skill translation --data ./data" }])
)

export const announce = Command.make("announce").pipe(
  Command.withDescription(
    "Keep a record alive: it is renewed, and copied to 8 nodes. If a node that serves HTTP runs in --data, it keeps the " +
      "announcement until \"effect-dht withdraw\", also over its restarts. Otherwise the command itself does, until Ctrl-C, " +
      "with the identity of --data or a temporary one"
  ),
  Command.withShortDescription("Keep a record alive"),
  Command.withSubcommands([announceEndpoint, announceTopic, announceProfile])
)

export const announcements = Command.make(
  "announcements",
  Options.runningNode,
  handler(() => import("../commands/Announce.ts").then(({ list }) => list))
).pipe(
  Command.withDescription("List the records that the running node of --data keeps alive, with their copies"),
  Command.withShortDescription("List the announcements of a running node"),
  Command.withExamples([{ command: "effect-dht announcements --data ./data" }])
)

export const withdraw = Command.make("withdraw").pipe(
  Command.withDescription("Withdraw an announcement that the running node of --data keeps"),
  Command.withShortDescription("Withdraw an announcement of a running node"),
  Command.withSubcommands([
    Command.make(
      "endpoint",
      Options.runningNode,
      handler(() => import("../commands/Announce.ts").then(({ withdrawEndpoint }) => withdrawEndpoint))
    ).pipe(
      Command.withDescription("Withdraw the endpoints"),
      Command.withExamples([{ command: "effect-dht withdraw endpoint --data ./data" }])
    ),
    Command.make(
      "topic",
      { topic: Options.topic, ...Options.runningNode },
      handler(() => import("../commands/Announce.ts").then(({ withdrawTopic }) => withdrawTopic))
    ).pipe(
      Command.withDescription("Withdraw the offer under a topic"),
      Command.withExamples([{ command: "effect-dht withdraw topic translate --data ./data" }])
    ),
    Command.make(
      "profile",
      Options.runningNode,
      handler(() => import("../commands/Announce.ts").then(({ withdrawProfile }) => withdrawProfile))
    ).pipe(
      Command.withDescription("Withdraw the profile"),
      Command.withExamples([{ command: "effect-dht withdraw profile --data ./data" }])
    )
  ])
)
