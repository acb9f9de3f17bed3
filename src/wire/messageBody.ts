/**
 * The wire format of message bodies: one CBOR map each, with small integer keys.
 *
 * @since 0.1.0
 */
import * as Address from "../Address.ts"
import type { Contact } from "../Contact.ts"
import * as Hex from "../internal/hex.ts"
import { memo } from "../internal/memo.ts"
import type { Body } from "../Message.ts"
import * as NodeId from "../NodeId.ts"
import * as Record from "../Record.ts"
import * as SocketAddress from "../SocketAddress.ts"
import * as Cbor from "./cbor.ts"
import { Type } from "./messageType.ts"

// --- Reading -----------------------------------------------------------------

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
export const read = (type: number, reader: Cbor.Reader): Body | string => {
  let bytes: Uint8Array | undefined
  let observed: Uint8Array | undefined
  let address: Address.Address | undefined
  let target: NodeId.NodeId | undefined
  let record: Record.SignedRecord | undefined
  let flag = false
  switch (type) {
    case Type.Ping:
      reader.fields((key) => {
        if (key !== 1) return false
        address = readAddress(reader)
        return true
      })
      if (address === undefined) return "PING without an address"
      return { _tag: "Ping", address }

    case Type.Pong:
      reader.fields((key) => {
        if (key === 1) address = readAddress(reader)
        else if (key === 2) observed = readObserved(reader)
        else return false
        return true
      })
      if (address === undefined || observed === undefined) return "PONG lacks a field"
      return { _tag: "Pong", address, observed }

    case Type.FindNode:
      reader.fields((key) => {
        if (key !== 1) return false
        target = readKey(reader)
        return true
      })
      if (target === undefined) return "FIND_NODE without a target"
      return { _tag: "FindNode", target }

    case Type.FindNodeResponse: {
      let nodes: ReadonlyArray<Contact> | null = null
      reader.fields((key) => {
        if (key === 1) nodes = readContacts(reader)
        else if (key === 2) observed = readObserved(reader)
        else return false
        return true
      })
      return { _tag: "FindNodeResponse", nodes, observed }
    }

    case Type.FindValue: {
      let recordType = 0
      let wanted: ReadonlyArray<string> | undefined
      reader.fields((key) => {
        if (key === 1) target = readKey(reader)
        else if (key === 2) recordType = reader.uint(0xff)
        else if (key === 3) flag = reader.boolean()
        else if (key === 4) wanted = readDigests(reader)
        else if (key === 5) address = readAddress(reader)
        else return false
        return true
      })
      if (target === undefined) return "FIND_VALUE without a target"
      const body: Body = { _tag: "FindValue", target, recordType, subscribe: flag }
      return wanted === undefined && address === undefined ? body : { ...body, wanted, publisher: address }
    }

    case Type.FindValueResponse: {
      let nodes: ReadonlyArray<Contact> | null = null
      let records: Array<Record.SignedRecord> | undefined
      let listed: ReadonlyArray<string> | undefined
      reader.fields((key) => {
        if (key === 1) nodes = readContacts(reader)
        else if (key === 2) record = reader.null() ? undefined : Record.read(reader)
        else if (key === 3) observed = readObserved(reader)
        else if (key === 4) records = readRecords(reader)
        else if (key === 5) listed = readDigests(reader)
        else return false
        return true
      })
      const body: Body = { _tag: "FindValueResponse", nodes, record, observed, records }
      return listed === undefined ? body : { ...body, listed }
    }

    case Type.Store:
      reader.fields((key) => {
        if (key === 1) record = Record.read(reader)
        else if (key === 2) target = readKey(reader)
        else return false
        return true
      })
      if (record === undefined) return "STORE without a record"
      return { _tag: "Store", record, key: target }

    case Type.StoreResponse: {
      let stored: boolean | undefined
      let reason = 0
      reader.fields((key) => {
        if (key === 1) stored = reader.boolean()
        else if (key === 2) flag = reader.boolean()
        else if (key === 3) reason = reader.uint(0xff)
        else return false
        return true
      })
      if (stored === undefined) return "STORE_RESP without an outcome"
      return { _tag: "StoreResponse", stored, alreadyHad: flag, reason }
    }

    case Type.NatProbe:
      reader.fields((key) => {
        if (key === 1) bytes = readToken(reader)
        else if (key === 2) observed = readObserved(reader)
        else return false
        return true
      })
      if (bytes === undefined || observed === undefined) return "NAT_PROBE_REQ lacks a field"
      return { _tag: "NatProbe", token: bytes, claimed: observed }

    case Type.NatProbeEcho:
      reader.fields((key) => {
        if (key !== 1) return false
        bytes = readToken(reader)
        return true
      })
      if (bytes === undefined) return "NAT_PROBE_ECHO without a token"
      return { _tag: "NatProbeEcho", token: bytes }

    case Type.Push:
      reader.fields((key) => {
        if (key === 1) target = readKey(reader)
        else if (key === 2) record = Record.read(reader)
        else return false
        return true
      })
      if (target === undefined || record === undefined) return "DHT_PUSH lacks a field"
      return { _tag: "Push", key: target, record }

    case Type.PushAck: {
      let messageId: NodeId.NodeId | undefined
      reader.fields((key) => {
        if (key === 1) target = readKey(reader)
        else if (key === 2) messageId = readKey(reader)
        else if (key === 3) flag = reader.boolean()
        else return false
        return true
      })
      if (target === undefined || messageId === undefined) return "DHT_PUSH_ACK lacks a field"
      return { _tag: "PushAck", key: target, messageId, subscribe: flag }
    }

    default:
      return unknownType
  }
}

