import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import * as TestClock from "effect/testing/TestClock"
import type { Contact } from "../src/Contact.ts"
import { DelegationChecks } from "../src/DelegationChecks.ts"
import * as Endpoint from "../src/Endpoint.ts"
import * as Features from "../src/Features.ts"
import * as Message from "../src/Message.ts"
import * as NodeId from "../src/NodeId.ts"
import * as PeerHealth from "../src/PeerHealth.ts"
import * as Query from "../src/Query.ts"
import type * as Record from "../src/Record.ts"
import { Rpc } from "../src/Rpc.ts"
import type { SocketAddress } from "../src/SocketAddress.ts"
import { Store } from "../src/Store.ts"
import { layerMemoryNetwork } from "../src/Transport.ts"
import * as network from "./utils/network.ts"
import { found, helpful, offer, serve, settled } from "./utils/served.ts"
import { byWallet } from "./utils/wallets.ts"

const onNetwork = Effect.provide(layerMemoryNetwork)
const start = <A, E>(effect: Effect.Effect<A, E>) => Effect.forkChild(effect, { startImmediately: true })
const target = NodeId.fromTopic("target")
const ids = (contacts: ReadonlyArray<Contact>) => contacts.map(({ id }) => id)
const byDistance = (a: Contact, b: Contact) => NodeId.compareDistance(target, a.id, b.id)

/** A passive node: only the test starts requests. */
const setUp = Effect.gen(function*() {
  yield* TestClock.setTime(network.now * 1000)
  const node = yield* network.node("node", network.socketOf(1), { passive: true })
  return {
    node,
    dht: network.dht(node),
    query: Context.get(node, Query.Query),
    table: network.tableOf(node),
    health: Context.get(node, PeerHealth.PeerHealth)
  }
})

/** Puppets at addresses, the one closest to the target first. */
const puppetsAt = Effect.fnUntraced(function*(sockets: ReadonlyArray<SocketAddress>, name = "puppet") {
  const puppets = yield* Effect.forEach(sockets, (socket, i) => network.puppet(`${name} ${i}`, socket))
  return puppets.toSorted(byDistance)
})

const sockets = (count: number, first = 60) => Array.from({ length: count }, (_, i) => network.socketOf(first + i))

const names = (nodes: ReadonlyArray<Contact>): Message.Body => ({
  _tag: "FindNodeResponse",
  nodes,
  observed: undefined
})

/** Contacts without nodes, the one closest to the target first. */
const invented = (count: number, socketOf: (n: number) => SocketAddress): ReadonlyArray<Contact> =>
  Array.from({ length: count }, (_, i) => {
    const { address, nodeId } = network.identity(`invented ${i}`)
    return { id: nodeId, address, ...socketOf(i) }
  }).toSorted(byDistance)

/** Runs a query to its end, even if all peers are silent. */
const finish = Effect.fnUntraced(function*<A, E>(query: Effect.Effect<A, E>) {
  const running = yield* start(query)
  yield* settled
  for (let i = 0; i < 120 && running.pollUnsafe() === undefined; i++) yield* TestClock.adjust("1 second")
  return yield* Fiber.join(running)
})

