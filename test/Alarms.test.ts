import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as TestClock from "effect/testing/TestClock"
import * as Alarms from "../src/Alarms.ts"
import { Event } from "../src/internal/eventQueue.ts"
import * as alive from "./utils/alive.ts"
class E extends Event { f: () => void; constructor(f: () => void) { super(); this.f = f } fire() { this.f() } }
describe("x", () => {
  it.effect("past alarm", () => Effect.gen(function*() {
    const a = yield* Alarms.Alarms
    const r: any[] = []
    yield* TestClock.adjust(10)
    a.set(new E(() => r.push("past")), 5)
    console.log("sync", r)
    a.set(new E(() => r.push("later")), 20)
    yield* TestClock.adjust(100)
    console.log("later?", r)
  }).pipe(Effect.provide(Alarms.layer)))
  it.effect("throws with another due", () => Effect.gen(function*() {
    const a = yield* Alarms.Alarms
    const r: any[] = []
    a.set(new E(() => { throw new Error("x") }), 5)
    a.set(new E(() => r.push("5b")), 5)
    a.set(new E(() => r.push("20")), 20)
    yield* TestClock.adjust(10)
    console.log(r)
    yield* TestClock.adjust(10)
    a.set(new E(() => r.push("30")), 30)
    yield* TestClock.adjust(100)
    console.log(r)
  }).pipe(Effect.provide(Alarms.layer)))
  it.effect("reset", () => Effect.gen(function*() {
    const a = yield* Alarms.Alarms
    const r: any[] = []
    const keep = new E(() => r.push("keep"))
    const e = new E(() => r.push(a.now()))
    a.set(keep, 50)
    a.set(e, 60)
    a.cancel(e)
    a.set(e, 70)
    yield* TestClock.adjust(100)
    console.log("reset", r)
  }).pipe(Effect.provide(Alarms.layer)))
  it.effect("leftover", () => alive.counting((now) => Effect.gen(function*() {
    const a = yield* Alarms.Alarms
    const b = now()
    const x = new E(() => {})
    a.set(x, 50)
    a.set(new E(() => {}), 5)
    console.log(b, now())
    a.cancel(x)
    console.log(b, now())
    yield* TestClock.adjust(6)
    console.log(b, now())
  }).pipe(Effect.provide(Alarms.layer))))
})
