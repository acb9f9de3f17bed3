import { assert, describe, it } from "@effect/vitest"
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Address } from "../../src/Address.ts"
import { IdentityTable } from "../../src/cluster/IdentityTable.ts"
import * as Runner from "../../src/cluster/Runner.ts"
import { Crypto } from "../../src/Crypto.ts"
import { Dht } from "../../src/Dht.ts"
import * as Hosting from "../../src/Hosting.ts"
import type * as Identity from "../../src/Identity.ts"
import { identityOf } from "../../src/testing/internal/madeUp.ts"
import * as SeededRandom from "../../src/testing/SeededRandom.ts"
import * as SimCrypto from "../../src/testing/SimCrypto.ts"
import * as SimWorld from "../../src/testing/SimWorld.ts"
import * as Cluster from "../utils/cluster.ts"

const crypto = SimCrypto.simulated

const identity = (n: number): Identity.Identity => identityOf(crypto, `hosted ${n}`)

const identities = (count: number) => Array.from({ length: count }, (_, n) => identity(n))

const announced = (signer: Identity.Identity, text = "first") => ({
  signer,
  // Short, so that renewals come often.
  ttl: 600,
  announce: [{ _tag: "Endpoint" as const, endpoints: [`https://${text}.example`] }]
})

interface World extends SimWorld.World {
  readonly database: Cluster.Database
}

const run = <A>(program: (world: World) => Effect.Effect<A, unknown, SimWorld.SimWorld | Scope.Scope>): A =>
  SimWorld.runSync(
    Effect.gen(function*() {
      const world = yield* SimWorld.SimWorld
      return yield* program({ ...world, database: yield* Cluster.database })
    }),
    { seed: 1, crypto }
  )

type Options = Runner.Options & { readonly hosting?: Hosting.Options }

/** A network, and runners that are not started yet, with what each has signed. */
const setUp = Effect.fnUntraced(function*(world: World, count = 3, options: Options = {}) {
  const others = yield* world.startNodes(12)
  const runners = Array.from({ length: count }, (_, n) => {
    const name = `runner ${n}`
    const line: Cluster.Line = { state: "Up" }
    const app = Cluster.runner(world.database, { ...options, name, line })
    return { name, line, node: world.node(name, { app, through: others.slice(0, 3) }) }
  })
  return { others, runners, reader: others[11] }
})

type SimRunner = Effect.Success<ReturnType<typeof setUp>>["runners"][number]

const inTable = (world: World) => <A, E, R>(use: (table: IdentityTable["Service"]) => Effect.Effect<A, E, R>) =>
  IdentityTable.use(use).pipe(
    Effect.provide(
      Cluster.table(world.database).pipe(
        Layer.provide(Layer.succeed(Crypto, crypto)),
        Layer.provide(Layer.sync(SecureRandom.SecureRandom, () => SeededRandom.makeSecure(1, "clients")))
      )
    )
  )

const hostedBy = ({ node }: SimRunner): Effect.Effect<ReadonlyArray<Address>, unknown> =>
  node.isUp
    ? node.run(Hosting.Hosting.use(({ list }) => Stream.runCollect(Stream.map(list, ({ address }) => address))))
    : Effect.succeed([])

/** How many identities each of the runners hosts, and all of them in order. */
const shares = Effect.fnUntraced(function*(runners: ReadonlyArray<SimRunner>) {
  const each = yield* Effect.forEach(runners, hostedBy)
  return { counts: each.map(({ length }) => length), all: each.flat().toSorted() }
})

const addresses = (all: ReadonlyArray<Identity.Identity>) => all.map(({ address }) => address).toSorted()

const signatures = (runners: ReadonlyArray<SimRunner>) =>
  Effect.map(
    Effect.forEach(runners, ({ node }) =>
      node.isUp ? node.run(Hosting.Hosting.use(({ status }) => status)) : Effect.succeed(undefined)),
    (all) =>
      all.reduce((sum, status) => sum + (status?.signatures ?? 0), 0)
  )

const resolved = (reader: Pick<SimWorld.SimNode<SimWorld.NodeServices>, "run">, address: Address) =>
  reader.run(Dht.use((dht) => dht.resolve(address))).pipe(
    Effect.map(({ endpoints }) => endpoints?.join()),
    Effect.orElseSucceed(() => undefined)
  )

const startAll = (runners: ReadonlyArray<SimRunner>) =>
  Effect.forEach(runners, ({ node }) => node.start, { discard: true })

/** Runners that host `count` identities, all of which are stored. */
const hosting = Effect.fnUntraced(function*(world: World, count: number, runners = 3, options: Options = {}) {
  const cluster = yield* setUp(world, runners, options)
  const all = identities(count)
  yield* inTable(world)(({ put }) => put(all.map((signer) => announced(signer))))
  yield* startAll(cluster.runners)
  yield* Effect.sleep("30 seconds")
  return { ...cluster, all }
})

