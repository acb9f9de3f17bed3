/**
 * The load generator: sends requests to one node, keeping a number of them
 * outstanding. Everything is encoded and signed beforehand, and responses are
 * matched by transaction, to leave the machine's capacity to the node under
 * test.
 *
 * @since 0.1.0
 */
import * as Result from "effect/Result"
import { createSocket, type Socket } from "node:dgram"
import { senderOf } from "../src/core/peers.ts"
import type { Keys } from "../src/core/sessions.ts"
import * as Features from "../src/Features.ts"
import type { Identity } from "../src/Identity.ts"
import * as Message from "../src/Message.ts"
import * as Network from "../src/Network.ts"
import * as NodeCrypto from "../src/node/NodeCrypto.ts"
import * as NodeId from "../src/NodeId.ts"
import * as Record from "../src/Record.ts"
import * as SocketAddress from "../src/SocketAddress.ts"
import * as SessionKeys from "../src/wire/sessionKeys.ts"
import { endpointRecord, identity, nodeId, topic, topicRecord, transactionId, unixSeconds } from "./fixtures.ts"
import { quantile } from "./measure.ts"

export const kinds = [
  "PING",
  "FIND_NODE",
  "FIND_VALUE hit",
  "FIND_VALUE miss",
  "FIND_VALUE topic",
  "STORE",
  "STORE again"
] as const
export type Kind = typeof kinds[number]

/** How a request, and so its response, is authenticated. */
export type Form = "signed" | "session"

/** Commands to the generator: first what to prepare, then to send the next `count` of it. */
export type ToLoad =
  | {
    readonly _tag: "Prepare"
    readonly port: number
    readonly kind: Kind
    readonly form: Form
    readonly count: number
  }
  | { readonly _tag: "Run"; readonly window: number; readonly count: number }

export interface Outcome {
  readonly answered: number
  readonly lost: number
  readonly seconds: number
  readonly p50Millis: number
  readonly p99Millis: number
}
export type FromLoad = { readonly _tag: "Prepared" } | ({ readonly _tag: "Done" } & Outcome)

const crypto = NodeCrypto.fastest
const sourceCount = 8
const heldRecords = 1000
const publishers = 100
const lostAfterMillis = 2000
/** Number of responses that are decoded, verified and checked after a run. */
const sampled = 50

/** Offset of the features in all messages of this version; 4 bytes after them comes the transaction. */
const featuresAt = 6

/** The serial number at the beginning of a transaction; −1 if the datagram is too short. */
const serialOf = (bytes: Uint8Array): number => {
  const head = bytes[featuresAt]
  const at = featuresAt + 5 + (head === 0x18 ? 1 : head === 0x19 ? 2 : 0)
  return bytes.length < at + 4 ? -1 : new DataView(bytes.buffer, bytes.byteOffset + at).getUint32(0)
}

// --- Sources -----------------------------------------------------------------

interface Source {
  readonly identity: Identity
  readonly socket: Socket
  /** Keys shared with the node under test. */
  keys: Keys | undefined
}

/** Takes the responses of the current run; returns whether it was one. */
let take: (bytes: Uint8Array) => boolean = () => false

const openSource = (name: string, port: number): Promise<Source> =>
  new Promise((resolve, reject) => {
    const socket = createSocket({ type: "udp4", recvBufferSize: 1 << 21, sendBufferSize: 1 << 21 })
    const source: Source = { identity: identity(crypto, name), socket, keys: undefined }
    socket.once("error", reject)
    socket.on("message", (bytes) => {
      if (!take(bytes)) answer(source, bytes, port)
    })
    socket.bind(0, "127.0.0.1", () => socket.connect(port, "127.0.0.1", () => resolve(source)))
  })

/** Answers a PING of the node, which verifies its sources. */
const answer = ({ identity: signer, socket }: Source, bytes: Uint8Array, port: number): void => {
  const header = Message.header(bytes)
  if (typeof header === "string" || header.type !== Message.Type.Ping) return
  const observed = SocketAddress.encodeObserved({ host: "127.0.0.1", port })
  const envelope = { signer, transactionId: header.transactionId, features: Features.Bit.sessions }
  socket.send(Message.encode({ _tag: "Pong", address: signer.address, observed }, envelope))
}

