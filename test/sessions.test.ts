import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import * as fc from "fast-check"
import type * as Dht from "../src/Dht.ts"
import * as Features from "../src/Features.ts"
import * as Hex from "../src/internal/hex.ts"
import * as Hmac from "../src/internal/hmac.ts"
import * as Message from "../src/Message.ts"
import * as NodeId from "../src/NodeId.ts"
import * as Rpc from "../src/Rpc.ts"
import type * as SocketAddress from "../src/SocketAddress.ts"
import { layerMemoryNetwork, MemoryNetwork, Transport } from "../src/Transport.ts"
import * as arbitraries from "./utils/arbitraries.ts"
import * as network from "./utils/network.ts"
import { helpful, serve, settled } from "./utils/served.ts"

const onNetwork = Effect.provide(layerMemoryNetwork)

interface Sent {
  readonly payload: Uint8Array
  readonly to: SocketAddress.SocketAddress
}

/** Whether a datagram is one of those by which nodes prove their addresses to each other. */
const isProof = (payload: Uint8Array): boolean => {
  const header = Message.header(payload)
  return typeof header !== "string" && (header.type === Message.Type.Ping || header.type === Message.Type.Pong)
}

/**
 * A node whose software can be restarted on the same port, and what it sent
 * besides pings and their responses.
 * A mute line drops what it sends.
 */
const machine = Effect.fnUntraced(function*(name: string, n: number, options: Dht.Options = {}) {
  const transport = yield* MemoryNetwork.use((memory) => memory.join(network.socketOf(n)))
  const sent: Array<Sent> = []
  const line = { isMute: false }
  const outer = yield* Effect.scope
  const tapped = Context.make(
    Transport,
    Transport.of({
      ...transport,
      sendUnsafe: (payload, to) => {
        if (!isProof(payload)) sent.push({ payload: payload.slice(), to })
        return line.isMute ? undefined : transport.sendUnsafe(payload, to)
      }
    })
  )
  const start = Effect.fnUntraced(function*(changed: Dht.Options = {}, as = name) {
    const scope = yield* Scope.fork(outer)
    const node = yield* Scope.provide(network.nodeOn(as, tapped, { passive: true, ...options, ...changed }), scope)
    return { node, stop: Scope.close(scope, Exit.void) }
  })
  let running = yield* start()
  return {
    sent,
    line,
    transport,
    get node() {
      return running.node
    },
    get contact() {
      return network.contactOf(running.node)
    },
    get traffic() {
      return Context.get(running.node, Rpc.Rpc).traffic
    },
    restart: Effect.fnUntraced(function*(changed?: Dht.Options, as?: string) {
      yield* running.stop
      running = yield* start(changed, as)
    })
  }
})

type Machine = Effect.Success<ReturnType<typeof machine>>

/** Sends FIND_NODE, which is not cached or limited anywhere. */
const ask = (from: Machine, to: Machine, options?: { readonly attempts?: number }) =>
  Context.get(from.node, Rpc.Rpc).request(to.contact, { _tag: "FindNode", target: NodeId.zero }, options)

const formOf = ({ payload }: Sent): string => {
  if (Message.noticed(payload) !== undefined) return "notice"
  const frame = Message.frame(payload)
  return typeof frame === "string" ? frame : frame._tag
}

/** The forms of the datagrams sent since the last call. */
const formsOf = ({ sent }: Machine): ReadonlyArray<string> => sent.splice(0).map(formOf)

const pair = Effect.fnUntraced(function*(ann: Dht.Options = {}, ben: Dht.Options = {}) {
  yield* TestClock.setTime(network.now * 1000)
  return { ann: yield* machine("ann", 1, ann), ben: yield* machine("ben", 2, ben) }
})

/** Two nodes that have exchanged a request and its response in a session. */
const startSession = Effect.fnUntraced(function*(options?: Dht.Options) {
  const both = yield* pair(options)
  yield* ask(both.ann, both.ben)
  yield* ask(both.ann, both.ben)
  assert.deepStrictEqual(formsOf(both.ann).at(-1), "Session")
  assert.deepStrictEqual(formsOf(both.ben).at(-1), "Session")
  return both
})

