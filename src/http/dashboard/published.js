/** The node's own records: contents, expiry and holders. Messages are one group. */
import { withdraw } from "./actions.js"
import { byId, empty, h, Pager, render, table } from "./dom.js"
import * as Format from "./format.js"
import { expiry } from "./store.js"

/** @import { Announcements, Replication } from "./types.d.ts" */

/** @typedef {Replication["records"][number]} Own */

const recordPages = new Pager({ key: "published", noun: "record", size: 12 })
const messagePages = new Pager({ key: "messages", noun: "message", size: 12 })

/** The queries of the shown pages. */
export const recordQuery = () => `messages=none&${recordPages.query}`
export const messageQuery = () => `messages=only&${messagePages.query}`

/** @param {Own["record"]} record */
const keyOf = ({ address, key_node_id_hex, rec_type }) => `${key_node_id_hex} ${rec_type} ${address}`

/** @param {Own} own */
const confirmedOf = ({ replicas }) => replicas.filter(({ state }) => state === "confirmed").length

/**
 * @param {number} confirmed
 * @param {number} wanted
 */
const copiesOf = (confirmed, wanted) =>
  confirmed > wanted
    ? `${confirmed} copies confirmed, ${wanted} wanted`
    : `${confirmed} of ${wanted} copies confirmed`

/**
 * @param {Own} own
 * @param {number} wanted
 */
const replicasOf = (own, wanted) => {
  const { replicas } = own
  const copies = copiesOf(confirmedOf(own), wanted)
  return h(
    "div",
    { class: "replicas", role: "img", "aria-label": copies },
    ...replicas.map(({ state }) => h("i", { class: `replica ${state}` })),
    ...Array.from({ length: Math.max(0, wanted - replicas.length) }, () => h("i", { class: "replica" })),
    h("span", {}, copies)
  )
}

/**
 * @param {Own} own
 * @param {number} wanted
 * @param {boolean} canWithdraw whether the page may act for the node
 * @param {() => void} load
 */
const card = (own, wanted, canWithdraw, load) => {
  const { brief, full, name, record, renews_at, replicas, standing, surrounded, title, topic } = own
  return h(
    "li",
    { class: "card own" },
    h(
      "div",
      { class: "own-head" },
      h("span", { class: `type ${record.type_name}` }, record.type_name),
      h("h3", {}, title),
      record.type_name !== "profile" && name !== undefined && name !== "" && h("span", {}, name),
      standing && canWithdraw && h("button", {
        type: "button",
        class: "quiet",
        "data-key": `withdraw ${keyOf(record)}`,
        "aria-label": `Withdraw ${record.type_name} ${title}`,
        click: (event) => void withdraw({ kind: record.type_name, topic }, event, load)
      }, "Withdraw")
    ),
    brief !== undefined && brief !== "" && h("p", {}, brief),
    h(
      "p",
      { class: "soft" },
      renews_at === null
        ? "published once, not renewed; expires in "
        : `renewed in ${Format.duration(Number(renews_at) * 1000 - Date.now())}, expires in `,
      expiry(record, Date.now())
    ),
    replicasOf(own, wanted),
    surrounded && h(
      "p",
      { class: "notice warn" },
      "Nodes surround this key more closely than chance allows; the record is copied to the whole region around it."
    ),
    full > 0 && confirmedOf(own) < wanted && h(
      "p",
      { class: "notice warn" },
      `${Format.counted(full, "node")} ${full === 1 ? "has" : "have"} no room for it: publish under another key.`
    ),
    replicas.length > 0 && h(
      "details",
      { "data-key": `copies ${keyOf(record)}` },
      h("summary", { "data-key": `copies summary ${keyOf(record)}` }, "Holders of copies"),
      h(
        "ol",
        { class: "peers" },
        ...replicas.map(({ peer, state }) =>
          h(
            "li",
            {},
            h("code", { title: peer.node_id_hex }, Format.short(peer.node_id_hex)),
            ` ${peer.ip}:${peer.port} `,
            h("span", { class: "soft" }, state)
          )
        )
      )
    )
  )
}

