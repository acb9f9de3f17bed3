/**
 * A small world and the events in it as data, which can be generated, shrunk,
 * printed and run again.
 */
import * as fc from "fast-check"
import { type Behaviour, behaviours } from "../../src/testing/Byzantine.ts"
import { seedsOf } from "../../src/testing/internal/seeds.ts"
import * as Nat from "../../src/testing/Nat.ts"
import { clockTime } from "../../src/testing/Properties.ts"

/** The number of a node, taken modulo the number of nodes at that time. */
export type NodeNumber = number

/** The masters for which nodes act: Ann has an Ed25519 key, Eve an Ethereum wallet. */
export const masters = ["Ann", "Eve"] as const

export type Master = typeof masters[number]

/** The kinds of NAT in front of hosts. */
export const routers = {
  fullCone: Nat.fullCone,
  restrictedCone: Nat.restrictedCone,
  portRestrictedCone: Nat.portRestrictedCone,
  symmetric: Nat.symmetric
} as const

/** A router and the number of nodes behind it. */
export interface Household {
  readonly router: keyof typeof routers
  readonly nodes: number
}

export type Deed =
  | { readonly do: "crash" | "leave" | "restart" | "forget"; readonly node: NodeNumber }
  | { readonly do: "join" }
  | { readonly do: "partition"; readonly nodes: number }
  | { readonly do: "heal" }
  | { readonly do: "cut"; readonly from: NodeNumber; readonly to: NodeNumber }
  | { readonly do: "clock"; readonly node: NodeNumber; readonly seconds: number }
  | { readonly do: "announce" | "publish" | "withdraw"; readonly node: NodeNumber }
  | { readonly do: "offer" | "discover"; readonly node: NodeNumber; readonly topic: "bread" | "water" }
  | { readonly do: "resolve" | "send"; readonly node: NodeNumber; readonly peer: NodeNumber }
  /** With a delegation that lasts for `seconds`; 0 means without expiry. */
  | { readonly do: "speak"; readonly node: NodeNumber; readonly master: Master; readonly seconds: number }
  | { readonly do: "ask"; readonly node: NodeNumber; readonly master: Master }

export interface Happening {
  /** Seconds since the nodes were started. */
  readonly at: number
  readonly deed: Deed
}

export interface Story {
  readonly seed: number
  readonly scheduleSeed?: number | undefined
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
  /** Stories with messages always use real signatures: the stand-in has no keys to encrypt to. */
  readonly realSignatures?: boolean | undefined
  readonly happenings: ReadonlyArray<Happening>
}

/** Minutes for the network to recover after the last fault: announcements are renewed every ten. */
export const calmMinutes = 15

/** Lifetime of announced records, in seconds. */
export const announcedTtl = 1200

/** Lifetime of records for a master, in seconds. They are published once and must last until the end. */
export const spokenTtl = 3600

// --- Formatting ----------------------------------------------------------------

const describe = (deed: Deed): string => {
  switch (deed.do) {
    case "crash":
      return `node ${deed.node} crashes`
    case "leave":
      return `node ${deed.node} leaves`
    case "restart":
      return `node ${deed.node} starts again`
    case "forget":
      return `node ${deed.node} crashes and loses its state`
    case "join":
      return "a new node joins"
    case "partition":
      return `the first ${deed.nodes} nodes are separated from the others`
    case "heal":
      return "the network heals"
    case "cut":
      return `datagrams from node ${deed.from} to node ${deed.to} are blocked`
    case "clock":
      return `the clock of node ${deed.node} jumps to ${Math.abs(deed.seconds)} s ${
        deed.seconds < 0 ? "behind" : "ahead"
      }`
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
  }
}

const inOrder = (happenings: ReadonlyArray<Happening>): ReadonlyArray<Happening> =>
  happenings.toSorted((a, b) => a.at - b.at)

/** Number of nodes at the start. */
const populationOf = ({ households = [], nodes }: Story): number =>
  households.reduce((sum, household) => sum + household.nodes, nodes)

/** The happenings in order, with node numbers reduced modulo the number of nodes at that time. */
const named = (story: Story): ReadonlyArray<Happening> => {
  let count = populationOf(story)
  return inOrder(story.happenings).map(({ at, deed }) => {
    const whole: { readonly [field: string]: unknown } = deed
    const numbers = ["node", "peer", "from", "to"].flatMap((field) => {
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

/** The text of a story, a line per event, with the command that runs it again. */
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

export const replayCommand = (story: Story): string => `npm run soak -- --story '${JSON.stringify(story)}'`

export const hasMessages = (story: Story): boolean => story.happenings.some(({ deed }) => deed.do === "send")

export const sorted = (story: Story): ReadonlyArray<Happening> => inOrder(story.happenings)

// --- Generation ----------------------------------------------------------------

const liars = Object.keys(behaviours) as Array<Behaviour>

const number = fc.nat({ max: 15 })
const topic = fc.constantFrom("bread" as const, "water" as const)
const master = fc.constantFrom(...masters)

const deed: fc.Arbitrary<Deed> = fc.oneof(
  { weight: 3, arbitrary: fc.record({ do: fc.constantFrom("announce" as const, "publish" as const), node: number }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("withdraw" as const), node: number }) },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constantFrom("offer" as const, "discover" as const), node: number, topic })
  },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constantFrom("resolve" as const, "send" as const), node: number, peer: number })
  },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constantFrom("restart" as const, "crash" as const, "leave" as const, "forget" as const),
      node: number
    })
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant("speak" as const),
      node: number,
      master,
      seconds: fc.constantFrom(0, 60, 300, 7200)
    })
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("ask" as const), node: number, master }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("join" as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("partition" as const), nodes: fc.integer({ min: 1, max: 5 }) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("heal" as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("cut" as const), from: number, to: number }) },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant("clock" as const),
      node: number,
      seconds: fc.constantFrom(0, 30, -30, 600, -600, 7200, -7200)
    })
  }
)

const share = (most: number) => fc.nat({ max: 10 }).map((tenth) => (tenth * most) / 10)

/** A story without its seeds. It shrinks to few nodes, no loss and few events. */
export const story: fc.Arbitrary<Story> = fc.record({
  seed: fc.nat({ max: 1_000_000 }),
  scheduleSeed: fc.option(fc.nat({ max: 1_000_000 }), { nil: undefined }),
  nodes: fc.integer({ min: 3, max: 12 }),
  latency: fc.constantFrom(20, 1, 100),
  loss: share(0.2),
  duplication: share(0.05),
  households: fc.array(
    fc.record({
      router: fc.constantFrom(...Object.keys(routers) as Array<keyof typeof routers>),
      nodes: fc.integer({ min: 1, max: 2 })
    }),
    { maxLength: 2 }
  ),
  liars: fc.array(fc.constantFrom(...liars), { maxLength: 1 }),
  happenings: fc.array(fc.record({ at: fc.nat({ max: 300 }), deed }), { maxLength: 14 })
})
