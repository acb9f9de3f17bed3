/**
 * What contacts and strangers notice of a flood of bad signatures.
 *
 * @since 0.1.0
 */
import { createSocket, type Socket } from "node:dgram"
import type { Identity } from "../src/Identity.ts"
import * as Message from "../src/Message.ts"
import * as NodeCrypto from "../src/node/NodeCrypto.ts"
import * as SocketAddress from "../src/SocketAddress.ts"
import type { FromAttacker, ToAttacker } from "./attacker.ts"
import { identity, transactionId } from "./fixtures.ts"
import { quantile } from "./measure.ts"
import { Process } from "./process.ts"
import type { Figure, Row, Section } from "./report.ts"
import type { FromServer, ToServer } from "./server.ts"

const crypto = NodeCrypto.fastest
const attackPerSecond = 20_000
/** Of the peers of each kind together. */
const honestPerSecond = 250
const peersOfKind = 8
/** Milliseconds of the attack before the measurement. */
const headStartMillis = 1500
/** A response that takes longer is lost. */
const lostAfterMillis = 2000

interface Attack {
  readonly name: string
  readonly sources: number
  readonly kind: "networks" | "ports"
  /** Highest share of losses in percent, and the highest p99. */
  readonly contacts?: { readonly lost: number; readonly p99: number | undefined }
  readonly strangers?: { readonly lost: number }
}

const few = { contacts: { lost: 1, p99: 100 }, strangers: { lost: 10 } }
const attacks: ReadonlyArray<Attack> = [
  { name: "no attack", sources: 0, kind: "networks" },
  { name: "1 source", sources: 1, kind: "networks", ...few },
  { name: "16 ports of a host", sources: 16, kind: "ports", ...few },
  { name: "5 sources", sources: 5, kind: "networks", ...few },
  { name: "16 sources", sources: 16, kind: "networks", ...few },
  { name: "1 000 sources", sources: 1000, kind: "networks", contacts: { lost: 10, p99: undefined } },
  { name: "10 000 sources", sources: 10_000, kind: "networks", contacts: { lost: 10, p99: undefined } }
]

let serial = 0

/** Sends PINGs and measures the responses. */
class Pinger {
  readonly identity: Identity
  readonly socket: Socket
  readonly port: number
  private readonly sentAt = new Map<string, number>()
  latencies: Array<number> = []
  sent = 0

  constructor(identity: Identity, socket: Socket, port: number, answers: boolean) {
    this.identity = identity
    this.socket = socket
    this.port = port
    socket.on("message", (bytes, from) => {
      const header = Message.header(bytes)
      if (typeof header === "string") return
      if (Message.isResponse(header.type)) {
        const at = this.sentAt.get(header.transactionId)
        if (at !== undefined) this.latencies.push(performance.now() - at)
      } else if (answers && header.type === Message.Type.Ping) {
        const observed = SocketAddress.encodeObserved({ host: from.address, port: from.port })
        this.send({ _tag: "Pong", address: identity.address, observed }, header.transactionId)
      }
    })
  }

  ping(): void {
    const transaction = transactionId(serial++)
    this.sentAt.set(transaction, performance.now())
    this.sent++
    this.send({ _tag: "Ping", address: this.identity.address }, transaction)
  }

  restart(): void {
    this.sentAt.clear()
    this.latencies = []
    this.sent = 0
  }

  private send(body: Message.Body, transaction: string): void {
    const bytes = Message.encode(body, { signer: this.identity, transactionId: transaction })
    this.socket.send(bytes, this.port, "127.0.0.1")
  }
}

const open = (kind: "contact" | "stranger", port: number): Promise<ReadonlyArray<Pinger>> =>
  Promise.all(Array.from({ length: peersOfKind }, (_, i) =>
    new Promise<Pinger>((resolve) => {
      const socket = createSocket({ type: "udp4", recvBufferSize: 1 << 21 })
      const pinger = new Pinger(identity(crypto, `${kind} ${i}`), socket, port, kind === "contact")
      socket.bind(0, `127.${kind === "contact" ? 1 : 2}.${i}.1`, () => resolve(pinger))
    })))

const pause = (millis: number) => new Promise((resolve) => setTimeout(resolve, millis))

const figures = (
  kind: string,
  pingers: ReadonlyArray<Pinger>,
  lost: number | undefined,
  p99: number | undefined
): { readonly [column: string]: Figure } => {
  const sent = pingers.reduce((sum, pinger) => sum + pinger.sent, 0)
  const latencies = pingers.flatMap((pinger) => pinger.latencies)
  return {
    [`${kind} lost`]: { value: 100 * (1 - latencies.length / sent), unit: "%", atMost: lost },
    [`${kind} p50`]: { value: quantile(latencies, 0.5), unit: "ms" },
    [`${kind} p99`]: { value: quantile(latencies, 0.99), unit: "ms", atMost: p99 }
  }
}

export const overload = async (options: {
  readonly millis: number
  readonly verifyThreads: number
}): Promise<Section> => {
  const server = new Process<ToServer, FromServer>("server.ts", [
    "--contacts",
    "0",
    "--verify-threads",
    String(options.verifyThreads)
  ])
  const listening = await server.next()
  if (listening._tag !== "Listening") throw new Error("the server did not start")
  const { port } = listening
  const attacker = new Process<ToAttacker, FromAttacker>("attacker.ts")
  const contacts = await open("contact", port)
  const strangers = await open("stranger", port)
  // A contact has introduced itself and answered.
  for (const { identity, socket } of contacts) {
    const { address: host, port } = socket.address()
    await server.ask({ _tag: "Ping", contact: { id: identity.nodeId, address: identity.address, host, port } })
  }
  const rows: Array<Row> = []
  for (const attack of attacks) {
    let flood: Promise<FromAttacker> | undefined
    if (attack.sources > 0) {
      await attacker.ask({ _tag: "Prepare", port, sources: attack.sources, kind: attack.kind })
      flood = attacker.ask({ _tag: "Run", perSecond: attackPerSecond, millis: headStartMillis + options.millis })
      await pause(headStartMillis)
    }
    const all = contacts.flatMap((contact, i) => [contact, strangers[i]])
    for (const pinger of all) pinger.restart()
    const started = performance.now()
    let sent = 0
    for (let elapsed = 0; elapsed < options.millis; elapsed = performance.now() - started) {
      while (sent < elapsed * 2 * honestPerSecond / 1000) all[sent++ % all.length].ping()
      await pause(1)
    }
    const done = await flood
    await pause(lostAfterMillis)
    const perSecond = done?._tag === "Done" ? done.sent * 1000 / (headStartMillis + options.millis) : 0
    rows.push({
      name: attack.name,
      figures: {
        "sent": { value: Math.round(perSecond), unit: "/s" },
        ...figures("contacts", contacts, attack.contacts?.lost, attack.contacts?.p99),
        ...figures("strangers", strangers, attack.strangers?.lost, undefined)
      }
    })
  }
  for (const { socket } of [...contacts, ...strangers]) socket.close()
  await attacker.end()
  await server.end()
  return {
    title: `A flood of bad signatures, ${options.verifyThreads} verifier threads`,
    note:
      `${attackPerSecond} a second wanted, beside PINGs of ${peersOfKind} contacts and of ${peersOfKind} strangers, ` +
      `${honestPerSecond} a second each. Every source is in a network of its own, or they are ports of one host.`,
    rows
  }
}
