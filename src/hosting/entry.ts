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
import { type Draft, slotOf } from "./drafts.ts"
import type { Failure } from "./failure.ts"
import type { Signer } from "./signer.ts"

/**
 * A hosted identity and its records.
 *
 * @internal
 */
export class Owner {
  readonly address: Address.Address
  readonly number: number
  signer: Signer
  replicas: number
  ttl: number
  hasEnded = false
  /** Number of its records whose last attempt failed. */
  failing = 0
  /** Whether its mailbox is to be read, and the mailbox while it is. */
  readsMail: boolean
  mailbox: Mailbox | undefined
  records: ReadonlyArray<Entry> = []

  constructor(options: Pick<Owner, "address" | "number" | "signer" | "replicas" | "ttl" | "readsMail">) {
    this.address = options.address
    this.number = options.number
    this.signer = options.signer
    this.replicas = options.replicas
    this.ttl = options.ttl
    this.readsMail = options.readsMail
  }
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
  /** It is read at nodes, and stored at none. */
  readonly holders = []

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
 * A hosted record. There may be a million, so what can be derived from `bytes` is not at hand, and numbers are small
 * integers where they can be: others take an object each.
 *
 * @internal
 */
export class Entry extends SweepItem {
  readonly owner: Owner
  /** Signs this record, and its withdrawal when the owner has another signer. */
  signer: Signer
  readonly type: number
  hasOwnTtl: boolean
  /** The record; before the first signature, a draft of it. */
  bytes: Uint8Array
  /** Unix seconds; 0 before the first signature. */
  private timestamp = 0
  private expiresAt = 0
  /** The first 32 bits of the ids of the nodes that hold the record. */
  holders: ReadonlyArray<number> = []
  /** The seq of a record that the next one must supersede. */
  above: bigint | undefined
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
    this.hasOwnTtl = draft.hasOwnTtl
    this.bytes = record.bytes
  }

  get record(): Record.SignedRecord {
    return Result.getOrThrow(Record.decode(this.bytes))
  }

  /** Names its slot, in 32 hex digits. */
  get slot(): string {
    return slotOf(this.key, this.record)
  }

  get isSigned(): boolean {
    return this.timestamp > 0
  }

  /** When it was signed, in Unix milliseconds. */
  get signedAt(): number {
    return this.timestamp * 1000
  }

  /** When it expires, in Unix milliseconds. */
  get expires(): number {
    return this.expiresAt * 1000
  }

  /** A record that is due has been signed a quarter of its lifetime ago, or longer; one that is tried again has not. */
  needsSignature(now: number): boolean {
    return !this.isSigned || this.isOvertaken || now - this.signedAt >= this.lifetime / 4 ||
      now < this.signedAt - clockCheckMillis
  }

  missing(now: number): number {
    return this.needsSignature(now) ? this.wanted : Math.max(this.wanted - this.holders.length, 0)
  }

  signed(record: Record.SignedRecord): void {
    this.bytes = record.bytes
    this.timestamp = Number(record.timestamp)
    this.expiresAt = record.expiresAt
    this.isOvertaken = false
  }
}
