import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import * as fc from "fast-check"
import { type DialBack, type Done, type Echo, NatProbes, type Options } from "../../src/core/natProbes.ts"
import { TimerQueue } from "../../src/internal/timerQueue.ts"
import type { TransactionId } from "../../src/Message.ts"
import type * as SocketAddress from "../../src/SocketAddress.ts"
import { TransportClosed } from "../../src/Transport.ts"
import * as network from "../utils/network.ts"

const [via, claimed, stranger] = [1, 2, 3].map(network.socketOf)
const token = Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8)
const options = { attempts: 3, deadline: 3000 }

/** Probes whose datagrams go to `onSent`, and whose timers fire as `wait` says. */
const world = (onSent: () => ReturnType<Options["send"]> = () => undefined) => {
  const queue = new TimerQueue()
  let now = 0
  let order = 0
  const timers: Options["timers"] = {
    now: () => now,
    set: (timer, at) => queue.push(timer, at, order++),
    cancel: (timer) => queue.cancel(timer)
  }
  const sent: Array<number> = []
  const probes = new NatProbes({
    timers,
    transactionId: () => "00".repeat(20) as TransactionId,
    send: () => {
      sent.push(now)
      return onSent()
    }
  })
  const wait = (millis: number): void => {
    const until = now + millis
    for (let next = queue.peek(); next !== undefined && next.at <= until; next = queue.peek()) {
      queue.pop()
      now = Math.max(now, next.at)
      next.fire()
    }
    now = until
  }
  return { probes, sent, wait, timers: () => queue.size }
}

/** The outcomes of one probe: there should be at most one. */
const outcomes = <A>() => {
  const found: Array<A | "TransportClosed"> = []
  const done: Done<A> = (result) =>
    found.push(Result.isSuccess(result) ? result.success : result.failure._tag as "TransportClosed")
  return { found, done }
}

const echo = (fields?: Partial<Echo>): Echo => ({ _tag: "NatProbeEcho", token, ...fields }) as Echo

