/**
 * Reading the records of a key from the nodes that hold them.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import * as Result from "effect/Result"
import type { Contact } from "../Contact.ts"
import { type Action, Collection } from "../core/collection.ts"
import { RecordMerge } from "../core/recordMerge.ts"
import { caps } from "../core/recordSet.ts"
import { DelegationChecks } from "../DelegationChecks.ts"
import * as InFlight from "../InFlight.ts"
import * as Message from "../Message.ts"
import type * as NodeId from "../NodeId.ts"
import * as PeerHealth from "../PeerHealth.ts"
import * as Record from "../Record.ts"
import * as Request from "../Request.ts"
import * as Rpc from "../Rpc.ts"
import { Store } from "../Store.ts"
import { Timers } from "../Timers.ts"
import { requestOptions } from "./lookups.ts"

/**
 * How complete the records of a key are.
 *
 * Holders running this library list all their records, so records that they
 * hold and did not deliver are counted. The reference's holders list no more
 * than fits one response.
 *
 * @category models
 * @since 0.1.0
 */
export interface Completeness {
  /** Nodes that answered, with records or without. */
  readonly answered: number
  /** Nodes that answered that they hold records. */
  readonly holders: number
  /** Different records read, older versions included. */
  readonly seen: number
  /** Different records that holders claim to hold. */
  readonly held: number
}

/**
 * What a lookup searches for at its target.
 *
 * @category models
 * @since 0.1.0
 */
export interface Find {
  /** 0 for any. */
  readonly type: number
  /** Ends the lookup once this many nodes have returned a record; otherwise all of the closest are asked. */
  readonly quorum?: number | undefined
  /** Subscribes at the holders to new records, for a minute. */
  readonly subscribe?: boolean | undefined
  /** Valid records that need not be read again. */
  readonly known?: ReadonlyArray<Record.SignedRecord> | undefined
}

/** Maximum number of holders per reading that are given a newer version than they returned. */
const maxHealed = 8

/** Records of a type that a holder keeps at one key. */
const roomFor = (type: number): number => type === 0 ? caps.topic : caps[Record.category(type)]

/**
 * What was read of a key so far.
 *
 * @internal
 */
export class Reading {
  readonly target: NodeId.NodeId
  readonly find: Find
  readonly found = new RecordMerge()
  readonly collection = new Collection()
  /** Versions returned by each holder, some of which may be outdated. */
  readonly returned: Array<{ readonly contact: Contact; readonly record: Record.SignedRecord }> = []
  /** Whether a holder has reached its limit for the key, so that other holders may have records that it lacks. */
  isOverfull = false
  /** Requests that were sent for it. */
  requests = 0
  private answered = 0
  private holders = 0

  constructor(target: NodeId.NodeId, find: Find) {
    this.target = target
    this.find = find
  }

  /** Takes a valid record. */
  take(record: Record.SignedRecord): void {
    this.found.put(record)
    this.collection.has(Message.digest(record))
  }

  /** Takes what a node returned: valid records, and digests of others that it holds. Returns whether there are any. */
  took(
    contact: Contact,
    records: ReadonlyArray<Record.SignedRecord>,
    listed: ReadonlyArray<Message.RecordDigest>
  ): boolean {
    for (const record of records) {
      this.take(record)
      if (Record.category(record.type) !== "mailbox") this.returned.push({ contact, record })
    }
    this.collection.lists(contact, listed)
    if (records.length + listed.length >= roomFor(this.find.type)) this.isOverfull = true
    this.answered++
    const holds = records.length > 0 || listed.length > 0
    if (holds) this.holders++
    return holds
  }

  get completeness(): Completeness {
    const { answered, collection: { held, seen }, holders } = this
    return { answered, holders, seen, held }
  }
}

/**
 * A response to a request for records, which can be checked without delay.
 *
 * @internal
 */
export interface Answer {
  readonly nodes: ReadonlyArray<Contact> | null
  readonly dual: number | undefined
  readonly records: ReadonlyArray<Record.SignedRecord>
  readonly listed: ReadonlyArray<Message.RecordDigest>
}

/** Outcome of a fetch; no records if it failed. */
interface Fetched {
  readonly holder: Contact
  readonly digests: ReadonlyArray<Message.RecordDigest>
  readonly records: ReadonlyArray<Record.SignedRecord> | undefined
}

/**
 * Returns the functions that fill a {@link Reading}.
 *
 * @internal
 */
