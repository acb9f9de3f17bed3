/**
 * Nodes behind routers, simulated: how long lookups and publishing take, who is
 * found, and whether nodes know that strangers cannot reach them. Each world runs
 * with nodes that do not check it ("before") and with nodes that do ("after").
 * Then what a client behind each kind of router sends at rest.
 *
 *     npm run bench:routers -- [--nodes 100] [--behind 0,75,90] [--minutes 60] [--only after] [--stand-in]
 *       [--loss 0.05] [--churn 0.3] [--silent 0.25]
 *
 * `--minutes` before measuring, `--churn` of the nodes replaced in an hour, `--silent`
 * of the nodes that announce no features, `--stand-in` for signatures that cost little.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as References from "effect/References"
import { parseArgs } from "node:util"
import { Dht } from "../src/Dht.ts"
import { fastest } from "../src/node/NodeCrypto.ts"
import * as NodeId from "../src/NodeId.ts"
import { Query } from "../src/Query.ts"
import * as Reachability from "../src/Reachability.ts"
import { Routing } from "../src/Routing.ts"
import * as OldNode from "../src/testing/internal/oldNode.ts"
import * as Nat from "../src/testing/Nat.ts"
import * as SimCrypto from "../src/testing/SimCrypto.ts"
import type * as SimNetwork from "../src/testing/SimNetwork.ts"
import * as SimWorld from "../src/testing/SimWorld.ts"

const { values: options } = parseArgs({
  options: {
    nodes: { type: "string", default: "100" },
    behind: { type: "string", default: "0,75,90" },
    minutes: { type: "string", default: "60" },
    only: { type: "string", default: "before,after,clients" },
    loss: { type: "string", default: "0" },
    churn: { type: "string", default: "0" },
    silent: { type: "string", default: "0" },
    "stand-in": { type: "boolean", default: false }
  }
})
const [nodes, minutes, loss, churn, silent] = [
  options.nodes,
  options.minutes,
  options.loss,
  options.churn,
  options.silent
].map(Number)
const percents = options.behind.split(",").map(Number)
const wanted = options.only.split(",")
const crypto = options["stand-in"] ? SimCrypto.simulated : fastest

const names = new Map<Nat.Behaviour | undefined, string>([
  [undefined, "none"],
  [Nat.fullCone, "full cone"],
  [Nat.restrictedCone, "restricted cone"],
  [Nat.portRestrictedCone, "port-restricted cone"],
  [Nat.symmetric, "symmetric"],
  [Nat.symmetricRandom, "symmetric, random ports"]
])
const nameOf = (kind: Nat.Behaviour | undefined) => names.get(kind) ?? "other"

const kinds = [
  Nat.portRestrictedCone,
  Nat.symmetric,
  Nat.portRestrictedCone,
  Nat.restrictedCone,
  Nat.portRestrictedCone,
  Nat.fullCone
]

/** Never finds anything out, and keeps no peer for a client. */
const layerUnchecked = Layer.effect(
  Reachability.Reachability,
  Effect.map(Reachability.Reachability, (reachability) =>
    Reachability.Reachability.of({
      ...reachability,
      isStrangerUnsafe: () => false,
      nextUnsafe: () => ({ _tag: "Wait", until: Infinity }),
      status: Effect.succeed({ state: "unknown", mapping: "Unknown", filtering: "Unknown" }),
      isClosedUnsafe: () => false,
      stateUnsafe: () => "unknown"
    }))
).pipe(Layer.provide(Reachability.layer()))

const at = (sorted: ReadonlyArray<number>, share: number) =>
  Math.round(sorted[Math.min(Math.floor(sorted.length * share), sorted.length - 1)])
const summary = (millis: Array<number>) => {
  millis.sort((a, b) => a - b)
  return `${at(millis, 0.5)} / ${at(millis, 0.95)} / ${at(millis, 1)}`
}
const share = (part: number, all: number) => `${(100 * part / all).toFixed(part === all || part === 0 ? 0 : 1)} %`

const timed = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function*() {
    const started = yield* Clock.currentTimeMillis
    const result = yield* effect
    return { result, millis: (yield* Clock.currentTimeMillis) - started }
  })

