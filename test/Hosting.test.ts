import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Address } from "../src/Address.ts"
import * as Delegation from "../src/Delegation.ts"
import { Dht } from "../src/Dht.ts"
import * as Hosting from "../src/Hosting.ts"
import * as Identity from "../src/Identity.ts"
import * as NodeId from "../src/NodeId.ts"
import * as Profile from "../src/Profile.ts"
import * as Record from "../src/Record.ts"
import { Rpc } from "../src/Rpc.ts"
import { Store } from "../src/Store.ts"
import { identityOf } from "../src/testing/internal/madeUp.ts"
import * as SimCrypto from "../src/testing/SimCrypto.ts"
import * as SimWorld from "../src/testing/SimWorld.ts"
import * as Topic from "../src/Topic.ts"
import * as Families from "./simulation/families.ts"

const crypto = SimCrypto.simulated

const run = <A>(
  program: (world: SimWorld.World) => Effect.Effect<A, unknown, SimWorld.SimWorld | Scope.Scope>,
  seed: number = 1
): A => SimWorld.runSync(Effect.flatMap(SimWorld.SimWorld, program), { seed, crypto })

const identity = (name: string | number): Identity.Identity => identityOf(crypto, `hosted ${name}`)

const identities = (count: number) => Array.from({ length: count }, (_, n) => identity(n))

const endpoint = (n: string | number): Hosting.Content => ({ _tag: "Endpoint", endpoints: [`https://${n}.example`] })

const hosting = <A, E, R>(use: (hosting: Hosting.Hosting["Service"]) => Effect.Effect<A, E, R>) =>
  Hosting.Hosting.use(use)

type Reader = Pick<SimWorld.SimNode<SimWorld.NodeServices>, "run">

/** A network of nodes, and one that hosts; `events` are all that happen there until it goes down. */
const setUp = Effect.fnUntraced(function*(world: SimWorld.World, nodes = 12, options: Hosting.Options = {}) {
  const others = yield* world.startNodes(nodes)
  const host = world.node("host", { app: Hosting.layer(options), through: others.slice(0, 3) })
  yield* host.start
  const events: Array<Hosting.Event> = []
  const listen = host.run(Effect.forkScoped(
    hosting((hosting) => Stream.runForEach(hosting.events, (event) => Effect.sync(() => events.push(event))))
  )).pipe(Effect.andThen(Effect.sleep(1)))
  yield* listen
  const reader: Reader = others[nodes - 1]
  return { host, others, reader, events, listen }
})

/** The endpoint that a reader resolves; undefined if there is none. */
const resolved = (reader: Reader, address: Address) =>
  reader.run(Dht.use((dht) => dht.resolve(address))).pipe(
    Effect.map(({ endpoints }) => endpoints?.join()),
    Effect.orElseSucceed(() => undefined)
  )

const statusOf = (host: { readonly run: SimWorld.SimNode<Hosting.Hosting>["run"] }) =>
  host.run(hosting(({ status }) => status))

const failuresOf = (events: ReadonlyArray<Hosting.Event>, address: Address) =>
  events.filter((event) => event._tag === "RenewalFailed").filter((event) => event.address === address)

/** A signer outside of the process, which a test can break. */
const service = (name: string) => {
  const { agent, delegation, publicKey, sign } = identity(name)
  const state = { failure: undefined as string | undefined, hangs: false, lies: false, signed: 0 }
  const signer: Hosting.Signer = {
    agent,
    delegation,
    publicKey,
    sign: (bytes) =>
      Effect.gen(function*() {
        yield* Effect.sleep("100 millis")
        if (state.hangs) return yield* Effect.never
        if (state.failure !== undefined) return yield* new Hosting.SignerFailed({ reason: state.failure })
        state.signed++
        return state.lies ? new Uint8Array(64) : sign(bytes)
      })
  }
  return { signer, state, address: agent }
}

/** The identity of an operational key, and what a master delegates to it. */
const delegated = (name: string, expiresAt: bigint) => {
  const operational = identity(`${name} operational`)
  const delegation = Delegation.delegate({
    master: identity(`${name} master`),
    operationalPublicKey: operational.publicKey,
    issuedAt: 0n,
    expiresAt
  })
  return Result.getOrThrow(Identity.withDelegation(operational, delegation, crypto))
}

