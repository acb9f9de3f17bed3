import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import * as Address from "../../src/Address.ts"
import { noble } from "../../src/Crypto.ts"
import * as Delegation from "../../src/Delegation.ts"
import * as Hex from "../../src/internal/hex.ts"
import { vectors } from "./vectors.ts"

interface Proof {
  readonly name: string
  readonly cbor: string
  /** Empty for a wallet. */
  readonly masterPublicKey: string
  readonly opPublicKey: string
  readonly opSeed: string
  readonly agentAddress: string
  readonly issuedAt: number
  readonly expiresAt: number
  readonly scope: number
  readonly signature: string
  /** Empty for an Ed25519 master. */
  readonly message: string
  readonly verify: ReadonlyArray<{ readonly now: number; readonly verdict: string }>
}

const all = vectors<{
  readonly master: { readonly seed: string }
  readonly secp256k1PrivateKey: string
  readonly proofs: ReadonlyArray<Proof>
}>("delegations.json")

const optional = <A>(text: string, read: (text: string) => A): A | undefined => text === "" ? undefined : read(text)

const delegationOf = (proof: Proof): Delegation.Delegation => ({
  masterPublicKey: optional(proof.masterPublicKey, Hex.decode),
  operationalPublicKey: Hex.decode(proof.opPublicKey),
  agent: Result.getOrThrow(Address.fromBytes(Hex.decode(proof.agentAddress))),
  issuedAt: BigInt(proof.issuedAt),
  expiresAt: BigInt(proof.expiresAt),
  scope: proof.scope,
  signature: Hex.decode(proof.signature),
  message: optional(proof.message, (text) => text)
})

/** The proofs that hold at some time: only what those carry was signed as it stands. */
const genuine = all.proofs.filter((proof) => proof.verify.some((check) => check.verdict === "ok"))

describe("delegations.json, proofs", () => {
  it("encodes a delegation to its bytes", () => {
    for (const proof of all.proofs) {
      assert.strictEqual(Hex.encode(Delegation.encode(delegationOf(proof))), proof.cbor, proof.name)
    }
  })

  it("decodes the bytes to the delegation", () => {
    for (const proof of all.proofs) {
      const bytes = Hex.decode(proof.cbor)
      assert.deepStrictEqual(Delegation.decode(bytes), Result.succeed(delegationOf(proof)), proof.name)
      assert.strictEqual(Delegation.issuedAtOf(bytes), BigInt(proof.issuedAt))
    }
  })

  it("comes to the recorded verdict at every time", () => {
    for (const proof of all.proofs) {
      for (const { now, verdict } of proof.verify) {
        const result = Delegation.verify(delegationOf(proof), { crypto: noble, now })
        assert.strictEqual(
          Result.isSuccess(result) ? "ok" : result.failure._tag,
          verdict,
          `${proof.name} at ${now}`
        )
      }
    }
  })

  it("signs with the master key as the Go reference does", () => {
    for (const proof of genuine) {
      const options = {
        operationalPublicKey: noble.signingKey(Hex.decode(proof.opSeed)).publicKey,
        issuedAt: BigInt(proof.issuedAt),
        expiresAt: BigInt(proof.expiresAt)
      }
      const expected = delegationOf(proof)
      const version = Address.version(expected.agent)
      if (version === Address.Version.ed25519) {
        const master = noble.signingKey(Hex.decode(all.master.seed))
        assert.deepStrictEqual(Delegation.delegate({ ...options, master }), expected, proof.name)
      } else {
        const chain = version === Address.Version.ethereum ? "ethereum" : "paralism"
        const signed = Result.getOrThrow(
          Delegation.delegateSecp256k1({ ...options, chain, privateKey: Hex.decode(all.secp256k1PrivateKey) })
        )
        // An Ethereum signature may count its recovery id from 0 or from 27.
        const signature = expected.signature.slice()
        if (chain === "ethereum" && signature[64] < 27) signature[64] += 27
        assert.deepStrictEqual(signed, { ...expected, signature }, proof.name)
      }
    }
  })

  it("asks a wallet to sign the recorded message", () => {
    for (const proof of genuine) {
      const { message, ...fields } = delegationOf(proof)
      if (message !== undefined) {
        assert.deepStrictEqual(Delegation.authorizationMessage(fields), Result.succeed(message), proof.name)
      }
    }
  })
})
