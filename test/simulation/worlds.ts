/**
 * The worlds that every test run includes. Each takes seconds; all randomness
 * comes from a seed.
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import { Dht } from "../../src/Dht.ts"
import * as Endpoint from "../../src/Endpoint.ts"
import { Query } from "../../src/Query.ts"
import * as Record from "../../src/Record.ts"
import { Rpc } from "../../src/Rpc.ts"
import * as Byzantine from "../../src/testing/Byzantine.ts"
import type { Deed, Story } from "../../src/testing/internal/story.ts"
import type { Violation } from "../../src/testing/Properties.ts"
import * as Liveness from "../../src/testing/PropertiesLiveness.ts"
import { filling, junkMessages, junkOffers, replays, surrounding } from "./attacks.ts"
import { twoFamilies } from "./families.ts"
import { histories } from "./histories.ts"
import { hosting } from "./hosting.ts"
import { meetings } from "./meetings.ts"
import { announce, everybodyLooks, leaveAll, newest, realSignatures, standIn, violationsOf } from "./nodes.ts"
import { few, oneWay, routers } from "./routers.ts"
import { type Outcome, runProgram, runStory } from "./run.ts"
import { sessions } from "./sessions.ts"

// --- Stories -------------------------------------------------------------------

const quiet: Pick<Story, "seed" | "latency" | "loss" | "duplication"> = {
  seed: 1,
  latency: 20,
  loss: 0,
  duplication: 0
}

const at = (minutes: number, deed: Deed) => ({ at: Math.round(minutes * 60), deed })

/** Events of most kinds, on a lossy network. */
export const eventful: Story = {
  ...quiet,
  nodes: 10,
  loss: 0.05,
  duplication: 0.02,
  realSignatures: true,
  happenings: [
    at(0.1, { do: "announce", node: 1 }),
    at(0.1, { do: "offer", node: 2, topic: "bread" }),
    at(0.5, { do: "crash", node: 4 }),
    at(0.6, { do: "announce", node: 7 }),
    at(0.7, { do: "send", node: 3, peer: 1 }),
    at(1, { do: "partition", nodes: 4 }),
    at(1.2, { do: "publish", node: 1 }),
    at(1.2, { do: "discover", node: 8, topic: "bread" }),
    at(2, { do: "heal" }),
    at(2.1, { do: "restart", node: 4 }),
    at(2.2, { do: "leave", node: 5 }),
    at(2.5, { do: "join" }),
    at(3, { do: "send", node: 6, peer: 1 }),
    at(3.1, { do: "send", node: 6, peer: 1 }),
    at(3.2, { do: "withdraw", node: 7 }),
    at(3.3, { do: "resolve", node: 9, peer: 1 })
  ]
}

/** Small enough to run under a hundred schedules. */
export const small: Story = {
  ...quiet,
  nodes: 6,
  loss: 0.05,
  happenings: [
    at(0.1, { do: "announce", node: 1 }),
    at(0.1, { do: "resolve", node: 2, peer: 1 }),
    at(0.2, { do: "offer", node: 2, topic: "bread" }),
    at(0.5, { do: "crash", node: 3 }),
    at(0.5, { do: "discover", node: 4, topic: "bread" }),
    at(0.6, { do: "restart", node: 3 }),
    at(0.6, { do: "publish", node: 1 }),
    at(0.7, { do: "withdraw", node: 2 })
  ]
}

/** Long enough for records that are no longer renewed to expire. */
const long: Story = {
  ...quiet,
  nodes: 6,
  happenings: [
    at(0.1, { do: "announce", node: 1 }),
    at(0.2, { do: "offer", node: 2, topic: "bread" }),
    at(0.3, { do: "announce", node: 3 }),
    at(5, { do: "withdraw", node: 1 }),
    at(6, { do: "crash", node: 2 }),
    at(20, { do: "join" })
  ]
}

