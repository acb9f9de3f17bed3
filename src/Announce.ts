/**
 * Records that stay alive: an announcement is published, signed again at half
 * its lifetime, and kept on its replicas until its scope closes. Then it is
 * withdrawn, so that readers are not sent to an agent that is gone; after a
 * crash it expires.
 *
 * An announcement survives the loss of every replica, a network outage and a
 * clock that jumps.
 *
 * @module
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as FiberSet from "effect/FiberSet"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type { Contact } from "./Contact.ts"
import type { InvalidPayload } from "./Custom.ts"
import { NodeEvents } from "./NodeEvents.ts"
import type { NodeId } from "./NodeId.ts"
import { type CustomBytes, type CustomValue, Publisher, type PublishError } from "./Publisher.ts"
import type * as Record from "./Record.ts"
import * as Renewal from "./Renewal.ts"
import { type KeyFull, type NotEnoughReplicas, type Publication, Replication } from "./Replication.ts"
import * as Job from "./replication/job.ts"
import { spanned } from "./Spans.ts"
import * as Withdrawal from "./Withdrawal.ts"

/**
 * A record that this node keeps alive.
 *
 * @category models
 * @since 0.1.0
 */
export interface Announcement {
  /** Number of this announcement, counted from the start of the node. */
  readonly number: number
  /** The key of its records. */
  readonly key: NodeId
  /** The latest publication. */
  readonly current: Effect.Effect<Publication>
  /** Waits until `wanted` nodes hold a copy of the latest publication. */
  readonly replicas: (
    wanted: number,
    options: { readonly within: Duration.Input }
  ) => Effect.Effect<ReadonlyArray<Contact>, NotEnoughReplicas | KeyFull | Record.StaleRecord>
  /** Withdraws the record now, whatever `keepOnClose` says. It is not renewed any more. Returns at once. */
  readonly withdraw: Effect.Effect<void>
}

/**
 * @category models
 * @since 0.1.0
 */
export interface OnClose {
  /** Lets the record expire after the scope closes, instead of withdrawing it. Defaults to false. */
  readonly keepOnClose?: boolean | undefined
}

/**
 * A method that publishes as `Method` does, and keeps the record alive until the
 * scope closes.
 *
 * @category models
 * @since 0.1.0
 */
export type Announcing<Method extends (options: never) => unknown> = (
  options: Parameters<Method>[0] & OnClose
) => Effect.Effect<Announcement, PublishError, Scope.Scope>

/**
 * Keeps records alive. Each method publishes at once, fails as publishing does,
 * and renews the record until the scope closes.
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
  /** Announces where this node's agent can be reached, until the scope closes. */
  readonly announceEndpoint: Announcing<Publisher["Service"]["publishEndpoint"]>
  /** Announces an offer under a topic, until the scope closes. */
  readonly announceTopic: Announcing<Publisher["Service"]["publishTopic"]>
  /** Announces the agent's profile, until the scope closes. */
  readonly announceProfile: Announcing<Publisher["Service"]["publishProfile"]>
  /**
   * Announces a value, or any bytes, under a type that is left to applications,
   * until the scope closes. One of a mailbox type is not withdrawn then, but
   * left to expire.
   */
  readonly announceCustom: {
    <A>(record: CustomValue<A> & OnClose): Effect.Effect<Announcement, PublishError | InvalidPayload, Scope.Scope>
    (record: CustomBytes & OnClose): Effect.Effect<Announcement, PublishError, Scope.Scope>
  }
  /** All open announcements. */
  readonly announcements: Effect.Effect<ReadonlyArray<Announcement>>
}>()("effect-dht/Announce") {}

/**
 * Milliseconds that closing waits for holders to accept all withdrawals together:
 * a process that received a signal to end may not have more time.
 */
const closingMillis = 1000

/** An open announcement. */
interface Announced {
  readonly announcement: Announcement
  current: Publication
  readonly keepOnClose: boolean
  /** Signs the record again when it is due; undefined until it has started. */
  renewal: Fiber.Fiber<void> | undefined
}

/**
 * The service in the caller's scope; {@link layer} has a scope of its own.
 *
 * @internal
 */
