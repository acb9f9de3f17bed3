import { assert, describe, it } from "@effect/vitest"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import type { Address } from "../../src/Address.ts"
import type { Contact } from "../../src/Contact.ts"
import { senderOf } from "../../src/core/peers.ts"
import { noble } from "../../src/Crypto.ts"
import * as Identity from "../../src/Identity.ts"
import * as Hex from "../../src/internal/hex.ts"
import * as Hmac from "../../src/internal/hmac.ts"
import * as Message from "../../src/Message.ts"
import * as Network from "../../src/Network.ts"
import * as NodeCrypto from "../../src/node/NodeCrypto.ts"
import type { NodeId } from "../../src/NodeId.ts"
import * as Record from "../../src/Record.ts"
import * as SessionKeys from "../../src/wire/sessionKeys.ts"
import type { NodeJson } from "./vectors.ts"

interface BodyJson {
  readonly address?: Address
  readonly both?: boolean
  readonly callee?: NodeId
  readonly dual?: number
  readonly listed?: ReadonlyArray<string>
  readonly mapping?: number
  readonly node?: NodeJson
  readonly nodes?: ReadonlyArray<NodeJson> | null
  readonly observedAddr?: string
  readonly oneShotSubscribe?: boolean
  readonly outcome?: number
  readonly publisher?: Address
  readonly reason?: number
  readonly recType?: number
  readonly records?: ReadonlyArray<{ readonly cbor: string }>
  readonly stored?: boolean
  readonly target?: NodeId
  readonly wanted?: ReadonlyArray<string>
}

interface MessageJson {
  readonly name: string
  readonly network?: string
  readonly networkKey?: string
  readonly header: {
    readonly version: number
    readonly features: number
    readonly msgType: number
    readonly txId: string
  }
  readonly body: BodyJson
  readonly bodyCbor: string
  readonly raw: string
  readonly seed: string
  readonly senderAddress: Address
}

interface SessionJson extends MessageJson {
  readonly peerSeed: string
  /** Of the direction of the message. */
  readonly key: string
}

/** Not the reference's, which has no extensions: these belong to this library, wherever its own are. */
const extensions: {
  readonly messages: ReadonlyArray<MessageJson>
  readonly meetings: ReadonlyArray<MessageJson>
  readonly sessions: ReadonlyArray<SessionJson>
  readonly notice: { readonly txId: string; readonly raw: string }
  readonly records: ReadonlyArray<{ readonly cbor: string; readonly digest: string }>
  readonly odd: ReadonlyArray<{ readonly name: string; readonly raw: string }>
} = JSON.parse(readFileSync(join(import.meta.dirname, "../vectors/extensions.json"), "utf8"))

const recordOf = (cbor: string): Record.SignedRecord => Result.getOrThrow(Record.decode(Hex.decode(cbor)))

const contactOf = (node: NodeJson): Contact => ({
  id: node.nodeId,
  address: node.address,
  host: Hex.decode(node.ip).join("."),
  port: node.port
})

const networkOf = ({ network, networkKey }: MessageJson): Network.Network =>
  Network.make({ network, networkKey: networkKey === undefined ? undefined : Redacted.make(networkKey) })

/** The body that an entry's values describe. */
const bodyOf = ({ body, header }: MessageJson): Message.Body => {
  const { address, both, dual, listed, nodes, observedAddr, publisher, reason = 0, records, target, wanted } = body
  if (header.msgType === Message.Type.Ping && address !== undefined) return { _tag: "Ping", address }
  const observed = observedAddr === undefined ? undefined : Hex.decode(observedAddr)
  if (header.msgType === Message.Type.FindNode && target !== undefined) return { _tag: "FindNode", target, both }
  if (header.msgType === Message.Type.FindNodeResponse) {
    return { _tag: "FindNodeResponse", nodes: nodes?.map(contactOf) ?? null, observed, dual }
  }
  if (header.msgType === Message.Type.FindValue && target !== undefined) {
    const { oneShotSubscribe: subscribe = false, recType: recordType = 0 } = body
    return { _tag: "FindValue", target, recordType, subscribe, wanted, publisher, both }
  }
  if (header.msgType === Message.Type.FindValueResponse) {
    return {
      _tag: "FindValueResponse",
      nodes: nodes?.map(contactOf) ?? null,
      record: undefined,
      observed,
      records: records?.map(({ cbor }) => recordOf(cbor)),
      listed,
      dual
    }
  }
  const { callee, mapping = 0, node, outcome = 0 } = body
  if (header.msgType === Message.Type.Attend) return { _tag: "Attend", mapping }
  if (header.msgType === Message.Type.Meet && callee !== undefined) return { _tag: "Meet", callee, mapping }
  if (header.msgType === Message.Type.MeetResponse) {
    return {
      _tag: "MeetResponse",
      outcome,
      observed: Hex.decode(observedAddr ?? ""),
      ...(node === undefined ? {} : { callee: contactOf(node), mapping })
    }
  }
  if (header.msgType === Message.Type.Invite && node !== undefined) return { _tag: "Invite", caller: contactOf(node) }
  return { _tag: "StoreResponse", stored: body.stored ?? false, alreadyHad: false, reason }
}

