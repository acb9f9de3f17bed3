/**
 * Tests of an application in simulated worlds, for vitest and other runners with
 * the same `it`. All time and randomness in a test is that of its world.
 *
 * ```ts
 * import { Dht, NodeId } from "effect-dht"
 * import { NodeCrypto } from "effect-dht/node"
 * import { SimTest } from "effect-dht/testing"
 * import * as Effect from "effect/Effect"
 * import * as vitest from "vitest"
 *
 * const { it, prop } = SimTest.make(vitest.it, { crypto: NodeCrypto.fastest })
 *
 * it("starts", (world) => world.startNodes(8), { worlds: 3 })
 *
 * prop("lookups end", {
 *   operations: {
 *     find: ({ node }) => node.run(Effect.timeout(Dht.Dht.use((dht) => dht.findNode(NodeId.zero)), "1 minute"))
 *   }
 * })
 * ```
 *
 * The message of a failure has the seeds or the story, and the command that runs
 * it again.
 *
 * @module
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Config from "effect/Config"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Data from "effect/Data"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as RegExp from "effect/RegExp"
import type * as Scope from "effect/Scope"
import type * as Dht from "../Dht.ts"
import * as Shell from "../internal/shell.ts"
import * as Byzantine from "./Byzantine.ts"
import * as Fault from "./Fault.ts"
import { Prng } from "./internal/prng.ts"
import { seedsOf } from "./internal/seeds.ts"
import { type Candidates, changing, fewer, lower, one, smallest } from "./internal/shrink.ts"
import { routerNames, routers } from "./internal/story.ts"
import * as Latency from "./Latency.ts"
import { clockTime } from "./Properties.ts"
import * as Recorder from "./Recorder.ts"
import type * as Recording from "./Recording.ts"
import type * as SimNetwork from "./SimNetwork.ts"
import * as SimWorld from "./SimWorld.ts"
import type * as VirtualTime from "./VirtualTime.ts"

// --- Models ------------------------------------------------------------------

/**
 * The function of a test runner that registers a test, such as `it` of vitest.
 * `timeout` is in milliseconds of real time.
 *
 * @category models
 * @since 0.1.0
 */
export interface Register {
  (
    name: string,
    options: { readonly timeout: number },
    run: (context: { readonly signal?: AbortSignal | undefined }) => Promise<void>
  ): unknown
}

/**
 * Options of a test.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options extends Omit<SimWorld.RunOptions, "seed" | "keepTrace"> {
  /** Seed of the first world; the following count up. Default 1. */
  readonly seed?: number | undefined
  /** Number of worlds. Default 1, of stories 20. */
  readonly worlds?: number | undefined
  /** Milliseconds of real time for all worlds, of which shrinking takes at most a third. Default 60 000. */
  readonly timeout?: number | undefined
  /**
   * Is given the recording of a world that fails, and returns where it can be seen,
   * for the message: `ReplayPage.write` of `effect-dht/node` writes a page.
   */
  readonly explain?: ((recording: Recording.Recording) => Effect.Effect<string>) | undefined
}

/**
 * Services that a test can use.
 *
 * @category models
 * @since 0.1.0
 */
export type Services = SimWorld.SimWorld | VirtualTime.VirtualTime | Scope.Scope

/**
 * A node with the application.
 *
 * @category models
 * @since 0.1.0
 */
export type Node<A> = SimWorld.SimNode<SimWorld.NodeServices | A, unknown>

/**
 * What is special about the host of a node: the kind of the router in front of it,
 * or that it has addresses of both families.
 *
 * @category models
 * @since 0.1.0
 */
export type HostKind = "fullCone" | "restrictedCone" | "portRestrictedCone" | "symmetric" | "dual"

/**
 * What an operation of a story is given. `number` is an integer from 0 to 15, to
 * choose among variants.
 *
 * @category models
 * @since 0.1.0
 */
export interface Given<A> {
  readonly node: Node<A>
  readonly peer: Node<A>
  readonly number: number
  readonly nodes: ReadonlyArray<Node<A>>
  readonly world: SimWorld.World
}

