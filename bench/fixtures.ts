/**
 * Identities, contacts and records to measure with: always the same ones.
 *
 * @since 0.1.0
 */
import { createHash } from "node:crypto"
import * as Address from "../src/Address.ts"
import type { Contact } from "../src/Contact.ts"
import * as NodeId from "../src/NodeId.ts"

/** 32 bytes that look random and are always the same for the same name. */
export const bytes32 = (name: string): Uint8Array => new Uint8Array(createHash("sha256").update(name).digest())

/**
 * Contacts that fill the buckets of `self`, sixteen in each, as in a network of
 * many thousand nodes. Nobody listens where they are said to be.
 */
export const contactsAround = (self: NodeId.NodeId, count: number): Array<Contact> => {
  const contacts: Array<Contact> = []
  const inBucket = new Map<number, number>()
  for (let i = 0; contacts.length < count; i++) {
    const address = Address.fromPublicKey(bytes32(`contact ${i}`))
    const id = NodeId.fromAddress(address)
    const bucket = NodeId.bucketIndex(self, id)
    const held = inBucket.get(bucket) ?? 0
    if (bucket < 0 || held === 16) continue
    inBucket.set(bucket, held + 1)
    const at = contacts.length
    contacts.push({ id, address, host: `127.1.${at >> 8}.${at & 255}`, port: 4121 })
  }
  return contacts
}
