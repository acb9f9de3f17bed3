import { assert, describe, it } from "@effect/vitest"
import * as fc from "fast-check"
import type { Address } from "../../src/Address.ts"
import type { Contact } from "../../src/Contact.ts"
import { type Ping, Proof, Proofs } from "../../src/core/proofs.ts"
import * as NodeId from "../../src/NodeId.ts"
import * as SocketAddress from "../../src/SocketAddress.ts"

const id = (byte: number) => byte.toString(16).padStart(2, "0").padEnd(64, "0") as NodeId.NodeId

const contact = (byte: number, host = `9.9.${byte}.1`): Contact => ({
  id: id(byte),
  address: id(byte).slice(0, 42) as Address,
  host,
  port: 1
})

const pingBytes = 150

const proof = (contact: Contact, hasRoom = true): Proof => new Proof(contact, hasRoom)

describe("a proof", () => {
  const setUp = () => {
    const told: Array<string> = []
    const pings = ["first", "second"].map((name): Ping => ({
      cancel: () => told.push(`${name} cancelled`),
      waiting: [],
      isLate: false
    }))
    const caller = (name: string) => (isProved: boolean) => void told.push(`${name}: ${isProved}`)
    const one = proof(contact(1))
    one.pinged(pings[0], 1, 0)
    one.wait(caller("a"))
    return { told, caller, one, pings }
  }

  it("has each caller wait for the ping that was the latest when it came, however often its peer is pinged again", () => {
    const { caller, one, pings, told } = setUp()
    one.pinged(pings[1], 1, 1)
    one.wait(caller("b"))
    assert.isFalse(one.failed(pings[0]))
    assert.deepStrictEqual(told, ["a: false"])
    assert.isTrue(one.failed(pings[1]))
    assert.deepStrictEqual(told, ["a: false", "b: false"])
    assert.isFalse(one.wait(caller("c")))
  })

  it("tells all callers of the first response, and cancels the other pings", () => {
    const { caller, one, pings, told } = setUp()
    one.pinged(pings[1], 1, 1)
    one.wait(caller("b"))
    one.end(pings[0])
    assert.deepStrictEqual(told, ["a: true", "second cancelled", "b: true"])
  })

  it("that takes too long holds up no caller, and its response still counts", () => {
    const { caller, one, pings, told } = setUp()
    one.delayed(pings[0])
    assert.isTrue(one.wait(caller("b")))
    one.end(pings[0])
    assert.deepStrictEqual(told, ["a: false", "b: true"])
  })

  it("is waited for by 16 callers at most, whichever ping they wait for", () => {
    const { caller, one, pings } = setUp()
    one.pinged(pings[1], 1, 1)
    const accepted = Array.from({ length: 16 }, () => one.wait(caller("b")))
    assert.deepStrictEqual(accepted, [...Array.from({ length: 15 }, () => true), false])
  })
})

