/**
 * Simulated runs of a whole network with measurements: nodes join and crash,
 * announce records and look them up, datagrams are lost, and the network may be
 * partitioned. A run is determined by its `Scenario`, which is plain data, so it
 * can be repeated from its report.
 *
 * ```ts
 * import * as Effect from "effect/Effect"
 * import * as Simulation from "effect-dht/testing/Simulation"
 *
 * const program = Effect.gen(function*() {
 *   const { totals, traceHash } = yield* Simulation.run({ nodes: 100, hours: 2, churnPerHour: 0.3 })
 *   return [totals.resolve.found / totals.resolve.asked, traceHash]
 * })
 * ```
 *
 * @module
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Logger from "effect/Logger"
import * as LogLevel from "effect/LogLevel"
import * as Random from "effect/Random"
import * as References from "effect/References"
import type * as Scope from "effect/Scope"
import type * as Crypto from "../Crypto.ts"
import { pick } from "./internal/draw.ts"
import * as Gauges from "./internal/gauges.ts"
import * as Lookups from "./internal/lookups.ts"
import * as Population from "./internal/population.ts"
import { Prng } from "./internal/prng.ts"
import { seedsOf } from "./internal/seeds.ts"
import { Spread } from "./internal/tally.ts"
import * as Latency from "./Latency.ts"
import { expectationsOf, type Interval, isCalm, type Measured, settleHours } from "./Measurement.ts"
import * as PropertiesSafety from "./PropertiesSafety.ts"
import * as Scenario from "./Scenario.ts"
import * as SeededRandom from "./SeededRandom.ts"
import * as SimCrypto from "./SimCrypto.ts"
import * as SimWorld from "./SimWorld.ts"
import * as VirtualTime from "./VirtualTime.ts"

// --- The program -----------------------------------------------------------------

const hourMillis = 3_600_000

const maxWarnings = 8

/** The mutable progress of a program, which `run` reports. */
interface Position {
  phase: Progress["phase"]
  joined: number
  /** When all nodes had joined, in milliseconds of the timeline. */
  zero: number
}

