/** What to do next with a node that has no contacts: how its attempts to join went, and how others join it. */
import { byId, command, h, render, table } from "./dom.js"
import * as Format from "./format.js"
import { joinCommand } from "./overview.js"

/** @import { Network, Overview } from "./types.d.ts" */

/** @typedef {NonNullable<Network["joining"]>} Attempt */

/**
 * When the attempt was made, and when the next one follows.
 *
 * @param {Attempt} attempt
 * @param {number} now
 */
const timesOf = ({ attempt, ended_at_ms, next_at_ms, started_at_ms }, now) => {
  if (ended_at_ms === null) return `Attempt ${attempt} began ${Format.duration(now - started_at_ms)} ago.`
  const ended = `Attempt ${attempt} ended ${Format.duration(now - ended_at_ms)} ago.`
  return next_at_ms === null ? ended : `${ended} The next begins in ${Format.duration(next_at_ms - now)}.`
}

/**
 * What was tried, with the reason of each failure.
 *
 * @param {Network} network
 */
const attempts = ({ at_ms, failures, joining }) => {
  if (joining === null || joining.hosts.length + joining.remembered === 0) return []
  const { ended_at_ms, hosts, remembered } = joining
  const isWaiting = ended_at_ms === null && failures.length === 0
  const rows = isWaiting
    ? hosts.map((host) => ({ address: host, said: "no answer yet" }))
    // The reason begins with the address, which has a column of its own.
    : failures.map(({ address, reason }) => ({
      address,
      said: reason.startsWith(`${address} `) ? reason.slice(address.length + 1) : reason
    }))
  return [
    h(
      "p",
      {},
      `${ended_at_ms === null ? "Trying" : "Tried"} ${
        [
          ...(hosts.length === 0 ? [] : [Format.counted(hosts.length, "bootstrap node")]),
          ...(remembered === 0
            ? []
            : [`${Format.integer(remembered)} remembered from the last run`])
        ].join(" and ")
      }. ${timesOf(joining, at_ms)}`
    ),
    rows.length > 0 && table(
      "Bootstrap nodes",
      ["Bootstrap node", ended_at_ms === null && !isWaiting ? "Last answer" : "Answer"],
      rows.slice(0, most).map(({ address, said }) =>
        h("tr", {}, h("th", { scope: "row" }, h("code", {}, address)), h("td", { class: "reason" }, said))
      )
    ),
    rows.length > most && h("p", { class: "soft" }, `and ${Format.integer(rows.length - most)} more, see /v1/network`)
  ]
}

/** Maximum number of tried addresses shown. */
const most = 16

/**
 * @param {Overview} overview
 * @param {Network | undefined} network known if the node is not ready
 */
export const show = (overview, network) => {
  const container = byId("advice")
  const isNeeded = overview.network.contacts === 0 || !overview.ready
  container.toggleAttribute("hidden", !isNeeded)
  if (!isNeeded) return
  const tried = network === undefined ? [] : attempts(network)
  render(
    container,
    h(
      "div",
      { class: overview.ready ? "notice" : "notice warn" },
      h(
        "h2",
        {},
        overview.ready
          ? "The first node of its network"
          : overview.network.contacts === 0
          ? "No contacts yet"
          : "No contact has answered in the last hour"
      ),
      ...tried,
      tried.length > 0 && h(
        "p",
        {},
        "Check that a node runs there, that UDP is not blocked on the way, and that it is of the same network."
      ),
      ...(overview.network.contacts > 0 ? [] : [
        h("p", {}, "To start another node that joins through this one:"),
        command(joinCommand(overview)),
        h("p", {}, "Or restart this node with the address of a node in an existing network:"),
        command("effect-dht node --bootstrap HOST:PORT")
      ])
    )
  )
}