const assertAllFound = Effect.fnUntraced(function*(
  reader: Pick<SimWorld.SimNode<SimWorld.NodeServices>, "run">,
  all: ReadonlyArray<Identity.Identity>,
  text = "first"
) {
  for (const { address } of all) assert.strictEqual(yield* resolved(reader, address), `https://${text}.example`)
})

describe("Runner", () => {
  it("shares the identities of the table among runners, each hosted by one", () =>
    run(Effect.fnUntraced(function*(world) {
      const { all, reader, runners } = yield* hosting(world, 60)
      const { all: hosted, counts } = yield* shares(runners)
      assert.deepStrictEqual(hosted, addresses(all))
      assert.isTrue(counts.every((count) => count > 8), `${counts}`)
      yield* assertAllFound(reader, all)
      for (const { node } of runners) {
        const { buckets, isConnected } = yield* node.run(Runner.Runner.use(({ status }) => status))
        assert.isTrue(isConnected)
        assert.isAtLeast(buckets, 85)
      }
    })))

  it("hosts what a crashed runner hosted within 20 seconds, and signs nothing for that", () =>
    run(Effect.fnUntraced(function*(world) {
      const { all, reader, runners } = yield* hosting(world, 30)
      const [first, ...others] = runners
      const before = yield* signatures(others)
      yield* first.node.crash()
      yield* Effect.sleep("20 seconds")
      assert.deepStrictEqual((yield* shares(others)).all, addresses(all))
      assert.strictEqual(yield* signatures(others), before)
      yield* Effect.sleep("25 minutes")
      yield* assertAllFound(reader, all)
    })))

  it("gives a runner that was killed and starts again its identities back, and signs nothing for that", () =>
    run(Effect.fnUntraced(function*(world) {
      const { all, runners } = yield* hosting(world, 30)
      const before = (yield* shares(runners)).counts
      yield* runners[0].node.crash({ state: "Lost" })
      yield* runners[0].node.start
      yield* Effect.sleep("10 seconds")
      const after = yield* shares(runners)
      assert.deepStrictEqual(after, { counts: before, all: addresses(all) })
      assert.strictEqual(yield* signatures(runners.slice(0, 1)), 0)
    })))

  it("hands everything over when it stops, within seconds", () =>
    run(Effect.fnUntraced(function*(world) {
      const { all, runners } = yield* hosting(world, 30)
      const [first, ...others] = runners
      const before = yield* signatures(others)
      yield* first.node.leave
      yield* Effect.sleep("5 seconds")
      assert.deepStrictEqual((yield* shares(others)).all, addresses(all))
      assert.strictEqual(yield* signatures(others), before)
    })))

  it("gives a runner that joins its share, and signs nothing for that", () =>
    run(Effect.fnUntraced(function*(world) {
      const { all, runners } = yield* setUp(world, 4).pipe(
        Effect.tap(({ runners }) => startAll(runners.slice(0, 3))),
        Effect.map((cluster) => ({ ...cluster, all: identities(60) }))
      )
      yield* inTable(world)(({ put }) => put(all.map((signer) => announced(signer))))
      yield* Effect.sleep("30 seconds")
      const before = yield* signatures(runners)
      assert.strictEqual(before, all.length)
      yield* runners[3].node.start
      yield* Effect.sleep("15 seconds")
      const { all: hosted, counts } = yield* shares(runners)
      assert.deepStrictEqual(hosted, addresses(all))
      assert.isAbove(counts[3], 5)
      assert.strictEqual(yield* signatures(runners), before)
    })))

  for (const state of ["Refused", "Silent"] as const) {
    it(`keeps every record alive while the database is out of reach for long (${state})`, () =>
      run(Effect.fnUntraced(function*(world) {
        const { all, reader, runners } = yield* hosting(world, 20)
        const before = yield* shares(runners)
        for (const { line } of runners) line.state = state
        yield* Effect.sleep("30 minutes")
        for (const { node } of runners) {
          assert.isFalse((yield* node.run(Runner.Runner.use(({ status }) => status))).isConnected)
        }
        assert.deepStrictEqual(yield* shares(runners), before)
        yield* assertAllFound(reader, all)
        const signed = yield* signatures(runners)
        for (const { line } of runners) line.state = "Up"
        yield* Effect.sleep("1 minute")
        assert.deepStrictEqual((yield* shares(runners)).all, addresses(all))
        assert.isBelow((yield* signatures(runners)) - signed, all.length / 2, "signed again after the outage")
      })))
  }

  it("stops hosting without the database after the time that it is given", () =>
    run(Effect.fnUntraced(function*(world) {
      const { runners } = yield* hosting(world, 5, 1, { holdover: "1 hour" })
      runners[0].line.state = "Refused"
      yield* Effect.sleep("59 minutes")
      assert.deepStrictEqual((yield* shares(runners)).counts, [5])
      yield* Effect.sleep("2 minutes")
      assert.deepStrictEqual((yield* shares(runners)).counts, [0])
    })))

  it("leaves to others what it was cut off from, once it knows, and no record expires", () =>
    run(Effect.fnUntraced(function*(world) {
      const { all, reader, runners } = yield* hosting(world, 30)
      const [first, ...others] = runners
      first.line.state = "Silent"
      yield* Effect.sleep("30 seconds")
      assert.deepStrictEqual((yield* shares(others)).all, addresses(all))
      assert.isAbove((yield* hostedBy(first)).length, 0)
      yield* Effect.sleep("25 minutes")
      first.line.state = "Up"
      yield* Effect.sleep("1 minute")
      assert.deepStrictEqual((yield* shares(runners)).all, addresses(all))
      yield* Effect.sleep("25 minutes")
      yield* assertAllFound(reader, all)
    })))

  it("follows changes of the table: what is added, changed and removed", () =>
    run(Effect.fnUntraced(function*(world) {
      const { all, reader, runners } = yield* hosting(world, 10)
      const table = inTable(world)
      const more = identity(10)
      yield* table(({ put }) => put([announced(all[0], "second"), announced(more)]))
      yield* table(({ remove }) => remove([all[1].address]))
      yield* Effect.sleep("10 seconds")
      const left = [...all.filter((_, n) => n !== 1), more]
      assert.deepStrictEqual((yield* shares(runners)).all, addresses(left))
      assert.strictEqual(yield* resolved(reader, all[0].address), "https://second.example")
      assert.strictEqual(yield* resolved(reader, more.address), "https://first.example")
      assert.isUndefined(yield* resolved(reader, all[1].address))
      assert.deepStrictEqual(yield* table(({ counts }) => counts), { identities: 10, faults: 0, removed: 0 })
    })))

  it("withdraws what was removed while no runner was up", () =>
    run(Effect.fnUntraced(function*(world) {
      const { all, reader, runners } = yield* hosting(world, 3, 1)
      yield* runners[0].node.crash()
      yield* inTable(world)(({ remove }) => remove([all[0].address]))
      assert.strictEqual(yield* resolved(reader, all[0].address), "https://first.example")
      yield* runners[0].node.start
      yield* Effect.sleep("10 seconds")
      assert.isUndefined(yield* resolved(reader, all[0].address))
      assert.deepStrictEqual((yield* shares(runners)).all, addresses(all.slice(1)))
    })))

  it("says in its row what is wrong with an identity, and hosts the others", () =>
    run(Effect.fnUntraced(function*(world) {
      const { runners } = yield* setUp(world, 1)
      const table = inTable(world)
      const [good, external, broken] = identities(3)
      const { agent, publicKey } = external
      yield* table(({ put }) =>
        put([
          announced(good),
          { ...announced(external), signer: { agent, publicKey, service: "vault", reference: "7" } },
          announced(broken)
        ])
      )
      yield* world.database.execute(`UPDATE dht_identity SET signer = 'x' WHERE address = '${broken.address}'`)
      yield* startAll(runners)
      yield* Effect.sleep("10 seconds")
      assert.deepStrictEqual((yield* shares(runners)).all, [good.address])
      const faultOf = ({ address }: Identity.Identity) =>
        Effect.map(table(({ get }) => get(address)), (row) => Option.getOrThrow(row).fault)
      assert.isUndefined(yield* faultOf(good))
      assert.include(yield* faultOf(external), "no signing service \"vault\"")
      assert.include(yield* faultOf(broken), "\"signer\"")
      yield* table(({ put }) => put([announced(broken)]))
      yield* Effect.sleep("10 seconds")
      assert.deepStrictEqual((yield* shares(runners)).all, addresses([good, broken]))
      assert.isUndefined(yield* faultOf(broken))
    })))

  it("has an external signer sign by its service, and hosts again what had a fault once the service is there", () => {
    const held = identity(1)
    const asked: Array<string> = []
    const vault: Runner.SigningService = ({ bytes, reference }) =>
      Effect.sync(() => {
        asked.push(reference)
        return held.sign(bytes)
      })
    run(Effect.fnUntraced(function*(world) {
      const { agent, publicKey } = held
      const table = inTable(world)
      yield* table(({ put }) =>
        put([{ ...announced(held), signer: { agent, publicKey, service: "vault", reference: "keys/1" } }])
      )
      const without = yield* setUp(world, 1)
      yield* startAll(without.runners)
      yield* Effect.sleep("10 seconds")
      assert.strictEqual((yield* table(({ counts }) => counts)).faults, 1)
      yield* without.runners[0].node.leave
      const app = Cluster.runner(world.database, { services: { vault }, name: "other", line: { state: "Up" } })
      yield* world.node("other", { app, through: without.others.slice(0, 3) }).start
      yield* Effect.sleep("20 seconds")
      assert.deepStrictEqual(asked, ["keys/1"])
      assert.strictEqual((yield* table(({ counts }) => counts)).faults, 0)
      assert.strictEqual(yield* resolved(without.reader, agent), "https://first.example")
    }))
  })
})
