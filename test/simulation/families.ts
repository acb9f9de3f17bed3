/** Nodes of one address family each, and a few of both. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { Address } from "../../src/Address.ts"
import { Dht } from "../../src/Dht.ts"
import { Prng } from "../../src/testing/internal/prng.ts"
import * as Liveness from "../../src/testing/PropertiesLiveness.ts"
import type * as SimWorld from "../../src/testing/SimWorld.ts"
import { announce, type DhtNode, leaveAll, newest, standIn } from "./nodes.ts"
import { type Outcome, runProgram } from "./run.ts"

/** How many nodes of each kind. */
export interface Numbers {
  readonly ipv4: number
  readonly ipv6: number
  readonly dual: number
}

export interface Nodes {
  readonly ipv4: ReadonlyArray<DhtNode>
  readonly ipv6: ReadonlyArray<DhtNode>
  readonly dual: ReadonlyArray<DhtNode>
}

const families = { ipv4: ["ipv4"], ipv6: ["ipv6"], dual: ["ipv4", "ipv6"] } as const

/** Nodes through which each joins. */
const introducers = 3

/** The addresses of a node that one with these families can reach. */
const socketsFor = ({ host: { ip, otherIp }, socket: { port } }: DhtNode, reaches: ReadonlyArray<string>) =>
  [ip, otherIp].flatMap((host) =>
    host !== undefined && reaches.includes(host.includes(":") ? "ipv6" : "ipv4") ? [{ socket: { host, port } }] : []
  )

/** Starts nodes of each kind in random order. Each joins through nodes before it that it can reach. */
export const start = Effect.fnUntraced(function*(world: SimWorld.World, numbers: Numbers, app = {}) {
  const random = new Prng(world.seed, "families")
  const kinds = (Object.keys(families) as Array<keyof Numbers>).flatMap((kind) =>
    Array.from({ length: numbers[kind] }, () => kind)
  )
  for (let i = kinds.length - 1; i > 0; i--) {
    const j = Math.floor(random.double() * (i + 1))
    ;[kinds[i], kinds[j]] = [kinds[j], kinds[i]]
  }
  // The first one must be reached by all others.
  const at = kinds.indexOf("dual")
  if (at > 0) [kinds[0], kinds[at]] = [kinds[at], kinds[0]]
  const started: Array<DhtNode> = []
  const nodes = { ipv4: [] as Array<DhtNode>, ipv6: [] as Array<DhtNode>, dual: [] as Array<DhtNode> }
  for (const [i, kind] of kinds.entries()) {
    const reachable = started.flatMap((node) => socketsFor(node, families[kind]))
    const through = Array.from(
      { length: Math.min(introducers, reachable.length) },
      () => reachable[Math.floor(random.double() * reachable.length)]
    )
    const node: DhtNode = world.node(`${kind} ${i}`, { ...app, host: { families: families[kind] }, through })
    yield* Effect.orDie(node.start)
    started.push(node)
    nodes[kind].push(node)
  }
  return nodes
})

/** Every node publishes its endpoint. */
export const announceAll = (nodes: Nodes) =>
  Effect.forEach(
    [...nodes.ipv4, ...nodes.ipv6, ...nodes.dual],
    (node, i) => announce(node, i + 1, 3600),
    { concurrency: 8 }
  )

export interface Found {
  /** Readers that did not find the record. */
  readonly missed: ReadonlyArray<string>
  /** Milliseconds that it took the others, in ascending order. */
  readonly millis: ReadonlyArray<number>
}

/** Random readers resolve random publishers, one after another. */
export const resolve = Effect.fnUntraced(function*(
  readers: ReadonlyArray<DhtNode>,
  publishers: ReadonlyArray<DhtNode>,
  times: number,
  seed: number | string
) {
  const random = new Prng(seed, "resolves")
  const pick = (nodes: ReadonlyArray<DhtNode>) => nodes[Math.floor(random.double() * nodes.length)]
  const missed: Array<string> = []
  const millis: Array<number> = []
  for (let i = 0; i < times; i++) {
    const reader = pick(readers)
    const publisher = pick(publishers)
    if (reader === publisher) continue
    const address: Address = publisher.identity.address
    const started = yield* Clock.currentTimeMillis
    const found = yield* Effect.option(reader.run(Dht.use((dht) => dht.resolve(address))))
    if (Option.isNone(found)) missed.push(`${reader.name} did not find ${publisher.name}`)
    else millis.push((yield* Clock.currentTimeMillis) - started)
  }
  return { missed, millis: millis.sort((a, b) => a - b) } satisfies Found
})

/** Every node finds what nodes of either family announce, also after all has been renewed. */
export const twoFamilies = (): Outcome =>
  runProgram(
    Effect.fnUntraced(function*(world, safety) {
      const { dual, ipv4, ipv6 } = yield* start(world, { ipv4: 20, ipv6: 20, dual: 3 }, { app: safety.probe })
      const all = [...ipv4, ...ipv6, ...dual]
      const publishers = [...ipv4.slice(0, 4), ...ipv6.slice(0, 4), dual[0]]
      yield* Effect.forEach(publishers, (node, i) => announce(node, i), { discard: true })
      yield* Effect.sleep("25 minutes")
      const published = yield* newest(publishers)
      const found = yield* Liveness.check(world, all, { published, resolved: published })
      yield* leaveAll(all)
      return found
    }),
    standIn
  )
