/**
 * Detection of damage in the write-ahead log of a SQLite file.
 *
 * SQLite reads its log up to the first invalid frame and takes that for the end,
 * which is right if the process died while writing. But since each commit is on
 * disk before the next begins, at most one can be incomplete: commits after an
 * invalid frame were durable, and SQLite would silently drop them. Damage to the
 * last commits, or a truncated log, cannot be told apart from a crash.
 *
 * SQLite does not tell: `integrity_check` passes without the lost commits, and
 * `wal_checkpoint` counts the valid frames, not what follows them.
 *
 * Format: https://sqlite.org/fileformat2.html#the_write_ahead_log
 *
 * @since 0.1.0
 */

const headerLength = 32
const frameHeaderLength = 24

/** Magic numbers: the checksummed words are little-endian after the first, big-endian after the second. */
const magicLittle = 0x377f0682
const magicBig = 0x377f0683

/**
 * @internal
 */
export const isDamaged = (log: Uint8Array): boolean => {
  if (log.length <= headerLength) return false
  const view = new DataView(log.buffer, log.byteOffset, log.length)
  const word = (at: number) => view.getUint32(at)
  const magic = word(0)
  const pageSize = word(8)

  let [sum, sumOfSums] = [0, 0]
  const add = (from: number, to: number): void => {
    const isLittle = magic === magicLittle
    for (let at = from; at < to; at += 8) {
      sum = (sum + view.getUint32(at, isLittle) + sumOfSums) >>> 0
      sumOfSums = (sumOfSums + view.getUint32(at + 4, isLittle) + sum) >>> 0
    }
  }
  const isSum = (at: number) => word(at) === sum && word(at + 4) === sumOfSums

  // The header is on disk before any frame.
  add(0, 24)
  if ((magic !== magicLittle && magic !== magicBig) || !isSum(24)) return true

  const frameLength = frameHeaderLength + pageSize
  let isBroken = false
  let isCommitted = false
  for (let at = headerLength; at + frameLength <= log.length; at += frameLength) {
    // Frames with another salt are left over from before the log restarted.
    const isCurrent = word(at + 8) === word(16) && word(at + 12) === word(20)
    if (!isBroken) {
      add(at, at + 8)
      add(at + frameHeaderLength, at + frameLength)
      if (isCurrent && isSum(at + 16)) continue
      isBroken = true
    }
    if (!isCurrent) continue
    if (isCommitted) return true
    isCommitted = word(at + 4) !== 0
  }
  return false
}
