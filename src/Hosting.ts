/**
 * Hosting of many identities on one node: their endpoints, profiles, offers and
 * custom records are signed, stored at the nodes closest to their keys and
 * renewed, for as long as they are hosted.
 *
 * A node publishes for the one identity that it has (`Publisher`, `Announce`),
 * with a fiber and a lookup for each record. Hosting is for thousands: it sweeps
 * the key space, so that one lookup serves all records of a region, and paces its
 * datagrams and signatures. Records are not checked between renewals, which come
 * twice in a lifetime.
 *
 * If the node's state is kept, a restart signs nothing that is still good, and
 * stores nothing that is still held, once the identities are hosted again. Their
 * keys are not kept.
 *
 * @module
 * @since 0.1.0
 */
import * as Bytes from "effect/Bytes"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import * as PubSub from "effect/PubSub"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import * as Address from "./Address.ts"
import type { Contact } from "./Contact.ts"
import { type HostedMessage, Inbox } from "./core/inbox.ts"
import * as Letters from "./core/letters.ts"
import { placementFault } from "./core/placement.ts"
import * as Seq from "./core/seq.ts"
import { lookupCost, Sweep, SweepItem } from "./core/sweep.ts"
import { isGiven } from "./core/vetting.ts"
import { Crypto, type ExchangeKey, type SigningKey } from "./Crypto.ts"
import type * as Delegation from "./Delegation.ts"
import type { DelegationChecks } from "./DelegationChecks.ts"
import * as Endpoint from "./Endpoint.ts"
import * as Identity from "./Identity.ts"
import * as InFlight from "./InFlight.ts"
import { sha256Hex } from "./internal/sha256.ts"
import * as NodeId from "./NodeId.ts"
import type { NodeSettings } from "./NodeSettings.ts"
import type { PeerHealth } from "./PeerHealth.ts"
import { type HostedEntry, Persistence } from "./Persistence.ts"
import * as Profile from "./Profile.ts"
import { type CustomBytes, type Lifetime, type PublishError, RecordTooLarge } from "./Publisher.ts"
import { Query } from "./Query.ts"
import type { Reachability } from "./Reachability.ts"
import * as Record from "./Record.ts"
import { clockCheckMillis } from "./Renewal.ts"
import { KeyFull, NotEnoughReplicas } from "./Replication.ts"
import * as Copies from "./replication/copies.ts"
import * as Job from "./replication/job.ts"
import { Routing } from "./Routing.ts"
import type { Rpc } from "./Rpc.ts"
import { Store } from "./Store.ts"
import * as Topic from "./Topic.ts"
import * as internal from "./wire/record.ts"
import * as Withdrawal from "./Withdrawal.ts"

export type { HostedMessage } from "./core/inbox.ts"

// --- Models ------------------------------------------------------------------------

/**
 * Signs for a hosted identity. An `Identity` is one: that of a seed, or of an
 * operational key with its delegation. A key that is elsewhere, in a key
 * management service or a wallet, signs with an effect.
 *
 * @category models
 * @since 0.1.0
 */
export interface Signer {
  /** The address that is hosted. */
  readonly agent: Address.Address
  /** 32 bytes. */
  readonly publicKey: Uint8Array
  /** Authorises the key to act for `agent`; undefined if that is its own address. */
  readonly delegation: Delegation.Delegation | undefined
  /** Returns an Ed25519 signature of 64 bytes, or an effect that does within 10 seconds. */
  readonly sign: (bytes: Uint8Array) => Uint8Array | Effect.Effect<Uint8Array, SignerFailed>
  /** The same key for encryption; without it messages to the identity cannot be read. */
  readonly exchangeKey?: ExchangeKey | undefined
}

/**
 * What a hosted identity announces. See the methods of `Publisher` for the
 * fields and their limits. An identity has one endpoint, one profile, one offer
 * under each topic and one custom record of a type at a key.
 *
 * @category models
 * @since 0.1.0
 */
export type Content =
  | { readonly _tag: "Endpoint" } & Parameters<typeof Endpoint.make>[0] & Lifetime
  | { readonly _tag: "Profile" } & Parameters<typeof Profile.make>[0] & Lifetime
  | { readonly _tag: "Topic" } & Parameters<typeof Topic.make>[0] & Lifetime
  | { readonly _tag: "Custom" } & CustomBytes

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
 * A record of a hosted identity that is signed and stored, as one node leaves it
 * to another.
 *
 * @category models
 * @since 0.1.0
 */
export type Stored = HostedEntry

/**
 * A record as an identity announces it: a content, encoded.
 *
 * @category models
 * @since 0.1.0
 */
export interface EncodedContent {
  readonly key: NodeId.NodeId
  readonly type: number
  readonly payload: Uint8Array
  /** Seconds, if the content says how long it lives. */
  readonly ttl: number | undefined
}

/**
 * A record of a hosted identity.
 *
 * @category models
 * @since 0.1.0
 */
export interface HostedRecord {
  readonly key: NodeId.NodeId
  readonly type: number
  /** The record as last signed; undefined before that. */
  readonly record: Record.SignedRecord | undefined
  /** Number of nodes that hold it, and that should. */
  readonly copies: number
  readonly wanted: number
  /** The first 32 bits of the ids of the nodes that hold it. */
  readonly holders: ReadonlyArray<number>
  /** When it is renewed, or tried again, in Unix milliseconds. */
  readonly due: number
  /** Failures since the last success. */
  readonly failures: number
  /** Whether the last attempt failed. */
  readonly isFailing: boolean
  /** Why the last attempt failed; undefined if it did not, and for a fault of this library, which is logged. */
  readonly reason: RenewalError | undefined
}

/**
 * A hosted identity.
 *
 * @category models
 * @since 0.1.0
 */
export interface Hosted {
  readonly address: Address.Address
  readonly state: State
  /** Whether its delegation has ended, and its records are no longer renewed. */
  readonly hasEnded: boolean
  /** The delegation of its key; undefined for the address's own key. */
  readonly delegation: Delegation.Delegation | undefined
  readonly replicas: number
  /** Seconds that its records live, where their content does not say. */
  readonly ttl: number
  /** Whether its mailbox is read. */
  readonly readsMail: boolean
  readonly records: ReadonlyArray<HostedRecord>
}

