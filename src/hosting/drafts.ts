/**
 * The records of a hosted identity before they are signed: drafts.
 *
 * @since 0.1.0
 */
import * as Bytes from "effect/Bytes"
import * as Data from "effect/Data"
import * as Result from "effect/Result"
import type * as Address from "../Address.ts"
import { placementFault } from "../core/placement.ts"
import { isGiven } from "../core/vetting.ts"
import * as Endpoint from "../Endpoint.ts"
import * as Identity from "../Identity.ts"
import * as Hex from "../internal/hex.ts"
import { sha256Prefix } from "../internal/sha256.ts"
import * as NodeId from "../NodeId.ts"
import { RecordTooLarge } from "../Publisher.ts"
import * as Record from "../Record.ts"
import * as Job from "../replication/job.ts"
import * as Topic from "../Topic.ts"
import * as internal from "../wire/record.ts"
import { type Content, type EncodedContent, signContent, typeOf } from "./content.ts"
import { drafter, type Signatory, type Signer } from "./signer.ts"

/**
 * An identity to host.
 *
 * @category models
 * @since 0.1.0
 */
export interface HostOptions {
  readonly signer: Signer
  /** At most 256. */
  readonly announce: ReadonlyArray<Content>
  /** Number of nodes that hold a copy of each record, 1 to 16; defaults to 8. */
  readonly replicas?: number | undefined
  /** Seconds that its records live, where their content does not say; defaults to 3600. */
  readonly ttl?: number | undefined
  /** Whether its mailbox is read, if the signer has an `exchangeKey`; defaults to false. */
  readonly mail?: boolean | undefined
}

/**
 * Lifetime of records in seconds, where nothing else is said.
 *
 * @category constants
 * @since 0.1.0
 */
export const defaultTtl = 3600

/**
 * Two contents of one identity would replace each other.
 *
 * @category errors
 * @since 0.1.0
 */
export class SameSlot extends Data.TaggedError("SameSlot")<{
  readonly address: Address.Address
  readonly key: NodeId.NodeId
  readonly type: number
}> {
  override get message() {
    return this.type === Record.RecordType.topic
      ? `Two offers under one topic would replace each other, at ${this.key}. Announce one of them`
      : `Two records of type ${this.type} at ${this.key} would replace each other. Announce one of them`
  }
}

/**
 * More records than may be hosted: in all, or for one identity.
 *
 * @category errors
 * @since 0.1.0
 */
export class TooManyRecords extends Data.TaggedError("TooManyRecords")<{
  readonly limit: number
  readonly of: "Node" | "Identity"
}> {
  override get message() {
    return this.of === "Node"
      ? `This node hosts at most ${this.limit} records. Raise maxRecords, or use another node`
      : `An identity has at most ${this.limit} hosted records`
  }
}

/**
 * Why what an identity announces cannot be hosted.
 *
 * @category errors
 * @since 0.1.0
 */
export type ContentError =
  | SameSlot
  | TooManyRecords
  | RecordTooLarge
  | Record.InvalidRecord
  | Identity.DelegationExpired

/** Maximum number of records of an identity. */
const maxRecordsOfIdentity = 256

/**
 * A record without its signature.
 *
 * @internal
 */
export interface Draft {
  readonly key: NodeId.NodeId
  readonly slot: string
  readonly record: Record.SignedRecord
  /** Whether the content says how long its record lives. */
  readonly hasOwnTtl: boolean
}

/**
 * Names the slot of a record, in 32 hex digits.
 *
 * @internal
 */
export const slotOf = (key: NodeId.NodeId, record: Record.SignedRecord): string => textHash(Job.slotAt(key, record))

const tooLarge = (record: Record.SignedRecord, content: Content): RecordTooLarge | undefined => {
  const [size, limit] = [record.bytes.length, Record.maxResolvableSize]
  if (size <= limit) return undefined
  const excess = content._tag === "Endpoint" ? Endpoint.excess(Endpoint.make(content), size - limit) : undefined
  return new RecordTooLarge({ size, limit, excess })
}

/** Seconds that a record lives whose content does not say. */
const usualTtl = (type: number, ttl: number): number =>
  type === Record.RecordType.topic ? Math.min(ttl, Topic.maxTtl) : ttl

/** Makes the draft of a content. */
const draftOf = (
  signer: Signatory,
  content: Content,
  defaultTtl: number,
  now: number
): Result.Result<Draft, Record.InvalidRecord | RecordTooLarge | Identity.DelegationExpired> => {
  const seconds = Math.floor(now / 1000)
  const mandate = Identity.mandate(signer, seconds)
  if (Result.isFailure(mandate)) return Result.fail(mandate.failure)
  const { ttl = usualTtl(typeOf(content), defaultTtl) } = content
  const stamped = {
    signer: drafter(signer),
    address: signer.agent,
    delegation: mandate.success,
    seq: 0n,
    timestamp: BigInt(seconds),
    ttl
  }
  const signed = signContent(content, stamped)
  if (Result.isFailure(signed)) return Result.fail(signed.failure)
  const record = signed.success
  const excess = tooLarge(record, content)
  if (excess !== undefined) return Result.fail(excess)
  const key = keyOf(content, record)
  const isElsewhere = Record.category(record.type) === "sovereign" && key !== Record.ownKey(record)
  const reason = isElsewhere ? "it belongs at the key of its own address" : placementFault(key, record)
  if (reason !== undefined) return Result.fail(new Record.InvalidRecord({ reason }))
  return Result.succeed({ key, slot: slotOf(key, record), record, hasOwnTtl: content.ttl !== undefined })
}

