import { assert, describe, it } from "@effect/vitest"
import * as fc from "fast-check"
import type { Address } from "../../src/Address.ts"
import type { Contact } from "../../src/Contact.ts"
import { type Action, ReplicaSet } from "../../src/core/replicaSet.ts"
import type * as NodeId from "../../src/NodeId.ts"

const second = 1000
const minute = 60 * second
const hour = 60 * minute

const start = 1_700_000_000_000

const tiny = (byte: number): NodeId.NodeId => (byte.toString(16).padStart(2, "0") + "0".repeat(62)) as NodeId.NodeId

const byteOf = (id: NodeId.NodeId): number => parseInt(id.slice(0, 2), 16)

const at = (byte: number, host = `host-${byte}`): Contact => ({
  id: tiny(byte),
  address: "00".repeat(21) as Address,
  host,
  port: 1
})

const bytes = (contacts: ReadonlyArray<Contact>): ReadonlyArray<number> => contacts.map(({ id }) => byteOf(id))

// ---------------------------------------------------------------------------
// Small worlds: ids of one byte, and a network with any faults
// ---------------------------------------------------------------------------

interface Node {
  readonly byte: number
  /** Time until it answers, in milliseconds; a failure takes `silenceMillis`. */
  latency: number
  isSilent: boolean
  refusal: "Stable" | "Passing" | undefined
  /** Whether it accepts every record and keeps none. */
  isForgetful: boolean
  /** The version of the record that it holds. */
  copy: number | undefined
}

const silenceMillis = 5 * second

const lookupMillis = 2 * second

/** Most nodes that a lookup finds. */
const k = 16

/** The state when an action was taken. */
interface Moment {
  readonly at: number
  readonly version: number
  readonly inFlight: ReadonlyArray<Asked>
  readonly replicas: ReplicaSet["replicas"]
  /** Tracked replicas that confirmed the current version and were not found by a probe to have lost it. */
  readonly holders: ReadonlySet<number>
  /** The nodes of the last lookup that may be asked and were not yet. */
  readonly untried: ReadonlySet<number>
  /** Whether a lookup has ended since the last renewal. */
  readonly isLookedUp: boolean
}

interface Asked extends Moment {
  readonly action: Exclude<Action, { readonly _tag: "Wait" }>
}

interface WorldOptions {
  readonly key: number
  readonly wanted: number
  readonly maxInFlight: number
  readonly nodes: ReadonlyArray<readonly [byte: number, latency: number]>
}

class World {
  readonly options: WorldOptions
  readonly set: ReplicaSet
  readonly nodes: ReadonlyArray<Node>
  readonly log: Array<Asked> = []
  readonly waits: Array<Moment> = []
  /** The times at which it asked to be woken without anything to do. */
  readonly idleWakes: Array<Moment> = []
  /** The end of each lookup. */
  readonly lookedUp: Array<number> = []
  readonly inFlight: Array<Asked> = []
  /** Nodes that ever refused for good, or were found to have lost the record. */
  readonly unwilling = new Set<number>()
  private readonly holders = new Set<number>()
  private untried = new Set<number>()
  /** Nodes that must not be asked, and until when. */
  private readonly leftAlone = new Map<number, number>()
  private isLookedUp = false
  private until: number | undefined
  isCutOff = false
  version = 0
  /** The time that has passed. */
  elapsed = 0
  /** The offset of the clock from that. */
  skew = start

  constructor(options: WorldOptions) {
    this.options = options
    this.set = new ReplicaSet({
      key: tiny(options.key),
      wanted: options.wanted,
      maxInFlight: options.maxInFlight
    })
    this.nodes = options.nodes.map(([byte, latency]) => ({
      byte,
      latency,
      isSilent: false,
      refusal: undefined,
      isForgetful: false,
      copy: undefined
    }))
    this.act()
  }

  get now(): number {
    return this.elapsed + this.skew
  }

  get confirmed(): ReadonlyArray<number> {
    return bytes(this.set.confirmed)
  }

  /** Whether fewer than `wanted` standing nodes are closer to the key. */
  hasPlaceFor(byte: number, moment: Moment): boolean {
    const closer = standing(moment).filter((other) => this.distance(other) < this.distance(byte))
    return closer.length < this.options.wanted
  }

  /** The nodes that pass, nearest first. */
  nearest(n: number, passes: (node: Node) => boolean = () => true): ReadonlyArray<number> {
    return this.nodes.filter(passes).map(({ byte }) => byte).sort((a, b) => this.distance(a) - this.distance(b))
      .slice(0, n)
  }

  distance(byte: number): number {
    return byte ^ this.options.key
  }

  node(byte: number): Node {
    const node = this.nodes.find((node) => node.byte === byte)
    if (node === undefined) throw new Error(`asks ${byte}, which does not exist`)
    return node
  }

  /** Lets time pass, with all that is due in it. */
  pass(duration: number): void {
    const end = this.elapsed + duration
    while (true) {
      const times = this.inFlight.map((asked) => this.endOf(asked))
      if (this.until !== undefined) times.push(this.until - this.skew)
      const next = Math.max(Math.min(...times), this.elapsed)
      if (next > end) break
      this.elapsed = next
      const ended = this.inFlight.filter((asked) => this.endOf(asked) <= next)
      for (const asked of ended) this.end(asked)
      const { length } = this.log
      this.act()
      if (ended.length === 0 && this.log.length === length) this.idleWakes.push(this.moment())
    }
    this.elapsed = end
  }

  /** Advances the clock and nothing else. */
  sleep(duration: number): void {
    this.elapsed += duration
    this.act()
  }

  setBack(duration: number): void {
    // The set cannot know how far a clock was set back, only what it last showed.
    this.act()
    this.skew -= duration
    this.act()
  }

  renew(): void {
    this.version++
    this.holders.clear()
    this.isLookedUp = false
    this.set.renew(this.now)
    this.act()
  }

  /** Withdraws the record; returns the other nodes that must receive the withdrawal. */
  withdraw(): ReadonlyArray<number> {
    this.version++
    this.holders.clear()
    this.untried.clear()
    const told = bytes(this.set.withdraw(this.now))
    const tracked = trackedBy(this.set)
    // Responses of other nodes are ignored from now on.
    for (const asked of this.inFlight.slice()) {
      const { action } = asked
      if (action._tag === "Store" && !tracked.includes(byteOf(action.contact.id))) {
        this.inFlight.splice(this.inFlight.indexOf(asked), 1)
        this.node(byteOf(action.contact.id)).copy = asked.version
      }
    }
    this.act()
    return told
  }

  /** Makes all nodes healthy from now on. */
  heal(): void {
    this.isCutOff = false
    for (const node of this.nodes) {
      node.isSilent = false
      node.refusal = undefined
      node.isForgetful = false
    }
  }

  /** Takes actions until none are due. */
  act(): void {
    for (let taken = 0;; taken++) {
      assert.isAtMost(taken, this.options.maxInFlight + 2 * this.options.wanted + 1, "asks for ever at one time")
      const action = this.set.poll(this.now)
      if (action._tag === "Wait") {
        if (action.until === undefined) assert.isTrue(this.inFlight.length > 0 || this.set.isDone, "waits for nothing")
        else assert.isAbove(action.until, this.now, "waits for the past")
        this.until = action.until
        this.waits.push(this.moment())
        return
      }
      const asked = { ...this.moment(), action }
      if (action._tag === "Store") this.untried.delete(byteOf(action.contact.id))
      this.log.push(asked)
      this.inFlight.push(asked)
    }
  }

