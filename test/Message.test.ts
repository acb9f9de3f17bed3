import { assert, describe, it } from "@effect/vitest"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as fc from "fast-check"
import * as Address from "../src/Address.ts"
import * as Hex from "../src/internal/hex.ts"
import * as Message from "../src/Message.ts"
import * as Network from "../src/Network.ts"
import * as Cbor from "../src/wire/cbor.ts"
import * as arbitraries from "./utils/arbitraries.ts"

const { crypto } = arbitraries
const transactionId = "0123456789abcdef0123456789abcdef01234567"
const signer = crypto.signingKey(new Uint8Array(32).fill(1))

const datagram = fc.tuple(arbitraries.body, arbitraries.signingKey).map(([body, signer]) =>
  Message.encode(body, { signer, transactionId })
)

describe("Message", () => {
  it("decodes to what was encoded", () => {
    fc.assert(fc.property(arbitraries.body, arbitraries.signingKey, (body, signer) => {
      const message = Result.getOrThrow(Message.decode(Message.encode(body, { signer, transactionId }), crypto))
      assert.deepStrictEqual(message, {
        version: 1,
        features: 0,
        transactionId,
        body,
        publicKey: signer.publicKey,
        sender: Address.fromPublicKey(signer.publicKey)
      })
    }))
  })

  it("has its sender's key where it is looked for before the framing is read", () => {
    fc.assert(fc.property(arbitraries.body, arbitraries.signingKey, (body, signer) => {
      const bytes = Message.encode(body, { signer, transactionId })
      assert.deepStrictEqual(Message.claimedKey(bytes)?.slice(), signer.publicKey)
    }))
  })

  it("shows by its end whether it may be signed", () => {
    const address = Address.fromPublicKey(signer.publicKey)
    const signed = Message.encode({ _tag: "Ping", address }, { signer, transactionId })
    assert.isDefined(Message.claimedKey(signed))
    for (let end = 0; end < signed.length; end++) assert.isUndefined(Message.claimedKey(signed.subarray(0, end)))
    for (let length = 0; length < 200; length++) assert.isUndefined(Message.claimedKey(new Uint8Array(length)))
  })

  it("never throws on arbitrary bytes, and refuses them", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 1300 }), (bytes) => {
        assert.isTrue(Result.isFailure(Message.decode(bytes, crypto)))
      }),
      { numRuns: 1000 }
    )
  })

  it("never throws on a damaged message, and refuses it", () => {
    fc.assert(
      fc.property(arbitraries.mutated(datagram), datagram, (bytes, original) => {
        const decoded = Message.decode(bytes, crypto)
        // One edit may undo another.
        if (Result.isSuccess(decoded)) assert.notDeepEqual(bytes, original)
      }),
      { numRuns: 500 }
    )
  })

  it("refuses a message in which any one bit was flipped", () => {
    const original = Message.encode({ _tag: "Ping", address: Address.fromPublicKey(signer.publicKey) }, {
      signer,
      transactionId
    })
    for (let bit = 0; bit < original.length * 8; bit++) {
      const bytes = original.slice()
      bytes[bit >> 3] ^= 1 << (bit & 7)
      assert.isTrue(Result.isFailure(Message.decode(bytes, crypto)), `bit ${bit}`)
    }
  })

  it("allocates no more for a damaged message than its size", () => {
    fc.assert(
      fc.property(arbitraries.mutated(datagram), (bytes) => {
        const frame = Message.frame(bytes)
        const body = typeof frame === "string" ? frame : Message.readBody(frame)
        // Names are hex text of their bytes, and everything else is a view.
        assert.isAtMost(JSON.stringify(body, compact).length, 200 + 8 * bytes.length)
      }),
      { numRuns: 500 }
    )
  })

  it("drops a node whose id does not match its address, and keeps the rest", () => {
    fc.assert(fc.property(fc.array(arbitraries.contact, { minLength: 1 }), arbitraries.key, (nodes, lie) => {
      const body = { _tag: "FindNodeResponse", observed: undefined } as const
      const bytes = Message.encode({ ...body, nodes: [{ ...nodes[0], id: lie }, ...nodes] }, { signer, transactionId })
      assert.deepStrictEqual(Result.getOrThrow(Message.decode(bytes, crypto)).body, { ...body, nodes })
    }))
  })

  it("is one with a bad signature in every network but its own", () => {
    const networks = [
      Network.open,
      Network.make({ network: "acme" }),
      Network.make({ network: "other" }),
      Network.make({ network: "acme", networkKey: Redacted.make("secret") })
    ]
    fc.assert(
      fc.property(arbitraries.body, arbitraries.signingKey, (body, signer) => {
        for (const network of networks) {
          const bytes = Message.encode(body, { signer, transactionId, network })
          assert.lengthOf(bytes, Message.encode(body, { signer, transactionId }).length)
          for (const other of networks) {
            const decoded = Message.decode(bytes, crypto, other)
            if (other === network) assert.deepStrictEqual(Result.getOrThrow(decoded).body, body)
            else {assert.strictEqual(
                Result.isFailure(decoded) && decoded.failure.message,
                "Invalid message: bad signature"
              )}
          }
        }
      }),
      { numRuns: 20 }
    )
  })

  it("reports what is wrong", () => {
    const reasonOf = (bytes: Uint8Array) => {
      const result = Message.decode(bytes, crypto)
      return Result.isFailure(result) ? result.failure.message : "accepted"
    }
    const good = Message.encode({ _tag: "NatProbeEcho", token: new Uint8Array(8) }, { signer, transactionId })
    assert.strictEqual(reasonOf(new Uint8Array(0)), "Invalid message: expected a map")
    assert.strictEqual(
      reasonOf(good.with(good.length - 1, good[good.length - 1] ^ 1)),
      "Invalid message: bad signature"
    )
    assert.strictEqual(reasonOf(Uint8Array.from([...good, 0])), "Invalid message: bytes after the end")
  })
})

