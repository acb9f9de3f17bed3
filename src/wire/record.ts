/**
 * The encoding of records: eight or nine fields, of which the first six are
 * signed. Only the canonical encoding is accepted, so the signed bytes are those
 * received, and no record is encoded again.
 *
 * @since 0.1.0
 */
import * as Result from "effect/Result"
import * as Address from "../Address.ts"
import type { SigningKey } from "../Crypto.ts"
import * as Delegation from "../Delegation.ts"
import * as Hex from "../internal/hex.ts"
import type { Category, Fault, Fields, SignedRecord } from "../Record.ts"
import * as Cbor from "./cbor.ts"
import { InvalidRecord } from "./invalidRecord.ts"
import { limits, readEndpoint, readTopic } from "./payload.ts"

/**
 * @internal
 */
export const RecordType = { endpoint: 0x01, profile: 0x02, topic: 0x10, mailbox: 0x80 } as const

/**
 * @internal
 */
export const category = (type: number): Category =>
  type >= 0x10 && type <= 0x1f ? "topic" : type >= 0x80 && type <= 0x8f ? "mailbox" : "sovereign"

/**
 * @internal
 */
export const maxLifetime: { readonly [category in Category]: number } = {
  sovereign: 7 * 86_400,
  topic: 7200,
  mailbox: 7 * 86_400
}

/**
 * Tolerated clock difference in seconds: a record may be that far in the future,
 * and its delegation expired for that long.
 *
 * @internal
 */
export const clockSkew = 60

const maxUint32 = 0xffff_ffff

const domain = new TextEncoder().encode("a2al-rec\0")
const signedPairs = 6
const mapOfSix = 0xa0 | signedPairs

/** Encoded sizes of the pairs of public key and signature: key, head of the byte string, content. */
const publicKeyPair = 1 + 2 + 32
const signaturePair = 1 + 2 + 64

/**
 * Reads one record from a longer input; undefined if the reader has a fault. A
 * delegation in another form is converted to its canonical one, so that a record
 * has the same bytes from every sender.
 *
 * @internal
 */
export const read = (reader: Cbor.Reader): SignedRecord | undefined => {
  const { bytes } = reader
  const start = reader.at
  const pairs = reader.mapLength()
  if (pairs !== 8 && pairs !== 9) reader.fail("a record has 8 or 9 fields")
  key(reader, 1)
  const addressAt = reader.fixedBytes(Address.length)
  key(reader, 2)
  const type = reader.uint(0xff)
  key(reader, 3)
  const payload = reader.byteString()
  key(reader, 4)
  const seq = reader.uint64()
  key(reader, 5)
  const timestamp = reader.uint64()
  key(reader, 6)
  const ttl = reader.uint(maxUint32)
  const signedEnd = reader.at
  key(reader, 7)
  const publicKeyAt = reader.fixedBytes(32)
  key(reader, 8)
  const signatureAt = reader.fixedBytes(64)
  let delegation: Uint8Array | undefined
  if (pairs === 9) {
    key(reader, 9)
    delegation = reader.byteString()
  }
  if (reader.fault !== undefined) return undefined
  // All that can still differ from the canonical form is a head longer than
  // necessary, and that shows in the size.
  const signedSize = 1 + (1 + byteStringSize(Address.length)) + (1 + Cbor.uintSize(type)) +
    (1 + byteStringSize(payload.length)) + (1 + Cbor.uintSize(Number(seq))) + (1 + Cbor.uintSize(Number(timestamp))) +
    (1 + Cbor.uintSize(ttl))
  if (
    signedEnd - start !== signedSize ||
    reader.at - signedEnd !== publicKeyPair + signaturePair + delegationSize(delegation)
  ) {
    reader.fail("a record that is not in canonical form")
    return undefined
  }
  const delegated = delegation === undefined ? undefined : Result.getOrUndefined(Delegation.decode(delegation))
  if (delegated !== undefined) {
    const { signature } = Delegation.canonical(delegated)
    if (signature !== delegated.signature) {
      // Not `slice`, which makes a view of a Node Buffer.
      const canonical = new Uint8Array(bytes.subarray(start, reader.at))
      canonical.set(signature, delegated.signature.byteOffset - bytes.byteOffset - start)
      return read(new Cbor.Reader(canonical))
    }
  }
  return {
    bytes: bytes.subarray(start, reader.at),
    address: Hex.slice(bytes, addressAt, addressAt + Address.length) as Address.Address,
    type,
    payload,
    seq,
    timestamp,
    ttl,
    expiresAt: Math.min(Number(timestamp) + Math.min(ttl, maxLifetime[category(type)]), lastSecond(delegated)),
    publicKey: bytes.subarray(publicKeyAt, publicKeyAt + 32),
    signature: bytes.subarray(signatureAt, signatureAt + 64),
    delegation,
    delegatedAt: delegated?.issuedAt ?? 0n
  }
}

