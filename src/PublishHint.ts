/**
 * What is worth knowing of a record that was published although nothing is
 * wrong with it: how nodes of other versions take it.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import * as Result from "effect/Result"
import * as Endpoint from "./Endpoint.ts"
import { RecordType, type SignedRecord } from "./Record.ts"
import * as SocketAddress from "./SocketAddress.ts"

/**
 * The first `quic://IP:PORT` of an endpoint record is not where the node of its
 * address is reached. A v0.2 peer takes it for that: it enters the node into
 * its table under that address and hands it on, so the node is not found and
 * its records get fewer copies.
 *
 * @category models
 * @since 0.1.0
 */
export class EndpointElsewhere extends Data.TaggedClass("EndpointElsewhere")<{
  readonly endpoint: string
  /** What is known of where the node is reached; an unspecified host stands for any. */
  readonly reachable: ReadonlyArray<SocketAddress.SocketAddress>
}> {
  get message() {
    const reachable = this.reachable.map((address) =>
      isUnspecified(address.host) ? `UDP port ${address.port}` : SocketAddress.format(address)
    ).join(" or ")
    return `v0.2 peers take ${this.endpoint} for the address of this node, which is reached at ${reachable}: ` +
      "publish that one first, or another scheme (tcp://, https://)"
  }
}

/**
 * The versions of the reference whose holders keep an endpoint record and do
 * not show it to those who ask, because its answer would be too large.
 *
 * @category models
 * @since 0.1.0
 */
export class EndpointUnanswered extends Data.TaggedClass("EndpointUnanswered")<{
  /** Bytes of the record. */
  readonly size: number
  /** The most that holders of all these versions answer with. */
  readonly limit: number
  readonly versions: ReadonlyArray<"0.1" | "0.2">
}> {
  get message() {
    return `The endpoint record is ${this.size} bytes: holders of version ${this.versions.join(" and ")} keep it and ` +
      `do not show it, as their answers carry at most ${this.limit}. Publish fewer or shorter endpoints`
  }
}

/**
 * @category models
 * @since 0.1.0
 */
export type PublishHint = EndpointElsewhere | EndpointUnanswered

/** The largest endpoint record that holders of a version answer with, in bytes; seen with 0.1.7 and 0.2.9. */
const answered = [["0.1", 486], ["0.2", 976]] as const

/**
 * What is known of where a node is reached.
 *
 * @category models
 * @since 0.1.0
 */
export interface Whereabouts {
  /** Where its socket is bound. */
  readonly bound: SocketAddress.SocketAddress | undefined
  /** Its public IP, if it is known. */
  readonly publicHost: string | undefined
  /** The IP and port under which others see it, if they agree. */
  readonly observed: SocketAddress.SocketAddress | undefined
}

/**
 * The hints about a record. `node` is the node of the record's address, if it
 * is known.
 *
 * @category constructors
 * @since 0.1.0
 */
export const hintsOf = (record: SignedRecord, node: Whereabouts | undefined): ReadonlyArray<PublishHint> => {
  const payload = record.type === RecordType.endpoint ? Endpoint.decode(record.payload) : undefined
  if (payload === undefined || Result.isFailure(payload)) return []
  const hints: Array<PublishHint> = []
  const elsewhere = node === undefined ? undefined : elsewhereOf(payload.success, node)
  if (elsewhere !== undefined) hints.push(elsewhere)
  const size = record.bytes.length
  const silent = answered.filter(([, limit]) => size > limit)
  if (silent.length > 0) {
    hints.push(new EndpointUnanswered({ size, limit: silent[0][1], versions: silent.map(([version]) => version) }))
  }
  return hints
}

const elsewhereOf = (payload: Endpoint.EndpointPayload, node: Whereabouts): EndpointElsewhere | undefined => {
  // Behind a symmetric translator no address is taken from the record.
  if (payload.natType === Endpoint.NatType.symmetric) return undefined
  for (const endpoint of payload.endpoints ?? []) {
    const claimed = quicAddress(endpoint)
    if (claimed === undefined) continue
    const reachable = reachableAt(node)
    return reachable.length === 0 || reachable.some((known) => fits(claimed, known, node.publicHost))
      ? undefined
      : new EndpointElsewhere({ endpoint, reachable })
  }
  return undefined
}

/** The IP and port of a QUIC URL; undefined where it has none, or a name. */
const quicAddress = (endpoint: string): SocketAddress.SocketAddress | undefined => {
  const authority = /^quic:\/\/([^/?#]+)/i.exec(endpoint)?.[1]
  if (authority === undefined) return undefined
  const address = Result.getOrUndefined(SocketAddress.fromString(authority))
  return address !== undefined && SocketAddress.ipBytes(address.host) !== undefined ? address : undefined
}

/** Where it may be reached, as far as is known. A port may be mapped to the same or to another one. */
const reachableAt = ({ bound, observed, publicHost }: Whereabouts): ReadonlyArray<SocketAddress.SocketAddress> => {
  const known: Array<SocketAddress.SocketAddress> = []
  const add = (address: SocketAddress.SocketAddress) => {
    if (!known.some((other) => SocketAddress.key(other) === SocketAddress.key(address))) known.push(address)
  }
  if (observed !== undefined) add(observed)
  if (bound !== undefined) {
    if (publicHost !== undefined) add({ host: publicHost, port: bound.port })
    if (!isUnspecified(bound.host) || publicHost === undefined) add(bound)
  }
  return known
}

/** Whether the claim may be true: an unspecified host is any, and behind a private one may be any public one. */
const fits = (
  claimed: SocketAddress.SocketAddress,
  known: SocketAddress.SocketAddress,
  publicHost: string | undefined
): boolean => {
  if (known.port !== claimed.port) return false
  if (known.host === claimed.host || isUnspecified(known.host)) return true
  return publicHost === undefined && !isLoopback(known.host) && !SocketAddress.isPublic(known.host) &&
    SocketAddress.isPublic(claimed.host)
}

const isUnspecified = (host: string): boolean => host === "0.0.0.0" || host === "::"

const isLoopback = (host: string): boolean => host.startsWith("127.") || host === "::1"
