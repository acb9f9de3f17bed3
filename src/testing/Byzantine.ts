/**
 * Byzantine nodes: nodes of the production code whose outgoing messages are
 * falsified, so that they join and are queried like any other node. Each behaviour
 * has a name and draws all it invents from the randomness of its machine.
 *
 * ```ts
 * import { Byzantine, SimWorld } from "effect-dht/testing"
 * import * as Effect from "effect/Effect"
 *
 * const program = Effect.gen(function*() {
 *   const world = yield* SimWorld.SimWorld
 *   const nodes = yield* world.startNodes(8)
 *   const liar = world.machine("liar", Byzantine.layer("inventsNodes", { through: nodes.slice(0, 3) }))
 *   yield* liar.start
 * })
 * ```
 *
 * @module
 * @since 0.1.0
 */
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import type { Address } from "../Address.ts"
import type { Contact } from "../Contact.ts"
import { findNodeResponse, findValueResponse } from "../core/answer.ts"
import * as Dht from "../Dht.ts"
import * as Features from "../Features.ts"
import { type Identity, NodeIdentity } from "../Identity.ts"
import * as Hex from "../internal/hex.ts"
import { RecencyMap } from "../internal/recencyMap.ts"
import * as Message from "../Message.ts"
import * as NodeId from "../NodeId.ts"
import * as Record from "../Record.ts"
import { Routing } from "../Routing.ts"
import type { SocketAddress } from "../SocketAddress.ts"
import * as TransactionId from "../TransactionId.ts"
import { Transport } from "../Transport.ts"
import * as RecordOrder from "./internal/recordOrder.ts"
import type { Machine } from "./SimWorld.ts"

/**
 * The behaviours and their descriptions.
 *
 * @category constants
 * @since 0.1.0
 */
export const behaviours = {
  dropsRequests: "answers PING and no other request",
  inventsNodes: "names nodes that do not exist",
  misplacesNodes: "names existing nodes at wrong addresses",
  eclipses: "names only itself and its accomplices",
  servesStale: "acknowledges every record and returns the first version of each that it saw",
  servesForged: "returns records that were modified or signed by an unauthorized key",
  floods: "sends well-formed requests to its contacts and ignores the responses",
  floodsGarbage: "sends random bytes to its contacts"
} as const

/**
 * The name of a behaviour.
 *
 * @category models
 * @since 0.1.0
 */
export type Behaviour = keyof typeof behaviours

/**
 * Options of a Byzantine node.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** The nodes through which it joins. */
  readonly through: ReadonlyArray<{ readonly socket: SocketAddress }>
  /** The other nodes that it names with `eclipses`. */
  readonly accomplices?: ReadonlyArray<{ readonly identity: Identity; readonly socket: SocketAddress }> | undefined
  /** Datagrams per second with `floods` and `floodsGarbage`. Default 100. */
  readonly rate?: number | undefined
}

/**
 * Replaces an outgoing message by another; undefined drops it.
 *
 * @category models
 * @since 0.1.0
 */
export type Lie = (body: Message.Body) => Message.Body | undefined

type Answer = Extract<Message.Body, { readonly _tag: "FindNodeResponse" | "FindValueResponse" }>

/** The parts of its node that a falsified message can use. */
interface LieContext {
  readonly identity: Identity
  readonly self: Contact
  readonly below: (limit: number) => number
  readonly options: Options
}

const k = 16

/** Most slots whose first version is remembered. */
const rememberedSlots = 4096

const withNodes = (body: Answer, nodes: ReadonlyArray<Contact>): Message.Body =>
  body._tag === "FindNodeResponse"
    ? findNodeResponse(nodes, body.observed)
    : valueResponse(body, nodes, body.records ?? [])

const valueResponse = (
  { observed, record }: Extract<Answer, { readonly _tag: "FindValueResponse" }>,
  nodes: ReadonlyArray<Contact>,
  records: ReadonlyArray<Record.SignedRecord>
): Message.Body => findValueResponse({ nodes, records, observed, legacy: record !== undefined, lists: false }).body

const withRecords = (
  body: Extract<Answer, { readonly _tag: "FindValueResponse" }>,
  records: ReadonlyArray<Record.SignedRecord>
): Message.Body => valueResponse(body, body.nodes ?? [], records)

const isAnswer = (body: Message.Body): body is Answer =>
  body._tag === "FindNodeResponse" || body._tag === "FindValueResponse"