  private moment(): Moment {
    return {
      at: this.elapsed,
      version: this.version,
      inFlight: [...this.inFlight],
      replicas: this.set.replicas,
      holders: new Set(this.holders),
      untried: new Set(this.untried),
      isLookedUp: this.isLookedUp
    }
  }

  private endOf({ action, at }: Asked): number {
    if (action._tag === "Lookup") return at + lookupMillis
    const { isSilent, latency } = this.node(byteOf(action.contact.id))
    return at + (isSilent || this.isCutOff ? silenceMillis : latency)
  }

  private end(asked: Asked): void {
    const { action, version } = asked
    this.inFlight.splice(this.inFlight.indexOf(asked), 1)
    if (action._tag === "Lookup") {
      this.lookedUp.push(this.elapsed)
      const found = this.isCutOff ? [] : this.nearest(k, (node) => !node.isSilent)
      this.set.found(found.map((byte) => at(byte)), this.now)
      const busy = new Set([...trackedBy(this.set), ...bytes(requests(this.inFlight))])
      const free = found.filter((byte) => !busy.has(byte) && (this.leftAlone.get(byte) ?? 0) <= this.elapsed)
      this.untried = new Set(free.slice(0, 2 * this.options.wanted))
      this.isLookedUp = true
      return
    }
    const { id } = action.contact
    const node = this.node(byteOf(id))
    if (node.isSilent || this.isCutOff) {
      this.set.failed(id, this.now)
    } else if (action._tag === "Probe") {
      if (node.copy !== undefined && node.copy >= version) {
        this.set.kept(id, this.now)
      } else {
        const wasTracked = trackedBy(this.set).includes(node.byte)
        this.set.lost(id, this.now)
        if (wasTracked && !trackedBy(this.set).includes(node.byte)) this.leaveAlone(node)
        this.holders.delete(node.byte)
        this.unwilling.add(node.byte)
      }
    } else if (node.refusal !== undefined) {
      this.set.refused(id, this.now, { stable: node.refusal === "Stable" })
      if (node.refusal === "Stable") {
        this.leaveAlone(node)
        this.unwilling.add(node.byte)
      }
    } else {
      node.copy = node.isForgetful ? undefined : version
      this.set.stored(id, this.now)
      if (version === this.version) this.holders.add(node.byte)
    }
    const tracked = trackedBy(this.set)
    for (const byte of this.holders) if (!tracked.includes(byte)) this.holders.delete(byte)
  }

  private leaveAlone({ byte }: Node): void {
    this.leftAlone.set(byte, this.elapsed + hour)
  }
}

const trackedBy = (set: ReplicaSet): ReadonlyArray<number> => bytes(set.replicas.map(({ contact }) => contact))

const requests = (inFlight: ReadonlyArray<Asked>, tag?: "Store"): ReadonlyArray<Contact> =>
  inFlight.flatMap(({ action }) =>
    action._tag === "Lookup" || tag !== undefined && action._tag !== tag ? [] : [action.contact]
  )

/** The standing nodes: they hold the record, or a store to them is in flight, and they are not suspect. */
const standing = ({ inFlight, replicas }: Moment): ReadonlyArray<number> => {
  const suspects = new Set(replicas.filter(({ isSuspect }) => isSuspect).map(({ contact }) => contact.id))
  const behind = new Set(replicas.filter(({ isConfirmed }) => !isConfirmed).map(({ contact }) => contact.id))
  const asked = [
    ...requests(inFlight, "Store"),
    // It gets the newer record as soon as it has answered.
    ...requests(inFlight).filter(({ id }) => behind.has(id))
  ]
  const contacts = [...replicas.filter(isOfUse).map(({ contact }) => contact), ...asked]
  return [...new Set(bytes(contacts.filter(({ id }) => !suspects.has(id))))]
}

type Event =
  | { readonly _tag: "Pass" | "Sleep" | "SetBack"; readonly duration: number }
  | { readonly _tag: "Renew" | "CutOff" | "Reconnect" | "Heal" }
  | { readonly _tag: "Silence" | "Speak" | "Refuse" | "Waver" | "Accept" | "Forget" | "Drain"; readonly node: number }

const happen = (world: World, event: Event): void => {
  switch (event._tag) {
    case "Pass":
      return world.pass(event.duration)
    case "Sleep":
      return world.sleep(event.duration)
    case "SetBack":
      return world.setBack(event.duration)
    case "Renew":
      return world.renew()
    case "CutOff":
      world.isCutOff = true
      return
    case "Reconnect":
      world.isCutOff = false
      return
    case "Heal":
      return world.heal()
  }
  // Half of the events at nodes are at replicas.
  const replicas = event.node % 2 === 0 ? trackedBy(world.set) : []
  const node = replicas.length > 0
    ? world.node(replicas[event.node % replicas.length])
    : world.nodes[event.node % world.nodes.length]
  switch (event._tag) {
    case "Silence":
    case "Speak":
      node.isSilent = event._tag === "Silence"
      return
    case "Refuse":
      node.refusal = "Stable"
      return
    case "Waver":
      node.refusal = "Passing"
      return
    case "Accept":
      node.refusal = undefined
      node.isForgetful = false
      return
    case "Forget":
      node.copy = undefined
      return
    case "Drain":
      node.isForgetful = true
  }
}

const duration = fc.oneof(fc.nat(100), fc.nat(10 * second), fc.nat(5 * minute), fc.nat(3 * hour))

const passing: fc.Arbitrary<Event> = fc.record({ _tag: fc.constant("Pass" as const), duration })

const disturbance: fc.Arbitrary<Event> = fc.oneof(
  fc.record({ _tag: fc.constantFrom("Sleep" as const, "SetBack" as const), duration }),
  fc.record({ _tag: fc.constantFrom("Renew" as const, "CutOff" as const, "Reconnect" as const, "Heal" as const) }),
  fc.record({
    _tag: fc.constantFrom(
      "Silence" as const,
      "Silence" as const,
      "Speak" as const,
      "Refuse" as const,
      "Waver" as const,
      "Accept" as const,
      "Forget" as const,
      "Drain" as const
    ),
    node: fc.nat(30)
  })
)

const script = fc.array(fc.oneof(passing, disturbance), { maxLength: 40 })

const latency = fc.oneof(fc.integer({ min: 1, max: 200 }), fc.integer({ min: 1, max: 4 * second }))

const options = (nodes: { readonly min: number }): fc.Arbitrary<WorldOptions> =>
  fc.record({
    key: fc.nat(255),
    wanted: fc.integer({ min: 1, max: 4 }),
    maxInFlight: fc.integer({ min: 1, max: 6 }),
    nodes: fc.uniqueArray(fc.tuple(fc.nat(255), latency), {
      selector: ([byte]) => byte,
      minLength: nodes.min,
      maxLength: 24
    })
  })

const play = (options: WorldOptions, script: ReadonlyArray<Event>): World => {
  const world = new World(options)
  for (const event of script) happen(world, event)
  return world
}

const holds = (property: (world: World) => void, nodes = { min: 1 }) =>
  fc.assert(
    fc.property(options(nodes), script, (options, script) => property(play(options, script))),
    { numRuns: 300 }
  )

const isOfUse = ({ isConfirmed, isSuspect }: ReplicaSet["replicas"][number]): boolean => isConfirmed && !isSuspect

/** The actions and their times. */
const actions = (world: World) => world.log.map(({ action, at }) => ({ action, at }))

const requestsIn = (world: World, from: number, tag: Action["_tag"]): number =>
  world.log.filter(({ action, at }) => at > from && action._tag === tag).length

/** Passes time until the condition holds; returns how long it took. */
const timeUntil = (world: World, isDone: () => boolean, limit: number): number => {
  const from = world.elapsed
  while (!isDone() && world.elapsed - from <= limit) world.pass(second)
  return world.elapsed - from
}

