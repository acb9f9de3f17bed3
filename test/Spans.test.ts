import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as References from "effect/References"
import * as Tracer from "effect/Tracer"
import { spanned } from "../src/Spans.ts"

const setUp = () => {
  const spans: Array<Tracer.Span> = []
  const tracer = Tracer.make({
    span: (options) => {
      const span = new Tracer.NativeSpan(options)
      spans.push(span)
      return span
    }
  })
  return { spans, traced: Effect.provideService(Tracer.Tracer, tracer) }
}

describe("spanned", () => {
  it.effect("runs an effect in a span with its name and attributes, within the one around it", () => {
    const { spans, traced } = setUp()
    return Effect.gen(function*() {
      const inner = spanned("inner", () => ({ "dht.peer": "ann" }))(Effect.succeed(1))
      assert.strictEqual(yield* spanned("outer")(inner), 1)
      assert.deepStrictEqual(spans.map(({ name }) => name), ["outer", "inner"])
      assert.strictEqual(Option.getOrThrow(spans[1].parent), spans[0])
      assert.strictEqual(spans[1].attributes.get("dht.peer"), "ann")
      assert.strictEqual(spans[1].status._tag, "Ended")
    }).pipe(traced)
  })

  it.effect("leaves the effect as it is while tracing is off, and computes no attributes", () => {
    const { spans, traced } = setUp()
    const attributes = () => {
      throw new Error("computed")
    }
    return Effect.gen(function*() {
      const effect = spanned("quiet", attributes)(Effect.option(Effect.currentSpan))
      assert.strictEqual((yield* effect)._tag, "None")
      assert.deepStrictEqual(spans, [])
    }).pipe(Effect.provideService(References.TracerEnabled, false), traced)
  })

  it.effect("leaves the effect as it is under the default tracer, which drops its spans", () => {
    const attributes = () => {
      throw new Error("computed")
    }
    return Effect.gen(function*() {
      const effect = spanned("quiet", attributes)(Effect.option(Effect.currentSpan))
      assert.strictEqual((yield* effect)._tag, "None")
    }).pipe(Effect.provideService(Tracer.Tracer, Tracer.nativeTracer))
  })
})
