/**
 * Values of an application as CBOR. cbor-x converts them, between two checks: it
 * gets only values that it writes in one way, and reads only bytes that the
 * strict reader has checked. Neither direction throws.
 *
 * A JavaScript number that is an integer is a CBOR integer, any other a
 * floating-point number of 64 bits; −0 is 0. A `bigint` is an integer, too, and
 * an integer beyond 2^53 is read as one. An object is a map with text keys, a
 * member that is undefined is absent. Maps with other keys are read as `Map`.
 *
 * @since 0.1.0
 */
// Not the main entry, which loads native code if it is installed.
import { Decoder } from "cbor-x/decode"
import { Encoder } from "cbor-x/encode"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Hex from "../internal/hex.ts"
import * as Cbor from "./cbor.ts"

const encoder = new Encoder({ mapsAsObjects: false, useRecords: false, variableMapSize: true, tagUint8Array: false })
const decoder = new Decoder({ mapsAsObjects: false, useRecords: false })

/**
 * Encodes a value in at most `maxBytes` bytes, map keys in canonical order. Fails
 * with the reason why it cannot be carried.
 *
 * @internal
 */
export const encode = (value: unknown, maxBytes: number): Result.Result<Uint8Array, string> => {
  const plan = new Plan(maxBytes)
  try {
    const planned = plan.item(value, "")
    if (plan.fault !== undefined) return Result.fail(plan.fault)
    // Not `slice`: the result is a view of a buffer that cbor-x reuses.
    const bytes = new Uint8Array(encoder.encode(planned))
    const reason = fault(bytes, maxBytes)
    return reason === undefined ? Result.succeed(bytes) : Result.fail(reason)
  } catch (error) {
    return Result.fail(messageOf(error))
  }
}

/**
 * Decodes one value of at most `maxBytes` bytes, which shares no memory with the
 * input. Fails with the fault of the bytes.
 *
 * @internal
 */
export const decode = (bytes: Uint8Array, maxBytes: number): Result.Result<unknown, string> => {
  const reason = fault(bytes, maxBytes)
  if (reason !== undefined) return Result.fail(reason)
  try {
    // A copy: cbor-x adds a member to the array that it reads.
    return Result.succeed(restored(decoder.decode(new Uint8Array(bytes))))
  } catch (error) {
    // The application shares cbor-x, and can give it limits of its own.
    return Result.fail(messageOf(error))
  }
}

const fault = (bytes: Uint8Array, maxBytes: number): string | undefined => {
  if (bytes.length > maxBytes) return tooLong(maxBytes)
  const reader = new Cbor.Reader(bytes)
  reader.check()
  return reader.finish()
}

const tooLong = (maxBytes: number): string => `longer than ${maxBytes} bytes`

const messageOf = (error: unknown): string => error instanceof Error ? error.message : String(error)

/** A value in the form that cbor-x writes canonically. The first fault is sticky. */
class Plan {
  readonly maxBytes: number
  /** Bytes that are left if every item is as short as it can be: bounds the work, also for a value with cycles. */
  left: number
  fault: string | undefined = undefined

  constructor(maxBytes: number) {
    this.maxBytes = maxBytes
    this.left = maxBytes
  }

  item(value: unknown, path: string, depth = 0): unknown {
    this.spend(1)
    if (depth > Cbor.maxDepth) this.fail(path, "nested too deep")
    if (this.fault !== undefined) return null
    switch (typeof value) {
      case "boolean":
        return value
      case "number":
        return Number.isSafeInteger(value) ? integer(value) : value
      case "bigint":
        if (value >= 1n << 64n || value <= -1n << 64n) return this.fail(path, "an integer of more than 64 bits")
        return Number.isSafeInteger(Number(value)) ? integer(Number(value)) : value
      case "string":
        return this.text(value, path)
      case "object":
        return value === null ? null : this.composite(value, path, depth)
    }
    return this.fail(path, `${typeof value} has no form in CBOR`)
  }

  private composite(value: object, path: string, depth: number): unknown {
    if (value instanceof Uint8Array) {
      this.spend(value.length)
      return value
    }
    if (Array.isArray(value)) {
      this.spend(value.length)
      return this.fault === undefined
        ? Array.from(value, (item, i) => this.item(item, `${path}[${i}]`, depth + 1))
        : null
    }
    if (value instanceof Map) return this.map(value, path, depth)
    const prototype = Object.getPrototypeOf(value)
    if (prototype !== Object.prototype && prototype !== null) {
      return this.fail(path, `${prototype.constructor?.name ?? "an object"} has no form in CBOR`)
    }
    return this.map(Object.entries(value).filter(([, member]) => member !== undefined), path, depth)
  }

