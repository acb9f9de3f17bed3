/**
 * Announcements that the node keeps until they are deleted, for operators and
 * for programs that do not run as long as the announcement: an agent has one
 * endpoint, one profile and one offer under each topic.
 *
 * They are saved with the node's state and made again when it starts. When it
 * stops, their records are left to expire rather than withdrawn: the agent may
 * be another program, which goes on.
 *
 * @module
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import { Announce, type Announcement } from "./Announce.ts"
import type { InvalidPayload } from "./Custom.ts"
import { Persistence } from "./Persistence.ts"
import type { PublishError } from "./Publisher.ts"
import { spanned } from "./Spans.ts"
import * as Topic from "./Topic.ts"

// --- Contents ------------------------------------------------------------------

const Texts = Schema.Array(Schema.String)

const Meta = Schema.Record(Schema.String, Schema.Json)

const lifetime = { ttl: Schema.optional(Schema.Int) }

/**
 * What an announcement says. `ttl` is in seconds, see the methods of
 * `Publisher` for it and for the limits of the other fields; `meta` is carried
 * as `Topic.meta` does.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Content = Schema.Union([
  Schema.TaggedStruct("Endpoint", {
    endpoints: Texts,
    natType: Schema.optional(Schema.Literals([0, 1, 2, 3, 4])),
    signals: Schema.optional(Texts),
    turns: Schema.optional(Texts),
    ...lifetime
  }),
  Schema.TaggedStruct("Profile", {
    name: Schema.optional(Schema.String),
    brief: Schema.optional(Schema.String),
    protocols: Schema.optional(Texts),
    skills: Schema.optional(Texts),
    cardHash: Schema.optional(Schema.Uint8ArrayFromHex),
    modalities: Schema.optional(Texts),
    meta: Schema.optional(Meta),
    ...lifetime
  }),
  Schema.TaggedStruct("Topic", {
    topic: Schema.String,
    name: Schema.optional(Schema.String),
    brief: Schema.optional(Schema.String),
    protocols: Schema.optional(Texts),
    tags: Schema.optional(Texts),
    meta: Schema.optional(Meta),
    ...lifetime
  })
])

/**
 * @category models
 * @since 0.1.0
 */
export type Content = typeof Content.Type

/**
 * Names an announcement; contents of one slot replace each other.
 *
 * @category models
 * @since 0.1.0
 */
export type Slot =
  | { readonly _tag: "Endpoint" }
  | { readonly _tag: "Profile" }
  | { readonly _tag: "Topic"; readonly topic: string }

const nameOf = (slot: Slot): string => slot._tag === "Topic" ? `the topic ${JSON.stringify(slot.topic)}` : slot._tag

const keyOf = (slot: Slot): string => slot._tag === "Topic" ? `Topic ${slot.topic}` : slot._tag

/** Two spellings of a topic are one slot. */
const normal = <A extends Slot>(slot: A): Result.Result<A, Topic.InvalidTopic> =>
  slot._tag === "Topic"
    ? Result.map(Topic.parse(slot.topic), (topic) => ({ ...slot, topic }))
    : Result.succeed(slot)

// --- Errors ------------------------------------------------------------------------

/**
 * There is no standing announcement in the slot.
 *
 * @category errors
 * @since 0.1.0
 */
export class NotAnnounced extends Data.TaggedError("NotAnnounced")<{ readonly slot: Slot }> {
  override get message() {
    const { slot } = this
    return slot._tag === "Topic"
      ? `Nothing is announced under ${nameOf(slot)}`
      : `No ${slot._tag.toLowerCase()} is announced`
  }
}

/**
 * The node keeps as many announcements as it can.
 *
 * @category errors
 * @since 0.1.0
 */
export class TooManyAnnouncements extends Data.TaggedError("TooManyAnnouncements")<{ readonly limit: number }> {
  override get message() {
    return `The node already keeps ${this.limit} announcements: delete one first`
  }
}

/**
 * Why an announcement cannot be published.
 *
 * @category errors
 * @since 0.1.0
 */
export type AnnounceError = PublishError | InvalidPayload

// --- The service -------------------------------------------------------------------

/**
 * Maximum number of standing announcements.
 *
 * @category constants
 * @since 0.1.0
 */
