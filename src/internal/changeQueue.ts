/**
 * What waits to be written, in order and bounded. A batch is taken, and was
 * either written or comes back to the front.
 *
 * When there is no room any more, the oldest of what is not important is
 * dropped, a quarter of the whole at once so that this is rarely done. What is
 * important goes only when nothing else is left.
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

  /** What was neither written nor dropped, a batch that is being written included. */
  get length(): number {
    return this.waiting.length + this.taken.length
  }

  get hasWaiting(): boolean {
    return this.waiting.length > 0
  }

  /** How many were offered, ever. */
  get offered(): number {
    return this.offers
  }

  /** How many of them were dropped. */
  get dropped(): number {
    return this.drops
  }

  /** How many of them were written. */
  get written(): number {
    return this.offers - this.drops - this.length
  }

  offer(item: A): void {
    this.offers++
    this.waiting.push(item)
    this.makeRoom()
  }

  /** The oldest, at most so many, to be written. Nothing more is to be taken before their end was told. */
  take(max: number): ReadonlyArray<A> {
    this.taken = this.waiting.splice(0, max)
    return this.taken
  }

  /** The batch was written. */
  done(): void {
    this.taken = []
  }

  /** The batch was not written, and comes first again. */
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
