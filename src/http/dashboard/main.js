/** Keeps the page up to date: events tell which documents to reload. */
import * as Announcements from "./announcements.js"
import * as Buckets from "./buckets.js"
import { byId, fieldOf } from "./dom.js"
import * as Format from "./format.js"
import * as Lookups from "./lookups.js"
import * as Node from "./node.js"
import * as Overview from "./overview.js"
import * as Store from "./store.js"
import * as Traffic from "./traffic.js"

/** @import * as Types from "./types.d.ts" */

// --- Documents -------------------------------------------------------------------

/** The parts of the page, each with the maximum age of its documents in milliseconds. */
const parts = {
  overview: {
    every: 5000,
    load: async () => {
      /** @type {Types.Overview} */
      const overview = await Node.read("/v1/overview")
      document.title = `${Format.short(overview.identity.address)} · effect-dht`
      const state = byId("state")
      state.textContent = overview.ready ? "ready" : "not ready"
      state.className = `pill ${overview.ready ? "good" : "bad"}`
      Lookups.know(overview)
      Overview.show(overview, Traffic.perSecond)
      Overview.advice(overview)
      byId("updated").textContent = `As of ${Format.time(overview.at_ms)}`
    }
  },
  buckets: {
    every: 10_000,
    load: async () => {
      /** @type {Types.Buckets} */
      const buckets = await Node.read("/v1/buckets")
      Lookups.knowContacts(buckets)
      Buckets.show(buckets, Lookups.lookUp)
    }
  },
  queries: {
    every: 30_000,
    load: async () => {
      /** @type {Types.Queries} */
      const queries = await Node.read(`/debug/queries?limit=${Lookups.wanted()}`)
      Lookups.show(queries, () => refresh("queries"))
    }
  },
  traffic: {
    every: 2000,
    load: async () => {
      /** @type {Types.TrafficReport} */
      const report = await Node.read("/v1/traffic")
      Traffic.show(report)
    }
  },
  announcements: {
    every: 15_000,
    load: async () => {
      /** @type {Types.Replication} */
      const replication = await Node.read(`/debug/replication?limit=${Announcements.wanted()}`)
      Announcements.show(replication, () => refresh("announcements"))
    }
  },
  store: {
    every: 15_000,
    load: async () => {
      /** @type {Types.StoreReport} */
      const report = await Node.read(`/v1/store?limit=${Store.loaded}`)
      Store.show(report, Lookups.lookUp)
    }
  }
}

/** @typedef {keyof typeof parts} Part */

const names = /** @type {ReadonlyArray<Part>} */ (Object.keys(parts))

/** Minimum milliseconds between two loads of a part, however many events arrive. */
const atMostEvery = 1000

/** @type {Map<Part, number>} */
const due = new Map()
/** @type {Set<Part>} */
const loading = new Set()
/** @type {Map<Part, number>} */
const loaded = new Map()

/**
 * Schedules a part to be reloaded.
 *
 * @param {Part} part
 */
const refresh = (part) => {
  const soon = Math.max(Date.now(), (loaded.get(part) ?? 0) + atMostEvery)
  due.set(part, Math.min(due.get(part) ?? Infinity, soon))
}

/** @param {Part} part */
const load = async (part) => {
  loading.add(part)
  due.set(part, Date.now() + parts[part].every)
  loaded.set(part, Date.now())
  try {
    await parts[part].load()
  } finally {
    loading.delete(part)
  }
}

/** Documents are loaded only while the event stream is connected. */
let isConnected = false

setInterval(() => {
  if (!isConnected || document.hidden) return
  for (const part of names) {
    // A failure shows in the event stream too, which handles it.
    if (!loading.has(part) && (due.get(part) ?? 0) <= Date.now()) load(part).catch(() => {})
  }
}, 250)

// --- Events ------------------------------------------------------------------------

/** @param {Types.Event} event */
const react = (event) => {
  switch (event.type) {
    case "traffic":
      return Traffic.tick(event)
    case "query-ended":
      return refresh("queries")
    case "peer-added":
    case "peer-removed":
      refresh("overview")
      return refresh("buckets")
    case "record-stored":
    case "record-removed":
      return refresh("store")
    case "publication-started":
    case "publication-renewed":
    case "publication-ended":
    case "key-surrounded":
    case "replica-reported":
    case "announcement-started":
    case "announcement-ended":
      refresh("overview")
      return refresh("announcements")
  }
}

const lost = byId("lost")
const state = byId("state")

/** Seconds before each attempt to reconnect; the last value repeats. */
const pauses = [1, 2, 4, 8, 15]

/** @param {number} millis */
const sleep = (millis) => new Promise((resolve) => setTimeout(resolve, millis))

/**
 * Follows the events until the node requires another token.
 */
const follow = async () => {
  for (let failures = 0;;) {
    let reason = "The connection to the node was lost."
    try {
      await Node.stream("/v1/events", {
        opened: () => {
          failures = 0
          isConnected = true
          lost.hidden = true
          Traffic.forget()
          due.clear()
        },
        event: react
      })
    } catch (error) {
      if (error instanceof Node.Unauthorized) throw error
      if (error instanceof Node.Refused) reason = `${error.message}.`
    }
    isConnected = false
    const pause = pauses[Math.min(failures++, pauses.length - 1)]
    state.textContent = "disconnected"
    state.className = "pill bad"
    lost.hidden = false
    // Announced once, not at every attempt.
    const words = `${reason} The page shows the last known state and keeps trying to reconnect.`
    if (lost.textContent !== words) lost.textContent = words
    await sleep(pause * 1000)
  }
}

// --- Access --------------------------------------------------------------------------

const page = byId("page")
const gate = byId("gate")
const tokenField = fieldOf("token", HTMLInputElement)

/** @param {string} why */
const askForToken = (why) => {
  isConnected = false
  page.hidden = true
  byId("documents").hidden = true
  gate.hidden = false
  byId("gate-error").textContent = why
  state.textContent = "locked"
  state.className = "pill"
  tokenField.focus()
}

const start = async () => {
  try {
    // The first response tells whether a token is needed. The order of the others does not matter.
    await load("overview")
    gate.hidden = true
    page.hidden = false
    // Plain links cannot send the token.
    byId("documents").hidden = Node.hasToken()
    await Promise.all(names.filter((name) => name !== "overview").map((name) => load(name).catch(() => {})))
    await follow()
  } catch (error) {
    if (error instanceof Node.Unauthorized) {
      return askForToken(Node.hasToken() ? "The node rejected this token." : "")
    }
    lost.hidden = false
    page.hidden = false
    lost.textContent = error instanceof Node.Refused
      ? error.message
      : "The node does not respond. The page keeps trying."
    await sleep(2000)
    void start()
  }
}

byId("gate-form").addEventListener("submit", (event) => {
  event.preventDefault()
  Node.setToken(tokenField.value.trim())
  tokenField.value = ""
  void start()
})

void start()
