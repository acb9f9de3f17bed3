/**
 * Hosting of many identities on one node: their endpoints, profiles, offers and
 * custom records are signed, stored at the nodes closest to their keys and
 * renewed, for as long as they are hosted.
 *
 * A node publishes for the one identity that it has (`Publisher`, `Announce`),
 * with a fiber and a lookup for each record. Hosting is for thousands: it sweeps
 * the key space, so that one lookup serves all records of a region, and paces its
 * datagrams and signatures. Records are not checked between renewals, which come
 * twice in a lifetime; nodes that come back get those that were stored without
 * them.
 *
 * If the node's state is kept, a restart signs nothing that is still good, and
 * stores nothing that is still held, once the identities are hosted again. Their
 * keys are not kept.
 *
 * @module
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as PubSub from "effect/PubSub"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import * as Address from "./Address.ts"
import type { HostedMessage } from "./core/inbox.ts"
import { Sweep } from "./core/sweep.ts"
import type { Crypto } from "./Crypto.ts"
import type { DelegationChecks } from "./DelegationChecks.ts"
import {
  type ContentError,
  defaultTtl,
  type Draft,
  draftAll,
  type HostOptions,
  isSameContent,
  redraft,
  TooManyRecords
} from "./hosting/drafts.ts"
import { Entry, type Mailbox, type Owner } from "./hosting/entry.ts"
import type { Event } from "./hosting/event.ts"
import type { Reason } from "./hosting/failure.ts"
import { type Hosted, Identities, type Page, type PageOptions, type State } from "./hosting/identities.ts"
import * as Kept from "./hosting/kept.ts"
import * as Mail from "./hosting/mail.ts"
import * as Sweeper from "./hosting/sweeper.ts"
import * as Identity from "./Identity.ts"
import type { NodeSettings } from "./NodeSettings.ts"
import type { PeerHealth } from "./PeerHealth.ts"
import type { Persistence } from "./Persistence.ts"
import type { Query } from "./Query.ts"
import type { Reachability } from "./Reachability.ts"
import * as Record from "./Record.ts"
import * as Copies from "./replication/copies.ts"
import * as Job from "./replication/job.ts"
import type { Routing } from "./Routing.ts"
import type { Rpc } from "./Rpc.ts"
import type { Store } from "./Store.ts"
import type { Timers } from "./Timers.ts"

export type { HostedMessage } from "./core/inbox.ts"
export { type Content, decodeContent, type EncodedContent } from "./hosting/content.ts"
export {
  type ContentError,
  defaultTtl,
  encodeContents,
  type HostOptions,
  SameSlot,
  TooManyRecords
} from "./hosting/drafts.ts"
export type { Event } from "./hosting/event.ts"
export { type Reason, reasons, type RenewalError } from "./hosting/failure.ts"
export {
  type Hosted,
  type HostedRecord,
  type Page,
  type PageOptions,
  type Place,
  type State,
  states
} from "./hosting/identities.ts"
export type { Stored } from "./hosting/kept.ts"
export { type Signer, SignerFailed } from "./hosting/signer.ts"

// --- Models ------------------------------------------------------------------------

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
 * Why an identity cannot be hosted.
 *
 * @category errors
 * @since 0.1.0
 */
export type HostError = AlreadyHosted | ContentError

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
    options: HostOptions & { readonly left?: ReadonlyArray<Kept.Stored> | undefined }
  ) => Effect.Effect<void, HostError>
  /**
   * Hosts an identity with the records that the last run of the node left, if
   * their fingerprint is the given one: much faster than `host`, which encodes
   * what is announced to compare it. Otherwise, and if the identity is hosted
   * already or its delegation has ended, returns false and hosts nothing.
   */
  readonly resumeUnsafe: (
    options: Omit<HostOptions, "announce"> & { readonly fingerprint: string }
  ) => boolean
  /**
   * Changes a hosted identity. What is not given stays. Records that `announce`
   * no longer contains are withdrawn; those that are the same stay as they are.
   */
  readonly update: (
    address: Address.Address,
    options: Partial<HostOptions>
  ) => Effect.Effect<void, NotHosted | ContentError>
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
 * Number of nodes that hold a copy of a record, where nothing else is said.
 *
 * @category constants
 * @since 0.1.0
 */
export const defaultReplicas = Job.replicas

