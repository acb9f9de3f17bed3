/**
 * Floods in processor time, which other programs on the machine do not disturb:
 * the node is real, and its socket is a model. Datagrams arrive by the processor
 * time that this thread used, wait in a buffer like the kernel's, and are read 32
 * at a time between the turns of the event loop, as by Node.
 *
 * @since 0.1.0
 */
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import * as Dht from "../src/Dht.ts"
import * as Identity from "../src/Identity.ts"
import * as Message from "../src/Message.ts"
import * as NodeCrypto from "../src/node/NodeCrypto.ts"
import * as SocketAddress from "../src/SocketAddress.ts"
import * as Transport from "../src/Transport.ts"
import * as Verifier from "../src/Verifier.ts"
import {
  type Attack,
  attackerHost,
  attackPerSecond,
  attacks,
  datagramsOf,
  figuresOf,
  headStartMillis,
  honestHost,
  honestPerSecond,
  type Kind,
  maxStallMillis,
  nameOf,
  type Noticed,
  peersOfKind
} from "./attacks.ts"
import { bytes32, identity, transactionId } from "./fixtures.ts"
import type { Row, Section } from "./report.ts"

const crypto = NodeCrypto.fastest
const here = { host: "127.0.0.1", port: 4121 }

/** Microseconds to read a datagram, and to find that there is none, which the model adds to the time. */
const readMicros = 10
const pollMicros = 20
const readsPerTurn = 32

/** Milliseconds of the measurement without an attack that precedes each. */
const peaceMillis = 1000

/** A response that takes longer is lost. */
const lostAfterMillis = 2000

/** Small datagrams that a kernel buffer of 2 MiB holds. */
const bufferCapacity = 2700

interface Peer extends SocketAddress.SocketAddress {
  readonly identity: Identity.Identity
  readonly isContact: boolean
}

interface Arrival {
  readonly bytes: Uint8Array
  readonly from: SocketAddress.SocketAddress
}

const peersOf = (kind: "contact" | "stranger"): ReadonlyArray<Peer> =>
  Array.from({ length: peersOfKind }, (_, i) => ({
    identity: identity(crypto, `${kind} ${i}`),
    isContact: kind === "contact",
    host: honestHost(kind, i),
    port: 4000
  }))

/** The socket's side: what arrives, when it is read, and when responses leave. */
class Model {
  deliver: Transport.Deliver = () => true
  readonly peers = peersOf("contact").flatMap((contact, i) => [contact, peersOf("stranger")[i]])
  private buffer: Array<Arrival> = []
  /** Microseconds that the model added, less those that it used itself. */
  private shift = 0
  private readonly sentAt = new Map<string, { readonly peer: Peer; readonly micros: number }>()
  private serial = 0
  private latencies = new Map<boolean, Array<number>>()
  /** The most microseconds of a turn. */
  private longestTurn = 0

  now(): number {
    const { system, user } = process.threadCpuUsage()
    return system + user + this.shift
  }

  /** Runs a part of the model, which takes no time. */
  private free(part: () => void): void {
    const before = this.now()
    part()
    this.shift -= this.now() - before
  }

  /** Receives a datagram of the node: a response, or a PING, which contacts answer. */
  readonly transmit = (bytes: Uint8Array, to: SocketAddress.SocketAddress): undefined => {
    const now = this.now()
    this.free(() => {
      const header = Message.header(bytes)
      if (typeof header === "string") return
      const asked = this.sentAt.get(header.transactionId)
      const peer = this.peers.find(({ host }) => host === to.host)
      if (asked !== undefined) this.latencies.get(asked.peer.isContact)?.push((now - asked.micros) / 1000)
      if (header.type !== Message.Type.Ping || peer?.isContact !== true) return
      const { identity } = peer
      const observed = SocketAddress.encodeObserved(here)
      this.arrive(peer, { _tag: "Pong", address: identity.address, observed }, header.transactionId)
    })
  }

  private arrive(peer: Peer, body: Message.Body, transaction: string): void {
    const { host, identity: signer, port } = peer
    if (this.buffer.length >= bufferCapacity) return
    this.buffer.push({ bytes: Message.encode(body, { signer, transactionId: transaction }), from: { host, port } })
  }

  /** One turn of the event loop. */
  async turn(): Promise<void> {
    const started = this.now()
    const read = this.buffer.slice(0, readsPerTurn)
    this.free(() => {
      this.buffer = this.buffer.slice(read.length)
    })
    this.shift += read.length * readMicros + (read.length < readsPerTurn ? pollMicros : 0)
    for (const { bytes, from } of read) this.deliver(bytes, from)
    await new Promise((resolve) => setImmediate(resolve))
    this.longestTurn = Math.max(this.longestTurn, this.now() - started)
  }

