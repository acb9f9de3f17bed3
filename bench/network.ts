/**
 * Whole networks in one process over UDP loopback: durations and request counts
 * of joining, lookups and publishing. Lookups are measured once nearly all of
 * their datagrams are in sessions, so between nodes that have met before.
 *
 *     npm run bench:network -- [--nodes 64,256] [--only delay] [--operations 100] [--hyperdht]
 *
 * `--hyperdht` measures as many nodes of hyperdht beside those without delay.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { mkdirSync, writeFileSync } from "node:fs"
import { parseArgs } from "node:util"
import * as Address from "../src/Address.ts"
import * as Dht from "../src/Dht.ts"
import * as Identity from "../src/Identity.ts"
import * as NodeCrypto from "../src/node/NodeCrypto.ts"
import * as UdpTransport from "../src/node/UdpTransport.ts"
import * as NodeId from "../src/NodeId.ts"
import { Query } from "../src/Query.ts"
import { Rpc } from "../src/Rpc.ts"
import * as Verifier from "../src/Verifier.ts"
import { bytes32 } from "./fixtures.ts"
import * as HyperDht from "./hyperdht.ts"
import * as Impaired from "./impaired.ts"

const { values: options } = parseArgs({
  options: {
    nodes: { type: "string", default: "64,256" },
    only: { type: "string" },
    hyperdht: { type: "boolean", default: false },
    operations: { type: "string", default: "100" }
  }
})
const operations = Number(options.operations)

const conditions: ReadonlyArray<Impaired.Impairment & { readonly name: string }> = [
  { name: "plain", delayMillis: 0, loss: 0 },
  { name: "delay", delayMillis: 25, loss: 0 },
  { name: "loss", delayMillis: 0, loss: 0.1 }
]

if (options.only !== undefined && !conditions.some(({ name }) => name === options.only)) {
  throw new Error(`--only must be one of ${conditions.map(({ name }) => name).join(", ")}, but got ${options.only}`)
}

type Node = Context.Context<Dht.Services>

const node = (impairment: Impaired.Impairment): Effect.Effect<Node, unknown, Scope.Scope> =>
  Layer.build(
    Layer.fresh(Dht.layer()).pipe(
      Layer.provide(Impaired.layer(impairment)),
      Layer.provide(UdpTransport.layer({ host: "127.0.0.1", port: 0 })),
      Layer.provide(Identity.layerGenerate),
      Layer.provide(Verifier.layer),
      Layer.provide(NodeCrypto.layer),
      Layer.provide(SecureRandom.layerWebCrypto)
    )
  )

// --- Figures -------------------------------------------------------------------

interface Figure {
  readonly p50: number
  readonly p95: number
  readonly p99: number
  readonly max: number
}

const figure = (values: ReadonlyArray<number>): Figure => {
  const sorted = values.toSorted((a, b) => a - b)
  const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? NaN
  return { p50: at(0.5), p95: at(0.95), p99: at(0.99), max: at(1) }
}

const timed = <A, E>(effect: Effect.Effect<A, E>) =>
  Effect.gen(function*() {
    const [started, used] = [performance.now(), process.cpuUsage()]
    const exit = yield* Effect.exit(effect)
    const { system, user } = process.cpuUsage(used)
    return { exit, millis: performance.now() - started, cpuMillis: (system + user) / 1000 }
  })

/** Warm-up ends once this share of the datagrams of lookups is in sessions, or after so many lookups by each node. */
const warmShare = 0.9
const maxWarmUps = 48

/** Lookups of the warm-up that run at the same time. */
const warmTogether = 4

/** Datagrams received by all nodes, and those in a session. */
const received = (nodes: ReadonlyArray<Node>) =>
  Effect.map(
    Effect.forEach(nodes, (node) => Context.get(node, Rpc).traffic),
    (traffic) => ({
      all: traffic.reduce((sum, { received }) => sum + received, 0),
      inSessions: traffic.reduce((sum, { inSessions }) => sum + inSessions, 0)
    })
  )

/** The share of datagrams in sessions while an effect runs. */
const shareInSessions = <R>(nodes: ReadonlyArray<Node>, effect: Effect.Effect<void, never, R>) =>
  Effect.gen(function*() {
    const before = yield* received(nodes)
    yield* effect
    const after = yield* received(nodes)
    return (after.inSessions - before.inSessions) / (after.all - before.all)
  })

/** Has the nodes look up random targets until they know each other. Returns the number of lookups by each. */
const warmUp = Effect.fnUntraced(function*(nodes: ReadonlyArray<Node>) {
  let share = 0
  let lookups = 0
  for (; lookups < maxWarmUps && share < warmShare; lookups++) {
    const round = Effect.forEach(
      nodes,
      (node, i) => Context.get(node, Query).lookup(NodeId.fromTopic(`warm-up ${lookups} ${i}`)),
      { concurrency: warmTogether, discard: true }
    )
    share = yield* shareInSessions(nodes, round)
  }
  return lookups
})