const program = Effect.fnUntraced(function*(
  scenario: Scenario.Scenario,
  world: SimWorld.World,
  position: Position,
  warnings: ReadonlyArray<string>,
  countWarnings: () => number
): Effect.fn.Return<Omit<Measured, "realSeconds">, never, Scope.Scope> {
  const { network, timeline } = world
  const { hours, nodes, seed } = scenario
  const scope = yield* Effect.scope
  const safety = scenario.watched ? yield* PropertiesSafety.watch(world) : undefined
  const samples = new Prng(seed, "simulation samples")
  const population = yield* Population.make(scenario, world, safety)
  const lookups = yield* Lookups.make(scenario, world, population, safety, samples)

  const split = Effect.fnUntraced(function*({ atHours, forHours, share }: Scenario.Partition) {
    yield* Effect.sleep(atHours * hourMillis)
    const random = new Prng(seed, "simulation partition")
    network.partition(
      pick(random, network.hosts.filter(({ endpoints }) => endpoints.size > 0), Math.round(nodes * share))
    )
    yield* Effect.sleep(forHours * hourMillis)
    network.heal()
  })

  // --- Measuring

  let bytes = 0
  const probes = { asked: 0, found: 0 }
  const copiesInCalm = new Spread()
  const contactsInAll = new Spread()
  const liveInAll = new Spread()
  const filledInAll = new Spread()
  const intervals: Array<Interval> = []

  const perNodeHour = (count: number, hours: number) => count / (nodes * hours)

  /** Measures each interval until the end of the run. */
  const measure = Effect.gen(function*() {
    const zero = position.zero
    const step = scenario.intervalMinutes / 60
    const count = Math.ceil(hours / step - 1e-9)
    let sent = network.counts.sent
    let received = bytes
    let replaced = population.replaced
    let from = 0
    for (let i = 1; i <= count; i++) {
      const to = i === count ? hours : i * step
      yield* Effect.sleep(zero + to * hourMillis - timeline.elapsedMillis)
      const calm = isCalm(scenario, from, to)
      const copies = new Spread()
      for (const count of Gauges.copies(population, population.announced.filter(lookups.isExpected))) {
        copies.add(count)
        if (calm) copiesInCalm.add(count)
      }
      const tables = Gauges.tables(population, samples)
      if (tables.contacts !== null) contactsInAll.add(tables.contacts)
      if (tables.live !== null) liveInAll.add(tables.live)
      if (tables.filled !== null) filledInAll.add(tables.filled)
      const figures = {
        atHours: to,
        calm,
        nodes: population.members.length,
        replaced: population.replaced - replaced,
        resolve: lookups.recent.resolve.answers(),
        discover: lookups.recent.discover.answers(),
        copies: { min: copies.min, mean: copies.mean, max: copies.max },
        tables,
        datagramsPerNodeHour: perNodeHour(network.counts.sent - sent, to - from),
        bytesPerNodeHour: perNodeHour(bytes - received, to - from)
      }
      sent = network.counts.sent
      received = bytes
      replaced = population.replaced
      from = to
      lookups.recent.resolve.clear()
      lookups.recent.discover.clear()
      const probed = yield* lookups.probe
      probes.asked += probed.asked
      probes.found += probed.found
      intervals.push({ ...figures, probes: probed })
    }
  })

  // --- The run

  network.observe({
    delivered: ({ payload }) => {
      bytes += payload.length
    }
  })

  const start = (i: number) =>
    Effect.andThen(
      population.start(i),
      Effect.sync(() => {
        position.joined++
      })
    )
  yield* start(0)
  yield* Effect.forEach(Array.from({ length: nodes - 1 }, (_, i) => i + 1), start, {
    concurrency: Math.max(8, Math.ceil(nodes / 50)),
    discard: true
  })

  position.zero = timeline.elapsedMillis
  position.phase = "Running"
  // Random delays keep the nodes from renewing in step.
  const random = new Prng(seed, "simulation announcements")
  const begin = { sent: network.counts.sent, lost: network.counts.lost, bytes }
  const background = [
    ...(scenario.churnPerHour > 0 ? [population.churn] : []),
    ...(scenario.lookupsPerNodeHour > 0 ? [lookups.run] : []),
    ...(scenario.partition === null ? [] : [split(scenario.partition)]),
    ...population.members.map((member) =>
      Effect.delay(
        Population.logFailures("A node could not announce its records", population.announce(member)),
        random.double() * Math.min(settleHours, hours / 6) * hourMillis
      )
    )
  ]
  yield* Effect.forEach(background, (effect) => Effect.forkIn(effect, scope))
  yield* measure

  const sent = network.counts.sent - begin.sent
  const totals = {
    resolve: lookups.all.resolve.answers(),
    discover: lookups.all.discover.answers(),
    probes,
    copies: { min: copiesInCalm.min, mean: copiesInCalm.mean, max: copiesInCalm.max },
    tables: { contacts: contactsInAll.mean, live: liveInAll.mean, filled: filledInAll.mean },
    hops: lookups.hops,
    datagrams: sent,
    datagramsPerNodeHour: perNodeHour(sent, hours),
    bytesPerNodeHour: perNodeHour(bytes - begin.bytes, hours),
    lost: network.counts.lost - begin.lost,
    replaced: population.replaced,
    failedJoins: population.failedJoins,
    warnings: countWarnings()
  }
  safety?.sweep()
  const violations = safety?.violations.map(({ message }) => message)
  return {
    scenario,
    traceHash: world.trace.hash,
    startSeconds: position.zero / 1000,
    intervals,
    totals,
    expectations: expectationsOf(scenario, intervals, totals, violations),
    warnings: [...warnings],
    violations: violations ?? []
  }
})

// --- Running -----------------------------------------------------------------------

/**
 * The progress of a run. Hours are virtual and count from when all nodes have
 * joined.
 *
 * @category models
 * @since 0.1.0
 */
export interface Progress {
  readonly phase: "Starting" | "Running"
  readonly joined: number
  readonly nodes: number
  readonly hours: number
  readonly ofHours: number
}

/**
 * Options of a run.
 *
 * @category models
 * @since 0.1.0
 */
