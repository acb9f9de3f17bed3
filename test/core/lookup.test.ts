import { assert, describe, it } from "@effect/vitest"
import * as fc from "fast-check"
import type { Address } from "../../src/Address.ts"
import type { Contact } from "../../src/Contact.ts"
import * as Lookup from "../../src/core/lookup.ts"
import type { QueryStep } from "../../src/NodeEvents.ts"
import * as NodeId from "../../src/NodeId.ts"

// ---------------------------------------------------------------------------
// Driving a lookup
// ---------------------------------------------------------------------------

const rtt = 10

interface Asked {
  readonly contact: Contact
  readonly about: NodeId.NodeId
  readonly at: number
}

/** A request and the state of the lookup when it was made. */
interface Request extends Asked {
  readonly inFlight: ReadonlyArray<Asked>
  readonly answered: ReadonlyArray<NodeId.NodeId>
  readonly known: ReadonlyArray<NodeId.NodeId>
}

interface Run {
  readonly lookup: Lookup.Lookup
  readonly requests: ReadonlyArray<Request>
  readonly answered: ReadonlyArray<NodeId.NodeId>
  readonly failed: ReadonlyArray<NodeId.NodeId>
  /** The requests in flight when the lookup was done. */
  readonly abandoned: ReadonlyArray<Asked>
  /** Contacts in the order in which they were learned, duplicates included. */
  readonly heard: ReadonlyArray<Contact>
  readonly endedAt: number
}

/** Decides the next event and its time: the outcome of a request, or the time until which the lookup waits. */
type Schedule = (
  inFlight: ReadonlyArray<Asked>,
  until: number | undefined,
  now: number
) => { readonly at: number; readonly outcome: number | undefined }

interface Driver {
  readonly options: Partial<Lookup.Options> & Pick<Lookup.Options, "self" | "target">
  readonly seeds: ReadonlyArray<Contact>
  /** The response of a contact; `undefined` if it stays silent. */
  readonly answer: (contact: Contact, about: NodeId.NodeId) => Lookup.Answer | undefined
  readonly schedule: Schedule
  /** Called after each event to disturb the lookup. */
  readonly disturb?: (lookup: Lookup.Lookup, last: NodeId.NodeId | undefined, now: number) => void
}

const make = (options: Driver["options"]) =>
  new Lookup.Lookup({ startedAt: 0, subnet: subnetOf, isBad: () => false, slowAfter: () => rtt, ...options })

/** Hosts are written `subnet/name`, or `name` without a subnet. */
const subnetOf = (host: string): string | undefined => host.includes("/") ? host.split("/")[0] : undefined

const drive = ({ answer, disturb, options, schedule, seeds }: Driver): Run => {
  const lookup = make(options)
  const requests: Array<Request> = []
  const inFlight: Array<Asked> = []
  const answered: Array<NodeId.NodeId> = []
  const failed: Array<NodeId.NodeId> = []
  const heard: Array<Contact> = [...seeds]
  let now = 1000
  for (const seed of seeds) lookup.seed(seed)
  disturb?.(lookup, undefined, now)
  for (let step = 0; step < 5000; step++) {
    const action = lookup.poll(now)
    if (action._tag === "Done") {
      return { lookup, requests, answered, failed, abandoned: inFlight, heard, endedAt: now }
    }
    if (action._tag === "Ask") {
      const { about, contact } = action
      requests.push({
        contact,
        about,
        at: now,
        inFlight: [...inFlight],
        answered: [...answered],
        known: heard.map(({ id }) => id)
      })
      inFlight.push({ contact, about, at: now })
      continue
    }
    assert.isNotEmpty(inFlight, "waits with nothing in flight")
    const slowAt = inFlight.map(({ at }) => at + rtt).filter((at) => now < at)
    assert.strictEqual(
      action.until,
      slowAt.length === 0 ? undefined : Math.min(...slowAt),
      "waits for the next slow one"
    )
    const { at, outcome } = schedule(inFlight, action.until, now)
    now = at
    if (outcome === undefined) continue
    const [{ about, contact }] = inFlight.splice(outcome, 1)
    const given = answer(contact, about)
    if (given === undefined) {
      lookup.failed(contact.id, now)
      failed.push(contact.id)
    } else {
      lookup.answered(contact.id, now, given)
      answered.push(contact.id)
      heard.push(...given.nodes.slice(0, options.maxNodesPerAnswer ?? 20))
    }
    disturb?.(lookup, contact.id, now)
  }
  throw new Error("does not end")
}

const byDistance = (target: NodeId.NodeId) => (a: NodeId.NodeId, b: NodeId.NodeId) =>
  NodeId.compareDistance(target, a, b)

const nearest = (target: NodeId.NodeId, ids: Iterable<NodeId.NodeId>, n: number): ReadonlyArray<NodeId.NodeId> =>
  [...new Set(ids)].sort(byDistance(target)).slice(0, n)

const idsOf = (contacts: ReadonlyArray<Contact>): ReadonlyArray<NodeId.NodeId> => contacts.map(({ id }) => id)

const contactOf = (id: NodeId.NodeId, host = `host-${id.slice(0, 8)}`): Contact => ({
  id,
  address: "00".repeat(21) as Address,
  host,
  port: 1
})

// ---------------------------------------------------------------------------
// Small worlds: ids of one byte, arbitrary responses
// ---------------------------------------------------------------------------

const tiny = (byte: number): NodeId.NodeId => (byte.toString(16).padStart(2, "0") + "0".repeat(62)) as NodeId.NodeId

const at = (byte: number, host = `host-${byte}`): Contact => contactOf(tiny(byte), host)

interface Peer {
  readonly isSilent: boolean
  readonly isBad: boolean
  readonly holdsRecord: boolean
  /** The nodes that it names, each with the number of an address: 0 is the true one. */
  readonly names: ReadonlyArray<readonly [byte: number, place: number]>
}

interface World {
  readonly self: number
  readonly target: number
  readonly k: number
  readonly alpha: number
  readonly maxInFlight: number
  /** All nodes are in one subnet, which may have one of the k places. */
  readonly isCrowded: boolean
  readonly peers: ReadonlyArray<Peer>
  readonly seeds: ReadonlyArray<number>
  readonly choices: ReadonlyArray<number>
}

const byte = fc.nat(255)

const peer: fc.Arbitrary<Peer> = fc.record({
  isSilent: fc.boolean().chain((often) => often ? fc.boolean() : fc.constant(false)),
  isBad: fc.nat(9).map((n) => n === 0),
  holdsRecord: fc.nat(3).map((n) => n === 0),
  names: fc.array(fc.tuple(byte, fc.nat(8).map((n) => n < 7 ? 0 : n)), { maxLength: 30 })
})

