import { assert, describe, it } from "@effect/vitest"
import * as fc from "fast-check"
import * as Core from "../../src/core/reachability.ts"
import type { SocketAddress } from "../../src/SocketAddress.ts"
import * as network from "../utils/network.ts"

const minute = 60_000
const start = 1_700_000_000_000
const ours: SocketAddress = { host: "9.99.0.1", port: 7000 }
const elsewhere: SocketAddress = { host: "9.98.0.1", port: 7000 }
const host = (n: number) => network.socketOf(n).host

const reports = (...observed: ReadonlyArray<SocketAddress>): ReadonlyArray<Core.Report> =>
  observed.map((observed, n) => ({
    reporter: { id: network.identity(`reporter ${n}`).nodeId, host: host(n + 1) },
    observed
  }))

/** A node whose address three peers agree on. */
const located = (observed = ours) => {
  const core = new Core.Reachability()
  core.asked(reports(observed, observed, observed), start)
  return core
}

/** Experiments through so many networks fail, of strangers that the peers do not name. */
const block = (core: Core.Reachability, networks: number, now = start) => {
  for (let n = 0; n < networks; n++) core.blocked(`network ${n}`, undefined, now)
  core.experimented(now)
  assert.deepStrictEqual(core.controls(now), [])
}

describe("a node", () => {
  it("is open once the echo of a host arrives that it did not contact", () => {
    const core = located()
    core.heard(host(50), true, start)
    assert.deepStrictEqual(core.status, {
      state: "open",
      mapping: "EndpointIndependent",
      filtering: "EndpointIndependent"
    })
  })

  it("is not open because of a host that it contacted in the last ten minutes", () => {
    const core = located()
    core.sent(host(50), start)
    core.heard(host(50), true, start + 10 * minute - 1)
    assert.strictEqual(core.status.state, "unknown")
    core.heard(host(50), true, start + 10 * minute)
    assert.strictEqual(core.status.state, "open")
  })

  it("is not open because of a host that it may have contacted before so many others that it forgot", () => {
    const core = located()
    core.sent(host(50), start)
    for (let n = 0; n < 4096; n++) core.sent(`8.${n >> 8}.${n & 255}.1`, start + minute)
    core.heard(host(50), true, start + 9 * minute)
    assert.strictEqual(core.status.state, "unknown")
    core.heard(host(50), true, start + 11 * minute)
    assert.strictEqual(core.status.state, "open")
  })

  it("is not open because of a host behind its own router, whatever address that has", () => {
    const core = located()
    for (const inside of ["192.168.1.7", "10.0.0.7", "127.0.0.1", ours.host]) core.heard(inside, true, start)
    assert.strictEqual(core.status.state, "unknown")
  })

  it("is not open over IPv4 because of a datagram over IPv6", () => {
    const core = located()
    core.heard("2001:4860::1", true, start)
    assert.strictEqual(core.status.state, "unknown")
  })

  it("is open once a host that it did not contact sends a request", () => {
    const core = located()
    core.heard(host(50), false, start)
    assert.strictEqual(core.status.state, "open")
  })

  it("takes a request for proof only after the router has forgotten what an earlier run contacted", () => {
    const core = new Core.Reachability({ isRestart: true })
    core.asked(reports(ours, ours, ours), start)
    core.heard(host(50), false, start)
    core.heard(host(51), false, start + 10 * minute - 1)
    assert.strictEqual(core.status.state, "unknown")
    core.heard(host(52), false, start + 10 * minute)
    assert.strictEqual(core.status.state, "open")
  })

  it("is tested again once the router has forgotten what an earlier run contacted, and then as usual", () => {
    const restarted = new Core.Reachability({ isRestart: true })
    restarted.asked(reports(ours, ours, ours), start)
    restarted.heard(host(50), true, start)
    assert.strictEqual(restarted.status.state, "open")
    const at = start + 10 * minute
    restarted.sent(host(1), at)
    restarted.observed(ours, at)
    assert.deepStrictEqual(restarted.next(at), { _tag: "DialBack", claimed: ours })
    block(restarted, 3, at)
    assert.strictEqual(restarted.status.state, "closed")
    restarted.dialed(at, false)
    assert.deepStrictEqual(restarted.next(at), { _tag: "Wait", until: at + 4 * minute })

    const first = located()
    first.heard(host(50), true, start)
    first.sent(host(1), at)
    first.observed(ours, at)
    assert.strictEqual(first.next(at)._tag, "Wait")
  })

  it("remembers at least that it may have contacted a host, when there are too many to remember", () => {
    const core = located()
    for (let n = 0; n < 5000; n++) core.sent(host(n), start + n)
    core.heard(host(0), true, start + 5000)
    assert.strictEqual(core.status.state, "unknown")
    core.heard(host(0), true, start + 11 * minute)
    assert.strictEqual(core.status.state, "open")
  })

  it("is closed once experiments through three networks failed, and one network cannot decide it", () => {
    const core = located()
    for (let i = 0; i < 10; i++) core.blocked("network", undefined, start)
    block(core, 2)
    assert.strictEqual(core.status.state, "closed")
    const other = located()
    for (let i = 0; i < 10; i++) other.blocked("network", undefined, start)
    other.blocked("another", undefined, start)
    other.experimented(start)
    assert.deepStrictEqual(other.controls(start), [])
    assert.strictEqual(other.status.state, "unknown")
  })

  it("is not closed because strangers that peers name cannot reach it, until one can that it has sent to", () => {
    const failed = (networks: number, strangers: number) => {
      const core = located()
      for (let n = 0; n < networks; n++) {
        core.blocked(`network ${n}`, network.socketOf(50 + n % strangers), start)
      }
      core.experimented(start)
      return core
    }
    const core = failed(3, 1)
    assert.deepStrictEqual(core.controls(start), [network.socketOf(50)])
    assert.strictEqual(core.status.state, "unknown")
    core.controlled(start)
    assert.strictEqual(core.status.state, "closed")
    const several = failed(8, 3)
    assert.deepStrictEqual(several.controls(start), [50, 51, 52].map(network.socketOf))
    assert.strictEqual(several.status.state, "unknown")
    assert.lengthOf(failed(30, 30).controls(start), 4)
    const tooFew = failed(2, 1)
    assert.deepStrictEqual(tooFew.controls(start), [])
    tooFew.controlled(start)
    assert.strictEqual(tooFew.status.state, "unknown")
    const tooLate = failed(3, 1)
    tooLate.controlled(start + 3 * minute)
    assert.strictEqual(tooLate.status.state, "unknown")
  })

  it("is closed without a ping if a stranger is at another port for each peer, or at an address that is not public", () => {
    const stranger = network.socketOf(50)
    for (const other of [{ ...stranger, port: stranger.port + 1 }, { host: "10.0.0.7", port: 4121 }]) {
      const core = located()
      for (const [n, sender] of [stranger, stranger, other].entries()) core.blocked(`network ${n}`, sender, start)
      assert.deepStrictEqual(core.controls(start), [])
      assert.strictEqual(core.status.state, "unknown")
      core.experimented(start)
      assert.strictEqual(core.status.state, "closed")
    }
  })

  it("is not closed because of datagrams that are lost now and then", () => {
    const core = located()
    for (let n = 0; n < 10; n++) {
      const now = start + 1.5 * n * minute
      core.blocked(`network ${n}`, undefined, now)
      core.experimented(now)
      assert.deepStrictEqual(core.controls(now), [])
    }
    assert.strictEqual(core.status.state, "unknown")
  })

  it("is open in spite of failed experiments if a stranger reaches it in between", () => {
    const core = located()
    block(core, 2)
    core.heard(host(50), true, start)
    block(core, 2)
    assert.strictEqual(core.status.state, "open")
  })

  it("is closed behind a router that maps another port for each peer, without an experiment", () => {
    const core = new Core.Reachability()
    core.asked(reports({ ...ours, port: 1 }, { ...ours, port: 2 }, { ...ours, port: 3 }), start)
    assert.deepStrictEqual(core.status, { state: "closed", mapping: "EndpointDependent", filtering: "Unknown" })
  })

  it("believes the address that more than half of the peers report, three at least", () => {
    const core = new Core.Reachability()
    core.asked(reports(ours, ours), start)
    assert.isUndefined(core.address)
    core.asked(reports(ours, ours, elsewhere, { ...elsewhere, port: 1 }, ours), start)
    assert.deepStrictEqual(core.address, ours)
    assert.strictEqual(core.status.mapping, "EndpointIndependent")
  })

  it("is unknown on a private network, where no router is between the nodes", () => {
    const core = located({ host: "192.168.1.7", port: 4121 })
    assert.isUndefined(core.address)
    assert.strictEqual(core.status.state, "unknown")
  })

  it("opens and closes again as the router is set up", () => {
    const core = located()
    block(core, 3)
    core.heard(host(50), true, start + minute)
    assert.strictEqual(core.status.state, "open")
    block(core, 3, start + 2 * minute)
    assert.strictEqual(core.status.state, "closed")
  })
})

