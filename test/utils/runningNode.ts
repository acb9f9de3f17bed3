import * as Context from "effect/Context"
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as Address from "../../src/Address.ts"
import * as Dht from "../../src/Dht.ts"
import * as HostedIdentities from "../../src/HostedIdentities.ts"
import * as Hosting from "../../src/Hosting.ts"
import { DhtLive } from "../../src/node/DhtLive.ts"
import * as HttpToken from "../../src/node/HttpToken.ts"
import * as IdentityFile from "../../src/node/IdentityFile.ts"
import * as NodeCrypto from "../../src/node/NodeCrypto.ts"
import * as NodeHttp from "../../src/node/NodeHttp.ts"
import * as RunningNode from "../../src/node/RunningNode.ts"
import * as SocketAddress from "../../src/SocketAddress.ts"
import { temporary } from "./temporary.ts"

/** A data directory with an identity. */
export const directory = Effect.gen(function*() {
  const data = yield* temporary
  const { identity } = yield* IdentityFile.create({ directory: data, passphrase: undefined }).pipe(
    Effect.provide([NodeCrypto.layer, SecureRandom.layerWebCrypto])
  )
  return { data, address: Address.format(identity.address) }
})

/** A node on this machine, with sockets. */
export const startNode = (options: Parameters<typeof DhtLive>[0] = {}) =>
  Layer.build(Layer.fresh(DhtLive({ listen: { host: "127.0.0.1", port: 0 }, ...options })))

/** A node that serves HTTP as `effect-dht node` does, and the node that it has joined through. */
export const running = Effect.gen(function*() {
  const peer = yield* startNode()
  return { ...(yield* joined(peer)), peer: Context.get(peer, Dht.Dht) }
})

type Services = Effect.Success<ReturnType<typeof startNode>>

/** What `effect-dht node --hosting` adds to a node. */
export const hosting = (services: Services) =>
  Layer.build(
    Layer.fresh(HostedIdentities.layer).pipe(
      Layer.provideMerge(Layer.fresh(Hosting.layer())),
      Layer.provide([Layer.succeedContext(services), SecureRandom.layerWebCrypto])
    )
  )

/** A node that serves HTTP as `effect-dht node` does, and has joined through another. */
export const joined = Effect.fnUntraced(function*(
  through: Services,
  adding: (services: Services) => Effect.Effect<Context.Context<never>, never, Scope.Scope> = () =>
    Effect.succeed(Context.empty())
) {
  const { address, data } = yield* directory
  const { localAddress } = Context.get(through, Dht.Dht)
  const services = yield* startNode({ data, bootstrap: [localAddress] })
  const { token } = yield* Effect.provide(HttpToken.loadOrCreate(data), SecureRandom.layerWebCrypto)
  const server = yield* Effect.provideContext(
    Layer.build(Layer.fresh(NodeHttp.layer({ port: 0, token, readable: true }))),
    Context.merge(services, yield* adding(services))
  )
  const http = yield* Effect.provideContext(NodeHttp.localAddress, server)
  yield* RunningNode.publishServing(data, http)
  return { address, data, url: `http://${SocketAddress.format(http)}` }
})
