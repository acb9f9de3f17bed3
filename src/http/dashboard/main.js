/** Keeps the page up to date: events tell which documents to reload, the shown section which of them. */
import * as Actions from "./actions.js"
import * as Buckets from "./buckets.js"
import { byId } from "./dom.js"
import * as Format from "./format.js"
import * as Hosted from "./hosted.js"
import * as Joining from "./joining.js"
import * as Lookups from "./lookups.js"
import * as Node from "./node.js"
import * as Nodes from "./nodes.js"
import * as Overview from "./overview.js"
import * as Published from "./published.js"
import * as Sections from "./sections.js"
import * as Store from "./store.js"
import * as Token from "./token.js"
import * as Traffic from "./traffic.js"

/** @import * as Types from "./types.d.ts" */

// --- Documents -------------------------------------------------------------------

/** Milliseconds after which a node that is not ready is asked again: it tries to join meanwhile. */
const joiningMillis = 2000

/**
 * The parts of the page, each with the maximum age of its documents in
 * milliseconds, and the sections that show it; all if there are none.
 */
const parts = {
  overview: {
    every: 5000,
    sections: /** @type {ReadonlyArray<string>} */ ([]),
    load: async () => {
      /** @type {Types.Overview} */
      const overview = await Node.read("/v1/overview")
      /** @type {Types.Network | undefined} */
      const network = overview.ready ? undefined : await Node.read("/v1/network")
      if (!overview.ready) due.set("overview", Math.min(due.get("overview") ?? Infinity, Date.now() + joiningMillis))
      Nodes.show(overview)
      byId("hosted-link").hidden = overview.hosting === null
      const state = byId("state")
      state.textContent = overview.ready ? "ready" : "not ready"
      state.className = `pill ${overview.ready ? "good" : "bad"}`
      Lookups.know(overview)
      Actions.show(overview, () => reload("announcements"))
      Overview.show(overview, Traffic.perSecond, Traffic.hour())
      Joining.show(overview, network)
      byId("updated").textContent = `As of ${Format.time(overview.at_ms)}`
    }
  },
  history: {
    // The events continue it.
    every: Infinity,
    sections: /** @type {ReadonlyArray<string>} */ ([]),
    load: async () => Traffic.know(await Node.read("/v1/history"))
  },
  buckets: {
    every: 10_000,
    sections: ["contacts", "lookup"],
    load: async () => {
      /** @type {Types.Buckets} */
      const buckets = await Node.read("/v1/buckets")
      Lookups.knowContacts(buckets)
      Buckets.show(buckets, Lookups.lookUp)
    }
  },
  queries: {
    every: 30_000,
    sections: ["lookup"],
    load: async () => {
      /** @type {Types.Queries} */
      const queries = await Node.read("/debug/queries")
      Lookups.show(queries)
    }
  },
  traffic: {
    every: 2000,
    sections: ["traffic"],
    load: async () => {
      /** @type {Types.TrafficReport} */
      const report = await Node.read("/v1/traffic")
      Traffic.show(report)
    }
  },
  announcements: {
    every: 15_000,
    sections: ["published"],
    load: async () => {
      /** @type {[Types.Replication, Types.Replication, Types.Announcements]} */
      const [records, messages, { unpublished }] = await Promise.all([
        Node.read(`/debug/replication?${Published.recordQuery()}`),
        Node.read(`/debug/replication?${Published.messageQuery()}`),
        Node.read("/v1/announcements?limit=0")
      ])
      Published.show({ records, messages, unpublished }, {
        canWithdraw: Actions.arePossible(),
        load: () => reload("announcements")
      })
    }
  },
  hosted: {
    every: 5000,
    sections: ["hosted"],
    load: async () => {
      // The section of a node that hosts nothing is reached by its URL only.
      if (byId("hosted-link").hidden) return
      /** @type {Types.Hosted} */
      const hosted = await Node.read(`/v1/hosted?${Hosted.query()}`)
      Hosted.show(hosted, Lookups.lookUp, () => reload("hosted"))
    }
  },
  store: {
    every: 15_000,
    sections: ["store"],
    load: async () => {
      /** @type {Types.StoreReport} */
      const report = await Node.read(`/v1/store?${Store.query()}`)
      Store.show(report, Lookups.lookUp, () => reload("store"))
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

/** @param {Part} part */
const isShown = (part) => parts[part].sections.length === 0 || parts[part].sections.includes(Sections.shown())

// What a section shows may be old when it is opened.
Sections.onChange(() => {
  scrollTo({ top: 0 })
  if (!isConnected) return
  for (const part of names) if (parts[part].sections.includes(Sections.shown()) && !loading.has(part)) reload(part)
})

/**
 * Loads a part now. A failure shows in the event stream too, which handles it.
 *
 * @param {Part} part
 */
const reload = (part) => void load(part).catch(() => {})

/** Documents are loaded only while the event stream is connected. */
let isConnected = false

setInterval(() => {
  if (!isConnected || document.hidden) return
  for (const part of names) {
    if (isShown(part) && !loading.has(part) && (due.get(part) ?? 0) <= Date.now()) reload(part)
  }
}, 250)

// --- Events ------------------------------------------------------------------------

/** @param {Types.Event} event */
const react = (event) => {
  switch (event.type) {
    case "traffic":
      return Traffic.tick(event)
    case "sampled":
      return Traffic.add(event)
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
const starting = byId("starting")

/** Prompts for the token without which the node shows nothing, and starts again. */
const askForToken = async () => {
  isConnected = false
  page.hidden = true
  starting.hidden = true
  byId("sections").hidden = true
  byId("documents").hidden = true
  state.textContent = "locked"
  state.className = "pill"
  await Token.ask({ reads: true })
  void start()
}

const start = async () => {
  try {
    // The first response tells whether a token is needed. The order of the others does not matter.
    await load("overview")
    starting.hidden = true
    page.hidden = false
    byId("sections").hidden = false
    byId("documents").hidden = Node.isLocked()
    if (new URLSearchParams(location.search).has("q") && location.hash === "") Sections.open("lookup")
    Lookups.follow()
    await Promise.all(
      names.filter((name) => name !== "overview" && isShown(name)).map((name) => load(name).catch(() => {}))
    )
    await follow()
  } catch (error) {
    if (error instanceof Node.Unauthorized) return askForToken()
    lost.hidden = false
    page.hidden = false
    starting.hidden = true
    state.textContent = "no answer"
    state.className = "pill bad"
    lost.textContent = error instanceof Node.Refused
      ? error.message
      : "The node does not respond. The page keeps trying."
    await sleep(2000)
    void start()
  }
}

void start()
