/** Worlds with attackers that write junk to an open network, or choose their ids. */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import type { Provider } from "../../src/Crypto.ts"
import { Dht } from "../../src/Dht.ts"
import * as Endpoint from "../../src/Endpoint.ts"
import * as Identity from "../../src/Identity.ts"
import { sha256 } from "../../src/internal/sha256.ts"
import * as Mail from "../../src/Mail.ts"
import * as NodeCrypto from "../../src/node/NodeCrypto.ts"
import { NodeEvents } from "../../src/NodeEvents.ts"
import * as NodeId from "../../src/NodeId.ts"
import { Query } from "../../src/Query.ts"
import * as Record from "../../src/Record.ts"
import * as Byzantine from "../../src/testing/Byzantine.ts"
import { identityOf } from "../../src/testing/internal/madeUp.ts"
import { Prng } from "../../src/testing/internal/prng.ts"
import * as Liveness from "../../src/testing/PropertiesLiveness.ts"
import * as SimCrypto from "../../src/testing/SimCrypto.ts"
import type * as SimWorld from "../../src/testing/SimWorld.ts"
import * as Topic from "../../src/Topic.ts"
import { announce, type DhtNode, leaveAll, newest, realSignatures, standIn, violationsOf } from "./nodes.ts"
import { type Outcome, runProgram } from "./run.ts"

/** The `n`th identity of an attacker. */
const madeUp = (crypto: Provider, n: number): Identity.Identity => identityOf(crypto, `made up ${n}`)

const secondsOf = (world: SimWorld.World) => Math.floor(world.timeline.currentTimeMillisUnsafe() / 1000)

/** A client in its own /24 that only writes and is in no routing table. */
const stranger = Effect.fnUntraced(function*(world: SimWorld.World, name: string) {
  const node = world.node(name, { dht: { client: true, passive: true } })
  yield* node.start
  return node
})

/** Stores every record at every node, some at a time. */
const spread = (
  from: DhtNode,
  to: ReadonlyArray<DhtNode>,
  records: ReadonlyArray<Record.SignedRecord>,
  key: NodeId.NodeId | undefined
) =>
  Effect.forEach(
    to,
    ({ socket }) =>
      Effect.forEach(records, (record) => Effect.ignore(from.run(Dht.use((dht) => dht.storeAt(socket, record, key))))),
    { concurrency: 16, discard: true }
  )

const nearest = <N extends Pick<DhtNode, "identity">>(nodes: ReadonlyArray<N>, key: NodeId.NodeId): ReadonlyArray<N> =>
  nodes.toSorted((a, b) => NodeId.compareDistance(key, a.identity.nodeId, b.identity.nodeId))

const offerBread = (node: DhtNode) =>
  Effect.map(
    node.run(Effect.flatMap(
      Dht.use((dht) => dht.announceTopic({ topic: "bread", name: node.name, ttl: 3600 })),
      ({ current }) => current
    )),
    ({ key, record }): Liveness.Announced => ({ publisher: node.name, key, record })
  )

/** An attacker in one network publishes three hundred offers for a topic, between the offers of honest nodes. */
export const junkOffers = (): Outcome =>
  runProgram(
    Effect.fnUntraced(function*(world, safety) {
      const nodes = yield* world.startNodes(24, { app: safety.probe })
      const early = yield* Effect.forEach(nodes.slice(0, 4), offerBread)
      yield* Effect.sleep("30 seconds")
      // The latest timestamp that holders accept.
      const timestamp = BigInt(secondsOf(world) + 50)
      const junk = Array.from({ length: 300 }, (_, n) => {
        const signer = madeUp(SimCrypto.simulated, n)
        const payload = Topic.make({ topic: "bread", name: "x".repeat(100) })
        return Result.getOrThrow(
          Topic.sign({ signer, address: signer.address, payload, seq: 9n, timestamp, ttl: Topic.maxTtl })
        )
      })
      yield* spread(yield* stranger(world, "baker"), nodes, junk, NodeId.fromTopic("bread"))
      const late = yield* Effect.forEach(nodes.slice(4, 8), offerBread)
      yield* Effect.sleep("2 minutes")
      const found = yield* Liveness.check(world, nodes, { announced: [...early, ...late] })
      yield* leaveAll(nodes)
      return found
    }),
    standIn
  )

