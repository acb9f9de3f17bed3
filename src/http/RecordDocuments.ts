/**
 * Builds the documents of nodes and records that others contain. Their schemas
 * are in {@link Parts}.
 *
 * @module
 * @since 0.1.0
 */
import * as Result from "effect/Result"
import * as Address from "../Address.ts"
import type { Contact } from "../Contact.ts"
import * as Endpoint from "../Endpoint.ts"
import * as Hex from "../internal/hex.ts"
import type * as NodeId from "../NodeId.ts"
import * as Profile from "../Profile.ts"
import * as Record from "../Record.ts"
import * as Topic from "../Topic.ts"
import * as Values from "../wire/value.ts"
import type * as Parts from "./Parts.ts"

/**
 * @category conversions
 * @since 0.1.0
 */
export const peer = ({ address, host, id, port }: Contact): typeof Parts.Peer.Type => ({
  node_id_hex: id,
  address: Address.format(address),
  ip: host,
  port
})

const typeNames = {
  [Record.RecordType.endpoint]: "endpoint",
  [Record.RecordType.profile]: "profile",
  [Record.RecordType.topic]: "topic",
  [Record.RecordType.mailbox]: "mailbox"
} as const

/**
 * Names a type of records.
 *
 * @category conversions
 * @since 0.1.0
 */
export const typeName = (type: number): typeof Parts.RecordRow.Type["type_name"] => {
  if (type in typeNames) return typeNames[type as keyof typeof typeNames]
  return Record.isReserved(type) ? "reserved" : "custom"
}

/**
 * The row of a record of which only these fields are at hand.
 *
 * @category conversions
 * @since 0.1.0
 */
export const row = (
  key: NodeId.NodeId,
  record: {
    readonly address: Address.Address
    readonly type: number
    readonly seq: bigint
    readonly timestamp: bigint
    readonly ttl: number
    readonly expiresAt: number
  },
  payloadLength: number
): typeof Parts.RecordRow.Type => ({
  key_node_id_hex: key,
  address: Address.format(record.address),
  rec_type: record.type,
  type_name: typeName(record.type),
  seq: String(record.seq),
  timestamp: String(record.timestamp),
  ttl_seconds: record.ttl,
  expires_at: String(record.expiresAt),
  payload_cbor_len: payloadLength
})

/**
 * @category conversions
 * @since 0.1.0
 */
export const recordRow = (key: NodeId.NodeId, record: Record.SignedRecord): typeof Parts.RecordRow.Type =>
  row(key, record, record.payload.length)

/**
 * A record with its contents, as far as they can be decoded.
 *
 * @category conversions
 * @since 0.1.0
 */
export const foundRecord = (key: NodeId.NodeId, record: Record.SignedRecord): typeof Parts.FoundRecord.Type => {
  const row = recordRow(key, record)
  const unreadable = { record: row, title: `undecodable ${row.type_name}` }
  switch (record.type) {
    case Record.RecordType.endpoint:
      return Result.match(Endpoint.decode(record.payload), {
        onFailure: () => unreadable,
        onSuccess: ({ endpoints }) => {
          const texts = endpoints ?? []
          return { record: row, title: texts.length === 0 ? "no endpoint" : texts.join(", "), endpoints: texts }
        }
      })
    case Record.RecordType.topic:
      return Result.match(Topic.decode(record.payload), {
        onFailure: () => unreadable,
        onSuccess: ({ brief, name, protocols, tags, topic }) => ({
          record: row,
          title: topic,
          topic,
          name,
          brief,
          protocols: protocols ?? [],
          tags: tags ?? []
        })
      })
    case Record.RecordType.profile:
      return Result.match(Profile.decode(record.payload), {
        onFailure: () => unreadable,
        onSuccess: ({ brief, name, protocols, skills }) => ({
          record: row,
          title: name === "" ? "no name" : name,
          name,
          brief,
          protocols,
          skills
        })
      })
    case Record.RecordType.mailbox:
      return { record: row, title: `message to ${key.slice(0, 8)}…` }
    default:
      return { record: row, title: `${row.type_name} type ${record.type}`, ...contents(record.payload) }
  }
}

/**
 * A payload of any form.
 *
 * @category conversions
 * @since 0.1.0
 */
export const contents = (payload: Uint8Array): Pick<typeof Parts.FoundRecord.Type, "value" | "payload_hex"> => {
  const value = Values.toJson(payload, Record.maxResolvableSize)
  return value === undefined ? { payload_hex: Hex.encode(payload) } : { value }
}

/**
 * When an announcement renews this record, in Unix seconds.
 *
 * @category conversions
 * @since 0.1.0
 */
export const renewsAt = (record: Record.SignedRecord): string => String(Math.floor(Record.renewsAt(record)))
