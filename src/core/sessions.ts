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
import type { Contact } from "../Contact.ts"
import * as Hex from "../internal/hex.ts"
import type { HmacKey } from "../internal/hmac.ts"
import type { NodeId } from "../NodeId.ts"
import * as SocketAddress from "../SocketAddress.ts"
import { Peer, type Peers } from "./peers.ts"

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

/** How long requests are signed to a peer that could not check our MACs. */
const pauseMillis = 60_000

/** Requests in a row of which only the signed attempt was answered, after which the peer counts as one without the key. */
const maxUnanswered = 2

/**
 * @internal
 */
export interface Options {
  /** Our own id, with which there is no session. */
  readonly own: NodeId
  /** Derives the keys shared with the owner of a public key; undefined for an unusable one. */
  readonly derive: (publicKey: Uint8Array) => Keys | undefined
  /** The peers heard from, some of which announced the feature: their sessions. */
  readonly peers: Peers
}

/**
 * What is known of one peer that announced the feature.
 *
 * @internal
 */
export class Session extends Peer {
  private readonly derive: Options["derive"]
  /** The peer's public key as hex until the keys are derived from it, and then those. */
  private secret: string | Keys | undefined
  /** The address at which it answered last and announced the feature. */
  provedAt: SocketAddress.SocketAddress | undefined = undefined
  /** Requests in a row that were answered only when they were repeated with a signature. */
  unanswered = 0
  pausedUntil = 0

  constructor(contact: Contact, publicKey: Uint8Array, derive: Options["derive"]) {
    super(contact)
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
  private readonly peers: Peers

  constructor(options: Options) {
    this.own = options.own
    this.derive = options.derive
    this.peers = options.peers
  }

  /**
   * Records a verified message and whether it announced the feature; `publicKey`
   * is that of its signature. `isAnswer` if it answers a request of ours to that
   * very address: any other message may be a replay, which ends a session but
   * starts none.
   */
  heard(
    contact: Contact,
    publicKey: Uint8Array | undefined,
    isAnnounced: boolean,
    isAnswer: boolean,
    now: number
  ): void {
    if (contact.id === this.own) return
    const peer = this.heardFrom(contact, publicKey, isAnnounced)
    if (peer === undefined) return
    if (isAnswer && peer instanceof Session) peer.provedAt = contact
    this.peers.heard(peer, contact, isAnswer, now)
  }

  private heardFrom(contact: Contact, publicKey: Uint8Array | undefined, isAnnounced: boolean): Peer | undefined {
    const known = this.peers.get(contact.id)
    const isSession = known instanceof Session
    if (known !== undefined && isSession === isAnnounced) return known
    if (!isAnnounced) return new Peer(contact)
    // The session of the message was forgotten while that waited in the queue.
    return publicKey === undefined ? undefined : new Session(contact, publicKey, this.derive)
  }

  /** The session to which a datagram of this sender belongs, if the sender is known. */
  of(sender: string): Session | undefined {
    const peer = this.peers.of(sender)
    return peer instanceof Session ? peer : undefined
  }

  /** The session for a request to a peer; undefined if the request is to be signed. */
  forRequest(
    peer: SocketAddress.SocketAddress & { readonly id?: NodeId | undefined },
    now: number
  ): Session | undefined {
    if (peer.id === undefined) return undefined
    const session = this.peers.get(peer.id)
    return session instanceof Session && now >= session.pausedUntil && session.isProvedAt(peer) &&
        session.keys !== undefined
      ? session
      : undefined
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
