/**
 * Keys that this node watches, and the listeners for records pushed to it.
 *
 * @module
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type { NodeId } from "./NodeId.ts"
import type { SignedRecord } from "./Record.ts"

/**
 * The watched keys and their listeners.
 *
 * @category services
 * @since 0.1.0
 */
export class WatchedKeys extends Context.Service<WatchedKeys, {
  /** Calls `told` with every valid record pushed for the key, until the scope closes. */
  readonly watch: (key: NodeId, told: (record: SignedRecord) => void) => Effect.Effect<void, never, Scope.Scope>
  /** Whether the key is watched. */
  readonly has: (key: NodeId) => boolean
  /** Passes a verified record to the listeners of the key. */
  readonly tell: (key: NodeId, record: SignedRecord) => void
}>()("effect-dht/WatchedKeys") {}

/**
 * Starts without watched keys.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<WatchedKeys> = Layer.sync(WatchedKeys, () => {
  const watchers = new Map<NodeId, Set<{ readonly told: (record: SignedRecord) => void }>>()
  return WatchedKeys.of({
    watch: (key, told) =>
      Effect.acquireRelease(
        Effect.sync(() => {
          const watcher = { told }
          const others = watchers.get(key)
          if (others === undefined) watchers.set(key, new Set([watcher]))
          else others.add(watcher)
          return watcher
        }),
        (watcher) =>
          Effect.sync(() => {
            const others = watchers.get(key)
            others?.delete(watcher)
            if (others?.size === 0) watchers.delete(key)
          })
      ).pipe(Effect.asVoid),
    has: (key) => watchers.has(key),
    tell: (key, record) => {
      for (const { told } of watchers.get(key) ?? []) told(record)
    }
  })
})