const inSession = startSession()

describe("Two nodes with sessions", () => {
  it.effect("sign their first exchange, and no later one", () =>
    Effect.gen(function*() {
      const { ann, ben } = yield* pair()
      for (let i = 0; i < 4; i++) yield* ask(ann, ben)
      assert.deepStrictEqual(formsOf(ann), ["Signed", "Session", "Session", "Session"])
      assert.deepStrictEqual(formsOf(ben), ["Signed", "Session", "Session", "Session"])
      assert.strictEqual((yield* ben.traffic).inSessions, 3)
      assert.strictEqual((yield* ann.traffic).inSessions, 3)
    }).pipe(onNetwork, Effect.scoped))

  it.effect("send 74 bytes less for each datagram", () =>
    Effect.gen(function*() {
      // A client is named in no response.
      const { ann, ben } = yield* pair({ client: true })
      yield* ask(ann, ben)
      yield* ask(ann, ben)
      for (const { sent: [signed, other] } of [ann, ben]) {
        assert.strictEqual(signed.payload.length - other.payload.length, 74)
      }
    }).pipe(onNetwork, Effect.scoped))

  it.effect("sign the first request of each side: what proves one to the other does not prove the other to it", () =>
    Effect.gen(function*() {
      // A client is not pinged for a place in the table.
      const { ann, ben } = yield* startSession({ client: true })
      yield* ask(ben, ann)
      yield* ask(ben, ann)
      assert.deepStrictEqual(formsOf(ben), ["Signed", "Session"])
      assert.deepStrictEqual(formsOf(ann), ["Signed", "Session"])
    }).pipe(onNetwork, Effect.scoped))

  it.effect("sign a request to another address of the peer", () =>
    Effect.gen(function*() {
      const { ann, ben } = yield* inSession
      const moved = { ...ben.contact, ...network.socketOf(9) }
      yield* MemoryNetwork.use((memory) => memory.join(network.socketOf(9)))
      yield* Effect.forkScoped(Context.get(ann.node, Rpc.Rpc).request(moved, { _tag: "FindNode", target: NodeId.zero }))
      yield* settled
      assert.deepStrictEqual(formsOf(ann), ["Signed"])
    }).pipe(onNetwork, Effect.scoped))

  for (
    const [who, ann, ben] of [
      ["the requester", { sessions: false }, {}],
      ["the responder", {}, { sessions: false }]
    ] as const
  ) {
    it.effect(`sign everything if ${who} does not take part`, () =>
      Effect.gen(function*() {
        const both = yield* pair(ann, ben)
        for (let i = 0; i < 3; i++) yield* ask(both.ann, both.ben)
        assert.deepStrictEqual(new Set([...formsOf(both.ann), ...formsOf(both.ben)]), new Set(["Signed"]))
      }).pipe(onNetwork, Effect.scoped))
  }

  it.effect("have them in a private network, with keys of that network", () =>
    Effect.gen(function*() {
      const acme = { network: "acme", networkKey: Redacted.make("secret") }
      const { ann, ben } = yield* pair(acme, acme)
      yield* ask(ann, ben)
      yield* ask(ann, ben)
      const request = ann.sent[1]
      assert.strictEqual(formOf(request), "Session")
      yield* ben.restart({ network: "acme", networkKey: undefined })
      const raw = yield* MemoryNetwork.use((memory) => memory.join(network.socketOf(3)))
      yield* raw.send(request.payload, ben.contact)
      yield* settled
      assert.strictEqual((yield* ben.traffic).inSessions, 0)
      assert.strictEqual((yield* ben.traffic).refusedBy.bad_mac, 1)
    }).pipe(onNetwork, Effect.scoped))
})

