/**
 * Fitting an answer into its datagram: what leaves when not everything has
 * room. Sizes are computed, so that the answer is encoded once.
 *
 * @since 0.1.0
 */
import * as Address from "../Address.ts"
import type { Contact } from "../Contact.ts"
import { type Body, maxAnswerBody } from "../Message.ts"
import * as Record from "../Record.ts"
import * as Cbor from "./cbor.ts"

/** Bytes of one node in an answer: its map, its four keys and their values. */
const contactSize = (contact: Contact): number =>
  5 + (1 + Address.length) + (2 + 32) + (contact.host.includes(":") ? 17 : 5) + Cbor.uintSize(contact.port)

/**
 * Bytes of the fields that are always there: map, field numbers, list head,
 * observed address. Fewer than 24 nodes or records fit, so a list's head is
 * one byte.
 */
const fixedSize = (observed: Uint8Array | undefined): number =>
  1 + 1 + 1 + (observed === undefined ? 0 : 2 + observed.length)

/**
 * A FIND_NODE answer that fits: nodes (nearest first) leave from the far end,
 * the nearest always stays.
 *
 * @internal
 */
export const findNodeResponse = (
  nodes: ReadonlyArray<Contact>,
  observed: Uint8Array | undefined
): Extract<Body, { readonly _tag: "FindNodeResponse" }> => ({
  _tag: "FindNodeResponse",
  nodes: nearestFitting(nodes, maxAnswerBody - fixedSize(observed)),
  observed
})

/** The nearest nodes that fit into `room` bytes, one at least; null where there is none. */
const nearestFitting = (nodes: ReadonlyArray<Contact>, room: number): ReadonlyArray<Contact> | null => {
  let count = 0
  while (count < nodes.length && (room -= contactSize(nodes[count])) >= 0) count++
  return nodes.length === 0 ? null : nodes.slice(0, Math.max(count, 1))
}

/**
 * A FIND_VALUE answer that fits. Nodes leave from the far end, then records,
 * the oldest first; then the copy for old readers (`record`), the last node,
 * and only a record that could not be carried alone is not carried at all.
 *
 * @internal
 */
export const findValueResponse = (options: {
  readonly nodes: ReadonlyArray<Contact>
  readonly records: ReadonlyArray<Record.SignedRecord>
  readonly observed: Uint8Array | undefined
  /** Whether the newest endpoint record goes into the field that old readers know. */
  readonly legacy: boolean
}): Extract<Body, { readonly _tag: "FindValueResponse" }> => {
  const { nodes, observed } = options
  const room = maxAnswerBody - fixedSize(observed)
  // One byte is spent on the number of the field that holds the list, and one
  // on its head. What could not even be carried alone must not hide the rest.
  const carriable = options.records.filter((record) => record.bytes.length <= room - 2)
  if (carriable.length === 0) {
    const nearest = nearestFitting(nodes, room)
    return { _tag: "FindValueResponse", nodes: nearest, record: undefined, observed, records: undefined }
  }
  const roomForRecords = room - 1
  const first = nodes.length === 0 ? 0 : contactSize(nodes[0])
  const legacy = options.legacy ? newestEndpoint(carriable) : undefined
  const legacySize = legacy === undefined ? 0 : 1 + legacy.bytes.length
  const records = newestFitting(carriable, roomForRecords - first - legacySize)
  const left = roomForRecords - listSize(records)
  const withLegacy = left - legacySize >= first
  const leftForNodes = withLegacy ? left - legacySize : left
  return {
    _tag: "FindValueResponse",
    nodes: leftForNodes < first ? null : nearestFitting(nodes, leftForNodes),
    record: withLegacy ? legacy : undefined,
    observed,
    records
  }
}

const listSize = (records: ReadonlyArray<Record.SignedRecord>): number => {
  let size = 1
  for (const record of records) size += record.bytes.length
  return size
}

/** The newest records that fit, one at least, in the order they came in. */
const newestFitting = (
  records: ReadonlyArray<Record.SignedRecord>,
  room: number
): ReadonlyArray<Record.SignedRecord> => {
  if (listSize(records) <= room) return records
  const byAge = records.toSorted((a, b) => a.timestamp < b.timestamp ? 1 : a.timestamp > b.timestamp ? -1 : 0)
  const kept = new Set<Record.SignedRecord>([byAge[0]])
  let left = room - 1 - byAge[0].bytes.length
  for (let i = 1; i < byAge.length && (left -= byAge[i].bytes.length) >= 0; i++) kept.add(byAge[i])
  return records.filter((record) => kept.has(record))
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
