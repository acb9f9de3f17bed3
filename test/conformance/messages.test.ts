import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import type { Address } from "../../src/Address.ts"
import * as Answer from "../../src/core/answer.ts"
import { noble } from "../../src/Crypto.ts"
import * as Hex from "../../src/internal/hex.ts"
import * as Message from "../../src/Message.ts"
import * as NodeId from "../../src/NodeId.ts"
import * as Record from "../../src/Record.ts"
import * as SocketAddress from "../../src/SocketAddress.ts"
import { fieldsOf, type NodeJson, type RecordFields, vectors } from "./vectors.ts"

type RecordJson = RecordFields | { readonly cbor: string }

interface BodyJson {
  readonly address?: Address
  readonly alreadyHad?: boolean
  readonly claimedAddr?: string
  readonly key?: NodeId.NodeId
  readonly msgId?: NodeId.NodeId
  readonly nodes?: ReadonlyArray<NodeJson> | null
  readonly observedAddr?: string
  readonly oneShotSubscribe?: boolean
  readonly reason?: number
  readonly recType?: number
  readonly record?: RecordJson | null
  readonly records?: ReadonlyArray<RecordJson> | null
  readonly stored?: boolean
  readonly target?: NodeId.NodeId
  readonly token?: string
}

interface MessageJson {
  readonly name?: string
  readonly header: {
    readonly version: number
    readonly features: number
    readonly msgType: number
    readonly txId: string
  }
  readonly body: BodyJson
  readonly bodyCbor: string
  readonly raw: string
  readonly sender?: { readonly seed: string }
  readonly senderAddress?: string
  readonly seed?: string
}

const first = vectors<{
  readonly messages: ReadonlyArray<MessageJson>
  readonly odd: ReadonlyArray<{
    readonly name: string
    readonly raw: string
    readonly reference: string
    readonly ours: "accept" | "reject" | "either"
  }>
  readonly findNodeRespSizes: ReadonlyArray<{
    readonly nodes: number
    readonly bodyBytes: number
    readonly datagramBytes: number
  }>
}>("messages.json")
const later = vectors<{ readonly messages: ReadonlyArray<MessageJson> }>("v02.json")

const recordOf = (json: RecordJson): Record.SignedRecord =>
  Result.getOrThrow(Record.decode(
    "cbor" in json ? Hex.decode(json.cbor) : Record.encode(fieldsOf(json))
  ))

const contactsOf = (nodes: ReadonlyArray<NodeJson> | null | undefined) =>
  nodes?.map(({ address, ip, nodeId, port }) => {
    const socket = SocketAddress.fromWire(Hex.decode(ip), 0, ip.length / 2, port)
    assert.isDefined(socket)
    return { id: nodeId, address, host: socket.host, port }
  }) ?? null

const optionalBytes = (hex: string | undefined) => hex === undefined ? undefined : Hex.decode(hex)

/** The body that an entry's values describe. */
const bodyOf = ({ body, header }: MessageJson): Message.Body => {
  const {
    address = "" as Address,
    key,
    msgId = NodeId.zero,
    nodes,
    observedAddr,
    record,
    records,
    target = NodeId.zero,
    token = ""
  } = body
  const observed = optionalBytes(observedAddr)
  const types: { readonly [type: number]: () => Message.Body } = {
    [Message.Type.Ping]: () => ({ _tag: "Ping", address }),
    [Message.Type.Pong]: () => ({ _tag: "Pong", address, observed: Hex.decode(observedAddr ?? "") }),
    [Message.Type.FindNode]: () => ({ _tag: "FindNode", target }),
    [Message.Type.FindNodeResponse]: () => ({ _tag: "FindNodeResponse", nodes: contactsOf(nodes), observed }),
    [Message.Type.FindValue]: () => ({
      _tag: "FindValue",
      target,
      recordType: body.recType ?? 0,
      subscribe: body.oneShotSubscribe ?? false
    }),
    [Message.Type.FindValueResponse]: () => ({
      _tag: "FindValueResponse",
      nodes: contactsOf(nodes),
      record: record === undefined || record === null ? undefined : recordOf(record),
      observed,
      records: records?.map(recordOf)
    }),
    [Message.Type.Store]: () => ({ _tag: "Store", record: recordOf(record ?? { cbor: "" }), key }),
    [Message.Type.StoreResponse]: () => ({
      _tag: "StoreResponse",
      stored: body.stored ?? false,
      alreadyHad: body.alreadyHad ?? false,
      reason: body.reason ?? 0
    }),
    [Message.Type.NatProbe]: () => ({
      _tag: "NatProbe",
      token: Hex.decode(token),
      claimed: Hex.decode(body.claimedAddr ?? "")
    }),
    [Message.Type.NatProbeEcho]: () => ({ _tag: "NatProbeEcho", token: Hex.decode(token) }),
    [Message.Type.Push]: () => ({
      _tag: "Push",
      key: key ?? NodeId.zero,
      record: recordOf(record ?? { cbor: "" })
    }),
    [Message.Type.PushAck]: () => ({
      _tag: "PushAck",
      key: key ?? NodeId.zero,
      messageId: msgId,
      subscribe: body.oneShotSubscribe ?? false
    })
  }
  return types[header.msgType]()
}

