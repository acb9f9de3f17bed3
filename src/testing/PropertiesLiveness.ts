/**
 * What must come about in the end: once nothing went wrong for as long as it
 * takes to make up for what did. How long that is depends on what went wrong;
 * announced records are back in place at the latest when they were renewed,
 * after half of their lifetime and a minute.
 *
 * These checks ask the nodes, so they take virtual time. Nodes that are down
 * are left out. Behind a router that translates addresses a node finds, and is
 * found by its records, as any other; but nobody counts on it: neither as a
 * replica, nor to lead to others.
 *
 * @module
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as NodeId from "../NodeId.ts"
import { Query } from "../Query.ts"
import type * as Record from "../Record.ts"
import { Routing } from "../Routing.ts"
import { Store } from "../Store.ts"
import * as RecordOrder from "./internal/recordOrder.ts"
import { type Facts, type Property, Violation } from "./Properties.ts"
import type { NodeServices, SimNode, World } from "./SimWorld.ts"

/**
 * A node that takes part.
 *
 * @category models
 * @since 0.1.0
 */
export type Node = Pick<SimNode<NodeServices, unknown>, "name" | "identity" | "host" | "isUp" | "run">

/**
 * The newest version of a record, and who keeps it alive.
 *
 * @category models
 * @since 0.1.0
 */
export interface Announced {
  readonly publisher: string
  readonly key: NodeId.NodeId
  readonly record: Record.SignedRecord
}

/**
 * @category models
 * @since 0.1.0
 */
export interface Message {
  readonly recipient: string
  /** What tells it from all others. */
  readonly id: string
}

/**
 * What a publisher was told of its key, and what is true.
 *
 * @category models
 * @since 0.1.0
 */
export interface Surroundings {
  readonly publisher: string
  readonly key: NodeId.NodeId
  readonly told: boolean
  readonly isSurrounded: boolean
}

/**
 * What there is to check. What is absent is not.
 *
 * @category models
 * @since 0.1.0
 */
export interface Expected {
  readonly announced?: ReadonlyArray<Announced> | undefined
  /** How many of the closest nodes hold each record; defaults to 8. Fewer when some of them lie. */
  readonly replicas?: number | undefined
  /**
   * The newest versions of records that nobody renews, but whose publishers are
   * there. They are to be found; a lost copy may be missed only after an hour.
   */
  readonly published?: ReadonlyArray<Announced> | undefined
  /**
   * The last records of slots that nobody says anything in any more. Those that
   * are still alive are left out.
   */
  readonly withdrawn?: ReadonlyArray<Announced> | undefined
  /** The newest versions of endpoints, to which every node is to resolve their addresses. */
  readonly resolved?: ReadonlyArray<Announced> | undefined
  readonly surroundings?: ReadonlyArray<Surroundings> | undefined
  /** Messages that must have arrived. */
  readonly sent?: ReadonlyArray<Message> | undefined
  /** All that arrived, as often as it did. */
  readonly received?: ReadonlyArray<Message> | undefined
}

const closest = 16
const wanted = 8

/** Requests of a check that are under way at the same time. */
const concurrency = 8

/** An expired record is gone after so many seconds, whatever the latency. */
const marginSeconds = 2

/**
 * Checks all liveness properties, one after the other.
 *
 * @category checks
 * @since 0.1.0
 */