describe("a refresh", () => {
  /** Answers with the other nodes of a region. */
  const serveRegion = (region: ReadonlyArray<network.Puppet>) =>
    Effect.forEach(
      region,
      (puppet) => serve(puppet, (body, from) => body._tag === "FindNode" ? names(region) : helpful(puppet)(body, from))
    )

  it.effect("asks three contacts apart from each other of those that it knows, and of the others those that it has not heard from", () =>
    Effect.gen(function*() {
      const { dht, query } = yield* setUp
      const region = yield* puppetsAt(sockets(12))
      const heard = yield* serveRegion(region)
      for (const contact of region.slice(0, 10)) yield* dht.addContact(contact)
      const found = yield* finish(query.refresh(target))
      assert.deepStrictEqual(ids(found), ids(region))
      assert.deepStrictEqual(heard.map(({ length }) => length), [1, 0, 0, 0, 1, 0, 0, 0, 0, 1, 1, 1])
    }).pipe(onNetwork))

  it.effect("of a neighbourhood asks three of the nodes that the caller knows, and of the others those that come to light", () =>
    Effect.gen(function*() {
      const { dht, query } = yield* setUp
      const region = yield* puppetsAt(sockets(12))
      const heard = yield* serveRegion(region)
      yield* dht.addContact(region[11])
      const { closest } = yield* finish(query.refreshNeighbourhood(target, region.slice(2, 11)))
      assert.deepStrictEqual(ids(closest), ids(region))
      assert.deepStrictEqual(heard.map(({ length }) => length), [1, 1, 1, 0, 0, 0, 1, 0, 0, 0, 1, 1])
    }).pipe(onNetwork))

  it.effect("is a lookup where fewer than three contacts are known", () =>
    Effect.gen(function*() {
      const { dht, query } = yield* setUp
      const region = yield* puppetsAt(sockets(12))
      const heard = yield* serveRegion(region)
      for (const contact of region.slice(0, 2)) yield* dht.addContact(contact)
      assert.deepStrictEqual(ids(yield* finish(query.refresh(target))), ids(region))
      for (const { length } of heard) assert.isAbove(length, 0)
    }).pipe(onNetwork))

  it.effect("asks at most 48 nodes, whatever liars name", () =>
    Effect.gen(function*() {
      const { dht, node, query } = yield* setUp
      const liars = yield* puppetsAt(sockets(6))
      const next = invented(200, (n) => network.socketOf(200 + n))
      for (const [i, liar] of liars.entries()) {
        yield* dht.addContact(liar)
        yield* serve(liar, () => names(next.slice(20 * i, 20 * i + 20)))
      }
      yield* finish(query.refresh(target))
      assert.isAtMost((yield* Context.get(node, Rpc).traffic).sent, 48 * 4)
    }).pipe(onNetwork))
})

