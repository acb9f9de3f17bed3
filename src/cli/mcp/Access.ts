/**
 * The node that the MCP server acts through: one that runs already, or one of
 * its own. Both are used in the same way, over HTTP.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import { Bootstrap } from "../../Bootstrap.ts"
import * as Hex from "../../internal/hex.ts"
import { DhtLive } from "../../node/DhtLive.ts"
import * as HttpToken from "../../node/HttpToken.ts"
import * as NodeHttp from "../../node/NodeHttp.ts"
import * as RunningNode from "../../node/RunningNode.ts"
import * as SocketAddress from "../../SocketAddress.ts"
import * as Gateway from "../Gateway.ts"
import * as Identities from "../Identities.ts"
import * as Output from "../Output.ts"
import * as Secrets from "../Secrets.ts"
import type * as Session from "../Session.ts"

/**
 * @category models
 * @since 0.1.0
 */
export interface Options extends Session.Joining {
  /** URL of the HTTP server of a running node. */
  readonly node: Option.Option<string>
  readonly data: Option.Option<string>
  /** The name of an environment variable. */
  readonly httpTokenEnv: Option.Option<string>
  readonly passphraseEnv: Option.Option<string>
}

/**
 * The way to the node.
 *
 * @category models
 * @since 0.1.0
 */
export interface Access {
  /** The node, which may be another one from call to call. */
  readonly served: Effect.Effect<Gateway.Served, Output.Failure>
}

/** Bytes of a token that is kept nowhere. */
const tokenSize = 32

const newToken = SecureRandom.SecureRandom.use((random) =>
  Effect.map(random.randomBytes(tokenSize), (bytes) => Redacted.make(Hex.encode(bytes)))
)

/** Starts a node that serves HTTP to this machine, until the scope closes. Without a directory it keeps nothing. */
const start = Effect.fnUntraced(
  function*({ bootstrap, data, passphraseEnv, ...network }: Options) {
    const directory = Option.getOrUndefined(data)
    const identity = directory === undefined
      ? undefined
      : (yield* Identities.loadOrCreate({ data: directory, passphraseEnv })).identity
    const services = yield* Layer.build(
      DhtLive({ ...(yield* Secrets.networkOf(network)), identity, data: directory })
    )
    yield* Effect.forkScoped(Context.get(services, Bootstrap).keepJoining(bootstrap))
    const token = directory === undefined ? yield* newToken : (yield* HttpToken.loadOrCreate(directory)).token
    const server = yield* Effect.provideContext(
      Layer.build(NodeHttp.layer({ port: 0, token, readable: true })),
      services
    )
    const address = yield* Effect.provideContext(NodeHttp.localAddress, server)
    if (directory !== undefined) yield* RunningNode.publishServing(directory, address)
    return yield* Gateway.make(`http://${SocketAddress.format(address)}`, token)
  },
  Effect.provide(SecureRandom.layerWebCrypto)
)

/** Starts a node in a scope of its own, which closes if that fails or is interrupted. */
const startIn = (scope: Scope.Scope, options: Options) =>
  Effect.uninterruptibleMask((restore) =>
    Effect.gen(function*() {
      const own = yield* Scope.fork(scope)
      return yield* restore(start(options)).pipe(
        Scope.provide(own),
        Effect.onExit((exit) => Exit.isSuccess(exit) ? Effect.void : Scope.close(own, exit))
      )
    })
  )

/**
 * The node of a data directory: the one that runs there, or ours. Servers that
 * share a directory share its node, and whichever has started it may end before
 * the others, so this is decided at each call.
 */
const sharing = Effect.fnUntraced(function*(data: string, options: Options) {
  const scope = yield* Effect.scope
  const turn = yield* Semaphore.make(1)
  const running = Gateway.find({ data, httpTokenEnv: options.httpTokenEnv })
  let own: Gateway.Served | undefined
  const served = Effect.gen(function*() {
    if (own !== undefined) return own
    const there = yield* running
    if (there !== undefined) return there
    own = yield* startIn(scope, options).pipe(Effect.mapError(failureOf(options)))
    return own
  }).pipe(
    // Another process may have started the node in the meantime.
    Effect.catch((failure) => Effect.filterOrFail(running, (there) => there !== undefined, () => failure))
  )
  const access: Access = { served: turn.withPermit(served) }
  // Tells at once if it cannot start.
  yield* access.served
  return access
})

const failureOf = ({ data }: Options) => (error: Effect.Error<ReturnType<typeof startIn>>): Output.Failure => {
  switch (error._tag) {
    case "Failure":
      return error
    case "DirectoryInUse":
      return Output.failed(
        `A node without an HTTP server runs in ${
          Option.getOrElse(data, () => "")
        }: start it without --no-http, or give ` +
          "another directory with --data"
      )
    default:
      return Output.failed(error.message)
  }
}

/**
 * Finds or starts the node that the options name. A node of our own runs until
 * the scope closes.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (options: Options): Effect.Effect<Access, Output.Failure, Scope.Scope> =>
  Effect.gen(function*() {
    const { bootstrap, data, node } = options
    if (Option.isSome(node)) {
      if (bootstrap.length > 0) {
        return yield* Output.usage("--node and --bootstrap exclude each other: a running node has its own")
      }
      return { served: Effect.succeed(yield* Gateway.at(node.value, options)) }
    }
    if (Option.isSome(data)) return yield* sharing(data.value, options)
    const scope = yield* Effect.scope
    return { served: Effect.succeed(yield* Effect.mapError(startIn(scope, options), failureOf(options))) }
  })