/**
 * An application whose nodes are subject to faults while operations run on them.
 *
 * @category models
 * @since 0.1.0
 */
export interface Subject<A, E> {
  /** Most nodes; each story has from 3 to this many. Default 8. */
  readonly nodes?: number | undefined
  /** The kinds of hosts that stories have besides usual ones. Half of the stories have one or two. Default: none. */
  readonly hosts?: ReadonlyArray<HostKind> | undefined
  /** The behaviours of lying nodes, which run no application. Half of the stories have one. Default: none. */
  readonly liars?: ReadonlyArray<Byzantine.Behaviour> | undefined
  readonly app?: Layer.Layer<A, E, Dht.Services | SimWorld.Machine> | undefined
  /**
   * Operations of users. They run at random times on random nodes, in the
   * background. An operation fails the test if it fails, unless its node went down.
   * None may have the name of a fault.
   */
  readonly operations?: { readonly [name: string]: (given: Given<A>) => Effect.Effect<unknown, unknown, Scope.Scope> }
  /** The faults that stories have. Default: all. */
  readonly faults?: ReadonlyArray<Fault.Kind> | undefined
  /** Most faults and operations of a story. Default 14. */
  readonly steps?: number | undefined
  /** Time over which the steps are spread. Default 5 minutes. */
  readonly during?: Duration.Input | undefined
  /** Time for the network to recover between the last fault and the check. Default 10 minutes. */
  readonly recovery?: Duration.Input | undefined
  /** Checks what must hold after the recovery, when all nodes are up. Fails if it does not. */
  readonly check?:
    | ((nodes: ReadonlyArray<Node<A>>, world: SimWorld.World) => Effect.Effect<unknown, unknown, Scope.Scope>)
    | undefined
}

/**
 * An operation of the application, as a step of a story.
 *
 * @category models
 * @since 0.1.0
 */
export interface Operation {
  readonly do: string
  readonly node: number
  readonly peer: number
  readonly number: number
}

/**
 * A world with its faults, operations and schedule, as data.
 *
 * @category models
 * @since 0.1.0
 */
export interface Story {
  readonly seed: number
  readonly scheduleSeed?: number | string | undefined
  readonly nodes: number
  /** The hosts of further nodes, numbered after the others. */
  readonly hosts?: ReadonlyArray<HostKind> | undefined
  readonly liars?: ReadonlyArray<Byzantine.Behaviour> | undefined
  /** Median one-way latency in milliseconds. */
  readonly latency: number
  /** Share of the datagrams lost, 0 to 1, until the recovery. */
  readonly loss: number
  /** In order of `at`, seconds since all nodes have started. */
  readonly steps: ReadonlyArray<{ readonly at: number; readonly deed: Fault.Fault | Operation }>
}

/**
 * The seeds of a run.
 *
 * @category models
 * @since 0.1.0
 */
export type Seeds = Pick<Story, "seed" | "scheduleSeed">

/**
 * A world in which a test fails. Its message has the seeds or the story, line by
 * line, and the command that runs it again.
 *
 * @category errors
 * @since 0.1.0
 */
export class TestFailed extends Data.TaggedError("TestFailed")<{
  readonly test: string
  /** The story, or the seeds alone. */
  readonly run: Story | Seeds
  /** The message of the cause. */
  readonly reason: string
  readonly cause: unknown
  /** Where the recording of the run can be seen. */
  readonly seen?: string | undefined
}> {
  override get message() {
    const { reason, run, seen } = this
    return [
      reason,
      storyOf(run),
      `run it again: ${commandOf(this)}`,
      ...(seen === undefined ? [] : [`see it: ${seen}`])
    ]
      .join("\n")
  }
}

const storyOf = (run: Story | Seeds): string => "steps" in run ? format(run) : seedsOf(run)

const commandOf = ({ run, test }: Pick<TestFailed, "run" | "test">): string =>
  `${variable}=${Shell.word(JSON.stringify(run))} npx vitest run -t ${Shell.word(RegExp.escape(test))}`
// --- Stories -------------------------------------------------------------------

