import { assert, describe, it } from "@effect/vitest"
import * as fc from "fast-check"
import type { Address } from "../../src/Address.ts"
import type { Contact } from "../../src/Contact.ts"
import { leastBeyond, nextDue, Sweep, SweepItem } from "../../src/core/sweep.ts"
import * as NodeId from "../../src/NodeId.ts"

const start = 1_700_000_000_000
const second = 1000
const minute = 60 * second
const hour = 60 * minute

/** A key from its first 32 bits; the others are random enough. */
const keyAt = (position: number, n = 0): NodeId.NodeId =>
  (position.toString(16).padStart(8, "0") +
    (n * 2_654_435_761 >>> 0).toString(16).padStart(8, "0").repeat(7)) as NodeId.NodeId

/** Reproducible numbers of 32 bits (xorshift). */
const numbers = (seed: number) => {
  let state = (seed * 2_654_435_761 ^ 0x9e37_79b9) >>> 0 || 1
  return () => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return state >>>= 0
  }
}

const contact = (id: NodeId.NodeId): Contact => ({ id, address: id.slice(0, 42) as Address, host: "9.9.9.9", port: 1 })

const nearest = (contacts: ReadonlyArray<Contact>, key: NodeId.NodeId, count: number): ReadonlyArray<Contact> =>
  contacts.toSorted((a, b) => NodeId.compareDistance(key, a.id, b.id)).slice(0, count)

const idsOf = (contacts: ReadonlyArray<Contact>) => contacts.map(({ id }) => id)

class Item extends SweepItem {
  holders: ReadonlyArray<number> = []
  expires = 0
  signedAt = -Infinity
  renewals = 0

  needsSignature(now: number): boolean {
    return now - this.signedAt >= this.lifetime / 4
  }

  missing(): number {
    return this.wanted
  }
}

const itemAt = (position: number, n: number, lifetime = hour) =>
  new Item({ key: keyAt(position, n), lifetime, wanted: 8 })

/** A network in which lookups take two seconds and storing a record takes one, and nothing fails but `away` nodes. */
class World {
  readonly contacts: ReadonlyArray<Contact>
  /** Nodes that do not answer, and whether there were any. */
  away: ReadonlySet<Contact> = new Set()
  wasParted = false
  readonly sweep: Sweep<Item>
  readonly items: Array<Item> = []
  readonly renewed: Array<{ readonly item: Item; readonly at: number; readonly deadline: number }> = []
  now = start
  lookups = 0
  stores = 0
  handoffs = 0
  probes = 0
  polls = 0
  /** Renewals that came after the copies had expired. */
  late = 0
  private pending: Array<{ readonly at: number; readonly run: () => void }> = []
  private readonly random: () => number

  constructor(options: { readonly nodes: number; readonly datagramsPerSecond: number; readonly seed?: number }) {
    this.random = numbers(options.seed ?? 1)
    this.contacts = Array.from({ length: options.nodes }, (_, n) => contact(keyAt(this.random(), n + 1)))
    this.sweep = new Sweep({ datagramsPerSecond: options.datagramsPerSecond, signaturesPerSecond: 1000 })
  }

  host(count: number, lifetime = hour): void {
    for (let n = 0; n < count; n++) {
      const item = itemAt(this.random(), this.items.length, lifetime)
      this.items.push(item)
      this.sweep.add(item, this.now)
    }
  }