describe("a lookup", () => {
  it.effect("asks reported contacts, and finds only those that answer", () =>
    Effect.gen(function*() {
      const { dht, table } = yield* setUp
      const [near, referrer] = yield* puppetsAt(sockets(2))
      const silent = yield* network.puppet("silent", network.socketOf(70))
      yield* dht.addContact(referrer)
      yield* serve(referrer, () => names([near, silent]))
      const heard = yield* serve(near, helpful(near))
      assert.deepStrictEqual(ids(yield* finish(dht.findNode(target))), [near.id, referrer.id])
      assert.isNotEmpty(heard)
      // A contact that did not answer is unverified; one that answered is
      // verified.
      assert.isDefined(table.verifiedAt(near.id))
      assert.isUndefined(table.verifiedAt(silent.id))
    }).pipe(onNetwork))

  it.effect("never finds or asks the node itself, even if a peer reports it", () =>
    Effect.gen(function*() {
      const { dht, node, query, table } = yield* setUp
      const self = network.contactOf(node)
      const [referrer] = yield* puppetsAt(sockets(1))
      yield* dht.addContact(referrer)
      yield* serve(referrer, () => names([{ ...self, ...network.socketOf(70) }, self]))
      const { closest, trace } = yield* finish(query.lookup(self.id))
      assert.deepStrictEqual(ids(closest), [referrer.id])
      assert.deepStrictEqual(trace.map(({ contact }) => contact.id), [referrer.id])
      assert.isFalse(table.contains(self.id))
    }).pipe(onNetwork))

  it.effect("sends requests to the address where a contact was heard from, not to a reported one", () =>
    Effect.gen(function*() {
      const { dht, node } = yield* setUp
      const [near, liar] = yield* puppetsAt(sockets(2))
      const trap = yield* network.puppet("trap", network.socketOf(70))
      const trapped = yield* serve(trap, helpful(trap))
      yield* dht.addContact(liar)
      const finding = yield* start(dht.findNode(target))
      // Heard from after the liar was asked.
      yield* network.introduce(near, network.contactOf(node))
      yield* liar.answer(() => names([{ ...near, host: trap.host, port: trap.port }]))
      yield* serve(near, helpful(near))
      assert.deepStrictEqual(ids(yield* finish(Fiber.join(finding))), [near.id, liar.id])
      assert.deepStrictEqual(trapped, [])
    }).pipe(onNetwork))

  it.effect("repeats a lost request within the peer's deadline", () =>
    Effect.gen(function*() {
      const { dht } = yield* setUp
      const [peer] = yield* puppetsAt(sockets(1))
      yield* dht.addContact(peer)
      let lost = 0
      const heard = yield* serve(peer, (body, from) => ++lost < 3 ? undefined : helpful(peer)(body, from))
      assert.deepStrictEqual(ids(yield* finish(dht.findNode(target))), [peer.id])
      assert.isAtMost(heard[2].at - heard[0].at, 2000)
    }).pipe(onNetwork))

  it.effect("waits at most 2 seconds for a silent peer", () =>
    Effect.gen(function*() {
      const { dht } = yield* setUp
      const [peer] = yield* puppetsAt(sockets(1))
      yield* dht.addContact(peer)
      const finding = yield* start(dht.findNode(target))
      yield* TestClock.adjust("2 seconds")
      assert.deepStrictEqual(finding.pollUnsafe() === undefined ? "running" : yield* Fiber.join(finding), [])
    }).pipe(onNetwork))

  it.effect("asks others while the closest are slow, and still counts their responses", () =>
    Effect.gen(function*() {
      const { dht } = yield* setUp
      const puppets = yield* puppetsAt(sockets(8))
      for (const puppet of puppets) yield* dht.addContact(puppet)
      const slow = puppets.slice(0, 4)
      const prompt = yield* Effect.forEach(puppets.slice(4), (puppet) => serve(puppet, helpful(puppet)))
      const finding = yield* start(dht.findNode(target))
      yield* settled
      yield* TestClock.adjust("1 second")
      assert.isTrue(prompt.every((heard) => heard.length > 0))
      assert.isUndefined(finding.pollUnsafe())
      for (const puppet of slow) yield* serve(puppet, helpful(puppet))
      yield* settled
      assert.deepStrictEqual(ids(yield* finish(Fiber.join(finding))), ids(puppets))
    }).pipe(onNetwork))

  it.effect("does not ask a peer in back-off while others answer, and asks it once the back-off is over", () =>
    Effect.gen(function*() {
      const { dht, health } = yield* setUp
      const puppets = yield* puppetsAt(sockets(20))
      const [bad] = puppets
      const heard = yield* serve(bad, helpful(bad))
      for (const puppet of puppets) yield* dht.addContact(puppet)
      for (const puppet of puppets.slice(1)) yield* serve(puppet, helpful(puppet))
      for (let i = 0; i < 2; i++) health.failedUnsafe(bad.id, network.now * 1000)
      assert.notInclude(ids(yield* finish(dht.findNode(target))), bad.id)
      assert.deepStrictEqual(heard, [])
      // Two failures in a row: a minute.
      yield* TestClock.adjust("1 minute")
      assert.strictEqual((yield* finish(dht.findNode(target)))[0].id, bad.id)
    }).pipe(onNetwork))

  it.effect("asks a peer in back-off if there is no other", () =>
    Effect.gen(function*() {
      const { dht, health } = yield* setUp
      const [bad] = yield* puppetsAt(sockets(1))
      yield* serve(bad, helpful(bad))
      yield* dht.addContact(bad)
      for (let i = 0; i < 5; i++) health.failedUnsafe(bad.id, network.now * 1000)
      assert.deepStrictEqual(ids(yield* finish(dht.findNode(target))), [bad.id])
    }).pipe(onNetwork))

  it.effect("reports each request: its contact, outcome, duration and result", () =>
    Effect.gen(function*() {
      const { dht, query } = yield* setUp
      const [near, referrer, silent] = yield* puppetsAt(sockets(3))
      for (const contact of [referrer, silent]) yield* dht.addContact(contact)
      yield* serve(referrer, () => names([near]))
      yield* serve(near, helpful(near))
      const { trace } = yield* finish(query.lookup(target))
      const step = (contact: Contact) => trace.find(({ contact: { id } }) => id === contact.id)
      assert.deepInclude(step(referrer), { outcome: "Answered", depth: 0, closerNodes: 1 })
      assert.deepInclude(step(near), {
        outcome: "Answered",
        depth: 1,
        closerNodes: 0,
        commonPrefixLength: NodeId.commonPrefixLength(target, near.id)
      })
      const lost = step(silent)
      assert.deepInclude(lost, { outcome: "Failed", depth: 0 })
      assert.strictEqual(lost?.tookMillis, 2000)
    }).pipe(onNetwork))
})

