import { assert, describe, it } from "@effect/vitest"
import * as fc from "fast-check"
import type { Address } from "../../src/Address.ts"
import type { Contact } from "../../src/Contact.ts"
import { RoutingTable } from "../../src/core/routingTable.ts"
import { heartbeatLimits } from "../../src/core/tableMaintenance.ts"
import * as NodeId from "../../src/NodeId.ts"

// Small worlds: ids of 8 bits, either as the first byte of an id or as its
// last, so that both ends of the table are covered.
type World = (byte: number) => NodeId.NodeId
const shallow: World = (byte) => (byte.toString(16).padStart(2, "0") + "0".repeat(62)) as NodeId.NodeId
const deep: World = (byte) => ("5".repeat(62) + byte.toString(16).padStart(2, "0")) as NodeId.NodeId
const worlds: ReadonlyArray<World> = [shallow, deep]

const self = shallow(0)
const minute = 60_000
const start = 1_700_000_000_000

const contact = (id: NodeId.NodeId, host = "10.0.0.1"): Contact => ({
  id,
  address: id.slice(0, 42) as Address,
  host,
  port: 4001
})

/** Ids in bucket 0 of `self`: those whose first bit is set. */
const inBucket0 = (i: number) => shallow(0x80 + i)

const tableOf = (ids: ReadonlyArray<NodeId.NodeId>, options?: { readonly k?: number; readonly verified?: boolean }) => {
  const table = new RoutingTable({ self, k: options?.k ?? 16 })
  for (const id of ids) table.add(contact(id), options?.verified === false ? undefined : start, start)
  return table
}

const ids = (contacts: ReadonlyArray<Contact>) => contacts.map((one) => one.id)

const byDistance = (target: NodeId.NodeId) => (a: Contact, b: Contact) =>
  NodeId.distance(a.id, target) < NodeId.distance(b.id, target) ? -1 : 1

const periods = { fresh: 30 * minute, stale: 10 * minute, quiet: 25 * minute }
const unlimited = { pendingProbes: Infinity, spareFull: false, staleProbes: Infinity, refills: Infinity }

// --- Arbitrary histories -------------------------------------------------------

type Op =
  | { readonly op: "add"; readonly byte: number; readonly direct: boolean; readonly host: string }
  | { readonly op: "probed"; readonly byte: number; readonly alive: boolean }
  | { readonly op: "pendingVerified" | "pendingFailed" | "updateVerifiedAt" | "remove"; readonly byte: number }
  | { readonly op: "maintenance" }
  | { readonly op: "wait"; readonly millis: number }

// A few ids occur again and again, so that their buckets fill and empty.
const byteArb = fc.oneof(
  fc.integer({ min: 0, max: 255 }),
  { weight: 3, arbitrary: fc.constantFrom(0, 1, 2, 3, 8, 0x40, 0x80, 0x81, 0x82, 0x83, 0xc0, 0xc1) }
)
const opArb: fc.Arbitrary<Op> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      op: fc.constant("add" as const),
      byte: byteArb,
      direct: fc.boolean(),
      host: fc.constantFrom("10.0.0.1", "10.0.0.2", "10.0.0.3")
    })
  },
  { weight: 2, arbitrary: fc.record({ op: fc.constant("probed" as const), byte: byteArb, alive: fc.boolean() }) },
  {
    weight: 2,
    arbitrary: fc.record({
      op: fc.constantFrom("pendingVerified" as const, "pendingFailed" as const, "updateVerifiedAt" as const, "remove"),
      byte: byteArb
    })
  },
  { weight: 1, arbitrary: fc.record({ op: fc.constant("maintenance" as const) }) },
  {
    weight: 2,
    arbitrary: fc.record({ op: fc.constant("wait" as const), millis: fc.integer({ min: 0, max: 90 * minute }) })
  }
)

const historyArb = fc.record({
  world: fc.constantFrom(...worlds),
  selfByte: byteArb,
  k: fc.integer({ min: 1, max: 4 }),
  ops: fc.array(opArb, { maxLength: 120 })
})

/** Runs a history and calls `check` around each operation. */
const replay = (
  history: {
    readonly world: World
    readonly selfByte: number
    readonly k: number
    readonly ops: ReadonlyArray<Op>
  },
  check: (table: RoutingTable, step: () => void, op: Op, now: number) => void
): { readonly table: RoutingTable; readonly now: number } => {
  const { k, ops, selfByte, world } = history
  const table = new RoutingTable({ self: world(selfByte), k })
  let now = start
  for (const op of ops) {
    if (op.op === "wait") now += op.millis
    const step = () => {
      switch (op.op) {
        case "add":
          return void table.add(contact(world(op.byte), op.host), op.direct ? now : undefined, now)
        case "probed": {
          // Mostly of the probed peer, if there is one.
          const oldest = table.oldestInBucket(NodeId.bucketIndex(table.self, world(op.byte)))
          return table.probed(oldest?.id ?? world(op.byte), op.alive, now)
        }
        case "pendingVerified":
          return void table.pendingVerified(world(op.byte), now, now)
        case "pendingFailed":
          return table.pendingFailed(world(op.byte))
        case "updateVerifiedAt":
          return table.updateVerifiedAt(world(op.byte), now)
        case "remove":
          return table.remove(world(op.byte))
        case "maintenance":
          return void table.maintenance.work(now, now - 30 * minute, now - 30 * minute, heartbeatLimits)
        case "wait":
          return
      }
    }
    check(table, step, op, now)
  }
  return { table, now }
}

const run = (_: RoutingTable, step: () => void) => step()

const allContacts = (table: RoutingTable) => table.entries().map((entry) => entry.contact)

