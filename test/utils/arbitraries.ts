import * as Result from "effect/Result"
import * as fc from "fast-check"
import * as Address from "../../src/Address.ts"
import type { Contact } from "../../src/Contact.ts"
import * as Hex from "../../src/internal/hex.ts"
import type * as Message from "../../src/Message.ts"
import * as NodeCrypto from "../../src/node/NodeCrypto.ts"
import * as NodeId from "../../src/NodeId.ts"
import * as Record from "../../src/Record.ts"
import * as SocketAddress from "../../src/SocketAddress.ts"

/** The signatures of tests: any provider works, and this one is the fastest. */
export const crypto = NodeCrypto.fastest

export const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length }).map(plain)

/** fast-check's arrays may have own properties; a plain one compares by its bytes only. */
const plain = (array: Uint8Array): Uint8Array => Uint8Array.from(array)

export const address = bytes(20).map((hash) => `a0${Hex.encode(hash)}` as Address.Address)
export const key = bytes(32).map(NodeId.fromBytesUnsafe)
export const signingKey = bytes(32).map((seed) => crypto.signingKey(seed))

const host = fc.oneof(
  fc.ipV4(),
  bytes(16).map((ip) => SocketAddress.fromWire(ip, 0, 16, 1)?.host ?? "::1")
)
const port = fc.integer({ min: 0, max: 65535 })

export const contact: fc.Arbitrary<Contact> = fc.record({ address, host, port }).map(({ address, host, port }) => ({
  id: NodeId.fromAddress(address),
  address,
  host,
  port
}))

const observed = fc.oneof(bytes(6), bytes(18))

/** A custom record, signed by its publisher, with a payload of any size that fits a datagram. */
export const record: fc.Arbitrary<Record.SignedRecord> = fc.record({
  signer: signingKey,
  type: fc.integer({ min: 0x03, max: 0x0f }),
  payload: fc.uint8Array({ maxLength: 700 }).map(plain),
  seq: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
  timestamp: fc.bigInt({ min: 0n, max: 2n ** 40n }),
  ttl: fc.integer({ min: 1, max: 0xffffffff })
}).map((fields) =>
  Result.getOrThrow(Record.sign({ ...fields, address: Address.fromPublicKey(fields.signer.publicKey) }))
)

const nodes = fc.option(fc.array(contact, { maxLength: 20 }), { nil: null })
const optional = <A>(arbitrary: fc.Arbitrary<A>) => fc.option(arbitrary, { nil: undefined })
const tagged = <Tag extends string>(_tag: Tag) => fc.constant(_tag)

/** Any body except those that contain their sender's address. */
export const body: fc.Arbitrary<Exclude<Message.Body, { readonly _tag: "Ping" | "Pong" }>> = fc.oneof(
  fc.record({ _tag: tagged("FindNode"), target: key }),
  fc.record({ _tag: tagged("FindNodeResponse"), nodes, observed: optional(observed) }),
  fc.record({
    _tag: tagged("FindValue"),
    target: key,
    recordType: fc.integer({ min: 0, max: 255 }),
    subscribe: fc.boolean()
  }),
  fc.record({
    _tag: tagged("FindValueResponse"),
    nodes,
    record: optional(record),
    observed: optional(observed),
    records: optional(fc.array(record, { maxLength: 4 }))
  }),
  fc.record({ _tag: tagged("Store"), record, key: optional(key) }),
  fc.record({
    _tag: tagged("StoreResponse"),
    stored: fc.boolean(),
    alreadyHad: fc.boolean(),
    reason: fc.integer({ min: 0, max: 255 })
  }),
  fc.record({ _tag: tagged("NatProbe"), token: bytes(8), claimed: observed }),
  fc.record({ _tag: tagged("NatProbeEcho"), token: bytes(8) }),
  fc.record({ _tag: tagged("Push"), key, record }),
  fc.record({ _tag: tagged("PushAck"), key, messageId: key, subscribe: fc.boolean() })
)

/** Valid bytes with some changed, inserted or removed. */
export const mutated = (original: fc.Arbitrary<Uint8Array>): fc.Arbitrary<Uint8Array> =>
  fc.tuple(
    original,
    fc.array(fc.tuple(fc.nat(), fc.nat({ max: 255 }), fc.nat({ max: 2 })), { minLength: 1, maxLength: 6 })
  ).map(([original, edits]) => {
    const bytes = Array.from(original)
    for (const [position, value, kind] of edits) {
      const at = bytes.length === 0 ? 0 : position % bytes.length
      if (kind === 0) bytes[at] = value
      else if (kind === 1) bytes.splice(at, 0, value)
      else bytes.splice(at, 1 + value % 8)
    }
    return Uint8Array.from(bytes)
  })