/** A holder and a publisher crash and start again with their state. */
const restarts: Story = {
  ...quiet,
  nodes: 6,
  happenings: [
    at(0.1, { do: "publish", node: 1 }),
    at(0.2, { do: "publish", node: 2 }),
    at(0.5, { do: "publish", node: 1 }),
    at(1, { do: "crash", node: 3 }),
    at(1.5, { do: "restart", node: 3 }),
    at(2, { do: "crash", node: 2 }),
    at(2.5, { do: "restart", node: 2 })
  ]
}

const clocks: Story = {
  ...quiet,
  nodes: 9,
  happenings: [
    at(0.5, { do: "announce", node: 1 }),
    at(1, { do: "clock", node: 1, seconds: 7200 }),
    at(2, { do: "clock", node: 3, seconds: -7200 }),
    at(2.5, { do: "announce", node: 2 }),
    at(3, { do: "clock", node: 4, seconds: 600 })
  ]
}

/** Nodes behind routers of each kind exchange messages, and one changes its address. */
export const households: Story = {
  ...quiet,
  nodes: 6,
  loss: 0.02,
  realSignatures: true,
  households: [
    { router: "fullCone", nodes: 1 },
    { router: "restrictedCone", nodes: 1 },
    { router: "portRestrictedCone", nodes: 2 },
    { router: "symmetric", nodes: 2 }
  ],
  happenings: [
    at(0.1, { do: "announce", node: 6 }),
    at(0.1, { do: "announce", node: 7 }),
    at(0.2, { do: "announce", node: 9 }),
    at(0.3, { do: "announce", node: 10 }),
    at(0.3, { do: "announce", node: 1 }),
    at(0.5, { do: "offer", node: 11, topic: "bread" }),
    at(0.6, { do: "send", node: 1, peer: 10 }),
    at(0.7, { do: "send", node: 10, peer: 9 }),
    at(0.8, { do: "resolve", node: 8, peer: 9 }),
    at(1, { do: "crash", node: 3 }),
    at(2, { do: "leave", node: 7 }),
    // By then its mapping in the router has expired.
    at(5, { do: "restart", node: 7 }),
    at(5, { do: "discover", node: 6, topic: "bread" })
  ]
}

/** Nodes sign under delegations, also after those have expired. */
export const delegations: Story = {
  ...quiet,
  nodes: 8,
  happenings: [
    at(0.1, { do: "speak", node: 1, master: "Ann", seconds: 60 }),
    at(0.2, { do: "speak", node: 2, master: "Eve", seconds: 0 }),
    at(0.3, { do: "ask", node: 3, master: "Ann" }),
    at(0.3, { do: "ask", node: 3, master: "Eve" }),
    at(2, { do: "ask", node: 4, master: "Ann" }),
    at(2, { do: "speak", node: 5, master: "Eve", seconds: 60 }),
    at(2.5, { do: "ask", node: 6, master: "Eve" }),
    at(3.5, { do: "ask", node: 6, master: "Eve" }),
    at(4, { do: "speak", node: 7, master: "Ann", seconds: 7200 })
  ]
}

// --- Worlds --------------------------------------------------------------------

/** Full buckets, and no churn. */
const crowd = (): Outcome =>
  runProgram(
    Effect.fnUntraced(function*(world, safety) {
      const nodes = yield* world.startNodes(60, { app: safety.probe })
      yield* Effect.sleep("10 minutes")
      const announced = yield* announce(nodes[5], 1)
      yield* Effect.sleep("10 minutes")
      const found = yield* Liveness.check(world, nodes, { announced: [announced] })
      yield* leaveAll(nodes)
      return found
    }),
    standIn
  )