describe("extensions.json", () => {
  for (const entry of [...extensions.messages, ...extensions.meetings]) {
    const { features, txId: transactionId, version } = entry.header
    const signer = noble.signingKey(Hex.decode(entry.seed))
    const network = networkOf(entry)
    const envelope = { signer, transactionId, features, version, network }

    it(`${entry.name} encodes to its bytes`, () => {
      const body = bodyOf(entry)
      assert.strictEqual(Hex.encode(Message.encodeBody(body)), entry.bodyCbor)
      assert.strictEqual(Hex.encode(Message.encode(body, envelope)), entry.raw)
    })

    it(`${entry.name} decodes to its values, and is written again as it was`, () => {
      const message = Result.getOrThrow(Message.decode(Hex.decode(entry.raw), noble, network))
      assert.deepStrictEqual(message.body, bodyOf(entry))
      assert.deepInclude(message, { features, version, transactionId, sender: entry.senderAddress })
      assert.strictEqual(
        Hex.encode(Message.encode(message.body, { ...message, signer, network })),
        entry.raw
      )
    })
  }

  for (const entry of extensions.sessions) {
    const network = networkOf(entry)
    const signer = Identity.fromSeed(noble, Hex.decode(entry.seed))
    const { features, txId: transactionId, version } = entry.header

    it(`${entry.name} encodes to its bytes, with the key that both sides derive`, () => {
      for (
        const crypto of [noble, NodeCrypto.openssl, ...(NodeCrypto.sodium === undefined ? [] : [NodeCrypto.sodium])]
      ) {
        const identityOf = (seed: string) => Identity.fromSeed(crypto, Hex.decode(seed))
        const keysOf = (seed: string, other: string) =>
          SessionKeys.deriver({ identity: identityOf(seed), network, crypto })(identityOf(other).publicKey)
        const key = keysOf(entry.seed, entry.peerSeed)?.send ?? assert.fail("no key")
        assert.deepStrictEqual(key, Hmac.prepare(Hex.decode(entry.key)), crypto.name)
        assert.deepStrictEqual(keysOf(entry.peerSeed, entry.seed)?.receive, key, crypto.name)
      }
      const key = Hmac.prepare(Hex.decode(entry.key))
      const sender = senderOf(signer.nodeId)
      assert.strictEqual(
        Hex.encode(Message.seal(bodyOf(entry), { sender, key, transactionId, features, version })),
        entry.raw
      )
    })

    it(`${entry.name} is read and has the right MAC, of which no bit is another`, () => {
      const key = Hmac.prepare(Hex.decode(entry.key))
      const read = (bytes: Uint8Array) => {
        const frame = Message.frame(bytes)
        return typeof frame === "string" || frame._tag !== "Session" || !Message.isAuthentic(bytes, frame, key)
          ? undefined
          : { frame, body: Message.readBody(frame) }
      }
      const raw = Hex.decode(entry.raw)
      const { body, frame } = read(raw) ?? assert.fail("not authentic")
      assert.deepStrictEqual(body, bodyOf(entry))
      assert.deepInclude(frame, { features, version, transactionId, sender: senderOf(signer.nodeId) })
      const senderAt = raw.length - 18 - 8
      for (let bit = 0; bit < 8 * raw.length; bit++) {
        // The id only selects the key.
        if (bit >> 3 >= senderAt && bit >> 3 < senderAt + 8) continue
        const flipped = raw.slice()
        flipped[bit >> 3] ^= 1 << (bit & 7)
        assert.isUndefined(read(flipped), `bit ${bit}`)
      }
    })
  }

  it("has the notice of a lost session, which is no message", () => {
    const { raw, txId } = extensions.notice
    assert.strictEqual(Hex.encode(Message.notice(txId)), raw)
    assert.strictEqual(Message.noticed(Hex.decode(raw)), txId)
    assert.isString(Message.frame(Hex.decode(raw)))
  })

  it("has a digest for each record: the first six bytes of its signature", () => {
    for (const { cbor, digest } of extensions.records) {
      assert.isTrue(Record.isSigned(recordOf(cbor), noble))
      assert.strictEqual(Message.digest(recordOf(cbor)), digest)
    }
  })

  for (const { name, raw } of extensions.odd) {
    it(`${name} is no message`, () => {
      const result = Message.decode(Hex.decode(raw), noble)
      assert.strictEqual(Result.isFailure(result) && result.failure._tag, "InvalidMessage")
    })
  }
})
