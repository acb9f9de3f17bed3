/**
 * Random stories.
 *
 * @since 0.1.0
 */
import * as Fault from "../Fault.ts"
import { Prng } from "./prng.ts"
import {
  type Deed,
  type Happening,
  inOrder,
  kindsOfLiars,
  kindsOfRouters,
  masters,
  type Story,
  topics
} from "./story.ts"

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

/** Most steps of a story. */
const mostSteps = 14

/** Open nodes of a story about reachability: with fewer, a node contacts all but one or two while it joins. */
const fewestForReachability = 24

const pick = <A>(random: Prng, from: ReadonlyArray<A>): A => from[random.below(from.length)]

/** With equal chances, in order: first come, first served; at random; by priorities that change at few points. */
const drawSchedule = (random: Prng): number | string | undefined =>
  [
    undefined,
    random.below(1_000_000),
    `pct:${1 + random.below(3)}:${random.below(1_000_000)}:${pick(random, [1000, 30_000, 1_000_000])}`
  ][random.below(3)]

/** A story of nodes that announce and look up, crash and lose datagrams. */
const drawUsual = (seed: number): Story => {
  const random = new Prng(seed, "story")
  const chance = (percent: number) => random.below(100) < percent
  const node = () => random.below(maxNumber)
  const some = kinds.filter(() => chance(60)).flatMap(([weight, kind]) => Array.from({ length: weight }, () => kind))
  const count = some.length === 0 ? 0 : random.below(mostSteps + 1)
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
    liars: chance(60) ? [] : [pick(random, kindsOfLiars)],
    happenings: inOrder(
      Array.from({ length: count }, () => ({ at: random.below(301), deed: pick(random, some)(random, node) }))
    )
  }
}

// --- Features --------------------------------------------------------------------

/** Draws at random what a feature needs. */
interface Draw {
  readonly below: (limit: number) => number
  readonly chance: (percent: number) => boolean
  readonly pick: <A>(from: ReadonlyArray<A>) => A
  /** The number of a node. */
  readonly node: () => number
}

/** Adds a feature to a story: settings of its world, and steps in seconds. */
type Feature = (story: Story, draw: Draw) => Story

/** The steps take the place of others, so that a story stays short. */
const withSteps = (story: Story, steps: ReadonlyArray<readonly [at: number, deed: Deed]>): Story => ({
  ...story,
  happenings: inOrder([
    ...story.happenings.slice(0, mostSteps - steps.length),
    ...steps.map(([at, deed]): Happening => ({ at, deed }))
  ])
})

/** As many steps as drawn, each anew. */
const several = <A>(count: number, one: () => A): ReadonlyArray<A> => Array.from({ length: count }, one)

const watching: Feature = (story, { below, chance, node, pick }) => {
  const topic = pick(topics)
  return withSteps(story, [
    ...several(1 + below(2), () => [below(200), { do: "watch", node: node(), topic }] as const),
    ...several(1 + below(3), () => [below(301), { do: "offer", node: node(), topic }] as const),
    ...several(below(3), () => [below(301), { do: "discover", node: node(), topic }] as const),
    ...several(chance(30) ? 1 : 0, () => [200 + below(101), { do: "unwatch", node: node(), topic }] as const)
  ])
}

/** One publisher uses numbers twice. */
const versions: Feature = (story, { below, node, pick }) => {
  const publisher = node()
  return withSteps(
    story,
    several(
      2 + below(3),
      () => [below(301), { do: "sign", node: publisher, seq: 1 + below(2), ago: pick([0, 1, 30]) }] as const
    )
  )
}

/** A stranger stores forged and outdated endpoints of a node. */
const forging: Feature = (story, { below, chance, node }) => {
  const victim = node()
  return withSteps(story, [
    [below(60), { do: "announce", node: victim }],
    [60 + below(60), { do: "publish", node: victim }],
    ...several(chance(60) ? 1 : 0, () => [below(301), { do: "forge", node: victim }] as const),
    ...several(chance(60) ? 1 : 0, () => [120 + below(181), { do: "replay", node: victim }] as const)
  ])
}

/** Keys or stores become full. */
const stuffing: Feature = (story, { below, chance, node, pick }) => {
  const topic = pick(topics)
  const isSmall = chance(50)
  return withSteps({ ...story, ...(isSmall ? { maxBytes: 64 * 1024 } : {}) }, [
    ...several(1 + below(2), () => [below(301), { do: "offer", node: node(), topic }] as const),
    [below(301), { do: "stuff", topic, records: isSmall ? 40 + below(20) : 110 + below(20) }],
    ...several(chance(30) ? 1 : 0, () => [below(301), { do: "fill", node: node(), records: 8 + below(6) }] as const)
  ])
}