export const make = Effect.gen(function*() {
  const rpc = yield* Rpc.Rpc
  const health = yield* PeerHealth.PeerHealth
  const store = yield* Store
  const checks = yield* DelegationChecks
  const clock = yield* Clock.Clock
  const timers = yield* Timers
  const healing = yield* FiberSet.make()

  /** The records of a response that may count: those of the type looked for whose delegations are checked, if that takes long. */
  const prepared = ({ find }: Reading, body: Parameters<typeof Request.recordsOf>[0], holder: Contact) =>
    checks.prepareResponse(
      Request.recordsOf(body).filter(({ type }) => find.type === 0 || type === find.type),
      holder.host
    )

  /** Every record from the network passes integrity and authority before it counts. */
  const validOf = ({ target }: Reading, records: ReadonlyArray<Record.SignedRecord>) => {
    const now = Math.floor(clock.currentTimeMillisUnsafe() / 1000)
    return records.filter((record) => Result.isSuccess(store.vet(target, record, now)))
  }

  /** Starts to read a key, with what is here already. */
  const begin = Effect.fnUntraced(function*(target: NodeId.NodeId, find: Find) {
    const reading = new Reading(target, find)
    for (const record of [...find.known ?? [], ...yield* store.getAll(target, find.type)]) reading.take(record)
    return reading
  })

  /** Asks one node for its records and for nodes closer to the key. */
  const ask = (reading: Reading, contact: Contact, onChallenge?: () => void) => {
    reading.requests++
    return Effect.flatMap(
      rpc.request(
        contact,
        {
          _tag: "FindValue",
          target: reading.target,
          recordType: reading.find.type,
          subscribe: reading.find.subscribe ?? false
        },
        requestOptions(health, onChallenge)
      ),
      ({ body }) =>
        Effect.map(
          prepared(reading, body, contact),
          (records): Answer => ({ nodes: body.nodes, dual: body.dual, records, listed: body.listed ?? [] })
        )
    )
  }

  /** Takes the valid records of a response. Returns whether there are any, or others that it lists. */
  const read = (reading: Reading, contact: Contact, { listed, records }: Answer): boolean =>
    reading.took(contact, validOf(reading, records), listed)

  /** Reads the records from further nodes, which the lookup did not ask. */
  const readAt = (reading: Reading, contacts: ReadonlyArray<Contact>) =>
    Effect.forEach(
      contacts,
      (contact) => Effect.ignore(Effect.map(ask(reading, contact), (answer) => read(reading, contact, answer))),
      { concurrency: "unbounded", discard: true }
    )

  const fetch = (reading: Reading, { digests, holder }: Extract<Action, { _tag: "Fetch" }>) => {
    reading.requests++
    return rpc.request(
      holder,
      {
        _tag: "FindValue",
        target: reading.target,
        recordType: reading.find.type,
        subscribe: false,
        wanted: digests
      },
      requestOptions(health)
    ).pipe(
      Effect.flatMap(({ body }) => prepared(reading, body, holder)),
      Effect.match({
        onFailure: (): Fetched => ({ holder, digests, records: undefined }),
        onSuccess: (records): Fetched => ({ holder, digests, records })
      })
    )
  }

  /** Fetches records that holders listed but could not fit into their responses. */
  const collect = Effect.fnUntraced(function*(reading: Reading) {
    const { collection } = reading
    const inFlight = yield* InFlight.make<Fetched>(timers)
    while (true) {
      const step = collection.poll()
      if (step._tag === "Done") return
      if (step._tag === "Fetch") {
        yield* inFlight.start(fetch(reading, step))
        continue
      }
      for (const { digests, holder, records } of yield* inFlight.take()) {
        if (records === undefined) {
          collection.failed(holder.id, digests)
          continue
        }
        const valid = validOf(reading, records)
        for (const record of valid) reading.take(record)
        collection.delivered(holder.id, digests, valid.map(Message.digest))
      }
    }
  }, Effect.scoped)

  /**
   * Stores the newest version at holders that returned an older one, which
   * repairs a rollback. Does not wait for their responses.
   */
  const heal = Effect.fnUntraced(function*({ found, returned, target }: Reading) {
    let healed = 0
    for (const { contact, record } of returned) {
      const newest = found.newest(record)
      if (newest === undefined || !Record.isNewer(newest, record)) continue
      const options = { ...requestOptions(health), attempts: 1, failFast: false }
      yield* FiberSet.run(
        healing,
        Effect.ignore(rpc.request(contact, { _tag: "Store", record: newest, key: target }, options))
      )
      if (++healed === maxHealed) return
    }
  })

  return { begin, ask, read, readAt, collect, heal }
})
