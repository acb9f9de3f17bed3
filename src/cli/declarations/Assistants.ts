/**
 * The command that serves assistants.
 *
 * @since 0.1.0
 */
import * as Command from "effect/cli/Command"
import * as Options from "../Options.ts"
import { handler } from "./Handler.ts"

export const mcp = Command.make(
  "mcp",
  {
    node: Options.node,
    data: Options.shared,
    ...Options.joining,
    httpTokenEnv: Options.nodeTokenEnv,
    passphraseEnv: Options.newPassphraseEnv,
    allowPrivate: Options.allowPrivate
  },
  handler(() => import("../commands/Mcp.ts").then(({ mcp }) => mcp))
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
