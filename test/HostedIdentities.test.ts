import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import * as Address from "../src/Address.ts"
import * as Delegation from "../src/Delegation.ts"
import type { Content } from "../src/HostedIdentities.ts"
import * as Hex from "../src/internal/hex.ts"
import * as NodeId from "../src/NodeId.ts"
import * as Persistence from "../src/Persistence.ts"
import { layerMemoryNetwork } from "../src/Transport.ts"
import { endpointsOf, hosting, hostOn, identities, keyOf, seedOf } from "./utils/hosting.ts"
import * as network from "./utils/network.ts"
import { settled } from "./utils/served.ts"

const onNetwork = Effect.provide(layerMemoryNetwork)

const endpoint = (n: number | string): Content => ({ _tag: "Endpoint", endpoints: [`https://${n}.example`] })

/** A peer, and a node that hosts and keeps its state in a value, until `stop`. */
const start = Effect.fnUntraced(function*(medium: Persistence.Medium, name = "host", socket = network.socketOf(1)) {
  const scope = yield* Scope.fork(yield* Effect.scope)
  const node = yield* Scope.provide(scope)(
    network.node(name, socket, { services: { persistence: Persistence.layerMemory(medium) } })
  )
  yield* Effect.ignore(network.dht(node).bootstrap([network.socketOf(2)]))
  const host = yield* Scope.provide(scope)(hostOn(node))
  return { host, stop: Scope.close(scope, Exit.void) }
})

const setUp = Effect.fnUntraced(function*() {
  yield* TestClock.setTime(network.now * 1000)
  const peer = yield* network.node("peer", network.socketOf(2))
  const medium = Persistence.makeMemory()
  return { peer, medium, ...(yield* start(medium)) }
})

/** Until the records that are due are stored. */
const stored = Effect.andThen(TestClock.adjust("1 minute"), settled)

const savedIn = (medium: Persistence.Medium) => Stream.runCollect(medium.identities)

