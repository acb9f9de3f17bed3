import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { SocketAddress } from "../../src/SocketAddress.ts"
import * as SocketAddresses from "../../src/SocketAddress.ts"
import * as Latency from "../../src/testing/Latency.ts"
import * as Nat from "../../src/testing/Nat.ts"
import * as SimNetwork from "../../src/testing/SimNetwork.ts"
import * as VirtualTime from "../../src/testing/VirtualTime.ts"

/** A host with one socket, and the datagrams that arrived there: `byte from host:port`. */
interface Box {
  readonly host: SimNetwork.Host
  readonly at: SocketAddress
  readonly arrived: Array<string>
  readonly send: (byte: number, to: SocketAddress) => Effect.Effect<void>
}

const box = Effect.fnUntraced(function*(host: SimNetwork.Host, port?: number) {
  const transport = yield* host.transport(port)
  const arrived: Array<string> = []
  yield* Effect.forkScoped(Effect.forever(Effect.map(transport.receive, (datagrams) => {
    for (const { from, payload } of datagrams) arrived.push(`${payload[0]} from ${SocketAddresses.key(from)}`)
  })))
  const box: Box = {
    host,
    at: transport.address,
    arrived,
    send: (byte, to) => Effect.orDie(transport.send(Uint8Array.of(byte), to))
  }
  return box
})

/** Long enough for all datagrams in flight. */
const settle = Effect.sleep("10 seconds")

const run = <A, E>(
  program: (network: SimNetwork.SimNetwork) => Effect.Effect<A, E, VirtualTime.VirtualTime | Scope.Scope>,
  options: Omit<SimNetwork.Options, "seed"> & { readonly seed?: number } = {}
): A =>
  VirtualTime.runSync(
    Effect.scoped(Effect.flatMap(SimNetwork.make({ seed: 1, jitterMillis: 0, ...options }), program))
  )

/** The address at which a receiver sees `sender`, which sends it a byte. */
const seenAs = Effect.fnUntraced(function*(sender: Box, receiver: Box) {
  const before = receiver.arrived.length
  yield* sender.send(1, receiver.at)
  yield* settle
  assert.strictEqual(receiver.arrived.length, before + 1)
  const [, host, port] = /from (.*):(.*)$/.exec(receiver.arrived[before]) ?? []
  return { host, port: Number(port) }
})

/** Whether a byte from `sender` to `to` reaches `receiver`. */
const reaches = Effect.fnUntraced(function*(sender: Box, to: SocketAddress, receiver: Box) {
  const before = receiver.arrived.length
  yield* sender.send(2, to)
  yield* settle
  return receiver.arrived.length > before
})

