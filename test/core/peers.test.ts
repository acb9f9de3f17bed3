import { assert, describe, it } from "@effect/vitest"
import * as fc from "fast-check"
import type { Address } from "../../src/Address.ts"
import type { Contact } from "../../src/Contact.ts"
import { Peer, Peers, senderOf } from "../../src/core/peers.ts"
import type { NodeId } from "../../src/NodeId.ts"

const idOf = (n: number): NodeId => n.toString(16).padStart(2, "0").repeat(32) as NodeId
const at = (n: number) => ({ host: `9.0.${n}.1`, port: 4121 })
const contactOf = (n: number): Contact => ({ id: idOf(n), address: `a0${idOf(n).slice(0, 40)}` as Address, ...at(n) })

const make = (options: { readonly proved?: number; readonly strangers?: number } = {}) => {
  const peers = new Peers(options)
  return {
    peers,
    heard: (contact: Contact, isAnswer = false, now = 0) =>
      peers.heard(peers.get(contact.id) ?? new Peer(contact), contact, isAnswer, now),
    named: () => Array.from(peers, ({ contact: { id } }) => Number.parseInt(id.slice(0, 2), 16))
  }
}

describe("Peers", () => {
  it("keep one contact of a peer while it is at the same address", () => {
    const { heard, peers } = make()
    const { address, id } = contactOf(1)
    heard(contactOf(1))
    const contact = peers.contact(id, address, at(1))
    assert.deepStrictEqual(contact, contactOf(1))
    assert.strictEqual(peers.contact(id, address, at(1)), contact)
    assert.deepStrictEqual(peers.contact(id, address, at(2)), { ...contactOf(1), ...at(2) })
    heard({ ...contactOf(1), ...at(2) })
    assert.deepStrictEqual(peers.contact(id, address, at(1)), contactOf(1))
  })

  it("do not take the start of an id for the id", () => {
    const { heard, peers } = make()
    heard(contactOf(1), true)
    const other = { ...contactOf(1), id: `${senderOf(idOf(1))}${"ff".repeat(24)}` as NodeId }
    assert.isUndefined(peers.get(other.id))
    assert.strictEqual(peers.contact(other.id, other.address, at(1)).id, other.id)
    heard(other)
    assert.isUndefined(peers.get(idOf(1)))
    assert.isFalse(peers.get(other.id)?.hasAnswered)
    assert.strictEqual(Array.from(peers).length, 1)
  })

  it("are those that have answered and then the others, the last heard from first", () => {
    const { heard, named, peers } = make()
    heard(contactOf(1), true, 1)
    heard(contactOf(2), false, 2)
    heard(contactOf(3), true, 3)
    heard(contactOf(4), false, 4)
    heard(contactOf(1), false, 5)
    assert.deepStrictEqual(named(), [1, 3, 4, 2])
    assert.strictEqual(peers.get(idOf(1))?.heardAt, 5)
    heard(contactOf(2), true, 6)
    assert.deepStrictEqual(named(), [2, 1, 3, 4])
  })

  it("never exceed their bounds, and those that have answered survive any number of others", () => {
    const event = fc.record({ n: fc.integer({ min: 1, max: 12 }), isAnswer: fc.boolean() })
    fc.assert(fc.property(fc.array(event, { maxLength: 100 }), (events) => {
      const { heard, named, peers } = make({ proved: 3, strangers: 2 })
      // A reference model: arrays, the most recent first.
      let proved: Array<number> = []
      let strangers: Array<number> = []
      for (const { isAnswer, n } of events) {
        heard(contactOf(n), isAnswer)
        const hasAnswered = isAnswer || proved.includes(n)
        strangers = strangers.filter((other) => other !== n)
        if (hasAnswered) proved = [n, ...proved.filter((other) => other !== n)].slice(0, 3)
        else strangers = [n, ...strangers].slice(0, 2)
        assert.deepStrictEqual(named(), [...proved, ...strangers])
        for (let i = 1; i <= 12; i++) {
          assert.strictEqual(peers.of(senderOf(idOf(i))) !== undefined, named().includes(i))
        }
      }
    }))
  })
})