describe("a liar", () => {
  it.effect("with a /24 of invented neighbours does not hide other nodes", () =>
    Effect.gen(function*() {
      const { dht } = yield* setUp
      const puppets = yield* puppetsAt(sockets(12))
      const liar = yield* network.puppet("liar", { host: "9.200.0.1", port: 4121 })
      const fakes = yield* puppetsAt(
        Array.from({ length: 60 }, (_, i) => ({ host: `9.200.0.${i + 2}`, port: 4121 })),
        "fake"
      )
      // All of them answer, and report each other.
      for (const fake of [liar, ...fakes]) yield* serve(fake, () => names(fakes.slice(0, 12)))
      yield* dht.addContact(liar)
      for (const puppet of puppets) {
        yield* serve(puppet, helpful(puppet))
        yield* dht.addContact(puppet)
      }
      const closest = ids(yield* finish(dht.findNode(target)))
      assert.includeMembers(closest, ids(puppets))
    }).pipe(onNetwork))

  it.effect("with a /48 of invented neighbours does not hide other nodes", () =>
    Effect.gen(function*() {
      const { dht } = yield* setUp
      const puppets = yield* puppetsAt(
        Array.from({ length: 12 }, (_, i) => ({ host: `2a00:${i + 1}::1`, port: 4121 }))
      )
      const fakes = yield* puppetsAt(
        Array.from({ length: 40 }, (_, i) => ({ host: `2a01:1:1:${i + 1}::1`, port: 4121 })),
        "fake"
      )
      for (const fake of fakes) yield* serve(fake, () => names(fakes.slice(0, 8)))
      yield* dht.addContact(fakes[39])
      for (const puppet of puppets) {
        yield* serve(puppet, helpful(puppet))
        yield* dht.addContact(puppet)
      }
      assert.includeMembers(ids(yield* finish(dht.findNode(target))), ids(puppets))
    }).pipe(onNetwork))

  for (const [name, host] of [["loopback", "127.0.0.1"], ["private", "10.0.0.1"], ["private IPv6", "fd00::1"]]) {
    it.effect(`is not assumed if all nodes are of one ${name} range: they are found like others`, () =>
      Effect.gen(function*() {
        const { dht } = yield* setUp
        const puppets = yield* puppetsAt(Array.from({ length: 24 }, (_, i) => ({ host, port: 5000 + i })))
        for (const puppet of puppets) {
          yield* serve(puppet, helpful(puppet))
          yield* dht.addContact(puppet)
        }
        assert.deepStrictEqual(ids(yield* finish(dht.findNode(target))), ids(puppets).slice(0, 16))
      }).pipe(onNetwork))
  }

  it.effect("that reports no closer contact does not prolong the lookup", () =>
    Effect.gen(function*() {
      const { dht, query } = yield* setUp
      const puppets = yield* puppetsAt(sockets(18))
      const farther = invented(400, (n) => network.socketOf(1000 + n)).filter((contact) =>
        byDistance(puppets[17], contact) < 0
      )
      for (const [i, puppet] of puppets.entries()) {
        yield* serve(puppet, () => names(farther.slice(10 * i, 10 * i + 10)))
        yield* dht.addContact(puppet)
      }
      const { closest, trace } = yield* finish(query.lookup(target))
      assert.deepStrictEqual(ids(closest), ids(puppets).slice(0, 16))
      assert.isTrue(trace.every(({ contact }) => ids(puppets).includes(contact.id)))
    }).pipe(onNetwork))

  it.effect("costs a lookup at most 128 requests, however many accomplices it has", () =>
    Effect.gen(function*() {
      const { dht, query } = yield* setUp
      const liars = yield* puppetsAt(sockets(30))
      const fakes = invented(300, (n) => network.socketOf(1000 + n))
      for (const [i, liar] of liars.entries()) {
        yield* dht.addContact(liar)
        yield* serve(liar, () => names(fakes.slice(10 * i, 10 * i + 10)))
      }
      const { closest, trace } = yield* finish(query.lookup(target))
      assert.isAtMost(trace.length, 128)
      assert.isTrue(closest.every(({ id }) => ids(liars).includes(id)))
    }).pipe(onNetwork))
})