/** The last second in which a delegation is valid by any clock. A malformed delegation is left to the policy. */
const lastSecond = (delegation: Delegation.Delegation | undefined): number =>
  delegation === undefined || delegation.expiresAt === 0n ? Infinity : Number(delegation.expiresAt) - 1 + clockSkew

/** Reads the key that must come next. */
const key = (reader: Cbor.Reader, expected: number): void => {
  if (reader.at < reader.end && reader.bytes[reader.at] === expected) reader.at++
  else reader.fail(`expected field ${expected} of a record`)
}

const byteStringSize = (length: number): number => Cbor.uintSize(length) + length

const delegationSize = (delegation: Uint8Array | undefined): number =>
  delegation === undefined ? 0 : 1 + byteStringSize(delegation.length)

/**
 * @internal
 */
export const encode = (fields: Fields): Uint8Array => {
  const writer = new Cbor.Writer(256 + fields.payload.length)
  writer.map(fields.delegation === undefined ? 8 : 9)
  writeSigned(writer, fields)
  writer.uint(7)
  writer.byteString(fields.publicKey)
  writer.uint(8)
  writer.byteString(fields.signature)
  if (fields.delegation !== undefined) {
    writer.uint(9)
    writer.byteString(fields.delegation)
  }
  return writer.result().slice()
}

type SignedFields = Pick<Fields, "address" | "type" | "payload" | "seq" | "timestamp" | "ttl">

const writeSigned = (writer: Cbor.Writer, fields: SignedFields): void => {
  writer.uint(1)
  writer.hexString(fields.address)
  writer.uint(2)
  writer.uint(fields.type, 0xff)
  writer.uint(3)
  writer.byteString(fields.payload)
  writer.uint(4)
  writer.uint(fields.seq)
  writer.uint(5)
  writer.uint(fields.timestamp)
  writer.uint(6)
  writer.uint(fields.ttl, maxUint32)
}

/**
 * @internal
 */
export const signedBytes = (record: SignedRecord): Uint8Array => {
  const { bytes } = record
  const end = bytes.length - publicKeyPair - signaturePair - delegationSize(record.delegation)
  const message = new Uint8Array(domain.length + end)
  message.set(domain)
  message.set(bytes.subarray(0, end), domain.length)
  message[domain.length] = mapOfSix
  return message
}

/**
 * @internal
 */
export const detach = (record: SignedRecord): SignedRecord => {
  // Not `slice`, which makes a view of a Node Buffer.
  const bytes = new Uint8Array(record.bytes)
  const moved = (part: Uint8Array): Uint8Array => {
    const at = part.byteOffset - record.bytes.byteOffset
    return bytes.subarray(at, at + part.length)
  }
  return {
    ...record,
    bytes,
    payload: moved(record.payload),
    publicKey: moved(record.publicKey),
    signature: moved(record.signature),
    delegation: record.delegation && moved(record.delegation)
  }
}

