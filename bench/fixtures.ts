/**
 * Identities, contacts, records and messages for the benchmarks, the same in
 * every run.
 *
 * @since 0.1.0
 */
import * as Result from "effect/Result"
import { createHash } from "node:crypto"
import * as Address from "../src/Address.ts"
import type { Contact } from "../src/Contact.ts"
import type { Provider } from "../src/Crypto.ts"
import * as Delegation from "../src/Delegation.ts"
import * as Endpoint from "../src/Endpoint.ts"
import * as Identity from "../src/Identity.ts"
import * as NodeId from "../src/NodeId.ts"
import type { SignedRecord } from "../src/Record.ts"
import * as Topic from "../src/Topic.ts"

/** 32 pseudorandom bytes. */
export const bytes32 = (name: string): Uint8Array => new Uint8Array(createHash("sha256").update(name).digest())

export const nodeId = (name: string): NodeId.NodeId => NodeId.fromBytesUnsafe(bytes32(name))

/** 40 hex digits that begin with the 8 digits of `index`. */
export const transactionId = (index: number): string =>
  index.toString(16).padStart(8, "0") + nodeId(`transaction ${index}`).slice(0, 32)

export const identity = (crypto: Provider, name: string): Identity.Identity => Identity.fromSeed(crypto, bytes32(name))

export const unixSeconds = (): number => Math.floor((performance.timeOrigin + performance.now()) / 1000)

/** An endpoint record by the signer, for the agent that delegated to it or for itself. */
export const endpointRecord = (
  signer: Identity.Identity,
  seconds: number,
  delegation?: Delegation.Delegation
): SignedRecord =>
  Result.getOrThrow(Endpoint.sign({
    signer,
    address: delegation?.agent ?? signer.address,
    payload: Endpoint.make({ endpoints: ["quic://203.0.113.7:4121"] }),
    seq: 1n,
    timestamp: BigInt(seconds),
    ttl: 3600,
    delegation: delegation && Delegation.encode(delegation)
  }))

export const topic = "bench/topic"

/** The signer's offer under {@link topic}. */
export const topicRecord = (signer: Identity.Identity, seconds: number): SignedRecord =>
  Result.getOrThrow(Topic.sign({
    signer,
    address: signer.address,
    payload: Topic.make({
      topic,
      name: "an agent",
      protocols: ["https"],
      tags: ["a", "b"],
      brief: "It does something"
    }),
    seq: 1n,
    timestamp: BigInt(seconds)
  }))

/**
 * Contacts that fill the buckets of `self` with sixteen each, as in a network of
 * many thousand nodes. Their addresses are unused.
 */
export const contactsAround = (self: NodeId.NodeId, count: number): Array<Contact> => {
  const contacts: Array<Contact> = []
  const inBucket = new Map<number, number>()
  for (let i = 0; contacts.length < count; i++) {
    const address = Address.fromPublicKey(bytes32(`contact ${i}`))
    const id = NodeId.fromAddress(address)
    const bucket = NodeId.bucketIndex(self, id)
    const held = inBucket.get(bucket) ?? 0
    if (held === 16) continue
    inBucket.set(bucket, held + 1)
    const at = contacts.length
    contacts.push({ id, address, host: `127.1.${at >> 8}.${at & 255}`, port: 4121 })
  }
  return contacts
}
