/**
 * The messages of the protocol: signed CBOR, one per datagram.
 *
 * A datagram is read in steps, the cheap ones first, so that a receiver can
 * stop early: {@link header} reads the header, {@link frame} the framing,
 * {@link readBody} the body, and only then the costly signature is checked.
 * {@link decode} does all of it. Internal steps report faults as text, and the
 * public functions make errors of them, because an error object costs as much as
 * reading a message.
 *
 * @module
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import * as Result from "effect/Result"
import * as Address from "./Address.ts"
import type { Contact } from "./Contact.ts"
import type { Ed25519, SigningKey } from "./Crypto.ts"
import * as Hex from "./internal/hex.ts"
import * as Hmac from "./internal/hmac.ts"
import * as Network from "./Network.ts"
import type { NodeId } from "./NodeId.ts"
import type { SignedRecord } from "./Record.ts"
import * as Cbor from "./wire/cbor.ts"
import * as MessageBody from "./wire/messageBody.ts"
import { Type } from "./wire/messageType.ts"
import { hex, required, Struct, uint16, uint8 } from "./wire/struct.ts"

/**
 * The largest datagram, in bytes.
 *
 * @category constants
 * @since 0.1.0
 */
export const maxDatagram = 1200

/**
 * The largest body of a response, in bytes.
 *
 * @category constants
 * @since 0.1.0
 */
export const maxAnswerBody = 1050

export { Type }

/**
 * The most CBOR items that a step of reading may find in a datagram, those of
 * unknown fields included. The largest message of the protocol has about 180. The
 * bound keeps the time to read many tiny items far below that of a signature
 * check.
 */
const maxItems = 400

/**
 * 20 bytes as hex text: matches a response to its request.
 *
 * @category models
 * @since 0.1.0
 */
export type TransactionId = string

/**
 * A short name for a record: the first 6 bytes of its signature, as 12 hex
 * digits. They belong to a curve point that only the signer can choose, so a
 * stranger cannot make a record with the digest of another.
 *
 * @category models
 * @since 0.1.0
 */
export type RecordDigest = string

/**
 * Returns the digest of a record.
 *
 * @category accessors
 * @since 0.1.0
 */
export const digest = ({ signature }: SignedRecord): RecordDigest => Hex.slice(signature, 0, MessageBody.digestLength)

/**
 * Returns a function that tells which records have one of the digests. It
 * compares numbers, because a holder tests each of its records for each request.
 *
 * @internal
 */
export const hasDigestIn = (digests: ReadonlyArray<RecordDigest>): (record: SignedRecord) => boolean => {
  const numbers = new Set(digests.map((digest) => Number.parseInt(digest, 16)))
  return ({ signature: s }) =>
    numbers.has((s[0] << 16 | s[1] << 8 | s[2]) * 0x1000000 + (s[3] << 16 | s[4] << 8 | s[5]))
}

/**
 * Why a STORE was refused; 0 if no reason was given.
 *
 * @category models
 * @since 0.1.0
 */
export type StoreReason = number

/**
 * The defined reasons: the receiver's policy is against the record, the record
 * is invalid, or there is no room for it (sent to peers with the `paging`
 * feature; others get the reason policy).
 *
 * @category constants
 * @since 0.1.0
 */
export const storeReason = { policy: 1, invalid: 2, full: 3 } as const

/**
 * What the receiver of a NAT probe is to do instead of sending the echo itself:
 * pass the probe on, send the echoes for one that was passed on, or ping the
 * claimed address of a third peer and say whether it answers. Only peers with the
 * `dialBack` feature get one.
 *
 * @category constants
 * @since 0.1.0
 */
export const relay = { wanted: 1, passedOn: 2, ping: 3 } as const

/**
 * The outcomes of a request to meet another node: it is told of the requester, it
 * does not attend here, both routers use a different port for each peer, or there
 * were too many such requests.
 *
 * @category constants
 * @since 0.1.0
 */
export const meeting = { introduced: 0, unknown: 1, bothSymmetric: 2, busy: 3 } as const

