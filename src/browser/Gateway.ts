/**
 * A node's HTTP interface as a program sees it that keeps its own keys: a page
 * in a browser, or any other without UDP. The gateway carries records. What it
 * returns is checked here, so it can withhold a record, but not change one.
 *
 * @module
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import { keyOf } from "../core/placement.ts"
import { ShownRecords } from "../core/shownRecords.ts"
import * as Vetting from "../core/vetting.ts"
import { Crypto } from "../Crypto.ts"
import type { InvalidDelegation } from "../Delegation.ts"
import type * as Problem from "../http/Problem.ts"
import * as Hex from "../internal/hex.ts"
import type * as NodeId from "../NodeId.ts"
import * as Record from "../Record.ts"
import * as Withdrawal from "../Withdrawal.ts"

/**
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** URL of the node's HTTP server, such as `http://127.0.0.1:2634`. */
  readonly url: string
  /**
   * The node's token, for publishing. The node has to name the page's origin
   * (`--http-origin`). Where it lets pages of this origin publish
   * (`--http-records`), that is enough, without the token.
   */
  readonly token?: Redacted.Redacted | undefined
  /** Defaults to the global `fetch`. */
  readonly fetch?: typeof globalThis.fetch | undefined
}

// --- Errors ------------------------------------------------------------------------

/**
 * The gateway does not answer. A browser does not tell a page more, in
 * particular not that the gateway refuses pages of its origin.
 *
 * @category errors
 * @since 0.1.0
 */
export class GatewayUnreachable extends Data.TaggedError("GatewayUnreachable")<{
  readonly url: string
  readonly reason: string
}> {
  override get message() {
    return `No answer from the gateway ${this.url}: ${this.reason}. ` +
      "Check that it runs, and that it serves pages of this origin (--http-origin, --http-records)"
  }
}

/**
 * The gateway answers that it did not do as requested. `problem` is the tag of
 * the problem, see `http/Problem`, if it names one.
 *
 * @category errors
 * @since 0.1.0
 */
export class GatewayRefused extends Data.TaggedError("GatewayRefused")<{
  readonly url: string
  readonly status: number
  readonly problem: Problem.Tag | undefined
  readonly detail: string
}> {
  override get message() {
    return `The gateway ${this.url} refused: ${this.detail}`
  }
}

/**
 * The response is not one of a gateway, or larger than any that this program
 * reads.
 *
 * @category errors
 * @since 0.1.0
 */
export class InvalidResponse extends Data.TaggedError("InvalidResponse")<{
  readonly url: string
  readonly reason: string
}> {
  override get message() {
    return `The response of ${this.url} is not one of a gateway: ${this.reason}`
  }
}

/**
 * The gateway shows a record that it must not: changed, of another key or type,
 * expired, without authority, or older than one that it has shown or accepted
 * before. Nothing of the response is used. Ask another gateway; or if every
 * gateway shows such records, set the clock.
 *
 * @category errors
 * @since 0.1.0
 */
export class FalseRecord extends Data.TaggedError("FalseRecord")<{
  readonly url: string
  /** The key whose records were requested. */
  readonly key: NodeId.NodeId
  /** The record as the gateway returned it. */
  readonly bytes: Uint8Array
  readonly reason: Record.InvalidRecord | Record.RecordExpired | Record.StaleRecord | InvalidDelegation
}> {
  override get message() {
    return `The gateway ${this.url} shows a record that does not hold: ${this.reason.message}. Use another gateway`
  }
}

/**
 * Why a request failed.
 *
 * @category errors
 * @since 0.1.0
 */
export type GatewayError = GatewayUnreachable | GatewayRefused | InvalidResponse

// --- Service -----------------------------------------------------------------------

/**
 * Reads and publishes records through a node, and trusts it with neither.
 *
 * @example
 * ```ts
 * import { NodeId } from "effect-dht"
 * import { Gateway } from "effect-dht/browser"
 * import * as Effect from "effect/Effect"
 *
 * const count = Effect.gen(function*() {
 *   const gateway = yield* Gateway.Gateway
 *   const records = yield* gateway.records(NodeId.fromTopic("translate"))
 *   yield* Effect.log(`${records.length} records, each verified`)
 * }).pipe(
 *   Effect.catchTag("FalseRecord", ({ message }) => Effect.logError(message))
 * )
 * ```
 *
 * @category services
 * @since 0.1.0
 */
