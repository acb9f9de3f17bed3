/**
 * Hosting of many identities on one node: memory, disk and the time to start
 * with all of them, and the processor and datagrams of renewals with real
 * signatures over real UDP:
 *
 *     npm run bench:hosting -- [--identities 100000] [--renewed 2500] [--seconds 120] [--nodes 64] [--only state]
 *
 * Renewals run at the rate of 100 000 records that are renewed every hour, with
 * fewer records of a shorter lifetime. The other nodes share a process of their own.
 *
 * A day in a simulated network, which takes long and is not part of the others:
 *
 *     npm run bench:hosting -- --only day [--identities 100000] [--nodes 1000] [--hours 24] [--loss 0.01]
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as References from "effect/References"
import * as Result from "effect/Result"
import * as Scope from "effect/Scope"
import { mkdtempSync, readdirSync, rmSync, statSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { parseArgs } from "node:util"
import { Dht } from "../src/Dht.ts"
import * as Endpoint from "../src/Endpoint.ts"
import * as HostedIdentities from "../src/HostedIdentities.ts"
import * as Hosting from "../src/Hosting.ts"
import * as Identity from "../src/Identity.ts"
import { sha256Hex } from "../src/internal/sha256.ts"
import { DhtLive } from "../src/node/DhtLive.ts"
import * as NodeCrypto from "../src/node/NodeCrypto.ts"
import { Persistence } from "../src/Persistence.ts"
import { slotAt } from "../src/replication/job.ts"
import { Rpc } from "../src/Rpc.ts"
import { bytes32 } from "./fixtures.ts"
import { Process } from "./process.ts"
import { type Row, save, type Section, table } from "./report.ts"

const { values: options } = parseArgs({
  options: {
    identities: { type: "string", default: "100000" },
    renewed: { type: "string", default: "2500" },
    seconds: { type: "string", default: "120" },
    nodes: { type: "string" },
    hours: { type: "string", default: "24" },
    loss: { type: "string", default: "0.01" },
    only: { type: "string" }
  }
})

const count = Number(options.identities)
const renewed = Number(options.renewed)
const peers = options.nodes ?? "64"

/** Renewals a second of 100 000 records, each renewed every hour. */
const rate = 100_000 / 3600

/** The lifetime in seconds, of which half is the interval, that gives that rate. */
const ttl = Math.round(2 * renewed / rate)

const round = (value: number, digits = 2): number => Math.round(value * 10 ** digits) / 10 ** digits

const announce = [{ _tag: "Endpoint", endpoints: ["https://agents.example/a1b2c3d4"] }] as const

/** Starts a node that hosts, until the scope is closed. */
const start = Effect.fnUntraced(function*(node: Parameters<typeof DhtLive>[0], hosting: Hosting.Options) {
  const scope = yield* Scope.make()
  const services = yield* Layer.build(
    HostedIdentities.layer.pipe(
      Layer.provideMerge(Hosting.layer(hosting)),
      Layer.provideMerge(Layer.fresh(DhtLive({ listen: { host: "127.0.0.1", port: 0 }, ...node }))),
      Layer.provide(SecureRandom.layerWebCrypto)
    )
  ).pipe(Scope.provide(scope))
  return { services, stop: Scope.close(scope, Exit.void) }
})

/** Memory of the process after a collection, in bytes. */
const memory = () => {
  global.gc?.()
  const { arrayBuffers, heapUsed } = process.memoryUsage()
  return { heap: heapUsed, outside: arrayBuffers }
}

const sizeOf = (directory: string): number =>
  readdirSync(directory).reduce((sum, name) => sum + statSync(join(directory, name)).size, 0)

// --- Memory, disk and start ----------------------------------------------------------

const seeds = Array.from({ length: count }, (_, n) => bytes32(`hosted ${n}`))

/** Adds all identities to a node in a directory, with records that eight nodes hold. */
const fill = Effect.fnUntraced(function*(data: string) {
  const { services, stop } = yield* start({ data }, { datagramsPerSecond: 1 })
  const { add } = Context.get(services, HostedIdentities.HostedIdentities)
  const { flush, save: saveChange } = Context.get(services, Persistence)
  yield* Effect.forEach(seeds, (seed) => add({ seed: Redacted.make(seed), announce }), {
    concurrency: 64,
    discard: true
  })
  const now = Date.now()
  for (const [n, seed] of seeds.entries()) {
    const signer = Identity.fromSeed(NodeCrypto.fastest, seed)
    const record = Result.getOrThrow(Endpoint.sign({
      signer,
      address: signer.address,
      payload: Endpoint.make(announce[0]),
      seq: BigInt(now) * 1_000_000n,
      timestamp: BigInt(Math.floor(now / 1000)),
      ttl: 3600
    }))
    saveChange({
      _tag: "Hosted",
      key: signer.nodeId,
      record,
      slot: sha256Hex(new TextEncoder().encode(slotAt(signer.nodeId, record))).slice(0, 32),
      due: now + 900_000 + n % 900_000,
      holders: Array.from({ length: 8 }, (_, i) => (n * 2_654_435_761 + i * 40_503) >>> 0)
    })
    if (n % 4096 === 4095) yield* flush
  }
  yield* flush
  yield* stop
})