export const maxAnnouncements = 256

/** Pause before a kept announcement that could not be published is tried again. */
const retryDelay = "1 minute"

/**
 * A standing announcement.
 *
 * @category models
 * @since 0.1.0
 */
export interface Standing {
  readonly content: Content
  /** Undefined while a kept announcement cannot be published; it is tried again every minute. */
  readonly announcement: Announcement | undefined
  /** Why it cannot be published; undefined otherwise. */
  readonly problem: AnnounceError | undefined
  /** Whether it would be made again after the end of the process at this moment. */
  readonly isDurable: boolean
}

/**
 * Keeps announcements until they are deleted.
 *
 * @example
 * ```ts
 * import { StandingAnnouncements } from "effect-dht"
 * import * as Effect from "effect/Effect"
 *
 * const offer = Effect.gen(function*() {
 *   const standing = yield* StandingAnnouncements.StandingAnnouncements
 *   const { isDurable } = yield* standing.put({ _tag: "Topic", topic: "translate", name: "Ann" })
 *   yield* Effect.log(isDurable ? "Announced until it is deleted" : "Announced until the node stops")
 * })
 * ```
 *
 * @category services
 * @since 0.1.0
 */
export class StandingAnnouncements extends Context.Service<StandingAnnouncements, {
  /**
   * Publishes the content in place of what its slot had, and keeps it alive.
   * Succeeds once it is published here and saved; if it fails, the slot is
   * unchanged.
   */
  readonly put: (
    content: Content
  ) => Effect.Effect<Standing, AnnounceError | Topic.InvalidTopic | TooManyAnnouncements>
  /** Returns the announcement of a slot. */
  readonly get: (slot: Slot) => Effect.Effect<Standing, NotAnnounced | Topic.InvalidTopic>
  /** Withdraws the record of a slot and forgets it. Returns once that is saved; holders are told in the background. */
  readonly delete: (slot: Slot) => Effect.Effect<void, NotAnnounced | Topic.InvalidTopic>
  /** All announcements, in the order in which their slots were first taken. */
  readonly all: Effect.Effect<ReadonlyArray<Standing>>
}>()("effect-dht/StandingAnnouncements") {}

interface Entry {
  readonly content: Content
  readonly scope: Scope.Closeable
  announcement: Announcement | undefined
  problem: AnnounceError | undefined
  isDurable: boolean
}

const metaCodec = Topic.meta(Meta)

/** A content with its `meta` as a record has it. */
const withMeta = <A extends { readonly meta?: typeof Meta.Type | undefined }>(
  content: A
): Effect.Effect<Omit<A, "meta"> & { readonly meta: Topic.Meta | undefined }, InvalidPayload> =>
  Effect.map(
    content.meta === undefined ? Effect.undefined : Effect.fromResult(metaCodec.encode(content.meta)),
    (meta) => ({ ...content, meta })
  )

const Saved = Schema.fromJsonString(Schema.Array(Content))

const encodeSaved = Schema.encodeSync(Saved)

const decodeSaved = Schema.decodeUnknownResult(Saved)

/**
 * The service in the caller's scope; {@link layer} has a scope of its own.
 *
 * @internal
 */
