/**
 * HTTP client of the page: documents, and event streams, which are read with
 * `fetch` because an `EventSource` cannot send a token.
 */

/** The token is missing or wrong. */
export class Unauthorized extends Error {}

/** The node rejected the request; the message tells why. */
export class Refused extends Error {}

const tokenKey = "effect-dht-token"
const readsKey = "effect-dht-token-for-reads"

/** @type {string | null} */
let token = null
let isForReads = false
try {
  token = sessionStorage.getItem(tokenKey)
  isForReads = sessionStorage.getItem(readsKey) !== null
} catch {
  // Storage is unavailable: the token is requested on each visit.
}

export const hasToken = () => token !== null

/** Whether the node shows nothing without the token, also at a plain link, which cannot send it. */
export const isLocked = () => isForReads

/**
 * Keeps the token until the tab is closed.
 *
 * @param {string} value
 * @param {boolean} reads whether the node shows nothing without it
 */
export const setToken = (value, reads) => {
  token = value
  isForReads ||= reads
  try {
    sessionStorage.setItem(tokenKey, value)
    if (reads) sessionStorage.setItem(readsKey, "yes")
  } catch {
    // Storage is unavailable: the token is kept until the page is left.
  }
}

/**
 * @param {string} path
 * @param {RequestInit} options
 */
const request = async (path, options = {}) => {
  const headers = new Headers(options.headers)
  if (token !== null) headers.set("authorization", `Bearer ${token}`)
  const response = await fetch(path, { ...options, headers, cache: "no-store" })
  if (response.ok) return response
  const body = await response.json().catch(() => ({}))
  const message = typeof body.detail === "string" ? body.detail : `The node responded with status ${response.status}`
  throw response.status === 401 ? new Unauthorized(message) : new Refused(message)
}

/**
 * @param {string} path
 * @returns {Promise<any>}
 */
export const read = async (path) => (await request(path)).json()

/**
 * Sends a request that acts for the node; succeeds with the document of the
 * response, if there is one.
 *
 * @param {"PUT" | "POST" | "DELETE"} method
 * @param {string} path
 * @param {unknown} [body]
 * @returns {Promise<any>}
 */
export const send = async (method, path, body) => {
  const response = await request(path, {
    method,
    ...(body === undefined ? {} : { headers: json, body: JSON.stringify(body) })
  })
  return response.status === 204 ? undefined : response.json()
}

const json = { "content-type": "application/json" }

/** Milliseconds without any data after which a stream counts as lost; the node sends a comment every 15 seconds. */
const silenceMillis = 40_000

/**
 * Passes on the events of a stream until it ends. Fails if the connection does.
 *
 * @param {string} path
 * @param {{
 *   readonly body?: unknown
 *   readonly signal?: AbortSignal
 *   readonly opened?: () => void
 *   readonly event: (event: any) => void
 * }} options
 */
export const stream = async (path, { body, event, opened, signal }) => {
  const silence = new AbortController()
  const signals = signal === undefined ? [silence.signal] : [silence.signal, signal]
  const startTimer = () => setTimeout(() => silence.abort(new Error("The node is silent")), silenceMillis)
  let timer = startTimer()
  try {
    const response = await request(path, {
      signal: AbortSignal.any(signals),
      ...(body === undefined
        ? {}
        : { method: "POST", headers: json, body: JSON.stringify(body) })
    })
    opened?.()
    const reader = /** @type {ReadableStream<Uint8Array>} */ (response.body).getReader()
    const decoder = new TextDecoder()
    let pending = ""
    while (true) {
      const { done, value } = await reader.read()
      if (done) return
      clearTimeout(timer)
      timer = startTimer()
      pending += decoder.decode(value, { stream: true })
      const parts = pending.split("\n\n")
      pending = parts.pop() ?? ""
      for (const part of parts) {
        const data = part.split("\n").filter((line) => line.startsWith("data:")).map((line) => line.slice(5)).join("\n")
        if (data !== "") event(JSON.parse(data))
      }
    }
  } finally {
    clearTimeout(timer)
  }
}