/** A hundred nodes and a partition; every tenth node crashes and returns. */
const churn = (): Outcome =>
  runProgram(
    Effect.fnUntraced(function*(world, safety) {
      world.network.conditions.loss = 0.02
      world.network.conditions.duplication = 0.01
      const nodes = yield* world.startNodes(100, { app: safety.probe })
      const publishers = nodes.filter((_, i) => i % 10 === 1)
      yield* Effect.forEach(publishers, (node, i) => announce(node, i), { discard: true })
      yield* Effect.sleep("2 minutes")
      for (const node of nodes.filter((_, i) => i % 10 === 5)) {
        yield* node.crash()
        yield* Effect.sleep("5 seconds")
        yield* Effect.forkScoped(Effect.ignore(Effect.delay(node.start, "1 minute")))
      }
      world.network.partition(nodes.slice(0, 40).map(({ host }) => host))
      yield* Effect.sleep("3 minutes")
      world.network.heal()
      Object.assign(world.network.conditions, { loss: 0, duplication: 0 })
      yield* Effect.sleep("15 minutes")
      const found = yield* Liveness.check(world, nodes, { announced: yield* newest(publishers) })
      yield* leaveAll(nodes)
      return found
    }),
    standIn
  )

/** Twenty honest nodes and one liar of each kind. */
const liars = (): Outcome =>
  runProgram(
    Effect.fnUntraced(function*(world, safety) {
      const nodes = yield* world.startNodes(24, { app: safety.probe })
      const behaviours = Object.keys(Byzantine.behaviours) as Array<Byzantine.Behaviour>
      const machines = behaviours.map((behaviour) =>
        world.machine(behaviour, Byzantine.layer(behaviour, { through: nodes.slice(0, 3), rate: 50 }))
      )
      yield* Effect.forEach(machines, ({ start }) => start, { discard: true })
      yield* Effect.sleep("1 minute")
      yield* Effect.forEach(nodes.slice(0, 4), (node, i) => announce(node, i), { discard: true })
      yield* Effect.sleep("12 minutes")
      const announced = yield* newest(nodes.slice(0, 4))
      yield* Effect.forEach(announced, ({ key, record }) =>
        Effect.forEach(nodes, (node) =>
          Effect.map(
            node.run(Query.use((query) => query.findRecords(key, { type: record.type }))),
            (records) => records.forEach((found) => safety.returned(node.name, key, found))
          )))
      // Half of the liars acknowledge records without storing them.
      const found = yield* Liveness.check(world, nodes, { announced, replicas: 4 })
      yield* leaveAll([...nodes, ...machines])
      return found
    }),
    realSignatures
  )

/** Holders receive an older record with the seq of the one that they hold. */
const sameSeq = (): Outcome =>
  runProgram(
    Effect.fnUntraced(function*(world, safety) {
      const nodes = yield* world.startNodes(5, { app: safety.probe })
      const [publisher, ...others] = nodes
      const { identity } = publisher
      const versionAt = (secondsAgo: number) =>
        Endpoint.sign({
          signer: identity,
          address: identity.address,
          payload: Endpoint.make({ endpoints: [`tcp://192.0.2.1:${secondsAgo}`] }),
          seq: 5n,
          timestamp: BigInt(Math.floor(world.timeline.currentTimeMillisUnsafe() / 1000) - secondsAgo),
          ttl: 600
        })
      yield* Effect.sleep("20 seconds")
      const [newer, older] = [Result.getOrThrow(versionAt(1)), Result.getOrThrow(versionAt(2))]
      yield* publisher.run(Dht.use((dht) => dht.publish(newer)))
      yield* Effect.sleep("10 seconds")
      for (const { socket } of others) yield* publisher.run(Dht.use((dht) => dht.storeAt(socket, older)))
      yield* everybodyLooks(nodes, identity.nodeId)
      yield* Effect.sleep("1 second")
      const found = yield* Liveness.check(world, nodes, {
        announced: [{ publisher: publisher.name, key: identity.nodeId, record: newer }]
      })
      yield* leaveAll(nodes)
      return found
    }),
    realSignatures
  )

