import { assert, describe, it } from "@effect/vitest"
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import { SqlClient } from "effect/sql/SqlClient"
import * as Stream from "effect/Stream"
import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import * as IdentityTable from "../../src/cluster/IdentityTable.ts"
import { bucketOf } from "../../src/core/share.ts"
import { Crypto, noble } from "../../src/Crypto.ts"
import * as Delegation from "../../src/Delegation.ts"
import * as Endpoint from "../../src/Endpoint.ts"
import * as Identity from "../../src/Identity.ts"
import * as Hex from "../../src/internal/hex.ts"
import { sha256 } from "../../src/internal/sha256.ts"
import * as SqliteClient from "../../src/node/SqliteClient.ts"
import * as NodeId from "../../src/NodeId.ts"
import { identityOf } from "../../src/testing/internal/madeUp.ts"
import { key } from "../utils/cluster.ts"
import { temporary } from "../utils/temporary.ts"

const identity = (name: string | number) => identityOf(noble, `identity ${name}`)

const announced = (signer: Identity.Identity, url = "https://a.example"): IdentityTable.Hosted => ({
  signer,
  announce: [{ _tag: "Endpoint", endpoints: [url] }]
})

const table = (options: IdentityTable.Options = { key }) =>
  IdentityTable.layer(options).pipe(
    Layer.provide(Layer.succeed(Crypto, noble)),
    Layer.provide(SecureRandom.layerWebCrypto)
  )

type Table = IdentityTable.IdentityTable["Service"]

const using = <A, E, R>(path: string, use: (table: Table) => Effect.Effect<A, E, R>, options?: IdentityTable.Options) =>
  IdentityTable.IdentityTable.use(use).pipe(
    Effect.provide(table(options).pipe(Layer.provideMerge(SqliteClient.layer(path))))
  )

const inMemory = <A, E, R>(use: (table: Table) => Effect.Effect<A, E, R>) => using(":memory:", use)

const recordOf = (signer: Identity.Identity, seq: bigint) =>
  Result.getOrThrow(
    Endpoint.sign({
      signer,
      address: signer.agent,
      seq,
      timestamp: 1_700_000_000n,
      ttl: 3600,
      payload: Endpoint.make({ endpoints: ["https://a.example"] })
    })
  )

