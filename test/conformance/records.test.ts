import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import { fromPublicKey } from "../../src/Address.ts"
import { noble } from "../../src/Crypto.ts"
import * as Delegation from "../../src/Delegation.ts"
import * as Endpoint from "../../src/Endpoint.ts"
import * as Hex from "../../src/internal/hex.ts"
import * as Profile from "../../src/Profile.ts"
import * as Record from "../../src/Record.ts"
import * as Topic from "../../src/Topic.ts"
import * as Cbor from "../../src/wire/cbor.ts"
import { fieldsOf, type RecordFields, vectors } from "./vectors.ts"

interface EndpointJson {
  readonly endpoints: ReadonlyArray<string> | null
  readonly natType: Endpoint.NatType
  readonly signal: string
  readonly signals: ReadonlyArray<string> | null
  readonly turns: ReadonlyArray<string> | null
}

interface TopicJson extends Omit<Topic.TopicPayload, "meta"> {
  readonly meta: object | null
}

interface DelegatedRecord {
  readonly cbor: string
  readonly name: string
  readonly record: RecordFields
}

interface PlainRecord extends DelegatedRecord {
  readonly category: number
  readonly payload?: EndpointJson | TopicJson
  readonly verify: ReadonlyArray<{ readonly now: number; readonly verdict: string }>
}

interface Owner {
  readonly address: string
  readonly seed: string
}

const { identity, records } = vectors<{
  readonly identity: Owner
  readonly records: ReadonlyArray<PlainRecord>
}>("records.json")

const { delegatedRecords, operational } = vectors<{
  readonly delegatedRecords: ReadonlyArray<DelegatedRecord>
  readonly operational: Owner
}>("delegations.json")

const { clockSkew, precedence, profiles } = vectors<{
  readonly clockSkew: ReadonlyArray<{
    readonly accepted: boolean
    readonly cbor: string
    readonly now: number
    readonly timestampMinusNow: number
  }>
  readonly precedence: {
    readonly records: ReadonlyArray<string>
    readonly pairs: ReadonlyArray<{ readonly a: number; readonly b: number; readonly aIsNewer: boolean }>
  }
  readonly profiles: ReadonlyArray<{
    readonly cbor: string
    readonly payload: object
    readonly payloadCbor: string
  }>
}>("v02.json")

const all: ReadonlyArray<DelegatedRecord> = [...records, ...delegatedRecords]

/** The records that are valid at some time. */
const valid = records.filter(({ verify }) => verify.some(({ verdict }) => verdict === "ok"))

const decode = (cbor: string): Record.SignedRecord => Result.getOrThrow(Record.decode(Hex.decode(cbor)))

const verdict = (result: Result.Result<unknown, { readonly _tag: string }>): string =>
  Result.isSuccess(result) ? "ok" : result.failure._tag

/** CBOR as JSON shows it: one kind of number, null for nothing. */
const json = (value: Topic.Value): unknown => {
  if (typeof value === "bigint") return Number(value)
  if (typeof value !== "object" || value === null) return value
  if (value instanceof Uint8Array) return Hex.encode(value)
  if (value instanceof Map) return Object.fromEntries(Array.from(value, ([key, item]) => [String(key), json(item)]))
  return "float" in value ? value.float : Array.from(value as ReadonlyArray<Topic.Value>, json)
}

/** A list that leaves no trace on the wire when it is empty. */
const listJson = (list: ReadonlyArray<string>) => list.length === 0 ? null : list

const metaJson = (meta: Topic.Meta) => meta.size === 0 ? null : json(meta)

const endpointJson = (payload: Endpoint.EndpointPayload) => ({
  ...payload,
  turns: listJson(payload.turns),
  signals: listJson(payload.signals)
})

const topicJson = (payload: Topic.TopicPayload) => ({ ...payload, meta: metaJson(payload.meta) })

const profileJson = (payload: Profile.ProfilePayload) => ({
  ...payload,
  protocols: listJson(payload.protocols),
  skills: listJson(payload.skills),
  cardHash: json(payload.cardHash),
  modalities: listJson(payload.modalities),
  meta: metaJson(payload.meta)
})

/** `meta` as the bytes have it: JSON does not tell an integer from a float. */
const metaOf = (payload: Uint8Array): Topic.Meta => {
  const fields = new Cbor.Reader(payload).value()
  return (fields instanceof Map ? fields.get(7) : undefined) ?? new Map()
}

/** A record counts no longer than the delegation that its signer has, by any clock. */
const lastSecondOf = (delegation: Uint8Array | undefined): number => {
  if (delegation === undefined) return Infinity
  const { expiresAt } = Result.getOrThrow(Delegation.decode(delegation))
  return expiresAt === 0n ? Infinity : Number(expiresAt) - 1 + Record.clockSkew
}

/** What is beyond a record's longest lifetime is the only part of `ttl` that does not count here. */
const lifetimeOf = ({ ttl, type }: Pick<Record.SignedRecord, "ttl" | "type">): number =>
  Math.min(ttl, Record.maxLifetime[Record.category(type)])