/**
 * The text of a story, a line per step.
 *
 * @category formatting
 * @since 0.1.0
 */
export const format = (story: Story): string =>
  [
    `${seedsOf(story)}: ${story.nodes} nodes${liarsIn(story)}, ${story.latency} ms apart, ` +
    `${Math.round(story.loss * 100)} % lost`,
    ...(story.hosts ?? []).map((kind, i) => `  node ${story.nodes + i} ${hostKinds[kind][0]}`),
    ...story.steps.map(({ at, deed }) => `  at ${clockTime(at * 1000)} ${describe(deed, populationOf(story))}`)
  ].join("\n")

const liarsIn = ({ liars = [] }: Story): string => liars.length === 0 ? "" : `, liars: ${liars.join(", ")}`

/** Each kind in words, and the options of its hosts. */
const hostKinds: { readonly [kind in HostKind]: readonly [is: string, options: SimNetwork.HostOptions] } = {
  fullCone: [`is behind ${routerNames.fullCone}`, { behind: routers.fullCone }],
  restrictedCone: [`is behind ${routerNames.restrictedCone}`, { behind: routers.restrictedCone }],
  portRestrictedCone: [`is behind ${routerNames.portRestrictedCone}`, { behind: routers.portRestrictedCone }],
  symmetric: [`is behind ${routerNames.symmetric}`, { behind: routers.symmetric }],
  dual: ["has addresses of both families", { families: ["ipv4", "ipv6"] }]
}

/** Number of nodes with the application. */
const populationOf = ({ hosts = [], nodes }: Pick<Story, "hosts" | "nodes">): number => nodes + hosts.length

const describe = (deed: Fault.Fault | Operation, nodes: number): string =>
  Fault.isFault(deed)
    ? Fault.describe(Fault.reduced(deed, nodes))
    : `node ${deed.node % nodes}: ${deed.do} (peer ${deed.peer % nodes}, number ${deed.number})`

const secondsOf = (duration: Duration.Input): number => Duration.toMillis(duration) / 1000

/** Draws special hosts and liars, with numbers of their own: a subject without them has the same stories as before. */
const drawOthers = <A, E>({ hosts = [], liars = [] }: Subject<A, E>, seed: number): Pick<Story, "hosts" | "liars"> => {
  const random = new Prng(seed, "others")
  const some = <B>(from: ReadonlyArray<B>, most: number): ReadonlyArray<B> =>
    from.length === 0 || random.below(2) === 0
      ? []
      : Array.from({ length: 1 + random.below(most) }, () => from[random.below(from.length)])
  const [drawnHosts, drawnLiars] = [some(hosts, 2), some(liars, 1)]
  return {
    ...(drawnHosts.length === 0 ? {} : { hosts: drawnHosts }),
    ...(drawnLiars.length === 0 ? {} : { liars: drawnLiars })
  }
}

/** Draws a story. Each has some of the faults only, so that rare combinations occur (swarm testing). */
const draw = <A, E>(subject: Subject<A, E>, seed: number): Story => {
  const { during = "5 minutes", faults = Fault.kinds, nodes: maxNodes = 8, operations = {}, steps = 14 } = subject
  const random = new Prng(seed, "story")
  const nodes = 3 + random.below(Math.max(1, maxNodes - 2))
  const others = drawOthers(subject, seed)
  const population = populationOf({ ...others, nodes })
  const some = faults.filter(() => random.below(2) === 0)
  const names = Object.keys(operations)
  const deeds: Array<() => Fault.Fault | Operation> = [
    ...(some.length === 0 ? [] : [() => Fault.draw(random, some, population)]),
    ...(names.length === 0 ? [] : [() => ({
      do: names[random.below(names.length)],
      node: random.below(population),
      peer: random.below(population),
      number: random.below(16)
    })])
  ]
  const count = deeds.length === 0 ? 0 : random.below(steps + 1)
  // Some happen at the same time as another, so that races occur.
  let at = 0
  const nextTime = () => at = random.below(3) === 0 ? at : random.below(secondsOf(during) + 1)
  return {
    seed,
    scheduleSeed: random.below(2) === 0 ? undefined : random.below(1_000_000),
    nodes,
    ...others,
    latency: [1, 20, 100][random.below(3)],
    loss: random.below(2) === 0 ? 0 : random.below(20) / 100,
    steps: Array.from({ length: count }, () => ({
      at: nextTime(),
      deed: deeds[random.below(deeds.length)]()
    })).sort((a, b) => a.at - b.at)
  }
}

