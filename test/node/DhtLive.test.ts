import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as IpNetwork from "effect/net/IpNetwork"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as SubscriptionRef from "effect/SubscriptionRef"
import * as Fs from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { Bootstrap } from "../../src/Bootstrap.ts"
import * as DataDirectory from "../../src/node/DataDirectory.ts"
import { DhtLive } from "../../src/node/DhtLive.ts"
import * as IdentityFile from "../../src/node/IdentityFile.ts"
import * as NodeCrypto from "../../src/node/NodeCrypto.ts"
import * as RunningNode from "../../src/node/RunningNode.ts"
import * as SqlitePersistence from "../../src/node/SqlitePersistence.ts"
import * as NodeId from "../../src/NodeId.ts"
import { Persistence } from "../../src/Persistence.ts"
import { Rpc } from "../../src/Rpc.ts"
import { SeenPeers } from "../../src/SeenPeers.ts"
import { Store } from "../../src/Store.ts"
import type * as network from "../utils/network.ts"
import { dht } from "../utils/network.ts"

const temporary = Effect.acquireRelease(
  Effect.sync(() => Fs.mkdtempSync(join(tmpdir(), "effect-dht-live-"))),
  (directory) => Effect.sync(() => Fs.rmSync(directory, { recursive: true }))
)

const node = (data?: string): Effect.Effect<network.Node, never, Scope.Scope> =>
  Effect.orDie(Layer.build(Layer.fresh(
    DhtLive({ listen: { host: "127.0.0.1", port: 0 }, seed: new Uint8Array(32).fill(data === undefined ? 1 : 2), data })
  )))

