/**
 * Strangers in stories: a machine in no routing table that stores at every node
 * what an attacker could.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import * as Dht from "../../Dht.ts"
import * as NodeId from "../../NodeId.ts"
import * as Record from "../../Record.ts"
import * as Topic from "../../Topic.ts"
import type * as SimWorld from "../SimWorld.ts"
import { identityOf } from "./madeUp.ts"
import { type DhtNode, socketOf, type Stage } from "./storyStage.ts"

/** Requests of a stranger in flight. */
const concurrency = 16

/** Seconds that the timestamps of a stranger are ahead, which nodes accept: its records then look newest. */
const aheadSeconds = 50

/**
 * The strangers of a story.
 *
 * @internal
 */
export interface Strangers {
  /** Stores the first endpoint of each node that it published, and forgeries of it, at all nodes. */
  readonly replay: (first: Record.SignedRecord) => Effect.Effect<void, unknown, Scope.Scope>
  readonly forge: (first: Record.SignedRecord) => Effect.Effect<void, unknown, Scope.Scope>
  /** Stores offers of as many identities at all nodes. */
  readonly stuff: (topic: string, records: number) => Effect.Effect<void, unknown, Scope.Scope>
  /** All that came. */
  readonly machines: ReadonlyArray<SimWorld.SimNode<never, unknown>>
}

/**
 * Makes the strangers of a story.
 *
 * @internal
 */
export const make = ({ crypto, residents, world }: Stage): Strangers => {
  const machines: Array<DhtNode> = []

  /** A client in its own network that only writes. */
  const arrive = Effect.suspend(() => {
    const node: DhtNode = world.node(`stranger ${machines.length}`, { dht: { client: true, passive: true } })
    machines.push(node)
    return Effect.as(node.start, node)
  })

  const spread = Effect.fnUntraced(function*(records: ReadonlyArray<Record.SignedRecord>, key?: NodeId.NodeId) {
    const stranger = yield* arrive
    yield* Effect.forEach(
      residents.filter(({ node }) => node.isUp),
      ({ node }) =>
        Effect.forEach(
          records,
          (record) => Effect.ignore(stranger.run(Dht.Dht.use((dht) => dht.storeAt(socketOf(node), record, key)))),
          { discard: true }
        ),
      { concurrency, discard: true }
    )
  })

  return {
    machines,
    replay: (first) => spread([first]),
    forge: (first) => {
      const newer = { ...first, seq: first.seq + 1n }
      const read = (fields: Record.Fields) => Result.getOrThrow(Record.decode(Record.encode(fields)))
      const forger = identityOf(crypto, "forger")
      const foreign = { ...newer, publicKey: forger.publicKey }
      const signature = forger.sign(Record.signedBytes(read(foreign)))
      return spread([read(newer), read({ ...foreign, signature })])
    },
    stuff: (topic, records) => {
      const timestamp = BigInt(Math.floor(world.timeline.currentTimeMillisUnsafe() / 1000) + aheadSeconds)
      const offers = Array.from({ length: records }, (_, n) => {
        const signer = identityOf(crypto, `made up ${n}`)
        return Result.getOrThrow(Topic.sign({
          signer,
          address: signer.address,
          payload: Topic.make({ topic, name: "x".repeat(100) }),
          seq: 9n,
          timestamp,
          ttl: Topic.maxTtl
        }))
      })
      return spread(offers, NodeId.fromTopic(topic))
    }
  }
}
