import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as SubscriptionRef from "effect/SubscriptionRef"
import * as TestClock from "effect/testing/TestClock"
import * as Bootstrap from "../src/Bootstrap.ts"
import * as Features from "../src/Features.ts"
import { layerTable, NameResolver } from "../src/NameResolver.ts"
import * as NodeId from "../src/NodeId.ts"
import * as PeerHealth from "../src/PeerHealth.ts"
import * as Routing from "../src/Routing.ts"
import { Rpc } from "../src/Rpc.ts"
import * as SocketAddress from "../src/SocketAddress.ts"
import { layerMemoryNetwork } from "../src/Transport.ts"
import * as network from "./utils/network.ts"
import { helpful, serve, settled } from "./utils/served.ts"

const onNetwork = Effect.provide(layerMemoryNetwork)
const start = <A, E>(effect: Effect.Effect<A, E>) => Effect.forkChild(effect, { startImmediately: true })

const setUp = Effect.gen(function*() {
  yield* TestClock.setTime(network.now * 1000)
  const node = yield* network.node("node", network.socketOf(1))
  const bootstrap = Context.get(node, Bootstrap.Bootstrap)
  return {
    node,
    dht: network.dht(node),
    health: Context.get(node, PeerHealth.PeerHealth),
    rpc: Context.get(node, Rpc),
    bootstrap,
    membership: SubscriptionRef.get(bootstrap.membership)
  }
})

/** Every name has 1500 addresses of its own, none of them with a node. */
const layerLarge = Layer.succeed(NameResolver, {
  lookup: (name) =>
    Effect.succeed(
      Array.from({ length: 1500 }, (_, i) => `11.${Number(/\d+/.exec(name))}.${i >> 8}.${i & 255}`)
    )
})

const seeds = (count: number) =>
  Effect.forEach(Array.from({ length: count }), (_, i) => network.puppet(`seed ${i}`, network.socketOf(60 + i)))