/** Honest nodes send messages to an offline node; before and after, an attacker sends it a hundred of junk. */
export const junkMessages = (): Outcome =>
  runProgram(
    Effect.fnUntraced(function*(world, safety) {
      const nodes = yield* world.startNodes(20, { app: safety.probe })
      const ann = world.node("ann", { app: safety.probe, through: nodes.slice(0, 3) })
      yield* ann.start
      yield* ann.run(Dht.use((dht) => dht.publishProfile({ name: "Ann" })))
      yield* Effect.sleep("10 seconds")
      yield* ann.leave
      const { address, nodeId } = ann.identity
      const junk = (from: number) =>
        Array.from({ length: 100 }, (_, n) => {
          const signer = madeUp(NodeCrypto.fastest, from + n)
          const message = {
            recipient: address,
            sender: signer.address,
            ephemeralPublicKey: signer.publicKey,
            ciphertext: sha256(signer.publicKey),
            nonce: new Uint8Array(12)
          }
          return Result.getOrThrow(Record.sign({
            signer,
            address: signer.address,
            type: Record.RecordType.mailbox,
            payload: Mail.encode(message),
            seq: 9n,
            timestamp: BigInt(secondsOf(world) + 50),
            ttl: 0xffffffff
          }))
        })
      const holders = nearest(nodes, nodeId).slice(0, 16)
      const spammer = yield* stranger(world, "spammer")
      yield* spread(spammer, holders, junk(0), nodeId)
      const sent = Array.from({ length: 45 }, (_, i): Liveness.Message => ({ recipient: "ann", id: `message ${i}` }))
      yield* Effect.forEach(sent, ({ id }, i) =>
        nodes[i % nodes.length].run(Dht.use(({ mail }) =>
          mail.send({ recipient: address, type: Mail.MessageType.text, body: new TextEncoder().encode(id) })
        )))
      yield* Effect.sleep("1 minute")
      yield* spread(spammer, holders, junk(100), nodeId)
      yield* ann.start
      const received: Array<Liveness.Message> = []
      yield* ann.run(Effect.forkScoped(Dht.use(({ mail }) =>
        Stream.runForEach(mail.messages, ({ body }) =>
          Effect.sync(() =>
            received.push({ recipient: "ann", id: new TextDecoder().decode(body) })
          ))
      )))
      // Time for one lookup: the answers of several would bring the messages in turn.
      yield* Effect.sleep("10 seconds")
      const found = yield* Liveness.check(world, nodes, { sent, received })
      yield* leaveAll([...nodes, ann])
      return found
    }),
    realSignatures
  )

/** Byte limit of the stores in `filling`: about fifty records. */
const fewBytes = 64 * 1024

/** Attackers in a hundred networks fill the stores of a publisher's holders with records of distant keys. */
export const filling = (): Outcome =>
  runProgram(
    Effect.fnUntraced(function*(world, safety) {
      const nodes = yield* world.startNodes(96, { app: safety.probe, dht: { maxBytes: fewBytes } })
      yield* Effect.sleep("5 minutes")
      const announced = yield* announce(nodes[5], 1, 3600)
      yield* nodes[5].run(Dht.use((dht) => dht.announceProfile({ name: "five", ttl: 3600 })))
      yield* Effect.sleep("1 minute")
      const holders = nearest(nodes, announced.key).filter(({ name }) => name !== announced.publisher).slice(0, 16)
      const far = NodeId.flip(NodeId.flip(announced.key, 0), 1)
      // These lookups give the holders an estimate of the network size.
      yield* Effect.forEach(holders, (holder) =>
        Effect.forEach([0, 1, 2, 3], (bit) =>
          holder.run(Dht.use((dht) =>
            dht.findNode(NodeId.flip(holder.identity.nodeId, bit))
          ))), { concurrency: 4 })
      const timestamp = BigInt(secondsOf(world))
      const junk: Array<Record.SignedRecord> = []
      for (let n = 0; junk.length < 200; n++) {
        const signer = madeUp(SimCrypto.simulated, n)
        if (NodeId.commonPrefixLength(far, signer.nodeId) < 3) {
          continue
        }
        const payload = Endpoint.make({ endpoints: ["tcp://192.0.2.1:1"] })
        junk.push(
          Result.getOrThrow(Endpoint.sign({ signer, address: signer.address, payload, seq: 1n, timestamp, ttl: 3600 }))
        )
      }
      yield* Effect.forEach(
        Array.from({ length: 100 }, (_, i) =>
          i),
        (i) =>
          Effect.flatMap(
            stranger(world, `filler ${i}`),
            (node) => spread(node, holders, junk.slice(2 * i, 2 * i + 2), undefined)
          ),
        { concurrency: 8 }
      )
      yield* Effect.sleep("1 minute")
      const found = yield* Liveness.check(world, nodes, { announced: [announced] })
      yield* leaveAll(nodes)
      return found
    }),
    standIn,
    { maxBytes: fewBytes }
  )

