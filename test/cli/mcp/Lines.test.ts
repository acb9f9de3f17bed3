import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import * as Sink from "effect/Sink"
import * as Stdio from "effect/Stdio"
import * as Stream from "effect/Stream"
import * as Lines from "../../../src/cli/mcp/Lines.ts"

const encoder = new TextEncoder()

const decoder = new TextDecoder()

const request = (id: unknown, method: string, params?: unknown): string =>
  JSON.stringify({ jsonrpc: "2.0", id, method, params })

/** The input and output of a process, and what is written. */
const terminal = (input: Stream.Stream<string | Uint8Array>) => {
  const written: Array<string> = []
  const stdio = Stdio.make({
    args: Effect.succeed([]),
    stdin: Stream.map(input, (chunk) => typeof chunk === "string" ? encoder.encode(chunk) : chunk),
    stdout: () =>
      Sink.forEach((chunk: string | Uint8Array) =>
        Effect.sync(() => {
          written.push(typeof chunk === "string" ? chunk : decoder.decode(chunk))
        })
      ),
    stderr: () => Sink.drain
  })
  const answers = () => written.map((line) => JSON.parse(line))
  return { stdio, answers }
}

/** What reaches the server of an input, and what is answered before. */
const through = Effect.fnUntraced(function*(...chunks: ReadonlyArray<string | Uint8Array>) {
  const { answers, stdio } = terminal(Stream.fromIterable(chunks))
  const guarded = yield* Effect.provideService(Lines.guard, Stdio.Stdio, stdio)
  const passed = yield* Stream.runCollect(guarded.stdio.stdin)
  yield* guarded.ended
  return { passed: Array.from(passed, (line) => JSON.parse(decoder.decode(line))), answers: answers() }
})

const ping = { jsonrpc: "2.0", id: 1, method: "ping" }

