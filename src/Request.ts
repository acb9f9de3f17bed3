/**
 * Requests to one peer, their attempts and deadlines, and their outcomes.
 *
 * @module
 * @since 0.1.0
 */
import * as Bytes from "effect/Bytes"
import * as Data from "effect/Data"
import type * as Duration from "effect/Duration"
import type { Contact } from "./Contact.ts"
import type * as Message from "./Message.ts"
import type * as NodeId from "./NodeId.ts"
import type { SignedRecord } from "./Record.ts"
import * as SocketAddress from "./SocketAddress.ts"
import type * as Transport from "./Transport.ts"

/**
 * Target of a request: an address, and the id that must answer, if it is known.
 * A `Contact` is one.
 *
 * @category models
 * @since 0.1.0
 */
export interface Peer extends SocketAddress.SocketAddress {
  readonly id?: NodeId.NodeId | undefined
}

/**
 * The requests, each with the type of its response.
 *
 * @category models
 * @since 0.1.0
 */
export interface Answers {
  readonly Ping: Extract<Message.Body, { readonly _tag: "Pong" }>
  readonly FindNode: Extract<Message.Body, { readonly _tag: "FindNodeResponse" }>
  readonly FindValue: Extract<Message.Body, { readonly _tag: "FindValueResponse" }>
  readonly Store: Extract<Message.Body, { readonly _tag: "StoreResponse" }>
  readonly Push: Extract<Message.Body, { readonly _tag: "PushAck" }>
  readonly Attend: Extract<Message.Body, { readonly _tag: "Pong" }>
  readonly Meet: Extract<Message.Body, { readonly _tag: "MeetResponse" }>
}

/**
 * A message body that requests a response.
 *
 * @category models
 * @since 0.1.0
 */
export type Request = Extract<Message.Body, { readonly _tag: keyof Answers }>

/**
 * A verified response, its sender and its round-trip time in milliseconds.
 *
 * @category models
 * @since 0.1.0
 */
export interface Answered<A> {
  readonly body: A
  readonly from: Contact
  readonly rtt: number
}

/**
 * Returns the records of a response, from the fields of either protocol
 * version. They are not verified.
 *
 * @category accessors
 * @since 0.1.0
 */
export const recordsOf = ({ record, records = [] }: Answers["FindValue"]): ReadonlyArray<SignedRecord> =>
  record === undefined || records.some((other) => Bytes.Equivalence(other.signature, record.signature))
    ? records
    : [...records, record]

/**
 * Default number of attempts, as in the reference.
 *
 * @category constants
 * @since 0.1.0
 */
export const defaultAttempts = 3

/**
 * Default deadline of a request with all its attempts, as in the reference.
 *
 * @category constants
 * @since 0.1.0
 */
export const defaultDeadline: Duration.Input = "15 seconds"

/**
 * Attempts and deadline of a request.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  readonly attempts?: number | undefined
  /** For all attempts together. */
  readonly deadline?: Duration.Input | undefined
  /**
   * Fails when the last attempt has timed out, instead of at the deadline: for
   * a caller that has other peers to turn to.
   */
  readonly failFast?: boolean | undefined
  /** A maintenance probe: silence is expected and does not count against the peer. */
  readonly maintenance?: boolean | undefined
  /**
   * Called, synchronously, when the peer has us prove our address before it
   * responds, for which it is given another round trip.
   */
  readonly onChallenge?: (() => void) | undefined
}

/**
 * The peer sent no valid response in time.
 *
 * @category errors
 * @since 0.1.0
 */
export class NoAnswer extends Data.TaggedError("NoAnswer")<{
  readonly peer: Peer
  readonly request: keyof Answers | "NatProbe"
  readonly attempts: number
  readonly waitedMillis: number
}> {
  override get message() {
    return `${SocketAddress.format(this.peer)} did not answer ${this.request} ` +
      `(${this.attempts} attempts in ${Math.round(this.waitedMillis)} ms)`
  }
}

/**
 * Why a request failed.
 *
 * @category errors
 * @since 0.1.0
 */
export type RequestError = NoAnswer | Transport.SendError