const measure = Effect.fnUntraced(function*(percent: number, isChecked: boolean) {
  const world = yield* SimWorld.SimWorld
  const dht = isChecked ? {} : { services: { reachability: layerUnchecked } }
  const open = Math.max(4, Math.round(nodes * (100 - percent) / 100))
  const all = [...yield* world.startNodes(4, { dht })]
  const machines: Array<{ readonly host: SimNetwork.Host; readonly identity: { readonly nodeId: NodeId.NodeId } }> = [
    ...all
  ]
  let opened = all.length
  let closed = 0
  let silenced = 0
  world.network.conditions.loss = loss
  const start = Effect.fnUntraced(function*(host: SimNetwork.HostOptions) {
    // The golden ratio spreads the silent ones evenly over open and closed nodes.
    if ((machines.length * 0.618034) % 1 >= silent) {
      const [node] = yield* world.startNodes(1, { host, dht })
      all.push(node)
      machines.push(node)
      return
    }
    const node = world.machine(`silent ${silenced++}`, OldNode.layer, { host })
    machines.push(node)
    yield* node.start
    yield* node.run(OldNode.OldNode.use(({ join }) => join(all[silenced % 4].socket)))
  })
  // In any order, as they would come.
  while (opened + closed < nodes) {
    if (opened / open <= (closed + 1) / (nodes - open + 1)) {
      opened++
      yield* start({})
    } else yield* start({ behind: kinds[closed++ % kinds.length] })
  }
  const isOpen = ({ host }: typeof machines[number]) =>
    host.router === undefined || host.router.behaviour === Nat.fullCone
  const openIds = new Set(machines.filter(isOpen).map(({ identity }) => identity.nodeId))
  /** The share that is right about itself, and the kinds of routers of the others. */
  const right = Effect.gen(function*() {
    const wrong: Array<string> = []
    for (const node of all) {
      const { state } = yield* node.run(Effect.flatMap(Reachability.Reachability, ({ status }) => status))
      const is = isOpen(node) ? "open" : "closed"
      if (isChecked && state !== is) wrong.push(nameOf(node.host.router?.behaviour))
    }
    const kinds = Array.from(Map.groupBy(wrong, (kind) => kind), ([kind, { length }]) => `${length} ${kind}`)
    if (!isChecked) return "-"
    return `${share(all.length - wrong.length, all.length)}${kinds.length > 0 ? ` (not: ${kinds.join(", ")})` : ""}`
  })
  const announce = (node: typeof all[number]) =>
    node.run(Dht.use((dht) => dht.announceEndpoint({ endpoints: ["https://a.example"] })))
  for (const node of all) yield* announce(node)
  let replaced = 0
  const replacing = Effect.gen(function*() {
    while (true) {
      yield* Effect.sleep(3_600_000 / (churn * all.length))
      // The first ones introduce the others.
      const [left] = all.splice(4 + (replaced++ * 7919) % (all.length - 4), 1)
      yield* left.crash()
      openIds.delete(left.identity.nodeId)
      const { router } = left.host
      const [node] = yield* world.startNodes(1, { host: router === undefined ? {} : { behind: router.behaviour }, dht })
      if (isOpen(node)) openIds.add(node.identity.nodeId)
      yield* announce(node)
      all.push(node)
    }
  })
  if (churn > 0) yield* Effect.forkScoped(Effect.catchCause(replacing, Effect.logFatal))
  yield* Effect.sleep("2 minutes")
  const early = yield* right
  yield* Effect.sleep((minutes - 2) * 60_000)
  const late = yield* right

  let entries = 0
  let closedEntries = 0
  for (const node of all) {
    for (const { contact } of yield* node.run(Effect.flatMap(Routing, ({ entries }) => entries))) {
      entries++
      if (!openIds.has(contact.id)) closedEntries++
    }
  }

  const resolve: Array<number> = []
  let notFound = 0
  for (let i = 0; i < 200; i++) {
    const from = all[(i * 7919) % all.length]
    const to = all[(i * 104_729 + 1) % all.length]
    const { millis, result } = yield* timed(
      from.run(Effect.option(Dht.use((dht) => dht.resolve(to.identity.address))))
    )
    if (result._tag === "None") notFound++
    resolve.push(millis)
  }

  const findNode: Array<number> = []
  let found = 0
  let foundClosed = 0
  for (let i = 0; i < 60; i++) {
    const from = all[(i * 7919 + 3) % all.length]
    const { millis, result } = yield* timed(
      from.run(Effect.flatMap(Query, (query) => query.findNode(NodeId.fromTopic(`target ${i}`))))
    )
    findNode.push(millis)
    found += result.length
    foundClosed += result.filter(({ id }) => !openIds.has(id)).length
  }

  const publish: Array<number> = []
  let holders = 0
  let closedHolders = 0
  for (let i = 0; i < 40; i++) {
    const from = all[(i * 7919 + 5) % all.length]
    const { millis, result } = yield* timed(from.run(
      Dht.use((dht) => dht.publishTopic({ topic: `topic ${i}`, name: "a" })).pipe(
        Effect.flatMap(({ confirmed }) =>
          Effect.repeat(Effect.delay(confirmed, 10), { until: (holders) => holders.length >= 8, times: 2000 }).pipe(
            Effect.andThen(confirmed)
          )
        )
      )
    ))
    publish.push(millis)
    holders += result.length
    closedHolders += result.filter(({ id }) => !openIds.has(id)).length
  }

  const discover: Array<number> = []
  for (let i = 0; i < 40; i++) {
    const from = all[(i * 7919 + 11) % all.length]
    const { millis, result } = yield* timed(from.run(Effect.option(Dht.use((dht) => dht.discover(`topic ${i}`)))))
    if (result._tag === "None") notFound++
    discover.push(millis)
  }
  return [
    `${nodes}, ${percent} %${isChecked ? "" : ", before"}${replaced > 0 ? `, ${replaced} replaced` : ""}`,
    summary(resolve),
    summary(findNode),
    summary(publish),
    summary(discover),
    notFound,
    `${share(closedEntries, entries)}, ${share(foundClosed, found)}, ${share(closedHolders, holders)}`,
    `${early}, ${late}`,
    world.network.counts.sent
  ]
})