  private map(entries: Iterable<readonly [unknown, unknown]>, path: string, depth: number): unknown {
    const planned: Array<readonly [string | number | bigint | boolean, unknown]> = []
    for (const [key, value] of entries) {
      if (this.fault !== undefined) return null
      const plannedKey = this.key(key, path)
      if (plannedKey === undefined) return null
      planned.push([plannedKey, this.item(value, `${path}.${String(key)}`, depth + 1)])
    }
    return this.fault === undefined
      ? new Map(Cbor.sortEntries(planned).map(({ key, value }) => [key, value]))
      : null
  }

  private key(key: unknown, path: string): string | number | bigint | boolean | undefined {
    const planned = typeof key === "number" && !Number.isSafeInteger(key) ? undefined : this.item(key, path)
    switch (typeof planned) {
      case "string":
      case "number":
      case "bigint":
      case "boolean":
        return planned
    }
    this.fail(path, "a map key is neither text nor an integer")
  }

  private text(text: string, path: string): string | null {
    this.spend(text.length)
    return text.isWellFormed() ? text : this.fail(path, "text with a lone surrogate")
  }

  private spend(bytes: number): void {
    this.left -= bytes
    if (this.left < 0) this.fail("", tooLong(this.maxBytes))
  }

  private fail(path: string, reason: string): null {
    this.fault ??= path === "" ? reason : `${reason} at ${path}`
    return null
  }
}

/** cbor-x writes a number beyond 32 bits as a floating-point number, and a bigint in 64 bits. */
const integer = (value: number): number | bigint => value >= -0x100000000 && value < 0x100000000 ? value : BigInt(value)

const restored = (item: unknown): unknown => {
  if (item === undefined) return null
  if (typeof item === "bigint") return Number.isSafeInteger(Number(item)) ? Number(item) : item
  if (Array.isArray(item)) return item.map(restored)
  if (!(item instanceof Map)) return item
  const entries = Array.from(item, ([key, value]) => [restored(key), restored(value)] as const)
  // `fromEntries` defines members: a key "__proto__" is one like others.
  return entries.every(([key]) => typeof key === "string") ? Object.fromEntries(entries) : new Map(entries)
}

// --- With a schema -----------------------------------------------------------

/**
 * A schema's values as CBOR.
 *
 * @internal
 */
export interface Codec<A> {
  readonly encode: (value: A) => Result.Result<Uint8Array, string>
  readonly decode: (bytes: Uint8Array) => Result.Result<A, string>
}

/**
 * The codec of a schema for at most `maxBytes` bytes. An exception of the
 * schema is a failure as well: untrusted bytes may reach cases that its author
 * did not expect.
 *
 * @internal
 */
export const codec = <A>(schema: Schema.Codec<A, unknown>, maxBytes: number): Codec<A> => {
  const toEncoded = Schema.encodeUnknownResult(schema)
  const fromEncoded = Schema.decodeUnknownResult(schema)
  const parsed = <B>(parse: () => Result.Result<B, Schema.SchemaError>): Result.Result<B, string> => {
    try {
      // The place of a fault is on a line of its own.
      return Result.mapError(parse(), ({ message }) => message.replace(/\n\s*/g, " "))
    } catch (error) {
      return Result.fail(`the schema failed: ${messageOf(error)}`)
    }
  }
  return {
    encode: (value) => Result.flatMap(parsed(() => toEncoded(value)), (encoded) => encode(encoded, maxBytes)),
    decode: (bytes) => Result.flatMap(decode(bytes, maxBytes), (value) => parsed(() => fromEncoded(value)))
  }
}

// --- As JSON -----------------------------------------------------------------

/**
 * The value as JSON: bytes as hex digits, integers beyond 2^53 and numbers that
 * are not finite as text, map keys as text. Undefined if the bytes are not a
 * value of an application.
 *
 * @internal
 */
export const toJson = (bytes: Uint8Array, maxBytes: number): Schema.Json | undefined =>
  Result.getOrUndefined(Result.map(decode(bytes, maxBytes), plain))

const plain = (value: unknown): Schema.Json => {
  if (typeof value === "boolean" || typeof value === "string" || value === null) return value
  if (value instanceof Uint8Array) return Hex.encode(value)
  if (Array.isArray(value)) return value.map(plain)
  if (value instanceof Map) return Object.fromEntries(Array.from(value, ([key, item]) => [String(key), plain(item)]))
  if (typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, plain(item)]))
  }
  return typeof value === "number" && Number.isFinite(value) ? value : String(value)
}
