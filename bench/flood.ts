/**
 * Effect of unknown peers that introduce themselves to a node whose bucket is
 * full of live contacts: there should be none.
 *
 * @since 0.1.0
 */
import * as Result from "effect/Result"
import { createSocket, type Socket } from "node:dgram"
import type { Identity } from "../src/Identity.ts"
import * as Message from "../src/Message.ts"
import * as NodeCrypto from "../src/node/NodeCrypto.ts"
import * as NodeId from "../src/NodeId.ts"
import * as SocketAddress from "../src/SocketAddress.ts"
import { identity, transactionId } from "./fixtures.ts"
import { quantile } from "./measure.ts"
import { Process } from "./process.ts"
import type { Section } from "./report.ts"
import type { FromServer, ToServer } from "./server.ts"

const crypto = NodeCrypto.fastest
const bucketSize = 16
const strangersPerSecond = 200
/** Milliseconds between the requests of the observed peer. */
const paceMillis = 2

/** Identities in a single bucket of the server. */
const neighbours = (kind: string, count: number): Array<Identity> => {
  const self = identity(crypto, "server").nodeId
  const found: Array<Identity> = []
  for (let i = 0; found.length < count; i++) {
    const candidate = identity(crypto, `${kind} ${i}`)
    if (NodeId.bucketIndex(self, candidate.nodeId) === 0) found.push(candidate)
  }
  return found
}

let serial = 0

const ping = (from: Identity): Uint8Array =>
  Message.encode({ _tag: "Ping", address: from.address }, { signer: from, transactionId: transactionId(serial++) })

const pause = (millis: number) => new Promise((resolve) => setTimeout(resolve, millis))

/** A socket that responds like a live node, and passes on every other message. */
class Peer {
  readonly identity: Identity
  readonly socket: Socket
  onAnswer: (frame: Message.Frame) => void = () => {}

  constructor(identity: Identity, socket: Socket) {
    this.identity = identity
    this.socket = socket
    socket.on("message", (bytes, { address: host, port }) => {
      const frame = Message.frame(bytes)
      if (typeof frame === "string") return
      if (Message.isResponse(frame.type)) return this.onAnswer(frame)
      const observed = SocketAddress.encodeObserved({ host, port })
      const envelope = { signer: identity, transactionId: frame.transactionId }
      socket.send(Message.encode(
        frame.type === Message.Type.Ping
          ? { _tag: "Pong", address: identity.address, observed }
          : { _tag: "FindNodeResponse", nodes: null, observed },
        envelope
      ))
    })
  }

  static open(identity: Identity, port: number): Promise<Peer> {
    return new Promise((resolve) => {
      const socket = createSocket("udp4")
      socket.bind(0, "127.0.0.1", () => socket.connect(port, "127.0.0.1", () => resolve(new Peer(identity, socket))))
    })
  }

  /** The response to one message; an error after two seconds. */
  ask(bytes: Uint8Array): Promise<Message.Frame> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error("the node did not respond")), 2000)
      this.onAnswer = (frame) => {
        clearTimeout(timer)
        resolve(frame)
      }
      this.socket.send(bytes)
    })
  }
}

/** Milliseconds to the responses of PINGs, in sending order; infinite for a lost one. */
const watch = async (peer: Peer, millis: number): Promise<ReadonlyArray<number>> => {
  const packets = Array.from({ length: Math.floor(millis / paceMillis) }, () => ping(peer.identity))
  const first = serial - packets.length
  const sentAt: Array<number> = []
  const latencies = packets.map(() => Infinity)
  peer.onAnswer = (frame) => {
    const i = Number.parseInt(frame.transactionId.slice(0, 8), 16) - first
    if (i >= 0 && i < sentAt.length) latencies[i] = performance.now() - sentAt[i]
  }
  const started = performance.now()
  while (sentAt.length < packets.length) {
    await pause(1)
    const due = Math.min(packets.length, Math.floor((performance.now() - started) / paceMillis))
    while (sentAt.length < due) {
      peer.socket.send(packets[sentAt.length])
      sentAt.push(performance.now())
    }
  }
  await pause(100)
  return latencies
}

/** Whether the node returns the peer in a response to FIND_NODE. */
const isKnown = async (asker: Peer, id: NodeId.NodeId): Promise<boolean> => {
  const frame = await asker.ask(
    Message.encode({ _tag: "FindNode", target: id }, {
      signer: asker.identity,
      transactionId: transactionId(serial++)
    })
  )
  const answer = Result.getOrThrow(Message.decode(frame.bytes, crypto)).body
  return answer._tag === "FindNodeResponse" && (answer.nodes ?? []).some((contact) => contact.id === id)
}

export const flood = async (options: {
  readonly turns: number
  readonly turnMillis: number
}): Promise<Section> => {
  const server = new Process<ToServer, FromServer>("server.ts", ["--contacts", "0"])
  const listening = await server.next()
  if (listening._tag !== "Listening") throw new Error("the server did not start")
  const { port } = listening
  const peers = await Promise.all(neighbours("peer", bucketSize).map((identity) => Peer.open(identity, port)))
  for (const peer of peers) await peer.ask(ping(peer.identity))
  const watched = peers[bucketSize - 1]

  const strangers = neighbours("stranger", Math.ceil(options.turns * options.turnMillis * strangersPerSecond / 1000))
    .map(ping)
  const crowd = createSocket("udp4")
  await new Promise<void>((resolve) => crowd.bind(0, "127.0.0.1", () => resolve()))
  let answeredStrangers = 0
  crowd.on("message", () => answeredStrangers++)
  let sentStrangers = 0
  const introduce = () => crowd.send(strangers[sentStrangers++], port, "127.0.0.1")

  await watch(watched, 500)
  const alone: Array<number> = []
  const flooded: Array<number> = []
  for (let turn = 0; turn < options.turns; turn++) {
    alone.push(...await watch(watched, options.turnMillis))
    const stream = setInterval(() => {
      if (sentStrangers < strangers.length) introduce()
    }, 1000 / strangersPerSecond)
    flooded.push(...await watch(watched, options.turnMillis))
    clearInterval(stream)
  }
  let evicted = 0
  for (const { identity } of peers) if (!(await isKnown(watched, identity.nodeId))) evicted++

  crowd.close()
  for (const { socket } of peers) socket.close()
  await server.end()
  const calm = quantile(alone, 0.99)
  return {
    title: "A full bucket of live peers, and strangers that belong into it",
    note: `${sentStrangers} fresh identities, ${strangersPerSecond} a second; ${answeredStrangers} of them answered.`,
    rows: [{
      name: "PING of a peer in the bucket",
      figures: {
        "p99 in peace": { value: calm, unit: "ms" },
        "p99 meanwhile": { value: quantile(flooded, 0.99), unit: "ms", atMost: calm + 5 },
        "max meanwhile": { value: Math.max(...flooded), unit: "ms" },
        "live peers evicted": { value: evicted, unit: "", atMost: 0 }
      }
    }]
  }
}
