/**
 * A node that stays: `node`.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import { availableParallelism } from "node:os"
import * as Address from "../../Address.ts"
import { Dht } from "../../Dht.ts"
import * as DhtMetrics from "../../DhtMetrics.ts"
import { DhtLive } from "../../node/DhtLive.ts"
import * as Hosts from "../../node/Hosts.ts"
import * as RunningNode from "../../node/RunningNode.ts"
import type { NodeId } from "../../NodeId.ts"
import { Persistence } from "../../Persistence.ts"
import * as SocketAddress from "../../SocketAddress.ts"
import * as Identities from "../Identities.ts"
import * as Output from "../Output.ts"
import * as Secrets from "../Secrets.ts"
import * as Session from "../Session.ts"
import type * as Telemetry from "../Telemetry.ts"

interface Options extends Telemetry.Options {
  readonly listen: SocketAddress.SocketAddress
  readonly passive: boolean
  readonly publicHost: Option.Option<string>
  readonly maxKeys: Option.Option<number>
  readonly verifyThreads: Option.Option<number>
  readonly bootstrap: ReadonlyArray<Hosts.Host>
  readonly data: string
  readonly http: Hosts.Host
  readonly noHttp: boolean
  /** The name of an environment variable. */
  readonly httpTokenEnv: Option.Option<string>
  readonly passphraseEnv: Option.Option<string>
  readonly json: boolean
}

/** Not a member of the network yet. */
class NotJoined extends Data.TaggedError("NotJoined")<{ readonly unusable: ReadonlyArray<Hosts.Unusable> }> {}

/** A node that stays serves others: where there are several cores, signatures are checked on all, up to four. */
const usualThreads = () => availableParallelism() > 1 ? Math.min(availableParallelism(), 4) : 0

/** Pauses between attempts to join. */
const retries = Schedule.min([Schedule.exponential("2 seconds"), Schedule.spaced("5 minutes")]).pipe(Schedule.jittered)

const attempt = Effect.fnUntraced(
  function*({ bootstrap, listen }: Options) {
    const dht = yield* Dht
    // Names are looked up each time: they may have moved, or the network was not up yet.
    const { addresses, unusable } = yield* Hosts.resolve(bootstrap, Hosts.familyOf(listen.host))
    const contacts = yield* dht.bootstrap(addresses).pipe(
      Effect.mapError(({ failures }) => {
        const silent = failures.map(({ address, error }) => ({
          address: SocketAddress.format(address),
          reason: Session.reasonOf(error)
        }))
        return new NotJoined({ unusable: [...unusable, ...silent] })
      })
    )
    // All nodes of a network may be given the same list, with themselves in it.
    if (contacts.length === 0) {
      const own = addresses.map((address) => ({ address: SocketAddress.format(address), reason: "it is this node" }))
      return yield* new NotJoined({ unusable: [...unusable, ...own] })
    }
  }
)

const join = Effect.fnUntraced(function*(options: Options) {
  const dht = yield* Dht
  // That remembered peers are gone is nobody's mistake.
  let warned = options.bootstrap.length === 0
  yield* attempt(options).pipe(
    Effect.tapError(({ unusable }) => {
      const event = Output.print(options.json, { event: "bootstrap-failed", failures: unusable }, [])
      const line = `No bootstrap node answers yet (${Session.list(unusable)}); this node stays up and tries again`
      const warning = warned ? Effect.logDebug(line) : Effect.logWarning(line)
      warned = true
      return Effect.andThen(event, warning)
    }),
    Effect.retry(retries)
  )
  const { contacts } = yield* dht.stats
  yield* Output.print(options.json, { event: "joined", contacts }, [
    `Joined the network: ${contacts} ${contacts === 1 ? "contact" : "contacts"}`
  ])
})

/** What the node that ran here before is given to say that it still does. */
const stillThere = "500 millis"

