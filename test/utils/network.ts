import * as Context from "effect/Context"
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import * as Result from "effect/Result"
import * as TestClock from "effect/testing/TestClock"
import * as Address from "../../src/Address.ts"
import type { Contact } from "../../src/Contact.ts"
import * as Crypto from "../../src/Crypto.ts"
import * as Dht from "../../src/Dht.ts"
import type * as Features from "../../src/Features.ts"
import * as Identity from "../../src/Identity.ts"
import { sha256 } from "../../src/internal/sha256.ts"
import * as Message from "../../src/Message.ts"
import * as NodeId from "../../src/NodeId.ts"
import * as Reachability from "../../src/Reachability.ts"
import * as Record from "../../src/Record.ts"
import * as Routing from "../../src/Routing.ts"
import { encodeObserved, type SocketAddress } from "../../src/SocketAddress.ts"
import { Store } from "../../src/Store.ts"
import { identityOf } from "../../src/testing/internal/madeUp.ts"
import * as Transport from "../../src/Transport.ts"
import * as Verifier from "../../src/Verifier.ts"
import { crypto } from "./arbitraries.ts"

/** The identity whose seed is derived from a name. */
export const identity = (name: string): Identity.Identity => identityOf(crypto, name)

/** Reproducible random bytes for a test. */
export const layerRandom = (name: string): Layer.Layer<SecureRandom.SecureRandom> =>
  Layer.sync(SecureRandom.SecureRandom, () => {
    let block = sha256(new TextEncoder().encode(`random ${name}`))
    return SecureRandom.make((size) => {
      const bytes = new Uint8Array(size)
      for (let at = 0; at < size; at += 32) {
        block = sha256(block)
        bytes.set(block.subarray(0, Math.min(32, size - at)), at)
      }
      return bytes
    })
  })

/** The address of the `n`th in-memory node: public, in a subnet of its own. */
export const socketOf = (n: number): SocketAddress => ({ host: `9.${n >> 8}.${n & 255}.1`, port: 4121 })

export type Node = Context.Context<Dht.Services | Identity.NodeIdentity | Transport.Transport | Crypto.Crypto>

/** Starts a node on the in-memory network; it stops with the scope. */
export const node = (name: string, socket: SocketAddress, options: Dht.Options = {}) =>
  nodeWith(name, Layer.fresh(Transport.layerMemory(socket)), options)

/** Starts a node with an existing identity. */
export const nodeOf = (owner: Identity.Identity, socket: SocketAddress, options: Dht.Options = {}) =>
  nodeWith(owner.address, Layer.fresh(Transport.layerMemory(socket)), options, owner)

/** Starts a node with the identity of `owner` and the randomness of `name`. */
export const nodeAs = (owner: string, name: string, socket: SocketAddress, options: Dht.Options = {}) =>
  nodeWith(name, Layer.fresh(Transport.layerMemory(socket)), options, identity(owner))

/** Starts a node on an existing transport, which outlives it. */
export const nodeOn = (name: string, transport: Context.Context<Transport.Transport>, options: Dht.Options = {}) =>
  nodeWith(name, Layer.succeedContext(transport), options)

const nodeWith = <E, R>(
  name: string,
  transport: Layer.Layer<Transport.Transport, E, R>,
  options: Dht.Options,
  owner = identity(name)
) =>
  Layer.build(
    Layer.fresh(Dht.layer(options)).pipe(
      Layer.provideMerge(transport),
      Layer.provideMerge(Identity.layer(owner)),
      Layer.provide(Layer.fresh(layerRandom(name))),
      Layer.provide(Verifier.layer),
      Layer.provideMerge(Layer.succeed(Crypto.Crypto, crypto))
    )
  ).pipe(Random.withSeed(name))

export const dht = (node: Node) => Context.get(node, Dht.Dht)

export const contactOf = (node: Node): Contact => {
  const { address, nodeId } = Context.get(node, Identity.NodeIdentity)
  return { id: nodeId, address, ...Context.get(node, Transport.Transport).address }
}

/** The routing table of a node: what tests read of it, and a way to add contacts. */
export const tableOf = (node: Node) => {
  const routing = Context.get(node, Routing.Routing)
  return {
    get size() {
      return routing.entriesUnsafe().length
    },
    entries: routing.entriesUnsafe,
    contains: (id: NodeId.NodeId) => routing.entryUnsafe(id) !== undefined,
    get: (id: NodeId.NodeId) => routing.entryUnsafe(id)?.contact,
    verifiedAt: (id: NodeId.NodeId) => routing.entryUnsafe(id)?.verifiedAt,
    pendingLength: (bucket: number) => routing.bucketUnsafe(bucket).pending,
    /** Adds a contact that was heard from at a time, or one that `from` reports now. */
    add: (contact: Contact, verifiedAt: number | undefined, now: number, from: NodeId.NodeId = NodeId.zero) =>
      verifiedAt === undefined
        ? routing.learnedUnsafe([contact], from, now)
        : routing.givenUnsafe(contact, verifiedAt)
  }
}

