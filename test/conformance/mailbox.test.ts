import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import * as Identity from "../../src/Identity.ts"
import * as Hex from "../../src/internal/hex.ts"
import * as Mail from "../../src/Mail.ts"
import { fastest } from "../../src/node/NodeCrypto.ts"
import { vectors } from "./vectors.ts"

interface Party {
  readonly seed: string
  readonly address: string
}

interface Entry {
  readonly sender: Party
  readonly recipient: Party
  readonly msgType: number
  readonly body: string
  readonly payload?: string
  readonly encodeError?: string
}

const { largestBody, messages } = vectors<{
  readonly messages: ReadonlyArray<Entry>
  readonly largestBody: number
}>("mailbox.json")

/** The entries that the reference could encode. */
const encoded = messages.flatMap((entry) => entry.payload === undefined ? [] : [{ ...entry, payload: entry.payload }])

/** The entry's message sealed anew, with other randomness. */
const sealed = (entry: Entry, body: Uint8Array) => {
  const sender = Identity.fromSeed(fastest, Hex.decode(entry.sender.seed))
  const recipient = Identity.fromSeed(fastest, Hex.decode(entry.recipient.seed))
  return Mail.seal({
    sender: sender.address,
    recipient: recipient.address,
    recipientPublicKey: recipient.publicKey,
    type: entry.msgType,
    body,
    ephemeralSeed: new Uint8Array(32).fill(1),
    nonce: new Uint8Array(12).fill(2)
  })
}

describe("mailbox.json", () => {
  it("refuses to seal what was too large for the reference", () => {
    for (const entry of messages) {
      const result = sealed(entry, Hex.decode(entry.body))
      assert.strictEqual(Result.isFailure(result), entry.encodeError !== undefined)
    }
  })

  it("makes every payload as long as the reference does", () => {
    for (const entry of encoded) {
      const payload = Result.getOrThrow(sealed(entry, Hex.decode(entry.body)))
      assert.strictEqual(payload.length, entry.payload.length / 2)
    }
  })

  it("opens every message with the recipient's seed", () => {
    for (const entry of encoded) {
      const message = Result.getOrThrow(Mail.decode(Hex.decode(entry.payload)))
      assert.strictEqual(message.recipient, entry.recipient.address)
      assert.strictEqual(message.sender, entry.sender.address)
      const identity = Identity.fromSeed(fastest, Hex.decode(entry.recipient.seed))
      assert.strictEqual(identity.address, entry.recipient.address)
      const opened = Result.getOrThrow(Mail.open({ message, identity }))
      assert.strictEqual(opened.type, entry.msgType)
      assert.strictEqual(Hex.encode(opened.body), entry.body)
      assert.strictEqual(opened.sender, entry.sender.address)
    }
  })

  it("encodes every decoded payload to the same bytes", () => {
    for (const entry of encoded) {
      const message = Result.getOrThrow(Mail.decode(Hex.decode(entry.payload)))
      assert.strictEqual(Hex.encode(Mail.encode(message)), entry.payload)
    }
  })

  it("seals the largest body and refuses one byte more", () => {
    for (const entry of messages) {
      const payload = Result.getOrThrow(sealed(entry, new Uint8Array(largestBody)))
      assert.isAtMost(payload.length, Mail.maxPayload)
      assert.isTrue(Result.isFailure(sealed(entry, new Uint8Array(largestBody + 1))))
    }
  })
})
