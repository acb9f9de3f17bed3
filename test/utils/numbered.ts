import * as Result from "effect/Result"
import * as Address from "../../src/Address.ts"
import { sha256 } from "../../src/internal/sha256.ts"
import * as NodeId from "../../src/NodeId.ts"
import type { Change, Entry, StoredEntry } from "../../src/Persistence.ts"
import * as Record from "../../src/Record.ts"

/** 32 bytes derived from a text. */
const digest = (text: string): Uint8Array => sha256(new TextEncoder().encode(text))

/** The `n`th record: well formed, with an invalid signature, expiring long after any test. */
export const recordOf = (n: number): Record.SignedRecord => {
  const publicKey = digest(`key ${n}`)
  return Result.getOrThrow(Record.decode(Record.encode({
    address: Address.fromPublicKey(publicKey),
    type: 0x80,
    payload: new Uint8Array(200 + n % 500).fill(n),
    seq: BigInt(n),
    timestamp: 4_000_000_000n,
    ttl: 3600,
    publicKey,
    signature: Uint8Array.from([...digest(`a ${n}`), ...digest(`b ${n}`)]),
    delegation: undefined
  })))
}

/** The `n`th entry; four consecutive entries share a key. */
export const entryOf = (n: number): Entry => ({
  key: NodeId.fromBytesUnsafe(digest(`at ${n >> 2}`)),
  record: recordOf(n)
})

/** The `n`th entry of a store; every third is the node's own. */
export const storedOf = (n: number): StoredEntry => ({
  ...entryOf(n),
  network: n % 3 === 0 ? undefined : `203.0.${n % 256}.0/24`
})

/** Whether the `n`th record is removed later. */
export const isRemoved = (n: number): boolean => n % 5 === 3

/** The changes saved in step `n`: its record, possibly the removal of an earlier one, and its seq. */
export const changesOf = (n: number): ReadonlyArray<Change> => [
  { _tag: "Stored", ...storedOf(n), replaced: undefined },
  ...isRemoved(n - 10) && n >= 10 ? [{ _tag: "Removed" as const, ...entryOf(n - 10) }] : [],
  { _tag: "Signed", seq: BigInt(n) }
]
