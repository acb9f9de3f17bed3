/**
 * A long-running node: `node`.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import * as SubscriptionRef from "effect/SubscriptionRef"
import { availableParallelism } from "node:os"
import * as Address from "../../Address.ts"
import { Bootstrap } from "../../Bootstrap.ts"
import type { Crypto } from "../../Crypto.ts"
import * as Dht from "../../Dht.ts"
import * as DhtMetrics from "../../DhtMetrics.ts"
import type { Hosting } from "../../Hosting.ts"
import type { NodeIdentity } from "../../Identity.ts"
import type { Host } from "../../NameResolver.ts"
import * as Network from "../../Network.ts"
import { type CannotStart, DhtLive } from "../../node/DhtLive.ts"
import * as HttpToken from "../../node/HttpToken.ts"
import * as ProcessMetrics from "../../node/ProcessMetrics.ts"
import * as RunningNode from "../../node/RunningNode.ts"
import { NodeSettings } from "../../NodeSettings.ts"
import * as SocketAddress from "../../SocketAddress.ts"
import type { NetworkRules, Transport } from "../../Transport.ts"
import * as Identities from "../Identities.ts"
import * as Output from "../Output.ts"
import * as Secrets from "../Secrets.ts"
import * as Session from "../Session.ts"
import type * as Telemetry from "../Telemetry.ts"

/**
 * @category models
 * @since 0.1.0
 */
export interface Options extends Telemetry.Options, Session.Joining, NetworkRules {
  readonly listen: ReadonlyArray<SocketAddress.SocketAddress>
  readonly passive: boolean
  readonly noSessions: boolean
  readonly publicHost: Option.Option<string>
  readonly maxKeys: number
  readonly maxBytes: number
  readonly hostingDatagrams: number
  readonly hostingSignatures: number
  readonly verifyThreads: Option.Option<number>
  readonly data: string
  readonly http: Host
  readonly noHttp: boolean
  /** The name of an environment variable. */
  readonly httpTokenEnv: Option.Option<string>
  readonly httpOpen: boolean
  readonly httpOrigin: ReadonlyArray<string>
  readonly httpRecords: ReadonlyArray<string>
  readonly passphraseEnv: Option.Option<string>
  readonly json: boolean
}

/** Default number of verifier threads. A long-running node serves others, so it uses all cores, up to four. */
const usualThreads = () => availableParallelism() > 1 ? Math.min(availableParallelism(), 4) : 0

/** Reports attempts to join and their outcome. */
const tell = ({ bootstrap, json }: Options) =>
  Effect.gen(function*() {
    const dht = yield* Dht.Dht
    const { membership } = yield* Bootstrap
    yield* Stream.runForEach(SubscriptionRef.changes(membership), (now) => {
      switch (now._tag) {
        case "Alone":
          return now.failures.length === 0
            ? Effect.void
            : Output.print(json, { event: "bootstrap-failed", failures: Session.reasons(now.failures) }, [])
        case "First":
          return Output.print(json, { event: "first" }, [
            `${
              bootstrap.length === 0 ? "No --bootstrap" : "Every --bootstrap is this node"
            }: this is the first node of ` +
            `a network. Others join it with --bootstrap HOST:${dht.localAddress.port}`
          ])
        case "Joined":
          return Effect.flatMap(dht.stats, ({ contacts }) =>
            Output.print(json, { event: "joined", contacts }, [
              `Joined the network: ${contacts} ${contacts === 1 ? "contact" : "contacts"}`
            ]))
      }
    })
  }).pipe(
    Effect.catchCause((cause) => Effect.logWarning("Reporting of the membership stopped", cause)),
    Effect.annotateLogs({ module: "effect-dht/cli/Node", fiber: "Membership" })
  )

/** Explains why the node cannot start, with the option to change. */
const explain = (data: string) =>
  Effect.fnUntraced(function*(error: CannotStart) {
    switch (error._tag) {
      case "CannotBind":
        return yield* Output.failed(`${error.message}; choose another with --listen`)
      case "DirectoryInUse": {
        const there = yield* RunningNode.listening(data)
        const holder = error.pid === undefined ? "" : ` (process ${error.pid} on ${error.host ?? "an unnamed host"})`
        return yield* Output.failed(
          `A node already runs in ${data}${
            there === undefined ? "" : `, at ${SocketAddress.format(there)}`
          }${holder}; ` +
            "give this node its own directory with --data"
        )
      }
      default:
        return yield* Output.failed(error.message)
    }
  })

/** How requests to the HTTP server are admitted: by the given token, by the one of the data directory, or all. */
const accessOf = Effect.fnUntraced(function*({ data, httpOpen, httpTokenEnv }: Options) {
  if (Option.isSome(httpTokenEnv)) {
    if (httpOpen) {
      return yield* Output.usage("--http-open and --http-token-env exclude each other: give one of them")
    }
    return { token: yield* Secrets.fromEnv("--http-token-env", httpTokenEnv.value), path: undefined }
  }
  if (httpOpen) return { open: true, path: undefined }
  const { path, token } = yield* HttpToken.loadOrCreate(data).pipe(
    Effect.mapError(({ message }) => Output.failed(message)),
    Effect.provide(SecureRandom.layerWebCrypto)
  )
  return { token, readable: true, path }
})

