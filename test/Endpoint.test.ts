import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import * as fc from "fast-check"
import * as Address from "../src/Address.ts"
import { noble } from "../src/Crypto.ts"
import * as Delegation from "../src/Delegation.ts"
import * as Endpoint from "../src/Endpoint.ts"
import * as Record from "../src/Record.ts"
import * as Cbor from "../src/wire/cbor.ts"

const now = 1_700_000_000
const signer = noble.signingKey(new Uint8Array(32).fill(1))
const address = Address.fromPublicKey(signer.publicKey)
const options = { signer, address, seq: 1n, timestamp: BigInt(now), ttl: 3600 }

const text = fc.string({ unit: "binary", maxLength: 40 })

const payloads: fc.Arbitrary<Endpoint.EndpointPayload> = fc.record({
  endpoints: fc.option(fc.array(text, { maxLength: 20 }), { nil: null }),
  natType: fc.constantFrom(...Object.values(Endpoint.NatType)),
  signal: text,
  turns: fc.array(text, { maxLength: 16 }),
  signals: fc.array(text, { maxLength: 8 })
})

const isValid = (payload: Uint8Array): boolean => Result.isSuccess(Endpoint.decode(payload))

const encoded = (...pairs: ReadonlyArray<readonly [Cbor.Value, Cbor.Value]>): Uint8Array => Cbor.encode(new Map(pairs))

const minimal = Endpoint.make({ endpoints: ["quic://192.0.2.1:4121"] })

describe("Endpoint", () => {
  describe("payload", () => {
    it("decodes what it encoded, for all values of the fields", () => {
      fc.assert(fc.property(payloads, (payload) => {
        assert.deepStrictEqual(Endpoint.decode(Endpoint.encode(payload)), Result.succeed(payload))
      }))
    })

    it("never throws on bytes from a stranger, and refuses all but maps", () => {
      fc.assert(fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
        if (isValid(bytes)) assert.strictEqual(bytes[0] >> 5, Cbor.Major.map)
      }))
    })

    it("never throws on a payload in which bytes were changed", () => {
      const edits = fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 3 })
      fc.assert(fc.property(payloads.map(Endpoint.encode), edits, (bytes, edits) => {
        for (const [at, value] of edits) bytes[at % bytes.length] = value
        const result = Endpoint.decode(bytes)
        if (Result.isSuccess(result)) {
          assert.deepStrictEqual(Endpoint.decode(Endpoint.encode(result.success)), result)
        }
      }))
    })

    it("limits its texts in bytes and its lists in entries", () => {
      const accepts = (payload: Partial<Endpoint.EndpointPayload>) =>
        isValid(Endpoint.encode({ ...minimal, ...payload }))
      // Characters of one to four bytes, the last one in two UTF-16 units.
      for (const character of ["s", "ü", "例", "😀"]) {
        const size = Buffer.byteLength(character)
        const of = (bytes: number) => character.repeat(Math.floor(bytes / size)) + "s".repeat(bytes % size)
        assert.isTrue(accepts({ signal: of(2048) }))
        assert.isFalse(accepts({ signal: of(2049) }))
        assert.isTrue(accepts({ turns: ["", of(512)] }))
        assert.isFalse(accepts({ turns: ["", of(513)] }))
        assert.isTrue(accepts({ signals: ["", of(2048)] }))
        assert.isFalse(accepts({ signals: ["", of(2049)] }))
      }
      assert.isTrue(accepts({ turns: Array(16).fill("t") }))
      assert.isFalse(accepts({ turns: Array(17).fill("t") }))
      assert.isTrue(accepts({ signals: Array(8).fill("s") }))
      assert.isFalse(accepts({ signals: Array(9).fill("s") }))
      assert.isTrue(accepts({ endpoints: Array(100).fill("e") }))
    })

    it("refuses an unknown NAT type", () => {
      for (let natType = 0; natType <= 4; natType++) assert.isTrue(isValid(encoded([1, []], [2, natType])))
      for (const natType of [5, 255, -1, { float: 1.5 }, "0"]) assert.isFalse(isValid(encoded([1, []], [2, natType])))
    })

    it("treats a missing field as empty and ignores an unknown one", () => {
      const empty: Endpoint.EndpointPayload = { endpoints: null, natType: 0, signal: "", turns: [], signals: [] }
      assert.deepStrictEqual(Endpoint.decode(encoded()), Result.succeed(empty))
      assert.deepStrictEqual(Endpoint.decode(encoded([6, "new"], [1000, [1]])), Result.succeed(empty))
      assert.deepStrictEqual(Endpoint.decode(encoded([4, null], [5, null])), Result.succeed(empty))
    })

    it("refuses a repeated field, a wrong kind and trailing bytes", () => {
      // {2: 0, 2: 0}, then a list, null, a list as a text, and {} with a
      // trailing byte.
      const cases = [[0xa2, 2, 0, 2, 0], [0x80], [0xf6], [0xa1, 3, 0x80], [0xa0, 0]]
      for (const bytes of cases) assert.isFalse(isValid(Uint8Array.from(bytes)), String(bytes))
      assert.isFalse(isValid(encoded([1, [1]])))
    })
  })

  describe("make", () => {
    it("writes the first of the signals for v0.1 readers too", () => {
      assert.deepStrictEqual(Endpoint.make({ endpoints: [], signals: ["wss://a", "wss://b"], turns: ["turn://c"] }), {
        endpoints: [],
        natType: Endpoint.NatType.unknown,
        signal: "wss://a",
        turns: ["turn://c"],
        signals: ["wss://a", "wss://b"]
      })
    })

    it("omits fields that are not given", () => {
      assert.deepStrictEqual(Endpoint.encode(minimal), encoded([1, minimal.endpoints], [2, 0]))
    })
  })

  describe("sign", () => {
    it("makes an endpoint record that verifies and has the given content", () => {
      fc.assert(
        fc.property(payloads, (payload) => {
          const record = Result.getOrThrow(Endpoint.sign({ ...options, payload }))
          assert.strictEqual(record.type, Record.RecordType.endpoint)
          assert.isTrue(Result.isSuccess(Record.verify(record, { crypto: noble, now })))
          assert.deepStrictEqual(Endpoint.decode(record.payload), Result.succeed(payload))
        }),
        { numRuns: 20 }
      )
    })

    it("refuses a payload beyond the limits, a zero lifetime and a foreign key", () => {
      const accepts = (changes: Partial<Parameters<typeof Endpoint.sign>[0]>) =>
        Result.isSuccess(Endpoint.sign({ ...options, payload: minimal, ...changes }))
      assert.isTrue(accepts({}))
      assert.isFalse(accepts({ payload: { ...minimal, turns: Array(17).fill("t") } }))
      assert.isFalse(accepts({ ttl: 0 }))
      assert.isFalse(accepts({ signer: noble.signingKey(new Uint8Array(32).fill(2)) }))
    })

    it("signs with an operational key that the address delegated to", () => {
      const operational = noble.signingKey(new Uint8Array(32).fill(2))
      const delegation = Delegation.encode(Delegation.delegate({
        master: signer,
        operationalPublicKey: operational.publicKey,
        issuedAt: 5n,
        expiresAt: 0n
      }))
      const record = Result.getOrThrow(
        Endpoint.sign({ ...options, payload: minimal, signer: operational, delegation })
      )
      assert.deepStrictEqual(record.delegation, delegation)
      assert.strictEqual(record.delegatedAt, 5n)
      assert.strictEqual(record.address, address)
      assert.isTrue(Result.isSuccess(Record.authority({ crypto: noble })(Record.ownKey(record), record, now)))
    })
  })
})
