/**
 * A typed client of a node's HTTP interface, for programs in the same language
 * that do not run a node. Others use `/openapi.json`.
 *
 * The methods are those of {@link Api}, by group. Each fails with the problems
 * of its route, which can be caught by their tags.
 *
 * @module
 * @since 0.1.0
 */
import type * as Effect from "effect/Effect"
import * as HttpApiClient from "effect/http-api/HttpApiClient"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import type * as Redacted from "effect/Redacted"
import * as Api from "./Api.ts"

/**
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** URL of the node's HTTP server, such as `http://127.0.0.1:2634`. */
  readonly url: string
  /** The node's token, for what acts for the node. On its machine it is in the file `http-token` of its data directory. */
  readonly token?: Redacted.Redacted<string> | undefined
}

/**
 * Makes a client. It connects when a method is called.
 *
 * @example
 * ```ts
 * import * as Client from "effect-dht/http/Client"
 * import * as Effect from "effect/Effect"
 * import * as FetchHttpClient from "effect/http/FetchHttpClient"
 * import * as Redacted from "effect/Redacted"
 *
 * const program = Effect.gen(function*() {
 *   const token = Redacted.make("the token of the node")
 *   const { announcements, network } = yield* Client.make({ url: "http://127.0.0.1:2634", token })
 *   const params = { topic: "translate" }
 *   // Kept until it is deleted, and on three nodes when this returns.
 *   yield* announcements.announceTopic({ params, query: { replicas: 3 }, payload: { name: "Ann", protocols: ["a2a"] } })
 *   const { offers } = yield* network.topic({ params, query: { protocol: ["a2a"] } })
 *   yield* Effect.forEach(offers, ({ address, name }) => Effect.log(`${name} is ${address}`))
 * }).pipe(
 *   Effect.catchTag("NotEnoughReplicas", ({ confirmed, detail }) => Effect.logWarning(detail, confirmed)),
 *   Effect.provide(FetchHttpClient.layer)
 * )
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = ({ token, url }: Options) =>
  HttpApiClient.make(Api.Api, {
    baseUrl: url,
    transformClient: (client) =>
      token === undefined ? client : HttpClient.mapRequest(client, HttpClientRequest.bearerToken(token))
  })

/**
 * A client of a node.
 *
 * @category models
 * @since 0.1.0
 */
export type Client = Effect.Success<ReturnType<typeof make>>