describe("RoutingTable", () => {
  describe("add", () => {
    it("refuses the node's own id and malformed ids", () => {
      const table = new RoutingTable({ self })
      assert.deepStrictEqual(table.add(contact(self), start, start), { _tag: "Refused", reason: "OwnId" })
      for (const id of ["", "ab", "g".repeat(64), "A".repeat(64), "0".repeat(65)] as Array<NodeId.NodeId>) {
        assert.deepStrictEqual(table.add(contact(id), start, start), { _tag: "Refused", reason: "MalformedId" })
      }
      assert.strictEqual(table.size, 0)
    })

    it("keeps the referrer of a contact and the times when it was added and heard from", () => {
      const table = new RoutingTable({ self })
      table.add(contact(inBucket0(1)), undefined, start, inBucket0(2))
      table.add(contact(inBucket0(2)), start, start + 1)
      assert.deepStrictEqual(table.entries(), [
        {
          bucket: 0,
          contact: contact(inBucket0(1)),
          verifiedAt: undefined,
          addedAt: start,
          learnedFrom: inBucket0(2)
        },
        { bucket: 0, contact: contact(inBucket0(2)), verifiedAt: start, addedAt: start + 1, learnedFrom: undefined }
      ])
    })

    it("moves a contact that is reported again to the most recent position", () => {
      const table = tableOf([inBucket0(1), inBucket0(2), inBucket0(3)])
      assert.deepStrictEqual(table.add(contact(inBucket0(1)), undefined, start), { _tag: "Updated" })
      assert.deepStrictEqual(ids(allContacts(table)), [inBucket0(2), inBucket0(3), inBucket0(1)])
    })

    it("raises the time of the last direct contact, and never lowers it", () => {
      const table = tableOf([inBucket0(1)])
      table.add(contact(inBucket0(1)), start + 5, start + 5)
      table.add(contact(inBucket0(1)), start + 3, start + 6)
      table.updateVerifiedAt(inBucket0(1), start + 4)
      assert.strictEqual(table.entry(inBucket0(1))?.verifiedAt, start + 5)
    })

    it("changes host and port after direct contact", () => {
      const table = tableOf([inBucket0(1)])
      table.add({ ...contact(inBucket0(1)), port: 4002 }, start, start)
      assert.strictEqual(table.get(inBucket0(1))?.port, 4002)
      table.add(contact(inBucket0(1), "10.0.0.2"), start, start)
      assert.strictEqual(table.get(inBucket0(1))?.host, "10.0.0.2")
    })
  })

  it("tells verified contacts from others", () => {
    const table = new RoutingTable({ self })
    table.add(contact(inBucket0(1)), undefined, start)
    table.add(contact(inBucket0(2)), start, start)
    assert.isUndefined(table.verified(inBucket0(1)))
    assert.deepStrictEqual(table.verified(inBucket0(2)), contact(inBucket0(2)))
    assert.isUndefined(table.verified(inBucket0(3)))
  })

  it("wants contacts that are elsewhere, half of each bucket, and all peers that it may be one of the closest to", () => {
    const table = tableOf([1, 2].map(inBucket0), { k: 4 })
    const [unverified, unknown] = [contact(inBucket0(3)), contact(inBucket0(4))]
    table.add(unverified, undefined, start)
    const wanted = (...peers: ReadonlyArray<Contact>) => peers.map((peer) => table.isWanted(peer, start, start - 1))
    // The network may be that small.
    assert.deepStrictEqual(wanted(unverified, unknown), [true, true])
    for (const byte of [0x40, 0x41, 0x20, 0x21, 0x10, 0x11, 8, 9]) table.add(contact(shallow(byte)), start, start)
    assert.deepStrictEqual(wanted(unverified, unknown), [false, false])
    assert.deepStrictEqual(wanted(contact(inBucket0(1)), contact(shallow(4)), contact(shallow(10))), [true, true, true])
    // Those in this bucket have been silent since.
    assert.isTrue(table.isWanted(unknown, start, start))
  })

  describe("a full bucket", () => {
    const full = () => tableOf([inBucket0(1), inBucket0(2)], { k: 2 })
    const newcomer = contact(inBucket0(9))

    it("queues at most five unverified contacts, and drops the oldest first", () => {
      const table = full()
      for (const i of [3, 4, 5, 6, 7, 8]) {
        assert.deepStrictEqual(table.add(contact(inBucket0(i)), undefined, start), { _tag: "Queued" })
      }
      table.add(contact(inBucket0(4)), undefined, start)
      const { pendingToProbe } = table.maintenance.work(start, 0, 0, unlimited)
      assert.deepStrictEqual(ids(pendingToProbe), [4, 5, 6, 7, 8].map(inBucket0))
      assert.strictEqual(table.pendingLength(0), 5)
      assert.strictEqual(table.size, 2)
    })

    it("requests a probe of the oldest when a new peer makes direct contact", () => {
      assert.deepStrictEqual(full().add(newcomer, start, start), { _tag: "Probe", oldest: contact(inBucket0(1)) })
    })

    it("refuses the newcomer when the oldest proves alive", () => {
      const table = full()
      table.add(newcomer, start, start)
      table.probed(inBucket0(1), true, start)
      assert.deepStrictEqual(ids(allContacts(table)), [1, 2].map(inBucket0))
    })

    it("inserts the newcomer when the oldest is silent", () => {
      const table = full()
      table.add(newcomer, start, start)
      table.probed(inBucket0(1), false, start + 3000)
      assert.deepStrictEqual(ids(allContacts(table)), [2, 9].map(inBucket0))
      assert.strictEqual(table.entry(newcomer.id)?.verifiedAt, start)
    })

    it("keeps a peer that made contact during its probe, whatever the outcome", () => {
      const table = full()
      table.add(newcomer, start, start)
      table.add(contact(inBucket0(1)), start + 1, start + 1)
      table.probed(inBucket0(1), false, start + 3000)
      assert.deepStrictEqual(ids(allContacts(table)), [2, 1].map(inBucket0))
    })

    it("does not count a report about a probed peer as contact", () => {
      const table = full()
      table.add(newcomer, start, start)
      table.add(contact(inBucket0(1)), undefined, start + 1)
      table.probed(inBucket0(1), false, start + 3000)
      assert.deepStrictEqual(ids(allContacts(table)), [2, 9].map(inBucket0))
    })

    it("refuses further newcomers while a probe is in flight, and inserts the one that caused it", () => {
      const table = full()
      table.add(newcomer, start, start)
      assert.deepStrictEqual(table.add(contact(inBucket0(10)), start, start), {
        _tag: "Refused",
        reason: "BucketFull"
      })
      table.probed(inBucket0(1), false, start)
      assert.isTrue(table.contains(newcomer.id))
      assert.isFalse(table.contains(inBucket0(10)))
    })

    it("requests the next probe at once after a silent peer, and five minutes after a live one", () => {
      const table = full()
      table.add(newcomer, start, start)
      table.probed(inBucket0(1), false, start)
      assert.strictEqual(table.add(contact(inBucket0(10)), start, start)._tag, "Probe")
      table.probed(inBucket0(2), true, start)
      assert.strictEqual(table.add(contact(inBucket0(10)), start, start + 299_999)._tag, "Refused")
      assert.strictEqual(table.add(contact(inBucket0(10)), start, start + 300_000)._tag, "Probe")
    })

    it("wants a newcomer only if one of its contacts is silent and no probe is in flight", () => {
      const table = full()
      assert.isFalse(table.isWanted(newcomer, start, start - 1))
      assert.isTrue(table.isWanted(newcomer, start, start))
      table.add(newcomer, start, start)
      assert.isFalse(table.isWanted(newcomer, start, start))
      table.remove(inBucket0(1))
      assert.isTrue(table.isWanted(newcomer, start, start))
    })

    it("expires a probe without an outcome after 30 seconds", () => {
      const table = full()
      table.add(newcomer, start, start)
      assert.strictEqual(table.add(contact(inBucket0(10)), start, start + 29_999)._tag, "Refused")
      assert.strictEqual(table.add(contact(inBucket0(10)), start, start + 30_000)._tag, "Probe")
      table.probed(inBucket0(1), false, start + 30_000)
      assert.deepStrictEqual(ids(allContacts(table)), [2, 10].map(inBucket0))
    })

    it("ignores the outcome of a probe that it did not request", () => {
      const table = full()
      table.probed(inBucket0(1), false, start)
      table.add(newcomer, start, start)
      table.probed(inBucket0(2), false, start)
      table.probed(self, false, start)
      assert.deepStrictEqual(ids(allContacts(table)), [1, 2].map(inBucket0))
    })

    it("never holds a newcomer twice that was inserted while its probe was in flight", () => {
      const table = full()
      table.add(newcomer, start, start)
      table.remove(inBucket0(2))
      table.add(newcomer, start, start)
      table.probed(inBucket0(1), false, start)
      assert.deepStrictEqual(ids(allContacts(table)), [newcomer.id])
    })

    it("refuses the newcomer when the place of the probed peer was taken during the probe", () => {
      const table = full()
      table.add(newcomer, start, start)
      table.remove(inBucket0(1))
      table.add(contact(inBucket0(10)), start, start)
      table.probed(inBucket0(1), false, start)
      assert.deepStrictEqual(ids(allContacts(table)), [2, 10].map(inBucket0))
    })

    it("keeps a peer that was removed and added again during its probe", () => {
      const table = full()
      table.add(newcomer, start, start)
      table.remove(inBucket0(1))
      table.add(contact(inBucket0(1)), start, start)
      table.probed(inBucket0(1), false, start)
      assert.deepStrictEqual(ids(allContacts(table)), [2, 1].map(inBucket0))
    })

    it("inserts the newcomer when the probed peer was removed during the probe", () => {
      const table = full()
      table.add(newcomer, start, start)
      table.remove(inBucket0(1))
      table.probed(inBucket0(1), false, start)
      assert.deepStrictEqual(ids(allContacts(table)), [2, 9].map(inBucket0))
    })
  })

  describe("pending contacts", () => {
    const waiting = () => {
      const table = tableOf([inBucket0(1), inBucket0(2)], { k: 2 })
      table.add(contact(inBucket0(3)), undefined, start, inBucket0(1))
      return table
    }

    it("are inserted when they answer and there is room", () => {
      const table = waiting()
      table.remove(inBucket0(1))
      assert.deepStrictEqual(table.pendingVerified(inBucket0(3), start + 1, start + 1), { _tag: "Inserted" })
      assert.strictEqual(table.entry(inBucket0(3))?.verifiedAt, start + 1)
      assert.strictEqual(table.entries()[1]?.learnedFrom, inBucket0(1))
      assert.strictEqual(table.pendingLength(0), 0)
    })

    it("cause a probe of the oldest when they answer and there is no room", () => {
      const table = waiting()
      assert.deepStrictEqual(table.pendingVerified(inBucket0(3), start, start), {
        _tag: "Probe",
        oldest: contact(inBucket0(1))
      })
      table.probed(inBucket0(1), false, start)
      assert.deepStrictEqual(ids(allContacts(table)), [2, 3].map(inBucket0))
    })

    it("stay pending when they are removed from the table, which does not contain them", () => {
      const table = waiting()
      table.remove(inBucket0(3))
      assert.strictEqual(table.pendingLength(0), 1)
    })

    it("are not inserted, like any other contact, if the table does not admit them", () => {
      const table = waiting()
      table.admits = ({ id }) => id !== inBucket0(3)
      assert.deepStrictEqual(table.add(contact(inBucket0(3)), start, start), {
        _tag: "Refused",
        reason: "NotAdmitted"
      })
      table.admits = () => true
      assert.strictEqual(table.add(contact(inBucket0(4)), start, start)._tag, "Probe")
      table.admits = ({ id }) => id !== inBucket0(4)
      table.probed(inBucket0(1), false, start)
      assert.isFalse(table.contains(inBucket0(4)))
    })

    it("are dropped when they are silent, forgotten, or inserted", () => {
      const silent = waiting()
      silent.pendingFailed(inBucket0(3))
      assert.strictEqual(silent.pendingLength(0), 0)
      const forgotten = waiting()
      forgotten.forget(inBucket0(3))
      assert.strictEqual(forgotten.pendingLength(0), 0)
      const inTable = waiting()
      inTable.remove(inBucket0(1))
      inTable.add(contact(inBucket0(3)), undefined, start)
      assert.strictEqual(inTable.pendingLength(0), 0)
    })

    it("are refused under an id that is not pending", () => {
      const table = waiting()
      for (const id of [inBucket0(1), inBucket0(4), shallow(1), self]) {
        assert.deepStrictEqual(table.pendingVerified(id, start, start), { _tag: "Refused", reason: "NotPending" })
      }
    })

    it("are not probed by a heartbeat while the whole bucket is fresh, and do not use up the limit of probes", () => {
      const table = tableOf([1, 2].map(inBucket0), { k: 2 })
      for (const n of [3, 4, 5, 6, 7]) table.add(contact(inBucket0(n)), undefined, start)
      for (const n of [0x40, 0x41]) table.add(contact(shallow(n)), start, start)
      table.add(contact(shallow(0x42)), undefined, start)
      const pending = () => ids(table.maintenance.work(start, start - 1, 0, heartbeatLimits).pendingToProbe)
      assert.deepStrictEqual(pending(), [])
      table.remove(shallow(0x40))
      table.add(contact(shallow(0x43)), start - 1, start)
      table.add(contact(shallow(0x41)), start, start)
      assert.deepStrictEqual(pending(), [shallow(0x42)])
    })

    it("are probed by a heartbeat only for places: free ones, and those of contacts that a full bucket should replace", () => {
      const table = tableOf(Array.from({ length: 16 }, (_, i) => inBucket0(i + 1)))
      for (let i = 1; i <= 10; i++) table.add(contact(inBucket0(i)), start + 1, start + 1)
      for (const n of [17, 18, 19, 20, 21]) table.add(contact(inBucket0(n)), undefined, start)
      const pending = () => ids(table.maintenance.work(start + 1, start, 0, heartbeatLimits).pendingToProbe)
      assert.deepStrictEqual(pending(), [])
      // Nine of sixteen are fresh, so another fresh one is wanted.
      table.remove(inBucket0(1))
      table.add(contact(inBucket0(30)), start, start)
      assert.deepStrictEqual(pending(), [17].map(inBucket0))
      // Two places are free.
      for (const n of [15, 16]) table.remove(inBucket0(n))
      assert.deepStrictEqual(pending(), [17, 18].map(inBucket0))
    })

    it("are forgotten after two hours", () => {
      const table = waiting()
      assert.lengthOf(table.maintenance.work(start + 120 * minute, 0, 0, unlimited).pendingToProbe, 1)
      assert.lengthOf(table.maintenance.work(start + 120 * minute + 1, 0, 0, unlimited).pendingToProbe, 0)
      assert.strictEqual(table.pendingLength(0), 0)
    })
  })

  describe("answer", () => {
    const now = start + 60 * minute
    const noneBad = () => false
    const isFirst = (id: NodeId.NodeId) => id === inBucket0(1)
    const target = inBucket0(0)

    it("prefers peers heard from within half an hour to closer ones", () => {
      const table = tableOf([1, 2].map(inBucket0), { k: 4 })
      table.add(contact(inBucket0(8)), now - 30 * minute + 1, now)
      table.add(contact(inBucket0(4)), now - 30 * minute, now)
      assert.deepStrictEqual(ids(table.answer(target, 16, now, noneBad)), [8, 1, 2, 4].map(inBucket0))
    })

    it("omits unverified contacts and bad peers while half a bucket remains", () => {
      const table = tableOf([1, 2, 3].map(inBucket0), { k: 4 })
      table.add(contact(shallow(1)), undefined, start)
      assert.deepStrictEqual(ids(table.answer(target, 16, now, isFirst)), [2, 3].map(inBucket0))
    })

    it("fills up a short response with bad peers, and never with unverified contacts", () => {
      const table = tableOf([1, 2, 3].map(inBucket0), { k: 8 })
      for (const i of [4, 5, 6]) table.add(contact(inBucket0(i)), undefined, start)
      assert.deepStrictEqual(ids(table.answer(target, 16, now, isFirst)), [2, 3, 1].map(inBucket0))
      assert.deepStrictEqual(ids(table.answer(target, 2, now, isFirst)), [2, 3].map(inBucket0))
    })
  })

  describe("statistics", () => {
    it("estimates the network size from the density of the deepest buckets", () => {
      const table = tableOf([0x80, 0x81, 0x40, 0x20, 0x21, 0x22].map(shallow))
      // 2 · 2, 1 · 4 and 3 · 8.
      assert.deepStrictEqual(table.networkSize.ofContacts(start - 1), { size: 4, confidence: 0.6 })
      assert.deepStrictEqual(table.networkSize.ofContacts(start), { size: 0, confidence: 0 })
      assert.strictEqual(table.networkSize.ofAllContacts(), 4)
    })

    it("falls back to the deepest bucket when no contact was heard from", () => {
      assert.strictEqual(tableOf([]).networkSize.ofAllContacts(), 0)
      assert.strictEqual(tableOf([0x80, 0x20, 0x21].map(shallow), { verified: false }).networkSize.ofAllContacts(), 16)
    })

    it("counts the contacts heard from after a time", () => {
      const table = tableOf([1, 2].map(inBucket0))
      table.add(contact(inBucket0(3)), undefined, start)
      table.add(contact(inBucket0(1)), start + 1, start + 1)
      assert.strictEqual(table.countVerified(start - 1), 2)
      assert.strictEqual(table.countVerified(start), 1)
    })
  })

  describe("maintenance", () => {
    const work = (table: RoutingTable, now: number, limits = unlimited) =>
      table.maintenance.work(now, now - 30 * minute, now - 30 * minute, limits)

    it("probes stale unverified contacts and no others", () => {
      const table = tableOf([1, 2].map(inBucket0), { verified: false })
      table.add(contact(inBucket0(2)), start + 1, start + 1)
      assert.deepStrictEqual(ids(work(table, start + 30 * minute).staleToProbe), [])
      assert.deepStrictEqual(ids(work(table, start + 30 * minute + 1).staleToProbe), [inBucket0(1)])
    })

    it("refills a thin bucket after pauses that grow while the refills are futile", () => {
      const table = tableOf([inBucket0(1)])
      let now = start
      assert.deepStrictEqual(work(table, now).bucketsToRefill, [0])
      for (
        const [improved, pause] of [
          [true, 0.5],
          [false, 2],
          [false, 10],
          [false, 15],
          [false, 15],
          [true, 0.5]
        ] as const
      ) {
        table.maintenance.recordRefill(0, improved)
        assert.deepStrictEqual(work(table, now + pause * minute - 1).bucketsToRefill, [])
        now += pause * minute
        assert.deepStrictEqual(work(table, now).bucketsToRefill, [0])
      }
    })

    it("forgets futile refills once the bucket is healthy", () => {
      const table = tableOf([1, 2].map(inBucket0), { k: 4 })
      assert.deepStrictEqual(work(table, start).bucketsToRefill, [])
      table.remove(inBucket0(2))
      assert.deepStrictEqual(work(table, start).bucketsToRefill, [0])
      for (let i = 0; i < 3; i++) table.maintenance.recordRefill(0, false)
      table.add(contact(inBucket0(2)), start, start)
      work(table, start)
      table.remove(inBucket0(2))
      assert.deepStrictEqual(work(table, start + minute / 2).bucketsToRefill, [0])
    })

    it("returns the deepest buckets first, and the others the next time", () => {
      const table = tableOf([0x80, 0x40, 0x20, 0x10].map(shallow))
      assert.deepStrictEqual(work(table, start, heartbeatLimits).bucketsToRefill, [2, 3])
      assert.deepStrictEqual(work(table, start, heartbeatLimits).bucketsToRefill, [0, 1])
      assert.deepStrictEqual(work(table, start, heartbeatLimits).bucketsToRefill, [])
    })

    it("a lookup postpones the refill of only those buckets that it covered completely, and of all if it found the whole network", () => {
      const worldArb = fc.record({
        bytes: fc.uniqueArray(fc.integer({ min: 1, max: 255 }), { minLength: 1, maxLength: 40 }),
        // 8: our own id itself.
        bucket: fc.integer({ min: 0, max: 8 })
      })
      fc.assert(fc.property(worldArb, ({ bucket, bytes }) => {
        const k = 4
        const nodes = bytes.map(shallow)
        const target = bucket === 8 ? self : NodeId.inBucket(self, bucket, new Uint8Array(32))
        const closest = nodes.map((id) => contact(id)).sort(byDistance(target)).slice(0, k)
        const index = bucket === 8 ? NodeId.bits : bucket
        const table = tableOf(nodes, { k: 100 })
        const spared = new RoutingTable({ self, k })
        // One contact in each bucket, so that all need a refill.
        for (const { bucket, contact } of table.entries()) {
          if (spared.bucketLength(bucket) === 0) spared.add(contact, start, start)
        }
        spared.maintenance.lookedUp(index, closest, start)
        const due = work(spared, start).bucketsToRefill
        const brought = new Set(ids(closest))
        for (const at of new Set(table.entries().map(({ bucket }) => bucket))) {
          const isWhole = table.entries().every(({ bucket, contact }) => bucket !== at || brought.has(contact.id))
          // Its own bucket is covered once it found nodes of others too.
          if (!isWhole || at === index && closest.length < k) assert.include(due, at)
          else if (closest.length < k) assert.notInclude(due, at)
        }
      }))
    })

    it("a bucket that a lookup covered completely is not refilled for an hour, unless it was healthy in between", () => {
      const table = tableOf([0x80, 0x40, 0x20, 0x10].map(shallow), { k: 3 })
      table.maintenance.lookedUp(1, [0x40, 0x20, 0x10].map(shallow).map((id) => contact(id)), start)
      assert.deepStrictEqual(work(table, start).bucketsToRefill, [0, 2, 3])
      assert.deepStrictEqual(work(table, start + 60 * minute - 1).bucketsToRefill, [0, 2, 3])
      assert.include(work(table, start + 60 * minute).bucketsToRefill, 1)
      table.maintenance.lookedUp(1, [0x40, 0x20, 0x10].map(shallow).map((id) => contact(id)), start + 60 * minute)
      table.add(contact(shallow(0x41)), start + 61 * minute, start + 61 * minute)
      table.add(contact(shallow(0x42)), start + 61 * minute, start + 61 * minute)
      assert.notInclude(work(table, start + 62 * minute).bucketsToRefill, 1)
      for (const n of [0x41, 0x42]) table.remove(shallow(n))
      assert.include(work(table, start + 63 * minute).bucketsToRefill, 1)
    })

    it("a lookup that found no node postpones no refill", () => {
      const table = tableOf([inBucket0(1)])
      table.maintenance.lookedUp(NodeId.bits, [], start)
      assert.deepStrictEqual(work(table, start).bucketsToRefill, [0])
    })

    it("returns verified contacts that fell silent, the longest silent first", () => {
      const table = tableOf([1, 2, 3].map(inBucket0))
      table.add(contact(inBucket0(4)), undefined, start)
      table.add(contact(inBucket0(1)), start + 2, start + 2)
      table.add(contact(inBucket0(2)), start + 1, start + 1)
      const now = start + 10
      assert.deepStrictEqual(ids(table.maintenance.quiet(now, start - 1, 9)), [])
      assert.deepStrictEqual(ids(table.maintenance.quiet(now, start + 1, 1)), [3].map(inBucket0))
      assert.deepStrictEqual(ids(table.maintenance.quiet(now, start + 2, 9)), [2, 1].map(inBucket0))
      assert.deepStrictEqual(ids(table.maintenance.quiet(now + 5 * minute - 1, start + 2, 9)), [])
      assert.deepStrictEqual(ids(table.maintenance.quiet(now + 5 * minute, start + 2, 9)), [3, 2, 1].map(inBucket0))
      assert.strictEqual(table.freshest()?.id, inBucket0(1))
      assert.strictEqual(table.heardAt(), start + 2)
      table.unanswered(inBucket0(1), now)
      assert.strictEqual(table.heardAt(), start + 1)
      for (const name of [2, 3]) table.unanswered(inBucket0(name), now)
      assert.strictEqual(table.heardAt(), -Infinity)
    })

    it("returns only as many of a full bucket as keep half of it and two more fresh", () => {
      const heard = [1, 2, 3, 4, 5, 6, 7]
      const silent = [8, 9, 10, 11, 12, 13, 14, 15, 16]
      const table = tableOf([...heard, ...silent].map(inBucket0))
      for (const n of heard) table.add(contact(inBucket0(n)), start + 100, start + 100)
      for (const n of silent) table.add(contact(inBucket0(n)), start + n, start + n)
      assert.deepStrictEqual(ids(table.maintenance.quiet(start + 200, start + 50, 99)), [8, 9, 10].map(inBucket0))
      table.remove(inBucket0(16))
      assert.deepStrictEqual(
        ids(table.maintenance.quiet(start + 200, start + 50, 99)),
        [11, 12, 13, 14, 15].map(inBucket0)
      )
    })

    it("returns a contact that was unverified, was then heard from, and fell silent", () => {
      const table = tableOf([inBucket0(1)], { verified: false })
      assert.deepStrictEqual(table.maintenance.quiet(start, start - 1, 99), [])
      table.add(contact(inBucket0(1)), start, start)
      assert.deepStrictEqual(ids(table.maintenance.quiet(start + 200, start + 100, 99)), [inBucket0(1)])
    })

    it("returns a contact that left a request unanswered at once, however fresh, unless it was heard from since", () => {
      const table = tableOf([1, 2, 3].map(inBucket0))
      for (const n of [1, 2]) table.unanswered(inBucket0(n), start + 10)
      table.add(contact(inBucket0(2)), start + 11, start + 11)
      const due = (now: number) => ids(table.maintenance.quiet(now, start - 1, 99))
      assert.deepStrictEqual(due(start + 20), [inBucket0(1)])
      assert.isTrue(table.maintenance.isDoubted(inBucket0(1)))
      assert.isFalse(table.maintenance.isDoubted(inBucket0(2)))
      // Another failure causes another probe, but not within five minutes.
      table.unanswered(inBucket0(1), start + 30)
      assert.deepStrictEqual(due(start + 40), [])
      assert.deepStrictEqual(due(start + 20 + 5 * minute), [inBucket0(1)])
      assert.deepStrictEqual(due(start + 20 + 10 * minute), [])
    })

    it("removes an unverified contact that left a request unanswered", () => {
      const table = tableOf([inBucket0(1)], { verified: false })
      table.unanswered(inBucket0(1), start)
      assert.isFalse(table.contains(inBucket0(1)))
    })

    it("refills no bucket whose contacts have been heard from since", () => {
      const table = tableOf([1, 2].map(inBucket0), { k: 4 })
      assert.deepStrictEqual(work(table, start).bucketsToRefill, [])
      for (const n of [1, 2]) table.add(contact(inBucket0(n)), start + 60 * minute, start + 60 * minute)
      assert.deepStrictEqual(work(table, start + 60 * minute).bucketsToRefill, [])
    })

    it("continues from the current time after the clock was set back", () => {
      const ahead = start + 24 * 60 * minute
      const table = tableOf([], { k: 2 })
      table.add(contact(inBucket0(1)), ahead, ahead)
      table.add(contact(shallow(0x40)), undefined, ahead)
      work(table, ahead)
      work(table, start)
      const { bucketsToRefill, staleToProbe } = work(table, start + 31 * minute)
      assert.deepStrictEqual(ids(staleToProbe), [shallow(0x40)])
      assert.deepStrictEqual(bucketsToRefill, [0, 1])
      assert.deepStrictEqual(ids(table.maintenance.quiet(start + 31 * minute, start + minute, 99)), [inBucket0(1)])
    })

    it("returns no refill if the limit is 0", () => {
      const table = tableOf([inBucket0(1)])
      assert.deepStrictEqual(work(table, start, { ...unlimited, refills: 0 }).bucketsToRefill, [])
    })

    it("limits the probes of one heartbeat", () => {
      const table = tableOf(Array.from({ length: 64 }, (_, i) => inBucket0(i)), { verified: false })
      for (const i of [1, 2, 3, 4, 5]) table.add(contact(shallow(i)), undefined, start)
      const { pendingToProbe, staleToProbe } = work(table, start + 60 * minute, {
        ...unlimited,
        pendingProbes: 2,
        staleProbes: 3,
        refills: 0
      })
      assert.deepStrictEqual(ids(pendingToProbe), [59, 60].map(inBucket0))
      assert.deepStrictEqual(ids(staleToProbe), [0, 1, 2].map(inBucket0))
    })
  })

  describe("after any history", () => {
    it("holds each contact once, in its bucket, within its limits, and never itself", () => {
      fc.assert(fc.property(historyArb, (history) => {
        const { table } = replay(history, (table, step) => {
          step()
          const entries = table.entries()
          assert.strictEqual(new Set(entries.map((entry) => entry.contact.id)).size, entries.length)
          assert.strictEqual(table.size, entries.length)
          for (const { bucket, contact } of entries) {
            assert.notStrictEqual(contact.id, table.self)
            assert.strictEqual(NodeId.bucketIndex(table.self, contact.id), bucket)
            assert.isAtMost(table.bucketLength(bucket), history.k)
            assert.isTrue(table.contains(contact.id))
          }
        })
        for (let bucket = 0; bucket < 256; bucket++) assert.isAtMost(table.pendingLength(bucket), 5)
      }))
    })

    it("never has a contact both pending and in the table", () => {
      fc.assert(fc.property(historyArb, (history) => {
        const { now, table } = replay(history, run)
        const { pendingToProbe } = table.maintenance.work(now, 0, 0, unlimited)
        assert.strictEqual(new Set(ids(pendingToProbe)).size, pendingToProbe.length)
        for (const { id } of pendingToProbe) assert.isFalse(table.contains(id))
      }))
    })

    const beat = { op: "maintenance" } as const

    it("finds the same work as a scan of every contact in each heartbeat", () => {
      // Few contacts, often heard from, and many heartbeats.
      const busy = historyArb.map((history) => ({
        ...history,
        ops: history.ops.flatMap((op, i) => {
          const near = "byte" in op ? { ...op, byte: 0x80 | op.byte & 7 } : op
          return i % 3 === 0 ? [beat, near] : [near]
        })
      }))
      fc.assert(fc.property(busy, (history) => {
        const { k } = history
        let last = -Infinity
        let beats = 0
        replay(history, (table, step, op, now) => {
          if (op.op !== "maintenance") return step()
          const cutoff = now - 30 * minute
          const entries = table.entries()
          const buckets = Array.from(Map.groupBy(entries, ({ bucket }) => bucket), ([bucket, entries]) => ({
            bucket,
            entries,
            heard: entries.filter(({ verifiedAt = -Infinity }) => verifiedAt > cutoff).length
          }))
          const staleCutoff = now - 10 * minute
          // In either order, the second uses the summary of the first.
          const first = beats++ % 2 === 0 ? table.maintenance.quiet(now, cutoff, Infinity) : undefined
          const { bucketsToRefill, staleToProbe } = table.maintenance.work(now, cutoff, staleCutoff, unlimited)
          const quiet = first ?? table.maintenance.quiet(now, cutoff, Infinity)
          const stale = entries.filter(({ addedAt, verifiedAt }) => verifiedAt === undefined && addedAt < staleCutoff)
          assert.deepStrictEqual(staleToProbe, stale.map(({ contact }) => contact))
          const thin = buckets.filter(({ heard }) => heard < k / 2).map(({ bucket }) => bucket)
          assert.includeMembers(thin, [...bucketsToRefill])
          // After the longest pause.
          if (now - last >= 15 * minute) {
            assert.deepStrictEqual(bucketsToRefill, thin)
            const silent = buckets.flatMap(({ entries, heard }) =>
              entries.filter(({ verifiedAt }) => verifiedAt !== undefined && verifiedAt <= cutoff)
                .sort((a, b) => (a.verifiedAt ?? 0) - (b.verifiedAt ?? 0))
                .slice(0, entries.length < k ? k : Math.max(k / 2 + 2 - heard, 0))
            )
            assert.sameMembers(ids(quiet), ids(silent.map(({ contact }) => contact)))
          }
          last = now
        })
      }))
    })

    it("has nothing to check and to refill before the time it names, unless it was told to hurry", () => {
      const limits = fc.constantFrom(heartbeatLimits, unlimited, { ...heartbeatLimits, refills: 0 })
      fc.assert(fc.property(historyArb, limits, (history, limits) => {
        let due = -Infinity
        replay(history, (table, step, op, now) => {
          table.maintenance.hurry = () => {
            due = -Infinity
          }
          step()
          // One of the history's own beats may take what is due.
          if (op.op === "maintenance") return
          const found = table.maintenance.work(now, now - periods.fresh, now - periods.stale, limits)
          const quiet = table.maintenance.quiet(now, now - periods.quiet, limits.staleProbes)
          const work = [...found.pendingToProbe, ...found.staleToProbe, ...found.bucketsToRefill, ...quiet]
          if (now < due) assert.deepStrictEqual(work, [])
          due = table.maintenance.dueAt(now, limits, periods)
        })
      }))
    })

    it("names the time at which the first of its contacts falls silent, and is told to hurry once one is in doubt", () => {
      const table = tableOf([1, 2, 3].map(inBucket0))
      let hurried = 0
      table.maintenance.hurry = () => hurried++
      table.add(contact(inBucket0(1)), start + minute, start + minute)
      const dueAt = (now: number) => table.maintenance.dueAt(now, { ...unlimited, refills: 0 }, periods)
      assert.strictEqual(dueAt(start), start + 25 * minute)
      assert.deepStrictEqual(ids(table.maintenance.quiet(start + 25 * minute, start, 9)), [2, 3].map(inBucket0))
      assert.strictEqual(dueAt(start + 25 * minute), start + 26 * minute)
      assert.deepStrictEqual(ids(table.maintenance.quiet(start + 26 * minute, start + minute, 9)), [inBucket0(1)])
      // Those that stay silent are probed again after five minutes.
      assert.strictEqual(dueAt(start + 26 * minute), start + 30 * minute)
      for (const n of [1, 2, 3]) table.add(contact(inBucket0(n)), start + 27 * minute, start + 27 * minute)
      assert.strictEqual(hurried, 0)
      table.unanswered(inBucket0(1), start + 28 * minute)
      assert.strictEqual(hurried, 1)
      assert.isAtMost(dueAt(start + 31 * minute), start + 31 * minute)
    })

    it("changes the address of a known peer only after direct contact", () => {
      fc.assert(fc.property(historyArb, (history) => {
        replay(history, (table, step, op) => {
          const before = allContacts(table)
          step()
          for (const known of before) {
            const host = table.get(known.id)?.host
            const heardFrom = op.op === "add" && op.direct && history.world(op.byte) === known.id
            if (host !== undefined) assert.strictEqual(host, heardFrom ? op.host : known.host)
          }
        })
      }))
    })

    it("finds a contact by its present address, and none by another", () => {
      const hosts = ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
      fc.assert(fc.property(historyArb, (history) => {
        replay(history, (table, step) => {
          step()
          for (const host of hosts) {
            const found: Array<NodeId.NodeId> = []
            assert.isFalse(table.hasAt({ host, port: 4001 }, (id) => found.push(id) === 0))
            const there = allContacts(table).filter((contact) => contact.host === host)
            assert.sameMembers(found, ids(there))
            assert.strictEqual(table.hasAt({ host, port: 4001 }, () => true), there.length > 0)
            assert.isFalse(table.hasAt({ host, port: 4002 }, () => true))
          }
        })
      }))
    })

    it("drops a contact only when it is removed or was silent when probed", () => {
      fc.assert(fc.property(historyArb, (history) => {
        replay(history, (table, step, op) => {
          const before = table.entries()
          const oldest = new Set(before.map((entry) => table.oldestInBucket(entry.bucket)?.id))
          step()
          for (const { contact } of before) {
            if (table.contains(contact.id)) continue
            const removed = op.op === "remove" && history.world(op.byte) === contact.id
            const silent = op.op === "probed" && !op.alive && oldest.has(contact.id)
            assert.isTrue(removed || silent)
          }
        })
      }))
    })

    it("finds the same nearest contacts as sorting the whole table", () => {
      fc.assert(fc.property(historyArb, byteArb, fc.integer({ min: 0, max: 20 }), (history, byte, n) => {
        const { table } = replay(history, run)
        const target = history.world(byte)
        assert.deepStrictEqual(table.nearest(target, n), allContacts(table).sort(byDistance(target)).slice(0, n))
      }))
    })

    it("finds the same nearest verified contacts as sorting the whole table", () => {
      fc.assert(
        fc.property(
          historyArb,
          byteArb,
          fc.integer({ min: 0, max: 20 }),
          fc.integer({ min: 0, max: 120 }),
          (history, byte, n, age) => {
            const { now, table } = replay(history, run)
            const target = history.world(byte)
            const cutoff = now - age * minute
            const verified = table.entries().filter((entry) => entry.verifiedAt !== undefined)
            const sorted = (wanted: boolean) =>
              verified.filter((entry) => (entry.verifiedAt ?? 0) > cutoff === wanted).map((entry) => entry.contact)
                .sort(byDistance(target))
            assert.deepStrictEqual(
              table.nearestVerified(target, n, cutoff),
              [...sorted(true), ...sorted(false)].slice(0, n)
            )
          }
        )
      )
    })

    it("answers without duplicates, with at most the requested number, and with no bad peer before a better one", () => {
      fc.assert(
        fc.property(
          historyArb,
          byteArb,
          fc.integer({ min: 0, max: 20 }),
          fc.func(fc.boolean()),
          (history, byte, n, isBad) => {
            const { now, table } = replay(history, run)
            const target = history.world(byte)
            const answer = table.answer(target, n, now, isBad)
            assert.isAtMost(answer.length, n)
            assert.strictEqual(new Set(ids(answer)).size, answer.length)
            assert.isTrue(answer.every(({ id }) => table.entry(id)?.verifiedAt !== undefined))
            const bad = answer.map(({ id }) => isBad(id))
            assert.isFalse(bad.some((isBad, i) => !isBad && bad[i - 1] === true))
            const verified = table.nearestVerified(target, table.size, now - 30 * minute)
            const wanted = verified.filter(({ id }) => !isBad(id)).slice(0, n)
            assert.deepStrictEqual(answer.slice(0, wanted.length), wanted)
            if (wanted.length >= Math.min(n, history.k / 2)) assert.lengthOf(answer, wanted.length)
            else assert.lengthOf(answer, Math.min(n, verified.length))
          }
        )
      )
    })
  })

  it("survives a flood of new identities: it drops no live peer and requests one probe at a time", () => {
    const arrivals = fc.array(
      fc.record({
        byte: fc.integer({ min: 0x80, max: 0xff }),
        after: fc.integer({ min: 0, max: 2000 }),
        answersIn: fc.integer({ min: 0, max: 3000 })
      }),
      { maxLength: 200 }
    )
    fc.assert(fc.property(fc.integer({ min: 1, max: 8 }), arrivals, (k, flood) => {
      const live = Array.from({ length: k }, (_, i) => inBucket0(i))
      const table = tableOf(live, { k })
      let now = start
      let probe: { readonly peer: Contact; readonly answeredAt: number } | undefined
      for (const { after, answersIn, byte } of flood) {
        now += after
        if (probe !== undefined && now >= probe.answeredAt) {
          table.add(probe.peer, probe.answeredAt, now)
          table.probed(probe.peer.id, true, now)
          probe = undefined
        }
        const id = shallow(byte)
        const result = table.add(contact(id), now, now)
        if (result._tag === "Probe") {
          assert.isUndefined(probe)
          probe = { peer: result.oldest, answeredAt: now + answersIn }
        }
        assert.sameMembers(ids(allContacts(table)), live)
      }
    }))
  })
})
