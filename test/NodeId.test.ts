import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import * as fc from "fast-check"
import * as NodeId from "../src/NodeId.ts"

const uniform = fc.uint8Array({ minLength: 32, maxLength: 32 }).map(NodeId.fromBytesUnsafe)

/** Two ids with a common prefix of any length, which is rare between two random ids. */
const related = fc.tuple(uniform, uniform, fc.integer({ min: 0, max: 256 })).map(([a, b, shared]) => {
  const rest = (1n << BigInt(256 - shared)) - 1n
  return [a, fromNumber(number(a) & ~rest | number(b) & rest)] as const
})

const number = (id: NodeId.NodeId): bigint => BigInt(`0x${id}`)
const fromNumber = (n: bigint): NodeId.NodeId => Result.getOrThrow(NodeId.fromString(n.toString(16).padStart(64, "0")))
const distance = (a: NodeId.NodeId, b: NodeId.NodeId): bigint => number(NodeId.distance(a, b))

describe("NodeId", () => {
  describe("distance", () => {
    it("is zero between equal ids and between no others", () => {
      fc.assert(fc.property(related, ([a, b]) => {
        assert.strictEqual(distance(a, a), 0n)
        assert.strictEqual(distance(a, b) === 0n, a === b)
      }))
    })

    it("is the same in both directions", () => {
      fc.assert(fc.property(related, ([a, b]) => {
        assert.strictEqual(NodeId.distance(a, b), NodeId.distance(b, a))
      }))
    })

    it("satisfies the triangle inequality", () => {
      fc.assert(fc.property(related, uniform, ([a, b], c) => {
        assert.isTrue(distance(a, b) <= distance(a, c) + distance(c, b))
        assert.isTrue(distance(a, c) <= distance(a, b) + distance(b, c))
      }))
    })

    it("has exactly one id at each distance from an id", () => {
      fc.assert(fc.property(related, ([a, b]) => {
        assert.strictEqual(NodeId.distance(a, NodeId.distance(a, b)), b)
      }))
    })

    it("is the exclusive or of the numbers", () => {
      fc.assert(fc.property(related, ([a, b]) => {
        assert.strictEqual(distance(a, b), number(a) ^ number(b))
      }))
    })
  })

  describe("compareDistance", () => {
    it("orders ids as their distances to the target are ordered as numbers", () => {
      fc.assert(fc.property(uniform, related, (target, [a, b]) => {
        const difference = (number(a) ^ number(target)) - (number(b) ^ number(target))
        assert.strictEqual(
          Math.sign(NodeId.compareDistance(target, a, b)),
          difference < 0n ? -1 : difference > 0n ? 1 : 0
        )
      }))
    })
  })

  describe("commonPrefixLength", () => {
    it("counts the leading bits of the distance that are zero", () => {
      fc.assert(fc.property(related, ([a, b]) => {
        const d = number(a) ^ number(b)
        assert.strictEqual(NodeId.commonPrefixLength(a, b), d === 0n ? 256 : 256 - d.toString(2).length)
      }))
    })
  })

  describe("bucketIndex", () => {
    it("is the common prefix length, and -1 for the id itself", () => {
      fc.assert(fc.property(related, ([a, b]) => {
        assert.strictEqual(NodeId.bucketIndex(a, a), -1)
        assert.strictEqual(NodeId.bucketIndex(a, b), a === b ? -1 : NodeId.commonPrefixLength(a, b))
      }))
    })

    it("puts every id of a lower bucket farther away than every id of a higher one", () => {
      fc.assert(fc.property(related, uniform, ([self, a], b) => {
        const difference = NodeId.bucketIndex(self, a) - NodeId.bucketIndex(self, b)
        fc.pre(difference !== 0 && a !== self && b !== self)
        assert.strictEqual(Math.sign(NodeId.compareDistance(self, b, a)), Math.sign(difference))
      }))
    })
  })

  describe("inBucket", () => {
    it("is in the bucket asked for, whatever the random bytes", () => {
      fc.assert(
        fc.property(
          uniform,
          fc.integer({ min: 0, max: 255 }),
          fc.uint8Array({ minLength: 32, maxLength: 32 }),
          (self, bucket, random) => {
            assert.strictEqual(NodeId.bucketIndex(self, NodeId.inBucket(self, bucket, random)), bucket)
          }
        )
      )
    })

    it("takes every bit after the bucket's from the random bytes", () => {
      const ones = new Uint8Array(32).fill(0xff)
      assert.strictEqual(NodeId.inBucket(NodeId.zero, 3, ones), "1" + "f".repeat(63))
      assert.strictEqual(NodeId.inBucket(NodeId.zero, 12, ones), "000f" + "f".repeat(60))
    })
  })

  describe("fromString", () => {
    it("reads an id in either case, with white space around it", () => {
      fc.assert(fc.property(uniform, (id) => {
        assert.deepStrictEqual(NodeId.fromString(` ${id.toUpperCase()}\n`), Result.succeed(id))
      }))
    })

    it("refuses everything that is not 64 hex digits", () => {
      for (const text of ["", "0x", "0".repeat(63), "0".repeat(65), `${"0".repeat(63)}g`]) {
        const result = NodeId.fromString(text)
        assert.isTrue(Result.isFailure(result), text)
        if (Result.isFailure(result)) assert.strictEqual(result.failure._tag, "InvalidNodeId")
      }
    })
  })

  describe("toBytes", () => {
    it("returns the bytes that an id was made of", () => {
      fc.assert(fc.property(fc.uint8Array({ minLength: 32, maxLength: 32 }), (bytes) => {
        assert.deepStrictEqual(NodeId.toBytes(NodeId.fromBytesUnsafe(bytes)), bytes)
      }))
    })
  })
})
