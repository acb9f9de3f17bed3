/**
 * Checks of contacts that do not find out themselves whether strangers can reach
 * them, such as nodes of the reference. One behind a router answers us as long as
 * its router remembers that it sent to us, and no other node: in routing tables it
 * would slow down the lookups of all others. So peers that are strangers to it try
 * to reach it, and if they cannot, it counts as a client.
 *
 * @module
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import type { Contact } from "./Contact.ts"
import { ContactReachability } from "./core/contactReachability.ts"
import * as Features from "./Features.ts"
import { NodeSettings } from "./NodeSettings.ts"
import * as PeerHealth from "./PeerHealth.ts"
import { Reachability } from "./Reachability.ts"
import * as Routing from "./Routing.ts"
import * as Rpc from "./Rpc.ts"
import * as SocketAddress from "./SocketAddress.ts"
import { spanned } from "./Spans.ts"
import * as WakeUp from "./WakeUp.ts"

/**
 * Contacts checked at the same time, and peers that are asked to try each: in a large
 * network nearly all are strangers to it, and in a small one none is for a while.
 */
const maxChecking = 16
const maxHelpers = 4

/** Least time between two looks at what is due. */
const lookPause = "30 seconds"

/** For a peer that pings the contact and waits for its response. */
const helperOptions = { attempts: 1, deadline: 3000 }

/**
 * Runs in the caller's scope what {@link layer} runs in a scope of its own.
 *
 * @internal
 */
export const make = Effect.gen(function*() {
  const clock = yield* Clock.Clock
  const health = yield* PeerHealth.PeerHealth
  const reachability = yield* Reachability
  const routing = yield* Routing.Routing
  const rpc = yield* Rpc.Rpc
  const settings = yield* NodeSettings
  const core = new ContactReachability()
  const run = yield* FiberSet.makeRuntime<never>()
  const checking = new Set<string>()

  const now = () => clock.currentTimeMillisUnsafe()

  /** Verified contacts that can try, of other networks than the contact and of its address family, at random. */
  const helpersFor = (contact: Contact) => {
    const network = SocketAddress.network(contact.host)
    const helps = ({ contact: { host, id }, verifiedAt }: Routing.Entry) =>
      verifiedAt !== undefined && SocketAddress.subnet(host) !== undefined && SocketAddress.network(host) !== network &&
      SocketAddress.family(host) === SocketAddress.family(contact.host) &&
      health.hasUnsafe(id, Features.Bit.dialBack) && !health.isBadUnsafe(id)
    return Effect.map(
      Random.shuffle(routing.entriesUnsafe().filter(helps)),
      (entries) => entries.slice(0, maxHelpers).map(({ contact }) => contact)
    )
  }

  const check = Effect.fnUntraced(function*(contact: Contact) {
    for (const helper of yield* helpersFor(contact)) {
      const reached = yield* Effect.orElseSucceed(rpc.reaches(helper, contact, helperOptions), Option.none)
      if (Option.isNone(reached)) continue
      if (core.tried(contact, SocketAddress.network(helper.host), reached.value, now())) break
    }
    core.ended(contact, now())
    if (core.state(contact) === "closed") routing.closedUnsafe(contact.id)
    else if (core.state(contact) === "open") health.reachableUnsafe(contact.id, true)
  }, spanned("ContactChecks.check"))

  /** Whether a check may change what becomes of a peer: it is a contact, or it would be. */
  const matters = (contact: Contact): boolean =>
    SocketAddress.subnet(contact.host) !== undefined && routing.isProvedUnsafe(contact) &&
    (routing.entryUnsafe(contact.id) !== undefined || health.isClientUnsafe(contact.id))

  /** Starts a check that is due. */
  const checkIfDue = (contact: Contact, now: number): void => {
    if (settings.client || checking.size >= maxChecking || checking.has(contact.id)) return
    if (!core.isDue(contact, now) || !matters(contact)) return
    checking.add(contact.id)
    run(
      check(contact).pipe(
        Effect.catchDefect((defect) => Effect.logError("A contact could not be checked", defect)),
        Effect.ensuring(Effect.sync(() => checking.delete(contact.id))),
        Effect.annotateLogs({ module: "effect-dht/ContactChecks", fiber: "Check" })
      )
    )
  }

  const awake = yield* WakeUp.make
  /** When the first contact is due, as of the last look. */
  let lookAt = Infinity

  yield* rpc.observe({
    heard: ({ contact, features, isAnswer, now }) => {
      if (Features.has(features, Features.Bit.dialBack) || Features.has(features, Features.Bit.client)) return
      // One that is not open may not have heard what the contact sent before.
      const shows = isAnswer && reachability.stateUnsafe() === "open"
      if (core.heard(contact, shows, now)) health.reachableUnsafe(contact.id, true)
      checkIfDue(contact, now)
      if (core.dueAt(contact) < lookAt) awake.wakeUnsafe()
    }
  })

  /** Starts the checks that are due. */
  const look = Effect.sync(() => {
    const at = now()
    lookAt = Infinity
    for (const { contact } of routing.entriesUnsafe()) {
      if (health.hasUnsafe(contact.id, Features.Bit.dialBack)) continue
      checkIfDue(contact, at)
      if (matters(contact)) lookAt = Math.min(lookAt, core.dueAt(contact))
    }
  })

  if (settings.client) return
  // In a small network no stranger is left for a while, and the contact may be silent by then.
  yield* look.pipe(
    Effect.catchDefect((defect) => Effect.logError("Contacts could not be checked", defect)),
    // The checks that were started have mostly ended by then.
    Effect.andThen(Effect.sleep(lookPause)),
    Effect.andThen(Effect.suspend(() => awake.sleep(lookAt - now()))),
    Effect.forever,
    Effect.annotateLogs({ module: "effect-dht/ContactChecks", fiber: "Look" }),
    Effect.forkScoped
  )
})

/**
 * Runs the checks in the layer's scope, as messages of such contacts arrive.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<
  never,
  never,
  NodeSettings | PeerHealth.PeerHealth | Reachability | Routing.Routing | Rpc.Rpc
> = Layer.effectDiscard(make)
