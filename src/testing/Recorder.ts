/**
 * Records simulated worlds, without changing their runs.
 *
 * @module
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import { type Detail, type Event as NodeEvent, NodeEvents, type Peer } from "../NodeEvents.ts"
import { Routing } from "../Routing.ts"
import * as SocketAddress from "../SocketAddress.ts"
import { Store } from "../Store.ts"
import * as Words from "./internal/datagramText.ts"
import { restsOn } from "./internal/evidence.ts"
import { clockTime, properties, Violation } from "./Properties.ts"
import type { About, Band, Change, Datagram, Event, Failure, Happening, MachineNumber, Recording } from "./Recording.ts"
import type { Delivery, Drop, Host } from "./SimNetwork.ts"
import type { SimNode, World } from "./SimWorld.ts"

// --- Models ------------------------------------------------------------------

/**
 * Records a world from when it was made.
 *
 * @category models
 * @since 0.1.0
 */
export interface Recorder {
  /**
   * The recording, once the world has closed. `failures` are violations, or the
   * error that ended the run.
   */
  readonly finish: (about: About, failures: ReadonlyArray<unknown>) => Recording
}

/**
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** Number of latest events to keep. Default 50 000. */
  readonly keep?: number | undefined
  /** Names of further ids, keys and addresses in hex, such as those of topics. */
  readonly names?: Iterable<readonly [hex: string, name: string]> | undefined
}

const defaultKeep = 50_000

// --- Recording ---------------------------------------------------------------

/** A machine while it is up. */
interface Life {
  readonly routing: Routing["Service"] | undefined
  readonly store: Store["Service"] | undefined
  readonly read: <A>(effect: Effect.Effect<A>) => A
}

type Rows = ReadonlyMap<string, ReadonlyArray<string>>

interface Observed {
  readonly machine: SimNode<never, unknown>
  life: Life | undefined
  readonly rows: { table: Rows; store: Rows }
  readonly open: Map<string, Omit<Band, "to" | "isGood">>
}

const none: Rows = new Map()

/**
 * Starts to record a world. It must not have machines yet.
 *
 * @category constructors
 * @since 0.1.0
 */
