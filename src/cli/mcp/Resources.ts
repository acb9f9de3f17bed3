/**
 * The state of the node as MCP resources, for people and programs that look
 * rather than act.
 *
 * @since 0.1.0
 */
import * as McpServer from "effect/ai/McpServer"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import type * as Api from "../../http/Api.ts"
import type { Client } from "../../http/Client.ts"
import * as Output from "../Output.ts"
import type { Access } from "./Access.ts"
import { type Failing, failureOf } from "./Failures.ts"

/** A resource, and which of its facts are a change to tell of: not those that differ at each look. */
interface Source<A> {
  readonly name: string
  readonly description: string
  readonly look: (client: Client) => Effect.Effect<A, Failing>
  readonly facts: (document: A) => unknown
}

const status: Source<typeof Api.Overview.Type> = {
  name: "status",
  description: "The node at a glance: identity, reachability, network, traffic, store and copies of its records",
  look: ({ node }) => node.overview(),
  facts: ({ agent, name, network, passive, persistence, publishing, reachability, ready }) => [
    ready,
    agent,
    name,
    passive,
    reachability,
    network.contacts,
    publishing,
    persistence?.degraded
  ]
}

const network: Source<typeof Api.Network.Type> = {
  name: "network",
  description: "The network as the node sees it: membership, number of contacts, estimated size",
  look: ({ network }) => network.network(),
  facts: ({ contacts, failures, mapping, membership, reachable_at }) => [
    membership,
    failures,
    contacts,
    reachable_at,
    mapping
  ]
}

const announcements: Source<typeof Api.Announcements.Type> = {
  name: "announcements",
  description: "The records that the node keeps alive, with the nodes that hold copies",
  look: ({ announcements }) => announcements.list({ query: {} }),
  facts: (document) => document
}

const uriOf = ({ name }: { readonly name: string }): string => `effect-dht://node/${name}`

const lookThrough = <A>(access: Access, { look }: Source<A>) =>
  Effect.flatMap(access.served, ({ client }) => look(client))

const resource = <A>(access: Access, source: Source<A>) => {
  const { description, name } = source
  const uri = uriOf(source)
  const mimeType = "application/json"
  return McpServer.resource({
    uri,
    name,
    description,
    mimeType,
    content: lookThrough(access, source).pipe(
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
  Layer.mergeAll(resource(access, status), resource(access, network), resource(access, announcements))

/** Pause between two looks at the resources, and so the least time between two notifications of one. */
const interval = "2 seconds"

/**
 * Tells the client when a resource that it has subscribed to changes, at most
 * every two seconds, from when `subscribed` is done until the server ends.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerUpdates = (
  { access, subscribed }: { readonly access: Access; readonly subscribed: Effect.Effect<void> }
): Layer.Layer<never, never, McpServer.McpServer> => {
  const updates = Effect.gen(function*() {
    const { notifications } = yield* McpServer.McpServer

    /** Looks at a resource, and compares it with the last look. */
    const watching = <A>(source: Source<A>) => {
      let before: string | undefined
      return lookThrough(access, source).pipe(
        Effect.flatMap((document) => {
          const now = JSON.stringify(source.facts(document))
          const isChange = before !== undefined && now !== before
          before = now
          return isChange ? notifications["notifications/resources/updated"]({ uri: uriOf(source) }) : Effect.void
        }),
        // The node may be restarting, and the next look tells.
        Effect.ignore
      )
    }
    yield* Effect.all([watching(status), watching(network), watching(announcements)], { discard: true }).pipe(
      Effect.repeat(Schedule.spaced(interval))
    )
  })
  return Layer.effectDiscard(
    Effect.andThen(subscribed, updates).pipe(
      Effect.catchCause((cause) => Effect.logWarning("Reporting of changes stopped", cause)),
      Effect.annotateLogs({ module: "effect-dht/cli/mcp/Resources", fiber: "Updates" }),
      Effect.forkScoped
    )
  )
}
