import { assert, describe, it } from "@effect/vitest"
import * as fc from "fast-check"
import type { Address } from "../../src/Address.ts"
import type { Contact } from "../../src/Contact.ts"
import { Peers } from "../../src/core/peers.ts"
import { type Keys, type Session, Sessions } from "../../src/core/sessions.ts"
import * as Hmac from "../../src/internal/hmac.ts"
import type { NodeId } from "../../src/NodeId.ts"

const idOf = (n: number): NodeId => n.toString(16).padStart(2, "0").repeat(32) as NodeId
const keyOf = (n: number) => new Uint8Array(32).fill(n)
const at = (n: number) => ({ host: `9.0.${n}.1`, port: 4121 })
const peer = (n: number): Contact => ({ id: idOf(n), address: `a0${idOf(n).slice(0, 40)}` as Address, ...at(n) })

/** Keys that show from which public key they were derived. */
const keysOf = (n: number): Keys => ({ send: Hmac.prepare(keyOf(n)), receive: Hmac.prepare(keyOf(n + 1)) })

const make = (options: { readonly proved?: number; readonly strangers?: number } = {}) => {
  const derived: Array<number> = []
  const peers = new Peers(options)
  const sessions = new Sessions({
    own: idOf(0),
    derive: ([n]) => {
      derived.push(n)
      return n === 0xff ? undefined : keysOf(n)
    },
    peers
  })
  const senderOf = (n: number) => idOf(n).slice(0, 16)
  return {
    sessions,
    derived,
    senderOf,
    answered: (n: number, has = true) => sessions.heard(peer(n), keyOf(n), has, true, 0),
    heard: (n: number, has = true) => sessions.heard(peer(n), keyOf(n), has, false, 0)
  }
}

const some = (session: Session | undefined): Session => session ?? assert.fail("no session")

