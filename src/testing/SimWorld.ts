/**
 * Deterministic simulation of networks of nodes in one process and under virtual
 * time. Nodes of the production code, with the applications on them, start, crash,
 * restart and leave on a network that loses and delays datagrams and can be
 * partitioned. The same seed gives the same run, to the last byte.
 *
 * ```ts
 * import * as Effect from "effect/Effect"
 * import { Dht } from "effect-dht/Dht"
 * import * as SimWorld from "effect-dht/testing/SimWorld"
 *
 * const program = Effect.gen(function*() {
 *   const world = yield* SimWorld.SimWorld
 *   const [alice, ...others] = yield* world.startNodes(20)
 *   yield* alice.run(Dht.use((dht) => dht.announceEndpoint({ endpoints: ["tcp://192.0.2.1:4433"] })))
 *   yield* Effect.sleep("1 hour")
 *   yield* alice.crash()
 *   return yield* others[7].run(Dht.use((dht) => dht.resolve(alice.identity.address)))
 * })
 *
 * SimWorld.runSync(program, { seed: 1 })
 * ```
 *
 * @module
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import { FileSystem } from "effect/FileSystem"
import * as HttpClient from "effect/http/HttpClient"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import * as Scope from "effect/Scope"
import type { CannotJoin } from "../Bootstrap.ts"
import * as Crypto from "../Crypto.ts"
import * as Dht from "../Dht.ts"
import * as Identity from "../Identity.ts"
import * as Persistence from "../Persistence.ts"
import * as Rpc from "../Rpc.ts"
import type { SocketAddress } from "../SocketAddress.ts"
import type * as Transport from "../Transport.ts"
import * as Verifier from "../Verifier.ts"
import { Domain } from "./internal/control.ts"
import { Prng } from "./internal/prng.ts"
import { seedsOf } from "./internal/seeds.ts"
import * as SeededRandom from "./SeededRandom.ts"
import * as SimFileSystem from "./SimFileSystem.ts"
import * as SimHttp from "./SimHttp.ts"
import * as SimNetwork from "./SimNetwork.ts"
import { SkewedClock } from "./SkewedClock.ts"
import { Trace } from "./Trace.ts"
import * as VirtualTime from "./VirtualTime.ts"

// --- Models ------------------------------------------------------------------

/**
 * The services that a simulated machine provides: an identity that survives
 * crashes, a transport on one port, signatures, randomness, files (`SimFileSystem`)
 * and an HTTP client (`SimHttp`). Its `Clock` and `Random` are its own as well.
 *
 * @category models
 * @since 0.1.0
 */
export type Machine = Dht.Requirements | FileSystem | HttpClient.HttpClient

/**
 * The node is down, or went down before the effect that ran on it ended.
 *
 * @category errors
 * @since 0.1.0
 */
export class NodeDown extends Data.TaggedError("NodeDown")<{ readonly node: string }> {
  override get message() {
    return `${this.node} is down`
  }
}

/**
 * A simulated machine with its software. `A` are the services that it provides
 * while it is up.
 *
 * @category models
 * @since 0.1.0
 */
export interface SimNode<in A, out E = never> {
  readonly name: string
  readonly host: SimNetwork.Host
  /** The address to which it is bound; a private one if its host is behind a NAT. */
  readonly socket: SocketAddress
  /** Its current identity, which only a crash with the loss of its state replaces. */
  readonly identity: Identity.Identity
  readonly clock: SkewedClock
  readonly isUp: boolean
  /**
   * Starts the node; does nothing while it is up or starting. If it fails to join,
   * the effect fails, but the node is up and alone.
   */
  readonly start: Effect.Effect<void, E | NodeDown>
  /**
   * Stops the node like a power cut: from then on, it sends and saves nothing. Its
   * identity, saved state and synced files are kept for the next start, unless
   * `state` is "Lost".
   */
  readonly crash: (options?: { readonly state?: "Kept" | "Lost" | undefined }) => Effect.Effect<void>
  /** Shuts the node down gracefully: datagrams of its finalizers are sent. */
  readonly leave: Effect.Effect<void>
  /** Sets the offset of its clock from the world's; a negative duration sets it behind. */
  readonly setClock: (ahead: Duration.Input) => Effect.Effect<void>
  /**
   * Runs an effect with the services, clock and randomness of the node; fails with
   * {@link NodeDown} if the node goes down. The scope of the effect is that of the
   * node: announcements and scoped fibers continue while the node is up.
   */
  readonly run: <X, XE>(effect: Effect.Effect<X, XE, A | Scope.Scope>) => Effect.Effect<X, XE | NodeDown>
}