describe("records.json and delegations.json, records", () => {
  it("encodes a record to its bytes", () => {
    for (const { cbor, name, record } of all) {
      assert.strictEqual(Hex.encode(Record.encode(fieldsOf(record))), cbor, name)
    }
  })

  it("decodes the bytes to the record", () => {
    for (const { cbor, name, record } of all) {
      const fields = fieldsOf(record)
      assert.deepStrictEqual(
        decode(cbor),
        {
          ...fields,
          bytes: Hex.decode(cbor),
          expiresAt: Math.min(Number(fields.timestamp) + lifetimeOf(fields), lastSecondOf(fields.delegation)),
          delegatedAt: fields.delegation === undefined ? 0n : Delegation.issuedAtOf(fields.delegation)
        },
        name
      )
    }
  })

  it("comes to the recorded verdict at every time", () => {
    for (const { cbor, name, verify } of records) {
      for (const { now, verdict: expected } of verify) {
        assert.strictEqual(verdict(Record.verify(decode(cbor), { crypto: noble, now })), expected, `${name} at ${now}`)
      }
    }
  })

  it("finds the category of every type", () => {
    for (const { category, name, record } of records) {
      const expected = ["sovereign", "sovereign", "topic", "mailbox"][category]
      assert.strictEqual(Record.category(record.recType), expected, name)
    }
  })

  it("decodes every payload of a valid record", () => {
    for (const { name, payload, record } of valid) {
      if (payload === undefined) continue
      const bytes = Hex.decode(record.payload)
      const decoded = record.recType === Record.RecordType.topic
        ? topicJson(Result.getOrThrow(Topic.decode(bytes)))
        : endpointJson(Result.getOrThrow(Endpoint.decode(bytes)))
      assert.deepStrictEqual(decoded, payload, name)
    }
  })

  it("encodes every payload to its bytes, within the limits or not", () => {
    for (const { name, payload, record } of records) {
      if (payload === undefined) continue
      const encoded = "topic" in payload
        ? Topic.encode({ ...payload, meta: metaOf(Hex.decode(record.payload)) })
        : Endpoint.encode({ ...payload, turns: payload.turns ?? [], signals: payload.signals ?? [] })
      assert.strictEqual(Hex.encode(encoded), record.payload, name)
    }
  })

  it("signs to the same bytes, but refuses what nobody should sign", () => {
    const signers = [identity, operational].map(({ seed }) => noble.signingKey(Hex.decode(seed)))
    for (const { cbor, name, record } of [...valid, ...delegatedRecords]) {
      const fields = fieldsOf(record)
      const signer = signers.find(({ publicKey }) => Hex.encode(publicKey) === record.pubkey)
      if (signer === undefined) continue
      const signed = record.recType === Record.RecordType.endpoint
        ? Endpoint.sign({ ...fields, payload: Result.getOrThrow(Endpoint.decode(fields.payload)), signer })
        : Record.sign({ ...fields, signer })
      assert.strictEqual(
        Result.isSuccess(signed) ? Hex.encode(signed.success.bytes) : "refused",
        isSignable(record) ? cbor : "refused",
        name
      )
    }
  })
})

const isSignable = ({ address, delegation, pubkey, recType, ttl }: RecordFields): boolean =>
  ttl > 0 &&
  (recType >= 0x01 && recType <= 0x1f || recType >= 0x80 && recType <= 0x8f) &&
  (delegation !== undefined || fromPublicKey(Hex.decode(pubkey)) === address)

describe("delegations.json, delegated records", () => {
  it("accepts the operational key while the delegation holds", () => {
    const policy = Record.authority({ crypto: noble })
    for (const { cbor, name } of delegatedRecords) {
      const record = decode(cbor)
      const now = Number(record.timestamp)
      assert.strictEqual(verdict(Record.verify(record, { crypto: noble, now })), "ok", name)
      // Twice, as the second time it is remembered.
      assert.strictEqual(verdict(policy(Record.ownKey(record), record, now)), "ok", name)
      assert.strictEqual(verdict(policy(Record.ownKey(record), record, now)), "ok", name)
      const { expiresAt } = Result.getOrThrow(Delegation.decode(record.delegation!))
      assert.strictEqual(
        verdict(policy(Record.ownKey(record), record, Number(expiresAt) + Record.clockSkew)),
        expiresAt === 0n ? "ok" : "InvalidDelegation",
        name
      )
    }
  })
})

describe("v02.json, records", () => {
  it("tolerates as much skew between clocks as the Go reference", () => {
    for (const { accepted, cbor, now, timestampMinusNow } of clockSkew) {
      const result = Record.verify(decode(cbor), { crypto: noble, now })
      assert.strictEqual(Result.isSuccess(result), accepted, `${timestampMinusNow} s from now`)
    }
  })

  it("orders every pair of records as the Go reference does", () => {
    const decoded: ReadonlyArray<Record.SignedRecord> = precedence.records.map(decode)
    for (const { a, aIsNewer, b } of precedence.pairs) {
      assert.strictEqual(Record.isNewer(decoded[a], decoded[b]), aIsNewer, `${a}, ${b}`)
    }
  })

  it("decodes every profile and encodes it to the same bytes", () => {
    for (const { cbor, payload, payloadCbor } of profiles) {
      const record = decode(cbor)
      assert.strictEqual(record.type, Record.RecordType.profile)
      assert.strictEqual(Hex.encode(record.payload), payloadCbor)
      const profile = Result.getOrThrow(Profile.decode(record.payload))
      assert.deepStrictEqual(profileJson(profile), payload)
      assert.strictEqual(Hex.encode(Profile.encode(profile)), payloadCbor)
    }
  })
})