/** Resident memory, and the part in use; needs `--expose-gc`. */
const memory = () => {
  globalThis.gc?.()
  const { arrayBuffers, heapUsed, rss } = process.memoryUsage()
  return { rss, live: heapUsed + arrayBuffers }
}

// --- One network -----------------------------------------------------------------

const measure = (count: number, condition: (typeof conditions)[number]) =>
  Effect.gen(function*() {
    const before = memory()
    const nodes = yield* Effect.forEach(Array.from({ length: count }), () => node(condition))
    const dhts = nodes.map((node) => Context.get(node, Dht.Dht))
    const pick = (i: number) => (i * 7919) % count

    const joining = yield* timed(Effect.forEach(
      dhts.slice(1),
      (dht) => timed(dht.bootstrap([dhts[0].localAddress])),
      { concurrency: "unbounded" }
    ))
    const joined = Exit.isSuccess(joining.exit) ? joining.exit.value : []
    const bootstrap = {
      allMillis: joining.millis,
      joined: 1 + joined.filter(({ exit }) => Exit.isSuccess(exit)).length,
      ...figure(joined.map(({ millis }) => millis))
    }

    // All nodes joined at once, so the first lookups found few neighbors; the nodes
    // repeat them in the minute after.
    yield* Effect.sleep(HyperDht.settleMillis)
    const warmUps = yield* warmUp(nodes)

    const findNode = {
      millis: Array.of<number>(),
      cpuMillis: Array.of<number>(),
      requests: Array.of<number>(),
      found: 0,
      wanted: 0
    }
    const finding = Effect.gen(function*() {
      for (let i = 0; i < operations; i++) {
        const target = NodeId.fromTopic(`target ${i}`)
        const asker = pick(i)
        const { cpuMillis, exit, millis } = yield* timed(Context.get(nodes[asker], Query).lookup(target))
        if (!Exit.isSuccess(exit)) continue
        findNode.millis.push(millis)
        findNode.cpuMillis.push(cpuMillis)
        findNode.requests.push(exit.value.trace.length)
        const others = dhts.filter((_, at) => at !== asker).map(({ nodeId }) => nodeId)
        const truth = new Set(others.toSorted((a, b) => NodeId.compareDistance(target, a, b)).slice(0, 16))
        findNode.found += exit.value.closest.filter(({ id }) => truth.has(id)).length
        findNode.wanted += truth.size
      }
    })
    const inSessions = yield* shareInSessions(nodes, finding)

    const published = { firstResolve: Array.of<number>(), replicas: Array.of<number>(), tooFew: 0 }
    const resolve = { millis: Array.of<number>(), cpuMillis: Array.of<number>(), failed: 0 }
    const absent: Array<number> = []
    for (let i = 0; i < operations; i++) {
      const owner = dhts[pick(i)]
      const elsewhere = dhts[pick(i + count / 2 | 0)]
      const started = performance.now()
      const publication = yield* owner.publishEndpoint({ endpoints: [`tcp://192.0.2.1:${i}`] })
      while (Exit.isFailure(yield* Effect.exit(elsewhere.resolve(owner.address)))) { /* until it is found */ }
      published.firstResolve.push(performance.now() - started)
      const replicas = yield* Effect.exit(publication.replicas(8, { within: "10 seconds" }))
      if (Exit.isSuccess(replicas)) published.replicas.push(performance.now() - started)
      else published.tooFew++

      const resolved = yield* timed(dhts[pick(i + 3)].resolve(owner.address))
      if (Exit.isSuccess(resolved.exit)) {
        resolve.millis.push(resolved.millis)
        resolve.cpuMillis.push(resolved.cpuMillis)
      } else {
        resolve.failed++
      }
      absent.push((yield* timed(elsewhere.resolve(Address.fromPublicKey(bytes32(`nobody ${i}`))))).millis)
    }

    const sent = Effect.map(
      Effect.forEach(nodes, (node) => Context.get(node, Rpc).traffic),
      (traffic) => traffic.reduce((sum, { sent }) => sum + sent, 0)
    )
    // Work left over from joining and publishing is done within the first minute.
    const idleSeconds = 30
    yield* Effect.sleep("1 minute")
    const sentBefore = yield* sent
    yield* Effect.sleep(idleSeconds * 1000)
    const idle = ((yield* sent) - sentBefore) / count / idleSeconds

    return {
      nodes: count,
      condition: condition.name,
      bootstrap,
      findNode: figure(findNode.millis),
      findNodeCpu: figure(findNode.cpuMillis),
      requests: figure(findNode.requests),
      warmUps,
      inSessions,
      recall: findNode.found / findNode.wanted,
      resolve: { ...figure(resolve.millis), failed: resolve.failed },
      resolveCpu: figure(resolve.cpuMillis),
      absent: figure(absent),
      firstResolve: figure(published.firstResolve),
      replicas: { ...figure(published.replicas), tooFew: published.tooFew },
      idlePacketsPerNodeSecond: idle,
      rssKiBPerNode: (memory().rss - before.rss) / 1024 / count,
      liveKiBPerNode: (memory().live - before.live) / 1024 / count
    }
  }).pipe(Effect.scoped)

