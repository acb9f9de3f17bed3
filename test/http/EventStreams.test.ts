import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import * as EventStreams from "../../src/http/EventStreams.ts"
import { settled } from "../utils/served.ts"

interface Ticked {
  readonly type: "tick"
  readonly n: number
}

const decoder = new TextDecoder()

/** A stream as seen by a client: its input, and everything that arrives while the client reads. */
const stream = Effect.gen(function*() {
  const streams = Context.get(yield* Layer.build(EventStreams.layer), EventStreams.EventStreams)
  let sink: EventStreams.Sink<Ticked> | undefined
  let isOpen = false
  const { body } = streams.response<Ticked>(Effect.fnUntraced(function*(opened) {
    sink = opened
    isOpen = true
    yield* Effect.addFinalizer(() =>
      Effect.sync(() => {
        isOpen = false
      })
    )
  }))
  assert.strictEqual(body._tag, "Stream")
  const source = body._tag === "Stream" ? body.stream : Stream.empty
  return {
    streams,
    isOpen: () => isOpen,
    tell: (n: number) => sink?.tell(() => ({ type: "tick", n })),
    end: () => sink?.end(),
    source: Stream.map(source, (bytes) => decoder.decode(bytes))
  }
})

const frame = (id: number, n: number) => `id: ${id}\nevent: tick\ndata: {"type":"tick","n":${n}}\n\n`

describe("EventStreams", () => {
  it.effect("numbers the events and ends after the last one", () =>
    Effect.gen(function*() {
      const { end, isOpen, source, tell } = yield* stream
      assert.isFalse(isOpen())
      const all = yield* Effect.forkChild(Stream.runCollect(source))
      yield* settled
      tell(7)
      tell(8)
      end()
      assert.deepStrictEqual(yield* Fiber.join(all), [": still here\n\n", frame(1, 7), frame(2, 8)])
      assert.isFalse(isOpen())
    }))

  it.effect("keeps the newest events for a client that does not read, and numbers reveal the lost ones", () =>
    Effect.gen(function*() {
      const { end, source, tell } = yield* stream
      const told = 10 * EventStreams.waitingEvents
      const texts: Array<string> = []
      const reading = yield* Effect.forkChild(Stream.runForEach(source, (text) =>
        Effect.suspend(() => {
          texts.push(text)
          // The client reads nothing more until all events have been queued.
          if (texts.length > 1) return Effect.void
          return Effect.sleep("1 second")
        })))
      yield* settled
      for (let n = 1; n <= told; n++) tell(n)
      end()
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(reading)
      const numbers = texts.slice(1).map((text) => Number(/^id: (\d+)/.exec(text)?.[1]))
      assert.isAtMost(numbers.length, EventStreams.waitingEvents + 1)
      assert.strictEqual(numbers.at(-1), told)
      assert.isAbove(numbers[0], 1)
      assert.deepStrictEqual(numbers, numbers.toSorted((a, b) => a - b))
    }))

  it.effect("disconnects a client of a resumable stream that does not read, after the last event before a lost one", () =>
    Effect.gen(function*() {
      const { resumable } = yield* Effect.map(
        Layer.build(EventStreams.layer),
        (context) => Context.get(context, EventStreams.EventStreams)
      )
      let sink: EventStreams.ResumableSink<Ticked> | undefined
      const { body } = resumable<Ticked>((opened) =>
        Effect.sync(() => {
          sink = opened
        })
      )
      const texts: Array<string> = []
      const source = body._tag === "Stream" ? body.stream : Stream.empty
      const reading = yield* Effect.forkChild(Stream.runForEach(source, (bytes) =>
        Effect.suspend(() => {
          texts.push(decoder.decode(bytes))
          return texts.length > 1 ? Effect.void : Effect.sleep("1 second")
        })))
      yield* settled
      for (let n = 1; n <= 10 * EventStreams.waitingEvents; n++) sink?.tell(`e.${n}`, () => ({ type: "tick", n }))
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(reading)
      const numbers = texts.slice(1).map((text) => Number(/^id: e\.(\d+)/.exec(text)?.[1]))
      assert.isAtLeast(numbers.length, EventStreams.waitingEvents)
      assert.deepStrictEqual(numbers, Array.from(numbers, (_, i) => i + 1))
    }))

  it.effect("sends a comment every 15 seconds", () =>
    Effect.gen(function*() {
      const { end, source } = yield* stream
      const all = yield* Effect.forkChild(Stream.runCollect(source))
      yield* settled
      yield* TestClock.adjust("31 seconds")
      end()
      assert.deepStrictEqual(yield* Fiber.join(all), [": still here\n\n", ": still here\n\n", ": still here\n\n"])
    }))

  it.effect("ends all streams at once, each after its queued events", () =>
    Effect.gen(function*() {
      const { isOpen, source, streams, tell } = yield* stream
      assert.strictEqual(yield* streams.endAll, 0)
      const all = yield* Effect.forkChild(Stream.runCollect(source))
      yield* settled
      tell(1)
      assert.strictEqual(yield* streams.endAll, 1)
      assert.deepStrictEqual((yield* Fiber.join(all)).slice(1), [frame(1, 1)])
      assert.isFalse(isOpen())
      assert.strictEqual(yield* streams.endAll, 0)
    }))

  it.effect("cleans up when the client disconnects", () =>
    Effect.gen(function*() {
      const { isOpen, source, streams } = yield* stream
      const reading = yield* Effect.forkChild(Stream.runDrain(source))
      yield* settled
      assert.isTrue(isOpen())
      yield* Fiber.interrupt(reading)
      assert.isFalse(isOpen())
      assert.strictEqual(yield* streams.endAll, 0)
    }))
})
