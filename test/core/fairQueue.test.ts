import { assert, describe, it } from "@effect/vitest"
import * as fc from "fast-check"
import { FairQueue } from "../../src/core/fairQueue.ts"
import * as SocketAddress from "../../src/SocketAddress.ts"

/** Hosts a to d are of networks of their own; 1.1, 1.2 and 1.3 share one. */
const at = (name: string, port = 1): SocketAddress.SocketAddress => ({
  host: /\d/.test(name) ? `9.9.${name}` : name,
  port
})

const source: fc.Arbitrary<SocketAddress.SocketAddress> = fc.tuple(
  fc.constantFrom("a", "b", "c", "1.1", "1.2", "2.1"),
  fc.integer({ min: 1, max: 3 })
).map(([name, port]) => at(name, port))

const operation = fc.oneof(
  { weight: 3, arbitrary: fc.record({ from: source }) },
  { weight: 1, arbitrary: fc.record({ take: fc.integer({ min: 0, max: 6 }) }) }
)

interface Item {
  readonly from: SocketAddress.SocketAddress
  readonly n: number
}

const network = ({ host }: SocketAddress.SocketAddress) => SocketAddress.network(host)
const host = ({ host }: SocketAddress.SocketAddress) => host
const port = SocketAddress.key

/** Number of items by a part of their address. */
const countBy = (items: ReadonlyArray<Item>, part: (from: SocketAddress.SocketAddress) => string) => {
  const counts = new Map<string, number>()
  for (const { from } of items) counts.set(part(from), (counts.get(part(from)) ?? 0) + 1)
  return counts
}

/** Runs operations on a queue beside a plain list of what must be in it. */
const replay = (
  operations: ReadonlyArray<{ readonly from: SocketAddress.SocketAddress } | { readonly take: number }>,
  check: {
    readonly offered?: (item: Item, lost: Item | undefined, waiting: ReadonlyArray<Item>) => void
    readonly taken?: (taken: ReadonlyArray<Item>, before: ReadonlyArray<Item>) => void
  }
): void => {
  const queue = new FairQueue<Item>({ capacity: 12, perSource: 5 })
  let waiting: ReadonlyArray<Item> = []
  for (const [n, operation] of operations.entries()) {
    if ("from" in operation) {
      const item = { ...operation, n }
      const lost = queue.offer(item.from, item)
      check.offered?.(item, lost, waiting)
      waiting = [...waiting, item].filter((other) => other !== lost)
    } else {
      const taken = queue.take(operation.take)
      check.taken?.(taken, waiting)
      waiting = waiting.filter((item) => !taken.includes(item))
    }
    assert.strictEqual(queue.size, waiting.length)
    assert.isAtMost(queue.size, 12)
  }
  const rest = queue.take(Infinity)
  check.taken?.(rest, waiting)
  assert.sameMembers(rest, [...waiting])
}

const history = fc.array(operation, { maxLength: 200 })