let serial = 0
const encode = ({ identity, keys }: Source, body: Message.Body): Uint8Array => {
  const header = { transactionId: transactionId(serial++), features: Features.Bit.sessions }
  return keys === undefined
    ? Message.encode(body, { ...header, signer: identity })
    : Message.seal(body, { ...header, sender: senderOf(identity.nodeId), key: keys.send })
}

/** The body of a response, whose signature or MAC is good. */
const decode = (bytes: Uint8Array): Message.Body => {
  const frame = Message.frame(bytes)
  if (typeof frame === "string") throw new Error(frame)
  if (frame._tag === "Signed") return Result.getOrThrow(Message.decode(bytes, crypto)).body
  const isAuthentic = sources.some(({ keys }) => keys !== undefined && Message.isAuthentic(bytes, frame, keys.receive))
  const body = Message.readBody(frame)
  if (!isAuthentic || typeof body === "string") throw new Error("a response with a wrong MAC")
  return body
}

// --- Requests ----------------------------------------------------------------

const owner = (i: number): Identity => identity(crypto, `owner ${i}`)

const find = (target: NodeId.NodeId, recordType: number): Message.Body => ({
  _tag: "FindValue",
  target,
  recordType,
  subscribe: false
})

const store = (record: Record.SignedRecord, key?: NodeId.NodeId): Message.Body => ({ _tag: "Store", record, key })

const requestOf = (kind: Kind, form: Form): (source: Source, i: number) => Message.Body => {
  switch (kind) {
    case "PING":
      return (source) => ({ _tag: "Ping", address: source.identity.address })
    case "FIND_NODE":
      return (_, i) => ({ _tag: "FindNode", target: nodeId(`target ${i}`) })
    case "FIND_VALUE hit": {
      const keys = Array.from({ length: heldRecords }, (_, i) => owner(i).nodeId)
      return (_, i) => find(keys[i % heldRecords], Record.RecordType.endpoint)
    }
    case "FIND_VALUE miss":
      return (_, i) => find(nodeId(`missing ${i}`), Record.RecordType.endpoint)
    case "FIND_VALUE topic": {
      const key = NodeId.fromTopic(topic)
      return () => find(key, Record.RecordType.topic)
    }
    case "STORE": {
      const seconds = unixSeconds()
      return (_, i) => store(endpointRecord(identity(crypto, `owner ${form} ${i}`), seconds))
    }
    case "STORE again": {
      const records = held()
      return (_, i) => records[i % heldRecords]
    }
  }
}

/** Records that the node holds. */
const held = (): ReadonlyArray<Message.Body> => {
  heldSince ??= unixSeconds()
  return Array.from({ length: heldRecords }, (_, i) => store(endpointRecord(owner(i), heldSince ?? 0)))
}
let heldSince: number | undefined

/** The records that the node must hold before the run. */
const toStore = (kind: Kind): ReadonlyArray<Message.Body> => {
  const seconds = unixSeconds()
  const key = NodeId.fromTopic(topic)
  return kind === "FIND_VALUE hit" || kind === "STORE again"
    ? held()
    : kind === "FIND_VALUE topic"
    ? Array.from({ length: publishers }, (_, i) => store(topicRecord(owner(i), seconds), key))
    : []
}

/** Whether a response is of the kind under test. */
const isRight = (kind: Kind, body: Message.Body): boolean => {
  switch (kind) {
    case "PING":
      return body._tag === "Pong"
    case "FIND_NODE":
      return body._tag === "FindNodeResponse" && body.nodes !== null && body.nodes.length > 8
    case "FIND_VALUE miss":
      return body._tag === "FindValueResponse" && body.records === undefined && body.nodes !== null
    case "FIND_VALUE hit":
    case "FIND_VALUE topic":
      return body._tag === "FindValueResponse" && body.records !== undefined && body.records.length > 0
    case "STORE":
      return body._tag === "StoreResponse" && body.stored
    case "STORE again":
      return body._tag === "StoreResponse"
  }
}

// --- A run -------------------------------------------------------------------

interface Packet {
  readonly source: Source
  readonly bytes: Uint8Array
}