// ---------------------------------------------------------------------------
// Single steps
// ---------------------------------------------------------------------------

/** All actions that are due now, and the time until which the set waits after them. */
const due = (set: ReplicaSet, now: number) => {
  const stores: Array<number> = []
  const probes: Array<number> = []
  let lookups = 0
  for (let taken = 0;; taken++) {
    assert.isBelow(taken, 100, "asks for ever at one time")
    const action = set.poll(now)
    if (action._tag === "Wait") {
      return { stores, probes, lookups, wait: action.until === undefined ? undefined : action.until - now }
    }
    if (action._tag === "Lookup") lookups++
    else (action._tag === "Store" ? stores : probes).push(byteOf(action.contact.id))
  }
}

/** A set with key 0 whose lookup found these nodes and whose nearest ones accepted the record. */
const published = (
  found: ReadonlyArray<number>,
  options: { readonly wanted?: number; readonly maxInFlight?: number } = {}
): ReplicaSet => {
  const set = new ReplicaSet({ key: tiny(0), ...options })
  due(set, start)
  set.found(found.map((byte) => at(byte)), start)
  for (let { stores } = due(set, start); stores.length > 0; { stores } = due(set, start)) {
    for (const byte of stores) set.stored(tiny(byte), start)
  }
  return set
}

const range = (from: number, to: number): ReadonlyArray<number> =>
  Array.from({ length: to - from + 1 }, (_, i) => from + i)