describe("IdentityTable", () => {
  it.effect("keeps what is put, in place of what was there, until it is removed", () =>
    inMemory(Effect.fnUntraced(function*({ counts, get, list, put, remove, runners }) {
      const all = Array.from({ length: 5 }, (_, n) => identity(n))
      yield* put(all.map((signer) => announced(signer)))
      const before = yield* runners.version
      yield* put([{ ...announced(all[0], "https://b.example"), ttl: 60, replicas: 3 }])
      assert.isAbove(yield* runners.version, before)
      const row = Option.getOrThrow(yield* get(all[0].address))
      assert.deepInclude(row, { ttl: 60, replicas: 3, bucket: bucketOf(NodeId.fromAddress(all[0].address)) })
      assert.deepInclude(Option.getOrThrow(yield* get(all[1].address)), { ttl: 3600, replicas: 8, fault: undefined })
      yield* remove([all[1].address, identity("unknown").address])
      assert.isTrue(Option.isNone(yield* get(all[1].address)))
      const listed = yield* Stream.runCollect(list)
      assert.deepStrictEqual(
        listed.map(({ address }) => address),
        all.filter((_, n) => n !== 1).map(({ address }) => address).toSorted()
      )
      assert.deepStrictEqual(yield* counts, { identities: 4, faults: 0, removed: 1 })
      yield* put([announced(all[1])])
      assert.deepStrictEqual(yield* counts, { identities: 5, faults: 0, removed: 0 })
    })))

  it.effect("writes nothing if an identity of the call is wrong, and names it", () =>
    inMemory(Effect.fnUntraced(function*({ counts, put }) {
      const wrong = { ...announced(identity("b")), announce: [{ _tag: "Endpoint" as const, endpoints: ["no URL"] }] }
      const error = yield* Effect.flip(put([announced(identity("a")), wrong]))
      assert.strictEqual(error._tag, "CannotPut")
      assert.include(error.message, identity("b").address)
      const twice = { ...announced(identity("b")), announce: [...wrong.announce, ...wrong.announce] }
      assert.strictEqual((yield* Effect.flip(put([twice])))._tag, "CannotPut")
      assert.strictEqual((yield* counts).identities, 0)
    })))

  it.effect("merges what is right, and tells the outcome of each: what differs is replaced only if it is to be", () =>
    inMemory(Effect.fnUntraced(function*({ counts, get, merge, put, remove, runners }) {
      const [a, b, c, d] = ["a", "b", "c", "d"].map(identity)
      const vault = { agent: d.agent, publicKey: d.publicKey, service: "vault", reference: "keys/17" }
      const external: IdentityTable.Hosted = { signer: vault, announce: [] }
      yield* put([announced(a), announced(b), external])
      const before = Option.getOrThrow(yield* get(a.address))
      const other = announced(b, "https://b.example")
      const wrong = announced(c, "no URL")
      const first = yield* merge([announced(a), other, wrong, external, announced(c), other], { replace: false })
      assert.deepStrictEqual(
        first.map((outcome) => typeof outcome === "string" ? outcome : outcome._tag),
        ["Same", "Differs", "CannotPut", "Same", "Added", "Differs"]
      )
      assert.deepStrictEqual(Option.getOrThrow(yield* get(a.address)), before)
      const moved = { ...external, signer: { ...vault, reference: "keys/18" } }
      assert.deepStrictEqual(yield* merge([other, moved, announced(a)], { replace: true }), [
        "Replaced",
        "Replaced",
        "Same"
      ])
      // Another key of the same address, as after a delegation, is another signer.
      const row = Option.getOrThrow(yield* get(b.address))
      yield* remove([b.address])
      assert.deepStrictEqual(yield* merge([other], { replace: false }), ["Added"])
      assert.isAbove(Option.getOrThrow(yield* get(b.address)).version, row.version)
      assert.deepStrictEqual(yield* counts, { identities: 4, faults: 0, removed: 0 })
      assert.deepStrictEqual(yield* merge([], { replace: true }), [])
      assert.isAbove(yield* runners.version, 0)
    })))

  it.effect("reads thousands of changes of some buckets, each once and in the order of their versions", () =>
    inMemory(Effect.fnUntraced(function*({ put, runners }) {
      const one = identity("one")
      yield* put([announced(one)])
      const before = yield* runners.version
      const many = Array.from({ length: 2300 }, (_, n): IdentityTable.Hosted => {
        const address = Hex.encode(Uint8Array.from([0xa0, ...sha256(Uint8Array.of(n, n >> 8)).slice(0, 20)]))
        const signer = { agent: address as never, publicKey: one.publicKey, service: "vault", reference: String(n) }
        return { signer, announce: [] }
      })
      yield* put(many)
      const buckets = Array.from({ length: 128 }, (_, n) => 2 * n)
      const rows = yield* Stream.runCollect(runners.changes(before, buckets))
      const expected = many
        .map(({ signer }) => signer.agent)
        .filter((address) => bucketOf(NodeId.fromAddress(address)) % 2 === 0)
      assert.isAbove(expected.length, 1000)
      assert.sameMembers(rows.map(({ address }) => address), expected)
      const versions = rows.map(({ version }) => version)
      assert.deepStrictEqual(versions, versions.toSorted((a, b) => a - b))
      assert.deepStrictEqual(yield* Stream.runCollect(runners.changes(yield* runners.version, buckets)), [])
    })))

  it.effect("keeps the latest record of a slot, also if an earlier one is saved after it", () =>
    inMemory(Effect.fnUntraced(function*({ put, remove, runners }) {
      const signer = identity("a")
      const { address } = signer
      const stored = (seq: bigint, holders: ReadonlyArray<number>): IdentityTable.StoredRecord => ({
        address,
        key: NodeId.fromAddress(address),
        record: recordOf(signer, seq),
        due: 5,
        holders
      })
      yield* put([announced(signer)])
      yield* runners.save([stored(10n, [1])])
      yield* runners.save([stored(9n, [2])])
      assert.deepStrictEqual(
        (yield* runners.records(address)).map(({ due, holders, record }) => [record.seq, due, holders]),
        [[10n, 5, [1]]]
      )
      yield* runners.save([stored(10n, [1, 2])])
      const [{ holders, record }] = yield* runners.records(address)
      assert.deepStrictEqual([record.bytes, holders], [recordOf(signer, 10n).bytes, [1, 2]])

      // A row that is removed and put again is not forgotten.
      yield* remove([address])
      const [row] = yield* Stream.runCollect(runners.changes(0, [bucketOf(NodeId.fromAddress(address))]))
      yield* put([announced(signer)])
      yield* runners.forget([row])
      assert.lengthOf(yield* runners.records(address), 1)
      yield* remove([address])
      const [removed] = yield* Stream.runCollect(runners.changes(0, [row.bucket]))
      yield* runners.forget([removed])
      assert.lengthOf(yield* runners.records(address), 0)
    })))

  it.effect("opens again with its key only, and has no seed in the file", () =>
    Effect.gen(function*() {
      const directory = yield* temporary
      const path = join(directory, "hosted.sqlite")
      const operational = identity("operational")
      const delegated = Result.getOrThrow(Identity.withDelegation(
        operational,
        Delegation.delegate({
          master: identity("master"),
          operationalPublicKey: operational.publicKey,
          issuedAt: 0n,
          expiresAt: 0n
        }),
        noble
      ))
      yield* using(path, ({ put }) => put([announced(identity("a")), announced(delegated)]))
      const files = readdirSync(directory).map((name) => readFileSync(join(directory, name), "latin1")).join()
      for (const { agent, publicKey, seed } of [identity("a"), delegated]) {
        const bytes = Redacted.value(seed)
        assert.include(files, agent)
        assert.include(files, Hex.encode(publicKey))
        assert.notInclude(files, Hex.encode(bytes))
        assert.notInclude(files, Buffer.from(bytes).toString("latin1"))
      }
      const other = Redacted.make("another key, which is as long as it has to be")
      assert.strictEqual((yield* Effect.flip(using(path, () => Effect.void, { key: other })))._tag, "WrongKey")
      const weak = yield* Effect.flip(using(path, () => Effect.void, { key: Redacted.make("short") }))
      assert.strictEqual(weak._tag, "WeakKey")
      assert.strictEqual((yield* using(path, ({ counts }) => counts)).identities, 2)
    }))

  it.effect("leaves the tables of a later version of the library alone, and says so", () =>
    Effect.gen(function*() {
      const path = join(yield* temporary, "hosted.sqlite")
      yield* using(path, ({ put }) => put([announced(identity("a"))]))
      yield* SqlClient.use((sql) => sql`UPDATE dht_schema SET version = 7`).pipe(
        Effect.provide(SqliteClient.layer(path))
      )
      const error = yield* Effect.flip(using(path, () => Effect.void))
      assert.deepInclude(error, { _tag: "LaterSchema", found: 7, known: 1 })
    }))

  it.effect("says that the database is out of reach, and why", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(using("/nowhere/hosted.sqlite", () => Effect.void))
      assert.include(error.message, "unable to open database file")
    }))
})