describe("NatProbes", () => {
  it("repeats a probe in equal parts of its deadline, and ends it as unanswered after the last", () => {
    const { probes, sent, timers, wait } = world()
    const { done, found } = outcomes<boolean>()
    probes.echo(via, claimed, token, options, done)
    wait(2999)
    assert.deepStrictEqual(sent, [0, 1000, 2000])
    assert.deepStrictEqual(found, [])
    wait(1)
    assert.deepStrictEqual(found, [false])
    assert.strictEqual(probes.size + timers(), 0)
  })

  it("ends a probe with an echo of its token, whatever its source, and with no other", () => {
    const { probes, timers } = world()
    const { done, found } = outcomes<boolean>()
    probes.echo(via, claimed, token, options, done)
    assert.isTrue(probes.awaits(token))
    probes.echoed(via, echo({ token: new Uint8Array(8) }))
    assert.deepStrictEqual(found, [])
    probes.echoed(stranger, echo())
    assert.deepStrictEqual(found, [true])
    assert.isFalse(probes.awaits(token))
    assert.strictEqual(timers(), 0)
  })

  it("ends a probe whose echo arrives while it is sent", () => {
    const { probes, timers } = world(() => void probes.echoed(via, echo()))
    const { done, found } = outcomes<boolean>()
    probes.echo(via, claimed, token, options, done)
    assert.deepStrictEqual(found, [true])
    assert.strictEqual(probes.size + timers(), 0)
  })

  describe("a dial-back", () => {
    const after = (events: ReadonlyArray<readonly [SocketAddress.SocketAddress, Partial<Echo>] | number>) => {
      const { probes, sent, wait } = world()
      const { done, found } = outcomes<DialBack>()
      probes.dialBack(via, claimed, token, options, done)
      for (const event of events) {
        if (typeof event === "number") wait(event)
        else probes.echoed(event[0], echo(event[1]))
      }
      return { found, sent: sent.length }
    }

    it("has arrived with the first echo of another host", () => {
      assert.deepStrictEqual(after([[stranger, {}]]).found, [{ _tag: "Arrived" }])
    })

    it("is blocked if that of the other host comes no later than 1.5 seconds after the confirmation", () => {
      assert.deepStrictEqual(after([[via, {}], 1499]), { found: [], sent: 1 })
      assert.deepStrictEqual(after([[via, {}], 1499, [stranger, {}]]).found, [{ _tag: "Arrived" }])
      assert.deepStrictEqual(after([[via, {}], 1500]).found, [{ _tag: "Blocked", sender: undefined }])
    })

    it("shows nothing if the relay found no peer that sends the echo, or gave no answer", () => {
      assert.deepStrictEqual(after([[via, { reached: false }]]).found, [{ _tag: "NoAnswer" }])
      assert.deepStrictEqual(after([3000]).found, [{ _tag: "NoAnswer" }])
    })
  })

  it("a probe passed on counts only the echo of the peer that it was passed to", () => {
    const { probes } = world()
    const { done, found } = outcomes<boolean>()
    probes.passOn(via, { token, claimed: new Uint8Array(6) }, options, done)
    probes.echoed(stranger, echo())
    probes.echoed({ ...via, port: via.port + 1 }, echo())
    assert.deepStrictEqual(found, [])
    probes.echoed(via, echo())
    assert.deepStrictEqual(found, [true])
  })

  it("takes the word of the queried host alone for whether it reaches a peer", () => {
    const { probes } = world()
    const { done, found } = outcomes<boolean | undefined>()
    probes.reaches(via, claimed, token, options, done)
    probes.echoed(stranger, echo({ reached: true }))
    assert.deepStrictEqual(found, [])
    probes.echoed(via, echo({ reached: false }))
    assert.deepStrictEqual(found, [false])
  })

  it("fails with the error of the transport", () => {
    const { probes, timers } = world(() => new TransportClosed())
    const { done, found } = outcomes<boolean>()
    probes.echo(via, claimed, token, options, done)
    assert.deepStrictEqual(found, ["TransportClosed"])
    assert.strictEqual(probes.size + timers(), 0)
  })

  it("ends each probe once, unless it is cancelled, within its attempts, and keeps nothing of it", () => {
    const event = fc.oneof(
      fc.record({
        _tag: fc.constant("Echo" as const),
        from: fc.constantFrom(via, stranger),
        reached: fc.constantFrom(true, false, undefined)
      }),
      fc.record({ _tag: fc.constant("Wait" as const), millis: fc.integer({ min: 0, max: 2000 }) }),
      fc.record({ _tag: fc.constantFrom("Cancel" as const, "Close" as const) })
    )
    fc.assert(fc.property(
      fc.constantFrom("echo", "dialBack", "passOn", "reaches"),
      fc.array(event, { maxLength: 8 }),
      (kind, events) => {
        const { probes, sent, timers, wait } = world()
        const { done, found } = outcomes<unknown>()
        const cancel = kind === "passOn"
          ? probes.passOn(via, { token, claimed: new Uint8Array(6) }, options, done)
          : kind === "dialBack"
          ? probes.dialBack(via, claimed, token, options, done)
          : kind === "echo"
          ? probes.echo(via, claimed, token, options, done)
          : probes.reaches(via, claimed, token, options, done)
        let isCancelled = false
        for (const event of events) {
          if (event._tag === "Wait") wait(event.millis)
          else if (event._tag === "Echo") probes.echoed(event.from, echo({ reached: event.reached }))
          else if (event._tag === "Close") probes.close()
          else {
            isCancelled ||= found.length === 0
            cancel()
          }
        }
        // The deadline, and the time of the other echo of a dial-back.
        wait(3000 + 1500)
        assert.lengthOf(found, isCancelled ? 0 : 1)
        assert.isAtMost(sent.length, options.attempts)
        assert.strictEqual(probes.size + timers(), 0)
      }
    ))
  })
})