/** Events that a slow reader may fall behind. */
const maxEvents = 4096

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
  const clock = yield* Clock.Clock
  const events = yield* PubSub.sliding<Event>(maxEvents)
  const sweep = new Sweep<Entry | Mailbox>({ datagramsPerSecond, signaturesPerSecond })
  const identities = new Identities((entry) => sweep.dueOf(entry))
  const kept = yield* Kept.make
  const mail = yield* Mail.make(sweep, Duration.toMillis(mailInterval))
  const tell = (event: Event): void => {
    PubSub.publishUnsafe(events, event)
  }
  const { counts, settled, startWithdrawal, wake } = yield* Sweeper.make({ identities, kept, mail, sweep, tell })
  let records = 0

  const millis = () => clock.currentTimeMillisUnsafe()

  /** Stops renewing a record. */
  const drop = (entry: Entry, removal: Exclude<Entry["removal"], "None">): void => {
    const isBusy = entry.state === "Busy"
    entry.removal = removal
    sweep.remove(entry)
    identities.judge(entry, undefined)
    records--
    // A renewal in progress would store the record again, so it withdraws when it ends.
    if (!isBusy && removal === "Withdraw") startWithdrawal(entry)
  }

  /** Starts to renew a record, from what an earlier one of its slot left. */
  const adopt = (owner: Owner, draft: Draft, before: Kept.Stored | undefined): Entry => {
    const entry = new Entry(owner, draft)
    const now = millis()
    records++
    if (before !== undefined) {
      const { record } = before
      if (isSameContent(record, draft.record) && record.expiresAt * 1000 > now) {
        entry.signed(record)
        // A copy has no room to grow.
        entry.holders = before.holders.slice()
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
    if (identities.get(address) !== undefined) return yield* new AlreadyHosted({ address })
    const drafts = yield* Effect.fromResult(draftAll(options, millis()))
    yield* Effect.fromResult(hasRoom(drafts.length))
    const earlier = Kept.leftBy(left)
    const owner = identities.add({ address, signer, replicas, ttl, readsMail })
    mail.open(owner)
    owner.records = drafts.map((draft) =>
      adopt(owner, draft, Kept.latest(kept.take(address, draft.slot), earlier.get(draft.slot)))
    )
    tell({ _tag: "Started", at: millis(), address })
    wake()
  })

  const resumeUnsafe: Hosting["Service"]["resumeUnsafe"] = (options) => {
    const { fingerprint, mail: readsMail = false, replicas = defaultReplicas, signer, ttl = defaultTtl } = options
    assertReplicas(replicas)
    const address = signer.agent
    const mandate = Identity.mandate(signer, Math.floor(millis() / 1000))
    if (identities.get(address) !== undefined || Result.isFailure(mandate)) return false
    const left = kept.takeAll(address, fingerprint)
    if (left === undefined || Result.isFailure(hasRoom(left.length))) return false
    const owner = identities.add({ address, signer, replicas, ttl, readsMail })
    mail.open(owner)
    owner.records = left.map((before) => adopt(owner, { ...before, hasOwnTtl: false }, before))
    tell({ _tag: "Started", at: millis(), address })
    wake()
    return true
  }

  const find = (address: Address.Address): Effect.Effect<Owner, NotHosted> =>
    Effect.suspend(() => {
      const owner = identities.get(address)
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
    owner.records = drafts.map((draft) => {
      const old = before.get(draft.slot)
      before.delete(draft.slot)
      if (old === undefined) return adopt(owner, draft, kept.take(address, draft.slot))
      const isSame = old.state !== "Idle" && old.wanted === replicas && isSameContent(old.record, draft.record)
      if (isSame) {
        old.signer = signer
        old.hasOwnTtl = draft.hasOwnTtl
        return old
      }
      // It takes the slot of the old one, which needs no withdrawal.
      drop(old, "Keep")
      const { holders, isSigned, key, record } = old
      const left = isSigned ? { key, record, due: millis(), holders } : undefined
      return adopt(owner, draft, left)
    })
    for (const entry of before.values()) {
      drop(entry, "Withdraw")
      kept.forget(entry)
    }
    owner.readsMail = options.mail ?? owner.readsMail
    mail.open(owner)
    identities.end(owner, false)
    tell({ _tag: "Updated", at: millis(), address })
    wake()
  })

  const remove: Hosting["Service"]["remove"] = Effect.fnUntraced(function*(address, options) {
    const owner = yield* find(address)
    identities.remove(owner)
    mail.forget(owner)
    for (const entry of owner.records) {
      drop(entry, options?.keepRecords === true ? "Keep" : "Withdraw")
      kept.forget(entry)
    }
    tell({ _tag: "Removed", at: millis(), address })
    wake()
  })

  return Hosting.of({
    host,
    resumeUnsafe,
    update,
    remove,
    get: (address) => Effect.map(find(address), (owner) => identities.shown(owner)),
    list: Stream.map(Stream.suspend(() => Stream.fromIterable(identities.all())), (owner) => identities.shown(owner)),
    page: (options) => Effect.sync(() => identities.page(options)),
    events: Stream.fromPubSub(events),
    messages: mail.messages,
    settled,
    status: Effect.sync(() => ({
      identities: identities.size,
      states: identities.states,
      records,
      mailboxes: mail.mailboxes(),
      due: sweep.dueCount,
      late: sweep.lateCount(millis()),
      failing: identities.failing,
      datagramsPerSecond,
      isReachable: sweep.isReachable,
      datagrams: sweep.spent,
      ...counts(),
      ...mail.counts
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
  | Timers
> => Layer.effect(Hosting, make(options))