  runUntil(end: number): void {
    while (true) {
      this.polls++
      const step = this.sweep.poll(this.now)
      if (step._tag === "Lookup") {
        const { target } = step
        this.lookups++
        const closest = nearest(this.contacts.filter((node) => !this.away.has(node)), target, 16)
        const found = {
          closest,
          isFull: closest.length === 16,
          isSurrounded: false,
          region: [],
          dual: [],
          networkSize: 0
        }
        this.later(2 * second, () => this.sweep.found(target, found, this.now))
      } else if (step._tag === "Renew") {
        const { item, nodes, wanted } = step
        // Sorting all nodes for every record would take most of the time.
        if (this.renewed.length % 32 === 0 && !this.wasParted) {
          const closest = idsOf(nearest(this.contacts, item.key, 8))
          assert.deepStrictEqual(
            idsOf(nodes.slice(0, wanted)),
            closest,
            "a record goes to the nodes closest to its key"
          )
        }
        if (item.needsSignature(this.now)) {
          item.signedAt = this.now
          item.holders = []
        }
        if (item.renewals > 0 && this.now + second > item.expires) this.late++
        this.renewed.push({ item, at: this.now, deadline: item.deadline })
        this.storeAt(item, nodes, wanted)
        this.later(second, () => {
          item.renewals++
          item.expires = item.signedAt + item.lifetime
          this.sweep.renewed(item, { expires: item.expires }, this.now)
        })
      } else if (step._tag === "Handoff") {
        const { item, nodes } = step
        this.handoffs += nodes.length
        this.storeAt(item, nodes, Infinity)
        this.later(second, () => this.sweep.handedOff(item, this.now))
      } else if (step._tag === "Probe") {
        const { contact } = step
        this.probes++
        this.later(second, () => this.sweep.probed(contact, !this.away.has(contact), this.now))
      } else if (step._tag === "Wait") {
        const next = Math.min(this.pending[0]?.at ?? Infinity, step.until ?? Infinity)
        if (next > end) {
          this.now = end
          return
        }
        this.now = Math.max(next, this.now)
        while (this.pending.length > 0 && this.pending[0].at <= this.now) this.pending.shift()!.run()
      }
    }
  }

  /** Makes nodes, chosen by their number, absent. */
  part(isAway: (n: number) => boolean): void {
    this.away = new Set(this.contacts.filter((_, n) => isAway(n)))
    this.wasParted = true
  }

  /** Records that one of the nodes closest to them holds no good copy of. */
  displaced(): ReadonlyArray<Item> {
    return this.items.filter((item) =>
      item.state !== "Busy" &&
      nearest(this.contacts, item.key, 8).some(({ id }) => !item.holders.includes(NodeId.prefix(id)))
    )
  }

  /** Stores a record at nodes that lack it, until `wanted` hold it. */
  private storeAt(item: Item, nodes: ReadonlyArray<Contact>, wanted: number): void {
    const holders = [...item.holders]
    const silent: Array<Contact> = []
    for (const node of nodes) {
      if (holders.length >= wanted) break
      const prefix = NodeId.prefix(node.id)
      if (holders.includes(prefix)) continue
      this.stores++
      if (this.away.has(node)) silent.push(node)
      else holders.push(prefix)
    }
    this.later(second, () => {
      item.holders = holders
      if (silent.length > 0) this.sweep.unanswered(item, silent, this.now)
    })
  }

  /** All that was begun ends in the order in which it is to end. */
  private later(millis: number, run: () => void): void {
    this.pending.push({ at: this.now + millis, run })
    this.pending.sort((a, b) => a.at - b.at)
  }
}

describe("leastBeyond", () => {
  it("is the smallest distance that an unknown node can have", () => {
    const bits = 6
    for (let reach = 0; reach < 1 << bits; reach++) {
      for (let delta = 0; delta < 1 << bits; delta++) {
        let least = Infinity
        for (let x = reach; x < 1 << bits; x++) least = Math.min(least, x ^ delta)
        // A larger x differs from the delta in a higher bit.
        assert.strictEqual(leastBeyond(reach, delta), least, `${reach} ${delta}`)
      }
    }
    assert.strictEqual(leastBeyond(0x8000_0000, 0x8000_0001), 0)
    assert.strictEqual(leastBeyond(0xf000_0000, 0x1000_0000), 0xe000_0000)
  })
})

describe("nextDue", () => {
  it("is a quarter to three quarters of the lifetime away, then exactly one half", () => {
    fc.assert(fc.property(
      fc.integer({ min: 0, max: 2 ** 32 - 1 }),
      fc.integer({ min: minute, max: 7 * 24 * hour }),
      fc.integer({ min: start, max: start + 24 * hour }),
      (position, lifetime, now) => {
        const due = nextDue(position, lifetime, now)
        assert.isAtLeast(due - now, lifetime / 4 - 1)
        assert.isBelow(due - now, lifetime * 3 / 4 + 1)
        // A few seconds late does not move the record to another time.
        assert.closeTo(nextDue(position, lifetime, due + lifetime / 100) - due, lifetime / 2, 1)
      }
    ))
  })
})

