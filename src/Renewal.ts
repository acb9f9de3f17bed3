/**
 * When a record that is kept alive is signed again.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Record from "./Record.ts"

/**
 * Longest sleep, in milliseconds, between two looks at the clock: a sleep does
 * not notice when the clock is set. Also the wait after a failed renewal.
 *
 * @internal
 */
export const clockCheckMillis = 60_000

/**
 * Waits until the record is due for renewal, or until the clock was set back to
 * before it was signed.
 *
 * @internal
 */
export const due = Effect.fnUntraced(function*(record: Record.SignedRecord) {
  const signedAt = Number(record.timestamp) * 1000
  const dueAt = Record.renewsAt(record) * 1000
  while (true) {
    const now = yield* Clock.currentTimeMillis
    if (now >= dueAt || now < signedAt - clockCheckMillis) return
    yield* Effect.sleep(Math.min(dueAt - now, clockCheckMillis))
  }
})

/**
 * Renews a record whenever it is due, until the scope closes. `renew` publishes
 * it again; `current` is the record as published last.
 *
 * @internal
 */
export const forkLoop = <E, R>(
  current: () => Record.SignedRecord,
  renew: Effect.Effect<void, E, R>,
  annotations: { readonly [name: string]: unknown }
) =>
  Effect.suspend(() => due(current())).pipe(
    Effect.andThen(renew),
    Effect.catchCause((cause) =>
      Effect.andThen(Effect.logWarning("An announcement could not be renewed", cause), Effect.sleep(clockCheckMillis))
    ),
    Effect.forever,
    Effect.annotateLogs({ fiber: "Renewal", ...annotations }),
    Effect.forkScoped
  )
