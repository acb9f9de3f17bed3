/**
 * A small world and the events in it as data, which can be drawn, shrunk, printed
 * and run again.
 *
 * @since 0.1.0
 */
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Shell from "../../internal/shell.ts"
import { type Behaviour, behaviours } from "../Byzantine.ts"
import * as Fault from "../Fault.ts"
import * as Nat from "../Nat.ts"
import { clockTime } from "../Properties.ts"
import { Prng } from "./prng.ts"
import { seedsOf } from "./seeds.ts"
import { fewer, lower } from "./shrink.ts"

/** The number of a node, taken modulo the number of nodes at that time. */
type NodeNumber = number

/**
 * The masters for which nodes act: Ann has an Ed25519 key, Eve an Ethereum wallet.
 *
 * @internal
 */
export const masters = ["Ann", "Eve"] as const

/** @internal */
export type Master = typeof masters[number]

/** @internal */
export const topics = ["bread", "water"] as const

/**
 * The kinds of NAT in front of hosts.
 *
 * @internal
 */
export const routers = {
  fullCone: Nat.fullCone,
  restrictedCone: Nat.restrictedCone,
  portRestrictedCone: Nat.portRestrictedCone,
  symmetric: Nat.symmetric
} as const

/**
 * A router and the number of nodes behind it.
 *
 * @internal
 */
export interface Household {
  readonly router: keyof typeof routers
  readonly nodes: number
}

/** @internal */
export type Deed =
  | Fault.Fault
  | { readonly do: "join" }
  | { readonly do: "announce" | "publish" | "withdraw"; readonly node: NodeNumber }
  | { readonly do: "offer" | "discover"; readonly node: NodeNumber; readonly topic: typeof topics[number] }
  | { readonly do: "resolve" | "send"; readonly node: NodeNumber; readonly peer: NodeNumber }
  /** With a delegation that lasts for `seconds`; 0 means without expiry. */
  | { readonly do: "speak"; readonly node: NodeNumber; readonly master: Master; readonly seconds: number }
  | { readonly do: "ask"; readonly node: NodeNumber; readonly master: Master }

/** @internal */
export interface Happening {
  /** Seconds since the nodes were started. */
  readonly at: number
  readonly deed: Deed
}

/** @internal */
export interface Story {
  readonly seed: number
  readonly scheduleSeed?: number | string | undefined
  readonly nodes: number
  /** Median one-way latency, in milliseconds. */
  readonly latency: number
  /** Fraction of the datagrams, 0 to 1, until the faults end; `duplication` as well. */
  readonly loss: number
  readonly duplication: number
  /** Further nodes behind routers, numbered after the others. */
  readonly households?: ReadonlyArray<Household> | undefined
  /** The behaviours of additional Byzantine nodes. */
  readonly liars?: ReadonlyArray<Behaviour> | undefined
  readonly realSignatures?: boolean | undefined
  readonly happenings: ReadonlyArray<Happening>
}

/**
 * Minutes for the network to recover after the last fault: announcements are renewed every ten.
 *
 * @internal
 */
export const calmMinutes = 15

/**
 * Lifetime of announced records, in seconds.
 *
 * @internal
 */
export const announcedTtl = 1200

/**
 * Lifetime of records for a master, in seconds. They are published once and must last until the end.
 *
 * @internal
 */
export const spokenTtl = 3600

// --- Formatting ----------------------------------------------------------------

const describe = (deed: Deed): string => {
  switch (deed.do) {
    case "join":
      return "a new node joins"
    case "announce":
      return `node ${deed.node} announces its endpoint`
    case "publish":
      return `node ${deed.node} publishes its endpoint again`
    case "withdraw":
      return `node ${deed.node} withdraws its announcements`
    case "offer":
      return `node ${deed.node} offers ${deed.topic}`
    case "discover":
      return `node ${deed.node} discovers ${deed.topic}`
    case "resolve":
      return `node ${deed.node} resolves node ${deed.peer}`
    case "send":
      return `node ${deed.node} sends a message to node ${deed.peer}`
    case "speak":
      return `node ${deed.node} publishes an endpoint for ${deed.master} with a delegation ${
        deed.seconds === 0 ? "without expiry" : `of ${deed.seconds} s`
      }`
    case "ask":
      return `node ${deed.node} resolves ${deed.master}`
    default:
      return Fault.describe(deed)
  }
}