/**
 * The content of a message. An absent list of nodes is `null` on the wire and
 * here. An observed or claimed address is 6 bytes (IPv4) or 18 (IPv6), port
 * last.
 *
 * @category models
 * @since 0.1.0
 */
export type Body =
  | { readonly _tag: "Ping"; readonly address: Address.Address }
  | { readonly _tag: "Pong"; readonly address: Address.Address; readonly observed: Uint8Array }
  | {
    readonly _tag: "FindNode"
    readonly target: NodeId
    /** Whether the sender sends over IPv4 and over IPv6; for peers with the `families` feature. */
    readonly both?: boolean | undefined
  }
  | {
    readonly _tag: "FindNodeResponse"
    readonly nodes: ReadonlyArray<Contact> | null
    readonly observed: Uint8Array | undefined
    /** How many of the nodes, the first ones, are reachable over both families; for peers with the `families` feature. */
    readonly dual?: number | undefined
  }
  | {
    readonly _tag: "FindValue"
    readonly target: NodeId
    readonly recordType: number
    readonly subscribe: boolean
    /** Digests of the only records wanted; for peers with the `paging` feature. */
    readonly wanted?: ReadonlyArray<RecordDigest> | undefined
    /** The only publisher whose records are wanted; for peers with the `paging` feature. */
    readonly publisher?: Address.Address | undefined
    /** As in a FIND_NODE. */
    readonly both?: boolean | undefined
  }
  | {
    readonly _tag: "FindValueResponse"
    readonly nodes: ReadonlyArray<Contact> | null
    /** The newest endpoint record, for v0.1 readers. */
    readonly record: SignedRecord | undefined
    readonly observed: Uint8Array | undefined
    readonly records: ReadonlyArray<SignedRecord> | undefined
    /** Digests of held records that did not fit into the response; sent to peers with the `paging` feature. */
    readonly listed?: ReadonlyArray<RecordDigest> | undefined
    /** As in the response to a FIND_NODE. */
    readonly dual?: number | undefined
  }
  | { readonly _tag: "Store"; readonly record: SignedRecord; readonly key: NodeId | undefined }
  | {
    readonly _tag: "StoreResponse"
    readonly stored: boolean
    readonly alreadyHad: boolean
    readonly reason: StoreReason
  }
  | {
    readonly _tag: "NatProbe"
    readonly token: Uint8Array
    readonly claimed: Uint8Array
    /** See {@link relay}; without it, the receiver itself sends the echo. */
    readonly relay?: number | undefined
  }
  | {
    readonly _tag: "NatProbeEcho"
    readonly token: Uint8Array
    /**
     * Whether the claimed address answered, in response to {@link relay} `ping`,
     * absent if the sender is no stranger there; in response to `wanted`, false if no
     * peer sent the echo.
     */
    readonly reached?: boolean | undefined
    /** In response to `wanted`, the peer that sent the echo, 6 or 18 bytes. */
    readonly sender?: Uint8Array | undefined
  }
  | { readonly _tag: "Push"; readonly key: NodeId; readonly record: SignedRecord }
  | { readonly _tag: "PushAck"; readonly key: NodeId; readonly messageId: NodeId; readonly subscribe: boolean }
  /**
   * The sender wants to be told of nodes that want to meet it. `mapping` is that of
   * its router: 0 unknown, 1 endpoint-independent, 2 endpoint-dependent.
   */
  | { readonly _tag: "Attend"; readonly mapping: number }
  | { readonly _tag: "Meet"; readonly callee: NodeId; readonly mapping: number }
  | {
    readonly _tag: "MeetResponse"
    /** See {@link meeting}. */
    readonly outcome: number
    readonly observed: Uint8Array
    /** The other node, where the sender sees it, and the mapping of its router. */
    readonly callee?: Contact | undefined
    readonly mapping?: number | undefined
  }
  /** This node wants to meet the receiver, and is where the sender sees it. */
  | { readonly _tag: "Invite"; readonly caller: Contact }

/**
 * A decoded message, with its sender's 32-byte Ed25519 key and the address
 * derived from it.
 *
 * @category models
 * @since 0.1.0
 */
