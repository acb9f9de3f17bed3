/** What the page does for the node: announce, withdraw, and send a message. Each needs the node's token. */
import { byId, h, render } from "./dom.js"
import * as Format from "./format.js"
import * as Node from "./node.js"
import * as Sections from "./sections.js"
import * as Token from "./token.js"

/** @import { Overview } from "./types.d.ts" */

// --- Requests ------------------------------------------------------------------------

/** @param {string} topic */
const topicPath = (topic) => {
  // A URL cannot have these as a part of its path.
  if (topic === "." || topic === "..") {
    throw new Node.Refused(`The topic ${topic} can only be announced by the command line`)
  }
  return `/v1/announcements/topics/${encodeURIComponent(topic)}`
}

/**
 * Runs an action, and shows that it is in progress and how it ended.
 *
 * @param {string} busy
 * @param {() => Promise<string>} action succeeds with what it has done, in words
 * @returns {Promise<boolean>} whether it was done
 */
const perform = async (busy, action) => {
  /**
   * @param {string} kind
   * @param {string} text
   */
  const say = (kind, text) => {
    status.className = `status ${kind}`
    status.textContent = text
  }
  say("busy", busy)
  try {
    const done = await Token.withToken(action)
    say(done === undefined ? "" : "good", done ?? "")
    return done !== undefined
  } catch (error) {
    say(
      "error",
      error instanceof Node.Refused ? `${error.message}.`.replace(/\.\.$/, ".") : "The node cannot be reached."
    )
    return false
  }
}

/**
 * Withdraws what was announced over HTTP, after a confirmation.
 *
 * @param {{ readonly kind: string; readonly topic: string | null | undefined }} announced `kind`: endpoint, profile or topic
 * @param {Event} event the click
 * @param {() => void} load shows the records again
 */
export const withdraw = async ({ kind, topic }, { currentTarget }, load) => {
  const what = kind === "topic" ? `the offer under “${topic}”` : `the ${kind}`
  if (!confirm(`Withdraw ${what}? Its copies are deleted.`)) return
  if (currentTarget instanceof HTMLButtonElement) currentTarget.setAttribute("aria-busy", "true")
  await perform(`Withdrawing ${what}…`, async () => {
    await Node.send(
      "DELETE",
      kind === "topic" ? topicPath(topic ?? "") : `/v1/announcements/${kind}`
    )
    return `Withdrew ${what}.`
  })
  load()
}

// --- Fields ----------------------------------------------------------------------------

/**
 * @param {HTMLElement} element
 * @param {string} name
 */
const inputIn = (element, name) => {
  const input = element.querySelector(`[name="${name}"]`)
  if (input instanceof HTMLInputElement || input instanceof HTMLTextAreaElement || input instanceof HTMLSelectElement) {
    return input
  }
  throw new Error(`The form has no field ${name}`)
}

/**
 * The texts of a list, which commas or lines divide; undefined for an empty one.
 *
 * @param {string} value
 */
const listOf = (value) => {
  const texts = value.split(/[,\n]/).map((text) => text.trim()).filter((text) => text !== "")
  return texts.length === 0 ? undefined : texts
}

/** @param {string} value */
const textOf = (value) => value.trim() === "" ? undefined : value.trim()

/**
 * @param {string} name
 * @param {string} label
 * @param {{
 *   readonly kinds?: string
 *   readonly required?: boolean
 *   readonly hint?: string
 *   readonly lines?: number
 *   readonly whole?: boolean
 * }} options `whole`: takes a whole line
 */
const field = (name, label, { hint, kinds, lines, required = false, whole = false } = {}) => {
  const id = `field-${name}`
  const attributes = { id, name, required, maxlength: 1024, spellcheck: "false", placeholder: hint }
  return h(
    "div",
    { class: whole ? "field whole" : "field", "data-kinds": kinds },
    h("label", { for: id }, label),
    lines === undefined
      ? h("input", { type: "text", autocomplete: "off", ...attributes })
      : h("textarea", { rows: lines, ...attributes })
  )
}

// --- Announcing -------------------------------------------------------------------------

const kinds = { topic: "an offer under a topic", endpoint: "an endpoint", profile: "a profile" }

const announceForm = h(
  "form",
  { class: "fields", autocomplete: "off" },
  h(
    "div",
    { class: "field" },
    h("label", { for: "field-kind" }, "What"),
    h(
      "select",
      { id: "field-kind", name: "kind" },
      ...Object.entries(kinds).map(([kind, name]) => h("option", { value: kind }, name))
    )
  ),
  field("topic", "Topic", { kinds: "topic", required: true, hint: "translate" }),
  field("endpoints", "URLs", {
    kinds: "endpoint",
    required: true,
    hint: "https://203.0.113.5:8080, quic://…",
    whole: true
  }),
  field("name", "Name", { kinds: "topic profile" }),
  field("brief", "In brief", { kinds: "topic profile" }),
  field("protocols", "Protocols", { kinds: "topic profile", hint: "a2a, http" }),
  field("tags", "Tags", { kinds: "topic", hint: "de, fr" }),
  field("skills", "Skills", { kinds: "profile" }),
  h("div", { class: "row" }, h("button", { type: "submit", class: "primary" }, "Announce")),
  h(
    "p",
    { class: "soft" },
    "The node renews the record until it is withdrawn, also after a restart if it stores its state on disk."
  )
)