describe("Hosting", () => {
  it("keeps the records of many identities where readers find them, for as long as they are hosted", () =>
    run(Effect.fnUntraced(function*(world) {
      const { events, host, others, reader } = yield* setUp(world)
      const all = identities(20)
      const custom = Uint8Array.of(1, 2, 3)
      for (const [n, signer] of all.entries()) {
        yield* host.run(hosting(({ host }) =>
          host({
            signer,
            announce: [
              endpoint(n),
              { _tag: "Profile", name: `Agent ${n}` },
              { _tag: "Topic", topic: "translate", name: `Agent ${n}` },
              { _tag: "Custom", type: 0x07, payload: custom }
            ]
          })
        ))
      }
      yield* host.run(hosting(({ settled }) => settled))
      const check = Effect.gen(function*() {
        for (const [n, { address }] of all.entries()) {
          assert.strictEqual(yield* resolved(reader, address), `https://${n}.example`)
        }
        const found = yield* reader.run(Dht.use((dht) => dht.resolveAll(all[7].address)))
        assert.deepStrictEqual(found.map(({ type }) => type), [1, 2, 7])
        assert.strictEqual(Result.getOrThrow(Profile.decode(found[1].payload)).name, "Agent 7")
        const offers = yield* others[5].run(Dht.use((dht) => dht.discover("translate")))
        assert.lengthOf(offers.offers, 20)
      })
      yield* check
      yield* Effect.sleep("5 hours")
      yield* check
      const renewed = events.filter((event) => event._tag === "Renewed")
      assert.isAtLeast(renewed.length, 80 * 10)
      assert.isTrue(renewed.every(({ copies }) => copies === 8))
      assert.deepInclude(yield* statusOf(host), { identities: 20, records: 80, due: 0, isReachable: true, failures: 0 })
    })))

  it("refuses at once what could never be published, and then hosts nothing of it", () =>
    run(Effect.fnUntraced(function*(world) {
      const { host } = yield* setUp(world, 3, { maxRecords: 2 })
      const now = BigInt(Math.floor((yield* Clock.currentTimeMillis) / 1000))
      const refused = (options: Partial<Hosting.HostOptions>) =>
        host.run(Effect.flip(hosting(({ host }) => host({ signer: identity("a"), announce: [], ...options }))))
      const large = yield* refused({
        announce: [endpoint(1), { _tag: "Endpoint", endpoints: [`https://${"a".repeat(1500)}.example`] }]
      })
      assert.propertyVal(large, "_tag", "RecordTooLarge")
      assert.deepNestedPropertyVal(large, "excess.field", "endpoints")
      assert.propertyVal(yield* refused({ announce: [endpoint(1), endpoint(2)] }), "_tag", "SameSlot")
      const wrong: ReadonlyArray<Hosting.Content> = [
        { _tag: "Endpoint", endpoints: ["nowhere"] },
        { _tag: "Topic", topic: "" },
        { _tag: "Custom", type: 0x55, payload: Uint8Array.of(1) },
        { _tag: "Custom", type: 0x07, payload: Uint8Array.of(1), key: NodeId.fromTopic("a") },
        { _tag: "Custom", type: 0x80, payload: Uint8Array.of(1), key: NodeId.fromTopic("a") },
        { ...endpoint(1), ttl: 0 }
      ]
      for (const content of wrong) {
        assert.propertyVal(yield* refused({ announce: [content] }), "_tag", "InvalidRecord", JSON.stringify(content))
      }
      const ended = yield* refused({ signer: delegated("a", now - 1n), announce: [endpoint(1)] })
      assert.propertyVal(ended, "_tag", "DelegationExpired")
      assert.deepInclude(yield* statusOf(host), { identities: 0, records: 0 })

      yield* host.run(hosting(({ host }) => host({ signer: identity("a"), announce: [endpoint(1)] })))
      assert.propertyVal(yield* refused({ announce: [endpoint(1)] }), "_tag", "AlreadyHosted")
      const two = [endpoint(1), { _tag: "Profile", name: "b" }] as const
      assert.propertyVal(yield* refused({ signer: identity("b"), announce: two }), "_tag", "TooManyRecords")
      assert.deepInclude(yield* statusOf(host), { identities: 1, records: 1 })
      const unknown = yield* host.run(Effect.flip(hosting(({ remove }) => remove(identity("b").address))))
      assert.propertyVal(unknown, "_tag", "NotHosted")
    })))

  it("signs by an effect, and goes on with the others while a signer fails, hangs or lies for hours", () =>
    run(Effect.fnUntraced(function*(world) {
      const { events, host, reader } = yield* setUp(world)
      const services = ["failing", "hanging", "lying"].map(service)
      const [failing, hanging, lying] = services
      const all = identities(10)
      for (const signer of [...all, ...services.map(({ signer }) => signer)]) {
        yield* host.run(hosting(({ host }) => host({ signer, announce: [endpoint(signer.agent)] })))
      }
      yield* host.run(hosting(({ settled }) => settled))
      const found = Effect.fnUntraced(function*(signers: ReadonlyArray<Hosting.Signer>) {
        const each = yield* Effect.forEach(signers, ({ agent }) => resolved(reader, agent))
        return each.filter((endpoint) => endpoint !== undefined).length
      })
      assert.strictEqual(yield* found(services.map(({ signer }) => signer)), 3)
      failing.state.failure = "no credit"
      hanging.state.hangs = true
      lying.state.lies = true
      yield* Effect.sleep("3 hours")
      assert.strictEqual(yield* found(services.map(({ signer }) => signer)), 0)
      assert.strictEqual(yield* found(all), 10)
      const reasons = services.map(({ address }) => failuresOf(events, address).at(-1)?.reason.message ?? "")
      assert.deepStrictEqual(reasons.map((reason) => reason.replace(/.*: /, "")), [
        "no credit",
        "no signature within 10 seconds",
        "bad signature"
      ])
      // Pauses double, up to an eighth of the lifetime.
      assert.isAtMost(failuresOf(events, failing.address).length, 35)
      failing.state.failure = undefined
      hanging.state.hangs = false
      lying.state.lies = false
      yield* Effect.sleep("10 minutes")
      assert.strictEqual(yield* found(services.map(({ signer }) => signer)), 3)
    })))

  it("ends with a delegation, tells so once, and continues with the next one", () =>
    run(Effect.fnUntraced(function*(world) {
      const { events, host, reader } = yield* setUp(world)
      const now = BigInt(Math.floor((yield* Clock.currentTimeMillis) / 1000))
      const signer = delegated("a", now + 5400n)
      const { agent } = signer
      const announce = [endpoint("a"), { _tag: "Profile", name: "Ann" }] as const
      yield* host.run(hosting(({ host }) => host({ signer, announce })))
      yield* host.run(hosting(({ host }) => host({ signer: identity("b"), announce: [endpoint("b")] })))
      yield* Effect.sleep("80 minutes")
      assert.strictEqual(yield* resolved(reader, agent), "https://a.example")
      yield* Effect.sleep("60 minutes")
      assert.isUndefined(yield* resolved(reader, agent))
      assert.isTrue((yield* host.run(hosting(({ get }) => get(agent)))).hasEnded)
      const ended = events.filter(({ _tag }) => _tag === "DelegationEnded")
      assert.deepStrictEqual(ended.map(({ address }) => address), [agent])
      assert.isBelow(ended[0].at, (Number(now) + 5400 + 60) * 1000)
      assert.lengthOf(failuresOf(events, agent), 0)
      assert.strictEqual(yield* resolved(reader, identity("b").address), "https://b.example")

      yield* host.run(hosting(({ update }) => update(agent, { signer: delegated("a", 0n) })))
      yield* host.run(hosting(({ settled }) => settled))
      assert.strictEqual(yield* resolved(reader, agent), "https://a.example")
      yield* Effect.sleep("3 hours")
      assert.strictEqual(yield* resolved(reader, agent), "https://a.example")
    })))

  it("withdraws the records of an identity that is removed, or leaves them to expire", () =>
    run(Effect.fnUntraced(function*(world) {
      const { events, host, reader } = yield* setUp(world)
      const [gone, kept] = [identity("gone"), identity("kept")]
      for (const signer of [gone, kept]) {
        yield* host.run(hosting(({ host }) => host({ signer, announce: [endpoint(1)] })))
      }
      yield* host.run(hosting(({ settled }) => settled))
      yield* host.run(hosting(({ remove }) => remove(gone.address)))
      yield* host.run(hosting(({ remove }) => remove(kept.address, { keepRecords: true })))
      yield* Effect.sleep("20 seconds")
      assert.isUndefined(yield* resolved(reader, gone.address))
      assert.strictEqual(yield* resolved(reader, kept.address), "https://1.example")
      yield* Effect.sleep("2 hours")
      assert.isUndefined(yield* resolved(reader, kept.address))
      assert.deepInclude(yield* statusOf(host), { identities: 0, records: 0, due: 0 })
      assert.deepStrictEqual(
        events.flatMap((event) => event._tag === "Removed" ? [event.address] : []),
        [gone.address, kept.address]
      )
    })))

  it("stores nothing of an identity that is removed while its signer works", () =>
    run(Effect.fnUntraced(function*(world) {
      const { host, reader } = yield* setUp(world)
      const { address, signer, state } = service("slow")
      yield* host.run(hosting(({ host }) => host({ signer, announce: [endpoint(1)] })))
      while ((yield* statusOf(host)).lookups === 0) yield* Effect.sleep("10 millis")
      while (state.signed === 0) yield* Effect.sleep("1 millis")
      yield* host.run(hosting(({ remove }) => remove(address)))
      yield* Effect.sleep("1 minute")
      assert.isUndefined(yield* resolved(reader, address))
      yield* Effect.sleep("1 hour")
      assert.isUndefined(yield* resolved(reader, address))
    })))

  it("changes what an identity announces: new contents are stored, others withdrawn, the same stay as they are", () =>
    run(Effect.fnUntraced(function*(world) {
      const { host, reader } = yield* setUp(world)
      const signer = identity("a")
      const profile = { _tag: "Profile", name: "Ann" } as const
      const offer = { _tag: "Topic", topic: "translate", name: "Ann" } as const
      yield* host.run(hosting(({ host }) => host({ signer, announce: [endpoint(1), profile, offer] })))
      yield* host.run(hosting(({ settled }) => settled))
      const before = yield* statusOf(host)
      yield* host.run(hosting(({ update }) => update(signer.address, { announce: [profile, endpoint(2)] })))
      yield* host.run(hosting(({ settled }) => settled))
      yield* Effect.sleep("5 seconds")
      const after = yield* statusOf(host)
      assert.strictEqual(yield* resolved(reader, signer.address), "https://2.example")
      const offers = yield* reader.run(Effect.flip(Dht.use((dht) => dht.discover("translate"))))
      assert.propertyVal(offers, "_tag", "NoMatchingRecords")
      assert.strictEqual(after.records, 2)
      // The endpoint and the withdrawal.
      assert.strictEqual(after.signatures - before.signatures, 2)
      const refused = yield* host.run(Effect.flip(
        hosting(({ update }) => update(signer.address, { announce: [{ _tag: "Endpoint", endpoints: ["nowhere"] }] }))
      ))
      assert.propertyVal(refused, "_tag", "InvalidRecord")
      assert.strictEqual(yield* resolved(reader, signer.address), "https://2.example")
    })))

  it("signs with another signer of the same key from then on, and keeps the records", () =>
    run(Effect.fnUntraced(function*(world) {
      const { host, reader } = yield* setUp(world)
      const [sealed, open] = [service("a"), service("a")]
      const { address } = sealed
      yield* host.run(hosting(({ host }) => host({ signer: sealed.signer, announce: [endpoint(1)] })))
      yield* host.run(hosting(({ settled }) => settled))
      sealed.state.failure = "sealed"
      yield* host.run(hosting(({ update }) => update(address, { signer: open.signer })))
      yield* host.run(hosting(({ settled }) => settled))
      assert.strictEqual(open.state.signed, 0)
      yield* Effect.sleep("3 hours")
      assert.strictEqual(yield* resolved(reader, address), "https://1.example")
      assert.isAtLeast(open.state.signed, 5)
      assert.deepInclude(yield* statusOf(host), { failures: 0 })
    })))

  it("gives the records whose contents have no lifetime that of the identity when it changes", () =>
    run(Effect.fnUntraced(function*(world) {
      const { host } = yield* setUp(world)
      const signer = identity("a")
      const offer = { _tag: "Topic", topic: "translate", name: "Ann" } as const
      const announce = [endpoint(1), offer, { _tag: "Profile", name: "Ann", ttl: 1800 }] as const
      yield* host.run(hosting(({ host }) => host({ signer, announce })))
      yield* host.run(hosting(({ settled }) => settled))
      const ttls = Effect.map(
        host.run(hosting(({ get }) => get(signer.address))),
        ({ records }) => records.map(({ record }) => record?.ttl)
      )
      assert.deepStrictEqual(yield* ttls, [3600, 3600, 1800])
      yield* host.run(hosting(({ update }) => update(signer.address, { ttl: 2 * Topic.maxTtl })))
      yield* host.run(hosting(({ settled }) => settled))
      assert.deepStrictEqual(yield* ttls, [2 * Topic.maxTtl, Topic.maxTtl, 1800])
    })))

  it("withdraws many records within its budget, and renews others meanwhile", () =>
    run(Effect.fnUntraced(function*(world) {
      const { events, host, reader } = yield* setUp(world, 12, { datagramsPerSecond: 100 })
      const all = identities(200)
      for (const signer of all) {
        yield* host.run(hosting(({ host }) => host({ signer, announce: [endpoint(signer.agent)] })))
      }
      yield* host.run(hosting(({ settled }) => settled))
      const before = yield* statusOf(host)
      yield* Effect.forEach(all, ({ address }) => host.run(hosting(({ remove }) => remove(address))))
      const added = identity("added")
      yield* host.run(hosting(({ host }) => host({ signer: added, announce: [endpoint("added")] })))
      yield* Effect.sleep("8 seconds")
      const during = yield* statusOf(host)
      assert.isAtMost(during.stores - before.stores, 9 * 100 + 16)
      assert.isAtLeast(during.stores - before.stores, 5 * 100)
      assert.isTrue(events.some((event) => event._tag === "Renewed" && event.address === added.address))
      yield* Effect.sleep("12 seconds")
      for (const { address } of all) assert.isUndefined(yield* resolved(reader, address))
      assert.strictEqual(yield* resolved(reader, added.address), "https://added.example")
    })))

  it("withdraws what was removed while the network was out of reach, once it is back", () =>
    run(Effect.fnUntraced(function*(world) {
      const { host, reader } = yield* setUp(world)
      const [stays, goes] = identities(2)
      for (const signer of [stays, goes]) {
        yield* host.run(hosting(({ host }) => host({ signer, announce: [endpoint(signer.agent)] })))
      }
      yield* host.run(hosting(({ settled }) => settled))
      world.network.partition([host.host])
      yield* host.run(hosting(({ remove }) => remove(goes.address)))
      yield* Effect.sleep("5 minutes")
      assert.strictEqual(yield* resolved(reader, goes.address), `https://${goes.address}.example`)
      world.network.heal()
      yield* Effect.sleep("3 minutes")
      assert.isUndefined(yield* resolved(reader, goes.address))
      assert.strictEqual(yield* resolved(reader, stays.address), `https://${stays.address}.example`)
    })))

  it("continues with what another node left of its records: signs and stores nothing that is good and held", () =>
    run(Effect.fnUntraced(function*(world) {
      const { host, others, reader } = yield* setUp(world)
      const all = identities(10)
      const hostAt = (
        node: typeof host,
        signer: Identity.Identity,
        name: string,
        left: ReadonlyArray<Hosting.Stored>
      ) => node.run(hosting(({ host }) => host({ signer, announce: [endpoint(name)], left })))
      for (const signer of all) yield* hostAt(host, signer, "first", [])
      yield* host.run(hosting(({ settled }) => settled))
      const left = new Map(
        (yield* host.run(hosting(({ list }) => Stream.runCollect(list)))).map(({ address, records }) => [
          address,
          records.flatMap(({ record, ...stored }) => record === undefined ? [] : [{ ...stored, record }])
        ])
      )
      const next = world.node("next", { app: Hosting.layer(), through: others.slice(0, 3) })
      yield* next.start
      yield* host.crash()
      const [changed, ...same] = all
      yield* hostAt(next, changed, "second", left.get(changed.address) ?? [])
      for (const signer of same) yield* hostAt(next, signer, "first", left.get(signer.address) ?? [])
      yield* Effect.sleep("5 minutes")
      assert.deepInclude(yield* statusOf(next), { identities: 10, stores: 8, signatures: 1, due: 0 })
      assert.strictEqual(yield* resolved(reader, changed.address), "https://second.example")
      yield* Effect.sleep("3 hours")
      for (const { address } of same) assert.strictEqual(yield* resolved(reader, address), "https://first.example")
    })))

  it("decodes the contents that it has encoded", () => {
    const signer = identity("a")
    const announce: ReadonlyArray<Hosting.Content> = [
      { _tag: "Endpoint", endpoints: ["https://a.example"], natType: 2, signals: ["s"], turns: ["t"], ttl: 60 },
      { _tag: "Profile", name: "A", brief: "b", protocols: ["a2a"], skills: ["s"], meta: new Map([["k", 1]]) },
      { _tag: "Topic", topic: "translate", name: "A", tags: ["de"] },
      { _tag: "Custom", type: 0x11, payload: Uint8Array.of(1, 2), key: NodeId.fromTopic("elsewhere") }
    ]
    const encode = (announce: ReadonlyArray<Hosting.Content>) =>
      Result.getOrThrow(Hosting.encodeContents({ signer, announce }, 1_700_000_000_000))
    const encoded = encode(announce)
    const decoded = Result.getOrThrow(Result.all(encoded.map(Hosting.decodeContent)))
    assert.deepStrictEqual(encode(decoded), encoded)
    assert.deepStrictEqual(encoded.map(({ ttl }) => ttl), [60, undefined, undefined, undefined])
    assert.strictEqual(decoded[1]._tag === "Profile" && decoded[1].brief, "b")
    assert.isTrue(Result.isFailure(
      Hosting.encodeContents({ signer, announce: [announce[0], announce[0]] }, 1_700_000_000_000)
    ))
  })

  it("signs nothing that is still good after a restart, and stores nothing that is still held", () =>
    run(Effect.fnUntraced(function*(world) {
      const { events, host, listen, reader } = yield* setUp(world)
      const all = identities(30)
      const hostAll = Effect.forEach(
        all,
        (signer) => host.run(hosting(({ host }) => host({ signer, announce: [endpoint(signer.agent)] }))),
        { discard: true }
      )
      yield* hostAll
      yield* host.run(hosting(({ settled }) => settled))
      const before = events.flatMap((event) => event._tag === "Renewed" ? [[event.address, event.due, event.seq]] : [])
      // Until it is saved.
      yield* Effect.sleep("1 second")
      yield* host.crash()
      events.length = 0
      yield* host.start
      yield* listen
      yield* hostAll
      yield* Effect.sleep("5 minutes")
      const status = yield* statusOf(host)
      assert.deepInclude(status, { identities: 30, lookups: 0, stores: 0, signatures: 0, due: 0 })
      const hosted = yield* host.run(hosting(({ list }) => Stream.runCollect(list)))
      assert.sameDeepMembers(
        hosted.flatMap(({ address, records: [{ due, record }] }) => [[address, due, record?.seq]]),
        before
      )
      assert.isTrue(hosted.every(({ records: [{ copies }] }) => copies === 8))

      // A content that has changed meanwhile supersedes the old one.
      yield* host.crash()
      yield* host.start
      yield* host.run(hosting(({ host }) => host({ signer: all[0], announce: [endpoint("new")] })))
      yield* host.run(hosting(({ settled }) => settled))
      assert.strictEqual(yield* resolved(reader, all[0].address), "https://new.example")
      assert.strictEqual((yield* statusOf(host)).signatures, 1)
      yield* Effect.forEach(
        all.slice(1),
        (signer) => host.run(hosting(({ host }) => host({ signer, announce: [endpoint(signer.agent)] })))
      )
      // A content that is announced later is taken up as well.
      yield* host.crash()
      yield* host.start
      yield* host.run(hosting(({ host }) => host({ signer: all[1], announce: [] })))
      yield* host.run(hosting(({ update }) => update(all[1].address, { announce: [endpoint(all[1].agent)] })))
      yield* host.run(hosting(({ settled }) => settled))
      assert.deepInclude(yield* statusOf(host), { records: 1, stores: 0, signatures: 0 })
      yield* Effect.forEach(
        all.slice(2),
        (signer) => host.run(hosting(({ host }) => host({ signer, announce: [endpoint(signer.agent)] })))
      )
      yield* Effect.sleep("3 hours")
      for (const { address } of all.slice(1)) {
        assert.strictEqual(yield* resolved(reader, address), `https://${address}.example`)
      }
    })))

  it("signs over a newer record of the same identity, as publishing does", () =>
    run(Effect.fnUntraced(function*(world) {
      const { events, host, others, reader } = yield* setUp(world)
      const signer = identity("a")
      const seconds = BigInt(Math.floor((yield* Clock.currentTimeMillis) / 1000))
      const rival = Result.getOrThrow(Record.sign({
        signer,
        address: signer.address,
        type: 0x07,
        payload: Uint8Array.of(1),
        seq: 2n ** 63n,
        timestamp: seconds,
        ttl: 3600
      }))
      yield* others[4].run(
        Dht.use((dht) => Effect.flatMap(dht.publish(rival), ({ replicas }) => replicas(8, { within: "1 minute" })))
      )
      yield* host.run(
        hosting(({ host }) => host({ signer, announce: [{ _tag: "Custom", type: 0x07, payload: Uint8Array.of(2) }] }))
      )
      yield* Effect.sleep("1 minute")
      const [found] = yield* reader.run(Dht.use((dht) => dht.findRecords(signer.nodeId, { type: 0x07 })))
      assert.deepStrictEqual([...found.payload], [2])
      assert.strictEqual(found.seq, 2n ** 63n + 1n)
      assert.lengthOf(failuresOf(events, signer.address), 0)
    })))

  it("signs over newer records again and again, if each attempt finds another one", () =>
    run(Effect.fnUntraced(function*(world) {
      const { events, host, others, reader } = yield* setUp(world)
      const signer = identity("a")
      const fields = { signer, address: signer.address, type: 0x07, ttl: 3600 }
      let overtaken = 0
      // Ahead of every signature of the first half minute, a newer record is published.
      const overtake = Effect.gen(function*() {
        const rival = Result.getOrThrow(Record.sign({
          ...fields,
          payload: Uint8Array.of(1),
          seq: 2n ** 63n + BigInt(1000 * ++overtaken),
          timestamp: BigInt(Math.floor((yield* Clock.currentTimeMillis) / 1000))
        }))
        yield* others[4].run(
          Dht.use((dht) => Effect.flatMap(dht.publish(rival), ({ replicas }) => replicas(8, { within: "8 seconds" })))
        )
      })
      const overtakenSigner: Hosting.Signer = {
        agent: signer.agent,
        publicKey: signer.publicKey,
        delegation: undefined,
        sign: (bytes) => overtaken < 6 ? Effect.as(Effect.orDie(overtake), signer.sign(bytes)) : signer.sign(bytes)
      }
      const announce = [{ _tag: "Custom", type: 0x07, payload: Uint8Array.of(2) }] as const
      yield* host.run(hosting(({ host }) => host({ signer: overtakenSigner, announce })))
      yield* Effect.sleep("5 minutes")
      assert.strictEqual(overtaken, 6)
      assert.deepStrictEqual(failuresOf(events, signer.address).map(({ reason }) => reason._tag), ["StaleRecord"])
      const [found] = yield* reader.run(Dht.use((dht) => dht.findRecords(signer.nodeId, { type: 0x07 })))
      assert.deepStrictEqual([...found.payload], [2])
    })))

  it("waits out a network that is gone, and then stores the most urgent records first", () =>
    run(Effect.fnUntraced(function*(world) {
      const { events, host, reader } = yield* setUp(world)
      const all = identities(20)
      yield* Effect.forEach(
        all,
        (signer) => host.run(hosting(({ host }) => host({ signer, announce: [endpoint(signer.agent)] })))
      )
      yield* host.run(hosting(({ settled }) => settled))
      world.network.partition([host.host])
      yield* Effect.sleep("2 hours")
      assert.isFalse((yield* statusOf(host)).isReachable)
      assert.isUndefined(yield* resolved(reader, all[3].address))
      world.network.heal()
      yield* Effect.sleep("5 minutes")
      for (const { address } of all) assert.isDefined(yield* resolved(reader, address))
      assert.isAbove(events.length, 40)
    })))

  it("has every record at the closest nodes soon after a partition, and signs none for that", () =>
    run(Effect.fnUntraced(function*(world) {
      const { host, others } = yield* setUp(world, 32)
      const all = identities(60)
      yield* Effect.forEach(
        all,
        (signer) => host.run(hosting(({ host }) => host({ signer, announce: [endpoint(signer.agent)] })))
      )
      yield* host.run(hosting(({ settled }) => settled))
      /** Number of records that one of the nodes closest to their keys does not hold as last signed. */
      const displaced = Effect.gen(function*() {
        const hosted = yield* host.run(hosting(({ list }) => Stream.runCollect(list)))
        let count = 0
        for (const { records: [{ key, record, type }] } of hosted) {
          const closest = others.toSorted((a, b) => NodeId.compareDistance(key, a.identity.nodeId, b.identity.nodeId))
          const held = yield* Effect.forEach(
            closest.slice(0, 8),
            (node) => node.run(Store.use((store) => store.getAll(key, type)))
          )
          if (!held.every((records) => records.some(({ seq }) => seq === record?.seq))) count++
        }
        return count
      })
      yield* Effect.sleep("70 minutes")
      assert.strictEqual(yield* displaced, 0)
      world.network.partition(others.slice(0, 12).map(({ host }) => host))
      yield* Effect.sleep("20 minutes")
      assert.isAbove(yield* displaced, 20)
      world.network.heal()
      const before = yield* statusOf(host)
      yield* Effect.sleep("9 minutes")
      const after = yield* statusOf(host)
      assert.strictEqual(yield* displaced, 0)
      // A renewal is due twice an hour. The others keep most of their copies.
      const renewals = after.renewals - before.renewals
      assert.isAtMost(renewals, 60 * 0.45)
      assert.strictEqual(after.signatures - before.signatures, renewals)
      assert.isAtMost(after.stores - before.stores, renewals * 8 + 60 * 5)
      assert.isAtMost(after.lookups - before.lookups, 5)
    })))

  for (const kind of ["ipv4", "ipv6", "dual"] as const) {
    it(
      `has the records of a host of ${kind} found by nodes of either family, and hears from both`,
      () =>
        run(Effect.fnUntraced(function*(world) {
          const nodes = yield* Families.start(world, { ipv4: 20, ipv6: 20, dual: 5 })
          const families = { ipv4: ["ipv4"], ipv6: ["ipv6"], dual: ["ipv4", "ipv6"] } as const
          // Nodes find out within minutes that they are reachable over both.
          yield* Effect.sleep("5 minutes")
          const host = world.node("host", {
            app: Hosting.layer(),
            host: { families: families[kind] },
            through: families[kind].flatMap((family) => nodes[family].slice(0, 2))
          })
          yield* host.start
          yield* Effect.sleep("5 minutes")
          const all = identities(24)
          for (const [n, signer] of all.entries()) {
            const offer: Hosting.Content = { _tag: "Topic", topic: "translate", name: `Agent ${n}` }
            yield* host.run(
              hosting(({ host }) =>
                host({ signer, announce: [endpoint(n), { _tag: "Profile", name: `Agent ${n}` }, offer], mail: n === 0 })
              )
            )
          }
          yield* host.run(hosting(({ settled }) => settled))
          const check = Effect.gen(function*() {
            for (const readers of [nodes.ipv4, nodes.ipv6, nodes.dual]) {
              for (const [n, { address }] of all.entries()) {
                assert.strictEqual(yield* resolved(readers[n % readers.length], address), `https://${n}.example`)
              }
              const { offers } = yield* readers[1].run(Dht.use((dht) => dht.discover("translate")))
              assert.lengthOf(offers, 24)
            }
          })
          yield* check
          yield* Effect.sleep("70 minutes")
          // The copies at nodes that have left are replaced with the next renewal.
          yield* Effect.forEach(nodes.dual.slice(3), (node) => node.crash())
          nodes.dual.splice(3)
          yield* Effect.sleep("40 minutes")
          yield* check

          const received: Array<string> = []
          yield* host.run(Effect.forkScoped(hosting(({ messages }) =>
            Stream.runForEach(messages, ({ body }) =>
              Effect.sync(() => received.push(new TextDecoder().decode(body))))
          )))
          for (const family of ["ipv4", "ipv6"] as const) {
            const message = { recipient: all[0].address, type: 3, body: new TextEncoder().encode(family), ttl: 7200 }
            yield* nodes[family][7].run(Dht.use(({ mail }) =>
              mail.send(message)
            ))
          }
          yield* host.run(hosting(({ remove }) => remove(all[5].address)))
          yield* Effect.sleep("21 minutes")
          assert.sameMembers(received, ["ipv4", "ipv6"])
          for (const readers of [nodes.ipv4, nodes.ipv6, nodes.dual]) {
            assert.isUndefined(yield* resolved(readers[2], all[5].address))
          }
        })),
      300_000
    )
  }

  it("reads the mail of those that want it, by few lookups, and tells of each message once", () =>
    run(Effect.fnUntraced(function*(world) {
      const { host, others } = yield* setUp(world, 24)
      const all = identities(40)
      for (const [n, signer] of all.entries()) {
        yield* host.run(hosting(({ host }) => host({ signer, announce: [endpoint(n)], mail: n % 4 > 0 })))
      }
      yield* host.run(hosting(({ settled }) => settled))
      const received: Array<readonly [string, string]> = []
      const listen = (into: Array<readonly [string, string]>) =>
        host.run(
          Effect.forkScoped(hosting(({ messages }) =>
            Stream.runForEach(messages, ({ body, recipient }) =>
              Effect.sync(() =>
                into.push([recipient, new TextDecoder().decode(body)])
              ))
          ))
        )
      yield* listen(received)
      const before = yield* statusOf(host)
      assert.strictEqual(before.mailboxes, 30)
      const send = (n: number, text: string) =>
        others[n % 24].run(
          Dht.use(({ mail }) =>
            mail.send({ recipient: all[n].address, type: 3, body: new TextEncoder().encode(text), ttl: 7200 })
          )
        )
      yield* send(1, "one")
      yield* send(1, "two")
      yield* send(6, "three")
      yield* send(8, "to an identity whose mail is not read")
      yield* Effect.sleep("11 minutes")
      yield* send(39, "four")
      yield* Effect.sleep("29 minutes")
      const wanted: Array<readonly [string, string]> = [[all[1].address, "one"], [all[1].address, "two"], [
        all[6].address,
        "three"
      ], [
        all[39].address,
        "four"
      ]]
      assert.sameDeepMembers(received.slice(), wanted)
      const after = yield* statusOf(host)
      // Each of 30 mailboxes every ten minutes.
      assert.approximately(after.mailReadings - before.mailReadings, 120, 15)
      const lookups = (after.lookups - before.lookups) / (after.mailReadings + after.renewals)
      assert.isAtMost(lookups, 0.25)
      assert.strictEqual(after.messages, 4)
      // A reader that comes later gets what has not expired.
      const later: Array<readonly [string, string]> = []
      yield* listen(later)
      yield* Effect.sleep("1 second")
      assert.deepStrictEqual(later, received)

      yield* host.run(hosting(({ remove }) => remove(all[1].address)))
      yield* host.run(hosting(({ update }) => update(all[6].address, { mail: false })))
      yield* send(6, "five")
      yield* Effect.sleep("21 minutes")
      assert.lengthOf(received, 4)
      assert.strictEqual((yield* statusOf(host)).mailboxes, 28)
    })))

  it("hosts hundreds of identities in a network of 64 nodes for hours, within its budget of datagrams", () => {
    const figures = run(Effect.fnUntraced(function*(world) {
      const { events, host, others } = yield* setUp(world, 64, { datagramsPerSecond: 100 })
      const all = identities(500)
      const sent = host.run(Rpc.use(({ traffic }) => traffic))
      const before = (yield* sent).sent
      yield* Effect.forEach(
        all,
        (signer) => host.run(hosting(({ host }) => host({ signer, announce: [endpoint(signer.agent)] })))
      )
      yield* host.run(hosting(({ settled }) => settled))
      const times = events.flatMap((event) => event._tag === "Renewed" ? [event.at] : [])
      assert.lengthOf(times, 500)
      // 4000 datagrams at 100 a second, of which one second's worth is saved up, and the lookups.
      const seconds = (Math.max(...times) - Math.min(...times)) / 1000
      assert.isAtLeast(seconds, 38)
      assert.isAtMost(seconds, 55)
      yield* Effect.sleep("2 hours")
      const status = yield* statusOf(host)
      const after = (yield* sent).sent
      let lost = 0
      for (const [n, { address }] of all.entries()) {
        if ((yield* resolved(others[n % 64], address)) === undefined) lost++
      }
      assert.isTrue(events.every(({ _tag }) => _tag === "Started" || _tag === "Renewed"))
      return {
        lost,
        renewals: status.renewals,
        storesPerRenewal: status.stores / status.renewals,
        lookupsPerRenewal: status.lookups / status.renewals,
        datagramsPerRenewal: (after - before) / status.renewals
      }
    }))
    assert.strictEqual(figures.lost, 0)
    assert.isAtLeast(figures.renewals, 500 * 4)
    assert.isAtMost(figures.storesPerRenewal, 8.1)
    assert.isAtMost(figures.lookupsPerRenewal, 0.03)
    // With all else that the node sends, such as its answers to others.
    assert.isAtMost(figures.datagramsPerRenewal, 10)
  }, 300_000)
})