/**
 * Options of a simulated machine.
 *
 * @category models
 * @since 0.1.0
 */
export interface MachineOptions {
  /** The host on which it runs, or the options of a host of its own. */
  readonly host?: SimNetwork.Host | SimNetwork.HostOptions | undefined
  /** The port. Default: a free one, from 4121 on. */
  readonly port?: number | undefined
}

/**
 * Options of a simulated node.
 *
 * @category models
 * @since 0.1.0
 */
export interface NodeOptions<A, E> extends MachineOptions {
  readonly dht?: Dht.Options | undefined
  /** The application that embeds the node. */
  readonly app?: Layer.Layer<A, E, Dht.Services | Machine> | undefined
  /** The nodes through which it joins, besides those that it remembers. */
  readonly through?: ReadonlyArray<{ readonly socket: SocketAddress }> | undefined
}

/**
 * Options of a group of nodes.
 *
 * @category models
 * @since 0.1.0
 */
export interface NodesOptions<A, E> extends Pick<NodeOptions<A, E>, "dht" | "app"> {
  readonly host?: SimNetwork.HostOptions | undefined
  /** Number of nodes that start at the same time. Default 8. */
  readonly concurrency?: number | undefined
}

/**
 * The services of a running node besides those of its application.
 *
 * @category models
 * @since 0.1.0
 */
export type NodeServices = Dht.Services | Machine

/**
 * A simulated world: a network, its nodes and their time.
 *
 * @category models
 * @since 0.1.0
 */
export interface World {
  readonly seed: number | string
  readonly timeline: VirtualTime.Timeline
  readonly network: SimNetwork.SimNetwork
  /** The trace so far; equal runs have the same `hash`. */
  readonly trace: Trace
  /** Creates a node without starting it. Throws a `RangeError` if the name is taken. */
  readonly node: <A = never, E = never>(
    name: string,
    options?: NodeOptions<A, E>
  ) => SimNode<NodeServices | A, E | CannotJoin | Transport.CannotBind>
  /**
   * Creates a machine with any software, such as a Byzantine node or another
   * protocol, without starting it.
   */
  readonly machine: <A, E>(
    name: string,
    layer: Layer.Layer<A, E, Machine>,
    options?: MachineOptions
  ) => SimNode<A | Machine, E | Transport.CannotBind>
  /**
   * Starts `count` nodes. Each joins through up to three earlier ones. They are
   * named `node 0`, `node 1` and so on; a further call continues the numbers.
   */
  readonly startNodes: <A = never, E = never>(
    count: number,
    options?: NodesOptions<A, E>
  ) => Effect.Effect<
    ReadonlyArray<SimNode<NodeServices | A, E | CannotJoin | Transport.CannotBind>>,
    E | CannotJoin | Transport.CannotBind | NodeDown
  >
  /** Notes what the program does, or what it does on a node, in recordings of the world. Changes nothing else. */
  readonly note: (what: string, node?: { readonly name: string }) => void
  /**
   * Adds a watcher.
   *
   * @internal
   */
  readonly watch: (watcher: Watcher) => void
}

/**
 * Callbacks for what happens to the machines of a world.
 *
 * @internal
 */
export interface Watcher {
  /** A machine was created. */
  readonly created: (machine: SimNode<never, unknown>) => void
  /** The services of a machine were built; it starts. */
  readonly booted: (machine: SimNode<never, unknown>, context: Context.Context<never>) => void
  /** A machine stops, or has closed. Called once or twice. */
  readonly stopped: (machine: SimNode<never, unknown>) => void
  /** Called with an entry of the trace, before it has an effect, and the machine that it is about. */
  readonly changed: (what: string, machine?: string) => void
  readonly noted: (what: string, machine?: string) => void
}

/**
 * Options of a world.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  readonly seed: number | string
  readonly network?: Omit<SimNetwork.Options, "seed"> | undefined
  /** The signatures. Default: real ones in portable code; `NodeCrypto.fastest` gives the same run faster. */
  readonly crypto?: Crypto.Provider | undefined
  /** Number of latest entries of the trace to keep. Default 0. */
  readonly keepTrace?: number | undefined
}

