import { assert, describe, it } from "@effect/vitest"
import { secp256k1 } from "@noble/curves/secp256k1.js"
import { sha256 } from "@noble/hashes/sha2.js"
import { bech32, createBase58check } from "@scure/base"
import * as Result from "effect/Result"
import * as fc from "fast-check"
import * as Address from "../src/Address.ts"

const address = fc.tuple(fc.integer({ min: 0xa0, max: 0xaf }), fc.uint8Array({ minLength: 20, maxLength: 20 }))
  .map(([version, hash]) => Address.fromBytesUnsafe(Uint8Array.of(version, ...hash)))

const reason = (text: string): string => {
  const result = Address.fromString(text)
  return Result.isFailure(result) ? result.failure.reason : `accepted as ${result.success}`
}

const bech32Of = (prefix: string, ...bytes: ReadonlyArray<number>): string =>
  bech32.encode(prefix, bech32.toWords(Uint8Array.from(bytes)))

const hash = Array.from({ length: 20 }, (_, i) => i * 11)
const paralism = bech32Of("bc", 0, ...hash)
const ethereum = Address.format(Address.fromBytesUnsafe(Uint8Array.of(0xa3, ...hash)))
const native = Address.format(Address.fromBytesUnsafe(Uint8Array.of(0xa0, ...hash)))