describe("finding records", () => {
  const holding = Effect.fnUntraced(function*(
    holders: ReadonlyArray<ReadonlyArray<ReturnType<typeof offer>>>
  ) {
    const world = yield* setUp
    const puppets = yield* puppetsAt(sockets(holders.length))
    const heard = yield* Effect.forEach(puppets, (puppet, i) => serve(puppet, () => found(...holders[i])))
    for (const puppet of puppets) yield* world.dht.addContact(puppet)
    return { ...world, puppets, heard }
  })
  const offers = (records: ReadonlyArray<{ readonly address: string; readonly seq: bigint }>) =>
    records.map(({ address, seq }) => `${address} ${seq}`).toSorted()

  it.effect("merges all records of a key from other nodes and this one, by slot, newest first", () =>
    Effect.gen(function*() {
      const [ann, bob, cid] = ["ann", "bob", "cid"].map((name) => (seq: bigint) => offer("target", name, { seq }))
      const { dht, heard, node } = yield* holding([[ann(1n), bob(2n)], [], [ann(3n)], [bob(1n), cid(1n)]])
      yield* Context.get(node, Store).put(target, ann(2n))
      yield* Context.get(node, Store).put(target, cid(2n))
      const all = yield* finish(dht.aggregateRecords(target))
      assert.deepStrictEqual(offers(all), offers([ann(3n), bob(2n), cid(2n)]))
      // Every node was asked, although there were records from the first
      // response on.
      assert.isTrue(heard.every((messages) => messages.length > 0))
    }).pipe(onNetwork))

  it.effect("reads the holders of a full key that the answers of other holders have no room to name, without another lookup", () =>
    Effect.gen(function*() {
      const { dht, query } = yield* setUp
      const puppets = yield* puppetsAt(sockets(16))
      let asked = 0
      const paging = Features.own({ client: false, sessions: false })
      const all = Array.from({ length: 110 }, (_, i) => offer("target", `agent ${i}`))
      for (const [rank, puppet] of puppets.entries()) {
        // The last ones have what the others have no room for.
        const held = rank < 8 ? all.slice(0, 100) : all.slice(10)
        yield* serve(puppet, (body, from) => {
          if (body._tag === "FindNode") {
            asked++
            return names(puppets.slice(rank < 8 ? 0 : 8).slice(0, 15))
          }
          if (body._tag !== "FindValue") return helpful(puppet)(body, from)
          const wanted = body.wanted === undefined ? undefined : new Set(body.wanted)
          return {
            ...found(...held.filter((record, i) => wanted?.has(Message.digest(record)) ?? i === 0).slice(0, 3)),
            nodes: wanted === undefined ? puppets.slice(0, 4) : null,
            listed: wanted === undefined ? held.slice(1).map(Message.digest) : undefined
          } as Message.Body
        }, paging)
      }
      for (const puppet of puppets.slice(0, 8)) yield* dht.addContact(puppet)
      const { completeness, records } = yield* finish(query.readAll(target))
      assert.deepStrictEqual(offers(records), offers(all))
      assert.deepInclude(completeness, { answered: 16, holders: 16, seen: 110, held: 110 })
      assert.isAtMost(asked, puppets.length / 2)
    }).pipe(onNetwork))

  it.effect("does not rest on what a stranger stored here, an old version for one", () =>
    Effect.gen(function*() {
      const old = offer("target", "ann", { seq: 1n })
      const newer = offer("target", "ann", { seq: 2n })
      const { dht, heard, node } = yield* holding([[newer], [newer], [newer], []])
      Context.get(node, Store).admitUnsafe(target, old, network.now, "203.0.113.0/24")
      assert.deepStrictEqual(offers(yield* finish(dht.findRecords(target))), offers([newer]))
      assert.isNotEmpty(heard[0])
    }).pipe(onNetwork))

  it.effect("answers at once with what this node published itself, and asks nobody", () =>
    Effect.gen(function*() {
      const { dht, heard, node } = yield* holding([[], []])
      const own = offer("target", "ann")
      yield* Context.get(node, Store).put(target, own)
      const finding = yield* start(dht.findRecords(target))
      yield* settled
      assert.deepStrictEqual(offers(yield* Fiber.join(finding)), offers([own]))
      assert.deepStrictEqual(heard.flat(), [])
      // A quorum that is asked for is one of others.
      assert.strictEqual((yield* finish(dht.findRecords(target, { quorum: 1 }))).length, 1)
      assert.isNotEmpty(heard.flat())
    }).pipe(onNetwork))

  it.effect("finds the newest version although an old one was replayed to others, the nearest one among them", () =>
    Effect.gen(function*() {
      const old = offer("target", "ann", { seq: 1n })
      const newer = offer("target", "ann", { seq: 2n })
      const { dht } = yield* holding(Array.from({ length: 16 }, (_, i) => [i === 0 || i >= 8 ? old : newer]))
      assert.deepStrictEqual(offers(yield* finish(dht.findRecords(target))), offers([newer]))
    }).pipe(onNetwork))

  it.effect("gives the newest version to holders that return an older one, to 8 at most", () =>
    Effect.gen(function*() {
      const old = offer("target", "ann", { seq: 1n })
      const newer = offer("target", "ann", { seq: 2n })
      for (const count of [3, 12]) {
        yield* Effect.gen(function*() {
          const { dht, heard, puppets } = yield* holding([
            ...Array.from({ length: count }, () => [old]),
            [newer],
            [],
            []
          ])
          yield* finish(dht.aggregateRecords(target))
          yield* settled
          const given = puppets.flatMap((_, i) =>
            heard[i].flatMap(({ body }) => body._tag === "Store" ? [{ i, ...body }] : [])
          )
          for (const { i, key, record } of given) {
            assert.deepStrictEqual([key, record.seq], [target, 2n])
            assert.isBelow(i, count)
          }
          assert.strictEqual(new Set(given.map(({ i }) => i)).size, Math.min(count, 8))
          assert.strictEqual(given.length, Math.min(count, 8))
        }).pipe(Effect.scoped, onNetwork)
      }
    }))

  it.effect("asks the network for all of a key even where the record is here", () =>
    Effect.gen(function*() {
      const { dht, heard, node } = yield* holding([[]])
      yield* Context.get(node, Store).put(target, offer("target", "ann"))
      assert.strictEqual((yield* finish(dht.aggregateRecords(target))).length, 1)
      assert.strictEqual(heard[0].length, 1)
    }).pipe(onNetwork))

  it.effect("ignores records of another type or key, and expired ones", () =>
    Effect.gen(function*() {
      const signer = network.identity("ann")
      const endpoint = Result.getOrThrow(Endpoint.sign({
        signer,
        address: signer.address,
        payload: Endpoint.make({ endpoints: [] }),
        seq: 1n,
        timestamp: BigInt(network.now),
        ttl: 3600
      }))
      const { dht } = yield* holding([[endpoint], [offer("target", "bob", { ttl: 10 })]])
      yield* TestClock.adjust("1 minute")
      assert.strictEqual((yield* finish(Effect.flip(dht.findRecords(target)))).answered, 2)
      assert.strictEqual((yield* finish(Effect.flip(dht.aggregateRecords(target, 0x10)))).answered, 2)
    }).pipe(onNetwork))

  it.effect("has no delegations checked but those of the type that it looks for", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(network.now * 1000)
      const prepared: Array<Record.SignedRecord> = []
      const node = yield* network.node("node", network.socketOf(1), {
        passive: true,
        services: {
          delegationChecks: Layer.mock(DelegationChecks)({
            prepareUnsafe: () => assert.fail("no record came with a request"),
            prepareResponse: (records) => {
              prepared.push(...records)
              return Effect.succeed(records)
            }
          })
        }
      })
      const [puppet] = yield* puppetsAt(sockets(1))
      const wanted = offer("target", "ann")
      yield* serve(puppet, () => found(byWallet({ seq: 1n, forgery: 1 }), wanted))
      const dht = network.dht(node)
      yield* dht.addContact(puppet)
      const records = yield* finish(dht.aggregateRecords(target, wanted.type))
      assert.deepStrictEqual(offers(records), offers([wanted]))
      assert.deepStrictEqual(offers(prepared), offers([wanted]))
    }).pipe(onNetwork))

  it.effect("counts each holder once for a quorum, and a holder without a valid record not at all", () =>
    Effect.gen(function*() {
      const { dht } = yield* holding([
        [offer("target", "ann", { seq: 1n })],
        [offer("target", "ann", { ttl: 1 })],
        [offer("target", "ann", { seq: 3n })],
        [offer("target", "ann", { seq: 2n })]
      ])
      yield* TestClock.adjust("1 minute")
      const [newest] = yield* finish(dht.findRecords(target, { quorum: 3 }))
      assert.strictEqual(newest.seq, 3n)
    }).pipe(onNetwork))

  it.effect("returns the records found if a quorum is not reached", () =>
    Effect.gen(function*() {
      const { dht } = yield* holding([[offer("target", "ann")], []])
      assert.strictEqual((yield* finish(dht.findRecords(target, { quorum: 5 }))).length, 1)
    }).pipe(onNetwork))

  it.effect("continues with the nodes of a response without records", () =>
    Effect.gen(function*() {
      const { dht } = yield* setUp
      const [holder, referrer] = yield* puppetsAt(sockets(2))
      yield* dht.addContact(referrer)
      yield* serve(referrer, () => ({ ...found(), nodes: [holder] }) as Message.Body)
      yield* serve(holder, () => found(offer("target", "ann")))
      assert.strictEqual((yield* finish(dht.findRecords(target))).length, 1)
    }).pipe(onNetwork))

  it.effect("does not store the records it found", () =>
    Effect.gen(function*() {
      const { dht, node } = yield* holding([[offer("target", "ann")]])
      yield* finish(dht.findRecords(target))
      assert.strictEqual(yield* Context.get(node, Store).size, 0)
    }).pipe(onNetwork))
})

