import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import * as fc from "fast-check"
import * as Address from "../src/Address.ts"
import { type Ed25519, noble } from "../src/Crypto.ts"
import * as Delegation from "../src/Delegation.ts"
import * as Hex from "../src/internal/hex.ts"
import * as Message from "../src/Message.ts"
import * as NodeId from "../src/NodeId.ts"
import * as Record from "../src/Record.ts"
import * as Topic from "../src/Topic.ts"
import * as Cbor from "../src/wire/cbor.ts"

const now = 1_700_000_000
const signer = noble.signingKey(new Uint8Array(32).fill(1))
const address = Address.fromPublicKey(signer.publicKey)
const operational = noble.signingKey(new Uint8Array(32).fill(2))
const crypto = noble

const options = {
  signer,
  address,
  type: 0x03,
  payload: Uint8Array.of(1, 2, 3),
  seq: 7n,
  timestamp: BigInt(now),
  ttl: 3600
}

const signed = (changes: Partial<Parameters<typeof Record.sign>[0]> = {}): Record.SignedRecord =>
  Result.getOrThrow(Record.sign({ ...options, ...changes }))

const refusal = (changes: Partial<Parameters<typeof Record.sign>[0]>): string =>
  reason(Record.sign({ ...options, ...changes }))

const reason = (result: Result.Result<unknown, { readonly reason: string }>): string =>
  Result.isFailure(result) ? result.failure.reason : "accepted"

const tag = (result: Result.Result<unknown, { readonly _tag: string }>): string =>
  Result.isFailure(result) ? result.failure._tag : "ok"

const delegation = (expiresAt = 0n, operationalPublicKey = operational.publicKey): Uint8Array =>
  Delegation.encode(
    Delegation.delegate({ master: signer, operationalPublicKey, issuedAt: BigInt(now - 100), expiresAt })
  )

const plain = signed()
const delegated = signed({ signer: operational, delegation: delegation() })

/** The fields of a record in a custom encoding. */
const written = (record: Record.SignedRecord) => (pairs: ReadonlyArray<readonly [number, Cbor.Value]>): Uint8Array =>
  Cbor.encode(
    new Map<number, Cbor.Value>([
      [1, Hex.decode(record.address)],
      [2, record.type],
      [3, record.payload],
      [4, record.seq],
      [5, record.timestamp],
      [6, record.ttl],
      [7, record.publicKey],
      [8, record.signature],
      ...pairs
    ])
  )

const uint64 = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n })
const bytesOf = (length: number) => fc.uint8Array({ minLength: length, maxLength: length })

const fields: fc.Arbitrary<Record.Fields> = fc.record({
  address: bytesOf(21).map(Address.fromBytesUnsafe),
  type: fc.nat(255),
  payload: fc.uint8Array({ maxLength: 700 }),
  seq: uint64,
  timestamp: uint64,
  ttl: fc.nat(0xffff_ffff),
  publicKey: bytesOf(32),
  signature: bytesOf(64),
  delegation: fc.option(fc.uint8Array({ maxLength: 400 }), { nil: undefined })
})

/** A payload that every type with a format of its own accepts. */
const payloadOf = (type: number): Uint8Array =>
  type === Record.RecordType.topic ? Topic.encode(Topic.make({ topic: "t" })) : options.payload

const genuine: fc.Arbitrary<Record.SignedRecord> = fc.record({
  type: fc.constantFrom(0x02, 0x0f, 0x10, 0x11, 0x1f, 0x80, 0x8f),
  seq: uint64,
  ttl: fc.integer({ min: 1, max: 0xffff_ffff }),
  byDelegation: fc.boolean()
}).map(({ byDelegation, seq, ttl, type }) =>
  signed({
    type,
    payload: payloadOf(type),
    seq,
    ttl,
    ...(byDelegation ? { signer: operational, delegation: delegation() } : {})
  })
)