const readAddress = (reader: Cbor.Reader): Address.Address => reader.hexString(Address.length) as Address.Address

const readKey = (reader: Cbor.Reader): NodeId.NodeId => reader.hexString(32) as NodeId.NodeId

const readToken = (reader: Cbor.Reader): Uint8Array => {
  const at = reader.fixedBytes(8)
  return reader.bytes.subarray(at, at + 8)
}

/**
 * Bytes of a record's digest.
 *
 * @internal
 */
export const digestLength = 6

/** Concatenated digests; a datagram has room for fewer than 200. */
const readDigests = (reader: Cbor.Reader): ReadonlyArray<string> => {
  const text = Hex.encode(reader.byteString())
  if (text.length % (2 * digestLength) !== 0) reader.fail(`digests that are not of ${digestLength} bytes each`)
  const digests: Array<string> = []
  for (let at = 0; at < text.length; at += 2 * digestLength) digests.push(text.slice(at, at + 2 * digestLength))
  return digests
}

const readObserved = (reader: Cbor.Reader): Uint8Array => {
  const bytes = reader.byteString()
  if (bytes.length !== 6 && bytes.length !== 18) reader.fail("an address of neither 6 nor 18 bytes")
  return bytes
}

const readContacts = (reader: Cbor.Reader): ReadonlyArray<Contact> | null => {
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
}

/** A node whose id is not derived from its address. It is skipped; the rest of the message is used. */
const mismatched = Symbol("mismatched")

