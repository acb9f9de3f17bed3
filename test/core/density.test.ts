import { assert, describe, it } from "@effect/vitest"
import * as fc from "fast-check"
import { distance, isSurrounded, pointsAround, radius, samplePoints, SizeSamples } from "../../src/core/density.ts"
import { sha256, sha256Hex } from "../../src/internal/sha256.ts"
import * as NodeId from "../../src/NodeId.ts"

const idOf = (text: string) => sha256Hex(new TextEncoder().encode(text)) as NodeId.NodeId

/** The 16 ids closest to the key. */
const closest = (key: NodeId.NodeId, ids: ReadonlyArray<NodeId.NodeId>) =>
  ids.toSorted((a, b) => NodeId.compareDistance(key, a, b)).slice(0, 16)

const network = (name: string, size: number) => Array.from({ length: size }, (_, i) => idOf(`${name} ${i}`))

/** Ids that share `bits` leading bits with the key. */
const ground = (key: NodeId.NodeId, bits: number, count: number) =>
  Array.from({ length: count }, (_, i) => {
    const id = BigInt(`0x${idOf(`ground ${i}`)}`) >> BigInt(bits)
    const prefix = BigInt(`0x${key}`) >> BigInt(256 - bits) << BigInt(256 - bits)
    return (prefix | id).toString(16).padStart(64, "0") as NodeId.NodeId
  })

describe("isSurrounded", () => {
  it("is false for random nodes, even if the size is off by a factor of two", () => {
    fc.assert(
      fc.property(fc.string(), fc.constantFrom(20, 150, 1000), fc.constantFrom(0.5, 1, 2), (name, size, error) => {
        const key = idOf(`key ${name}`)
        const ids = closest(key, network(name, size)).filter(({ length }) => length > 0)
        assert.isFalse(isSurrounded(key, ids, size * error))
      }),
      { numRuns: 60 }
    )
  })

  it("is true for 20 ids generated to share 12 bits with the key in a network of 150", () => {
    fc.assert(
      fc.property(fc.string(), (name) => {
        const key = idOf(`key ${name}`)
        assert.isTrue(isSurrounded(key, closest(key, [...network(name, 150), ...ground(key, 12, 20)]), 150))
      }),
      { numRuns: 30 }
    )
  })

  it("is false when the size of the network is unknown", () => {
    const key = idOf("key")
    assert.isFalse(isSurrounded(key, ground(key, 40, 20), 0))
  })
})

describe("pointsAround", () => {
  it("are within the region, and not close to ids generated to be close to the key", () => {
    const key = idOf("key")
    const around = radius(24, 1000)
    const points = pointsAround(key, around)
    assert.isAbove(points.length, 3)
    for (const point of points) {
      assert.isAtMost(distance(key, point), 2 * around)
      for (const id of ground(key, 12, 20)) assert.isAbove(distance(point, id), distance(key, id))
    }
    assert.strictEqual(new Set(points).size, points.length)
  })

  it("have closest nodes that make up nearly all of the region", () => {
    const [key, ids] = [idOf("key"), network("n", 1000)]
    const around = radius(24, 1000)
    const found = new Set(pointsAround(key, around).flatMap((point) => closest(point, ids)))
    const region = ids.filter((id) => distance(key, id) <= around)
    assert.isAtLeast(region.filter((id) => found.has(id)).length, region.length - 2)
  })
})

describe("the region around a surrounded key", () => {
  for (const [size, bits] of [[150, 12], [1000, 15]] as const) {
    for (const count of [20, 40]) {
      it(`has three of the 8 nodes closest of ${size}, beside ${count} generated ids and a size that is too small by four`, () => {
        for (let i = 0; i < 100; i++) {
          const [key, honest] = [idOf(`key ${i}`), network(`${i}`, size)]
          const all = [...honest, ...ground(key, bits, count)]
          const around = radius(24, size / 4)
          const found = new Set([key, ...pointsAround(key, around)].flatMap((point) => closest(point, all)))
          const holders = closest(key, honest).slice(0, 8)
          assert.isAtLeast(holders.filter((id) => found.has(id) && distance(key, id) <= around).length, 3)
        }
      })
    }
  }
})

describe("the network size estimated from lookups", () => {
  const random = (n: number) => sha256(new TextEncoder().encode(`random ${n}`))
  const targets = Array.from({ length: 40 }, (_, i) => idOf(`target ${i}`))

  for (const size of [12, 150, 2000]) {
    it(`is ${size} within a factor of two, even with ids generated to be close to frequent targets`, () => {
      const [victim] = targets
      const ids = [...network("size", size), ...ground(victim, 12, 40)]
      const samples = new SizeSamples()
      for (const target of targets) samples.add(target, closest(target, ids), 16, 0)
      for (let i = 0; i < 100; i++) samples.add(victim, closest(victim, ids), 16, 0)
      assert.isAbove(samples.size(0) ?? NaN, size / 2)
      // The generated ids count as nodes as well.
      assert.isBelow(samples.size(0) ?? NaN, 2 * (size + 40))
    })
  }

  it("is undefined after lookups in fewer than three parts of the key space, without results, or an hour ago", () => {
    const samples = new SizeSamples()
    const near = Array.from({ length: 100 }, (_, i) => NodeId.inBucket(targets[0], 20, random(i)))
    for (const target of near) samples.add(target, [idOf("one")], 16, 0)
    samples.add(NodeId.flip(targets[0], 0), [idOf("one")], 16, 0)
    samples.add(NodeId.flip(targets[0], 1), [], 16, 0)
    assert.isUndefined(samples.size(0))
    samples.add(NodeId.flip(targets[0], 1), [idOf("one")], 16, 0)
    assert.strictEqual(samples.size(3_599_999), 1)
    assert.isUndefined(samples.size(3_600_000))
  })

  it("changes with each new lookup, and when one is an hour ago, however often it is read between", () => {
    const samples = new SizeSamples()
    const read: Array<number | undefined> = []
    const minute = 60_000
    const part = (i: number): NodeId.NodeId => NodeId.fromBytesUnsafe(new Uint8Array(32).fill(i << 4))
    const sizes = [9, 9, 9, 1, 2, 3]
    for (const [i, size] of sizes.entries()) {
      samples.add(part(i), Array.from({ length: size }, (_, n) => idOf(`${n}`)), 16, i * minute)
      read.push(samples.size(i * minute), samples.size(i * minute + 1))
    }
    assert.deepStrictEqual(read, [undefined, undefined, 9, 9, 9, 9].flatMap((size) => [size, size]))
    assert.deepStrictEqual([60, 61, 62, 63].map((at) => samples.size(at * minute)), [3, 3, 2, undefined])
    // The clock was set back.
    assert.strictEqual(samples.size(59 * minute), 9)
    samples.clear()
    assert.isUndefined(samples.size(59 * minute))
  })

  it("is sampled in different parts of the key space", () => {
    for (const target of targets) {
      const points = samplePoints(target, [1, 2, 3, 4].map(random))
      assert.strictEqual(new Set([target, ...points].map((point) => point[0])).size, 5)
    }
  })
})