describe("Sessions", () => {
  it("derive a key once it is needed, and once only", () => {
    const { answered, derived, senderOf, sessions } = make()
    answered(1)
    answered(1)
    assert.isFalse(some(sessions.of(senderOf(1))).isReady)
    assert.deepStrictEqual(derived, [])
    sessions.forRequest(peer(1), 0)
    answered(1)
    sessions.forRequest(peer(1), 0)
    assert.isTrue(some(sessions.of(senderOf(1))).isReady)
    assert.deepStrictEqual(some(sessions.of(senderOf(1))).keys, keysOf(1))
    assert.deepStrictEqual(derived, [1])
  })

  it("are used for requests to a peer that answered at that address, and for no other", () => {
    const { answered, heard, sessions } = make()
    heard(1)
    assert.isUndefined(sessions.forRequest(peer(1), 0))
    answered(1)
    assert.isDefined(sessions.forRequest(peer(1), 0))
    assert.isUndefined(sessions.forRequest({ ...peer(1), port: 4122 }, 0))
    assert.isUndefined(sessions.forRequest({ ...at(1), id: undefined }, 0))
    assert.isUndefined(sessions.forRequest({ ...at(1), id: idOf(2) }, 0))
  })

  it("know at which address a peer has proved itself: where it answered last", () => {
    const { answered, heard, senderOf, sessions } = make()
    heard(1)
    const session = some(sessions.of(senderOf(1)))
    assert.isFalse(session.isProvedAt(at(1)))
    answered(1)
    assert.isTrue(session.isProvedAt(at(1)))
    assert.isFalse(session.isProvedAt(at(2)))
    sessions.heard({ ...peer(1), ...at(2) }, keyOf(1), true, true, 0)
    assert.isTrue(session.isProvedAt(at(2)))
    assert.isFalse(session.isProvedAt(at(1)))
  })

  it("check the messages of each peer whose key is known, by the start of its id", () => {
    const { heard, senderOf, sessions } = make()
    heard(1)
    assert.strictEqual(some(sessions.of(senderOf(1))).contact.id, idOf(1))
    assert.isUndefined(sessions.of(senderOf(2)))
  })

  it("end with a message that does not announce the feature, from wherever it comes", () => {
    const { answered, heard, senderOf, sessions } = make()
    answered(1)
    heard(1, false)
    assert.isUndefined(sessions.forRequest(peer(1), 0))
    assert.isUndefined(sessions.of(senderOf(1)))
    heard(1)
    assert.isUndefined(sessions.forRequest(peer(1), 0))
    answered(1)
    assert.isDefined(sessions.forRequest(peer(1), 0))
  })

  it("do not exist with a peer whose key is unusable, nor with ourselves", () => {
    const { answered, derived, senderOf, sessions } = make()
    for (let i = 0; i < 3; i++) answered(0xff)
    for (let i = 0; i < 3; i++) assert.isUndefined(sessions.forRequest(peer(0xff), 0))
    assert.isUndefined(some(sessions.of(senderOf(0xff))).keys)
    assert.deepStrictEqual(derived, [0xff])
    answered(0)
    assert.isUndefined(sessions.forRequest(peer(0), 0))
    assert.isUndefined(sessions.of(senderOf(0)))
  })

  it("pause for a minute with a peer that has lost its key", () => {
    const { answered, sessions } = make()
    answered(1)
    sessions.pause(some(sessions.forRequest(peer(1), 0)), 1000)
    answered(1)
    assert.isUndefined(sessions.forRequest(peer(1), 60_999))
    assert.isDefined(sessions.forRequest(peer(1), 61_000))
  })

  it("outlast a lost datagram, and pause if only signed requests are answered twice in a row", () => {
    const { answered, sessions } = make()
    answered(1)
    const session = some(sessions.forRequest(peer(1), 0))
    for (let i = 0; i < 5; i++) {
      sessions.unanswered(session, 0)
      assert.isDefined(sessions.forRequest(peer(1), 0))
      sessions.answered(session)
    }
    sessions.unanswered(session, 0)
    sessions.unanswered(session, 0)
    assert.isUndefined(sessions.forRequest(peer(1), 0))
  })

  it("with peers that answered survive any number of strangers", () => {
    const { answered, heard, sessions } = make({ proved: 4, strangers: 4 })
    for (let n = 1; n <= 4; n++) answered(n)
    for (let n = 5; n < 200; n++) heard(n)
    for (let n = 1; n <= 4; n++) assert.isDefined(sessions.forRequest(peer(n), 0))
  })

  it("do not start with a message of another peer that has no signature", () => {
    const { senderOf, sessions } = make()
    sessions.heard(peer(1), undefined, true, true, 0)
    assert.isUndefined(sessions.of(senderOf(1)))
  })

  it("forget the peer that was heard from longest ago", () => {
    const { answered, heard, sessions } = make({ proved: 2 })
    answered(1)
    answered(2)
    heard(1)
    answered(3)
    assert.isDefined(sessions.forRequest(peer(1), 0))
    assert.isUndefined(sessions.forRequest(peer(2), 0))
  })

  it("never exceed their bounds, nor derive more keys than messages were verified, in any order of events", () => {
    const event = fc.record({
      do: fc.constantFrom("answered", "heard", "request", "receive"),
      peer: fc.integer({ min: 1, max: 12 }),
      has: fc.boolean()
    })
    fc.assert(fc.property(fc.array(event, { maxLength: 200 }), (events) => {
      const { answered, derived, heard, senderOf, sessions } = make({ proved: 3, strangers: 2 })
      const announced = new Map<number, boolean>()
      const peers = Array.from({ length: 12 }, (_, i) => i + 1)
      let verified = 0
      for (const { do: kind, has, peer: n } of events) {
        if (kind === "request") {
          const session = sessions.forRequest(peer(n), 0)
          if (session !== undefined) assert.isTrue(announced.get(n), "used although the last message denied it")
        } else if (kind === "receive") {
          const session = sessions.of(senderOf(n))
          if (session?.keys !== undefined) assert.deepStrictEqual(session.keys, keysOf(n))
        } else {
          verified++
          announced.set(n, has)
          if (kind === "answered") answered(n, has)
          else heard(n, has)
        }
        assert.isAtMost(peers.filter((n) => sessions.of(senderOf(n)) !== undefined).length, 5)
        assert.isAtMost(derived.length, verified)
      }
    }))
  })
})
