/** Formats values for display. */

const integers = new Intl.NumberFormat("en", { maximumFractionDigits: 0 })
const fractions = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 })
const times = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" })
const moments = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" })

/** @param {number} value */
export const integer = (value) => integers.format(value)

/** @param {number} value */
export const fraction = (value) => fractions.format(value)

/**
 * Formats a percentage with as many digits as needed for only 0 to read 0 % and
 * only 1 to read 100 %.
 *
 * @param {number} share 0 to 1
 * @param {number} [digits]
 * @returns {string}
 */
export const percent = (share, digits = 0) => {
  const value = Number((share * 100).toFixed(digits))
  const isMisleading = value === 0 && share > 0 || value === 100 && share < 1
  return isMisleading && digits < 15 ? percent(share, digits + 1) : `${value} %`
}

/**
 * Abbreviates an id.
 *
 * @param {string} id
 */
export const short = (id) => id.length > 14 ? `${id.slice(0, 8)}…${id.slice(-4)}` : id

/** @param {number} millis */
export const duration = (millis) => {
  const seconds = Math.max(0, Math.round(millis / 1000))
  if (seconds < 60) return `${seconds} s`
  const minutes = Math.floor(seconds / 60)
  if (minutes < 60) return `${minutes} min`
  const hours = Math.floor(minutes / 60)
  if (hours < 24) return minutes % 60 === 0 ? `${hours} h` : `${hours} h ${minutes % 60} min`
  const days = Math.floor(hours / 24)
  return hours % 24 === 0 || days > 6 ? `${days} d` : `${days} d ${hours % 24} h`
}

/** @param {number} millis */
export const latency = (millis) => millis >= 10_000 ? duration(millis) : `${fraction(millis)} ms`

/** @param {number} millis Unix */
export const time = (millis) => times.format(millis)

/** Same with the day. @param {number} millis Unix */
export const moment = (millis) => moments.format(millis)

/** @param {number} bytes */
export const size = (bytes) =>
  bytes < 1024
    ? `${bytes} B`
    : bytes < 1024 * 1024
    ? `${fraction(bytes / 1024)} KiB`
    : `${fraction(bytes / (1024 * 1024))} MiB`

/** @param {string} noun */
export const plural = (noun) => `${noun.replace(/(?<![aeiou])y$/, "ie")}s`

/**
 * @param {number} count
 * @param {string} noun
 */
export const counted = (count, noun) => `${integer(count)} ${count === 1 ? noun : plural(noun)}`