describe("a node that moved to another network", () => {
  it("counts as open until strangers were asked to try, if it was open before", () => {
    const core = located()
    core.heard(host(50), false, start)
    core.asked(reports(elsewhere, elsewhere, elsewhere), start + minute)
    assert.strictEqual(core.status.state, "open")
    core.dialed(start + minute, true)
    assert.strictEqual(core.status.state, "unknown")
  })

  it("counts as open no longer than that if a host reached it before it knew its address, and may have done so elsewhere", () => {
    const reached = (seenAt: SocketAddress) => {
      const core = new Core.Reachability()
      core.observed(seenAt, start)
      core.heard(host(50), false, start)
      core.asked(reports(elsewhere, elsewhere, elsewhere), start + 1)
      core.dialed(start + 2, true)
      return core.status.state
    }
    assert.strictEqual(reached(elsewhere), "open")
    assert.strictEqual(reached(ours), "unknown")
  })

  it("is open there because of a host that it contacted only from the network before", () => {
    const core = located()
    core.sent(host(50), start)
    core.observed(ours, start + 1)
    core.sent(host(51), start + 2)
    core.asked(reports(elsewhere, elsewhere, elsewhere), start + 3)
    core.heard(host(51), true, start + 4)
    assert.strictEqual(core.status.state, "unknown")
    core.heard(host(50), true, start + 4)
    assert.strictEqual(core.status.state, "open")
  })

  it("counts as closed until it is tested if it was closed before, for whichever reason", () => {
    const core = new Core.Reachability()
    core.asked(reports({ ...ours, port: 1 }, { ...ours, port: 2 }, { ...ours, port: 3 }), start)
    core.asked(reports(elsewhere, elsewhere, elsewhere), start + minute)
    assert.strictEqual(core.status.mapping, "EndpointIndependent")
    assert.strictEqual(core.status.state, "closed")
    assert.deepStrictEqual(core.next(start + minute), { _tag: "DialBack", claimed: elsewhere })
  })
})

