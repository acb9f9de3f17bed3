/**
 * The HTTP server of a running node, for commands that act through it.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import type { HttpClientError } from "effect/http/HttpClientError"
import * as Option from "effect/Option"
import type * as Redacted from "effect/Redacted"
import type * as Schema from "effect/Schema"
import * as Client from "../http/Client.ts"
import type { Problem } from "../http/Problem.ts"
import * as HttpToken from "../node/HttpToken.ts"
import * as RunningNode from "../node/RunningNode.ts"
import * as SocketAddress from "../SocketAddress.ts"
import * as Output from "./Output.ts"
import { tooLong } from "./Refusal.ts"
import * as Secrets from "./Secrets.ts"

/**
 * The node to act through.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  readonly data: string
  /** The name of an environment variable; without it the token is the one in the data directory. */
  readonly httpTokenEnv: Option.Option<string>
}

/**
 * The HTTP server of a node, with a client of it.
 *
 * @category models
 * @since 0.1.0
 */
export interface Served {
  /** Its URL, without a slash at the end. */
  readonly url: string
  readonly client: Client.Client
}

/** Time for a node to show that it is there. */
const timeout = "2 seconds"

const tokenOf = ({ data, httpTokenEnv }: Options): Effect.Effect<Redacted.Redacted | undefined, Output.Failure> =>
  Option.isSome(httpTokenEnv)
    ? Secrets.fromEnv("--http-token-env", httpTokenEnv.value)
    : Effect.mapBoth(HttpToken.load(data), {
      onSuccess: (kept) => kept?.token,
      onFailure: ({ message }) => Output.failed(message)
    })

/**
 * @category constructors
 * @since 0.1.0
 */
export const make = (url: string, token: Redacted.Redacted | undefined): Effect.Effect<Served> =>
  Client.make({ url, token }).pipe(
    Effect.map((client) => ({ url, client })),
    Effect.provide(FetchHttpClient.layer)
  )

/**
 * The server at a URL, whether or not it is there. Without a data directory or a
 * variable, nothing acts for the node.
 *
 * @category constructors
 * @since 0.1.0
 */
export const at = (
  url: string,
  { data, httpTokenEnv }: Pick<Options, "httpTokenEnv"> & { readonly data: Option.Option<string> }
): Effect.Effect<Served, Output.Failure> =>
  Effect.gen(function*() {
    const token = Option.isSome(data) || Option.isSome(httpTokenEnv)
      ? yield* tokenOf({ data: Option.getOrElse(data, () => ""), httpTokenEnv })
      : undefined
    return yield* make(url.replace(/\/+$/, ""), token)
  })

/**
 * The server of the node that runs in the data directory; undefined if none
 * does, or if it serves no HTTP.
 *
 * @category constructors
 * @since 0.1.0
 */
export const find = (options: Options): Effect.Effect<Served | undefined, Output.Failure> =>
  Effect.gen(function*() {
    const address = yield* RunningNode.serving(options.data)
    if (address === undefined) return undefined
    const served = yield* make(`http://${SocketAddress.format(address)}`, yield* tokenOf(options))
    // The address is stale after a crash.
    const isThere = yield* Effect.isSuccess(Effect.timeout(served.client.operations.live(), timeout))
    return isThere ? served : undefined
  })

/**
 * A client of it, for a command that needs one.
 *
 * @category constructors
 * @since 0.1.0
 */
export const get = (options: Options): Effect.Effect<Client.Client, Output.Failure> =>
  Effect.flatMap(find(options), (served) =>
    served === undefined
      ? Output.failed(
        `No node that serves HTTP runs in ${options.data}. Start one with: ` +
          Output.command("node", "--data", options.data)
      )
      : Effect.succeed(served.client))

/**
 * Why a request to the node failed, as the failure of a command.
 *
 * @category conversions
 * @since 0.1.0
 */
export const failureOf = (error: Problem | HttpClientError | Schema.SchemaError): Output.Failure => {
  switch (error._tag) {
    case "HttpClientError":
    case "SchemaError":
      return Output.failed(`The running node did not answer as expected: ${error.message}`)
    case "Unauthorized":
      return Output.failed(`The running node refused the request: ${Secrets.noToken}`)
    case "InvalidRecord":
    case "RecordTooLarge":
      return error.excess === undefined ? Output.usage(error.detail) : tooLong(error.excess)
    case "BadRequest":
    case "InvalidPayload":
      return Output.usage(error.detail)
    default:
      return Output.failed(error.detail)
  }
}
