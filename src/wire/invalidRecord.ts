/**
 * The error of a record that is not valid, which names the field of a payload
 * that is too long.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"

/**
 * A payload field that does not fit: it exceeds its own limit, or the room that
 * the other fields leave.
 *
 * @category models
 * @since 0.1.0
 */
export interface Excess {
  /** The member of the payload. */
  readonly field: string
  /** Its size: of a text in UTF-8 bytes; of a list or a map, its encoded length. */
  readonly size: number
  /** The largest size that fits. */
  readonly limit: number
  readonly unit: "bytes" | "characters" | "entries"
}

/**
 * The record is malformed, wrongly signed, from the future, or not allowed at
 * this key. `excess` is set if a payload to be signed is too long.
 *
 * @category errors
 * @since 0.1.0
 */
export class InvalidRecord extends Data.TaggedError("InvalidRecord")<{
  readonly reason: string
  readonly excess?: Excess | undefined
}> {
  override get message() {
    return `Invalid record: ${this.reason}`
  }
}