/** An attacker replays the first version of an endpoint to all nodes after its publisher has moved. */
export const replays = (): Outcome =>
  runProgram(
    Effect.fnUntraced(function*(world, safety) {
      const nodes = yield* world.startNodes(44, { app: safety.probe })
      const publisher = nodes[5]
      const first = yield* announce(publisher, 1, 3600)
      yield* Effect.sleep("1 minute")
      yield* publisher.run(Dht.use((dht) => dht.publishEndpoint({ endpoints: ["tcp://192.0.2.2:2"], ttl: 3600 })))
      yield* Effect.sleep("1 minute")
      const latest = yield* newest([publisher])
      yield* spread(yield* stranger(world, "parrot"), nodes, [first.record], undefined)
      const found = yield* Liveness.check(world, nodes, { resolved: latest, published: latest })
      yield* leaveAll(nodes)
      return found
    }),
    standIn
  )

/** The names of `count` machines whose ids share at least `bits` leading bits with a key. */
const ground = (world: SimWorld.World, key: NodeId.NodeId, bits: number, count: number): ReadonlyArray<string> => {
  const found: Array<string> = []
  for (let i = 0; found.length < count; i++) {
    const name = `ground ${i}`
    const seed = new Prng(world.seed, `identity ${name} 0`).bytes(32)
    const { nodeId } = Identity.fromSeed(SimCrypto.simulated, seed)
    if (NodeId.commonPrefixLength(key, nodeId) >= bits) found.push(name)
  }
  return found
}

/** Twenty Byzantine nodes surround a topic and name only each other; offers are made before and after. */
export const surrounding = (): Outcome =>
  runProgram(
    Effect.fnUntraced(function*(world, safety) {
      const nodes = yield* world.startNodes(150, { app: safety.probe })
      yield* Effect.sleep("2 minutes")
      const key = NodeId.fromTopic("bread")
      const told = new Set<string>()
      const listening = (node: DhtNode) =>
        node.run(NodeEvents.use(({ listen }) =>
          listen((event) => {
            if (event._tag === "KeySurrounded") told.add(`${node.name} ${event.key}`)
          })
        ))
      yield* Effect.forEach(nodes.slice(0, 6), listening)
      const early = yield* offerBread(nodes[1])
      const apart = yield* announce(nodes[2], 1)
      yield* Effect.sleep("1 minute")
      const liars: Array<SimWorld.SimNode<never, unknown>> = []
      for (const name of ground(world, key, 12, 20)) {
        liars.push(world.machine(name, Byzantine.layer("eclipses", { through: nodes.slice(0, 3), accomplices: liars })))
      }
      yield* Effect.forEach(liars, ({ start }) => start, { concurrency: 8, discard: true })
      yield* Effect.sleep("2 minutes")
      const late = yield* offerBread(nodes[3])
      yield* Effect.sleep("2 minutes")
      const { found, report } = violationsOf(world)
      for (const reader of nodes.slice(10, 70)) {
        const read = yield* reader.run(
          Query.use((query) => Effect.orElseSucceed(query.aggregateRecords(key), (): ReadonlyArray<never> => []))
        )
        for (const { publisher, record } of [early, late]) {
          if (read.some(({ address }) => address === record.address)) continue
          report("AnnouncedIsFound", reader.name, { publisher, key })
        }
      }
      const surroundings = [
        { ...late, isSurrounded: true },
        { ...apart, isSurrounded: false }
      ].map(({ isSurrounded, key, publisher }) => ({
        publisher,
        key,
        isSurrounded,
        told: told.has(`${publisher} ${key}`)
      }))
      found.push(...(yield* Liveness.check(world, nodes, { surroundings })))
      yield* leaveAll([...nodes, ...liars])
      return found
    }),
    standIn
  )