describe("Address", () => {
  describe("format", () => {
    it("writes a text that reads back as the same address, for every version", () => {
      fc.assert(fc.property(address, (address) => {
        assert.deepStrictEqual(Address.fromString(Address.format(address)), Result.succeed(address))
      }))
    })

    it("writes one canonical text for all accepted texts of an address", () => {
      fc.assert(fc.property(address, (address) => {
        const text = Address.format(address)
        for (const spelling of [address, text.toLowerCase(), `\t${text} \n`]) {
          assert.deepStrictEqual(Result.map(Address.fromString(spelling), Address.format), Result.succeed(text))
        }
      }))
    })
  })

  describe("fromString", () => {
    it("never throws on arbitrary text, and accepts only text that names its address", () => {
      const text = fc.oneof(
        fc.string(),
        fc.string({ unit: "binary" }),
        fc.stringMatching(/^0[xX][0-9a-zA-Z]{38,42}$/),
        fc.stringMatching(/^(bc|PR)1[0-9a-z]{38,42}$/),
        fc.stringMatching(/^1[0-9a-zA-Z]{20,40}$/),
        fc.stringMatching(/^[aA][0-9a-fA-F]{41}$/)
      )
      fc.assert(fc.property(text, (text) => {
        const result = Address.fromString(text)
        if (Result.isSuccess(result)) {
          const canonical = Address.format(result.success).toLowerCase()
          assert.include([canonical, result.success], text.trim().toLowerCase())
        }
      }))
    })

    it("detects any single changed character of a Bech32 text", () => {
      const printable = fc.integer({ min: 33, max: 126 }).map((code) => String.fromCharCode(code))
      fc.assert(fc.property(address, fc.nat(), printable, (address, at, character) => {
        const text = bech32Of("bc", 0, ...Address.toBytes(address).subarray(1))
        const mutated = text.split("").with(at % text.length, character).join("")
        fc.pre(mutated !== text)
        assert.isTrue(Result.isFailure(Address.fromString(mutated)))
      }))
    })

    it("detects every wrong capital", () => {
      fc.assert(fc.property(address, fc.nat(), (address, at) => {
        const text = Address.format(address)
        const prefix = text.startsWith("0x") ? 2 : 0
        const letters = Array.from(text.slice(prefix).matchAll(/[a-z]/gi), (match) => match.index + prefix)
        fc.pre(letters.length > 0)
        const i = letters[at % letters.length]
        const flipped = text[i] === text[i].toLowerCase() ? text[i].toUpperCase() : text[i].toLowerCase()
        const mutated = text.split("").with(i, flipped).join("")
        fc.pre(mutated !== mutated.toLowerCase())
        assert.isTrue(Result.isFailure(Address.fromString(mutated)))
      }))
    })

    it("reports which part of a text is wrong", () => {
      assert.match(reason(""), /unknown form/)
      assert.match(reason("alice"), /unknown form/)
      assert.match(reason("9".repeat(42)), /unknown version 0x99/)
      assert.match(reason("Aa".repeat(21)), /bad checksum/)
      assert.match(reason(native.slice(1)), /unknown form/)
      assert.match(reason(ethereum.slice(0, -1)), /40 hex digits/)
      assert.match(reason(`0x${"Aa".repeat(20)}`), /EIP-55/)
      assert.match(reason(paralism.slice(0, -1)), /43 characters.* got 42/)
      assert.match(reason(paralism.replace(/.$/, (last) => last === "q" ? "p" : "q")), /Bech32 character or checksum/)
      assert.match(reason(paralism.replace("bc", "BC")), /mixes upper and lower case/)
      assert.match(reason("1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN3"), /Base58Check character or checksum/)
      assert.match(reason("1".repeat(25)), /26 to 35 characters.* got 25/)
    })

    it("reads Bech32 with bc and pr, in lower and in upper case", () => {
      const expected = Result.succeed(Address.fromBytesUnsafe(Uint8Array.of(0xa2, ...hash)))
      for (const text of [paralism, bech32Of("pr", 0, ...hash)]) {
        assert.deepStrictEqual(Address.fromString(text), expected)
        assert.deepStrictEqual(Address.fromString(text.toUpperCase()), expected)
      }
    })

    it("refuses Bech32 with another prefix, witness version or length", () => {
      assert.match(reason(bech32Of("tb", 0, ...hash)), /unknown form/)
      assert.match(reason(bech32Of("bc", 1, ...hash)), /witness version 1/)
      assert.match(reason(bech32Of("bc", 0, ...hash.slice(1))), /43 characters/)
    })

    it("refuses Bech32 whose padding bits are not zero", () => {
      const words = bech32.toWords(Uint8Array.of(0, ...hash))
      words[words.length - 1] |= 1
      assert.match(reason(bech32.encode("bc", words)), /not 21 bytes/)
    })

    it("refuses Base58Check of anything but a public key hash", () => {
      const base58 = createBase58check(sha256)
      assert.isTrue(Result.isSuccess(Address.fromString(base58.encode(Uint8Array.of(0, ...hash)))))
      assert.match(reason(base58.encode(Uint8Array.of(0, ...hash.slice(1)))), /not a public key hash/)
      assert.match(reason(base58.encode(Uint8Array.of(0, 0, ...hash))), /not a public key hash/)
      assert.match(reason(base58.encode(Uint8Array.of(5, ...hash))), /unknown form/)
    })

    it("maps the native text of the bytes to the same address, whatever the version", () => {
      fc.assert(fc.property(address, (address) => {
        assert.deepStrictEqual(Address.fromString(address), Result.succeed(address))
      }))
    })
  })

  describe("fromBytes", () => {
    it("returns the bytes that an address was made of", () => {
      fc.assert(fc.property(address, (address) => {
        assert.deepStrictEqual(Address.fromBytes(Address.toBytes(address)), Result.succeed(address))
      }))
    })

    it("accepts 21 bytes of a version from 0xA0 to 0xAF and nothing else", () => {
      const bytes = fc.oneof(fc.uint8Array({ maxLength: 40 }), fc.uint8Array({ minLength: 21, maxLength: 21 }))
      fc.assert(fc.property(bytes, (bytes) => {
        assert.strictEqual(
          Result.isSuccess(Address.fromBytes(bytes)),
          bytes.length === 21 && bytes[0] >= 0xa0 && bytes[0] <= 0xaf
        )
      }))
    })
  })

  describe("version", () => {
    it("is the first byte", () => {
      fc.assert(fc.property(address, (address) => {
        assert.strictEqual(Address.version(address), Address.toBytes(address)[0])
      }))
    })
  })

  describe("fromEthereumPublicKey and fromParalismPublicKey", () => {
    const point = secp256k1.Point.fromBytes(secp256k1.getPublicKey(new Uint8Array(32).fill(7)))

    it("give a compressed and an uncompressed key the same address", () => {
      for (const fromPublicKey of [Address.fromEthereumPublicKey, Address.fromParalismPublicKey]) {
        const address = fromPublicKey(point.toBytes(true))
        assert.isTrue(Result.isSuccess(address))
        assert.deepStrictEqual(fromPublicKey(point.toBytes(false)), address)
      }
    })

    it("refuse bytes that are not a point of the curve", () => {
      for (const fromPublicKey of [Address.fromEthereumPublicKey, Address.fromParalismPublicKey]) {
        for (const bytes of [new Uint8Array(0), new Uint8Array(33), point.toBytes(false).fill(1, 1)]) {
          const result = fromPublicKey(bytes)
          assert.isTrue(Result.isFailure(result))
          if (Result.isFailure(result)) assert.strictEqual(result.failure._tag, "InvalidKey")
        }
      }
    })
  })
})