/** The head of one item whose argument takes one byte more, or twice as many bytes. */
const longer = (bytes: Uint8Array, at: number): Uint8Array => {
  const major = bytes[at] & 0xe0
  const info = bytes[at] & 31
  const size = info < 24 ? 0 : 1 << info - 24
  const head = info < 24 ? [major | 24, info] : [major | info + 1, ...Array<number>(size).fill(0)]
  return Uint8Array.of(...bytes.subarray(0, at), ...head, ...bytes.subarray(at + 1))
}

const flipped = (bytes: Uint8Array, bit: number): Uint8Array => {
  const changed = new Uint8Array(bytes)
  changed[bit >> 3] ^= 1 << (bit & 7)
  return changed
}

/** Decodes, verifies and applies the policy, as the store does. */
const isAccepted = (bytes: Uint8Array, key: NodeId.NodeId): boolean => {
  const result = Record.decode(bytes)
  return Result.isSuccess(result) && Result.isSuccess(Record.verify(result.success, { crypto, now })) &&
    Result.isSuccess(Record.authority({ crypto })(key, result.success, now))
}

describe("Record", () => {
  describe("encoding", () => {
    it("lets a delegated record expire a minute after its delegation, if that is sooner than its own expiry", () => {
      const until = (expiresAt: bigint) => signed({ signer: operational, delegation: delegation(expiresAt) }).expiresAt
      const own = Number(plain.timestamp) + plain.ttl
      assert.strictEqual(until(0n), own)
      assert.strictEqual(until(BigInt(own) + 2n), own)
      assert.strictEqual(until(BigInt(own)), own)
      assert.strictEqual(until(BigInt(own) - 60n), own - 1)
      assert.strictEqual(until(BigInt(now) + 10n), now + 69)
      assert.strictEqual(until(2n ** 64n - 1n), own)
    })

    it("says that no record is alive for longer than its type is kept, whatever its ttl", () => {
      const lives = (type: number, ttl: number) => signed({ type, ttl }).expiresAt - now
      for (const [type, longest] of [[0x03, 604_800], [0x11, 7200], [0x1f, 7200], [0x80, 604_800], [0x81, 604_800]]) {
        assert.strictEqual(Record.maxLifetime[Record.category(type)], longest)
        assert.strictEqual(lives(type, longest - 1), longest - 1)
        assert.strictEqual(lives(type, longest + 1), longest)
        assert.strictEqual(lives(type, 0xffff_ffff), longest)
      }
      assert.strictEqual(signed({ ttl: 0xffff_ffff }).ttl, 0xffff_ffff)
    })

    it("decodes what it encoded, for all values of the fields", () => {
      fc.assert(fc.property(fields, (fields) => {
        const bytes = Record.encode(fields)
        const record = Result.getOrThrow(Record.decode(bytes))
        assert.deepStrictEqual(record, {
          ...fields,
          bytes,
          expiresAt: Number(fields.timestamp) + Math.min(fields.ttl, Record.maxLifetime[Record.category(fields.type)]),
          delegatedAt: fields.delegation === undefined ? 0n : Delegation.issuedAtOf(fields.delegation)
        })
      }))
    })

    it("has one encoding per record: every accepted input is the encoding of its fields", () => {
      const byte = fc.nat(255)
      fc.assert(
        fc.property(
          fields.map(Record.encode),
          fc.array(fc.record({ at: fc.nat(400), remove: fc.nat(3), insert: fc.array(byte, { maxLength: 3 }) }), {
            minLength: 1,
            maxLength: 3
          }),
          (bytes, edits) => {
            const changed = Array.from(bytes)
            for (const { at, insert, remove } of edits) changed.splice(at, remove, ...insert)
            const result = Record.decode(Uint8Array.from(changed))
            if (Result.isSuccess(result)) {
              assert.deepStrictEqual(Record.encode(result.success), Uint8Array.from(changed))
            }
          }
        )
      )
    })

    it("never throws on bytes from a stranger", () => {
      fc.assert(fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        assert.strictEqual(tag(Record.decode(bytes)), "InvalidRecord")
      }))
    })

    it("refuses every truncation", () => {
      for (let length = 0; length < delegated.bytes.length; length++) {
        assert.strictEqual(tag(Record.decode(delegated.bytes.subarray(0, length))), "InvalidRecord")
      }
    })

    it("refuses bytes after the end", () => {
      assert.strictEqual(reason(Record.decode(Uint8Array.of(...plain.bytes, 0))), "bytes after the end")
    })

    it("refuses missing, unknown and misplaced fields, and a delegation that is null", () => {
      const write = written(plain)
      assert.deepStrictEqual(write([]), plain.bytes)
      const { bytes } = plain
      const cases = [
        write([[10, 0]]),
        write([[9, null]]),
        write([[9, options.payload], [10, 0]]),
        // Without the signature's pair, the last 67 bytes.
        Uint8Array.of(0xa7, ...bytes.subarray(1, -67)),
        // The first pair, the address, twice.
        Uint8Array.of(0xa9, ...bytes.subarray(1, 24), ...bytes.subarray(1)),
        // The first two pairs exchanged.
        Uint8Array.of(0xa8, ...bytes.subarray(24, 26), ...bytes.subarray(1, 24), ...bytes.subarray(26))
      ]
      for (const bytes of cases) assert.strictEqual(tag(Record.decode(bytes)), "InvalidRecord", Hex.encode(bytes))
    })

    it("refuses values of the wrong length, kind or range", () => {
      const cases: ReadonlyArray<readonly [number, Cbor.Value]> = [
        [1, new Uint8Array(20)],
        [1, address],
        [2, 256],
        [2, -1],
        [3, "text"],
        [3, null],
        [4, { float: 1.5 }],
        [4, -1],
        [5, "0"],
        [6, 0x1_0000_0000],
        [7, new Uint8Array(31)],
        [8, new Uint8Array(65)],
        [9, "text"]
      ]
      for (const pair of cases) {
        assert.strictEqual(tag(Record.decode(written(plain)([pair]))), "InvalidRecord", `field ${pair[0]}`)
      }
    })

    it("refuses a longer form than necessary for any number or length", () => {
      const { bytes } = delegated
      const reader = new Cbor.Reader(bytes)
      const heads = [0]
      for (let items = reader.mapLength() * 2; items > 0; items--) {
        heads.push(reader.at)
        reader.skip()
      }
      for (const at of heads) {
        const changed = longer(bytes, at)
        // Nothing else is wrong with it: a lenient decoder reads the same
        // values.
        assert.deepStrictEqual(new Cbor.Reader(changed).value(), new Cbor.Reader(bytes).value())
        assert.strictEqual(tag(Record.decode(changed)), "InvalidRecord", `head at ${at}`)
      }
    })

    it("reads a record inside a message and stops after it", () => {
      const message = Uint8Array.of(0x82, ...plain.bytes, ...delegated.bytes)
      const reader = new Cbor.Reader(message, 1)
      assert.deepStrictEqual(Record.read(reader), plain)
      assert.deepStrictEqual(Record.read(reader), delegated)
      assert.strictEqual(reader.at, message.length)
      assert.isUndefined(reader.fault)
      assert.isUndefined(Record.read(reader))
      assert.isDefined(reader.fault)
    })

    it("does not read beyond its part of the message", () => {
      const reader = new Cbor.Reader(plain.bytes, 0, plain.bytes.length - 1)
      assert.isUndefined(Record.read(reader))
      assert.isDefined(reader.fault)
    })
  })

  describe("detach", () => {
    it("keeps the whole record over its own bytes", () => {
      const datagram = Buffer.concat([Buffer.alloc(10), delegated.bytes, Buffer.alloc(10)])
      const view = Record.read(new Cbor.Reader(datagram, 10))!
      const record = Record.detach(view)
      assert.deepStrictEqual(record, delegated)
      assert.strictEqual(record.bytes.buffer.byteLength, delegated.bytes.length)
      for (const part of [record.payload, record.publicKey, record.signature, record.delegation!]) {
        assert.strictEqual(part.buffer, record.bytes.buffer)
      }
    })
  })

  describe("integrity", () => {
    it("refuses a record with any flipped bit", () => {
      fc.assert(
        fc.property(genuine, fc.nat(), (record, bit) => {
          const key = Record.ownKey(record)
          assert.isTrue(isAccepted(record.bytes, key))
          assert.isFalse(isAccepted(flipped(record.bytes, bit % (record.bytes.length * 8)), key))
        }),
        { numRuns: 50 }
      )
    })

    it("signs fields 1 to 6 after a prefix of their own", () => {
      fc.assert(fc.property(fields, (fields) => {
        const record = Result.getOrThrow(Record.decode(Record.encode(fields)))
        const map = Cbor.encode(
          new Map<number, Cbor.Value>([
            [1, Hex.decode(fields.address)],
            [2, fields.type],
            [3, fields.payload],
            [4, fields.seq],
            [5, fields.timestamp],
            [6, fields.ttl]
          ])
        )
        assert.deepStrictEqual(
          Record.signedBytes(record),
          Uint8Array.of(...new TextEncoder().encode("a2al-rec\0"), ...map)
        )
      }))
    })

    it("tolerates a clock 60 s ahead and not one second more", () => {
      assert.isUndefined(Record.fault(plain, now - 60))
      assert.strictEqual(Record.fault(plain, now - 61)?._tag, "InvalidRecord")
      assert.strictEqual(tag(Record.checkForm(plain, now - 60)), "ok")
      assert.strictEqual(tag(Record.checkForm(plain, now - 61)), "InvalidRecord")
    })

    it("holds a record alive through its last second", () => {
      assert.isUndefined(Record.fault(plain, now + 3600))
      const expired = { _tag: "RecordExpired", expiresAt: now + 3600, now: now + 3601 } as const
      assert.deepStrictEqual(Record.fault(plain, now + 3601), expired)
      const result = Record.verify(plain, { crypto, now: now + 3601 })
      assert.deepInclude(Result.isFailure(result) ? result.failure : undefined, expired)
    })

    it("judges a record by its own ttl, also where it is older than any is kept", () => {
      const old = signed({ type: 0x11, ttl: 7300 })
      assert.strictEqual(tag(Record.verify(old, { crypto, now: now + 7300 })), "ok")
      assert.strictEqual(tag(Record.verify(old, { crypto, now: now + 7301 })), "RecordExpired")
    })

    it("calls a record with a bad signature invalid, expired or not", () => {
      const forged = Result.getOrThrow(Record.decode(written(plain)([[8, new Uint8Array(64)]])))
      assert.strictEqual(tag(Record.checkForm(forged, now)), "ok")
      assert.isFalse(Record.isSigned(forged, crypto))
      assert.strictEqual(tag(Record.verify(forged, { crypto, now })), "InvalidRecord")
      assert.strictEqual(tag(Record.verify(forged, { crypto, now: now + 10_000 })), "InvalidRecord")
    })

    it("does not check the signature of a malformed record", () => {
      const crypto: Ed25519 = { ...noble, verify: () => assert.fail("checked a signature") }
      assert.strictEqual(tag(Record.verify(plain, { crypto, now: now - 61 })), "InvalidRecord")
    })

    it("limits the payload of a mailbox record to 512 bytes, and does not limit that of a custom one", () => {
      const faultOf = (type: number, size: number) => {
        const fields = { ...plain, type, payload: new Uint8Array(size) }
        return Record.fault(Result.getOrThrow(Record.decode(Record.encode(fields))), now)?._tag
      }
      for (const type of [0x80, 0x8f]) {
        assert.isUndefined(faultOf(type, 512))
        assert.strictEqual(faultOf(type, 513), "InvalidRecord")
      }
      for (const type of [0x00, 0x02, 0x0f, 0x11, 0x20, 0x90, 0xff]) assert.isUndefined(faultOf(type, 513))
    })
  })

  describe("category", () => {
    it("counts every type as sovereign except topics and mailboxes", () => {
      for (let type = 0; type <= 0xff; type++) {
        const high = type >> 4
        assert.strictEqual(Record.category(type), high === 1 ? "topic" : high === 8 ? "mailbox" : "sovereign")
      }
    })
  })

  describe("authority", () => {
    const policy = Record.authority({ crypto })
    const foreign = NodeId.fromTopic("elsewhere")

    it("accepts an address's own key", () => {
      assert.strictEqual(tag(policy(Record.ownKey(plain), plain, now)), "ok")
    })

    it("refuses another key without a delegation", () => {
      const fields = { ...plain, publicKey: operational.publicKey }
      const record = Result.getOrThrow(Record.decode(Record.encode(fields)))
      assert.strictEqual(tag(policy(Record.ownKey(record), record, now)), "InvalidRecord")
    })

    it("refuses a sovereign or reserved record at a foreign key, and accepts topics and messages at any", () => {
      const at = (type: number) => {
        const record = Result.getOrThrow(Record.decode(Record.encode({ ...plain, type })))
        return tag(policy(foreign, record, now))
      }
      for (const type of [0x00, 0x01, 0x0f, 0x20, 0xff]) assert.strictEqual(at(type), "InvalidRecord")
      for (const type of [0x10, 0x1f, 0x80, 0x8f]) assert.strictEqual(at(type), "ok")
    })

    it("reads the delegation of a record once, and judges its time each time", () => {
      const record = signed({ signer: operational, delegation: delegation(BigInt(now + 100)) })
      const first = Result.getOrThrow(Record.claim(record, now))
      assert.strictEqual(Result.getOrThrow(Record.claim(record, now + 100)), first)
      assert.strictEqual(tag(Record.claim(record, now + 1000)), "InvalidDelegation")
      const foreign = { ...record, delegation: delegation(0n, signer.publicKey) }
      for (let i = 0; i < 2; i++) assert.strictEqual(tag(Record.claim(foreign, now)), "InvalidDelegation")
    })

    it("accepts a delegated key while the delegation holds, plus a minute for slow clocks", () => {
      const record = signed({ signer: operational, delegation: delegation(BigInt(now) + 10n) })
      const key = Record.ownKey(record)
      const fresh = Record.authority({ crypto })
      assert.strictEqual(tag(fresh(key, record, now + 70)), "InvalidDelegation")
      assert.strictEqual(tag(fresh(key, record, now + 69)), "ok")
      assert.strictEqual(tag(fresh(key, record, now + 70)), "InvalidDelegation")
      assert.strictEqual(tag(fresh(key, record, now + 69)), "ok")
    })

    it("refuses a delegation for another key or from another address", () => {
      const stranger = noble.signingKey(new Uint8Array(32).fill(3))
      const otherKey = { ...delegated, delegation: delegation(0n, stranger.publicKey) }
      const otherAgent = { ...delegated, address: Address.fromPublicKey(stranger.publicKey) }
      for (const record of [otherKey, otherAgent]) {
        assert.strictEqual(tag(policy(Record.ownKey(record), record, now)), "InvalidDelegation")
      }
    })

    it("refuses a delegation that is malformed or badly signed", () => {
      const forged = {
        ...Delegation.delegate({
          master: signer,
          operationalPublicKey: operational.publicKey,
          issuedAt: 0n,
          expiresAt: 0n
        }),
        signature: new Uint8Array(64)
      }
      for (const delegation of [Delegation.encode(forged), new Uint8Array(0), Uint8Array.of(0xff)]) {
        const record = { ...delegated, delegation }
        assert.strictEqual(tag(policy(Record.ownKey(record), record, now)), "InvalidDelegation")
      }
    })

    it("refuses a delegation that a stranger attached to a record of the address's own key", () => {
      const attached = [delegation(), Uint8Array.of(0xa0)]
      for (const delegation of attached) {
        const record = Result.getOrThrow(Record.decode(Record.encode({ ...plain, delegation })))
        // The signature does not cover the delegation, so only the policy can
        // tell.
        assert.strictEqual(tag(Record.verify(record, { crypto, now })), "ok")
        assert.strictEqual(tag(policy(Record.ownKey(record), record, now)), "InvalidDelegation")
      }
    })

    it("checks the signature of a remembered delegation once, and remembers a bounded number", () => {
      let checks = 0
      const counting: Ed25519 = {
        ...noble,
        verify: () => {
          checks++
          return true
        }
      }
      const policy = Record.authority({ crypto: counting })
      const ask = (issuedAt: number) => {
        const { publicKey } = operational
        const mine = Delegation.delegate({
          master: { publicKey: signer.publicKey, sign: () => new Uint8Array(64) },
          operationalPublicKey: publicKey,
          issuedAt: BigInt(issuedAt),
          expiresAt: 0n
        })
        const record = { ...delegated, delegation: Delegation.encode(mine) }
        assert.strictEqual(tag(policy(Record.ownKey(record), record, now)), "ok")
        return checks
      }
      assert.strictEqual(ask(0), 1)
      assert.strictEqual(ask(0), 1)
      for (let i = 1; i <= 1000; i++) ask(i)
      assert.strictEqual(ask(1000), 1001)
      assert.strictEqual(ask(0), 1002)
    })

    it("does not remember a delegation that failed verification", () => {
      let answer = false
      const policy = Record.authority({ crypto: { ...noble, verify: () => answer } })
      const key = Record.ownKey(delegated)
      assert.strictEqual(tag(policy(key, delegated, now)), "InvalidDelegation")
      assert.strictEqual(tag(policy(key, delegated, now)), "InvalidDelegation")
      answer = true
      assert.strictEqual(tag(policy(key, delegated, now)), "ok")
    })

    it("can be replaced by a policy that accepts everything", () => {
      const record = { ...plain, publicKey: operational.publicKey }
      assert.strictEqual(tag(Record.policyNone(foreign, record, now)), "ok")
    })
  })

  describe("isNewer", () => {
    const small = fc.bigInt({ min: 0n, max: 2n })
    const ranked = fc.record({ delegatedAt: small, seq: small, timestamp: small }).map((rank) => ({
      ...plain,
      ...rank
    }))

    it("is a strict order: irreflexive, asymmetric, transitive", () => {
      fc.assert(
        fc.property(ranked, ranked, ranked, (a, b, c) => {
          assert.isFalse(Record.isNewer(a, a))
          assert.isFalse(Record.isNewer(a, b) && Record.isNewer(b, a))
          if (Record.isNewer(a, b) && Record.isNewer(b, c)) assert.isTrue(Record.isNewer(a, c))
        }),
        { numRuns: 1000 }
      )
    })

    it("orders any two records that differ in delegation, seq or timestamp", () => {
      fc.assert(fc.property(ranked, ranked, (a, b) => {
        const same = a.delegatedAt === b.delegatedAt && a.seq === b.seq && a.timestamp === b.timestamp
        assert.strictEqual(Record.isNewer(a, b) || Record.isNewer(b, a), !same)
      }))
    })

    it("ranks a later delegation above any seq, and a larger seq above any timestamp", () => {
      const of = (delegatedAt: bigint, seq: bigint, timestamp: bigint) => ({ ...plain, delegatedAt, seq, timestamp })
      assert.isTrue(Record.isNewer(of(2n, 0n, 0n), of(1n, 2n ** 64n - 1n, 9n)))
      assert.isTrue(Record.isNewer(of(1n, 2n ** 53n + 1n, 0n), of(1n, 2n ** 53n, 9n)))
      assert.isTrue(Record.isNewer(of(1n, 1n, 2n), of(1n, 1n, 1n)))
    })
  })

  describe("sign", () => {
    it("makes a record that verifies and that the policy accepts", () => {
      fc.assert(
        fc.property(genuine, (record) => {
          assert.isTrue(isAccepted(record.bytes, Record.ownKey(record)))
        }),
        { numRuns: 20 }
      )
    })

    it("refuses types that are reserved or have a sign function of their own", () => {
      const signable = (type: number) => type >= 0x02 && type <= 0x1f || type >= 0x80 && type <= 0x8f
      for (let type = -1; type <= 0x100; type++) {
        const result = Record.sign({ ...options, type, payload: payloadOf(type) })
        assert.strictEqual(Result.isSuccess(result), signable(type), `type ${type}`)
      }
      assert.isFalse(Result.isSuccess(Record.sign({ ...options, type: 2.5 })))
    })

    it("refuses a lifetime of zero or beyond 32 bits", () => {
      for (const ttl of [0, -1, 1.5, NaN, 2 ** 32]) {
        assert.strictEqual(refusal({ ttl }), `ttl ${ttl} is not 1 to 4294967295 seconds`)
      }
      assert.strictEqual(refusal({ ttl: 2 ** 32 - 1 }), "accepted")
    })

    it("refuses a seq or timestamp beyond 64 bits", () => {
      for (const outside of [-1n, 2n ** 64n]) {
        assert.strictEqual(refusal({ seq: outside }), `seq ${outside} is not a number of 64 bits`)
        assert.strictEqual(refusal({ timestamp: outside }), `timestamp ${outside} is not a number of 64 bits`)
      }
      assert.strictEqual(refusal({ seq: 2n ** 64n - 1n, timestamp: 2n ** 64n - 1n }), "accepted")
    })

    it("refuses a payload that every receiver would refuse", () => {
      assert.strictEqual(refusal({ type: 0x80, payload: new Uint8Array(513) }), "payload: longer than 512 bytes")
      assert.notStrictEqual(refusal({ type: 0x10, payload: Uint8Array.of(0xff) }), "accepted")
    })

    it("refuses a foreign key without a delegation to it from the address", () => {
      const stranger = noble.signingKey(new Uint8Array(32).fill(3))
      assert.strictEqual(refusal({ signer: stranger }), "the key is not the address's")
      assert.strictEqual(
        refusal({ signer: stranger, delegation: delegation() }),
        "the delegation is for another address or key"
      )
      assert.notStrictEqual(refusal({ signer: operational, delegation: Uint8Array.of(0xa0) }), "accepted")
    })

    it("fails if the signer returns a signature of another length", () => {
      const broken = { publicKey: signer.publicKey, sign: () => new Uint8Array(63) }
      const result: Result.Result<unknown, Record.InvalidRecord> = Record.sign({ ...options, signer: broken })
      assert.strictEqual(tag(result), "InvalidRecord")
    })
  })

  describe("maxResolvableSize", () => {
    it("is the size of a record that fills the body of a response without other content", () => {
      const answer = (size: number) => {
        const overhead = signed({ payload: new Uint8Array(500) }).bytes.length - 500
        const record = signed({ payload: new Uint8Array(size - overhead) })
        assert.strictEqual(record.bytes.length, size)
        return Message.encodeBody({
          _tag: "FindValueResponse",
          nodes: null,
          record: undefined,
          observed: new Uint8Array(18),
          records: [record]
        })
      }
      assert.strictEqual(answer(Record.maxResolvableSize).length, Message.maxAnswerBody)
    })
  })
})
