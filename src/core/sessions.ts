/**
 * Sessions: the keys with which we and a peer authenticate messages to each
 * other instead of signing them, and when each of them may be used.
 *
 * A key exists if both sides know each other's public key, so nothing is
 * negotiated. It is derived once it is needed, at most once for each peer whose
 * message was verified. A request uses it only with a peer that answered our
 * last one at that address and announced the feature there; a response has the
 * form of its request. Times are Unix milliseconds.
 *
 * @since 0.1.0
 */
import type { Address } from "../Address.ts"
import type { Contact } from "../Contact.ts"
import * as Hex from "../internal/hex.ts"
import type { HmacKey } from "../internal/hmac.ts"
import { RecencyList, Recent } from "../internal/recencyList.ts"
import type { NodeId } from "../NodeId.ts"
import * as SocketAddress from "../SocketAddress.ts"

/**
 * The keys for the messages that we send to a peer, and for those that it sends
 * to us.
 *
 * @internal
 */
export interface Keys {
  readonly send: HmacKey
  readonly receive: HmacKey
}

/**
 * The peer's side of a datagram in a session: the first 8 bytes of the sender's
 * node id, as hex.
 *
 * @internal
 */
export const senderOf = (id: NodeId): string => id.slice(0, 16)

/** How long requests are signed to a peer that could not check our MACs. */
const pauseMillis = 60_000

/** Requests in a row of which only the signed attempt was answered, after which the peer counts as one without the key. */
const maxUnanswered = 2

/**
 * Capacities: peers that have answered us, and those that have only sent
 * messages, which anyone can do under any number of keys.
 *
 * @internal
 */
export interface Options {
  /** Our own id, with which there is no session. */
  readonly own: NodeId
  /** Derives the keys shared with the owner of a public key; undefined for an unusable one. */
  readonly derive: (publicKey: Uint8Array) => Keys | undefined
  /** 2048. */
  readonly proved?: number | undefined
  /** 1024. */
  readonly strangers?: number | undefined
}

/**
 * What is known of one peer that announced the feature.
 *
 * @internal
 */
export class Session extends Recent {
  /** The peer where it was last heard from. */
  contact: Contact
  private readonly derive: Options["derive"]
  /** The peer's public key as hex until the keys are derived from it, and then those. */
  private secret: string | Keys | undefined
  /** The address at which it answered last and announced the feature. */
  provedAt: SocketAddress.SocketAddress | undefined = undefined
  /** Requests in a row that were answered only when they were repeated with a signature. */
  unanswered = 0
  pausedUntil = 0

  constructor(contact: Contact, publicKey: Uint8Array, derive: Options["derive"]) {
    super()
    this.contact = contact
    // A received key is a view of a datagram, and bytes of its own would take more memory.
    this.secret = Hex.encode(publicKey)
    this.derive = derive
  }

  /** The keys; undefined if the peer's public key is unusable. The first use takes longer than a signature check. */
  get keys(): Keys | undefined {
    if (typeof this.secret === "string") this.secret = this.derive(Hex.decode(this.secret))
    return this.secret
  }

  /** Whether the keys need not be derived any more. */
  get isReady(): boolean {
    return typeof this.secret !== "string"
  }

  /** Whether the peer has answered at this address and announced the feature there. */
  isProvedAt(from: SocketAddress.SocketAddress): boolean {
    return this.provedAt !== undefined && SocketAddress.isSame(this.provedAt, from)
  }
}

/**
 * @internal
 */
export class Sessions {
  private readonly own: NodeId
  private readonly derive: Options["derive"]
  private readonly maxProved: number
  private readonly maxStrangers: number
  private readonly bySender = new Map<string, Session>()
  private readonly proved = new RecencyList<Session>()
  private readonly strangers = new RecencyList<Session>()

  constructor(options: Options) {
    this.own = options.own
    this.derive = options.derive
    this.maxProved = options.proved ?? 2048
    this.maxStrangers = options.strangers ?? 1024
  }

  /**
   * The sender of a verified message as a contact: the same object as before while
   * it is at the same address, so that all that is kept of a peer shares one.
   */
  contact(id: NodeId, address: Address, { host, port }: SocketAddress.SocketAddress): Contact {
    const known = this.of(senderOf(id))?.contact
    return known?.id === id && known.host === host && known.port === port ? known : { id, address, host, port }
  }

  /**
   * Records a verified message and whether it announced the feature; `publicKey`
   * is that of its signature. `isAnswer` if it answers a request of ours to that
   * very address: any other message may be a replay, which ends a session but
   * starts none.
   */
  heard(contact: Contact, publicKey: Uint8Array | undefined, isAnnounced: boolean, isAnswer: boolean): void {
    if (contact.id === this.own) return
    const sender = senderOf(contact.id)
    const known = this.of(sender)
    if (!isAnnounced) {
      if (known !== undefined) this.delete(known)
    } else if (known?.contact.id === contact.id) {
      this.listOf(known).delete(known)
      known.contact = contact
      this.add(known, isAnswer)
    } else if (publicKey !== undefined) {
      if (known !== undefined) this.delete(known)
      const session = new Session(contact, publicKey, this.derive)
      this.bySender.set(sender, session)
      this.add(session, isAnswer)
    }
  }

  private listOf(session: Session): RecencyList<Session> {
    return session.provedAt === undefined ? this.strangers : this.proved
  }

  private add(session: Session, isAnswer: boolean): void {
    if (isAnswer) session.provedAt = session.contact
    const list = this.listOf(session)
    list.add(session)
    const capacity = list === this.proved ? this.maxProved : this.maxStrangers
    if (list.size > capacity && list.oldest !== undefined) this.delete(list.oldest)
  }

  private delete(session: Session): void {
    this.bySender.delete(senderOf(session.contact.id))
    this.listOf(session).delete(session)
  }

  /** The session to which a datagram of this sender belongs, if the sender is known. */
  of(sender: string): Session | undefined {
    return this.bySender.get(sender)
  }

  /** The session for a request to a peer; undefined if the request is to be signed. */
  forRequest(
    peer: SocketAddress.SocketAddress & { readonly id?: NodeId | undefined },
    now: number
  ): Session | undefined {
    if (peer.id === undefined) return undefined
    const session = this.of(senderOf(peer.id))
    return session === undefined || session.contact.id !== peer.id || now < session.pausedUntil ||
        !session.isProvedAt(peer) || session.keys === undefined
      ? undefined
      : session
  }

  /** A request in the session was answered. */
  answered(session: Session): void {
    session.unanswered = 0
  }

  /** A request in the session was answered only when it was repeated with a signature. */
  unanswered(session: Session, now: number): void {
    session.unanswered++
    if (session.unanswered >= maxUnanswered) this.pause(session, now)
  }

  /** The peer has not got the key, or a request in the session was not answered in any form. */
  pause(session: Session, now: number): void {
    session.unanswered = 0
    session.pausedUntil = now + pauseMillis
  }
}
