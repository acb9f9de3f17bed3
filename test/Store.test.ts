import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Result from "effect/Result"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import * as Address from "../src/Address.ts"
import { RecordSet } from "../src/core/recordSet.ts"
import { Crypto, layerNoble, noble } from "../src/Crypto.ts"
import * as Delegation from "../src/Delegation.ts"
import * as Mail from "../src/Mail.ts"
import * as NodeEvents from "../src/NodeEvents.ts"
import * as NodeId from "../src/NodeId.ts"
import * as Persistence from "../src/Persistence.ts"
import * as Record from "../src/Record.ts"
import * as Store from "../src/Store.ts"
import * as Topic from "../src/Topic.ts"
import { layerTold } from "./utils/told.ts"

const profile = Record.RecordType.profile
const mailbox = Record.RecordType.mailbox
const network = "203.0.113.0/24"

const alice = noble.signingKey(new Uint8Array(32).fill(1))
const bob = noble.signingKey(new Uint8Array(32).fill(2))
const addressOf = (signer: typeof alice) => Address.fromPublicKey(signer.publicKey)
const home = NodeId.fromAddress(addressOf(alice))
const elsewhere = NodeId.fromAddress(addressOf(bob))

/** Alice's profile, good until second 1000 of the test clock. */
const signed = (
  options: Partial<Parameters<typeof Record.sign>[0]> = {}
) =>
  Result.getOrThrow(Record.sign({
    signer: alice,
    address: addressOf(alice),
    type: profile,
    payload: Uint8Array.of(0xa0),
    seq: 1n,
    timestamp: 0n,
    ttl: 1000,
    ...options
  }))

/** The same except for the last byte, which belongs to the signature. */
const tampered = (record: Record.SignedRecord): Record.SignedRecord => {
  const bytes = record.bytes.slice()
  bytes[bytes.length - 1] ^= 1
  return Result.getOrThrow(Record.decode(bytes))
}

const layer = (options?: Parameters<typeof Store.layer>[0]): Layer.Layer<Store.Store> =>
  Store.layer(options).pipe(Layer.provide([layerNoble, NodeEvents.layer, Persistence.layerNone]))

const refused = (key: NodeId.NodeId | undefined, record: Record.SignedRecord) =>
  Store.Store.use((store) => Effect.flip(store.put(key, record)))

