/**
 * Histories: what the users of nodes did, with the interval of each operation, and
 * the models that they are checked against.
 *
 * Two models hold whatever the network does. `WritesAreRead`: a node that published
 * a record reads it or a newer one, as long as it is up and the record is alive and
 * not withdrawn. `WatchesAreDifferences`: the changes of a watch are the differences
 * of consecutive snapshots, whose records never become older. Reads of one node
 * after another are not ordered: a later one may reach only holders of an older
 * record.
 *
 * @module
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Hex from "../internal/hex.ts"
import { sha256Hex } from "../internal/sha256.ts"
import type * as NodeId from "../NodeId.ts"
import type * as Record from "../Record.ts"
import * as RecordOrder from "./internal/recordOrder.ts"
import { type Facts, type Property, Violation } from "./Properties.ts"
import type { SimNode, World } from "./SimWorld.ts"

/**
 * The node on which an operation runs.
 *
 * @category models
 * @since 0.1.0
 */
export type Node = Pick<SimNode<never>, "clock" | "isUp" | "name">

/**
 * A change that a watch reports, such as `Discovery.Change`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Change {
  readonly _tag: "Appeared" | "Changed" | "Gone"
  readonly offer: { readonly record: Record.SignedRecord }
}

/**
 * Records operations and checks them.
 *
 * @category models
 * @since 0.1.0
 */
export interface History {
  /** Runs an operation that publishes a record on a node. */
  readonly write: <P extends { readonly key: NodeId.NodeId; readonly record: Record.SignedRecord }, E, R>(
    node: Node,
    operation: Effect.Effect<P, E, R>
  ) => Effect.Effect<P, E, R>
  /** Runs an operation that withdraws what a node published at a key: from its start on, nothing must be read. */
  readonly withdraw: <A, E, R>(
    node: Node,
    key: NodeId.NodeId,
    operation: Effect.Effect<A, E, R>
  ) => Effect.Effect<A, E, R>
  /** Runs an operation that reads all records of a type at a key. One that fails has read none. */
  readonly read: <E, R>(
    node: Node,
    key: NodeId.NodeId,
    type: number,
    operation: Effect.Effect<ReadonlyArray<Record.SignedRecord>, E, R>
  ) => Effect.Effect<ReadonlyArray<Record.SignedRecord>, never, R>
  /** A change of offers that a watch of a node reports. `watch` names the watch. */
  readonly changed: (node: Node, watch: string, change: Change) => void
  /** Compares the changes of a watch so far with what a read returned at a moment when nothing changes. */
  readonly settled: (node: Node, watch: string, records: ReadonlyArray<Record.SignedRecord>) => void
  /** The violations so far. */
  readonly violations: ReadonlyArray<Violation>
}

/** A record that its node must read. */
interface Written {
  readonly node: string
  readonly key: NodeId.NodeId
  readonly record: Record.SignedRecord
  /** Virtual milliseconds from when on it is not promised any more. */
  until: number
}

/**
 * Starts the history of a world.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (world: World): History => {
  const { seed, timeline } = world
  const writes: Array<Written> = []
  /** When each node last withdrew what it had published at a key. */
  const withdrawals = new Map<string, number>()
  /** The records of each watch by signer. */
  const watches = new Map<string, Map<string, Record.SignedRecord>>()
  const violations: Array<Violation> = []

  const report = (property: Property, node: string, facts: Facts): void => {
    const { elapsedMillis: atMillis, scheduleSeed } = timeline
    violations.push(new Violation({ property, node, atMillis, facts, seed, scheduleSeed }))
  }

  const end = (matches: (written: Written) => boolean): void => {
    const { elapsedMillis } = timeline
    for (const written of writes) if (matches(written)) written.until = Math.min(written.until, elapsedMillis)
  }

  world.watch({
    created: () => {},
    booted: () => {},
    stopped: ({ name }) => end(({ node }) => node === name),
    // A clock that is set makes records expire earlier, or be signed with an older time than those before.
    changed: (_, machine) => end(({ node }) => node === machine),
    noted: () => {}
  })

  const recordsOf = (watch: string, node: Node) => {
    const name = `${node.name} ${watch}`
    const known = watches.get(name) ?? new Map<string, Record.SignedRecord>()
    watches.set(name, known)
    return known
  }

  const signerOf = ({ publicKey }: Record.SignedRecord): string => Hex.encode(publicKey)

  /** Without the version: a record that was only signed again brings no change. */
  const contentOf = (record: Record.SignedRecord): string =>
    `${signerOf(record).slice(0, 16)} ${sha256Hex(record.payload).slice(0, 16)}`

  const versionOf = ({ seq, timestamp }: Record.SignedRecord): string => `seq ${seq} of ${timestamp}`

  return {
    violations,
    write: (node, operation) =>
      Effect.suspend(() => {
        const { elapsedMillis: begunAt } = timeline
        return Effect.tap(operation, ({ key, record }) =>
          Effect.sync(() => {
            // A withdrawal that began meanwhile may be of this record.
            if (!node.isUp || (withdrawals.get(`${node.name} ${key}`) ?? -Infinity) >= begunAt) return
            const until = RecordOrder.lastSecond(record) * 1000 - timeline.startMillis - node.clock.offsetMillis
            const slot = RecordOrder.slotOf(key, record)
            // The newer record takes the place of what the node wrote there before.
            end((written) => written.node === node.name && RecordOrder.slotOf(written.key, written.record) === slot)
            writes.push({ node: node.name, key, record, until })
          }))
      }),
    withdraw: (node, key, operation) =>
      Effect.suspend(() => {
        withdrawals.set(`${node.name} ${key}`, timeline.elapsedMillis)
        end((written) => written.node === node.name && written.key === key)
        return operation
      }),
    read: (node, key, type, operation) =>
      Effect.suspend(() => {
        // What was written at the same instant may be too late for this read.
        const before = writes.length
        return Effect.map(Effect.exit(operation), (exit) => {
          const records = Exit.isSuccess(exit) ? exit.value : []
          for (const written of writes.slice(0, before)) {
            const { record } = written
            const isPromised = written.node === node.name && written.key === key && record.type === type &&
              written.until > timeline.elapsedMillis
            if (!isPromised) continue
            const slot = RecordOrder.slotOf(key, record)
            const found = records.find((other) => RecordOrder.slotOf(key, other) === slot)
            if (found !== undefined && RecordOrder.compare(found, record) >= 0) continue
            const read = found === undefined ? "nothing" : versionOf(found)
            report("WritesAreRead", node.name, { key, type, written: versionOf(record), read })
          }
          return records
        })
      }),
    changed: (node, watch, { _tag, offer: { record } }) => {
      const known = recordsOf(watch, node)
      const slot = signerOf(record)
      const before = known.get(slot)
      const isSound = _tag === "Appeared"
        ? before === undefined
        : before !== undefined && (_tag === "Gone" || RecordOrder.compare(record, before) > 0)
      if (!isSound) {
        report("WatchesAreDifferences", node.name, {
          watch,
          change: _tag,
          to: versionOf(record),
          from: before === undefined ? "nothing" : versionOf(before)
        })
      }
      if (_tag === "Gone") known.delete(slot)
      else known.set(slot, record)
    },
    settled: (node, watch, records) => {
      const shown = [...recordsOf(watch, node).values()].map(contentOf).toSorted()
      const read = records.map(contentOf).toSorted()
      if (shown.join() === read.join()) return
      report("WatchesAreDifferences", node.name, { watch, shown: shown.join("; "), read: read.join("; ") })
    }
  }
}