type Measured = Effect.Success<ReturnType<typeof measure>>

// --- Comparison with the reference -----------------------------------------------------

/** Results of the Go reference 0.1.7 with its receive loop fixed, p50 and p95 in milliseconds. */
const reference: { readonly [nodes: string]: { readonly [row: string]: string } } = {
  64: {
    bootstrap: "8 200 each",
    findNode: "202 / 1 600",
    requests: "21",
    recall: "98 %",
    resolve: "0.8",
    absent: "202"
  },
  256: {
    bootstrap: "–",
    findNode: "3 400 / 10 000",
    requests: "41",
    recall: "99.6 %",
    resolve: "1.5",
    absent: "3 000",
    firstResolve: "5 300 / 12 100",
    replicas: "5 400"
  }
}

const print = (measured: Measured): void => {
  const both = ({ max, p50, p95, p99 }: Figure) => [p50, p95, p99, max].map((value) => value.toFixed(1)).join(" / ")
  const theirs = measured.condition === "plain" ? reference[measured.nodes] ?? {} : {}
  const rows: ReadonlyArray<readonly [string, string, string | undefined]> = [
    [
      "all joined, ms",
      `${measured.bootstrap.allMillis.toFixed(0)} (${measured.bootstrap.joined} nodes)`,
      theirs.bootstrap
    ],
    ["findNode, ms", both(measured.findNode), theirs.findNode],
    ["CPU of all nodes per findNode, ms", both(measured.findNodeCpu), undefined],
    ["requests per findNode", both(measured.requests), theirs.requests],
    [
      "datagrams of findNode in sessions",
      `${(measured.inSessions * 100).toFixed(0)} % (after ${measured.warmUps} lookups by each node)`,
      undefined
    ],
    ["recall of the 16 closest", `${(measured.recall * 100).toFixed(1)} %`, theirs.recall],
    ["resolve, ms", `${both(measured.resolve)} (${measured.resolve.failed} failed)`, theirs.resolve],
    ["CPU of all nodes per resolve, ms", both(measured.resolveCpu), undefined],
    ["absent key, ms", both(measured.absent), theirs.absent],
    ["publish to first resolve elsewhere, ms", both(measured.firstResolve), theirs.firstResolve],
    ["8 replicas, ms", `${both(measured.replicas)} (${measured.replicas.tooFew} had fewer)`, theirs.replicas],
    ["idle datagrams per node and second", measured.idlePacketsPerNodeSecond.toFixed(2), undefined],
    ["resident memory per node, KiB", measured.rssKiBPerNode.toFixed(0), undefined],
    ["live memory per node, KiB", measured.liveKiBPerNode.toFixed(0), "100 to 240"]
  ]
  console.log(`\n${measured.nodes} nodes, ${measured.condition}: p50 / p95 / p99 / max`)
  for (const [name, ours, other] of rows) {
    console.log(`  ${name.padEnd(40)}${ours.padEnd(46)}${other === undefined ? "" : `reference ${other}`}`)
  }
}

/** The figures that both have, of each and as a ratio. */
const printBeside = (ours: Measured, theirs: HyperDht.Measured): void => {
  console.log(`\n${ours.nodes} nodes, beside as many of hyperdht ${HyperDht.version}, which signs no requests`)
  const findNode = figure(theirs.findNode)
  const firstGet = figure(theirs.firstGet)
  const rows: ReadonlyArray<readonly [string, number, number]> = [
    ["all joined, ms", ours.bootstrap.allMillis, theirs.joined],
    ["findNode p50, ms", ours.findNode.p50, findNode.p50],
    ["findNode p95, ms", ours.findNode.p95, findNode.p95],
    ["publish to first resolve elsewhere p50, ms", ours.firstResolve.p50, firstGet.p50],
    ["publish to first resolve elsewhere p95, ms", ours.firstResolve.p95, firstGet.p95]
  ]
  for (const [name, mine, other] of rows) {
    console.log(
      `  ${name.padEnd(44)}${mine.toFixed(1).padStart(9)}  hyperdht ${other.toFixed(1).padStart(9)}  ` +
        `${(mine / other).toFixed(2)} ×`
    )
  }
}

const main = Effect.gen(function*() {
  const all: Array<Measured> = []
  for (const count of options.nodes.split(",").map(Number)) {
    for (const condition of conditions) {
      if (options.only !== undefined && options.only !== condition.name) continue
      const measured = yield* measure(count, condition)
      print(measured)
      if (options.hyperdht && condition.name === "plain") {
        const theirs = yield* Effect.promise(() => HyperDht.measure(count, operations, measured.warmUps))
        if (theirs === undefined) console.log(`\nhyperdht ${HyperDht.version} cannot be installed`)
        else printBeside(measured, theirs)
      }
      all.push(measured)
    }
  }
  mkdirSync(new URL("results", import.meta.url), { recursive: true })
  writeFileSync(new URL("results/network.json", import.meta.url), JSON.stringify(all, null, 2))
})

await Effect.runPromise(main)
