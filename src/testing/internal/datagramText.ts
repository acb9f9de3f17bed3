/**
 * Datagrams and records in words, for recordings of simulated worlds.
 *
 * @since 0.1.0
 */
import type { Address } from "../../Address.ts"
import * as Message from "../../Message.ts"
import type { NodeId } from "../../NodeId.ts"
import * as Record from "../../Record.ts"

/**
 * Names of addresses and ids, which are hex texts.
 *
 * @internal
 */
export type Names = ReadonlyMap<string, string>

/**
 * A datagram in words.
 *
 * @internal
 */
export interface Words {
  /** Such as `FindNode` or `malformed`. */
  readonly type: string
  readonly what: string
  readonly isResponse: boolean
  /** Whether it has a MAC in place of a signature. */
  readonly isInSession: boolean
  readonly transaction: string | undefined
  /** The ids, keys and addresses that it is about. */
  readonly about: ReadonlyArray<string>
}

const typeNames: ReadonlyMap<number, string> = new Map(Object.entries(Message.Type).map(([name, type]) => [type, name]))

const recordTypes: ReadonlyMap<number, string> = new Map(
  Object.entries(Record.RecordType).map(([name, type]) => [type, name])
)

/** Characters of an id or an address that has no name. */
const shortLength = 10

/** Contacts and records of a message that are named. */
const listed = 8

/**
 * The name of an id, key or address, or its first digits.
 *
 * @internal
 */
export const nameOf = (names: Names, hex: string): string => names.get(hex) ?? `${hex.slice(0, shortLength)}…`

/**
 * The name of a record type.
 *
 * @internal
 */
export const typeOf = (type: number): string => recordTypes.get(type) ?? `type ${type}`

const recordWords = (names: Names, { address, seq, type }: Record.SignedRecord): string =>
  `${typeOf(type)} of ${nameOf(names, address)}, seq ${seq}`

const list = (words: ReadonlyArray<string>, separator = ", "): string =>
  words.length <= listed
    ? words.join(separator)
    : `${words.slice(0, listed).join(separator)}${separator}${words.length - listed} more`

const reasonOf = (reason: number): string =>
  Object.entries(Message.storeReason).find(([, number]) => number === reason)?.[0] ?? `reason ${reason}`

type Lists = Extract<Message.Body, { readonly _tag: "FindNodeResponse" | "FindValueResponse" }>

const nodesOf = (names: Names, { nodes }: Pick<Lists, "nodes">): string =>
  nodes === null || nodes.length === 0 ? "no nodes" : `nodes ${list(nodes.map(({ id }) => nameOf(names, id)))}`

const aboutRecord = (record: Record.SignedRecord): ReadonlyArray<string> => [record.address, Record.ownKey(record)]

/** The content of a message, and what it is about. */
const content = (names: Names, body: Message.Body): readonly [what: string, about: ReadonlyArray<string>] => {
  const name = (hex: string) => nameOf(names, hex)
  switch (body._tag) {
    case "Ping":
    case "Pong":
    case "NatProbe":
    case "NatProbeEcho":
      return ["", []]
    case "FindNode":
      return [name(body.target), [body.target]]
    case "FindNodeResponse":
      return [nodesOf(names, body), (body.nodes ?? []).map(({ id }) => id)]
    case "FindValue":
      return [`${body.recordType === 0 ? "any" : typeOf(body.recordType)} at ${name(body.target)}`, [body.target]]
    case "FindValueResponse": {
      const records = [...(body.record === undefined ? [] : [body.record]), ...(body.records ?? [])]
      return [
        list([...new Set(records.map((record) => recordWords(names, record))), nodesOf(names, body)], "; "),
        [...records.flatMap(aboutRecord), ...(body.nodes ?? []).map(({ id }) => id)]
      ]
    }
    case "Store": {
      const key: NodeId = body.key ?? Record.ownKey(body.record)
      return [`${recordWords(names, body.record)} at ${name(key)}`, [key, ...aboutRecord(body.record)]]
    }
    case "StoreResponse":
      return [body.stored ? body.alreadyHad ? "had it" : "stored" : `refused, ${reasonOf(body.reason)}`, []]
    case "Push":
      return [`${recordWords(names, body.record)} at ${name(body.key)}`, [body.key, ...aboutRecord(body.record)]]
    case "PushAck":
      return [name(body.key), [body.key]]
    case "Attend":
      return ["", []]
    case "Meet":
      return [name(body.callee), [body.callee]]
    case "MeetResponse":
      return [body.callee === undefined ? "" : name(body.callee.id), []]
    case "Invite":
      return [name(body.caller.id), [body.caller.id]]
  }
}

/**
 * Describes a datagram, whatever its bytes are.
 *
 * @internal
 */
export const describe = (names: Names, payload: Uint8Array): Words => {
  const noticed = Message.noticed(payload)
  if (noticed !== undefined) {
    return {
      type: "Notice",
      what: "the session is lost",
      isResponse: true,
      isInSession: false,
      transaction: noticed,
      about: []
    }
  }
  const frame = Message.frame(payload)
  const malformed = (fault: string, transaction?: string): Words => ({
    type: "malformed",
    what: fault,
    isResponse: false,
    isInSession: false,
    transaction,
    about: []
  })
  if (typeof frame === "string") return malformed(frame)
  const body = Message.readBody(frame)
  if (typeof body === "string") return malformed(body, frame.transactionId)
  const [what, about] = content(names, body)
  return {
    type: typeNames.get(frame.type) ?? body._tag,
    what,
    isResponse: Message.isResponse(frame.type),
    isInSession: frame._tag === "Session",
    transaction: frame.transactionId,
    about
  }
}

/**
 * The names of a node's id and address.
 *
 * @internal
 */
export const namesOf = (
  name: string,
  { address, nodeId }: { readonly address: Address; readonly nodeId: NodeId }
) => [[nodeId, name], [address, name]] as const