describe("A session that one side has lost", () => {
  it.effect("costs a notice: the request is repeated with a signature at once", () =>
    Effect.gen(function*() {
      const { ann, ben } = yield* inSession
      yield* ben.restart()
      // No time passes, so no retransmission timeout is due.
      yield* ask(ann, ben)
      assert.deepStrictEqual(formsOf(ann), ["Session", "Signed"])
      assert.deepStrictEqual(formsOf(ben), ["notice", "Signed"])
      // The timeout of the attempt that came to nothing ends with it.
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual(formsOf(ann), [])
    }).pipe(onNetwork, Effect.scoped))

  it.effect("is continued a minute later", () =>
    Effect.gen(function*() {
      const { ann, ben } = yield* inSession
      yield* ben.restart()
      yield* ask(ann, ben)
      formsOf(ann)
      yield* ask(ann, ben)
      assert.deepStrictEqual(formsOf(ann), ["Signed"])
      yield* TestClock.adjust("1 minute")
      yield* ask(ann, ben)
      assert.deepStrictEqual(formsOf(ann).at(-1), "Session")
    }).pipe(onNetwork, Effect.scoped))

  it.effect("is found out by the signed retransmission if the notice is lost", () =>
    Effect.gen(function*() {
      const { ann, ben } = yield* inSession
      yield* ben.restart()
      ben.line.isMute = true
      const asked = yield* Effect.forkScoped(ask(ann, ben), { startImmediately: true })
      yield* settled
      assert.deepStrictEqual(formsOf(ben), ["notice"])
      ben.line.isMute = false
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(asked)
      assert.deepStrictEqual(formsOf(ann).slice(0, 2), ["Session", "Signed"])
    }).pipe(onNetwork, Effect.scoped))

  it.effect("is begun anew by the requester that has lost it, without a notice", () =>
    Effect.gen(function*() {
      const { ann, ben } = yield* inSession
      yield* ann.restart()
      yield* ask(ann, ben)
      yield* ask(ann, ben)
      assert.deepStrictEqual(formsOf(ann), ["Signed", "Session"])
      assert.deepStrictEqual(formsOf(ben), ["Signed", "Session"])
    }).pipe(onNetwork, Effect.scoped))

  it.effect("is not used for a request that has only one attempt to go", () =>
    Effect.gen(function*() {
      const { ann, ben } = yield* inSession
      yield* ask(ann, ben, { attempts: 1 })
      assert.deepStrictEqual(formsOf(ann), ["Signed"])
    }).pipe(onNetwork, Effect.scoped))

  it.effect("ends at once if the peer is back as a version without sessions", () =>
    Effect.gen(function*() {
      const { ann, ben } = yield* inSession
      yield* ben.restart({ sessions: false })
      yield* ask(ann, ben)
      assert.deepStrictEqual(formsOf(ann), ["Session", "Signed"])
      yield* TestClock.adjust("1 hour")
      formsOf(ann)
      yield* ask(ann, ben)
      assert.deepStrictEqual(formsOf(ann), ["Signed"])
    }).pipe(onNetwork, Effect.scoped))

  it.effect("ends at once if the peer is back as the reference, which ignores what it cannot read", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(network.now * 1000)
      const ann = yield* machine("ann", 1)
      const scope = yield* Scope.make()
      const ben = yield* Scope.provide(machine("ben", 2), scope)
      const peer = ben.contact
      const find = Context.get(ann.node, Rpc.Rpc).request(peer, { _tag: "FindNode", target: NodeId.zero })
      yield* find
      yield* find
      assert.deepStrictEqual(formsOf(ann), ["Signed", "Session"])
      yield* Scope.close(scope, Exit.void)
      const old = yield* network.puppet("ben", network.socketOf(2))
      const decodable = Effect.catchDefect(old.receive, () => old.receive)
      yield* serve({ ...old, receive: decodable }, helpful(old))
      const asked = yield* Effect.forkScoped(find, { startImmediately: true })
      yield* settled
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(asked)
      assert.deepStrictEqual(formsOf(ann).slice(0, 2), ["Session", "Signed"])
      yield* find
      yield* find
      assert.deepStrictEqual(formsOf(ann), ["Signed", "Signed"])
    }).pipe(onNetwork, Effect.scoped))

  it.effect("does not help another key on the same port", () =>
    Effect.gen(function*() {
      const { ann, ben } = yield* inSession
      const before = ben.contact
      yield* ben.restart({}, "eve")
      const asked = yield* Effect.forkScoped(
        Effect.flip(Context.get(ann.node, Rpc.Rpc).request(before, { _tag: "FindNode", target: NodeId.zero })),
        { startImmediately: true }
      )
      yield* settled
      yield* TestClock.adjust("20 seconds")
      assert.strictEqual((yield* Fiber.join(asked))._tag, "NoAnswer")
    }).pipe(onNetwork, Effect.scoped))
})

