/**
 * The fiber that renews hosted records and reads mailboxes, in the order of
 * `core/sweep.ts`, and takes the outcomes.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import type { Sweep } from "../core/sweep.ts"
import type * as Identity from "../Identity.ts"
import * as InFlight from "../InFlight.ts"
import { clockCheckMillis } from "../Renewal.ts"
import { Timers } from "../Timers.ts"
import * as Withdrawal from "../Withdrawal.ts"
import { Entry, Mailbox, type Owner } from "./entry.ts"
import type { Event } from "./event.ts"
import type { Identities } from "./identities.ts"
import type * as Kept from "./kept.ts"
import type * as Mail from "./mail.ts"
import * as Renewals from "./renewals.ts"

/** Outcome of a step; `Woken`: there may be more to do. */
type Outcome = { readonly _tag: "Woken" } | Renewals.Lookup | Renewals.Probed | Renewals.Renewal | Mail.Reading

/**
 * Starts the fiber, and returns what gives it work.
 *
 * @internal
 */
export const make = Effect.fnUntraced(function*(options: {
  readonly sweep: Sweep<Entry | Mailbox>
  readonly identities: Identities
  readonly kept: Effect.Success<typeof Kept.make>
  readonly mail: Effect.Success<ReturnType<typeof Mail.make>>
  readonly tell: (event: Event) => void
}) {
  const { identities, kept, mail, sweep, tell } = options
  const clock = yield* Clock.Clock
  const renewals = yield* Renewals.make(sweep)
  const inFlight = yield* InFlight.make<Outcome>(yield* Timers)
  const isSettled = Latch.makeUnsafe(true)
  const counts = { renewals: 0, failures: 0 }

  const millis = () => clock.currentTimeMillisUnsafe()

  const startWithdrawal = (entry: Entry): void => {
    if (entry.expires > millis() && Withdrawal.isPossible(entry.record)) sweep.withdraw(entry, millis())
  }

  /** Ends the renewals of an identity whose delegation has ended. */
  const endOwner = (owner: Owner, reason: Identity.DelegationExpired): void => {
    if (owner.hasEnded) return
    mail.close(owner)
    for (const entry of owner.records) {
      sweep.remove(entry)
      identities.judge(entry, undefined)
    }
    identities.end(owner, true)
    tell({ _tag: "DelegationEnded", at: millis(), address: owner.address, reason })
  }

  const apply = (outcome: Outcome): void => {
    const now = millis()
    if (outcome._tag === "Woken") return
    if (outcome._tag === "Found") return sweep.found(outcome.target, outcome.found, now)
    if (outcome._tag === "Probed") return sweep.probed(outcome.contact, outcome.isBack, now)
    if (outcome._tag === "Read") return mail.apply(outcome, identities.has(outcome.mailbox.owner))
    const { entry, sent } = outcome
    const { owner, type, key } = entry
    sweep.sent(sent, entry)
    if (entry.removal !== "None") {
      if (entry.removal === "Withdraw") startWithdrawal(entry)
      return
    }
    switch (outcome._tag) {
      case "Placed": {
        const { expires, signer: { delegation }, wanted } = entry
        const until = delegation === undefined || delegation.expiresAt === 0n
          ? undefined
          : Number(delegation.expiresAt) * 1000
        entry.signedOver = 0
        identities.judge(entry, undefined)
        const due = outcome.isPartial
          ? sweep.failed(entry, { expires }, now)
          : sweep.renewed(entry, { expires, until }, now)
        counts.renewals++
        kept.save(entry, due)
        const { seq } = entry.record
        const copies = entry.holders.length
        return tell({ _tag: "Renewed", at: now, address: owner.address, key, type, seq, copies, wanted, due })
      }
      case "HandedOff":
        sweep.handedOff(entry, now)
        return kept.save(entry, sweep.dueOf(entry))
      case "Overtaken":
        entry.signedOver++
        entry.isOvertaken = true
        return sweep.again(entry, now)
      case "Failed": {
        const { reason } = outcome
        counts.failures++
        entry.signedOver = 0
        if (reason?._tag === "DelegationExpired") {
          sweep.ended(entry)
          return endOwner(owner, reason)
        }
        const retryAt = sweep.failed(entry, {}, now)
        identities.judge(entry, { tag: reason?._tag ?? "Internal", reason })
        if (reason === undefined) return
        const { failures } = entry
        return tell({ _tag: "RenewalFailed", at: now, address: owner.address, key, type, reason, failures, retryAt })
      }
    }
  }

  yield* Effect.gen(function*() {
    while (true) {
      const now = millis()
      const step = sweep.poll(now)
      if (step._tag === "Lookup") {
        yield* inFlight.start(renewals.lookUp(step.target))
        continue
      }
      if (step._tag === "Renew") {
        const { item } = step
        yield* inFlight.start(item instanceof Mailbox ? mail.read(item, step) : renewals.renew(item, step))
        continue
      }
      if (step._tag === "Handoff") {
        const { item, nodes } = step
        if (item instanceof Entry) yield* inFlight.start(renewals.handOff(item, nodes))
        continue
      }
      if (step._tag === "Probe") {
        yield* inFlight.start(renewals.probe(step.contact))
        continue
      }
      if (step._tag === "Withdraw") {
        const { item } = step
        if (item instanceof Entry) yield* inFlight.start(Effect.as(renewals.withdraw(item), { _tag: "Woken" }))
        continue
      }
      if (sweep.dueCount === 0) isSettled.openUnsafe()
      // A shorter sleep than to the next whole millisecond could end before it.
      const pause = Math.min(step.until === undefined ? Infinity : Math.ceil(step.until - now), clockCheckMillis)
      for (const outcome of yield* inFlight.take(pause)) apply(outcome)
    }
  }).pipe(
    Effect.catchCause((cause) => Effect.andThen(Effect.logError("Hosting failed", cause), Effect.sleep("1 second"))),
    Effect.forever,
    Effect.annotateLogs({ module: "effect-dht/Hosting", fiber: "Sweep" }),
    Effect.forkScoped
  )

  return {
    counts: () => ({ ...counts, ...renewals.counts }),
    startWithdrawal,
    /** Has the fiber look for work. */
    wake: (): void => {
      isSettled.closeUnsafe()
      inFlight.offerUnsafe({ _tag: "Woken" })
    },
    settled: isSettled.await
  }
})
