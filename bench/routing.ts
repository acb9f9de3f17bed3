/**
 * The routing table: finding the closest contacts, and answering FIND_NODE with them.
 *
 * @since 0.1.0
 */
import * as Answer from "../src/core/answer.ts"
import { RoutingTable } from "../src/core/routingTable.ts"
import * as Message from "../src/Message.ts"
import * as NodeCrypto from "../src/node/NodeCrypto.ts"
import * as SocketAddress from "../src/SocketAddress.ts"
import { contactsAround, identity, nodeId, transactionId } from "./fixtures.ts"
import { inTurns, median, used } from "./measure.ts"
import type { Section } from "./report.ts"

const targets = Array.from({ length: 512 }, (_, i) => nodeId(`target ${i}`))
const targetOf = (i: number) => targets[i % targets.length]

export const routing = (rounds: number, size = 200): Section => {
  const self = identity(NodeCrypto.fastest, "server")
  const table = new RoutingTable({ self: self.nodeId })
  const now = 1e12
  for (const contact of contactsAround(self.nodeId, size)) table.add(contact, now, now)

  const from = { host: "127.0.0.1", port: 4121 }
  const answer = (i: number) =>
    Answer.findNodeResponse(
      table.answer(targetOf(i), 16, now, () => false),
      SocketAddress.encodeObserved(from)
    )
  const signature = self.sign(new Uint8Array(1))
  const unsigned = { signer: { publicKey: self.publicKey, sign: () => signature }, transactionId: transactionId(0) }
  const signed = { signer: self, transactionId: transactionId(0) }

  const times = inTurns({
    nearest: used((i) => table.nearest(targetOf(i), 16)),
    answer: used(answer),
    encode: used((i) => Message.encode(answer(i), unsigned)),
    sign: used((i) => Message.encode(answer(i), signed))
  }, rounds)
  return {
    title: `Routing table with ${table.size} contacts`,
    rows: [
      { name: "nearest(16)", figures: { each: { value: median(times.nearest), unit: "µs", atMost: 15 } } },
      { name: "FIND_NODE: answer", figures: { each: { value: median(times.answer), unit: "µs" } } },
      { name: "FIND_NODE: answer + encode", figures: { each: { value: median(times.encode), unit: "µs" } } },
      { name: "FIND_NODE: answer + encode + sign", figures: { each: { value: median(times.sign), unit: "µs" } } }
    ]
  }
}
