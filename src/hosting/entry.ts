/**
 * A hosted identity, and what is renewed and read for it.
 *
 * @since 0.1.0
 */
import * as Result from "effect/Result"
import type * as Address from "../Address.ts"
import { SweepItem } from "../core/sweep.ts"
import * as NodeId from "../NodeId.ts"
import * as Record from "../Record.ts"
import { clockCheckMillis } from "../Renewal.ts"
import type { Draft } from "./drafts.ts"
import type { Failure } from "./failure.ts"
import type { Signer } from "./signer.ts"

/**
 * A hosted identity and its records.
 *
 * @internal
 */
export interface Owner {
  readonly address: Address.Address
  readonly number: number
  signer: Signer
  replicas: number
  ttl: number
  hasEnded: boolean
  /** Number of its records whose last attempt failed. */
  failing: number
  /** Whether its mailbox is to be read, and the mailbox while it is. */
  readsMail: boolean
  mailbox: Mailbox | undefined
  records: Array<Entry>
}

/**
 * Nodes that are asked for the messages in a mailbox.
 *
 * @internal
 */
export const mailHolders = 3

/**
 * A mailbox to read, at the key of the identity's own records.
 *
 * @internal
 */
export class Mailbox extends SweepItem {
  readonly owner: Owner

  constructor(owner: Owner, intervalMillis: number) {
    super({ key: NodeId.fromAddress(owner.address), lifetime: 2 * intervalMillis, wanted: mailHolders })
    this.owner = owner
  }

  needsSignature(): boolean {
    return false
  }

  missing(): number {
    return this.wanted
  }
}

/**
 * A hosted record. Most of it is in `bytes`: with the fields of each record at hand, it would take five times the memory.
 *
 * @internal
 */
export class Entry extends SweepItem {
  readonly owner: Owner
  /** Signs this record, and its withdrawal when the owner has another signer. */
  signer: Signer
  readonly type: number
  /** Names its slot, in 32 hex digits. */
  readonly slot: string
  hasOwnTtl: boolean
  /** The record; before the first signature, a draft of it. */
  bytes: Uint8Array
  /** Unix milliseconds; −Infinity before the first signature. */
  signedAt = -Infinity
  /** Unix milliseconds. */
  expires = -Infinity
  /** The first 32 bits of the ids of the nodes that hold the record. */
  holders: ReadonlyArray<number> = []
  /** The seq of a record that the next one must supersede. */
  above = -1n
  isOvertaken = false
  signedOver = 0
  /** Why the last attempt failed; undefined if it did not. */
  failure: Failure | undefined
  removal: "None" | "Withdraw" | "Keep" = "None"

  constructor(owner: Owner, draft: Draft) {
    const { record } = draft
    super({
      key: draft.key,
      lifetime: Math.min(record.ttl, Record.maxLifetime[Record.category(record.type)]) * 1000,
      wanted: owner.replicas
    })
    this.owner = owner
    this.signer = owner.signer
    this.type = record.type
    this.slot = draft.slot
    this.hasOwnTtl = draft.hasOwnTtl
    this.bytes = record.bytes
  }

  get record(): Record.SignedRecord {
    return Result.getOrThrow(Record.decode(this.bytes))
  }

  get isSigned(): boolean {
    return this.signedAt !== -Infinity
  }

  /** A record that is due has been signed a quarter of its lifetime ago, or longer; one that is tried again has not. */
  needsSignature(now: number): boolean {
    return this.isOvertaken || now - this.signedAt >= this.lifetime / 4 || now < this.signedAt - clockCheckMillis
  }

  missing(now: number): number {
    return this.needsSignature(now) ? this.wanted : Math.max(this.wanted - this.holders.length, 0)
  }

  signed(record: Record.SignedRecord): void {
    this.bytes = record.bytes
    this.signedAt = Number(record.timestamp) * 1000
    this.expires = record.expiresAt * 1000
    this.isOvertaken = false
  }
}