export const make = Effect.gen(function*() {
  const announce = yield* Announce
  const persistence = yield* Persistence
  const scope = yield* Effect.scope
  const changing = yield* Semaphore.make(1)
  const entries = new Map<string, Entry>()

  const publish = (content: Content): Effect.Effect<Announcement, AnnounceError, Scope.Scope> => {
    // What is deleted is withdrawn; a node that stops leaves its records.
    const keepOnClose = true
    switch (content._tag) {
      case "Endpoint":
        return announce.announceEndpoint({ ...content, keepOnClose })
      case "Profile":
        return Effect.flatMap(withMeta(content), (profile) => announce.announceProfile({ ...profile, keepOnClose }))
      case "Topic":
        return Effect.flatMap(withMeta(content), (offer) => announce.announceTopic({ ...offer, keepOnClose }))
    }
  }

  const save = () => {
    const contents = Array.from(entries.values(), ({ content }) => content)
    persistence.save({ _tag: "Announced", announcements: encodeSaved(contents) })
  }

  /** Publishes a content that an earlier run kept, as soon as that is possible. */
  const resume = Effect.fnUntraced(function*(content: Content) {
    const entry: Entry = {
      content,
      scope: yield* Scope.fork(scope),
      announcement: undefined,
      problem: undefined,
      isDurable: persistence.isLasting
    }
    entries.set(keyOf(content), entry)
    yield* publish(content).pipe(
      Effect.map((announcement) => {
        entry.announcement = announcement
        entry.problem = undefined
      }),
      Effect.tapError((error) => {
        const isKnown = entry.problem?.message === error.message
        entry.problem = error
        return isKnown
          ? Effect.void
          : Effect.logWarning(`The announcement of ${nameOf(content)} could not be published: ${error.message}`)
      }),
      Effect.retry(Schedule.spaced(retryDelay)),
      Effect.catchCause((cause) => Effect.logWarning("A kept announcement could not be resumed", cause)),
      Effect.annotateLogs({ module: "effect-dht/StandingAnnouncements", fiber: "Resume" }),
      Scope.provide(entry.scope),
      Effect.forkIn(entry.scope)
    )
  })

  const put: StandingAnnouncements["Service"]["put"] = Effect.fnUntraced(function*(given) {
    const content = yield* Effect.fromResult(normal(given))
    const entry = yield* replace(content)
    entry.isDurable = yield* Effect.match(persistence.flush, { onFailure: () => false, onSuccess: () => true })
    return entry
  }, spanned("StandingAnnouncements.put"))

  const replace = Effect.fnUntraced(
    function*(content: Content) {
      const slot = keyOf(content)
      const before = entries.get(slot)
      if (before === undefined && entries.size >= maxAnnouncements) {
        return yield* new TooManyAnnouncements({ limit: maxAnnouncements })
      }
      // An attempt to publish the old content could end after the new one.
      const wasPending = before !== undefined && before.announcement === undefined
      if (wasPending) yield* Scope.close(before.scope, Exit.void)
      const within = yield* Scope.fork(scope)
      const announcement = yield* publish(content).pipe(
        Scope.provide(within),
        Effect.onError(() =>
          Effect.andThen(Scope.close(within, Exit.void), wasPending ? resume(before.content) : Effect.void)
        )
      )
      const entry: Entry = { content, scope: within, announcement, problem: undefined, isDurable: false }
      entries.set(slot, entry)
      save()
      if (before !== undefined && !wasPending) yield* Scope.close(before.scope, Exit.void)
      return entry
    },
    changing.withPermits(1),
    // A client that gives up does not leave half of it.
    Effect.uninterruptible
  )

  const find = Effect.fnUntraced(function*(given: Slot) {
    const slot = yield* Effect.fromResult(normal(given))
    return entries.get(keyOf(slot)) ?? (yield* new NotAnnounced({ slot }))
  })

  const remove: StandingAnnouncements["Service"]["delete"] = Effect.fnUntraced(
    function*(slot) {
      yield* find(slot).pipe(
        Effect.flatMap(({ announcement, content, scope }) => {
          entries.delete(keyOf(content))
          save()
          return Effect.andThen(announcement?.withdraw ?? Effect.void, Scope.close(scope, Exit.void))
        }),
        changing.withPermits(1),
        Effect.uninterruptible
      )
      yield* Effect.ignore(persistence.flush)
    },
    spanned("StandingAnnouncements.delete")
  )

  const kept = yield* persistence.kept.announcements
  const saved = kept === "" ? Result.succeed([]) : decodeSaved(kept)
  if (Result.isFailure(saved)) {
    yield* Effect.logWarning(`The announcements of the last run cannot be read: ${saved.failure.message}`)
  } else {
    yield* Effect.forEach(saved.success, resume, { discard: true })
  }

  return StandingAnnouncements.of({
    put,
    get: find,
    delete: remove,
    all: Effect.sync(() => Array.from(entries.values()))
  })
})

/**
 * Standing announcements of this node's agent; those of an earlier run are made
 * again.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<StandingAnnouncements, never, Announce | Persistence> = Layer.effect(
  StandingAnnouncements,
  make
)
