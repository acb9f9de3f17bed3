import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Result from "effect/Result"
import * as TestClock from "effect/testing/TestClock"
import type { FalseRecord } from "../../src/browser/Gateway.ts"
import * as Delegation from "../../src/Delegation.ts"
import * as Endpoint from "../../src/Endpoint.ts"
import type { Identity } from "../../src/Identity.ts"
import * as Hex from "../../src/internal/hex.ts"
import * as NodeId from "../../src/NodeId.ts"
import * as Record from "../../src/Record.ts"
import * as Topic from "../../src/Topic.ts"
import * as Transport from "../../src/Transport.ts"
import * as Withdrawal from "../../src/Withdrawal.ts"
import { type Fetch, gateway, pair } from "../utils/gateway.ts"
import * as network from "../utils/network.ts"
import { settled } from "../utils/served.ts"

const onNetwork = Effect.provide(Transport.layerMemoryNetwork)

const ann = network.identity("ann")

interface Signing {
  readonly signer?: Identity
  readonly seq?: bigint
  readonly ttl?: number
  readonly timestamp?: number
}

const stamp = ({ seq = 1n, signer = ann, timestamp = network.now, ttl = 3600 }: Signing) => ({
  signer,
  address: signer.address,
  seq,
  timestamp: BigInt(timestamp),
  ttl
})

const endpoint = (options: Signing = {}) =>
  Result.getOrThrow(Endpoint.sign({
    ...stamp(options),
    payload: Endpoint.make({ endpoints: [`tcp://203.0.113.5:${options.seq ?? 1}`] })
  }))

const offer = (topic: string, options: Signing = {}) =>
  Result.getOrThrow(Topic.sign({ ...stamp(options), payload: Topic.make({ topic, name: "Ann" }) }))

const listOf = (...records: ReadonlyArray<Record.SignedRecord | Uint8Array>): Response =>
  Response.json({
    records: records.map((record) => ({ signed_hex: Hex.encode("bytes" in record ? record.bytes : record) })),
    next: null
  })

/** A gateway that shows these records at every key. */
const showing = (...records: ReadonlyArray<Record.SignedRecord | Uint8Array>): Fetch => async () => listOf(...records)

/** Why a gateway that shows these records is not trusted. */
const refusalOf = Effect.fnUntraced(function*(
  records: ReadonlyArray<Record.SignedRecord | Uint8Array>,
  key: NodeId.NodeId = ann.nodeId,
  type?: number
) {
  yield* TestClock.setTime(network.now * 1000)
  const { records: read } = yield* gateway(showing(...records))
  const error = yield* Effect.flip(read(key, type))
  assert.strictEqual(error._tag, "FalseRecord")
  return (error as FalseRecord).reason
})

