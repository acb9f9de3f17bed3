/**
 * A clock that is wrong: it shows another time than the world's, by as much as
 * it is told, and may be set at any moment. What is measured and waited for
 * passes as everywhere else.
 *
 * @since 0.1.0
 */
import type * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"

/**
 * @category models
 * @since 0.1.0
 */
export class SkewedClock implements Clock.Clock {
  private readonly world: Clock.Clock
  private offset = 0

  constructor(world: Clock.Clock) {
    this.world = world
  }

  /** By how many milliseconds it is ahead of the world, negative where it is behind. */
  get offsetMillis(): number {
    return this.offset
  }

  /** Sets it that far ahead of the world, or behind with a negative duration. */
  setUnsafe(ahead: Duration.Input): void {
    this.offset = Math.round(Duration.toMillis(ahead))
  }

  currentTimeMillisUnsafe(): number {
    return this.world.currentTimeMillisUnsafe() + this.offset
  }
  currentTimeNanosUnsafe(): bigint {
    return this.world.currentTimeNanosUnsafe() + BigInt(this.offset) * 1_000_000n
  }
  monotonicTimeNanosUnsafe(): bigint {
    return this.world.monotonicTimeNanosUnsafe()
  }
  readonly currentTimeMillis = Effect.sync(() => this.currentTimeMillisUnsafe())
  readonly currentTimeNanos = Effect.sync(() => this.currentTimeNanosUnsafe())
  readonly monotonicTimeNanos = Effect.sync(() => this.monotonicTimeNanosUnsafe())
  sleep(duration: Duration.Duration): Effect.Effect<void> {
    return this.world.sleep(duration)
  }
}
