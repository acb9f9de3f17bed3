/**
 * Pushes newly stored records to subscribers: one message per subscription,
 * which the acknowledgement may renew.
 *
 * @module
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import type { Subscriber } from "./core/subscriptions.ts"
import type { NodeId } from "./NodeId.ts"
import type { SignedRecord } from "./Record.ts"
import * as Rpc from "./Rpc.ts"
import { Store } from "./Store.ts"
import { Subscribers } from "./Subscribers.ts"

/** Attempts and deadline of a push. */
const requestOptions = { attempts: 3, deadline: "2 seconds" } as const

/** Maximum number of pushes in flight. Records beyond it are not pushed; subscribers find them by lookup. */
const maxPushing = 256

const make = Effect.gen(function*() {
  const rpc = yield* Rpc.Rpc
  const store = yield* Store
  const subscribers = yield* Subscribers
  const pushing = yield* FiberSet.make()

  const push = Effect.fnUntraced(function*(subscriber: Subscriber, key: NodeId, record: SignedRecord) {
    // The acknowledgement must come from the address of the subscription, under
    // any id.
    const { host, port } = subscriber
    const { body } = yield* rpc.request({ host, port }, { _tag: "Push", key, record }, requestOptions)
    if (body.subscribe) subscribers.core.subscribe(key, subscriber, yield* Clock.currentTimeMillis)
  }, (pushed) => Effect.ignore(pushed))

  yield* store.changes.pipe(
    Stream.runForEach(({ key, record }) =>
      Effect.gen(function*() {
        for (const subscriber of subscribers.core.take(key, yield* Clock.currentTimeMillis)) {
          if ((yield* FiberSet.size(pushing)) >= maxPushing) return
          yield* FiberSet.run(pushing, push(subscriber, key, record))
        }
      })
    ),
    Effect.catchCause((cause) => Effect.logWarning("Pushing stopped", cause)),
    Effect.annotateLogs({ module: "effect-dht/Push", fiber: "Changes" }),
    Effect.forkScoped({ startImmediately: true })
  )
})

/**
 * Pushes in the layer's scope.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<never, never, Rpc.Rpc | Store | Subscribers> = Layer.effectDiscard(make)