const inOrder = (happenings: ReadonlyArray<Happening>): ReadonlyArray<Happening> =>
  happenings.toSorted((a, b) => a.at - b.at)

/** Number of nodes at the start. */
const populationOf = ({ households = [], nodes }: Story): number =>
  households.reduce((sum, household) => sum + household.nodes, nodes)

/** The happenings in order, with the numbers of nodes that exist at that time. */
const named = (story: Story): ReadonlyArray<Happening> => {
  let count = populationOf(story)
  return inOrder(story.happenings).map(({ at, deed }) => {
    if (Fault.isFault(deed)) return { at, deed: Fault.reduced(deed, count) }
    const whole: { readonly [field: string]: unknown } = deed
    const numbers = ["node", "peer"].flatMap((field) => {
      const number = whole[field]
      return typeof number === "number" ? [[field, number % count]] : []
    })
    if (deed.do === "join") count++
    return { at, deed: { ...deed, ...Object.fromEntries(numbers) } }
  })
}

const routerNames: { readonly [router in Household["router"]]: string } = {
  fullCone: "a full cone NAT",
  restrictedCone: "a restricted cone NAT",
  portRestrictedCone: "a port-restricted cone NAT",
  symmetric: "a symmetric NAT"
}

const householdLines = ({ households = [], nodes }: Story): ReadonlyArray<string> => {
  let next = nodes
  return households.map((household) => {
    const names = Array.from({ length: household.nodes }, () => `node ${next++}`)
    return `  ${names.join(" and ")} ${names.length === 1 ? "is" : "are"} behind ${routerNames[household.router]}`
  })
}

/**
 * The text of a story, a line per event, with the command that runs it again.
 *
 * @internal
 */
export const format = (story: Story): string => {
  const percent = (share: number) => `${Math.round(share * 1000) / 10} %`
  const liars = story.liars ?? []
  return [
    `${seedsOf(story)}: ${story.nodes} nodes${liars.length === 0 ? "" : `, liars: ${liars.join(", ")}`}, ` +
    `${story.latency} ms apart, ${percent(story.loss)} lost, ${percent(story.duplication)} twice` +
    (story.realSignatures ? ", real signatures" : ""),
    ...householdLines(story),
    ...named(story).map(({ at, deed }) => `  at ${clockTime(at * 1000)} ${describe(deed)}`),
    `run it again: ${replayCommand(story)}`
  ].join("\n")
}

/** @internal */
export const replayCommand = (story: Story): string => `effect-dht replay ${Shell.word(JSON.stringify(story))}`

/** @internal */
export const hasMessages = (story: Story): boolean => story.happenings.some(({ deed }) => deed.do === "send")

/** @internal */
export const sorted = (story: Story): ReadonlyArray<Happening> => inOrder(story.happenings)

/**
 * The happenings in order, each as a sentence.
 *
 * @internal
 */
export const sentences = (story: Story): ReadonlyArray<string> => named(story).map(({ deed }) => describe(deed))

// --- Generation ----------------------------------------------------------------

const liars = Object.keys(behaviours) as Array<Behaviour>
const kindsOfRouters = Object.keys(routers) as Array<keyof typeof routers>

