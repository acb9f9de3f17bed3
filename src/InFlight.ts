/**
 * Questions under way, and what came of them so far: for whoever asks many and
 * goes on with the first answers. No fiber waits for any of them.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import { Timer } from "./internal/timerQueue.ts"
import type { Timers } from "./Timers.ts"

interface Question {
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
  private readonly underWay = new Set<Question>()
  private outcomes: Array<A> = []
  private onOutcome: (() => void) | undefined = undefined

  constructor(timers: Timers["Service"]) {
    this.timers = timers
  }

  /** Asks; `ask` says what came of it once, and returns how to give up. */
  start(ask: (done: (outcome: A) => void) => () => void): void {
    const question: Question = { giveUp: () => {} }
    this.underWay.add(question)
    // It may come to nothing on the spot, before there is anything to give up.
    question.giveUp = ask((outcome) => {
      this.underWay.delete(question)
      this.outcomes.push(outcome)
      this.onOutcome?.()
    })
  }

  /** All outcomes since the last time, or those that come next; none if there were none until the given time. */
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

  /** Gives up whatever is under way. */
  giveUp(): void {
    for (const { giveUp } of this.underWay) giveUp()
    this.underWay.clear()
  }
}