/**
 * Summarizes the replication of all records, as the overview does.
 *
 * @param {Replication} replication
 */
const summaryOf = ({ complete, messages, total, uncopied, wanted }) => {
  const fewer = total - complete - uncopied
  const parts = [
    [complete, `with all ${wanted} copies`],
    [fewer, complete === 0 ? `with fewer than ${wanted} copies` : "with fewer"],
    [uncopied, "with none confirmed"]
  ].filter(([count]) => count !== 0).map(([count, words]) => `${Format.integer(Number(count))} ${words}`)
  const order = total - messages.total > recordPages.size && complete < total
    ? " Those with the fewest copies are listed first."
    : ""
  return `${Format.counted(total, "record")}: ${parts.join(", ")}.${order}`
}

/**
 * The messages that the node has sent, as one group.
 *
 * @param {Replication} replication
 * @param {() => void} load
 */
const messagesOf = ({ messages, next, records, wanted }, load) =>
  h(
    "details",
    { class: "card", "data-key": "messages" },
    h(
      "summary",
      { "data-key": "messages summary" },
      h("span", { class: "type mailbox" }, "mailbox"),
      ` ${Format.counted(messages.total, "message")} sent: ${
        messages.complete === messages.total ? "all" : `${Format.integer(messages.complete)} of them`
      } with all ${wanted} copies`
    ),
    table(
      "Messages sent",
      ["To the mailbox of", "Copies", "Expires in"],
      records.map((own) =>
        h(
          "tr",
          {},
          h(
            "th",
            { scope: "row", title: own.record.key_node_id_hex },
            h("code", {}, Format.short(own.record.key_node_id_hex))
          ),
          h("td", {}, copiesOf(confirmedOf(own), wanted)),
          h("td", {}, expiry(own.record, Date.now()))
        )
      )
    ),
    messagePages.line({ total: messages.total, shown: records.length, next, load })
  )

/**
 * An announcement that cannot be published now.
 *
 * @param {Announcements["unpublished"][number]} announced
 * @param {boolean} canWithdraw
 * @param {() => void} load
 */
const unpublishedOf = ({ kind, reason, topic }, canWithdraw, load) =>
  h(
    "p",
    { class: "notice warn" },
    topic === null ? `The ${kind} cannot be published: ` : `The offer under “${topic}” cannot be published: `,
    `${reason}. It is tried again every minute.`,
    canWithdraw && h("button", {
      type: "button",
      class: "quiet",
      "data-key": `withdraw unpublished ${kind} ${topic}`,
      "aria-label": `Withdraw ${kind} ${topic ?? ""}`.trim(),
      click: (event) => void withdraw({ kind, topic }, event, load)
    }, "Withdraw")
  )

/**
 * @param {{
 *   readonly records: Replication
 *   readonly messages: Replication
 *   readonly unpublished: Announcements["unpublished"]
 * }} documents `records`: without messages, `messages`: nothing else
 * @param {{ readonly canWithdraw: boolean; readonly load: () => void }} options `load`: loads the pages of the queries,
 *   and shows them
 */
export const show = ({ messages: sent, records: replication, unpublished }, { canWithdraw, load }) => {
  const { messages, next, records, total, wanted } = replication
  render(
    byId("announcements"),
    ...unpublished.map((one) => unpublishedOf(one, canWithdraw, load)),
    total > 0 && h("p", { class: "summary" }, summaryOf(replication)),
    total === 0 && h(
      "div",
      { class: "card" },
      empty(
        "This node publishes no records.",
        "A program publishes with ",
        h("code", {}, "dht.announceTopic"),
        " or ",
        h("code", {}, "dht.announceEndpoint"),
        ", a command with ",
        h("code", {}, "effect-dht announce"),
        ", and the node keeps the copies alive."
      )
    ),
    records.length > 0 && h("ul", { class: "owns" }, ...records.map((one) => card(one, wanted, canWithdraw, load))),
    recordPages.line({ total: total - messages.total, shown: records.length, next, load }),
    messages.total > 0 && messagesOf(sent, load)
  )
}