/** Returns the fault of the payload of a record of this type. */
const payloadFault = (type: number, payload: Uint8Array): string | undefined => {
  if (type === RecordType.endpoint) return textOf(readEndpoint(payload))
  if (type === RecordType.topic) return textOf(readTopic(payload))
  if (category(type) === "mailbox" && payload.length > limits.mailbox) return `longer than ${limits.mailbox} bytes`
}

const textOf = (read: object | string): string | undefined => typeof read === "string" ? read : undefined

/**
 * @internal
 */
export const fault = (record: SignedRecord, now: number): Fault | undefined => {
  const reason = payloadFault(record.type, record.payload)
  if (reason !== undefined) return invalid(`payload: ${reason}`)
  if (record.timestamp > now + clockSkew) return invalid("it is from the future")
  // Not `record.expiresAt`: an expired delegation, or an age at which no record is
  // kept, is no fault. The response to a STORE distinguishes them.
  const expiresAt = Number(record.timestamp) + record.ttl
  if (expiresAt < now) return { _tag: "RecordExpired", expiresAt, now }
}

const invalid = (reason: string): Fault => ({ _tag: "InvalidRecord", reason })

/**
 * Signs a record of any type.
 *
 * @internal
 */
export const seal = (
  options: SignedFields & { readonly signer: SigningKey; readonly delegation?: Uint8Array | undefined }
): Result.Result<SignedRecord, InvalidRecord> => {
  const reason = refusal(options)
  if (reason !== undefined) return Result.fail(new InvalidRecord({ reason }))
  const writer = new Cbor.Writer(256 + options.payload.length)
  writer.raw(domain)
  writer.map(signedPairs)
  writeSigned(writer, options)
  const signature = options.signer.sign(writer.result())
  return decode(encode({ ...options, publicKey: options.signer.publicKey, signature, delegation: options.delegation }))
}

/**
 * Returns the payload that `write` encodes; a typed failure if a value has no
 * CBOR form.
 *
 * @internal
 */
export const written = (write: () => Uint8Array): Result.Result<Uint8Array, InvalidRecord> => {
  try {
    return Result.succeed(write())
  } catch (error) {
    if (error instanceof RangeError) return Result.fail(new InvalidRecord({ reason: `payload: ${error.message}` }))
    throw error
  }
}

const refusal = (options: Parameters<typeof seal>[0]): string | undefined => {
  const { address, delegation, payload, seq, signer, timestamp, ttl, type } = options
  if (!Cbor.isUint(type, 0xff)) return `type ${type} is not a number of 8 bits`
  if (!Number.isInteger(ttl) || ttl < 1 || ttl > maxUint32) return `ttl ${ttl} is not 1 to ${maxUint32} seconds`
  if (!Cbor.isUint(seq)) return `seq ${seq} is not a number of 64 bits`
  if (!Cbor.isUint(timestamp)) return `timestamp ${timestamp} is not a number of 64 bits`
  const reason = payloadFault(type, payload)
  if (reason !== undefined) return `payload: ${reason}`
  if (delegation === undefined) {
    return Address.fromPublicKey(signer.publicKey) === address ? undefined : "the key is not the address's"
  }
  const decoded = Delegation.decode(delegation)
  if (Result.isFailure(decoded)) return decoded.failure.message
  return delegates(decoded.success, address, signer.publicKey)
    ? undefined
    : "the delegation is for another address or key"
}

/**
 * Whether the delegation is from `address` to `publicKey`.
 *
 * @internal
 */
export const delegates = (
  delegation: Delegation.Delegation,
  address: Address.Address,
  publicKey: Uint8Array
): boolean => delegation.agent === address && Hex.encode(delegation.operationalPublicKey) === Hex.encode(publicKey)

/**
 * @internal
 */
export const decode = (bytes: Uint8Array): Result.Result<SignedRecord, InvalidRecord> => {
  const reader = new Cbor.Reader(bytes)
  const record = read(reader)
  return record !== undefined && reader.at === reader.end
    ? Result.succeed(record)
    : Result.fail(new InvalidRecord({ reason: reader.fault ?? "bytes after the end" }))
}