/** Events by kind: its weight, and how one is drawn. */
const kinds: ReadonlyArray<readonly [weight: number, draw: (random: Prng, node: () => number) => Deed]> = [
  [2, (_, node) => ({ do: "announce", node: node() })],
  [1, (_, node) => ({ do: "publish", node: node() })],
  [1, (_, node) => ({ do: "withdraw", node: node() })],
  [1, (random, node) => ({ do: "offer", node: node(), topic: pick(random, topics) })],
  [1, (random, node) => ({ do: "discover", node: node(), topic: pick(random, topics) })],
  [2, (_, node) => ({ do: "resolve", node: node(), peer: node() })],
  [1, (_, node) => ({ do: "send", node: node(), peer: node() })],
  [2, (random, node) => ({ do: "speak", node: node(), master: pick(random, masters), seconds: pick(random, terms) })],
  [1, (random, node) => ({ do: "ask", node: node(), master: pick(random, masters) })],
  [1, () => ({ do: "join" })],
  ...Fault.kinds.map((kind): readonly [number, (random: Prng) => Deed] => [
    1,
    (random) => Fault.draw(random, [kind], maxNumber)
  ])
]

const terms = [0, 60, 300, 7200]
const maxNumber = 16

const pick = <A>(random: Prng, from: ReadonlyArray<A>): A => from[random.below(from.length)]

/** With equal chances, in order: first come, first served; at random; by priorities that change at few points. */
const drawSchedule = (random: Prng): number | string | undefined =>
  [
    undefined,
    random.below(1_000_000),
    `pct:${1 + random.below(3)}:${random.below(1_000_000)}:${pick(random, [1000, 30_000, 1_000_000])}`
  ][random.below(3)]

/**
 * Draws a story. Each has only some of the kinds of events, so that stories differ
 * in more than the order of many (Groce et al., "Swarm Testing", ISSTA 2012).
 *
 * @internal
 */
export const draw = (seed: number): Story => {
  const random = new Prng(seed, "story")
  const chance = (percent: number) => random.below(100) < percent
  const node = () => random.below(maxNumber)
  const some = kinds.filter(() => chance(60)).flatMap(([weight, kind]) => Array.from({ length: weight }, () => kind))
  const count = some.length === 0 ? 0 : random.below(15)
  return {
    seed,
    scheduleSeed: drawSchedule(random),
    nodes: 3 + random.below(10),
    latency: pick(random, [20, 1, 100]),
    loss: chance(50) ? 0 : random.below(21) / 100,
    duplication: chance(50) ? 0 : random.below(11) / 200,
    households: Array.from({ length: chance(50) ? 0 : 1 + random.below(2) }, () => ({
      router: pick(random, kindsOfRouters),
      nodes: 1 + random.below(2)
    })),
    liars: chance(60) ? [] : [pick(random, liars)],
    happenings: inOrder(
      Array.from({ length: count }, () => ({ at: random.below(301), deed: pick(random, some)(random, node) }))
    )
  }
}

// --- Parsing -------------------------------------------------------------------

const natural = Schema.Int.check(Schema.isGreaterThanOrEqualTo(0))
const share = Schema.Finite.check(Schema.isBetween({ minimum: 0, maximum: 1 }))

const DeedSchema: Schema.Codec<Deed> = Schema.Union([
  Schema.Struct({ do: Schema.Literals(["crash", "leave", "restart", "forget"]), node: natural }),
  Schema.Struct({ do: Schema.Literals(["join", "heal"]) }),
  Schema.Struct({ do: Schema.Literal("partition"), nodes: natural }),
  Schema.Struct({ do: Schema.Literal("cut"), from: natural, to: natural }),
  Schema.Struct({ do: Schema.Literal("clock"), node: natural, seconds: Schema.Int }),
  Schema.Struct({ do: Schema.Literals(["announce", "publish", "withdraw"]), node: natural }),
  Schema.Struct({ do: Schema.Literals(["offer", "discover"]), node: natural, topic: Schema.Literals(topics) }),
  Schema.Struct({ do: Schema.Literals(["resolve", "send"]), node: natural, peer: natural }),
  Schema.Struct({
    do: Schema.Literal("speak"),
    node: natural,
    master: Schema.Literals(masters),
    seconds: natural
  }),
  Schema.Struct({ do: Schema.Literal("ask"), node: natural, master: Schema.Literals(masters) })
])