/** Shares of the time to an earlier step that shrinking does not distinguish. */
const timeShares = 8

/** Simpler stories, the simplest first. */
function* simpler(story: Story): Candidates<Story> {
  let best = story
  const tryAll = function*<B>(parts: Candidates<B>, change: (part: B) => Partial<Story>): Candidates<Story> {
    best = yield* changing(best, parts, (story, part) => ({ ...story, ...change(part) }))
  }
  yield* tryAll(fewer(story.steps), (steps) => ({ steps }))
  yield* tryAll(fewer(story.hosts ?? []), (hosts) => ({ hosts }))
  yield* tryAll(fewer(story.liars ?? []), (liars) => ({ liars }))
  if (story.scheduleSeed !== undefined) yield* tryAll(one(undefined), (scheduleSeed) => ({ scheduleSeed }))
  if (story.loss > 0) yield* tryAll(one(0), (loss) => ({ loss }))
  yield* tryAll(lower(story.nodes, 3), (nodes) => ({ nodes }))
  if (story.latency !== 20) yield* tryAll(one(20), (latency) => ({ latency }))
  for (const i of best.steps.keys()) {
    const earlier = () => {
      const floor = best.steps[i - 1]?.at ?? 0
      const { at } = best.steps[i]
      return lower(at, floor, Math.ceil((at - floor) / timeShares))
    }
    // With all that follow, because some fail only close to each other.
    yield* tryAll(earlier(), (at) => {
      const gap = best.steps[i].at - at
      return {
        steps: [...best.steps.slice(0, i), ...best.steps.slice(i).map((step) => ({ ...step, at: step.at - gap }))]
      }
    })
    yield* tryAll(earlier(), (at) => ({ steps: best.steps.with(i, { ...best.steps[i], at }) }))
    for (const field of ["number", "peer", "node"] as const) {
      const { deed } = best.steps[i]
      if (Fault.isFault(deed)) break
      yield* tryAll(lower(deed[field]), (number) => ({
        steps: best.steps.with(i, { ...best.steps[i], deed: { ...best.steps[i].deed, [field]: number } as Operation })
      }))
    }
  }
}

const minute = 60_000

/** Datagrams per second of a liar that floods. */
const liarRate = 20

/** Runs a story to its check; fails if an operation or the check does. */
const tell = Effect.fnUntraced(function*<A, E>(subject: Subject<A, E>, story: Story) {
  const { check, operations = {}, recovery = "10 minutes" } = subject
  const world = yield* SimWorld.SimWorld
  const nodes: Array<Node<A>> = [...yield* world.startNodes(story.nodes, { app: subject.app })]
  for (const kind of story.hosts ?? []) {
    nodes.push(...yield* world.startNodes(1, { app: subject.app, host: hostKinds[kind][1] }))
  }
  for (const [i, behaviour] of (story.liars ?? []).entries()) {
    const liar = Byzantine.layer(behaviour, { through: nodes.slice(0, 3), rate: liarRate })
    yield* world.machine(`liar ${i}`, liar).start
  }
  const failed = yield* Deferred.make<never, unknown>()
  world.network.conditions.loss = story.loss

  const perform = (deed: Fault.Fault | Operation): Effect.Effect<void, never, Scope.Scope> => {
    const pick = (number: number) => nodes[number % nodes.length]
    world.note(describe(deed, nodes.length), "node" in deed ? pick(deed.node) : undefined)
    if (Fault.isFault(deed)) return Fault.inject(world, nodes, deed)
    const operation = operations[deed.do]
    if (operation === undefined) return Effect.die(new Error(`The story has an unknown operation: ${deed.do}`))
    return operation({ node: pick(deed.node), peer: pick(deed.peer), number: deed.number, nodes, world }).pipe(
      Effect.catchCause((cause) => isDown(cause) ? Effect.void : Deferred.failCause(failed, cause)),
      Effect.forkScoped,
      Effect.asVoid
    )
  }

  const startedAt = world.timeline.elapsedMillis
  const whole = Effect.gen(function*() {
    for (const { at, deed } of story.steps) {
      yield* Effect.sleep(Math.max(0, startedAt + at * 1000 - world.timeline.elapsedMillis))
      yield* perform(deed)
    }
    yield* Effect.sleep(minute)
    world.note("the faults end, and the network recovers")
    world.network.heal()
    world.network.conditions.loss = 0
    for (const node of nodes) {
      if (node.clock.offsetMillis !== 0) yield* node.setClock(0)
      yield* Effect.ignore(node.start)
    }
    yield* Effect.sleep(recovery)
    world.note("the network is checked")
    if (check !== undefined) yield* check(nodes, world)
  })
  yield* Effect.raceFirst(whole, Deferred.await(failed))
})