export const make = Effect.gen(function*() {
  const publisher = yield* Publisher
  const replication = yield* Replication
  const clock = yield* Clock.Clock
  const events = yield* NodeEvents
  const open = new Set<Announced>()
  /** Withdrawals that some holder has not answered yet. */
  const unanswered = yield* FiberSet.make<void>()
  let waitUntil = -Infinity
  let started = 0

  const tell = (_tag: "AnnouncementStarted" | "AnnouncementEnded", { key, record }: Publication): void => {
    if (events.hasListeners) events.tellUnsafe({ _tag, at: clock.currentTimeMillisUnsafe(), key, record })
  }

  /** Whether another announcement has published in the slot of this one. */
  const isTakenOver = ({ current }: Announced): boolean => {
    const slot = slotOf(current)
    for (const other of open) if (slotOf(other.current) === slot) return true
    return false
  }

  /** Ends an announcement once. Returns the wait for its holders. */
  const end = Effect.fnUntraced(function*(announced: Announced, keep: boolean) {
    if (!open.delete(announced)) return
    const { current } = announced
    tell("AnnouncementEnded", current)
    const isLeft = keep || !Withdrawal.isPossible(yield* current.current)
    if (isLeft) {
      // The copies in the slot are those of the other's record by now.
      if (!isTakenOver(announced)) yield* replication.withdraw(current)
      return
    }
    const { answered } = yield* publisher.withdraw(current)
    return yield* FiberSet.run(unanswered, answered, { startImmediately: true })
  }, (ending, { current }) =>
    ending.pipe(
      // A newer record in its slot was published elsewhere and is not ours to
      // withdraw.
      Effect.catchTag("StaleRecord", () => Effect.void),
      Effect.catchCause((cause) => Effect.logWarning("An announcement could not be withdrawn", cause)),
      Effect.annotateLogs({ module: "effect-dht/Announce", key: current.key })
    ))

  /** Scopes that close one after the other share one time budget. */
  const remainingMillis = (): number => {
    const now = Number(clock.monotonicTimeNanosUnsafe()) / 1e6
    if (now > waitUntil + closingMillis) waitUntil = now + closingMillis
    return waitUntil - now
  }

  const close = Effect.fnUntraced(function*(announced: Announced) {
    const withdrawal = yield* end(announced, announced.keepOnClose)
    if (withdrawal === undefined) return
    const millis = remainingMillis()
    if (millis > 0) yield* Effect.timeoutOption(Fiber.await(withdrawal), millis)
  })

  const withdraw = Effect.fnUntraced(function*(announced: Announced) {
    // A renewal under way would publish the record again.
    if (announced.renewal !== undefined) yield* Fiber.interrupt(announced.renewal)
    yield* end(announced, false)
  }, Effect.uninterruptible)

  // The node may close before the scopes of its announcements do.
  yield* Effect.addFinalizer(() =>
    Effect.forEach(Array.from(open), (announced) => end(announced, announced.keepOnClose), { discard: true }).pipe(
      Effect.andThen(Effect.timeoutOption(FiberSet.awaitEmpty(unanswered), closingMillis))
    )
  )

  const announce = Effect.fnUntraced(function*<E extends PublishError | InvalidPayload>(
    publish: Effect.Effect<Publication, E>,
    { keepOnClose = false }: OnClose
  ) {
    const announced = yield* Effect.acquireRelease(
      Effect.map(publish, (current): Announced => {
        const announced: Announced = {
          announcement: {
            number: ++started,
            key: current.key,
            current: Effect.sync(() => announced.current),
            replicas: (wanted, options) => Effect.suspend(() => announced.current.replicas(wanted, options)),
            withdraw: Effect.suspend(() => withdraw(announced))
          },
          current,
          keepOnClose,
          renewal: undefined
        }
        open.add(announced)
        tell("AnnouncementStarted", current)
        return announced
      }),
      close
    )
    const { current } = announced
    announced.renewal = yield* Renewal.forkLoop(
      () => announced.current.record,
      // A renewal that is not noted here could not be withdrawn.
      Effect.uninterruptible(Effect.map(publish, (renewed) => {
        announced.current = renewed
      })),
      { module: "effect-dht/Announce", key: current.key }
    )
    return announced.announcement
  }, spanned("Announce.announce"))

  function announceCustom<A>(
    record: CustomValue<A> & OnClose
  ): Effect.Effect<Announcement, PublishError | InvalidPayload, Scope.Scope>
  function announceCustom(
    record: CustomBytes & OnClose
  ): Effect.Effect<Announcement, PublishError, Scope.Scope>
  function announceCustom<A>({ keepOnClose, ...record }: (CustomValue<A> | CustomBytes) & OnClose) {
    return announce(
      "payload" in record ? publisher.publishCustom(record) : publisher.publishCustom(record),
      { keepOnClose }
    )
  }

  return Announce.of({
    announceEndpoint: ({ keepOnClose, ...endpoint }) => announce(publisher.publishEndpoint(endpoint), { keepOnClose }),
    announceTopic: ({ keepOnClose, ...topic }) => announce(publisher.publishTopic(topic), { keepOnClose }),
    announceProfile: ({ keepOnClose, ...profile }) => announce(publisher.publishProfile(profile), { keepOnClose }),
    announceCustom,
    announcements: Effect.sync(() => Array.from(open, ({ announcement }) => announcement))
  })
})

const slotOf = ({ key, record }: Publication): string => Job.slotAt(key, record)

/**
 * Announcements under the node's own identity.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<Announce, never, NodeEvents | Publisher | Replication> = Layer.effect(Announce, make)
