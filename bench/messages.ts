/**
 * Messages: the cost of encoding and decoding on top of their signatures, and
 * the cost of a datagram rejected before its signature is verified.
 *
 * @since 0.1.0
 */
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { senderOf } from "../src/core/peers.ts"
import type { Provider } from "../src/Crypto.ts"
import * as Dht from "../src/Dht.ts"
import * as Features from "../src/Features.ts"
import * as Identity from "../src/Identity.ts"
import * as Message from "../src/Message.ts"
import * as Network from "../src/Network.ts"
import * as NodeCrypto from "../src/node/NodeCrypto.ts"
import * as Record from "../src/Record.ts"
import { Rpc } from "../src/Rpc.ts"
import * as Transport from "../src/Transport.ts"
import * as Verifier from "../src/Verifier.ts"
import * as SessionKeys from "../src/wire/sessionKeys.ts"
import { bytes32, contactsAround, endpointRecord, identity, nodeId, transactionId, unixSeconds } from "./fixtures.ts"
import { inTurns, median, ratio, used } from "./measure.ts"
import type { Row, Section } from "./report.ts"
import { providers } from "./signatures.ts"

/** Alternating senders, as on a network. */
const senders = 32

const from = { host: "127.0.0.1", port: 4121 }
const observed = Uint8Array.of(127, 0, 0, 1, 0x10, 0x19)

const bodies: { readonly [name: string]: (sender: Identity.Identity) => Message.Body } = {
  "PING": (sender) => ({ _tag: "Ping", address: sender.address }),
  "FIND_NODE_RESP, 9 nodes": (sender) => ({
    _tag: "FindNodeResponse",
    nodes: contactsAround(sender.nodeId, 9),
    observed
  }),
  "STORE": (sender) => ({ _tag: "Store", record: endpointRecord(sender, unixSeconds()), key: undefined })
}

const rowsOf = (crypto: Provider, rounds: number): ReadonlyArray<Row> => {
  const signers = Array.from({ length: senders }, (_, i) => identity(crypto, `sender ${i}`))
  const messages = Object.entries(bodies).map(([name, bodyOf]): Row => {
    const prepared = signers.map((signer, i) => {
      const body = bodyOf(signer)
      const envelope = { signer, transactionId: transactionId(i) }
      const datagram = Message.encode(body, envelope)
      const frame = Message.frame(datagram)
      if (typeof frame === "string" || frame._tag !== "Signed") throw new Error("not a signed message")
      const { publicKey, signature } = frame
      return { body, datagram, envelope, publicKey, signature, signed: Message.signedBytes(frame).slice() }
    })
    const times = inTurns({
      verify: used((i) => {
        const { publicKey, signature, signed } = prepared[i % senders]
        return crypto.verify(publicKey, signed, signature)
      }),
      read: used((i) => Message.decode(prepared[i % senders].datagram, crypto)),
      sign: used((i) => prepared[i % senders].envelope.signer.sign(prepared[i % senders].signed)),
      write: used((i) => Message.encode(prepared[i % senders].body, prepared[i % senders].envelope))
    }, rounds)
    return {
      name: `${crypto.name}: ${name} (${prepared[0].datagram.length} B)`,
      figures: {
        "decode + verify": { value: median(times.read), unit: "µs" },
        "raw verify": { value: median(times.verify), unit: "µs" },
        "verify ratio": { value: ratio(times.read, times.verify), unit: "×", atMost: 1.15 },
        "encode + sign": { value: median(times.write), unit: "µs" },
        "raw sign": { value: median(times.sign), unit: "µs" },
        "sign ratio": { value: ratio(times.write, times.sign), unit: "×" }
      }
    }
  })

  const records = signers.map((signer) => {
    const record = endpointRecord(signer, unixSeconds())
    return { record, signed: Record.signedBytes(record) }
  })
  const now = unixSeconds()
  const times = inTurns({
    verify: used((i) => {
      const { record, signed } = records[i % senders]
      return crypto.verify(record.publicKey, signed, record.signature)
    }),
    check: used((i) => Record.verify(records[i % senders].record, { crypto, now }))
  }, rounds)
  return [...messages, {
    name: `${crypto.name}: the record in a STORE (${records[0].record.bytes.length} B)`,
    figures: {
      "decode + verify": { value: median(times.check), unit: "µs" },
      "raw verify": { value: median(times.verify), unit: "µs" },
      "verify ratio": { value: ratio(times.check, times.verify), unit: "×" }
    }
  }]
}

