/**
 * A bounded queue of changes to write. Changes are taken in batches; a batch
 * that could not be written returns to the front.
 *
 * When the queue is full, the oldest unimportant changes are dropped, a quarter
 * of the capacity at once to amortize the scan. Important changes are dropped
 * only when no others are left.
 *
 * @since 0.1.0
 */

/**
 * @internal
 */
export interface Options<A> {
  readonly capacity: number
  readonly isImportant: (item: A) => boolean
}

/**
 * @internal
 */
export class ChangeQueue<A> {
  private readonly options: Options<A>
  private waiting: Array<A> = []
  private taken: ReadonlyArray<A> = []
  private offers = 0
  private drops = 0

  constructor(options: Options<A>) {
    this.options = options
  }

  /** Number of changes neither written nor dropped, a batch in progress included. */
  get length(): number {
    return this.waiting.length + this.taken.length
  }

  get hasWaiting(): boolean {
    return this.waiting.length > 0
  }

  /** Number of changes ever offered. */
  get offered(): number {
    return this.offers
  }

  /** Number of changes ever dropped. */
  get dropped(): number {
    return this.drops
  }

  /** Number of changes ever written. */
  get written(): number {
    return this.offers - this.drops - this.length
  }

  offer(item: A): void {
    this.offers++
    this.waiting.push(item)
    this.makeRoom()
  }

  /** Takes a batch of the oldest changes, at most `max`. Call `done` or `failed` before the next batch. */
  take(max: number): ReadonlyArray<A> {
    this.taken = this.waiting.splice(0, max)
    return this.taken
  }

  /** The batch was written. */
  done(): void {
    this.taken = []
  }

  /** The batch was not written and returns to the front. */
  failed(): void {
    this.waiting = [...this.taken, ...this.waiting]
    this.taken = []
    this.makeRoom()
  }

  private makeRoom(): void {
    const { capacity, isImportant } = this.options
    if (this.length <= capacity) return
    const before = this.waiting.length
    let surplus = Math.max(this.length - capacity, Math.ceil(capacity / 4))
    this.waiting = this.waiting.filter((item) => isImportant(item) || surplus-- <= 0)
    const excess = this.length - capacity
    if (excess > 0) this.waiting.splice(0, excess)
    this.drops += before - this.waiting.length
  }
}