const keyOf = (content: Content, record: Record.SignedRecord): NodeId.NodeId => {
  if (content._tag === "Topic") return NodeId.fromTopic(content.topic)
  const given = content._tag === "Custom" ? content.key : undefined
  return isGiven(given) ? given : Record.ownKey(record)
}

/**
 * What is encoded of an identity to host.
 *
 * @internal
 */
export interface Announced extends Pick<HostOptions, "announce" | "ttl"> {
  readonly signer: Signatory
}

/**
 * The drafts of an identity's records, each with a slot of its own.
 *
 * @internal
 */
export const draftAll = (
  { announce, signer, ttl = defaultTtl }: Announced,
  now: number
): Result.Result<ReadonlyArray<Draft>, ContentError> =>
  Result.flatMap(
    Result.all(announce.map((content) => draftOf(signer, content, ttl, now))),
    (drafts): Result.Result<ReadonlyArray<Draft>, SameSlot | TooManyRecords> => {
      if (drafts.length > maxRecordsOfIdentity) {
        return Result.fail(new TooManyRecords({ limit: maxRecordsOfIdentity, of: "Identity" }))
      }
      const slots = new Set<string>()
      for (const { key, record, slot } of drafts) {
        if (slots.has(slot)) return Result.fail(new SameSlot({ address: signer.agent, key, type: record.type }))
        slots.add(slot)
      }
      return Result.succeed(drafts)
    }
  )

/**
 * Checks what an identity announces as `host` does at `now`, in Unix
 * milliseconds, and encodes it. The signer is not asked to sign.
 *
 * @category conversions
 * @since 0.1.0
 */
export const encodeContents = (
  options: HostOptions,
  now: number
): Result.Result<ReadonlyArray<EncodedContent>, ContentError> =>
  Result.map(draftAll(options, now), (drafts) =>
    drafts.map(({ hasOwnTtl, key, record }) => ({
      key,
      type: record.type,
      payload: record.payload,
      ttl: hasOwnTtl ? record.ttl : undefined
    })))

/**
 * The draft of a hosted record's content for another signer, or another lifetime.
 *
 * @internal
 */
export const redraft = (
  signer: Signer,
  { hasOwnTtl, key, record: { payload, ttl, type }, slot }: Draft,
  defaultTtl: number,
  now: number
): Result.Result<Draft, Record.InvalidRecord | Identity.DelegationExpired> => {
  const seconds = Math.floor(now / 1000)
  return Result.flatMap(Identity.mandate(signer, seconds), (delegation) =>
    Result.map(
      internal.seal({
        signer: drafter(signer),
        address: signer.agent,
        delegation,
        seq: 0n,
        timestamp: BigInt(seconds),
        ttl: hasOwnTtl ? ttl : usualTtl(type, defaultTtl),
        type,
        payload
      }),
      (record) => ({ key, slot, record, hasOwnTtl })
    ))
}

/**
 * Identifies what records of an identity contain, whatever their order: two have
 * the same fingerprint if they differ at most in their seqs, their timestamps and
 * their signatures.
 *
 * @internal
 */
export const fingerprintOf = (records: ReadonlyArray<Pick<Draft, "key" | "record">>): string =>
  records.length === 1 ? contentHash(records[0]) : textHash(records.map(contentHash).sort().join(" "))

const contentHash = ({ key, record: { delegation, payload, publicKey, ttl, type } }: Pick<Draft, "key" | "record">) =>
  textHash([key, type, ttl, ...[publicKey, payload, delegation ?? noBytes].map(Hex.encode)].join(" "))

const noBytes = new Uint8Array(0)

const textHash = (text: string): string => sha256Prefix(encoder.encode(text), 16)

const encoder = new TextEncoder()

/**
 * Whether two records differ at most in their seq, their timestamp and their signature.
 *
 * @internal
 */
export const isSameContent = (a: Record.SignedRecord, b: Record.SignedRecord): boolean =>
  a.type === b.type && a.ttl === b.ttl && Bytes.Equivalence(a.payload, b.payload) &&
  Bytes.Equivalence(a.publicKey, b.publicKey) &&
  (a.delegation === undefined ? b.delegation === undefined : b.delegation !== undefined &&
    Bytes.Equivalence(a.delegation, b.delegation))