describe("Proofs", () => {
  it("make way, once there are too many, for a peer whose bucket has room, and among equals for a closer one", () => {
    const proofs = new Proofs({ self: NodeId.zero, pingBytes, capacity: 2 })
    const [far, near] = [proof(contact(0x80)), proof(contact(0x10), false)]
    for (const one of [far, near]) assert.isUndefined(proofs.add(one))
    assert.strictEqual(proofs.add(proof(contact(0x20), false)), "Refused")
    assert.strictEqual(proofs.add(proof(contact(0x90))), near)
    assert.strictEqual(proofs.add(proof(contact(0x91))), "Refused")
    const displaced = proofs.add(proof(contact(0x40)))
    assert.strictEqual(displaced === "Refused" ? displaced : displaced?.contact.id, id(0x90))
    assert.strictEqual(proofs.get(far.contact), far)
    assert.isUndefined(proofs.get({ ...far.contact, port: 2 }))
  })

  it("of one public network make way only for each other", () => {
    const proofs = new Proofs({ self: NodeId.zero, pingBytes, perNetwork: 1 })
    const other = proof(contact(0x80, "9.9.8.1"))
    const first = proof(contact(0x40, "9.9.9.1"))
    for (const one of [other, first]) assert.isUndefined(proofs.add(one))
    assert.strictEqual(proofs.add(proof(contact(0x41, "9.9.9.2"))), "Refused")
    assert.strictEqual(proofs.add(proof(contact(0x01, "9.9.9.3"))), first)
    // The networks of private hosts say nothing about their operator.
    for (const byte of [2, 3]) assert.isUndefined(proofs.add(proof(contact(byte, `10.0.0.${byte}`))))
  })

  it("never exceed their limits, whatever is added and removed", () => {
    const operation = fc.record({
      byte: fc.nat(255),
      network: fc.nat(3),
      hasRoom: fc.boolean(),
      isEnd: fc.boolean()
    })
    fc.assert(fc.property(fc.array(operation, { maxLength: 80 }), (operations) => {
      const proofs = new Proofs({ self: NodeId.zero, pingBytes, capacity: 6, perNetwork: 3 })
      for (const { byte, hasRoom, isEnd, network } of operations) {
        const at = contact(byte, `9.9.${network}.${byte}`)
        const known = proofs.get(at)
        if (known === undefined) proofs.add(proof(at, hasRoom))
        else if (isEnd) assert.isTrue(proofs.delete(known))
        const networks = Array.from(proofs, ({ contact }) => SocketAddress.network(contact.host))
        assert.isAtMost(networks.length, 6)
        assert.strictEqual(proofs.size, networks.length)
        for (const one of networks) assert.isAtMost(networks.filter((other) => other === one).length, 3)
      }
      for (const one of Array.from(proofs)) proofs.delete(one)
      // Nothing of them counts any more.
      for (let byte = 0; byte < 3; byte++) assert.isUndefined(proofs.add(proof(contact(byte, "9.9.9.9"))))
    }))
  })

  const asked = { room: 2 * pingBytes, most: 3, timeout: 500, hasRoom: true }

  it("consist of as many pings as the requests pay for, and at most as many as a live peer needs", () => {
    const proofs = new Proofs({ self: NodeId.zero, pingBytes })
    const one = contact(1)
    const ping = (): Ping => ({ cancel: () => {}, waiting: [], isLate: false })
    assert.strictEqual(proofs.attempt(one, { ...asked, room: pingBytes - 1, now: 0 }).pings, 0)
    const first = proofs.attempt(one, { ...asked, now: 0 })
    const { proof } = first
    if (proof === undefined) return assert.fail("no proof")
    assert.strictEqual(first.pings, 2)
    proofs.pinged(proof, ping(), 2, 0)
    // Another request of the same peer waits for the same proof.
    assert.deepStrictEqual(proofs.attempt(one, { ...asked, now: 499 }), { proof, pings: 0, displaced: undefined })
    assert.deepStrictEqual(proofs.attempt(one, { ...asked, now: 500 }), { proof, pings: 1, displaced: undefined })
    const last = ping()
    proofs.pinged(proof, last, 1, 500)
    assert.deepStrictEqual(proofs.attempt(one, { ...asked, now: 1000 }), { proof, pings: 0, displaced: undefined })
    // Nothing that could be waited for is sent any more.
    proof.delayed(last)
    assert.isUndefined(proofs.attempt(one, { ...asked, now: 1500 }).proof)
  })

  it("that fail are followed by pauses, each twice as long as the one before, at that address only", () => {
    const proofs = new Proofs({ self: NodeId.zero, pingBytes })
    const one = contact(1)
    let now = 0
    for (const pause of [1000, 2000, 4000, 8000]) {
      const { pings, proof } = proofs.attempt(one, { ...asked, now })
      if (proof === undefined) return assert.fail("no proof")
      const ping: Ping = { cancel: () => {}, waiting: [], isLate: false }
      proofs.pinged(proof, ping, pings, now)
      proofs.failed(proof, ping, now)
      assert.isFalse(proofs.mayProve(one, now + pause - 1))
      assert.isUndefined(proofs.attempt(one, { ...asked, now: now + pause - 1 }).proof)
      assert.isTrue(proofs.mayProve({ ...one, port: 2 }, now))
      now += pause
    }
  })

  it("begin at most as often in a second as there may be at the same time", () => {
    const proofs = new Proofs({ self: NodeId.zero, pingBytes, capacity: 5 })
    // Each is closer than the one before, so it gives way.
    const begun = (now: number) =>
      Array.from({ length: 20 }, (_, i) => proofs.attempt(contact(0xff - i), { ...asked, now }))
        .filter(({ proof }) => proof !== undefined).length
    assert.strictEqual(begun(0), 5)
    assert.strictEqual(begun(999), 0)
    assert.isAbove(begun(1000), 0)
  })
})

