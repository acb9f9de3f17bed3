/**
 * What the members of a simulation ask for, and what became of it.
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
import { type Announced, carryOn, type Population } from "./population.ts"
import { Prng } from "./prng.ts"
import { Tally } from "./tally.ts"

/**
 * @internal
 */
export interface Questions {
  /** Answers since they were cleared last, and of the whole run. */
  readonly recent: Tallies
  readonly all: Tallies
  /** Found endpoints by hops; the last counts all that needed more. */
  readonly hops: ReadonlyArray<number>
  /** Whether a record is announced for long enough to be found. */
  readonly isExpected: (record: Announced) => boolean
  /** Asks for ever. */
  readonly lookups: Effect.Effect<never>
  /** Some of what is announced, each looked for from somewhere. */
  readonly probe: Effect.Effect<{ readonly asked: number; readonly found: number }>
}

/**
 * @internal
 */
export interface Tallies {
  readonly resolve: Tally
  readonly discover: Tally
}

/** Hops that are told apart. */
const maxHops = 12

/** An announced record is expected to be found once it is so old. */
const settleMillis = 60_000

/** Records that are looked for in each probe. */
const probesAtOnce = 32

const hourMillis = 3_600_000

/**
 * `samples` draws what is probed.
 *
 * @internal
 */
export const make = Effect.fnUntraced(function*(
  scenario: Scenario,
  world: SimWorld.World,
  population: Population,
  safety: Safety | undefined,
  samples: Prng
): Effect.fn.Return<Questions, never, Scope.Scope> {
  const { timeline } = world
  const scope = yield* Effect.scope
  const chance = new Prng(scenario.seed, "simulation lookups")
  const recent: Tallies = { resolve: new Tally(), discover: new Tally() }
  const all: Tallies = { resolve: new Tally(), discover: new Tally() }
  const hops = new Array<number>(maxHops + 1).fill(0)
  const isExpected = (record: Announced) => timeline.elapsedMillis - record.sinceMillis >= settleMillis

  /** Looks for a record from some other member; undefined when either went down meanwhile. */
  const look = Effect.fnUntraced(function*(random: Prng, target: Announced) {
    const { members } = population
    const others = members.length > 1 ? pick(random, members, 2) : []
    const asker = others.find((member) => member !== target.by)
    if (asker === undefined) return undefined
    const begun = timeline.elapsedMillis
    const find = target.kind === "resolve" ? { type: target.type, quorum: 1 } : { type: target.type }
    const result = yield* asker.node.run(Query.use((query) => query.lookup(target.key, find))).pipe(
      Effect.orElseSucceed(() => undefined)
    )
    if (result === undefined || !population.announced.includes(target)) return undefined
    if (safety !== undefined) {
      for (const record of result.records) safety.returned(asker.node.name, target.key, record)
    }
    const isFound = result.records.some(({ address }) => address === target.address)
    return {
      isFound,
      millis: timeline.elapsedMillis - begun,
      requests: result.trace.length,
      hops: hopsOf(result)
    }
  })

  const lookup = Effect.fnUntraced(function*(target: Announced) {
    const answer = yield* look(chance, target)
    if (answer === undefined) return
    for (const tallies of [recent, all]) tallies[target.kind].add(answer.isFound ? answer : undefined)
    if (answer.isFound && target.kind === "resolve") hops[Math.min(answer.hops, maxHops)]++
  })

  const lookups = Effect.gen(function*() {
    const millis = hourMillis / (scenario.lookupsPerNodeHour * honestOf(scenario))
    while (true) {
      yield* Effect.sleep(gap(chance, millis))
      if (population.announced.length === 0) continue
      const [target] = pick(chance, population.announced, 1)
      if (isExpected(target)) yield* Effect.forkIn(carryOn("A lookup failed", lookup(target)), scope)
    }
  })

  const probe = Effect.gen(function*() {
    const expected = population.announced.filter(isExpected)
    const targets = pick(samples, expected, Math.min(probesAtOnce, expected.length))
    const answers = yield* Effect.forEach(targets, (target) => look(samples, target), { concurrency: "unbounded" })
    const counted = answers.filter((answer) => answer !== undefined)
    return { asked: counted.length, found: counted.filter(({ isFound }) => isFound).length }
  })

  return { recent, all, hops, isExpected, lookups, probe }
})

/** By who told of whom. */
const hopsOf = ({ trace }: LookupResult): number => {
  const holders = trace.filter(({ holdsRecord }) => holdsRecord)
  return holders.length === 0 ? 0 : 1 + Math.min(...holders.map(({ depth }) => depth))
}
