/**
 * Checks of delegations by wallets, ahead of the store's.
 *
 * The store checks records at once, and for a wallet's signature that would hold
 * the event loop for milliseconds. What receives records has them prepared
 * first: the signature is checked by the `Verifier`, possibly on another core,
 * and the store's policy then finds the verdict. Verdicts are remembered,
 * including those on delegations that no wallet signed.
 *
 * @module
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import { type Check, type Origin, WalletChecks } from "./core/walletChecks.ts"
import { Verdicts } from "./internal/verdicts.ts"
import * as Record from "./Record.ts"
import * as SocketAddress from "./SocketAddress.ts"
import type { Options as StoreOptions } from "./Store.ts"
import { Verifier } from "./Verifier.ts"

export type { Origin } from "./core/walletChecks.ts"

/**
 * Prepares records of peers for the store.
 *
 * @category services
 * @since 0.1.0
 */
export class DelegationChecks extends Context.Service<DelegationChecks, {
  /**
   * Has the wallets' signatures of records checked. Calls `done` once, now or
   * later, with the records that the store can check without delay, valid or
   * not; the others are too many. A request's network has an allowance of
   * checks; a response to our own request has not.
   */
  readonly prepareUnsafe: (
    records: ReadonlyArray<Record.SignedRecord>,
    origin: Origin,
    done: (ready: ReadonlyArray<Record.SignedRecord>) => void
  ) => void
  /** Does the same for the records of a response that a host sent to a request of ours. */
  readonly prepareResponse: (
    records: ReadonlyArray<Record.SignedRecord>,
    host: string
  ) => Effect.Effect<ReadonlyArray<Record.SignedRecord>>
}>()("effect-dht/DelegationChecks") {}

/**
 * The service in the caller's scope; {@link layer} has a scope of its own.
 *
 * @internal
 */
export const make = Effect.fnUntraced(function*(options: Pick<StoreOptions, "policy"> = {}) {
  const clock = yield* Clock.Clock
  const verifier = yield* Verifier
  const isDue = Latch.makeUnsafe(false)
  const checks = new WalletChecks({ wake: () => isDue.openUnsafe() })
  const verdicts = new Verdicts(Record.rememberedDelegations)

  /** A check of the record's delegation that takes long, and whose verdict is not known. */
  const checkOf = (record: Record.SignedRecord, now: number): Check | undefined => {
    const claim = record.delegation === undefined ? undefined : Result.getOrUndefined(Record.claim(record, now))
    if (claim?.proof._tag !== "Wallet") return undefined
    const verdict = verdicts.of(claim.id)
    if (verdict !== undefined) {
      Record.settle(record, verdict)
      return undefined
    }
    const { address, message, signature } = claim.proof
    return { id: claim.id, start: (done) => verifier.checkWallet(address, message, signature, done) }
  }

  const prepareUnsafe: DelegationChecks["Service"]["prepareUnsafe"] = (records, origin, done) => {
    if (options.policy !== undefined) return done(records)
    const now = clock.currentTimeMillisUnsafe()
    const refused = new Set<Record.SignedRecord>()
    let open = 1
    const close = () => {
      if (--open === 0) done(refused.size === 0 ? records : records.filter((record) => !refused.has(record)))
    }
    for (const record of records) {
      const check = checkOf(record, Math.floor(now / 1000))
      if (check === undefined) continue
      open++
      checks.check(check, origin, now, (valid) => {
        if (valid === undefined) {
          refused.add(record)
        } else {
          verdicts.remember(check.id, valid)
          Record.settle(record, valid)
        }
        close()
      })
    }
    close()
  }

  // A check may run on this very thread, so there is at most one a turn.
  yield* isDue.await.pipe(
    Effect.tap(() => Effect.sync(() => isDue.closeUnsafe())),
    Effect.andThen(Effect.yieldNow),
    Effect.andThen(Effect.sync(() => checks.next())),
    Effect.catchCause((cause) => Effect.logError("The check of a delegation failed", cause)),
    Effect.forever({ disableYield: true }),
    Effect.annotateLogs({ module: "effect-dht/DelegationChecks", fiber: "Checks" }),
    Effect.forkScoped
  )

  return DelegationChecks.of({
    prepareUnsafe,
    prepareResponse: (records, host) =>
      Effect.callback((resume) =>
        prepareUnsafe(
          records,
          { network: SocketAddress.network(host), isAwaited: true },
          (ready) => resume(Effect.succeed(ready))
        )
      )
  })
})

/**
 * Checks by the `Verifier`, for a store with the usual policy. For a store with
 * another `policy` nothing is checked.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options?: Pick<StoreOptions, "policy">): Layer.Layer<DelegationChecks, never, Verifier> =>
  Layer.effect(DelegationChecks, make(options))
