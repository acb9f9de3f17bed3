/**
 * The attempts of one request, each under its own transaction, and their
 * retransmission timeouts (RFC 6298, section 5).
 *
 * This module sends nothing: the caller sends each attempt, records it with
 * `try`, and waits for as long as that returns.
 *
 * @since 0.1.0
 */
import { Timer } from "../internal/timerQueue.ts"
import type { TransactionId } from "../Message.ts"
import type { Session } from "./sessions.ts"

/** Factor by which the timeout grows with each attempt. */
const growth = 1.5

/** Longest timeout of one attempt, in milliseconds. */
const maxAttemptMillis = 5000

/** Delay of a timer that shows that this process paused, and the longest pause that is made up for. */
const minPauseMillis = 10
const maxPauseMillis = 1000

/** Bounds the first timeout to this fraction of the total, so that a slow peer still leaves time for retries. */
const minAttempts = 5

/**
 * The limits of a request. Times are in milliseconds.
 *
 * @internal
 */
export interface Options {
  readonly startedAt: number
  readonly maxAttempts: number
  /** Timeout of all attempts together. */
  readonly timeout: number
  /** Timeout of the first attempt; reduced where `timeout` is short. */
  readonly firstWait: number
  /** Whether the last attempt waits for its own timeout only, instead of the rest of the time. */
  readonly failsFast: boolean
  /** Shortest timeout of the last attempt, by default none. */
  readonly minLast?: number | undefined
}

/**
 * One datagram of a request: whether it is in the form of v0.1, and the session
 * that it belongs to if it is not signed.
 *
 * @internal
 */
export interface Attempt {
  readonly sentAt: number
  readonly isPlain: boolean
  readonly session: Session | undefined
}

/**
 * A request's attempts and, as a timer, the timeout of the latest one.
 *
 * @internal
 */
export abstract class Attempts extends Timer {
  readonly startedAt: number
  readonly attempts = new Map<TransactionId, Attempt>()
  readonly maxAttempts: number
  private readonly deadline: number
  private readonly failsFast: boolean
  private readonly firstWait: number
  private readonly minLast: number
  private until = 0
  /** Whether a pause of this process was made up for during the latest attempt. */
  private hasResumed = false

  constructor(options: Options) {
    super()
    const { firstWait, failsFast, maxAttempts, minLast = 0, timeout, startedAt } = options
    this.startedAt = startedAt
    this.maxAttempts = maxAttempts
    this.deadline = startedAt + timeout
    this.failsFast = failsFast
    this.minLast = minLast
    this.firstWait = Math.min(firstWait, timeout / minAttempts)
  }

  /** Whether there are attempts and time left. */
  mayTry(now: number): boolean {
    return this.attempts.size < this.maxAttempts && now < this.deadline
  }

  /** Records an attempt and returns until when to wait for a response to any attempt. */
  try(transaction: TransactionId, attempt: Attempt): number {
    const wait = this.attempts.size === 0
      ? this.firstWait
      : Math.min(this.firstWait * growth ** this.attempts.size, maxAttemptMillis)
    this.attempts.set(transaction, attempt)
    const isLast = this.attempts.size === this.maxAttempts
    const last = this.failsFast ? Math.max(wait, this.minLast) : maxAttemptMillis
    this.until = Math.min(attempt.sentAt + (isLast ? last : wait), this.deadline)
    this.hasResumed = false
    return this.until
  }

  /**
   * Returns until when to wait on if a timeout comes so late that this process must
   * have paused: the response may have arrived and not been read yet. Undefined if
   * the timeout counts.
   */
  resume(now: number): number | undefined {
    const pause = now - this.until
    if (pause < minPauseMillis || this.hasResumed) return undefined
    this.hasResumed = true
    this.until = now + Math.min(pause, maxPauseMillis)
    return this.until
  }

  /**
   * Returns until when to wait for a peer that needs one more round trip before it
   * responds. The first one took until now at most.
   */
  prolong(now: number): number {
    this.until = Math.max(this.until, Math.min(now + (now - this.startedAt) + this.firstWait, this.deadline))
    return this.until
  }
}