export const messages = (rounds: number): Section => ({
  title: "Messages",
  note: "A STORE is decoded with its record, but the record's own signature is a matter for later: a row of its own.",
  // With a slow provider, the overhead is lost in the provider's noise.
  rows: providers.filter((crypto) => crypto.name !== "noble").flatMap((crypto) => rowsOf(crypto, rounds))
})

// --- Rejections ----------------------------------------------------------------

/** Datagrams of a round, fewer than may wait of one source. */
const batch = 128

/** A node whose socket is a pair of functions. */
const refusalTimes = (
  accepted: ReadonlyArray<Uint8Array>,
  datagrams: { readonly [name: string]: Uint8Array },
  rounds: number
) =>
  Effect.gen(function*() {
    let deliver: Transport.Deliver | undefined
    const layerTransport = Layer.effect(
      Transport.Transport,
      Transport.fromSocket((given) => {
        deliver = given
        return Effect.succeed<Transport.Socket>({ address: from, transmit: () => undefined })
      }, { capacity: batch, perSender: batch })
    )
    const node = yield* Layer.build(
      Dht.layer().pipe(
        Layer.provide(Verifier.layer),
        Layer.provide(Identity.layerSeed(bytes32("server"))),
        Layer.provide([layerTransport, NodeCrypto.layer, SecureRandom.layerWebCrypto])
      )
    )
    const rpc = yield* Effect.provide(Rpc, node)
    for (const [i, datagram] of accepted.entries()) {
      deliver?.(datagram, from)
      while ((yield* rpc.traffic).received <= i) yield* Effect.yieldNow
    }
    const names = Object.keys(datagrams)
    const times = names.map((): Array<number> => [])
    for (let round = 0; round < 2 * rounds; round++) {
      for (let at = 0; at < names.length; at++) {
        const before = (yield* rpc.traffic).refused
        const started = performance.now()
        for (let i = 0; i < batch; i++) deliver?.(datagrams[names[at]], from)
        while ((yield* rpc.traffic).refused < before + batch) yield* Effect.yieldNow
        // The first half warms up the compiler.
        if (round >= rounds) times[at].push((performance.now() - started) * 1000 / batch)
      }
    }
    return names.map((name, at) => ({ name, value: median(times[at]) }))
  }).pipe(Effect.scoped)

export const refusals = async (rounds: number): Promise<Section> => {
  const signer = identity(NodeCrypto.fastest, "stranger")
  const envelope = { signer, transactionId: transactionId(0), features: Features.Bit.sessions }
  const { publicKey } = identity(NodeCrypto.fastest, "server")
  const keys = SessionKeys.deriver({ identity: signer, network: Network.open, crypto: NodeCrypto.fastest })(publicKey)
  if (keys === undefined) throw new Error("no keys")
  const sealed = Message.seal({ _tag: "Ping", address: signer.address }, {
    ...envelope,
    sender: senderOf(signer.nodeId),
    key: keys.send
  })
  const wrongMac = sealed.slice()
  wrongMac[wrongMac.length - 1] ^= 1
  const ping = Message.encode({ _tag: "Ping", address: signer.address }, envelope)
  const nodes = contactsAround(nodeId("server"), 9)
  const garbage = Uint8Array.from({ length: 200 }, (_, i) => bytes32(`garbage ${i >> 5}`)[i & 31])
  // Messages on the DHT's share of the port.
  garbage[0] = 0x85
  const times = await Effect.runPromise(refusalTimes([ping, sealed], {
    "200 bytes of garbage": garbage,
    "a truncated PING": ping.subarray(0, ping.length - 10),
    "an unsolicited response": Message.encode({ _tag: "FindNodeResponse", nodes, observed }, envelope),
    "a PING with a wrong MAC": wrongMac
  }, rounds))
  return {
    title: "Datagrams refused before their signature",
    note: "By a whole node, everything but the socket included.",
    rows: times.map(({ name, value }) => ({ name, figures: { "each": { value, unit: "µs", atMost: 3 } } }))
  }
}