describe("the check", () => {
  it("asks five peers first, and then has strangers dial back", () => {
    const core = new Core.Reachability()
    assert.deepStrictEqual(core.next(start), { _tag: "Ask", peers: 5 })
    core.asked(reports(ours, ours, ours), start)
    assert.deepStrictEqual(core.next(start), { _tag: "DialBack", claimed: ours })
  })

  it("is spared if a stranger reached the node at its address before it knew that, and nowhere else", () => {
    const joined = (claimed: SocketAddress) => {
      const core = new Core.Reachability()
      core.heard(host(50), true, start)
      core.reached(claimed)
      core.asked(reports(ours, ours, ours), start)
      assert.strictEqual(core.status.state, "open")
      return core.next(start)
    }
    assert.strictEqual(joined(ours)._tag, "Wait")
    for (const other of [elsewhere, { ...ours, port: 1 }]) {
      assert.deepStrictEqual(joined(other), { _tag: "DialBack", claimed: ours })
    }
  })

  it("waits longer and longer while it finds out nothing, up to a quarter of an hour", () => {
    const core = new Core.Reachability()
    const pauses: Array<number> = []
    let now = start
    while (pauses.length < 12) {
      core.asked([], now)
      const step = core.next(now)
      if (step._tag !== "Wait") return assert.fail(step._tag)
      pauses.push(step.until - now)
      now = step.until
    }
    assert.deepStrictEqual(pauses, pauses.toSorted((a, b) => a - b))
    assert.isAtLeast(pauses[0], 10_000)
    assert.strictEqual(pauses.at(-1), 15 * minute)
  })

  it("takes each round in which only hosts that it contacted reached it for three, so that it pauses for longer", () => {
    /** How long it waits after so many rounds that showed nothing. */
    const pauseAfter = (rounds: number, lacksStrangers: boolean) => {
      const core = located()
      for (let n = 0; n < rounds; n++) core.dialed(start, lacksStrangers)
      const step = core.next(start)
      return step._tag === "Wait" ? step.until - start : 0
    }
    assert.deepStrictEqual(
      [1, 2].map((rounds) => pauseAfter(rounds, true)),
      [3, 6].map((rounds) => pauseAfter(rounds, false))
    )
    assert.isAbove(pauseAfter(2, true), pauseAfter(2, false))
  })

  it("asks one peer after four minutes, and tests the filtering again after thirty", () => {
    const core = located()
    block(core, 3)
    const asked: Array<number> = []
    let now = start
    while (true) {
      const step = core.next(now)
      if (step._tag === "DialBack") break
      if (step._tag === "Wait") now = step.until
      else {
        assert.strictEqual(step.peers, 1)
        asked.push(now - start)
        core.asked(reports(ours), now)
      }
    }
    assert.deepStrictEqual(asked, [4, 8, 12, 16, 20, 24, 28].map((minutes) => minutes * minute))
    assert.strictEqual(now - start, 30 * minute)
  })

  it("asks no peer while responses say that it is where it was", () => {
    const core = located()
    block(core, 3)
    for (let now = start; now < start + 29 * minute; now += 2 * minute) {
      core.observed(ours, now)
      assert.strictEqual(core.next(now)._tag, "Wait")
    }
  })

  it("has several peers compare its ports only every thirty minutes, if those depend on the peer", () => {
    const ports = reports({ ...ours, port: 1 }, { ...ours, port: 2 }, { ...ours, port: 3 })
    const core = new Core.Reachability()
    core.asked(ports, start)
    const compared: Array<number> = []
    for (let now = start; now <= start + 60 * minute; now += minute) {
      core.observed({ ...ours, port: now % 1000 }, now)
      const step = core.next(now)
      if (step._tag !== "Ask") continue
      assert.strictEqual(step.peers, 5)
      compared.push(now - start)
      core.asked(ports, now)
    }
    assert.deepStrictEqual(compared, [30 * minute, 60 * minute])
  })

  it("keeps the mapping of an open node alive: it asks after a minute in which it sent nothing", () => {
    const core = located()
    core.sent(host(1), start)
    core.heard(host(50), true, start)
    assert.deepStrictEqual(core.next(start), { _tag: "Wait", until: start + minute })
    core.sent(host(1), start + minute / 2)
    assert.deepStrictEqual(core.next(start + minute / 2), { _tag: "Wait", until: start + 1.5 * minute })
  })

  it("asks only once a minute while there is no peer to ask", () => {
    const core = located()
    core.sent(host(1), start)
    core.heard(host(50), true, start)
    for (let now = start + minute; now < start + 10 * minute; now += minute) {
      assert.deepStrictEqual(core.next(now), { _tag: "Ask", peers: 1 })
      core.asked([], now)
      assert.deepStrictEqual(core.next(now), { _tag: "Wait", until: now + minute })
    }
  })

  it("starts over at once when a peer sees us elsewhere, and presumes that nothing changed until then", () => {
    const core = located()
    block(core, 3)
    core.observed(elsewhere, start)
    assert.deepStrictEqual(core.next(start + minute), { _tag: "Ask", peers: 5 })
    core.asked(reports(elsewhere, elsewhere, elsewhere), start + minute)
    assert.strictEqual(core.status.state, "closed")
    assert.deepStrictEqual(core.next(start + minute), { _tag: "DialBack", claimed: elsewhere })
    core.heard(host(50), true, start + minute)
    assert.strictEqual(core.status.state, "open")
  })

  it("asks within ten seconds when a peer reports another address, even after many experiments that showed nothing", () => {
    const core = located()
    for (let n = 0; n < 8; n++) core.dialed(start, false)
    core.observed(elsewhere, start + minute)
    assert.deepStrictEqual(core.next(start + minute), { _tag: "Ask", peers: 5 })
    // What the peers say then counts as any attempt.
    core.asked(reports(ours, elsewhere), start + minute)
    assert.deepStrictEqual(core.next(start + minute), { _tag: "Wait", until: start + 16 * minute })
  })

  it("keeps pauses of ten seconds at least, whatever peers report", () => {
    const core = located()
    block(core, 3)
    let now = start
    let asked = 0
    while (now < start + 10 * minute) {
      core.observed(elsewhere, now)
      const step = core.next(now)
      if (step._tag === "Wait") now = step.until
      else {
        asked++
        core.asked(reports(ours, elsewhere), now)
      }
    }
    assert.isAtMost(asked, 60)
  })
})