/**
 * The states of an identity, in the order of a page: `Failing` if the last
 * attempt to renew one of its records failed, `Ended` if its delegation has.
 *
 * @category constants
 * @since 0.1.0
 */
export const states = ["Failing", "Ended", "Good"] as const

/**
 * @category models
 * @since 0.1.0
 */
export type State = typeof states[number]

/**
 * The position of an identity in a list of pages.
 *
 * @category models
 * @since 0.1.0
 */
export interface Place {
  readonly state: State
  /** Counts the identities in the order in which they were hosted. */
  readonly number: number
}

/**
 * Which identities a page has.
 *
 * @category models
 * @since 0.1.0
 */
export interface PageOptions {
  readonly limit: number
  /** The `next` of the page before. */
  readonly after?: Place | undefined
  /** Only those in this state; all by default. */
  readonly state?: State | undefined
}

/**
 * A page of hosted identities.
 *
 * @category models
 * @since 0.1.0
 */
export interface Page {
  readonly hosted: ReadonlyArray<Hosted>
  /** Undefined on the last page. */
  readonly next: Place | undefined
}

/**
 * Current state of hosting.
 *
 * @category models
 * @since 0.1.0
 */
export interface Status {
  readonly identities: number
  /** Of these, the identities in each state. */
  readonly states: { readonly [state in State]: number }
  readonly records: number
  /** Mailboxes that are read. */
  readonly mailboxes: number
  /** Records that are due and not renewed yet, and mailboxes that are due to be read. */
  readonly due: number
  /** Records that are not renewed although their copies expire within five minutes, or have expired. */
  readonly late: number
  /** Records whose last attempt failed, by the tag of the reason. */
  readonly failing: { readonly [reason in Reason]: number }
  /** Requests per second that hosting may send. */
  readonly datagramsPerSecond: number
  /** Whether the last lookup found any node. */
  readonly isReachable: boolean
  /** Counted from the start of the node. `datagrams` are those counted against the budget: a lookup counts as 24. */
  readonly datagrams: number
  readonly lookups: number
  readonly stores: number
  readonly signatures: number
  readonly renewals: number
  readonly failures: number
  readonly mailReadings: number
  readonly messages: number
}

// --- Errors ------------------------------------------------------------------------

/**
 * A signer gave no valid signature.
 *
 * @category errors
 * @since 0.1.0
 */
export class SignerFailed extends Data.TaggedError("SignerFailed")<{ readonly reason: string }> {
  override get message() {
    return `The signer failed: ${this.reason}`
  }
}

/**
 * The identity is hosted already.
 *
 * @category errors
 * @since 0.1.0
 */
export class AlreadyHosted extends Data.TaggedError("AlreadyHosted")<{ readonly address: Address.Address }> {
  override get message() {
    return `${Address.format(this.address)} is hosted already: remove it first to host it anew`
  }
}

/**
 * The identity is not hosted.
 *
 * @category errors
 * @since 0.1.0
 */
export class NotHosted extends Data.TaggedError("NotHosted")<{ readonly address: Address.Address }> {
  override get message() {
    return `${Address.format(this.address)} is not hosted here`
  }
}

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
    return `Two records of type ${this.type} at ${this.key} would replace each other. Announce one of them`
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
 * Why an identity cannot be hosted.
 *
 * @category errors
 * @since 0.1.0
 */
export type HostError =
  | AlreadyHosted
  | SameSlot
  | TooManyRecords
  | RecordTooLarge
  | Record.InvalidRecord
  | Identity.DelegationExpired

/**
 * Why a record was not renewed.
 *
 * @category errors
 * @since 0.1.0
 */
export type RenewalError = PublishError | SignerFailed | NotEnoughReplicas | KeyFull

/**
 * The tags of the reasons, for counters. `Internal` is a fault of this library,
 * which is logged.
 *
 * @category constants
 * @since 0.1.0
 */
export const reasons = [
  "SignerFailed",
  "NotEnoughReplicas",
  "KeyFull",
  "StaleRecord",
  "InvalidRecord",
  "RecordTooLarge",
  "RecordExpired",
  "InvalidDelegation",
  "DelegationExpired",
  "Internal"
] as const satisfies ReadonlyArray<RenewalError["_tag"] | "Internal">

/**
 * @category models
 * @since 0.1.0
 */
export type Reason = typeof reasons[number]

// --- Events ------------------------------------------------------------------------

/**
 * What happens to hosted identities. `at` and other times are Unix milliseconds.
 *
 * - `Renewed`: a record was signed, unless it was still good, and stored; `copies`
 *   nodes hold it.
 * - `RenewalFailed`: that failed, and is tried again at `retryAt`.
 * - `DelegationEnded`: nothing of the identity is renewed until `update` gives it
 *   another signer.
 * - `Started`, `Updated` and `Removed`: the identity is hosted from now on, in
 *   another way, or no longer.
 *
 * @category models
 * @since 0.1.0
 */
export type Event =
  & { readonly at: number; readonly address: Address.Address }
  & (
    | { readonly _tag: "Started" | "Updated" | "Removed" }
    | {
      readonly _tag: "Renewed"
      readonly key: NodeId.NodeId
      readonly type: number
      readonly seq: bigint
      readonly copies: number
      readonly wanted: number
      readonly due: number
    }
    | {
      readonly _tag: "RenewalFailed"
      readonly key: NodeId.NodeId
      readonly type: number
      readonly reason: RenewalError
      readonly failures: number
      readonly retryAt: number
    }
    | { readonly _tag: "DelegationEnded"; readonly reason: Identity.DelegationExpired }
  )

// --- The service -------------------------------------------------------------------

/**
 * Keeps the records of many identities alive.
 *
 * @example
 * ```ts
 * import { type Crypto, Hosting, Identity } from "effect-dht"
 * import * as Effect from "effect/Effect"
 * import * as Stream from "effect/Stream"
 *
 * const hostAll = (crypto: Crypto.Provider, seeds: ReadonlyArray<Uint8Array>) =>
 *   Effect.gen(function*() {
 *     const hosting = yield* Hosting.Hosting
 *     yield* hosting.events.pipe(
 *       Stream.filter((event) => event._tag === "RenewalFailed"),
 *       Stream.runForEach(({ address, reason }) => Effect.logWarning(`${address}: ${reason.message}`)),
 *       Effect.forkScoped
 *     )
 *     yield* Effect.forEach(seeds, (seed) =>
 *       hosting.host({
 *         signer: Identity.fromSeed(crypto, seed),
 *         announce: [{ _tag: "Endpoint", endpoints: ["https://agents.example"] }]
 *       }), { discard: true })
 *   })
 * ```
 *
 * @category services
 * @since 0.1.0
 */