const showFields = () => {
  const kind = inputIn(announceForm, "kind").value
  for (const part of announceForm.querySelectorAll("[data-kinds]")) {
    if (!(part instanceof HTMLElement)) continue
    const isShown = part.dataset.kinds?.split(" ").includes(kind) ?? false
    part.hidden = !isShown
    for (const input of part.querySelectorAll("input")) input.disabled = !isShown
  }
}

/** The request that the form describes. */
const announcement = () => {
  /** @param {string} name */
  const value = (name) => inputIn(announceForm, name).value
  const kind = value("kind")
  const common = { name: textOf(value("name")), brief: textOf(value("brief")), protocols: listOf(value("protocols")) }
  switch (kind) {
    case "topic":
      return {
        path: topicPath(value("topic").trim()),
        body: { ...common, tags: listOf(value("tags")) },
        what: `“${value("topic").trim()}”`
      }
    case "endpoint":
      return {
        path: "/v1/announcements/endpoint",
        body: { endpoints: listOf(value("endpoints")) ?? [] },
        what: "the endpoint"
      }
    default:
      return {
        path: "/v1/announcements/profile",
        body: { ...common, skills: listOf(value("skills")) },
        what: "the profile"
      }
  }
}

// --- Messages -----------------------------------------------------------------------------

const messageForm = h(
  "form",
  { class: "fields", autocomplete: "off" },
  field("to", "To the address", { required: true, whole: true }),
  field("text", "Message", { required: true, lines: 3, whole: true }),
  h("div", { class: "row" }, h("button", { type: "submit", class: "primary" }, "Send")),
  h(
    "p",
    { class: "soft" },
    "It is encrypted for the recipient, whose endpoint must be known, and waits in its mailbox."
  )
)

const announceDetails = h("details", { class: "card" }, h("summary", {}, h("b", {}, "Announce")), announceForm)
const messageDetails = h("details", { class: "card" }, h("summary", {}, h("b", {}, "Send a message")), messageForm)

// --- Both -----------------------------------------------------------------------------------

const status = h("p", { id: "actions-status", class: "status", role: "status" })

/** Who may act for the node, as last shown. */
/** @type {Overview["writes"] | undefined} */
let shown = undefined

/** Shows the published records again. */
let load = () => {}

/** Whether the page may act for the node. */
export const arePossible = () => shown !== undefined && shown !== "closed"

/**
 * @param {Overview} overview
 * @param {() => void} loadPublished shows the published records again
 */
export const show = ({ writes }, loadPublished) => {
  load = loadPublished
  if (writes === shown) return
  shown = writes
  render(
    byId("actions"),
    writes === "closed"
      ? h("p", { class: "soft" }, "This node was started without a token, so this page cannot announce or send for it.")
      : h("div", { class: "actions" }, announceDetails, messageDetails),
    status
  )
}

/**
 * @param {HTMLFormElement} form
 * @param {string} busy
 * @param {() => Promise<string>} action
 */
const submits = (form, busy, action) => {
  form.addEventListener("submit", async (event) => {
    event.preventDefault()
    if (form.hasAttribute("aria-busy")) return
    form.setAttribute("aria-busy", "true")
    const isDone = await perform(busy, action)
    form.removeAttribute("aria-busy")
    if (isDone) form.reset()
    showFields()
    load()
  })
}

submits(announceForm, "Announcing…", async () => {
  const { body, path, what } = announcement()
  await Node.send("PUT", path, body)
  return `Announced ${what}. Its copies are listed below.`
})

submits(messageForm, "Sending…", async () => {
  const to = inputIn(messageForm, "to").value.trim()
  const { confirmed } = await Node.send("POST", "/v1/mail?replicas=1&within=10s", {
    to,
    text: inputIn(messageForm, "text").value
  })
  return `Left in the mailbox of ${Format.short(to)}, at ${Format.counted(confirmed.length, "node")} so far.`
})

inputIn(announceForm, "kind").addEventListener("change", showFields)
showFields()

/**
 * Opens the form for a message to an address.
 *
 * @param {string} address
 */
export const compose = (address) => {
  Sections.open("published")
  messageDetails.open = true
  inputIn(messageForm, "to").value = address
  inputIn(messageForm, "text").focus()
}
