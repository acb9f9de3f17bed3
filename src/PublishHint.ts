/**
 * Hints about a valid record that was published: how nodes of other versions
 * treat it.
 *
 * @module
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import * as Result from "effect/Result"
import * as Endpoint from "./Endpoint.ts"
import { RecordType, type SignedRecord } from "./Record.ts"
import * as SocketAddress from "./SocketAddress.ts"

/**
 * The first `quic://IP:PORT` of an endpoint record is not the address of the
 * node that publishes it. A v0.2 peer assumes that it is: it adds the node to
 * its table under that address and passes it on, so the node is not found and
 * its records get fewer copies.
 *
 * @category models
 * @since 0.1.0
 */
export class EndpointElsewhere extends Data.TaggedClass("EndpointElsewhere")<{
  readonly endpoint: string
  /** Where the node is reached, as far as known; an unspecified host stands for any. */
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
 * The versions of the reference whose holders store an endpoint record but do
 * not return it, because the response would be too large.
 *
 * @category models
 * @since 0.1.0
 */
export class EndpointUnanswered extends Data.TaggedClass("EndpointUnanswered")<{
  /** Size of the record in bytes. */
  readonly size: number
  /** The largest record, in bytes, that holders of all these versions return. */
  readonly limit: number
  readonly versions: ReadonlyArray<"0.1" | "0.2">
}> {
  get message() {
    return `The endpoint record is ${this.size} bytes: holders of version ${
      this.versions.join(" and ")
    } store it but ` +
      `do not return it, because their responses carry at most ${this.limit} bytes. Publish fewer or shorter endpoints`
  }
}

/**
 * @category models
 * @since 0.1.0
 */
export type PublishHint = EndpointElsewhere | EndpointUnanswered

/** The largest endpoint record that holders of a version return, in bytes; observed with 0.1.7 and 0.2.9. */
const answered = [["0.1", 486], ["0.2", 976]] as const

/**
 * What is known about where a node is reached.
 *
 * @category models
 * @since 0.1.0
 */
export interface Whereabouts {
  /** The bound address of its socket. */
  readonly bound: SocketAddress.SocketAddress | undefined
  /** Its public IP, if known. */
  readonly publicHost: string | undefined
  /** The IP and port at which its peers see it, if they agree. */
  readonly observed: SocketAddress.SocketAddress | undefined
}

/**
 * Returns the hints about a record. `node` is the node of the record's address,
 * if known.
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
  // Behind a symmetric translator v0.2 peers take no address from the record.
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

/** The IP and port of a QUIC URL; undefined if it has none, or a name. */
const quicAddress = (endpoint: string): SocketAddress.SocketAddress | undefined => {
  const authority = /^quic:\/\/([^/?#]+)/i.exec(endpoint)?.[1]
  if (authority === undefined) return undefined
  const address = Result.getOrUndefined(SocketAddress.fromString(authority))
  return address !== undefined && SocketAddress.ipBytes(address.host) !== undefined ? address : undefined
}

/** Where the node may be reached, as far as known. A translator may keep a port or map it to another. */
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

/** Whether the claim may be true. An unspecified host matches any; a private one may be behind any public one. */
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