describe("messages", () => {
  for (const [index, entry] of [...first.messages, ...later.messages].entries()) {
    const name = entry.name ?? `later message ${index}`
    const seed = Hex.decode(entry.sender?.seed ?? entry.seed ?? "")
    const { features, txId, version } = entry.header

    it(`${name} encodes to its bytes`, () => {
      const body = bodyOf(entry)
      assert.strictEqual(Hex.encode(Message.encodeBody(body)), entry.bodyCbor)
      const signer = noble.signingKey(seed)
      assert.strictEqual(
        Hex.encode(Message.encode(body, { signer, transactionId: txId, features, version })),
        entry.raw
      )
    })

    it(`${name} decodes to its values`, () => {
      const message = Result.getOrThrow(Message.decode(Hex.decode(entry.raw), noble))
      assert.deepStrictEqual(message.body, bodyOf(entry))
      assert.strictEqual(message.transactionId, txId)
      assert.strictEqual(message.version, version)
      assert.strictEqual(message.features, features)
      assert.deepStrictEqual(message.publicKey, noble.signingKey(seed).publicKey)
      if (entry.senderAddress !== undefined) assert.strictEqual(message.sender, entry.senderAddress)
    })
  }
})

describe("odd datagrams", () => {
  for (const { name, ours, raw, reference } of first.odd) {
    it(`${name}: ${ours}`, () => {
      const result = Message.decode(Hex.decode(raw), noble)
      if (ours === "either") return
      assert.strictEqual(Result.isSuccess(result) ? "accept" : "reject", ours)
      if (Result.isFailure(result) && /Message/.test(reference)) assert.strictEqual(result.failure._tag, reference)
    })
  }
})

describe("sizes of a FIND_NODE answer", () => {
  const signer = noble.signingKey(new Uint8Array(32))
  for (const { bodyBytes, datagramBytes, nodes } of first.findNodeRespSizes) {
    // A node is 69 bytes and the rest 11, one more for a list of 24; small ports save a byte or two each.
    const saved = 11 + (nodes > 23 ? 1 : 0) + 69 * nodes - bodyBytes
    const contacts = Array.from({ length: nodes }, (_, i) => {
      const address = i.toString(16).padStart(42, "a0") as Address
      const port = saved > nodes + i ? 9 : saved > i ? 99 : 4121
      return { id: NodeId.fromAddress(address), address, host: `198.51.100.${i}`, port }
    })
    // The recorded answers observe an IPv4 address.
    const observed = SocketAddress.encodeObserved({ host: "198.51.100.7", port: 4121 })

    it(`${nodes} nodes make a body of ${bodyBytes} bytes`, () => {
      const body: Message.Body = { _tag: "FindNodeResponse", nodes: nodes === 0 ? null : contacts, observed }
      assert.strictEqual(Message.encodeBody(body).length, bodyBytes)
      const transactionId = "00".repeat(20)
      assert.strictEqual(Message.encode(body, { signer, transactionId }).length, datagramBytes)
    })

    it(`${nodes} nodes are ${bodyBytes <= Message.maxAnswerBody ? "all sent" : "cut to what fits"}`, () => {
      const body = Answer.findNodeResponse(contacts, observed)
      const size = Message.encodeBody(body).length
      assert.isAtMost(size, Message.maxAnswerBody)
      if (bodyBytes <= Message.maxAnswerBody) assert.strictEqual(size, bodyBytes)
    })
  }
})
