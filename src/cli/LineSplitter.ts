/**
 * Lines of an input that arrives in pieces.
 *
 * @since 0.1.0
 */

/**
 * A line without its end. The bytes are undefined for one that is too long.
 *
 * @category models
 * @since 0.1.0
 */
export interface Line {
  /** Counts from 1, empty lines included. */
  readonly number: number
  readonly bytes: Uint8Array | undefined
}

const newline = 0x0a

/**
 * Splits input into lines, without empty ones. A line that is too long is
 * reported as soon as it is, and skipped.
 *
 * @category models
 * @since 0.1.0
 */
export class LineSplitter {
  private readonly maxLine: number
  private parts: Array<Uint8Array> = []
  private size = 0
  private number = 1

  /** `maxLine` is in bytes. */
  constructor(maxLine: number) {
    this.maxLine = maxLine
  }

  push(chunk: Uint8Array): ReadonlyArray<Line> {
    const lines: Array<Line> = []
    let start = 0
    for (let end = chunk.indexOf(newline); end !== -1; end = chunk.indexOf(newline, start)) {
      lines.push(...this.add(chunk.subarray(start, end)), ...this.end())
      start = end + 1
    }
    lines.push(...this.add(chunk.subarray(start)))
    return lines
  }

  /** Ends the line, or the input. */
  end(): ReadonlyArray<Line> {
    const { parts, size } = this
    const number = this.number++
    this.parts = []
    this.size = 0
    return size > 0 && size <= this.maxLine ? [{ number, bytes: Buffer.concat(parts) }] : []
  }

  private add(part: Uint8Array): ReadonlyArray<Line> {
    const wasLong = this.size > this.maxLine
    this.size += part.length
    if (this.size <= this.maxLine) {
      this.parts.push(part)
      return []
    }
    this.parts = []
    return wasLong ? [] : [{ number: this.number, bytes: undefined }]
  }
}