export class Gateway extends Context.Service<Gateway, {
  /** URL of the gateway. */
  readonly url: string
  /**
   * Returns the records at a key, of one type or of all (0): at most
   * {@link maxRecords}, each with integrity and authority, at its key and
   * alive. An empty list may mean that the gateway withholds them.
   */
  readonly records: (
    key: NodeId.NodeId,
    type?: number
  ) => Effect.Effect<ReadonlyArray<Record.SignedRecord>, GatewayError | FalseRecord>
  /**
   * Publishes a signed record, at the key that it names or at the given one. The
   * node copies it to others, and keeps the copies until it expires.
   */
  readonly publish: (record: Record.SignedRecord, options?: PublishOptions) => Effect.Effect<void, GatewayError>
}>()("effect-dht/browser/Gateway") {}

/**
 * @category models
 * @since 0.1.0
 */
export interface PublishOptions {
  /** Key of a record that does not name its own, which are custom ones. */
  readonly key?: NodeId.NodeId | undefined
  /** Number of copies to wait for, at most 8 and for 10 seconds. By default none. */
  readonly replicas?: number | undefined
  /** Whether the request continues when the page is closed. Defaults to false. */
  readonly keepalive?: boolean | undefined
}

/**
 * Maximum number of records that are read of a key.
 *
 * @category constants
 * @since 0.1.0
 */
export const maxRecords = 4000

/** Records requested at a time. */
const pageSize = 1000

/** Maximum bytes of a response: a record has a few kilobytes there. */
const maxResponseBytes = 16 * 1024 * 1024

/** Time limit of a request; a node gives up a lookup earlier. */
const timeout = "30 seconds"

/** Signatures checked without a pause: each takes a millisecond or two. */
const checkedAtOnce = 4

interface Page {
  readonly records: ReadonlyArray<Uint8Array>
  readonly next: string | null
}