describe("whatever happens", () => {
  const event = fc.oneof(
    fc.record({ _tag: fc.constant("sent"), host: fc.nat({ max: 8 }) }),
    fc.record({ _tag: fc.constant("heard"), host: fc.nat({ max: 8 }), isEcho: fc.boolean() }),
    fc.record({
      _tag: fc.constant("blocked"),
      network: fc.nat({ max: 4 }),
      stranger: fc.constantFrom(undefined, ...[50, 51, 52].map(network.socketOf))
    }),
    fc.record({ _tag: fc.constantFrom("experimented", "controlled") }),
    fc.record({ _tag: fc.constant("asked"), ports: fc.array(fc.nat({ max: 2 }), { maxLength: 5 }) }),
    fc.record({ _tag: fc.constant("observed"), port: fc.nat({ max: 2 }) }),
    fc.record({ _tag: fc.constant("dialed"), lacksStrangers: fc.boolean() }),
    fc.record({ _tag: fc.constant("passed"), millis: fc.integer({ min: -60_000, max: 20 * minute }) })
  )

  it("only a datagram of a host that was not contacted opens a node, and no step is due before its time unless a change was reported", () => {
    fc.assert(fc.property(fc.array(event, { maxLength: 60 }), fc.boolean(), (events, isRestart) => {
      const core = new Core.Reachability({ isRestart })
      const sentAt = new Map<number, number>()
      let now = start
      let until = -Infinity
      core.changed = () => {
        until = -Infinity
      }
      for (const event of events) {
        const before = core.status.filtering
        switch (event._tag) {
          case "sent":
            core.sent(host(event.host), now)
            sentAt.set(event.host, now)
            break
          case "heard":
            core.heard(host(event.host), event.isEcho, now)
            break
          case "blocked":
            core.blocked(`network ${event.network}`, event.stranger, now)
            break
          case "experimented":
            core.experimented(now)
            break
          case "controlled":
            core.controlled(now)
            break
          case "asked":
            core.asked(reports(...event.ports.map((port) => ({ ...ours, port: port + 1 }))), now)
            break
          case "observed":
            core.observed({ ...ours, port: event.port + 1 }, now)
            break
          case "dialed":
            core.dialed(now, event.lacksStrangers)
            break
          case "passed":
            now += event.millis
        }
        const after = core.status.filtering
        if (after === "EndpointIndependent" && before !== after) {
          if (event._tag !== "heard") assert.fail(event._tag)
          assert.isTrue(now - (sentAt.get(event.host) ?? -Infinity) >= 10 * minute)
        }
        if (after === "EndpointDependent" && before !== after) {
          assert.include(["experimented", "controlled", "asked"], event._tag)
        }
        // The caller that reports an outcome looks again by itself.
        if (event._tag === "asked" || event._tag === "dialed" || event._tag === "passed" && event.millis < 0) {
          until = -Infinity
        }
        const step = core.next(now)
        if (now < until) assert.strictEqual(step._tag, "Wait")
        if (step._tag !== "Wait") continue
        assert.isAbove(step.until, now)
        assert.isAtLeast(step.until, until)
        until = step.until
      }
    }))
  })
})