describe("Gateway", () => {
  it.effect("publishes what was signed here, and reads it through another gateway", () =>
    Effect.gen(function*() {
      const { a, b, nodes } = yield* pair
      const near = yield* gateway(a)
      const far = yield* gateway(b)
      yield* near.publish(endpoint(), { replicas: 1 })
      yield* near.publish(offer("chess"), { replicas: 1 })
      const [found] = yield* far.records(ann.nodeId, Record.RecordType.endpoint)
      assert.deepStrictEqual(found.bytes, endpoint().bytes)
      assert.deepStrictEqual((yield* far.records(NodeId.fromTopic("chess"))).map(({ address }) => address), [
        ann.address
      ])
      assert.deepStrictEqual(yield* far.records(NodeId.fromTopic("none")), [])
      // The node has neither the key nor the identity.
      assert.notStrictEqual(network.dht(nodes[0]).agent, ann.address)
    }).pipe(onNetwork))

  it.effect("refuses a record of which any byte was changed", () =>
    Effect.gen(function*() {
      const { bytes } = endpoint()
      for (let at = 0; at < bytes.length; at += 7) yield* refusalOf([bytes.with(at, bytes[at] ^ 1)])
      assert.include((yield* refusalOf([bytes.with(bytes.length - 1, 0)])).message, "bad signature")
    }))

  it.effect("refuses a record of another agent, topic or type", () =>
    Effect.gen(function*() {
      const ben = network.identity("ben")
      assert.include((yield* refusalOf([endpoint({ signer: ben })])).message, "its own address")
      const chess = NodeId.fromTopic("chess")
      assert.include((yield* refusalOf([offer("draughts")], chess)).message, "another topic")
      const { message } = yield* refusalOf([endpoint()], ann.nodeId, Record.RecordType.profile)
      assert.include(message, "its type is 1, requested was 2")
    }))

  it.effect("refuses a key that the address neither has nor delegates to", () =>
    Effect.gen(function*() {
      const node = network.identity("node")
      const payload = Endpoint.make({ endpoints: [] })
      const signed = (issuedAt: bigint, expiresAt: bigint) =>
        Result.getOrThrow(Endpoint.sign({
          ...stamp({ signer: node }),
          address: ann.address,
          payload,
          delegation: Delegation.encode(
            Delegation.delegate({ master: ann, operationalPublicKey: node.publicKey, issuedAt, expiresAt })
          )
        }))
      const since = BigInt(network.now)
      assert.strictEqual((yield* refusalOf([signed(since - 7200n, since - 3600n)]))._tag, "InvalidDelegation")
      const { delegation: _, ...fields } = signed(since, 0n)
      const bare = Record.encode({ ...fields, delegation: undefined })
      assert.strictEqual((yield* refusalOf([bare]))._tag, "InvalidRecord")
      const { records } = yield* gateway(showing(signed(since, 0n)))
      assert.deepStrictEqual((yield* records(ann.nodeId)).map(({ address }) => address), [ann.address])
    }))

  it.effect("refuses an expired record, but only leaves out one that expired on its way", () =>
    Effect.gen(function*() {
      const old = endpoint({ timestamp: network.now - 3661 })
      assert.strictEqual((yield* refusalOf([old]))._tag, "RecordExpired")
      const { records } = yield* gateway(showing(endpoint({ timestamp: network.now - 3660 })))
      assert.deepStrictEqual(yield* records(ann.nodeId), [])
    }))

  it.effect("refuses an older record than the gateway has shown before", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(network.now * 1000)
      let answer = showing(endpoint({ seq: 2n }))
      const { records } = yield* gateway((input, init) => answer(input, init))
      assert.strictEqual((yield* records(ann.nodeId)).length, 1)
      answer = showing(endpoint({ seq: 1n }))
      const error = yield* Effect.flip(records(ann.nodeId))
      assert.strictEqual((error as FalseRecord).reason._tag, "StaleRecord")
      answer = showing(endpoint({ seq: 3n }))
      assert.deepStrictEqual((yield* records(ann.nodeId)).map(({ seq }) => seq), [3n])
    }))

  it.effect("refuses a record that it has withdrawn through the gateway, and does not show it later", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(network.now * 1000)
      const { publish, records } = yield* gateway(showing(endpoint()))
      yield* publish(Result.getOrThrow(Withdrawal.sign({ signer: ann, record: endpoint(), now: network.now })))
      assert.strictEqual((yield* Effect.flip(records(ann.nodeId)))._tag, "FalseRecord")
      // The withdrawal has expired. A holder that missed it still has the record.
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(yield* records(ann.nodeId), [])
    }))

  it.effect("uses the newer record where the older one was requested before the newer was known", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(network.now * 1000)
      let answer: (response: Response) => void = () => {}
      const { publish, records } = yield* gateway(async (_, init) =>
        init?.method === "POST" ? Response.json({}) : new Promise((resolve) => answer = resolve)
      )
      const reading = yield* Effect.forkChild(records(ann.nodeId))
      yield* settled
      yield* publish(endpoint({ seq: 2n }))
      answer(listOf(endpoint({ seq: 1n })))
      assert.deepStrictEqual((yield* Fiber.join(reading)).map(({ seq }) => seq), [2n])
    }))

  it.effect("reads a list page by page, and no longer one than it has room for", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(network.now * 1000)
      const { bytes } = endpoint()
      const asked: Array<string | null> = []
      const pages = (next: string, length = 1000): Fetch => async (input) => {
        asked.push(new URL(String(input)).searchParams.get("after"))
        const records = Array.from({ length }, () => ({ signed_hex: Hex.encode(bytes) }))
        return Response.json({ records, next })
      }
      const { records } = yield* gateway(pages("1.2"))
      assert.strictEqual((yield* records(ann.nodeId)).length, 1)
      assert.deepStrictEqual(asked, [null, "1.2", "1.2", "1.2"])
      for (const length of [0, 1, 999, 1001]) {
        const short = yield* gateway(pages("1.2", length))
        assert.strictEqual((yield* Effect.flip(short.records(ann.nodeId)))._tag, "InvalidResponse")
      }
    }))

  it.effect("refuses what is not a gateway's response", () =>
    Effect.gen(function*() {
      const bodies = [
        "<p>Sign in</p>",
        "null",
        "[]",
        "{}",
        `{"records":[{}],"next":null}`,
        `{"records":[{"signed_hex":"0"}],"next":null}`,
        `{"records":[{"signed_hex":"zz"}],"next":null}`,
        `{"records":[]}`,
        " ".repeat(17 * 1024 * 1024)
      ]
      for (const body of bodies) {
        const { records } = yield* gateway(async () => new Response(body))
        const error = yield* Effect.flip(records(ann.nodeId))
        assert.strictEqual(error._tag, "InvalidResponse", body.slice(0, 40))
      }
    }))

  it.effect("tells a problem by its tag", () =>
    Effect.gen(function*() {
      const { a } = yield* pair
      const { publish } = yield* gateway((input, init) =>
        a(input, { ...init, headers: { "content-type": "application/json" } })
      )
      const unauthorized = yield* Effect.flip(publish(endpoint()))
      assert.strictEqual(unauthorized._tag, "GatewayRefused")
      if (unauthorized._tag === "GatewayRefused") {
        assert.deepStrictEqual([unauthorized.status, unauthorized.problem], [401, "Unauthorized"])
        assert.include(unauthorized.message, "token")
      }
      const near = yield* gateway(a)
      const expired = yield* Effect.flip(near.publish(endpoint({ timestamp: network.now - 7200 })))
      assert.strictEqual(expired._tag === "GatewayRefused" && expired.problem, "RecordExpired")
      const plain = yield* gateway(async () => new Response("Bad Gateway", { status: 502 }))
      assert.include((yield* Effect.flip(plain.publish(endpoint()))).message, "status 502")
    }).pipe(onNetwork))

  it.effect("gives up after 30 seconds, and aborts the request", () =>
    Effect.gen(function*() {
      let aborted = false
      const { records } = yield* gateway((_, init) =>
        new Promise((_, reject) =>
          init?.signal?.addEventListener("abort", () => {
            aborted = true
            reject(new Error("aborted"))
          })
        )
      )
      const reading = yield* Effect.forkChild(Effect.flip(records(ann.nodeId)))
      yield* settled
      yield* TestClock.adjust("30 seconds")
      assert.strictEqual((yield* Fiber.join(reading))._tag, "GatewayUnreachable")
      assert.isTrue(aborted)
      const broken = yield* gateway(() => Promise.reject(new TypeError("Failed to fetch")))
      assert.include((yield* Effect.flip(broken.records(ann.nodeId))).message, "Failed to fetch")
    }))

  it.effect("sends neither cookies nor the token elsewhere", () =>
    Effect.gen(function*() {
      const sent: Array<RequestInit | undefined> = []
      const { records } = yield* gateway(async (_, init) => {
        sent.push(init)
        return Response.json({ records: [], next: null })
      })
      yield* records(ann.nodeId)
      assert.deepStrictEqual([sent[0]?.credentials, sent[0]?.redirect, sent[0]?.referrerPolicy], [
        "omit",
        "error",
        "no-referrer"
      ])
    }))
})
