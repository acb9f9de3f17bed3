import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Metric from "effect/Metric"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import { spawn, spawnSync } from "node:child_process"
import { subscribe, unsubscribe } from "node:diagnostics_channel"
import { once } from "node:events"
import * as Fs from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { createInterface } from "node:readline"
import { DatabaseSync } from "node:sqlite"
import type { Worker } from "node:worker_threads"
import * as Address from "../../src/Address.ts"
import * as Hex from "../../src/internal/hex.ts"
import { sha256 } from "../../src/internal/sha256.ts"
import { migrations, type Page, StateFile, type Step, type Table } from "../../src/node/internal/stateFile.ts"
import * as NodeCrypto from "../../src/node/NodeCrypto.ts"
import * as SqlitePersistence from "../../src/node/SqlitePersistence.ts"
import * as NodeEvents from "../../src/NodeEvents.ts"
import * as Persistence from "../../src/Persistence.ts"
import * as Record from "../../src/Record.ts"
import * as Store from "../../src/Store.ts"
import { Prng } from "../../src/testing/internal/prng.ts"
import { changesOf, entryOf, isRemoved, recordOf, storedOf } from "../utils/numbered.ts"
import { settled } from "../utils/served.ts"

const temporary = Effect.acquireRelease(
  Effect.sync(() => Fs.mkdtempSync(join(tmpdir(), "effect-dht-state-"))),
  (directory) => Effect.sync(() => Fs.rmSync(directory, { recursive: true }))
)

/** Runs an effect on the state of a directory, then closes it, and returns the result with the log. */
const on = <A, E>(
  directory: string,
  effect: Effect.Effect<A, E, Persistence.Persistence>,
  maxBytes?: number
) =>
  Effect.suspend(() => {
    const logged: Array<string> = []
    const logger = Logger.make(({ message }) => void logged.push(String(message)))
    return effect.pipe(
      Effect.provide(Layer.fresh(SqlitePersistence.layer({ directory, maxBytes }))),
      Effect.provide(Logger.layer([logger])),
      Effect.map((result) => ({ result, logged }))
    )
  })

const saving = (changes: ReadonlyArray<Persistence.Change>) =>
  Persistence.Persistence.use(({ flush, save }) => {
    changes.forEach(save)
    return flush
  })

/** The `n`th slot of a hosted record. */
const slotOf = (n: number): string => n.toString(16).padStart(32, "0")

/** The `n`th address. */
const addressOf = (n: number) => n.toString(16).padStart(42, "a0") as Address.Address

const turns = (count: number) => Array.from({ length: count }, (_, n) => changesOf(n)).flat()

/** The most recently started thread, which the test can stop or hang. */
const startedWorker = Effect.gen(function*() {
  let started: Worker | undefined
  const listener = (message: unknown) => {
    started = (message as { readonly worker: Worker }).worker
  }
  yield* Effect.acquireRelease(
    Effect.sync(() => subscribe("worker_threads", listener)),
    () => Effect.sync(() => unsubscribe("worker_threads", listener))
  )
  return () => {
    if (started === undefined) throw new Error("no thread was started")
    return started
  }
})

/** Everything left by an earlier run. */
const kept = Persistence.Persistence.use(({ kept }) =>
  Effect.all({
    records: Stream.runCollect(kept.records),
    publications: kept.publications,
    seq: kept.seq,
    peers: kept.peers,
    seen: kept.seen,
    announcements: kept.announcements,
    hosted: Stream.runCollect(kept.hosted),
    identities: Stream.runCollect(kept.identities)
  })
)

const file = (directory: string) => join(directory, "state.sqlite")

const options = (directory: string) => ({ path: file(directory), time: "then", maxBytes: 1 << 30 })

/** Unix milliseconds. */
const now = 1_750_000_000_000

/** A comparable representation of an entry. */
const nameOf = ({ key, record }: Persistence.Entry): string => `${key} ${Hex.encode(record.bytes)}`

const numbered: Array<string> = []
const nameOfNumber = (n: number): string => numbered[n] ??= nameOf(entryOf(n))