export interface RunOptions {
  /** The implementation of real signatures. Default `Crypto.noble`, which is portable. */
  readonly crypto?: Crypto.Provider | undefined
  /** Called with the progress a few times per second of real time. */
  readonly onProgress?: ((progress: Progress) => Effect.Effect<void>) | undefined
}

/**
 * A run failed before its end.
 *
 * @category errors
 * @since 0.1.0
 */
export class RunFailed extends Data.TaggedError("RunFailed")<{
  readonly scenario: Scenario.Scenario
  /** Virtual time that had passed. */
  readonly elapsedMillis: number
  readonly cause: unknown
}> {
  override get message() {
    const reason = this.cause instanceof Error ? this.cause.message : String(this.cause)
    return `The run of ${seedsOf(this.scenario)} failed after ${Math.round(this.elapsedMillis / 1000)} s: ${reason}`
  }
}

/** Real milliseconds between two yields to the event loop of the host. */
const sliceMillis = 100

/** Virtual milliseconds of the first and of the largest slice. */
const slices = { first: 10, largest: 10_000 }

/** Virtual time allowed outside the scenario: the start and the last probes. */
const spareMillis = 24 * hourMillis

/**
 * Runs a scenario as fast as the machine can. It yields to other fibers and to
 * signals several times per second and can be interrupted.
 *
 * @category running
 * @since 0.1.0
 */
export const run = Effect.fnUntraced(function*(
  given: Partial<Scenario.Scenario> = {},
  options: RunOptions = {}
): Effect.fn.Return<Measured, Scenario.InvalidScenario | RunFailed> {
  const complete = Scenario.make(given)
  const mistake = Scenario.fault(complete)
  if (mistake !== undefined) return yield* mistake
  const clock = yield* Clock.Clock
  const now = () => Number(clock.monotonicTimeNanosUnsafe()) / 1e6
  const { hours: ofHours, nodes, seed } = complete

  const timeline = new VirtualTime.Timeline({ scheduleSeed: complete.scheduleSeed ?? undefined })
  const position: Position = { phase: "Starting", joined: 0, zero: 0 }
  const warnings: Array<string> = []
  let warned = 0
  const counter = Logger.make<unknown, void>(({ logLevel, message }) => {
    if (LogLevel.isLessThan(logLevel, "Warn")) return
    warned++
    if (warnings.length < maxWarnings) warnings.push([message].flat().map(String).join(": "))
  })
  const fiber = timeline.fork(
    SimWorld.make({
      seed,
      network: { latency: Latency.plane({ medianMillis: complete.latencyMillis }), loss: complete.loss },
      crypto: complete.signatures === "stand-in" ? SimCrypto.simulated : options.crypto
    }).pipe(
      Effect.flatMap((world) => program(complete, world, position, warnings, () => warned)),
      Effect.scoped,
      Effect.provide(Logger.layer([counter])),
      Effect.provideService(Random.Random, SeededRandom.make(seed, "program")),
      Effect.provideService(References.TracerEnabled, false)
    )
  )

  const failed = (cause: unknown) => new RunFailed({ scenario: complete, elapsedMillis: timeline.elapsedMillis, cause })
  const limit = ofHours * hourMillis + spareMillis
  const begun = now()
  let slice = slices.first
  while (fiber.pollUnsafe() === undefined) {
    const before = now()
    const exit = timeline.advance(slice)
    if (Exit.isFailure(exit)) return yield* failed(Cause.squash(exit.cause))
    if (timeline.elapsedMillis > limit) {
      return yield* failed(new VirtualTime.NotFinished({ elapsedMillis: timeline.elapsedMillis }))
    }
    const took = Math.max(1, now() - before)
    slice = Math.min(slices.largest, slice * Math.min(2, Math.max(0.25, sliceMillis / took)))
    if (options.onProgress !== undefined) {
      const { joined, phase, zero } = position
      const hours = phase === "Starting" ? 0 : Math.min(ofHours, (timeline.elapsedMillis - zero) / hourMillis)
      yield* options.onProgress({ phase, joined, nodes, hours, ofHours })
    }
    yield* Effect.yieldNow
  }
  const exit = yield* Fiber.await(fiber)
  return Exit.isSuccess(exit)
    ? { ...exit.value, realSeconds: (now() - begun) / 1000 }
    : yield* failed(Cause.squash(exit.cause))
})
