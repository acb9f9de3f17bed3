import * as Result from "effect/Result"
import * as Delegation from "../../src/Delegation.ts"
import * as Endpoint from "../../src/Endpoint.ts"
import type * as Record from "../../src/Record.ts"
import * as network from "./network.ts"

export const now = network.now

const signer = network.identity("operational")

const genuine = (wallet: number): Delegation.Delegation =>
  Result.getOrThrow(Delegation.delegateSecp256k1({
    chain: "ethereum",
    privateKey: new Uint8Array(32).fill(wallet),
    operationalPublicKey: signer.publicKey,
    issuedAt: BigInt(now),
    expiresAt: 0n
  }))

/** An endpoint record under the delegation of a wallet; `forgery` other than 0 numbers those that the wallet did not sign. */
export const byWallet = (options: {
  readonly seq: bigint
  readonly forgery: number
  readonly wallet?: number
}): Record.SignedRecord => {
  const { agent, ...delegation } = genuine(options.wallet ?? 1)
  const signature = delegation.signature.slice()
  if (options.forgery > 0) new DataView(signature.buffer).setUint32(36, options.forgery)
  return Result.getOrThrow(Endpoint.sign({
    signer,
    address: agent,
    payload: Endpoint.make({ endpoints: ["quic://203.0.113.7:4121"] }),
    seq: options.seq,
    timestamp: BigInt(now),
    ttl: 3600,
    delegation: Delegation.encode({ ...delegation, agent, signature })
  }))
}