const isDown = (cause: Cause.Cause<unknown>): boolean => {
  const error = Cause.squash(cause)
  return Cause.hasInterruptsOnly(cause) || error instanceof SimWorld.NodeDown
}

// --- Replaying -------------------------------------------------------------------

/** The variable with the story or the seeds of the run to repeat. */
const variable = "SIM_REPLAY"

const parse = (text: string): Partial<Story> => {
  let run: unknown
  try {
    run = JSON.parse(text)
  } catch {
    // Reported with the texts of other forms.
  }
  if (typeof run === "object" && run !== null && !Array.isArray(run)) return run
  throw new RangeError(`${variable} is not a story or seeds as JSON: "${text}". Copy it whole from the failure`)
}

/** What to repeat, instead of the worlds that the test would have. */
const replayed: Effect.Effect<Option.Option<Partial<Story>>> = Effect.suspend(() =>
  Config.String(variable).pipe(
    Config.option,
    Effect.map(Option.map(parse)),
    Effect.provideService(ConfigProvider.ConfigProvider, ConfigProvider.fromEnv()),
    Effect.orDie
  )
)

// --- Tests -----------------------------------------------------------------------

/**
 * The two kinds of tests.
 *
 * @category models
 * @since 0.1.0
 */
export interface SimTest {
  /** Registers a test that runs a program in one or more worlds. */
  readonly it: (
    name: string,
    program: (world: SimWorld.World) => Effect.Effect<unknown, unknown, Services>,
    options?: Options
  ) => void
  /**
   * Registers a test that runs an application in stories: worlds with random nodes,
   * faults, operations and schedules. A story that fails is shrunk. Throws a
   * `RangeError` if an operation has the name of a fault.
   */
  readonly prop: <A = never, E = never>(name: string, subject: Subject<A, E>, options?: Options) => void
}

/** Share of the time of a test that shrinking may take. */
const shrinkShare = 1 / 3

const defaultTimeout = 60_000