describe("HostedIdentities", () => {
  it.effect("hosts an identity until it is removed, also after a restart, and then signs nothing that is still good", () =>
    Effect.gen(function*() {
      const { host, medium, peer, stop } = yield* setUp()
      const { address } = network.identity("Ann")
      const added = yield* identities(host).add({
        ...keyOf("Ann"),
        announce: [
          endpoint(1),
          { _tag: "Topic", topic: "translate", name: "Ann", meta: { price: 3 } },
          { _tag: "Custom", type: 0x07, payload: Uint8Array.of(0xf5) },
          { _tag: "Custom", type: 0x11, payload: Uint8Array.of(0xf5), key: NodeId.fromTopic("elsewhere") }
        ]
      })
      assert.deepStrictEqual(added, { address, isDurable: true })
      yield* stored
      assert.strictEqual(yield* endpointsOf(peer, address), "https://1.example")
      yield* stop

      const again = yield* start(medium)
      assert.deepStrictEqual(yield* identities(again.host).refused, [])
      yield* TestClock.adjust("1 minute")
      const status = yield* hosting(again.host).status
      assert.deepInclude(status, { identities: 1, records: 4, signatures: 0, stores: 0 })
      yield* TestClock.adjust("3 hours")
      yield* settled
      assert.strictEqual(yield* endpointsOf(peer, address), "https://1.example")
      const { offers: [offer] } = yield* network.dht(peer).discover("translate")
      assert.deepStrictEqual([...offer.meta], [["price", 3]])

      yield* identities(again.host).remove(address)
      yield* stored
      assert.isUndefined(yield* endpointsOf(peer, address))
      yield* again.stop
      const last = yield* start(medium)
      assert.deepInclude(yield* hosting(last.host).status, { identities: 0, records: 0 })
      assert.lengthOf(yield* savedIn(medium), 0)
    }).pipe(onNetwork))

  it.effect("keeps a key encrypted, so that only a node with the same private key can use it", () =>
    Effect.gen(function*() {
      const { host, medium, stop } = yield* setUp()
      yield* identities(host).add({ ...keyOf("Ann"), announce: [endpoint(1)] })
      const [{ text }] = yield* savedIn(medium)
      const seed = seedOf("Ann")
      for (
        const form of [Hex.encode(seed), Buffer.from(seed).toString("base64"), Buffer.from(seed).toString("base64url")]
      ) {
        assert.notInclude(text.toLowerCase(), form.toLowerCase().slice(0, 16))
      }
      yield* stop

      const other = yield* start(medium, "a thief", network.socketOf(3))
      const failed = yield* Effect.forkScoped(
        Stream.runHead(Stream.filter(hosting(other.host).events, ({ _tag }) => _tag === "RenewalFailed")),
        { startImmediately: true }
      )
      yield* TestClock.adjust("2 hours")
      yield* settled
      const event = yield* Fiber.join(failed)
      assert.include(JSON.stringify(event), "a node with another key saved it")
      const [{ reason }] = (yield* hosting(other.host).get(network.identity("Ann").address)).records
      assert.strictEqual(reason?._tag, "SignerFailed")
    }).pipe(onNetwork))

  it.effect("changes what is given and keeps the rest, over a restart", () =>
    Effect.gen(function*() {
      const { host, medium, peer, stop } = yield* setUp()
      const { address } = network.identity("Ann")
      const profile = { _tag: "Profile", name: "Ann" } as const
      yield* identities(host).add({ ...keyOf("Ann"), announce: [endpoint(1), profile], ttl: 1800 })
      yield* identities(host).update(address, { replicas: 3 })
      yield* identities(host).update(address, { announce: [endpoint(2)] })
      yield* stored
      assert.strictEqual(yield* endpointsOf(peer, address), "https://2.example")
      const before = yield* hosting(host).get(address)
      assert.deepInclude(before, { replicas: 3, ttl: 1800, state: "Good" })
      assert.deepStrictEqual(before.records.map(({ type }) => type), [1])
      yield* stop
      const again = yield* start(medium)
      const after = yield* hosting(again.host).get(address)
      assert.deepInclude(after, { replicas: 3, ttl: 1800 })
      assert.deepStrictEqual(
        after.records.map(({ record }) => record?.seq),
        before.records.map(({ record }) => record?.seq)
      )
    }).pipe(onNetwork))

  it.effect("signs what an identity announces, if the last run ended before it stored a change", () =>
    Effect.gen(function*() {
      const { host, medium, peer, stop } = yield* setUp()
      const { address } = network.identity("Ann")
      const announce = [endpoint(1), { _tag: "Topic", topic: "translate", name: "Ann" }] as const
      yield* identities(host).add({ ...keyOf("Ann"), announce })
      yield* stored
      const before = yield* Stream.runCollect(medium.hosted)
      yield* identities(host).update(address, { announce: [endpoint(2), announce[1]] })
      yield* stored
      yield* stop
      yield* medium.write(before.map((left) => ({ _tag: "Hosted", ...left })), network.now * 1000)
      const again = yield* start(medium)
      yield* stored
      assert.strictEqual(yield* endpointsOf(peer, address), "https://2.example")
      assert.deepInclude(yield* hosting(again.host).status, { records: 2, signatures: 1 })
    }).pipe(onNetwork))

  it.effect("takes many at a time, each once, whether or not state is kept", () =>
    Effect.gen(function*() {
      const { host, medium } = yield* setUp()
      const forgetful = yield* hostOn(yield* network.node("forgetful", network.socketOf(3)))
      const names = Array.from({ length: 200 }, (_, n) => `agent ${n}`)
      for (const node of [host, forgetful]) {
        const adding = Effect.forEach(
          names,
          (name) => identities(node).add({ ...keyOf(name), announce: [endpoint(1)] }),
          { concurrency: 16 }
        )
        const fiber = yield* Effect.forkScoped(adding)
        yield* TestClock.adjust("10 seconds")
        const added = yield* Fiber.join(fiber)
        assert.deepStrictEqual(added.map(({ address }) => address), names.map((name) => network.identity(name).address))
      }
      assert.lengthOf(yield* savedIn(medium), 200)
    }).pipe(onNetwork))

  it.effect("refuses what cannot be hosted, and saves nothing of it", () =>
    Effect.gen(function*() {
      const { host, medium } = yield* setUp()
      const { add, remove, update } = identities(host)
      yield* add({ ...keyOf("Ann"), announce: [endpoint(1)] })
      const before = yield* savedIn(medium)
      const delegation = Delegation.delegate({
        master: network.identity("master"),
        operationalPublicKey: network.identity("other").publicKey,
        issuedAt: 0n,
        expiresAt: 0n
      })
      const refused: ReadonlyArray<readonly [string, Effect.Effect<unknown, { readonly _tag: string }>]> = [
        ["AlreadyHosted", add({ ...keyOf("Ann"), announce: [] })],
        ["InvalidDelegation", add({ ...keyOf("Ben"), delegation, announce: [] })],
        ["SameSlot", add({ ...keyOf("Ben"), announce: [endpoint(1), endpoint(2)] })],
        [
          "InvalidRecord",
          add({ ...keyOf("Ben"), announce: [{ _tag: "Custom", type: 7, payload: Uint8Array.of(1), key: "x" }] })
        ],
        ["InvalidPayload", add({ ...keyOf("Ben"), announce: [{ _tag: "Profile", meta: { a: "x".repeat(2000) } }] })],
        ["InvalidRecord", update(network.identity("Ann").address, { key: keyOf("Ben") })],
        ["NotHosted", update(network.identity("Ben").address, {})],
        ["NotHosted", remove(network.identity("Ben").address)]
      ]
      for (const [tag, work] of refused) assert.strictEqual((yield* Effect.flip(work))._tag, tag)
      assert.deepStrictEqual(yield* savedIn(medium), before)
      assert.deepInclude(yield* hosting(host).status, { identities: 1, records: 1 })
    }).pipe(onNetwork))

  it.effect("tells of identities of an earlier run whose delegations have ended, until they get another one", () =>
    Effect.gen(function*() {
      const { host, medium, peer, stop } = yield* setUp()
      const master = network.identity("master")
      const until = (expiresAt: bigint, issuedAt = 0n) =>
        Delegation.delegate({
          master,
          operationalPublicKey: network.identity("operational").publicKey,
          issuedAt,
          expiresAt
        })
      const key = keyOf("operational")
      yield* identities(host).add({
        ...key,
        delegation: until(BigInt(network.now + 3600)),
        announce: [endpoint(1)]
      })
      yield* stored
      assert.strictEqual(yield* endpointsOf(peer, master.address), "https://1.example")
      yield* stop
      yield* TestClock.adjust("2 hours")
      const again = yield* start(medium)
      const [{ address, reason }] = yield* identities(again.host).refused
      assert.deepStrictEqual([address, reason._tag], [master.address, "DelegationExpired"])
      yield* identities(again.host).update(master.address, { key: { ...key, delegation: until(0n, 1n) } })
      assert.deepStrictEqual(yield* identities(again.host).refused, [])
      yield* stored
      assert.strictEqual(yield* endpointsOf(peer, master.address), "https://1.example")
      assert.strictEqual(Address.format(address), Address.format(master.agent))
    }).pipe(onNetwork))
})