/** Number of nodes through which each node of `startNodes` joins. */
const introducers = 3

/** Random draws of a node that is up, before all nodes are scanned. */
const maxDraws = 8

// --- Machines ------------------------------------------------------------------

/** The state of a machine that survives its crashes. */
interface State {
  readonly identity: Identity.Identity
  readonly disk: Persistence.Medium
  readonly files: SimFileSystem.Disk
}

/**
 * A scope for checks of what a machine leaves behind. It closes once everything else
 * of the machine has closed; for a node, everything that sends requests, before
 * `Rpc` ends those that are left.
 *
 * @internal
 */
export const Closed: Context.Reference<Scope.Closeable> = Context.Reference<Scope.Closeable>(
  "effect-dht/testing/SimWorld/Closed",
  {
    defaultValue: () => {
      throw new Error("This runs on no simulated machine. Provide it with the layer of a node or a machine")
    }
  }
)

/** The requests of a node; {@link Closed} closes before they do. */
const layerRpc = ({ rpc = Rpc.layer }: Partial<Dht.Replacements>): NonNullable<Dht.Replacements["rpc"]> =>
  Layer.effect(
    Rpc.Rpc,
    Effect.tap(Rpc.Rpc, () =>
      Effect.flatMap(Closed, (closed) => Effect.addFinalizer((exit) => Scope.close(closed, exit))))
  ).pipe(Layer.provide(rpc))

/**
 * The seed of the identity of a machine: its first, or that after so many losses of
 * its state.
 *
 * @internal
 */
export const identitySeed = (seed: Options["seed"], name: string, generation: number): Uint8Array =>
  new Prng(seed, `identity ${name} ${generation}`).bytes(32)

/** A machine that is up or starting. */
interface Running<A> {
  readonly scope: Scope.Closeable
  readonly closed: Scope.Closeable
  /** Undefined while it starts. */
  context: Context.Context<A | Scope.Scope> | undefined
  /** Says whether it crashed, after which nothing is written to its disk. */
  readonly site: SimHttp.Site
}

// --- The world -----------------------------------------------------------------