export interface Message {
  readonly version: number
  readonly features: number
  readonly transactionId: TransactionId
  readonly body: Body
  readonly publicKey: Uint8Array
  readonly sender: Address.Address
}

/**
 * A datagram is not a valid message of the protocol, or a message cannot be
 * built from the given values.
 *
 * @category errors
 * @since 0.1.0
 */
export class InvalidMessage extends Data.TaggedError("InvalidMessage")<{ readonly reason: string }> {
  override get message() {
    return `Invalid message: ${this.reason}`
  }
}

/**
 * The message has a type (8 bits) that this version does not know.
 *
 * @category errors
 * @since 0.1.0
 */
export class UnknownMessageType extends Data.TaggedError("UnknownMessageType")<{ readonly type: number }> {
  override get message() {
    return `Unknown message type 0x${this.type.toString(16).padStart(2, "0")}`
  }
}

/**
 * The header of a datagram. Nothing after it is read yet.
 *
 * @category models
 * @since 0.1.0
 */
export interface Header {
  readonly version: number
  readonly features: number
  /** Any 8-bit number; {@link readBody} reports an unknown one. */
  readonly type: number
  readonly transactionId: TransactionId
  readonly headerStart: number
  readonly headerEnd: number
}

interface Framing extends Header {
  readonly bytes: Uint8Array
  readonly bodyStart: number
  readonly bodyEnd: number
}

/**
 * A signed datagram with sound framing and header, whose body and signature are
 * not checked yet.
 *
 * @category models
 * @since 0.1.0
 */
export interface SignedFrame extends Framing {
  readonly _tag: "Signed"
  readonly publicKey: Uint8Array
  readonly signature: Uint8Array
}

/**
 * A datagram of a session with sound framing and header, whose body and MAC are
 * not checked yet.
 *
 * @category models
 * @since 0.1.0
 */
export interface SessionFrame extends Framing {
  readonly _tag: "Session"
  /** The first 8 bytes of the sender's node id, as hex. */
  readonly sender: string
}

/**
 * A datagram in one of its two forms.
 *
 * @category models
 * @since 0.1.0
 */
export type Frame = SignedFrame | SessionFrame

/**
 * Whether a message of this type is a response.
 *
 * @category guards
 * @since 0.1.0
 */
export const isResponse = (type: number): boolean =>
  type === Type.Pong || type === Type.FindNodeResponse || type === Type.FindValueResponse ||
  type === Type.StoreResponse || type === Type.NatProbeEcho || type === Type.PushAck || type === Type.MeetResponse

/**
 * Whether this version knows messages of this type.
 *
 * @category guards
 * @since 0.1.0
 */
export const isKnown: (type: number) => boolean = MessageBody.isKnown

// --- Reading -----------------------------------------------------------------

const headerFields = new Struct({
  version: required(1, uint8),
  features: required(2, uint16),
  type: required(3, uint8),
  transactionId: required(4, hex<TransactionId>(20))
}, { lacking: "the header lacks a field" })

/**
 * Reads the header of a datagram. Returns a text if it is malformed. What comes
 * after it may still be anything.
 *
 * @category decoding
 * @since 0.1.0
 */
export const header = (bytes: Uint8Array): Header | string => {
  const reader = new Cbor.Reader(bytes, 0, bytes.length, maxItems)
  if (reader.mapLength() !== 4) return reader.fault ?? "expected a map of 4"
  outerKey(reader, 1)
  const headerStart = reader.at
  const { features, transactionId, type, version } = headerFields.read(reader)
  return reader.fault ?? { version, features, type, transactionId, headerStart, headerEnd: reader.at }
}

/**
 * Reads the framing of a datagram around its header, which `known` spares from
 * being read again. Returns a text if either is malformed.
 *
 * @category decoding
 * @since 0.1.0
 */
