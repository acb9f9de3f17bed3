/**
 * The numbers of the message types on the wire, shared by encoder and decoder.
 *
 * @since 0.1.0
 */

/**
 * The message type numbers on the wire.
 *
 * @category constants
 * @since 0.1.0
 */
export const Type = {
  Ping: 0x01,
  Pong: 0x02,
  FindNode: 0x03,
  FindNodeResponse: 0x04,
  FindValue: 0x05,
  FindValueResponse: 0x06,
  Store: 0x07,
  StoreResponse: 0x08,
  NatProbe: 0x09,
  NatProbeEcho: 0x0a,
  Push: 0x0b,
  PushAck: 0x0c,
  Attend: 0x41,
  Meet: 0x42,
  MeetResponse: 0x43,
  Invite: 0x44
} as const

/**
 * One of these numbers.
 *
 * @category models
 * @since 0.1.0
 */
export type Type = (typeof Type)[keyof typeof Type]
