/**
 * The commands that publish a record once.
 *
 * @since 0.1.0
 */
import * as Command from "effect/cli/Command"
import * as Options from "../Options.ts"
import { handler } from "./Handler.ts"
import { common, endpointFlags, profileFlags, topicFlags } from "./RecordFlags.ts"

const publishEndpoint = Command.make(
  "endpoint",
  { ...endpointFlags, ...common },
  handler(() => import("../commands/Publish.ts").then(({ endpoint }) => endpoint))
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
  handler(() => import("../commands/Publish.ts").then(({ topic }) => topic))
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
  handler(() => import("../commands/Publish.ts").then(({ profile }) => profile))
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
  handler(() => import("../commands/Publish.ts").then(({ custom }) => custom))
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

export const publish = Command.make("publish").pipe(
  Command.withDescription(
    "Sign a record with the identity of --data and store it on up to 8 nodes, where it expires after --ttl seconds. It " +
      "is not renewed: publish again before then. Without --data a temporary identity is used. A node may be running in " +
      "--data at the same time: the command joins the network under another identity"
  ),
  Command.withShortDescription("Publish a record"),
  Command.withSubcommands([publishEndpoint, publishTopic, publishProfile, publishCustom])
)
