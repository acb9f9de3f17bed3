import { assert, describe, it } from "@effect/vitest"
import * as fc from "fast-check"
import { AddressVotes } from "../../src/core/addressVotes.ts"
import type { NodeId } from "../../src/NodeId.ts"
import type { SocketAddress } from "../../src/SocketAddress.ts"

const id = (n: number) => n.toString(16).padStart(64, "0") as NodeId
const range = (length: number) => Array.from({ length }, (_, i) => i)
const now = 1_700_000_000_000
const halfHour = 30 * 60_000

/** A reporter in the n-th /24. */
const reporter = (n: number, lastByte = 1) => ({ id: id(n), host: `20.${n >> 8}.${n & 255}.${lastByte}` })
const reporter6 = (n: number) => ({ id: id(10_000 + n), host: `2001:db8:${n + 1}::1` })

const ours: SocketAddress = { host: "198.51.100.7", port: 4121 }
const wrong: SocketAddress = { host: "203.0.113.9", port: 4121 }
const ours6: SocketAddress = { host: "2a00:1:2::3", port: 4121 }

type Vote = readonly [reporter: { readonly id: NodeId; readonly host: string }, observed: SocketAddress]

const votesOf = (votes: ReadonlyArray<Vote>, options?: ConstructorParameters<typeof AddressVotes>[0]) => {
  const opinion = new AddressVotes(options)
  for (const [reporter, observed] of votes) opinion.vote(reporter, observed, now)
  return opinion
}

const saying = (observed: SocketAddress, reporters: ReadonlyArray<Vote[0]>): ReadonlyArray<Vote> =>
  reporters.map((reporter) => [reporter, observed])

const hostArb = fc.constantFrom("198.51.100.7", "203.0.113.9", "192.0.2.1")
const observedArb = fc.record({ host: hostArb, port: fc.integer({ min: 1, max: 3 }) })