describe("the guard of the standard input", () => {
  it.effect("passes messages on one by one, however the input is cut", () =>
    Effect.gen(function*() {
      const text = `${request(1, "ping")}\n\n${request("ä", "tools/call", { name: "ü€😀" })}\r\n   \n${
        JSON.stringify({ jsonrpc: "2.0", method: "notifications/initialized" })
      }`
      const bytes = encoder.encode(text)
      const passed = [
        ping,
        { jsonrpc: "2.0", id: "ä", method: "tools/call", params: { name: "ü€😀" } },
        { jsonrpc: "2.0", method: "notifications/initialized" }
      ]
      assert.deepStrictEqual(yield* through(bytes), { passed, answers: [] })
      assert.deepStrictEqual(yield* through(...Array.from(bytes, (byte) => Uint8Array.of(byte))), {
        passed,
        answers: []
      })
      for (let at = 0; at <= bytes.length; at++) {
        assert.deepStrictEqual(yield* through(bytes.slice(0, at), bytes.slice(at)), { passed, answers: [] })
      }
    }))

  it.effect("answers a line that is no JSON, and passes its neighbours in the same chunk", () =>
    Effect.gen(function*() {
      const { answers, passed } = yield* through(`${request(1, "ping")}\n{"jsonrpc": "2.0",\n${request(2, "ping")}\n`)
      assert.deepStrictEqual(passed, [ping, { ...ping, id: 2 }])
      assert.deepStrictEqual(answers, [{
        jsonrpc: "2.0",
        id: null,
        error: { code: -32700, message: "The line is not JSON. Write each message on one line" }
      }])
    }))

  it.effect("answers everything that is no message with the code that JSON-RPC has for it", () =>
    Effect.gen(function*() {
      const deep = `${"[".repeat(100_000)}${"]".repeat(100_000)}`
      const nested = (depth: number) => `${"{\"a\":".repeat(depth)}1${"}".repeat(depth)}`
      const bad: ReadonlyArray<readonly [line: string | Uint8Array, code: number, id: string | number | null]> = [
        ["nonsense", -32700, null],
        ["{}}", -32700, null],
        [Uint8Array.of(0x7b, 0xff, 0x7d), -32700, null],
        ["1", -32600, null],
        ["null", -32600, null],
        ["\"ping\"", -32600, null],
        ["[]", -32600, null],
        [`[${request(1, "ping")}]`, -32600, null],
        ["{}", -32600, null],
        [JSON.stringify({ id: 7, method: "ping" }), -32600, 7],
        [JSON.stringify({ jsonrpc: "1.0", id: 7, method: "ping" }), -32600, 7],
        [JSON.stringify({ jsonrpc: "2.0", id: "a" }), -32600, "a"],
        [JSON.stringify({ jsonrpc: "2.0", id: 7, method: 5 }), -32600, 7],
        [request(null, "ping"), -32600, null],
        [request(1.5, "ping"), -32600, null],
        [request({}, "ping"), -32600, null],
        [request(7, "ping", 3), -32600, 7],
        [request(7, "ping", null), -32600, 7],
        [`{"jsonrpc":"2.0","id":7,"method":"ping","params":${deep}}`, -32600, 7],
        [`{"jsonrpc":"2.0","id":7,"method":"ping","params":${nested(Lines.maxDepth + 1)}}`, -32600, 7]
      ]
      for (const [line, code, id] of bad) {
        const { answers, passed } = yield* through(line, "\n", `${request(1, "ping")}\n`)
        assert.deepStrictEqual(passed, [ping], String(line).slice(0, 100))
        assert.deepStrictEqual(
          answers.map(({ error, id }) => [error.code, id]),
          [[code, id]],
          String(line).slice(0, 100)
        )
      }
      const fits = yield* through(`{"jsonrpc":"2.0","id":7,"method":"ping","params":${nested(Lines.maxDepth)}}`)
      assert.lengthOf(fits.passed, 1)
    }))

  it.effect("answers a line that is too long before it ends, and keeps none of it", () =>
    Effect.gen(function*() {
      const part = new Uint8Array(Lines.maxLine / 4).fill(0x20)
      const fits = encoder.encode(request(1, "ping").padEnd(Lines.maxLine))
      assert.deepStrictEqual((yield* through(fits, "\n")).passed, [ping])

      const input = yield* Queue.unbounded<Uint8Array>()
      const { answers, stdio } = terminal(Stream.fromQueue(input))
      const guarded = yield* Effect.provideService(Lines.guard, Stdio.Stdio, stdio)
      yield* Queue.offerAll(input, Array.from({ length: 40 }, () => part))
      yield* Queue.offer(input, encoder.encode(`\n${request(1, "ping")}\n`))
      const passed = yield* Stream.runCollect(Stream.take(guarded.stdio.stdin, 1))
      assert.deepStrictEqual(JSON.parse(decoder.decode(passed[0])), ping)
      assert.deepStrictEqual(answers().map(({ error }) => error), [
        { code: -32600, message: `The line is longer than ${Lines.maxLine} bytes` }
      ])
    }))

  it.effect("drops responses, and members that are not of JSON-RPC", () =>
    Effect.gen(function*() {
      const { answers, passed } = yield* through(
        `${JSON.stringify({ jsonrpc: "2.0", id: 1, result: {} })}\n`,
        `${JSON.stringify({ jsonrpc: "2.0", id: 1, error: { _tag: "Defect", code: 1, message: "" } })}\n`,
        `${JSON.stringify({ ...ping, headers: 1, discard: true, traceId: "a", spanId: "b", sampled: true })}\n`
      )
      assert.deepStrictEqual({ answers, passed }, { answers: [], passed: [ping] })
    }))

  it.effect("has at most so many requests in flight, and none twice", () =>
    Effect.gen(function*() {
      const input = yield* Queue.unbounded<string>()
      const { answers, stdio } = terminal(Stream.fromQueue(input))
      const { stdio: { stdin, stdout } } = yield* Effect.provideService(Lines.guard, Stdio.Stdio, stdio)
      const take = Effect.map(Stream.runHead(stdin), (line) => JSON.parse(decoder.decode(line.valueOrUndefined)).id)
      const send = (id: unknown, method = "ping", params?: unknown) =>
        Queue.offer(input, `${request(id, method, params)}\n`)
      const passes = Effect.fnUntraced(function*(id: unknown) {
        yield* send(id)
        assert.strictEqual(yield* take, id)
      })
      const answer = (id: unknown) =>
        Stream.run(Stream.make(`${JSON.stringify({ jsonrpc: "2.0", id, result: {} })}\n`), stdout())

      for (let id = 0; id < Lines.maxRequests - 1; id++) yield* passes(id)
      yield* passes("0")
      yield* send(0)
      yield* send("more")
      // A notification needs no place.
      yield* Queue.offer(input, `${JSON.stringify({ jsonrpc: "2.0", method: "notifications/initialized" })}\n`)
      assert.isUndefined(yield* take)
      assert.deepStrictEqual(answers().map(({ error, id }) => [error.code, id]), [[-32600, null], [-32000, "more"]])

      yield* answer(0)
      yield* passes(0)
      yield* send(undefined, "notifications/cancelled", { requestId: 0 })
      assert.isUndefined(yield* take)
      yield* passes(0)
      assert.lengthOf(answers().filter(({ error }) => error !== undefined), 2)
    }))
})