/** Decodes a node of a response from hex; returns a fault as text. */
const contactOf = (item: string): Contact | typeof mismatched | string => {
  const reader = new Cbor.Reader(Hex.decode(item))
  let address: Address.Address | undefined
  let id: NodeId.NodeId | undefined
  let ip: Uint8Array | undefined
  let port: number | undefined
  reader.fields((key) => {
    if (key === 1) address = readAddress(reader)
    else if (key === 2) id = readKey(reader)
    else if (key === 3) ip = reader.byteString()
    else if (key === 4) port = reader.uint(0xffff)
    else return false
    return true
  })
  if (reader.fault !== undefined) return reader.fault
  if (address === undefined || id === undefined || ip === undefined || port === undefined) return "a node lacks a field"
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

const readRecords = (reader: Cbor.Reader): Array<Record.SignedRecord> | undefined => {
  if (reader.null()) return undefined
  const records: Array<Record.SignedRecord> = []
  for (let left = reader.arrayLength(); left > 0 && reader.fault === undefined; left--) {
    const record = Record.read(reader)
    if (record !== undefined) records.push(record)
  }
  return records
}

// --- Writing -----------------------------------------------------------------

/**
 * @internal
 */
export const write = (writer: Cbor.Writer, body: Body): void => {
  switch (body._tag) {
    case "Ping":
      writer.map(1)
      writer.uint(1)
      return writer.hexString(body.address)

    case "Pong":
      writer.map(2)
      writer.uint(1)
      writer.hexString(body.address)
      writer.uint(2)
      return writer.byteString(body.observed)

    case "FindNode":
      writer.map(1)
      writer.uint(1)
      return writer.hexString(body.target)

    case "FindNodeResponse":
      writer.map(body.observed === undefined ? 1 : 2)
      writeContacts(writer, body.nodes)
      if (body.observed !== undefined) {
        writer.uint(2)
        writer.byteString(body.observed)
      }
      return

    case "FindValue":
      writer.map(
        1 + (body.recordType === 0 ? 0 : 1) + (body.subscribe ? 1 : 0) + (body.wanted === undefined ? 0 : 1) +
          (body.publisher === undefined ? 0 : 1)
      )
      writer.uint(1)
      writer.hexString(body.target)
      if (body.recordType !== 0) {
        writer.uint(2)
        writer.uint(body.recordType, 0xff)
      }
      if (body.subscribe) {
        writer.uint(3)
        writer.boolean(true)
      }
      if (body.wanted !== undefined) {
        writer.uint(4)
        writer.hexString(body.wanted.join(""))
      }
      if (body.publisher !== undefined) {
        writer.uint(5)
        writer.hexString(body.publisher)
      }
      return

    case "FindValueResponse":
      writer.map(
        1 + (body.record === undefined ? 0 : 1) + (body.observed === undefined ? 0 : 1) +
          (body.records === undefined ? 0 : 1) + (body.listed === undefined ? 0 : 1)
      )
      writeContacts(writer, body.nodes)
      if (body.record !== undefined) {
        writer.uint(2)
        writer.raw(body.record.bytes)
      }
      if (body.observed !== undefined) {
        writer.uint(3)
        writer.byteString(body.observed)
      }
      if (body.records !== undefined) {
        writer.uint(4)
        writer.array(body.records.length)
        for (const record of body.records) writer.raw(record.bytes)
      }
      if (body.listed !== undefined) {
        writer.uint(5)
        writer.hexString(body.listed.join(""))
      }
      return

    case "Store":
      writer.map(body.key === undefined ? 1 : 2)
      writer.uint(1)
      writer.raw(body.record.bytes)
      if (body.key !== undefined) {
        writer.uint(2)
        writer.hexString(body.key)
      }
      return

    case "StoreResponse":
      writer.map(1 + (body.alreadyHad ? 1 : 0) + (body.reason === 0 ? 0 : 1))
      writer.uint(1)
      writer.boolean(body.stored)
      if (body.alreadyHad) {
        writer.uint(2)
        writer.boolean(true)
      }
      if (body.reason !== 0) {
        writer.uint(3)
        writer.uint(body.reason, 0xff)
      }
      return

    case "NatProbe":
      writer.map(2)
      writer.uint(1)
      writer.byteString(body.token)
      writer.uint(2)
      return writer.byteString(body.claimed)

    case "NatProbeEcho":
      writer.map(1)
      writer.uint(1)
      return writer.byteString(body.token)

    case "Push":
      writer.map(2)
      writer.uint(1)
      writer.hexString(body.key)
      writer.uint(2)
      return writer.raw(body.record.bytes)

    case "PushAck":
      writer.map(body.subscribe ? 3 : 2)
      writer.uint(1)
      writer.hexString(body.key)
      writer.uint(2)
      writer.hexString(body.messageId)
      if (body.subscribe) {
        writer.uint(3)
        writer.boolean(true)
      }
  }
}

/** Writes field 1 of a FIND response. */
const writeContacts = (writer: Cbor.Writer, nodes: ReadonlyArray<Contact> | null): void => {
  writer.uint(1)
  if (nodes === null) return writer.null()
  writer.array(nodes.length)
  for (const node of nodes) writer.raw(contactBytes(node))
}

/** Encoded contacts: one of the routing table is sent thousands of times. */
const encodedContacts = new WeakMap<Contact, Uint8Array>()

const contactBytes = (node: Contact): Uint8Array => {
  const known = encodedContacts.get(node)
  if (known !== undefined) return known
  const writer = new Cbor.Writer(96)
  writer.map(4)
  writer.uint(1)
  writer.hexString(node.address)
  writer.uint(2)
  writer.hexString(node.id)
  writer.uint(3)
  writer.byteString(SocketAddress.ipBytes(node.host) ?? loopback)
  writer.uint(4)
  writer.uint(node.port, 0xffff)
  const bytes = writer.result()
  encodedContacts.set(node, bytes)
  return bytes
}

const loopback = Uint8Array.of(127, 0, 0, 1)
