import { assert, describe, it } from "@effect/vitest"
import { secp256k1 } from "@noble/curves/secp256k1.js"
import { ripemd160 } from "@noble/hashes/legacy.js"
import { sha256 } from "@noble/hashes/sha2.js"
import * as Result from "effect/Result"
import * as fc from "fast-check"
import * as Address from "../src/Address.ts"
import { noble } from "../src/Crypto.ts"
import * as Delegation from "../src/Delegation.ts"
import * as Hex from "../src/internal/hex.ts"
import * as Record from "../src/Record.ts"
import * as Cbor from "../src/wire/cbor.ts"

const master = noble.signingKey(new Uint8Array(32).fill(1))
const operationalPublicKey = noble.signingKey(new Uint8Array(32).fill(2)).publicKey
const privateKey = new Uint8Array(32).fill(3)
const issuedAt = 1_700_000_000n
const expiresAt = 1_700_000_100n
const options = { operationalPublicKey, issuedAt, expiresAt }
const now = 1_700_000_050

const ed25519 = Delegation.delegate({ ...options, master })
const ethereum = Result.getOrThrow(Delegation.delegateSecp256k1({ ...options, chain: "ethereum", privateKey }))
const paralism = Result.getOrThrow(Delegation.delegateSecp256k1({ ...options, chain: "paralism", privateKey }))
const kinds = { ed25519, ethereum, paralism }

const verdict = (delegation: Delegation.Delegation, at = now): string => {
  const result = Delegation.verify(delegation, { crypto: noble, now: at })
  return Result.isSuccess(result) ? "ok" : result.failure.reason
}

/** Decodes and verifies, as a receiver of the bytes does. */
const accepts = (bytes: Uint8Array): boolean => {
  const result = Delegation.decode(bytes)
  return Result.isSuccess(result) && verdict(result.success) === "ok"
}

/** A wallet that signs any text by Bitcoin's rules, for the compressed or the uncompressed key. */
const wallet = (message: string, compressed = true): Uint8Array => {
  const text = Buffer.from(message)
  const length = Buffer.alloc(text.length < 0xfd ? 1 : text.length <= 0xffff ? 3 : 5)
  if (length.length === 1) length.writeUInt8(text.length)
  else {
    length.writeUInt8(length.length === 3 ? 0xfd : 0xfe)
    length.writeUIntLE(text.length, 1, length.length - 1)
  }
  const digest = sha256(sha256(Buffer.concat([Buffer.from("\x18Bitcoin Signed Message:\n"), length, text])))
  const signature = secp256k1.sign(digest, privateKey, { prehash: false, format: "recovered" })
  signature[0] += compressed ? 31 : 27
  return signature
}

/** The result for the Paralism delegation if its wallet had signed this text instead. */
const verdictOn = (message: string): string => verdict({ ...paralism, message, signature: wallet(message) })

const refusal = (bytes: Uint8Array): string => {
  const result = Delegation.decode(bytes)
  return Result.isFailure(result) ? result.failure.reason : "accepted"
}

const uint64 = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n })
const exactly = (length: number) => fc.uint8Array({ minLength: length, maxLength: length })
const delegation: fc.Arbitrary<Delegation.Delegation> = fc.record({
  masterPublicKey: fc.option(exactly(32), { nil: undefined }),
  operationalPublicKey: exactly(32),
  agent: fc.tuple(fc.integer({ min: 0xa0, max: 0xaf }), exactly(20)).map(([version, hash]) =>
    Address.fromBytesUnsafe(Uint8Array.of(version, ...hash))
  ),
  issuedAt: uint64,
  expiresAt: uint64,
  scope: fc.nat(255),
  signature: fc.oneof(exactly(64), exactly(65)),
  message: fc.option(fc.string({ unit: "grapheme" }), { nil: undefined })
})