const lies: { readonly [name in Behaviour]: (context: LieContext) => Lie } = {
  dropsRequests: () => (body) =>
    isAnswer(body) || body._tag === "StoreResponse" || body._tag === "PushAck" ? undefined : body,

  inventsNodes: ({ below }) => (body) => {
    if (!isAnswer(body)) return body
    const invented = Array.from({ length: k }, (): Contact => {
      const address = Hex.encode(Uint8Array.from({ length: 21 }, () => below(256))) as Address
      const host = `${11 + below(80)}.${below(256)}.${below(256)}.${1 + below(254)}`
      return { address, id: NodeId.fromAddress(address), host, port: 1024 + below(60_000) }
    })
    return withNodes(body, invented)
  },

  misplacesNodes: ({ self }) => (body) => {
    if (!isAnswer(body)) return body
    const nodes = body.nodes ?? []
    // Each node gets the address of the next one.
    return withNodes(
      body,
      nodes.map((node, i) => {
        const { host, port } = nodes.length > 1 ? nodes[(i + 1) % nodes.length] : self
        return { ...node, host, port }
      })
    )
  },

  eclipses: ({ options, self }) => (body) => {
    if (!isAnswer(body)) return body
    const accomplices = (options.accomplices ?? []).map(({ identity, socket }): Contact => ({
      id: identity.nodeId,
      address: identity.address,
      ...socket
    }))
    const nodes = [self, ...accomplices].slice(0, k)
    return body._tag === "FindNodeResponse" ? withNodes(body, nodes) : withRecords({ ...body, nodes }, [])
  },

  servesStale: () => {
    const first = new RecencyMap<string, Record.SignedRecord>(rememberedSlots)
    return (body) => {
      if (body._tag === "StoreResponse") return { ...body, stored: true }
      if (body._tag !== "FindValueResponse") return body
      // All records of a response are at the requested key, so the key need not be part of the slot.
      return withRecords(
        body,
        (body.records ?? []).map((record) =>
          first.use(RecordOrder.slotOf(NodeId.zero, record), () => Record.detach(record))
        )
      )
    }
  },

  servesForged: ({ below, identity }) => (body) => {
    if (body._tag === "StoreResponse") return { ...body, stored: true }
    if (body._tag !== "FindValueResponse") return body
    return withRecords(body, (body.records ?? []).map((record) => forged(record, identity, below(2) === 0)))
  },

  floods: () => (body) => body,
  floodsGarbage: () => (body) => body
}

/** The record with a higher seq, with its old signature or signed by our own key. */
const forged = (record: Record.SignedRecord, identity: Identity, isSigned: boolean): Record.SignedRecord => {
  const fields = { ...record, seq: record.seq + 1n }
  const read = (given: Record.Fields) => Result.getOrElse(Record.decode(Record.encode(given)), () => record)
  if (!isSigned) return read(fields)
  const unsigned = read({ ...fields, publicKey: identity.publicKey })
  return read({ ...fields, publicKey: identity.publicKey, signature: identity.sign(Record.signedBytes(unsigned)) })
}

/** A transport that decodes outgoing messages, falsifies them and signs them again. */
const lyingTransport = (behaviour: Behaviour, options: Options): Layer.Layer<Transport, never, Machine> =>
  Layer.effect(
    Transport,
    Effect.gen(function*() {
      const transport = yield* Transport
      const identity = yield* NodeIdentity
      const random = yield* Random.Random
      const lie = lies[behaviour]({
        identity,
        self: { id: identity.nodeId, address: identity.address, ...transport.address },
        below: (limit) => Math.floor(random.nextDoubleUnsafe() * limit),
        options
      })
      const sendUnsafe: Transport["Service"]["sendUnsafe"] = (payload, to) => {
        const frame = Message.frame(payload)
        const body = typeof frame === "string" ? frame : Message.readBody(frame)
        if (typeof frame === "string" || typeof body === "string") return transport.sendUnsafe(payload, to)
        const replaced = lie(body)
        if (replaced === undefined) return undefined
        if (replaced === body) return transport.sendUnsafe(payload, to)
        return transport.sendUnsafe(Message.encode(replaced, { ...frame, signer: identity }), to)
      }
      return Transport.of({
        ...transport,
        sendUnsafe,
        send: (payload, to) =>
          Effect.suspend(() => {
            const error = sendUnsafe(payload, to)
            return error === undefined ? Effect.void : Effect.fail(error)
          })
      })
    })
  )

const flood = Effect.fnUntraced(function*(isGarbage: boolean, rate: number) {
  const identity = yield* NodeIdentity
  const transport = yield* Transport
  const routing = yield* Routing
  const random = yield* SecureRandom.SecureRandom
  const transactionId = TransactionId.generator(random)
  yield* Effect.gen(function*() {
    yield* Effect.sleep(1000 / rate)
    const known = yield* routing.entries
    if (known.length === 0) return
    const { contact } = known[yield* Random.nextIntBetween(0, known.length - 1)]
    const garbage = yield* random.randomBytes(32 + (yield* Random.nextIntBetween(0, 1100)))
    const target = NodeId.fromBytesUnsafe(garbage.slice(0, NodeId.length))
    // Bit 0x40 of the first byte would mark a datagram of another protocol.
    garbage[0] &= 0xbf
    const request: Message.Body = { _tag: "FindNode", target }
    const header = {
      signer: identity,
      transactionId: transactionId(),
      features: Features.own({ client: false, sessions: false })
    }
    transport.sendUnsafe(isGarbage ? garbage : Message.encode(request, header), contact)
  }).pipe(
    Effect.forever,
    Effect.catchCause((cause) => Effect.logWarning("Flooding failed and stopped", cause)),
    Effect.annotateLogs({ module: "effect-dht/testing/Byzantine", fiber: "Flood" }),
    Effect.forkScoped
  )
})

/**
 * A Byzantine node for `World.machine`. It joins when the layer is built, and
 * stays alone if no node answers.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (
  behaviour: Behaviour,
  options: Options
): Layer.Layer<Dht.Services | Transport, never, Machine> => {
  const act: Effect.Effect<void, never, Dht.Services | Machine | Scope.Scope> = Effect.gen(function*() {
    const dht = yield* Dht.Dht
    yield* Effect.ignore(dht.bootstrap(options.through.map(({ socket }) => socket)))
    if (behaviour === "floods" || behaviour === "floodsGarbage") {
      yield* flood(behaviour === "floodsGarbage", options.rate ?? 100)
    }
  })
  return Layer.effectDiscard(act).pipe(
    Layer.provideMerge(Dht.layer()),
    Layer.provideMerge(lyingTransport(behaviour, options))
  )
}