/**
 * Creates the functions that register tests with a test runner.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (register: Register, defaults: Options = {}): SimTest => {
  const test = (name: string, options: Options, effect: Effect.Effect<unknown, unknown>): void => {
    const { timeout = defaultTimeout } = options
    register(name, { timeout }, ({ signal }) => Effect.runPromise(Effect.asVoid(effect), { signal }))
  }

  /** Fails with the failure, after its run was repeated for `explain`. */
  const explained = Effect.fnUntraced(function*(
    failure: TestFailed,
    program: (world: SimWorld.World) => Effect.Effect<unknown, unknown, Services>,
    options: Pick<Options, "explain"> & SimWorld.RunOptions
  ): Effect.fn.Return<never, TestFailed> {
    const { explain } = options
    const recorders: Array<Recorder.Recorder> = []
    if (explain === undefined) return yield* failure
    const recorded = Effect.flatMap(SimWorld.SimWorld, (world) => {
      recorders.push(Recorder.start(world))
      return program(world)
    })
    const again = yield* Effect.exit(SimWorld.run(recorded, options))
    const recorder = recorders.at(0)
    // The run failed before it had a world, as with a schedule that is not valid.
    if (recorder === undefined) return yield* failure
    const recording = recorder.finish({
      title: failure.test,
      story: storyOf(failure.run).split("\n"),
      command: commandOf(failure)
    }, Exit.isSuccess(again) ? [] : [failure.cause])
    const { cause, reason, run, test } = failure
    return yield* new TestFailed({ test, run, reason, cause, seen: yield* explain(recording) })
  })

  return {
    it: (name, program, given) => {
      const options = { ...defaults, ...given }
      const { scheduleSeed, seed = 1, worlds = 1 } = options
      const runOne = (run: Seeds) =>
        SimWorld.run(Effect.flatMap(SimWorld.SimWorld, program), { ...options, ...run }).pipe(
          Effect.catch(({ cause, reason }) =>
            explained(new TestFailed({ test: name, run, reason, cause }), program, { ...options, ...run })
          )
        )
      test(
        name,
        options,
        Effect.flatMap(replayed, (again) =>
          Option.isSome(again)
            ? runOne({ seed, ...again.value })
            : Effect.forEach(Array.from({ length: worlds }, (_, i) => seed + i), (seed) =>
              runOne({ seed, scheduleSeed }), { discard: true }))
      )
    },
    prop: (name, subject, given) => {
      const taken = Object.keys(subject.operations ?? {}).find((operation) => Fault.isFault({ do: operation }))
      if (taken !== undefined) {
        throw new RangeError(`The operation "${taken}" has the name of a fault. Give it another name`)
      }
      const options = { ...defaults, ...given }
      const { seed = 1, worlds = 20 } = options
      const settings = (story: Story): SimWorld.RunOptions => ({
        ...options,
        network: { latency: Latency.plane({ medianMillis: story.latency }), ...options.network },
        seed: story.seed,
        scheduleSeed: story.scheduleSeed
      })
      const failed = (story: Story, { cause, reason }: SimWorld.RunFailed) =>
        new TestFailed({ test: name, run: story, reason, cause })
      const runOne = (story: Story) => SimWorld.run(tell(subject, story), settings(story))
      const toldAgain = (failure: TestFailed, story: Story) =>
        explained(failure, () => tell(subject, story), { ...options, ...settings(story) })
      const shrunk = Effect.fnUntraced(function*(story: Story, failure: SimWorld.RunFailed) {
        const clock = yield* Clock.Clock
        const until = clock.currentTimeMillisUnsafe() + shrinkShare * (options.timeout ?? defaultTimeout)
        let least = failed(story, failure)
        const simplest = smallest(story, {
          simpler,
          fails: (story) => {
            const exit = SimWorld.runSyncExit(tell(subject, story), settings(story))
            if (Exit.isSuccess(exit)) return false
            const found = failed(story, SimWorld.runFailed(exit.cause, settings(story)))
            if (kindOf(found) !== kindOf(failure)) return false
            least = found
            return true
          },
          isOver: () => clock.currentTimeMillisUnsafe() > until
        })
        return yield* toldAgain(least, simplest)
      })
      test(
        name,
        options,
        Effect.flatMap(replayed, (again) => {
          if (Option.isSome(again)) {
            const drawn = draw(subject, again.value.seed ?? seed)
            const story: Story = again.value.steps === undefined
              ? drawn
              : { ...drawn, scheduleSeed: undefined, ...again.value }
            return Effect.catch(runOne(story), (failure) => toldAgain(failed(story, failure), story))
          }
          return Effect.forEach(
            Array.from({ length: worlds }, (_, i) => draw(subject, seed + i)),
            (story) => Effect.catch(runOne(story), (failure) => shrunk(story, failure)),
            { discard: true }
          )
        })
      )
    }
  }
}

/** What distinguishes a failure from others, without the facts of the run. */
const kindOf = ({ cause, reason }: Pick<TestFailed, "cause" | "reason">): string =>
  typeof cause === "object" && cause !== null && "_tag" in cause ? String(cause._tag) : reason.replaceAll(/[\d.]+/g, "")
