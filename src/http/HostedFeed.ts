/**
 * What happens to hosted identities, for HTTP clients: the last events, so that
 * a client that returns with a cursor gets those that it missed.
 *
 * @module
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as HostedIdentities from "../HostedIdentities.ts"
import * as Hosting from "../Hosting.ts"
import { Cursors } from "./Cursors.ts"

/**
 * An event for one client. `Status` is the state at `at`, in Unix milliseconds,
 * for a client that has missed events, or has seen none.
 *
 * @category models
 * @since 0.1.0
 */
export interface Kept {
  readonly cursor: string
  readonly event: Hosting.Event | {
    readonly _tag: "Status"
    readonly at: number
    readonly status: Hosting.Status
    readonly refused: number
  }
}

/**
 * Number of events that a returning client can catch up on.
 *
 * @category constants
 * @since 0.1.0
 */
export const keptEvents = 4096

/** The last events. They are numbered without a gap. */
class Log {
  private readonly cursors: Cursors
  private events: Array<Hosting.Event> = []

  constructor(startedAt: number) {
    this.cursors = new Cursors(startedAt)
  }

  get last(): string {
    return this.cursors.format(this.cursors.last)
  }

  learn(event: Hosting.Event): Kept {
    const cursor = this.cursors.format(this.cursors.next())
    this.events.push(event)
    // Half of them at once: moving all of them for each event would cost more than the event.
    if (this.events.length > 2 * keptEvents) this.events = this.events.slice(-keptEvents)
    return { cursor, event }
  }

  /** The events after a cursor; undefined if they are not known. */
  since(cursor: string): ReadonlyArray<Kept> | undefined {
    const number = this.cursors.parse(cursor)
    const oldest = this.cursors.last - this.events.length
    if (number === undefined || number < oldest || this.cursors.last - number > keptEvents) return undefined
    return this.events.slice(number - oldest).map((event, i) => ({
      cursor: this.cursors.format(number + i + 1),
      event
    }))
  }
}

/**
 * The events of hosted identities.
 *
 * @category services
 * @since 0.1.0
 */
export class HostedFeed extends Context.Service<HostedFeed, {
  /**
   * Tells `listener` of every event after the cursor until the scope closes;
   * first of the state, if the events since the cursor are not known.
   */
  readonly listen: (
    cursor: string | undefined,
    listener: (kept: Kept) => void
  ) => Effect.Effect<void, never, Scope.Scope>
}>()("effect-dht/http/HostedFeed") {}

const make = Effect.gen(function*() {
  const hosting = Option.getOrUndefined(yield* Effect.serviceOption(Hosting.Hosting))
  const identities = Option.getOrUndefined(yield* Effect.serviceOption(HostedIdentities.HostedIdentities))
  const log = new Log(yield* Clock.currentTimeMillis)
  const listeners = new Set<(kept: Kept) => void>()

  if (hosting !== undefined) {
    yield* Stream.runForEach(hosting.events, (event) =>
      Effect.sync(() => {
        const kept = log.learn(event)
        for (const tell of listeners) tell(kept)
      })).pipe(
        Effect.catchCause((cause) => Effect.logWarning("Following the hosted identities for clients failed", cause)),
        Effect.annotateLogs({ module: "effect-dht/http/HostedFeed", fiber: "Follow" }),
        Effect.forkScoped({ startImmediately: true })
      )
  }

  return HostedFeed.of({
    listen: Effect.fnUntraced(function*(cursor, listener) {
      if (hosting === undefined) return
      const at = yield* Clock.currentTimeMillis
      const refused = identities === undefined ? [] : yield* identities.refused
      const status = yield* hosting.status
      // Without a pause in between, so that no event is missed or told twice.
      yield* Effect.acquireRelease(
        Effect.sync(() => {
          const missed = cursor === undefined ? undefined : log.since(cursor)
          const first: Kept = { cursor: log.last, event: { _tag: "Status", at, status, refused: refused.length } }
          for (const kept of missed ?? [first]) listener(kept)
          listeners.add(listener)
        }),
        () => Effect.sync(() => listeners.delete(listener))
      )
    })
  })
})

/**
 * The events from now on; none for a node that hosts no identities.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<HostedFeed> = Layer.effect(HostedFeed, make)
