/**
 * Experiments that show whether strangers reach this node: peers have contacts of
 * theirs send to us.
 *
 * If nothing arrives, what a stranger sends to us may be lost for another reason
 * than a router of ours. As a control, we ping the strangers. A router lets their
 * responses in, so one that arrives shows that only what is unasked for is kept out.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type { Contact } from "./Contact.ts"
import { NodeIdentity } from "./Identity.ts"
import { Reachability } from "./Reachability.ts"
import * as Rpc from "./Rpc.ts"
import type * as SocketAddress from "./SocketAddress.ts"

type Options = NonNullable<Parameters<Rpc.Rpc["Service"]["dialBack"]>[2]>

/** A peer that may pass on a probe, and our address as far as it knows. */
interface Relay {
  readonly via: Contact
  readonly claimed: SocketAddress.SocketAddress
}

/** Probes passed on at the same time, by rounds. The echo of the first one suffices where strangers reach us. */
const probesByRound = [1, 4, 4]

/** For the pings to strangers. Lost datagrams must not look like a broken path. */
const controlOptions = { attempts: 3, deadline: 2000, maintenance: true }

/**
 * Returns a function that has strangers send to us through these peers, until it is
 * known whether strangers reach us. Succeeds with whether whatever reached us came
 * from hosts that we had contacted, so that there may be no other.
 *
 * @internal
 */
export const make = Effect.gen(function*() {
  const clock = yield* Clock.Clock
  const identity = yield* NodeIdentity
  const reachability = yield* Reachability
  const rpc = yield* Rpc.Rpc
  const now = () => clock.currentTimeMillisUnsafe()

  /** Succeeds with whether the echo of another host than the relay arrived. */
  const ask = ({ claimed, via }: Relay, options: Options) =>
    Effect.match(rpc.dialBack(via, claimed, options), {
      onFailure: () => false,
      onSuccess: (outcome) => {
        if (outcome._tag === "Blocked") reachability.blockedUnsafe(via.host, outcome.sender, now())
        return outcome._tag === "Arrived"
      }
    })

  const control = (stranger: SocketAddress.SocketAddress) =>
    rpc.request(stranger, { _tag: "Ping", address: identity.address }, controlOptions).pipe(
      Effect.andThen(Effect.sync(() => reachability.controlledUnsafe(now()))),
      Effect.ignore
    )

  return Effect.fnUntraced(function*(
    relays: ReadonlyArray<Relay>,
    options: Options
  ): Effect.fn.Return<boolean> {
    const startedAt = now()
    const waiting = [...relays]
    let lacksStrangers = relays.length > 0
    for (const [round, probes] of probesByRound.entries()) {
      if (waiting.length === 0) break
      const asked = waiting.splice(0, probes)
      const arrived = yield* Effect.forEach(asked, (relay) => ask(relay, options), { concurrency: "unbounded" })
      lacksStrangers &&= arrived.every((isArrived) => isArrived)
      // The echo of one that we contacted shows nothing. The relay chooses another one next.
      if (reachability.stateUnsafe() === "unknown") waiting.push(...asked.filter((_, i) => arrived[i]))
      else if (lacksStrangers && round > 0) return true
      reachability.experimentedUnsafe(now())
      yield* Effect.forEach(reachability.controlsUnsafe(now()), control, { concurrency: "unbounded", discard: true })
      if (reachability.isTestedUnsafe(startedAt)) {
        const shown = asked.find((_, i) => arrived[i])
        if (shown !== undefined && reachability.stateUnsafe() === "open") reachability.reachedUnsafe(shown.claimed)
        return false
      }
    }
    return lacksStrangers
  })
})