const make = Effect.fnUntraced(function*(options: Options) {
  const { token } = options
  const url = options.url.replace(/\/+$/, "")
  const { vet } = Vetting.make({ crypto: yield* Crypto })
  const shown = new ShownRecords()
  const send = options.fetch ?? ((input, init) => globalThis.fetch(input, init))
  const authorization: { readonly authorization?: string } = token === undefined
    ? {}
    : { authorization: `Bearer ${Redacted.value(token)}` }

  /** Sends a request; the result is the parsed JSON of a success. */
  const request = (path: string, init: RequestInit = {}): Effect.Effect<unknown, GatewayError> =>
    Effect.tryPromise({
      try: async (signal) => {
        const response = await send(url + path, {
          // The gateway needs nothing of what the browser knows, and sends no one elsewhere.
          credentials: "omit",
          redirect: "error",
          referrerPolicy: "no-referrer",
          ...init,
          headers: { ...authorization, ...init.headers },
          signal
        })
        return { status: response.status, text: await textOf(response) }
      },
      catch: (cause) => new GatewayUnreachable({ url, reason: cause instanceof Error ? cause.message : String(cause) })
    }).pipe(
      Effect.timeoutOrElse({
        duration: timeout,
        orElse: () => Effect.fail(new GatewayUnreachable({ url, reason: `it took more than ${timeout}` }))
      }),
      Effect.flatMap(({ status, text }): Effect.Effect<unknown, GatewayRefused | InvalidResponse> => {
        if (text === undefined) return invalid(`it has more than ${maxResponseBytes} bytes`)
        const body = parsed(text)
        if (status >= 200 && status < 300) return body === undefined ? invalid("it is not JSON") : Effect.succeed(body)
        const { _tag, detail } = membersOf(body)
        return Effect.fail(
          new GatewayRefused({
            url,
            status,
            problem: typeof _tag === "string" ? _tag as Problem.Tag : undefined,
            detail: typeof detail === "string" ? detail : `status ${status}`
          })
        )
      })
    )

  const invalid = (reason: string) => Effect.fail(new InvalidResponse({ url, reason }))

  /** Requests a part of the records at a key. */
  const page = (key: NodeId.NodeId, type: number, after: string | null): Effect.Effect<Page, GatewayError> => {
    const query = new URLSearchParams({ type: String(type), limit: String(pageSize) })
    if (after !== null) query.set("after", after)
    return request(`/v1/records/${key}?${query}`).pipe(
      Effect.flatMap((body) => {
        const read = pageOf(body)
        return typeof read === "string" ? invalid(read) : Effect.succeed(read)
      }),
      Effect.catchTag(
        "GatewayRefused",
        (refused): Effect.Effect<Page, GatewayRefused> =>
          refused.problem === "NoMatchingRecords" ? Effect.succeed({ records: [], next: null }) : Effect.fail(refused)
      )
    )
  }

  /** Checks a record. Undefined if it is not to be shown. */
  const check = (
    key: NodeId.NodeId,
    type: number,
    bytes: Uint8Array,
    since: number,
    now: number
  ): Result.Result<Record.SignedRecord | undefined, FalseRecord> => {
    const refused = (reason: FalseRecord["reason"]) => Result.fail(new FalseRecord({ url, key, bytes, reason }))
    const decoded = Record.decode(bytes)
    if (Result.isFailure(decoded)) return refused(decoded.failure)
    const record = decoded.success
    if (type !== 0 && record.type !== type) {
      return refused(new Record.InvalidRecord({ reason: `its type is ${record.type}, requested was ${type}` }))
    }
    const vetted = vet(key, record, now)
    if (Result.isFailure(vetted)) {
      const { failure } = vetted
      // It may have expired on its way, and clocks differ.
      const isLate = failure._tag === "RecordExpired" && failure.now - failure.expiresAt <= Record.clockSkew
      return isLate ? Result.succeed(undefined) : refused(failure)
    }
    const judged = shown.judge(key, record, since, now)
    return judged instanceof Record.StaleRecord ? refused(judged) : Result.succeed(judged)
  }

  const records: Gateway["Service"]["records"] = Effect.fnUntraced(function*(key, type = 0) {
    const since = shown.begin()
    const found = new Map<string, Record.SignedRecord>()
    let read = 0
    let after: string | null = null
    do {
      const part: Page = yield* page(key, type, after)
      for (const bytes of part.records) {
        if (read++ % checkedAtOnce === 0) yield* Effect.yieldNow
        const now = Math.floor((yield* Clock.currentTimeMillis) / 1000)
        const record = yield* Effect.fromResult(check(key, type, bytes, since, now))
        if (record !== undefined && Withdrawal.isStanding(record)) found.set(Hex.encode(record.signature), record)
      }
      after = part.next
    } while (after !== null && read < maxRecords)
    return Array.from(found.values())
  })

  const publish: Gateway["Service"]["publish"] = (record, { keepalive = false, key, replicas } = {}) =>
    Effect.map(
      request(`/v1/records${replicas === undefined ? "" : `?replicas=${replicas}`}`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ signed_hex: Hex.encode(record.bytes), key }),
        keepalive
      }),
      () => shown.put(key ?? keyOf(record) ?? Record.ownKey(record), record)
    )

  return Gateway.of({ url, records, publish })
})

/** The text of a response; undefined if it is too long. */
const textOf = async (response: Response): Promise<string | undefined> => {
  if (response.body === null) return ""
  const reader = response.body.getReader()
  const decoder = new TextDecoder()
  let text = ""
  for (let size = 0;;) {
    const { done, value } = await reader.read()
    if (done) return text + decoder.decode()
    size += value.length
    if (size > maxResponseBytes) {
      await reader.cancel()
      return undefined
    }
    text += decoder.decode(value, { stream: true })
  }
}

const parsed = (text: string): unknown => {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

const membersOf = (value: unknown): { readonly [name: string]: unknown } =>
  typeof value === "object" && value !== null ? value as { readonly [name: string]: unknown } : {}

/** The records of a response, or what is wrong with it. */
const pageOf = (body: unknown): Page | string => {
  const { next, records } = membersOf(body)
  if (!Array.isArray(records)) return "it has no list of records"
  if (records.length > pageSize) return `it lists more than ${pageSize} records`
  // A page that is not full is the last, so a list cannot be drawn out.
  if (next !== null && (typeof next !== "string" || records.length < pageSize)) return "its list does not end"
  const read: Array<Uint8Array> = []
  for (const each of records) {
    const { signed_hex } = membersOf(each)
    if (typeof signed_hex !== "string" || !/^(?:[0-9a-f]{2})*$/.test(signed_hex)) return "a record is not in hex digits"
    read.push(Hex.decode(signed_hex))
  }
  return { records: read, next }
}

/**
 * Uses a node as a gateway. It connects when a method is called.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options): Layer.Layer<Gateway, never, Crypto> => Layer.effect(Gateway, make(options))
