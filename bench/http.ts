/**
 * The HTTP interface of a node for agents: requests a second and latencies beside
 * what the node does without HTTP, and what slow clients and readers of event
 * streams cost:
 *
 *     npm run bench:http -- [--nodes 24] [--offers 20] [--lookups 1200]
 *
 * The gateway has a process of its own; its peers and the clients share another.
 * Clients come from many /24 networks, and at most as many requests are sent in
 * ten seconds as the limits allow.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as References from "effect/References"
import { Agent, type ClientRequest, request, type RequestOptions } from "node:http"
import { connect } from "node:net"
import { join } from "node:path"
import { parseArgs } from "node:util"
import { Dht } from "../src/Dht.ts"
import { rates, windowSeconds } from "../src/http/Limits.ts"
import * as Hex from "../src/internal/hex.ts"
import { DhtLive } from "../src/node/DhtLive.ts"
import * as NodeCrypto from "../src/node/NodeCrypto.ts"
import * as NodeId from "../src/NodeId.ts"
import * as SocketAddress from "../src/SocketAddress.ts"
import { endpointRecord, identity, topic, topicRecord, unixSeconds } from "./fixtures.ts"
import type { FromGateway, ToGateway, Work } from "./gateway.ts"
import { quantile } from "./measure.ts"
import { Process } from "./process.ts"
import { type Figure, type Row, save, type Section, table } from "./report.ts"

const { values: options } = parseArgs({
  options: {
    nodes: { type: "string", default: "24" },
    offers: { type: "string", default: "20" },
    lookups: { type: "string", default: String(rates.lookups.inAll) }
  }
})

const token = "0123456789abcdef"
const concurrency = 16

/** Networks that the clients are in: more than all of the limits need together. */
const networks = 8

/** Local addresses in different /24 networks. */
const hostOf = (i: number): string => `127.0.${i % networks + 1}.1`

const agents = Array.from({ length: networks }, () => new Agent({ keepAlive: true, maxSockets: concurrency }))

interface Sending extends RequestOptions {
  readonly body?: string
}

/** Sends a request from one of the networks, and returns its status and the milliseconds until it was read. */
const send = (url: string, i: number, { body, ...options }: Sending = {}): Promise<readonly [number, number]> =>
  new Promise((resolve, reject) => {
    const started = performance.now()
    const headers = { "authorization": `Bearer ${token}`, "content-type": "application/json" }
    request(url, { agent: agents[i % networks], localAddress: hostOf(i), headers, ...options }, (response) => {
      response.resume().once("end", () => resolve([response.statusCode ?? 0, performance.now() - started]))
    }).once("error", reject).end(body)
  })

const wait = (millis: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, millis))

const round = (value: number): number => Math.round(value * 100) / 100

const figures = (millis: ReadonlyArray<number>, allMillis: number, prefix: string): { [name: string]: Figure } => ({
  [`${prefix} a second`]: { value: round(millis.length / allMillis * 1000), unit: "/s" },
  [`${prefix} p50`]: { value: round(quantile(millis, 0.5)), unit: "ms" },
  [`${prefix} p99`]: { value: round(quantile(millis, 0.99)), unit: "ms" }
})

// --- Requests ----------------------------------------------------------------------

interface Kind {
  readonly name: string
  readonly times: number
  readonly path: string | ((i: number) => string)
  readonly sending?: (i: number) => Sending
  /** What the node does for such a request. */
  readonly work?: Work
}

type Gateway = Process<ToGateway, FromGateway>

const usage = async (gateway: Gateway) => {
  const used = await gateway.ask({ _tag: "Usage" })
  if (used._tag !== "Used") throw new Error(`the gateway said ${used._tag}`)
  return used
}

/** Sends requests of a kind, some of them at a time. */
const load = async (url: string, { path, sending, times }: Omit<Kind, "name" | "work">) => {
  const millis: Array<number> = []
  const statuses = new Map<number, number>()
  let next = 0
  const started = performance.now()
  await Promise.all(Array.from({ length: concurrency }, async () => {
    while (next < times) {
      const i = next++
      const [status, took] = await send(url + (typeof path === "string" ? path : path(i)), i, sending?.(i))
      statuses.set(status, (statuses.get(status) ?? 0) + 1)
      millis.push(took)
    }
  }))
  const allMillis = performance.now() - started
  // The gateway closes connections that are idle.
  for (const agent of agents) agent.destroy()
  return { millis, statuses, allMillis }
}

