/**
 * The nodes of a story while it runs, and what its steps share.
 *
 * @since 0.1.0
 */
import type * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type * as Crypto from "../../Crypto.ts"
import type * as NodeId from "../../NodeId.ts"
import type { Publication } from "../../Replication.ts"
import type * as History from "../History.ts"
import { type Facts, type Property, Violation } from "../Properties.ts"
import type * as SimWorld from "../SimWorld.ts"

/** @internal */
export type DhtNode = SimWorld.SimNode<SimWorld.NodeServices, unknown>

/**
 * A node and its announcements.
 *
 * @internal
 */
export interface Resident {
  readonly node: DhtNode
  /** Whether it has no sessions: it signs every message. */
  readonly signs: boolean
  /** Number of its starts. */
  life: number
  /** Whether it has failed to join so far. */
  isAlone: boolean
  /** Whether its clock was set: a record from before can then outlive its withdrawal. */
  wasSet: boolean
  /** Its announcements by topic, empty for its endpoint, with the scopes that end them. */
  readonly announced: Map<string, {
    readonly key: NodeId.NodeId
    readonly type: number
    readonly current: Effect.Effect<Publication>
    readonly scope: Scope.Closeable
  }>
}

/**
 * What the steps of a story share.
 *
 * @internal
 */
export interface Stage {
  readonly world: SimWorld.World
  readonly crypto: Crypto.Provider
  readonly residents: ReadonlyArray<Resident>
  readonly history: History.History
  /** A text that stays the same while every datagram arrives and no node restarts or moves. */
  readonly disturbances: () => string
  /** The violations that the steps found themselves. */
  readonly found: Array<Violation>
}

/**
 * Whether there is no router in front of it.
 *
 * @internal
 */
export const isOpen = ({ node }: Resident): boolean => node.host.router === undefined

/**
 * Where an open node is reached now: it may have moved.
 *
 * @internal
 */
export const socketOf = ({ host: { ip: host }, socket: { port } }: Pick<DhtNode, "host" | "socket">) => ({ host, port })

/**
 * Reports a violation that a step found now.
 *
 * @internal
 */
export const report = ({ found, world }: Stage, property: Property, node: string, facts: Facts): void => {
  const { elapsedMillis: atMillis, scheduleSeed } = world.timeline
  found.push(new Violation({ property, node, atMillis, facts, seed: world.seed, scheduleSeed }))
}