export const frame = (bytes: Uint8Array, known: Header | string = header(bytes)): Frame | string => {
  if (typeof known === "string") return known
  const { features, headerEnd, headerStart, transactionId, type, version } = known
  const reader = new Cbor.Reader(bytes, headerEnd, bytes.length, maxItems)
  outerKey(reader, 2)
  const bodyStart = reader.at
  reader.skip()
  const bodyEnd = reader.at
  outerKey(reader, 3)
  const sender = reader.byteString()
  outerKey(reader, 4)
  const proof = reader.byteString()
  const fault = reader.finish()
  if (fault !== undefined) return fault
  const framing = { bytes, version, features, type, transactionId, headerStart, headerEnd, bodyStart, bodyEnd }
  if (sender.length === 32 && proof.length === 64) {
    return { _tag: "Signed", ...framing, publicKey: sender, signature: proof }
  }
  if (sender.length === senderLength && proof.length === macLength) {
    return { _tag: "Session", ...framing, sender: Hex.encode(sender) }
  }
  return `a sender of ${sender.length} bytes with a proof of ${proof.length}`
}

/** Bytes that name the sender of a message in a session, bytes of its MAC, and the heads of both in CBOR. */
const senderLength = 8
const macLength = 16
const senderHead = 0x40 + senderLength
const macHead = 0x40 + macLength

/** Bytes of a datagram of a session behind its body. */
const sessionEnd = 2 + senderLength + 2 + macLength

const outerKey = (reader: Cbor.Reader, key: number): void => {
  if (reader.uint(4) !== key) reader.fail(`expected field ${key} of the message`)
}

/**
 * Returns the 32 bytes that are the sender's public key if the framing is
 * sound, without a check; undefined if the datagram does not end like a signed
 * one in canonical form.
 *
 * @category decoding
 * @since 0.1.0
 */
export const claimedKey = (bytes: Uint8Array): Uint8Array | undefined => {
  // Before the signature of 64 bytes, its key and its length.
  const end = bytes.length - 67
  const start = end - 32
  return start >= 3 && bytes[start - 3] === 3 && bytes[start - 2] === 0x58 && bytes[start - 1] === 32 &&
      bytes[end] === 4 && bytes[end + 1] === 0x58 && bytes[end + 2] === 64
    ? bytes.subarray(start, end)
    : undefined
}

/**
 * Returns the sender that a datagram of a session names if its framing is sound,
 * as 16 hex digits, without a check; undefined if the datagram does not end like
 * one. One signed datagram in 2^32 looks like this by chance.
 *
 * @internal
 */
export const claimedSender = (bytes: Uint8Array): string | undefined => {
  const macAt = bytes.length - macLength
  const senderAt = macAt - 2 - senderLength
  return bytes[senderAt - 2] === 3 && bytes[senderAt - 1] === senderHead && bytes[macAt - 2] === 4 &&
      bytes[macAt - 1] === macHead
    ? Hex.slice(bytes, senderAt, macAt - 2)
    : undefined
}

/**
 * Reads the body of a frame. Returns a text if it is malformed.
 *
 * @category decoding
 * @since 0.1.0
 */
export const readBody = (frame: Frame): Body | string => {
  const reader = new Cbor.Reader(frame.bytes, frame.bodyStart, frame.bodyEnd, maxItems)
  const body = MessageBody.read(frame.type, reader)
  return reader.fault ?? body
}

/**
 * Returns the bytes that the sender signed: the network's prefix, and the header
 * and the body as received. The next call overwrites them.
 *
 * @category decoding
 * @since 0.1.0
 */
export const signedBytes = (frame: SignedFrame, network: Network.Network = Network.open): Uint8Array => {
  const writer = signed
  writer.clear()
  writer.raw(network.prefix)
  writer.raw(frame.bytes.subarray(frame.headerStart, frame.headerEnd))
  writer.raw(frame.bytes.subarray(frame.bodyStart, frame.bodyEnd))
  return writer.result()
}

/**
 * Whether a datagram that ends like one of a session ({@link claimedSender}) was
 * made with the key. Nothing after its header need be read before.
 *
 * @internal
 */
