/**
 * Effect of records that are dear to check on other traffic, and on the event
 * loop of the node: there should be next to none, at any rate.
 *
 * @since 0.1.0
 */
import * as Result from "effect/Result"
import { createSocket } from "node:dgram"
import * as Delegation from "../src/Delegation.ts"
import * as Endpoint from "../src/Endpoint.ts"
import type { Identity } from "../src/Identity.ts"
import * as Mail from "../src/Mail.ts"
import * as Message from "../src/Message.ts"
import * as NodeCrypto from "../src/node/NodeCrypto.ts"
import type * as NodeId from "../src/NodeId.ts"
import * as Record from "../src/Record.ts"
import { bytes32, identity, transactionId, unixSeconds } from "./fixtures.ts"
import { Peer, ping, watch } from "./flood.ts"
import { quantile } from "./measure.ts"
import { Process } from "./process.ts"
import type { Row, Section } from "./report.ts"
import type { FromServer, ToServer } from "./server.ts"

const crypto = NodeCrypto.fastest
const server = identity(crypto, "server")
const flooder = identity(crypto, "flooder")

/** Milliseconds of processor time that the event loop may stand still. */
const maxTurnMillis = 20

const storeOf = (record: Record.SignedRecord, key: NodeId.NodeId | undefined, i: number): Uint8Array =>
  Message.encode({ _tag: "Store", record, key }, { signer: flooder, transactionId: transactionId(1 << 24 | i) })

/** An endpoint record under a wallet's delegation; `nth` other than 0 makes it one that the wallet did not sign. */
const byWallet = (nth: number): Record.SignedRecord => {
  const now = BigInt(unixSeconds())
  const delegation = Result.getOrThrow(Delegation.delegateSecp256k1({
    chain: "ethereum",
    privateKey: bytes32("wallet"),
    operationalPublicKey: flooder.publicKey,
    issuedAt: now,
    expiresAt: 0n
  }))
  const signature = delegation.signature.slice()
  new DataView(signature.buffer).setUint32(36, nth)
  return Result.getOrThrow(Endpoint.sign({
    signer: flooder,
    address: delegation.agent,
    payload: Endpoint.make({ endpoints: ["quic://203.0.113.7:4121"] }),
    seq: 1n,
    timestamp: now,
    ttl: 3600,
    delegation: Delegation.encode(nth === 0 ? delegation : { ...delegation, signature })
  }))
}

const message = (sender: Identity, nth: number): Record.SignedRecord => {
  const payload = Mail.seal({
    crypto,
    sender: sender.address,
    recipient: server.address,
    recipientPublicKey: server.publicKey,
    type: Mail.MessageType.text,
    body: bytes32(`body ${nth}`),
    ephemeralSeed: bytes32(`ephemeral ${nth}`),
    nonce: new Uint8Array(12)
  })
  return Result.getOrThrow(Record.sign({
    signer: sender,
    address: sender.address,
    type: Record.RecordType.mailbox,
    payload: Result.getOrThrow(payload),
    seq: 1n,
    timestamp: BigInt(unixSeconds()),
    ttl: 3600
  }))
}

interface Flood {
  readonly name: string
  readonly perSecond: number
  readonly packet: (i: number) => Uint8Array
}

const floods: ReadonlyArray<Flood> = [
  { name: "nothing", perSecond: 0, packet: () => new Uint8Array() },
  {
    name: "STORE of one forged wallet delegation",
    perSecond: 500,
    packet: (i) => storeOf(byWallet(1), undefined, i)
  },
  {
    name: "STOREs of forged wallet delegations",
    perSecond: 500,
    packet: (i) => storeOf(byWallet(i + 2), undefined, i)
  },
  {
    name: "messages to the node, which reads them",
    perSecond: 300,
    packet: (i) => storeOf(message(identity(crypto, `sender ${i}`), i), server.nodeId, i)
  }
]

export const dear = async (options: { readonly verifyThreads: number; readonly millis: number }): Promise<Section> => {
  const rows: Array<Row> = []
  for (const { name, packet, perSecond } of floods) {
    const node = new Process<ToServer, FromServer>("server.ts", [
      "--contacts",
      "0",
      "--verify-threads",
      String(options.verifyThreads)
    ])
    const listening = await node.next()
    if (listening._tag !== "Listening") throw new Error("the server did not start")
    const { port } = listening
    const packets = Array.from({ length: Math.floor(perSecond * options.millis / 1000) }, (_, i) => packet(i))
    const peer = await Peer.open(identity(crypto, "peer"), port)
    await peer.ask(ping(peer.identity))
    await node.ask({ _tag: "ReadMail" })
    await watch(peer, 1000)
    await node.ask({ _tag: "Usage" })

    const crowd = createSocket("udp4")
    await new Promise<void>((resolve) => crowd.bind(0, "127.0.0.1", () => resolve()))
    let answered = 0
    let sent = 0
    crowd.on("message", () => answered++)
    const started = performance.now()
    const stream = setInterval(() => {
      const due = Math.min(packets.length, Math.floor((performance.now() - started) * perSecond / 1000))
      while (sent < due) crowd.send(packets[sent++], port, "127.0.0.1")
    }, 1)
    const latencies = await watch(peer, options.millis)
    clearInterval(stream)
    const used = await node.ask({ _tag: "Usage" })
    if (used._tag !== "Used") throw new Error("the server did not report")
    crowd.close()
    peer.socket.close()
    await node.end()
    rows.push({
      name: perSecond === 0 ? name : `${name}, ${perSecond} a second`,
      figures: {
        "sent": { value: sent, unit: "" },
        "answered": { value: answered, unit: "" },
        "messages read": { value: used.messages, unit: "" },
        "PING p50": { value: quantile(latencies, 0.5), unit: "ms" },
        "PING p99": { value: quantile(latencies, 0.99), unit: "ms" },
        "longest stall": { value: used.maxDelayMillis, unit: "ms" },
        "of processor time": { value: used.maxTurnMillis, unit: "ms", atMost: maxTurnMillis }
      }
    })
  }
  return {
    title: `Records that are dear to check, ${options.verifyThreads} threads for signatures`,
    note:
      "PING of another peer meanwhile; the longest delay of the node's event loop, other processes included or not.",
    rows
  }
}