describe("SqlitePersistence", () => {
  it.live(
    "finds every record that was durable before the process was killed, 30 times at any moment",
    () =>
      Effect.gen(function*() {
        const durable = yield* Effect.forEach(Array.from({ length: 5 }), () => killTenTimes, {
          concurrency: "unbounded"
        })
        // Otherwise there was no load.
        assert.isAbove(Math.min(...durable), 20)
      }),
    120_000
  )

  it.live("copies the state with every change saved so far, while further ones are written", () =>
    Effect.gen(function*() {
      const [directory, restored] = [yield* temporary, yield* temporary]
      const { logged, result } = yield* on(
        directory,
        Effect.gen(function*() {
          const { backup, flush, save } = yield* Persistence.Persistence
          turns(40).forEach(save)
          return yield* Effect.scoped(Effect.gen(function*() {
            const { content, size } = yield* backup
            turns(80).slice(turns(40).length).forEach(save)
            yield* flush
            const chunks = yield* Stream.runCollect(content)
            Fs.writeFileSync(file(restored), Buffer.concat(chunks))
            return { size, names: Fs.readdirSync(directory) }
          }))
        })
      )
      assert.deepStrictEqual(logged, [])
      assert.strictEqual(Fs.statSync(file(restored)).size, result.size)
      assert.include(result.names, "state.sqlite.backup")
      assert.notInclude(Fs.readdirSync(directory).join(), "backup")
      const expected = yield* temporary
      yield* on(expected, saving(turns(40)))
      const named = ({ publications, records, ...rest }: Effect.Success<typeof kept>) => ({
        records: records.map(nameOf),
        publications: publications.map(nameOf),
        ...rest
      })
      const found = yield* on(restored, kept)
      assert.deepStrictEqual(found.logged, [])
      assert.deepStrictEqual(named(found.result), named((yield* on(expected, kept)).result))
      assert.isNotEmpty(found.result.records)
      assert.notDeepEqual(named(found.result), named((yield* on(directory, kept)).result))
    }))

  it.live("makes one copy at a time, and leaves none if its reader ends early", () =>
    Effect.gen(function*() {
      const directory = yield* temporary
      const { result } = yield* on(
        directory,
        Effect.gen(function*() {
          const { backup, save } = yield* Persistence.Persistence
          turns(40).forEach(save)
          const reading = yield* Effect.forkChild(Effect.scoped(Effect.andThen(backup, Effect.never)))
          while (!Fs.existsSync(`${file(directory)}.backup`)) yield* Effect.sleep("5 millis")
          const second = yield* Effect.forkChild(Effect.scoped(Effect.map(backup, ({ size }) => size)))
          yield* Effect.sleep("50 millis")
          const isWaiting = second.pollUnsafe() === undefined
          yield* Fiber.interrupt(reading)
          return { isWaiting, size: yield* Fiber.join(second) }
        })
      )
      assert.isTrue(result.isWaiting)
      assert.isAbove(result.size, 4096)
      assert.notInclude(Fs.readdirSync(directory).join(), "backup")
    }))

  it.live("says why the state cannot be copied", () =>
    Effect.gen(function*() {
      const directory = yield* temporary
      Fs.mkdirSync(join(directory, "state.sqlite.backup", "full"), { recursive: true })
      const { result } = yield* on(
        directory,
        Effect.flip(Effect.scoped(Persistence.Persistence.use(({ backup }) => backup)))
      )
      assert.strictEqual(result._tag, "CannotBackUp")
      assert.match(result.message, /^The state cannot be backed up: .*state\.sqlite: .*state\.sqlite\.backup/)
      const error = yield* Persistence.Persistence.use(({ backup }) => Effect.flip(Effect.scoped(backup))).pipe(
        Effect.provide(Persistence.layerNone)
      )
      assert.strictEqual(
        error.message,
        "The state cannot be backed up: this node keeps its state in memory only"
      )
    }))

  it.live("keeps every kind of change for the next run", () =>
    Effect.gen(function*() {
      const directory = join(yield* temporary, "new")
      const peers = [{ host: "9.0.0.1", port: 4121 }, { host: "2001:db8::1", port: 1 }]
      const lastSeen = yield* Clock.currentTimeMillis
      const sightings = [{ id: entryOf(0).key, lastSeen: lastSeen - 1 }, { id: entryOf(4).key, lastSeen }]
      yield* on(
        directory,
        saving([
          { _tag: "Stored", ...storedOf(0), replaced: undefined },
          { _tag: "Stored", ...storedOf(1), replaced: undefined },
          { _tag: "Stored", ...storedOf(2), replaced: recordOf(1) },
          { _tag: "Stored", ...storedOf(3), replaced: undefined },
          { _tag: "Removed", ...entryOf(3) },
          { _tag: "Stored", ...storedOf(4), replaced: undefined },
          { _tag: "Cleared", key: entryOf(4).key, type: 0 },
          { _tag: "Stored", ...storedOf(8), replaced: undefined },
          { _tag: "Cleared", key: entryOf(8).key, type: 0x81 },
          { _tag: "Published", ...entryOf(5), replaced: undefined },
          { _tag: "Published", ...entryOf(6), replaced: undefined },
          { _tag: "Withdrawn", ...entryOf(6) },
          { _tag: "Published", ...entryOf(7), replaced: recordOf(5) },
          { _tag: "Signed", seq: 2n ** 64n - 1n },
          { _tag: "Peers", peers: [{ host: "9.9.9.9", port: 9 }] },
          { _tag: "Peers", peers },
          { _tag: "Seen", sightings },
          { _tag: "Announced", announcements: "[]" },
          { _tag: "Announced", announcements: "[\"ä\"]" },
          { _tag: "Hosted", slot: slotOf(1), ...entryOf(9), due: 1, holders: [] },
          { _tag: "Hosted", slot: slotOf(2), ...entryOf(10), due: 2, holders: [7] },
          { _tag: "Hosted", slot: slotOf(1), ...entryOf(11), due: 1_750_000_000_000, holders: [0, 2 ** 32 - 1] },
          { _tag: "Unhosted", slot: slotOf(2), key: entryOf(10).key },
          { _tag: "Enrolled", address: addressOf(1), text: "first" },
          { _tag: "Enrolled", address: addressOf(2), text: "second" },
          { _tag: "Enrolled", address: addressOf(3), text: "{\"ä\":1}" },
          { _tag: "Enrolled", address: addressOf(1), text: "changed" },
          { _tag: "Dismissed", address: addressOf(2) }
        ])
      )
      const { logged, result } = yield* on(directory, kept)
      assert.deepStrictEqual(logged, [])
      assert.deepStrictEqual(result, {
        records: [storedOf(0), storedOf(2), storedOf(8)],
        publications: [entryOf(7)],
        seq: 2n ** 64n - 1n,
        peers,
        seen: sightings,
        announcements: "[\"ä\"]",
        hosted: [{ slot: slotOf(1), ...entryOf(11), due: 1_750_000_000_000, holders: [0, 2 ** 32 - 1] }],
        identities: [
          { address: addressOf(3), text: "{\"ä\":1}" },
          { address: addressOf(1), text: "changed" }
        ]
      })
    }))

  it.live("saves the remaining changes when the node stops", () =>
    Effect.gen(function*() {
      const directory = yield* temporary
      const changes = turns(1000)
      yield* on(directory, Persistence.Persistence.use(({ save }) => Effect.sync(() => changes.forEach(save))))
      const { result } = yield* on(directory, kept)
      assert.strictEqual(result.seq, 999n)
      assert.lengthOf(result.records, 802)
    }))

  it.live("is private to its owner", () =>
    Effect.gen(function*() {
      const directory = join(yield* temporary, "new")
      yield* on(
        directory,
        Effect.andThen(
          saving(changesOf(1)),
          Effect.sync(() => {
            assert.strictEqual(Fs.statSync(directory).mode & 0o777, 0o700)
            assert.isAbove(Fs.readdirSync(directory).length, 1)
            for (const name of Fs.readdirSync(directory)) {
              assert.strictEqual(Fs.statSync(join(directory, name)).mode & 0o777, 0o600, name)
            }
          })
        )
      )
    }))

  it.live("lists the remembered peers while no node runs", () =>
    Effect.gen(function*() {
      const directory = yield* temporary
      const peers = [{ host: "9.0.0.1", port: 4121 }]
      assert.deepStrictEqual(yield* SqlitePersistence.peers(directory), [])
      assert.deepStrictEqual(Fs.readdirSync(directory), [])
      yield* on(
        directory,
        Effect.gen(function*() {
          yield* saving([{ _tag: "Peers", peers }])
          assert.deepStrictEqual(yield* SqlitePersistence.peers(directory), [])
        })
      )
      assert.deepStrictEqual(yield* SqlitePersistence.peers(directory), peers)
    }))

  it.live("locks its file, against other programs too", () =>
    Effect.gen(function*() {
      const directory = yield* temporary
      yield* on(
        directory,
        Effect.gen(function*() {
          yield* saving(changesOf(0))
          const opening = `new (require("node:sqlite").DatabaseSync)(process.argv[1]).exec("BEGIN IMMEDIATE")`
          const { status, stderr } = spawnSync(process.execPath, ["-e", opening, file(directory)], { encoding: "utf8" })
          assert.strictEqual(status, 1)
          assert.include(stderr, "database is locked")
          yield* saving(changesOf(1))
        })
      )
      const { result } = yield* on(directory, kept)
      assert.deepStrictEqual(result.records, [storedOf(0), storedOf(1)])
    }))

  describe("keeps state in memory only, logs why once, and leaves the file unchanged", () => {
    /** Runs a node's state in a place where it cannot be stored. */
    const degraded = Effect.fnUntraced(function*(directory: string, reason: RegExp) {
      const { logged, result } = yield* on(
        directory,
        Effect.gen(function*() {
          const { flush, isLasting, save, status } = yield* Persistence.Persistence
          turns(10).forEach(save)
          assert.match((yield* Effect.flip(flush)).reason, reason)
          return { isLasting, status: yield* status, metric: yield* Metric.value(Persistence.isDegraded) }
        })
      ).pipe(Effect.provideService(Metric.MetricRegistry, new Map()))
      assert.lengthOf(logged, 1)
      assert.match(logged[0], /in memory only/)
      assert.match(logged[0], reason)
      assert.match(result.status.degraded ?? "", reason)
      assert.strictEqual(result.metric.value, 1)
      assert.isFalse(result.isLasting)
    })

    it.live("where nothing can be written", () => degraded("/proc/nowhere", /nowhere/))

    it.live("while another program has the file open", () =>
      Effect.gen(function*() {
        const directory = yield* temporary
        yield* on(directory, saving(changesOf(0)))
        const other = new DatabaseSync(file(directory))
        other.exec("BEGIN IMMEDIATE")
        yield* degraded(directory, /another program/)
        other.close()
        const { result } = yield* on(directory, kept)
        assert.deepStrictEqual(result.records, [storedOf(0)])
      }))

    it.live("where the file is of a later version", () =>
      Effect.gen(function*() {
        const directory = yield* temporary
        yield* on(directory, saving(turns(3)))
        const later = new StateFile({
          ...options(directory),
          migrations: [...migrations, "ALTER TABLE record ADD COLUMN later TEXT"]
        })
        later.close()
        const before = Fs.readFileSync(file(directory))
        yield* degraded(directory, /later version.*its schema is 5, this version knows 4/)
        assert.deepStrictEqual(Fs.readFileSync(file(directory)), before)
      }))

    it.live("where the file is another program's", () =>
      Effect.gen(function*() {
        const directory = yield* temporary
        const other = new DatabaseSync(file(directory))
        other.exec("CREATE TABLE record (a); PRAGMA user_version = 1")
        other.close()
        const before = Fs.readFileSync(file(directory))
        yield* degraded(directory, /another program/)
        assert.deepStrictEqual(Fs.readFileSync(file(directory)), before)
      }))
  })

  it.live("migrates a file of an earlier version", () =>
    Effect.gen(function*() {
      const directory = yield* temporary
      yield* on(directory, saving(turns(3)))
      const later = new StateFile({
        ...options(directory),
        migrations: [...migrations, "ALTER TABLE record ADD COLUMN later TEXT"]
      })
      assert.isUndefined(later.setAside)
      assert.deepStrictEqual(later.page("record", 0).rows.map(({ key }) => key), [0, 1, 2].map((n) => entryOf(n).key))
      later.close()
    }))

  it.live("migrates a file from before records had a network, whose records count as the node's own", () =>
    Effect.gen(function*() {
      const directory = yield* temporary
      const state = new StateFile(options(directory))
      state.close()
      Fs.rmSync(file(directory))
      const older = new DatabaseSync(file(directory))
      older.exec(`PRAGMA application_id = ${0x61646874}; ${migrations[0]}; PRAGMA user_version = 1`)
      const { key, record } = entryOf(1)
      const [at, tag] = [Hex.decode(key), record.signature.subarray(0, 16)]
      const facts = `${record.type} ${record.expiresAt}`
      const sum = sha256(Uint8Array.from([...at, ...tag, ...Buffer.from(facts), ...record.bytes])).subarray(0, 8)
      for (const table of ["record", "publication"]) {
        older.prepare(`INSERT INTO ${table} (key, tag, type, expires, bytes, sum) VALUES (?, ?, ?, ?, ?, ?)`)
          .run(at, tag, record.type, record.expiresAt, record.bytes, sum)
      }
      older.close()
      yield* on(directory, saving([{ _tag: "Stored", ...storedOf(2), replaced: undefined }]))
      const { logged, result: { publications, records } } = yield* on(directory, kept)
      assert.deepStrictEqual(logged, [])
      assert.deepStrictEqual(records, [{ key, record, network: undefined }, storedOf(2)])
      assert.deepStrictEqual(publications, [{ key, record }])
    }))

  it.live(
    "keeps no more than the store, under any flood of records",
    () =>
      Effect.gen(function*() {
        const directory = yield* temporary
        const maxBytes = 200_000
        const storing = <A, E>(effect: Effect.Effect<A, E, Store.Store | Persistence.Persistence>) =>
          on(
            directory,
            Effect.provide(
              effect,
              Layer.fresh(Store.layer({ maxBytes, policy: Record.policyNone })).pipe(
                Layer.provide([NodeCrypto.layer, NodeEvents.layer])
              )
            )
          )
        const rowsOf = Store.Store.use(({ rows }) => Effect.map(rows, (rows) => rows.map(({ seq }) => seq)))
        const { result: held } = yield* storing(Effect.gen(function*() {
          const { admitUnsafe } = yield* Store.Store
          const { flush } = yield* Persistence.Persistence
          const seconds = Math.floor((yield* Clock.currentTimeMillis) / 1000)
          const outcomes = new Map<string, number>()
          for (let n = 0; n < 5000; n++) {
            const publicKey = sha256(Uint8Array.of(n >> 8, n))
            const record = Result.getOrThrow(Record.decode(Record.encode({
              address: Address.fromPublicKey(publicKey),
              type: 0x03,
              payload: new Uint8Array(400),
              seq: BigInt(n),
              timestamp: BigInt(seconds),
              ttl: 3600,
              publicKey,
              signature: Uint8Array.from([...publicKey, ...publicKey]),
              delegation: undefined
            })))
            // Ever more networks: a record from a new one evicts a record of a network with several.
            const { _tag } = admitUnsafe(undefined, record, seconds, `network ${n % (1 + (n >> 4))}`)
            outcomes.set(_tag, (outcomes.get(_tag) ?? 0) + 1)
            if (n % 500 === 499) yield* flush
          }
          // The store is full and keeps changing.
          assert.isAbove(outcomes.get("Stored") ?? 0, 2 * (yield* rowsOf).length)
          return yield* rowsOf
        }))
        const { result: { records } } = yield* on(directory, kept)
        assert.sameMembers(records.map(({ record }) => record.seq), held)
        assert.isAtMost(Fs.statSync(file(directory)).size, 2 * maxBytes)
        // The networks are restored; otherwise all records would count as the node's own, and none could be evicted.
        assert.isTrue(records.every(({ network }) => network?.startsWith("network ")))
        const { result } = yield* storing(rowsOf)
        assert.sameMembers(result, held)
      }),
    60_000
  )

  it.live("removes expired records, and peers not seen for a week", () =>
    Effect.gen(function*() {
      const state = new StateFile(options(yield* temporary))
      const step = (table: Table, n: number): Step => {
        const { key, record } = entryOf(n)
        return {
          _tag: "Put",
          table,
          key,
          tag: `${n}`.padStart(32, "0"),
          type: 1,
          expires: now / 1000 + n,
          bytes: record.bytes,
          replaces: undefined
        }
      }
      const day = 24 * 3_600_000
      state.write([
        ...[60, 3600].flatMap((n) => [step("record", n), step("publication", n)]),
        { _tag: "Seen", sightings: [0, 3].map((n) => ({ id: entryOf(4 * n).key, lastSeen: now - n * day })) }
      ], now)
      state.write([], now + 120_000)
      for (const table of ["record", "publication"] as const) {
        assert.deepStrictEqual(state.page(table, 0).rows.map(({ key }) => key), [entryOf(3600).key])
      }
      assert.lengthOf(state.seen(), 2)
      state.write([], now + 5 * day)
      assert.deepStrictEqual(state.seen(), [{ id: entryOf(0).key, lastSeen: now }])
      state.close()
    }))

  it.live("continues in memory with one warning when the disk is full, and saves once there is room", () =>
    Effect.gen(function*() {
      const directory = yield* temporary
      const { logged, result } = yield* on(
        directory,
        Effect.gen(function*() {
          const { flush, save, status } = yield* Persistence.Persistence
          for (let n = 0; n < 3000; n++) save({ _tag: "Stored", ...storedOf(n), replaced: undefined })
          const { reason } = yield* Effect.flip(flush)
          assert.match(reason, /full/)
          assert.match((yield* status).degraded ?? "", /full/)
          assert.match((yield* Effect.flip(flush)).reason, /full/)
          return (yield* status).written
        }),
        1 << 20
      )
      assert.lengthOf(logged.filter((line) => line.includes("cannot be saved")), 1)
      assert.isAbove(result, 0)
      // The disk has room again, and earlier changes are there.
      const { result: { records } } = yield* on(directory, kept)
      assert.isAtLeast(records.length, result)
      assert.deepStrictEqual(records, Array.from(records, (_, n) => storedOf(n)))
    }))

  it.live("makes room in a file full of expired records", () =>
    Effect.gen(function*() {
      const state = new StateFile({ ...options(yield* temporary), maxBytes: 1 << 18 })
      const step = (n: number): Step => ({
        _tag: "Put",
        table: "record",
        key: entryOf(n).key,
        tag: `${n}`.padStart(32, "0"),
        type: 1,
        expires: now / 1000 + 60,
        bytes: new Uint8Array(1000),
        replaces: undefined
      })
      let written = 0
      const fill = () => {
        while (written < 1000) state.write([step(written++)], now)
      }
      assert.throws(fill, /full/)
      assert.throws(() => state.write([step(written)], now), /full/)
      state.write([step(written)], now + 120_000)
      assert.deepStrictEqual(state.page("record", 0).rows.map(({ key }) => key), [entryOf(written).key])
      state.close()
    }))

  it.live("notices that its thread has died, logs it once, and no longer waits", () =>
    Effect.gen(function*() {
      const directory = yield* temporary
      const worker = yield* startedWorker
      const { logged, result } = yield* on(
        directory,
        Effect.gen(function*() {
          const { flush, save, status } = yield* Persistence.Persistence
          yield* saving(changesOf(0))
          yield* Effect.promise(() => worker().terminate())
          changesOf(1).forEach(save)
          const { reason } = yield* Effect.flip(flush)
          assert.match(reason, /the thread exited/)
          changesOf(2).forEach(save)
          assert.strictEqual((yield* Effect.flip(flush)).reason, reason)
          assert.strictEqual((yield* status).degraded, reason)
          return yield* Metric.value(Persistence.isDegraded)
        })
      ).pipe(Effect.provideService(Metric.MetricRegistry, new Map()))
      assert.strictEqual(result.value, 1)
      assert.lengthOf(logged, 1)
      assert.match(logged[0], /cannot be saved.*the thread exited/)
      const { result: { records } } = yield* on(directory, kept)
      assert.deepStrictEqual(records, [storedOf(0)])
    }))

  it.effect("limits the calls to a disk that does not respond", () =>
    Effect.gen(function*() {
      const worker = yield* startedWorker
      const { logged, result } = yield* on(
        yield* temporary,
        Effect.gen(function*() {
          const { save, status } = yield* Persistence.Persistence
          let asked = 0
          worker().postMessage = () => void asked++
          changesOf(0).forEach(save)
          for (let i = 0; i < 100; i++) yield* Effect.andThen(settled, TestClock.adjust("30 seconds"))
          assert.isDefined((yield* status).degraded)
          return asked
        })
      )
      assert.isAbove(result, 1)
      assert.isAtMost(result, 16)
      assert.lengthOf(logged.filter((line) => line.includes("cannot be saved")), 1)
    }))

  describe("of a damaged file", () => {
    const count = 400

    /** A file of some hundred records and facts, closed by a node that stopped. */
    const written = Effect.fnUntraced(function*(directory: string) {
      yield* on(
        directory,
        saving(
          Array.from({ length: count }, (_, n): ReadonlyArray<Persistence.Change> => [
            { _tag: "Stored", ...storedOf(n), replaced: undefined },
            { _tag: "Signed", seq: BigInt(n) }
          ]).flat()
        )
      )
      return Fs.readFileSync(file(directory))
    })

    /** The records found in a file of these bytes, and whether damage was logged. */
    const read = (directory: string, bytes: Uint8Array) => {
      for (const name of Fs.readdirSync(directory)) Fs.rmSync(join(directory, name))
      Fs.writeFileSync(file(directory), bytes)
      let state: StateFile
      try {
        state = new StateFile(options(directory))
      } catch {
        // The file is left unchanged, and that is logged.
        assert.deepStrictEqual(Fs.readFileSync(file(directory)), Buffer.from(bytes))
        return { found: new Set<string>(), isSaid: true }
      }
      const found = new Set<string>()
      let damaged = 0
      for (let from: number | undefined = 0; from !== undefined;) {
        const page: Page = state.page("record", from)
        damaged += page.damaged
        from = page.next
        for (const { bytes, key } of page.rows) found.add(`${key} ${Hex.encode(bytes)}`)
      }
      if (state.setAside !== undefined) {
        assert.deepStrictEqual(Fs.readFileSync(state.setAside.path), Buffer.from(bytes))
        assert.strictEqual(found.size, 0)
      }
      state.write([{ _tag: "Fact", name: "seq", value: "1" }], now)
      state.close()
      return { found, isSaid: state.setAside !== undefined || damaged > 0 }
    }

    const asides = (directory: string): ReadonlyArray<string> =>
      Fs.readdirSync(directory).filter((name) => name.includes(".damaged-")).map((name) => join(directory, name))

    const genuine = () => new Set(Array.from({ length: count }, (_, n) => nameOfNumber(n)))

    const check = ({ found, isSaid }: ReturnType<typeof read>, how: string) => {
      const all = genuine()
      for (const name of found) assert.isTrue(all.has(name), `a record that was never stored, after ${how}`)
      if (found.size < count) {
        assert.isTrue(isSaid, `${count - found.size} records are lost without a log message, after ${how}`)
      }
      return isSaid
    }

    it.live("no false record is returned and no loss goes unlogged, whichever bits are wrong", () =>
      Effect.gen(function*() {
        const directory = yield* temporary
        const whole = yield* written(directory)
        assert.isFalse(check(read(directory, whole), "nothing"))
        const random = new Prng(1, "flips")
        let said = 0
        for (let i = 0; i < 120; i++) {
          const damaged = Uint8Array.from(whole)
          const bit = random.below(8)
          // The header and the schema are hit as often as all the rest.
          const at = random.below(i % 2 === 0 ? 4096 : damaged.length)
          damaged[at] ^= 1 << bit
          if (check(read(directory, damaged), `bit ${bit} of byte ${at}`)) said++
        }
        assert.isAbove(said, 50)
      }))

    it.live("the same holds for a truncated file", () =>
      Effect.gen(function*() {
        const directory = yield* temporary
        const whole = yield* written(directory)
        const random = new Prng(1, "cuts")
        const lengths = [
          0,
          1,
          50,
          100,
          511,
          512,
          4095,
          4096,
          8192,
          ...Array.from({ length: 30 }, () => 1 + random.below(whole.length - 1))
        ]
        for (const length of lengths) {
          assert.isTrue(check(read(directory, whole.subarray(0, length)), `${length} bytes`), `${length} bytes`)
        }
      }))

    it.live("a damaged log loses its end at most, which is logged except for the last commits", () =>
      Effect.gen(function*() {
        const directory = yield* temporary
        const target = yield* temporary
        const together = 10
        const files = yield* on(
          directory,
          Effect.gen(function*() {
            for (let n = 0; n < count; n += together) {
              yield* saving(
                Array.from(
                  { length: together },
                  (_, i) => ({ _tag: "Stored", ...storedOf(n + i), replaced: undefined })
                )
              )
            }
            // The files as left by a killed process.
            return ["state.sqlite", "state.sqlite-wal"].map((name) =>
              [name, Fs.readFileSync(join(directory, name))] as const
            )
          })
        )
        const all = genuine()
        const random = new Prng(1, "log")
        let kept = 0
        let said = 0
        for (let i = 0; i < 80; i++) {
          for (const name of Fs.readdirSync(target)) Fs.rmSync(join(target, name))
          const damage = (log: Uint8Array) => {
            // No damage, damage to the last commit as if incomplete, and to the header as often as anywhere.
            const at = i === 0 ? undefined : i === 1 ? log.length - 1 : random.below(i < 20 ? 32 : log.length)
            if (at !== undefined) log[at] ^= 1 << random.below(8)
            return log
          }
          for (const [name, bytes] of files.result) {
            Fs.writeFileSync(join(target, name), name.endsWith("-wal") ? damage(Uint8Array.from(bytes)) : bytes)
          }
          const log = Fs.readFileSync(`${file(target)}-wal`)
          const state = new StateFile(options(target))
          const { rows } = state.page("record", 0)
          for (const { bytes, key } of rows) assert.isTrue(all.has(`${key} ${Hex.encode(bytes)}`))
          if (i < 2) assert.deepStrictEqual([rows.length, state.setAside], [count - together * i, undefined])
          if (rows.length < count - 2 * together) assert.isDefined(state.setAside)
          if (state.setAside !== undefined) {
            said++
            assert.deepStrictEqual(Fs.readFileSync(state.setAside.path), log)
          }
          kept += rows.length
          state.close()
        }
        assert.isAbove(kept, 0)
        assert.isAbove(said, 20)
      }))

    it.live("the node logs the new path, and continues in a new file", () =>
      Effect.gen(function*() {
        const directory = yield* temporary
        const damaged = Uint8Array.from(yield* written(directory)).fill(0x55, 4096, 12_288)
        Fs.writeFileSync(file(directory), damaged)
        const { logged } = yield* on(directory, saving(changesOf(0)))
        assert.lengthOf(logged, 1)
        const [aside] = asides(directory)
        assert.include(logged[0], aside)
        assert.deepStrictEqual(Fs.readFileSync(aside), Buffer.from(damaged))
        const { logged: none, result } = yield* on(directory, kept)
        assert.deepStrictEqual(none, [])
        assert.deepStrictEqual(result.records, [storedOf(0)])
      }))

    it.live("the node logs what is left out", () =>
      Effect.gen(function*() {
        const directory = yield* temporary
        yield* written(directory)
        const db = new DatabaseSync(file(directory))
        db.exec(
          "UPDATE record SET expires = expires + 1 WHERE rowid = 7; UPDATE fact SET value = '5' WHERE name = 'seq'"
        )
        db.close()
        const { logged, result } = yield* on(directory, kept)
        const [copy] = asides(directory)
        assert.lengthOf(logged, 2)
        assert.match(logged[0], /^1 records in .* were damaged/)
        assert.include(logged[0], copy)
        assert.match(logged[1], /"seq" is damaged/)
        assert.lengthOf(result.records, count - 1)
        assert.strictEqual(result.seq, 0n)
        // It is logged once, and nothing more is lost.
        const again = yield* on(directory, kept)
        assert.deepStrictEqual(again.logged, [])
        assert.lengthOf(again.result.records, count - 1)
        assert.deepStrictEqual(asides(directory), [copy])
        assert.strictEqual(Fs.statSync(copy).mode & 0o777, 0o600)
        const then = new DatabaseSync(copy, { readOnly: true })
        assert.deepStrictEqual({ ...then.prepare("SELECT count(*) AS n FROM record").get() }, { n: count })
        assert.deepStrictEqual({ ...then.prepare("SELECT value FROM fact WHERE name = 'seq'").get() }, { value: "5" })
        then.close()
      }))

    it.live("a number too large to read costs only its record", () =>
      Effect.gen(function*() {
        const directory = yield* temporary
        yield* written(directory)
        const db = new DatabaseSync(file(directory))
        db.exec("UPDATE record SET expires = 9223372036854775807 WHERE rowid = 7")
        db.exec("INSERT INTO seen VALUES (zeroblob(32), 9223372036854775807)")
        db.close()
        const { result } = yield* on(directory, kept)
        assert.lengthOf(result.records, count - 1)
        assert.lengthOf(result.seen, 1)
      }))

    it.live("a log without its file is kept too", () =>
      Effect.gen(function*() {
        const directory = yield* temporary
        Fs.writeFileSync(`${file(directory)}-wal`, "a log")
        const { logged } = yield* on(directory, saving(changesOf(0)))
        assert.lengthOf(logged, 1)
        assert.match(logged[0], /only the log of the file is left/)
        assert.strictEqual(Fs.readFileSync(asides(directory)[0], "utf8"), "a log")
      }))

    it.live("at most eight are kept, and the ninth stays in place", () =>
      Effect.gen(function*() {
        const directory = yield* temporary
        for (let n = 0; n < 8; n++) {
          Fs.writeFileSync(file(directory), "")
          new StateFile({ ...options(directory), time: `${n}` }).close()
        }
        Fs.writeFileSync(file(directory), "short")
        assert.throws(() => new StateFile(options(directory)), /8 files state.sqlite.damaged-\* beside it/)
        assert.strictEqual(Fs.readFileSync(file(directory), "utf8"), "short")
        assert.lengthOf(asides(directory), 8)
      }))
  })
})