export class Hosting extends Context.Service<Hosting, {
  /**
   * Hosts an identity: its records are stored as soon as the budget allows, and
   * renewed. Checks them first, and returns before they are stored. If it fails,
   * nothing is hosted. Of the records that another node has `left`, those that are
   * announced unchanged are not signed or stored again before they are due.
   */
  readonly host: (
    options: HostOptions & { readonly left?: ReadonlyArray<Stored> | undefined }
  ) => Effect.Effect<void, HostError>
  /**
   * Changes a hosted identity. What is not given stays. Records that `announce`
   * no longer contains are withdrawn; those that are the same stay as they are.
   */
  readonly update: (
    address: Address.Address,
    options: Partial<HostOptions>
  ) => Effect.Effect<void, NotHosted | Exclude<HostError, AlreadyHosted>>
  /**
   * Stops hosting an identity, and withdraws its records, unless `keepRecords`
   * leaves them to expire. Returns at once; holders are told in the background.
   */
  readonly remove: (
    address: Address.Address,
    options?: { readonly keepRecords?: boolean | undefined }
  ) => Effect.Effect<void, NotHosted>
  /** Returns a hosted identity. */
  readonly get: (address: Address.Address) => Effect.Effect<Hosted, NotHosted>
  /** All hosted identities, in the order in which they were hosted. */
  readonly list: Stream.Stream<Hosted>
  /** A page of the hosted identities, by their states, those of one state in the order in which they were hosted. */
  readonly page: (options: PageOptions) => Effect.Effect<Page>
  /** What happens from now on. A reader that falls behind by 4096 events misses the oldest. */
  readonly events: Stream.Stream<Event>
  /**
   * Every message to the identities whose mailboxes are read: first those that
   * are remembered and have not expired, at most 16384, of which 64 of one
   * identity, then each as it arrives. A reader that falls behind by 4096 misses
   * the oldest.
   */
  readonly messages: Stream.Stream<HostedMessage>
  /** Waits until every record that was hosted or changed so far has been tried: it is stored, or failed. */
  readonly settled: Effect.Effect<void>
  /** Current state and counters. */
  readonly status: Effect.Effect<Status>
}>()("effect-dht/Hosting") {}

/**
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /**
   * Requests that hosting sends per second, at most, besides retransmissions;
   * defaults to 500, which renews 100 000 records an hour twice.
   */
  readonly datagramsPerSecond?: number | undefined
  /** Signatures per second, at most; defaults to 200. */
  readonly signaturesPerSecond?: number | undefined
  /** Maximum number of hosted records; defaults to a million. */
  readonly maxRecords?: number | undefined
  /** How often a mailbox is read, which takes three requests; defaults to every 10 minutes. */
  readonly mailInterval?: Duration.Input | undefined
}

/**
 * Lifetime of records in seconds, where nothing else is said.
 *
 * @category constants
 * @since 0.1.0
 */
export const defaultTtl = 3600

/**
 * Number of nodes that hold a copy of a record, where nothing else is said.
 *
 * @category constants
 * @since 0.1.0
 */
export const defaultReplicas = Job.replicas

/** Maximum number of records of an identity. */
const maxRecordsOfIdentity = 256

/** Longest wait for a signature. */
const signatureTimeout = "10 seconds"

/** Nodes that are asked for the messages in a mailbox. */
const mailHolders = 3

/** Messages decrypted without a pause. */
const openedAtOnce = 4

/** Events that a slow reader may fall behind. */
const maxEvents = 4096

/** Attempts to sign a record whose slot other records keep taking. */
const maxSignedOver = 4

// --- Records -----------------------------------------------------------------------

