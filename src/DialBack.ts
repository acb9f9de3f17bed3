/**
 * Experiments that show whether strangers reach this node, whose failures count
 * for its reachability.
 *
 * If all strangers so far were one node, the failure may be theirs: what they send
 * to us may be lost for another reason than a router of ours. As a control, we ping
 * that node. A router lets its response in, so one that arrives shows that only
 * what is unasked for is kept out.
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

/** For the ping to the only stranger. Lost datagrams must not look like a broken path. */
const controlOptions = { attempts: 3, deadline: 2000, maintenance: true }

/**
 * Returns a function that has a stranger send to `claimed`, through the peer `via`.
 *
 * @internal
 */
export const make = Effect.gen(function*() {
  const clock = yield* Clock.Clock
  const identity = yield* NodeIdentity
  const reachability = yield* Reachability
  const rpc = yield* Rpc.Rpc
  const now = () => clock.currentTimeMillisUnsafe()

  return Effect.fnUntraced(function*(
    via: Contact,
    claimed: SocketAddress.SocketAddress,
    options: { readonly attempts: number; readonly deadline: number; readonly echoMillis?: number }
  ): Effect.fn.Return<Rpc.DialBack> {
    const outcome = yield* rpc.dialBack(via, claimed, options).pipe(
      Effect.orElseSucceed((): Rpc.DialBack => ({ _tag: "NoAnswer" }))
    )
    if (outcome._tag !== "Blocked") return outcome
    const { sender } = outcome
    if (!reachability.blockedUnsafe(via.host, sender.host, now())) return outcome
    yield* rpc.request(sender, { _tag: "Ping", address: identity.address }, controlOptions).pipe(
      Effect.andThen(Effect.sync(() => reachability.controlledUnsafe(now()))),
      Effect.ignore
    )
    return outcome
  })
})