/**
 * Creates a world, which ends with the scope.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function*(
  options: Options
): Effect.fn.Return<World, never, VirtualTime.VirtualTime | Scope.Scope> {
  const { seed } = options
  const timeline = yield* VirtualTime.VirtualTime
  const network = yield* SimNetwork.make({ ...options.network, seed })
  const web = new SimHttp.Web(network, timeline)
  const worldScope = yield* Effect.scope
  const crypto = options.crypto ?? Crypto.noble
  // The same for all machines, since they have no state.
  const signatures = yield* Layer.build(Verifier.layer).pipe(
    Effect.provideService(Crypto.Crypto, crypto),
    Effect.map((built) => Context.add(Context.pick(Verifier.Verifier)(built), Crypto.Crypto, crypto))
  )
  const trace = new Trace({ keep: options.keepTrace ?? 0 })
  const names = new Set<string>()
  const draw = new Prng(seed, "world")

  const watchers: Array<Watcher> = []

  const changed = (what: string, machine?: string) => {
    trace.changed(timeline.elapsedMillis, what)
    for (const watcher of watchers) watcher.changed(what, machine)
  }
  network.observe({
    changed: (what) => changed(what),
    delivered: ({ from, payload, to }) => trace.delivered(timeline.elapsedMillis, from, to, payload)
  })

  const hostOf = (name: string, host: MachineOptions["host"]): SimNetwork.Host =>
    host instanceof SimNetwork.Host ? host : network.host({ name, ...host })

  const install = <A, E, HE>(
    name: string,
    layerOn: (disk: Persistence.Medium) => Layer.Layer<A, E, Machine>,
    started: Effect.Effect<void, HE, A | Machine>,
    machineOptions: MachineOptions
  ): SimNode<A | Machine, E | HE | Transport.CannotBind> => {
    if (names.has(name)) throw new RangeError(`The name "${name}" is in use. Give each node a name of its own`)
    names.add(name)
    const host = hostOf(name, machineOptions.host)
    const port = machineOptions.port ?? host.freePort()
    const clock = new SkewedClock(timeline)
    let generation = 0
    let boots = 0
    let running: Running<A | Machine> | undefined

    const blank = (): State => ({
      identity: Identity.fromSeed(crypto, identitySeed(seed, name, generation++)),
      disk: Persistence.makeMemory(),
      files: SimFileSystem.makeDisk(clock)
    })
    let state = blank()

    /** Runs an effect in a scope of the machine; fails with `NodeDown` if that scope is closed. */
    const inScope = <X, XE, R>(scope: Scope.Closeable, effect: Effect.Effect<X, XE, R>) =>
      Effect.uninterruptibleMask((restore) =>
        Effect.gen(function*() {
          const fiber = yield* Effect.forkIn(restore(effect), scope, { startImmediately: true })
          const exit = yield* Effect.onInterrupt(restore(Fiber.await(fiber)), () => Fiber.interrupt(fiber))
          const isStopped = Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause) && running?.scope !== scope
          return isStopped ? yield* new NodeDown({ node: name }) : yield* exit
        })
      )

    const boot = Effect.fnUntraced(function*(own: Running<A | Machine>) {
      const random = `${name} ${boots++}`
      const references = Context.make(Clock.Clock, clock).pipe(
        Context.add(Random.Random, SeededRandom.make(seed, random)),
        Context.add(Domain, host),
        Context.add(FileSystem, state.files.fileSystem),
        Context.add(HttpClient.HttpClient, SimHttp.client(own.site)),
        Context.add(SimHttp.Site, own.site),
        Context.add(Closed, own.closed),
        Context.add(Identity.NodeIdentity, state.identity),
        Context.add(SecureRandom.SecureRandom, SeededRandom.makeSecure(seed, random)),
        Context.merge(signatures)
      )
      changed(`start ${name} ${state.identity.nodeId}`, name)
      const { disk } = state
      const connected: Persistence.Medium = {
        ...disk,
        write: (batch, now) => Effect.suspend(() => own.site.isCut ? Effect.void : disk.write(batch, now))
      }
      // Its own memo map keeps machines from sharing services.
      const services = yield* Layer.buildWithMemoMap(
        Layer.provideMerge(layerOn(connected), host.layer(port)),
        Layer.makeMemoMapUnsafe(),
        own.scope
      ).pipe(Effect.provideContext(references))
      own.context = Context.merge(services, references).pipe(Context.add(Scope.Scope, own.scope))
      for (const watcher of watchers) watcher.booted(machine, own.context)
      yield* Effect.provideContext(started, own.context)
    })

    const start = Effect.suspend(() => {
      if (running !== undefined) return Effect.void
      const own: Running<A | Machine> = {
        scope: Scope.forkUnsafe(worldScope),
        closed: Scope.makeUnsafe(),
        context: undefined,
        site: { web, host, isCut: false }
      }
      running = own
      // Finalizers run in reverse order, so the first to be added runs last.
      return Scope.addFinalizerExit(own.scope, (exit) => {
        if (running === own || running === undefined) { for (const watcher of watchers) watcher.stopped(machine) }
        return Scope.close(own.closed, exit)
      }).pipe(
        Effect.andThen(inScope(own.scope, boot(own))),
        Effect.onExit(() => {
          if (own.context !== undefined || running !== own) return Effect.void
          running = undefined
          return Scope.close(own.scope, Exit.void)
        })
      )
    })

    /** Ends all requests of a node without a transport: the first that finds it closed ends the others. */
    const endRequests = ({ context }: Running<A | Machine>) =>
      Option.match(context === undefined ? Option.none() : Context.getOption(context, Rpc.Rpc), {
        onNone: () => Effect.void,
        onSome: (rpc) =>
          Effect.ignore(rpc.request({ host: host.ip, port }, { _tag: "Ping", address: state.identity.address }))
      })

    const stop = (how: "crash" | "leave", isLost: boolean) =>
      Effect.suspend(() => {
        if (running === undefined) return Effect.void
        const own = running
        running = undefined
        if (isLost) state = blank()
        changed(`${how} ${name}${isLost ? " and lose its state" : ""}`, name)
        for (const watcher of watchers) watcher.stopped(machine)
        if (how === "leave") return Scope.close(own.scope, Exit.void)
        network.unplug(host, port)
        own.site.isCut = true
        state = { ...state, files: state.files.afterPowerCut(clock) }
        return Effect.andThen(endRequests(own), Scope.close(own.scope, Exit.void))
      }).pipe(Effect.uninterruptible)

    const machine: SimNode<A | Machine, E | HE | Transport.CannotBind> = {
      name,
      host,
      socket: { host: host.ip, port },
      get identity() {
        return state.identity
      },
      clock,
      get isUp() {
        return running?.context !== undefined
      },
      start,
      crash: (options) => stop("crash", options?.state === "Lost"),
      leave: stop("leave", false),
      setClock: (ahead) =>
        Effect.sync(() => {
          changed(`clock of ${name} ${Duration.toMillis(ahead)} ms ahead`, name)
          clock.setUnsafe(ahead)
        }),
      run: (effect) =>
        Effect.suspend(() =>
          running?.context === undefined
            ? Effect.fail(new NodeDown({ node: name }))
            : inScope(running.scope, Effect.provideContext(effect, running.context))
        )
    }
    for (const watcher of watchers) watcher.created(machine)
    return machine
  }

  const node: World["node"] = <A = never, E = never>(name: string, options: NodeOptions<A, E> = {}) => {
    const { app, dht, through = [] } = options
    // Without an application, `A` is `never`, which the empty layer provides.
    const installed = app ?? (Layer.empty as Layer.Layer<never> as Layer.Layer<A>)
    return install<A | Dht.Services, E, CannotJoin>(
      name,
      (disk) =>
        Layer.provideMerge(
          installed,
          Dht.layer({
            ...dht,
            services: {
              persistence: Persistence.layerMemory(disk),
              ...dht?.services,
              rpc: layerRpc(dht?.services ?? {})
            }
          })
        ),
      Dht.Dht.use((dht) => Effect.asVoid(dht.bootstrap(through.map(({ socket }) => socket)))),
      options
    )
  }

  let counted = 0
  /** Nodes through which others can join. */
  const known: Array<Pick<SimNode<never>, "socket" | "isUp">> = []

  /** A random node that is up. Most are, so a few draws usually find one. */
  const introducer = () => {
    for (let i = 0; i < maxDraws; i++) {
      const drawn = known[draw.below(known.length)]
      if (drawn.isUp) return drawn
    }
    return known.find(({ isUp }) => isUp)
  }

  const startNodes: World["startNodes"] = Effect.fnUntraced(function*<A = never, E = never>(
    count: number,
    { concurrency = 8, ...options }: NodesOptions<A, E> = {}
  ) {
    const startOne = Effect.fnUntraced(function*(name: string) {
      const through = Array.from({ length: Math.min(introducers, known.length) }, introducer)
        .filter((known) => known !== undefined)
      const started = node(name, { ...options, through })
      yield* started.start
      if (started.host.router === undefined) known.push(started)
      return started
    })
    const names = Array.from({ length: count }, () => `node ${counted++}`)
    // The first node must be up before others can join through it.
    const first = yield* Effect.forEach(names.slice(0, 1), startOne)
    const others = yield* Effect.forEach(names.slice(1), startOne, { concurrency })
    return [...first, ...others]
  })

  return {
    seed,
    timeline,
    network,
    trace,
    node,
    machine: (name, layer, options = {}) => install(name, () => layer, Effect.void, options),
    startNodes,
    note: (what, node) => {
      for (const watcher of watchers) watcher.noted(what, node?.name)
    },
    watch: (watcher) => void watchers.push(watcher)
  }
})

