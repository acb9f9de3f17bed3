/**
 * Liars of a story whose ids surround a key, and whether publishers were told.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Identity from "../../Identity.ts"
import type { NodeEvents as Events } from "../../NodeEvents.ts"
import { NodeEvents } from "../../NodeEvents.ts"
import * as NodeId from "../../NodeId.ts"
import * as Byzantine from "../Byzantine.ts"
import type * as Liveness from "../PropertiesLiveness.ts"
import * as SimWorld from "../SimWorld.ts"
import type { Resident, Stage } from "./storyStage.ts"

/** Leading bits that the ids share with the key: far more than chance gives the few nodes of a story. */
const bits = 10

/**
 * The surroundings of the keys in a story.
 *
 * @internal
 */
export interface Surroundings {
  /** To be installed on the node of that name. */
  readonly layer: (name: string) => Layer.Layer<never, never, Events>
  readonly surround: (key: NodeId.NodeId, liars: number) => Effect.Effect<void, unknown>
  /** What the publishers of records were told about their keys. */
  readonly told: (announced: ReadonlyArray<Liveness.Announced>) => ReadonlyArray<Liveness.Surroundings>
  readonly machines: ReadonlyArray<SimWorld.SimNode<never, unknown>>
}

/**
 * Makes the surroundings of a story.
 *
 * @internal
 */
export const make = ({ crypto, residents, world }: Stage): Surroundings => {
  const machines: Array<SimWorld.SimNode<never, unknown>> = []
  const told = new Set<string>()
  const surrounded = new Set<NodeId.NodeId>()
  let tried = 0

  /** The next name of a machine whose id is close to a key. */
  const nameAt = (key: NodeId.NodeId): string => {
    for (;;) {
      const name = `ground ${tried++}`
      const { nodeId } = Identity.fromSeed(crypto, SimWorld.identitySeed(world.seed, name, 0))
      if (NodeId.commonPrefixLength(key, nodeId) >= bits) return name
    }
  }

  return {
    machines,
    layer: (name) =>
      Layer.effectDiscard(NodeEvents.use(({ listen }) =>
        listen((event) => {
          if (event._tag === "KeySurrounded") told.add(`${name} ${event.key}`)
        })
      )),
    surround: (key, liars) => {
      surrounded.add(key)
      const through = residents.filter(({ node }: Resident) => node.isUp).slice(0, 3).map(({ node }) => node)
      const joining = Array.from({ length: liars }, () => {
        const liar = world.machine(nameAt(key), Byzantine.layer("eclipses", { through, accomplices: machines }))
        machines.push(liar)
        return liar
      })
      return Effect.forEach(joining, ({ start }) => start, { concurrency: 8, discard: true })
    },
    told: (announced) =>
      announced.map(({ key, publisher }) => ({
        publisher,
        key,
        told: told.has(`${publisher} ${key}`),
        isSurrounded: surrounded.has(key)
      }))
  }
}
