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
import { seedsOf } from "./seeds.ts"
import { type Candidates, changing, fewer, lower, one } from "./shrink.ts"

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

/** @internal */
export type Topic = typeof topics[number]

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

/** @internal */
export type Router = keyof typeof routers

/**
 * A router and the number of nodes behind it.
 *
 * @internal
 */
export interface Household {
  readonly router: Router
  readonly nodes: number
}

/** @internal */
export type Deed =
  | Fault.Fault
  | { readonly do: "join" }
  | { readonly do: "announce" | "publish" | "withdraw"; readonly node: NodeNumber }
  | { readonly do: "offer" | "discover"; readonly node: NodeNumber; readonly topic: Topic }
  | { readonly do: "resolve" | "send"; readonly node: NodeNumber; readonly peer: NodeNumber }
  /** With a delegation that lasts for `seconds`; 0 means without expiry. */
  | { readonly do: "speak"; readonly node: NodeNumber; readonly master: Master; readonly seconds: number }
  | { readonly do: "ask"; readonly node: NodeNumber; readonly master: Master }
  | { readonly do: "watch" | "unwatch"; readonly node: NodeNumber; readonly topic: Topic }
  /** With a number that others of its records may have, signed so many seconds ago. */
  | { readonly do: "sign"; readonly node: NodeNumber; readonly seq: number; readonly ago: number }
  /** So many types of custom records. */
  | { readonly do: "fill"; readonly node: NodeNumber; readonly records: number }
  | { readonly do: "host"; readonly node: NodeNumber; readonly identities: number }
  /** Every other identity that it hosts cannot sign. */
  | { readonly do: "seal"; readonly node: NodeNumber; readonly seconds: number }
  /** Gives up after `millis`; 0 means never. */
  | { readonly do: "connect"; readonly node: NodeNumber; readonly peer: NodeNumber; readonly millis: number }
  /** Behind a router of its own, or, without one, to a public address. */
  | { readonly do: "move"; readonly node: NodeNumber; readonly router?: Router | undefined }
  | { readonly do: "reboot"; readonly node: NodeNumber; readonly state: "kept" | "lost" }
  | { readonly do: "tamper" }
  | { readonly do: "forge" | "replay" | "pretend" | "mob"; readonly node: NodeNumber }
  | { readonly do: "stuff"; readonly topic: Topic; readonly records: number }
  | { readonly do: "surround"; readonly topic: Topic; readonly liars: number }

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
  /** Further nodes that sign every message. */
  readonly signing?: number | undefined
  /** Further nodes with an IPv6 address, alone or besides one of IPv4. The others have IPv4 addresses only. */
  readonly families?: { readonly ipv6: number; readonly dual: number } | undefined
  /** The routers in front of additional nodes of the reference, which do not find out whether strangers reach them. */
  readonly old?: ReadonlyArray<Router> | undefined
  /** The byte limit of the stores, if it is a small one. */
  readonly maxBytes?: number | undefined
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
    case "watch":
      return `node ${deed.node} watches ${deed.topic}`
    case "unwatch":
      return `node ${deed.node} stops watching ${deed.topic}`
    case "sign":
      return `node ${deed.node} publishes its endpoint with the number ${deed.seq}, signed ${deed.ago} s ago`
    case "fill":
      return `node ${deed.node} publishes ${deed.records} custom records`
    case "host":
      return `node ${deed.node} hosts ${deed.identities} more identities`
    case "seal":
      return `every other identity at node ${deed.node} cannot sign for ${deed.seconds} s`
    case "connect":
      return `node ${deed.node} connects to node ${deed.peer}${
        deed.millis === 0 ? "" : ` and gives up after ${deed.millis} ms`
      }`
    case "move":
      return `node ${deed.node} moves ${
        deed.router === undefined ? "to another public address" : `behind ${routerNames[deed.router]}`
      }`
    case "reboot":
      return `node ${deed.node} crashes${
        deed.state === "lost" ? ", loses its state" : ""
      } and starts again while all others ask it`
    case "tamper":
      return "all nodes ask each other, and an attacker on the path repeats, alters and reflects what they send"
    case "forge":
      return `a stranger stores forged endpoints of node ${deed.node} at all nodes`
    case "replay":
      return `a stranger stores the first endpoint of node ${deed.node} at all nodes`
    case "pretend":
      return `a forger asks all nodes to meet node ${deed.node} in the name of a host`
    case "mob":
      return `all nodes ask each other to meet node ${deed.node}, again and again`
    case "stuff":
      return `a stranger stores ${deed.records} offers of ${deed.topic} at all nodes`
    case "surround":
      return `${deed.liars} liars with ids close to ${deed.topic} join`
    default:
      return Fault.describe(deed)
  }
}

