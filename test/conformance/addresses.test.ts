import { assert, describe, it } from "@effect/vitest"
import { secp256k1 } from "@noble/curves/secp256k1.js"
import * as Result from "effect/Result"
import * as Address from "../../src/Address.ts"
import { noble } from "../../src/Crypto.ts"
import * as Hex from "../../src/internal/hex.ts"
import * as NodeId from "../../src/NodeId.ts"
import * as SocketAddress from "../../src/SocketAddress.ts"
import { vectors } from "./vectors.ts"

interface Addresses {
  readonly valid: ReadonlyArray<{
    readonly text: string
    readonly accepted: ReadonlyArray<string>
    readonly bytes: string
    readonly nodeId: string
  }>
  readonly invalid: ReadonlyArray<{ readonly text: string }>
  readonly nodeIds: ReadonlyArray<{
    readonly a: string
    readonly b: string
    readonly target: string
    readonly distance: string
    readonly commonPrefixLength: number
    readonly bucketIndex: number
    readonly aCloserToTarget: boolean
  }>
  readonly topicKeys: ReadonlyArray<{ readonly topic: string; readonly nodeId: string }>
  readonly ed25519: ReadonlyArray<{
    readonly seed: string
    readonly publicKey: string
    readonly address: string
    readonly addressText: string
    readonly nodeId: string
  }>
  readonly secp256k1: ReadonlyArray<{
    readonly privateKey: string
    readonly compressedPublicKey: string
    readonly ethereum: string
    readonly paralism: string
  }>
  readonly observedAddresses: ReadonlyArray<{
    readonly ip: string
    readonly port: number
    readonly isPublic: boolean
    readonly wire: string
    readonly ok: boolean
    readonly parsedHost: string
    readonly parsedPort: number
  }>
  readonly publicIp: ReadonlyArray<{ readonly ip: string; readonly isPublic: boolean }>
}

const all = vectors<Addresses>("addresses.json")

const id = (text: string): NodeId.NodeId => Result.getOrThrow(NodeId.fromString(text))

describe("addresses.json", () => {
  it("reads every accepted spelling of an address, and writes the canonical one", () => {
    for (const entry of all.valid) {
      const address = Result.getOrThrow(Address.fromBytes(Hex.decode(entry.bytes)))
      for (const text of [entry.text, ...entry.accepted]) {
        assert.deepStrictEqual(Address.fromString(text), Result.succeed(address), text)
      }
      assert.strictEqual(Address.format(address), entry.text)
      assert.deepStrictEqual(Address.toBytes(address), Hex.decode(entry.bytes))
      assert.strictEqual(NodeId.fromAddress(address), entry.nodeId)
    }
  })

  it("refuses every invalid text", () => {
    for (const { text } of all.invalid) {
      const result = Address.fromString(text)
      assert.isTrue(Result.isFailure(result), text)
      if (Result.isFailure(result)) assert.strictEqual(result.failure._tag, "InvalidAddress")
    }
  })

  it("measures the distance of two ids", () => {
    for (const entry of all.nodeIds) {
      const [a, b, target] = [id(entry.a), id(entry.b), id(entry.target)]
      assert.strictEqual(NodeId.distance(a, b), entry.distance)
      assert.strictEqual(NodeId.commonPrefixLength(a, b), entry.commonPrefixLength)
      assert.strictEqual(NodeId.bucketIndex(a, b), entry.bucketIndex)
      assert.strictEqual(NodeId.compareDistance(target, a, b) < 0, entry.aCloserToTarget)
    }
  })

  it("derives the key of a topic", () => {
    for (const entry of all.topicKeys) assert.strictEqual(NodeId.fromTopic(entry.topic), entry.nodeId)
  })

  it("derives public key, address and id of an Ed25519 seed", () => {
    for (const entry of all.ed25519) {
      const { publicKey } = noble.signingKey(Hex.decode(entry.seed))
      const address = Address.fromPublicKey(publicKey)
      assert.strictEqual(Hex.encode(publicKey), entry.publicKey)
      assert.strictEqual(address, entry.address)
      assert.strictEqual(Address.format(address), entry.addressText)
      assert.strictEqual(NodeId.fromAddress(address), entry.nodeId)
    }
  })

  it("derives the Ethereum and the Paralism address of a secp256k1 key", () => {
    for (const entry of all.secp256k1) {
      const privateKey = Hex.decode(entry.privateKey)
      assert.strictEqual(Hex.encode(secp256k1.getPublicKey(privateKey, true)), entry.compressedPublicKey)
      for (const compressed of [true, false]) {
        const publicKey = secp256k1.getPublicKey(privateKey, compressed)
        const ethereum = Result.getOrThrow(Address.fromEthereumPublicKey(publicKey))
        const paralism = Result.getOrThrow(Address.fromParalismPublicKey(publicKey))
        assert.strictEqual(Address.format(ethereum), entry.ethereum)
        assert.strictEqual(Address.format(paralism), entry.paralism)
      }
    }
  })

  it("writes and reads observed addresses", () => {
    for (const entry of all.observedAddresses) {
      const wire = Hex.decode(entry.wire)
      if (entry.ok) {
        assert.deepStrictEqual(SocketAddress.encodeObserved({ host: entry.ip, port: entry.port }), wire)
        assert.deepStrictEqual(
          SocketAddress.decodeObserved(wire),
          { host: entry.parsedHost, port: entry.parsedPort }
        )
      } else assert.isUndefined(SocketAddress.decodeObserved(wire))
      assert.strictEqual(SocketAddress.isPublic(entry.ip), entry.isPublic, entry.ip)
    }
  })

  it("tells public IP addresses from others", () => {
    for (const entry of all.publicIp) {
      assert.strictEqual(SocketAddress.isPublic(entry.ip), entry.isPublic, entry.ip)
    }
  })
})