console.log(
  "| nodes, behind routers | resolve p50 / p95 / max ms | findNode | publish to 8 holders | discover | not found | " +
    "behind routers: of contacts, of nodes found, of holders | right about themselves after 2 minutes, at the end | datagrams |"
)
console.log(`|${" --- |".repeat(9)}`)
const worlds = percents.flatMap((percent) =>
  [false, true].flatMap((isChecked) =>
    wanted.includes(isChecked ? "after" : "before") && (isChecked || percent > 0)
      ? [{ percent, isChecked }]
      : []
  )
)
for (const { isChecked, percent } of worlds) {
  const row = SimWorld.runSync(
    Effect.provideService(Effect.scoped(measure(percent, isChecked)), References.MinimumLogLevel, "Error"),
    { seed: 7, crypto }
  )
  console.log(`| ${row.join(" | ")} |`)
}

/** Datagrams that a client behind each kind of router sends in an hour, while it wants nothing. */
const atRest = Effect.gen(function*() {
  const world = yield* SimWorld.SimWorld
  yield* world.startNodes(40)
  const clients = new Map<SimNetwork.Host, { readonly name: string; sent: number }>()
  for (const [behind, name] of names) {
    if (behind === undefined || behind === Nat.fullCone) continue
    const [{ host }] = yield* world.startNodes(1, { host: { behind } })
    clients.set(host, { name, sent: 0 })
  }
  yield* Effect.sleep("30 minutes")
  world.network.observe({
    delivered: ({ source }) => {
      const client = clients.get(source)
      if (client !== undefined) client.sent++
    }
  })
  yield* Effect.sleep("1 hour")
  return Array.from(clients.values())
})

if (wanted.includes("clients")) {
  console.log("\n| client behind | datagrams in an hour at rest |")
  console.log("| --- | --- |")
  const clients = SimWorld.runSync(
    Effect.provideService(atRest, References.MinimumLogLevel, "Error"),
    { seed: 7, crypto }
  )
  for (const { name, sent } of clients) console.log(`| ${name} | ${sent} |`)
}
