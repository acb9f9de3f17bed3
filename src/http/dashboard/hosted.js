/** The identities that the node hosts: their figures, and a list in which failing ones come first. */
import { byId, empty, h, Pager, render, table } from "./dom.js"
import * as Format from "./format.js"
import { tile } from "./overview.js"

/** @import { Hosted, Overview } from "./types.d.ts" */

/** @typedef {NonNullable<Overview["hosting"]>} Status */
/** @typedef {Hosted["identities"][number]} Identity */

const pages = new Pager({ key: "hosted", noun: "identity", size: 25 })

/** The query of the shown page. */
export const query = () => pages.query

/** The last figures, and when they were read, from which rates are computed. */
/** @type {{ readonly at: number; readonly datagrams: number } | undefined} */
let before

/**
 * Datagrams per second since the last call; undefined in the first.
 *
 * @param {Status} status
 */
const rateOf = ({ datagrams }) => {
  const at = Date.now()
  const last = before
  if (last === undefined || at - last.at >= 1000) before = { at, datagrams }
  return last === undefined || at - last.at < 1000 || datagrams < last.datagrams
    ? undefined
    : (datagrams - last.datagrams) / (at - last.at) * 1000
}

/** What reasons mean, for readers who do not know their tags. */
const meanings = {
  SignerFailed: "the signer gave no valid signature",
  NotEnoughReplicas: "too few nodes took a copy",
  KeyFull: "nodes have no room",
  StaleRecord: "a newer record of the identity is out there",
  InvalidRecord: "the record is invalid",
  RecordTooLarge: "the record is too large",
  RecordExpired: "the record has expired",
  InvalidDelegation: "the delegation is invalid",
  DelegationExpired: "the delegation has ended",
  Internal: "the node failed; its log has the reason"
}

/** @param {Status} status */
const problemsOf = ({ ended, failing_records, late, reachable, refused }) => [
  !reachable && "The network is out of reach: renewals wait, and go on by urgency once it is back.",
  late > 0 &&
  `${Format.counted(late, "renewal")} ${
    late === 1 ? "is" : "are"
  } late: the copies expire within five minutes, or have expired.`,
  ...Object.entries(meanings).map(([tag, meaning]) => {
    const count = failing_records[/** @type {keyof typeof meanings} */ (tag)]
    return count > 0 && `${Format.counted(count, "record")} failing: ${meaning}.`
  }),
  ended > 0 && `${Format.integer(ended)} ended with their delegations.`,
  refused > 0 && `${Format.integer(refused)} of the last run cannot be hosted.`
]

/** @param {Status} status */
const figuresOf = (status) => {
  const { datagrams, datagrams_per_s, due, failing, identities, late, records, renewals } = status
  const rate = rateOf(status)
  return h(
    "dl",
    { class: "tiles" },
    tile("Hosted", Format.integer(identities), `identities with ${Format.counted(records, "record")}`),
    tile(
      "Failing",
      Format.integer(failing),
      failing === 0 ? "the last renewal of each succeeded" : "of these identities"
    ),
    tile("Due", Format.integer(due), late === 0 ? "none of them late" : `${Format.integer(late)} of them late`),
    tile(
      "Datagrams per renewal",
      renewals === 0 ? "–" : Format.fraction(datagrams / renewals),
      `${Format.counted(renewals, "renewal")} since the start`
    ),
    tile(
      "Budget used",
      rate === undefined ? "–" : Format.percent(rate / datagrams_per_s),
      `of ${Format.integer(datagrams_per_s)} datagrams a second`
    )
  )
}

/** @param {Identity["state"]} state */
const pill = (state) => h("span", { class: `pill ${state === "good" ? "good" : "bad"}` }, state)

/**
 * @param {Identity} identity
 * @param {(address: string) => void} lookUp
 */
const rowOf = ({ address, copies, due_ms, failing, problem, records, state }, lookUp) =>
  h(
    "tr",
    {},
    h(
      "th",
      { scope: "row" },
      h("button", {
        type: "button",
        class: "link",
        title: `Look up ${address}`,
        "data-key": `hosted ${address}`,
        click: () => lookUp(address)
      }, Format.short(address))
    ),
    h("td", {}, pill(state)),
    h(
      "td",
      { class: "right" },
      failing > 0 ? `${Format.integer(failing)} of ${Format.integer(records)} failing` : Format.integer(records)
    ),
    h("td", { class: "right" }, copies === null ? "–" : Format.integer(copies)),
    h("td", {}, due_ms === null ? "–" : due_ms < Date.now() + 1000 ? "now" : Format.duration(due_ms - Date.now())),
    h("td", {}, problem === null ? "" : problem.reason)
  )

/**
 * @param {Hosted} hosted
 * @param {(address: string) => void} lookUp
 * @param {() => void} load loads the page of {@link query}, and shows it
 */
export const show = ({ identities, next, refused, status }, lookUp, load) => {
  const problems = problemsOf(status).filter((problem) => problem !== false)
  render(
    byId("hosting"),
    ...problems.map((problem) => h("p", { class: "notice warn" }, problem)),
    figuresOf(status),
    h(
      "div",
      { class: "card" },
      h("h3", {}, "Hosted identities"),
      status.identities === 0
        ? empty(
          "No identity is hosted.",
          "To host one: ",
          h("code", {}, "effect-dht hosted add --identity ./ann --name Ann")
        )
        : table(
          "Hosted identities, failing ones first",
          [
            "Identity",
            "State",
            { name: "Records", align: "right" },
            { name: "Copies, fewest", align: "right" },
            "Renewed in",
            "Why it fails"
          ],
          identities.map((identity) => rowOf(identity, lookUp))
        ),
      pages.line({ total: status.identities, shown: identities.length, next, load })
    ),
    refused.length > 0 && h(
      "div",
      { class: "card" },
      h("h3", {}, "Of the last run, and cannot be hosted"),
      h(
        "ul",
        {},
        ...refused.map(({ address, problem }) =>
          h("li", {}, h("code", {}, Format.short(address)), ` ${problem.reason}`)
        )
      )
    )
  )
}
