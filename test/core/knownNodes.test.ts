import { assert, describe, it } from "@effect/vitest"
import * as fc from "fast-check"
import type { Address } from "../../src/Address.ts"
import type { Contact } from "../../src/Contact.ts"
import { KnownNodes, lacking } from "../../src/core/knownNodes.ts"
import * as NodeId from "../../src/NodeId.ts"

const minute = 60_000
const hour = 60 * minute

const nodeAt = (prefix: number, port = 1): Contact => {
  const id = prefix.toString(16).padStart(8, "0").repeat(8) as NodeId.NodeId
  return { id, address: id.slice(0, 42) as Address, host: "9.9.9.9", port }
}

const all = () => true
const none = () => false

/** A copy of which these are the holders, at position 0. */
const held = (holders: ReadonlyArray<number>, wanted = 8) => ({ position: 0, wanted, holders })

/** All nodes that are to be asked until then, every minute. */
const probesUntil = (nodes: KnownNodes, from: number, to: number): ReadonlyArray<number> => {
  const times: Array<number> = []
  for (let now = from; now <= to; now += minute) while (nodes.probe(now) !== undefined) times.push(now)
  return times
}

describe("lacking", () => {
  it("is what is missing of the closest among holders and nodes, nearest first", () => {
    const prefix = fc.integer({ min: 0, max: 63 })
    fc.assert(fc.property(
      prefix,
      fc.integer({ min: 1, max: 8 }),
      fc.uniqueArray(prefix, { maxLength: 16 }),
      fc.uniqueArray(prefix, { maxLength: 16 }),
      (position, wanted, holders, prefixes) => {
        const closest = Array.from(new Set([...holders, ...prefixes]))
          .sort((a, b) => (a ^ position) - (b ^ position)).slice(0, wanted)
        const found = lacking({ position, wanted, holders }, prefixes.map((prefix) => nodeAt(prefix)))
        assert.deepStrictEqual(
          found.map(({ id }) => NodeId.prefix(id)),
          closest.filter((prefix) => !holders.includes(prefix))
        )
      }
    ))
  })
})

describe("known nodes", () => {
  it("are new once, and back once after each absence", () => {
    const nodes = new KnownNodes()
    const [a, b] = [nodeAt(1), nodeAt(2)]
    assert.deepStrictEqual(nodes.found([a, b], all, 0), [a, b])
    assert.deepStrictEqual(nodes.found([a, b], all, 1), [])
    assert.isFalse(nodes.answered(a, 2))
    assert.deepStrictEqual(nodes.found([a], none, 3), [])
    assert.deepStrictEqual(nodes.found([a, b], all, 4), [])
    // It is not found where it belongs.
    nodes.found([a], all, 5)
    const moved = nodeAt(2, 99)
    assert.deepStrictEqual(nodes.found([a, moved], all, 6), [moved])
    nodes.silent([a], 7)
    assert.isTrue(nodes.answered(a, 8))
    assert.isFalse(nodes.answered(a, 9))
  })

  it("are asked whether they are back only if something was stored without them", () => {
    const nodes = new KnownNodes()
    const [near, far, held1] = [nodeAt(1), nodeAt(0xf000_0000), nodeAt(2)]
    nodes.found([near, far, held1], all, 0)
    nodes.silent([near, far, held1], 0)
    assert.isUndefined(nodes.nextProbe)
    nodes.expect(held([2, 3, 4], 3))
    assert.strictEqual(nodes.nextProbe, minute)
    assert.isUndefined(nodes.probe(minute - 1))
    assert.strictEqual(nodes.probe(minute), near)
    assert.isUndefined(nodes.probe(minute))
    // While there are too few copies, a node may be anywhere.
    nodes.expect(held([2, 3], 3))
    assert.lengthOf(probesUntil(nodes, 2 * minute, 2 * minute), 2)
    nodes.answered(near, 3 * minute)
    nodes.answered(far, 3 * minute)
    assert.isUndefined(nodes.nextProbe)
  })

  it("are asked after a quarter of their absence, at most 32 times in all, and are then forgotten", () => {
    const nodes = new KnownNodes()
    nodes.found([nodeAt(1)], all, 0)
    nodes.silent([nodeAt(1)], 0)
    nodes.expect(held([]))
    const times = probesUntil(nodes, 0, 30 * hour)
    assert.deepStrictEqual(times.slice(0, 5).map((time) => time / minute), [1, 2, 3, 4, 5])
    for (const [i, time] of times.entries()) {
      if (i > 0) assert.isAtMost(time - times[i - 1], Math.max(times[i - 1] / 4, minute) + minute)
    }
    assert.isAtLeast(times.at(-1) ?? 0, 18 * hour)
    assert.isAtMost(times.length, 32)
    nodes.expect(held([]))
    assert.isUndefined(nodes.nextProbe)
    assert.lengthOf(nodes.found([nodeAt(1)], all, 32 * hour), 1)
  })

  it("are asked at once if something is stored without them and they were last missed long ago", () => {
    const nodes = new KnownNodes()
    nodes.found([nodeAt(1)], all, 0)
    nodes.silent([nodeAt(1)], 0)
    nodes.expect(held([]))
    nodes.answered(nodeAt(1), 20 * minute)
    // It has not really been back, but may be since.
    nodes.silent([nodeAt(1)], 21 * minute)
    assert.lengthOf(probesUntil(nodes, 21 * minute, hour), 0)
    nodes.expect(held([]))
    assert.deepStrictEqual(nodes.probe(hour), nodeAt(1))
    assert.strictEqual(nodes.nextProbe, hour + 15 * minute)
  })

  it("that answer and fall silent again at once are asked no more often", () => {
    const nodes = new KnownNodes()
    nodes.found([nodeAt(1)], all, 0)
    nodes.silent([nodeAt(1)], 0)
    let asked = 0
    for (let now = 0; now <= 12 * hour; now += minute) {
      nodes.expect(held([]))
      if (nodes.probe(now) === undefined) continue
      asked++
      nodes.answered(nodeAt(1), now)
      nodes.silent([nodeAt(1)], now)
    }
    assert.isAtMost(asked, 32)
    // One that was back for a while is as good as any other.
    nodes.answered(nodeAt(1), 13 * hour)
    nodes.silent([nodeAt(1)], 14 * hour)
    nodes.expect(held([]))
    assert.strictEqual(nodes.nextProbe, 14 * hour + minute)
  })

  it("are at most 16384: those that were found longest ago are forgotten", () => {
    const nodes = new KnownNodes()
    const many = Array.from({ length: 20_000 }, (_, n) => nodeAt(n))
    nodes.found(many.slice(0, 16_384), none, 0)
    nodes.found([many[0]], none, 1)
    nodes.found(many.slice(16_384), none, 2)
    assert.deepStrictEqual(nodes.found([many[0], many[1], many[10_000]], none, 3), [many[1]])
  })
})