// --- Work ---

/** The largest number of items that a step of reading may find. */
const maxItems = 400

/** The map, and eight keys and values. */
const maxDelegationItems = 17

/** The heads of CBOR items that are read meanwhile, those in parts with readers of their own included. */
const headsRead = (run: () => void): number => {
  const reader = Cbor.Reader.prototype as unknown as { argument: () => number; count: () => void }
  const { argument, count } = reader
  let heads = 0
  reader.argument = function() {
    heads++
    return argument.call(this)
  }
  reader.count = function() {
    heads++
    count.call(this)
  }
  try {
    run()
  } finally {
    Object.assign(reader, { argument, count })
  }
  return heads
}

/** As far as a datagram is read before its signature is checked. */
const parse = (bytes: Uint8Array): Message.Body | string => {
  const frame = Message.frame(bytes)
  return typeof frame === "string" ? frame : Message.readBody(frame)
}

/** A datagram of this type with the given CBOR for its body. */
const datagramOf = (type: number, body: ReadonlyArray<number>): Uint8Array => {
  const token = new Uint8Array(8)
  const bytes = Message.encode({ _tag: "NatProbeEcho", token }, { signer, transactionId })
  const frame = Message.frame(bytes)
  if (typeof frame === "string") return assert.fail(frame)
  const all = [...bytes.subarray(0, frame.bodyStart), ...body, ...bytes.subarray(frame.bodyEnd)]
  all[all.indexOf(Message.Type.NatProbeEcho, frame.headerStart + 5)] = type
  return Uint8Array.from(all)
}

const head = (major: number, length: number): ReadonlyArray<number> =>
  length < 24
    ? [major << 5 | length]
    : length < 256
    ? [major << 5 | 24, length]
    : [major << 5 | 25, length >> 8, length & 255]

/** Bytes that a body may have in a datagram. */
const bodyRoom = Message.maxDatagram - datagramOf(1, []).length

/** As many items as fit into `room` bytes, with the head of their list or map. */
const filled = (major: 4 | 5, room: number, item: (i: number) => ReadonlyArray<number>): ReadonlyArray<number> => {
  const bytes: Array<number> = []
  let count = 0
  for (let next = item(0); bytes.length + next.length <= room - 3; next = item(++count)) bytes.push(...next)
  return [...head(major, count), ...bytes]
}

/** Small items: integers, texts, byte strings, lists, maps, simple values, a float, a tag. */
const small: ReadonlyArray<ReadonlyArray<number>> = [
  [0x00],
  [0x18, 0x63],
  [0x1b, 0, 0, 0, 0, 0, 0, 0, 1],
  [0x20],
  [0x60],
  [0x61, 0x41],
  [0x62, 0xc3, 0xa9],
  [0x40],
  [0x80],
  [0xa0],
  [0xf6],
  [0xf9, 0, 0],
  [0xc1, 0x00],
  [0x81, 0x81, 0x81, 0x81, 0x81, 0x00],
  [0xa1, 0x00, 0xa1, 0x00, 0x60]
]

const byteString = (content: ReadonlyArray<number>): ReadonlyArray<number> => [...head(2, content.length), ...content]

const zeros = (length: number): ReadonlyArray<number> => Array.from({ length }, () => 0)

const address = byteString([0xa0, ...zeros(20)])

/** A record with this delegation, in canonical form. */
const recordWith = (delegation: ReadonlyArray<number>): ReadonlyArray<number> => {
  const signed = [0xa9, 1, ...address, 2, 3, 3, 0x40, 4, 1, 5, 1, 6, 1]
  return [...signed, 7, ...byteString(zeros(32)), 8, ...byteString(zeros(64)), 9, ...byteString(delegation)]
}

/** A delegation in which the last field is there as often as it fits. */
const repetitive = (room: number): ReadonlyArray<number> => filled(5, room, () => [8, 0x60])

