/**
 * One message of every kind, for a sender and a node that it writes to.
 */
import * as Result from "effect/Result"
import * as Delegation from "../../src/Delegation.ts"
import * as Endpoint from "../../src/Endpoint.ts"
import type { Identity } from "../../src/Identity.ts"
import type * as Message from "../../src/Message.ts"
import * as NodeId from "../../src/NodeId.ts"
import type { SignedRecord } from "../../src/Record.ts"
import * as SocketAddress from "../../src/SocketAddress.ts"
import * as Topic from "../../src/Topic.ts"

export const topic = "fuzz/topic"

export const endpoints = ["quic://203.0.113.7:4121", "tcp://[2001:db8::7]:80"]

const endpoint = (signer: Identity, seconds: number, delegation?: Delegation.Delegation): SignedRecord =>
  Result.getOrThrow(Endpoint.sign({
    signer,
    address: delegation?.agent ?? signer.address,
    payload: Endpoint.make({ endpoints }),
    seq: 1n,
    timestamp: BigInt(seconds),
    ttl: 3600,
    delegation: delegation && Delegation.encode(delegation)
  }))

const offer = (signer: Identity, seconds: number): SignedRecord =>
  Result.getOrThrow(Topic.sign({
    signer,
    address: signer.address,
    payload: Topic.make({
      topic,
      name: "an agent",
      protocols: ["https"],
      tags: ["a", "b"],
      brief: "It does something"
    }),
    seq: 1n,
    timestamp: BigInt(seconds)
  }))

/** Requests and responses of a sender; `others` own the records and are the nodes in responses. */
export const messagesOf = (
  sender: Identity,
  at: SocketAddress.SocketAddress,
  others: ReadonlyArray<Identity>,
  seconds: number
): { readonly requests: ReadonlyArray<Message.Body>; readonly responses: ReadonlyArray<Message.Body> } => {
  const [owner, operational] = others
  const delegation = Delegation.delegate({
    master: owner,
    operationalPublicKey: operational.publicKey,
    issuedAt: BigInt(seconds - 60),
    expiresAt: BigInt(seconds + 86_400)
  })
  const records = [endpoint(owner, seconds), endpoint(operational, seconds, delegation), offer(owner, seconds)]
  const key = NodeId.fromTopic(topic)
  const observed = SocketAddress.encodeObserved(at)
  const nodes = others.map(({ address, nodeId: id }, i) => ({ id, address, host: `192.0.2.${i + 1}`, port: 4121 }))
  const token = operational.publicKey.slice(0, 8)
  return {
    requests: [
      { _tag: "Ping", address: sender.address },
      { _tag: "FindNode", target: owner.nodeId },
      { _tag: "FindValue", target: owner.nodeId, recordType: 1, subscribe: true },
      { _tag: "FindValue", target: key, recordType: 0x10, subscribe: false, publisher: owner.address },
      { _tag: "FindValue", target: key, recordType: 0, subscribe: false, wanted: ["0123456789ab"] },
      ...records.map((record): Message.Body => ({ _tag: "Store", record, key: record.type === 1 ? undefined : key })),
      { _tag: "NatProbe", token, claimed: observed },
      { _tag: "Push", key: owner.nodeId, record: records[0] }
    ],
    responses: [
      { _tag: "Pong", address: sender.address, observed },
      { _tag: "FindNodeResponse", nodes, observed },
      { _tag: "FindNodeResponse", nodes: null, observed: undefined },
      { _tag: "FindValueResponse", nodes: null, record: records[0], observed, records: records.slice(0, 2) },
      { _tag: "FindValueResponse", nodes, record: undefined, observed, records: undefined, listed: ["0123456789ab"] },
      { _tag: "StoreResponse", stored: true, alreadyHad: false, reason: 0 },
      { _tag: "NatProbeEcho", token },
      { _tag: "PushAck", key: owner.nodeId, messageId: operational.nodeId, subscribe: true }
    ]
  }
}
