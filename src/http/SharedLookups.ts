/**
 * Lookups that clients share: those who ask for the same while a lookup is in
 * flight get its result, so many readers of an agent or a topic cost no more
 * than one.
 *
 * A client never gets less than a lookup of its own would have begun with: a
 * lookup that began before a record of its key was stored here, or before
 * another lookup of the key ended, is joined by no one any more. So a client
 * reads what it has published, and nothing older than it has read before.
 *
 * @module
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import type * as NodeId from "../NodeId.ts"
import { Store } from "../Store.ts"

/**
 * Shares equal lookups that are in flight among the clients that ask for them.
 *
 * @category services
 * @since 0.1.0
 */
export class SharedLookups extends Context.Service<SharedLookups, {
  /**
   * Returns the result of a lookup at a key. Lookups of one name are equal. One
   * that no client waits for any more is interrupted.
   */
  readonly share: <A, E>(key: NodeId.NodeId, name: string, lookup: Effect.Effect<A, E>) => Effect.Effect<A, E>
  /** Lets no client join the lookups at a key that are in flight. */
  readonly renew: (key: NodeId.NodeId) => Effect.Effect<void>
}>()("effect-dht/http/SharedLookups") {}

interface Shared {
  readonly done: Deferred.Deferred<unknown, unknown>
  fiber: Fiber.Fiber<unknown> | undefined
  waiting: number
}

const make = Effect.gen(function*() {
  const scope = yield* Effect.scope
  const store = yield* Store
  /** The lookups in flight that clients may join, by name. */
  const joinable = new Map<NodeId.NodeId, Map<string, Shared>>()

  const renew = (key: NodeId.NodeId): void => {
    joinable.delete(key)
  }

  yield* store.observe(({ key }) => renew(key))

  const begin = Effect.fnUntraced(function*<A, E>(
    key: NodeId.NodeId,
    name: string,
    lookup: Effect.Effect<A, E>
  ) {
    const shared: Shared = { done: Deferred.makeUnsafe(), fiber: undefined, waiting: 0 }
    const others = joinable.get(key) ?? new Map<string, Shared>()
    joinable.set(key, others.set(name, shared))
    shared.fiber = yield* lookup.pipe(
      Effect.onExit((exit) =>
        Effect.suspend(() => {
          renew(key)
          return Deferred.done(shared.done, exit)
        })
      ),
      Effect.exit,
      Effect.forkIn(scope)
    )
    return shared
  })

  const share = <A, E>(key: NodeId.NodeId, name: string, lookup: Effect.Effect<A, E>): Effect.Effect<A, E> =>
    Effect.uninterruptibleMask((restore) =>
      Effect.gen(function*() {
        const shared = joinable.get(key)?.get(name) ?? (yield* begin(key, name, restore(lookup)))
        shared.waiting++
        // Lookups of one name have one type.
        const done = shared.done as Deferred.Deferred<A, E>
        return yield* restore(Deferred.await(done)).pipe(
          Effect.ensuring(Effect.suspend(() => {
            if (--shared.waiting > 0 || shared.fiber === undefined) return Effect.void
            // No later client may join what is about to end.
            if (joinable.get(key)?.get(name) === shared) renew(key)
            return Fiber.interrupt(shared.fiber)
          }))
        )
      })
    )

  return SharedLookups.of({ share, renew: (key) => Effect.sync(() => renew(key)) })
})

/**
 * Shares the lookups of one node, whose store tells what was stored meanwhile.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<SharedLookups, never, Store> = Layer.effect(SharedLookups, make)
