/**
 * The wire format of message bodies: one CBOR map each, with small integer
 * keys. A new key is one line in the table of its body.
 *
 * @since 0.1.0
 */
import * as Address from "../Address.ts"
import type { Contact } from "../Contact.ts"
import * as Hex from "../internal/hex.ts"
import { memo } from "../internal/memo.ts"
import * as NodeId from "../NodeId.ts"
import * as SocketAddress from "../SocketAddress.ts"
import * as Cbor from "./cbor.ts"
import { Type } from "./messageType.ts"
import * as Record from "./record.ts"
import {
  boolean,
  bytes,
  type Codec,
  expected,
  extension,
  fixedBytes,
  hex,
  optional,
  required,
  Struct,
  uint16,
  uint8
} from "./struct.ts"

// --- Forms -------------------------------------------------------------------

const address = hex<Address.Address>(Address.length)

const nodeId = hex<NodeId.NodeId>(NodeId.length)

/** An IP and a port, 6 or 18 bytes. */
const socket: Codec<Uint8Array> = {
  ...bytes,
  read: (reader) => {
    const value = reader.byteString()
    if (value.length !== 6 && value.length !== 18) reader.fail("an address of neither 6 nor 18 bytes")
    return value
  }
}

/**
 * Bytes of a record's digest.
 *
 * @internal
 */
export const digestLength = 6

/** Concatenated digests; a datagram has room for fewer than 200. */
const digests: Codec<ReadonlyArray<string>> = {
  read: (reader) => {
    const text = Hex.encode(reader.byteString())
    if (text.length % (2 * digestLength) !== 0) reader.fail(`digests that are not of ${digestLength} bytes each`)
    const digests: Array<string> = []
    for (let at = 0; at < text.length; at += 2 * digestLength) digests.push(text.slice(at, at + 2 * digestLength))
    return digests
  },
  write: (writer, digests) => writer.hexString(digests.join(""))
}

const record: Codec<Record.SignedRecord> = {
  // Undefined only with a fault.
  read: (reader) => Record.read(reader) as Record.SignedRecord,
  write: (writer, { bytes }) => writer.raw(bytes)
}

/** What others write as null for an absent value. */
const nullable = <A>({ read, write }: Codec<A>): Codec<A | undefined, A> => ({
  read: (reader) => reader.null() ? undefined : read(reader),
  write
})

const records: Codec<ReadonlyArray<Record.SignedRecord>> = {
  read: (reader) => {
    const records: Array<Record.SignedRecord> = []
    for (let left = reader.arrayLength(); left > 0 && reader.fault === undefined; left--) {
      records.push(record.read(reader))
    }
    return records
  },
  write: (writer, records) => {
    writer.array(records.length)
    for (const item of records) record.write(writer, item)
  }
}

// --- Nodes -------------------------------------------------------------------

const node = new Struct({
  address: required(1, address),
  id: required(2, nodeId),
  ip: required(3, bytes),
  port: required(4, uint16)
}, { lacking: "a node lacks a field" })

const nodes: Codec<ReadonlyArray<Contact> | null> = {
  read: (reader) => {
    if (reader.null()) return null
    const contacts: Array<Contact> = []
    for (let left = reader.arrayLength(); left > 0 && reader.fault === undefined; left--) {
      const start = reader.at
      reader.skip()
      if (reader.fault !== undefined) break
      const item = Hex.slice(reader.bytes, start, reader.at)
      const contact = item.length <= maxRemembered ? rememberedContact(item) : contactOf(item)
      if (contact === mismatched) continue
      if (typeof contact === "string") reader.fail(contact)
      else contacts.push(contact)
    }
    return contacts
  },
  write: (writer, nodes) => {
    if (nodes === null) return writer.null()
    writer.array(nodes.length)
    for (const contact of nodes) writer.raw(contactBytes(contact))
  }
}

/** A node whose id is not derived from its address. It is skipped; the rest of the message is used. */
const mismatched = Symbol("mismatched")

/** Decodes a node of a response from hex; returns a fault as text. */
const contactOf = (item: string): Contact | typeof mismatched | string => {
  const reader = new Cbor.Reader(Hex.decode(item))
  const { address, id, ip, port } = node.read(reader)
  if (reader.fault !== undefined) return reader.fault
  const socket = SocketAddress.fromWire(ip, 0, ip.length, port)
  if (socket === undefined) return "an IP of neither 4 nor 16 bytes"
  // `fromAddress` returns the same string for the same address, and identical strings compare fastest.
  const derived = NodeId.fromAddress(address)
  return id === derived ? { id: derived, address, host: socket.host, port } : mismatched
}

/** The nodes around a target name the same nodes, so a lookup decodes each many times. */
const rememberedContact = memo(contactOf)

/** Hex digits of a node with an IPv6 address and no unknown fields. */
const maxRemembered = 2 * 81

/** Encoded contacts: one of the routing table is sent thousands of times. */
const encodedContacts = new WeakMap<Contact, Uint8Array>()

const contactBytes = (contact: Contact): Uint8Array => {
  const known = encodedContacts.get(contact)
  if (known !== undefined) return known
  const encoded = node.encode({ ...contact, ip: SocketAddress.ipBytes(contact.host) ?? loopback })
  encodedContacts.set(contact, encoded)
  return encoded
}

const loopback = Uint8Array.of(127, 0, 0, 1)