describe("asking one peer", () => {
  it.effect("sends requests for nodes, for records and to store one to that peer only", () =>
    Effect.gen(function*() {
      const { dht } = yield* setUp
      const [peer, named] = yield* puppetsAt(sockets(2))
      const record = offer("target", "ann")
      const unasked = yield* serve(named, helpful(named))
      const heard = yield* serve(peer, (body, from) => {
        switch (body._tag) {
          case "FindNode":
            return names([named])
          case "FindValue":
            return { ...found(record), nodes: [named] } as Message.Body
          default:
            return helpful(peer)(body, from)
        }
      })
      assert.deepStrictEqual(ids(yield* dht.findNodeAt(peer, target)), [named.id])
      const { nodes, records } = yield* dht.findValueAt(peer, target, 0x10)
      assert.deepStrictEqual([ids(nodes), records.map(({ seq }) => seq)], [[named.id], [1n]])
      assert.isTrue(yield* dht.storeAt(peer, record, target))
      assert.deepStrictEqual((yield* dht.ping(peer)).observed, network.socketOf(1))
      assert.deepStrictEqual(heard.map(({ body }) => body._tag), ["FindNode", "FindValue", "Store", "Ping"])
      assert.deepStrictEqual(unasked, [])
    }).pipe(onNetwork))
})