describe("SimNetwork", () => {
  describe("hosts", () => {
    it("have public addresses, each in its own /24", () => {
      run((network) =>
        Effect.sync(() => {
          const ips = Array.from({ length: 1000 }, () => network.host().ip)
          assert.isTrue(ips.every(SocketAddresses.isPublic))
          assert.strictEqual(new Set(ips.map(SocketAddresses.subnet)).size, 1000)
        })
      )
    })

    it("can have several sockets, one per port", () => {
      run(Effect.fnUntraced(function*(network) {
        const host = network.host()
        const [a, b] = [yield* box(host), yield* box(host)]
        assert.notStrictEqual(a.at.port, b.at.port)
        assert.isTrue(yield* reaches(a, b.at, b))
        const taken = yield* Effect.flip(host.transport(a.at.port))
        assert.strictEqual(taken.kind, "AddressInUse")
      }))
    })

    it("release a port when the scope closes", () => {
      run(Effect.fnUntraced(function*(network) {
        const [host, other] = [network.host(), yield* box(network.host())]
        yield* Effect.scoped(box(host, 1000))
        const again = yield* box(host, 1000)
        assert.isTrue(yield* reaches(other, again.at, again))
      }))
    })

    it("have addresses of the given families, and send over each from the one of that family, or not at all", () => {
      run((network) =>
        Effect.gen(function*() {
          const ipv4 = yield* box(network.host())
          const ipv6 = yield* box(network.host({ families: ["ipv6"] }))
          const dual = yield* box(network.host({ families: ["ipv4", "ipv6"] }))
          const { addresses, reaches } = yield* dual.host.transport()
          assert.deepStrictEqual(addresses.map(({ host }) => SocketAddresses.family(host)), ["ipv4", "ipv6"])
          assert.isTrue(SocketAddresses.isPublic(ipv6.at.host))
          assert.isTrue(reaches(ipv4.at.host) && reaches(ipv6.at.host))
          assert.deepStrictEqual(yield* seenAs(dual, ipv4), { host: dual.host.ip, port: 4121 })
          assert.deepStrictEqual(yield* seenAs(dual, ipv6), { host: dual.host.otherIp, port: 4121 })
          assert.deepStrictEqual(yield* seenAs(ipv4, dual), { host: ipv4.host.ip, port: 4121 })
          for (const [from, to] of [[ipv4, ipv6], [ipv6, ipv4]]) {
            const transport = yield* from.host.transport()
            assert.isFalse(transport.reaches(to.at.host))
            assert.strictEqual((yield* Effect.flip(transport.send(Uint8Array.of(1), to.at)))._tag, "Unroutable")
          }
          assert.throws(() => network.host({ behind: Nat.fullCone, families: ["ipv6"] }), RangeError)
        })
      )
    })

    it("cannot send to a name or to port 0, and get no error without a listener", () => {
      run(Effect.fnUntraced(function*(network) {
        const transport = yield* network.host().transport()
        const to = (host: string, port: number) => Effect.result(transport.send(Uint8Array.of(1), { host, port }))
        assert.deepInclude(yield* to("example.org", 1), { _tag: "Failure" })
        assert.deepInclude(yield* to("9.0.0.9", 0), { _tag: "Failure" })
        assert.deepInclude(yield* to("9.0.0.9", 1), { _tag: "Success" })
        assert.strictEqual(network.counts.unreachable, 1)
      }))
    })
  })

  describe("datagrams", () => {
    it("arrive once, after the latency", () => {
      run(
        Effect.fnUntraced(function*(network) {
          const { timeline } = { timeline: yield* VirtualTime.VirtualTime }
          const [a, b] = [network.host(), network.host()]
          const [from, to] = [yield* a.transport(), yield* b.transport()]
          const payload = Uint8Array.of(1, 2, 3)
          yield* from.send(payload, to.address)
          const [datagram] = yield* to.receive
          assert.strictEqual(timeline.elapsedMillis, 70)
          assert.deepStrictEqual(datagram, { payload, from: from.address })
          yield* to.send(payload, from.address)
          yield* from.receive
          assert.strictEqual(timeline.elapsedMillis, 100)
        }),
        { latency: Latency.matrix([[0, 70], [30, 0]]) }
      )
    })

    it("have the configured median latency, the same in both directions", () => {
      const latency = Latency.plane({ medianMillis: 50 })
      run((network) =>
        Effect.sync(() => {
          const hosts = Array.from({ length: 400 }, () => network.host())
          const ways = hosts.flatMap((a) => hosts.filter((b) => a !== b).map((b) => latency(a, b)))
          const median = ways.sort((a, b) => a - b)[ways.length >> 1]
          assert.closeTo(median, 50, 3)
          assert.isAbove(ways[0], 5)
          assert.strictEqual(latency(hosts[1], hosts[2]), latency(hosts[2], hosts[1]))
        })
      )
    })

    it("are reordered with jitter and not without", () => {
      const order = (jitterMillis: number) =>
        run(
          Effect.fnUntraced(function*(network) {
            const [a, b] = [yield* box(network.host()), yield* box(network.host())]
            for (let i = 0; i < 50; i++) yield* a.send(i, b.at)
            yield* settle
            return b.arrived.map((text) => parseInt(text, 10))
          }),
          { jitterMillis }
        )
      const inOrder = Array.from({ length: 50 }, (_, i) => i)
      assert.deepStrictEqual(order(0), inOrder)
      assert.notDeepEqual(order(5), inOrder)
      assert.deepStrictEqual(order(5).toSorted((a, b) => a - b), inOrder)
    })

    it("are lost and duplicated at the configured rates", () => {
      run(
        Effect.fnUntraced(function*(network) {
          const [a, b] = [yield* box(network.host()), yield* box(network.host())]
          for (let i = 0; i < 10_000; i++) {
            yield* a.send(1, b.at)
            if (i % 100 === 0) yield* Effect.sleep(1)
          }
          yield* settle
          const { delivered, duplicated, lost, sent } = network.counts
          assert.strictEqual(sent, 10_000)
          assert.closeTo(lost, 1000, 100)
          assert.closeTo(duplicated, 450, 75)
          assert.strictEqual(delivered, sent - lost + duplicated)
          assert.strictEqual(b.arrived.length, delivered)
        }),
        { loss: 0.1, duplication: 0.05 }
      )
    })

    it("are lost on a host's own link, for every peer", () => {
      run(Effect.fnUntraced(function*(network) {
        const [a, b, c] = [yield* box(network.host()), yield* box(network.host()), yield* box(network.host())]
        a.host.loss = 1
        assert.isFalse(yield* reaches(a, b.at, b))
        assert.isFalse(yield* reaches(b, a.at, a))
        assert.isTrue(yield* reaches(b, c.at, c))
      }))
    })

    it("are dropped and counted when the inbox is full", () => {
      run(Effect.fnUntraced(function*(network) {
        const [a, b] = [yield* network.host().transport(), yield* network.host().transport()]
        const reasons: Array<SimNetwork.DropReason> = []
        network.observe({ dropped: ({ reason }) => reasons.push(reason) })
        for (let i = 0; i < 300; i++) yield* a.send(Uint8Array.of(1), b.address)
        yield* settle
        assert.strictEqual(network.counts.overflowed, 300 - 256)
        assert.strictEqual(yield* b.dropped, 300 - 256)
        assert.deepStrictEqual(reasons, Array.from({ length: 300 - 256 }, () => "overflowed"))
      }))
    })

    it("are passed to observers as they arrive, until an observer is removed", () => {
      run(Effect.fnUntraced(function*(network) {
        const [a, b] = [yield* box(network.host({ name: "a" })), yield* box(network.host({ name: "b" }))]
        const seen: Array<string> = []
        const stop = network.observe({
          delivered: ({ from, payload, source, target, to }) =>
            seen.push(`${source.name} ${from.host} -> ${target.name} ${to.host} ${payload}`)
        })
        yield* a.send(7, b.at)
        yield* settle
        stop()
        yield* a.send(8, b.at)
        yield* settle
        assert.deepStrictEqual(seen, ["a 9.0.1.1 -> b 9.0.2.1 7"])
      }))
    })

    it("are passed to observers when they are dropped, each with the reason that counts it", () => {
      run(Effect.fnUntraced(function*(network) {
        const [a, b] = [yield* box(network.host({ name: "a" })), yield* box(network.host({ name: "b" }))]
        const behind = yield* box(network.host({ name: "behind", behind: Nat.symmetric }))
        const seen: Array<string> = []
        network.observe({
          dropped: ({ payload, reason, source, target }) =>
            seen.push(`${payload} ${source.name} -> ${target?.name} ${reason}`)
        })
        yield* a.send(1, { host: "9.9.9.9", port: 1 })
        yield* a.send(2, { host: b.at.host, port: 9 })
        yield* settle
        b.host.loss = 1
        yield* a.send(3, b.at)
        b.host.loss = 0
        network.cut(a.host, b.host)
        yield* a.send(4, b.at)
        network.heal()
        yield* a.send(5, b.at)
        network.setUp(b.host, false)
        yield* settle
        yield* b.send(6, a.at)
        network.setUp(b.host, true)
        const seenFrom = yield* seenAs(behind, a)
        yield* b.send(7, seenFrom)
        yield* settle
        assert.deepStrictEqual(seen, [
          "1 a -> undefined unreachable",
          "2 a -> b unreachable",
          "3 a -> b lost",
          "4 a -> b blocked",
          "5 a -> b blocked",
          "6 b -> a blocked",
          "7 b -> behind filtered"
        ])
        const { blocked, filtered, lost, unreachable } = network.counts
        assert.deepStrictEqual({ blocked, filtered, lost, unreachable }, {
          blocked: 3,
          filtered: 1,
          lost: 1,
          unreachable: 2
        })
      }))
    })
  })

  describe("faults", () => {
    it("a partition separates its groups, with all other hosts as one more group, until the network heals", () => {
      run(Effect.fnUntraced(function*(network) {
        const boxes = yield* Effect.forEach([0, 1, 2, 3, 4], () => box(network.host()))
        const matrix = Effect.forEach(boxes, (a) =>
          Effect.map(
            Effect.forEach(boxes, (b) => reaches(a, b.at, b)),
            (row) => row.map((reached) => reached ? "x" : ".").join("")
          ))
        network.partition([boxes[0].host, boxes[1].host], [boxes[2].host])
        assert.deepStrictEqual(yield* matrix, ["xx...", "xx...", "..x..", "...xx", "...xx"])
        network.heal()
        assert.deepStrictEqual(yield* matrix, ["xxxxx", "xxxxx", "xxxxx", "xxxxx", "xxxxx"])
      }))
    })

    it("a cut blocks one direction until it is mended", () => {
      run(Effect.fnUntraced(function*(network) {
        const [a, b] = [yield* box(network.host()), yield* box(network.host())]
        network.cut(a.host, b.host)
        assert.isFalse(yield* reaches(a, b.at, b))
        assert.isTrue(yield* reaches(b, a.at, a))
        network.mend(a.host, b.host)
        assert.isTrue(yield* reaches(a, b.at, b))
      }))
    })

    it("a host that is down neither sends nor receives, not even datagrams in flight", () => {
      run(Effect.fnUntraced(function*(network) {
        const [a, b] = [yield* box(network.host()), yield* box(network.host())]
        yield* a.send(1, b.at)
        yield* b.send(1, a.at)
        network.setUp(b.host, false)
        yield* settle
        assert.deepStrictEqual([a.arrived.length, b.arrived.length], [1, 0])
        assert.isFalse(yield* reaches(b, a.at, a))
        network.setUp(b.host, true)
        assert.isTrue(yield* reaches(a, b.at, b))
      }))
    })

    it("are reported to observers", () => {
      run((network) =>
        Effect.sync(() => {
          const log: Array<string> = []
          network.observe({ changed: (what) => log.push(what) })
          const [a, b] = [network.host({ name: "a" }), network.host({ name: "b" })]
          network.cut(a, b)
          network.mend(a, b)
          network.partition([a], [b])
          network.heal()
          network.setUp(a, false)
          network.setUp(a, false)
          assert.deepStrictEqual(log, ["cut a -> b", "mend a -> b", "partition 0 | 1", "heal", "down a"])
        })
      )
    })
  })

  describe("routers with NAT", () => {
    /** A host behind a router with this behaviour, and three ports of two public hosts. */
    const withRouter = <A>(
      behaviour: Nat.Behaviour,
      program: (
        boxes: { readonly inside: Box; readonly b1: Box; readonly b2: Box; readonly c: Box }
      ) => Effect.Effect<A>
    ): A =>
      run(Effect.fnUntraced(function*(network) {
        const b = network.host()
        return yield* program({
          inside: yield* box(network.host({ behind: behaviour })),
          b1: yield* box(b, 1),
          b2: yield* box(b, 2),
          c: yield* box(network.host(), 1)
        })
      }))

    /** The ports from which the external port that B1 sees admits datagrams, after the internal host sent to B1 only. */
    const admitted = (behaviour: Nat.Behaviour) =>
      withRouter(
        behaviour,
        Effect.fnUntraced(function*({ b1, b2, c, inside }) {
          const seen = yield* seenAs(inside, b1)
          return {
            b1: yield* reaches(b1, seen, inside),
            b2: yield* reaches(b2, seen, inside),
            c: yield* reaches(c, seen, inside)
          }
        })
      )

    /** Whether B1, B2 and C see the same external port. */
    const mapped = (behaviour: Nat.Behaviour) =>
      withRouter(
        behaviour,
        Effect.fnUntraced(function*({ b1, b2, c, inside }) {
          const ports = [yield* seenAs(inside, b1), yield* seenAs(inside, b2), yield* seenAs(inside, c)]
          return ports.map(({ port }) => port === ports[0].port)
        })
      )

    it("hide a private address behind a public one", () => {
      withRouter(
        Nat.fullCone,
        Effect.fnUntraced(function*({ b1, inside }) {
          assert.isFalse(SocketAddresses.isPublic(inside.at.host))
          const seen = yield* seenAs(inside, b1)
          assert.isTrue(SocketAddresses.isPublic(seen.host))
          assert.isFalse(yield* reaches(b1, inside.at, inside))
        })
      )
    })

    it("admit no datagram before the internal host has sent, with any behaviour", () => {
      for (const kind of [Nat.fullCone, Nat.restrictedCone, Nat.portRestrictedCone, Nat.symmetric]) {
        withRouter(
          kind,
          Effect.fnUntraced(function*({ b1, inside }) {
            const ip = inside.host.router?.ip ?? ""
            assert.isFalse(yield* reaches(b1, { host: ip, port: inside.at.port }, inside))
            assert.isFalse(yield* reaches(b1, { host: ip, port: 1024 }, inside))
          })
        )
      }
    })

    it("full cone: one port for all, which admits all (endpoint-independent mapping and filtering)", () => {
      assert.deepStrictEqual(mapped(Nat.fullCone), [true, true, true])
      assert.deepStrictEqual(admitted(Nat.fullCone), { b1: true, b2: true, c: true })
    })

    it("restricted cone: one port for all, which admits the IPs that were sent to (address-dependent filtering)", () => {
      assert.deepStrictEqual(mapped(Nat.restrictedCone), [true, true, true])
      assert.deepStrictEqual(admitted(Nat.restrictedCone), { b1: true, b2: true, c: false })
    })

    it("port-restricted cone: one port for all, which admits the IPs and ports that were sent to", () => {
      assert.deepStrictEqual(mapped(Nat.portRestrictedCone), [true, true, true])
      assert.deepStrictEqual(admitted(Nat.portRestrictedCone), { b1: true, b2: false, c: false })
    })

    it("symmetric: a different port for each IP and port, which admits only that", () => {
      assert.deepStrictEqual(mapped(Nat.symmetric), [true, false, false])
      assert.deepStrictEqual(admitted(Nat.symmetric), { b1: true, b2: false, c: false })
    })

    it("address-dependent mapping: a different port for each IP", () => {
      assert.deepStrictEqual(mapped({ ...Nat.symmetric, mapping: "AddressDependent" }), [true, true, false])
    })

    it("expire a mapping that was not used for its lifetime, and use another port then", () => {
      withRouter(
        Nat.fullCone,
        Effect.fnUntraced(function*({ b1, inside }) {
          const seen = yield* seenAs(inside, b1)
          yield* Effect.sleep("90 seconds")
          assert.isTrue(yield* reaches(b1, seen, inside))
          yield* Effect.sleep("90 seconds")
          assert.isFalse(yield* reaches(b1, seen, inside), "what comes in does not refresh a mapping")
          assert.notDeepEqual(yield* seenAs(inside, b1), seen)
        })
      )
    })

    it("keep a mapping in use, but admit only recent destinations", () => {
      withRouter(
        Nat.restrictedCone,
        Effect.fnUntraced(function*({ b1, c, inside }) {
          const seen = yield* seenAs(inside, b1)
          for (let i = 0; i < 5; i++) {
            yield* Effect.sleep("1 minute")
            assert.deepStrictEqual(yield* seenAs(inside, c), seen)
          }
          assert.isTrue(yield* reaches(c, seen, inside))
          assert.isFalse(yield* reaches(b1, seen, inside))
        })
      )
    })

    it("connect two hosts once both have sent, unless one of them is symmetric", () => {
      const punched = (theirs: Nat.Behaviour) =>
        run(Effect.fnUntraced(function*(network) {
          const introducer = yield* box(network.host())
          const [a, b] = [
            yield* box(network.host({ behind: Nat.portRestrictedCone })),
            yield* box(network.host({ behind: theirs }))
          ]
          const [seenA, seenB] = [yield* seenAs(a, introducer), yield* seenAs(b, introducer)]
          yield* reaches(a, seenB, b)
          yield* reaches(b, seenA, a)
          return yield* reaches(a, seenB, b)
        }))
      assert.isTrue(punched(Nat.portRestrictedCone))
      assert.isFalse(punched(Nat.symmetric))
    })

    it("connect hosts behind them by private addresses, and by public ones only with hairpinning", () => {
      const talk = (behaviour: Nat.Behaviour) =>
        run(Effect.fnUntraced(function*(network) {
          const router = network.router(behaviour)
          const [a, b] = [
            yield* box(network.host({ behind: router })),
            yield* box(network.host({ behind: router }))
          ]
          const seen = yield* seenAs(b, yield* box(network.host()))
          return [yield* reaches(a, b.at, b), yield* reaches(a, seen, b)]
        }))
      assert.deepStrictEqual(talk(Nat.fullCone), [true, false])
      assert.deepStrictEqual(talk({ ...Nat.fullCone, hairpinning: true }), [true, true])
    })
  })

  it("drops datagrams in flight when its scope closes, and leaves no timer", () => {
    const timers = VirtualTime.runSync(Effect.gen(function*() {
      const timeline = yield* VirtualTime.VirtualTime
      yield* Effect.scoped(Effect.gen(function*() {
        const network = yield* SimNetwork.make({ seed: 1 })
        const [a, b] = [yield* box(network.host()), yield* box(network.host())]
        yield* a.send(1, b.at)
        assert.isAbove(timeline.timers, 0)
      }))
      return timeline.timers
    }))
    assert.strictEqual(timers, 0)
  })
})
