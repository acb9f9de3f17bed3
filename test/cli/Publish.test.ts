import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Context from "effect/Context"
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import * as TestConsole from "effect/testing/TestConsole"
import * as Fs from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Cli from "../../src/cli/Cli.ts"
import * as Delegation from "../../src/Delegation.ts"
import * as Dht from "../../src/Dht.ts"
import * as Endpoint from "../../src/Endpoint.ts"
import { DhtLive } from "../../src/node/DhtLive.ts"
import * as IdentityFile from "../../src/node/IdentityFile.ts"
import * as NodeCrypto from "../../src/node/NodeCrypto.ts"
import { Store } from "../../src/Store.ts"
import * as network from "../utils/network.ts"

/** A node to publish through, running in a data directory, and the directory's identity. */
const setUp = Effect.gen(function*() {
  const data = yield* Effect.acquireRelease(
    Effect.sync(() => Fs.mkdtempSync(join(tmpdir(), "effect-dht-"))),
    (directory) => Effect.sync(() => Fs.rmSync(directory, { recursive: true }))
  )
  const { identity } = yield* IdentityFile.create({ directory: data, passphrase: undefined }).pipe(
    Effect.provide([NodeCrypto.layer, SecureRandom.layerWebCrypto])
  )
  const node = yield* Layer.build(DhtLive({ listen: { host: "127.0.0.1", port: 0 }, data }))
  const { localAddress } = Context.get(node, Dht.Dht)
  const publish = Effect.fnUntraced(function*(url: string, ...options: ReadonlyArray<string>) {
    const before = [(yield* TestConsole.logLines).length, (yield* TestConsole.errorLines).length]
    const exitCode = yield* Cli.main(["publish", "endpoint", "--endpoint", url, "--data", data, ...options]).pipe(
      Effect.provide([NodeServices.layer, ConfigProvider.layer(ConfigProvider.fromEnv({ env: {} }))])
    )
    return {
      exitCode,
      out: (yield* TestConsole.logLines).slice(before[0]).map(String),
      error: (yield* TestConsole.errorLines).slice(before[1]).map(String)
    }
  })
  return { identity, node, localAddress, publish }
})

const captured = Effect.provide(TestConsole.layer)
const seconds = Effect.map(Clock.currentTimeMillis, (millis) => BigInt(Math.floor(millis / 1000)))

describe("publish endpoint", () => {
  it.live("fails if the network holds a record that supersedes it, and names its publisher", () =>
    Effect.gen(function*() {
      const { identity, node, publish } = yield* setUp
      const operational = network.identity("operational")
      const now = yield* seconds
      const held = Result.getOrThrow(Endpoint.sign({
        signer: operational,
        address: identity.address,
        payload: Endpoint.make({ endpoints: ["tcp://delegated"] }),
        seq: 1n,
        timestamp: now,
        ttl: 3600,
        delegation: Delegation.encode(Delegation.delegate({
          master: identity,
          operationalPublicKey: operational.publicKey,
          issuedAt: now - 10n,
          expiresAt: 0n
        }))
      }))
      yield* Context.get(node, Store).put(undefined, held)
      const { error, exitCode, out } = yield* publish("tcp://master")
      assert.deepStrictEqual({ exitCode, out, lines: error.length }, { exitCode: 1, out: [], lines: 1 })
      assert.include(error[0], operational.address)
    }).pipe(captured))

  it.live("supersedes a record from a time when the clock was ahead", () =>
    Effect.gen(function*() {
      const { identity, node, publish } = yield* setUp
      const seq = 2n ** 63n
      const held = Result.getOrThrow(Endpoint.sign({
        signer: identity,
        address: identity.address,
        payload: Endpoint.make({ endpoints: ["tcp://old"] }),
        seq,
        timestamp: yield* seconds,
        ttl: 3600
      }))
      yield* Context.get(node, Store).put(undefined, held)
      const { exitCode, out } = yield* publish("tcp://new", "--json")
      assert.strictEqual(exitCode, 0)
      assert.match(out[0], new RegExp(`"seq":"?${seq + 1n}\\b`))
      const { endpoints } = yield* Context.get(node, Dht.Dht).resolve(identity.address)
      assert.deepStrictEqual(endpoints, ["tcp://new"])
    }).pipe(captured))

  it.live("reports how many nodes have no room, once", () =>
    Effect.gen(function*() {
      const { localAddress, publish } = yield* setUp
      const bootstrap = [`127.0.0.1:${localAddress.port}`]
      yield* Layer.build(DhtLive({ listen: { host: "127.0.0.1", port: 0 }, bootstrap, maxBytes: 1 }))
      const { exitCode, out } = yield* publish("tcp://new", "--json")
      assert.strictEqual(exitCode, 0)
      assert.deepInclude(JSON.parse(out[0]), { copies: 1, full: 1, surrounded: false })
      const shown = yield* publish("tcp://new")
      assert.strictEqual(shown.exitCode, 0)
      assert.lengthOf(shown.error, 1)
      assert.include(shown.error[0], "no room")
    }).pipe(captured))

  it.live("warns of a QUIC URL that v0.2 peers take for another address of the running node", () =>
    Effect.gen(function*() {
      const { localAddress, publish } = yield* setUp
      const own = yield* publish(`quic://203.0.113.5:${localAddress.port}`, "--json")
      assert.deepStrictEqual(JSON.parse(own.out[0]).hints, [])
      const url = `quic://203.0.113.5:${localAddress.port === 9 ? 10 : 9}`
      const other = yield* publish(url, "--json")
      assert.deepStrictEqual(other.error, [])
      const [hint] = JSON.parse(other.out[0]).hints
      assert.deepInclude(hint, { hint: "EndpointElsewhere", endpoint: url })
      const shown = yield* publish(url)
      assert.strictEqual(shown.exitCode, 0)
      assert.lengthOf(shown.error, 1)
      assert.include(shown.error[0], url)
      assert.include(shown.error[0], String(localAddress.port))
    }).pipe(captured))
})