/**
 * The form of a story as JSON.
 *
 * @internal
 */
export const schema: Schema.Codec<Story> = Schema.Struct({
  seed: natural,
  scheduleSeed: Schema.optional(Schema.Union([natural, Schema.String])),
  nodes: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 1000 })),
  latency: Schema.Finite.check(Schema.isGreaterThan(0)),
  loss: share,
  duplication: share,
  households: Schema.optional(Schema.Array(Schema.Struct({
    router: Schema.Literals(kindsOfRouters),
    nodes: natural
  }))),
  liars: Schema.optional(Schema.Array(Schema.Literals(liars))),
  realSignatures: Schema.optional(Schema.Boolean),
  happenings: Schema.Array(Schema.Struct({ at: natural, deed: DeedSchema }))
})

/**
 * Parses the JSON of a story, whose fields keep their order; fails with what is
 * wrong with it.
 *
 * @internal
 */
export const parse = (text: string): Result.Result<Story, string> =>
  Result.mapBoth(Schema.decodeResult(Schema.fromJsonString(schema))(text), {
    onSuccess: (): Story => JSON.parse(text),
    onFailure: ({ message }) => message
  })

// --- Shrinking -----------------------------------------------------------------

/**
 * Simpler stories, the simplest first: with fewer events and nodes, without faults
 * of the network, and in a simpler schedule.
 *
 * @internal
 */
export function* simpler(story: Story): Iterable<Story> {
  const { duplication, happenings, households = [], liars = [], loss, nodes, scheduleSeed } = story
  for (const fewerHappenings of fewer(happenings)) yield { ...story, happenings: fewerHappenings }
  for (const fewerHouseholds of fewer(households)) yield { ...story, households: fewerHouseholds }
  for (const fewerLiars of fewer(liars)) yield { ...story, liars: fewerLiars }
  for (const schedule of simplerSchedules(scheduleSeed)) yield { ...story, scheduleSeed: schedule }
  if (loss > 0) yield { ...story, loss: 0 }
  if (duplication > 0) yield { ...story, duplication: 0 }
  for (const fewerNodes of lower(nodes, 3)) yield { ...story, nodes: fewerNodes }
  for (const [i, household] of households.entries()) {
    if (household.nodes > 1) yield { ...story, households: households.with(i, { ...household, nodes: 1 }) }
  }
  if (story.latency !== 20) yield { ...story, latency: 20 }
  for (const [i, { at, deed }] of happenings.entries()) {
    const replaced = (happening: Happening): Story => ({ ...story, happenings: happenings.with(i, happening) })
    for (const earlier of lower(at, happenings[i - 1]?.at ?? 0)) yield replaced({ at: earlier, deed })
    for (const simplerDeed of simplerDeeds(deed)) yield replaced({ at, deed: simplerDeed })
  }
  if (story.seed > 0) yield { ...story, seed: 0 }
}

function* simplerSchedules(schedule: Story["scheduleSeed"]): Iterable<Story["scheduleSeed"]> {
  if (schedule === undefined) return
  yield undefined
  const [, depth, rest] = /^pct:(\d+):(.*)$/.exec(`${schedule}`) ?? []
  for (const lowerDepth of lower(Number(depth ?? 0), 1)) yield `pct:${lowerDepth}:${rest}`
}

/** With lower numbers of nodes. */
function* simplerDeeds(deed: Deed): Iterable<Deed> {
  const whole: { readonly [field: string]: unknown } = deed
  for (const field of ["node", "peer", "from", "to"]) {
    const number = whole[field]
    if (typeof number === "number") { for (const simpler of lower(number)) yield { ...deed, [field]: simpler } as Deed }
  }
}
