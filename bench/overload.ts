/**
 * What contacts and strangers notice of floods over UDP.
 *
 * @since 0.1.0
 */
import { createSocket, type Socket } from "node:dgram"
import type { Identity } from "../src/Identity.ts"
import * as Message from "../src/Message.ts"
import * as NodeCrypto from "../src/node/NodeCrypto.ts"
import * as SocketAddress from "../src/SocketAddress.ts"
import type { FromAttacker, ToAttacker } from "./attacker.ts"
import {
  attackPerSecond,
  attacks,
  figuresOf,
  headStartMillis,
  honestHost,
  honestPerSecond,
  maxStallMillis,
  nameOf,
  type Noticed,
  peersOfKind
} from "./attacks.ts"
import { identity, transactionId } from "./fixtures.ts"
import { Process } from "./process.ts"
import type { Row, Section } from "./report.ts"
import type { FromServer, ToServer } from "./server.ts"

const crypto = NodeCrypto.fastest
/** A response that takes longer is lost. */
const lostAfterMillis = 2000
/** Milliseconds of the measurement without an attack that precedes each. */
const peaceMillis = 2000

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
      socket.bind(0, honestHost(kind, i), () => resolve(pinger))
    })))

const pause = (millis: number) => new Promise((resolve) => setTimeout(resolve, millis))

const noticed = (pingers: ReadonlyArray<Pinger>): Noticed => ({
  sent: pingers.reduce((sum, pinger) => sum + pinger.sent, 0),
  latencies: pingers.flatMap((pinger) => pinger.latencies)
})

/** The PINGs of contacts and of strangers for a time. */
const watch = async (contacts: ReadonlyArray<Pinger>, strangers: ReadonlyArray<Pinger>, millis: number) => {
  const all = contacts.flatMap((contact, i) => [contact, strangers[i]])
  for (const pinger of all) pinger.restart()
  const started = performance.now()
  let sent = 0
  for (let elapsed = 0; elapsed < millis; elapsed = performance.now() - started) {
    while (sent < elapsed * 2 * honestPerSecond / 1000) all[sent++ % all.length].ping()
    await pause(1)
  }
  return () => ({ contacts: noticed(contacts), strangers: noticed(strangers) })
}

export const overload = async (options: {
  readonly millis: number
  readonly verifyThreads: number
}): Promise<Section> => {
  const server = new Process<ToServer, FromServer>("server.ts", [
    "--turns",
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
  await server.ask({ _tag: "ReadMail" })
  await watch(contacts, strangers, peaceMillis)
  const rows: Array<Row> = []
  for (const attack of attacks) {
    const { isOneHost, kind, sources } = attack
    await attacker.ask({ _tag: "Prepare", port, kind, sources, isOneHost })
    const calm = await watch(contacts, strangers, peaceMillis)
    await pause(lostAfterMillis)
    const peace = calm()
    const before = await server.ask({ _tag: "Usage" })
    const millis = headStartMillis + options.millis
    const flood = attacker.ask({ _tag: "Run", perSecond: attackPerSecond, millis })
    await pause(headStartMillis)
    const busy = await watch(contacts, strangers, options.millis)
    const done = await flood
    await pause(lostAfterMillis)
    const used = await server.ask({ _tag: "Usage" })
    if (done._tag !== "Done" || before._tag !== "Used" || used._tag !== "Used") {
      throw new Error("a process did not report")
    }
    const noticed = busy()
    const pings = noticed.contacts.sent + noticed.strangers.sent
    rows.push({
      name: nameOf(attack),
      figures: {
        "sent": { value: Math.round(done.sent * 1000 / millis), unit: "/s" },
        ...figuresOf(attack, peace, noticed),
        "not read": { value: 100 * (1 - (used.datagrams - before.datagrams) / (done.sent + pings)), unit: "%" },
        "longest stall": { value: used.maxTurnMillis, unit: "ms", atMost: maxStallMillis }
      }
    })
  }
  for (const { socket } of [...contacts, ...strangers]) socket.close()
  await attacker.end()
  await server.end()
  return {
    title: `Floods, ${options.verifyThreads} threads for signatures`,
    note:
      `${attackPerSecond} a second wanted, beside PINGs of ${peersOfKind} contacts and of ${peersOfKind} strangers, ` +
      `${honestPerSecond} a second each. Every source is in a network of its own, or they are ports of one host. ` +
      "What was not read overflowed the kernel's buffer. Stalls of the event loop are in processor time of its thread. In peace: the contacts, just before.",
    rows
  }
}