describe("joining", () => {
  it.effect("pings all addresses at once", () =>
    Effect.gen(function*() {
      const { dht } = yield* setUp
      const puppets = yield* seeds(20)
      yield* start(Effect.ignore(dht.bootstrap(puppets)))
      // No time passes.
      for (const puppet of puppets) assert.strictEqual((yield* puppet.receive).message.body._tag, "Ping")
    }).pipe(onNetwork))

  it.effect("accepts a response that takes seconds", () =>
    Effect.gen(function*() {
      const { dht } = yield* setUp
      const [late] = yield* seeds(1)
      const joining = yield* start(dht.bootstrap([late]))
      yield* TestClock.adjust("4 seconds")
      yield* serve(late, helpful(late))
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual((yield* Fiber.join(joining)).map(({ id }) => id), [late.id])
    }).pipe(onNetwork))

  it.effect("gives up after ten seconds, and reports each address once", () =>
    Effect.gen(function*() {
      const { dht } = yield* setUp
      const silent = [60, 61, 62].map(network.socketOf)
      yield* seeds(3)
      const joining = yield* start(Effect.flip(dht.bootstrap(silent)))
      yield* TestClock.adjust("3 seconds")
      assert.isUndefined(joining.pollUnsafe())
      yield* TestClock.adjust("7 seconds")
      const { failures } = yield* Fiber.join(joining)
      assert.deepStrictEqual(failures.map(({ address }) => address), silent)
      assert.isTrue(failures.every(({ error }) => error._tag === "NoAnswer"))
    }).pipe(onNetwork))

  it.effect("leaves the node up if it fails: the node answers, and a peer that finds it becomes its contact", () =>
    Effect.gen(function*() {
      const { dht, node } = yield* setUp
      assert.strictEqual((yield* Effect.flip(dht.bootstrap([network.socketOf(99)]))).failures.length, 1)
      const other = yield* network.node("other", network.socketOf(2))
      assert.strictEqual((yield* network.dht(other).bootstrap([network.socketOf(1)])).length, 1)
      assert.isTrue(network.tableOf(node).contains(network.contactOf(other).id))
    }).pipe(onNetwork))

  it.effect("looks up its own id, so that its neighbours know it", () =>
    Effect.gen(function*() {
      const nodes = yield* network.build(40)
      const late = yield* network.node("late", network.socketOf(100))
      yield* network.dht(late).bootstrap([network.socketOf(1)])
      // They ping the newcomer, and the newcomer those that it has not asked.
      yield* settled
      const self = network.contactOf(late)
      const neighbours = nodes.toSorted((a, b) =>
        NodeId.compareDistance(self.id, network.contactOf(a).id, network.contactOf(b).id)
      ).slice(0, 16)
      const table = network.tableOf(late)
      for (const neighbour of neighbours) {
        assert.isDefined(table.verifiedAt(network.contactOf(neighbour).id))
        assert.isTrue(network.tableOf(neighbour).contains(self.id))
      }
    }).pipe(onNetwork))

  it.effect("has a stranger dial back before it contacts more peers, for a second at most", () =>
    Effect.gen(function*() {
      const { dht, membership } = yield* setUp
      const [seed] = yield* seeds(1)
      const heard = yield* serve(seed, helpful(seed), Features.Bit.dialBack)
      const joining = yield* start(dht.bootstrap([seed]))
      yield* settled
      const requests = () => heard.map(({ body }) => body._tag)
      assert.strictEqual((yield* membership)._tag, "Joined")
      assert.include(requests(), "NatProbe")
      assert.notInclude(requests(), "FindNode")
      yield* TestClock.adjust("1 second")
      assert.lengthOf(yield* Fiber.join(joining), 1)
      assert.include(requests(), "FindNode")
    }).pipe(onNetwork))

  it.effect("verifies half a bucket of every distant bucket within seconds, if there are enough nodes", () =>
    Effect.gen(function*() {
      const nodes = yield* network.build(100)
      yield* TestClock.adjust("1 minute")
      const late = yield* network.node("late", network.socketOf(200))
      yield* network.dht(late).bootstrap([network.socketOf(1)])
      const self = network.contactOf(late).id
      const { bucketUnsafe } = Context.get(late, Routing.Routing)
      const verified = (bucket: number) =>
        bucketUnsafe(bucket).entries.filter(({ verifiedAt }) => verifiedAt !== undefined).length
      const places = nodes.map((node) => NodeId.bucketIndex(self, network.contactOf(node).id))
      const deepest = Math.max(...places)
      const thin = () =>
        Array.from({ length: deepest + 1 }, (_, bucket) => bucket).filter((bucket) =>
          verified(bucket) < Math.min(places.filter((place) => place === bucket).length, 8)
        )
      // Unverified contacts do not count.
      assert.isNotEmpty(thin())
      yield* TestClock.adjust("4 seconds")
      assert.deepStrictEqual(thin(), [])
    }).pipe(onNetwork))

  it.effect("asks three neighbours twice more, since those that join at the same time know few at first", () =>
    Effect.gen(function*() {
      const { dht } = yield* setUp
      const found = yield* seeds(8)
      const heard = yield* Effect.forEach(found, (seed) => serve(seed, helpful(seed)))
      yield* dht.bootstrap(found)
      const asked = () =>
        heard.flat().filter(({ body }) => body._tag === "FindNode" && body.target === dht.nodeId).length
      const before = asked()
      yield* TestClock.adjust("15 seconds")
      assert.strictEqual(asked(), before + 2 * 3)
    }).pipe(onNetwork))

  it.effect("contacts only the given addresses while the node is passive", () =>
    Effect.gen(function*() {
      const { dht } = yield* setUp
      const [seed, known] = yield* seeds(2)
      const heard = yield* serve(seed, helpful(seed))
      const unasked = yield* serve(known, helpful(known))
      yield* dht.setPassive(true)
      yield* dht.addContact(known)
      yield* dht.bootstrap([seed])
      yield* dht.bootstrapContacts([seed])
      yield* TestClock.adjust("5 minutes")
      assert.deepStrictEqual(heard.map(({ body }) => body._tag), ["Ping"])
      assert.deepStrictEqual(unasked, [])
    }).pipe(onNetwork))

  it.effect("does not count its own address as another node", () =>
    Effect.gen(function*() {
      const { dht, node } = yield* setUp
      assert.deepStrictEqual(yield* dht.bootstrap([network.contactOf(node)]), [])
      const joining = yield* start(Effect.flip(dht.bootstrap([network.contactOf(node), network.socketOf(99)])))
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual((yield* Fiber.join(joining)).failures.map(({ address }) => address), [
        network.socketOf(99)
      ])
      const [late] = yield* seeds(1)
      const again = yield* start(dht.bootstrap([network.contactOf(node), late]))
      yield* TestClock.adjust("4 seconds")
      yield* serve(late, helpful(late))
      yield* TestClock.adjust("2 seconds")
      assert.deepStrictEqual((yield* Fiber.join(again)).map(({ id }) => id), [late.id])
    }).pipe(onNetwork))

  it.effect("replaces silent unverified contacts by others", () =>
    Effect.gen(function*() {
      const { dht, node } = yield* setUp
      const table = network.tableOf(node)
      const names = Array.from({ length: 100 }, (_, i) => `peer ${i}`).filter((name) =>
        NodeId.bucketIndex(network.contactOf(node).id, network.identity(name).nodeId) === 0
      )
      const peers = yield* Effect.forEach(names.slice(0, 20), (name, i) =>
        network.puppet(name, network.socketOf(300 + i)))
      const [silent, lively] = [peers.slice(0, 12), peers.slice(12)]
      for (const peer of lively) {
        yield* serve(peer, helpful(peer))
      }
      const [seed] = yield* seeds(1)
      let asked = 0
      yield* serve(seed, (body, from) =>
        body._tag === "FindNode"
          ? { _tag: "FindNodeResponse", nodes: asked++ < 2 ? silent : lively, observed: undefined }
          : helpful(seed)(body, from))
      yield* start(dht.bootstrap([seed]))
      for (let i = 0; i < 20; i++) {
        yield* Effect.andThen(settled, TestClock.adjust("1 second"))
      }
      assert.lengthOf(
        lively.filter(({ id }) =>
          table.verifiedAt(id) !== undefined
        ),
        8
      )
    }).pipe(onNetwork))

  it.effect("sends known contacts FIND_NODE requests, and no pings", () =>
    Effect.gen(function*() {
      const { dht } = yield* setUp
      const [seed] = yield* seeds(1)
      const heard = yield* serve(seed, helpful(seed))
      yield* dht.bootstrapContacts([seed])
      assert.isNotEmpty(heard)
      assert.isTrue(heard.every(({ body }) => body._tag === "FindNode"))
    }).pipe(onNetwork))

  it.effect("refuses the response of another id than the known contact's", () =>
    Effect.gen(function*() {
      const { dht } = yield* setUp
      const [seed] = yield* seeds(1)
      yield* serve(seed, helpful(seed))
      const { address, nodeId } = network.identity("expected")
      const joining = yield* start(dht.bootstrapContacts([{ ...seed, address, id: nodeId }]))
      yield* TestClock.adjust("30 seconds")
      yield* Fiber.join(joining)
      assert.strictEqual((yield* dht.stats).completed, 0)
    }).pipe(onNetwork))
})