/** One node, whose id must be that of its address. */
const contact: Codec<Contact> = {
  read: (reader) => {
    const start = reader.at
    reader.skip()
    const read = reader.fault === undefined ? contactOf(Hex.slice(reader.bytes, start, reader.at)) : "no node"
    if (typeof read === "object") return read
    reader.fail(read === mismatched ? "a node whose id is not that of its address" : read)
    return undefined as never
  },
  write: (writer, contact) => writer.raw(contactBytes(contact))
}

// --- Bodies ------------------------------------------------------------------

/** The maps by tag. */
const bodies = {
  Ping: new Struct({
    address: required(1, address)
  }, { lacking: "PING without an address", constants: { _tag: "Ping" } }),

  Pong: new Struct({
    address: required(1, address),
    observed: required(2, socket)
  }, { lacking: "PONG lacks a field", constants: { _tag: "Pong" } }),

  FindNode: new Struct({
    target: required(1, nodeId),
    both: extension(2, boolean)
  }, { lacking: "FIND_NODE without a target", constants: { _tag: "FindNode" } }),

  FindNodeResponse: new Struct({
    nodes: expected(1, nodes, null),
    observed: optional(2, socket, undefined),
    dual: extension(3, uint8)
  }, { constants: { _tag: "FindNodeResponse" } }),

  FindValue: new Struct({
    target: required(1, nodeId),
    recordType: optional(2, uint8, 0),
    subscribe: optional(3, boolean, false),
    wanted: extension(4, digests),
    publisher: extension(5, address),
    both: extension(6, boolean)
  }, { lacking: "FIND_VALUE without a target", constants: { _tag: "FindValue" } }),

  FindValueResponse: new Struct({
    nodes: expected(1, nodes, null),
    record: optional(2, nullable(record), undefined),
    observed: optional(3, socket, undefined),
    records: optional(4, nullable(records), undefined),
    listed: extension(5, digests),
    dual: extension(6, uint8)
  }, { constants: { _tag: "FindValueResponse" } }),

  Store: new Struct({
    record: required(1, record),
    key: optional(2, nodeId, undefined)
  }, { lacking: "STORE without a record", constants: { _tag: "Store" } }),

  StoreResponse: new Struct({
    stored: required(1, boolean),
    alreadyHad: optional(2, boolean, false),
    reason: optional(3, uint8, 0)
  }, { lacking: "STORE_RESP without an outcome", constants: { _tag: "StoreResponse" } }),

  NatProbe: new Struct({
    token: required(1, fixedBytes(8)),
    claimed: required(2, socket),
    relay: extension(3, uint8)
  }, { lacking: "NAT_PROBE_REQ lacks a field", constants: { _tag: "NatProbe" } }),

  NatProbeEcho: new Struct({
    token: required(1, fixedBytes(8)),
    reached: extension(2, boolean),
    sender: extension(3, socket)
  }, { lacking: "NAT_PROBE_ECHO without a token", constants: { _tag: "NatProbeEcho" } }),

  Push: new Struct({
    key: required(1, nodeId),
    record: required(2, record)
  }, { lacking: "DHT_PUSH lacks a field", constants: { _tag: "Push" } }),

  PushAck: new Struct({
    key: required(1, nodeId),
    messageId: required(2, nodeId),
    subscribe: optional(3, boolean, false)
  }, { lacking: "DHT_PUSH_ACK lacks a field", constants: { _tag: "PushAck" } }),

  Attend: new Struct({
    mapping: required(1, uint8)
  }, { lacking: "ATTEND without a mapping", constants: { _tag: "Attend" } }),

  Meet: new Struct({
    callee: required(1, nodeId),
    mapping: required(2, uint8)
  }, { lacking: "MEET lacks a field", constants: { _tag: "Meet" } }),

  MeetResponse: new Struct({
    outcome: required(1, uint8),
    observed: required(2, socket),
    callee: extension(3, contact),
    mapping: extension(4, uint8)
  }, { lacking: "MEET_RESP lacks a field", constants: { _tag: "MeetResponse" } }),

  Invite: new Struct({
    caller: required(1, contact)
  }, { lacking: "INVITE without a node", constants: { _tag: "Invite" } })
} as const

type Bodies = typeof bodies

/** What is read from a body. */
type Read = ReturnType<Bodies[keyof Bodies]["read"]>

/** What a body is written from. */
type Written = {
  readonly [Tag in keyof Bodies]: { readonly _tag: Tag } & Parameters<Bodies[Tag]["write"]>[1]
}[keyof Bodies]

const byType = new Map<number, Bodies[keyof Bodies]>(
  (Object.keys(bodies) as Array<keyof Bodies>).map((tag) => [Type[tag], bodies[tag]])
)

/**
 * @internal
 */
export const isKnown = (type: number): boolean => byType.has(type)

/**
 * The fault of a message whose type this version does not know.
 *
 * @internal
 */
export const unknownType = "unknown message type"

/**
 * Reads the body of a message of the given type. A fault is returned as text or
 * left in the reader.
 *
 * @internal
 */
export const read = (type: number, reader: Cbor.Reader): Read | string => byType.get(type)?.read(reader) ?? unknownType

/**
 * @internal
 */
export const write = (writer: Cbor.Writer, body: Written): void =>
  // The tag selects the map that is written from such bodies.
  (bodies[body._tag] as Codec<Read, never>).write(writer, body as never)