  /** PINGs for a time, after the head start of a flood. */
  async run(attack: Attack | undefined, junk: ReadonlyArray<Uint8Array>, millis: number) {
    const sources = Array.from({ length: attack?.sources ?? 0 }, (_, i) => ({
      host: attackerHost(attack ?? { isOneHost: false }, i),
      port: 1000 + i
    }))
    // What earlier runs count as lost may still be answered.
    this.sentAt.clear()
    this.latencies = new Map([[true, []], [false, []]])
    this.longestTurn = 0
    const started = this.now()
    const measured = headStartMillis * 1000
    const end = measured + millis * 1000
    let sentJunk = 0
    let honest = 0
    let counted = 0
    // After the end it waits for the last responses.
    for (let now = 0; now < end + lostAfterMillis * 1000; now = this.now() - started) {
      this.free(() => {
        const until = Math.min(now, end)
        for (;;) {
          const junkAt = sources.length === 0 ? Infinity : sentJunk * 1e6 / attackPerSecond
          const honestAt = honest * 1e6 / (2 * honestPerSecond)
          if (Math.min(junkAt, honestAt) >= until) break
          if (junkAt < honestAt) {
            const bytes = junk[sentJunk % junk.length]
            if (this.buffer.length < bufferCapacity) {
              this.buffer.push({ bytes: bytes.slice(), from: sources[sentJunk % sources.length] })
            }
            sentJunk++
            continue
          }
          const peer = this.peers[honest++ % this.peers.length]
          const transaction = transactionId(this.serial++)
          if (honestAt >= measured) {
            this.sentAt.set(transaction, { peer, micros: started + honestAt })
            counted++
          }
          this.arrive(peer, { _tag: "Ping", address: peer.identity.address }, transaction)
        }
      })
      await this.turn()
    }
    const noticed = (isContact: boolean): Noticed => ({
      sent: counted / 2,
      latencies: this.latencies.get(isContact) ?? []
    })
    return { contacts: noticed(true), strangers: noticed(false), longestTurn: this.longestTurn }
  }
}

export const modelledFlood = (options: { readonly millis: number }): Promise<Section> =>
  Effect.gen(function*() {
    const model = new Model()
    const layerTransport = Layer.effect(
      Transport.Transport,
      Transport.fromSocket((deliver) => {
        model.deliver = deliver
        return Effect.succeed<Transport.Socket>({ address: here, transmit: model.transmit })
      }, { capacity: 1024, perSender: 256 })
    )
    const node = yield* Layer.build(
      Dht.layer().pipe(
        Layer.provide([Verifier.layer, Identity.layerSeed(bytes32("server"))]),
        Layer.provide([layerTransport, NodeCrypto.layer, SecureRandom.layerWebCrypto])
      )
    )
    const dht = yield* Effect.provide(Dht.Dht, node)
    for (const { host, identity: { address, nodeId: id }, isContact, port } of model.peers) {
      if (!isContact) continue
      const contact = { id, address, host, port }
      yield* dht.addContact(contact)
      const pinged = yield* Effect.forkChild(dht.ping(contact), { startImmediately: true })
      while (pinged.pollUnsafe() === undefined) yield* Effect.promise(() => model.turn())
    }
    yield* Effect.forkScoped(Stream.runDrain(dht.mail.messages))
    const rows: Array<Row> = []
    let prepared: { readonly kind: Kind; readonly junk: ReadonlyArray<Uint8Array> } | undefined
    for (const attack of attacks) {
      const { kind } = attack
      if (prepared?.kind !== kind) prepared = { kind, junk: datagramsOf(kind) }
      const { junk } = prepared
      const peace = yield* Effect.promise(() => model.run(undefined, junk, peaceMillis))
      const busy = yield* Effect.promise(() => model.run(attack, junk, options.millis))
      rows.push({
        name: nameOf(attack),
        figures: {
          ...figuresOf(attack, peace, busy),
          "longest turn": { value: busy.longestTurn / 1000, unit: "ms", atMost: maxStallMillis }
        }
      })
    }
    return {
      title: "Floods in processor time, no threads for signatures",
      note: `${attackPerSecond} a second, beside PINGs of ${peersOfKind} contacts and of ${peersOfKind} strangers, ` +
        `${honestPerSecond} a second each. Every source is in a network of its own, or they are ports of one host.`,
      rows
    }
  }).pipe(Effect.scoped, Effect.runPromise)