describe("addresses to remember", () => {
  const answered = Effect.fnUntraced(function*(count: number) {
    const world = yield* setUp
    yield* world.dht.setPassive(true)
    const puppets = yield* seeds(count)
    for (const puppet of puppets) {
      yield* serve(puppet, helpful(puppet))
      yield* world.dht.ping(puppet)
    }
    return { ...world, puppets }
  })
  const sockets = (contacts: ReadonlyArray<network.Puppet>) => contacts.map(({ host, port }) => ({ host, port }))

  it.effect("include contacts that answered, the good ones before the unknown, and exclude the bad ones", () =>
    Effect.gen(function*() {
      const { dht, health, puppets: [good, unknown, bad, alsoGood] } = yield* answered(4)
      health.failedUnsafe(unknown.id, network.now * 1000)
      for (let i = 0; i < 2; i++) health.failedUnsafe(bad.id, network.now * 1000)
      const candidates = yield* dht.bootstrapCandidates(10)
      assert.sameDeepMembers(candidates.slice(0, 2), sockets([good, alsoGood]))
      assert.deepStrictEqual(candidates.slice(2), sockets([unknown]))
    }).pipe(onNetwork))

  it.effect("are the requested number of the healthiest contacts", () =>
    Effect.gen(function*() {
      const { dht, health, puppets } = yield* answered(5)
      const unknown = puppets.slice(0, 3)
      for (const { id } of unknown) health.failedUnsafe(id, network.now * 1000)
      assert.sameDeepMembers([...(yield* dht.bootstrapCandidates(2))], sockets(puppets.slice(3)))
      assert.deepStrictEqual(yield* dht.bootstrapCandidates(0), [])
    }).pipe(onNetwork))

  it.effect("exclude contacts that never answered a request, and unverified contacts", () =>
    Effect.gen(function*() {
      const { dht, node } = yield* setUp
      yield* dht.setPassive(true)
      const [asker, heardOf] = yield* seeds(2)
      network.tableOf(node).add(asker, network.now * 1000, network.now * 1000)
      network.tableOf(node).add(heardOf, undefined, network.now * 1000)
      assert.strictEqual((yield* dht.stats).contacts, 2)
      assert.deepStrictEqual(yield* dht.bootstrapCandidates(10), [])
    }).pipe(onNetwork))
})