/**
 * The world in which a program runs.
 *
 * @category services
 * @since 0.1.0
 */
export class SimWorld extends Context.Service<SimWorld, World>()("effect-dht/testing/SimWorld") {}

/**
 * Provides a world: on the timeline that the program runs on or, in a test whose
 * runtime has none, such as `it.effect`, on one of its own (`VirtualTime.layer`).
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: RunOptions): Layer.Layer<SimWorld | VirtualTime.VirtualTime> =>
  Layer.unwrap(Effect.map(
    Effect.serviceOption(VirtualTime.VirtualTime),
    (timeline) =>
      Layer.provideMerge(
        Layer.effect(SimWorld, makeEnding(options)),
        Option.isSome(timeline)
          ? Layer.succeed(VirtualTime.VirtualTime, timeline.value)
          : VirtualTime.layer(options)
      )
  ))

/** A world that tells its timeline before its nodes are stopped. */
const makeEnding = Effect.fnUntraced(function*(options: Options) {
  const timeline = yield* VirtualTime.VirtualTime
  const scope = yield* Effect.acquireRelease(
    Scope.make(),
    (scope, exit) => Effect.andThen(Effect.sync(() => timeline.end()), Scope.close(scope, exit))
  )
  return yield* Scope.provide(make(options), scope)
})

