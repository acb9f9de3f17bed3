/**
 * Standard input and output for a JSON-RPC server, with one message per line.
 *
 * Only well-formed requests and notifications reach the server, one at a time.
 * Everything else is answered here with the error that JSON-RPC has for it, so
 * that one bad line affects no other.
 *
 * @since 0.1.0
 */
import type * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Queue from "effect/Queue"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import * as Sink from "effect/Sink"
import * as Stdio from "effect/Stdio"
import * as Stream from "effect/Stream"
import { decodeUtf8 } from "../../internal/text.ts"
import { type Line, LineSplitter } from "../LineSplitter.ts"

/**
 * Maximum bytes of a line. The largest sensible message is a few kilobytes.
 *
 * @category constants
 * @since 0.1.0
 */
export const maxLine = 1 << 18

/**
 * Maximum depth of nested arrays and objects in a message.
 *
 * @category constants
 * @since 0.1.0
 */
export const maxDepth = 64

/**
 * Maximum number of requests in flight.
 *
 * @category constants
 * @since 0.1.0
 */
export const maxRequests = 64

/** Lines that wait for the server; beyond them, input is not read. */
const maxWaiting = 16

// --- Messages ----------------------------------------------------------------------

type Id = string | number

/** A JSON-RPC error response. The id is null if the request's is unknown. */
interface Refusal {
  readonly code: number
  readonly message: string
  readonly id: Id | null
}

/** A request, or without an id a notification. */
interface Message {
  readonly id: Id | undefined
  readonly method: string
  readonly params: object | undefined
}

const parseError = -32700

const invalidRequest = -32600

/** In the range that JSON-RPC leaves to servers. */
const overloaded = -32000

const refusal = (code: number, message: string, id: Id | null = null): Refusal => ({ code, message, id })

const isId = (id: unknown): id is Id => typeof id === "string" || Number.isSafeInteger(id)

const isObject = (value: unknown): value is { readonly [member: string]: unknown } =>
  typeof value === "object" && value !== null && !Array.isArray(value)

/** Whether arrays and objects are nested more deeply than allowed. Does not recurse itself. */
const isDeep = (value: unknown): boolean => {
  let level = [value]
  for (let depth = 0; level.length > 0; depth++) {
    if (depth > maxDepth) return true
    level = level.flatMap((each) => typeof each === "object" && each !== null ? Object.values(each) : [])
  }
  return false
}

const parse = (text: string): Result.Result<unknown, Refusal> =>
  Result.try({
    try: () => JSON.parse(text) as unknown,
    catch: () => refusal(parseError, "The line is not JSON. Write each message on one line")
  })

/** The message on a line; undefined for an empty line, and for a response, since this server sends no requests. */
const read = (line: Uint8Array): Result.Result<Message | undefined, Refusal> => {
  const text = decodeUtf8(line)
  if (text === undefined) return Result.fail(refusal(parseError, "The line is not UTF-8"))
  if (text.trim() === "") return Result.succeed(undefined)
  return Result.flatMap(parse(text), (message) => {
    if (Array.isArray(message)) {
      return Result.fail(refusal(invalidRequest, "Batches are not accepted: write each message on a line of its own"))
    }
    if (!isObject(message)) return Result.fail(refusal(invalidRequest, "A message is a JSON object"))
    const { id, jsonrpc, method, params } = message
    const known = isId(id) ? id : null
    const invalid = (reason: string) => Result.fail(refusal(invalidRequest, reason, known))
    if (jsonrpc !== "2.0") return invalid("The member jsonrpc is not \"2.0\"")
    if (method === undefined && ("result" in message || "error" in message)) return Result.succeed(undefined)
    if (typeof method !== "string") return invalid("The member method is not text")
    if ("id" in message && known === null) return invalid("The member id is neither text nor an integer")
    if (params !== undefined && (typeof params !== "object" || params === null)) {
      return invalid("The member params is not an object")
    }
    if (isDeep(params)) return invalid(`The member params is nested more than ${maxDepth} levels deep`)
    return Result.succeed({ id: known ?? undefined, method, params })
  })
}

// --- Requests in flight --------------------------------------------------------------

/** Requests after which a client expects to hear of changes. */
const subscribing: ReadonlySet<string> = new Set(["resources/subscribe", "subscriptions/listen"])

