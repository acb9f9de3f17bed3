/**
 * Records that stay alive: an announcement is published, signed anew at half
 * its lifetime, and kept on its replicas until its scope closes. Then it is
 * left to expire.
 *
 * It outlives the loss of every replica, a network that is gone for a while,
 * and a clock that jumps.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type { Contact } from "./Contact.ts"
import { NodeEvents } from "./NodeEvents.ts"
import type { NodeId } from "./NodeId.ts"
import { Publisher, type PublishError } from "./Publisher.ts"
import { type NotEnoughReplicas, type Publication, Replication } from "./Replication.ts"

/**
 * A record that is kept alive.
 *
 * @category models
 * @since 0.1.0
 */
export interface Announcement {
  /** Counts the announcements of this node. */
  readonly number: number
  /** Where its records live. */
  readonly key: NodeId
  /** What was published last. */
  readonly current: Effect.Effect<Publication>
  /** Waits until `wanted` nodes hold a copy of what was published last. */
  readonly replicas: (
    wanted: number,
    options: { readonly within: Duration.Input }
  ) => Effect.Effect<ReadonlyArray<Contact>, NotEnoughReplicas>
}

type Announcing<Method extends (...options: never) => unknown> = (
  ...options: Parameters<Method>
) => Effect.Effect<Announcement, PublishError, Scope.Scope>

/**
 * Keeps records alive: each method publishes at once, fails as publishing does,
 * and goes on until the scope closes.
 *
 * @example
 * ```ts
 * import { Announce } from "effect-dht"
 * import * as Effect from "effect/Effect"
 *
 * const service = Effect.gen(function*() {
 *   const announce = yield* Announce.Announce
 *   const announcement = yield* announce.announceTopic({ topic: "weather", name: "Rain or shine", ttl: 600 })
 *   const holders = yield* announcement.replicas(3, { within: "30 seconds" })
 *   yield* Effect.log(`${holders.length} nodes know of it`)
 *   return yield* Effect.never
 * }).pipe(Effect.scoped)
 * ```
 *
 * @category services
 * @since 0.1.0
 */
export class Announce extends Context.Service<Announce, {
  /** Where we can be reached, until the scope closes. */
  readonly announceEndpoint: Announcing<Publisher["Service"]["publishEndpoint"]>
  /** What we offer under a topic, until the scope closes. */
  readonly announceTopic: Announcing<Publisher["Service"]["publishTopic"]>
  /** Who we are, until the scope closes. */
  readonly announceProfile: Announcing<Publisher["Service"]["publishProfile"]>
  /** All that is kept alive now. */
  readonly announcements: Effect.Effect<ReadonlyArray<Announcement>>
}>()("effect-dht/Announce") {}

/** A sleep measures how much time passes, not what the clock says: it is looked at so often at least. */
const lookMillis = 60_000

const make = Effect.gen(function*() {
  const publisher = yield* Publisher
  const replication = yield* Replication
  const { core: events } = yield* NodeEvents
  const announcements = new Set<Announcement>()
  let begun = 0

  const tell = (_tag: "AnnouncementStarted" | "AnnouncementEnded", { key, record }: Publication): void => {
    if (events.hasListeners) events.tell({ _tag, at: events.now(), key, record })
  }

  const announce = Effect.fn("Announce.announce")(function*(publish: Effect.Effect<Publication, PublishError>) {
    let current = yield* publish
    yield* Effect.addFinalizer(() => replication.withdraw(current))

    const renew = Effect.gen(function*() {
      yield* untilRenewal(current)
      current = yield* publish
    })
    yield* renew.pipe(
      Effect.catchCause((cause) =>
        Effect.andThen(Effect.logWarning("An announcement could not be renewed", cause), Effect.sleep(lookMillis))
      ),
      Effect.forever,
      Effect.annotateLogs({ module: "effect-dht/Announce", fiber: "Renewal", key: current.key }),
      Effect.forkScoped
    )
    const announcement: Announcement = {
      number: ++begun,
      key: current.key,
      current: Effect.sync(() => current),
      replicas: (wanted, options) => Effect.suspend(() => current.replicas(wanted, options))
    }
    announcements.add(announcement)
    tell("AnnouncementStarted", current)
    yield* Effect.addFinalizer(() =>
      Effect.sync(() => {
        announcements.delete(announcement)
        tell("AnnouncementEnded", current)
      })
    )
    return announcement
  })

  return Announce.of({
    announceEndpoint: (endpoint) => announce(publisher.publishEndpoint(endpoint)),
    announceTopic: (topic) => announce(publisher.publishTopic(topic)),
    announceProfile: (profile) => announce(publisher.publishProfile(profile)),
    announcements: Effect.sync(() => Array.from(announcements))
  })
})

/** Waits for half of the record's lifetime, or until the clock was set back to before it was signed. */
const untilRenewal = Effect.fnUntraced(function*({ record }: Publication) {
  const signedAt = Number(record.timestamp) * 1000
  const dueAt = signedAt + record.ttl * 500
  while (true) {
    const now = yield* Clock.currentTimeMillis
    if (now >= dueAt || now < signedAt - lookMillis) return
    yield* Effect.sleep(Math.min(dueAt - now, lookMillis))
  }
})

/**
 * Announcements of the node's own identity.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<Announce, never, NodeEvents | Publisher | Replication> = Layer.effect(Announce, make)
