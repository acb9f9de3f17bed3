/**
 * A server of the Model Context Protocol on the standard input and output: `mcp`.
 *
 * @since 0.1.0
 */
import * as McpProtocol from "effect/ai/McpProtocol"
import * as McpServer from "effect/ai/McpServer"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { Stdio } from "effect/Stdio"
import { version } from "../../internal/version.ts"
import * as Access from "../mcp/Access.ts"
import * as Handlers from "../mcp/Handlers.ts"
import * as Lines from "../mcp/Lines.ts"
import * as Resources from "../mcp/Resources.ts"
import { instructions, tools } from "../mcp/Tools.ts"
import * as Session from "../Session.ts"

const protocols = [
  McpProtocol.v2026_07_28,
  McpProtocol.v2025_11_25,
  McpProtocol.v2025_06_18,
  McpProtocol.v2025_03_26,
  McpProtocol.v2024_11_05
] as const

/**
 * Serves until the input ends or the command is interrupted, which both count as
 * success.
 *
 * @category commands
 * @since 0.1.0
 */
export const mcp = (options: Access.Options & { readonly allowPrivate: boolean }) =>
  Effect.gen(function*() {
    const access = yield* Access.make(options)
    const { ended, stdio, subscribed } = yield* Lines.guard
    const server = McpServer.layerStdio({
      name: "effect-dht",
      version,
      instructions,
      protocols,
      registrations: Layer.mergeAll(
        Layer.provide(McpServer.toolkit(tools), Handlers.layer({ access, allowPrivate: options.allowPrivate, ended })),
        Resources.layer(access),
        Resources.layerUpdates({ access, subscribed })
      )
    })
    // The server interrupts this fiber when the input has ended and all responses are written.
    return yield* Layer.launch(Layer.provide(server, Layer.succeed(Stdio, stdio)))
  }).pipe(Effect.scoped, Session.untilInterrupted)