export const isAuthentic = (
  bytes: Uint8Array,
  { headerEnd, headerStart }: Pick<Header, "headerStart" | "headerEnd">,
  key: Hmac.HmacKey
): boolean => {
  const writer = signed
  writer.clear()
  writer.raw(Hmac.inner(key))
  writer.raw(bytes.subarray(headerStart, headerEnd))
  // Between the body's key in the map and the sender's.
  writer.raw(bytes.subarray(headerEnd + 1, Math.max(bytes.length - sessionEnd, headerEnd + 1)))
  return Hmac.isEqual(Hmac.mac(key, writer.result()), Hex.slice(bytes, bytes.length - macLength, bytes.length))
}

/**
 * Returns what is wrong with a body from a sender, the last thing that can be
 * wrong with a message: the address in a PING or PONG is not the sender's.
 *
 * @category decoding
 * @since 0.1.0
 */
export const senderFault = (body: Body, sender: Address.Address): string | undefined =>
  (body._tag === "Ping" || body._tag === "Pong") && body.address !== sender
    ? "the address is not the sender's"
    : undefined

/**
 * Decodes one signed datagram of a network and checks its signature.
 *
 * @category decoding
 * @since 0.1.0
 */
export const decode = (
  bytes: Uint8Array,
  crypto: Ed25519,
  network: Network.Network = Network.open
): Result.Result<Message, InvalidMessage | UnknownMessageType> => {
  const framed = frame(bytes)
  if (typeof framed === "string") return invalid(framed)
  if (framed._tag === "Session") return invalid("it belongs to a session and has no signature")
  const body = readBody(framed)
  if (body === MessageBody.unknownType) return Result.fail(new UnknownMessageType({ type: framed.type }))
  if (typeof body === "string") return invalid(body)
  const { features, publicKey, transactionId, version } = framed
  const sender = Address.fromPublicKey(publicKey)
  const fault = senderFault(body, sender)
  if (fault !== undefined) return invalid(fault)
  return crypto.verify(publicKey, signedBytes(framed, network), framed.signature)
    ? Result.succeed({ version, features, transactionId, body, publicKey, sender })
    : invalid("bad signature")
}

const invalid = (reason: string) => Result.fail(new InvalidMessage({ reason }))

// --- Writing -----------------------------------------------------------------

/**
 * Parts of a message besides its body.
 *
 * @category models
 * @since 0.1.0
 */
export interface Envelope {
  readonly signer: SigningKey
  readonly transactionId: TransactionId
  /** Defaults to 1. */
  readonly version?: number | undefined
  /** Defaults to 0. */
  readonly features?: number | undefined
  /** Defaults to the open one. */
  readonly network?: Network.Network | undefined
}

/** One for all messages: writing is synchronous, so no two messages are written at once. */
const scratch = new Cbor.Writer(maxDatagram)

/** The buffer for the signed bytes of messages that are checked. */
const signed = new Cbor.Writer(maxDatagram)

/** Datagrams are views of a large buffer: allocating one for each costs more than writing it. */
const slabSize = 1 << 16
let slab = new Uint8Array(0)
let slabUsed = 0

const allocate = (size: number): Uint8Array => {
  if (slabUsed + size > slab.length) {
    slab = new Uint8Array(Math.max(slabSize, size))
    slabUsed = 0
  }
  slabUsed += size
  return slab.subarray(slabUsed - size, slabUsed)
}

/**
 * Signs and encodes a message. Length is not limited here: a transport refuses
 * what exceeds {@link maxDatagram}. The result is a view of a larger buffer
 * whose bytes are never reused.
 *
 * @category encoding
 * @since 0.1.0
 */
export const encode = (body: Body, envelope: Envelope): Uint8Array => {
  // The signature covers header and body without the key between them, so they
  // are written next to each other first.
  const writer = scratch
  writer.clear()
  const { features = 0, network: { prefix } = Network.open, transactionId, version = 1 } = envelope
  writer.raw(prefix)
  headerFields.write(writer, { version, features, type: Type[body._tag], transactionId })
  const headerEnd = writer.at
  MessageBody.write(writer, body)
  const signed = writer.result()
  const signature = envelope.signer.sign(signed)
  const out = allocate(3 + signed.length - prefix.length + 3 + 32 + 3 + 64)
  let at = writeFrame(out, signed, prefix.length, headerEnd)
  out[at++] = 3
  out[at++] = 0x58
  out[at++] = 32
  out.set(envelope.signer.publicKey, at)
  at += 32
  out[at++] = 4
  out[at++] = 0x58
  out[at++] = 64
  out.set(signature, at)
  return out
}