describe("a host given by its name", () => {
  it.effect("is resolved, and tried at its addresses until one answers", () =>
    Effect.gen(function*() {
      const { dht } = yield* setUp
      const [silent, answering, spare] = yield* seeds(3)
      const unasked = yield* serve(spare, helpful(spare))
      yield* serve(answering, helpful(answering))
      const joining = yield* start(dht.bootstrap(["seeds.example:4121"]))
      assert.strictEqual((yield* silent.receive).message.body._tag, "Ping")
      yield* TestClock.adjust("250 millis")
      assert.deepStrictEqual((yield* Fiber.join(joining)).map(({ id }) => id), [answering.id])
      yield* TestClock.adjust("1 second")
      // It was not given as an address of its own, and its turn did not come.
      assert.deepStrictEqual(unasked.filter(({ body }) => body._tag === "Ping"), [])
    }).pipe(
      Effect.provide(layerTable({ "seeds.example": [60, 61, 62].map((n) => network.socketOf(n).host) })),
      onNetwork
    ))

  it.effect("fails with a reason if it cannot be resolved, as does a text that is not a host", () =>
    Effect.gen(function*() {
      const { dht } = yield* setUp
      const { failures, message } = yield* Effect.flip(
        dht.bootstrap(["nowhere.example:4121", { host: "gone.example", port: 1 }, "4121"])
      )
      assert.deepStrictEqual(failures.map(({ address, error }) => [SocketAddress.format(address), error._tag]), [
        ["nowhere.example:4121", "CannotResolve"],
        ["gone.example:1", "CannotResolve"],
        ["4121", "InvalidSocketAddress"]
      ])
      assert.include(message, "no such name")
      assert.include(message, "write host:port")
    }).pipe(onNetwork))

  it.effect("does not delay the other hosts if it is unknown", () =>
    Effect.gen(function*() {
      const { dht } = yield* setUp
      const [seed] = yield* seeds(1)
      yield* serve(seed, helpful(seed))
      const joining = yield* start(dht.bootstrap(["nowhere.example:4121", seed]))
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual((yield* Fiber.join(joining)).map(({ id }) => id), [seed.id])
    }).pipe(onNetwork))

  it.effect("is tried at eight addresses, and all names together at 256, however many they have", () =>
    Effect.gen(function*() {
      const { dht } = yield* setUp
      for (const [names, asked] of [[1, 8], [64, 256]]) {
        const hosts = Array.from({ length: names }, (_, n) => `many${n}.example:4121`)
        assert.lengthOf((yield* Effect.flip(dht.bootstrap(hosts))).failures, asked)
      }
    }).pipe(Effect.provide(layerLarge), onNetwork))
})

