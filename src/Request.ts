/**
 * What one peer is asked, how patiently, and what comes of it.
 *
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
 * Whom to ask: an address, and the id that must answer if it is known. A
 * `Contact` is one.
 *
 * @category models
 * @since 0.1.0
 */
export interface Peer extends SocketAddress.SocketAddress {
  readonly id?: NodeId.NodeId | undefined
}

/**
 * The requests, and what answers each.
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
}

/**
 * A body that asks for an answer.
 *
 * @category models
 * @since 0.1.0
 */
export type Request = Extract<Message.Body, { readonly _tag: keyof Answers }>

/**
 * A verified answer, who gave it, and how long it took in milliseconds.
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
 * The records of an answer, wherever its version of the protocol puts them.
 * They are not verified.
 *
 * @category accessors
 * @since 0.1.0
 */
export const recordsOf = ({ record, records = [] }: Answers["FindValue"]): ReadonlyArray<SignedRecord> =>
  record === undefined || records.some((other) => Bytes.Equivalence(other.signature, record.signature))
    ? records
    : [...records, record]

/**
 * How often a request is made at most; what the protocol allows.
 *
 * @category constants
 * @since 0.1.0
 */
export const defaultAttempts = 3

/**
 * How long all attempts of a request may take; what the protocol allows.
 *
 * @category constants
 * @since 0.1.0
 */
export const defaultDeadline: Duration.Input = "15 seconds"

/**
 * How patient a request is.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  readonly attempts?: number | undefined
  /** For all attempts together. */
  readonly deadline?: Duration.Input | undefined
  /** Gives up when the last attempt had its turn, and not at the deadline: for who has others to ask. */
  readonly failFast?: boolean | undefined
  /** A probe of maintenance: silence is no news, and does not count against the peer. */
  readonly maintenance?: boolean | undefined
}

/**
 * The peer gave no valid answer in time.
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
 * Why a request has no answer.
 *
 * @category errors
 * @since 0.1.0
 */
export type RequestError = NoAnswer | Transport.SendError