describe("DhtLive with a data directory", () => {
  it.live("restarts with its records, peers and sightings, and rejoins the network", () =>
    Effect.gen(function*() {
      const data = join(yield* temporary, "new")
      const other = yield* node()
      yield* Effect.scoped(Effect.gen(function*() {
        const first = dht(yield* node(data))
        yield* first.bootstrap([dht(other).localAddress])
        yield* first.publishTopic({ topic: "a", name: "me" })
      }))
      assert.deepStrictEqual(yield* SqlitePersistence.peers(data), [dht(other).localAddress])

      const again = yield* node(data)
      assert.lengthOf(yield* Context.get(again, Store).getAll(NodeId.fromTopic("a"), 0), 1)
      assert.strictEqual((yield* Context.get(again, SeenPeers).counts).week, 1)
      const [contact] = yield* dht(again).bootstrap([])
      assert.strictEqual(contact.id, dht(other).nodeId)
      yield* Context.get(again, Persistence).flush
    }))

  it.live("keeps its identity across starts, and joins hosts by name", () =>
    Effect.gen(function*() {
      const data = join(yield* temporary, "new")
      const other = dht(yield* node())
      const options = {
        data,
        listen: { host: "127.0.0.1", port: 0 },
        bootstrap: [`localhost:${other.localAddress.port}`]
      }
      const session = Effect.scoped(Effect.gen(function*() {
        const started = yield* Layer.build(Layer.fresh(DhtLive(options)))
        assert.strictEqual(SubscriptionRef.getUnsafe(Context.get(started, Bootstrap).membership)._tag, "Joined")
        assert.isAtLeast((yield* dht(started).stats).verifiedContacts, 1)
        return dht(started).address
      }))
      assert.strictEqual(yield* session, yield* session)
      const { identity } = yield* IdentityFile.load({ directory: data }).pipe(Effect.provide(NodeCrypto.layer))
      assert.strictEqual(identity.address, yield* session)
    }))

  it.live(
    "keeps its identity encrypted with a passphrase, and does not start without it",
    () =>
      Effect.gen(function*() {
        const options = { data: yield* temporary, listen: { host: "127.0.0.1", port: 0 } }
        const start = (passphrase?: string) =>
          Layer.build(
            Layer.fresh(
              DhtLive({ ...options, passphrase: passphrase === undefined ? undefined : Redacted.make(passphrase) })
            )
          ).pipe(
            Effect.map((started) => dht(started).address),
            Effect.scoped
          )
        const address = yield* start("correct horse")
        assert.strictEqual(yield* start("correct horse"), address)
        assert.strictEqual((yield* Effect.flip(start()))._tag, "PassphraseNeeded")
        assert.strictEqual((yield* Effect.flip(start("wrong")))._tag, "CannotUnlock")
      }),
    30_000
  )

  it.live("fails if another node uses the directory, before it binds a socket or creates an identity", () =>
    Effect.gen(function*() {
      const data = yield* temporary
      yield* Layer.build(DataDirectory.layer(data))
      const error = yield* Effect.flip(Layer.build(DhtLive({ data, listen: { host: "192.0.2.1", port: 0 } })))
      assert.strictEqual(error._tag, "DirectoryInUse")
      assert.notInclude(Fs.readdirSync(data), "identity.ed25519")
    }))

  it.live("fails for an invalid bootstrap address, and starts if no node answers at a valid one", () =>
    Effect.gen(function*() {
      const listen = { host: "127.0.0.1", port: 0 }
      const error = yield* Effect.flip(Layer.build(DhtLive({ listen, bootstrap: ["localhost"] })))
      assert.strictEqual(error._tag, "InvalidSocketAddress")
      // IPv6, which this socket cannot reach.
      const alone = yield* Layer.build(Layer.fresh(DhtLive({ listen, bootstrap: ["[::1]:4121"] }))).pipe(
        Effect.provide(Logger.layer([]))
      )
      const membership = SubscriptionRef.getUnsafe(Context.get(alone, Bootstrap).membership)
      assert.deepStrictEqual(
        membership._tag === "Alone" && membership.failures.map(({ error }) => error._tag),
        ["Unroutable"]
      )
    }))

  it.live("is the first of its network if all bootstrap addresses are its own, by name or by IP", () =>
    Effect.gen(function*() {
      const port = yield* Effect.scoped(Effect.map(node(), (one) => dht(one).localAddress.port))
      for (const hosts of [["localhost"], ["127.0.0.1"], ["localhost", "127.0.0.2"]]) {
        yield* Effect.scoped(Effect.gen(function*() {
          const bootstrap = hosts.map((host) => `${host}:${port}`)
          const alone = yield* Layer.build(Layer.fresh(DhtLive({ listen: { host: "0.0.0.0", port }, bootstrap })))
          assert.strictEqual(SubscriptionRef.getUnsafe(Context.get(alone, Bootstrap).membership)._tag, "First")
        }))
      }
    }))

  it.live("publishes its address while it runs", () =>
    Effect.gen(function*() {
      const data = yield* temporary
      yield* Effect.scoped(Effect.gen(function*() {
        const { localAddress } = dht(yield* node(data))
        assert.deepStrictEqual(yield* RunningNode.listening(data), localAddress)
      }))
      assert.isUndefined(yield* RunningNode.listening(data))
    }))

  it.live("follows no link planted at its address file or its process file", () =>
    Effect.gen(function*() {
      const directory = yield* temporary
      const data = join(directory, "data")
      const elsewhere = join(directory, "elsewhere")
      Fs.mkdirSync(data)
      Fs.writeFileSync(elsewhere, "mine")
      const names = ["listening", "lock.json"]
      for (const name of names.flatMap((name) => [name, `${name}.next`])) Fs.symlinkSync(elsewhere, join(data, name))
      const { localAddress } = dht(yield* node(data))
      assert.deepStrictEqual(yield* RunningNode.listening(data), localAddress)
      for (const name of names) {
        const file = Fs.lstatSync(join(data, name))
        assert.deepStrictEqual([file.isFile(), file.mode & 0o777], [true, 0o600], name)
      }
      assert.strictEqual(Fs.readFileSync(elsewhere, "utf8"), "mine")
    }))

  it.live("leaves the address file of a node started later in the same directory", () =>
    Effect.gen(function*() {
      const data = yield* temporary
      const later = { host: "127.0.0.1", port: 4121 }
      yield* Effect.scoped(Effect.gen(function*() {
        yield* node(data)
        Fs.writeFileSync(join(data, "listening"), "127.0.0.1:4121\n")
      }))
      assert.deepStrictEqual(yield* RunningNode.listening(data), later)
    }))

  it.live("ignores an invalid address file", () =>
    Effect.gen(function*() {
      const data = yield* temporary
      for (const text of ["", "nonsense\n", "127.0.0.1:4121\n".padEnd(1 << 20)]) {
        Fs.writeFileSync(join(data, "listening"), text)
        assert.isUndefined(yield* RunningNode.listening(data))
      }
      Fs.writeFileSync(join(data, "listening"), "0.0.0.0:4121\n")
      assert.deepStrictEqual(yield* RunningNode.listening(data), { host: "127.0.0.1", port: 4121 })
    }))

  it.live("runs and stops in a read-only directory", () =>
    Effect.gen(function*() {
      const logged: Array<string> = []
      const logger = Logger.make(({ message }) => void logged.push(String(message)))
      const other = yield* node()
      yield* Effect.scoped(Effect.gen(function*() {
        const alone = yield* node("/proc/nowhere")
        assert.isNotEmpty(yield* dht(alone).bootstrap([dht(other).localAddress]))
      })).pipe(Effect.provide(Logger.layer([logger])))
      assert.lengthOf(logged, 1)
      assert.include(logged[0], "in memory only")
    }))
})

describe("DhtLive with rules for networks", () => {
  it.live("refuses the datagrams of denied ones unread, and says so", () =>
    Effect.gen(function*() {
      const listen = { host: "127.0.0.1", port: 0 }
      const denyFrom = [IpNetwork.fromStringUnsafe("127.0.0.0/8")]
      const closed = yield* Layer.build(Layer.fresh(DhtLive({ listen, denyFrom })))
      const { localAddress } = dht(closed)
      const { traffic } = Context.get(closed, Rpc)
      const other = yield* node()
      yield* Effect.forkScoped(Effect.exit(dht(other).bootstrap([localAddress])))
      const { received, refusedBy } = yield* Effect.repeat(traffic, {
        until: ({ refusedBy }) => refusedBy.denied > 0,
        schedule: Schedule.spaced("20 millis"),
        times: 500
      })
      assert.isAbove(refusedBy.denied, 0)
      assert.strictEqual(received, 0)
      const { failures } = yield* Effect.flip(dht(closed).bootstrap([dht(other).localAddress]))
      assert.deepStrictEqual(failures.map(({ error }) => error._tag), ["Unroutable"])
    }))
})