describe("membership", () => {
  const own = network.socketOf(1)

  it.effect("begins as Alone, and is First if the only address is the node's own", () =>
    Effect.gen(function*() {
      for (
        const hosts of [
          [],
          [own],
          [`${own.host}:${own.port}`, own],
          [{ host: "me.example", port: own.port }, own],
          ["me.example:4121", "also.me.example:4121"]
        ]
      ) {
        yield* Effect.scoped(Effect.gen(function*() {
          const { dht, membership } = yield* setUp
          assert.deepStrictEqual(yield* membership, { _tag: "Alone", failures: [] })
          assert.deepStrictEqual(yield* dht.bootstrap(hosts), [])
          assert.strictEqual((yield* membership)._tag, "First")
        }))
      }
    }).pipe(
      Effect.provide(layerTable({ "me.example": [own.host], "also.me.example": [own.host] })),
      onNetwork
    ))

  it.effect("stays Alone if one of the other addresses is silent, with the reason", () =>
    Effect.gen(function*() {
      const { dht, membership } = yield* setUp
      yield* seeds(1)
      const joining = yield* start(Effect.flip(dht.bootstrap([own, network.socketOf(60)])))
      yield* TestClock.adjust("10 seconds")
      const { failures } = yield* Fiber.join(joining)
      assert.deepStrictEqual(failures.map(({ address }) => address), [network.socketOf(60)])
      assert.deepStrictEqual(yield* membership, { _tag: "Alone", failures })
    }).pipe(onNetwork))

  it.effect("does not end at our own response if the name has other addresses", () =>
    Effect.gen(function*() {
      const { dht, membership } = yield* setUp
      const [seed] = yield* seeds(1)
      yield* serve(seed, helpful(seed))
      assert.deepStrictEqual((yield* dht.bootstrap(["all.example:4121"])).map(({ id }) => id), [seed.id])
      assert.strictEqual((yield* membership)._tag, "Joined")
    }).pipe(
      Effect.provide(layerTable({ "all.example": [own.host, network.socketOf(60).host] })),
      onNetwork
    ))

  it.effect("is reached in the background while attempts fail, with one warning", () =>
    Effect.gen(function*() {
      const { bootstrap, membership } = yield* setUp
      const logged: Array<string> = []
      const logger = Logger.make(({ logLevel, message }) => void logged.push(`${logLevel}: ${String(message)}`))
      const [seed] = yield* seeds(1)
      const joining = yield* bootstrap.keepJoining([seed]).pipe(
        Effect.provide(Logger.layer([logger])),
        Effect.forkChild({ startImmediately: true })
      )
      yield* TestClock.adjust("9 seconds")
      assert.isUndefined(joining.pollUnsafe())
      yield* TestClock.adjust("1 second")
      // The first attempt is over, so keepJoining has returned.
      yield* Fiber.join(joining)
      assert.strictEqual((yield* membership)._tag, "Alone")
      yield* TestClock.adjust("1 minute")
      assert.lengthOf(logged, 1)
      assert.match(logged[0], /^Warn: No bootstrap node answers yet \(.*9\.0\.60\.1:4121/)
      yield* serve(seed, helpful(seed))
      for (let second = 0; second < 300 && (yield* membership)._tag === "Alone"; second++) {
        yield* TestClock.adjust("1 second")
        yield* settled
      }
      assert.strictEqual((yield* membership)._tag, "Joined")
    }).pipe(Effect.scoped, onNetwork))

  it.effect("is pursued by attempts that tell what they try, when they ended, and when the next begins", () =>
    Effect.gen(function*() {
      const { bootstrap } = yield* setUp
      assert.isUndefined(yield* bootstrap.lastAttempt)
      const [seed] = yield* seeds(1)
      const startedAt = yield* Clock.currentTimeMillis
      yield* Effect.forkChild(bootstrap.keepJoining([seed, "not a host"]), { startImmediately: true })
      const first = {
        number: 1,
        hosts: [`${seed.host}:${seed.port}`, "not a host"],
        remembered: 0,
        startedAt,
        endedAt: undefined,
        nextAt: undefined
      }
      assert.deepStrictEqual(yield* bootstrap.lastAttempt, first)
      yield* TestClock.adjust("10 seconds")
      const ended = yield* bootstrap.lastAttempt
      assert(ended?.nextAt !== undefined)
      assert.deepStrictEqual(ended, { ...first, endedAt: startedAt + 10_000, nextAt: ended.nextAt })
      assert.isAbove(ended.nextAt, startedAt + 10_000)
      yield* TestClock.setTime(ended.nextAt)
      assert.deepStrictEqual(yield* bootstrap.lastAttempt, { ...first, number: 2, startedAt: ended.nextAt })
    }).pipe(Effect.scoped, onNetwork))

  it.effect("tells when the next attempt begins, and that the last is in progress, beside others to rejoin", () =>
    Effect.gen(function*() {
      const { bootstrap } = yield* setUp
      const [seed] = yield* seeds(1)
      const startedAt = yield* Clock.currentTimeMillis
      yield* Effect.forkChild(bootstrap.keepJoining([seed]), { startImmediately: true })
      yield* TestClock.adjust("4 seconds")
      yield* Effect.forkChild(bootstrap.rejoin, { startImmediately: true })
      // The first attempt ends, and plans the next.
      yield* TestClock.adjust("6 seconds")
      const during = yield* bootstrap.lastAttempt
      assert.deepInclude(during, { number: 2, startedAt: startedAt + 4000, endedAt: undefined })
      assert(during?.nextAt !== undefined)
      yield* TestClock.setTime(during.nextAt - 1)
      yield* Effect.forkChild(bootstrap.rejoin, { startImmediately: true })
      assert.deepInclude(yield* bootstrap.lastAttempt, { number: 3, nextAt: during.nextAt })
      yield* TestClock.setTime(during.nextAt)
      assert.deepInclude(yield* bootstrap.lastAttempt, { number: 4, nextAt: undefined })
    }).pipe(Effect.scoped, onNetwork))

  it.effect("is not pursued after the scope closes", () =>
    Effect.gen(function*() {
      const { bootstrap, dht, membership, rpc } = yield* setUp
      // A passive node does not look for others of its own accord.
      yield* dht.setPassive(true)
      const [seed] = yield* seeds(1)
      const joining = yield* start(Effect.scoped(bootstrap.keepJoining([seed])))
      yield* TestClock.adjust("10 seconds")
      yield* Fiber.join(joining)
      const before = (yield* rpc.traffic).sent
      yield* TestClock.adjust("9 seconds")
      assert.strictEqual((yield* rpc.traffic).sent, before)
      assert.strictEqual((yield* membership)._tag, "Alone")
    }).pipe(onNetwork))

  it.effect("is established when the layer of a node with bootstrap addresses is built", () =>
    Effect.gen(function*() {
      yield* setUp
      const node = yield* network.node("late", network.socketOf(2), { bootstrap: ["me.example:4121"] })
      assert.deepStrictEqual(SubscriptionRef.getUnsafe(Context.get(node, Bootstrap.Bootstrap).membership), {
        _tag: "Joined"
      })
      assert.isAtLeast((yield* network.dht(node).stats).verifiedContacts, 1)
    }).pipe(Effect.provide(layerTable({ "me.example": [own.host] })), onNetwork))
})
