/**
 * An attacker on the path between nodes, who misuses the messages of their sessions.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Hex from "../../internal/hex.ts"
import * as Message from "../../Message.ts"
import type { NodeId } from "../../NodeId.ts"
import type { Transport } from "../../Transport.ts"
import type { Delivery } from "../SimNetwork.ts"
import type { DhtNode } from "./storyStage.ts"

/** A copy of a datagram with one byte changed. */
const altered = (payload: Uint8Array, at: number): Uint8Array => {
  const copy = payload.slice()
  copy[at] ^= 1
  return copy
}

/** A copy of a datagram of a session that names another sender: the end is the sender, 2 bytes and the MAC. */
const inTheNameOf = (id: NodeId, payload: Uint8Array): Uint8Array => {
  const copy = payload.slice()
  Hex.write(copy, id.slice(0, 16), payload.length - 26)
  return copy
}

/**
 * Returns a function that attacks with a datagram on its way: if it is of a
 * session, the attacker repeats, alters and reflects it and invents a notice for
 * it. `answered` is called for each answer to a message that the attacker forged,
 * until the scope closes.
 *
 * @internal
 */
export const make = Effect.fnUntraced(function*(
  transport: Transport["Service"],
  nodes: ReadonlyArray<Pick<DhtNode, "host" | "identity" | "name">>,
  answered: (node: string, transactionId: Message.TransactionId) => void
) {
  /** Transactions of forged messages, with the nodes that received them. */
  const forged = new Set<string>()
  const forge = (payload: Uint8Array, to: Delivery["to"]) => {
    const header = Message.header(payload)
    if (typeof header !== "string") forged.add(`${to.host} ${header.transactionId}`)
    transport.sendUnsafe(payload, to)
  }

  yield* transport.deliverTo((payload, from) => {
    const header = Message.header(payload)
    if (typeof header !== "string" && forged.has(`${from.host} ${header.transactionId}`)) {
      answered(nodes.find(({ host }) => host.ip === from.host)?.name ?? from.host, header.transactionId)
    }
    return true
  })

  return ({ from, payload: received, target, to }: Delivery): void => {
    const payload = received.slice()
    const frame = Message.frame(payload)
    if (typeof frame === "string" || frame._tag !== "Session") return
    transport.sendUnsafe(payload, to)
    const isResponse = Message.isResponse(frame.type)
    transport.sendUnsafe(Message.notice(frame.transactionId), isResponse ? to : from)
    forge(altered(payload, frame.headerEnd - 1), to)
    const recipient = nodes.find(({ host }) => host === target)
    if (isResponse || recipient === undefined) return
    forge(inTheNameOf(recipient.identity.nodeId, payload), from)
    // Of an unknown sender.
    forge(altered(altered(payload, payload.length - 26), frame.headerEnd - 2), to)
  }
})
