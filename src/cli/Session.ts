/**
 * A short-lived node for one command: it joins, sends its requests and stops.
 *
 * It has a new identity each time, even when it publishes for another one:
 * records carry their own signature, so any node can store them. A second node
 * under the identity of a running one would divert that node's datagrams.
 *
 * @since 0.1.0
 */
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type { CannotJoin } from "../Bootstrap.ts"
import * as Dht from "../Dht.ts"
import * as Identity from "../Identity.ts"
import * as Mail from "../Mail.ts"
import type { Host } from "../NameResolver.ts"
import { DhtLive } from "../node/DhtLive.ts"
import * as NodeCrypto from "../node/NodeCrypto.ts"
import * as RunningNode from "../node/RunningNode.ts"
import * as SqlitePersistence from "../node/SqlitePersistence.ts"
import type { Persistence } from "../Persistence.ts"
import * as Publisher from "../Publisher.ts"
import type { Query } from "../Query.ts"
import type { Replication } from "../Replication.ts"
import * as SocketAddress from "../SocketAddress.ts"
import type { Store } from "../Store.ts"
import type { Watch } from "../Watch.ts"
import * as Output from "./Output.ts"
import * as Secrets from "./Secrets.ts"

/**
 * Why a node did not answer, as text.
 *
 * @category conversions
 * @since 0.1.0
 */
export const reasonOf = (error: CannotJoin["failures"][number]["error"]): string => {
  switch (error._tag) {
    case "NoAnswer":
      return `no answer in ${Math.round(error.waitedMillis / 1000)} s`
    case "Unroutable":
      return error.reason === "Address"
        ? "it cannot be reached from the address that this command listens on"
        : "its network is excluded by --allow-from or --deny-from"
    case "CannotResolve":
    case "InvalidSocketAddress":
      return error.reason
    default:
      return error.message
  }
}

/**
 * Addresses and why each of them failed.
 *
 * @category conversions
 * @since 0.1.0
 */
export const reasons = (
  failures: CannotJoin["failures"]
): ReadonlyArray<{ readonly address: string; readonly reason: string }> =>
  failures.map(({ address, error }) => ({ address: SocketAddress.format(address), reason: reasonOf(error) }))

/**
 * Returns {@link reasons} as one line.
 *
 * @category conversions
 * @since 0.1.0
 */
export const list = (failures: CannotJoin["failures"]): string =>
  reasons(failures).map(({ address, reason }) => `${address}: ${reason}`).join("; ")

/**
 * Where a command joins: nodes to join through, and their network.
 *
 * @category models
 * @since 0.1.0
 */
export interface Joining extends Secrets.NetworkFlags {
  readonly bootstrap: ReadonlyArray<Host>
}

/**
 * What to check if no node answers.
 *
 * @category constants
 * @since 0.1.0
 */
export const unanswered = "Check that a node is running there, that UDP is not blocked, and that --network and " +
  "--network-key-env are those of its network"

/**
 * A short-lived client node, over IPv4 and IPv6 where the machine has both. It
 * skips the lookup of its neighbors, since it need not be found by others.
 *
 * @category layers
 * @since 0.1.0
 */
export const visitor = (
  flags: Secrets.NetworkFlags
): Layer.Layer<Layer.Success<ReturnType<typeof DhtLive>>, Output.Failure> =>
  Layer.unwrap(Effect.map(Secrets.networkOf(flags), (network) => {
    const listeningOn = (host: string) => DhtLive({ ...network, listen: { host, port: 0 }, client: true })
    return listeningOn("::").pipe(
      Layer.catchTag("CannotBind", () => listeningOn("0.0.0.0")),
      Layer.catch(({ message }) => Layer.effectContext(Effect.fail(Output.failed(message))))
    )
  }))

/** Addresses known from a data directory: its running node, and the peers it remembers. */
const knownPeers = (directory: string): Effect.Effect<ReadonlyArray<Host>> =>
  Effect.map(
    Effect.all([RunningNode.listening(directory), SqlitePersistence.peers(directory)]),
    ([running, remembered]) => running === undefined ? remembered : [running, ...remembered]
  )

/**
 * A node that has joined through the given hosts, or if there are none, through
 * the peers known from the data directory.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (
  joining: Joining,
  data: Option.Option<string>
): Layer.Layer<Dht.Services, Output.Failure> =>
  Layer.unwrap(Effect.gen(function*() {
    const given = joining.bootstrap
    const bootstrap = given.length === 0 && Option.isSome(data) ? yield* knownPeers(data.value) : given
    if (bootstrap.length === 0) {
      return yield* Output.usage(
        Option.match(data, {
          onNone: () =>
            "No node to join through. Give one with --bootstrap host:port, or with --data the data directory of a node " +
            "on this machine (or set DHT_BOOTSTRAP or DHT_DATA)",
          onSome: (path) =>
            `No node to join through: no node runs in ${path}, and no peers are stored there. Give one with ` +
            "--bootstrap host:port (or set DHT_BOOTSTRAP)"
        })
      )
    }
    // One answer is enough, so unreachable nodes do not delay the others.
    const join = Effect.mapError(Dht.Dht.use((dht) => dht.bootstrap(bootstrap)), ({ failures }) =>
      Output.failed(`No bootstrap node answered: ${list(failures)}. ${unanswered}`))
    return Layer.effectDiscard(join).pipe(Layer.provideMerge(visitor(joining)))
  }))

/** The address of the running node of a data directory, if any. */
const whereabouts = Effect.fnUntraced(function*(data: Option.Option<string>) {
  const listening = Option.isNone(data) ? undefined : yield* RunningNode.listening(data.value)
  if (listening === undefined) return undefined
  // A loopback address stands for all addresses if the node listens on all.
  const isAny = listening.host === "127.0.0.1" || listening.host === "::1"
  return {
    bound: isAny ? { ...listening, host: listening.host === "::1" ? "::" : "0.0.0.0" } : listening,
    publicHost: undefined,
    observed: undefined
  }
})

/**
 * Publishes, sends and reads as `identity`, through a node of another
 * identity. `data` is where the identity's own node may be running.
 *
 * @category layers
 * @since 0.1.0
 */
export const speakFor = (
  identity: Identity.Identity,
  data: Option.Option<string>
): Layer.Layer<
  Publisher.Publisher | Mail.Mail | Identity.NodeIdentity,
  never,
  Persistence | Query | Replication | Store | Watch
> =>
  Layer.fresh(Mail.layer).pipe(
    Layer.provideMerge(Layer.unwrap(Effect.map(whereabouts(data), Publisher.layerFor))),
    Layer.provideMerge(Identity.layer(identity)),
    Layer.provide([NodeCrypto.layer, SecureRandom.layerWebCrypto])
  )

/**
 * Runs a command that ends by Ctrl-C, which counts as success.
 *
 * @category running
 * @since 0.1.0
 */
export const untilInterrupted = <A, E, R>(running: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.onInterrupt(running, () =>
    Effect.sync(() => {
      process.exitCode = 0
    }))
