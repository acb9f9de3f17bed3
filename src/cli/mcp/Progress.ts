/**
 * Progress of calls that take long, for clients that ask for it.
 *
 * @since 0.1.0
 */
import { McpRequestContext } from "effect/ai/McpSchema"
import type { McpServer } from "effect/ai/McpServer"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"

/** Pause between two notifications. */
const interval = "1 second"

/**
 * @category models
 * @since 0.1.0
 */
export interface Progress {
  readonly at: number
  readonly total: number
  readonly message: string
}

/**
 * Runs a call, and meanwhile tells the client once a second what `look` sees, as
 * long as that grows. Does nothing else if the client has not asked for it.
 *
 * @category running
 * @since 0.1.0
 */
export const reporting =
  ({ notifications }: McpServer["Service"], look: Effect.Effect<Progress>) => <A, E, R>(call: Effect.Effect<A, E, R>) =>
    Effect.gen(function*() {
      const { requestMetadata } = yield* McpRequestContext
      const progressToken = requestMetadata?.["progressToken"]
      if (typeof progressToken !== "string" && typeof progressToken !== "number") return yield* call
      let told = -1
      const tell = Effect.flatMap(look, ({ at, message, total }) => {
        if (at <= told) return Effect.void
        told = at
        return notifications["notifications/progress"]({ progressToken, progress: at, total, message })
      })
      const telling = Effect.andThen(Effect.repeat(tell, Schedule.spaced(interval)), Effect.never)
      return yield* Effect.raceFirst(call, telling)
    })

/**
 * The time since now, of at most so many seconds.
 *
 * @category constructors
 * @since 0.1.0
 */
export const elapsing = (total: number, message: string): Effect.Effect<Effect.Effect<Progress>> =>
  Effect.map(
    Clock.currentTimeMillis,
    (start) =>
      Effect.map(
        Clock.currentTimeMillis,
        (now) => ({ at: Math.min(Math.floor((now - start) / 1000), total), total, message })
      )
  )
