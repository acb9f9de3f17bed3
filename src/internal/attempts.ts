/**
 * A question to one peer: its attempts, each under a transaction of its own,
 * and how long each is given (RFC 6298, section 5).
 *
 * Nothing happens here: whoever asks is told how long to wait, and notes what
 * was sent.
 *
 * @since 0.1.0
 */
import type { TransactionId } from "../Message.ts"
import { Timer } from "./timerQueue.ts"

/** How much longer each attempt waits than the one before it. */
const growth = 1.5

/** The longest wait for one attempt, in milliseconds. */
const maxAttemptMillis = 5000

/** So many attempts fit into the time at least, however slow the peer was the last time. */
const minAttempts = 5

/**
 * Times are milliseconds.
 *
 * @internal
 */
export interface Options {
  readonly startedAt: number
  readonly maxAttempts: number
  /** For all attempts together. */
  readonly timeout: number
  /** For the first attempt, as far as there is time. */
  readonly firstWait: number
  /** Whether the last attempt is given no more than its turn, instead of the rest of the time. */
  readonly failsFast: boolean
}

/**
 * One datagram of a call, and whether it is in the words of v0.1.
 *
 * @internal
 */
export interface Attempt {
  readonly sentAt: number
  readonly isPlain: boolean
}

/**
 * As an event, it is what happens when an attempt's time is over.
 *
 * @internal
 */
export abstract class Attempts extends Timer {
  readonly startedAt: number
  readonly attempts = new Map<TransactionId, Attempt>()
  private readonly maxAttempts: number
  private readonly deadline: number
  private readonly failsFast: boolean
  private wait: number

  constructor(options: Options) {
    super()
    const { firstWait, failsFast, maxAttempts, timeout, startedAt } = options
    this.startedAt = startedAt
    this.maxAttempts = maxAttempts
    this.deadline = startedAt + timeout
    this.failsFast = failsFast
    this.wait = Math.min(firstWait, timeout / minAttempts)
  }

  /** Whether there are attempts and time left. */
  mayTry(now: number): boolean {
    return this.attempts.size < this.maxAttempts && now < this.deadline
  }

  /** Notes an attempt, and says until when to wait for an answer to it or to those before. */
  try(transaction: TransactionId, attempt: Attempt): number {
    this.attempts.set(transaction, attempt)
    const wait = this.wait
    this.wait = Math.min(wait * growth, maxAttemptMillis)
    const hasRest = this.attempts.size === this.maxAttempts && !this.failsFast
    return Math.min(attempt.sentAt + (hasRest ? maxAttemptMillis : wait), this.deadline)
  }
}
