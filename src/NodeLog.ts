/**
 * Logs the node's activity: at `Debug` what an operator follows (the bound
 * address, joining, lookups, records and copies, refusals with their reasons),
 * at `Trace` every request as well.
 *
 * If neither level is logged, it listens to nothing.
 *
 * @module
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import * as Layer from "effect/Layer"
import * as LogLevel from "effect/LogLevel"
import * as References from "effect/References"
import * as Address from "./Address.ts"
import type { Contact } from "./Contact.ts"
import { NodeIdentity } from "./Identity.ts"
import { type Detail, type Event, NodeEvents } from "./NodeEvents.ts"
import type { NodeId } from "./NodeId.ts"
import type { SignedRecord } from "./Record.ts"
import type { Peer } from "./Request.ts"
import * as SocketAddress from "./SocketAddress.ts"
import { Transport } from "./Transport.ts"

/** A log line: level, message and fields. */
type Line = readonly [level: "Debug" | "Trace", what: string, facts: Readonly<Record<string, unknown>>]

const factsOfPeer = (peer: Peer) => ({ peer: SocketAddress.format(peer), ...(peer.id && { id: peer.id }) })

const factsOfContact = (contact: Contact) => ({ peer: SocketAddress.format(contact), id: contact.id })

const factsOfRecord = (key: NodeId | undefined, { address, seq, type }: SignedRecord) => ({
  ...(key && { key }),
  type,
  by: Address.format(address),
  seq
})

/** Turns `AnnouncementStarted` into `Announcement started`. */
const words = (tag: string): string => tag.replace(/(?<=[a-z])[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`)

const ofEvent = (event: Event): Line => {
  switch (event._tag) {
    case "QueryStarted":
      return ["Debug", "Lookup started", {
        lookup: event.query,
        kind: event.kind,
        target: event.target,
        ...(event.type && { type: event.type })
      }]
    case "QueryStepped": {
      const { closerNodes, contact, holdsRecord, outcome, tookMillis } = event.step
      const facts = { lookup: event.query, ...factsOfContact(contact) }
      return tookMillis === undefined
        ? ["Trace", "Lookup asked", facts]
        : ["Trace", `Lookup step ${outcome.toLowerCase()}`, {
          ...facts,
          millis: Math.round(tookMillis),
          closerNodes,
          holdsRecord
        }]
    }
    case "QueryEnded": {
      const { closest, durationMillis, kind, outcome, query, records, steps, target } = event.trace
      return ["Debug", "Lookup ended", {
        lookup: query,
        kind,
        target,
        outcome,
        asked: steps.length,
        answered: steps.filter(({ outcome }) => outcome === "Answered").length,
        closest: closest.length,
        records,
        millis: Math.round(durationMillis)
      }]
    }
    case "PeerAdded":
    case "PeerRemoved":
      return ["Debug", words(event._tag), { ...factsOfContact(event.contact), bucket: event.bucket }]
    case "ReplicaReported":
      return ["Debug", `Replica reported ${event.outcome.toLowerCase()}`, {
        ...factsOfRecord(event.key, event.record),
        ...factsOfContact(event.contact)
      }]
    case "IdentityConflict":
      return ["Debug", "Identity conflict found", { address: SocketAddress.format(event.address) }]
    default:
      return ["Debug", words(event._tag), factsOfRecord(event.key, event.record)]
  }
}

const ofDetail = (detail: Detail): Line => {
  switch (detail._tag) {
    case "RequestSent":
      return [levelOf(detail.peer), `${detail.request} sent`, {
        ...factsOfPeer(detail.peer),
        attempt: detail.attempt
      }]
    case "RequestAnswered":
      return [levelOf(detail.peer), `${detail.request} answered${detail.isLate ? " late" : ""}`, {
        ...factsOfContact(detail.contact),
        millis: Math.round(detail.rttMillis)
      }]
    case "RequestFailed":
      return [levelOf(detail.peer), `${detail.request} failed`, { ...factsOfPeer(detail.peer), reason: detail.reason }]
    case "RequestReceived":
      return ["Trace", `${detail.request} received`, factsOfContact(detail.contact)]
    case "RecordRefused":
      return ["Debug", "Record refused", {
        ...factsOfRecord(detail.key, detail.record),
        ...factsOfContact(detail.contact),
        reason: detail.reason
      }]
    case "DatagramRefused":
      return ["Debug", "Datagram refused", {
        from: SocketAddress.format(detail.from),
        bytes: detail.bytes,
        reason: detail.reason,
        ...(detail.fault !== undefined && { fault: detail.fault })
      }]
  }
}

/** An address without a known node id was given by the user, to join through or to send a request to. */
const levelOf = ({ id }: Peer): Line[0] => id === undefined ? "Debug" : "Trace"

/**
 * Runs in the caller's scope what {@link layer} runs in a scope of its own.
 *
 * @internal
 */
export const make = Effect.gen(function*() {
  const minimum = yield* References.MinimumLogLevel
  if (!LogLevel.isLessThanOrEqualTo(minimum, "Debug")) return
  const withTrace = LogLevel.isLessThanOrEqualTo(minimum, "Trace")
  const identity = yield* NodeIdentity
  const transport = yield* Transport
  const { explain, listen } = yield* NodeEvents

  yield* Effect.logDebug("Node started").pipe(Effect.annotateLogs({
    address: Address.format(identity.address),
    id: identity.nodeId,
    listen: transport.addresses.map(SocketAddress.format).join(", ")
  }))
  yield* Effect.addFinalizer(() => Effect.logDebug("Node stopped"))

  // Events are emitted outside of any fiber.
  const run = yield* FiberSet.makeRuntime<never>()
  const log = ([level, what, facts]: Line): void => {
    if (level === "Trace" && !withTrace) return
    run((level === "Trace" ? Effect.logTrace(what) : Effect.logDebug(what)).pipe(Effect.annotateLogs(facts)))
  }
  yield* explain((detail) => log(ofDetail(detail)))
  yield* listen((event) => log(ofEvent(event)))
})

/**
 * Logs the node's activity until the layer's scope closes, if the minimum log
 * level is `Debug` or lower when the layer is built.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<never, never, NodeEvents | NodeIdentity | Transport> = Layer.effectDiscard(make)