/** Id `b` behaves like `peers[b % peers.length]`: any response that a node could give, honest or not. */
const world: fc.Arbitrary<World> = fc.record({
  self: byte,
  target: byte,
  k: fc.integer({ min: 1, max: 8 }),
  alpha: fc.integer({ min: 1, max: 4 }),
  maxInFlight: fc.integer({ min: 4, max: 12 }),
  isCrowded: fc.nat(4).map((n) => n === 0),
  peers: fc.array(peer, { minLength: 1, maxLength: 64 }),
  seeds: fc.array(byte, { maxLength: 12 }),
  choices: fc.array(fc.nat(1000), { minLength: 1, maxLength: 32 })
})

const byteOf = (id: NodeId.NodeId): number => parseInt(id.slice(0, 2), 16)

const peerOf = (w: World, id: NodeId.NodeId): Peer => w.peers[byteOf(id) % w.peers.length]

/** Any outcome at any time, from a repeating sequence of choices. */
const anyOrder = (choices: ReadonlyArray<number>): Schedule => {
  let dealt = 0
  return (inFlight, until, now) => {
    const chosen = choices[dealt++ % choices.length] % (inFlight.length + (until === undefined ? 0 : 1))
    return chosen < inFlight.length || until === undefined
      ? { at: now + 1, outcome: chosen }
      : { at: until, outcome: undefined }
  }
}

const driver = (w: World, options: Partial<Lookup.Options> = {}): Driver => ({
  options: {
    self: tiny(w.self),
    target: tiny(w.target),
    k: w.k,
    alpha: w.alpha,
    maxInFlight: w.maxInFlight,
    isBad: (id) => peerOf(w, id).isBad,
    ...(w.isCrowded && w.k > 1 ? { subnet: () => "one", maxPerSubnet: 1 } : {}),
    ...options
  },
  seeds: w.seeds.map((byte) => at(byte)),
  answer: ({ host, id }) => {
    const { holdsRecord, isSilent, names } = peerOf(w, id)
    return isSilent || host.startsWith("wrong")
      ? undefined
      : { holdsRecord, nodes: names.map(([byte, place]) => at(byte, place === 0 ? undefined : `wrong-${place}`)) }
  },
  schedule: anyOrder(w.choices)
})

const holds = (property: (w: World, run: Run) => void, options?: Partial<Lookup.Options>) =>
  fc.assert(fc.property(world, (w) => property(w, drive(driver(w, options)))), { numRuns: 300 })

// ---------------------------------------------------------------------------
// Networks: whole ids, full routing tables, latencies
// ---------------------------------------------------------------------------

interface Network {
  readonly nodes: ReadonlyArray<NodeId.NodeId>
  /** The contacts of each node: up to 16 per bucket. */
  readonly tables: ReadonlyMap<NodeId.NodeId, ReadonlyArray<NodeId.NodeId>>
}

const network = (size: number, seed: number): Network =>
  networkOf(Array.from({ length: size }, (_, i) => NodeId.fromTopic(`${seed}/${i}`)))

/** A network of nodes, each of which knows up to `k` others per bucket. */
const networkOf = (nodes: ReadonlyArray<NodeId.NodeId>, k = 16): Network => {
  const tables = nodes.map((self, i) => {
    const counts = new Map<number, number>()
    const table = [...nodes.slice(i + 1), ...nodes.slice(0, i)].filter((other) => {
      const bucket = NodeId.bucketIndex(self, other)
      const count = counts.get(bucket) ?? 0
      counts.set(bucket, count + 1)
      return count < k
    })
    return [self, table] as const
  })
  return { nodes, tables: new Map(tables) }
}

/** Number of nodes that fit into a datagram. */
const roomInAnswer = 15

const honest = (net: Network, id: NodeId.NodeId, about: NodeId.NodeId): Lookup.Answer => ({
  nodes: nearest(about, net.tables.get(id) ?? [], roomInAnswer).map((id) => contactOf(id)),
  holdsRecord: false
})

/** A response takes 2 to 9 of the expected 10 ms, a failure 100. */
const byLatency = (isSilent: (contact: Contact) => boolean): Schedule => (inFlight, until, now) => {
  const arrivals = inFlight.map(({ at, contact }) =>
    at + (isSilent(contact) ? 100 : 2 + parseInt(contact.id.slice(-2), 16) % 8)
  )
  const first = Math.min(...arrivals)
  return until !== undefined && until < first
    ? { at: until, outcome: undefined }
    : { at: Math.max(now, first), outcome: arrivals.indexOf(first) }
}

interface Journey {
  readonly net: Network
  readonly target: NodeId.NodeId
  readonly options?: Partial<Lookup.Options>
  readonly seeds?: ReadonlyArray<Contact>
  /** Replaces the honest response of the nodes for which it is defined. */
  readonly lie?: (contact: Contact, about: NodeId.NodeId) => Lookup.Answer | undefined
  readonly gone?: ReadonlySet<NodeId.NodeId>
}

/** A lookup by the first node of a network, and the nodes that it must find. */
const travel = ({ gone = new Set(), lie, net, options, seeds = [], target }: Journey) => {
  const [self] = net.nodes
  const isThere = ({ host, id }: Contact) => net.tables.has(id) && host === contactOf(id).host && !gone.has(id)
  const isSilent = (contact: Contact) => lie?.(contact, target) === undefined && !isThere(contact)
  const run = drive({
    options: { self, target, ...options },
    seeds: [...seeds, ...nearest(target, net.tables.get(self) ?? [], 32).map((id) => contactOf(id))],
    answer: (contact, about) => isSilent(contact) ? undefined : lie?.(contact, about) ?? honest(net, contact.id, about),
    schedule: byLatency(isSilent)
  })
  const truth = nearest(target, net.nodes.filter((id) => id !== self && !gone.has(id)), 16)
  return { ...run, found: idsOf(run.lookup.closest()), truth }
}

/**
 * Exactness is not guaranteed: in one of many thousands of networks, no queried
 * node knows one of the closest. So these properties check fixed networks.
 */
const sameEveryTime = (numRuns: number) => ({ numRuns, seed: 1 })

const somewhere = (seed: number): NodeId.NodeId => NodeId.fromTopic(`target/${seed}`)

