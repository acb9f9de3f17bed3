import { assert, describe, it } from "@effect/vitest"
import * as fc from "fast-check"
import { PeerHealth } from "../../src/core/peerHealth.ts"
import * as Features from "../../src/Features.ts"
import type { NodeId } from "../../src/NodeId.ts"

const peer = (i: number) => i.toString(16).padStart(64, "0") as NodeId
const a = peer(1)
const b = peer(2)
const now = 1_700_000_000_000

type Outcome =
  | { readonly kind: "succeeded"; readonly peer: number; readonly rtt: number }
  | { readonly kind: "failed" | "maintenanceProbeFailed" | "speaks"; readonly peer: number }

const outcomeArb: fc.Arbitrary<Outcome> = fc.oneof(
  fc.record({
    kind: fc.constant("succeeded" as const),
    peer: fc.integer({ min: 0, max: 5 }),
    rtt: fc.double({ min: -100, max: 100_000, noNaN: true })
  }),
  fc.record({
    kind: fc.constantFrom("failed" as const, "maintenanceProbeFailed" as const, "speaks" as const),
    peer: fc.integer({ min: 0, max: 5 })
  })
)

const happen = (health: PeerHealth, outcome: Outcome, at: number): void => {
  const id = peer(outcome.peer)
  if (outcome.kind === "succeeded") health.succeeded(id, outcome.rtt, at)
  else if (outcome.kind === "speaks") health.speaks(id, "v0.1", at)
  else health[outcome.kind](id, at)
}

/** The back-off of `a` ends exactly then. */
const assertBackoff = (health: PeerHealth, end: number): void => {
  assert.deepStrictEqual([health.allowContact(a, end - 1), health.allowContact(a, end)], [false, true])
}