/** Starts the HTTP server and succeeds with its address, and the path of the token file. */
const serve = Effect.fnUntraced(function*(options: Options) {
  const { data, http, httpOrigin, httpRecords } = options
  const { path, ...access } = yield* accessOf(options)
  // Loaded only if needed, since it takes time.
  const { layer, localAddress } = yield* Effect.promise(() => import("../../node/NodeHttp.ts"))
  const server = yield* Layer.build(layer({ ...http, ...access, origins: httpOrigin, records: httpRecords })).pipe(
    Effect.mapError((error) =>
      error._tag === "TokenNeeded"
        ? Output.usage(`${error.message}; --http-token-env names the variable that holds one`)
        : Output.failed(`${error.message}; choose another with --http, or --no-http`)
    )
  )
  const address = yield* Effect.provideContext(localAddress, server)
  yield* RunningNode.publishServing(data, address)
  return { address: SocketAddress.format(address), path }
})

/**
 * Metrics of hosting for the collector; loaded only if there is one.
 *
 * @category layers
 * @since 0.1.0
 */
export const hostingMetrics = ({ otlp }: Options): Layer.Layer<never, never, Hosting> =>
  Option.isNone(otlp)
    ? Layer.empty
    : Layer.unwrap(Effect.promise(async () => (await import("../../HostingMetrics.ts")).layer))

/** Hosting of identities, with those of the last run; loaded only if needed. */
const hostingOf = (options: Options & { readonly hosting: boolean }) =>
  options.hosting
    ? Layer.unwrap(Effect.promise(async () => {
      const Hosting = await import("../../Hosting.ts")
      const HostedIdentities = await import("../../HostedIdentities.ts")
      return HostedIdentities.layer.pipe(
        Layer.merge(hostingMetrics(options)),
        Layer.provideMerge(
          Hosting.layer({
            datagramsPerSecond: options.hostingDatagrams,
            signaturesPerSecond: options.hostingSignatures
          })
        ),
        Layer.provide(SecureRandom.layerWebCrypto)
      )
    }))
    : Layer.empty

/** Logs and telemetry, loaded only if they differ from the default. */
const telemetry = (options: Options): Layer.Layer<never> =>
  Option.isNone(options.otlp) && options.logFormat === "pretty"
    ? Layer.empty
    : Layer.unwrap(Effect.map(Effect.promise(() => import("../Telemetry.ts")), ({ layer }) => layer(options)))

/**
 * Runs the node, with an application on it, until it is interrupted, which counts
 * as success.
 *
 * @category commands
 * @since 0.1.0
 */
export const run = <A>(
  options: Options,
  application: Layer.Layer<A, Output.Failure, Dht.Services | NodeIdentity | Transport | Crypto>
) =>
  Effect.gen(function*() {
    const { created, identity, path } = yield* Identities.loadOrCreate(options)
    const network = yield* Secrets.networkOf(options)
    const services = yield* Layer.build(
      DhtLive({
        ...network,
        listen: options.listen,
        identity,
        data: options.data,
        passive: options.passive,
        sessions: !options.noSessions,
        publicHost: Option.getOrUndefined(options.publicHost),
        allowFrom: options.allowFrom,
        denyFrom: options.denyFrom,
        maxKeys: options.maxKeys,
        maxBytes: options.maxBytes,
        verifyThreads: Option.getOrElse(options.verifyThreads, usualThreads)
      })
    ).pipe(Effect.catch(explain(options.data)))
    const dht = Context.get(services, Dht.Dht)
    yield* Context.get(services, Bootstrap).keepJoining(options.bootstrap).pipe(
      Effect.forkScoped({ startImmediately: true })
    )
    const hosting = yield* Effect.provideContext(Layer.build(application), services)
    const http = options.noHttp ? null : yield* Effect.provideContext(serve(options), Context.merge(services, hosting))
    if (Option.isSome(options.otlp)) {
      yield* Effect.provideContext(Layer.build(Layer.merge(DhtMetrics.layer, ProcessMetrics.layer)), services)
    }
    const address = Address.format(dht.address)
    const agent = dht.agent === dht.address ? undefined : Address.format(dht.agent)
    const { hasKey, name } = Context.get(services, NodeSettings).network
    const listen = dht.localAddresses.map(SocketAddress.format)
    yield* Output.print(
      options.json,
      {
        event: "ready",
        address,
        agent,
        nodeId: dht.nodeId,
        network: { name: name ?? null, hasKey },
        listen: listen.join(","),
        http: http?.address ?? null,
        httpToken: http?.path
      },
      Output.table([
        ["address", address],
        ...(agent === undefined ? [] : [["acts for", agent] as const]),
        ["node id", dht.nodeId],
        ["network", Network.format({ hasKey, name })],
        ["identity", created ? `${path} (new)` : path],
        ["listens on", `${listen.join(", ")} (UDP)`],
        ["HTTP", http === null ? "none" : `http://${http.address}/`],
        ...(http?.path === undefined ? [] : [["HTTP token", http.path] as const])
      ])
    )
    yield* Effect.forkScoped(Effect.provideContext(tell(options), services))
    return yield* Effect.never
  }).pipe(
    Effect.scoped,
    Effect.onInterrupt(() => {
      process.exitCode = 0
      return Output.print(options.json, { event: "stopped" }, ["Stopped"])
    }),
    Effect.provide(telemetry(options))
  )

/**
 * Runs the node until it is interrupted, which counts as success.
 *
 * @category commands
 * @since 0.1.0
 */
export const node = (options: Options & { readonly hosting: boolean }) => run(options, hostingOf(options))