describe("Lookup", () => {
  describe("with any responses in any order", () => {
    it("ends after at most `maxCandidates` requests", () => {
      fc.assert(fc.property(world, fc.integer({ min: 1, max: 40 }), (w, maxCandidates) => {
        const { heard, requests } = drive(driver(w, { maxCandidates }))
        assert.isAtMost(requests.length, maxCandidates)
        assert.isAtMost(requests.length, new Set(heard.map(({ host, id }) => `${id} ${host}`)).size)
      }))
    })

    it("makes at most `maxRequests` requests, however many candidates it remembers", () => {
      fc.assert(fc.property(world, fc.integer({ min: 1, max: 40 }), (w, maxRequests) => {
        assert.isAtMost(drive(driver(w, { maxRequests })).requests.length, maxRequests)
      }))
    })

    it("never asks itself, asks no id twice at one address, and asks an id again only after it failed elsewhere", () => {
      holds((w, { requests }) => {
        const places = new Map<NodeId.NodeId, Array<string>>()
        for (const { contact, inFlight, answered } of requests) {
          assert.notStrictEqual(contact.id, tiny(w.self))
          assert.notInclude(answered, contact.id)
          assert.notInclude(inFlight.map((other) => other.contact.id), contact.id)
          places.set(contact.id, [...places.get(contact.id) ?? [], contact.host])
        }
        for (const hosts of places.values()) {
          assert.isAtMost(hosts.length, 2)
          assert.strictEqual(new Set(hosts).size, hosts.length)
        }
      })
    })

    it("limits the requests in flight, and those that are not slow to alpha until the closest node answered", () => {
      holds((w, { requests }) => {
        for (const { answered, at, contact, inFlight } of requests) {
          assert.isBelow(inFlight.length, w.maxInFlight)
          const prompt = inFlight.filter((other) => at < other.at + rtt)
          assert.isBelow(prompt.length, Math.max(w.alpha, w.k))
          const closer = byDistance(tiny(w.target))
          if (answered.every((id) => closer(contact.id, id) < 0)) assert.isBelow(prompt.length, w.alpha)
        }
      })
    })

    it("asks about the target, and only after convergence also about a point beside it on the node's side", () => {
      holds((w, { requests }) => {
        for (const { about, answered, contact } of requests) {
          if (about === tiny(w.target)) continue
          assert.isTrue(answered.some((id) => NodeId.compareDistance(tiny(w.target), id, contact.id) < 0))
          const distance = parseInt(NodeId.distance(tiny(w.target), contact.id).slice(0, 2), 16)
          assert.strictEqual(byteOf(about) ^ w.target, 2 ** Math.floor(Math.log2(distance)))
        }
      })
    })

    it("asks no node farther than the k-th closest that answered", () => {
      holds((w, { requests }) => {
        for (const { answered, contact } of requests) {
          const closest = nearest(tiny(w.target), answered, w.k)
          if (closest.length < w.k) continue
          assert.isBelow(NodeId.compareDistance(tiny(w.target), contact.id, closest[w.k - 1]), 0)
        }
      })
    })

    it("ends only when all known nodes closer than the k-th, except bad ones, have answered or failed", () => {
      holds((w, { answered, failed, heard }) => {
        const closest = nearest(tiny(w.target), answered, w.k)
        for (const { id } of heard) {
          if (id === tiny(w.self) || answered.includes(id) || failed.includes(id)) continue
          assert.lengthOf(closest, w.k)
          if (!peerOf(w, id).isBad) {
            assert.isAbove(NodeId.compareDistance(tiny(w.target), id, closest[w.k - 1]), 0)
          }
        }
      }, { maxCandidates: 1000 })
    })

    it("abandons only requests that cannot change the k closest", () => {
      holds((w, { abandoned, answered }) => {
        const closest = nearest(tiny(w.target), answered, w.k)
        for (const { contact } of abandoned) {
          assert.lengthOf(closest, w.k)
          assert.isAbove(NodeId.compareDistance(tiny(w.target), contact.id, closest[w.k - 1]), 0)
        }
      })
    })

    it("finds the closest nodes that answered, nearest first, each once, at the address where it answered", () => {
      holds((w, { answered, lookup }) => {
        assert.deepStrictEqual(idsOf(lookup.closest()), nearest(tiny(w.target), answered, w.k))
        assert.deepStrictEqual(idsOf(lookup.closest(3)), nearest(tiny(w.target), answered, 3))
        for (const { host } of lookup.closest()) assert.isFalse(host.startsWith("wrong"))
      })
    })

    it("asks a bad node only when all others were given their time and fewer than k may answer", () => {
      holds((w, { requests }) => {
        for (const { answered, at, contact, inFlight, known } of requests) {
          if (!peerOf(w, contact.id).isBad) continue
          const before = requests.filter((other) => other.at <= at).map((other) => other.contact.id)
          for (const id of known) {
            if (id !== tiny(w.self) && !peerOf(w, id).isBad) assert.include(before, id)
          }
          const prompt = inFlight.filter((other) => at < other.at + rtt)
          assert.isBelow(answered.length + prompt.length, w.k)
          if (!w.isCrowded) { for (const { contact } of prompt) assert.isTrue(peerOf(w, contact.id).isBad) }
        }
      }, { maxCandidates: 1000 })
    })

    it("asks each node first at the first address that was reported", () => {
      holds((_, { heard, requests }) => {
        const asked = new Set<NodeId.NodeId>()
        for (const { contact } of requests) {
          if (asked.has(contact.id)) continue
          asked.add(contact.id)
          assert.strictEqual(contact.host, heard.find(({ id }) => id === contact.id)?.host)
        }
      }, { maxCandidates: 1000 })
    })

    it("uses at most `maxNodesPerAnswer` nodes of a response", () => {
      holds((w, { requests }) => {
        const taken = new Set([...w.seeds, ...w.peers.flatMap(({ names }) => names.slice(0, 2).map(([byte]) => byte))])
        for (const { contact } of requests) assert.include(taken, byteOf(contact.id))
      }, { maxNodesPerAnswer: 2 })
    })

    it("ends with the response that completes the quorum of holders near the target, or otherwise as without a quorum", () => {
      fc.assert(fc.property(world, fc.integer({ min: 1, max: 4 }), (w, quorum) => {
        const { answered, lookup, requests } = drive(driver(w, { quorum }))
        const unlimited = drive(driver(w))
        if (answered.length < unlimited.answered.length || requests.length < unlimited.requests.length) {
          assert.isAtLeast(answered.filter((id) => peerOf(w, id).holdsRecord).length, quorum)
          assert.isTrue(peerOf(w, answered[answered.length - 1]).holdsRecord)
        } else {
          assert.deepStrictEqual(requests, unlimited.requests)
          assert.deepStrictEqual(lookup.closest(), unlimited.lookup.closest())
        }
      }))
    })

    it("counts only holders among the k/2 nodes nearest to the target for the quorum", () => {
      fc.assert(fc.property(fc.shuffledSubarray([0, 1, 2, 3, 4, 5, 6, 7], { minLength: 8 }), (order) => {
        const lookup = new Lookup.Lookup({
          self: tiny(255),
          target: tiny(0),
          startedAt: 0,
          subnet: () => undefined,
          isBad: () => false,
          slowAfter: () => 1000,
          alpha: 16,
          quorum: 3
        })
        for (let n = 1; n <= 16; n++) lookup.seed(at(n))
        // All requests are sent before the first response.
        while (lookup.poll(0)._tag === "Ask");
        const answers = (n: number, holdsRecord: boolean) => lookup.answered(tiny(n), 0, { nodes: [], holdsRecord })
        for (let n = 9; n <= 12; n++) answers(n, true)
        assert.notStrictEqual(lookup.poll(0)._tag, "Done")
        let holders = 0
        for (const n of order) {
          while (lookup.poll(0)._tag === "Ask");
          const holdsRecord = n % 2 === 0
          answers(n + 1, holdsRecord)
          if (holdsRecord) holders++
          if (holders === 3) break
          assert.notStrictEqual(lookup.poll(0)._tag, "Done")
        }
        assert.strictEqual(lookup.poll(0)._tag, "Done")
      }))
    })

    it("accepts no quorum of nodes that surround the target", () => {
      fc.assert(fc.property(world, fc.integer({ min: 1, max: 4 }), (w, quorum) => {
        const surrounded = drive(driver(w, { quorum, isSurrounded: () => true }))
        const unlimited = drive(driver(w))
        assert.deepStrictEqual(surrounded.requests, unlimited.requests)
        assert.deepStrictEqual(surrounded.lookup.closest(), unlimited.lookup.closest())
      }))
    })

    it("replaces clients among the closest nodes by others", () => {
      fc.assert(fc.property(world, (w) => {
        const isClient = (id: NodeId.NodeId) => peerOf(w, id).holdsRecord
        const { answer, ...rest } = driver(w)
        const { lookup } = drive({
          ...rest,
          answer: (contact, about) => {
            const given = answer(contact, about)
            return given && { ...given, isClient: isClient(contact.id) }
          }
        })
        const answered = lookup.trace.filter(({ outcome }) => outcome === "Answered").map(({ contact }) => contact.id)
        const others = answered.filter((id) => !isClient(id))
        assert.isFalse(lookup.closest().some(({ id }) => isClient(id)))
        assert.strictEqual(lookup.closest().length, Math.min(others.length, w.k))
      }))
    })

    it("ignores outcomes without a request in flight", () => {
      const junk: Lookup.Answer = { nodes: [at(1), at(2), at(3)], holdsRecord: true }
      fc.assert(fc.property(world, (w) => {
        const undisturbed = drive(driver(w))
        const disturbed = drive({
          ...driver(w),
          disturb: (lookup, last, now) => {
            lookup.answered(tiny(w.self), now, junk)
            lookup.failed(tiny(w.self), now)
            if (last === undefined) {
              for (let byte = 0; byte < 256; byte++) lookup.answered(tiny(byte), now, junk)
            } else {
              lookup.answered(last, now, junk)
              lookup.failed(last, now)
            }
          }
        })
        assert.deepStrictEqual(disturbed.requests, undisturbed.requests)
        assert.deepStrictEqual(disturbed.lookup.closest(), undisturbed.lookup.closest())
        assert.deepStrictEqual(disturbed.lookup.trace, undisturbed.lookup.trace)
      }))
    })

    it("ignores a response after it is done", () => {
      holds((_, { abandoned, endedAt, lookup }) => {
        const { trace } = lookup
        const closest = lookup.closest()
        for (const { contact } of abandoned) {
          lookup.answered(contact.id, endedAt, { nodes: [at(0), at(255)], holdsRecord: true })
        }
        assert.deepStrictEqual(lookup.poll(endedAt), { _tag: "Done" })
        assert.deepStrictEqual(lookup.closest(), closest)
        assert.deepStrictEqual(lookup.trace, trace)
      }, { quorum: 1 })
    })

    it("traces every request with its outcome", () => {
      holds((w, { abandoned, answered, failed, lookup, requests }) => {
        assert.deepStrictEqual(
          lookup.trace.map(({ askedAfterMillis, contact }) => ({ contact, at: askedAfterMillis })),
          requests.map(({ at, contact }) => ({ contact, at }))
        )
        const withOutcome = (outcome: QueryStep["outcome"]) =>
          lookup.trace.filter((step) => step.outcome === outcome).map(({ contact }) => contact.id).sort()
        assert.deepStrictEqual(withOutcome("Answered"), [...answered].sort())
        assert.deepStrictEqual(withOutcome("Failed"), [...failed].sort())
        assert.deepStrictEqual(withOutcome("Unanswered"), abandoned.map(({ contact }) => contact.id).sort())
        for (const step of lookup.trace) {
          assert.strictEqual(step.tookMillis === undefined, step.outcome === "Unanswered")
          assert.strictEqual(step.holdsRecord, step.outcome === "Answered" && peerOf(w, step.contact.id).holdsRecord)
        }
      })
    })
  })
  it("knows a node at the address where it is a candidate, and at no other", () => {
    const [near, far] = [tiny(1), tiny(2)]
    const lookup = make({ self: tiny(0), target: tiny(3) })
    lookup.seed(contactOf(near))
    lookup.poll(0)
    lookup.answered(near, 0, { nodes: [contactOf(far)], holdsRecord: false })
    for (const id of [near, far]) {
      assert.isTrue(lookup.knows(contactOf(id)))
      assert.isFalse(lookup.knows(contactOf(id, "elsewhere")))
      assert.isFalse(lookup.knows({ ...contactOf(id), port: 2 }))
    }
    assert.isFalse(lookup.knows(contactOf(tiny(4))))
  })

  describe("in a network of honest nodes", () => {
    for (const size of [8, 64, 256, 1024]) {
      it(`finds exactly the 16 closest of ${size} nodes, with at most 16 + 2 log2 N requests`, () => {
        const limit = 16 + 2 * Math.log2(size)
        const runs = size < 1000 ? 15 : 1
        fc.assert(
          fc.property(fc.nat(), (seed) => {
            const net = network(size, seed)
            for (let i = 0; i < 5; i++) {
              const { found, requests, truth } = travel({ net, target: somewhere(seed + i) })
              assert.deepStrictEqual(found, truth)
              assert.isAtMost(requests.length, limit)
            }
          }),
          sameEveryTime(runs)
        )
      })
    }

    it("finds nodes that full responses omit when closer nodes are dead", () => {
      let found = 0
      let wanted = 0
      for (let seed = 0; seed < 10; seed++) {
        const net = network(128, seed)
        const gone = new Set(net.nodes.filter((_, i) => i > 0 && i % 6 === 0))
        for (let i = 0; i < 5; i++) {
          const journey = travel({ net, gone, target: somewhere(i) })
          for (const id of journey.found) assert.isFalse(gone.has(id))
          found += journey.truth.filter((id) => journey.found.includes(id)).length
          wanted += journey.truth.length
        }
      }
      assert.isAbove(found / wanted, 0.99)
    })

    it("finds exactly the closest when all nodes are in one subnet", () => {
      fc.assert(
        fc.property(fc.nat(), (seed) => {
          const net = network(256, seed)
          for (let i = 0; i < 5; i++) {
            const { found, truth } = travel({
              net,
              target: somewhere(seed + i),
              options: { subnet: () => "203.0.113.0/24" }
            })
            assert.deepStrictEqual(found, truth)
          }
        }),
        sameEveryTime(15)
      )
    })
  })

  describe("where the nodes are known", () => {
    it("finds newcomers by three of those that were heard from, and asks hardly more than these three and the newcomers", () => {
      const newcomers = fc.uniqueArray(fc.nat(15), { maxLength: 4 })
      fc.assert(
        fc.property(fc.nat(), newcomers, (seed, newcomers) => {
          const net = network(256, seed)
          const target = somewhere(seed)
          const known = nearest(target, net.nodes.slice(1), 16).filter((_, i) => !newcomers.includes(i))
          const asked = [0, known.length >> 1, known.length - 1].map((i) => known[i])
          const { found, requests, truth } = travel({
            net,
            target,
            options: { isHeard: (id) => known.includes(id) && !asked.includes(id) },
            seeds: known.map((id) => contactOf(id))
          })
          assert.deepStrictEqual(found, truth)
          assert.isAtMost(requests.length, asked.length + 2 * newcomers.length)
        }),
        sameEveryTime(100)
      )
    })
  })

  describe("among lying nodes", () => {
    /** Any number of ids closer to a point than every honest one. */
    const invented = (target: NodeId.NodeId, by: string, host: (i: number) => string): ReadonlyArray<Contact> =>
      Array.from(
        { length: 20 },
        (_, i) => contactOf((target.slice(0, 8) + NodeId.fromTopic(`${by} ${i}`).slice(8)) as NodeId.NodeId, host(i))
      )

    it("finds the closest past invented nodes that never answer", () => {
      fc.assert(
        fc.property(fc.nat(), fc.integer({ min: 1, max: 3 }), (seed, liars) => {
          const net = network(64, seed)
          const target = somewhere(seed)
          const liar = new Set(nearest(target, net.nodes.slice(1), 3 * liars).filter((_, i) => i % 3 === 0))
          const { found, requests, truth } = travel({
            net,
            target,
            lie: ({ id }) =>
              liar.has(id)
                ? { nodes: invented(target, id, (i) => `nowhere-${i}`), holdsRecord: false }
                : undefined
          })
          assert.deepStrictEqual(found, truth)
          assert.isAtMost(requests.length, 28 + 20 * liars)
        }),
        sameEveryTime(15)
      )
    })

    it("does not follow one subnet of nodes that name ever closer nodes of their own", () => {
      fc.assert(
        fc.property(fc.nat(), fc.integer({ min: 1, max: 4 }), (seed, maxPerSubnet) => {
          const net = network(64, seed)
          const target = somewhere(seed)
          const { found, requests, truth } = travel({
            net,
            target,
            options: { maxPerSubnet },
            seeds: [contactOf(somewhere(-1), "evil/0")],
            lie: ({ host, id }) => {
              if (!host.startsWith("evil")) return undefined
              const closer = NodeId.commonPrefixLength(target, id) / 4 + 1 | 0
              return {
                nodes: Array.from({ length: 20 }, (_, i) =>
                  contactOf(
                    (target.slice(0, closer) + NodeId.fromTopic(`${id} ${i}`).slice(closer)) as NodeId.NodeId,
                    `evil/${i}`
                  )),
                holdsRecord: false
              }
            }
          })
          const evil = requests.filter(({ contact }) => contact.host.startsWith("evil"))
          assert.isAtMost(evil.length, maxPerSubnet + 1)
          for (const id of truth.slice(0, 16 - maxPerSubnet)) assert.include(found, id)
        }),
        sameEveryTime(15)
      )
    })

    it("finds nodes that lying nodes name at wrong addresses", () => {
      fc.assert(
        fc.property(fc.nat(), fc.integer({ min: 1, max: 3 }), (seed, liars) => {
          const net = network(64, seed)
          const target = somewhere(seed)
          const liar = new Set(net.tables.get(net.nodes[0])?.slice(0, liars))
          const { found, truth } = travel({
            net,
            target,
            lie: ({ host, id }) =>
              liar.has(id) && host === contactOf(id).host
                ? {
                  nodes: nearest(target, net.nodes, 10).flatMap((id) => [
                    contactOf(id, "nowhere"),
                    contactOf(id, "nowhere else")
                  ]),
                  holdsRecord: false
                }
                : undefined
          })
          assert.deepStrictEqual(found, truth)
        }),
        sameEveryTime(15)
      )
    })

    it("is not diverted by nodes that claim to be the closest and name no others", () => {
      const net = network(1024, 1)
      for (let i = 0; i < 20; i++) {
        const target = somewhere(i)
        const claimants = ["0000", "0001", "0002", "0003"].map((end) =>
          contactOf(target.slice(0, 60) + end as NodeId.NodeId, "claimant")
        )
        const { found, truth } = travel({
          net,
          target,
          seeds: claimants,
          lie: ({ host }) => host === "claimant" ? { nodes: [], holdsRecord: false } : undefined
        })
        assert.deepStrictEqual(found, [...nearest(target, idsOf(claimants), 4), ...truth.slice(0, 12)])
      }
    })

    it("retries a failed node at the address that another node names, also if it is named later", () => {
      const lookup = make({ self: tiny(255), target: tiny(0), alpha: 1 })
      for (const byte of [1, 2]) lookup.seed(at(byte))
      lookup.poll(0)
      lookup.failed(tiny(1), 1)
      assert.deepInclude(lookup.poll(1), { _tag: "Ask", contact: at(2) })
      lookup.answered(tiny(2), 2, { nodes: [at(1, "elsewhere")], holdsRecord: false })
      assert.deepInclude(lookup.poll(2), { _tag: "Ask", contact: at(1, "elsewhere") })
    })

    it("counts such a retry towards its limit of requests", () => {
      const { requests } = drive({
        options: { self: tiny(255), target: tiny(0), maxCandidates: 3 },
        seeds: [at(8), at(9)],
        answer: ({ host, id }) =>
          host === "wrong" ? undefined : {
            nodes: [byteOf(id) === 8 ? at(1, "wrong") : at(1)],
            holdsRecord: false
          },
        schedule: (_, __, now) => ({ at: now + 1, outcome: 0 })
      })
      assert.deepStrictEqual(requests.map(({ contact }) => contact), [at(8), at(9), at(1, "wrong")])
    })

    it("keeps its own contacts when unverified contacts fill the candidates", () => {
      const lookup = make({ self: tiny(255), target: tiny(0), maxCandidates: 4, alpha: 1 })
      for (const byte of [100, 101, 102]) lookup.seed(at(byte))
      assert.deepInclude(lookup.poll(0), { _tag: "Ask", contact: at(100) })
      lookup.answered(tiny(100), 1, { nodes: [at(3), at(2), at(1)], holdsRecord: false })
      const asked = [1, 2, 3].map((now) => {
        const action = lookup.poll(now)
        assert(action._tag === "Ask")
        lookup.failed(action.contact.id, now)
        return action.contact
      })
      assert.deepStrictEqual(asked, [at(1), at(101), at(102)])
    })
  })

  describe("when a node is slow", () => {
    const options = { self: tiny(255), target: tiny(0), k: 2, alpha: 1, maxInFlight: 2 }

    const asks = (lookup: Lookup.Lookup, now: number): Contact => {
      const action = lookup.poll(now)
      assert(action._tag === "Ask")
      return action.contact
    }

    it("gives its slot to another, within the limit of requests in flight", () => {
      const lookup = make(options)
      for (const byte of [1, 2, 3, 4]) lookup.seed(at(byte))
      assert.deepStrictEqual(asks(lookup, 0), at(1))
      assert.deepStrictEqual(lookup.poll(0), { _tag: "Wait", until: rtt })
      assert.deepStrictEqual(lookup.poll(rtt - 1), { _tag: "Wait", until: rtt })
      assert.deepStrictEqual(asks(lookup, rtt), at(2))
      assert.deepStrictEqual(lookup.poll(2 * rtt), { _tag: "Wait", until: undefined })
      lookup.answered(tiny(2), 2 * rtt, { nodes: [], holdsRecord: false })
      assert.deepStrictEqual(asks(lookup, 2 * rtt), at(3))
    })

    it("has as much time again, in a lookup of records as well, if it has us prove our address", () => {
      const lookup = make({ ...options, awaitsSlow: false })
      for (const byte of [1, 2, 3]) lookup.seed(at(byte))
      asks(lookup, 0)
      lookup.delayed(tiny(1), rtt - 1)
      lookup.delayed(tiny(2), rtt - 1)
      assert.deepStrictEqual(lookup.poll(rtt), { _tag: "Wait", until: 2 * rtt - 1 })
      assert.deepStrictEqual(asks(lookup, 2 * rtt - 1), at(2))
    })

    it("waits for it while it could be among the k closest, and uses its response", () => {
      const lookup = make(options)
      for (const byte of [1, 2, 3, 4]) lookup.seed(at(byte))
      asks(lookup, 0)
      for (const byte of [2, 3]) {
        assert.deepStrictEqual(asks(lookup, byte * rtt), at(byte))
        lookup.answered(tiny(byte), byte * rtt, { nodes: [], holdsRecord: false })
      }
      assert.deepStrictEqual(lookup.poll(4 * rtt), { _tag: "Wait", until: undefined })
      lookup.answered(tiny(1), 5 * rtt, { nodes: [], holdsRecord: false })
      assert.deepStrictEqual(lookup.poll(5 * rtt), { _tag: "Done" })
      assert.deepStrictEqual(lookup.closest(), [at(1), at(2)])
    })

    it("does not wait for it in a lookup of records when k others have answered", () => {
      const lookup = make({ ...options, awaitsSlow: false })
      for (const byte of [1, 2, 3]) lookup.seed(at(byte))
      asks(lookup, 0)
      for (const byte of [2, 3]) {
        assert.deepStrictEqual(asks(lookup, byte * rtt), at(byte))
        assert.strictEqual(lookup.poll(byte * rtt)._tag, "Wait")
        lookup.answered(tiny(byte), byte * rtt, { nodes: [], holdsRecord: true })
      }
      assert.deepStrictEqual(lookup.poll(3 * rtt), { _tag: "Done" })
    })

    it("waits for it in a lookup of records when too few others have answered", () => {
      const lookup = make({ ...options, awaitsSlow: false })
      for (const byte of [1, 2]) lookup.seed(at(byte))
      asks(lookup, 0)
      assert.deepStrictEqual(asks(lookup, rtt), at(2))
      lookup.answered(tiny(2), rtt, { nodes: [], holdsRecord: true })
      assert.deepStrictEqual(lookup.poll(9 * rtt), { _tag: "Wait", until: undefined })
    })

    it("asks bad nodes without waiting for it, and without waiting for each other", () => {
      const lookup = make({ ...options, alpha: 2, maxInFlight: 4, isBad: (id) => byteOf(id) > 1 })
      for (const byte of [1, 2, 3]) lookup.seed(at(byte))
      assert.deepStrictEqual(asks(lookup, 0), at(1))
      assert.deepStrictEqual(lookup.poll(0), { _tag: "Wait", until: rtt })
      assert.deepStrictEqual(asks(lookup, rtt), at(2))
      assert.deepStrictEqual(asks(lookup, rtt), at(3))
    })

    it("does not wait for it when k closer ones have answered", () => {
      const lookup = make(options)
      lookup.seed(at(9))
      lookup.seed(at(8))
      asks(lookup, 0)
      assert.deepStrictEqual(asks(lookup, rtt), at(9))
      lookup.answered(tiny(9), rtt, { nodes: [at(1), at(2)], holdsRecord: false })
      for (const byte of [1, 2]) {
        assert.deepStrictEqual(asks(lookup, 2 * rtt), at(byte))
        lookup.answered(tiny(byte), 2 * rtt, { nodes: [], holdsRecord: false })
      }
      assert.deepStrictEqual(lookup.poll(2 * rtt), { _tag: "Done" })
      assert.strictEqual(lookup.trace[0].outcome, "Unanswered")
    })
  })

  it("orders the crowded candidates that it needs among the others by distance", () => {
    const { lookup } = drive({
      options: { self: tiny(255), target: tiny(0), maxPerSubnet: 1 },
      seeds: [at(1, "one/a"), at(2, "one/b"), at(3), at(4, "one/c")],
      answer: () => ({ nodes: [], holdsRecord: false }),
      schedule: (_, __, now) => ({ at: now + 1, outcome: 0 })
    })
    assert.deepStrictEqual(lookup.closest().map(({ id }) => byteOf(id)), [1, 2, 3, 4])
  })

  it("asks the rest of the k closest at once after the closest has answered", () => {
    const lookup = make({ self: tiny(255), target: tiny(0), k: 8, alpha: 1 })
    for (let byte = 1; byte <= 12; byte++) lookup.seed(at(byte))
    lookup.poll(0)
    assert.strictEqual(lookup.poll(0)._tag, "Wait")
    lookup.answered(tiny(1), 5, { nodes: [], holdsRecord: false })
    const asked: Array<number> = []
    for (let action = lookup.poll(5); action._tag === "Ask"; action = lookup.poll(5)) {
      asked.push(byteOf(action.contact.id))
    }
    assert.deepStrictEqual(asked, [2, 3, 4, 5, 6, 7, 8])
  })

  it("traces how each node was learned, how close it is, and what it contributed", () => {
    const { lookup } = drive({
      options: { self: tiny(255), target: tiny(0) },
      seeds: [at(0x80)],
      answer: ({ id }) => {
        switch (byteOf(id)) {
          case 0x80:
            return { nodes: [at(0x80), at(0x81), at(0x10), at(0xff), at(0x20)], holdsRecord: false }
          case 0x10:
            return { nodes: [at(0x20), at(0x01)], holdsRecord: true }
          default:
            return undefined
        }
      },
      schedule: (_, __, now) => ({ at: now + 1, outcome: 0 })
    })
    const told = lookup.trace.map(({ closerNodes, commonPrefixLength, contact, depth, holdsRecord, outcome }) => ({
      byte: byteOf(contact.id),
      outcome,
      depth,
      commonPrefixLength,
      closerNodes,
      holdsRecord
    }))
    assert.deepStrictEqual(told, [
      { byte: 0x80, outcome: "Answered", depth: 0, commonPrefixLength: 0, closerNodes: 2, holdsRecord: false },
      { byte: 0x10, outcome: "Answered", depth: 1, commonPrefixLength: 3, closerNodes: 1, holdsRecord: true },
      { byte: 0x20, outcome: "Failed", depth: 1, commonPrefixLength: 2, closerNodes: 0, holdsRecord: false },
      { byte: 0x81, outcome: "Failed", depth: 1, commonPrefixLength: 0, closerNodes: 0, holdsRecord: false },
      { byte: 0x01, outcome: "Failed", depth: 2, commonPrefixLength: 7, closerNodes: 0, holdsRecord: false }
    ])
  })

  describe("with nodes that are dual", () => {
    const isDual = ({ id }: Contact): boolean => byteOf(id) % 3 === 0

    /** Names dual nodes first and says so, and may lie about one that is not. */
    const dualDriver = (w: World, options: Partial<Lookup.Options> = {}): Driver => {
      const plain = driver(w, options)
      return {
        ...plain,
        answer: (contact, about) => {
          const answer = plain.answer(contact, about)
          if (answer === undefined) return undefined
          const dual = answer.nodes.filter(isDual)
          const others = answer.nodes.filter((node) => !isDual(node))
          return {
            ...answer,
            nodes: [...dual, ...others],
            dual: dual.length + byteOf(contact.id) % 2,
            isDual: isDual(contact)
          }
        }
      }
    }

    it("asks every dual node that it knows of, unless as many as wanted are closer and answered", () => {
      fc.assert(fc.property(world, fc.integer({ min: 1, max: 4 }), (w, dual) => {
        const { answered, heard, lookup, requests } = drive(dualDriver(w, { dual }))
        const target = tiny(w.target)
        const found = idsOf(lookup.closestDual())
        assert.deepStrictEqual(found, nearest(target, answered.filter((id) => isDual(at(byteOf(id)))), dual))
        const farthest = found.at(dual - 1)
        const asked = new Set(idsOf(requests.map(({ contact }) => contact)))
        for (const { id } of heard) {
          if (!isDual(at(byteOf(id))) || id === tiny(w.self) || asked.has(id) || peerOf(w, id).isBad) continue
          // Our own contacts that no peer names are not known to be dual.
          if (!answered.some((by) => namesAsDual(w, by, id))) continue
          assert.isDefined(farthest)
          assert.isAtMost(byDistance(target)(farthest ?? id, id), 0)
        }
      }))
    })

    const namesAsDual = (w: World, by: NodeId.NodeId, named: NodeId.NodeId): boolean =>
      peerOf(w, by).names.slice(0, 20).some(([byte]) => tiny(byte) === named)

    it("makes the same requests whatever number is wanted, where none is known", () => {
      fc.assert(fc.property(world, fc.nat(4), (w, dual) => {
        const asked = (options: Partial<Lookup.Options>) =>
          drive(driver(w, options)).requests.map(({ at, contact }) => [byteOf(contact.id), at])
        assert.deepStrictEqual(asked({ dual }), asked({ dual: 0 }))
      }))
    })

    /** Responses of nodes nearest first, of which those from 100 on are dual and hold the record. */
    const reading = (answered: ReadonlyArray<number>, seeds: ReadonlyArray<number>) => {
      const lookup = make({ self: tiny(255), target: tiny(0), k: 16, alpha: 20, quorum: 3 })
      for (const byte of seeds) lookup.seed(at(byte), { isDual: byte >= 100 })
      while (lookup.poll(0)._tag === "Ask");
      for (const byte of answered) {
        lookup.answered(tiny(byte), 1, { nodes: [], holdsRecord: byte >= 100, isDual: byte >= 100 })
      }
      return lookup.poll(1)._tag
    }

    it("ends a lookup of a record with two of the three closest, once three of the nearest of all have none", () => {
      const seeds = [1, 2, 3, 4, 5, 6, 7, 8, 100, 101, 102]
      assert.strictEqual(reading([1, 2, 3, 100, 101], seeds), "Done")
      assert.strictEqual(reading([100, 101, 1, 2, 3], seeds), "Done")
      assert.strictEqual(reading([1, 2, 3, 100], seeds), "Wait")
      // A record of our own family must not be decided by a few dual nodes.
      assert.strictEqual(reading([1, 2, 100, 101, 102], seeds), "Wait")
    })

    it("counts only the closest of them for that, and none that denies to be dual", () => {
      assert.strictEqual(reading([1, 2, 3, 103, 104], [1, 2, 3, 4, 5, 6, 7, 8, 100, 101, 102, 103, 104]), "Wait")
      const lookup = make({ self: tiny(255), target: tiny(0), alpha: 20, quorum: 3 })
      for (const byte of [1, 2, 3, 4, 5, 6, 7, 8, 100, 101]) lookup.seed(at(byte), { isDual: byte >= 100 })
      while (lookup.poll(0)._tag === "Ask");
      for (const byte of [1, 2, 3]) lookup.answered(tiny(byte), 1, { nodes: [], holdsRecord: false })
      for (const byte of [100, 101]) {
        lookup.answered(tiny(byte), 1, { nodes: [], holdsRecord: true, isDual: byte === 100 })
      }
      assert.strictEqual(lookup.poll(1)._tag, "Wait")
    })

    it("finds the same ones from either side, in two networks that have only these in common", () => {
      fc.assert(
        fc.property(fc.integer({ min: 1, max: 40 }), fc.nat(), (dual, seed) => {
          const inBoth = Array.from({ length: dual }, (_, i) => NodeId.fromTopic(`dual ${seed}/${i}`))
          const target = somewhere(seed)
          const truth = nearest(target, inBoth, 3)
          for (const side of ["IPv4", "IPv6"]) {
            const own = Array.from({ length: 200 }, (_, i) => NodeId.fromTopic(`${side} ${seed}/${i}`))
            const net = networkOf([...own, ...inBoth])
            const [self] = net.nodes
            const both = new Set(inBoth)
            // Each node knows 8 dual ones in each bucket, however far.
            const dualTables = networkOf([self, ...inBoth], 8).tables
            const { lookup } = drive({
              options: { self, target },
              seeds: nearest(target, net.tables.get(self) ?? [], 32).map((id) => contactOf(id)),
              answer: ({ id }, about) => {
                const known = nearest(
                  about,
                  dualTables.get(id) ?? net.tables.get(id)?.filter((id) => both.has(id)) ?? [],
                  3
                )
                const { nodes } = honest(net, id, about)
                return {
                  nodes: [...known.map((id) => contactOf(id)), ...nodes.filter(({ id }) => !known.includes(id))],
                  dual: known.length,
                  isDual: both.has(id),
                  holdsRecord: false
                }
              },
              schedule: byLatency(() => false)
            })
            assert.deepStrictEqual(idsOf(lookup.closestDual()), truth, side)
          }
        }),
        sameEveryTime(20)
      )
    })
  })

  describe("among peers that do not test which nodes strangers can reach", () => {
    /** A lookup of the three closest nodes, which has asked these. */
    const asking = (options: Partial<Lookup.Options> = {}, seeds: ReadonlyArray<number> = [100, 101, 102]) => {
      const lookup = make({ self: tiny(255), target: tiny(0), k: 3, alpha: 4, ...options })
      for (const byte of seeds) lookup.seed(at(byte))
      for (const _ of seeds) assert.strictEqual(lookup.poll(0)._tag, "Ask")
      return lookup
    }
    const answer = (
      lookup: Lookup.Lookup,
      byte: number,
      { holdsRecord = false, names = [], vouches = true }: {
        readonly names?: ReadonlyArray<number>
        readonly vouches?: boolean
        readonly holdsRecord?: boolean
      } = {}
    ) => lookup.answered(tiny(byte), 1, { nodes: names.map((byte) => at(byte)), holdsRecord, vouches })

    /** The nodes that it asks now, and what it does then. */
    const goOn = (lookup: Lookup.Lookup) => {
      const asks: Array<number> = []
      while (true) {
        const step = lookup.poll(1)
        if (step._tag !== "Ask") return [...asks, step._tag]
        asks.push(byteOf(step.contact.id))
      }
    }

    it("asks a node that only these named, and does not wait for it while half of the responses are of others", () => {
      for (const vouches of [false, true]) {
        const lookup = asking()
        answer(lookup, 101, { names: [1], vouches })
        answer(lookup, 100)
        assert.deepStrictEqual(goOn(lookup), [1, "Wait"])
        answer(lookup, 102)
        assert.deepStrictEqual(goOn(lookup), [vouches ? "Wait" : "Done"])
      }
    })

    it("takes it for one of the closest if it answers in time", () => {
      const lookup = asking()
      answer(lookup, 101, { names: [1], vouches: false })
      answer(lookup, 100)
      assert.deepStrictEqual(goOn(lookup), [1, "Wait"])
      answer(lookup, 1, { vouches: false })
      answer(lookup, 102)
      assert.deepStrictEqual(goOn(lookup), ["Done"])
      assert.deepStrictEqual(lookup.closest().map(({ id }) => byteOf(id)), [1, 100, 101])
    })

    it("waits for it if most responses are of these", () => {
      const lookup = asking()
      answer(lookup, 101, { names: [1], vouches: false })
      answer(lookup, 102, { vouches: false })
      answer(lookup, 100)
      assert.deepStrictEqual(goOn(lookup), [1, "Wait"])
    })

    it("waits for it if fewer than k answered otherwise, or if another peer named it as well", () => {
      const few = asking({ k: 4 })
      answer(few, 102)
      answer(few, 101, { names: [1], vouches: false })
      answer(few, 100)
      assert.deepStrictEqual(goOn(few), [1, "Wait"])
      const both = asking()
      answer(both, 101, { names: [1], vouches: false })
      answer(both, 100, { names: [1] })
      answer(both, 102)
      assert.deepStrictEqual(goOn(both), [1, "Wait"])
    })

    it("asks at most alpha of these nodes at the same time", () => {
      const lookup = asking({ k: 4 }, [100, 101, 102, 103])
      answer(lookup, 101, { names: [1, 2, 3, 4, 5, 6], vouches: false })
      answer(lookup, 100)
      assert.deepStrictEqual(goOn(lookup), [1, 2, 3, 4, "Wait"])
    })

    it("does not count them among those that should hold a record", () => {
      const lookup = asking({ k: 4, quorum: 2 }, [100, 101, 102, 103])
      answer(lookup, 101, { names: [1, 2, 3], vouches: false, holdsRecord: true })
      answer(lookup, 100, { holdsRecord: true })
      assert.strictEqual(lookup.poll(1)._tag, "Done")
    })
  })
})
