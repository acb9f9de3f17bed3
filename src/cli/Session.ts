/**
 * A node for one question: it joins, asks, and leaves.
 *
 * It has a new identity each time, also where it speaks for another one:
 * records carry their own signature, so whoever hands them over does not
 * matter. A node under the very identity of another one that runs would make
 * the network send that one's datagrams here.
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

/**
 * Why a node does not answer, for people.
 *
 * @category conversions
 * @since 0.1.0
 */
export const reasonOf = (error: CannotJoin["failures"][number]["error"]): string => {
  switch (error._tag) {
    case "NoAnswer":
      return `no answer in ${Math.round(error.waitedMillis / 1000)} s`
    case "Unroutable":
      return "it cannot be reached from the address that we listen on"
    case "CannotResolve":
    case "InvalidSocketAddress":
      return error.reason
    default:
      return error.message
  }
}

/**
 * Addresses, and why none of them answers.
 *
 * @category conversions
 * @since 0.1.0
 */
export const reasons = (
  failures: CannotJoin["failures"]
): ReadonlyArray<{ readonly address: string; readonly reason: string }> =>
  failures.map(({ address, error }) => ({ address: SocketAddress.format(address), reason: reasonOf(error) }))

/**
 * The same in one line.
 *
 * @category conversions
 * @since 0.1.0
 */
export const list = (failures: CannotJoin["failures"]): string =>
  reasons(failures).map(({ address, reason }) => `${address}: ${reason}`).join("; ")

/**
 * A node that asks and leaves. It reaches IPv4 and IPv6 where the machine has
 * both. Nobody needs to find it, so it does not look for its neighbours.
 *
 * @category layers
 * @since 0.1.0
 */
export const visitor: Layer.Layer<Layer.Success<ReturnType<typeof DhtLive>>, Output.Failure> = DhtLive({
  listen: { host: "::", port: 0 },
  client: true
}).pipe(
  Layer.catchTag("CannotBind", () => DhtLive({ listen: { host: "0.0.0.0", port: 0 }, client: true })),
  Layer.catch(({ message }) => Layer.effectContext(Effect.fail(Output.failed(message))))
)

/** Whom a data directory knows: the node that runs there, and the peers it remembers. */
const acquaintances = (directory: string): Effect.Effect<ReadonlyArray<Host>> =>
  Effect.map(
    Effect.all([RunningNode.listening(directory), SqlitePersistence.peers(directory)]),
    ([running, remembered]) => running === undefined ? remembered : [running, ...remembered]
  )

/**
 * A node that has joined through the given hosts, or else through those that
 * the data directory knows.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (
  given: ReadonlyArray<Host>,
  data: Option.Option<string>
): Layer.Layer<Dht.Services, Output.Failure> =>
  Layer.unwrap(Effect.gen(function*() {
    const bootstrap = given.length === 0 && Option.isSome(data) ? yield* acquaintances(data.value) : given
    if (bootstrap.length === 0) {
      return yield* Output.usage(
        Option.match(data, {
          onNone: () =>
            "Whom to ask? Name a node of the network with --bootstrap host:port, or with --data the data directory of " +
            "a node that runs here (or set DHT_BOOTSTRAP or DHT_DATA)",
          onSome: (path) =>
            `Whom to ask? No node runs in ${path}, and no peers are remembered there: name a node of the network with ` +
            "--bootstrap host:port (or set DHT_BOOTSTRAP)"
        })
      )
    }
    // One of them is enough: the dead do not hold up those that live.
    const join = Effect.mapError(Dht.Dht.use((dht) => dht.bootstrap(bootstrap)), ({ failures }) =>
      Output.failed(
        `No bootstrap node answers: ${list(failures)}. Does one run there, and does no firewall stop UDP?`
      ))
    return Layer.effectDiscard(join).pipe(Layer.provideMerge(visitor))
  }))

/** Where the node of a data directory is reached, if one runs. */
const whereabouts = Effect.fnUntraced(function*(data: Option.Option<string>) {
  const listening = Option.isNone(data) ? undefined : yield* RunningNode.listening(data.value)
  if (listening === undefined) return undefined
  // The loopback interface stands for all where the node listens on all.
  const isAny = listening.host === "127.0.0.1" || listening.host === "::1"
  return {
    bound: isAny ? { ...listening, host: listening.host === "::1" ? "::" : "0.0.0.0" } : listening,
    publicHost: undefined,
    observed: undefined
  }
})

/**
 * Publishes and reads mail as `identity` through a node of another name. `data`
 * is where the identity's own node may run.
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
    Layer.provide(SecureRandom.layerWebCrypto)
  )
