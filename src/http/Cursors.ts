/**
 * The cursors of a log in memory: numbers that count from 1 and are valid for
 * this log only, since another one numbers its entries anew.
 *
 * @module
 * @since 0.1.0
 */

/**
 * @category models
 * @since 0.1.0
 */
export class Cursors {
  /** Distinguishes the numbers of this log from those of an earlier one. */
  private readonly epoch: string
  private newest = 0

  /** `startedAt` is in Unix milliseconds, different for each log. */
  constructor(startedAt: number) {
    this.epoch = startedAt.toString(36)
  }

  /** The number of the last entry; 0 before the first. */
  get last(): number {
    return this.newest
  }

  /** Returns the number of a new entry. */
  next(): number {
    return ++this.newest
  }

  format(number: number): string {
    return `${this.epoch}.${number}`
  }

  /** The number in a cursor; undefined if this log did not give it. */
  parse(cursor: string): number | undefined {
    const [epoch, text] = cursor.split(".")
    const number = Number(text)
    return epoch === this.epoch && Number.isInteger(number) && number >= 0 && number <= this.newest
      ? number
      : undefined
  }
}
