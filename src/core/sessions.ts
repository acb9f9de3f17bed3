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
import type { HmacKey } from "../internal/hmac.ts"
import { RecencyMap } from "../internal/recencyMap.ts"
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
export class Session {
  readonly id: NodeId
  readonly publicKey: Uint8Array
  private readonly derive: Options["derive"]
  private derived: Keys | undefined
  private isDerived = false
  /** The address at which it answered last and announced the feature. */
  provedAt: SocketAddress.SocketAddress | undefined = undefined
  /** Requests in a row that were answered only when they were repeated with a signature. */
  unanswered = 0
  pausedUntil = 0

  constructor(id: NodeId, publicKey: Uint8Array, derive: Options["derive"]) {
    this.id = id
    // Received keys are views of datagrams.
    this.publicKey = publicKey.slice()
    this.derive = derive
  }

  /** The keys; undefined if the peer's public key is unusable. The first use takes longer than a signature check. */
  get keys(): Keys | undefined {
    if (!this.isDerived) {
      this.isDerived = true
      this.derived = this.derive(this.publicKey)
    }
    return this.derived
  }

  /** Whether the keys need not be derived any more. */
  get isReady(): boolean {
    return this.isDerived
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
  private readonly proved: RecencyMap<string, Session>
  private readonly strangers: RecencyMap<string, Session>

  constructor(options: Options) {
    this.own = options.own
    this.derive = options.derive
    this.proved = new RecencyMap(options.proved ?? 2048)
    this.strangers = new RecencyMap(options.strangers ?? 1024)
  }

  /**
   * Records a verified message and whether it announced the feature. `answered`
   * is the address that it came from, if a request of ours to that address is
   * what it answers: any other message may be a replay, which ends a session but
   * starts none.
   */
  heard(
    id: NodeId,
    publicKey: Uint8Array,
    isAnnounced: boolean,
    answered: SocketAddress.SocketAddress | undefined
  ): void {
    if (id === this.own) return
    const sender = senderOf(id)
    if (!isAnnounced) {
      this.proved.delete(sender)
      this.strangers.delete(sender)
      return
    }
    const known = this.of(sender)
    const session = known?.id === id ? known : new Session(id, publicKey, this.derive)
    if (answered !== undefined) {
      session.provedAt = answered
      this.strangers.delete(sender)
      this.put(this.proved, sender, session)
    } else {
      this.put(session.provedAt === undefined ? this.strangers : this.proved, sender, session)
    }
  }

  private put(table: RecencyMap<string, Session>, sender: string, session: Session): void {
    if (table.use(sender, () => session) === session) return
    table.delete(sender)
    table.use(sender, () => session)
  }

  /** The session to which a datagram of this sender belongs, if the sender is known. */
  of(sender: string): Session | undefined {
    return this.proved.get(sender) ?? this.strangers.get(sender)
  }

  /** The session for a request to a peer; undefined if the request is to be signed. */
  forRequest(
    peer: SocketAddress.SocketAddress & { readonly id?: NodeId | undefined },
    now: number
  ): Session | undefined {
    if (peer.id === undefined) return undefined
    const session = this.proved.get(senderOf(peer.id))
    return session === undefined || session.id !== peer.id || now < session.pausedUntil ||
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
