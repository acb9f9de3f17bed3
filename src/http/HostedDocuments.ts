/**
 * Builds the documents of hosted identities for {@link Hosted}. Their schemas
 * are in {@link HostedApi}.
 *
 * @module
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Address from "../Address.ts"
import * as HostedIdentities from "../HostedIdentities.ts"
import * as Hosting from "../Hosting.ts"
import * as NodeId from "../NodeId.ts"
import * as HostedApi from "./HostedApi.ts"
import type * as HostedFeed from "./HostedFeed.ts"
import * as Lists from "./Lists.ts"
import * as RecordDocuments from "./RecordDocuments.ts"

const stateNames = { Failing: "failing", Ended: "ended", Good: "good" } as const

/**
 * The state that a request names.
 *
 * @category conversions
 * @since 0.1.0
 */
export const stateOf = (name: typeof HostedApi.states[number]): Hosting.State =>
  Hosting.states[HostedApi.states.indexOf(name)]

/**
 * The position in a list that a request names.
 *
 * @category paging
 * @since 0.1.0
 */
export const placeOf = (after: string): Hosting.Place => {
  const [name, number] = after.split(".")
  return { state: stateOf(name as typeof HostedApi.states[number]), number: Number(number) }
}

/** An error as a document, without its facts. */
const failure = (error: { readonly _tag: string; readonly message: string }) => ({
  _tag: error._tag,
  reason: error.message
})

const internal = { _tag: "Internal", reason: "The node failed; its log has the reason" }

/** Why the last attempt to renew a record failed; null if it did not. */
const problemOf = ({ isFailing, reason }: Hosting.HostedRecord) =>
  reason !== undefined ? failure(reason) : isFailing ? internal : null

/** Records whose last attempt failed. */
const failingOf = ({ records, state }: Hosting.Hosted) =>
  state === "Ended" ? [] : records.filter((record) => record.isFailing)

/** Null for an empty list, in place of infinity. */
const leastOf = (values: ReadonlyArray<number>): number | null => values.length === 0 ? null : Math.min(...values)

/**
 * A hosted identity in a list.
 *
 * @category documents
 * @since 0.1.0
 */
export const row = (hosted: Hosting.Hosted): typeof HostedApi.HostedRow.Type => {
  const { address, records, state } = hosted
  const failing = failingOf(hosted)
  return {
    address: Address.format(address),
    state: stateNames[state],
    records: records.length,
    failing: failing.length,
    problem: failing.length === 0 ? null : problemOf(failing[0]),
    copies: leastOf(records.map(({ copies }) => copies)),
    due_ms: state === "Ended" ? null : leastOf(records.map(({ due }) => due))
  }
}

/**
 * `/v1/hosted/{address}`. `durable` is null if nothing was changed.
 *
 * @category documents
 * @since 0.1.0
 */
export const identity = Effect.fnUntraced(function*(
  hosted: Hosting.Hosted,
  durable: boolean | null
): Effect.fn.Return<typeof HostedApi.HostedIdentity.Type> {
  const { address, delegation, readsMail, records, replicas, state, ttl } = hosted
  return {
    address: Address.format(address),
    node_id_hex: NodeId.fromAddress(address),
    state: stateNames[state],
    durable,
    replicas,
    ttl,
    reads_mail: readsMail,
    delegation_expires_at: delegation === undefined ? null : String(delegation.expiresAt),
    records: yield* Lists.inSteps(records, (each) => ({
      key_node_id_hex: each.key,
      rec_type: each.type,
      content: each.record === undefined ? null : RecordDocuments.foundRecord(each.key, each.record),
      copies: each.copies,
      due_ms: each.due,
      failures: each.failures,
      problem: problemOf(each)
    }))
  }
})

/**
 * The hosted identities in aggregate; undefined for a node that hosts none.
 *
 * @category documents
 * @since 0.1.0
 */
export const status: Effect.Effect<typeof HostedApi.HostingStatus.Type | undefined> = Effect.gen(function*() {
  const hosting = yield* Effect.serviceOption(Hosting.Hosting)
  if (Option.isNone(hosting)) return undefined
  const refused = (yield* refusedOf).length
  return statusOf(yield* hosting.value.status, refused)
})

const statusOf = (status: Hosting.Status, refused: number): typeof HostedApi.HostingStatus.Type => {
  const { datagramsPerSecond, failing, isReachable, mailReadings, states, ...counts } = status
  return {
    ...counts,
    failing: states.Failing,
    ended: states.Ended,
    refused,
    failing_records: failing,
    reachable: isReachable,
    datagrams_per_s: datagramsPerSecond,
    mail_readings: mailReadings
  }
}

/** Identities of an earlier run that cannot be hosted; none if a program hosts its own. */
const refusedOf = Effect.flatMap(
  Effect.serviceOption(HostedIdentities.HostedIdentities),
  Option.match({
    onNone: () => Effect.succeed<ReadonlyArray<HostedIdentities.Refused>>([]),
    onSome: ({ refused }) => refused
  })
)

/**
 * `/v1/hosted`.
 *
 * @category documents
 * @since 0.1.0
 */
export const list = Effect.fnUntraced(function*(
  hosting: Hosting.Hosting["Service"],
  options: Hosting.PageOptions
): Effect.fn.Return<typeof HostedApi.HostedIdentities.Type> {
  const { hosted, next } = yield* hosting.page(options)
  const refused = yield* refusedOf
  return {
    status: statusOf(yield* hosting.status, refused.length),
    identities: yield* Lists.inSteps(hosted, row),
    refused: refused.slice(0, HostedApi.maxRefused).map(({ address, reason }) => ({
      address: Address.format(address),
      problem: failure(reason)
    })),
    next: next === undefined ? null : `${stateNames[next.state]}.${next.number}`
  }
})

/**
 * An event of `/v1/hosted/events`.
 *
 * @category documents
 * @since 0.1.0
 */
export const event = ({ cursor, event }: HostedFeed.Kept): typeof HostedApi.HostedEvent.Type => {
  const at_ms = event.at
  if (event._tag === "Status") {
    return { type: "status", at_ms, cursor, status: statusOf(event.status, event.refused) }
  }
  const address = Address.format(event.address)
  switch (event._tag) {
    case "Started":
      return { type: "started", at_ms, cursor, address }
    case "Updated":
      return { type: "updated", at_ms, cursor, address }
    case "Removed":
      return { type: "removed", at_ms, cursor, address }
    case "Renewed": {
      const { copies, due: due_ms, key: key_node_id_hex, seq, type: rec_type, wanted } = event
      const record = { address, key_node_id_hex, rec_type }
      return { type: "renewed", at_ms, cursor, ...record, seq: String(seq), copies, wanted, due_ms }
    }
    case "RenewalFailed": {
      const { failures, key: key_node_id_hex, reason, retryAt: retry_at_ms, type: rec_type } = event
      const record = { address, key_node_id_hex, rec_type }
      return { type: "renewal-failed", at_ms, cursor, ...record, problem: failure(reason), failures, retry_at_ms }
    }
    case "DelegationEnded":
      return { type: "delegation-ended", at_ms, cursor, address, problem: failure(event.reason) }
  }
}
