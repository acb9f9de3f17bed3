/**
 * Other nodes that run under this node's identity. Peers keep one address per
 * id, so only one of two such nodes can be found.
 *
 * @module
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import * as Layer from "effect/Layer"
import * as Core from "./core/identityConflicts.ts"
import { NodeIdentity } from "./Identity.ts"
import { NodeEvents } from "./NodeEvents.ts"
import * as PeerHealth from "./PeerHealth.ts"
import * as Rpc from "./Rpc.ts"
import * as SocketAddress from "./SocketAddress.ts"

/**
 * Checks addresses where another node with our key may be, and reports those
 * that prove it: as a warning in the log and as an event.
 *
 * @category services
 * @since 0.1.0
 */
export class IdentityConflicts extends Context.Service<IdentityConflicts, {
  /** Number of reported conflicts since the start, one in ten minutes for each address at most. */
  readonly count: Effect.Effect<number>
}>()("effect-dht/IdentityConflicts") {}

/**
 * The service in the caller's scope; {@link layer} has a scope of its own.
 *
 * @internal
 */
export const make = Effect.gen(function*() {
  const events = yield* NodeEvents
  const health = yield* PeerHealth.PeerHealth
  const identity = yield* NodeIdentity
  const rpc = yield* Rpc.Rpc
  const core = new Core.IdentityConflicts()
  // Messages arrive outside of any fiber.
  const run = yield* FiberSet.makeRuntime<never>()
  let count = 0

  /** Asks the node at an address: its response is the proof, and arrives as `Answered`. */
  const challenge = (address: SocketAddress.SocketAddress, attempts: number): void => {
    const options = { ...Rpc.probeOptions(health), attempts, maintenance: true }
    run(Effect.ignore(
      rpc.request({ id: identity.nodeId, ...address }, { _tag: "Ping", address: identity.address }, options)
    ))
  }

  const report = (address: SocketAddress.SocketAddress, now: number): void => {
    count++
    if (events.hasListeners) events.tellUnsafe({ _tag: "IdentityConflict", at: now, address })
    run(
      Effect.logWarning(
        `Another node runs under this node's identity at ${SocketAddress.format(address)}, ` +
          "so others find only one of the two: give one of them an identity of its own"
      ).pipe(
        Effect.annotateLogs({ module: "effect-dht/IdentityConflicts", address: SocketAddress.format(address) })
      )
    )
  }

  yield* rpc.observe({
    ownKey: ({ address, evidence, now }) => {
      if (evidence === "Answered") {
        if (core.isNews(address, now)) report(address, now)
      } else if (core.shouldAsk(address, evidence, now)) {
        // The source of a replay may be forged, so it is not sent more than it brought.
        challenge(address, evidence === "Signed" ? 1 : health.attemptsUnsafe())
      }
    }
  })

  return IdentityConflicts.of({ count: Effect.sync(() => count) })
})

/**
 * Watches the messages that `Rpc` receives.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<
  IdentityConflicts,
  never,
  NodeEvents | NodeIdentity | PeerHealth.PeerHealth | Rpc.Rpc
> = Layer.effect(IdentityConflicts, make)