/** Has a node join, and passes the time in which strangers dial back. */
export const join = Effect.fnUntraced(function*(node: Node, hosts: ReadonlyArray<SocketAddress>) {
  const joining = yield* Effect.forkChild(dht(node).bootstrap(hosts), { startImmediately: true })
  yield* TestClock.adjust("5 seconds")
  return yield* Fiber.join(joining)
})

/** Says that strangers reach the node, which sends nothing to find it out: a test then counts all other requests. */
export const layerReachability = Layer.effect(
  Reachability.Reachability,
  Effect.map(
    Effect.service(Reachability.Reachability),
    (reachability) =>
      Reachability.Reachability.of({
        ...reachability,
        nextUnsafe: () => ({ _tag: "Wait", until: Infinity }),
        stateUnsafe: () => "open"
      })
  )
).pipe(Layer.provide(Reachability.layer()))

/** The start of virtual time, in Unix seconds. */
export const now = 1_700_000_000

/** Starts `count` nodes that join through the first. */
export const build = Effect.fnUntraced(function*(count: number) {
  yield* TestClock.setTime(now * 1000)
  const nodes: Array<Node> = []
  for (let i = 0; i < count; i++) {
    nodes.push(yield* node(`node ${i}`, socketOf(i + 1)))
    if (i > 0) yield* dht(nodes[i]).bootstrap([socketOf(1)])
  }
  return nodes
})

/** A peer that sends only what the test tells it to. */
export interface Puppet extends Contact {
  readonly identity: Identity.Identity
  /** Sends a message; without `features` it announces none, like the reference implementation. */
  readonly send: (
    to: SocketAddress,
    body: Message.Body,
    transactionId: string,
    features?: Features.Features
  ) => Effect.Effect<void>
  /** The next message to it and its sender's address. */
  readonly receive: Effect.Effect<{ readonly message: Message.Message; readonly from: SocketAddress }>
  /** Answers the next message. */
  readonly answer: (
    reply: (body: Message.Body) => Message.Body,
    features?: Features.Features
  ) => Effect.Effect<void>
}

export const puppet = Effect.fnUntraced(function*(name: string, socket: SocketAddress) {
  const network = yield* Transport.MemoryNetwork
  const transport = yield* network.join(socket)
  const self = identity(name)
  const waiting: Array<Transport.Datagram> = []

  const send: Puppet["send"] = (to, body, transactionId, features) =>
    Effect.orDie(transport.send(Message.encode(body, { signer: self, transactionId, features }), to))
  const receive = Effect.gen(function*() {
    if (waiting.length === 0) waiting.push(...(yield* Effect.orDie(transport.receive)))
    const [{ from, payload }] = waiting.splice(0, 1)
    return { message: Result.getOrThrow(Message.decode(payload, crypto)), from }
  })
  const puppet: Puppet = {
    id: self.nodeId,
    address: self.address,
    ...socket,
    identity: self,
    send,
    receive,
    answer: (reply, features) =>
      Effect.flatMap(receive, ({ from, message }) => send(from, reply(message.body), message.transactionId, features))
  }
  return puppet
})

/** Turns in which what has arrived is read. */
const turns = Effect.repeat(TestClock.adjust(0), { times: 50 })

/**
 * Makes a puppet known to a node as a live peer is: it sends a request, and
 * answers the ping by which the node has it prove its address. Nothing is left
 * for it to receive.
 */
export const introduce = Effect.fnUntraced(function*(puppet: Puppet, to: SocketAddress, features?: Features.Features) {
  // The ping follows the first response, and comes before the second.
  for (const transactionId of ["f0".repeat(20), "f1".repeat(20)]) {
    yield* puppet.send(to, { _tag: "Ping", address: puppet.address }, transactionId, features)
    yield* turns
    let isAnswered = false
    while (!isAnswered) {
      const { from, message } = yield* puppet.receive
      isAnswered = message.transactionId === transactionId
      if (message.body._tag !== "Ping") continue
      const observed = encodeObserved(from)
      yield* puppet.send(from, { _tag: "Pong", address: puppet.address, observed }, message.transactionId, features)
    }
  }
  yield* turns
})

/** Puts an application's record at each of so many keys of a node's store; `at` is in Unix seconds. */
export const fill = (node: Node, count: number, at = now): void => {
  const signer = identity("application")
  const record = Result.getOrThrow(Record.sign({
    signer,
    address: signer.address,
    // A topic type without a key of its own.
    type: 0x1f,
    payload: new Uint8Array(0),
    seq: 1n,
    timestamp: BigInt(at),
    ttl: 7200
  }))
  const store = Context.get(node, Store)
  for (let i = 0; i < count; i++) {
    const { _tag } = store.admitUnsafe(NodeId.fromTopic(`filler ${i}`), record, at, `network ${i}`)
    if (_tag !== "Stored") throw new Error(`record ${i} is not stored: ${_tag}`)
  }
}

/** An identity whose id shares exactly `bits` leading bits with `id`, found by trying names. */
export const identityInBucket = (id: NodeId.NodeId, bits: number, skip = 0): Identity.Identity => {
  for (let i = 0;; i++) {
    const candidate = identity(`bucket ${i}`)
    if (NodeId.bucketIndex(id, candidate.nodeId) === bits && skip-- === 0) return candidate
  }
}

export const addressOf = (name: string): Address.Address => Address.fromPublicKey(identity(name).publicKey)
