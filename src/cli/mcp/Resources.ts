/**
 * The state of the node as MCP resources, for people and programs that look
 * rather than act.
 *
 * @since 0.1.0
 */
import * as McpServer from "effect/ai/McpServer"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { Client } from "../../http/Client.ts"
import * as Output from "../Output.ts"
import type { Access } from "./Access.ts"
import { type Failing, failureOf } from "./Failures.ts"

const resource = (
  access: Access,
  options: {
    readonly name: string
    readonly description: string
    readonly look: (client: Client) => Effect.Effect<unknown, Failing>
  }
) => {
  const { description, look, name } = options
  const uri = `effect-dht://node/${name}`
  const mimeType = "application/json"
  return McpServer.resource({
    uri,
    name,
    description,
    mimeType,
    content: Effect.flatMap(access.served, ({ client }) => look(client)).pipe(
      Effect.map((document) => ({ contents: [{ uri, mimeType, text: JSON.stringify(document, undefined, 2) }] })),
      Effect.mapError((error) => Output.failed(failureOf(error).message))
    )
  })
}

/**
 * All resources.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (access: Access) =>
  Layer.mergeAll(
    resource(access, {
      name: "status",
      description: "The node at a glance: identity, reachability, network, traffic, store and copies of its records",
      look: ({ node }) => node.overview()
    }),
    resource(access, {
      name: "network",
      description: "The network as the node sees it: membership, number of contacts, estimated size",
      look: ({ network }) => network.network()
    }),
    resource(access, {
      name: "announcements",
      description: "The records that the node keeps alive, with the nodes that hold copies",
      look: ({ announcements }) => announcements.list({ query: {} })
    })
  )
