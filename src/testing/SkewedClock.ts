/**
 * A clock whose time of day is offset from the world's by a settable amount.
 * Monotonic time and sleeping are those of the world.
 *
 * @module
 * @since 0.1.0
 */
import type * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"

/**
 * A clock with a settable offset.
 *
 * @category models
 * @since 0.1.0
 */
export class SkewedClock implements Clock.Clock {
  private readonly world: Clock.Clock
  private offset = 0

  constructor(world: Clock.Clock) {
    this.world = world
  }

  /** The offset from the world's clock in milliseconds; negative if it is behind. */
  get offsetMillis(): number {
    return this.offset
  }

  /** Sets the offset from the world's clock; a negative duration sets it behind. */
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