describe("FairQueue", () => {
  it("serves its senders in turn", () => {
    const queue = new FairQueue<string>({ capacity: 100, perSource: 100 })
    for (const item of ["a1", "a2", "a3", "b1", "c1", "b2"]) queue.offer(at(item[0]), item)
    assert.deepStrictEqual(queue.take(4), ["a1", "b1", "c1", "a2"])
    queue.offer(at("c"), "c2")
    assert.deepStrictEqual(queue.take(9), ["b2", "a3", "c2"])
  })

  it("serves a new sender after one item of each other sender, however long their queues are", () => {
    const queue = new FairQueue<string>({ capacity: 1000, perSource: 500 })
    for (let i = 0; i < 900; i++) queue.offer(at(i % 2 === 0 ? "flood" : "flood 2"), "x")
    queue.offer(at("honest"), "!")
    assert.strictEqual(queue.take(1000).indexOf("!"), 2)
  })

  it("serves a host as one line, however many ports it sends from", () => {
    const queue = new FairQueue<string>({ capacity: 1000, perSource: 500 })
    for (let i = 0; i < 900; i++) queue.offer(at("flood", i), "x")
    queue.offer(at("honest"), "!")
    assert.strictEqual(queue.take(1000).indexOf("!"), 1)
  })

  it("serves the ports of a host as one line within its network as well", () => {
    const queue = new FairQueue<string>({ capacity: 1000, perSource: 500 })
    for (let i = 0; i < 900; i++) queue.offer(at("1.1", i), "x")
    queue.offer(at("1.2"), "neighbour")
    queue.offer(at("honest"), "!")
    assert.deepStrictEqual(queue.take(4), ["x", "!", "neighbour", "x"])
  })

  it("serves a network as one line, however many hosts it has, and each of them in turn", () => {
    const queue = new FairQueue<string>({ capacity: 1000, perSource: 500 })
    for (let i = 0; i < 250; i++) queue.offer(at(`1.${i}`), "x")
    for (let i = 0; i < 250; i++) queue.offer(at("1.250"), "y")
    queue.offer(at("1.251"), "neighbour")
    queue.offer(at("2.1"), "!")
    const taken = queue.take(1000)
    assert.strictEqual(taken.indexOf("!"), 1)
    assert.strictEqual(taken.indexOf("neighbour"), 252)
  })

  it("leaves room for others when one sender has reached its limit", () => {
    const queue = new FairQueue<number>({ capacity: 10, perSource: 3 })
    assert.deepStrictEqual([1, 2, 3, 4].map((item) => queue.offer(at("a"), item)), [undefined, undefined, undefined, 4])
    assert.isUndefined(queue.offer(at("b"), 5))
  })

  it("loses the last item of the longest port of the longest host of the longest network when it is full", () => {
    const queue = new FairQueue<string>({ capacity: 8, perSource: 8 })
    for (const item of ["1.1:1 i", "1.1:2 i", "1.1:2 ii", "1.2:1 i", "a:1 i", "a:1 ii", "a:1 iii", "b:1 i"]) {
      const [name, n] = item.split(" ")[0].split(":")
      assert.isUndefined(queue.offer(at(name, Number(n)), item))
    }
    assert.strictEqual(queue.offer(at("c"), "c"), "1.1:2 ii")
    assert.strictEqual(queue.offer(at("1.3"), "1.3"), "1.1:1 i")
  })

  it("never holds more than its capacity, and loses no other item than it reports", () => {
    fc.assert(fc.property(history, (operations) => replay(operations, {})))
  })

  it("lets a source in that has nothing waiting", () => {
    fc.assert(fc.property(history, (operations) =>
      replay(operations, {
        offered: (item, lost, waiting) => {
          if (!countBy(waiting, port).has(port(item.from))) assert.notStrictEqual(lost, item)
        }
      })))
  })

  it("takes nothing from a line that is shorter than another", () => {
    fc.assert(fc.property(history, (operations) =>
      replay(operations, {
        offered: (item, lost, waiting) => {
          if (lost === undefined || waiting.length < 12) return
          let lines: ReadonlyArray<Item> = [...waiting, item]
          for (const part of [network, host, port]) {
            const counts = countBy(lines, part)
            assert.strictEqual(counts.get(part(lost.from)), Math.max(...counts.values()))
            lines = lines.filter(({ from }) => part(from) === part(lost.from))
          }
        }
      })))
  })

  it("gives lines that wait equal numbers of turns, at each level", () => {
    fc.assert(fc.property(history, (operations) =>
      replay(operations, {
        taken: (taken, before) => {
          const level = (
            items: ReadonlyArray<Item>,
            all: ReadonlyArray<Item>,
            [part, ...finer]: ReadonlyArray<(from: SocketAddress.SocketAddress) => string>
          ): void => {
            if (part === undefined) return
            const had = countBy(all, part)
            const got = countBy(items, part)
            for (const [a, count] of had) {
              for (const b of had.keys()) {
                // A line with items left has had as many turns as any other, give or take one.
                if ((got.get(a) ?? 0) < count) assert.isAtMost((got.get(b) ?? 0) - (got.get(a) ?? 0), 1)
              }
              const within = ({ from }: Item) => part(from) === a
              level(items.filter(within), all.filter(within), finer)
            }
          }
          level(taken, before, [network, host, port])
        }
      })))
  })

  it("keeps the order of each source", () => {
    fc.assert(fc.property(history, (operations) => {
      const all: Array<Item> = []
      replay(operations, { taken: (taken) => all.push(...taken) })
      for (const from of new Set(all.map(({ from }) => port(from)))) {
        const served = all.filter((item) => port(item.from) === from).map(({ n }) => n)
        assert.deepStrictEqual(served, served.toSorted((a, b) => a - b))
      }
    }))
  })

  it("is empty after it is cleared", () => {
    const queue = new FairQueue<number>({ capacity: 10, perSource: 3 })
    queue.offer(at("a"), 1)
    queue.clear()
    assert.strictEqual(queue.size, 0)
    assert.deepStrictEqual(queue.take(1), [])
  })
})
