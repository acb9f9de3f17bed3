/**
 * A peer that keeps to no rules: a socket, a key, and what the benchmark makes of
 * them.
 *
 * @since 0.1.0
 */
import { createSocket, type Socket } from "node:dgram"
import type { Contact } from "../../src/Contact.ts"
import type { Identity } from "../../src/Identity.ts"
import * as Message from "../../src/Message.ts"
import * as NodeId from "../../src/NodeId.ts"
import type { RecordType, SignedRecord } from "../../src/Record.ts"
import type { SocketAddress } from "../../src/SocketAddress.ts"
import * as SocketAddressModule from "../../src/SocketAddress.ts"
import { nodeId, transactionId } from "../fixtures.ts"

/** What a stranger answers to a request; nothing where it keeps silent. */
export type Behaviour = (request: Message.Body, from: SocketAddress, self: Stranger) => Message.Body | undefined

/** Answers, and has nothing and takes nothing. */
export const isThere: Behaviour = (request, from, { identity }) => {
  const observed = SocketAddressModule.encodeObserved(from)
  switch (request._tag) {
    case "Ping":
      return { _tag: "Pong", address: identity.address, observed }
    case "FindNode":
      return { _tag: "FindNodeResponse", nodes: null, observed }
    case "FindValue":
      return { _tag: "FindValueResponse", nodes: null, record: undefined, observed, records: undefined }
    case "Store":
      return { _tag: "StoreResponse", stored: false, alreadyHad: false, reason: 0 }
    default:
      return undefined
  }
}

const attempts = 3
const attemptMillis = 500

/** Lookups that a newcomer makes, the one of its own id included. */
const tableLookups = 5

const nearest = (contacts: Iterable<Contact>, target: NodeId.NodeId, count: number): ReadonlyArray<Contact> =>
  Array.from(contacts).sort((a, b) => NodeId.compareDistance(target, a.id, b.id)).slice(0, count)

let serial = 0

export class Stranger {
  readonly identity: Identity
  readonly contact: Contact
  private readonly socket: Socket
  private readonly features: number
  private readonly pending = new Map<string, (body: Message.Body) => void>()

  private constructor(identity: Identity, socket: Socket, behaviour: Behaviour, features: number) {
    this.identity = identity
    this.socket = socket
    this.features = features
    const { address: host, port } = socket.address()
    this.contact = { id: identity.nodeId, address: identity.address, host, port }
    socket.on("message", (bytes, { address: host, port }) => {
      const frame = Message.frame(bytes)
      if (typeof frame === "string") return
      const body = Message.readBody(frame)
      if (typeof body === "string") return
      if (Message.isResponse(frame.type)) return this.pending.get(frame.transactionId)?.(body)
      const answer = behaviour(body, { host, port }, this)
      if (answer !== undefined) this.send({ host, port }, answer, frame.transactionId)
    })
  }

  /** Features of 0 are what the reference shows. */
  static open(
    identity: Identity,
    host: string,
    behaviour: Behaviour = isThere,
    features = 0
  ): Promise<Stranger> {
    return new Promise((resolve, reject) => {
      const socket = createSocket({ type: "udp4", recvBufferSize: 1 << 21 })
      socket.once("error", reject)
      socket.bind(0, host, () => resolve(new Stranger(identity, socket, behaviour, features)))
    })
  }

  /** The answer, unverified; undefined if none comes. */
  async ask(to: SocketAddress, body: Message.Body): Promise<Message.Body | undefined> {
    const id = transactionId(serial++)
    for (let attempt = 0; attempt < attempts; attempt++) {
      const answer = await new Promise<Message.Body | undefined>((resolve) => {
        const timer = setTimeout(() => resolve(undefined), attemptMillis)
        this.pending.set(id, (body) => {
          clearTimeout(timer)
          resolve(body)
        })
        this.send(to, body, id)
      })
      this.pending.delete(id)
      if (answer !== undefined) return answer
    }
    return undefined
  }

  /** What it knows after joining: the nodes around its own id and around some others. */
  async join(through: Contact): Promise<ReadonlyArray<Contact>> {
    const known = new Map([[through.id, through]])
    const silent = new Set<NodeId.NodeId>([this.identity.nodeId])
    for (let i = 0; i < tableLookups; i++) {
      const target = i === 0 ? this.identity.nodeId : nodeId(`${this.identity.nodeId} ${i}`)
      const asked = new Set<NodeId.NodeId>()
      while (true) {
        const next = nearest(known.values(), target, 16).filter(({ id }) => !asked.has(id)).slice(0, 3)
        if (next.length === 0) break
        await Promise.all(next.map(async (contact) => {
          asked.add(contact.id)
          const answer = await this.ask(contact, { _tag: "FindNode", target })
          if (answer?._tag !== "FindNodeResponse") {
            silent.add(contact.id)
            return known.delete(contact.id)
          }
          for (const node of answer.nodes ?? []) if (!silent.has(node.id)) known.set(node.id, node)
        }))
      }
    }
    return Array.from(known.values())
  }

  /**
   * All records of a key that a lookup without lists and filters brings, as the
   * reference makes it: each of the 16 closest nodes is asked once.
   */
  async collect(
    seeds: ReadonlyArray<Contact>,
    key: NodeId.NodeId,
    type: typeof RecordType[keyof typeof RecordType]
  ): Promise<ReadonlyArray<SignedRecord>> {
    const known = new Map(seeds.map((contact) => [contact.id, contact]))
    const asked = new Set<NodeId.NodeId>()
    const silent = new Set<NodeId.NodeId>()
    const records: Array<SignedRecord> = []
    while (true) {
      const next = nearest(Array.from(known.values()).filter(({ id }) => !silent.has(id)), key, 16)
        .filter(({ id }) => !asked.has(id))
        .slice(0, 3)
      if (next.length === 0) return records
      await Promise.all(next.map(async (contact) => {
        asked.add(contact.id)
        const answer = await this.ask(contact, { _tag: "FindValue", target: key, recordType: type, subscribe: false })
        if (answer?._tag !== "FindValueResponse") return silent.add(contact.id)
        for (const node of answer.nodes ?? []) if (!known.has(node.id)) known.set(node.id, node)
        records.push(...answer.records ?? [])
      }))
    }
  }

  close(): void {
    this.socket.close()
  }

  private send(to: SocketAddress, body: Message.Body, id: Message.TransactionId): void {
    this.socket.send(
      Message.encode(body, { signer: this.identity, transactionId: id, features: this.features }),
      to.port,
      to.host
    )
  }
}

/** Carries out tasks, so many at a time. */
export const inParallel = async <A>(
  tasks: ReadonlyArray<A>,
  concurrency: number,
  carryOut: (task: A) => Promise<unknown>
): Promise<void> => {
  let next = 0
  const worker = async () => {
    while (next < tasks.length) await carryOut(tasks[next++])
  }
  await Promise.all(Array.from({ length: concurrency }, worker))
}
