/**
 * A stand-in for a v0.1 peer in mixed networks: it announces no features, takes
 * every sender for a contact, sends each request once, asks every node that it hears
 * of, and keeps one record at each key.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import type { Contact } from "../../Contact.ts"
import { findNodeResponse } from "../../core/answer.ts"
import { Crypto } from "../../Crypto.ts"
import { NodeIdentity } from "../../Identity.ts"
import * as Message from "../../Message.ts"
import * as NodeId from "../../NodeId.ts"
import { ownKey, type SignedRecord } from "../../Record.ts"
import * as SocketAddress from "../../SocketAddress.ts"
import * as TransactionId from "../../TransactionId.ts"
import { Transport } from "../../Transport.ts"
import type { Machine } from "../SimWorld.ts"

/** @internal */
export class OldNode extends Context.Service<OldNode, {
  /** The peers that it heard from. */
  readonly known: () => ReadonlyArray<Contact>
  /** Makes itself known to a node. */
  readonly greet: (node: SocketAddress.SocketAddress) => Effect.Effect<void>
  readonly join: (through: SocketAddress.SocketAddress) => Effect.Effect<void>
  readonly findNode: (target: NodeId.NodeId) => Effect.Effect<ReadonlyArray<Contact>>
}>()("effect-dht/testing/OldNode") {}

/** Requests of a lookup at the same time. */
const parallel = 8

/** @internal */
export const layer: Layer.Layer<OldNode, never, Machine> = Layer.effect(
  OldNode,
  Effect.gen(function*() {
    const transport = yield* Transport
    const crypto = yield* Crypto
    const identity = yield* NodeIdentity
    const transactionId = TransactionId.generator(yield* SecureRandom.SecureRandom)
    const verified = new Map<NodeId.NodeId, Contact>()
    const held = new Map<NodeId.NodeId, SignedRecord>()
    const pending = new Map<string, Deferred.Deferred<Message.Body>>()
    const send = (to: SocketAddress.SocketAddress, body: Message.Body, id: string) =>
      void transport.sendUnsafe(Message.encode(body, { signer: identity, transactionId: id }), to)
    const nearest = (contacts: Iterable<Contact>, target: NodeId.NodeId, n: number) =>
      Array.from(contacts).sort((a, b) => NodeId.compareDistance(target, a.id, b.id)).slice(0, n)

    yield* transport.receive.pipe(
      Effect.tap((datagrams) =>
        Effect.sync(() => {
          for (const { from, payload } of datagrams) {
            const decoded = Message.decode(payload, crypto)
            if (Result.isFailure(decoded)) continue
            const { body, sender, transactionId } = decoded.success
            const id = NodeId.fromAddress(sender)
            if (id !== identity.nodeId) verified.set(id, { id, address: sender, host: from.host, port: from.port })
            const observed = SocketAddress.encodeObserved(from)
            const waiting = pending.get(transactionId)
            if (waiting !== undefined) Deferred.doneUnsafe(waiting, Effect.succeed(body))
            else if (body._tag === "Ping") {
              send(from, { _tag: "Pong", address: identity.address, observed }, transactionId)
            } else if (body._tag === "FindNode") {
              send(from, findNodeResponse(nearest(verified.values(), body.target, 16), observed), transactionId)
            } else if (body._tag === "FindValue") {
              const { nodes } = findNodeResponse(nearest(verified.values(), body.target, 16), observed)
              send(
                from,
                { _tag: "FindValueResponse", nodes, observed, record: held.get(body.target), records: undefined },
                transactionId
              )
            } else if (body._tag === "Store") {
              held.set(body.key ?? ownKey(body.record), body.record)
              send(from, { _tag: "StoreResponse", stored: true, alreadyHad: false, reason: 0 }, transactionId)
            }
          }
        })
      ),
      Effect.forever,
      Effect.ignore,
      Effect.forkScoped
    )
    const ask = Effect.fnUntraced(function*(to: SocketAddress.SocketAddress, body: Message.Body) {
      const id = transactionId()
      const answer = Deferred.makeUnsafe<Message.Body>()
      pending.set(id, answer)
      send(to, body, id)
      const came = yield* Effect.timeoutOption(Deferred.await(answer), 2000)
      pending.delete(id)
      return came
    })
    const findNode = Effect.fnUntraced(function*(target: NodeId.NodeId) {
      const known = new Map(verified)
      const asked = new Set<NodeId.NodeId>([identity.nodeId])
      const answered: Array<Contact> = []
      while (true) {
        const next = nearest(Array.from(known.values()).filter(({ id }) => !asked.has(id)), target, parallel)
        if (next.length === 0) return nearest(answered, target, 16)
        yield* Effect.forEach(next, (contact) =>
          Effect.gen(function*() {
            asked.add(contact.id)
            const answer = yield* ask(contact, { _tag: "FindNode", target })
            if (Option.isNone(answer) || answer.value._tag !== "FindNodeResponse") return
            answered.push(contact)
            for (const node of answer.value.nodes ?? []) if (!known.has(node.id)) known.set(node.id, node)
          }), { concurrency: "unbounded" })
      }
    })
    const greet = (node: SocketAddress.SocketAddress) =>
      ask(node, { _tag: "Ping", address: identity.address }).pipe(
        Effect.repeat({ until: Option.isSome, times: 5 }),
        Effect.asVoid
      )
    const join = (through: SocketAddress.SocketAddress) =>
      Effect.asVoid(Effect.andThen(greet(through), findNode(identity.nodeId)))
    return OldNode.of({ known: () => Array.from(verified.values()), greet, join, findNode })
  })
)