/** A node with as many unknown fields as `room` has place for. */
const nodeWith = (room: number, seed: number): ReadonlyArray<number> => {
  const fields = [1, ...address, 2, ...byteString([seed, ...zeros(31)]), 3, 0x44, 1, 2, 3, 4, 4, 1]
  const more: Array<number> = []
  for (let key = 32; fields.length + more.length + 3 < room && key < 255; key++) more.push(0x18, key, 0)
  return [...head(5, 4 + more.length / 3), ...fields, ...more]
}

const dense: fc.Arbitrary<Uint8Array> = fc.tuple(
  fc.integer({ min: 1, max: 13 }),
  fc.array(fc.tuple(fc.constantFrom(...small), fc.integer({ min: 1, max: 200 })), { minLength: 1, maxLength: 4 }),
  fc.constantFrom("list", "map", "nodes", "records"),
  fc.integer({ min: 60, max: bodyRoom })
).map(([type, segments, shape, room]) => {
  const items = segments.flatMap(([item, count]) => Array.from({ length: count }, () => item))
  const item = (i: number) => items[i % items.length]
  switch (shape) {
    case "list":
      return datagramOf(type, [0xa1, 0x17, ...filled(4, room - 2, item)])
    case "map":
      return datagramOf(type, filled(5, room, (i) => [...head(0, 32 + i), ...item(i)]))
    case "nodes":
      return datagramOf(Message.Type.FindNodeResponse, [0xa1, 1, ...filled(4, bodyRoom - 2, (i) => nodeWith(room, i))])
    case "records":
      return datagramOf(Message.Type.FindValueResponse, [
        0xa1,
        4,
        ...filled(4, bodyRoom - 2, () => recordWith(repetitive(room - 55)))
      ])
  }
})

describe("the work to read a datagram", () => {
  it("is bounded by the limit of items in each step, and by the length of a delegation", () => {
    fc.assert(fc.property(dense, (bytes) => {
      assert.isAtMost(bytes.length, Message.maxDatagram)
      // The framing skips the body, and nodes are skipped once more before they are read.
      const records = bytes.length / 150
      assert.isAtMost(headsRead(() => parse(bytes)), 4 * maxItems + records * maxDelegationItems)
    }))
  })

  it("ends at the limit, whatever the items are", () => {
    for (const item of small) {
      const bytes = datagramOf(Message.Type.Ping, [0xa1, 0x17, ...filled(4, bodyRoom - 2, () => item)])
      const heads = headsRead(() => parse(bytes))
      assert.isAtMost(heads, 3 * maxItems, `items ${Hex.encode(Uint8Array.from(item))}`)
      if (item.length === 1) assert.strictEqual(parse(bytes), `more than ${maxItems} items`)
    }
  })

  it("does not grow with the pairs of a malformed delegation", () => {
    const heads = (room: number) => {
      const bytes = datagramOf(Message.Type.Store, [0xa1, 1, ...recordWith(repetitive(room))])
      assert.isObject(parse(bytes))
      return headsRead(() => parse(bytes))
    }
    assert.strictEqual(heads(600), heads(300))
  })

  // Found by a search over structures for the longest time: unknown keys must be
  // remembered, empty texts are the shortest values, and delegations are read whole.
  it("is at most twice the limit for the costliest datagram that is known", () => {
    const fields = [2, ...byteString(zeros(32)), 3, ...address, 4, 1, 5, 1, 6, 1]
    const delegation = [0xa6, ...fields, 7, ...byteString(zeros(64))]
    const records = [4, 0x82, ...recordWith(delegation), ...recordWith(delegation)]
    const keys = 130
    const unknown = Array.from({ length: keys }, (_, i) => [...head(0, 32 + i), 0x60]).flat()
    const bytes = datagramOf(Message.Type.FindValueResponse, [...head(5, keys + 1), ...records, ...unknown])
    const body = parse(bytes)
    assert.strictEqual(typeof body === "string" ? body : body._tag, "FindValueResponse")
    assert.isAtMost(headsRead(() => parse(bytes)), 2 * maxItems)
  })

  it("is that of the header alone where only the header is asked for", () => {
    const bytes = datagramOf(Message.Type.Pong, filled(4, bodyRoom, () => [0x60]))
    // The outer map and its first key, the header's map, and four keys and values.
    assert.strictEqual(headsRead(() => Message.header(bytes)), 11)
  })

  it("leaves room for twice the items of the largest message", () => {
    const nodes = Array.from({ length: 15 }, (_, i) => nodeWith(0, i)).flat()
    const body = [0xa1, 1, ...head(4, 15), ...nodes]
    assert.isAtMost(body.length, Message.maxAnswerBody)
    const bytes = datagramOf(Message.Type.FindNodeResponse, body)
    assert.isBelow(2 * headsRead(() => Message.frame(bytes)), maxItems)
  })
})

const compact = (_key: string, value: unknown): unknown =>
  typeof value === "bigint" ? String(value) : value instanceof Uint8Array ? value.length : value