/** Writes the header and the body, which are next to each other, into a datagram. Returns the offset behind them. */
const writeFrame = (out: Uint8Array, written: Uint8Array, headerStart: number, headerEnd: number): number => {
  out[0] = 0xa4
  out[1] = 1
  out.set(written.subarray(headerStart, headerEnd), 2)
  const at = 2 + headerEnd - headerStart
  out[at] = 2
  out.set(written.subarray(headerEnd), at + 1)
  return at + 1 + written.length - headerEnd
}

/**
 * Parts of a message in a session besides its body.
 *
 * @internal
 */
export interface SessionEnvelope extends Pick<Envelope, "transactionId" | "version" | "features"> {
  /** The first 8 bytes of our node id, as hex. */
  readonly sender: string
  readonly key: Hmac.HmacKey
}

/**
 * Encodes a message of a session, with a MAC in place of the signature.
 *
 * @internal
 */
export const seal = (
  body: Body,
  { features = 0, key, sender, transactionId, version = 1 }: SessionEnvelope
): Uint8Array => {
  const writer = scratch
  writer.clear()
  writer.raw(Hmac.inner(key))
  headerFields.write(writer, { version, features, type: Type[body._tag], transactionId })
  const headerEnd = writer.at
  MessageBody.write(writer, body)
  const written = writer.result()
  const mac = Hmac.mac(key, written)
  const out = allocate(3 + written.length - Hmac.blockLength + sessionEnd)
  let at = writeFrame(out, written, Hmac.blockLength, headerEnd)
  out[at++] = 3
  out[at++] = senderHead
  Hex.write(out, sender, at)
  at += senderLength
  out[at++] = 4
  out[at++] = macHead
  Hex.write(out, mac, at)
  return out
}

// --- Notices -------------------------------------------------------------------

/** A map of the header alone, with version 1, no features and a type of its own. */
const noticeStart = Hex.decode("a101a4010102000318700454")

const noticeLength = noticeStart.length + 20

/**
 * Encodes a notice: the request of this transaction came in a session that we
 * have no key for. It is smaller than any message.
 *
 * @internal
 */
export const notice = (transactionId: TransactionId): Uint8Array => {
  const out = allocate(noticeLength)
  out.set(noticeStart)
  Hex.write(out, transactionId, noticeStart.length)
  return out
}

/**
 * The transaction that a notice is about; undefined if the datagram is none.
 *
 * @internal
 */
export const noticed = (bytes: Uint8Array): TransactionId | undefined => {
  if (bytes.length !== noticeLength) return undefined
  for (let i = 0; i < noticeStart.length; i++) if (bytes[i] !== noticeStart[i]) return undefined
  return Hex.slice(bytes, noticeStart.length, noticeLength)
}

/**
 * Returns the bytes of a message besides its body: header and framing with key and
 * signature, or in a session with a MAC.
 *
 * @category encoding
 * @since 0.1.0
 */
export const envelopeSize = (features: number, isInSession = false): number =>
  (isInSession ? 59 : 133) + Cbor.uintSize(features)

/**
 * Returns the size of a message in bytes.
 *
 * @category encoding
 * @since 0.1.0
 */
export const size = (body: Body, features: number, isInSession = false): number =>
  envelopeSize(features, isInSession) + encodeBody(body).length

/**
 * Returns the canonical CBOR of a body.
 *
 * @category encoding
 * @since 0.1.0
 */
export const encodeBody = (body: Body): Uint8Array => {
  const writer = new Cbor.Writer()
  MessageBody.write(writer, body)
  return writer.result()
}
