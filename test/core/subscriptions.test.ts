import { assert, describe, it } from "@effect/vitest"
import * as fc from "fast-check"
import { type Subscriber, Subscriptions } from "../../src/core/subscriptions.ts"
import type { NodeId } from "../../src/NodeId.ts"
import * as SocketAddress from "../../src/SocketAddress.ts"

const id = (n: number) => n.toString(16).padStart(64, "0") as NodeId
const key = id
const host = (n: number) => `10.${n >> 16 & 255}.${n >> 8 & 255}.${n & 255}`
const subscriber = (n: number, port = 4121): Subscriber => ({ id: id(n), host: host(n), port })
const range = (length: number) => Array.from({ length }, (_, i) => i)
const now = 1_700_000_000_000

const subscriberArb = fc.record({ n: fc.integer({ min: 0, max: 4 }), port: fc.integer({ min: 1, max: 4 }) })
  .map(({ n, port }) => subscriber(n, port))
const requestArb = fc.record({
  key: fc.integer({ min: 0, max: 3 }).map(key),
  subscriber: subscriberArb,
  wait: fc.integer({ min: 0, max: 20_000 })
})

const takeArb = fc.record({ take: fc.integer({ min: 0, max: 3 }).map(key), wait: fc.integer({ min: 0, max: 20_000 }) })

/** Takes the subscribers of all keys. */
const drain = (subscriptions: Subscriptions, keys: ReadonlyArray<NodeId>, at: number) =>
  keys.map((key) => ({ key, subscribers: subscriptions.take(key, at) }))

const countOf = (subscribers: ReadonlyArray<Subscriber>, host: string): number =>
  subscribers.filter((subscriber) => subscriber.host === host).length