/** Two nodes of one identity would take each other's datagrams. */
const refuseSecond = Effect.fnUntraced(function*(data: string, nodeId: NodeId) {
  const there = yield* RunningNode.listening(data)
  if (there === undefined) return
  const listen = { host: there.host.includes(":") ? "::" : "0.0.0.0", port: 0 }
  const answer = yield* Dht.use(({ ping }) => ping(there)).pipe(
    Effect.timeout(stillThere),
    Effect.provide(DhtLive({ listen, client: true })),
    Effect.option
  )
  if (Option.isSome(answer) && answer.value.contact.id === nodeId) {
    return yield* Output.failed(
      `A node runs in ${data} already, at ${
        SocketAddress.format(there)
      }; give this one a directory of its own with --data`
    )
  }
})

/** Serves HTTP and succeeds with where. */
const serve = Effect.fnUntraced(function*({ http, httpTokenEnv }: Options, first: boolean) {
  const token = Option.isNone(httpTokenEnv)
    ? undefined
    : yield* Secrets.fromEnv("--http-token-env", "token", httpTokenEnv.value)
  // Only who serves waits for the server to be loaded.
  const { layer, localAddress } = yield* Effect.promise(() => import("../../node/NodeHttp.ts"))
  const server = yield* Layer.build(layer({ ...http, token, first })).pipe(
    Effect.mapError((error) =>
      error._tag === "TokenNeeded"
        ? Output.usage(`${error.message}; --http-token-env names the variable that holds one`)
        : Output.failed(`${error.message}; choose another with --http, or --no-http`)
    )
  )
  return SocketAddress.format(yield* Effect.provideContext(localAddress, server))
})

/** Logs and telemetry as they are wanted, loaded only where they are not as usual. */
const telemetry = (options: Options): Layer.Layer<never> =>
  Option.isNone(options.otlp) && options.logFormat === "pretty"
    ? Layer.empty
    : Layer.unwrap(Effect.map(Effect.promise(() => import("../Telemetry.ts")), ({ layer }) => layer(options)))

/**
 * Runs until it is interrupted, which is its proper end.
 *
 * @category commands
 * @since 0.1.0
 */
export const node = (options: Options) =>
  Effect.gen(function*() {
    const { created, identity, path } = yield* Identities.loadOrCreate(options)
    yield* refuseSecond(options.data, identity.nodeId)
    const services = yield* Layer.build(
      DhtLive({
        listen: options.listen,
        identity,
        data: options.data,
        passive: options.passive,
        publicHost: Option.getOrUndefined(options.publicHost),
        maxKeys: Option.getOrUndefined(options.maxKeys),
        verifyThreads: Option.getOrElse(options.verifyThreads, usualThreads)
      })
    ).pipe(Effect.mapError(({ message }) => Output.failed(`${message}; choose another with --listen`)))
    const dht = Context.get(services, Dht)
    const remembered = yield* Context.get(services, Persistence).kept.peers
    const isFirst = options.bootstrap.length === 0 && remembered.length === 0
    const http = options.noHttp ? null : yield* Effect.provideContext(serve(options, isFirst), services)
    if (Option.isSome(options.otlp)) yield* Effect.provideContext(Layer.build(DhtMetrics.layer), services)
    const address = Address.format(dht.address)
    const agent = dht.agent === dht.address ? undefined : Address.format(dht.agent)
    const listen = SocketAddress.format(dht.localAddress)
    yield* Output.print(options.json, { event: "ready", address, agent, nodeId: dht.nodeId, listen, http }, [
      ...Output.table([
        ["address", address],
        ...(agent === undefined ? [] : [["acts for", agent] as const]),
        ["node id", dht.nodeId],
        ["identity", created ? `${path} (new)` : path],
        ["listens on", `${listen} (UDP)`],
        ["HTTP", http === null ? "none" : `http://${http}/`]
      ]),
      ...(isFirst
        ? [
          `No --bootstrap: this is the first node of a network. Others join it with --bootstrap HOST:${dht.localAddress.port}`
        ]
        : [])
    ])
    if (!isFirst) yield* Effect.forkScoped(Effect.provideContext(join(options), services))
    return yield* Effect.never
  }).pipe(
    Effect.scoped,
    Effect.onInterrupt(() => {
      process.exitCode = 0
      return Output.print(options.json, { event: "stopped" }, ["Stopped"])
    }),
    Effect.provide(telemetry(options))
  )