describe("An attacker of a session", () => {
  const attacker = MemoryNetwork.use((memory) => memory.join(network.socketOf(66)))

  it.effect("that repeats a request is answered as for a signed one, at its own address, and moves no contact", () =>
    Effect.gen(function*() {
      const { ann, ben } = yield* inSession
      yield* ask(ann, ben)
      const [{ payload }] = ann.sent
      const mallory = yield* attacker
      yield* mallory.send(payload, ben.contact)
      yield* settled
      const { to } = ben.sent.at(-1) ?? assert.fail("no response")
      assert.deepInclude(to, network.socketOf(66))
      yield* ask(ben, ann)
      assert.deepInclude(ben.sent.at(-1)?.to, network.socketOf(1))
    }).pipe(onNetwork, Effect.scoped))

  it.effect("that repeats a response is refused before its MAC is computed", () =>
    Effect.gen(function*() {
      const { ann, ben } = yield* inSession
      yield* ask(ann, ben)
      const response = ben.sent.at(-1) ?? assert.fail("no response")
      yield* (yield* attacker).send(response.payload, ann.contact)
      yield* settled
      assert.strictEqual((yield* ann.traffic).refusedBy.late, 1)
    }).pipe(onNetwork, Effect.scoped))

  it.effect("that invents notices ends no session: not for unknown requests, nor from elsewhere", () =>
    Effect.gen(function*() {
      const { ann, ben } = yield* inSession
      const mallory = yield* attacker
      yield* mallory.send(Message.notice("00".repeat(20)), ann.contact)
      yield* ben.transport.send(Message.notice("00".repeat(20)), ann.contact)
      // A request in flight, whose transaction the attacker has seen.
      ben.line.isMute = true
      const asked = yield* Effect.forkScoped(ask(ann, ben), { startImmediately: true })
      const seen = Message.header(ann.sent.at(-1)?.payload ?? new Uint8Array(0))
      if (typeof seen === "string") return assert.fail(seen)
      yield* mallory.send(Message.notice(seen.transactionId), ann.contact)
      yield* settled
      assert.deepStrictEqual(formsOf(ann), ["Session"])
      assert.strictEqual((yield* ann.traffic).refusedBy.unawaited, 3)
      yield* Fiber.interrupt(asked)
    }).pipe(onNetwork, Effect.scoped))

  it.effect(
    "that flips any bit of a request costs no signature check, and nothing but a notice",
    () =>
      Effect.gen(function*() {
        const { ann, ben } = yield* inSession
        yield* ask(ann, ben)
        const [{ payload }] = ann.sent
        const { inSessions, received } = yield* ben.traffic
        const mallory = yield* attacker
        ben.sent.length = 0
        for (let bit = 0; bit < 8 * payload.length; bit++) {
          const bytes = payload.slice()
          bytes[bit >> 3] ^= 1 << (bit & 7)
          yield* mallory.send(bytes, ben.contact)
          yield* TestClock.adjust("1 second")
        }
        assert.deepInclude(yield* ben.traffic, { inSessions, received })
        assert.strictEqual((yield* ben.traffic).refusedBy.bad_signature, 0)
        const answers = ben.sent.filter(({ to }) => to.host === network.socketOf(66).host)
        // For the bits that make it the message of an unknown sender.
        assert.lengthOf(answers, 64)
        for (const answer of answers) {
          assert.strictEqual(formOf(answer), "notice")
          assert.isBelow(answer.payload.length, payload.length)
        }
      }).pipe(onNetwork, Effect.scoped),
    30_000
  )

  it.effect("gets at most 64 notices in ten seconds for its network, and none for a response or a notice", () =>
    Effect.gen(function*() {
      const { ann, ben } = yield* inSession
      yield* ask(ann, ben)
      const [{ payload: request }] = ann.sent
      const [{ payload: response }] = ben.sent
      // Of a sender that is not known.
      request[request.length - 26] ^= 1
      response[response.length - 26] ^= 1
      const mallory = yield* attacker
      ben.sent.length = 0
      for (let i = 0; i < 100; i++) {
        yield* mallory.send(request, ben.contact)
        yield* settled
      }
      assert.lengthOf(ben.sent, 64)
      yield* TestClock.adjust("10 seconds")
      ben.sent.length = 0
      yield* mallory.send(response, ben.contact)
      yield* mallory.send(Message.notice("ab".repeat(20)), ben.contact)
      yield* settled
      assert.lengthOf(ben.sent, 0)
    }).pipe(onNetwork, Effect.scoped))

  it.effect("that floods with wrong MACs from the peer's own address displaces none of its messages", () =>
    Effect.gen(function*() {
      const { ann, ben } = yield* inSession
      yield* ask(ann, ben)
      const forged = (ann.sent.at(-1) ?? assert.fail("no request")).payload.slice()
      forged[forged.length - 1] ^= 1
      for (let i = 0; i < 2000; i++) yield* ann.transport.send(forged, ben.contact)
      yield* ask(ann, ben)
      assert.strictEqual(formsOf(ann).at(-1), "Session")
      assert.deepInclude((yield* ben.traffic).refusedBy, { bad_mac: 2000, overload: 0 })
    }).pipe(onNetwork, Effect.scoped))

  it.effect("that is a contact, and signs its messages, is served after the peer", () =>
    Effect.gen(function*() {
      const { ann, ben } = yield* inSession
      const cats = yield* Effect.forEach([3, 4, 5], (n) => machine(`cat ${n}`, n, { sessions: false }))
      yield* ask(ann, ben)
      const { payload } = ann.sent.at(-1) ?? assert.fail("no request")
      for (const contact of [...cats, ann]) yield* ask(ben, contact)
      yield* settled
      ben.sent.length = 0
      for (const [i, { transport }] of cats.entries()) {
        const signer = network.identity(`cat ${i + 3}`)
        const signed = Message.encode({ _tag: "FindNode", target: NodeId.zero }, {
          signer,
          transactionId: "00".repeat(20)
        })
        for (let n = 0; n < 5; n++) transport.sendUnsafe(signed, ben.contact)
      }
      ann.transport.sendUnsafe(payload, ben.contact)
      yield* settled
      assert.lengthOf(ben.sent, 16)
      // The first was served as it arrived.
      assert.deepInclude(ben.sent[1].to, network.socketOf(1))
    }).pipe(onNetwork, Effect.scoped))

  it.effect("that replays what the peer signed before it had sessions only has requests signed again", () =>
    Effect.gen(function*() {
      const { ann, ben } = yield* inSession
      const old = Message.encode({ _tag: "FindNode", target: NodeId.zero }, {
        signer: network.identity("ben"),
        transactionId: "00".repeat(20)
      })
      yield* (yield* attacker).send(old, ann.contact)
      yield* settled
      formsOf(ann)
      yield* ask(ann, ben)
      yield* ask(ann, ben)
      assert.deepStrictEqual(formsOf(ann), ["Signed", "Session"])
    }).pipe(onNetwork, Effect.scoped))

  for (const [who, name] of [["an unknown peer", "cat"], ["the peer", "ben"]] as const) {
    it.effect(`with a signed message of ${who} that has the bit, sent from elsewhere, gets no requests in a session`, () =>
      Effect.gen(function*() {
        const { ann, ben } = yield* inSession
        const signer = network.identity(name)
        const features = Features.own({ client: false, sessions: true })
        const signed = Message.encode({ _tag: "FindNode", target: NodeId.zero }, {
          signer,
          transactionId: "00".repeat(20),
          features
        })
        const elsewhere = network.socketOf(66)
        const mallory = yield* attacker
        ann.sent.length = 0
        yield* mallory.send(signed, ann.contact)
        yield* settled
        // The message is answered where it came from, and a peer that may have moved is probed there.
        assert.deepStrictEqual(new Set(ann.sent.map(({ to: { host } }) => host)), new Set([elsewhere.host]))
        assert.deepStrictEqual(new Set(formsOf(ann)), new Set(["Signed"]))
        const moved = { id: signer.nodeId, address: signer.address, ...elsewhere }
        yield* Effect.forkScoped(
          Context.get(ann.node, Rpc.Rpc).request(moved, { _tag: "FindNode", target: NodeId.zero }),
          { startImmediately: true }
        )
        assert.deepStrictEqual(ann.sent.map(({ to: { host } }) => host), [elsewhere.host])
        assert.deepStrictEqual(formsOf(ann), ["Signed"])
        // The session with the peer is unharmed.
        yield* ask(ann, ben)
        assert.deepStrictEqual(formsOf(ann), ["Session"])
      }).pipe(onNetwork, Effect.scoped))
  }
})

