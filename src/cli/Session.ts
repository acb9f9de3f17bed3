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
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Dht from "../Dht.ts"
import * as Identity from "../Identity.ts"
import * as Mail from "../Mail.ts"
import { DhtLive } from "../node/DhtLive.ts"
import * as Hosts from "../node/Hosts.ts"
import * as RunningNode from "../node/RunningNode.ts"
import * as SqlitePersistence from "../node/SqlitePersistence.ts"
import type { Persistence } from "../Persistence.ts"
import * as Publisher from "../Publisher.ts"
import type { Query } from "../Query.ts"
import type { Replication } from "../Replication.ts"
import type * as Request from "../Request.ts"
import * as SocketAddress from "../SocketAddress.ts"
import type { Store } from "../Store.ts"
import type { CannotBind } from "../Transport.ts"
import type { Watch } from "../Watch.ts"
import * as Output from "./Output.ts"

/**
 * Why a node does not answer, for people.
 *
 * @category conversions
 * @since 0.1.0
 */
export const reasonOf = (error: Request.RequestError): string => {
  switch (error._tag) {
    case "NoAnswer":
      return `no answer in ${Math.round(error.waitedMillis / 1000)} s`
    case "Unroutable":
      return "it cannot be reached from the address that we listen on"
    default:
      return error.message
  }
}

/**
 * Addresses and reasons in one line.
 *
 * @category conversions
 * @since 0.1.0
 */
export const list = (unusable: ReadonlyArray<Hosts.Unusable>): string =>
  unusable.map(({ address, reason }) => `${address}: ${reason}`).join("; ")

/**
 * The addresses of the hosts that can be used together: IPv4 if any has one,
 * otherwise IPv6.
 *
 * @category resolution
 * @since 0.1.0
 */
export const resolve = Effect.fnUntraced(function*(hosts: ReadonlyArray<Hosts.Host>) {
  const ipv4 = yield* Hosts.resolve(hosts, "IPv4")
  if (ipv4.addresses.length > 0) return { ...ipv4, listen: { host: "0.0.0.0", port: 0 } }
  const ipv6 = yield* Hosts.resolve(hosts, "IPv4 or IPv6")
  return ipv6.addresses.length > 0
    ? { ...ipv6, listen: { host: "::", port: 0 } }
    : yield* Output.failed(`Nobody to ask: ${list(ipv6.unusable)}`)
})

/** What the other bootstrap nodes are given to answer after the first one did. */
const grace = "300 millis"

/** Succeeds once it is worth asking: a dead bootstrap node does not hold up those that live. */
const join = Effect.fnUntraced(function*({ addresses, unusable }: Hosts.Resolved) {
  const dht = yield* Dht.Dht
  const first = yield* Deferred.make<void>()
  const ping = (address: SocketAddress.SocketAddress) =>
    Effect.result(Effect.tap(dht.ping(address), () => Deferred.succeed(first, undefined)))
  yield* Effect.forEach(addresses, ping, { concurrency: "unbounded" }).pipe(
    Effect.flatMap((answers) => {
      if (answers.some(Result.isSuccess)) return Effect.void
      const silent = answers.flatMap((answer, i) =>
        Result.isFailure(answer)
          ? [{ address: SocketAddress.format(addresses[i]), reason: reasonOf(answer.failure) }]
          : []
      )
      return Output.failed(
        `No bootstrap node answers: ${
          list([...unusable, ...silent])
        }. Does one run there, and does no firewall stop UDP?`
      )
    }),
    Effect.raceFirst(Effect.andThen(Deferred.await(first), Effect.sleep(grace)))
  )
})

/** Whom a data directory knows: the node that runs there, and the peers it remembers. */
const acquaintances = (directory: string): Effect.Effect<ReadonlyArray<Hosts.Host>> =>
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
  given: ReadonlyArray<Hosts.Host>,
  data: Option.Option<string>
): Layer.Layer<Dht.Services, Output.Failure | CannotBind> =>
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
    const { listen, ...resolved } = yield* resolve(bootstrap)
    return Layer.effectDiscard(join(resolved)).pipe(Layer.provideMerge(DhtLive({ listen, client: true })))
  }))

/**
 * Publishes and reads mail as `identity` through a node of another name.
 *
 * @category layers
 * @since 0.1.0
 */
export const speakFor = (
  identity: Identity.Identity
): Layer.Layer<
  Publisher.Publisher | Mail.Mail | Identity.NodeIdentity,
  never,
  Persistence | Query | Replication | Store | Watch
> =>
  Layer.fresh(Mail.layer).pipe(
    Layer.provideMerge(Layer.fresh(Publisher.layer)),
    Layer.provideMerge(Identity.layer(identity)),
    Layer.provide(SecureRandom.layerWebCrypto)
  )
