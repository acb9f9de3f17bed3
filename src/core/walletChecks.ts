/**
 * The checks of wallets' signatures that peers cause. One takes a millisecond or
 * two, up to a hundred times as long as the rest of a request, so they are
 * limited by source, run one at a time and at most one a turn, and networks
 * take turns.
 *
 * @since 0.1.0
 */
import { Allowance } from "../internal/rateLimit.ts"
import { FairQueue } from "./fairQueue.ts"

/** Checks that requests may cause in a second. */
const allowance = { perSource: 16, inAll: 64, windowMillis: 1000 }

/**
 * Checks that wait: of requests, and of responses to our own requests. The
 * latter are as many as we ask for; a response has room for two.
 */
const waitingRequests = { capacity: 64, perSource: 16 }
const waitingResponses = { capacity: 1024, perSource: 256 }

/** Callers that wait for one check. */
const maxCallers = 64

/**
 * Where records came from: the network of a peer, and whether they answer a
 * request of ours.
 *
 * @category models
 * @since 0.1.0
 */
export interface Origin {
  readonly network: string
  readonly isAwaited: boolean
}

/**
 * @internal
 */
export interface Options {
  /** Called when {@link WalletChecks.next} is due, in a later turn. */
  readonly wake: () => void
}

/**
 * A check. `start` calls back once, now or later; or it returns false if there
 * is no room. Equal ids mean equal checks.
 *
 * @internal
 */
export interface Check {
  readonly id: string
  readonly start: (done: (valid: boolean) => void) => boolean
}

/**
 * @internal
 */
export class WalletChecks {
  private readonly allowance = new Allowance(allowance)
  private readonly requests = new FairQueue<Check>(waitingRequests)
  private readonly responses = new FairQueue<Check>(waitingResponses)
  /** The callers of each check that waits or runs. */
  private readonly callers = new Map<string, Array<(valid: boolean | undefined) => void>>()
  private readonly options: Options
  private isBusy = false
  private wasResponse = false

  constructor(options: Options) {
    this.options = options
  }

  /**
   * Runs a check, or lets it wait. Calls `done` once, now or later: with the
   * verdict, or undefined if there are too many. `now` is Unix milliseconds.
   */
  check(check: Check, { isAwaited, network }: Origin, now: number, done: (valid: boolean | undefined) => void): void {
    const callers = this.callers.get(check.id)
    if (callers !== undefined) return callers.length < maxCallers ? void callers.push(done) : done(undefined)
    if (!isAwaited && !this.allowance.allow(network, now)) return done(undefined)
    this.callers.set(check.id, [done])
    // A network is one line here, whatever its hosts and ports.
    const lost = (isAwaited ? this.responses : this.requests).offer({ host: network, port: 0 }, check)
    if (lost !== undefined) this.settle(lost, undefined)
    if (!this.isBusy) this.next()
  }

  /** Runs the next check, if there is one. Requests and responses take turns. */
  next(): void {
    const check = this.wasResponse
      ? this.take(this.requests, this.responses)
      : this.take(this.responses, this.requests)
    this.isBusy = check !== undefined
    if (check === undefined) return
    const settle = (valid: boolean | undefined) => {
      // Not at once: all that came with this turn would run in it.
      this.options.wake()
      this.settle(check, valid)
    }
    if (!check.start(settle)) settle(undefined)
  }

  private settle({ id }: Check, valid: boolean | undefined): void {
    const callers = this.callers.get(id) ?? []
    this.callers.delete(id)
    for (const done of callers) done(valid)
  }

  private take(first: FairQueue<Check>, second: FairQueue<Check>): Check | undefined {
    const queue = first.size > 0 ? first : second
    this.wasResponse = queue === this.responses
    return queue.takeOne()
  }
}
