import { assert, describe, it } from "@effect/vitest"
import * as fc from "fast-check"
import type { Contact } from "../../src/Contact.ts"
import * as Core from "../../src/core/rendezvous.ts"
import * as network from "../utils/network.ts"

const start = 1_700_000_000_000

const contact = (n: number, host = network.socketOf(n).host): Contact => {
  const { address, nodeId: id } = network.identity(`contact ${n}`)
  return { id, address, host, port: 4121 }
}
const [ann, ben] = [contact(1), contact(2)]

describe("a node in the middle", () => {
  it("tells only nodes that attended at it within two and a half minutes", () => {
    const attendants = new Core.Attendants()
    const meet = (now: number) => attendants.introduce(ann, "Unknown", ben.id, now)
    assert.deepStrictEqual(meet(start), { _tag: "Unknown" })
    attendants.attends(ben, "EndpointDependent", start)
    const introduced = { _tag: "Introduced", callee: ben, mapping: "EndpointDependent" } as const
    assert.deepStrictEqual(meet(start), introduced)
    assert.deepStrictEqual(meet(start + 150_000), introduced)
    assert.deepStrictEqual(meet(start + 150_001), { _tag: "Unknown" })
    assert.isUndefined(attendants.get(ben.id, start + 150_001))
  })

  it("tells an attendant where it attended from last", () => {
    const attendants = new Core.Attendants()
    attendants.attends(ben, "Unknown", start)
    const moved = { ...ben, port: 5000 }
    attendants.attends(moved, "Unknown", start)
    assert.deepStrictEqual(attendants.introduce(ann, "Unknown", ben.id, start), {
      _tag: "Introduced",
      callee: moved,
      mapping: "Unknown"
    })
  })

  it("refuses two nodes whose routers use a different port for each peer", () => {
    const attendants = new Core.Attendants()
    attendants.attends(ben, "EndpointDependent", start)
    const meet = (mapping: "EndpointDependent" | "EndpointIndependent") =>
      attendants.introduce(ann, mapping, ben.id, start)._tag
    assert.strictEqual(meet("EndpointDependent"), "BothSymmetric")
    assert.strictEqual(meet("EndpointIndependent"), "Introduced")
  })

  it("serves at most forty requests of one IP in ten seconds", () => {
    const attendants = new Core.Attendants()
    const callees = Array.from({ length: 41 }, (_, n) => contact(10 + n))
    for (const callee of callees) attendants.attends(callee, "Unknown", start)
    const outcomes = callees.map(({ id }) => attendants.introduce(ann, "Unknown", id, start)._tag)
    assert.deepStrictEqual(outcomes, [...Array(40).fill("Introduced"), "Busy"])
    const other = { ...ann, host: "9.200.0.1" }
    assert.strictEqual(attendants.introduce(other, "Unknown", callees[0].id, start)._tag, "Introduced")
    assert.strictEqual(attendants.introduce(ann, "Unknown", callees[0].id, start + 10_000)._tag, "Introduced")
  })

  it("tells one attendant of at most ten requests of one source in ten seconds, and of others besides", () => {
    const attendants = new Core.Attendants()
    for (const callee of [ben, contact(3)]) attendants.attends(callee, "Unknown", start)
    const introduce = (host: string, callee = ben) =>
      attendants.introduce({ ...ann, host }, "Unknown", callee.id, start)._tag
    const outcomes = Array.from({ length: 11 }, () => introduce(ann.host))
    assert.deepStrictEqual(outcomes, [...Array(10).fill("Introduced"), "Busy"])
    assert.strictEqual(introduce("9.200.0.1"), "Introduced")
    assert.strictEqual(introduce(ann.host, contact(3)), "Introduced")
  })

  it("takes the IPv6 addresses of one network for one source", () => {
    const attendants = new Core.Attendants()
    const dora = { ...ben, host: "2600:2::1" }
    attendants.attends(dora, "Unknown", start)
    const from = (n: number) => ({ host: `2600:1:1:${n.toString(16)}::1`, port: 4121 })
    const outcomes = Array.from({ length: 11 }, (_, n) => attendants.introduce(from(n), "Unknown", ben.id, start)._tag)
    assert.deepStrictEqual(outcomes, [...Array(10).fill("Introduced"), "Busy"])
  })

  it("tells one attendant of at most forty requests in ten seconds, from any number of senders", () => {
    const attendants = new Core.Attendants()
    const callees = [ben, contact(3)]
    for (const callee of callees) attendants.attends(callee, "Unknown", start)
    const from = (n: number) => ({ ...ann, host: `9.200.0.${n}` })
    const outcomes = Array.from({ length: 41 }, (_, n) => attendants.introduce(from(n), "Unknown", ben.id, start)._tag)
    assert.deepStrictEqual(outcomes, [...Array(40).fill("Introduced"), "Busy"])
    assert.strictEqual(attendants.introduce(from(50), "Unknown", callees[1].id, start)._tag, "Introduced")
  })

  it("counts nothing of a requester whose address may be forged", () => {
    const attendants = new Core.Attendants()
    attendants.attends(ben, "Unknown", start)
    for (let n = 0; n < 100; n++) assert.strictEqual(attendants.find(ann, "Unknown", ben.id, start)._tag, "Introduced")
    assert.strictEqual(attendants.introduce(ann, "Unknown", ben.id, start)._tag, "Introduced")
  })

  it("names no node to one that cannot use its address: of another family, or of a network that only one is in", () => {
    const attendants = new Core.Attendants()
    const hosts = ["9.1.1.1", "192.168.1.2", "127.0.0.1", "2a00::1"]
    for (const callee of hosts) {
      attendants.attends({ ...ben, host: callee }, "Unknown", start)
      for (const host of hosts) {
        const isTold = attendants.introduce({ host, port: 4121 }, "Unknown", ben.id, start)._tag === "Introduced"
        assert.strictEqual(isTold, host === callee, `${callee} to ${host}`)
      }
    }
  })

  it("has at most 1024 attendants, and takes at most 32 new ones of a network in a minute", () => {
    const attendants = new Core.Attendants()
    const ofOne = Array.from({ length: 40 }, (_, n) => attendants.attends(contact(n, `9.99.0.${n}`), "Unknown", start))
    assert.strictEqual(ofOne.filter(Boolean).length, 32)
    assert.isTrue(attendants.attends(contact(0, "9.99.0.0"), "Unknown", start))
    for (let n = 0; n < 1100; n++) {
      const { address, host, port } = contact(0, `9.${n >> 8}.${n & 255}.1`)
      attendants.attends(
        { address, host, port, id: contact(0).id.slice(4) + n.toString(16).padStart(4, "0") as never },
        "Unknown",
        start
      )
    }
    assert.strictEqual(attendants.size, 1024)
  })
})

