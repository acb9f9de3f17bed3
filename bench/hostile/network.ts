/**
 * Nodes of one process on loopback addresses of different networks: the rules
 * about a /24 apply to 127.1.2.3 as to any other.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import type { Contact } from "../../src/Contact.ts"
import * as Dht from "../../src/Dht.ts"
import * as Identity from "../../src/Identity.ts"
import * as NodeCrypto from "../../src/node/NodeCrypto.ts"
import * as UdpTransport from "../../src/node/UdpTransport.ts"
import * as NodeId from "../../src/NodeId.ts"
import type * as Record from "../../src/Record.ts"
import type { Publication } from "../../src/Replication.ts"
import { Store } from "../../src/Store.ts"
import * as Topic from "../../src/Topic.ts"
import * as Verifier from "../../src/Verifier.ts"
import * as fixtures from "../fixtures.ts"

export type Node = Context.Context<Dht.Services>

export const crypto = NodeCrypto.fastest

/** The identity that a name stands for in this run. */
export const identity = (name: string): Identity.Identity => fixtures.identity(crypto, `${run} ${name}`)

const run = Math.random()

/** A node on a host of its own; it lives as long as the scope. */
export const node = (
  host: string,
  options: Dht.Options & { readonly identity?: Identity.Identity | undefined } = {}
): Effect.Effect<Node, unknown, Scope.Scope> =>
  Layer.build(
    Layer.fresh(Dht.layer(options)).pipe(
      Layer.provide(UdpTransport.layer({ host, port: 0 })),
      Layer.provide(Layer.fresh(options.identity ? Identity.layer(options.identity) : Identity.layerGenerate)),
      Layer.provide(Verifier.layer),
      Layer.provide(NodeCrypto.layer),
      Layer.provide(SecureRandom.layerWebCrypto)
    )
  )

/** The host of an honest node: each is in a /24 of its own. */
export const hostOf = (i: number): string => `127.${1 + (i >> 8)}.${i & 255}.1`

export const dhtOf = (node: Node): Dht.Dht["Service"] => Context.get(node, Dht.Dht)

export const contactOf = (node: Node): Contact => {
  const { address, localAddress, nodeId } = dhtOf(node)
  return { id: nodeId, address, ...localAddress }
}

/** Joining leaves lookups to be done; then every table is as full as it gets. */
const settleMillis = 6000

/** So many nodes that joined through the first, a few at a time. */
export const network = Effect.fnUntraced(function*(count: number) {
  const nodes = yield* Effect.forEach(Array.from({ length: count }, (_, i) => i), (i) => node(hostOf(i)))
  const [first, ...others] = nodes
  yield* Effect.forEach(others, (other) => dhtOf(other).bootstrap([dhtOf(first).localAddress]), { concurrency: 8 })
  yield* Effect.sleep(settleMillis)
  return nodes
})

/** The nodes closest to a key, as they are. */
export const nearestTo = (nodes: ReadonlyArray<Node>, key: NodeId.NodeId, count: number): ReadonlyArray<Node> =>
  nodes.toSorted((a, b) => NodeId.compareDistance(key, dhtOf(a).nodeId, dhtOf(b).nodeId)).slice(0, count)

/** Some of many, evenly spread. */
export const some = <A>(all: ReadonlyArray<A>, count: number): ReadonlyArray<A> =>
  Array.from(
    { length: Math.min(count, all.length) },
    (_, i) => all[Math.floor(i * all.length / Math.min(count, all.length))]
  )

/** Whether a node holds this very record. */
export const holds = (node: Node, key: NodeId.NodeId, record: Record.SignedRecord): boolean =>
  Effect.runSync(Context.get(node, Store).getAll(key, record.type))
    .some(({ signature }) => signature.every((byte, i) => byte === record.signature[i]))

/** An agent's offer under a topic. */
export const offer = (topic: string, agent: Identity.Identity): Record.SignedRecord =>
  Result.getOrThrow(Topic.sign({
    signer: agent,
    address: agent.address,
    seq: 1n,
    timestamp: BigInt(fixtures.unixSeconds()),
    payload: Topic.make({ topic, name: "an agent", protocols: ["https"], tags: ["a", "b"], brief: "It does something" })
  }))

/**
 * A few at a time: a process of many nodes that all publish at once has no time to
 * answer.
 */
export const publishers = { concurrency: 4 }

const copies = 8

/** How long a publisher is waited for that finds too few nodes at first. */
const settledWithinMillis = 20_000

/** Publishes, and waits until as many nodes hold a copy as shall, or it is said that there is no room. */
export const placed = Effect.fnUntraced(function*<E, R>(publish: Effect.Effect<Publication, E, R>) {
  const publication = yield* publish
  const until = performance.now() + settledWithinMillis
  while (true) {
    const result = yield* Effect.result(publication.replicas(copies, { within: "10 seconds" }))
    const isTold = Result.isSuccess(result) || result.failure._tag === "KeyFull"
    if (isTold || performance.now() > until) return publication
    yield* Effect.sleep(1000)
  }
})

/** Offers of as many agents under a topic, each published through another node. */
export const offersUnder = (nodes: ReadonlyArray<Node>, topic: string, count: number, from = 0) =>
  Effect.forEach(
    Array.from({ length: count }, (_, i) => from + i),
    (i) => {
      const agent = identity(`${topic} ${i}`)
      return placed(dhtOf(nodes[i % nodes.length]).publish(offer(topic, agent), NodeId.fromTopic(topic)))
    },
    publishers
  )

/** The addresses that a node finds under a topic; none where it finds nothing. */
export const discovered = (node: Node, topic: string) =>
  dhtOf(node).discover(topic).pipe(
    Effect.map(({ offers }) => new Set<string>(offers.map(({ address }) => address))),
    Effect.orElseSucceed(() => new Set<string>())
  )

/** The share of some that are among those found. */
export const shareOf = (wanted: ReadonlyArray<string>, found: ReadonlySet<string>): number =>
  wanted.filter((name) => found.has(name)).length / wanted.length

export const mean = (values: ReadonlyArray<number>): number =>
  values.reduce((sum, value) => sum + value, 0) / values.length
