/**
 * A whole node on Node.js: UDP, the fastest signatures that the machine has,
 * and its random source.
 *
 * @since 0.1.0
 */
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Layer from "effect/Layer"
import type { Crypto } from "../Crypto.ts"
import * as Dht from "../Dht.ts"
import * as Identity from "../Identity.ts"
import type { SocketAddress } from "../SocketAddress.ts"
import type { CannotBind, Transport } from "../Transport.ts"
import * as Verifier from "../Verifier.ts"
import * as NodeCrypto from "./NodeCrypto.ts"
import * as NodeVerifier from "./NodeVerifier.ts"
import * as RunningNode from "./RunningNode.ts"
import * as SqlitePersistence from "./SqlitePersistence.ts"
import * as UdpTransport from "./UdpTransport.ts"

/**
 * @category models
 * @since 0.1.0
 */
export interface Options extends Dht.Options {
  /** Where to listen; defaults to every IPv4 address and a free port. */
  readonly listen?: SocketAddress | undefined
  /** The 32-byte private key; defaults to a new one each time. */
  readonly seed?: Uint8Array | undefined
  /** Who the node is, for one that acts for another address (`Identity.withDelegation`); defaults to the key of `seed`. */
  readonly identity?: Identity.Identity | undefined
  /**
   * The data directory, for one node at a time: its state is kept there over a
   * restart, and other programs find out where it listens. By default a node
   * keeps nothing.
   */
  readonly data?: string | undefined
  /**
   * Threads that check signatures. Defaults to 0: the node's own thread checks
   * them, which is the lighter way up to some thousand requests a second.
   */
  readonly verifyThreads?: number | undefined
}

/**
 * A running node: with the layer's scope it binds its socket, and closes it.
 *
 * @category layers
 * @since 0.1.0
 */
export const DhtLive = (
  options: Options = {}
): Layer.Layer<Dht.Services | Identity.NodeIdentity | Transport | Crypto, CannotBind> => {
  const identity = options.identity !== undefined
    ? Identity.layer(options.identity)
    : options.seed !== undefined
    ? Identity.layerSeed(options.seed)
    : Identity.layerGenerate
  const threads = options.verifyThreads ?? 0
  const { data } = options
  const persistence = options.persistence ??
    (data === undefined ? undefined : SqlitePersistence.layer({ directory: data }))
  return (data === undefined ? Layer.empty : RunningNode.layer(data)).pipe(
    Layer.provideMerge(Dht.layer({ ...options, persistence })),
    Layer.provideMerge(identity),
    Layer.provideMerge(UdpTransport.layer(options.listen ?? { host: "0.0.0.0", port: 0 })),
    Layer.provide(threads === 0 ? Verifier.layer : NodeVerifier.layerWorkers({ workers: threads })),
    Layer.provideMerge(NodeCrypto.layer),
    Layer.provide(SecureRandom.layerWebCrypto)
  )
}
