/**
 * Fitting an answer into its datagram: what leaves when not everything has
 * room. Sizes are computed, so that the answer is encoded once.
 *
 * @since 0.1.0
 */
import * as Address from "../Address.ts"
import type { Contact } from "../Contact.ts"
import { type Body, digest, maxAnswerBody } from "../Message.ts"
import * as Record from "../Record.ts"
import * as Cbor from "./cbor.ts"
import { digestLength } from "./messageBody.ts"

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
 * What a FIND_VALUE is answered with, and how many of the records were served
 * before the first that was not.
 *
 * @internal
 */
export interface ValueAnswer {
  readonly body: Extract<Body, { readonly _tag: "FindValueResponse" }>
  readonly served: number
}

/** Nodes that stay in an answer that lists what it has no room for. */
const nodesBesideList = 4

/**
 * A FIND_VALUE answer that fits. Records come in the order of preference; one
 * that is too large for what is left does not stop the smaller ones after it,
 * and only a record that could not be carried alone is not carried at all.
 *
 * For a requester that reads lists, the nearest nodes stay and the records that
 * have no room are listed by digest. For others nodes leave from the far end,
 * then the copy for old readers (`record`), then records; the nearest node is
 * the last to go.
 *
 * @internal
 */
export const findValueResponse = (options: {
  readonly nodes: ReadonlyArray<Contact>
  readonly records: ReadonlyArray<Record.SignedRecord>
  readonly observed: Uint8Array | undefined
  /** Whether the newest endpoint record goes into the field that old readers know. */
  readonly legacy: boolean
  /** Whether the requester reads lists of digests. */
  readonly lists: boolean
}): ValueAnswer => {
  const { nodes, observed } = options
  const room = maxAnswerBody - fixedSize(observed)
  // One byte is spent on the number of the field that holds the list, and one
  // on its head. What could not even be carried alone must not hide the rest.
  const carriable = options.records.filter((record) => record.bytes.length <= room - 2)
  if (carriable.length === 0) return answered(carriable, { nodes: nearestFitting(nodes, room), observed })
  const few = nodes.slice(0, nodesBesideList)
  if (options.lists && listSize(carriable) + contactsSize(few) > room - 1) {
    return answered(carriable, listing(few, carriable, observed, room))
  }
  const roomForRecords = room - 1
  const first = contactsSize(nodes.slice(0, 1))
  const legacy = options.legacy && !options.lists ? newestEndpoint(carriable) : undefined
  const legacySize = legacy === undefined ? 0 : 1 + legacy.bytes.length
  // The first in turn is carried, whatever has to leave for it.
  const spare = [first + legacySize, legacySize].find((size) => listSize([carriable[0]]) <= roomForRecords - size) ?? 0
  const records = fitting(carriable, roomForRecords - spare)
  const left = roomForRecords - listSize(records)
  const withLegacy = left - legacySize >= first
  const leftForNodes = withLegacy ? left - legacySize : left
  return answered(carriable, {
    nodes: leftForNodes < first ? null : nearestFitting(nodes, leftForNodes),
    record: withLegacy ? legacy : undefined,
    observed,
    records
  })
}

const answered = (
  offered: ReadonlyArray<Record.SignedRecord>,
  parts: Partial<ValueAnswer["body"]> & Pick<ValueAnswer["body"], "nodes" | "observed">
): ValueAnswer => {
  const kept = new Set(parts.records)
  const missing = offered.findIndex((record) => !kept.has(record))
  return {
    body: { _tag: "FindValueResponse", record: undefined, records: undefined, ...parts },
    served: missing === -1 ? offered.length : missing
  }
}

/** Some nodes, as many records as have room, and the digests of the rest. */
const listing = (
  few: ReadonlyArray<Contact>,
  carriable: ReadonlyArray<Record.SignedRecord>,
  observed: Uint8Array | undefined,
  room: number
) => {
  // The field of the digests with the head of a byte string, the field of the records with that of a list.
  const roomForAll = room - 4 - 2
  const nodes = nearestFitting(few, roomForAll - digestLength * carriable.length)
  let left = roomForAll - contactsSize(nodes ?? [])
  // All of them, unless a key is full in every category.
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

/** The records that fit if each comes before those after it. */
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
