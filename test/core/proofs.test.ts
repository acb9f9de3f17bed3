import { assert, describe, it } from "@effect/vitest"
import * as fc from "fast-check"
import type { Address } from "../../src/Address.ts"
import type { Contact } from "../../src/Contact.ts"
import { type Ping, Proof, Proofs } from "../../src/core/proofs.ts"
import * as NodeId from "../../src/NodeId.ts"
import * as SocketAddress from "../../src/SocketAddress.ts"

const id = (byte: number) => byte.toString(16).padStart(2, "0").padEnd(64, "0") as NodeId.NodeId

const contact = (byte: number, host = `9.9.${byte}.1`): Contact => ({
  id: id(byte),
  address: id(byte).slice(0, 42) as Address,
  host,
  port: 1
})

const proof = (contact: Contact, hasRoom = true): Proof => new Proof(contact, hasRoom)

describe("a proof", () => {
  const setUp = () => {
    const told: Array<string> = []
    const pings = ["first", "second"].map((name): Ping => ({
      cancel: () => told.push(`${name} cancelled`),
      waiting: []
    }))
    const caller = (name: string) => (isProved: boolean) => void told.push(`${name}: ${isProved}`)
    const one = proof(contact(1))
    one.pinged(pings[0], 0)
    one.wait(caller("a"))
    return { told, caller, one, pings }
  }

  it("has each caller wait for the ping that was the latest when it came, however often its peer is pinged again", () => {
    const { caller, one, pings, told } = setUp()
    one.pinged(pings[1], 1)
    one.wait(caller("b"))
    assert.isFalse(one.failed(pings[0]))
    assert.deepStrictEqual(told, ["a: false"])
    assert.isTrue(one.failed(pings[1]))
    assert.deepStrictEqual(told, ["a: false", "b: false"])
    assert.isFalse(one.wait(caller("c")))
  })

  it("tells all callers of the first response, and cancels the other pings", () => {
    const { caller, one, pings, told } = setUp()
    one.pinged(pings[1], 1)
    one.wait(caller("b"))
    one.end(pings[0])
    assert.deepStrictEqual(told, ["a: true", "second cancelled", "b: true"])
  })

  it("that takes too long holds up no caller, and its response still counts", () => {
    const { caller, one, pings, told } = setUp()
    one.delayed(pings[0])
    assert.isTrue(one.wait(caller("b")))
    one.end(pings[0])
    assert.deepStrictEqual(told, ["a: false", "b: true"])
  })

  it("is waited for by 16 callers at most, whichever ping they wait for", () => {
    const { caller, one, pings } = setUp()
    one.pinged(pings[1], 1)
    const accepted = Array.from({ length: 16 }, () => one.wait(caller("b")))
    assert.deepStrictEqual(accepted, [...Array.from({ length: 15 }, () => true), false])
  })
})

describe("Proofs", () => {
  it("make way, once there are too many, for a peer whose bucket has room, and among equals for a closer one", () => {
    const proofs = new Proofs({ self: NodeId.zero, capacity: 2 })
    const [far, near] = [proof(contact(0x80)), proof(contact(0x10), false)]
    for (const one of [far, near]) assert.isUndefined(proofs.add(one))
    assert.strictEqual(proofs.add(proof(contact(0x20), false)), "Refused")
    assert.strictEqual(proofs.add(proof(contact(0x90))), near)
    assert.strictEqual(proofs.add(proof(contact(0x91))), "Refused")
    const displaced = proofs.add(proof(contact(0x40)))
    assert.strictEqual(displaced === "Refused" ? displaced : displaced?.contact.id, id(0x90))
    assert.strictEqual(proofs.get(far.contact), far)
    assert.isUndefined(proofs.get({ ...far.contact, port: 2 }))
  })

  it("of one public network make way only for each other", () => {
    const proofs = new Proofs({ self: NodeId.zero, perNetwork: 1 })
    const other = proof(contact(0x80, "9.9.8.1"))
    const first = proof(contact(0x40, "9.9.9.1"))
    for (const one of [other, first]) assert.isUndefined(proofs.add(one))
    assert.strictEqual(proofs.add(proof(contact(0x41, "9.9.9.2"))), "Refused")
    assert.strictEqual(proofs.add(proof(contact(0x01, "9.9.9.3"))), first)
    // The networks of private hosts say nothing about their operator.
    for (const byte of [2, 3]) assert.isUndefined(proofs.add(proof(contact(byte, `10.0.0.${byte}`))))
  })

  it("never exceed their limits, whatever is added and removed", () => {
    const operation = fc.record({
      byte: fc.nat(255),
      network: fc.nat(3),
      hasRoom: fc.boolean(),
      isEnd: fc.boolean()
    })
    fc.assert(fc.property(fc.array(operation, { maxLength: 80 }), (operations) => {
      const proofs = new Proofs({ self: NodeId.zero, capacity: 6, perNetwork: 3 })
      for (const { byte, hasRoom, isEnd, network } of operations) {
        const at = contact(byte, `9.9.${network}.${byte}`)
        const known = proofs.get(at)
        if (known === undefined) proofs.add(proof(at, hasRoom))
        else if (isEnd) assert.isTrue(proofs.delete(known))
        const networks = Array.from(proofs, ({ contact }) => SocketAddress.network(contact.host))
        assert.isAtMost(networks.length, 6)
        assert.strictEqual(proofs.size, networks.length)
        for (const one of networks) assert.isAtMost(networks.filter((other) => other === one).length, 3)
      }
      for (const one of Array.from(proofs)) proofs.delete(one)
      // Nothing of them counts any more.
      for (let byte = 0; byte < 3; byte++) assert.isUndefined(proofs.add(proof(contact(byte, "9.9.9.9"))))
    }))
  })
})
