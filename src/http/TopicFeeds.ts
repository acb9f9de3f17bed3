/**
 * Streams of the offers under topics for HTTP clients. All clients of a topic
 * share one watch of it, which goes on for a minute after the last of them, so
 * that one that returns gets what it missed.
 *
 * @module
 * @since 0.1.0
 */
import type * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import * as RcMap from "effect/RcMap"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Discovery from "../Discovery.ts"
import type { Completeness } from "../Query.ts"
import * as Topic from "../Topic.ts"
import { Cursors } from "./Cursors.ts"

/**
 * An event for one client. `Present` has all offers; the others are changes
 * since then. `at` is in Unix milliseconds.
 *
 * @category models
 * @since 0.1.0
 */
export type Event =
  & { readonly cursor: string; readonly at: number }
  & (
    | { readonly _tag: "Present"; readonly offers: ReadonlyArray<Discovery.Offer>; readonly completeness: Completeness }
    | { readonly _tag: "Appeared" | "Changed" | "Gone"; readonly offer: Discovery.Offer }
  )

/**
 * Maximum number of topics that are watched at a time.
 *
 * @category constants
 * @since 0.1.0
 */
export const maxTopics = 64

/** Changes of a topic that a returning client can catch up on. */
const keptChanges = 512

/** How long a topic without clients is watched. */
const linger = "1 minute"

interface Kept {
  readonly number: number
  readonly at: number
  readonly before: Discovery.Offer | undefined
  readonly after: Discovery.Offer | undefined
}

/** What has happened under a topic since its watch began. */
class Log {
  private readonly cursors: Cursors
  private changes: Array<Kept> = []
  private present: Discovery.BySigner = new Map()
  private completeness: Completeness = { answered: 0, holders: 0, seen: 0, held: 0 }

  constructor(startedAt: number) {
    this.cursors = new Cursors(startedAt)
  }

  /** Takes the offers as they are now, and returns the changes. */
  learn({ completeness, offers }: Discovery.Offers, at: number): ReadonlyArray<Kept> {
    const present = Discovery.bySigner(offers)
    const changes = Discovery.changes(this.present, present).map(({ _tag, before, offer }): Kept => ({
      number: this.cursors.next(),
      at,
      before: _tag === "Gone" ? offer : before,
      after: _tag === "Gone" ? undefined : offer
    }))
    this.present = present
    this.completeness = completeness
    this.changes = [...this.changes, ...changes].slice(-keptChanges)
    return changes
  }

  /** The changes after a cursor; undefined if they are not known. */
  since(cursor: string): ReadonlyArray<Kept> | undefined {
    const number = this.cursors.parse(cursor)
    const oldest = this.cursors.last - this.changes.length
    return number === undefined || number < oldest ? undefined : this.changes.slice(number - oldest)
  }

  /** All offers that match. */
  all(filter: Topic.Filter, at: number): Event {
    const offers = Array.from(this.present.values()).filter((offer) => Topic.matches(offer, filter))
    return {
      _tag: "Present",
      cursor: this.cursors.format(this.cursors.last),
      at,
      offers,
      completeness: this.completeness
    }
  }

  /** A change as a client with this filter sees it; undefined if it does not. */
  seen({ after, at, before, number }: Kept, filter: Topic.Filter): Event | undefined {
    const was = before !== undefined && Topic.matches(before, filter)
    const cursor = this.cursors.format(number)
    if (after !== undefined && Topic.matches(after, filter)) {
      return { _tag: was ? "Changed" : "Appeared", cursor, at, offer: after }
    }
    return was ? { _tag: "Gone", cursor, at, offer: after ?? before } : undefined
  }
}

/**
 * The feed of one topic.
 *
 * @category models
 * @since 0.1.0
 */
export interface Feed {
  /**
   * Tells `listener` of the offers until the scope closes: all of them, or those
   * that changed after `cursor` if that is still known, and then every change.
   * Waits until the present offers are known.
   */
  readonly listen: (
    options: { readonly filter: Topic.Filter; readonly cursor: string | undefined },
    listener: (event: Event) => void
  ) => Effect.Effect<void, never, Scope.Scope>
}

/**
 * The feeds of all topics.
 *
 * @category services
 * @since 0.1.0
 */
export class TopicFeeds extends Context.Service<TopicFeeds, {
  /**
   * The feed of a topic, which must be valid, until the scope closes. Fails if
   * {@link maxTopics} others are watched.
   */
  readonly feed: (topic: string) => Effect.Effect<Feed, Cause.ExceededCapacityError, Scope.Scope>
}>()("effect-dht/http/TopicFeeds") {}

const makeFeed = Effect.fnUntraced(function*(offers: Stream.Stream<Discovery.Offers, Topic.InvalidTopic>) {
  const log = new Log(yield* Clock.currentTimeMillis)
  const ready = yield* Latch.make()
  const listeners = new Set<(changes: ReadonlyArray<Kept>) => void>()

  yield* Stream.runForEach(offers, (offers) =>
    Effect.map(Clock.currentTimeMillis, (now) => {
      const changes = log.learn(offers, now)
      for (const tell of listeners) tell(changes)
      // Resumes clients that wait, which have these changes from the log.
      ready.openUnsafe()
    })).pipe(
      Effect.catchCause((cause) => Effect.logWarning("Watching a topic for clients failed", cause)),
      Effect.annotateLogs({ module: "effect-dht/http/TopicFeeds", fiber: "Watch" }),
      Effect.forkScoped
    )

  const listen: Feed["listen"] = Effect.fnUntraced(function*({ cursor, filter }, listener) {
    yield* ready.await
    const tell = (changes: ReadonlyArray<Kept>) => {
      for (const change of changes) {
        const event = log.seen(change, filter)
        if (event !== undefined) listener(event)
      }
    }
    const now = yield* Clock.currentTimeMillis
    // Without a pause in between, so that no change is missed or told twice.
    yield* Effect.acquireRelease(
      Effect.sync(() => {
        const missed = cursor === undefined ? undefined : log.since(cursor)
        if (missed === undefined) listener(log.all(filter, now))
        else tell(missed)
        listeners.add(tell)
      }),
      () => Effect.sync(() => listeners.delete(tell))
    )
  })

  return { listen }
})

/**
 * Feeds by watches of this node.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<TopicFeeds, never, Discovery.Discovery> = Layer.effect(
  TopicFeeds,
  Effect.gen(function*() {
    const { watchOffers } = yield* Discovery.Discovery
    const feeds = yield* RcMap.make({
      capacity: maxTopics,
      idleTimeToLive: linger,
      lookup: (topic: string) => makeFeed(watchOffers(topic))
    })
    return TopicFeeds.of({ feed: (topic) => RcMap.get(feeds, topic) })
  })
)
