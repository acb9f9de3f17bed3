/**
 * Checks of the state that a network reaches after it had time to recover from
 * its last fault. That time depends on the fault: announced records are back in place at
 * the latest when they are renewed, after half of their lifetime, and a minute.
 *
 * The checks send requests, so they take virtual time. Stopped nodes are left
 * out. A node behind a router that translates addresses must find records, and
 * its own must be found, but it counts neither as a replica nor as a way to other
 * nodes.
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
 * A node to check.
 *
 * @category models
 * @since 0.1.0
 */
export type Node = Pick<SimNode<NodeServices, unknown>, "name" | "identity" | "host" | "isUp" | "run">

/**
 * The newest version of a record, and the node that keeps it alive.
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
 * A message to an agent.
 *
 * @category models
 * @since 0.1.0
 */
export interface Message {
  readonly recipient: string
  /** Unique among the messages of a check. */
  readonly id: string
}

/**
 * Whether a publisher was told that its key is surrounded, and whether it is.
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
 * What to check. Absent items are not checked.
 *
 * @category models
 * @since 0.1.0
 */
export interface Expected {
  readonly announced?: ReadonlyArray<Announced> | undefined
  /** Number of the closest nodes that hold each record; defaults to 8. Fewer if some of them lie. */
  readonly replicas?: number | undefined
  /**
   * The newest versions of records that are not renewed, but whose publishers are
   * up. They must be found; a lost copy may be replaced only after an hour.
   */
  readonly published?: ReadonlyArray<Announced> | undefined
  /**
   * The last records of slots that are no longer published. Those still alive are
   * left out.
   */
  readonly withdrawn?: ReadonlyArray<Announced> | undefined
  /** The newest endpoint records, to which every node must resolve their addresses. */
  readonly resolved?: ReadonlyArray<Announced> | undefined
  readonly surroundings?: ReadonlyArray<Surroundings> | undefined
  /** Messages that must have arrived. */
  readonly sent?: ReadonlyArray<Message> | undefined
  /** All messages that arrived, each as often as it did. */
  readonly received?: ReadonlyArray<Message> | undefined
}

const closest = 16
const wanted = 8

/** Requests of a check in flight. */
const concurrency = 8

/** Seconds after its expiry by which a record must be gone, whatever the latency. */
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
  // A node that reaches the hub reaches all that the hub reaches.
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
        holders: holders.map(({ name }) => name).join(", ") || "none"
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

/** Runs an effect on a node; `otherwise` if it stopped meanwhile. */
const ask = <A>(node: Node, effect: Effect.Effect<A, never, NodeServices>, otherwise: NoInfer<A>): Effect.Effect<A> =>
  Effect.orElseSucceed(node.run(effect), () => otherwise)

/** All records of a type that a node finds at a key. */
const recordsAt = (node: Node, key: NodeId.NodeId, type: number): Effect.Effect<ReadonlyArray<Record.SignedRecord>> =>
  ask(
    node,
    Query.use((query) => query.aggregateRecords(key, type)).pipe(
      Effect.orElseSucceed((): ReadonlyArray<Record.SignedRecord> => [])
    ),
    []
  )

/** The publisher's records of that type in a node's own store. */
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

/** Whether it accepts unsolicited datagrams: a router that translates addresses passes only responses. */
const isOpen = ({ host }: Node): boolean => host.router === undefined

/** The nodes reached from one, including itself. */
const reach = (edges: ReadonlyArray<ReadonlyArray<number>>, from: number): ReadonlySet<number> => {
  const reached = new Set([from])
  // The iteration includes members that are added during it.
  for (const from of reached) for (const to of edges[from]) reached.add(to)
  return reached
}