const measure = async (gateway: Gateway, url: string, kind: Kind): Promise<Row> => {
  const before = await usage(gateway)
  const { allMillis, millis, statuses } = await load(url, kind)
  const { cpuMicros } = await usage(gateway)
  const failed = kind.times - (statuses.get(200) ?? 0)
  const own: { [name: string]: Figure } = {}
  if (kind.work !== undefined) {
    const start = await usage(gateway)
    const done = await gateway.ask({ _tag: "Do", work: kind.work, times: kind.times, concurrency })
    if (done._tag !== "Done") throw new Error(`the gateway said ${done._tag}`)
    const end = await usage(gateway)
    Object.assign(own, figures(done.millis, done.allMillis, "node"), {
      "node CPU": { value: round((end.cpuMicros - start.cpuMicros) / kind.times / 1000), unit: "ms" }
    })
  }
  // The limits count from the first request of the window.
  await wait(windowSeconds * 1000)
  return {
    name: kind.name,
    figures: {
      ...figures(millis, allMillis, "HTTP"),
      "HTTP CPU": { value: round((cpuMicros - before.cpuMicros) / kind.times / 1000), unit: "ms" },
      "failed": { value: failed, unit: "" },
      ...own
    }
  }
}

// --- Slow clients and readers --------------------------------------------------------

const probe: Omit<Kind, "name" | "work"> = { path: "/v1/network", times: 2000 }

/** Latency of others, and what the node uses, while something goes on. */
const beside = async (gateway: Gateway, url: string, name: string, more: { [name: string]: Figure } = {}) => {
  const before = await usage(gateway)
  const { allMillis, millis, statuses } = await load(url, probe)
  const { cpuMicros, residentBytes } = await usage(gateway)
  return {
    name,
    figures: {
      ...figures(millis, allMillis, "others"),
      "others refused": { value: probe.times - (statuses.get(200) ?? 0), unit: "" as const },
      "CPU": { value: round((cpuMicros - before.cpuMicros) / allMillis / 10), unit: "%" as const },
      "memory": { value: round(residentBytes / 1024 / 1024), unit: "MiB" as const },
      ...more
    }
  }
}

/** Clients that send their request a byte a second. */
const slowSenders = (url: string, count: number): () => void => {
  const { hostname, port } = new URL(url)
  const sockets = Array.from({ length: count }, (_, i) => {
    const socket = connect({ host: hostname, port: Number(port), localAddress: hostOf(i) })
    socket.on("error", () => {}).resume()
    return socket
  })
  const text = `GET /v1/network HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nX-Slow: ${"x".repeat(60)}`
  let at = 0
  const timer = setInterval(() => {
    for (const socket of sockets) if (socket.writable) socket.write(text[at % text.length])
    at++
  }, 1000)
  return () => {
    clearInterval(timer)
    for (const socket of sockets) socket.destroy()
  }
}

/** Readers of the events of a topic. Resolves once each has a status or has lost its connection. */
const readers = async (url: string, count: number) => {
  const outcomes = new Map<string, number>()
  const open: Array<ClientRequest> = []
  const note = (outcome: string) => outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1)
  let events = 0
  await Promise.all(Array.from({ length: count }, (_, i) =>
    new Promise<void>((resolve) => {
      const reading = request(`${url}/v1/topics/${encodeURIComponent(topic)}/events`, {
        agent: false,
        localAddress: hostOf(i)
      }, (response) => {
        note(String(response.statusCode))
        response.on("data", (part: Buffer) => events += part.includes("event: ") ? 1 : 0).on("error", () => {})
        resolve()
      })
      reading.on("error", () => {
        note("closed")
        resolve()
      }).end()
      open.push(reading)
    })))
  return {
    outcomes,
    get events() {
      return events
    },
    close: () => {
      for (const reading of open) reading.destroy()
    }
  }
}

// --- The run -------------------------------------------------------------------------

