/**
 * The peers that verified messages came from lately, and where each was heard
 * from last. Times are Unix milliseconds.
 *
 * @since 0.1.0
 */
import type { Address } from "../Address.ts"
import type { Contact } from "../Contact.ts"
import { RecencyList, Recent } from "../internal/recencyList.ts"
import type { NodeId } from "../NodeId.ts"
import * as SocketAddress from "../SocketAddress.ts"

/**
 * The peer's side of a datagram in a session: the first 8 bytes of the sender's
 * node id, as hex.
 *
 * @internal
 */
export const senderOf = (id: NodeId): string => id.slice(0, 16)

/**
 * Capacities: peers that have answered us, and those that have only sent
 * messages, which anyone can do under any number of keys.
 *
 * @internal
 */
export interface Options {
  /** 2048. */
  readonly proved?: number | undefined
  /** 1024. */
  readonly strangers?: number | undefined
}

/**
 * What is known of one peer.
 *
 * @internal
 */
export class Peer extends Recent {
  /** The peer where it was heard from last. */
  contact: Contact
  heardAt = 0
  /** Whether it has ever answered a request of ours at the address that this was sent to. */
  hasAnswered = false

  constructor(contact: Contact) {
    super()
    this.contact = contact
  }
}

/**
 * Iterates over the peers that have answered and then the others, the last heard
 * from first.
 *
 * @internal
 */
export class Peers implements Iterable<Peer> {
  private readonly bySender = new Map<string, Peer>()
  private readonly proved = new RecencyList<Peer>()
  private readonly strangers = new RecencyList<Peer>()
  private readonly maxProved: number
  private readonly maxStrangers: number

  constructor(options: Options) {
    this.maxProved = options.proved ?? 2048
    this.maxStrangers = options.strangers ?? 1024
  }

  /** The peer that sends under this name. */
  of(sender: string): Peer | undefined {
    return this.bySender.get(sender)
  }

  /** The peer with this id. */
  get(id: NodeId): Peer | undefined {
    const peer = this.of(senderOf(id))
    return peer?.contact.id === id ? peer : undefined
  }

  /**
   * The sender of a message as a contact: the same object as before while it is at
   * the same address, so that all that is kept of a peer shares one.
   */
  contact(id: NodeId, address: Address, from: SocketAddress.SocketAddress): Contact {
    const known = this.get(id)?.contact
    return known !== undefined && SocketAddress.isSame(known, from)
      ? known
      : { id, address, host: from.host, port: from.port }
  }

  /** Records a message of a peer, which takes the place of what was known under its name. */
  heard(peer: Peer, contact: Contact, isAnswer: boolean, now: number): void {
    const sender = senderOf(contact.id)
    const known = this.of(sender)
    if (known !== undefined) this.listOf(known).delete(known)
    if (known !== peer) this.bySender.set(sender, peer)
    if (isAnswer || known?.contact.id === contact.id && known.hasAnswered) peer.hasAnswered = true
    peer.contact = contact
    peer.heardAt = now
    const list = this.listOf(peer)
    list.add(peer)
    const capacity = peer.hasAnswered ? this.maxProved : this.maxStrangers
    if (list.size > capacity && list.oldest !== undefined) this.forget(list.oldest)
  }

  *[Symbol.iterator](): Iterator<Peer> {
    yield* this.proved
    yield* this.strangers
  }

  private listOf(peer: Peer): RecencyList<Peer> {
    return peer.hasAnswered ? this.proved : this.strangers
  }

  private forget(peer: Peer): void {
    this.bySender.delete(senderOf(peer.contact.id))
    this.listOf(peer).delete(peer)
  }
}
