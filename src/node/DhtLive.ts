/**
 * A complete node on Node.js: UDP, DNS, the fastest available Ed25519
 * implementation and a secure random source.
 *
 * @module
 * @since 0.1.0
 */
import { isReadonlyArrayNonEmpty } from "effect/Array"
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Redacted from "effect/Redacted"
import type { Crypto } from "../Crypto.ts"
import * as Dht from "../Dht.ts"
import * as Identity from "../Identity.ts"
import * as SocketAddress from "../SocketAddress.ts"
import type { CannotBind, NetworkRules, Transport } from "../Transport.ts"
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
 * Options of a node on Node.js. All are optional.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options extends Dht.Options, NetworkRules {
  /** Layers that replace the node's own services, those of the host included. */
  readonly services?: Replacements | undefined
  /**
   * Address to listen on, or several; defaults to every IPv4 address and a free
   * port. `::` is every address of both families, or of IPv6 beside an address of
   * IPv4.
   */
  readonly listen?: SocketAddress.SocketAddress | ReadonlyArray<SocketAddress.SocketAddress> | undefined
  /**
   * Data directory, used by one node at a time: created if it does not exist,
   * and locked while the node runs. It holds the identity, in
   * `identity.ed25519`, created at the first start; the state that survives a
   * restart; and the node's address, for other programs on the machine. By
   * default a node keeps nothing and has a new identity at each start.
   */
  readonly data?: string | undefined
  /** Passphrase that encrypts the identity in the data directory. */
  readonly passphrase?: Redacted.Redacted | undefined
  /** 32-byte private key, for a program that stores it itself: the one in the data directory is not used or created. */
  readonly seed?: Uint8Array | undefined
  /** Identity, for a node that acts for another address (`Identity.withDelegation`). */
  readonly identity?: Identity.Identity | undefined
  /**
   * Threads that verify signatures. Defaults to 0: the node's own thread
   * verifies them, which costs less up to some thousand requests a second.
   */
  readonly verifyThreads?: number | undefined
}

/**
 * Layers that replace services of a node on Node.js.
 *
 * @category models
 * @since 0.1.0
 */
export interface Replacements extends Dht.Replacements {
  /** UDP at `listen` by default, with the networks of `allowFrom` and `denyFrom`, which another one has to exclude itself. */
  readonly transport?: Layer.Layer<Transport, CannotBind, Identity.NodeIdentity | Crypto> | undefined
  /** The fastest that is installed by default, {@link NodeCrypto}. */
  readonly crypto?: Layer.Layer<Crypto> | undefined
  /** As `verifyThreads` says by default. */
  readonly verifier?: Layer.Layer<Verifier.Verifier, never, Crypto> | undefined
}

/**
 * Reasons why a node cannot start: its port, its data directory, its identity,
 * or an invalid bootstrap address. Unreachable bootstrap nodes are not among
 * them, see `bootstrap`.
 *
 * @category errors
 * @since 0.1.0
 */
export type CannotStart =
  | CannotBind
  | SocketAddress.InvalidSocketAddress
  | DataDirectory.DirectoryInUse
  | IdentityFile.CannotLoad

/**
 * A running node, whose socket is open for the scope of the layer.
 *
 * The layer is built once the node has joined, or has failed to join and
 * retries in the background; `Bootstrap.membership` tells which. With `data` the
 * node has the same identity, records and peers after a restart.
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
    // Retrying cannot help an address that does not parse.
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
        const persistence = Layer.provide(SqlitePersistence.layerIn(), layerDirectory)
        return node(
          { ...given, services: { ...options.services, persistence: options.services?.persistence ?? persistence } },
          identityOf(options),
          RunningNode.layer(data)
        )
      })).pipe(
        // The lock comes first, before any file in the directory is touched.
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

const everywhere: SocketAddress.SocketAddress = { host: "0.0.0.0", port: 0 }

const node = <E, R>(
  options: Options,
  identity: Layer.Layer<Identity.NodeIdentity, E, R>,
  running: Layer.Layer<never, never, Transport>
) => {
  const { allowFrom, denyFrom, listen = everywhere, services = {}, verifyThreads = 0 } = options
  const addresses = "host" in listen ? [listen] : listen
  const verifier = verifyThreads === 0 ? Verifier.layer : NodeVerifier.layerWorkers({ workers: verifyThreads })
  return Dht.layer(options).pipe(
    Layer.merge(running),
    Layer.provideMerge(
      services.transport ??
        UdpTransport.layer(isReadonlyArrayNonEmpty(addresses) ? addresses : [everywhere], { allowFrom, denyFrom })
    ),
    Layer.provideMerge(identity),
    Layer.provide(services.verifier ?? verifier),
    Layer.provideMerge(services.crypto ?? NodeCrypto.layer),
    Layer.provide(SecureRandom.layerWebCrypto),
    Layer.provide(DnsResolver.layer)
  )
}
