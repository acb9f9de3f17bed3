import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import * as fc from "fast-check"
import * as Address from "../src/Address.ts"
import { noble } from "../src/Crypto.ts"
import * as Profile from "../src/Profile.ts"
import * as Record from "../src/Record.ts"
import * as Cbor from "../src/wire/cbor.ts"

const now = 1_700_000_000
const signer = noble.signingKey(new Uint8Array(32).fill(1))
const address = Address.fromPublicKey(signer.publicKey)
const options = { signer, address, seq: 1n, timestamp: BigInt(now), ttl: 3600 }

const text = fc.string({ unit: "binary", maxLength: 10 })
const texts = fc.array(text, { maxLength: 4 })

const payloads: fc.Arbitrary<Profile.ProfilePayload> = fc.record({
  version: fc.nat(255),
  name: text,
  brief: text,
  protocols: texts,
  skills: texts,
  cardHash: fc.uint8Array({ maxLength: 32 }),
  modalities: texts,
  meta: fc.dictionary(text, fc.oneof(text, fc.maxSafeInteger()), { maxKeys: 4 }).map((meta) =>
    new Map(Object.entries(meta))
  )
}).filter((payload) => Profile.encode(payload).length <= 700)

const isValid = (payload: Uint8Array): boolean => Result.isSuccess(Profile.decode(payload))

const encoded = (...pairs: ReadonlyArray<readonly [Cbor.Value, Cbor.Value]>): Uint8Array => Cbor.encode(new Map(pairs))

const sized = (bytes: number): Profile.ProfilePayload => {
  const overhead = Profile.encode(Profile.make({ name: "x".repeat(300) })).length - 300
  return Profile.make({ name: "x".repeat(bytes - overhead) })
}

describe("Profile", () => {
  describe("payload", () => {
    it("decodes what it encoded, for all values of the fields", () => {
      fc.assert(fc.property(payloads, (payload) => {
        assert.deepStrictEqual(Profile.decode(Profile.encode(payload)), Result.succeed(payload))
      }))
    })

    it("never throws on bytes from a stranger, and refuses all but maps", () => {
      fc.assert(fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
        if (isValid(bytes)) assert.strictEqual(bytes[0] >> 5, Cbor.Major.map)
      }))
    })

    it("never throws on a payload in which bytes were changed", () => {
      const edits = fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 3 })
      fc.assert(fc.property(payloads.map(Profile.encode), edits, (bytes, edits) => {
        for (const [at, value] of edits) bytes[at % bytes.length] = value
        const result = Profile.decode(bytes)
        if (Result.isSuccess(result)) assert.deepStrictEqual(Profile.decode(Profile.encode(result.success)), result)
      }))
    })

    it("has at most 700 bytes", () => {
      assert.strictEqual(Profile.encode(sized(700)).length, 700)
      assert.isTrue(isValid(Profile.encode(sized(700))))
      assert.isFalse(isValid(Profile.encode(sized(701))))
    })

    it("omits empty fields", () => {
      assert.deepStrictEqual(Profile.encode(Profile.make({})), encoded([1, 1]))
    })

    it("treats a missing field as empty and ignores an unknown one", () => {
      const expected = Result.succeed({ ...Profile.make({}), version: 0 })
      assert.deepStrictEqual(Profile.decode(encoded()), expected)
      assert.deepStrictEqual(Profile.decode(encoded([7, "new"], [9, null])), expected)
    })

    it("refuses a repeated field, a wrong kind and trailing bytes", () => {
      // {2: "n", 2: "n"}, and {} with a trailing byte.
      assert.isFalse(isValid(Uint8Array.of(0xa2, 2, 0x61, 0x6e, 2, 0x61, 0x6e)))
      assert.isFalse(isValid(Uint8Array.of(0xa0, 0)))
      const wrong: ReadonlyArray<readonly [number, Cbor.Value]> = [
        [1, 256],
        [2, 1],
        [3, null],
        [4, "mcp"],
        [5, [1]],
        [6, "text"],
        [8, {
          float: 1.5
        }],
        [9, []],
        [9, new Map([[1, 1]])]
      ]
      for (const pair of wrong) assert.isFalse(isValid(encoded(pair)), `field ${pair[0]}`)
      // {9: {"a": 1, "a": 1}}
      assert.isFalse(isValid(Uint8Array.of(0xa1, 9, 0xa2, 0x61, 0x61, 1, 0x61, 0x61, 1)))
    })
  })

  describe("sign", () => {
    it("makes a profile record that verifies and has the given content", () => {
      fc.assert(
        fc.property(payloads, (payload) => {
          const record = Result.getOrThrow(Profile.sign({ ...options, payload }))
          assert.strictEqual(record.type, Record.RecordType.profile)
          assert.isTrue(Result.isSuccess(Record.verify(record, { crypto: noble, now })))
          assert.deepStrictEqual(Profile.decode(record.payload), Result.succeed(payload))
        }),
        { numRuns: 20 }
      )
    })

    it("refuses a payload beyond the limits, although no holder would", () => {
      assert.isTrue(Result.isSuccess(Profile.sign({ ...options, payload: sized(700) })))
      assert.isTrue(Result.isFailure(Profile.sign({ ...options, payload: sized(701) })))
      const record = Result.getOrThrow(
        Record.sign({ ...options, type: Record.RecordType.profile, payload: Profile.encode(sized(701)) })
      )
      assert.isTrue(Result.isSuccess(Record.verify(record, { crypto: noble, now })))
    })
  })
})