describe("a meeting", () => {
  const make = (rttMillis = 0) => new Core.Meeting({ startedAt: start, middles: 2, rttMillis })

  it("asks the nodes in the middle at once, and pings an address as soon as it is told", () => {
    const meeting = make()
    assert.deepStrictEqual(meeting.next(start), { _tag: "Round", addresses: [] })
    assert.strictEqual(meeting.next(start)._tag, "Wait")
    meeting.isAt(ben)
    assert.deepStrictEqual(meeting.next(start + 100), { _tag: "Ping", address: ben })
    assert.strictEqual(meeting.next(start + 100)._tag, "Wait")
  })

  it("asks and pings again in each of four rounds, and fails within a second", () => {
    const meeting = make()
    meeting.isAt(ben)
    let now = start
    let rounds = 0
    while (true) {
      const step = meeting.next(now)
      if (step._tag === "Failed") {
        assert.strictEqual(step.reason, "NothingCameThrough")
        break
      }
      if (step._tag === "Round") {
        rounds++
        assert.deepStrictEqual(step.addresses, [ben])
      }
      if (step._tag === "Wait") now = step.until
    }
    assert.strictEqual(rounds, 4)
    assert.isAtMost(now - start, 1000)
  })

  it("ends at once if all nodes in the middle refuse, for the reason that says the most", () => {
    const meeting = make()
    meeting.next(start)
    meeting.refused(ann.id, "Unknown")
    assert.strictEqual(meeting.next(start)._tag, "Wait")
    meeting.refused(ben.id, "BothSymmetric")
    assert.deepStrictEqual(meeting.next(start), { _tag: "Failed", reason: "BothSymmetric" })
  })

  it("goes on in spite of refusals once one node in the middle knows the other, or it is heard from", () => {
    const meeting = make()
    meeting.next(start)
    meeting.isAt(contact(3))
    meeting.next(start)
    for (const { id } of [ann, ben]) meeting.refused(id, "Busy")
    assert.strictEqual(meeting.next(start)._tag, "Wait")
  })

  it("ends, whatever it is told, after at most four rounds and four addresses", () => {
    const event = fc.oneof(
      fc.record({ _tag: fc.constant("isAt"), n: fc.nat({ max: 9 }) }),
      fc.record({ _tag: fc.constant("refused"), n: fc.nat({ max: 3 }) }),
      fc.record({ _tag: fc.constant("passed"), millis: fc.nat({ max: 500 }) })
    )
    fc.assert(fc.property(fc.array(event, { maxLength: 60 }), fc.nat({ max: 2000 }), (events, rttMillis) => {
      const meeting = make(rttMillis)
      let now = start
      let rounds = 0
      let pings = 0
      const step = () => {
        const step = meeting.next(now)
        if (step._tag === "Round") rounds++
        if (step._tag === "Ping") pings++
        return step
      }
      for (const event of events) {
        if (event._tag === "isAt") meeting.isAt(contact(event.n))
        else if (event._tag === "refused") meeting.refused(contact(event.n).id, "Unknown")
        else now += event.millis
        step()
      }
      for (let i = 0; i < 20; i++) {
        const next = step()
        if (next._tag === "Wait") now = next.until
        if (next._tag !== "Failed") continue
        assert.isAtMost(rounds, 4)
        assert.isAtMost(pings, 4)
        return
      }
      assert.fail("it never ends")
    }))
  })
})