/** A hosted identity and its records. */
interface Owner {
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

/** A mailbox to read, at the key of the identity's own records. */
class Mailbox extends SweepItem {
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

const stateOf = ({ failing, hasEnded }: Owner): State => hasEnded ? "Ended" : failing > 0 ? "Failing" : "Good"

/** A hosted record. Most of it is in `bytes`: with the fields of each record at hand, it would take five times the memory. */
class Entry extends SweepItem {
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
  failure: { readonly tag: Reason; readonly reason: RenewalError | undefined } | undefined
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

/** A record without its signature. */
interface Draft {
  readonly key: NodeId.NodeId
  readonly slot: string
  readonly record: Record.SignedRecord
  /** Whether the content says how long its record lives. */
  readonly hasOwnTtl: boolean
}

const noSignature = new Uint8Array(64)

/** Makes drafts of records in the place of a signer. */
const drafter = ({ publicKey }: Signer): SigningKey => ({ publicKey, sign: () => noSignature })

/** A draft with its signature. */
const filled = (draft: Record.SignedRecord, signature: Uint8Array): Record.SignedRecord => {
  const record = Record.detach(draft)
  record.signature.set(signature)
  return record
}

const slotOf = (key: NodeId.NodeId, record: Record.SignedRecord): string =>
  sha256Hex(new TextEncoder().encode(Job.slotAt(key, record))).slice(0, 32)

const tooLarge = (record: Record.SignedRecord, content: Content): RecordTooLarge | undefined => {
  const [size, limit] = [record.bytes.length, Record.maxResolvableSize]
  if (size <= limit) return undefined
  const excess = content._tag === "Endpoint" ? Endpoint.excess(Endpoint.make(content), size - limit) : undefined
  return new RecordTooLarge({ size, limit, excess })
}

/** Seconds that a record lives whose content does not say. */
const usualTtl = (type: number, ttl: number): number =>
  type === Record.RecordType.topic ? Math.min(ttl, Topic.maxTtl) : ttl

const typeOf = (content: Content): number => {
  switch (content._tag) {
    case "Endpoint":
      return Record.RecordType.endpoint
    case "Profile":
      return Record.RecordType.profile
    case "Topic":
      return Record.RecordType.topic
    case "Custom":
      return content.type
  }
}

/** Makes the draft of a content. */
const draftOf = (
  signer: Signer,
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
  const signed = signDraft(content, stamped)
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

const signDraft = (
  content: Content,
  stamped: Omit<Parameters<typeof Record.sign>[0], "type" | "payload">
): Result.Result<Record.SignedRecord, Record.InvalidRecord> => {
  switch (content._tag) {
    case "Endpoint":
      return Result.flatMap(Endpoint.parse(content), (payload) => Endpoint.sign({ ...stamped, payload }))
    case "Profile":
      return Profile.sign({ ...stamped, payload: Profile.make(content) })
    case "Topic":
      return Topic.sign({ ...stamped, payload: Topic.make(content) })
    case "Custom":
      return Record.sign({ ...stamped, type: content.type, payload: content.payload })
  }
}

const keyOf = (content: Content, record: Record.SignedRecord): NodeId.NodeId => {
  if (content._tag === "Topic") return NodeId.fromTopic(content.topic)
  const given = content._tag === "Custom" ? content.key : undefined
  return isGiven(given) ? given : Record.ownKey(record)
}

/** The drafts of an identity's records, each with a slot of its own. */
const draftAll = (
  { announce, signer, ttl = defaultTtl }: HostOptions,
  now: number
): Result.Result<ReadonlyArray<Draft>, Exclude<HostError, AlreadyHosted>> =>
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
): Result.Result<ReadonlyArray<EncodedContent>, Exclude<HostError, AlreadyHosted>> =>
  Result.map(draftAll(options, now), (drafts) =>
    drafts.map(({ hasOwnTtl, key, record }) => ({
      key,
      type: record.type,
      payload: record.payload,
      ttl: hasOwnTtl ? record.ttl : undefined
    })))

/**
 * Decodes what an identity announces.
 *
 * @category conversions
 * @since 0.1.0
 */
export const decodeContent = (
  { key, payload, ttl, type }: EncodedContent
): Result.Result<Content, Record.InvalidRecord> => {
  switch (type) {
    case Record.RecordType.endpoint:
      return Result.map(Endpoint.decode(payload), ({ endpoints, ...fields }) => ({
        _tag: "Endpoint",
        ...fields,
        endpoints: endpoints ?? [],
        ttl
      }))
    case Record.RecordType.profile:
      return Result.map(Profile.decode(payload), (fields) => ({ _tag: "Profile", ...fields, ttl }))
    case Record.RecordType.topic:
      return Result.map(Topic.decode(payload), ({ protocols, tags, ...fields }) => ({
        _tag: "Topic",
        ...fields,
        protocols: protocols ?? undefined,
        tags: tags ?? undefined,
        ttl
      }))
    default:
      return Result.succeed({ _tag: "Custom", type, payload, key, ttl })
  }
}

/** The draft of a hosted record's content for another signer, or another lifetime. */
const redraft = (
  signer: Signer,
  { hasOwnTtl, key, record: { payload, ttl, type }, slot }: Entry,
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

/** Whether two records differ at most in their seq, their timestamp and their signature. */
const isSameContent = (a: Record.SignedRecord, b: Record.SignedRecord): boolean =>
  a.type === b.type && a.ttl === b.ttl && Bytes.Equivalence(a.payload, b.payload) &&
  Bytes.Equivalence(a.publicKey, b.publicKey) &&
  (a.delegation === undefined ? b.delegation === undefined : b.delegation !== undefined &&
    Bytes.Equivalence(a.delegation, b.delegation))

/** What an earlier run left of a record. */
type Kept = Omit<HostedEntry, "key" | "record"> & { readonly bytes: Uint8Array }

/** The later of what this node and another one left of a record. */
const latest = (own: Kept | undefined, other: Kept & { readonly seq: bigint } | undefined): Kept | undefined => {
  if (own === undefined || other === undefined) return other ?? own
  const record = Result.getOrUndefined(Record.decode(own.bytes))
  return record !== undefined && record.seq > other.seq ? own : other
}

// --- The loop ----------------------------------------------------------------------

/** Outcome of a step; `Woken`: there may be more to do. */
type Outcome =
  | { readonly _tag: "Woken" }
  | {
    readonly _tag: "Found"
    readonly target: NodeId.NodeId
    readonly found: Parameters<Sweep<Entry | Mailbox>["found"]>[1]
  }
  | {
    readonly _tag: "Placed"
    readonly entry: Entry
    readonly sent: number
    /** Whether nodes that did not answer may take a copy later. */
    readonly isPartial: boolean
  }
  /** A newer record was found, which can be superseded. */
  | { readonly _tag: "Overtaken"; readonly entry: Entry; readonly sent: number }
  | {
    readonly _tag: "Read"
    readonly mailbox: Mailbox
    readonly sent: number
    /** Whether a node answered. */
    readonly isAnswered: boolean
    readonly messages: ReadonlyArray<HostedMessage>
  }
  /** No reason: a fault of this library, which is logged. */
  | { readonly _tag: "Failed"; readonly entry: Entry; readonly sent: number; readonly reason: RenewalError | undefined }

/** Outcome of a lookup that found no node. */
const nothingAt = (target: NodeId.NodeId): Outcome => ({
  _tag: "Found",
  target,
  found: { closest: [], isFull: false, isSurrounded: false, region: [], networkSize: 0 }
})

const make = Effect.fnUntraced(function*(options: Options) {
  const {
    datagramsPerSecond = 500,
    mailInterval = "10 minutes",
    maxRecords = 1_000_000,
    signaturesPerSecond = 200
  } = options
  if (!(datagramsPerSecond > 0 && signaturesPerSecond > 0)) {
    throw new RangeError(
      `${datagramsPerSecond} datagrams and ${signaturesPerSecond} signatures a second: give each more than 0`
    )
  }
  const store = yield* Store
  const routing = yield* Routing
  const persistence = yield* Persistence
  const query = yield* Query
  const crypto = yield* Crypto
  const clock = yield* Clock.Clock
  const copies = yield* Copies.make
  const inFlight = yield* InFlight.make<Outcome>()
  const events = yield* PubSub.sliding<Event>(maxEvents)
  const mail = yield* PubSub.sliding<HostedMessage>(maxEvents)
  const mailMillis = Duration.toMillis(mailInterval)
  const inbox = new Inbox()
  const sweep = new Sweep<Entry | Mailbox>({ datagramsPerSecond, signaturesPerSecond })
  const owners = new Map<Address.Address, Owner>()
  const isSettled = Latch.makeUnsafe(true)
  /** Those that do not count as good, by their state. */
  const others = { Failing: new Set<Owner>(), Ended: new Set<Owner>() }
  let hosted = 0
  let records = 0
  let mailboxes = 0
  const failing = Object.fromEntries(reasons.map((reason) => [reason, 0])) as { [reason in Reason]: number }
  const counts = { lookups: 0, stores: 0, signatures: 0, renewals: 0, failures: 0, mailReadings: 0, messages: 0 }

  const millis = () => clock.currentTimeMillisUnsafe()

  const tell = (event: Event): void => {
    PubSub.publishUnsafe(events, event)
  }

  const kept = new Map<string, Kept>()
  yield* Stream.runForEach(persistence.kept.hosted, ({ due, holders, key, record }) =>
    Effect.sync(() => {
      kept.set(slotOf(key, record), { bytes: record.bytes, due, holders })
    }))

  // --- Signing ---------------------------------------------------------------------

  const signatureOf = Effect.fnUntraced(function*(signer: Signer, bytes: Uint8Array) {
    const signature = yield* Effect.suspend(() => {
      const signature = signer.sign(bytes)
      return Effect.isEffect(signature) ? signature : Effect.succeed(signature)
    }).pipe(
      Effect.timeoutOrElse({
        duration: signatureTimeout,
        orElse: () => new SignerFailed({ reason: `no signature within ${signatureTimeout}` })
      }),
      Effect.catchDefect((defect) =>
        new SignerFailed({ reason: defect instanceof Error ? defect.message : String(defect) })
      )
    )
    counts.signatures++
    return signature.length === noSignature.length
      ? signature
      : yield* new SignerFailed({ reason: `a signature has 64 bytes, not ${signature.length}` })
  })

  /** Signs the content of an entry with a new seq and timestamp. */
  const sign = Effect.fnUntraced(function*(entry: Entry) {
    const { above, key, signer } = entry
    const { address, payload, seq: last, ttl, type } = entry.record
    const seconds = Math.floor(millis() / 1000)
    const delegation = yield* Effect.fromResult(Identity.mandate(signer, seconds))
    const nanos = yield* Clock.currentTimeNanos
    const draft = yield* Effect.fromResult(internal.seal({
      signer: drafter(signer),
      address,
      delegation,
      seq: Seq.over(nanos, last > above ? last : above),
      timestamp: BigInt(seconds),
      ttl,
      type,
      payload
    }))
    const record = filled(draft, yield* signatureOf(signer, Record.signedBytes(draft)))
    // Every node would refuse a record with a wrong signature.
    yield* Effect.fromResult(store.vet(key, record, Math.floor(millis() / 1000)))
    entry.holders = []
    entry.signed(record)
    return record
  })

  // --- Renewing --------------------------------------------------------------------

  /** Stores a record at those of the nodes that do not hold it, until `wanted` do. */
  const place = Effect.fnUntraced(function*(
    entry: Entry,
    record: Record.SignedRecord,
    nodes: ReadonlyArray<Contact>,
    wanted: number
  ): Effect.fn.Return<Outcome, RenewalError> {
    const { key } = entry
    const held = new Set(entry.holders)
    const left = (yield* copies.usable(nodes)).filter(({ id }) => !held.has(NodeId.prefix(id)))
    const holders = [...entry.holders]
    const full: Array<Contact> = []
    const count = { checking: 0 }
    let [sent, silent] = [0, 0]
    let newer: Record.SignedRecord | undefined
    const fillOne = Effect.gen(function*() {
      while (entry.removal === "None" && sent < left.length) {
        const peer = left[sent++]
        const outcome = yield* Effect.orElseSucceed(
          copies.store(peer, key, record, count),
          () => "Silent" as const
        )
        if (outcome === "Stored") return void holders.push(NodeId.prefix(peer.id))
        if (outcome === "Silent") silent++
        else if (outcome === "Full") full.push(peer)
        else if (typeof outcome !== "string" && (newer === undefined || Record.isNewer(outcome, newer))) newer = outcome
      }
    })
    const missing = Math.max(wanted - holders.length, 0)
    yield* Effect.all(Array.from({ length: missing }, () => fillOne), { concurrency: "unbounded", discard: true })
    counts.stores += sent
    entry.holders = holders
    if (newer !== undefined) {
      // A record under a later delegation is newer whatever our seq.
      if (newer.delegatedAt > record.delegatedAt || entry.signedOver >= maxSignedOver) {
        return { _tag: "Failed", entry, sent, reason: Record.stale(record, newer) }
      }
      entry.above = newer.seq
      return { _tag: "Overtaken", entry, sent }
    }
    if (holders.length > 0) return { _tag: "Placed", entry, sent, isPartial: silent > 0 && holders.length < wanted }
    const reason = full.length > 0
      ? new KeyFull({ key, record, wanted, confirmed: [], full })
      : new NotEnoughReplicas({ key, wanted, confirmed: [] })
    return { _tag: "Failed", entry, sent, reason }
  })

  const renew = (entry: Entry, nodes: ReadonlyArray<Contact>, wanted: number): Effect.Effect<Outcome> =>
    Effect.gen(function*() {
      yield* Effect.fromResult(Identity.mandate(entry.signer, Math.floor(millis() / 1000)))
      const record = entry.needsSignature(millis()) ? yield* sign(entry) : entry.record
      return yield* place(entry, record, nodes, wanted)
    }).pipe(
      Effect.catchCause((cause) => {
        const reason = Result.getOrUndefined(Cause.findError(cause))
        const failed: Outcome = { _tag: "Failed", entry, sent: 0, reason }
        return reason === undefined
          ? Effect.as(Effect.logError("A hosted record could not be renewed", cause), failed)
          : Effect.succeed(failed)
      })
    )

  // --- Mail ------------------------------------------------------------------------

  /** Decrypts the messages among the records of a mailbox that were not read before. */
  const open = Effect.fnUntraced(function*(
    { address, signer }: Owner,
    records: ReadonlyArray<Record.SignedRecord>
  ) {
    const messages: Array<HostedMessage> = []
    const fresh = inbox.unknown(records)
    const exchangeKey = fresh.length === 0 ? undefined : signer.exchangeKey
    if (exchangeKey === undefined) return messages
    for (const [i, record] of fresh.entries()) {
      if (i > 0 && i % openedAtOnce === 0) yield* Effect.yieldNow
      const message = Letters.received(record, { agent: address, exchangeKey }, crypto)
      if (message !== undefined) messages.push({ ...message, recipient: address })
    }
    return messages.sort(Letters.byAge)
  })

  const readMail = (mailbox: Mailbox, nodes: ReadonlyArray<Contact>): Effect.Effect<Outcome> =>
    Effect.gen(function*() {
      const { key, owner } = mailbox
      const holders = (yield* copies.usable(nodes)).slice(0, mailHolders)
      const find = { type: Record.RecordType.mailbox, known: inbox.recordsOf(owner.address, millis()) }
      const { completeness: { answered }, records, requests } = yield* query.readAt(key, find, holders)
      const messages = yield* open(owner, records)
      return { _tag: "Read", mailbox, sent: requests, isAnswered: answered > 0, messages } as const
    }).pipe(
      Effect.catchCause((cause) =>
        Effect.as(
          Effect.logError("The mailbox of a hosted identity could not be read", cause),
          { _tag: "Read", mailbox, sent: 0, isAnswered: false, messages: [] } as const
        )
      )
    )

  const closeMailbox = (owner: Owner): void => {
    if (owner.mailbox === undefined) return
    sweep.remove(owner.mailbox)
    owner.mailbox = undefined
    mailboxes--
  }

  /** Has the mailbox of an identity read, or no longer. */
  const openMailbox = (owner: Owner): void => {
    closeMailbox(owner)
    if (!owner.readsMail || owner.signer.exchangeKey === undefined) return
    owner.mailbox = new Mailbox(owner, mailMillis)
    mailboxes++
    // It never expires, so records go before it. Readings are spread over the interval.
    const now = millis()
    const due = now + Math.floor(owner.mailbox.position / 2 ** 32 * mailMillis)
    sweep.restore(owner.mailbox, { due, deadline: Infinity }, now)
  }

  // --- Looking up ------------------------------------------------------------------

  const lookUp = (target: NodeId.NodeId): Effect.Effect<Outcome> =>
    Effect.map(copies.neighbourhood(target), ({ closest, isSurrounded, region }): Outcome => ({
      _tag: "Found",
      target,
      found: {
        closest,
        isFull: closest.length >= Copies.candidates,
        isSurrounded,
        region,
        networkSize: routing.plausibleSizeUnsafe(millis())
      }
    })).pipe(
      // The records that wait for it must not wait for ever.
      Effect.catchCause((cause) => Effect.as(Effect.logError("A lookup for hosting failed", cause), nothingAt(target)))
    )

  // --- Withdrawing -----------------------------------------------------------------

  const withdraw = Effect.fnUntraced(function*(entry: Entry) {
    const { holders, key, record, signer, wanted } = entry
    const now = millis()
    if (entry.expires <= now) return sweep.sent(0, entry)
    const seconds = Math.floor(now / 1000)
    yield* Effect.fromResult(Identity.mandate(signer, seconds))
    const draft = yield* Effect.fromResult(Withdrawal.sign({ signer: drafter(signer), record, now: seconds }))
    const withdrawal = filled(draft, yield* signatureOf(signer, Record.signedBytes(draft)))
    let near = sweep.nodesFor(entry, now)
    if (near === undefined) {
      sweep.sent(lookupCost)
      counts.lookups++
      near = (yield* copies.neighbourhood(key)).closest
    }
    const held = new Set(holders)
    const nodes = (yield* copies.usable(near)).filter(({ id }, i) => i < wanted || held.has(NodeId.prefix(id)))
    sweep.sent(nodes.length, entry)
    counts.stores += nodes.length
    const outcomes = yield* Effect.forEach(
      nodes,
      (peer) => Effect.orElseSucceed(copies.store(peer, key, withdrawal, { checking: 0 }), () => "Silent" as const),
      { concurrency: "unbounded" }
    )
    const told = outcomes.filter((outcome) => outcome !== "Silent").length
    // The network may be out of reach, or the node not know it yet.
    if (told < Math.max(Math.min(wanted, near.length) / 2, 1)) sweep.notWithdrawn(entry, millis())
  }, (work, { key }) =>
    work.pipe(
      Effect.catchCause((cause) =>
        Cause.hasInterruptsOnly(cause)
          ? Effect.void
          : Effect.logWarning("A hosted record could not be withdrawn, and is left to expire", cause)
      ),
      Effect.annotateLogs({ module: "effect-dht/Hosting", key })
    ))

  const startWithdrawal = (entry: Entry): void => {
    if (entry.expires > millis() && Withdrawal.isPossible(entry.record)) sweep.withdraw(entry, millis())
  }

  // --- Sweeping --------------------------------------------------------------------

  const save = (entry: Entry, due: number): void => {
    const { holders, key, record, slot } = entry
    persistence.save({ _tag: "Hosted", key, record, slot, due, holders })
  }

  /** Files an identity by its state. */
  const classify = (owner: Owner): void => {
    const state = stateOf(owner)
    others.Failing.delete(owner)
    others.Ended.delete(owner)
    if (state !== "Good" && owners.get(owner.address) === owner) others[state].add(owner)
  }

  /** Notes the outcome of the last attempt to renew a record. */
  const judge = (entry: Entry, failure: Entry["failure"]): void => {
    const { failure: before, owner } = entry
    entry.failure = failure
    if (before !== undefined) failing[before.tag]--
    if (failure !== undefined) failing[failure.tag]++
    owner.failing += Number(failure !== undefined) - Number(before !== undefined)
    classify(owner)
  }

  /** Ends the renewals of an identity whose delegation has ended. */
  const endOwner = (owner: Owner, reason: Identity.DelegationExpired): void => {
    if (owner.hasEnded) return
    owner.hasEnded = true
    closeMailbox(owner)
    for (const entry of owner.records) {
      sweep.remove(entry)
      judge(entry, undefined)
    }
    classify(owner)
    tell({ _tag: "DelegationEnded", at: millis(), address: owner.address, reason })
  }

  const apply = (outcome: Outcome): void => {
    const now = millis()
    if (outcome._tag === "Woken") return
    if (outcome._tag === "Found") return sweep.found(outcome.target, outcome.found, now)
    if (outcome._tag === "Read") {
      const { isAnswered, mailbox, messages, sent } = outcome
      sweep.sent(sent, mailbox)
      if (isAnswered) sweep.renewed(mailbox, { expires: Infinity }, now)
      else sweep.failed(mailbox, {}, now)
      counts.mailReadings++
      if (owners.get(mailbox.owner.address) !== mailbox.owner) return
      for (const message of messages) {
        counts.messages++
        inbox.remember(message, now)
        PubSub.publishUnsafe(mail, message)
      }
      return
    }
    const { entry, sent } = outcome
    const { owner, type, key } = entry
    sweep.sent(sent, entry)
    if (entry.removal !== "None") {
      if (entry.removal === "Withdraw") startWithdrawal(entry)
      return
    }
    switch (outcome._tag) {
      case "Placed": {
        const { expires, signer: { delegation }, wanted } = entry
        const until = delegation === undefined || delegation.expiresAt === 0n
          ? undefined
          : Number(delegation.expiresAt) * 1000
        entry.signedOver = 0
        judge(entry, undefined)
        const due = outcome.isPartial
          ? sweep.failed(entry, { expires }, now)
          : sweep.renewed(entry, { expires, until }, now)
        counts.renewals++
        save(entry, due)
        const { seq } = entry.record
        const copies = entry.holders.length
        return tell({ _tag: "Renewed", at: now, address: owner.address, key, type, seq, copies, wanted, due })
      }
      case "Overtaken":
        entry.signedOver++
        entry.isOvertaken = true
        return sweep.again(entry, now)
      case "Failed": {
        const { reason } = outcome
        counts.failures++
        entry.signedOver = 0
        if (reason?._tag === "DelegationExpired") {
          sweep.ended(entry)
          return endOwner(owner, reason)
        }
        const retryAt = sweep.failed(entry, {}, now)
        judge(entry, { tag: reason?._tag ?? "Internal", reason })
        if (reason === undefined) return
        const { failures } = entry
        return tell({ _tag: "RenewalFailed", at: now, address: owner.address, key, type, reason, failures, retryAt })
      }
    }
  }

  yield* Effect.gen(function*() {
    while (true) {
      const now = millis()
      const step = sweep.poll(now)
      if (step._tag === "Lookup") {
        counts.lookups++
        yield* inFlight.start(lookUp(step.target))
        continue
      }
      if (step._tag === "Renew") {
        const { item, nodes, wanted } = step
        yield* inFlight.start(item instanceof Mailbox ? readMail(item, nodes) : renew(item, nodes, wanted))
        continue
      }
      if (step._tag === "Withdraw") {
        const { item } = step
        if (item instanceof Entry) yield* inFlight.start(Effect.as(withdraw(item), { _tag: "Woken" }))
        continue
      }
      if (sweep.dueCount === 0) isSettled.openUnsafe()
      // A shorter sleep than to the next whole millisecond could end before it.
      const pause = Math.min(step.until === undefined ? Infinity : Math.ceil(step.until - now), clockCheckMillis)
      for (const outcome of yield* inFlight.take(pause)) apply(outcome)
    }
  }).pipe(
    Effect.catchCause((cause) => Effect.andThen(Effect.logError("Hosting failed", cause), Effect.sleep("1 second"))),
    Effect.forever,
    Effect.annotateLogs({ module: "effect-dht/Hosting", fiber: "Sweep" }),
    Effect.forkScoped
  )

  const wake = (): void => {
    isSettled.closeUnsafe()
    inFlight.offerUnsafe({ _tag: "Woken" })
  }

  // --- Identities ------------------------------------------------------------------

  /** Stops renewing a record. */
  const drop = (entry: Entry, removal: Exclude<Entry["removal"], "None">): void => {
    const isBusy = entry.state === "Busy"
    entry.removal = removal
    sweep.remove(entry)
    judge(entry, undefined)
    records--
    // A renewal in progress would store the record again, so it withdraws when it ends.
    if (!isBusy && removal === "Withdraw") startWithdrawal(entry)
  }

  const forget = ({ key, slot }: Entry): void => persistence.save({ _tag: "Unhosted", key, slot })

  /** Starts to renew a record, from what an earlier one of its slot left. */
  const adopt = (owner: Owner, draft: Draft, before: Kept | undefined = kept.get(draft.slot)): Entry => {
    const entry = new Entry(owner, draft)
    kept.delete(draft.slot)
    const now = millis()
    records++
    const record = before === undefined ? undefined : Result.getOrUndefined(Record.decode(before.bytes))
    if (before !== undefined && record !== undefined) {
      if (isSameContent(record, draft.record) && record.expiresAt * 1000 > now) {
        entry.signed(record)
        entry.holders = before.holders
        sweep.restore(entry, { due: before.due, deadline: entry.expires }, now)
        return entry
      }
      entry.above = record.seq
    }
    sweep.add(entry, now)
    return entry
  }

  const hasRoom = (more: number): Result.Result<void, TooManyRecords> =>
    records + more > maxRecords ? Result.fail(new TooManyRecords({ limit: maxRecords, of: "Node" })) : Result.void

  const host: Hosting["Service"]["host"] = Effect.fnUntraced(function*(options) {
    const { left = [], mail: readsMail = false, replicas = defaultReplicas, signer, ttl = defaultTtl } = options
    assertReplicas(replicas)
    const address = signer.agent
    if (owners.has(address)) return yield* new AlreadyHosted({ address })
    const drafts = yield* Effect.fromResult(draftAll(options, millis()))
    yield* Effect.fromResult(hasRoom(drafts.length))
    const earlier = new Map(left.map(({ due, holders, key, record }) => [
      slotOf(key, record),
      { bytes: record.bytes, due, holders, seq: record.seq }
    ]))
    const owner: Owner = {
      address,
      number: hosted++,
      signer,
      replicas,
      ttl,
      hasEnded: false,
      failing: 0,
      readsMail,
      mailbox: undefined,
      records: []
    }
    owners.set(address, owner)
    openMailbox(owner)
    owner.records = drafts.map((draft) => adopt(owner, draft, latest(kept.get(draft.slot), earlier.get(draft.slot))))
    tell({ _tag: "Started", at: millis(), address })
    wake()
  })

  const find = (address: Address.Address): Effect.Effect<Owner, NotHosted> =>
    Effect.suspend(() => {
      const owner = owners.get(address)
      return owner === undefined ? new NotHosted({ address }) : Effect.succeed(owner)
    })

  const update: Hosting["Service"]["update"] = Effect.fnUntraced(function*(address, options) {
    const owner = yield* find(address)
    const { replicas = owner.replicas, signer = owner.signer, ttl = owner.ttl } = options
    assertReplicas(replicas)
    if (signer.agent !== address) {
      return yield* new Record.InvalidRecord({ reason: `the signer is for ${signer.agent}, not for ${address}` })
    }
    const drafts = yield* Effect.fromResult(
      options.announce === undefined
        ? Result.all(owner.records.map((entry) => redraft(signer, entry, ttl, millis())))
        : draftAll({ signer, announce: options.announce, ttl }, millis())
    )
    yield* Effect.fromResult(hasRoom(drafts.length - owner.records.length))
    const before = new Map(owner.records.map((entry) => [entry.slot, entry]))
    owner.signer = signer
    owner.replicas = replicas
    owner.ttl = ttl
    owner.hasEnded = false
    owner.records = drafts.map((draft) => {
      const old = before.get(draft.slot)
      before.delete(draft.slot)
      if (old === undefined) return adopt(owner, draft)
      const isSame = old.state !== "Idle" && old.wanted === replicas && isSameContent(old.record, draft.record)
      if (isSame) {
        old.signer = signer
        old.hasOwnTtl = draft.hasOwnTtl
        return old
      }
      // It takes the slot of the old one, which needs no withdrawal.
      drop(old, "Keep")
      const left = old.isSigned ? { bytes: old.bytes, due: millis(), holders: old.holders } : undefined
      return adopt(owner, draft, left)
    })
    for (const entry of before.values()) {
      drop(entry, "Withdraw")
      forget(entry)
    }
    owner.readsMail = options.mail ?? owner.readsMail
    openMailbox(owner)
    classify(owner)
    tell({ _tag: "Updated", at: millis(), address })
    wake()
  })

  const remove: Hosting["Service"]["remove"] = Effect.fnUntraced(function*(address, options) {
    const owner = yield* find(address)
    owners.delete(address)
    classify(owner)
    closeMailbox(owner)
    inbox.forget(address)
    for (const entry of owner.records) {
      drop(entry, options?.keepRecords === true ? "Keep" : "Withdraw")
      forget(entry)
    }
    tell({ _tag: "Removed", at: millis(), address })
    wake()
  })

  const shown = (owner: Owner): Hosted => ({
    address: owner.address,
    state: stateOf(owner),
    hasEnded: owner.hasEnded,
    delegation: owner.signer.delegation,
    replicas: owner.replicas,
    ttl: owner.ttl,
    readsMail: owner.mailbox !== undefined,
    records: owner.records.map((entry) => ({
      key: entry.key,
      type: entry.type,
      record: entry.isSigned ? entry.record : undefined,
      copies: entry.holders.length,
      wanted: entry.wanted,
      holders: entry.holders,
      due: sweep.dueOf(entry),
      failures: entry.failures,
      isFailing: entry.failure !== undefined,
      reason: entry.failure?.reason
    }))
  })

  /** The identities in a state, in the order in which they were hosted. */
  const inState = (state: State): Iterable<Owner> =>
    state === "Good" ? owners.values() : Array.from(others[state]).sort((a, b) => a.number - b.number)

  const page = ({ after, limit, state }: PageOptions): Page => {
    const first = after === undefined ? 0 : states.indexOf(after.state)
    const found: Array<Owner> = []
    for (const each of states.slice(first)) {
      if (state !== undefined && each !== state) continue
      for (const owner of inState(each)) {
        const isBefore = each === after?.state && owner.number <= after.number
        if (isBefore || stateOf(owner) !== each) continue
        // One more than there is room for: there is another page.
        if (found.push(owner) > limit) break
      }
      if (found.length > limit) break
    }
    const hosted = found.slice(0, limit)
    const last = hosted.at(-1)
    return {
      hosted: hosted.map(shown),
      next: last === undefined || found.length <= limit ? undefined : { state: stateOf(last), number: last.number }
    }
  }

  return Hosting.of({
    host,
    update,
    remove,
    get: (address) => Effect.map(find(address), shown),
    list: Stream.map(Stream.suspend(() => Stream.fromIterable(owners.values())), shown),
    page: (options) => Effect.sync(() => page(options)),
    events: Stream.fromPubSub(events),
    messages: Stream.unwrap(Effect.map(PubSub.subscribe(mail), (subscription) =>
      // Without a pause in between, so that no message is missed or told twice.
      Stream.concat(Stream.fromArray(inbox.all(millis())), Stream.fromSubscription(subscription)))),
    settled: isSettled.await,
    status: Effect.sync(() => ({
      identities: owners.size,
      states: {
        Failing: others.Failing.size,
        Ended: others.Ended.size,
        Good: owners.size - others.Failing.size - others.Ended.size
      },
      records,
      mailboxes,
      due: sweep.dueCount,
      late: sweep.lateCount(millis()),
      failing: { ...failing },
      datagramsPerSecond,
      isReachable: sweep.isReachable,
      datagrams: sweep.spent,
      ...counts
    }))
  })
})

const assertReplicas = (replicas: number): void => {
  if (!Number.isInteger(replicas) || replicas < 1 || replicas > Copies.candidates) {
    throw new RangeError(`${replicas} replicas: choose 1 to ${Copies.candidates}`)
  }
}

/**
 * Hosts identities on the node that provides the other services, until the
 * layer's scope closes; then their records are left to expire.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (
  options: Options = {}
): Layer.Layer<
  Hosting,
  never,
  | Crypto
  | DelegationChecks
  | NodeSettings
  | PeerHealth
  | Persistence
  | Query
  | Reachability
  | Routing
  | Rpc
  | Store
> => Layer.effect(Hosting, make(options))