describe("ReplicaSet", () => {
  describe("in any network, with any faults", () => {
    it("limits the requests in flight, and makes one lookup at a time and one request per peer at a time", () => {
      holds(({ log, options }) => {
        for (const { action, inFlight } of log) {
          if (action._tag === "Lookup") {
            assert.isFalse(inFlight.some((other) => other.action._tag === "Lookup"))
          } else {
            assert.isBelow(requests(inFlight).length, options.maxInFlight)
            assert.notInclude(bytes(requests(inFlight)), byteOf(action.contact.id))
          }
        }
      })
    })

    it("tracks at most twice as many as wanted, each once, nearest first, and no more healthy ones than wanted", () => {
      holds((world) => {
        const { wanted } = world.options
        for (const replicas of [...world.log.map(({ replicas }) => replicas), world.set.replicas]) {
          assert.isAtMost(replicas.length, 2 * wanted)
          assert.isAtMost(replicas.filter(isOfUse).length, wanted)
          const distances = bytes(replicas.map(({ contact }) => contact)).map((byte) => world.distance(byte))
          assert.deepStrictEqual(distances, [...new Set(distances)].sort((a, b) => a - b))
        }
      })
    })

    it("does not store to a replica that confirmed the record, unless a probe showed that it lost it", () => {
      holds(({ log }) => {
        for (const { action, holders } of log) {
          if (action._tag === "Store") assert.isFalse(holders.has(byteOf(action.contact.id)))
        }
      })
    })

    it("counts exactly those as confirmed that said they hold the current record", () => {
      holds((world) => {
        for (const { holders, replicas } of world.log) {
          const confirmed = replicas.filter(({ isConfirmed }) => isConfirmed).map(({ contact }) => contact)
          assert.sameMembers([...bytes(confirmed)], [...holders])
        }
      })
    })

    it("stores to a new node only if fewer than wanted standing nodes are closer to the key", () => {
      holds((world) => {
        for (const asked of world.log) {
          if (asked.action._tag !== "Store") continue
          const newcomer = byteOf(asked.action.contact.id)
          if (bytes(asked.replicas.map(({ contact }) => contact)).includes(newcomer)) continue
          assert.isTrue(world.hasPlaceFor(newcomer, asked))
        }
      })
    })

    it("does not wait while a request is possible and a candidate is left that would be among the closest", () => {
      holds((world) => {
        for (const moment of world.waits) {
          if (requests(moment.inFlight).length === world.options.maxInFlight) continue
          for (const byte of moment.untried) assert.isFalse(world.hasPlaceFor(byte, moment))
        }
      })
    })

    it("wakes only when something is due, if a request is possible then", () => {
      holds(({ idleWakes, options }) => {
        for (const { inFlight } of idleWakes) assert.lengthOf(requests(inFlight), options.maxInFlight)
      })
    })

    it("looks up within the hour only after a renewal, or when too few hold the record and no candidate is left", () => {
      holds(({ log, lookedUp, options }) => {
        for (const [i, asked] of log.filter(({ action }) => action._tag === "Lookup").entries()) {
          if (i === 0 || !asked.isLookedUp || asked.at >= lookedUp[i - 1] + hour) continue
          assert.isEmpty(asked.untried)
          assert.isBelow(standing(asked).length, options.wanted)
        }
      })
    })

    it("pauses at least five seconds between two lookups", () => {
      holds(({ log, lookedUp }) => {
        const asked = log.filter(({ action }) => action._tag === "Lookup").map(({ at }) => at)
        for (const [i, at] of asked.slice(1).entries()) assert.isAtLeast(at - lookedUp[i], 5 * second)
      })
    })

    it("is settled when as many as wanted are healthy, or when no store is in flight and no candidate is left", () => {
      holds((world) => {
        world.act()
        const { inFlight, isLookedUp, replicas, untried } = world.waits[world.waits.length - 1]
        const behind = new Set(replicas.filter(({ isConfirmed }) => !isConfirmed).map(({ contact }) => contact.id))
        const isOver = isLookedUp && untried.size === 0 &&
          inFlight.every(({ action }) => action._tag === "Probe" && !behind.has(action.contact.id))
        const isPlaced = replicas.filter(isOfUse).length >= world.options.wanted
        // At the limit of requests in flight, a replica may wait for its turn.
        if (isPlaced || !isOver || inFlight.length < world.options.maxInFlight) {
          assert.strictEqual(world.set.settled(world.now), isPlaced || isOver)
        }
      })
    })

    it("ignores outcomes without a request in flight", () => {
      fc.assert(
        fc.property(options({ min: 1 }), script, fc.array(fc.nat(255), { minLength: 1 }), (options, script, noise) => {
          const quiet = new World(options)
          const noisy = new World(options)
          for (const event of script) {
            happen(quiet, event)
            happen(noisy, event)
            const { inFlight, now, set } = noisy
            const awaited = (tag: Action["_tag"], byte: number) =>
              inFlight.some(({ action }) =>
                action._tag === tag && (action._tag === "Lookup" || byteOf(action.contact.id) === byte)
              )
            for (const byte of noise.flatMap((n) => [n, ...options.nodes.slice(0, n % 8).map(([byte]) => byte)])) {
              if (!awaited("Lookup", byte)) set.found([at(byte, "elsewhere")], now)
              if (!awaited("Store", byte)) {
                set.stored(tiny(byte), now)
                set.refused(tiny(byte), now, { stable: true })
              }
              if (!awaited("Probe", byte)) {
                set.kept(tiny(byte), now)
                set.lost(tiny(byte), now)
                if (!awaited("Store", byte)) set.failed(tiny(byte), now)
              }
            }
          }
          assert.deepStrictEqual(actions(noisy), actions(quiet))
        })
      )
    })

    it("continues on schedule when the clock is set back", () => {
      fc.assert(fc.property(options({ min: 1 }), script, (options, script) => {
        const steady = play(
          options,
          script.map((event) => event._tag === "SetBack" ? { ...event, duration: 0 } : event)
        )
        assert.deepStrictEqual(actions(play(options, script)), actions(steady))
      }))
    })

    it("is confirmed by as many as wanted soon after the last fault", () => {
      fc.assert(
        fc.property(options({ min: 4 }), script, (options, script) => {
          const world = play(options, script)
          world.heal()
          const { log, set, unwilling } = world
          const asked = log.length
          const isDone = () => set.confirmed.length >= options.wanted
          const willing = options.nodes.length - unwilling.size
          // A pause between lookups, a lookup, and the requests in flight. A node
          // that is not asked because it refused may be needed if there are few.
          const limit = 5.5 * minute + (willing < options.wanted ? hour : 0)
          assert.isAtMost(timeUntil(world, isDone, limit), limit)
          assert.isAtMost(log.length - asked, 30 * options.wanted)
        }),
        { numRuns: 300 }
      )
    })

    it("converges on the closest nodes and tracks no others", () => {
      holds((world) => {
        world.heal()
        // The last refusal is an hour old by the second lookup from now.
        world.pass(3 * hour)
        const closest = world.nearest(world.options.wanted)
        assert.deepStrictEqual(world.confirmed, closest)
        assert.deepStrictEqual(trackedBy(world.set), closest)
      })
    })

    it("settles at one probe of each replica and one lookup per hour", () => {
      holds((world) => {
        world.heal()
        world.pass(6 * hour)
        const from = world.elapsed
        world.pass(10 * hour)
        const { wanted } = world.options
        assert.strictEqual(requestsIn(world, from, "Store"), 0)
        assert.isAtMost(requestsIn(world, from, "Probe"), 10 * wanted)
        assert.isAtMost(requestsIn(world, from, "Lookup"), 10)
        for (const byte of world.confirmed) {
          const probes = world.log.filter(({ action, at }) =>
            at > from && action._tag === "Probe" && byteOf(action.contact.id) === byte
          )
          assert.isAtLeast(probes.length, 9)
        }
      }, { min: 4 })
    })

    it("stores a renewed record to at least as many as wanted, if there are that many", () => {
      holds((world) => {
        world.isCutOff = false
        world.renew()
        world.pass(5.5 * minute)
        const asked = new Set(
          world.log.flatMap(({ action, version }) =>
            action._tag === "Store" && version === world.version ? [action.contact.id] : []
          )
        )
        const able = world.nearest(k, ({ isSilent }) => !isSilent).filter((byte) => !world.unwilling.has(byte))
        assert.isAtLeast(asked.size, Math.min(world.options.wanted, able.length))
      })
    })
  })

  it("replaces a replica that dies within an hour and a minute, and drops it half an hour later", () => {
    const time = fc.nat(10 * hour)
    fc.assert(fc.property(options({ min: 5 }), time, fc.nat(), (options, time, chosen) => {
      const world = new World(options)
      world.pass(minute + time)
      const dead = world.confirmed[chosen % options.wanted]
      world.node(dead).isSilent = true
      const isReplaced = () => {
        const replicas = world.set.replicas.filter(isOfUse).map(({ contact }) => byteOf(contact.id))
        return replicas.length === options.wanted && !replicas.includes(dead)
      }
      const limit = hour + minute + options.wanted * silenceMillis
      assert.isAtMost(timeUntil(world, isReplaced, limit), limit)
      world.pass(30 * minute + 2 * silenceMillis)
      assert.notInclude(trackedBy(world.set), dead)
      assert.isTrue(isReplaced())
    }))
  })

  describe("placing", () => {
    it("starts with a lookup, then stores to the eight nearest nodes at once", () => {
      const set = new ReplicaSet({ key: tiny(0) })
      assert.deepStrictEqual(due(set, start), { stores: [], probes: [], lookups: 1, wait: undefined })
      set.found([9, 3, 12, 1, 7, 3, 5, 11, 2, 8, 10].map((byte) => at(byte)), start)
      assert.deepStrictEqual(due(set, start).stores, [1, 2, 3, 5, 7, 8, 9, 10])
    })

    it("replaces a node that fails or refuses by the next closest at once", () => {
      const set = new ReplicaSet({ key: tiny(0) })
      due(set, start)
      set.found(range(1, 16).map((byte) => at(byte)), start)
      due(set, start)
      set.failed(tiny(3), start)
      assert.deepStrictEqual(due(set, start).stores, [9])
      set.refused(tiny(5), start, { stable: true })
      set.refused(tiny(6), start, { stable: false })
      assert.deepStrictEqual(due(set, start).stores, [10, 11])
      for (const byte of [1, 2, 4, 7, 8, 9, 10, 11]) set.stored(tiny(byte), start)
      assert.deepStrictEqual(bytes(set.confirmed), [1, 2, 4, 7, 8, 9, 10, 11])
      assert.deepStrictEqual(due(set, start).stores, [])
    })

    it("is settled once eight confirmed, or all were tried", () => {
      const set = new ReplicaSet({ key: tiny(0) })
      assert.isFalse(set.settled(start))
      due(set, start)
      assert.isFalse(set.settled(start))
      set.found([at(1), at(2)], start)
      assert.isFalse(set.settled(start))
      due(set, start)
      set.stored(tiny(1), start)
      assert.isFalse(set.settled(start))
      set.failed(tiny(2), start)
      assert.isTrue(set.settled(start))
      set.renew(start)
      assert.isFalse(set.settled(start))
      assert.isTrue(published(range(1, 9)).settled(start))
    })

    it("is not settled while a store to a replica that lost the record is due", () => {
      const set = published([1], { wanted: 2 })
      assert.isTrue(set.settled(start))
      const now = start + 30 * second
      due(set, now)
      set.found([at(1)], now)
      set.lost(tiny(1), now)
      assert.isFalse(set.settled(now))
      due(set, now)
      set.failed(tiny(1), now)
      assert.isTrue(set.settled(now))
    })

    it("tries at most twice as many nodes as wanted after one lookup", () => {
      const set = new ReplicaSet({ key: tiny(0), wanted: 2 })
      due(set, start)
      set.found(range(1, 9).map((byte) => at(byte)), start)
      due(set, start)
      for (const byte of range(1, 4)) {
        set.refused(tiny(byte), start, { stable: false })
        due(set, start)
      }
      assert.isTrue(set.settled(start))
    })

    it("repeats a lookup that found no node after 5 seconds, then with pauses that grow fourfold up to 5 minutes", () => {
      const set = new ReplicaSet({ key: tiny(0) })
      let now = start
      const pauses = range(1, 9).map(() => {
        assert.strictEqual(due(set, now).lookups, 1)
        set.found([], now)
        const { wait } = due(set, now)
        now += wait ?? 0
        return wait
      })
      assert.deepStrictEqual(pauses, [5, 20, 80, 300, 300, 300, 300, 300, 300].map((seconds) => seconds * second))
    })

    it("resets the pauses once a new node accepts a copy", () => {
      const set = new ReplicaSet({ key: tiny(0) })
      let now = start
      for (const _ of range(1, 6)) {
        due(set, now)
        set.found([], now)
        now += due(set, now).wait ?? 0
      }
      due(set, now)
      set.found([at(1)], now)
      due(set, now)
      set.stored(tiny(1), now)
      assert.strictEqual(due(set, now).wait, 5 * second)
    })

    it("repeats a lookup for lack of nodes after 5 seconds, however many refreshes came before", () => {
      const set = published([1], { wanted: 1 })
      let now = start
      for (const _ of range(1, 5)) {
        now += hour
        for (const byte of due(set, now).probes) set.kept(tiny(byte), now)
        set.found([at(1)], now)
      }
      for (const pause of [hour, 30 * second]) {
        now += pause
        due(set, now)
        set.found([], now)
        set.failed(tiny(1), now)
      }
      assert.strictEqual(due(set, now).lookups, 1)
      set.found([], now)
      assert.strictEqual(due(set, now).wait, 5 * second)
    })

    it("stores between lookups to contacts of the caller that it is offered, and once to each that takes no copy", () => {
      const set = published([1], { wanted: 3 })
      assert.isTrue(set.lacksNodes)
      const offered = (now: number) => {
        set.offer([1, 2, 3].map((byte) => at(byte)), now)
        return due(set, now).stores
      }
      assert.deepStrictEqual(offered(start), [2, 3])
      assert.isFalse(set.lacksNodes)
      set.stored(tiny(2), start)
      set.refused(tiny(3), start, { stable: false })
      assert.isTrue(set.lacksNodes)
      assert.deepStrictEqual(offered(start + second), [])
      const later = start + 5 * second
      assert.strictEqual(due(set, later).lookups, 1)
      set.found([at(1), at(2)], later)
      assert.deepStrictEqual(offered(later), [3])
    })

    it("stores between lookups to a contact that turns out to be dual, also if it has enough replicas or dropped that one", () => {
      const isDual = (id: NodeId.NodeId) => id === tiny(4)
      const untried = published([1, 2, 4], { wanted: 2 })
      const dropped = published([2, 4], { wanted: 2 })
      dropped.offer([at(1)], start)
      for (const byte of due(dropped, start).stores) dropped.stored(tiny(byte), start)
      dropped.renew(start, [])
      for (const set of [untried, dropped]) {
        for (const byte of due(set, start).stores) set.stored(tiny(byte), start)
        assert.deepStrictEqual(bytes(set.confirmed), [1, 2])
        assert.isTrue(set.lacksDual)
        set.offer([], start, { dual: [at(4)], isDual })
        assert.deepStrictEqual(due(set, start).stores, [4])
        set.stored(tiny(4), start)
        assert.deepStrictEqual(bytes(set.confirmed), [1, 2, 4])
      }
    })

    it("names with each lookup but the first the replicas that answered the last request", () => {
      const set = published([1, 2, 3, 4], { wanted: 5 })
      const known = (now: number) => {
        let action = set.poll(now)
        while (action._tag === "Store" || action._tag === "Probe") action = set.poll(now)
        if (action._tag !== "Lookup") return assert.fail(action._tag)
        set.found([1, 2, 3, 4].map((byte) => at(byte)), now)
        return bytes(action.known)
      }
      assert.deepStrictEqual(known(start + 5 * second), [1, 2, 3, 4])
      assert.deepStrictEqual(known(start + 30 * second), [1, 2, 3, 4])
      for (const byte of [1, 3]) set.kept(tiny(byte), start + 31 * second)
      set.failed(tiny(2), start + 31 * second)
      set.lost(tiny(4), start + 31 * second)
      assert.deepStrictEqual(known(start + 10 * minute), [1, 3])
      set.reconnected(start + 11 * minute)
      assert.deepStrictEqual(known(start + 11 * minute), [])
    })

    it("remembers at most the latest 64 nodes that refused for good", () => {
      const set = new ReplicaSet({ key: tiny(0) })
      const peers = range(1, 65)
      let now = start
      for (const from of [1, 17, 33, 49, 65]) {
        due(set, now)
        set.found(peers.slice(from - 1, from + 15).map((byte) => at(byte)), now)
        for (let { stores } = due(set, now); stores.length > 0; { stores } = due(set, now)) {
          for (const byte of stores) set.refused(tiny(byte), now, { stable: true })
        }
        now += 5 * minute
      }
      due(set, now)
      set.found(peers.map((byte) => at(byte)), now)
      assert.deepStrictEqual(due(set, now).stores, [1])
    })

    it("does not ask a node again that a lookup finds while a store to it is in flight", () => {
      const set = new ReplicaSet({ key: tiny(0), wanted: 2 })
      due(set, start)
      set.found([at(1), at(2)], start)
      assert.deepStrictEqual(due(set, start).stores, [1, 2])
      set.failed(tiny(2), start)
      const now = start + 5 * second
      assert.strictEqual(due(set, now).lookups, 1)
      set.found([at(1)], now)
      assert.deepStrictEqual(due(set, now).stores, [])
      set.stored(tiny(1), now)
      assert.deepStrictEqual(due(set, now).stores, [])
    })

    it("does not ask a node that refused for good for an hour, and asks others that refused after the next lookup", () => {
      const set = new ReplicaSet({ key: tiny(0), wanted: 3 })
      const nodes = [at(1), at(2), at(3)]
      due(set, start)
      set.found(nodes, start)
      due(set, start)
      set.refused(tiny(1), start, { stable: true })
      set.refused(tiny(2), start, { stable: false })
      set.failed(tiny(3), start)
      assert.deepStrictEqual(due(set, start).stores, [])
      let now = start + 5 * second
      assert.strictEqual(due(set, now).lookups, 1)
      set.found(nodes, now)
      assert.deepStrictEqual(due(set, now).stores, [2, 3])
      set.stored(tiny(2), now)
      set.stored(tiny(3), now)
      now = start + hour
      assert.strictEqual(due(set, now).lookups, 1)
      set.found(nodes, now)
      assert.deepStrictEqual(due(set, now).stores, [1])
    })

    it("stores to a node that joined closer, and drops the farthest", () => {
      const set = published([2, 3, 4, 5], { wanted: 3 })
      assert.deepStrictEqual(bytes(set.confirmed), [2, 3, 4])
      const now = start + hour
      const { probes } = due(set, now)
      for (const byte of probes) set.kept(tiny(byte), now)
      set.found(range(1, 9).map((byte) => at(byte)), now)
      assert.deepStrictEqual(due(set, now).stores, [1])
      assert.deepStrictEqual(bytes(set.confirmed), [2, 3, 4])
      set.stored(tiny(1), now)
      assert.deepStrictEqual(bytes(set.confirmed), [1, 2, 3])
      assert.deepStrictEqual(due(set, now).stores, [])
    })

    it("does not count a replica that it dropped during a request", () => {
      const set = published([2], { wanted: 1 })
      const now = start + hour
      assert.deepStrictEqual(due(set, now).probes, [2])
      set.found([1, 2, 3].map((byte) => at(byte)), now)
      assert.deepStrictEqual(due(set, now).stores, [1])
      set.stored(tiny(1), now)
      assert.deepStrictEqual(trackedBy(set), [1])
      set.renew(now)
      due(set, now)
      set.refused(tiny(1), now, { stable: false })
      assert.deepStrictEqual(due(set, now).stores, [3])
    })

    it("uses the address at which the last lookup found a replica", () => {
      const set = published([1], { wanted: 2 })
      const now = start + 5 * second
      due(set, now)
      set.found([at(1, "moved")], now)
      assert.deepStrictEqual(set.confirmed, [at(1, "moved")])
      set.renew(now)
      assert.deepStrictEqual(set.poll(now), { _tag: "Store", contact: at(1, "moved") })
    })
  })

  describe("the network reached again", () => {
    it("looks up the key and asks all replicas at once, however many hold the record or failed", () => {
      const set = published([2, 3], { wanted: 2 })
      const now = start + hour / 4
      set.reconnected(now)
      const { lookups, probes } = due(set, now)
      assert.strictEqual(lookups, 1)
      assert.deepStrictEqual(probes, [2, 3])
      set.found([1, 2, 3].map((byte) => at(byte)), now)
      assert.deepStrictEqual(due(set, now).stores, [1])
    })

    it("looks up the key once more if a lookup was in flight, which may have reached no node", () => {
      const set = new ReplicaSet({ key: tiny(0), wanted: 1 })
      due(set, start)
      set.reconnected(start)
      set.found([at(1)], start)
      assert.deepStrictEqual(due(set, start).stores, [1])
      set.stored(tiny(1), start)
      const later = start + 5 * second
      assert.strictEqual(due(set, later).lookups, 1)
      set.found([at(1)], later)
      assert.strictEqual(due(set, later + 10 * second).lookups, 0)
    })
  })

  describe("renewal", () => {
    it("stores to the replicas first, looks up closer nodes, and counts confirmations from zero", () => {
      const set = published(range(2, 10))
      const now = start + 29 * second
      set.renew(now)
      assert.isEmpty(set.confirmed)
      assert.lengthOf(set.replicas, 8)
      const { lookups, stores } = due(set, now)
      assert.deepStrictEqual(stores, range(2, 9))
      assert.strictEqual(lookups, 1)
      set.stored(tiny(2), now)
      set.stored(tiny(4), now)
      assert.deepStrictEqual(bytes(set.confirmed), [2, 4])
      set.found(range(1, 16).map((byte) => at(byte)), now)
      assert.deepStrictEqual(due(set, now).stores, [1])
    })

    it("stores again to a node whose store of the older record was in flight, which does not count", () => {
      const set = new ReplicaSet({ key: tiny(0), wanted: 2 })
      due(set, start)
      set.found([at(1)], start)
      due(set, start)
      set.renew(start)
      assert.deepStrictEqual(due(set, start).stores, [])
      set.stored(tiny(1), start)
      assert.isEmpty(set.confirmed)
      assert.deepStrictEqual(due(set, start).stores, [1])
      set.stored(tiny(1), start)
      assert.deepStrictEqual(bytes(set.confirmed), [1])
    })

    it("finishes a probe before it stores the new record, and counts no failure for it", () => {
      for (const outcome of ["kept", "lost"] as const) {
        const set = published([1], { wanted: 1 })
        const now = start + 30 * second
        assert.deepStrictEqual(due(set, now).probes, [1])
        set.renew(now)
        assert.deepStrictEqual(due(set, now).stores, [])
        set[outcome](tiny(1), now)
        assert.isEmpty(set.confirmed)
        assert.deepStrictEqual(due(set, now).stores, [1])
        set.stored(tiny(1), now)
        due(set, now)
        set.found([at(1)], now)
        // Two responses since the first pause of 30 seconds.
        assert.strictEqual(due(set, now).wait, 8 * minute)
      }
    })

    it("stores to a contact of the caller that would be one of the closest, and looks up nothing", () => {
      const renewed = (known: ReadonlyArray<number>) => {
        const set = published([2, 3, 4], { wanted: 3 })
        const now = start + minute
        set.renew(now, known.map((byte) => at(byte)))
        const { lookups, stores } = due(set, now)
        assert.strictEqual(lookups, 0)
        return stores
      }
      assert.deepStrictEqual(renewed([]), [2, 3, 4])
      assert.deepStrictEqual(renewed([2, 3, 4, 5]), [2, 3, 4])
      assert.deepStrictEqual(renewed([1, 2]), [2, 3, 4, 1])
    })

    it("replaces a replica that does not answer, keeps tracking it, and stores again after 30 seconds", () => {
      const set = published([1, 2, 3], { wanted: 2 })
      const now = start + 10 * second
      set.renew(now)
      assert.deepStrictEqual(due(set, now).stores, [1, 2])
      set.failed(tiny(1), now)
      assert.deepStrictEqual(due(set, now).stores, [3])
      set.stored(tiny(2), now)
      set.stored(tiny(3), now)
      assert.deepStrictEqual(due(set, now + 29 * second).stores, [])
      assert.deepStrictEqual(due(set, now + 30 * second).stores, [1])
      set.stored(tiny(1), now + 30 * second)
      assert.deepStrictEqual(bytes(set.confirmed), [1, 2])
      assert.deepStrictEqual(due(set, now + 149 * second).probes, [2])
      assert.deepStrictEqual(due(set, now + 150 * second).probes, [1])
    })

    it("stores to suspects last, after their replacements", () => {
      const set = published([1, 2, 3], { wanted: 2, maxInFlight: 1 })
      for (const now of [start + 30 * second, start + minute]) {
        for (let { probes } = due(set, now); probes.length > 0; { probes } = due(set, now)) {
          if (probes[0] === 1) set.failed(tiny(1), now)
          else set.kept(tiny(2), now)
        }
      }
      const now = start + minute
      assert.isTrue(set.replicas[0].isSuspect)
      set.failed(tiny(3), now)
      set.renew(now)
      assert.deepStrictEqual(due(set, now).stores, [2])
      set.found([at(2), at(4)], now)
      set.stored(tiny(2), now)
      assert.deepStrictEqual(due(set, now).stores, [4])
      set.stored(tiny(4), now)
      assert.deepStrictEqual(due(set, now).stores, [1])
    })

    it("drops a replica that refuses the newer record", () => {
      const set = published([1, 2], { wanted: 1 })
      set.renew(start)
      due(set, start)
      set.refused(tiny(1), start, { stable: true })
      assert.isEmpty(set.replicas)
      assert.deepStrictEqual(due(set, start).stores, [2])
    })

    it("does not let a renewal shorten the pause between lookups below 5 seconds", () => {
      const set = published([1], { wanted: 1 })
      set.renew(start + second)
      const { lookups, stores, wait } = due(set, start + second)
      assert.strictEqual(lookups, 0)
      assert.deepStrictEqual(stores, [1])
      assert.strictEqual(wait, 4 * second)
    })
  })

  describe("a node with a newer record", () => {
    it("counts as no copy, keeps its place, and is probed later", () => {
      const set = published([])
      const now = start + 5 * second
      due(set, now)
      set.found(range(1, 9).map((byte) => at(byte)), now)
      assert.deepStrictEqual(due(set, now).stores, range(1, 8))
      set.superseded(tiny(1), now)
      for (const byte of range(2, 8)) set.stored(tiny(byte), now)
      assert.deepStrictEqual(bytes(set.confirmed), range(2, 8))
      assert.deepStrictEqual(due(set, now).stores, [])
      assert.isTrue(set.settled(now))
      assert.include(due(set, now + 30 * second).probes, 1)
      set.lost(tiny(1), now + 30 * second)
      assert.deepStrictEqual(due(set, now + 30 * second).stores, [1])
    })

    it("stops counting as a copy when a probe finds it", () => {
      const set = published([1, 2], { wanted: 2 })
      const now = start + 30 * second
      assert.deepStrictEqual(due(set, now).probes, [1, 2])
      set.superseded(tiny(1), now)
      set.kept(tiny(2), now)
      assert.deepStrictEqual(bytes(set.confirmed), [2])
    })

    it("gets a renewal at once, which may be newer still", () => {
      const set = published([])
      const now = start + 5 * second
      due(set, now)
      set.found([at(1)], now)
      due(set, now)
      set.superseded(tiny(1), now)
      set.renew(now)
      assert.deepStrictEqual(due(set, now).stores, [1])
      set.stored(tiny(1), now)
      assert.deepStrictEqual(bytes(set.confirmed), [1])
    })

    it("also gets a renewal that was made before it answered", () => {
      const set = published([1], { wanted: 1 })
      set.renew(start)
      due(set, start)
      set.renew(start)
      set.superseded(tiny(1), start)
      assert.deepStrictEqual(due(set, start).stores, [1])
    })
  })

  describe("a withdrawal", () => {
    it("goes to every replica at once, regardless of the limit of requests in flight, and to no other node", () => {
      const set = published(range(1, 16), { maxInFlight: 2 })
      assert.deepStrictEqual(set.withdraw(start), [])
      assert.isFalse(set.isWithdrawalAttempted)
      assert.deepStrictEqual(due(set, start), { stores: [...range(1, 8)], probes: [], lookups: 0, wait: undefined })
      for (const byte of range(1, 8)) set.stored(tiny(byte), start)
      assert.isTrue(set.isWithdrawalAttempted)
      assert.isTrue(set.isDone)
    })

    it("names the other nodes that may hold a copy: dropped, or silent after a store", () => {
      const set = published([3, 4, 5], { wanted: 2 })
      const now = start + 10 * second
      set.renew(now)
      due(set, now)
      set.found([1, 3, 4, 6].map((byte) => at(byte)), now)
      for (const byte of [3, 4]) set.stored(tiny(byte), now)
      assert.deepStrictEqual(due(set, now).stores, [1])
      set.stored(tiny(1), now)
      assert.deepStrictEqual(trackedBy(set), [1, 3])
      assert.deepStrictEqual(bytes(set.withdraw(now)), [4])
    })

    it("does not wait for a node that has not answered its first store", () => {
      const set = new ReplicaSet({ key: tiny(0) })
      due(set, start)
      set.found([at(1), at(2)], start)
      due(set, start)
      set.stored(tiny(1), start)
      assert.deepStrictEqual(bytes(set.withdraw(start)), [2])
      assert.deepStrictEqual(due(set, start).stores, [1])
      // Its late response is to the record that was withdrawn.
      set.stored(tiny(2), start)
      assert.deepStrictEqual(trackedBy(set), [1])
      set.stored(tiny(1), start)
      assert.isTrue(set.isDone)
    })

    it("is done where no node can hold a copy", () => {
      const set = new ReplicaSet({ key: tiny(0) })
      due(set, start)
      assert.deepStrictEqual(set.withdraw(start), [])
      assert.isTrue(set.isWithdrawalAttempted)
      assert.isTrue(set.isDone)
      set.found([at(1)], start)
      assert.deepStrictEqual(due(set, start).stores, [])
    })

    it("is stored again to a replica that was silent, without delaying the withdrawal", () => {
      const set = published([1, 2], { wanted: 2 })
      set.withdraw(start)
      due(set, start)
      set.stored(tiny(1), start)
      assert.isFalse(set.isWithdrawalAttempted)
      set.failed(tiny(2), start)
      assert.isTrue(set.isWithdrawalAttempted)
      assert.isFalse(set.isDone)
      const { stores, wait } = due(set, start)
      assert.deepStrictEqual(stores, [])
      assert.strictEqual(wait, 30 * second)
      assert.deepStrictEqual(due(set, start + 30 * second).stores, [2])
      set.stored(tiny(2), start + 30 * second)
      assert.isTrue(set.isDone)
    })

    it("reaches every node with a copy after the last fault, in any network", () => {
      fc.assert(
        fc.property(options({ min: 1 }), script, (options, script) => {
          const world = play(options, script)
          world.heal()
          const told = new Set(world.withdraw())
          world.pass(hour)
          for (const { byte, copy } of world.nodes) {
            if (copy !== undefined && copy < world.version) assert.include([...told], byte)
          }
          assert.isTrue(world.set.isDone)
          assert.isTrue(world.set.isWithdrawalAttempted)
        }),
        { numRuns: 300 }
      )
    })

    it("can be followed by another record like any version", () => {
      holds((world) => {
        world.heal()
        world.withdraw()
        world.renew()
        world.pass(3 * hour)
        assert.deepStrictEqual(world.confirmed, world.nearest(world.options.wanted))
      })
    })
  })

  describe("probes", () => {
    const tick = (set: ReplicaSet, now: number): number => {
      const { wait } = due(set, now)
      if (wait === undefined) throw new Error("waits for an outcome only")
      return now + wait
    }

    /** A set with one wanted replica, and a time far from its next lookup. */
    const alone = () => published([1, 2, 3, 4], { wanted: 1 })

    it("start 30 seconds after the confirmation, with pauses that grow fourfold up to an hour while the replica answers", () => {
      const set = published([1], { wanted: 1 })
      let now = start
      let last = start
      const pauses: Array<number> = []
      while (pauses.length < 6) {
        now = tick(set, now)
        const { lookups, probes } = due(set, now)
        if (lookups > 0) set.found([at(1)], now)
        if (probes.length === 0) continue
        pauses.push((now - last) / second)
        last = now
        set.kept(tiny(1), now)
      }
      assert.deepStrictEqual(pauses, [30, 120, 480, 1920, 3600, 3600])
    })

    it("start again at 30 seconds after a failure", () => {
      const set = alone()
      let now = start
      for (const _ of range(1, 3)) {
        now = tick(set, now)
        assert.deepStrictEqual(due(set, now).probes, [1])
        set.kept(tiny(1), now)
      }
      now = tick(set, now)
      due(set, now)
      set.failed(tiny(1), now)
      assert.strictEqual(due(set, now).wait, 30 * second)
      assert.deepStrictEqual(bytes(set.confirmed), [1])
      now += 30 * second
      assert.deepStrictEqual(due(set, now).probes, [1])
      set.kept(tiny(1), now)
      assert.strictEqual(due(set, now).wait, 2 * minute)
      assert.deepStrictEqual(due(set, now).stores, [])
    })

    /** Two probes without a response. */
    const suspect = () => {
      const set = alone()
      for (const now of [start + 30 * second, start + minute]) {
        assert.deepStrictEqual(due(set, now).probes, [1])
        set.failed(tiny(1), now)
      }
      return { set, since: start + minute }
    }

    it("make a replica suspect that fails twice in a row, which is replaced at once and stays tracked", () => {
      const { set, since } = suspect()
      assert.deepStrictEqual(due(set, since).stores, [2])
      set.stored(tiny(2), since)
      assert.deepStrictEqual(set.replicas, [
        { contact: at(1), isConfirmed: true, isSuspect: true },
        { contact: at(2), isConfirmed: true, isSuspect: false }
      ])
    })

    it("drop the farthest suspects when there are too many", () => {
      const set = published([1, 2], { wanted: 1 })
      let now = start
      for (const byte of [1, 2]) {
        for (const _ of range(1, 2)) {
          now += 30 * second
          const { probes } = due(set, now)
          assert.include(probes, byte)
          for (const byte of probes) set.failed(tiny(byte), now)
        }
        const { lookups, stores } = due(set, now)
        if (lookups > 0) set.found([at(3)], now)
        assert.deepStrictEqual([...stores, ...due(set, now).stores], [byte + 1])
        set.stored(tiny(byte + 1), now)
      }
      assert.deepStrictEqual(set.replicas, [
        { contact: at(1), isConfirmed: true, isSuspect: true },
        { contact: at(3), isConfirmed: true, isSuspect: false }
      ])
    })

    it("keep a suspect tracked when a nearer node replaces a replica", () => {
      const { set, since } = suspect()
      due(set, since)
      set.stored(tiny(2), since)
      set.renew(since)
      due(set, since)
      set.failed(tiny(1), since)
      set.stored(tiny(2), since)
      set.found([at(0)], since)
      assert.deepStrictEqual(due(set, since).stores, [0])
      set.stored(tiny(0), since)
      assert.deepStrictEqual(trackedBy(set), [0, 1])
    })

    it("clear a suspect that answers, for which the farthest is dropped", () => {
      const { set, since } = suspect()
      due(set, since)
      set.stored(tiny(2), since)
      const now = since + 30 * minute
      assert.deepStrictEqual(due(set, now).probes, [1, 2])
      set.kept(tiny(1), now)
      assert.deepStrictEqual(set.replicas, [{ contact: at(1), isConfirmed: true, isSuspect: false }])
    })

    it("ask a suspect once more, exactly at the end of the grace period, when it is dropped", () => {
      const { set, since } = suspect()
      due(set, since)
      set.stored(tiny(2), since)
      const asked: Array<number> = []
      for (let now = since; now <= since + 30 * minute; now = tick(set, now)) {
        assert.include(trackedBy(set), 1)
        const { probes } = due(set, now)
        for (const byte of probes) {
          if (byte === 2) {
            set.kept(tiny(2), now)
          } else {
            set.failed(tiny(1), now)
            asked.push((now - since) / minute)
          }
        }
      }
      assert.deepStrictEqual(asked, [30])
      assert.deepStrictEqual(trackedBy(set), [2])
    })

    it("retry a suspect at once that answered a lookup", () => {
      const set = published([1], { wanted: 1 })
      for (const now of [start + 30 * second, start + minute]) {
        due(set, now)
        set.failed(tiny(1), now)
      }
      const now = start + minute
      assert.strictEqual(due(set, now).lookups, 1)
      set.found([at(1)], now)
      assert.deepStrictEqual(due(set, now).probes, [1])
    })

    it("cause a lost record to be stored again at once, and follow 30 seconds later", () => {
      const set = alone()
      const now = start + 30 * second
      due(set, now)
      set.lost(tiny(1), now)
      assert.isEmpty(set.confirmed)
      assert.deepStrictEqual(due(set, now).stores, [1])
      set.stored(tiny(1), now)
      assert.deepStrictEqual(bytes(set.confirmed), [1])
      assert.strictEqual(due(set, now).wait, 30 * second)
    })

    it("replace a node that loses every copy, which is not asked for an hour after the grace period", () => {
      const set = alone()
      let since = 0
      let now = start
      while (set.replicas.some(({ contact }) => contact.id === tiny(1))) {
        now = tick(set, now)
        const { lookups, probes } = due(set, now)
        if (lookups > 0) set.found(range(1, 4).map((byte) => at(byte)), now)
        for (const byte of probes) {
          if (byte === 1) set.lost(tiny(1), now)
          else set.kept(tiny(byte), now)
        }
        for (const byte of due(set, now).stores) set.stored(tiny(byte), now)
        if (since === 0 && set.replicas.some(({ isSuspect }) => isSuspect)) since = now
      }
      assert.strictEqual(since, start + minute)
      assert.strictEqual(now, since + 30 * minute)
      assert.deepStrictEqual(bytes(set.confirmed), [2])
      set.renew(now)
      due(set, now)
      set.found(range(1, 4).map((byte) => at(byte)), now)
      assert.deepStrictEqual(due(set, now).stores, [])
    })

    it("give time to a suspect that accepted a lost record again after its grace period", () => {
      const set = alone()
      for (const now of [start + 30 * second, start + minute]) {
        assert.deepStrictEqual(due(set, now).probes, [1])
        set.lost(tiny(1), now)
        if (now === start + minute) break
        assert.deepStrictEqual(due(set, now).stores, [1])
        set.stored(tiny(1), now)
      }
      assert.include(due(set, start + minute).stores, 1)
      set.stored(tiny(1), start + 2 * hour)
      assert.notInclude(due(set, start + 2 * hour).probes, 1)
    })

    it("are all due after hours of suspension, within the limit of requests in flight", () => {
      const set = published(range(1, 16), { maxInFlight: 3 })
      const now = start + 5 * hour
      assert.deepStrictEqual(due(set, now).probes, [1, 2, 3])
      set.kept(tiny(2), now)
      assert.deepStrictEqual(due(set, now).probes, [4])
    })

    it("stay on schedule when the clock is set back, however far", () => {
      const set = published([1], { wanted: 1 })
      due(set, start)
      const { wait } = due(set, start - 1000 * hour)
      assert.strictEqual(wait, 30 * second)
      assert.deepStrictEqual(due(set, start - 1000 * hour + 30 * second).probes, [1])
    })
  })

  describe("on dual nodes", () => {
    const isDual = (id: NodeId.NodeId): boolean => byteOf(id) >= 100

    const found = (set: ReplicaSet, closest: ReadonlyArray<number>, dual: ReadonlyArray<number>, now: number) =>
      set.found(closest.map((byte) => at(byte)), now, { dual: dual.map((byte) => at(byte)), isDual })

    /** A record on the nodes of the first lookup. */
    const placed = (closest: ReadonlyArray<number>, dual: ReadonlyArray<number>) => {
      const set = new ReplicaSet({ key: tiny(0), maxInFlight: 32 })
      due(set, start)
      found(set, closest, dual, start)
      const { stores } = due(set, start)
      for (const byte of stores) set.stored(tiny(byte), start)
      return { set, stores }
    }

    it("has copies on the three closest of them, beside the closest of all", () => {
      assert.deepStrictEqual(placed(range(1, 16), [100, 101, 102]).stores, [...range(1, 8), 100, 101, 102])
      assert.deepStrictEqual(placed(range(1, 16), [100]).stores, [...range(1, 8), 100])
    })

    it("has no more copies than without them, where they are among the closest of all", () => {
      assert.deepStrictEqual(placed(range(100, 115), [100, 101, 102]).stores, range(100, 107))
      assert.deepStrictEqual(placed([1, 2, 3, 100, 101, 102, 103, 104, 105], [100, 101, 102]).stores, [
        1,
        2,
        3,
        100,
        101,
        102,
        103,
        104
      ])
    })

    it("keeps these copies when it is renewed and looked up again, and replaces them by closer ones", () => {
      const { set } = placed(range(1, 16), [110, 111, 112])
      set.renew(start + minute)
      const renewed = due(set, start + minute)
      assert.deepStrictEqual(renewed.stores, [...range(1, 8), 110, 111, 112])
      for (const byte of renewed.stores) set.stored(tiny(byte), start + minute)
      found(set, range(1, 16), [100, 110, 111], start + minute)
      assert.deepStrictEqual(due(set, start + minute).stores, [100])
      set.stored(tiny(100), start + minute)
      assert.deepStrictEqual(bytes(set.confirmed), [...range(1, 8), 100, 110, 111])
    })

    it("looks for others while it lacks copies near the key, however many are on dual nodes", () => {
      const { set } = placed([1, 2, 3, 4, 5, 6], [100, 101, 102])
      assert.isFalse(due(set, start + 4 * second).lookups > 0)
      assert.isTrue(due(set, start + 6 * second).lookups > 0)
    })

    it("replaces a dual replica that refuses the record, and one that is dual no more", () => {
      const { set } = placed(range(1, 16), [110, 111, 112])
      set.renew(start + hour)
      for (const byte of due(set, start + hour).stores) {
        if (byte === 110) set.refused(tiny(110), start + hour, { stable: true })
        else set.stored(tiny(byte), start + hour)
      }
      set.found(range(1, 16).map((byte) => at(byte)), start + hour, {
        dual: [112, 113, 114].map((byte) => at(byte)),
        isDual: (id) => isDual(id) && byteOf(id) !== 111
      })
      assert.deepStrictEqual(due(set, start + hour).stores, [113, 114])
      for (const byte of [113, 114]) set.stored(tiny(byte), start + hour)
      assert.deepStrictEqual(bytes(set.confirmed), [...range(1, 8), 112, 113, 114])
    })

    it("sends the withdrawal to them as well", () => {
      const { set } = placed(range(1, 16), [100, 101, 102])
      set.withdraw(start + minute)
      assert.deepStrictEqual(due(set, start + minute).stores, [...range(1, 8), 100, 101, 102])
    })
  })
})