export const check = Effect.fnUntraced(function*(
  world: World,
  all: ReadonlyArray<Node>,
  expected: Expected
): Effect.fn.Return<ReadonlyArray<Violation>> {
  const nodes = all.filter(({ isUp }) => isUp)
  const { announced = [], published = [], received = [], replicas = wanted, sent = [], withdrawn = [] } = expected
  const { resolved = [], surroundings = [] } = expected
  const found: Array<Violation> = []
  const report = (property: Property, node: string, facts: Facts) => {
    const { elapsedMillis: atMillis, scheduleSeed } = world.timeline
    found.push(new Violation({ property, node, atMillis, facts, seed: world.seed, scheduleSeed }))
  }

  // --- Tables

  const ids = new Map(nodes.flatMap((node, i) => isOpen(node) ? [[node.identity.nodeId, i]] : []))
  const tables = yield* Effect.forEach(nodes, (node) =>
    ask(node, Routing.use(({ entries }) => entries), []).pipe(
      Effect.map((entries) => entries.flatMap(({ contact }) => ids.get(contact.id) ?? []))
    ))
  const reversed = nodes.map((): Array<number> => [])
  tables.forEach((table, i) => table.forEach((j) => reversed[j].push(i)))
  // Whoever reaches one that reaches all, reaches all.
  const hub = nodes.findIndex(isOpen)
  if (hub >= 0) {
    const out = reach(tables, hub)
    const back = reach(reversed, hub)
    nodes.forEach((node, i) => {
      if (isOpen(node) && !out.has(i)) {
        report("TablesAreConnected", node.name, { "cannot be reached from": nodes[hub].name })
      } else if (!back.has(i)) report("TablesAreConnected", node.name, { "cannot reach": nodes[hub].name })
    })
  }

  // --- Records

  for (const { key, publisher, record } of announced) {
    const others = nodes.filter(({ name }) => name !== publisher)
      .sort((a, b) => NodeId.compareDistance(key, a.identity.nodeId, b.identity.nodeId))
      .slice(0, closest)
    const holders: Array<Node> = []
    for (const node of others) {
      if ((yield* heldBy(node, record)).some((held) => RecordOrder.compare(held, record) >= 0)) holders.push(node)
    }
    const least = Math.min(replicas, others.filter(isOpen).length)
    if (holders.length < least) {
      report("AnnouncedIsReplicated", publisher, {
        key,
        seq: record.seq,
        wanted: least,
        holders: holders.map(({ name }) => name).join(", ") || "nobody"
      })
    }
  }

  for (const { key, publisher, record } of [...announced, ...published]) {
    yield* Effect.forEach(nodes, (node) =>
      Effect.map(recordsAt(node, key, record.type), (records) => {
        const newest = newestOf(records, key, record)
        if (newest !== undefined && RecordOrder.compare(newest, record) >= 0) return
        report("AnnouncedIsFound", node.name, {
          publisher,
          key,
          wanted: `seq ${record.seq}`,
          found: newest === undefined ? "nothing" : `seq ${newest.seq}`
        })
      }), { concurrency, discard: true })
  }

  for (const { key, publisher, record } of resolved) {
    yield* Effect.forEach(
      nodes,
      (node) =>
        Effect.map(ask(node, Effect.option(Query.use((query) => query.resolve(key))), Option.none()), (found) => {
          if (Option.isSome(found) && RecordOrder.compare(found.value.record, record) >= 0) return
          report("ResolvedIsNewest", node.name, {
            publisher,
            key,
            wanted: `seq ${record.seq}`,
            found: Option.isNone(found) ? "nothing" : `seq ${found.value.record.seq}`
          })
        }),
      { concurrency, discard: true }
    )
  }

  for (const { isSurrounded, key, publisher, told } of surroundings) {
    if (told === isSurrounded) continue
    report("SurroundedIsTold", publisher, { key, told: String(told), "it is": String(isSurrounded) })
  }

  for (const { key, publisher, record } of withdrawn) {
    const now = Math.floor((yield* Clock.currentTimeMillis) / 1000)
    if (record.expiresAt + marginSeconds > now) continue
    yield* Effect.forEach(nodes, (node) =>
      Effect.gen(function*() {
        const kept = yield* heldBy(node, record)
        const seen = yield* recordsAt(node, key, record.type)
        if (newestOf([...kept, ...seen], key, record) === undefined) return
        report("WithdrawnVanishes", node.name, {
          publisher,
          key,
          seq: record.seq,
          expired: `${now - record.expiresAt} s ago`
        })
      }), { concurrency, discard: true })
  }

  // --- Messages

  const times = new Map<string, number>()
  for (const { id, recipient } of received) times.set(`${recipient} ${id}`, (times.get(`${recipient} ${id}`) ?? 0) + 1)
  for (const { id, recipient } of sent) {
    if (!times.has(`${recipient} ${id}`)) report("MessagesArriveOnce", recipient, { message: id, arrived: 0 })
  }
  for (const [message, arrived] of times) {
    const at = message.lastIndexOf(" ")
    if (arrived > 1) report("MessagesArriveOnce", message.slice(0, at), { message: message.slice(at + 1), arrived })
  }
  return found
})

/** What a node says; `otherwise` when it went down meanwhile. */
const ask = <A>(node: Node, effect: Effect.Effect<A, never, NodeServices>, otherwise: NoInfer<A>): Effect.Effect<A> =>
  Effect.orElseSucceed(node.run(effect), () => otherwise)

/** All records at a key of the network, of one type. */
const recordsAt = (node: Node, key: NodeId.NodeId, type: number): Effect.Effect<ReadonlyArray<Record.SignedRecord>> =>
  ask(
    node,
    Query.use((query) => query.aggregateRecords(key, type)).pipe(
      Effect.orElseSucceed((): ReadonlyArray<Record.SignedRecord> => [])
    ),
    []
  )

/** What a node itself holds of the publisher's records of that type. */
const heldBy = (node: Node, record: Record.SignedRecord): Effect.Effect<ReadonlyArray<Record.SignedRecord>> =>
  ask(node, Store.use((store) => store.getAllByAddress(record.address, record.type)), [])

const newestOf = (
  records: ReadonlyArray<Record.SignedRecord>,
  key: NodeId.NodeId,
  record: Record.SignedRecord
): Record.SignedRecord | undefined => {
  const slot = RecordOrder.slotOf(key, record)
  return records.filter((other) => RecordOrder.slotOf(key, other) === slot)
    .sort(RecordOrder.compare)
    .at(-1)
}

/** Whether strangers reach it: behind a router that translates addresses only those do whom it writes to. */
const isOpen = ({ host }: Node): boolean => host.router === undefined

/** Whom one reaches from there, itself included. */
const reach = (edges: ReadonlyArray<ReadonlyArray<number>>, from: number): ReadonlySet<number> => {
  const reached = new Set([from])
  // A set that grows while it is result is result to its end.
  for (const from of reached) for (const to of edges[from]) reached.add(to)
  return reached
}
