/**
 * Faults of nodes and of the network as data, which can be drawn, printed and
 * injected into a world.
 *
 * @module
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { Prng } from "./internal/prng.ts"
import type { SimNode, World } from "./SimWorld.ts"

/**
 * A fault. Numbers of nodes are reduced to those that exist ({@link reduced}).
 *
 * - `crash`, `leave`, `forget` stop a node; `forget` loses its state. `restart` starts it.
 * - `partition` separates the first nodes from the others, and `cut` blocks datagrams
 *   one way. `heal` ends both.
 * - `clock` sets a clock ahead of the world's, or behind.
 *
 * @category models
 * @since 0.1.0
 */
export type Fault =
  | { readonly do: "crash" | "leave" | "restart" | "forget"; readonly node: number }
  | { readonly do: "partition"; readonly nodes: number }
  | { readonly do: "heal" }
  | { readonly do: "cut"; readonly from: number; readonly to: number }
  | { readonly do: "clock"; readonly node: number; readonly seconds: number }

/**
 * The name of a fault.
 *
 * @category models
 * @since 0.1.0
 */
export type Kind = Fault["do"]

/**
 * The names of all faults.
 *
 * @category models
 * @since 0.1.0
 */
export const kinds = ["crash", "leave", "restart", "forget", "partition", "heal", "cut", "clock"] as const

/**
 * Whether something is a fault, by its name.
 *
 * @category guards
 * @since 0.1.0
 */
export const isFault = (deed: { readonly do: string }): deed is Fault =>
  (kinds as ReadonlyArray<string>).includes(deed.do)

/**
 * The fault among `count` nodes: their numbers modulo `count`, and a partition with
 * at least one node on each side.
 *
 * @category transformations
 * @since 0.1.0
 */
export const reduced = (fault: Fault, count: number): Fault => {
  switch (fault.do) {
    case "partition":
      return { ...fault, nodes: 1 + Math.max(0, fault.nodes - 1) % Math.max(1, count - 1) }
    case "heal":
      return fault
    case "cut":
      return { ...fault, from: fault.from % count, to: fault.to % count }
    default:
      return { ...fault, node: fault.node % count }
  }
}

/**
 * Describes a fault with the numbers as they are, as in `node 3 crashes`.
 *
 * @category formatting
 * @since 0.1.0
 */
export const describe = (fault: Fault): string => {
  switch (fault.do) {
    case "crash":
      return `node ${fault.node} crashes`
    case "leave":
      return `node ${fault.node} leaves`
    case "restart":
      return `node ${fault.node} starts again`
    case "forget":
      return `node ${fault.node} crashes and loses its state`
    case "partition":
      return `the first ${fault.nodes === 1 ? "node is" : `${fault.nodes} nodes are`} separated from the others`
    case "heal":
      return "the network heals"
    case "cut":
      return `datagrams from node ${fault.from} to node ${fault.to} are blocked`
    case "clock":
      return `the clock of node ${fault.node} jumps to ${Math.abs(fault.seconds)} s ${
        fault.seconds < 0 ? "behind" : "ahead"
      }`
  }
}

const offsets = [30, -30, 600, -600, 7200, -7200]

/**
 * Draws a fault of one of the kinds.
 *
 * @internal
 */
export const draw = (random: Prng, kinds: ReadonlyArray<Kind>, nodes: number): Fault => {
  const kind = kinds[random.below(kinds.length)]
  const node = random.below(nodes)
  switch (kind) {
    case "partition":
      return { do: kind, nodes: 1 + random.below(Math.max(1, nodes - 1)) }
    case "heal":
      return { do: kind }
    case "cut":
      return { do: kind, from: node, to: (node + 1 + random.below(Math.max(1, nodes - 1))) % nodes }
    case "clock":
      return { do: kind, node, seconds: offsets[random.below(offsets.length)] }
    default:
      return { do: kind, node }
  }
}

/**
 * Injects a fault. A node that starts again does so in the background.
 *
 * @category faults
 * @since 0.1.0
 */
export const inject = (
  world: World,
  nodes: ReadonlyArray<Pick<SimNode<never, unknown>, "start" | "crash" | "leave" | "setClock" | "host">>,
  fault: Fault
): Effect.Effect<void, never, Scope.Scope> => {
  const real = reduced(fault, nodes.length)
  switch (real.do) {
    case "crash":
      return nodes[real.node].crash()
    case "forget":
      return nodes[real.node].crash({ state: "Lost" })
    case "leave":
      return nodes[real.node].leave
    case "restart":
      return Effect.asVoid(Effect.forkScoped(Effect.ignore(nodes[real.node].start)))
    case "partition":
      return Effect.sync(() => world.network.partition(nodes.slice(0, real.nodes).map(({ host }) => host)))
    case "heal":
      return Effect.sync(() => world.network.heal())
    case "cut":
      return Effect.sync(() => world.network.cut(nodes[real.from].host, nodes[real.to].host))
    case "clock":
      return nodes[real.node].setClock(real.seconds * 1000)
  }
}