describe("Store", () => {
  describe("put", () => {
    it.effect("stores a record without a key, or with the all-zero key, at the key of its address", () =>
      Effect.gen(function*() {
        const store = yield* Store.Store
        yield* store.put(undefined, signed())
        yield* store.put(NodeId.zero, signed({ seq: 2n }))
        assert.deepStrictEqual(yield* store.getAll(home, 0), [signed({ seq: 2n })])
        assert.strictEqual(yield* store.size, 1)
      }).pipe(Effect.provide(layer())))

    it.effect("refuses a sovereign record at any other key, and stores others at the given key", () =>
      Effect.gen(function*() {
        const store = yield* Store.Store
        assert.strictEqual((yield* refused(elsewhere, signed()))._tag, "InvalidRecord")
        assert.strictEqual(yield* store.size, 0)
        yield* store.put(elsewhere, signed({ type: mailbox }))
        assert.deepStrictEqual(yield* store.getAll(elsewhere, 0), [signed({ type: mailbox })])
      }).pipe(Effect.provide(layer({ policy: Record.policyNone }))))

    it.effect("refuses a wrong signature before it checks the key", () =>
      Effect.gen(function*() {
        const error = yield* refused(elsewhere, tampered(signed()))
        assert.strictEqual(error.message, "Invalid record: bad signature")
      }).pipe(Effect.provide(layer())))

    it.effect("refuses records from the future and expired ones, by the clock of the program", () =>
      Effect.gen(function*() {
        const store = yield* Store.Store
        yield* TestClock.setTime(39_999)
        assert.strictEqual((yield* refused(undefined, signed({ timestamp: 100n })))._tag, "InvalidRecord")
        yield* TestClock.setTime(40_000)
        yield* store.put(undefined, signed({ timestamp: 100n }))
        yield* TestClock.setTime(1_000_999)
        yield* store.put(undefined, signed({ type: 3 }))
        yield* TestClock.setTime(1_001_000)
        assert.strictEqual((yield* refused(undefined, signed({ type: 4 })))._tag, "RecordExpired")
      }).pipe(Effect.provide(layer())))

    it.effect("refuses a record that is not newer than the one in its slot, and reports the held one", () =>
      Effect.gen(function*() {
        const store = yield* Store.Store
        yield* store.put(undefined, signed({ seq: 5n }))
        const error = yield* refused(undefined, signed({ seq: 4n }))
        assert.deepInclude(error, { _tag: "StaleRecord", seq: 4n, heldSeq: 5n })
        assert.deepStrictEqual(yield* store.getAll(home, 0), [signed({ seq: 5n })])
      }).pipe(Effect.provide(layer())))

    it.effect("checks authority unless it is given another policy", () => {
      const foreign = Result.getOrThrow(
        Record.decode(Record.encode({ ...signed({ type: 3 }), address: addressOf(bob) }))
      )
      const outcome = Store.Store.use((store) => Effect.succeed(store.admitUnsafe(undefined, foreign, 0, network)._tag))
      return Effect.gen(function*() {
        assert.strictEqual(yield* Effect.provide(outcome, layer()), "Refused")
        assert.strictEqual(yield* Effect.provide(outcome, layer({ policy: Record.policyNone })), "Stored")
      })
    })

    it.effect("applies the given policy last, with the key, the record and the time in seconds", () => {
      const asked: Array<unknown> = []
      const policy: Record.Policy = (key, record, now) => {
        asked.push([key, record, now])
        return record.seq === 7n ? Result.fail(new Delegation.InvalidDelegation({ reason: "not seven" })) : Result.void
      }
      return Effect.gen(function*() {
        const store = yield* Store.Store
        yield* TestClock.setTime(12_345)
        yield* refused(undefined, tampered(signed()))
        yield* refused(elsewhere, signed())
        assert.deepStrictEqual(asked, [])
        const error = yield* refused(undefined, signed({ seq: 7n }))
        assert.deepInclude(error, { _tag: "InvalidDelegation", reason: "not seven" })
        assert.deepStrictEqual(asked, [[home, signed({ seq: 7n }), 12]])
        assert.strictEqual(yield* store.size, 0)
        yield* store.put(undefined, signed())
        assert.strictEqual(yield* store.size, 1)
      }).pipe(Effect.provide(layer({ policy })))
    })
  })

  describe("vet", () => {
    it.effect("returns the result of put, and stores nothing", () =>
      Effect.gen(function*() {
        const store = yield* Store.Store
        const cases: ReadonlyArray<readonly [NodeId.NodeId | undefined, Record.SignedRecord, number]> = [
          [undefined, signed(), 0],
          [elsewhere, signed(), 0],
          [home, tampered(signed()), 0],
          [home, signed(), 1001]
        ]
        const verdicts = cases.map((args) => {
          const result = store.vet(...args)
          return Result.isSuccess(result) ? "ok" : result.failure._tag
        })
        assert.deepStrictEqual(verdicts, ["ok", "InvalidRecord", "InvalidRecord", "RecordExpired"])
        assert.strictEqual(yield* store.size, 0)
      }).pipe(Effect.provide(layer())))

    it.effect("checks the signature of the same bytes once, and always that they are alive", () => {
      let checks = 0
      const counting = {
        ...noble,
        verify: (...args: Parameters<typeof noble.verify>) => {
          checks++
          return noble.verify(...args)
        }
      }
      return Effect.gen(function*() {
        const store = yield* Store.Store
        const again = (record: Record.SignedRecord) => Result.getOrThrow(Record.decode(record.bytes.slice()))
        for (const [record, isValid] of [[signed(), true], [tampered(signed()), false]] as const) {
          checks = 0
          for (let holder = 0; holder < 8; holder++) {
            assert.strictEqual(Result.isSuccess(store.vet(home, again(record), 0)), isValid)
          }
          assert.strictEqual(checks, 1)
        }
        const expired = store.vet(home, again(signed()), 1001)
        assert.strictEqual(Result.isFailure(expired) ? expired.failure._tag : "ok", "RecordExpired")
        // The same signature beside another delegation is another record.
        const delegation = Delegation.encode(
          Delegation.delegate({ master: bob, operationalPublicKey: alice.publicKey, issuedAt: 1n, expiresAt: 0n })
        )
        const disguised = Result.getOrThrow(Record.decode(Record.encode({ ...signed(), delegation })))
        assert.isTrue(Result.isFailure(store.vet(home, disguised, 0)))
      }).pipe(
        Effect.provide(
          Store.layer().pipe(
            Layer.provide([Layer.succeed(Crypto, counting), NodeEvents.layer, Persistence.layerNone])
          )
        )
      )
    })
  })

  it.effect("holds a record under the key where it was put, the absent and the all-zero key standing for its own", () =>
    Effect.gen(function*() {
      const store = yield* Store.Store
      const [own, message] = [signed(), signed({ type: mailbox })]
      yield* store.put(undefined, own)
      yield* store.put(elsewhere, message)
      for (const key of [undefined, NodeId.zero, home]) assert.isTrue(store.holdsUnsafe(key, own))
      assert.isTrue(store.holdsUnsafe(elsewhere, message))
      assert.isFalse(store.holdsUnsafe(elsewhere, own))
      assert.isFalse(store.holdsUnsafe(home, message))
      assert.isFalse(store.holdsUnsafe(home, tampered(own)))
    }).pipe(Effect.provide(layer())))

  it.effect("tells which records come and leave, and nothing without listeners", () =>
    Effect.gen(function*() {
      for (const hasListeners of [true, false]) {
        const told: Array<NodeEvents.Event["_tag"]> = []
        yield* Effect.gen(function*() {
          const store = yield* Store.Store
          yield* store.put(undefined, signed())
          yield* store.put(undefined, signed({ signer: bob, address: addressOf(bob) }))
        }).pipe(
          Effect.provide(
            Layer.fresh(Store.layer({ maxKeys: 1 })).pipe(
              Layer.provide([layerNoble, layerTold(hasListeners, told), Persistence.layerNone])
            )
          )
        )
        assert.deepStrictEqual(told, hasListeners ? ["RecordStored", "RecordRemoved", "RecordStored"] : [])
      }
    }))

  it.effect("knows after a restart which network brought a record, and makes room as before", () =>
    Effect.gen(function*() {
      const memory = Persistence.makeMemory()
      const run = <A, E>(effect: Effect.Effect<A, E, Store.Store>) =>
        effect.pipe(
          Effect.provide(
            Layer.fresh(Store.layer({ maxBytes: 8000 })).pipe(
              Layer.provide([layerNoble, NodeEvents.layer, Layer.fresh(Persistence.layerMemory(memory))])
            )
          )
        )
      const by = (n: number) => {
        const signer = noble.signingKey(new Uint8Array(32).fill(n))
        return signed({ signer, address: addressOf(signer) })
      }
      const kept = Store.Store.use(({ rows }) => Effect.map(rows, (rows) => rows.map(({ address }) => address)))
      yield* run(Store.Store.use(({ admitUnsafe }) =>
        Effect.sync(() => {
          for (const [n, network] of [[1, "many"], [2, "many"], [3, "few"]] as const) {
            assert.strictEqual(admitUnsafe(undefined, by(n), 0, network)._tag, "Stored")
          }
        })
      ))
      yield* run(Effect.gen(function*() {
        const { admitUnsafe } = yield* Store.Store
        assert.lengthOf(yield* kept, 3)
        assert.strictEqual(admitUnsafe(undefined, by(4), 0, "many")._tag, "Full")
        assert.strictEqual(admitUnsafe(undefined, by(5), 0, "another")._tag, "Stored")
        assert.sameMembers(yield* kept, [1, 3, 5].map((n) => by(n).address))
      }))
    }))

  describe("a ttl beyond what the type is kept", () => {
    for (
      const [kind, type, longest] of [["profile", profile, 604_800], ["custom topic record", 0x11, 7200], [
        "custom mailbox record",
        0x81,
        604_800
      ]] as const
    ) {
      it.effect(`does not keep a ${kind} longer, nor bring it back`, () =>
        Effect.gen(function*() {
          const store = yield* Store.Store
          const lasting = signed({ type, ttl: 0xffff_ffff })
          const offered = (now: number) => store.admitUnsafe(home, lasting, now, network)
          yield* TestClock.setTime(longest * 1000)
          assert.strictEqual(offered(longest)._tag, "Stored")
          assert.deepStrictEqual(yield* store.getAll(home, 0), [lasting])
          assert.deepStrictEqual((yield* store.rows).map(({ expiresAt }) => expiresAt), [longest])
          assert.isTrue(Result.isSuccess(store.vet(home, lasting, longest)))
          yield* TestClock.setTime((longest + 1) * 1000)
          assert.deepStrictEqual(yield* store.getAll(home, 0), [])
          const expired = { _tag: "RecordExpired", expiresAt: longest, now: longest + 1 } as const
          assert.deepStrictEqual(offered(longest + 1), { _tag: "Refused", reason: expired })
          assert.deepInclude(yield* refused(home, lasting), expired)
          assert.deepInclude(yield* Effect.flip(Effect.fromResult(store.vet(home, lasting, longest + 1))), expired)
        }).pipe(Effect.provide(layer())))
    }
  })

  describe("admitUnsafe", () => {
    it.effect("leaves the signature to its caller, and checks everything else", () => {
      const verified: Array<Uint8Array> = []
      const counting = Layer.succeed(Crypto, {
        ...noble,
        verify: (...args) => {
          verified.push(args[2])
          return noble.verify(...args)
        }
      })
      return Effect.gen(function*() {
        const store = yield* Store.Store
        const outcome = (key: NodeId.NodeId | undefined, record: Record.SignedRecord, now: number) => {
          const admission = store.admitUnsafe(key, record, now, network)
          return admission._tag === "Refused" ? admission.reason._tag : admission._tag
        }
        assert.strictEqual(outcome(undefined, signed(), 1001), "RecordExpired")
        assert.strictEqual(outcome(undefined, signed({ timestamp: 61n }), 0), "InvalidRecord")
        assert.strictEqual(outcome(elsewhere, signed(), 0), "InvalidRecord")
        assert.strictEqual(yield* store.size, 0)
        assert.strictEqual(outcome(NodeId.zero, signed(), 0), "Stored")
        assert.strictEqual(outcome(home, signed(), 0), "Stale")
        assert.deepStrictEqual(verified, [])
      }).pipe(Effect.provide(Store.layer().pipe(Layer.provide([counting, NodeEvents.layer, Persistence.layerNone]))))
    })

    it.effect("refuses a topic record at the key of another topic, which its publisher may put there", () =>
      Effect.gen(function*() {
        const store = yield* Store.Store
        const record = Result.getOrThrow(Topic.sign({
          signer: alice,
          address: addressOf(alice),
          payload: Topic.make({ topic: "bread", name: "Alice" }),
          seq: 1n,
          timestamp: 0n,
          ttl: 1000
        }))
        const foreign = NodeId.fromTopic("wine")
        for (const key of [foreign, home, undefined]) {
          assert.strictEqual(store.admitUnsafe(key, record, 0, network)._tag, "Refused")
        }
        assert.strictEqual(yield* store.size, 0)
        assert.strictEqual(store.admitUnsafe(NodeId.fromTopic("bread"), record, 0, network)._tag, "Stored")
        yield* store.put(foreign, record)
      }).pipe(Effect.provide(layer())))

    it.effect("refuses in a mailbox what is no message, is to another recipient or from another sender than its signer", () =>
      Effect.gen(function*() {
        const store = yield* Store.Store
        const message = (sender: Address.Address, recipient: Address.Address) =>
          Result.getOrThrow(Mail.seal({
            sender,
            recipient,
            recipientPublicKey: bob.publicKey,
            type: Mail.MessageType.text,
            body: Uint8Array.of(1),
            ephemeralSeed: new Uint8Array(32).fill(7),
            nonce: new Uint8Array(12)
          }))
        const good = message(addressOf(alice), addressOf(bob))
        const refused = [
          [Uint8Array.of(0xa0), "the recipient is not an address"],
          [message(addressOf(bob), addressOf(bob)), "the message is from another sender"],
          [message(addressOf(alice), addressOf(alice)), "the message is to another recipient"]
        ] as const
        for (const [payload, reason] of refused) {
          const record = signed({ type: mailbox, payload })
          assert.deepStrictEqual(store.admitUnsafe(elsewhere, record, 0, network), {
            _tag: "Refused",
            reason: { _tag: "InvalidRecord", reason }
          })
          // What the program itself puts is the program's business.
          yield* store.put(elsewhere, record)
          yield* store.invalidate(elsewhere, 0)
        }
        const record = signed({ type: mailbox, payload: good })
        assert.strictEqual(store.admitUnsafe(home, record, 0, network)._tag, "Refused")
        assert.strictEqual(yield* store.size, 0)
        assert.strictEqual(store.admitUnsafe(elsewhere, record, 0, network)._tag, "Stored")
      }).pipe(Effect.provide(layer())))

    it.effect("keeps its own copy of the record's bytes, not the datagram", () =>
      Effect.gen(function*() {
        const store = yield* Store.Store
        const { bytes } = signed()
        const datagram = new Uint8Array(1200)
        datagram.set(bytes, 100)
        store.admitUnsafe(
          undefined,
          Result.getOrThrow(Record.decode(datagram.subarray(100, 100 + bytes.length))),
          0,
          network
        )
        datagram.fill(0)
        const [held] = yield* store.getAll(home, 0)
        assert.deepStrictEqual(held, signed())
        for (const part of [held.bytes, held.payload, held.publicKey, held.signature]) {
          assert.strictEqual(part.buffer.byteLength, bytes.length)
        }
      }).pipe(Effect.provide(layer())))
  })

  it.effect("reads by key, by type and by address, and drops records on request", () =>
    Effect.gen(function*() {
      const store = yield* Store.Store
      const [mine, message, custom] = [signed(), signed({ type: mailbox }), signed({ type: 3 })]
      yield* store.put(undefined, mine)
      yield* store.put(undefined, custom)
      yield* store.put(elsewhere, message)
      assert.deepStrictEqual(yield* store.getAll(home, 0), [mine, custom])
      assert.deepStrictEqual(yield* store.getAll(home, 3), [custom])
      assert.isUndefined(yield* store.get(home))
      assert.sameDeepMembers(yield* store.getAllByAddress(addressOf(alice), 0), [mine, custom, message])
      assert.deepStrictEqual(yield* store.getAllByAddress(addressOf(alice), mailbox), [message])
      assert.sameDeepMembers((yield* store.rows).map(({ key, type }) => [key, type]), [
        [home, profile],
        [home, 3],
        [elsewhere, mailbox]
      ])
      yield* store.invalidate(home, 3)
      assert.deepStrictEqual(yield* store.getAll(home, 0), [mine])
      yield* store.invalidate(home, 0)
      assert.strictEqual(yield* store.size, 1)
    }).pipe(Effect.provide(layer())))

  it.effect("finds the newest endpoint record of a key", () =>
    Effect.gen(function*() {
      const store = yield* Store.Store
      // Endpoints [], NAT type 0; the signature is not checked.
      const endpoint = (seq: bigint) =>
        Result.getOrThrow(
          Record.decode(
            Record.encode({ ...signed(), type: 1, seq, payload: Uint8Array.of(0xa2, 0x01, 0x80, 0x02, 0x00) })
          )
        )
      store.admitUnsafe(undefined, endpoint(1n), 0, network)
      store.admitUnsafe(undefined, endpoint(2n), 0, network)
      assert.deepStrictEqual(yield* store.get(home), endpoint(2n))
      yield* TestClock.setTime(1_001_000)
      assert.isUndefined(yield* store.get(home))
    }).pipe(Effect.provide(layer())))

  it.effect("respects its limit of keys, and a new limit from the next new key on", () =>
    Effect.gen(function*() {
      const store = yield* Store.Store
      const message = signed({ type: mailbox })
      const key = (digit: string) => digit.repeat(64) as NodeId.NodeId
      for (const digit of ["1", "2", "3"]) yield* store.put(key(digit), message)
      assert.strictEqual(yield* store.size, 2)
      yield* store.setMaxKeys(1)
      assert.strictEqual(yield* store.size, 2)
      yield* store.put(key("4"), message)
      assert.deepStrictEqual((yield* store.rows).map((row) => row.key), [key("4")])
    }).pipe(Effect.provide(layer({ maxKeys: 2 }))))

  describe("changes", () => {
    it.effect("contains every record that is new to the store, and no other", () =>
      Effect.gen(function*() {
        const store = yield* Store.Store
        yield* store.put(undefined, signed({ type: 3 }))
        const reader = yield* store.changes.pipe(
          Stream.take(3),
          Stream.runCollect,
          Effect.forkChild({ startImmediately: true })
        )
        yield* store.put(undefined, signed({ seq: 2n }))
        yield* refused(undefined, signed({ seq: 1n }))
        yield* refused(undefined, tampered(signed({ seq: 3n })))
        store.admitUnsafe(undefined, signed({ seq: 3n }), 0, network)
        yield* store.put(elsewhere, signed({ type: mailbox }))
        assert.deepStrictEqual(yield* Fiber.join(reader), [
          { key: home, record: signed({ seq: 2n }) },
          { key: home, record: signed({ seq: 3n }) },
          { key: elsewhere, record: signed({ type: mailbox }) }
        ])
      }).pipe(Effect.provide(layer())))

    it.effect("reach an observer at once, until its scope closes", () =>
      Effect.gen(function*() {
        const store = yield* Store.Store
        const seen: Array<Store.Placed> = []
        const scope = yield* Scope.make()
        yield* Scope.provide(store.observe((placed) => seen.push(placed)), scope)
        store.admitUnsafe(undefined, signed(), 0, network)
        assert.deepStrictEqual(seen, [{ key: home, record: signed() }])
        store.admitUnsafe(undefined, signed(), 0, network)
        yield* store.put(undefined, signed({ seq: 2n }))
        yield* Scope.close(scope, Exit.void)
        yield* store.put(undefined, signed({ seq: 3n }))
        assert.deepStrictEqual(seen.map(({ record }) => record.seq), [1n, 2n])
      }).pipe(Effect.provide(layer())))

    it.effect("drops the oldest for a slow reader, and delays no writer", () =>
      Effect.gen(function*() {
        const store = yield* Store.Store
        const base = signed()
        const reader = yield* store.changes.pipe(
          Stream.take(1024),
          Stream.runCollect,
          Effect.forkChild({ startImmediately: true })
        )
        // No fiber runs in between.
        for (let seq = 1n; seq <= 1100n; seq++) {
          store.admitUnsafe(undefined, Result.getOrThrow(Record.decode(Record.encode({ ...base, seq }))), 0, network)
        }
        const seen = (yield* Fiber.join(reader)).map((change) => change.record.seq)
        assert.deepStrictEqual([seen[0], seen.at(-1)], [77n, 1100n])
      }).pipe(Effect.provide(layer())))

    it.effect("ends with the store", () =>
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        const store = yield* Layer.buildWithScope(layer(), scope).pipe(
          Effect.flatMap((context) => Effect.provide(Store.Store, context))
        )
        const reader = yield* Effect.forkChild(Stream.runCollect(store.changes), { startImmediately: true })
        yield* store.put(undefined, signed())
        yield* Scope.close(scope, Exit.void)
        assert.deepStrictEqual(yield* Fiber.join(reader), [{ key: home, record: signed() }])
      }))
  })

  describe("maintenance", () => {
    it.effect("removes expired records without a request for them", () =>
      Effect.gen(function*() {
        const store = yield* Store.Store
        yield* store.put(undefined, signed({ ttl: 10 }))
        yield* store.put(elsewhere, signed({ type: mailbox }))
        yield* TestClock.adjust("3 minutes")
        assert.strictEqual(yield* store.size, 1)
        yield* TestClock.adjust("20 minutes")
        assert.strictEqual(yield* store.size, 0)
      }).pipe(Effect.provide(layer())))

    it.effect("logs a warning when it fails, and continues", () => {
      const warnings: Array<unknown> = []
      const logger = Logger.make((entry) => {
        if (entry.logLevel === "Warn") warnings.push(entry.message)
      })
      return Effect.gen(function*() {
        const store = yield* Store.Store
        yield* store.put(undefined, signed({ ttl: 10 }))
        const { sweep } = RecordSet.prototype
        const repair = Effect.sync(() => {
          RecordSet.prototype.sweep = sweep
        })
        yield* Effect.addFinalizer(() => repair)
        RecordSet.prototype.sweep = () => {
          throw new Error("broken")
        }
        yield* TestClock.adjust("3 minutes")
        const failures = warnings.length
        assert.isAtLeast(failures, 3)
        yield* repair
        yield* TestClock.adjust("1 minute")
        assert.strictEqual(yield* store.size, 0)
        assert.strictEqual(warnings.length, failures)
      }).pipe(Effect.scoped, Effect.provide(layer()), Effect.provide(Logger.layer([logger])))
    })
  })
})