describe("a sweep", () => {
  it("renews every record before it expires, if the budget allows", () => {
    // 1000 records, twice an hour, at 8 stores each: 4.4 a second.
    const world = new World({ nodes: 200, datagramsPerSecond: 8 })
    world.host(1000)
    world.runUntil(start + 12 * hour)
    assert.strictEqual(world.late, 0)
    for (const { expires, renewals } of world.items) {
      assert.isAbove(expires, world.now)
      assert.isAtLeast(renewals, 22)
      assert.isAtMost(renewals, 26)
    }
  })

  it("sends a record in at most 10 datagrams, with lookups for at most 3 % of the renewals", () => {
    const world = new World({ nodes: 200, datagramsPerSecond: 50 })
    world.host(4000)
    world.runUntil(start + 4 * hour)
    const renewals = world.renewed.length
    assert.isAbove(renewals, 4000 * 7)
    assert.isAtMost(world.lookups / renewals, 0.03)
    assert.isAtMost((world.stores + 24 * world.lookups) / renewals, 10)
  })

  it("finds the nodes of records that live for days by few lookups as well", () => {
    const world = new World({ nodes: 200, datagramsPerSecond: 50 })
    world.host(2000, 7 * 24 * hour)
    world.runUntil(start + 8 * 24 * hour)
    assert.isAbove(world.renewed.length, 4000)
    assert.isAtMost(world.lookups / world.renewed.length, 0.3)
  })

  it("spreads renewals evenly over the interval, in the order of their keys", () => {
    const world = new World({ nodes: 100, datagramsPerSecond: 1000 })
    world.host(3000)
    world.runUntil(start + 4 * hour)
    const perMinute = new Map<number, number>()
    for (const { at } of world.renewed) {
      if (at < start + 2 * hour) continue
      const minutes = Math.floor(at / minute)
      perMinute.set(minutes, (perMinute.get(minutes) ?? 0) + 1)
    }
    // 3000 in 30 minutes.
    assert.isAtLeast(perMinute.size, 120)
    for (const count of perMinute.values()) assert.isAtMost(count, 160)
    const lastRound = world.renewed.slice(-1000).map(({ item }) => item.position)
    assert.isAtMost(lastRound.filter((position, i) => i > 0 && position < lastRound[i - 1]).length, 10)
  })

  it("sends no more than the budget", () => {
    const world = new World({ nodes: 100, datagramsPerSecond: 80 })
    world.host(3000)
    world.runUntil(start + 10 * minute)
    const perSecond = new Map<number, number>()
    for (const { at } of world.renewed) {
      const seconds = Math.floor(at / second)
      perSecond.set(seconds, (perSecond.get(seconds) ?? 0) + 8)
    }
    // One second's worth may have been saved up.
    for (const count of perSecond.values()) assert.isAtMost(count, 2 * 80 + 8)
    assert.isAtMost(world.renewed.length, 80 * 600 / 8 + 10)
    assert.strictEqual(new Set(world.renewed.map(({ item }) => item)).size, 3000)
  })

  it("renews what expires first after a pause", () => {
    // Few nodes, so that one lookup serves all.
    const world = new World({ nodes: 12, datagramsPerSecond: 40 })
    world.host(400)
    world.runUntil(start + 2 * hour)
    const before = world.renewed.length
    world.now += 40 * minute
    world.runUntil(world.now + 2 * minute)
    const after = world.renewed.slice(before, before + 400).map(({ deadline }) => Math.floor(deadline / minute))
    assert.isAbove(after.length, 300)
    assert.deepStrictEqual(after, after.toSorted((a, b) => a - b))
  })

  it("does not let new records delay those that expire soon", () => {
    const world = new World({ nodes: 12, datagramsPerSecond: 40 })
    world.host(500)
    world.runUntil(start + 2 * hour)
    // It takes 36 minutes to store these.
    world.host(11_000, 24 * hour)
    world.runUntil(start + 3 * hour)
    assert.strictEqual(world.late, 0)
    assert.isTrue(world.items.every(({ expires }) => expires > world.now))
  })

  it("does bounded work in one step, however many records are due", () => {
    const sweep = new Sweep<Item>({ datagramsPerSecond: 100, signaturesPerSecond: 100 })
    for (let n = 0; n < 10_000; n++) sweep.add(itemAt(n, n), start)
    let polls = 1
    for (; sweep.poll(start)._tag === "Wait"; polls++) assert.isBelow(polls, 20)
    assert.isAtLeast(polls, 9)
  })

  it("waits while the network is out of reach, and then continues", () => {
    const sweep = new Sweep<Item>({ datagramsPerSecond: 100, signaturesPerSecond: 100 })
    const item = itemAt(1, 1)
    sweep.add(item, start)
    const nothing = { closest: [], isFull: false, isSurrounded: false, region: [], dual: [], networkSize: 0 }
    let now = start
    for (const pause of [10, 20, 40, 60, 60]) {
      const step = sweep.poll(now)
      assert.deepStrictEqual(step, { _tag: "Lookup", target: item.key })
      sweep.found(item.key, nothing, now)
      assert.isFalse(sweep.isReachable)
      assert.deepStrictEqual(sweep.poll(now), { _tag: "Wait", until: now + pause * second })
      now += pause * second
    }
    assert.strictEqual(sweep.poll(now)._tag, "Lookup")
    const closest = [contact(keyAt(5))]
    sweep.found(item.key, { ...nothing, closest }, now)
    assert.deepStrictEqual(sweep.poll(now), { _tag: "Renew", item, nodes: closest, wanted: 8, dual: [] })
  })

  it("looks up nodes again that do not answer, and at most once a minute", () => {
    const sweep = new Sweep<Item>({ datagramsPerSecond: 1000, signaturesPerSecond: 1000 })
    const contacts = Array.from({ length: 8 }, (_, n) => contact(keyAt(n + 1)))
    const renewAt = (now: number, n: number) => {
      const item = itemAt(n, n)
      sweep.add(item, now)
      const step = sweep.poll(now)
      if (step._tag !== "Lookup") return { item, step }
      sweep.found(
        step.target,
        { closest: contacts, dual: [], isFull: false, isSurrounded: false, region: [], networkSize: 0 },
        now
      )
      return { item, step, next: sweep.poll(now) }
    }
    assert.strictEqual(renewAt(0, 1).step._tag, "Lookup")
    const second = renewAt(30_000, 2)
    assert.strictEqual(second.step._tag, "Renew")
    sweep.unanswered(second.item, contacts.slice(0, 1), 31_000)
    const third = renewAt(59_000, 3)
    assert.strictEqual(third.step._tag, "Renew")
    sweep.unanswered(third.item, contacts.slice(0, 1), 60_000)
    assert.strictEqual(renewAt(61_000, 4).step._tag, "Lookup")
    assert.strictEqual(renewAt(62_000, 5).step._tag, "Renew")
  })

  it("hands records to nodes that were absent, soon after they are back, and signs none for that", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 1e6 }),
        fc.integer({ min: 5, max: 60 }),
        fc.integer({ min: 2, max: 5 }),
        (seed, minutes, each) => {
          const world = new World({ nodes: 120, datagramsPerSecond: 30, seed })
          world.host(300)
          world.runUntil(start + 2 * hour)
          assert.lengthOf(world.displaced(), 0)
          world.part((n) => n % each === 0)
          world.runUntil(world.now + minutes * minute)
          const displaced = world.displaced().length
          world.away = new Set()
          const [before, spent] = [world.renewed.length, world.sweep.spent]
          // A node is asked after a quarter of its absence, and waits a minute for others.
          const pause = Math.max(minutes / 4, 1) + 3
          world.runUntil(world.now + pause * minute)
          // What was stored a moment ago, by a lookup from before, waits for others as well.
          assert.deepStrictEqual(world.displaced().filter(({ signedAt }) => world.now - signedAt > 1.5 * minute), [])
          // As many as without a partition: twice an hour.
          assert.isAtMost(world.renewed.length - before, 300 * (pause / 30) * 1.4 + 20)
          assert.isAtMost(world.sweep.spent - spent, pause * 60 * 30 + 60)
          assert.isAtMost(world.handoffs, displaced * 8)
          assert.strictEqual(world.late, 0)
        }
      ),
      { numRuns: 20 }
    )
  })

  it("hands a record that is being stored while a node comes back to that node as well", () => {
    const sweep = new Sweep<Item>({ datagramsPerSecond: 1000, signaturesPerSecond: 1000 })
    const nodes = Array.from({ length: 8 }, (_, n) => contact(keyAt(n + 1)))
    const absent = nodes[7]
    const item = itemAt(0, 0)
    const found = { closest: nodes, dual: [], isFull: false, isSurrounded: false, region: [], networkSize: 8 }
    sweep.add(item, start)
    assert.strictEqual(sweep.poll(start)._tag, "Lookup")
    sweep.found(item.key, found, start)
    assert.strictEqual(sweep.poll(start)._tag, "Renew")
    item.holders = nodes.slice(0, 7).map(({ id }) => NodeId.prefix(id))
    sweep.unanswered(item, [absent], start)
    const due = sweep.renewed(item, { expires: start + hour }, start)
    assert.deepStrictEqual(sweep.poll(due), { _tag: "Probe", contact: absent })
    // It is renewed by a lookup from before the node was back, and the renewal takes a while.
    assert.strictEqual(sweep.poll(due)._tag, "Lookup")
    sweep.found(item.key, { ...found, closest: nodes.slice(0, 7) }, due)
    assert.strictEqual(sweep.poll(due)._tag, "Renew")
    sweep.probed(absent, true, due)
    assert.strictEqual(sweep.poll(due + 2 * minute)._tag, "Wait")
    sweep.renewed(item, { expires: due + hour }, due + 2 * minute)
    assert.deepStrictEqual(sweep.poll(due + 2 * minute), { _tag: "Handoff", item, nodes: [absent] })
  })

  it("hands nothing over, and asks no node whether it is back, while no node comes or goes", () => {
    const world = new World({ nodes: 200, datagramsPerSecond: 50 })
    world.host(2000)
    world.runUntil(start + 6 * hour)
    assert.deepInclude(world, { handoffs: 0, probes: 0 })
  })

  it("hands records to nodes that are new, once a lookup has found them", () => {
    // So few that one lookup finds all.
    const world = new World({ nodes: 12, datagramsPerSecond: 50 })
    world.part((n) => n % 4 === 0)
    world.host(200)
    world.runUntil(start + 2 * hour)
    world.away = new Set()
    // A region is looked up again after ten minutes.
    world.runUntil(world.now + 13 * minute)
    assert.lengthOf(world.displaced(), 0)
    assert.isAbove(world.handoffs, 0)
  })

  it("asks few times for nodes that never come back, and hands nothing over for them", () => {
    const world = new World({ nodes: 60, datagramsPerSecond: 50 })
    world.host(300)
    world.runUntil(start + hour)
    world.part((n) => n % 6 === 0)
    const [lookups, renewals] = [world.lookups, world.renewed.length]
    world.runUntil(start + 30 * hour)
    assert.strictEqual(world.handoffs, 0)
    assert.isAtLeast(world.probes, 10 * 20)
    assert.isAtMost(world.probes, 10 * 32)
    assert.isAtMost((world.lookups - lookups) / (world.renewed.length - renewals), 0.03)
  })

  it("goes on renewing while many records are to be handed over", () => {
    // Renewals take nine tenths of the budget.
    const world = new World({ nodes: 100, datagramsPerSecond: 10 })
    world.host(1000)
    world.runUntil(start + 3 * hour)
    world.part((n) => n % 2 === 0)
    world.runUntil(world.now + 40 * minute)
    world.away = new Set()
    world.runUntil(world.now + 3 * hour)
    assert.strictEqual(world.late, 0)
    assert.lengthOf(world.displaced(), 0)
  })

  it("does not hand over what is removed meanwhile, or fails", () => {
    const world = new World({ nodes: 24, datagramsPerSecond: 1000 })
    world.host(3)
    world.runUntil(start + 5 * minute)
    const [removed, renewed, overtaken] = world.items
    const { sweep } = world
    const arrived = contact(keyAt(removed.position, 77))
    const others = [renewed, overtaken].map(({ position }) => contact(keyAt(position, 78)))
    const closest = [...world.contacts.slice(0, 12), arrived, ...others]
    const found = { closest, dual: [], isFull: false, isSurrounded: false, region: [], networkSize: 0 }
    sweep.found(keyAt(5), found, world.now)
    sweep.remove(removed)
    const steps = []
    let now = world.now + 2 * minute
    for (let step = sweep.poll(now); step._tag === "Handoff"; step = sweep.poll(now)) steps.push(step)
    assert.sameMembers(steps.map(({ item }) => item), [renewed, overtaken])
    const due = sweep.dueOf(renewed)
    assert.strictEqual(sweep.dueCount, 0)
    sweep.handedOff(renewed, now)
    assert.strictEqual(sweep.dueOf(renewed), due)
    sweep.again(overtaken, now)
    assert.deepInclude(sweep.poll(now), { _tag: "Renew", item: overtaken })
    sweep.remove(overtaken)
    sweep.handedOff(overtaken, now)
    assert.strictEqual(sweep.size, 1)
  })

  it("tries a failed record again after pauses that double, while others go on", () => {
    const sweep = new Sweep<Item>({ datagramsPerSecond: 1000, signaturesPerSecond: 1000 })
    const [bad, good] = [itemAt(1, 1), itemAt(2, 2)]
    sweep.add(bad, start)
    const closest = [contact(keyAt(5))]
    sweep.poll(start)
    sweep.found(bad.key, { closest, isFull: false, isSurrounded: false, region: [], dual: [], networkSize: 0 }, start)
    let now = start
    const pauses: Array<number> = []
    for (let i = 0; i < 8; i++) {
      assert.strictEqual(sweep.poll(now)._tag, "Renew")
      const retryAt = sweep.failed(bad, {}, now)
      pauses.push((retryAt - now) / second)
      if (i === 0) {
        sweep.add(good, now)
        assert.deepInclude(sweep.poll(now), { _tag: "Renew", item: good })
        sweep.renewed(good, { expires: now + hour }, now)
      }
      now = retryAt
      // The nodes of the region are used for ten minutes.
      sweep.found(bad.key, { closest, isFull: false, isSurrounded: false, region: [], dual: [], networkSize: 0 }, now)
    }
    assert.deepStrictEqual(pauses, [10, 20, 40, 80, 160, 320, 450, 450])
  })

  it("keeps records whose signer hangs from holding up the others", () => {
    const sweep = new Sweep<Item>({ datagramsPerSecond: 1e6, signaturesPerSecond: 1e6 })
    const hanging = Array.from({ length: 2000 }, (_, n) => itemAt(n, n))
    for (const item of hanging) sweep.add(item, start)
    const closest = [contact(keyAt(5))]
    const found = { closest, isFull: false, isSurrounded: false, region: [], dual: [], networkSize: 0 }
    let now = start
    const renewing: Array<Item> = []
    const drain = () => {
      while (true) {
        const step = sweep.poll(now)
        if (step._tag === "Renew") renewing.push(step.item)
        else if (step._tag === "Lookup") sweep.found(step.target, found, now)
        else if (step._tag === "Wait" && step.until !== now) return
      }
    }
    for (drain(); renewing.length > 0; drain()) {
      for (const item of renewing.splice(0)) sweep.failed(item, {}, now)
    }
    now += 10 * second
    drain()
    assert.strictEqual(renewing.length, 64)
    const good = itemAt(7, 9999)
    sweep.add(good, now)
    drain()
    assert.include(renewing, good)
  })

  it("ignores what is reported of a record after its removal", () => {
    const sweep = new Sweep<Item>({ datagramsPerSecond: 1000, signaturesPerSecond: 1000 })
    const item = itemAt(1, 1)
    sweep.add(item, start)
    sweep.poll(start)
    sweep.remove(item)
    sweep.found(item.key, {
      closest: [contact(keyAt(5))],
      isFull: false,
      isSurrounded: false,
      region: [],
      dual: [],
      networkSize: 0
    }, start)
    assert.strictEqual(sweep.poll(start)._tag, "Wait")
    sweep.add(item, start)
    assert.strictEqual(sweep.poll(start)._tag, "Renew")
    sweep.remove(item)
    sweep.renewed(item, { expires: start + hour }, start)
    sweep.failed(item, {}, start)
    sweep.again(item, start)
    assert.strictEqual(sweep.size, 0)
  })

  it("lets withdrawals and renewals take turns, within the budget of both", () => {
    const sweep = new Sweep<Item>({ datagramsPerSecond: 80, signaturesPerSecond: 1000 })
    const items = Array.from({ length: 200 }, (_, n) => itemAt(n, n))
    for (const item of items.slice(100)) sweep.withdraw(item, start)
    for (const item of items.slice(0, 100)) sweep.add(item, start)
    const found = {
      closest: [contact(keyAt(5))],
      isFull: false,
      isSurrounded: false,
      region: [],
      dual: [],
      networkSize: 0
    }
    const counts = { Renew: 0, Withdraw: 0 }
    for (let now = start; now <= start + 10 * second;) {
      const step = sweep.poll(now)
      if (step._tag === "Lookup") sweep.found(step.target, found, now)
      else if (step._tag === "Wait") now = Math.max(step.until ?? Infinity, now)
      else if (step._tag === "Renew" || step._tag === "Withdraw") counts[step._tag]++
    }
    // 80 at first, and 80 a second, of which a lookup takes 24.
    assert.closeTo(counts.Renew + counts.Withdraw, (11 * 80 - 24) / 8, 2)
    assert.closeTo(counts.Renew, counts.Withdraw, 2)
  })

  it("uses the nodes of a lookup that found few of a large network for its own key only", () => {
    const sweep = new Sweep<Item>({ datagramsPerSecond: 1000, signaturesPerSecond: 1000 })
    const [item, other] = [itemAt(0x1000_0000, 1), itemAt(0x1000_0001, 2)]
    const found = {
      closest: [contact(keyAt(0x1000_0002)), contact(keyAt(0x8000_0000))],
      isFull: false,
      isSurrounded: false,
      region: [],
      dual: [],
      networkSize: 200
    }
    sweep.add(item, start)
    sweep.poll(start)
    sweep.found(item.key, found, start)
    sweep.add(other, start)
    assert.deepInclude(sweep.poll(start), { _tag: "Renew", item })
    assert.deepStrictEqual(sweep.poll(start), { _tag: "Lookup", target: other.key })
    sweep.found(other.key, { ...found, networkSize: 2 }, start)
    assert.deepInclude(sweep.poll(start), { _tag: "Renew", item: other })
    sweep.add(itemAt(0xf000_0000, 3), start)
    assert.strictEqual(sweep.poll(start)._tag, "Renew")
  })

  it("places a record at the three closest dual nodes as well, whatever key they were looked up for", () => {
    const sweep = new Sweep<Item>({ datagramsPerSecond: 1000, signaturesPerSecond: 1000 })
    const contacts = Array.from({ length: 40 }, (_, n) => contact(keyAt(n * 0x0600_0000, n + 1)))
    const dual = contacts.filter((_, n) => n % 6 === 1)
    const [first, ...others] = Array.from({ length: 20 }, (_, n) => itemAt(n * 0x0c00_0000 + 0x1234, 50 + n))
    const found = { closest: contacts, dual, isFull: false, isSurrounded: false, region: [], networkSize: 40 }
    sweep.add(first, start)
    const { target } = sweep.poll(start) as { readonly target: NodeId.NodeId }
    sweep.found(target, found, start)
    let besides = 0
    for (const item of others) {
      sweep.add(item, start)
      sweep.poll(start)
    }
    for (const item of [first, ...others]) {
      const placement = sweep.placementOf(item, start)
      if (placement === undefined) return assert.fail("no lookup serves it")
      const stored = idsOf([...placement.nodes.slice(0, placement.wanted), ...placement.dual])
      const wanted = idsOf([...nearest(contacts, item.key, 8), ...nearest(dual, item.key, 3)])
      assert.sameMembers(stored, Array.from(new Set(wanted)))
      assert.strictEqual(new Set(idsOf([...placement.nodes, ...placement.dual])).size, 40)
      besides += placement.dual.length
    }
    assert.isAbove(besides, 20)
  })

  it("looks up a key that nodes of another lookup surround, and stores at all that are found", () => {
    const sweep = new Sweep<Item>({ datagramsPerSecond: 1000, signaturesPerSecond: 1000 })
    const [near, victim] = [itemAt(0x1000_0000, 1), itemAt(0x1100_0000, 2)]
    const liars = Array.from(
      { length: 12 },
      (_, n) => contact(`${victim.key.slice(0, 10)}${keyAt(n, n).slice(10)}` as NodeId.NodeId)
    )
    const others = Array.from({ length: 4 }, (_, n) => contact(keyAt(0x1000_0000 + n * 0x0010_0000, n)))
    const networkSize = 60
    sweep.add(near, start)
    sweep.poll(start)
    sweep.found(near.key, {
      closest: nearest([...others, ...liars], near.key, 16),
      isFull: false,
      isSurrounded: false,
      region: [],
      dual: [],
      networkSize
    }, start)
    sweep.add(victim, start)
    assert.deepInclude(sweep.poll(start), { _tag: "Renew", item: near })
    assert.deepStrictEqual(sweep.poll(start), { _tag: "Lookup", target: victim.key })
    const region = Array.from({ length: 20 }, (_, n) => contact(keyAt(n * 0x0100_0000, 50 + n)))
    sweep.found(victim.key, {
      closest: nearest([...others, ...liars], victim.key, 16),
      isFull: true,
      isSurrounded: true,
      region,
      dual: [],
      networkSize
    }, start)
    assert.deepInclude(sweep.poll(start), { _tag: "Renew", item: victim, wanted: 36 })
  })
})
