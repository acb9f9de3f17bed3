/**
 * The events that a failure rests on, by what its facts name.
 *
 * @since 0.1.0
 */

import * as RegExp from "effect/RegExp"
import type { Change, Event, MachineNumber } from "../Recording.ts"

/** Most events of a run that are marked besides the steps of its story. */
const maxMarked = 40

interface Failed {
  readonly machine: MachineNumber | null
  readonly at: number
  /** The text with the ids, keys, transactions and names that the failure is about. */
  readonly text: string
}

interface Run {
  readonly machines: ReadonlyArray<{
    readonly name: string
    readonly identity: { readonly nodeId: string; readonly address: string }
  }>
  readonly events: ReadonlyArray<Event>
  /** Of each event, the ids, keys, addresses and transactions that it is about. */
  readonly about: ReadonlyArray<ReadonlyArray<string>>
  /** The key of a row has its ids. */
  readonly changes: ReadonlyArray<Change>
}

const isNamedIn = (text: string, name: string): boolean =>
  new RegExp.RegExp(`(?<!\\w)${RegExp.escape(name)}(?!\\w)`).test(text)

const involves = (event: Event, machine: MachineNumber): boolean =>
  event.kind === "datagram" ? event.from === machine || event.to === machine : event.machine === machine

/** The requests of a machine that got no response. */
const unanswered = (events: ReadonlyArray<Event>, machine: MachineNumber): ReadonlyArray<number> => {
  const open = new Map<number, number>()
  for (const [i, event] of events.entries()) {
    if (event.kind !== "datagram" || event.transaction === null) continue
    if (!event.isResponse && event.from === machine) open.set(event.transaction, i)
    if (event.isResponse && event.to === machine && event.outcome === "delivered") open.delete(event.transaction)
  }
  return [...open.values()]
}

/**
 * The numbers of the events that a failure rests on, in order: all steps of the
 * story, for a shrunk story has no others, and the latest events on the failing
 * machine that are about what its facts name. If they name nothing, those are its
 * requests without a response, and what happened to it.
 *
 * @internal
 */
export const restsOn = (
  { at, machine, text }: Failed,
  { about, changes, events, machines }: Run
): ReadonlyArray<number> => {
  const end = events.findIndex((event) => event.at > at)
  const before = end < 0 ? events : events.slice(0, end)
  const mentioned = machines.flatMap(({ identity, name }, i) =>
    i !== machine && isNamedIn(text, name) ? [{ i, hex: [identity.nodeId, identity.address] }] : []
  )
  const subjects = new Set([...text.match(/[0-9a-f]{40,64}/g) ?? [], ...mentioned.flatMap(({ hex }) => hex)])
  const others = new Set(mentioned.map(({ i }) => i))
  const isAbout = (event: Event, i: number): boolean => {
    if (machine !== null && !involves(event, machine)) return false
    if (about[i].some((subject) => subjects.has(subject))) return true
    if (event.kind !== "datagram") return machine === null && event.machine !== null && others.has(event.machine)
    return event.from !== null && event.to !== null && (others.has(event.from) || others.has(event.to))
  }
  const matching = before.flatMap((event, i) => isAbout(event, i) ? [i] : [])
  const changed = changes.flatMap(({ after, key, machine: of }) =>
    after >= 0 && after < before.length && (machine === null || of === machine) &&
      // A timer of the machine can change a row, after an event elsewhere.
      (machine === null || involves(before[after], machine)) && key.split(" ").some((part) => subjects.has(part))
      ? [after]
      : []
  )
  const named = [...matching, ...changed]
  const fallback = (): ReadonlyArray<number> =>
    machine === null ? [] : [
      ...unanswered(before, machine),
      ...before.flatMap((event, i) => event.kind === "change" && event.machine === machine ? [i] : [])
    ]
  const marked = (named.length > 0 ? named : fallback()).toSorted((a, b) => a - b).slice(-maxMarked)
  const steps = before.flatMap((event, i) => event.kind === "step" ? [i] : [])
  return [...new Set([...steps, ...marked])].sort((a, b) => a - b)
}