describe("the neighbourhood of a key", () => {
  it.effect("is not called surrounded by a node whose estimate is older than the growth of the network", () =>
    Effect.gen(function*() {
      const [first] = yield* network.build(4)
      const query = Context.get(first, Query.Query)
      const keys = Array.from({ length: 64 }, (_, i) => NodeId.fromTopic(`key ${i}`))
      yield* Effect.forEach(keys, query.findNode, { discard: true })
      for (let i = 0; i < 120; i++) {
        const node = yield* network.node(`late ${i}`, network.socketOf(100 + i), { passive: true })
        yield* Effect.forkChild(network.dht(node).bootstrapContacts([network.contactOf(first)]))
        yield* network.dht(first).addContact(network.contactOf(node))
      }
      yield* settled
      const neighbourhoods = yield* Effect.forEach(keys.slice(0, 16), query.neighbourhood)
      assert.deepStrictEqual(neighbourhoods.filter(({ isSurrounded }) => isSurrounded), [])
    }).pipe(Effect.scoped, onNetwork))

  it.effect("is read where nodes surround the key: nodes farther away that hold its records are found", () =>
    Effect.gen(function*() {
      const { dht, query } = yield* setUp
      // 12 liars whose ids share 6 bits with the key, and two others that do not share the first.
      const names = Array.from({ length: 4000 }, (_, i) => `ground ${i}`)
      const idOf = (name: string) => network.identity(name).nodeId
      const ground = names.filter((name) => NodeId.commonPrefixLength(idOf(name), target) >= 6).slice(0, 12)
      const [far, farther] = names.filter((name) => NodeId.commonPrefixLength(idOf(name), target) === 0)
      const start = (name: string, i: number) => network.puppet(name, network.socketOf(60 + i))
      const liars = yield* Effect.forEach(ground, start)
      const known = yield* start(far, 20)
      const holder = yield* start(farther, 21)
      const surround = (body: Message.Body): Message.Body | undefined =>
        body._tag === "FindNode"
          ? { _tag: "FindNodeResponse", nodes: liars, observed: undefined }
          : body._tag === "FindValue"
          ? { ...found(), nodes: liars } as Message.Body
          : undefined
      yield* Effect.forEach(liars, (liar) => serve(liar, surround), { discard: true })
      yield* serve(known, (body) =>
        body._tag === "FindNode" && NodeId.commonPrefixLength(body.target, target) === 0
          ? { _tag: "FindNodeResponse", nodes: [holder], observed: undefined }
          : surround(body))
      const record = offer("target", "ann")
      yield* serve(holder, (body, from) => body._tag === "FindValue" ? found(record) : helpful(holder)(body, from))
      yield* dht.addContact(known)
      const reading = yield* Effect.forkChild(query.readAll(target), { startImmediately: true })
      for (let i = 0; i < 40; i++) {
        yield* settled
        yield* TestClock.adjust("100 millis")
      }
      assert.deepStrictEqual((yield* Fiber.join(reading)).records.map(({ seq }) => seq), [record.seq])
    }).pipe(Effect.scoped, onNetwork))
})