describe("Subscriptions", () => {
  it("returns each subscriber of a key once", () => {
    const subscriptions = new Subscriptions()
    assert.isTrue(subscriptions.subscribe(key(1), subscriber(1), now))
    assert.isTrue(subscriptions.subscribe(key(1), subscriber(2), now))
    assert.isTrue(subscriptions.subscribe(key(2), subscriber(3), now))
    assert.deepStrictEqual(subscriptions.take(key(1), now), [subscriber(1), subscriber(2)])
    assert.deepStrictEqual(subscriptions.take(key(1), now), [])
    assert.deepStrictEqual(subscriptions.take(key(2), now), [subscriber(3)])
    assert.strictEqual(subscriptions.size, 0)
  })

  it("returns it again after it subscribes again", () => {
    const subscriptions = new Subscriptions()
    for (let i = 0; i < 3; i++) {
      subscriptions.subscribe(key(1), subscriber(1), now + i)
      assert.deepStrictEqual(subscriptions.take(key(1), now + i), [subscriber(1)])
    }
  })

  it("counts only live subscriptions, and removes the others", () => {
    const subscriptions = new Subscriptions()
    subscriptions.subscribe(key(1), subscriber(1), now)
    subscriptions.subscribe(key(2), subscriber(1), now + 1)
    assert.strictEqual(subscriptions.live(now + 59_999), 2)
    assert.strictEqual(subscriptions.live(now + 60_000), 1)
    assert.strictEqual(subscriptions.size, 1)
  })

  it("keeps a subscription for 60 seconds from the last request", () => {
    const subscriptions = new Subscriptions()
    for (const k of [1, 2, 3, 4]) subscriptions.subscribe(key(k), subscriber(1), now)
    for (const k of [3, 4]) subscriptions.subscribe(key(k), subscriber(1), now + 30_000)
    assert.deepStrictEqual(subscriptions.take(key(1), now + 59_999), [subscriber(1)])
    assert.deepStrictEqual(subscriptions.take(key(2), now + 60_000), [])
    assert.deepStrictEqual(subscriptions.take(key(3), now + 89_999), [subscriber(1)])
    assert.deepStrictEqual(subscriptions.take(key(4), now + 90_000), [])
  })

  it("keeps one subscription per key and socket address, under the id of the latest request", () => {
    const subscriptions = new Subscriptions()
    subscriptions.subscribe(key(1), subscriber(1), now)
    subscriptions.subscribe(key(1), { ...subscriber(1), id: id(7) }, now)
    assert.deepStrictEqual(subscriptions.take(key(1), now), [{ ...subscriber(1), id: id(7) }])
  })

  it("holds 32 subscriptions per key and refuses more until one ends", () => {
    const subscriptions = new Subscriptions()
    for (const n of range(32)) assert.isTrue(subscriptions.subscribe(key(1), subscriber(n), now))
    assert.isFalse(subscriptions.subscribe(key(1), subscriber(32), now))
    assert.isTrue(subscriptions.subscribe(key(2), subscriber(32), now))
    assert.isTrue(subscriptions.subscribe(key(1), subscriber(5), now))
    assert.strictEqual(subscriptions.take(key(1), now).length, 32)
    assert.isTrue(subscriptions.subscribe(key(1), subscriber(32), now))
  })

  it("holds 64 subscriptions per source and evicts its oldest for the 65th", () => {
    const subscriptions = new Subscriptions()
    subscriptions.subscribe(key(0), subscriber(2), now)
    for (const k of range(64)) assert.isTrue(subscriptions.subscribe(key(k), subscriber(1, k), now))
    assert.strictEqual(subscriptions.size, 65)
    assert.isTrue(subscriptions.subscribe(key(64), subscriber(1, 64), now))
    assert.strictEqual(subscriptions.size, 65)
    assert.deepStrictEqual(subscriptions.take(key(0), now), [subscriber(2)])
    for (const k of range(65).slice(1)) assert.deepStrictEqual(subscriptions.take(key(k), now), [subscriber(1, k)])
  })

  it("holds 4096 subscriptions in all and refuses more until one ends", () => {
    const subscriptions = new Subscriptions()
    for (const n of range(4096)) assert.isTrue(subscriptions.subscribe(key(n), subscriber(n), now))
    assert.isFalse(subscriptions.subscribe(key(4096), subscriber(4096), now))
    assert.strictEqual(subscriptions.size, 4096)
    assert.isTrue(subscriptions.subscribe(key(5), subscriber(5), now))
    subscriptions.take(key(7), now)
    assert.isTrue(subscriptions.subscribe(key(4096), subscriber(4096), now))
    assert.strictEqual(subscriptions.size, 4096)
  })

  it("accepts a new source when few sources hold all 4096", () => {
    const subscriptions = new Subscriptions()
    for (const n of range(64)) {
      for (const k of range(64)) subscriptions.subscribe(key(n * 64 + k), subscriber(n), now)
    }
    assert.strictEqual(subscriptions.size, 4096)
    assert.isTrue(subscriptions.subscribe(key(9999), subscriber(64), now))
    assert.strictEqual(subscriptions.size, 4096)
    assert.deepStrictEqual(subscriptions.take(key(9999), now), [subscriber(64)])
  })

  it("evicts expired subscriptions first", () => {
    const subscriptions = new Subscriptions({ perKey: 3, capacity: 5 })
    for (const n of range(3)) subscriptions.subscribe(key(1), subscriber(n), now)
    for (const n of range(2)) subscriptions.subscribe(key(2), subscriber(n + 10), now + 1)
    assert.isFalse(subscriptions.subscribe(key(1), subscriber(3), now + 59_999))
    assert.isFalse(subscriptions.subscribe(key(2), subscriber(3), now + 59_999))
    assert.isTrue(subscriptions.subscribe(key(1), subscriber(3), now + 60_000))
    assert.strictEqual(subscriptions.size, 3)
    assert.deepStrictEqual(subscriptions.take(key(1), now + 60_000), [subscriber(3)])
    assert.deepStrictEqual(subscriptions.take(key(2), now + 60_000), [subscriber(10), subscriber(11)])
  })

  it("leaves one source a single subscription where 31 others have the rest, in any order of arrival", () => {
    const flood = range(100).map((port) => subscriber(99, port))
    const others = range(31).map((n) => subscriber(n))
    for (const order of [[...flood, ...others], [...others, ...flood]]) {
      const subscriptions = new Subscriptions()
      for (const subscriber of order) assert.isTrue(subscriptions.subscribe(key(1), subscriber, now))
      const told = subscriptions.take(key(1), now)
      assert.strictEqual(told.length, 32)
      assert.deepStrictEqual(told.filter(({ host }) => host !== flood[0].host), others)
      assert.deepStrictEqual(told.filter(({ host }) => host === flood[0].host), [flood[99]])
    }
  })

  it("counts an IPv6 network as one source, and each IPv4 host as its own", () => {
    const subscriptions = new Subscriptions({ perSource: 2 })
    const at = (host: string) => ({ id: id(1), host, port: 1 })
    const hosts = [
      "2001:db8:1::1",
      "2001:db8:1:2::1",
      "2001:db8:1:2::2",
      "2001:db8:2::1",
      "8.8.8.1",
      "8.8.8.2",
      "8.8.8.3"
    ]
    for (const host of hosts) subscriptions.subscribe(key(1), at(host), now)
    assert.sameDeepMembers(subscriptions.take(key(1), now), hosts.slice(1).map(at))
  })

  it("returns each live subscription exactly once and no expired one, and keeps neither", () => {
    fc.assert(fc.property(fc.array(fc.oneof(requestArb, takeArb), { maxLength: 60 }), (ops) => {
      const subscriptions = new Subscriptions()
      let model: ReadonlyArray<{ readonly key: NodeId; readonly subscriber: Subscriber; readonly at: number }> = []
      let at = now
      for (const op of ops) {
        at += op.wait
        if ("take" in op) {
          const due = model.filter((entry) => entry.key === op.take && at - entry.at < 60_000)
          assert.sameDeepMembers(subscriptions.take(op.take, at), due.map((entry) => entry.subscriber))
          model = model.filter((entry) => entry.key !== op.take)
        } else {
          const { key, subscriber } = op
          const same = (entry: (typeof model)[number]) =>
            entry.key === key && SocketAddress.key(entry.subscriber) === SocketAddress.key(subscriber)
          assert.isTrue(subscriptions.subscribe(key, subscriber, at))
          const others = model.filter((entry) => at - entry.at < 60_000 && !same(entry))
          model = [...others, { key, subscriber, at }]
          assert.strictEqual(subscriptions.size, model.length)
          assert.strictEqual(subscriptions.keyCount, new Set(model.map((entry) => entry.key)).size)
          assert.strictEqual(subscriptions.sourceCount, new Set(model.map((entry) => entry.subscriber.host)).size)
        }
      }
    }))
  })

  it("never exceeds the limits per key, per source and in all", () => {
    const limitArb = fc.integer({ min: 1, max: 6 })
    const limitsArb = fc.record({ perKey: limitArb, perSource: limitArb, capacity: fc.integer({ min: 1, max: 14 }) })
    fc.assert(fc.property(limitsArb, fc.array(requestArb, { maxLength: 60 }), (limits, requests) => {
      const subscriptions = new Subscriptions(limits)
      let at = now
      for (const request of requests) {
        at += request.wait / 20
        const before = subscriptions.size
        const accepted = subscriptions.subscribe(request.key, request.subscriber, at)
        assert.isAtMost(subscriptions.size, limits.capacity)
        if (!accepted) assert.isAtMost(subscriptions.size, before)
      }
      const held = drain(subscriptions, range(4).map(key), at)
      for (const { subscribers } of held) assert.isAtMost(subscribers.length, limits.perKey)
      const all = held.flatMap(({ subscribers }) => subscribers)
      for (const n of range(5)) assert.isAtMost(countOf(all, host(n)), limits.perSource)
      assert.strictEqual(subscriptions.size, 0)
      assert.strictEqual(subscriptions.keyCount, 0)
      assert.strictEqual(subscriptions.sourceCount, 0)
    }))
  })

  it("always holds the subscription that it accepted last", () => {
    fc.assert(fc.property(fc.array(requestArb, { minLength: 1, maxLength: 60 }), (requests) => {
      const subscriptions = new Subscriptions({ perKey: 3, perSource: 4, capacity: 7 })
      let last = requests[0]
      for (const request of requests) {
        if (subscriptions.subscribe(request.key, request.subscriber, now)) last = request
      }
      assert.deepInclude(subscriptions.take(last.key, now), last.subscriber)
    }))
  })

  const flooder = subscriber(99)

  it("during a flood from one source, leaves every other source that loses a subscription at a key at least as many as the flooding one", () => {
    fc.assert(
      fc.property(
        fc.array(subscriberArb, { maxLength: 30 }),
        fc.integer({ min: 1, max: 30 }),
        fc.integer({ min: 1, max: 10 }),
        (others, flood, perKey) => {
          const held = (flood: number) => {
            const subscriptions = new Subscriptions({ perKey, perSource: 100 })
            for (const other of others) subscriptions.subscribe(key(1), other, now)
            for (const port of range(flood)) subscriptions.subscribe(key(1), { ...flooder, port }, now)
            return subscriptions.take(key(1), now)
          }
          const before = held(0)
          const after = held(flood)
          for (const n of range(5)) {
            const left = countOf(after, host(n))
            if (left !== countOf(before, host(n))) assert.isAtLeast(left, countOf(after, flooder.host))
          }
        }
      )
    )
  })

  it("during a flood from one source, leaves every other source that loses a subscription at least as many overall as the flooding one", () => {
    fc.assert(
      fc.property(
        fc.array(fc.oneof({ weight: 4, arbitrary: requestArb }, takeArb), { maxLength: 40 }),
        fc.integer({ min: 1, max: 30 }),
        fc.integer({ min: 1, max: 12 }),
        (others, flood, capacity) => {
          const keys = range(4 + flood).map(key)
          const held = (flood: number) => {
            const subscriptions = new Subscriptions({ capacity })
            for (const op of others) {
              if ("take" in op) subscriptions.take(op.take, now)
              else subscriptions.subscribe(op.key, op.subscriber, now)
            }
            for (const n of range(flood)) subscriptions.subscribe(key(4 + n), flooder, now)
            return drain(subscriptions, keys, now).flatMap(({ subscribers }) => subscribers)
          }
          const before = held(0)
          const after = held(flood)
          for (const n of range(5)) {
            const left = countOf(after, host(n))
            if (left !== countOf(before, host(n))) assert.isAtLeast(left, countOf(after, flooder.host))
          }
        }
      )
    )
  })
})
