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
import * as Cbor from "./cbor.ts"
import { InvalidRecord } from "./invalidRecord.ts"
import * as Payload from "./payload.ts"
import { bytes, fixedBytes, hex, optional, required, Struct, uint32, uint64, uint8 } from "./struct.ts"

/**
 * @internal
 */
export const RecordType = { endpoint: 0x01, profile: 0x02, topic: 0x10, mailbox: 0x80 } as const

/**
 * @internal
 */
export const category = (type: number) =>
  type >= 0x10 && type <= 0x1f ? "topic" : type >= 0x80 && type <= 0x8f ? "mailbox" : "sovereign"

/**
 * @internal
 */
export const maxLifetime = {
  sovereign: 7 * 86_400,
  topic: 7200,
  mailbox: 7 * 86_400
} as const satisfies { readonly [category in ReturnType<typeof category>]: number }

/**
 * Tolerated clock difference in seconds: a record may be that far in the future,
 * and its delegation expired for that long.
 *
 * @internal
 */
export const clockSkew = 60

const maxUint32 = 0xffff_ffff

const domain = new TextEncoder().encode("a2al-rec\0")

// --- The map -----------------------------------------------------------------

const signedFields = new Struct({
  address: required(1, hex<Address.Address>(Address.length)),
  type: required(2, uint8),
  payload: required(3, bytes),
  seq: required(4, uint64),
  timestamp: required(5, uint64),
  ttl: required(6, uint32)
})

const signedPairs = 6
const mapOfSix = 0xa0 | signedPairs

const proofFields = new Struct({
  publicKey: required(7, fixedBytes(32)),
  signature: required(8, fixedBytes(64)),
  delegation: optional(9, bytes, undefined)
})

/** Encoded sizes of the pairs of public key and signature: key, head of the byte string, content. */
const publicKeyPair = 1 + 2 + 32
const signaturePair = 1 + 2 + 64

const lacks = (key: number): string => `expected field ${key} of a record`

/**
 * A signed statement: its fields, its bytes, and values derived from them. `Record.SignedRecord` describes each.
 *
 * @internal
 */
export interface SignedRecord extends Fields {
  readonly bytes: Uint8Array
  readonly expiresAt: number
  readonly delegatedAt: bigint
}

type SignedFields = ReturnType<typeof signedFields.read>

type Fields = SignedFields & ReturnType<typeof proofFields.read>

/**
 * Reads one record from a longer input; undefined if the reader has a fault. A
 * delegation in another form is converted to its canonical one, so that a record
 * has the same bytes from every sender.
 *
 * @internal
 */
export const read = (reader: Cbor.Reader): SignedRecord | undefined => {
  const start = reader.at
  const pairs = reader.mapLength()
  if (pairs !== 8 && pairs !== 9) reader.fail("a record has 8 or 9 fields")
  const signed = signedFields.readInOrder(reader, signedPairs, lacks)
  const signedEnd = reader.at
  const proof = proofFields.readInOrder(reader, pairs - signedPairs, lacks)
  if (reader.fault !== undefined) return undefined
  const { payload, seq, timestamp, ttl, type } = signed
  const { delegation } = proof
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
  const read = delegation === undefined ? undefined : Delegation.read(delegation)
  const delegated = typeof read === "string" ? undefined : read
  const record: SignedRecord = {
    bytes: reader.bytes.subarray(start, reader.at),
    address: signed.address,
    type,
    payload,
    seq,
    timestamp,
    ttl,
    expiresAt: Math.min(Number(timestamp) + Math.min(ttl, maxLifetime[category(type)]), lastSecond(delegated)),
    publicKey: proof.publicKey,
    signature: proof.signature,
    delegation,
    delegatedAt: delegated?.issuedAt ?? 0n
  }
  if (delegated === undefined) return record
  const { signature } = Delegation.canonical(delegated)
  if (signature === delegated.signature) return record
  const canonical = detach(record)
  canonical.bytes.set(signature, delegated.signature.byteOffset - record.bytes.byteOffset)
  return canonical
}

/** The last second in which a delegation is valid by any clock. A malformed delegation is left to the policy. */
const lastSecond = (delegation: Delegation.Delegation | undefined): number =>
  delegation === undefined || delegation.expiresAt === 0n ? Infinity : Number(delegation.expiresAt) - 1 + clockSkew

const byteStringSize = (length: number): number => Cbor.uintSize(length) + length

const delegationSize = (delegation: Uint8Array | undefined): number =>
  delegation === undefined ? 0 : 1 + byteStringSize(delegation.length)

/**
 * @internal
 */
export const encode = (fields: Fields): Uint8Array => {
  const writer = new Cbor.Writer(256 + fields.payload.length)
  writer.map(fields.delegation === undefined ? 8 : 9)
  signedFields.writePairs(writer, fields)
  proofFields.writePairs(writer, fields)
  return writer.result().slice()
}

/** The buffer for the signed bytes of records that are checked. */
const signed = new Cbor.Writer(1200)

/**
 * Returns the bytes that the signature covers. The next call overwrites them.
 *
 * @internal
 */
export const signedView = (record: SignedRecord): Uint8Array => {
  const { bytes } = record
  signed.clear()
  signed.raw(domain)
  signed.raw(bytes.subarray(0, bytes.length - publicKeyPair - signaturePair - delegationSize(record.delegation)))
  const view = signed.result()
  view[domain.length] = mapOfSix
  return view
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

const { mailbox } = Payload.limits

/** Returns the fault of the payload of a record of this type. */
const payloadFault = (type: number, payload: Uint8Array): string | undefined => {
  if (type === RecordType.endpoint) return textOf(Payload.endpoint.decode(payload))
  if (type === RecordType.topic) return textOf(Payload.topic.decode(payload))
  if (category(type) === "mailbox" && payload.length > mailbox) return `longer than ${mailbox} bytes`
}

const textOf = (read: object | string): string | undefined => typeof read === "string" ? read : undefined

/**
 * @internal
 */
export const fault = (record: SignedRecord, now: number) => {
  const reason = payloadFault(record.type, record.payload)
  if (reason !== undefined) return invalid(`payload: ${reason}`)
  if (record.timestamp > now + clockSkew) return invalid("it is from the future")
  // Not `record.expiresAt`: an expired delegation, or an age at which no record is
  // kept, is no fault. The response to a STORE distinguishes them.
  const expiresAt = Number(record.timestamp) + record.ttl
  if (expiresAt < now) return { _tag: "RecordExpired", expiresAt, now } as const
}

const invalid = (reason: string) => ({ _tag: "InvalidRecord", reason }) as const

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
  signedFields.write(writer, options)
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