/** A record lives 75 seconds, and every node looks it up until well after its expiry. */
const shortLived = (): Outcome =>
  runProgram(
    Effect.fnUntraced(function*(world, safety) {
      const nodes = yield* world.startNodes(6, { app: safety.probe })
      const { key, record } = yield* nodes[1].run(
        Dht.use((dht) => dht.publishEndpoint({ endpoints: ["tcp://192.0.2.1:1"], ttl: 75 }))
      )
      const found: Array<Violation> = []
      for (let i = 0; i < 20; i++) {
        yield* Effect.sleep("6 seconds")
        yield* everybodyLooks(nodes, key)
        found.push(
          ...(yield* Liveness.check(world, nodes, { withdrawn: [{ publisher: nodes[1].name, key, record }] }))
        )
      }
      yield* leaveAll(nodes)
      return found
    }),
    realSignatures
  )

/** A node sends forged records to all others. */
const forgery = (): Outcome =>
  runProgram(
    Effect.fnUntraced(function*(world, safety) {
      const nodes = yield* world.startNodes(5, { app: safety.probe })
      const [victim, forger, ...others] = nodes
      const { record } = yield* victim.run(Dht.use((dht) => dht.publishEndpoint({ endpoints: ["tcp://192.0.2.1:1"] })))
      yield* Effect.sleep("10 seconds")
      const newer = { ...record, seq: record.seq + 1n }
      const unsigned = Result.getOrThrow(Record.decode(Record.encode(newer)))
      const foreign = { ...newer, publicKey: forger.identity.publicKey }
      const message = Record.signedBytes(Result.getOrThrow(Record.decode(Record.encode(foreign))))
      const signature = forger.identity.sign(message)
      const usurped = Result.getOrThrow(Record.decode(Record.encode({ ...foreign, signature })))
      for (const { socket } of others) {
        yield* forger.run(Dht.use((dht) => dht.storeAt(socket, unsigned)))
        yield* forger.run(Dht.use((dht) => dht.storeAt(socket, usurped)))
      }
      yield* everybodyLooks(nodes, victim.identity.nodeId)
      yield* Effect.sleep("1 minute")
      yield* leaveAll(nodes)
      return []
    }),
    realSignatures
  )

/** An address publishes more records than a key has room for. */
const talkative = (): Outcome =>
  runProgram(
    Effect.fnUntraced(function*(world, safety) {
      const nodes = yield* world.startNodes(5, { app: safety.probe })
      for (let type = 0x03; type <= 0x0f; type++) {
        yield* nodes[1].run(Dht.use((dht) => dht.publishCustom({ type, payload: Uint8Array.of(0xa0) })))
      }
      yield* Effect.sleep("1 minute")
      yield* everybodyLooks(nodes, nodes[1].identity.nodeId)
      yield* leaveAll(nodes)
      return []
    }),
    standIn
  )

/** Requests are interrupted before their response, and leave nothing behind. */
const interrupted = (): Outcome =>
  runProgram(
    Effect.fnUntraced(function*(world, safety) {
      const node = world.node("node 0", { app: safety.probe })
      const absent = world.node("absent")
      yield* node.start
      const { found, report } = violationsOf(world)
      for (let i = 1; i <= 20; i++) {
        yield* node.run(Dht.use((dht) => dht.ping(absent.socket))).pipe(Effect.timeoutOption(i * 37), Effect.ignore)
        const requests = yield* node.run(Rpc.use(({ pending }) => pending))
        if (requests === 0) continue
        report("NothingIsLeft", node.name, { pending: requests })
      }
      yield* leaveAll([node])
      return found
    }),
    standIn
  )

export const replayWorld = (name: string): string => `node test/simulation/world.ts ${name}`

/** The worlds by name. */
export const worlds: { readonly [name: string]: () => Outcome } = {
  eventful: () => runStory(eventful),
  small: () => runStory(small),
  long: () => runStory(long),
  restarts: () => runStory(restarts),
  clocks: () => runStory(clocks),
  households: () => runStory(households),
  delegations: () => runStory(delegations),
  crowd,
  churn,
  liars,
  sameSeq,
  shortLived,
  forgery,
  talkative,
  interrupted,
  histories,
  hosting,
  junkOffers,
  junkMessages,
  filling,
  replays,
  surrounding,
  sessions,
  routers,
  few,
  oneWay,
  meetings,
  twoFamilies
}
