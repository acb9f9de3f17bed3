import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as TestConsole from "effect/testing/TestConsole"
import * as Address from "../../src/Address.ts"
import * as Custom from "../../src/Custom.ts"
import * as Delegation from "../../src/Delegation.ts"
import * as Dht from "../../src/Dht.ts"
import * as Endpoint from "../../src/Endpoint.ts"
import { DhtLive } from "../../src/node/DhtLive.ts"
import * as IdentityFile from "../../src/node/IdentityFile.ts"
import * as NodeCrypto from "../../src/node/NodeCrypto.ts"
import * as NodeId from "../../src/NodeId.ts"
import { Store } from "../../src/Store.ts"
import * as commandLine from "../utils/commandLine.ts"
import * as network from "../utils/network.ts"
import { temporary } from "../utils/temporary.ts"

/** A node to publish through, running in a data directory, and the directory's identity. */
const setUp = Effect.gen(function*() {
  const data = yield* temporary
  const { identity } = yield* IdentityFile.create({ directory: data, passphrase: undefined }).pipe(
    Effect.provide([NodeCrypto.layer, SecureRandom.layerWebCrypto])
  )
  const node = yield* Layer.build(DhtLive({ listen: { host: "127.0.0.1", port: 0 }, data }))
  const { localAddress } = Context.get(node, Dht.Dht)
  const run = (...args: ReadonlyArray<string>) => commandLine.run([...args, "--data", data])
  const publish = (url: string, ...options: ReadonlyArray<string>) =>
    run("publish", "endpoint", "--endpoint", url, ...options)
  return { identity, node, localAddress, publish, run }
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

describe("mailbox send", () => {
  it.live("tells how many messages of one sender nodes hold for a recipient", () =>
    Effect.gen(function*() {
      const { identity, run } = yield* setUp
      yield* run("publish", "profile", "--name", "Ann")
      const send = (text: string) => run("mailbox", "send", Address.format(identity.address), text)
      for (let i = 0; i < 4; i++) assert.strictEqual((yield* send(`message ${i}`)).exitCode, 0)
      const { error, exitCode, out } = yield* send("one too many")
      assert.deepStrictEqual({ exitCode, lines: error.length, out }, { exitCode: 1, lines: 1, out: [] })
      assert.include(
        error[0],
        "a node holds at most 4 messages of one sender and 50 in all for a recipient, until they expire. Try again later"
      )
      assert.notInclude(error[0], "another key")
    }).pipe(captured), 120_000)
})

describe("publish custom", () => {
  it.live("publishes a value, which resolve shows as it was written", () =>
    Effect.gen(function*() {
      const { identity, node, run } = yield* setUp
      const value = { jobs: [1, 2.5, 4294967296], name: "ü", none: null }
      const published = yield* run("publish", "custom", "0x07", JSON.stringify(value), "--json")
      assert.deepStrictEqual([published.exitCode, published.error], [0, []])
      const dht = Context.get(node, Dht.Dht)
      yield* dht.publishCustom({ type: 0x08, payload: Uint8Array.of(0xa0, 0xff) })
      const { out: [json] } = yield* run("resolve", identity.address, "--json")
      const { records: [seventh, eighth] } = JSON.parse(json)
      assert.deepInclude(seventh, { type: 7, payload: value })
      assert.deepInclude(eighth, { type: 8, payloadHex: "a0ff" })
      assert.notProperty(eighth, "payload")
      const { out } = yield* run("resolve", identity.address)
      const text = out.join("\n")
      assert.match(text, /record +type 7 \(custom sovereign\)\n *value +\{"jobs":\[1,2\.5,4294967296\],/)
      assert.match(text, /record +type 8 \(custom sovereign\)\n *payload +a0ff/)
    }).pipe(captured))

  it.live("publishes at another key under a type that allows it", () =>
    Effect.gen(function*() {
      const { identity, node, run } = yield* setUp
      const key = NodeId.fromTopic("notes")
      const { exitCode } = yield* run("publish", "custom", "17", "\"a note\"", "--key", key)
      assert.strictEqual(exitCode, 0)
      const Note = Custom.make({ type: 0x11, schema: Schema.String })
      const { found: [note] } = yield* Context.get(node, Dht.Dht).findCustom(Note, { key })
      assert.deepStrictEqual([note.value, note.record.address], ["a note", identity.address])
    }).pipe(captured))

  it.live("refuses another type, text that is not JSON, and a value that does not fit", () =>
    Effect.gen(function*() {
      const { run } = yield* setUp
      const long = JSON.stringify("a".repeat(1100))
      const medium = JSON.stringify("a".repeat(1000))
      const wrong: ReadonlyArray<readonly [string, string, RegExp]> = [
        ["0x10", "1", /"0x10" is not a type of custom records/],
        ["seven", "1", /"seven" is not a type of custom records/],
        ["0x07", "{jobs: 3}", /The value is not JSON/],
        ["0x07", long, /longer than 1025 bytes/],
        ["0x07", medium, /at most 1025 can be resolved/]
      ]
      for (const [type, value, reason] of wrong) {
        const { error, exitCode, out } = yield* run("publish", "custom", type, value)
        assert.deepStrictEqual([exitCode, out], [2, []], value)
        assert.match(error.join("\n"), reason)
      }
    }).pipe(captured))
})