/** An attacker misuses sessions, and nodes lose them; losses of the network would hide the rest. */
const sessions: Feature = (story, { below, chance, node, pick }) =>
  withSteps({ ...story, signing: below(2), loss: chance(80) ? 0 : story.loss }, [
    ...several(chance(70) ? 1 : 0, () => [below(301), { do: "tamper" }] as const),
    ...several(
      below(3),
      () => [below(301), { do: "reboot", node: node(), state: pick(["kept", "lost"] as const) }] as const
    )
  ])

/** A node hosts identities while it cannot sign for some, or reaches no other. */
const hosting: Feature = (story, { below, chance }) => {
  // The number of those that a partition separates.
  const node = 0
  return withSteps(story, [
    [below(60), { do: "host", node, identities: 3 + below(6) }],
    ...(chance(50) ? [[60 + below(60), { do: "seal", node, seconds: 60 * (1 + below(5)) }] as const] : []),
    ...(chance(50) ? [[60 + below(60), { do: "partition", nodes: 1 }] as const] : [])
  ])
}

/** Enough open nodes that each meets strangers. */
const withMoreNodes = (story: Story, { below }: Draw): Story => ({ ...story, nodes: fewestForReachability + below(4) })

/** Nodes behind routers meet, and others misuse those through which they do. */
const meeting: Feature = (story, draw) => {
  const { below, chance, pick } = draw
  const large = withMoreNodes(story, draw)
  const whole = {
    ...large,
    households: several(2 + below(2), () => ({ router: pick(kindsOfRouters), nodes: 1 }))
  }
  const behind = () => large.nodes + below(whole.households.length)
  return withSteps(whole, [
    ...several(
      1 + below(2),
      () =>
        [200 + below(101), {
          do: "connect",
          node: behind(),
          peer: behind(),
          millis: chance(50) ? 0 : 20 * below(20)
        }] as const
    ),
    ...several(chance(30) ? 1 : 0, () => [200 + below(101), { do: "pretend", node: behind() }] as const),
    ...several(chance(30) ? 1 : 0, () => [200 + below(101), { do: "mob", node: behind() }] as const)
  ])
}

/** Nodes move to other networks, some of them beside peers that do not find out that they are closed. */
const moving: Feature = (story, draw) => {
  const { below, chance, node, pick } = draw
  const whole = {
    ...withMoreNodes(story, draw),
    ...(chance(50) ? { old: several(1 + below(2), () => pick(kindsOfRouters)) } : {})
  }
  return withSteps(
    whole,
    several(
      1 + below(2),
      () => [below(301), { do: "move", node: node(), ...(chance(80) ? { router: pick(kindsOfRouters) } : {}) }] as const
    )
  )
}

/** Buckets are full, and a key has more neighbours than hold its records. */
const crowd: Feature = (story, { below, chance }) => {
  const whole = { ...story, nodes: 36 + below(8), households: [], liars: [] }
  return chance(40) ? withSteps(whole, [[below(60), { do: "host", node: 0, identities: 2 + below(3) }]]) : whole
}

/** Most nodes have IPv4 addresses, some IPv6 addresses, and few have both. */
const families: Feature = (story, { below, node }) =>
  withSteps({
    ...story,
    nodes: 8 + below(5),
    households: [],
    families: { ipv6: 2 + below(3), dual: 1 + below(2) }
  }, several(1 + below(3), () => [below(301), { do: "announce", node: node() }] as const))

/** Liars surround a key. */
const surrounding: Feature = (story, { below, node, pick }) => {
  const topic = pick(topics)
  return withSteps({ ...story, liars: [] }, [
    [below(120), { do: "surround", topic, liars: 8 }],
    ...several(1 + below(2), () => [120 + below(181), { do: "offer", node: node(), topic }] as const)
  ])
}

/** With how often each is drawn. */
const features: ReadonlyArray<readonly [weight: number, feature: Feature]> = [
  [3, watching],
  [2, versions],
  [3, forging],
  [2, stuffing],
  [4, sessions],
  [4, hosting],
  [3, meeting],
  [3, moving],
  [2, families],
  [1, crowd],
  [1, surrounding]
]

const weighted = features.flatMap(([weight, feature]) => Array.from({ length: weight }, () => feature))

/** Percentage of stories that have one of the features. */
const featured = 50

/**
 * Draws a story. Each has only some of the kinds of events, and at most one of the
 * features, so that stories differ in more than the order of many (Groce et al.,
 * "Swarm Testing", ISSTA 2012).
 *
 * @internal
 */
export const draw = (seed: number): Story => {
  const usual = drawUsual(seed)
  // With numbers of its own, so that stories without a feature are what they would be if there were none.
  const random = new Prng(seed, "feature")
  const chance = (percent: number) => random.below(100) < percent
  if (!chance(featured)) return usual
  return pick(random, weighted)(usual, {
    below: (limit) => random.below(limit),
    chance,
    pick: (from) => pick(random, from),
    node: () => random.below(maxNumber)
  })
}