const state = Effect.gen(function*() {
  const data = mkdtempSync(join(tmpdir(), "hosting-"))
  try {
    yield* fill(data)
    const disk = sizeOf(data)
    const empty = yield* start({}, {})
    const before = memory()
    const [started, cpu] = [performance.now(), process.cpuUsage()]
    const full = yield* start({ data }, {})
    const seconds = (performance.now() - started) / 1000
    const { system, user } = process.cpuUsage(cpu)
    const after = memory()
    const status = yield* Context.get(full.services, Hosting.Hosting).status
    yield* full.stop
    yield* empty.stop
    const row: Row = {
      name: `${status.identities} identities, a record each`,
      figures: {
        "heap of an identity": { value: round((after.heap - before.heap) / count, 0), unit: "B", atMost: 2048 },
        "buffers of an identity": { value: round((after.outside - before.outside) / count, 0), unit: "B" },
        "disk": { value: round(disk / 1e6, 1), unit: "MB", atMost: 100 * count / 100_000 },
        "start": { value: round(seconds), unit: "s", atMost: 10 },
        "processor of the start, of all threads": { value: round((user + system) / 1e6), unit: "s" },
        "records that were signed again": { value: status.signatures, unit: "" }
      }
    }
    return row
  } finally {
    rmSync(data, { recursive: true, force: true })
  }
})

// --- Renewals ------------------------------------------------------------------------

const renewals = Effect.gen(function*() {
  const others = new Process<never, { readonly port: number }>("hostingPeers.ts", [peers])
  const { port } = yield* Effect.promise(() => others.next())
  const { services, stop } = yield* start(
    { bootstrap: [`127.0.0.1:${port}`], verifyThreads: 0 },
    { datagramsPerSecond: 2000, signaturesPerSecond: 1000 }
  )
  const hosting = Context.get(services, Hosting.Hosting)
  const { traffic } = Context.get(services, Rpc)
  yield* Effect.forEach(
    seeds.slice(0, renewed),
    (seed) => hosting.host({ signer: Identity.fromSeed(NodeCrypto.fastest, seed), announce, ttl }),
    { discard: true }
  )
  yield* hosting.settled
  const { contacts } = yield* Context.get(services, Dht).stats
  // Renewals are in step after the first round.
  yield* Effect.sleep(`${ttl / 2} seconds`)
  const [before, sentBefore, cpu, at] = [
    yield* hosting.status,
    (yield* traffic).sent,
    process.cpuUsage(),
    performance.now()
  ]
  yield* Effect.sleep(`${Number(options.seconds)} seconds`)
  const [after, sentAfter, used, seconds] = [
    yield* hosting.status,
    (yield* traffic).sent,
    process.cpuUsage(cpu),
    (performance.now() - at) / 1000
  ]
  yield* stop
  yield* Effect.promise(() => others.end())
  const done = after.renewals - before.renewals
  const cores = (used.user + used.system) / 1e6 / seconds
  const row: Row = {
    name: `${renewed} records, ${contacts} contacts, ${round(seconds, 0)} s`,
    figures: {
      "renewals": { value: round(done / seconds, 1), unit: "/s" },
      "failed": { value: after.failures - before.failures, unit: "" },
      "processor, of a core": { value: round(cores * 100, 1), unit: "%", atMost: 100 },
      "processor of a renewal": { value: round(cores / (done / seconds) * 1000), unit: "ms" },
      "datagrams sent for a renewal": { value: round((sentAfter - sentBefore) / done), unit: "", atMost: 10 },
      "stores": { value: round((after.stores - before.stores) / done), unit: "" },
      "lookups": { value: round((after.lookups - before.lookups) / done * 100), unit: "%", atMost: 3 }
    }
  }
  return row
})

// --- All -----------------------------------------------------------------------------

const program = Effect.gen(function*() {
  const sections: Array<Section> = []
  if (options.only === "day") {
    const note = `Lifetimes of an hour, ${Number(options.loss) * 100} % of datagrams lost`
    const { day } = yield* Effect.promise(() => import("./hostingDay.ts"))
    const row = day({
      identities: count,
      nodes: Number(options.nodes ?? 1000),
      hours: Number(options.hours),
      loss: Number(options.loss)
    })
    return [{ title: "A day", note, rows: [row] }]
  }
  if (options.only !== "renewals") {
    sections.push({ title: "Memory, disk and start", rows: [yield* state] })
  }
  if (options.only !== "state") {
    const note = `At the rate of 100 000 renewals an hour, over UDP loopback to ${peers} nodes`
    sections.push({ title: "Renewals", note, rows: [yield* renewals] })
  }
  return sections
})

const sections = await Effect.runPromise(
  program.pipe(Effect.scoped, Effect.provideService(References.MinimumLogLevel, "Error"))
)
for (const section of sections) console.log(table(section))
save(sections, join(import.meta.dirname, "results", "hosting"), new Date())