describe("AddressVotes", () => {
  it("has no result before three networks have voted", () => {
    const opinion = new AddressVotes()
    for (const n of range(3)) {
      assert.isUndefined(opinion.publicHost(now))
      assert.isUndefined(opinion.address(now))
      assert.strictEqual(opinion.mapping(now), "unknown")
      opinion.vote(reporter(n), ours, now)
    }
    assert.strictEqual(opinion.publicHost(now), ours.host)
    assert.deepStrictEqual(opinion.address(now), ours)
    assert.strictEqual(opinion.mapping(now), "consistent")
  })

  it("tells the reports since a time, one for each network", () => {
    const opinion = votesOf(saying(ours, [reporter(1), reporter(2), reporter(2, 7)]))
    opinion.vote(reporter(3), wrong, now - 1)
    assert.deepStrictEqual(
      opinion.reports(now).map(({ observed, reporter }) => [reporter, observed]),
      [[reporter(1), ours], [reporter(2, 7), ours]]
    )
  })

  it("forgets votes after half an hour", () => {
    const opinion = new AddressVotes()
    for (const n of range(3)) opinion.vote(reporter(n), ours, now + n)
    assert.strictEqual(opinion.publicHost(now + halfHour - 1), ours.host)
    assert.isUndefined(opinion.publicHost(now + halfHour))
    assert.isUndefined(opinion.address(now + halfHour))
    assert.strictEqual(opinion.mapping(now + halfHour), "unknown")
    opinion.vote(reporter(0), ours, now + halfHour)
    assert.strictEqual(opinion.publicHost(now + halfHour), ours.host)
  })

  it("follows a change of address once a majority reports it", () => {
    const opinion = votesOf(saying(ours, range(4).map((n) => reporter(n))))
    for (const n of range(2)) opinion.vote(reporter(n), wrong, now)
    assert.isUndefined(opinion.publicHost(now))
    opinion.vote(reporter(2), wrong, now)
    assert.strictEqual(opinion.publicHost(now), wrong.host)
  })

  it("counts a reporter once, however many networks it votes from", () => {
    const opinion = votesOf(range(50).map((n): Vote => [{ id: id(1), host: reporter(n).host }, ours]))
    assert.isUndefined(opinion.publicHost(now))
    assert.strictEqual(opinion.size, 1)
  })

  it("counts a network once, however many reporters it has, and uses its latest vote", () => {
    const crowd = range(200).map((n) => ({ id: id(n), host: `20.0.0.${n}` }))
    const opinion = votesOf(saying(wrong, crowd))
    assert.isUndefined(opinion.publicHost(now))
    assert.strictEqual(opinion.size, 1)
    const others = [{ id: id(300), host: "20.1.0.1" }, { id: id(301), host: "20.2.0.1" }]
    for (const [reporter] of saying(ours, others)) opinion.vote(reporter, ours, now)
    assert.isUndefined(opinion.publicHost(now))
    opinion.vote(crowd[0], ours, now)
    assert.strictEqual(opinion.publicHost(now), ours.host)
  })

  it("counts an IPv6 /48 as one network", () => {
    const opinion = votesOf(saying(ours6, range(50).map((n) => ({ id: id(n), host: `2001:db8:0:${n}::1` }))))
    assert.strictEqual(opinion.size, 1)
    for (const n of range(2)) opinion.vote(reporter6(n), ours6, now)
    assert.strictEqual(opinion.publicHost(now), ours6.host)
  })

  it("remembers 128 networks and forgets the one with the oldest vote first", () => {
    const opinion = votesOf([
      ...saying(ours, range(65).map((n) => reporter(n))),
      ...saying(wrong, range(63).map((n) => reporter(65 + n)))
    ])
    assert.strictEqual(opinion.size, 128)
    assert.strictEqual(opinion.publicHost(now), ours.host)
    opinion.vote(reporter(0), ours, now)
    opinion.vote(reporter(128), wrong, now)
    assert.strictEqual(opinion.size, 128)
    assert.isUndefined(opinion.publicHost(now))
    opinion.vote(reporter(1), wrong, now)
    assert.strictEqual(opinion.publicHost(now), wrong.host)
  })

  it("ignores reporters without a public address and votes for addresses that are not public", () => {
    const insiders = ["127.0.0.1", "10.0.0.1", "192.168.1.1", "fe80::1", "peer"].map((host, n) => ({ id: id(n), host }))
    const inside = ["127.0.0.1", "192.168.1.5", "100.64.0.1"].map((host) => ({ host, port: 4121 }))
    const opinion = votesOf([
      ...saying(ours, insiders),
      ...inside.flatMap((observed) => saying(observed, range(5).map((n) => reporter(n))))
    ])
    assert.strictEqual(opinion.size, 0)
  })

  it("counts each private host once if so configured, and reports no private address as public", () => {
    const inside = { host: "10.0.0.9", port: 4121 }
    const hosts = ["10.0.0.1", "10.0.0.2", "10.0.0.2", "10.0.0.3"].map((host, n) => ({ id: id(n), host }))
    const opinion = votesOf(saying(inside, hosts.slice(0, 3)), { privateNetwork: true })
    assert.isUndefined(opinion.address(now))
    opinion.vote(hosts[3], inside, now)
    assert.deepStrictEqual(opinion.address(now), inside)
    assert.strictEqual(opinion.mapping(now), "consistent")
    assert.isUndefined(opinion.publicHost(now))
  })

  it("uses a smaller quorum if so configured", () => {
    const loopback = { host: "127.0.0.1", port: 4121 }
    const opinion = votesOf([[{ id: id(1), host: "127.0.0.1" }, loopback]], { privateNetwork: true, quorum: 1 })
    assert.deepStrictEqual(opinion.address(now), loopback)
  })

  it("ignores impossible votes: port 0, or another IP version than the reporter's", () => {
    const opinion = votesOf([
      ...saying({ ...ours, port: 0 }, range(3).map((n) => reporter(n))),
      ...saying(ours6, range(3).map((n) => reporter(n))),
      ...saying(ours, range(3).map((n) => reporter6(n)))
    ])
    assert.strictEqual(opinion.size, 0)
  })

  it("decides each IP version separately, and prefers the IPv4 address", () => {
    const ipv4 = saying(ours, range(3).map((n) => reporter(n)))
    const ipv6 = saying(ours6, range(6).map((n) => reporter6(n)))
    assert.deepStrictEqual(votesOf([...ipv6, ...ipv4]).address(now), ours)
    assert.deepStrictEqual(votesOf([...ipv6, ...ipv4.slice(1)]).address(now), ours6)
  })

  it("calls a mapping symmetric when peers agree on the host and no port has a majority", () => {
    const ports = (...ports: ReadonlyArray<number>) =>
      votesOf(ports.map((port, n): Vote => [reporter(n), { host: ours.host, port }]))
    assert.strictEqual(ports(1, 2, 3).mapping(now), "symmetric")
    assert.strictEqual(ports(1, 1, 2, 2).mapping(now), "symmetric")
    assert.strictEqual(ports(1, 1, 2, 3).mapping(now), "symmetric")
    assert.strictEqual(ports(1, 1, 2).mapping(now), "unknown")
    assert.strictEqual(ports(1, 1, 1, 2).mapping(now), "consistent")
    assert.strictEqual(ports(1, 2, 3).publicHost(now), ours.host)
    assert.isUndefined(ports(1, 2, 3).address(now))
    assert.isUndefined(ports(1, 1, 2).address(now))
    assert.deepStrictEqual(ports(1, 2, 1, 1).address(now), { host: ours.host, port: 1 })
  })

  it("reports what more than half of the networks, at least three, agree on, or nothing", () => {
    const voteArb: fc.Arbitrary<Vote> = fc.tuple(
      fc.record({
        id: fc.integer({ min: 0, max: 9 }).map(id),
        host: fc.integer({ min: 0, max: 9 }).map((n) => reporter(n).host)
      }),
      observedArb
    )
    const isSame = (a: Vote, b: Vote) => JSON.stringify(a) === JSON.stringify(b)
    fc.assert(fc.property(fc.array(voteArb, { maxLength: 40 }), fc.integer({ min: 3, max: 6 }), (votes, capacity) => {
      const opinion = votesOf(votes, { capacity })
      let counted: ReadonlyArray<Vote> = []
      for (const vote of votes) {
        const others = counted.filter(([{ host, id }]) => id !== vote[0].id && host !== vote[0].host)
        // A vote that is repeated at once is no younger for it.
        if (!counted.some((other) => isSame(other, vote))) counted = [...others, vote].slice(-capacity)
      }
      const hosts = counted.map(([, { host }]) => host)
      const isMost = (host: string) => {
        const supporters = hosts.filter((other) => other === host).length
        return supporters >= 3 && supporters * 2 > hosts.length
      }
      assert.strictEqual(opinion.size, counted.length)
      assert.strictEqual(opinion.publicHost(now), hosts.find(isMost))
    }))
  })

  it("is not decided by a minority of networks, whatever they vote, how often and in which order", () => {
    const arb = fc.integer({ min: 3, max: 12 }).chain((honest) => {
      const truth = range(honest).map((n): Vote => [reporter(n), ours])
      // Any number of ids, but few networks.
      const lie: fc.Arbitrary<Vote> = fc.tuple(
        fc.record({ network: fc.integer({ min: 0, max: honest - 2 }), id: fc.integer({ min: 100, max: 400 }) })
          .map((liar) => ({ id: id(liar.id), host: reporter(100 + liar.network, liar.id & 255).host })),
        observedArb
      )
      return fc.array(lie, { maxLength: 60 }).chain((lies) => {
        const votes = [...truth, ...lies]
        return fc.shuffledSubarray(votes, { minLength: votes.length })
      })
    })
    fc.assert(fc.property(arb, (votes) => {
      const opinion = votesOf(votes)
      assert.strictEqual(opinion.publicHost(now), ours.host)
    }))
  })

  it("does not depend on the order of the votes", () => {
    const arb = fc.array(observedArb, { maxLength: 12 }).chain((observed) => {
      const votes = observed.map((observed, n): Vote => [reporter(n), observed])
      return fc.tuple(fc.constant(votes), fc.shuffledSubarray(votes, { minLength: votes.length }))
    })
    fc.assert(fc.property(arb, ([votes, shuffled]) => {
      const one = votesOf(votes)
      const other = votesOf(shuffled)
      assert.strictEqual(one.publicHost(now), other.publicHost(now))
      assert.deepStrictEqual(one.address(now), other.address(now))
      assert.strictEqual(one.mapping(now), other.mapping(now))
    }))
  })

  it("has an address exactly when the mapping is consistent, and a mapping only with a host", () => {
    fc.assert(fc.property(fc.array(observedArb, { maxLength: 12 }), (observed) => {
      const opinion = votesOf(observed.map((observed, n): Vote => [reporter(n), observed]))
      const mapping = opinion.mapping(now)
      assert.strictEqual(opinion.address(now) !== undefined, mapping === "consistent")
      if (mapping !== "unknown") assert.isDefined(opinion.publicHost(now))
      if (mapping === "consistent") assert.strictEqual(opinion.address(now)?.host, opinion.publicHost(now))
    }))
  })
})