describe("Delegation", () => {
  describe("decode", () => {
    it("decodes every delegation that encode writes", () => {
      fc.assert(fc.property(delegation, (delegation) => {
        const bytes = Delegation.encode(delegation)
        assert.deepStrictEqual(Delegation.decode(bytes), Result.succeed(delegation))
        assert.strictEqual(Delegation.issuedAtOf(bytes), delegation.issuedAt)
      }))
    })

    it("never throws, and accepts only bytes that encode writes", () => {
      const bytes = Delegation.encode(ethereum)
      const mutated = fc.tuple(delegation.map(Delegation.encode), fc.nat(), fc.uint8Array({ maxLength: 4 }), fc.nat(4))
        .map(([bytes, at, inserted, removed]) =>
          Uint8Array.from(Array.from(bytes).toSpliced(at % bytes.length, removed, ...inserted))
        )
      fc.assert(fc.property(fc.oneof(fc.uint8Array({ maxLength: bytes.length }), mutated), (bytes) => {
        const result = Delegation.decode(bytes)
        if (Result.isSuccess(result)) assert.deepStrictEqual(Delegation.encode(result.success), bytes)
        else assert.strictEqual(Delegation.issuedAtOf(bytes), 0n)
      }))
    })

    it("refuses every truncation, and bytes after the end", () => {
      for (const delegation of Object.values(kinds)) {
        const bytes = Delegation.encode(delegation)
        for (let length = 0; length < bytes.length; length++) {
          assert.notStrictEqual(refusal(bytes.subarray(0, length)), "accepted")
        }
        assert.notStrictEqual(refusal(Uint8Array.of(...bytes, 0)), "accepted")
      }
    })

    describe("of a map with one field changed", () => {
      const entries = (): Map<Cbor.Value, Cbor.Value> =>
        new Map<Cbor.Value, Cbor.Value>([
          [2, operationalPublicKey],
          [3, Address.toBytes(paralism.agent)],
          [4, 1],
          [5, 2],
          [6, 1],
          [7, paralism.signature],
          [8, "text"]
        ])

      it("accepts the unchanged map", () => {
        assert.strictEqual(refusal(Cbor.encode(entries())), "accepted")
      })

      it("refuses it without one of the required fields", () => {
        for (const key of [2, 3, 4, 5, 6, 7]) {
          const map = entries()
          map.delete(key)
          assert.match(refusal(Cbor.encode(map)), /missing/)
        }
      })

      it("refuses a field of the wrong type, length or range, and an unknown field", () => {
        const wrong: ReadonlyArray<readonly [number, Cbor.Value]> = [
          [1, new Uint8Array(31)],
          [1, null],
          [2, new Uint8Array(33)],
          [2, "text"],
          [3, new Uint8Array(20)],
          [3, new Uint8Array(21).fill(0x9f)],
          [4, -1],
          [4, "1"],
          [5, { float: 1 }],
          [6, 256],
          [7, new Uint8Array(63)],
          [7, new Uint8Array(66)],
          [8, new Uint8Array(1)],
          [9, 1],
          [0, 1]
        ]
        for (const [key, value] of wrong) {
          assert.notStrictEqual(refusal(Cbor.encode(entries().set(key, value))), "accepted", `field ${key}`)
        }
      })

      it("refuses keys out of order, a repeated key and an integer longer than necessary", () => {
        const canonical = Hex.encode(Cbor.encode(entries()))
        const edits: ReadonlyArray<readonly [string, string]> = [
          ["04010502", "05020401"],
          ["04010502", "04010401"],
          ["04010502", "0418010502"]
        ]
        for (const [from, to] of edits) {
          assert.include(canonical, from)
          assert.notStrictEqual(refusal(Hex.decode(canonical.replace(from, to))), "accepted", to)
        }
        assert.match(refusal(Hex.decode(canonical.replace("04010502", "05020401"))), /canonical/)
      })
    })
  })

  describe("verify", () => {
    for (const [kind, delegation] of Object.entries(kinds)) {
      describe(`of ${kind}`, () => {
        it("accepts a delegation signed by its master", () => {
          assert.strictEqual(verdict(delegation), "ok")
          assert.isTrue(accepts(Delegation.encode(delegation)))
        })

        it("refuses a delegation with any one bit flipped", () => {
          const bytes = Delegation.encode(delegation)
          fc.assert(fc.property(fc.nat(bytes.length * 8 - 1), (bit) => {
            const flipped = bytes.slice()
            flipped[bit >> 3] ^= 1 << (bit & 7)
            assert.isFalse(accepts(flipped))
          }))
        })

        it("is valid before it is issued and up to the second before it expires", () => {
          assert.strictEqual(verdict(delegation, Number(issuedAt) - 1), "ok")
          assert.strictEqual(verdict(delegation, Number(expiresAt) - 1), "ok")
          assert.match(verdict(delegation, Number(expiresAt)), /expired/)
        })

        it("refuses an agent of every other version", () => {
          for (let version = 0xa0; version <= 0xaf; version++) {
            const agent = Address.fromBytesUnsafe(Address.toBytes(delegation.agent).fill(version, 0, 1))
            assert.strictEqual(verdict({ ...delegation, agent }) === "ok", agent === delegation.agent)
          }
        })

        it("refuses every scope but that of the network", () => {
          for (let scope = 0; scope <= 255; scope++) {
            assert.strictEqual(verdict({ ...delegation, scope }) === "ok", scope === Delegation.networkScope)
          }
        })

        it("refuses a signature of the wrong length", () => {
          const { signature } = delegation
          for (const wrong of [signature.subarray(1), signature.subarray(0, -1), Uint8Array.of(...signature, 0)]) {
            assert.match(verdict({ ...delegation, signature: wrong }), /signature/)
          }
        })
      })
    }

    it("never expires with an expiry of 0", () => {
      const forever = { ...options, expiresAt: 0n }
      const delegations = [
        Delegation.delegate({ ...forever, master }),
        Result.getOrThrow(Delegation.delegateSecp256k1({ ...forever, chain: "ethereum", privateKey })),
        Result.getOrThrow(Delegation.delegateSecp256k1({ ...forever, chain: "paralism", privateKey }))
      ]
      for (const delegation of delegations) assert.strictEqual(verdict(delegation, Number.MAX_SAFE_INTEGER), "ok")
    })

    it("refuses fields that the signature does not cover", () => {
      assert.match(verdict({ ...ed25519, message: "" }), /no message/)
      assert.match(verdict({ ...ed25519, masterPublicKey: undefined }), /master key is missing/)
      for (const delegation of [ethereum, paralism]) {
        assert.match(verdict({ ...delegation, masterPublicKey: master.publicKey }), /only an Ed25519 master/)
        assert.match(verdict({ ...delegation, message: undefined }), /message is missing/)
      }
    })

    it("refuses an Ed25519 master that is not the agent", () => {
      const { agent } = Delegation.delegate({ ...options, master: noble.signingKey(new Uint8Array(32).fill(9)) })
      assert.match(verdict({ ...ed25519, agent }), /not that of the master key/)
    })

    it("refuses a message signed for the other chain", () => {
      assert.notStrictEqual(verdict({ ...paralism, message: ethereum.message }), "ok")
      assert.notStrictEqual(verdict({ ...paralism, signature: ethereum.signature }), "ok")
      assert.notStrictEqual(verdict({ ...ethereum, signature: paralism.signature }), "ok")
    })

    it("accepts a recovery id of Ethereum counted from 0 or from 27, and no other", () => {
      const recovery = ethereum.signature[64] - 27
      for (let v = 0; v <= 255; v++) {
        const signature = ethereum.signature.slice()
        signature[64] = v
        assert.strictEqual(verdict({ ...ethereum, signature }) === "ok", v === recovery || v === recovery + 27)
      }
    })

    it("accepts only the header of Paralism that selects the agent's key", () => {
      for (let header = 0; header <= 255; header++) {
        const signature = paralism.signature.slice()
        signature[0] = header
        assert.strictEqual(verdict({ ...paralism, signature }) === "ok", header === paralism.signature[0])
      }
    })

    it("accepts an agent of the uncompressed key if the header says so", () => {
      const uncompressed = secp256k1.getPublicKey(privateKey, false)
      const agent = Address.fromBytesUnsafe(Uint8Array.of(0xa2, ...ripemd160(sha256(uncompressed))))
      const message = Result.getOrThrow(Delegation.authorizationMessage({ ...options, agent }))
      const signature = wallet(message, false)
      assert.strictEqual(verdict({ ...paralism, agent, message, signature }), "ok")
      signature[0] += 4
      assert.notStrictEqual(verdict({ ...paralism, agent, message, signature }), "ok")
    })
  })

  describe("verify of a text that a wallet signed", () => {
    const lines = [
      `op_key:${Hex.encode(operationalPublicKey)}`,
      `agent:${Address.format(paralism.agent)}`,
      "scope:1",
      `issued_at:${issuedAt}`,
      `expires_at:${expiresAt}`
    ]

    it("accepts the lines in any order, between others, and with other spellings of the same values", () => {
      assert.strictEqual(verdictOn(lines.join("\n")), "ok")
      assert.strictEqual(verdictOn(["Dear wallet:", ...lines.toReversed(), "", "agents"].join("\r\n")), "ok")
      assert.strictEqual(
        verdictOn([
          `  op_key : 0x${Hex.encode(operationalPublicKey).toUpperCase()}`,
          `agent:\t${Address.format(paralism.agent).toUpperCase()} `,
          ...lines.slice(2)
        ].join("\n")),
        "ok"
      )
    })

    it("accepts a text of any length", () => {
      for (const length of [0xfc, 0xfd, 0xffff, 0x10000]) {
        assert.strictEqual(verdictOn(`${lines.join("\n")}\n`.padEnd(length, ".")), "ok")
      }
    })

    it("refuses a text without one of the lines", () => {
      for (const line of lines) {
        const name = line.slice(0, line.indexOf(":"))
        assert.match(verdictOn(lines.filter((other) => other !== line).join("\n")), new RegExp(`lacks ${name}`))
      }
    })

    it("refuses a text with another value for one of the fields, even on a repeated line", () => {
      const wrong = [
        `op_key:${Hex.encode(master.publicKey)}`,
        "op_key:",
        `agent:${Address.format(ethereum.agent)}`,
        "agent:alice",
        "scope:2",
        "scope:0x1",
        `issued_at:${issuedAt + 1n}`,
        "issued_at:-1",
        `expires_at:${expiresAt}.0`,
        `expires_at:${"9".repeat(10_000)}`
      ]
      for (const line of wrong) {
        const name = line.slice(0, line.indexOf(":"))
        const pattern = new RegExp(`another ${name}`)
        assert.match(verdictOn([...lines, line].join("\n")), pattern)
        assert.match(verdictOn([line, ...lines].join("\n")), pattern)
        assert.match(verdictOn([...lines.filter((other) => !other.startsWith(`${name}:`)), line].join("\n")), pattern)
      }
    })
  })

  describe("a wallet's signature", () => {
    const order = secp256k1.Point.Fn.ORDER
    /** The other signature for the same key, digest and r. */
    const twin = (signature: Uint8Array, at: number): Uint8Array => {
      const bytes = signature.slice()
      const s = order - BigInt(`0x${Hex.encode(bytes.subarray(at, at + 32))}`)
      bytes.set(Hex.decode(s.toString(16).padStart(64, "0")), at)
      const recovery = at === 32 ? 64 : 0
      // The recovery id selects the other point; both start with an odd number.
      bytes[recovery] = (bytes[recovery] - 27 ^ 1) + 27
      return bytes
    }

    it("is valid with the lower s only", () => {
      assert.match(verdict({ ...ethereum, signature: twin(ethereum.signature, 32) }), /bad signature/)
      assert.match(verdict({ ...paralism, signature: twin(paralism.signature, 33) }), /bad signature/)
    })

    it("gives one record, however its recovery id is counted", () => {
      const operational = noble.signingKey(new Uint8Array(32).fill(2))
      const counted = (from: number) => {
        const signature = ethereum.signature.slice()
        signature[64] = signature[64] - 27 + from
        return Delegation.encode({ ...ethereum, signature })
      }
      const record = Result.getOrThrow(Record.sign({
        signer: operational,
        address: ethereum.agent,
        type: 0x03,
        payload: new Uint8Array(3),
        seq: 1n,
        timestamp: BigInt(now),
        ttl: 60,
        delegation: counted(27)
      }))
      const other = Record.encode({ ...record, delegation: counted(0) })
      assert.notDeepEqual(other, record.bytes)
      assert.deepStrictEqual(Result.getOrThrow(Record.decode(other)), record)
      // In the middle of a longer input, which stays unchanged.
      const reader = new Cbor.Reader(Uint8Array.of(0, ...other, 0), 1)
      assert.deepStrictEqual(Record.read(reader), record)
      assert.strictEqual(reader.at, other.length + 1)
      assert.strictEqual(verdict(Result.getOrThrow(Delegation.decode(counted(0)))), "ok")
    })
  })

  describe("of values that cannot be encoded", () => {
    const wrong = [{ issuedAt: -1n }, { expiresAt: -1n }, { issuedAt: 2n ** 64n }, { expiresAt: 2n ** 64n }, {
      operationalPublicKey: new Uint8Array(31)
    }]

    it("throws a RangeError", () => {
      for (const fields of wrong) {
        const said = { ...options, ...fields }
        assert.throws(() => Delegation.delegate({ ...said, master }), RangeError)
        for (const chain of ["ethereum", "paralism"] as const) {
          assert.throws(() => Delegation.delegateSecp256k1({ ...said, chain, privateKey }), RangeError)
        }
        assert.throws(() => Delegation.encode({ ...ed25519, ...fields }), RangeError)
        assert.isTrue(Result.isFailure(Delegation.authorizationMessage({ ...said, agent: ethereum.agent })))
      }
      for (const scope of [-1, 256, 1.5]) assert.throws(() => Delegation.encode({ ...ed25519, scope }), RangeError)
      assert.throws(() => Delegation.encode({ ...ed25519, signature: new Uint8Array(63) }), RangeError)
    })
  })

  describe("authorizationMessage", () => {
    it("is the text that delegateSecp256k1 signs", () => {
      for (const { agent, message } of [ethereum, paralism]) {
        assert.strictEqual(Result.getOrThrow(Delegation.authorizationMessage({ ...options, agent })), message)
      }
    })

    it("fails for an address without a wallet", () => {
      const result = Delegation.authorizationMessage({ ...options, agent: ed25519.agent })
      assert.isTrue(Result.isFailure(result))
    })
  })

  describe("delegateSecp256k1", () => {
    it("refuses bytes that are not a private key", () => {
      for (const privateKey of [new Uint8Array(32), new Uint8Array(31).fill(1), new Uint8Array(32).fill(0xff)]) {
        const result = Delegation.delegateSecp256k1({ ...options, chain: "ethereum", privateKey })
        assert.isTrue(Result.isFailure(result))
        if (Result.isFailure(result)) assert.strictEqual(result.failure._tag, "InvalidKey")
      }
    })
  })
})