/** @internal */
export const inOrder = (happenings: ReadonlyArray<Happening>): ReadonlyArray<Happening> =>
  happenings.toSorted((a, b) => a.at - b.at)

/**
 * Number of nodes at the start.
 *
 * @internal
 */
export const populationOf = ({ families = { ipv6: 0, dual: 0 }, households = [], nodes, signing = 0 }: Story): number =>
  households.reduce((sum, household) => sum + household.nodes, nodes) + signing + families.dual + families.ipv6

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

/**
 * The kinds of routers in words.
 *
 * @internal
 */
export const routerNames: { readonly [router in Router]: string } = {
  fullCone: "a full cone NAT",
  restrictedCone: "a restricted cone NAT",
  portRestrictedCone: "a port-restricted cone NAT",
  symmetric: "a symmetric NAT"
}

/** A line for each group of nodes that differ from the others. */
const groupLines = ({ families, households = [], nodes, old = [], signing = 0 }: Story): ReadonlyArray<string> => {
  let next = nodes
  const group = (count: number, one: string, several: string): ReadonlyArray<string> => {
    if (count === 0) return []
    const names = Array.from({ length: count }, () => `node ${next++}`)
    return [`  ${names.join(" and ")} ${count === 1 ? one : several}`]
  }
  return [
    ...households.flatMap(({ nodes, router }) => {
      const where = `behind ${routerNames[router]}`
      return group(nodes, `is ${where}`, `are ${where}`)
    }),
    ...group(signing, "signs every message", "sign every message"),
    ...group(families?.dual ?? 0, "has addresses of both families", "have addresses of both families"),
    ...group(families?.ipv6 ?? 0, "has an IPv6 address only", "have IPv6 addresses only"),
    ...old.map((router) => `  a node of the reference is behind ${routerNames[router]}`)
  ]
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
    (story.realSignatures ? ", real signatures" : "") +
    (story.maxBytes === undefined ? "" : `, stores of ${story.maxBytes} bytes`),
    ...groupLines(story),
    ...named(story).map(({ at, deed }) => `  at ${clockTime(at * 1000)} ${describe(deed)}`),
    `run it again: ${replayCommand(story)}`
  ].join("\n")
}

/** @internal */
export const replayCommand = (story: Story): string => `effect-dht replay ${Shell.word(JSON.stringify(story))}`

/**
 * The happenings in order, each as a sentence.
 *
 * @internal
 */
export const sentences = (story: Story): ReadonlyArray<string> => named(story).map(({ deed }) => describe(deed))

// --- Parsing -------------------------------------------------------------------

/**
 * @internal
 */
export const kindsOfLiars = Object.keys(behaviours) as Array<Behaviour>

/**
 * @internal
 */
export const kindsOfRouters = Object.keys(routers) as Array<Router>

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
  Schema.Struct({ do: Schema.Literal("ask"), node: natural, master: Schema.Literals(masters) }),
  Schema.Struct({ do: Schema.Literals(["watch", "unwatch"]), node: natural, topic: Schema.Literals(topics) }),
  Schema.Struct({ do: Schema.Literal("sign"), node: natural, seq: natural, ago: natural }),
  Schema.Struct({ do: Schema.Literal("fill"), node: natural, records: natural }),
  Schema.Struct({ do: Schema.Literal("host"), node: natural, identities: natural }),
  Schema.Struct({ do: Schema.Literal("seal"), node: natural, seconds: natural }),
  Schema.Struct({ do: Schema.Literal("connect"), node: natural, peer: natural, millis: natural }),
  Schema.Struct({
    do: Schema.Literal("move"),
    node: natural,
    router: Schema.optional(Schema.Literals(kindsOfRouters))
  }),
  Schema.Struct({ do: Schema.Literal("reboot"), node: natural, state: Schema.Literals(["kept", "lost"]) }),
  Schema.Struct({ do: Schema.Literal("tamper") }),
  Schema.Struct({ do: Schema.Literals(["forge", "replay", "pretend", "mob"]), node: natural }),
  Schema.Struct({ do: Schema.Literal("stuff"), topic: Schema.Literals(topics), records: natural }),
  Schema.Struct({ do: Schema.Literal("surround"), topic: Schema.Literals(topics), liars: natural })
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
  signing: Schema.optional(natural),
  families: Schema.optional(Schema.Struct({ ipv6: natural, dual: natural })),
  old: Schema.optional(Schema.Array(Schema.Literals(kindsOfRouters))),
  maxBytes: Schema.optional(natural),
  liars: Schema.optional(Schema.Array(Schema.Literals(kindsOfLiars))),
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

