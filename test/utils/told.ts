import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as NodeEvents from "../../src/NodeEvents.ts"

/** Events of a node that has a listener or has none, and in `told` the kinds of those that it was told in either case. */
export const layerTold = (hasListeners: boolean, told: Array<NodeEvents.Event["_tag"]>) =>
  Layer.effect(
    NodeEvents.NodeEvents,
    Effect.map(NodeEvents.NodeEvents, (events) =>
      NodeEvents.NodeEvents.of({ ...events, hasListeners, tellUnsafe: ({ _tag }) => told.push(_tag) }))
  ).pipe(Layer.provide(Layer.fresh(NodeEvents.layer)))
