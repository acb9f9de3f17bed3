/**
 * The commands that send and read messages.
 *
 * @since 0.1.0
 */
import * as Command from "effect/cli/Command"
import * as Options from "../Options.ts"
import { handler } from "./Handler.ts"
import { common } from "./RecordFlags.ts"

const send = Command.make(
  "send",
  {
    address: Options.address,
    text: Options.text,
    ...common
  },
  handler(() => import("../commands/Mail.ts").then(({ send }) => send))
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
    watch: Options.toggle("watch", "Show each message as it arrives, until Ctrl-C"),
    ...Options.joining,
    data: Options.author,
    passphraseEnv: Options.passphraseEnv,
    json: Options.json
  },
  handler(() => import("../commands/Mail.ts").then(({ read }) => read))
).pipe(
  Command.withDescription("Show the messages to the identity of --data, which are stored until they expire"),
  Command.withExamples([
    { command: "effect-dht mailbox read --data ./data" },
    { command: "effect-dht mailbox read --watch --json --data ./data", description: "Each message as it arrives" }
  ])
)

export const mailbox = Command.make("mailbox").pipe(
  Command.withDescription("Send and read encrypted messages"),
  Command.withSubcommands([send, read])
)
