import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import * as fc from "fast-check"
import * as Address from "../src/Address.ts"
import * as Message from "../src/Message.ts"
import * as arbitraries from "./utils/arbitraries.ts"

const { crypto } = arbitraries
const transactionId = "0123456789abcdef0123456789abcdef01234567"
const signer = crypto.signingKey(new Uint8Array(32).fill(1))

const datagram = fc.tuple(arbitraries.body, arbitraries.signingKey).map(([body, signer]) =>
  Message.encode(body, { signer, transactionId })
)

describe("Message", () => {
  it("decodes to what was encoded", () => {
    fc.assert(fc.property(arbitraries.body, arbitraries.signingKey, (body, signer) => {
      const message = Result.getOrThrow(Message.decode(Message.encode(body, { signer, transactionId }), crypto))
      assert.deepStrictEqual(message, {
        version: 1,
        features: 0,
        transactionId,
        body,
        publicKey: signer.publicKey,
        sender: Address.fromPublicKey(signer.publicKey)
      })
    }))
  })

  it("never throws on arbitrary bytes, and refuses them", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 1300 }), (bytes) => {
        assert.isTrue(Result.isFailure(Message.decode(bytes, crypto)))
      }),
      { numRuns: 1000 }
    )
  })

  it("never throws on a damaged message, and refuses it", () => {
    fc.assert(
      fc.property(arbitraries.mutated(datagram), datagram, (bytes, original) => {
        const decoded = Message.decode(bytes, crypto)
        // One edit may undo another.
        if (Result.isSuccess(decoded)) assert.notDeepEqual(bytes, original)
      }),
      { numRuns: 500 }
    )
  })

  it("refuses a message in which any one bit was flipped", () => {
    const original = Message.encode({ _tag: "Ping", address: Address.fromPublicKey(signer.publicKey) }, {
      signer,
      transactionId
    })
    for (let bit = 0; bit < original.length * 8; bit++) {
      const bytes = original.slice()
      bytes[bit >> 3] ^= 1 << (bit & 7)
      assert.isTrue(Result.isFailure(Message.decode(bytes, crypto)), `bit ${bit}`)
    }
  })

  it("allocates no more for a damaged message than its size", () => {
    fc.assert(
      fc.property(arbitraries.mutated(datagram), (bytes) => {
        const frame = Message.frame(bytes)
        const body = typeof frame === "string" ? frame : Message.readBody(frame)
        // Names are hex text of their bytes, and everything else is a view.
        assert.isAtMost(JSON.stringify(body, compact).length, 200 + 8 * bytes.length)
      }),
      { numRuns: 500 }
    )
  })

  it("drops a node whose id does not match its address, and keeps the rest", () => {
    fc.assert(fc.property(fc.array(arbitraries.contact, { minLength: 1 }), arbitraries.key, (nodes, lie) => {
      const body = { _tag: "FindNodeResponse", observed: undefined } as const
      const bytes = Message.encode({ ...body, nodes: [{ ...nodes[0], id: lie }, ...nodes] }, { signer, transactionId })
      assert.deepStrictEqual(Result.getOrThrow(Message.decode(bytes, crypto)).body, { ...body, nodes })
    }))
  })

  it("reports what is wrong", () => {
    const reasonOf = (bytes: Uint8Array) => {
      const result = Message.decode(bytes, crypto)
      return Result.isFailure(result) ? result.failure.message : "accepted"
    }
    const good = Message.encode({ _tag: "NatProbeEcho", token: new Uint8Array(8) }, { signer, transactionId })
    assert.strictEqual(reasonOf(new Uint8Array(0)), "Invalid message: expected a map")
    assert.strictEqual(
      reasonOf(good.with(good.length - 1, good[good.length - 1] ^ 1)),
      "Invalid message: bad signature"
    )
    assert.strictEqual(reasonOf(Uint8Array.from([...good, 0])), "Invalid message: bytes after the end")
  })
})

const compact = (_key: string, value: unknown): unknown =>
  typeof value === "bigint" ? String(value) : value instanceof Uint8Array ? value.length : value
