/**
 * Requests in flight and their outcomes, for a caller that makes many and
 * continues with the first responses. None of them costs a fiber.
 *
 * @module
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import { Timer } from "./internal/timerQueue.ts"
import type { Timers } from "./Timers.ts"

interface PendingRequest {
  giveUp: () => void
}

class CallbackTimer extends Timer {
  private readonly ring: () => void

  constructor(ring: () => void) {
    super()
    this.ring = ring
  }

  override fire(): void {
    this.ring()
  }
}

/**
 * @internal
 */
export class InFlight<A> {
  private readonly timers: Timers["Service"]
  private readonly pending = new Set<PendingRequest>()
  private outcomes: Array<A> = []
  private onOutcome: (() => void) | undefined = undefined

  constructor(timers: Timers["Service"]) {
    this.timers = timers
  }

  /** Starts a request. `ask` reports the outcome once, and returns a function that cancels it. */
  start(ask: (done: (outcome: A) => void) => () => void): void {
    const request: PendingRequest = { giveUp: () => {} }
    this.pending.add(request)
    // The outcome may arrive before `ask` returns, when there is nothing to
    // cancel yet.
    request.giveUp = ask((outcome) => {
      this.pending.delete(request)
      this.outcomes.push(outcome)
      this.onOutcome?.()
    })
  }

  /** Returns the outcomes since the last call, or waits for the next ones; none if the given time comes first. */
  take(until: number | undefined): Effect.Effect<ReadonlyArray<A>> {
    return Effect.callback<ReadonlyArray<A>>((resume) => {
      if (this.outcomes.length > 0) return resume(Effect.succeed(this.takeAll()))
      const stop = () => {
        this.onOutcome = undefined
        this.timers.cancel(timer)
      }
      const go = () => {
        stop()
        resume(Effect.succeed(this.takeAll()))
      }
      const timer = new CallbackTimer(go)
      this.onOutcome = go
      if (until !== undefined) this.timers.set(timer, until)
      return Effect.sync(stop)
    })
  }

  takeAll(): ReadonlyArray<A> {
    const outcomes = this.outcomes
    this.outcomes = []
    return outcomes
  }

  /** Cancels all requests in flight. */
  giveUp(): void {
    for (const { giveUp } of this.pending) giveUp()
    this.pending.clear()
  }
}