describe("PeerHealth", () => {
  it("knows nothing of an unknown peer and allows a request to it", () => {
    const health = new PeerHealth()
    assert.strictEqual(health.state(a), "unknown")
    assert.isTrue(health.allowContact(a, now))
    assert.isUndefined(health.rtt(a))
    assert.isUndefined(health.version(a, now))
  })

  it("calls a peer good after a response, unknown after one failure, bad after two in a row", () => {
    const health = new PeerHealth()
    health.succeeded(a, 10, now)
    assert.strictEqual(health.state(a), "good")
    health.failed(a, now)
    assert.strictEqual(health.state(a), "unknown")
    health.failed(a, now)
    assert.strictEqual(health.state(a), "bad")
    health.succeeded(a, 10, now + 1)
    assert.strictEqual(health.state(a), "good")
  })

  it("doubles the back-off with each consecutive failure, at most ten times", () => {
    fc.assert(fc.property(fc.integer({ min: 1, max: 40 }), (failures) => {
      const health = new PeerHealth()
      for (let i = 0; i < failures; i++) health.failed(a, now)
      const backoff = 30_000 * 2 ** Math.min(failures - 1, 10)
      assert.isFalse(health.allowContact(a, now + backoff - 1))
      assert.isTrue(health.allowContact(a, now + backoff))
    }))
  })

  it("ends the back-off with a response, and starts the next one small", () => {
    const health = new PeerHealth()
    for (let i = 0; i < 5; i++) health.failed(a, now)
    health.succeeded(a, 1, now)
    assert.isTrue(health.allowContact(a, now))
    health.failed(a, now)
    assertBackoff(health, now + 30_000)
  })

  it("halves the rest of a back-off when a maintenance probe fails, and counts no failure", () => {
    const health = new PeerHealth()
    health.failed(a, now)
    health.maintenanceProbeFailed(a, now + 10_000)
    assertBackoff(health, now + 20_000)
    health.maintenanceProbeFailed(a, now + 25_000)
    assertBackoff(health, now + 20_000)
    assert.strictEqual(health.state(a), "unknown")
    health.maintenanceProbeFailed(b, now)
    assert.isTrue(health.allowContact(b, now))
  })

  it("smooths round-trip times as RFC 6298 does", () => {
    const health = new PeerHealth()
    health.succeeded(a, 400, now)
    assert.strictEqual(health.rtt(a), 400)
    assert.strictEqual(health.timeout(a, now), 400 + 4 * 200)
    health.succeeded(a, 800, now)
    assert.strictEqual(health.rtt(a), 450)
    assert.strictEqual(health.timeout(a, now), 450 + 4 * 250)
  })

  it("uses the usual round-trip time for an unknown peer, and half a second before the first response", () => {
    const health = new PeerHealth()
    assert.strictEqual(health.timeout(a, now), 500)
    assert.strictEqual(health.defaultTimeout(), 500)
    assert.strictEqual(health.slowAfter(a, now), 250)
    health.succeeded(b, 600, now)
    assert.strictEqual(health.timeout(a, now), 1800)
    assert.strictEqual(health.defaultTimeout(), 1800)
    assert.strictEqual(health.slowAfter(a, now), 1800)
  })

  it("starts over when a response takes less than half of the smoothed time: the earlier ones were queued", () => {
    const health = new PeerHealth()
    health.succeeded(a, 900, now)
    health.succeeded(a, 449, now)
    assert.strictEqual(health.rtt(a), 449)
    assert.strictEqual(health.timeout(a, now), 449 * 3)
    health.succeeded(a, 225, now)
    assert.strictEqual(health.rtt(a), 449 - 28)
  })

  it("gives an unknown peer the time of a far one, however quick the response of a near one", () => {
    const health = new PeerHealth()
    for (let i = 0; i < 8; i++) {
      health.succeeded(a, 300, now)
      health.succeeded(b, 1, now)
      assert.isAtLeast(health.defaultTimeout(), 300)
    }
    // Asking another peer as well costs little, so that is sooner.
    assert.isBelow(health.slowAfter(peer(5), now), 300)
  })

  it("does not wait longer than peers usually take because of an old measurement", () => {
    const health = new PeerHealth()
    health.succeeded(a, 900, now)
    for (let i = 0; i < 100; i++) health.succeeded(b, 1, now)
    assert.strictEqual(health.timeout(a, now + 29_999), 2700)
    assert.strictEqual(health.timeout(a, now + 30_000), 75)
    assert.strictEqual(health.slowAfter(a, now + 30_000), 20)
    // A fast peer does not get more time because of the others.
    assert.strictEqual(health.timeout(b, now + 30_000), 50)
  })

  it("presumes a peer dead after as many attempts as are unlikely to be lost in a row", () => {
    const health = new PeerHealth()
    assert.strictEqual(health.attempts(), 5)
    for (let i = 0; i < 300; i++) health.succeeded(a, 1, now)
    assert.strictEqual(health.attempts(), 2)
    // A loss rate of one in five.
    for (let i = 0; i < 300; i++) health.succeeded(a, 1, now, i % 4 === 0 ? 1 : 0)
    assert.include([4, 5], health.attempts())
    for (let i = 0; i < 300; i++) health.succeeded(a, 1, now, 9)
    assert.strictEqual(health.attempts(), 7)
  })

  it("waits longer for an unknown peer than for a fast one", () => {
    const health = new PeerHealth()
    health.succeeded(b, 1, now)
    assert.strictEqual(health.timeout(b, now), 50)
    assert.strictEqual(health.timeout(a, now), 75)
    assert.strictEqual(health.slowAfter(a, now), 20)
  })

  it("waits between 50 milliseconds and 5 seconds for one attempt, whatever was measured", () => {
    fc.assert(fc.property(fc.array(outcomeArb), (outcomes) => {
      const health = new PeerHealth()
      outcomes.forEach((outcome, i) => {
        happen(health, outcome, now + i)
        for (let id = 0; id <= 6; id++) {
          assert.isAtLeast(health.timeout(peer(id), now), 50)
          assert.isAtMost(health.timeout(peer(id), now), 5000)
          assert.isAtLeast(health.slowAfter(peer(id), now), 20)
          assert.isAtMost(health.slowAfter(peer(id), now), 5000)
        }
        assert.isAtLeast(health.defaultTimeout(), 75)
        assert.isAtMost(health.defaultTimeout(), 5000)
      })
    }))
  })

  it("decides a state only by the outcomes since the last response", () => {
    fc.assert(fc.property(fc.array(outcomeArb), (outcomes) => {
      const health = new PeerHealth()
      outcomes.forEach((outcome, i) => happen(health, outcome, now + i))
      for (let id = 0; id <= 6; id++) {
        const own = outcomes.filter((outcome) => outcome.peer === id)
        const answer = own.findLastIndex((outcome) => outcome.kind === "succeeded")
        const failures = own.slice(answer + 1).filter((outcome) => outcome.kind === "failed").length
        assert.strictEqual(
          health.state(peer(id)),
          failures >= 2 ? "bad" : answer >= 0 && failures === 0 ? "good" : "unknown"
        )
      }
    }))
  })

  it("has exactly the features of a peer's latest message", () => {
    const health = new PeerHealth()
    const { client, "v0.2": v02 } = Features.Bit
    assert.isFalse(health.has(a, v02))
    health.shows(a, v02 | client | 0x8000)
    assert.isTrue(health.has(a, v02))
    assert.isTrue(health.has(a, client))
    assert.isFalse(health.has(b, client))
    health.shows(a, v02)
    assert.isTrue(health.has(a, v02))
    assert.isFalse(health.has(a, client))
    health.shows(a, 0)
    assert.isFalse(health.has(a, v02))
  })

  it("infers the version only of a peer that does not announce it", () => {
    const health = new PeerHealth()
    const v02 = Features.Bit["v0.2"]
    health.speaks(a, "v0.1", now)
    health.shows(a, v02)
    assert.strictEqual(health.version(a, now), "v0.2")
    health.speaks(a, "v0.1", now)
    assert.strictEqual(health.version(a, now), "v0.2")
    // The earlier inference does not apply to the version that replaced the announced one.
    health.shows(a, 0)
    assert.isUndefined(health.version(a, now))
    health.speaks(a, "v0.1", now)
    assert.strictEqual(health.version(a, now), "v0.1")
  })

  it("infers the version after an announcement was doubted, until the peer announces it again", () => {
    const health = new PeerHealth()
    const both = Features.Bit["v0.2"] | Features.Bit.client
    health.doubtVersion(a)
    health.shows(a, both)
    health.doubtVersion(a)
    assert.isUndefined(health.version(a, now))
    assert.isTrue(health.has(a, Features.Bit.client))
    health.shows(a, both)
    assert.strictEqual(health.version(a, now), "v0.2")
  })

  it("forgets the features of the peers heard from the longest ago, without affecting health", () => {
    const health = new PeerHealth({ capacity: 2 })
    health.succeeded(peer(0), 1, now)
    for (let i = 1; i <= 3; i++) health.shows(peer(i), Features.Bit.client)
    assert.deepStrictEqual([1, 2, 3].map((i) => health.has(peer(i), Features.Bit.client)), [false, true, true])
    assert.strictEqual(health.state(peer(0)), "good")
  })

  it("keeps the features of a peer that requests were sent to, however many others announce some", () => {
    const health = new PeerHealth({ capacity: 2 })
    health.shows(a, Features.Bit.client)
    health.reachable(b, false)
    health.succeeded(a, 1, now)
    health.failed(b, now)
    for (let i = 3; i <= 30; i++) health.shows(peer(i), Features.Bit.client)
    assert.isTrue(health.has(a, Features.Bit.client))
    assert.isTrue(health.isClient(b))
    assert.deepStrictEqual([28, 29, 30].map((i) => health.isClient(peer(i))), [false, true, true])
    assert.strictEqual(health.size, 2)
  })

  it("remembers an inferred v0.1 for ten minutes and an inferred v0.2 permanently", () => {
    const health = new PeerHealth()
    health.speaks(a, "v0.1", now)
    health.succeeded(a, 1, now)
    health.failed(a, now)
    assert.strictEqual(health.version(a, now), "v0.1")
    assert.strictEqual(health.version(a, now + 599_999), "v0.1")
    assert.isUndefined(health.version(a, now + 600_000))
    health.speaks(a, "v0.2", now)
    health.speaks(a, "v0.1", now)
    assert.strictEqual(health.version(a, now), "v0.2")
    assert.isUndefined(health.version(b, now))
  })

  it("forgets the peer with the oldest outcome when it is full", () => {
    const health = new PeerHealth({ capacity: 2 })
    health.succeeded(a, 10, now)
    health.succeeded(b, 10, now)
    health.succeeded(a, 10, now)
    health.succeeded(peer(3), 10, now)
    assert.strictEqual(health.size, 2)
    assert.strictEqual(health.state(a), "good")
    assert.strictEqual(health.state(b), "unknown")
    assert.strictEqual(health.state(peer(3)), "good")
  })
})