const run = Effect.gen(function*() {
  const count = Number(options.nodes)
  const peers: Array<Dht["Service"]> = []
  for (let i = 0; i < count; i++) {
    const bootstrap = peers.length === 0 ? [] : [SocketAddress.format(peers[0].localAddress)]
    const services = yield* Layer.build(
      Layer.fresh(DhtLive({ listen: { host: "127.0.0.1", port: 0 }, bootstrap, verifyThreads: 0 }))
    )
    peers.push(Context.get(services, Dht))
  }
  const signed = (name: string) => topicRecord(identity(NodeCrypto.fastest, name), unixSeconds())
  const key = NodeId.fromTopic(topic)
  for (let i = 0; i < Number(options.offers); i++) yield* peers[i % count].publish(signed(`offer ${i}`), key)
  for (const peer of peers.slice(0, concurrency)) {
    yield* peer.publishEndpoint({ endpoints: ["https://ann.example"] })
    yield* peer.publishProfile({ name: "Ann" })
  }

  const gateway: Gateway = new Process("gateway.ts", [
    `--bootstrap=${SocketAddress.format(peers[0].localAddress)}`,
    `--token=${token}`
  ])
  yield* Effect.addFinalizer(() => Effect.promise(() => gateway.end()))
  const first = yield* Effect.promise(() => gateway.next())
  if (first._tag !== "Serving") return yield* Effect.die(new Error(`the gateway said ${first._tag}`))
  const { url } = first
  yield* Effect.sleep("5 seconds")

  const lookups = Number(options.lookups)
  const { writes } = rates
  /** Records at keys of their own: a key has room for a few offers only. */
  const endpoints = (from: string) =>
    Array.from(
      { length: writes.inAll },
      (_, i) => Hex.encode(endpointRecord(identity(NodeCrypto.fastest, `${from} ${i}`), unixSeconds()).bytes)
    )
  const posted = endpoints("posted")
  const address = peers[1].agent
  const agentPath = (of: Dht["Service"]) => `/v1/agents/${of.agent}?proof=true`
  const readable = peers.slice(0, concurrency)
  const topicPath = `/v1/topics/${encodeURIComponent(topic)}`
  const kinds: ReadonlyArray<Kind> = [
    { name: "GET /health/live", times: 5000, path: "/health/live" },
    { name: "GET /v1/network", times: 5000, path: "/v1/network" },
    {
      name: `GET /v1/agents/{address}, of ${readable.length} agents in turn`,
      times: lookups,
      path: (i) => agentPath(readable[i % readable.length])
    },
    {
      name: "GET /v1/agents/{address}, of one agent",
      times: lookups,
      path: agentPath(peers[1]),
      work: { _tag: "Agent", address }
    },
    {
      name: `GET /v1/topics/{topic}, ${options.offers} offers`,
      times: lookups,
      path: topicPath,
      work: { _tag: "Topic" }
    },
    {
      name: "GET /v1/records/{key}",
      times: lookups,
      path: `/v1/records/${key}?type=16`,
      work: { _tag: "Topic" }
    },
    {
      name: "PUT /v1/announcements/topics/{topic}",
      times: writes.inAll,
      path: "/v1/announcements/topics/bench",
      sending: () => ({ method: "PUT", body: JSON.stringify({ name: "Ann" }) })
    },
    {
      name: "POST /v1/records",
      times: writes.inAll,
      path: "/v1/records",
      sending: (i) => ({ method: "POST", body: JSON.stringify({ signed_hex: posted[i] }) }),
      work: { _tag: "Publish", records: endpoints("published") }
    }
  ]
  const rows: Array<Row> = []
  for (const kind of kinds) {
    rows.push(yield* Effect.promise(() => measure(gateway, url, kind)))
    console.log(`measured ${kind.name}`)
  }
  const requests: Section = {
    title: `Requests of ${concurrency} clients at a time, ${count} peers`,
    note: "CPU is the processor time of the gateway's process for each request",
    rows
  }

  const others: Array<Row> = [yield* Effect.promise(() => beside(gateway, url, "nothing else"))]
  const stopSlow = slowSenders(url, 500)
  yield* Effect.sleep("2 seconds")
  others.push(yield* Effect.promise(() => beside(gateway, url, "500 clients that send a byte a second")))
  stopSlow()
  yield* Effect.sleep("1 second")
  const streams = yield* Effect.promise(() => readers(url, 1000))
  const served = streams.outcomes.get("200") ?? 0
  const told = streams.events
  others.push(
    yield* Effect.promise(() =>
      beside(gateway, url, "1 000 readers of events", {
        "readers served": { value: served, unit: "" },
        "refused": { value: streams.outcomes.get("503") ?? 0, unit: "" },
        "disconnected": { value: streams.outcomes.get("closed") ?? 0, unit: "" }
      })
    )
  )
  const before = yield* Effect.promise(() => usage(gateway))
  yield* Effect.forEach(Array.from({ length: 10 }), (_, i) => peers[2].publish(signed(`new ${i}`), key))
  yield* Effect.sleep("10 seconds")
  const after = yield* Effect.promise(() => usage(gateway))
  const events = streams.events - told
  streams.close()
  const delivered: Section = {
    title: "Ten new offers to these readers",
    rows: [{
      name: "ten seconds",
      figures: {
        "events": { value: events, unit: "" },
        "CPU of an event": { value: round((after.cpuMicros - before.cpuMicros) / Math.max(events, 1)), unit: "µs" }
      }
    }]
  }
  const sections = [requests, { title: "Other clients meanwhile", rows: others }, delivered]
  for (const section of sections) console.log(table(section))
  console.log(`\n${save(sections, join(import.meta.dirname, "results"), new Date())}`)
}).pipe(Effect.scoped, Effect.provideService(References.MinimumLogLevel, "Error"))

await Effect.runPromise(run)
process.exit(0)