describe("A datagram of a session", () => {
  const signer = arbitraries.crypto.signingKey(new Uint8Array(32).fill(1))
  const key = Hmac.prepare(new Uint8Array(32))
  const header = { transactionId: "00".repeat(20), sender: "0123456789abcdef", key }

  it("is no signed message, and a signed message is none", () => {
    fc.assert(fc.property(arbitraries.body, (body) => {
      const sealed = Message.seal(body, header)
      const decoded = Message.decode(sealed, arbitraries.crypto)
      assert.deepStrictEqual(
        decoded,
        Result.fail(new Message.InvalidMessage({ reason: "it belongs to a session and has no signature" }))
      )
      const signed = Message.encode(body, { signer, ...header })
      const frame = Message.frame(signed)
      assert.strictEqual(typeof frame === "string" ? frame : frame._tag, "Signed")
      assert.isTrue(Result.isSuccess(Message.decode(signed, arbitraries.crypto)))
    }))
  })

  it("is no notice, nor is a signed message, and a notice of 32 bytes is neither", () => {
    const body = { _tag: "NatProbeEcho", token: new Uint8Array(8) } as const
    assert.isUndefined(Message.noticed(Message.seal(body, header)))
    assert.isUndefined(Message.noticed(Message.encode(body, { signer, ...header })))
    assert.strictEqual(Hex.encode(Message.notice("01".repeat(20))).length / 2, 32)
    assert.strictEqual(Message.noticed(Message.notice("01".repeat(20))), "01".repeat(20))
    assert.isString(Message.header(Message.notice("01".repeat(20))))
    assert.isString(Message.frame(Message.notice("01".repeat(20))))
  })

  it("names its sender where that can be read before its framing", () => {
    fc.assert(fc.property(arbitraries.body, (body) => {
      const bytes = Message.seal(body, header)
      assert.strictEqual(Message.claimedSender(bytes), header.sender)
      const frame = Message.frame(bytes)
      assert.isTrue(typeof frame !== "string" && frame._tag === "Session" && frame.sender === header.sender)
    }))
    const signed = Message.encode({ _tag: "NatProbeEcho", token: new Uint8Array(8) }, { signer, ...header })
    assert.isUndefined(Message.claimedSender(signed))
    for (let length = 0; length < 40; length++) Message.claimedSender(signed.subarray(0, length))
  })
})
