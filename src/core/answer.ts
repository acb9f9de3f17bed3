/**
 * Fits the response to a FIND request into one datagram and chooses what to
 * omit. Sizes are computed, so the response is encoded once.
 *
 * @since 0.1.0
 */
import * as Address from "../Address.ts"
import type { Contact } from "../Contact.ts"
import { type Body, digest, maxAnswerBody } from "../Message.ts"
import * as Record from "../Record.ts"
import * as Cbor from "../wire/cbor.ts"
import { digestLength } from "../wire/messageBody.ts"

/** Bytes of one node in a response: its map, its four keys and their values. */
const contactSize = (contact: Contact): number =>
  5 + (1 + Address.length) + (2 + 32) + (contact.host.includes(":") ? 17 : 5) + Cbor.uintSize(contact.port)

/**
 * Nodes in the order in which they get room.
 *
 * @internal
 */
export interface Named {
  readonly nodes: ReadonlyArray<Contact>
  /** How many of them, the first ones, are reachable over both families, for a requester that reads it. Default 0. */
  readonly dual?: number | undefined
}

/** The field that says how many of the nodes are reachable over both families; none if none is. */
const dualOf = (dual: number, nodes: ReadonlyArray<Contact> | null): { readonly dual?: number } =>
  dual === 0 || nodes === null ? {} : { dual: Math.min(dual, nodes.length) }

/** Bytes of that field. */
const dualSize = (dual: number): number => dual === 0 ? 0 : 2

/**
 * Bytes that every response has: map, field numbers, list head, observed address.
 * Fewer than 24 nodes or records fit, so the head of a list is one byte.
 */
const fixedSize = (observed: Uint8Array | undefined): number =>
  1 + 1 + 1 + (observed === undefined ? 0 : 2 + observed.length)

/**
 * A FIND_NODE response that fits into `size` bytes, by default those of the
 * largest response. The last nodes are omitted; the first always stays. `dual` is
 * that of {@link Named}.
 *
 * @internal
 */
export const findNodeResponse = (
  nodes: ReadonlyArray<Contact>,
  observed: Uint8Array | undefined,
  size = maxAnswerBody,
  dual = 0
): Extract<Body, { readonly _tag: "FindNodeResponse" }> => {
  const fitting = nearestFitting(nodes, size - fixedSize(observed) - dualSize(dual))
  return { _tag: "FindNodeResponse", nodes: fitting, observed, ...dualOf(dual, fitting) }
}

/** The nearest nodes that fit into `room` bytes, at least one; null if `nodes` is empty. */
const nearestFitting = (nodes: ReadonlyArray<Contact>, room: number): ReadonlyArray<Contact> | null => {
  let count = 0
  while (count < nodes.length && (room -= contactSize(nodes[count])) >= 0) count++
  return nodes.length === 0 ? null : nodes.slice(0, Math.max(count, 1))
}

/**
 * A response that fits.
 *
 * @internal
 */
export interface Fitted {
  readonly body: Extract<Body, { readonly _tag: "FindNodeResponse" | "FindValueResponse" }>
}

/**
 * A FIND_VALUE response, and the number of records served before the first that
 * was omitted.
 *
 * @internal
 */
export interface ValueAnswer extends Fitted {
  readonly body: Extract<Body, { readonly _tag: "FindValueResponse" }>
  readonly served: number
}

/** Nodes in a response that lists digests, besides those reachable over both families. */
const nodesBesideList = 4

/**
 * A FIND_VALUE response that fits. Records are in order of preference. One that
 * is too large for the remaining room does not exclude smaller ones after it.
 * Only a record too large for a response of its own is never sent.
 *
 * For a requester that reads digests, the nearest nodes stay and the records
 * without room are listed by digest. For others, the farthest nodes are omitted
 * first, then the copy for v0.1 readers (`record`), then records; the nearest
 * node stays longest.
 *
 * @internal
 */