describe("a record under a delegation", () => {
  it.effect("is stored and returned until a minute after the delegation's end, and no longer", () =>
    Effect.gen(function*() {
      const now = 1000
      const mandate = Delegation.delegate({
        master: alice,
        operationalPublicKey: bob.publicKey,
        issuedAt: BigInt(now - 100),
        expiresAt: BigInt(now)
      })
      const record = Result.getOrThrow(Record.sign({
        signer: bob,
        address: mandate.agent,
        type: 0x03,
        payload: new Uint8Array(),
        seq: 1n,
        timestamp: BigInt(now - 10),
        ttl: 3600,
        delegation: Delegation.encode(mandate)
      }))
      const store = yield* Store.Store
      const held = Effect.map(store.getAll(Record.ownKey(record), 0), ({ length }) => length)
      yield* TestClock.setTime((now + 5) * 1000)
      yield* store.put(undefined, record)
      assert.strictEqual(yield* held, 1)
      yield* TestClock.setTime((now + 59) * 1000)
      assert.strictEqual(yield* held, 1)
      yield* TestClock.setTime((now + 60) * 1000)
      assert.strictEqual(yield* held, 0)
      assert.strictEqual((yield* Effect.flip(store.put(undefined, record)))._tag, "InvalidDelegation")
    }).pipe(Effect.provide(Store.layer().pipe(Layer.provide([layerNoble, NodeEvents.layer, Persistence.layerNone])))))
})