/** The part of a time or of a number of nodes that shrinking leaves is at most this share. */
const precision = 1 / 8

/** Integers down to about the lowest that fails. */
const roughlyLower = (number: number, floor: number): Candidates<number> =>
  lower(number, floor, Math.ceil((number - floor) * precision))

/**
 * Simpler stories. First come those that change the whole run, because what was
 * tried before is then tried again: with another seed, in a simpler schedule and
 * without faults of the network. Then come those with fewer nodes, on which the
 * cost of a run depends most, and with fewer events.
 *
 * @internal
 */
export function* simpler(story: Story): Candidates<Story> {
  let best = story
  const tryAll = function*<B>(parts: Candidates<B>, change: (part: B) => Partial<Story>): Candidates<Story> {
    best = yield* changing(best, parts, (story, part) => ({ ...story, ...change(part) }))
  }
  if (story.seed > 0) yield* tryAll(one(0), (seed) => ({ seed }))
  yield* tryAll(simplerSchedules(story.scheduleSeed), (scheduleSeed) => ({ scheduleSeed }))
  if (story.loss > 0) yield* tryAll(one(0), (loss) => ({ loss }))
  if (story.duplication > 0) yield* tryAll(one(0), (duplication) => ({ duplication }))
  if (story.latency !== 20) yield* tryAll(one(20), (latency) => ({ latency }))
  yield* tryAll(roughlyLower(story.nodes, 3), (nodes) => ({ nodes }))
  yield* tryAll(fewer(story.happenings), (happenings) => ({ happenings }))
  yield* tryAll(fewer(story.households ?? []), (households) => ({ households }))
  yield* tryAll(fewer(story.liars ?? []), (liars) => ({ liars }))
  yield* tryAll(fewer(story.old ?? []), (old) => ({ old }))
  for (const setting of ["signing", "families", "maxBytes"] as const) {
    if (story[setting] !== undefined) yield* tryAll(one(undefined), (none) => ({ [setting]: none }))
  }
  for (const [i, household] of (best.households ?? []).entries()) {
    yield* tryAll(
      lower(household.nodes, 1),
      (nodes) => ({ households: (best.households ?? []).with(i, { ...household, nodes }) })
    )
  }
  if (best.happenings.some(({ at }) => at > 0)) {
    yield* tryAll(one(0), (at) => ({ happenings: best.happenings.map(({ deed }) => ({ at, deed })) }))
  }
  for (const i of best.happenings.keys()) {
    const replaced = (change: Partial<Happening>) => ({
      happenings: best.happenings.with(i, { ...best.happenings[i], ...change })
    })
    const { at } = best.happenings[i]
    const floor = best.happenings[i - 1]?.at ?? 0
    yield* tryAll(roughlyLower(at, floor), (at) => replaced({ at }))
    for (const field of ["node", "peer", "from", "to"]) {
      const deed: { readonly [field: string]: unknown } = best.happenings[i].deed
      const number = deed[field]
      if (typeof number !== "number") continue
      yield* tryAll(
        lower(number),
        (number) => replaced({ deed: { ...best.happenings[i].deed, [field]: number } as Deed })
      )
    }
  }
}

function* simplerSchedules(schedule: Story["scheduleSeed"]): Candidates<Story["scheduleSeed"]> {
  if (schedule === undefined || (yield undefined)) return
  const [, depth, rest] = /^pct:(\d+):(.*)$/.exec(`${schedule}`) ?? []
  yield* changing(`${schedule}`, lower(Number(depth ?? 0), 1), (_, depth) => `pct:${depth}:${rest}`)
}
