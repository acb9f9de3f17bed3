/**
 * Subscriptions of peers to keys with records held here, and the pushes of new
 * records to them. A subscription lasts a minute and covers one new record; the
 * acknowledgement of its push may renew it.
 *
 * @module
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import * as Layer from "effect/Layer"
import type { Contact } from "./Contact.ts"
import * as Core from "./core/subscriptions.ts"
import type { NodeId } from "./NodeId.ts"
import type { SignedRecord } from "./Record.ts"
import * as Rpc from "./Rpc.ts"
import { Store } from "./Store.ts"

/**
 * The subscriptions of peers.
 *
 * @category services
 * @since 0.1.0
 */
export class Subscriptions extends Context.Service<Subscriptions, {
  /** Number of live subscriptions. */
  readonly size: Effect.Effect<number>
  /**
   * Subscribes a peer to the next new record at `key` for 60 seconds from `now`,
   * in Unix milliseconds, if there is room. Its address must have proved itself,
   * because pushes are sent there. Subscribing again from the same socket address
   * renews the subscription. For code that runs once per packet.
   */
  readonly subscribeUnsafe: (key: NodeId, subscriber: Contact, now: number) => void
}>()("effect-dht/Subscriptions") {}

/** Deadline of a push, and its attempts at a subscriber that acknowledged one before. Others get one. */
const deadline = "2 seconds" as const
const attempts = 3

/** Maximum number of pushes in flight. Records beyond it are not pushed; subscribers find them by lookup. */
const maxPushing = 256

/**
 * The service in the caller's scope; {@link layer} has a scope of its own.
 *
 * @internal
 */
export const make = Effect.gen(function*() {
  const rpc = yield* Rpc.Rpc
  const store = yield* Store
  const clock = yield* Clock.Clock
  const core = new Core.Subscriptions()
  const run = yield* FiberSet.makeRuntime<never>()
  let pushing = 0

  const push = Effect.fnUntraced(function*(subscriber: Core.Subscriber, key: NodeId, record: SignedRecord) {
    pushing++
    // The acknowledgement must come from the address of the subscription, under
    // any id.
    const { host, port } = subscriber
    const options = { attempts: core.hasAcknowledged(subscriber) ? attempts : 1, deadline }
    const { body } = yield* rpc.request({ host, port }, { _tag: "Push", key, record }, options)
    core.acknowledged(subscriber)
    if (body.subscribe) core.subscribe(key, subscriber, yield* Clock.currentTimeMillis)
  }, (pushed) =>
    pushed.pipe(
      Effect.ignore,
      Effect.ensuring(Effect.sync(() => pushing--)),
      Effect.catchDefect((defect) => Effect.logError("A record could not be pushed", defect)),
      Effect.annotateLogs({ module: "effect-dht/Subscriptions", fiber: "Push" })
    ))

  // No stream of changes: most records have no subscribers, and are not worth the turn of a fiber.
  yield* store.observe(({ key, record }) => {
    for (const subscriber of core.take(key, clock.currentTimeMillisUnsafe())) {
      if (pushing >= maxPushing) return
      run(push(subscriber, key, record))
    }
  })

  return Subscriptions.of({
    size: Effect.map(Clock.currentTimeMillis, (now) => core.live(now)),
    subscribeUnsafe: (key, subscriber, now) => {
      core.subscribe(key, subscriber, now)
    }
  })
})

/**
 * Starts without subscriptions, and pushes until the layer's scope closes.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<Subscriptions, never, Rpc.Rpc | Store> = Layer.effect(Subscriptions, make)