export const findValueResponse = (
  options: Named & {
    readonly records: ReadonlyArray<Record.SignedRecord>
    readonly observed: Uint8Array | undefined
    /** Whether to copy the newest endpoint record to the field that v0.1 readers know. */
    readonly legacy: boolean
    /** Whether the requester reads lists of digests. */
    readonly lists: boolean
    /** Most bytes of the body. Default: those of the largest response. */
    readonly size?: number | undefined
  }
): ValueAnswer => {
  const { dual = 0, nodes, observed, size = maxAnswerBody } = options
  const room = size - fixedSize(observed) - dualSize(dual)
  // The field number and the head of the list take one byte each. A record that
  // is too large even alone must not hide the others.
  const carriable = options.records.filter((record) => record.bytes.length <= room - 2)
  if (carriable.length === 0) return answered(carriable, dual, { nodes: nearestFitting(nodes, room), observed })
  const few = nodes.slice(0, dual + nodesBesideList)
  if (options.lists && listSize(carriable) + contactsSize(few) > room - 1) {
    return answered(carriable, dual, listing(few, carriable, observed, room))
  }
  const roomForRecords = room - 1
  const first = contactsSize(nodes.slice(0, 1))
  const legacy = options.legacy && !options.lists ? newestEndpoint(carriable) : undefined
  const legacySize = legacy === undefined ? 0 : 1 + legacy.bytes.length
  // The most preferred record is always sent, whatever must be omitted for it.
  const spare = [first + legacySize, legacySize].find((size) => listSize([carriable[0]]) <= roomForRecords - size) ?? 0
  const records = fitting(carriable, roomForRecords - spare)
  const left = roomForRecords - listSize(records)
  const withLegacy = left - legacySize >= first
  const leftForNodes = withLegacy ? left - legacySize : left
  return answered(carriable, dual, {
    nodes: leftForNodes < first ? null : nearestFitting(nodes, leftForNodes),
    record: withLegacy ? legacy : undefined,
    observed,
    records
  })
}

/**
 * Whether an answer has all records and digests that another one has.
 *
 * @internal
 */
export const hasRecordsOf = ({ body }: ValueAnswer, other: ValueAnswer): boolean =>
  body.records?.length === other.body.records?.length &&
  body.listed?.length === other.body.listed?.length &&
  (body.record === undefined) === (other.body.record === undefined)

const answered = (
  offered: ReadonlyArray<Record.SignedRecord>,
  dual: number,
  parts: Partial<ValueAnswer["body"]> & Pick<ValueAnswer["body"], "nodes" | "observed">
): ValueAnswer => {
  const kept = new Set(parts.records)
  const missing = offered.findIndex((record) => !kept.has(record))
  return {
    body: { _tag: "FindValueResponse", record: undefined, records: undefined, ...parts, ...dualOf(dual, parts.nodes) },
    served: missing === -1 ? offered.length : missing
  }
}

/** The parts of a response with as many records as fit and the digests of the rest. */
const listing = (
  few: ReadonlyArray<Contact>,
  carriable: ReadonlyArray<Record.SignedRecord>,
  observed: Uint8Array | undefined,
  room: number
) => {
  // The field number and byte string head of the digests take 4 bytes, those of the list of records 2.
  const roomForAll = room - 4 - 2
  const nodes = nearestFitting(few, roomForAll - digestLength * carriable.length)
  let left = roomForAll - contactsSize(nodes ?? [])
  // Digests of all records fit, unless the key is full in every category.
  const named = carriable.slice(0, Math.floor(left / digestLength))
  left -= digestLength * named.length
  const kept = new Set<Record.SignedRecord>()
  for (const record of named) {
    const size = record.bytes.length - digestLength
    if (size > left) continue
    left -= size
    kept.add(record)
  }
  return {
    nodes,
    observed,
    records: kept.size === 0 ? undefined : named.filter((record) => kept.has(record)),
    listed: named.flatMap((record) => kept.has(record) ? [] : [digest(record)])
  }
}

const contactsSize = (nodes: ReadonlyArray<Contact>): number => {
  let size = 0
  for (const node of nodes) size += contactSize(node)
  return size
}

const listSize = (records: ReadonlyArray<Record.SignedRecord>): number => {
  let size = 1
  for (const record of records) size += record.bytes.length
  return size
}

/** The records that fit when earlier ones take precedence. */
const fitting = (
  records: ReadonlyArray<Record.SignedRecord>,
  room: number
): ReadonlyArray<Record.SignedRecord> => {
  let left = room - 1
  return records.filter(({ bytes }) => {
    if (bytes.length > left) return false
    left -= bytes.length
    return true
  })
}

const newestEndpoint = (records: ReadonlyArray<Record.SignedRecord>): Record.SignedRecord | undefined => {
  let newest: Record.SignedRecord | undefined
  for (const record of records) {
    if (record.type === Record.RecordType.endpoint && (newest === undefined || Record.isNewer(record, newest))) {
      newest = record
    }
  }
  return newest
}
