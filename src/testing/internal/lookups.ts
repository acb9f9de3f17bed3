/**
 * The lookups that members of a simulation make, and their results.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { type LookupResult, Query } from "../../Query.ts"
import type { Safety } from "../PropertiesSafety.ts"
import { honestOf, type Scenario } from "../Scenario.ts"
import type * as SimWorld from "../SimWorld.ts"
import { gap, pick } from "./draw.ts"
import { type Announced, logFailures, type Population } from "./population.ts"
import { Prng } from "./prng.ts"
import { Tally } from "./tally.ts"

/**
 * @internal
 */
export interface Lookups {
  /** Results since the last call of `clear`. */
  readonly recent: Tallies
  /** Results of the whole run. */
  readonly all: Tallies
  /** Number of endpoints found by hops; the last counts all with more hops. */
  readonly hops: ReadonlyArray<number>
  /** Whether a record has been announced for long enough to be found. */
  readonly isExpected: (record: Announced) => boolean
  /** Makes lookups at random times, forever. */
  readonly run: Effect.Effect<never>
  /** Looks up a sample of the announced records, each from a random member. */
  readonly probe: Effect.Effect<{ readonly asked: number; readonly found: number }>
}

/**
 * Results by kind of lookup.
 *
 * @internal
 */
export interface Tallies {
  readonly resolve: Tally
  readonly discover: Tally
}

/** Most hops that are counted separately. */
const maxHops = 12

/** Age from which an announced record is expected to be found. */
const settleMillis = 60_000

/** Number of records looked up in each probe. */
const probesAtOnce = 32

const hourMillis = 3_600_000

/**
 * Creates the lookups of a simulation. `samples` draws the records to probe.
 *
 * @internal
 */
export const make = Effect.fnUntraced(function*(
  scenario: Scenario,
  world: SimWorld.World,
  population: Population,
  safety: Safety | undefined,
  samples: Prng
): Effect.fn.Return<Lookups, never, Scope.Scope> {
  const { timeline } = world
  const scope = yield* Effect.scope
  const chance = new Prng(scenario.seed, "simulation lookups")
  const recent: Tallies = { resolve: new Tally(), discover: new Tally() }
  const all: Tallies = { resolve: new Tally(), discover: new Tally() }
  const hops = new Array<number>(maxHops + 1).fill(0)
  const isExpected = (record: Announced) => timeline.elapsedMillis - record.sinceMillis >= settleMillis

  /** Looks up a record from another member; undefined if either went down during the lookup. */
  const lookup = Effect.fnUntraced(function*(random: Prng, target: Announced) {
    const { members } = population
    const others = members.length > 1 ? pick(random, members, 2) : []
    const requester = others.find((member) => member !== target.by)
    if (requester === undefined) return undefined
    const startedAt = timeline.elapsedMillis
    const find = target.kind === "resolve" ? { type: target.type, quorum: 1 } : { type: target.type }
    const result = yield* requester.node.run(Query.use((query) => query.lookup(target.key, find))).pipe(
      Effect.orElseSucceed(() => undefined)
    )
    if (result === undefined || !population.announced.includes(target)) return undefined
    if (safety !== undefined) {
      for (const record of result.records) safety.returned(requester.node.name, target.key, record)
    }
    const isFound = result.records.some(({ address }) => address === target.address)
    return {
      isFound,
      millis: timeline.elapsedMillis - startedAt,
      requests: result.trace.length,
      hops: hopsOf(result)
    }
  })

  const counted = Effect.fnUntraced(function*(target: Announced) {
    const result = yield* lookup(chance, target)
    if (result === undefined) return
    for (const tallies of [recent, all]) tallies[target.kind].add(result.isFound ? result : undefined)
    if (result.isFound && target.kind === "resolve") hops[Math.min(result.hops, maxHops)]++
  })

  const run = Effect.gen(function*() {
    const millis = hourMillis / (scenario.lookupsPerNodeHour * honestOf(scenario))
    while (true) {
      yield* Effect.sleep(gap(chance, millis))
      if (population.announced.length === 0) continue
      const [target] = pick(chance, population.announced, 1)
      if (isExpected(target)) yield* Effect.forkIn(logFailures("A lookup failed", counted(target)), scope)
    }
  })

  const probe = Effect.gen(function*() {
    const expected = population.announced.filter(isExpected)
    const targets = pick(samples, expected, Math.min(probesAtOnce, expected.length))
    const results = yield* Effect.forEach(targets, (target) => lookup(samples, target), { concurrency: "unbounded" })
    const completed = results.filter((result) => result !== undefined)
    return { asked: completed.length, found: completed.filter(({ isFound }) => isFound).length }
  })

  return { recent, all, hops, isExpected, run, probe }
})

/** Hops to the nearest holder along the chain of referrers; 0 if the requester held the record itself. */
const hopsOf = ({ trace }: LookupResult): number => {
  const holders = trace.filter(({ holdsRecord }) => holdsRecord)
  return holders.length === 0 ? 0 : 1 + Math.min(...holders.map(({ depth }) => depth))
}