// --- Running -------------------------------------------------------------------

/**
 * A program in a simulated world failed. The seeds repeat the run.
 *
 * @category errors
 * @since 0.1.0
 */
export class RunFailed extends Data.TaggedError("RunFailed")<{
  readonly seed: number | string
  readonly scheduleSeed: number | string | undefined
  /** The message of the cause. */
  readonly reason: string
  readonly cause: unknown
}> {
  override get message() {
    return `The run of ${seedsOf(this)} failed: ${this.reason}`
  }
}

/**
 * Options of a run.
 *
 * @category models
 * @since 0.1.0
 */
export interface RunOptions extends Options, Omit<VirtualTime.RunOptions, "seed"> {}

/**
 * Runs a program in a new world and returns its exit. The world is closed before
 * it returns.
 *
 * @category running
 * @since 0.1.0
 */
export const runSyncExit = <A, E>(
  program: Effect.Effect<A, E, SimWorld | VirtualTime.VirtualTime | Scope.Scope>,
  options: RunOptions
): Exit.Exit<A, E | VirtualTime.Stuck> =>
  VirtualTime.runSyncExit(Effect.scoped(Effect.provide(program, layer(options))), options)

/**
 * Runs a program in a new world and returns its result. Throws a
 * {@link RunFailed} whose cause is its error, or a `VirtualTime.Stuck` if it did
 * not end.
 *
 * @example
 * ```ts run
 * import { Dht } from "effect-dht"
 * import { SimWorld } from "effect-dht/testing"
 * import * as Effect from "effect/Effect"
 *
 * const program = Effect.gen(function*() {
 *   const world = yield* SimWorld.SimWorld
 *   const nodes = yield* world.startNodes(8)
 *   yield* nodes[0].run(Dht.Dht.use((dht) => dht.publishEndpoint({ endpoints: ["https://ann.example"] })))
 *   yield* Effect.sleep("1 minute")
 *   const { endpoints } = yield* nodes[7].run(Dht.Dht.use((dht) => dht.resolve(nodes[0].identity.address)))
 *   return endpoints?.join()
 * })
 *
 * // A minute of virtual time takes a moment, and the same seed gives the same run.
 * console.log(SimWorld.runSync(program, { seed: 1 })) // => https://ann.example
 * ```
 *
 * @category running
 * @since 0.1.0
 */
export const runSync = <A, E>(
  program: Effect.Effect<A, E, SimWorld | VirtualTime.VirtualTime | Scope.Scope>,
  options: RunOptions
): A => {
  const exit = runSyncExit(program, options)
  if (Exit.isSuccess(exit)) return exit.value
  throw runFailed(exit.cause, options)
}

/**
 * Runs a program in a new world as a part of another program, such as a test with
 * `it.effect`, which can interrupt it.
 *
 * @category running
 * @since 0.1.0
 */
export const run = <A, E>(
  program: Effect.Effect<A, E, SimWorld | VirtualTime.VirtualTime | Scope.Scope>,
  options: RunOptions
): Effect.Effect<A, RunFailed> =>
  VirtualTime.run(Effect.scoped(Effect.provide(program, layer(options))), options).pipe(
    Effect.catchCause((cause) =>
      Cause.hasInterruptsOnly(cause) ? Effect.failCause(cause as Cause.Cause<never>) : runFailed(cause, options)
    )
  )

/**
 * The error of a run that ended with a cause.
 *
 * @internal
 */
export const runFailed = (failure: Cause.Cause<unknown>, { scheduleSeed, seed }: RunOptions): RunFailed => {
  const cause = Cause.squash(failure)
  return new RunFailed({
    seed,
    scheduleSeed,
    reason: cause instanceof Error ? cause.message : String(cause),
    cause
  })
}
