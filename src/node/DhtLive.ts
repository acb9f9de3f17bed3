/**
 * A whole node on Node.js: UDP, names, the fastest signatures that the machine
 * has, and its random source.
 *
 * @since 0.1.0
 */
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Redacted from "effect/Redacted"
import type { Crypto } from "../Crypto.ts"
import * as Dht from "../Dht.ts"
import type { InvalidSocketAddress } from "../DhtError.ts"
import * as Identity from "../Identity.ts"
import * as SocketAddress from "../SocketAddress.ts"
import type { CannotBind, Transport } from "../Transport.ts"
import * as Verifier from "../Verifier.ts"
import * as DataDirectory from "./DataDirectory.ts"
import * as DnsResolver from "./DnsResolver.ts"
import * as IdentityFile from "./IdentityFile.ts"
import * as NodeCrypto from "./NodeCrypto.ts"
import * as NodeVerifier from "./NodeVerifier.ts"
import * as RunningNode from "./RunningNode.ts"
import * as SqlitePersistence from "./SqlitePersistence.ts"
import * as UdpTransport from "./UdpTransport.ts"

/**
 * What a program that embeds a node on Node may choose; nothing has to be.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options extends Dht.Options {
  /**
   * Where to listen; defaults to every IPv4 address and a free port. `::` is
   * every address of both families.
   */
  readonly listen?: SocketAddress.SocketAddress | undefined
  /**
   * The data directory, for one node at a time: made if there is none, and
   * locked while the node runs. Its identity is there, in `identity.ed25519`,
   * made by the first start; its state is kept over a restart; and other
   * programs find out where it listens. By default a node keeps nothing, and
   * has a new identity each time.
   */
  readonly data?: string | undefined
  /** What the identity in the data directory is, or will be, encrypted under. */
  readonly passphrase?: Redacted.Redacted | undefined
  /** The 32-byte private key, where the program keeps it itself: the directory's is neither read nor made then. */
  readonly seed?: Uint8Array | undefined
  /** The same as a whole, for a node that acts for another address (`Identity.withDelegation`). */
  readonly identity?: Identity.Identity | undefined
  /**
   * Threads that check signatures. Defaults to 0: the node's own thread checks
   * them, which is the lighter way up to some thousand requests a second.
   */
  readonly verifyThreads?: number | undefined
}

/**
 * Why a node cannot start: its port, its data directory, the identity there, or
 * what is given to join through. That no other node answers is none of these,
 * see `bootstrap`.
 *
 * @category errors
 * @since 0.1.0
 */
export type CannotStart =
  | CannotBind
  | InvalidSocketAddress
  | DataDirectory.DirectoryInUse
  | IdentityFile.CannotLoad

/**
 * A running node: with the layer's scope it binds its socket, and closes it.
 *
 * When the layer is built the node has joined, or has failed to and keeps trying
 * in the background; `Bootstrap.membership` says which. With `data` it is the
 * same node at each start, with the records and peers that it had.
 *
 * @example
 * ```ts
 * import { Address, Dht } from "effect-dht"
 * import { DhtLive } from "effect-dht/node"
 * import * as Effect from "effect/Effect"
 *
 * const node = DhtLive({ data: "./data", bootstrap: ["dht.example.net:4121"] })
 *
 * const program = Effect.gen(function*() {
 *   const dht = yield* Dht.Dht
 *   yield* Effect.log(`${Address.format(dht.address)} is bound to port ${dht.localAddress.port}`)
 *   return yield* Effect.never
 * }).pipe(
 *   Effect.provide(node),
 *   Effect.catchTag("CannotBind", ({ message }) => Effect.logError(message))
 * )
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const DhtLive = (
  options: Options = {}
): Layer.Layer<Dht.Services | Identity.NodeIdentity | Transport | Crypto, CannotStart> => {
  const { bootstrap, data } = options
  return Layer.unwrap(Effect.gen(function*() {
    // What cannot be read will never answer, and is not worth trying again.
    const hosts = bootstrap &&
      (yield* Effect.forEach(
        bootstrap,
        (host) => typeof host === "string" ? Effect.fromResult(SocketAddress.splitHostPort(host)) : Effect.succeed(host)
      ))
    const given = { ...options, bootstrap: hosts }
    return data === undefined
      ? node(given, identityOf(options), Layer.empty)
      : Layer.unwrap(Effect.map(DataDirectory.DataDirectory, (directory) => {
        const layerDirectory = Layer.succeed(DataDirectory.DataDirectory, directory)
        const persistence = options.persistence ?? Layer.provide(SqlitePersistence.layerIn(), layerDirectory)
        return node({ ...given, persistence }, identityOf(options), RunningNode.layer(data))
      })).pipe(
        // Before anything in it is touched.
        Layer.provide(DataDirectory.layer(data))
      )
  }))
}

const identityOf = ({ data, identity, passphrase, seed }: Options) => {
  if (identity !== undefined) return Identity.layer(identity)
  if (seed !== undefined) return Identity.layerSeed(seed)
  if (data === undefined) return Identity.layerGenerate
  return Layer.unwrap(
    Effect.map(IdentityFile.loadOrCreate({ directory: data, passphrase }), ({ identity }) => Identity.layer(identity))
  )
}

const node = <E, R>(
  options: Options,
  identity: Layer.Layer<Identity.NodeIdentity, E, R>,
  running: Layer.Layer<never, never, Transport>
) => {
  const threads = options.verifyThreads ?? 0
  return Dht.layer(options).pipe(
    Layer.merge(running),
    Layer.provideMerge(UdpTransport.layer(options.listen ?? { host: "0.0.0.0", port: 0 })),
    Layer.provideMerge(identity),
    Layer.provide(threads === 0 ? Verifier.layer : NodeVerifier.layerWorkers({ workers: threads })),
    Layer.provideMerge(NodeCrypto.layer),
    Layer.provide(SecureRandom.layerWebCrypto),
    Layer.provide(DnsResolver.layer)
  )
}