describe("nodes that have each other prove their addresses", () => {
  interface Request {
    readonly at: number
    readonly from: number
    readonly to: number
  }

  interface World {
    /** Milliseconds from one node to another. */
    readonly latency: (from: number, to: number) => number
    readonly requests: ReadonlyArray<Request>
  }

  /** What a ping waits for its response, and the time between its repetitions. */
  const deadline = 3000
  const timeout = 500
  const most = 3
  const count = 4

  /** Number of proof pings that requests cause, all of which are pings themselves; counts no further than `limit`. */
  const proofPings = ({ latency, requests }: World, limit: number, make: typeof Proofs = Proofs): number => {
    const nodes = Array.from({ length: count }, (_, i) => ({
      proofs: new make({ self: id(i), pingBytes }),
      proved: new Set<number>()
    }))
    const events: Array<{ readonly at: number; readonly run: (now: number) => void }> = []
    const schedule = (at: number, run: (now: number) => void) => void events.push({ at, run })
    let pings = 0
    /** `answered` is called with the time of the response. */
    const send = (from: number, to: number, now: number, answered: (now: number) => void) =>
      schedule(now + latency(from, to), (now) => {
        schedule(now + latency(to, from), answered)
        requested(to, from, now)
      })
    const requested = (at: number, from: number, now: number) => {
      const { proofs, proved } = nodes[at]
      if (proved.has(from)) return
      const requester = contact(from)
      const room = proofs.earn(requester, 2 * pingBytes)
      const attempt = proofs.attempt(requester, { room, most, timeout, hasRoom: true, now })
      const { proof } = attempt
      attempt.displaced?.end(undefined)
      if (proof === undefined || attempt.pings === 0) return
      const ping: Ping = { cancel: () => {}, waiting: [], isLate: false }
      proofs.pinged(proof, ping, attempt.pings, now)
      pings += attempt.pings
      for (let i = 0; i < attempt.pings; i++) {
        send(at, from, now + i * timeout, (answeredAt) => {
          if (answeredAt > now + deadline) return
          proved.add(from)
          proofs.succeeded(proof, ping)
        })
      }
      schedule(now + deadline, (now) => {
        if (!proved.has(from)) proofs.failed(proof, ping, now)
      })
    }
    for (const { at, from, to } of requests) schedule(at, (now) => send(from, to, now, () => {}))
    while (events.length > 0) {
      if (pings > limit) break
      const next = events.reduce((first, event, i) => event.at < events[first].at ? i : first, 0)
      const [{ at, run }] = events.splice(next, 1)
      run(at)
    }
    return pings
  }

  /** Twice, once for each side, a proof for each pause that is shorter than the longest round trip below. */
  const perRequest = 2 * 9 * most

  const worlds: fc.Arbitrary<World> = fc.record({
    requests: fc.array(
      fc.record({ at: fc.nat(600_000), from: fc.nat(count - 1), to: fc.nat(count - 1) }),
      { minLength: 1, maxLength: 12 }
    ),
    latencies: fc.array(fc.oneof(fc.nat(200), fc.nat(10_000), fc.nat(120_000)), {
      minLength: count * count,
      maxLength: count * count
    })
  }).map(({ latencies, requests }) => ({
    latency: (from, to) => latencies[from * count + to],
    requests: requests.filter(({ from, to }) => from !== to)
  }))

  it("send few pings for each request that another reason began, whatever the latencies", () => {
    fc.assert(fc.property(worlds, (world) => {
      const limit = perRequest * world.requests.length
      assert.isAtMost(proofPings(world, limit), limit)
    }))
  })

  it("would go on for ever without the pauses", () => {
    class Restless extends Proofs {
      override mayProve(): boolean {
        return true
      }
    }
    const world: World = { latency: () => 10_000, requests: [{ at: 0, from: 0, to: 1 }] }
    assert.isAtMost(proofPings(world, perRequest), perRequest)
    assert.isAbove(proofPings(world, 10 * perRequest, Restless), 10 * perRequest)
  })
})