const keyOf = (id: Id): string => `${typeof id} ${id}`

class InFlight {
  private readonly requests = new Set<string>()

  /** The reason why the message cannot be handled now; undefined if it can. */
  admit({ id, method, params }: Message): Refusal | undefined {
    if (id === undefined) {
      // A cancelled request gets no response.
      const cancelled = method === "notifications/cancelled" && isObject(params) ? params["requestId"] : undefined
      if (isId(cancelled)) this.requests.delete(keyOf(cancelled))
      return undefined
    }
    // The response to the other request must stay the only one with this id.
    if (this.requests.has(keyOf(id))) return refusal(invalidRequest, "A request with this id is in flight")
    if (this.requests.size >= maxRequests) {
      return refusal(overloaded, `${maxRequests} requests are in flight: wait for a response before the next`, id)
    }
    this.requests.add(keyOf(id))
    return undefined
  }

  /** Notes the responses among written lines. */
  written(text: string): void {
    for (const line of text.split("\n")) {
      if (line === "") continue
      const { id, method }: { readonly id?: Id; readonly method?: string } = JSON.parse(line)
      if (id !== undefined && id !== null && method === undefined) this.requests.delete(keyOf(id))
    }
  }
}

// --- Standard input and output ---------------------------------------------------------

/**
 * What a server gets in place of the process's input and output.
 *
 * @category models
 * @since 0.1.0
 */
export interface Guarded {
  readonly stdio: Stdio.Stdio
  /** Waits for the end of the input, after which there are no requests to wait for. */
  readonly ended: Effect.Effect<void>
  /** Waits until the client has subscribed to a resource. */
  readonly subscribed: Effect.Effect<void>
}

/**
 * Reads the input for a server until the scope closes. Answers lines that are no
 * message, or that cannot be handled, on the output.
 *
 * @category constructors
 * @since 0.1.0
 */
export const guard: Effect.Effect<Guarded, never, Stdio.Stdio | Scope.Scope> = Effect.gen(function*() {
  const stdio = yield* Stdio.Stdio
  const lines = yield* Queue.bounded<Uint8Array, Cause.Done>(maxWaiting)
  const inFlight = new InFlight()
  const subscribed = Latch.makeUnsafe()
  const encoder = new TextEncoder()

  const refuse = ({ code, id, message }: Refusal) =>
    Stream.make(`${JSON.stringify({ jsonrpc: "2.0", id, error: { code, message } })}\n`).pipe(
      Stream.run(stdio.stdout()),
      // There is no one left to tell.
      Effect.ignore
    )

  const take = ({ bytes: line }: Line) => {
    if (line === undefined) return refuse(refusal(invalidRequest, `The line is longer than ${maxLine} bytes`))
    const result = read(line)
    if (Result.isFailure(result)) return refuse(result.failure)
    const message = result.success
    if (message === undefined) return Effect.void
    const refused = inFlight.admit(message)
    if (refused !== undefined) return refuse(refused)
    if (subscribing.has(message.method)) subscribed.openUnsafe()
    // Written anew, because the server obeys members of its own beside those of JSON-RPC.
    const { id, method, params } = message
    return Queue.offer(lines, encoder.encode(`${JSON.stringify({ jsonrpc: "2.0", id, method, params })}\n`))
  }

  const splitter = new LineSplitter(maxLine)
  const reading = yield* Stream.runForEach(
    stdio.stdin,
    (chunk) => Effect.forEach(splitter.push(chunk), take, { discard: true })
  ).pipe(
    Effect.andThen(Effect.suspend(() => Effect.forEach(splitter.end(), take, { discard: true }))),
    Effect.catchCause((cause) => Effect.logWarning("The standard input cannot be read", cause)),
    Effect.annotateLogs({ module: "effect-dht/cli/mcp/Lines", fiber: "Input" }),
    Effect.andThen(Queue.end(lines)),
    Effect.forkScoped
  )

  return {
    stdio: {
      ...stdio,
      stdin: Stream.fromQueue(lines),
      stdout: (options) =>
        Sink.mapInput(stdio.stdout(options), (chunk: string | Uint8Array) => {
          inFlight.written(typeof chunk === "string" ? chunk : new TextDecoder().decode(chunk))
          return chunk
        })
    },
    ended: Effect.asVoid(Fiber.await(reading)),
    subscribed: subscribed.await
  }
})