const exchange = (
  packets: ReadonlyArray<Packet>,
  window: number
): Promise<Outcome & { readonly answers: ReadonlyArray<Uint8Array> }> =>
  new Promise((resolve) => {
    const first = serialOf(packets[0].bytes)
    const sentAt = new Float64Array(packets.length)
    const latencies = new Float64Array(packets.length).fill(NaN)
    const isSettled = new Uint8Array(packets.length)
    const answers: Array<Uint8Array> = []
    let next = 0
    let oldest = 0
    let outstanding = 0
    let lost = 0

    const fill = () => {
      while (outstanding < window && next < packets.length) {
        const { bytes, source } = packets[next]
        sentAt[next++] = performance.now()
        outstanding++
        source.socket.send(bytes)
      }
    }
    const settle = (i: number) => {
      isSettled[i] = 1
      outstanding--
    }
    take = (bytes) => {
      const now = performance.now()
      const i = serialOf(bytes) - first
      if (!(i >= 0 && i < next) || isSettled[i] === 1) return false
      settle(i)
      latencies[i] = now - sentAt[i]
      if (answers.length < sampled) answers.push(bytes)
      fill()
      if (outstanding === 0) finish()
      return true
    }
    const expiry = setInterval(() => {
      const limit = performance.now() - lostAfterMillis
      for (; oldest < next && (isSettled[oldest] === 1 || sentAt[oldest] < limit); oldest++) {
        if (isSettled[oldest] === 1) continue
        settle(oldest)
        lost++
      }
      fill()
      if (outstanding === 0) finish()
    }, 50)
    const finish = () => {
      clearInterval(expiry)
      take = () => false
      const known = Array.from(latencies).filter((latency) => !Number.isNaN(latency))
      resolve({
        answers,
        answered: known.length,
        lost,
        seconds: (performance.now() - started) / 1000,
        p50Millis: quantile(known, 0.5),
        p99Millis: quantile(known, 0.99)
      })
    }
    const started = performance.now()
    fill()
  })

// --- The program -------------------------------------------------------------

let sources: ReadonlyArray<Source> = []
let packets: Array<Packet> = []
let kind: Kind = "PING"

const packetsOf = (count: number, bodyOf: (source: Source, i: number) => Message.Body): Array<Packet> =>
  Array.from({ length: count }, (_, i) => {
    const source = sources[i % sources.length]
    return { source, bytes: encode(source, bodyOf(source, i)) }
  })

/** Signs a request of each source, whose response has the key of the node. */
const meet = async (): Promise<void> => {
  for (const source of sources) source.keys = undefined
  const { answers } = await exchange(packetsOf(sources.length, requestOf("PING", "signed")), sources.length)
  const { publicKey } = Result.getOrThrow(Message.decode(answers[0], crypto))
  for (const source of sources) {
    source.keys = SessionKeys.deriver({ identity: source.identity, network: Network.open, crypto })(publicKey)
  }
}

const prepare = async (port: number, form: Form, count: number): Promise<void> => {
  if (sources.length === 0) {
    sources = await Promise.all(Array.from({ length: sourceCount }, (_, i) => openSource(`${kind} ${form} ${i}`, port)))
  }
  if (form === "session") await meet()
  else for (const source of sources) source.keys = undefined
  const records = toStore(kind)
  if (records.length > 0) await exchange(packetsOf(records.length, (_, i) => records[i]), 32)
  const warmUp = Math.ceil(count / 10)
  packets = packetsOf(count + warmUp, requestOf(kind, form))
  await exchange(packets.splice(0, warmUp), 32)
}

const run = async (window: number, count: number): Promise<Outcome> => {
  const { answers, ...outcome } = await exchange(packets.splice(0, count), window)
  if (outcome.answered === 0) throw new Error(`no ${kind} was answered`)
  for (const bytes of answers) {
    const body = decode(bytes)
    if (!isRight(kind, body)) throw new Error(`${kind} was answered with ${body._tag}`)
  }
  return outcome
}

const say = (message: FromLoad): void => {
  process.send?.(message)
}

process.on("message", async (message: ToLoad) => {
  if (message._tag === "Prepare") {
    kind = message.kind
    await prepare(message.port, message.form, message.count)
    say({ _tag: "Prepared" })
  } else {
    say({ _tag: "Done", ...await run(message.window, message.count) })
  }
})
process.on("disconnect", () => process.exit())