export const start = (world: World, options: Options = {}): Recorder => {
  const { keep = defaultKeep } = options
  const { network, timeline } = world
  const names = new Map(options.names)
  const observed: Array<Observed> = []
  const numbers = new Map<string, MachineNumber>()
  const onHost = new Map<Host, Array<MachineNumber>>()
  const transactions = new Map<string, number>()
  let nextTransaction = 0
  let events: Array<Event> = []
  /** Of each event, the ids, keys, addresses and transactions that it is about. */
  let about: Array<ReadonlyArray<string>> = []
  let changes: Array<Change> = []
  let bands: Array<Band> = []
  let omitted = 0
  let last = 0
  /** Machines to which something happened since their state was read. */
  const touched = new Set<MachineNumber>()
  /** Whether the world changed since its bands were compared. */
  let isChanged = false

  const numberOf = (name: string | undefined): MachineNumber | null =>
    name === undefined ? null : numbers.get(name) ?? null

  const machineOn = (host: Host | undefined, port: number): MachineNumber | null => {
    const all = host === undefined ? [] : onHost.get(host) ?? []
    return all.find((number) => observed[number].machine.socket.port === port) ?? all[0] ?? null
  }

  const machineAt = ({ host, id, port }: Peer): string => {
    const named = id === undefined ? undefined : names.get(id)
    if (named !== undefined) return named
    const at = observed.find(({ machine: { socket } }) => socket.host === host && socket.port === port)
    return at?.machine.name ?? SocketAddress.format({ host, port })
  }

  const named = (hex: string): string => Words.nameOf(names, hex)

  // --- State

  const tableOf = ({ routing }: Life): Rows =>
    routing === undefined
      ? none
      : new Map(
        routing.entriesUnsafe().map(({ bucket, contact, verifiedAt }) => [
          contact.id,
          [named(contact.id), `bucket ${bucket}`, verifiedAt === undefined ? "unverified" : "heard from"]
        ])
      )

  const storeOf = ({ read, store }: Life): Rows =>
    store === undefined
      ? none
      : new Map(
        read(store.page({ limit: Infinity })).rows.map(({ address, expiresAt, key, seq, timestamp, type }) => [
          `${key} ${address} ${type} ${seq} ${timestamp}`,
          [
            `${Words.typeOf(type)} of ${named(address)}`,
            `seq ${seq}`,
            `at ${named(key)}`,
            `until ${clockTime(Math.max(0, expiresAt * 1000 - timeline.startMillis))}`
          ]
        ])
      )

  const compare = (number: MachineNumber, part: Change["part"], after: number, rows: Rows): void => {
    const known = observed[number].rows[part]
    for (const [key, row] of rows) {
      if (known.get(key)?.join() !== row.join()) changes.push({ after, machine: number, part, key, row })
    }
    for (const key of known.keys()) {
      if (!rows.has(key)) changes.push({ after, machine: number, part, key, row: null })
    }
    observed[number].rows[part] = rows
  }

  const isolation = (): Map<Host, string> => {
    const groups = new Map<number, Array<string>>()
    for (const { machine: { host, name } } of observed) {
      groups.set(host.group, [...groups.get(host.group) ?? [], name])
    }
    return groups.size < 2
      ? new Map()
      : new Map(observed.map(({ machine: { host } }) => [host, `only ${groups.get(host.group)?.join(", ")}`]))
  }

  /** Opens and closes the bands that follow from the state of the world. */
  const compareBands = (at: number): void => {
    const sides = isolation()
    for (const [number, { machine, open }] of observed.entries()) {
      const { clock, host } = machine
      const cuts = Array.from(host.cuts ?? [], ({ name }) => name)
      const offset = clock.offsetMillis
      const now: ReadonlyArray<readonly [Band["kind"], string | undefined]> = [
        ["partition", sides.get(host)],
        ["cut", cuts.length === 0 ? undefined : `blocked to ${cuts.join(", ")}`],
        ["clock", offset === 0 ? undefined : `clock ${offset < 0 ? "−" : "+"}${clockTime(Math.abs(offset))}`]
      ]
      for (const [kind, what] of now) {
        if (open.get(kind)?.what === what) continue
        close(number, kind, at, true)
        if (what !== undefined) open.set(kind, { kind, machine: number, from: at, what })
      }
    }
  }

  const close = (number: MachineNumber, key: string, to: number, isGood: boolean, what?: string): void => {
    const { open } = observed[number]
    const band = open.get(key)
    if (band === undefined) return
    open.delete(key)
    bands.push({ ...band, what: what ?? band.what, to, isGood })
  }

  /** Reads what the last instant changed. Everything that runs at one instant has then run. */
  const settle = (): void => {
    if (isChanged) compareBands(last)
    isChanged = false
    for (const number of touched) {
      const { life } = observed[number]
      compare(number, "table", events.length - 1, life === undefined ? none : tableOf(life))
      compare(number, "store", events.length - 1, life === undefined ? none : storeOf(life))
    }
    touched.clear()
  }

  // --- Events

  /** Drops all but the latest to keep; the state at that moment becomes the first. */
  const prune = (): void => {
    const count = events.length - keep
    const state = new Map<string, Change>()
    for (const change of changes.filter(({ after }) => after < count)) {
      const slot = `${change.machine} ${change.part} ${change.key}`
      if (change.row === null) state.delete(slot)
      else state.set(slot, { ...change, after: -1 })
    }
    changes = [
      ...state.values(),
      ...changes.filter(({ after }) => after >= count).map((change) => ({ ...change, after: change.after - count }))
    ]
    events = events.slice(count)
    about = about.slice(count)
    const first = events.at(0)?.at ?? last
    bands = bands.filter(({ to }) => to >= first)
    const used = new Set(events.map((event) => event.kind === "datagram" ? event.transaction : null))
    for (const [transaction, number] of transactions) if (!used.has(number)) transactions.delete(transaction)
    omitted += count
  }

  const touch = (number: MachineNumber | null): void => {
    if (number !== null) touched.add(number)
  }

  const advance = (): number => {
    const { elapsedMillis: at } = timeline
    if (at > last) {
      settle()
      last = at
      if (events.length >= 2 * keep) prune()
    }
    return at
  }

  const push = (event: Event, subjects: ReadonlyArray<string>): void => {
    events.push(event)
    about.push(subjects)
  }

  const happened = (
    kind: Happening["kind"],
    machine: MachineNumber | null,
    what: string,
    subjects: ReadonlyArray<string> = []
  ): void => {
    const at = advance()
    touch(machine)
    push({ kind, at, machine, what }, subjects)
  }

  const numberOfTransaction = (transaction: string | undefined): number | null => {
    if (transaction === undefined) return null
    const number = transactions.get(transaction) ?? nextTransaction++
    transactions.set(transaction, number)
    return number
  }

  const datagram = (
    { from, payload, sentAtMillis, source, target, to }: Delivery | Drop,
    outcome: Datagram["outcome"]
  ): void => {
    const at = advance()
    const { about, isInSession, isResponse, transaction, type, what } = Words.describe(names, payload)
    const receiver = machineOn(target, to.port)
    if (outcome === "delivered") touch(receiver)
    push({
      kind: "datagram",
      at,
      sentAt: sentAtMillis,
      from: machineOn(source, from.port),
      to: receiver,
      outcome,
      type,
      what: receiver === null
        ? [what, `to ${SocketAddress.format(to)}`].filter((text) => text !== "").join(", ")
        : what,
      isResponse,
      isInSession,
      bytes: payload.length,
      transaction: numberOfTransaction(transaction)
    }, transaction === undefined ? about : [...about, transaction])
  }

  network.observe({
    delivered: (delivery) => datagram(delivery, "delivered"),
    dropped: (drop) => {
      if (drop.reason !== "overflowed") return datagram(drop, drop.reason)
      // It was the last to arrive.
      const arrived = events.at(-1)
      if (arrived?.kind === "datagram") events[events.length - 1] = { ...arrived, outcome: drop.reason }
    }
  })

  // --- Nodes

  const onEvent = (number: MachineNumber, event: NodeEvent): void => {
    const { open } = observed[number]
    touch(number)
    switch (event._tag) {
      case "QueryStarted": {
        const at = advance()
        const what = `${event.kind} ${named(event.target)}`
        open.set(`lookup ${event.query}`, { kind: "lookup", machine: number, from: at, what })
        return
      }
      case "QueryStepped":
      case "PeerAdded":
      case "PeerRemoved":
      case "RecordStored":
      case "RecordRemoved":
        return void advance()
      case "QueryEnded": {
        const { kind, outcome, query, records, steps, target } = event.trace
        const isGood = outcome === "Found" || outcome === "Done"
        const what = `${kind} ${named(target)}: ${outcome}, ${steps.length} requests` +
          (kind === "FindValue" ? `, ${records} records` : "")
        happened("node", number, `lookup ended: ${what}`, [target])
        return close(number, `lookup ${query}`, last, isGood, what)
      }
      case "ReplicaReported": {
        const { contact, key, outcome, record } = event
        if (outcome === "Stored" || outcome === "Kept") return void advance()
        return happened("node", number, `copy at ${named(contact.id)}: ${outcome}`, [key, record.address, contact.id])
      }
      case "IdentityConflict":
        return happened("node", number, `its identity is in use at ${SocketAddress.format(event.address)}`)
      default: {
        const { key, record } = event
        const what = event._tag.replace(/(?<=[a-z])[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`)
        const of = `${Words.typeOf(record.type)} of ${named(record.address)}, seq ${record.seq}`
        return happened("node", number, `${what}: ${of}, at ${named(key)}`, [key, record.address])
      }
    }
  }

  const onDetail = (number: MachineNumber, detail: Detail): void => {
    const { open } = observed[number]
    switch (detail._tag) {
      case "RequestSent": {
        const { attempt, peer, request } = detail
        const at = advance()
        const key = `${request} ${SocketAddress.key(peer)}`
        const to = machineAt(peer)
        if (attempt > 1) {
          const what = `${request} to ${to}: sent again`
          return happened("node", number, what, peer.id === undefined ? [] : [peer.id])
        }
        if (!open.has(key)) open.set(key, { kind: "request", machine: number, from: at, what: `${request} to ${to}` })
        return
      }
      case "RequestAnswered": {
        const { isLate, peer, request } = detail
        if (isLate) {
          return happened(
            "node",
            number,
            `${request} to ${machineAt(peer)} was answered late`,
            peer.id ? [peer.id] : []
          )
        }
        return close(number, `${request} ${SocketAddress.key(peer)}`, advance(), true)
      }
      case "RequestFailed": {
        const { peer, reason, request } = detail
        happened("node", number, `${request} to ${machineAt(peer)} failed: ${reason}`, peer.id ? [peer.id] : [])
        return close(number, `${request} ${SocketAddress.key(peer)}`, last, false)
      }
      case "RequestReceived":
        return
      case "RecordRefused": {
        const { contact, key, reason, record } = detail
        const subjects = [record.address, contact.id, ...(key === undefined ? [] : [key])]
        return happened("node", number, `refused a record of ${named(record.address)}: ${reason}`, subjects)
      }
      case "DatagramRefused": {
        const { fault, from, reason } = detail
        const why = fault === undefined ? reason : `${reason}, ${fault}`
        return happened("node", number, `refused a datagram from ${machineAt(from)}: ${why}`)
      }
    }
  }

  world.watch({
    created: (machine) => {
      const number = observed.length
      numbers.set(machine.name, number)
      observed.push({
        machine,
        life: undefined,
        rows: { table: none, store: none },
        open: new Map()
      })
      onHost.set(machine.host, [...onHost.get(machine.host) ?? [], number])
    },
    booted: (machine, context) => {
      const number = numberOf(machine.name)
      if (number === null) return
      const one = observed[number]
      for (const [hex, name] of Words.namesOf(machine.name, machine.identity)) names.set(hex, name)
      const read = Effect.runSyncWith(context)
      one.life = {
        routing: Option.getOrUndefined(Context.getOption(context, Routing)),
        store: Option.getOrUndefined(Context.getOption(context, Store)),
        read
      }
      const at = advance()
      touch(number)
      one.open.set("up", { kind: "up", machine: number, from: at, what: "up" })
      // In a scope of its own: each step of a fiber of the node would draw from a random schedule.
      const listening = Scope.makeUnsafe()
      const events = Context.getOption(context, NodeEvents)
      if (Option.isNone(events)) return
      read(Scope.provide(events.value.listen((event) => onEvent(number, event)), listening))
      read(Scope.provide(events.value.explain((detail) => onDetail(number, detail)), listening))
    },
    stopped: (machine) => {
      const number = numberOf(machine.name)
      if (number === null || observed[number].life === undefined) return
      const one = observed[number]
      const at = advance()
      touch(number)
      one.life = undefined
      for (const [key, { kind }] of one.open) {
        if (kind === "up" || kind === "request" || kind === "lookup") close(number, key, at, kind === "up")
      }
    },
    changed: (what, machine) => {
      // A start names the id of the node.
      happened("change", numberOf(machine), what.replace(/ [0-9a-f]{64}$/, ""))
      isChanged = true
    },
    noted: (what, machine) => happened("step", numberOf(machine), what)
  })

  // --- The end

  const failureOf = (failure: unknown): Failure => {
    const isViolation = failure instanceof Violation
    const machine = isViolation ? numberOf(failure.node) : null
    const facts = isViolation
      ? Object.entries(failure.facts).map(([name, value]): readonly [string, string] => [name, String(value)])
      : []
    const at = isViolation ? failure.atMillis : last
    const message = failure instanceof Error ? failure.message : String(failure)
    const tag = failure instanceof Error && "_tag" in failure ? String(failure._tag) : "The run failed"
    return {
      title: isViolation ? failure.property : tag,
      sentence: isViolation ? properties[failure.property] : message,
      machine,
      at,
      facts: isViolation && machine === null ? [["node", failure.node], ...facts] : facts,
      events: restsOn(
        { machine, at, text: isViolation ? facts.map(([, value]) => value).join(" ") : message },
        { machines: observed.map(({ machine }) => machine), events, about, changes }
      )
    }
  }

  return {
    finish: (given, failures) => {
      settle()
      if (events.length > keep) prune()
      for (const [number, { open }] of observed.entries()) {
        for (const [key, { kind }] of open) close(number, key, last, kind !== "request" && kind !== "lookup")
      }
      return {
        ...given,
        machines: observed.map(({ machine: { host, identity, name, socket } }) => ({
          name,
          id: identity.nodeId,
          socket: SocketAddress.format(socket),
          isBehindRouter: host.router !== undefined
        })),
        events,
        omitted,
        changes,
        bands: bands.toSorted((a, b) => a.from - b.from),
        failures: failures.map(failureOf),
        end: last
      }
    }
  }
}