/** Kills writers in one directory, one after another, and succeeds with the number of durable entries. */
const killTenTimes = Effect.gen(function*() {
  const directory = yield* temporary
  let durable = -1
  let removed = -1
  for (let round = 0; round < 10; round++) {
    const printed = yield* Effect.promise(() => killed(directory, durable + 1))
    if (printed === undefined) continue
    durable = printed
    const { logged, result: { records, seq } } = yield* on(directory, kept)
    assert.deepStrictEqual(logged, [])
    const found = new Set(records.map(nameOf))
    for (let n = 0; n <= durable; n++) {
      const isThere = found.has(nameOfNumber(n))
      if (!isRemoved(n)) assert.isTrue(isThere, `record ${n} of ${durable}`)
      else if (n + 10 <= durable) assert.isFalse(isThere, `removed record ${n} of ${durable}`)
    }
    assert.isTrue(seq >= BigInt(durable))
    removed = durable
  }
  return removed
})

/** Runs a writer for a moment and returns the last number that it reported durable. */
const killed = async (directory: string, from: number): Promise<number | undefined> => {
  const writer = spawn(process.execPath, [join(import.meta.dirname, "stateWriter.ts"), directory, String(from)], {
    stdio: ["ignore", "pipe", "inherit"]
  })
  let last: number | undefined
  const lines = createInterface(writer.stdout)
  lines.on("line", (line) => {
    last = Number(line)
  })
  const closed = once(lines, "close")
  await once(lines, "line")
  await new Promise((resolve) => setTimeout(resolve, Math.random() * 60))
  writer.kill("SIGKILL")
  await closed
  return last
}
