/**
 * Builds the events of a node. Their schemas are in {@link Api}.
 *
 * @module
 * @since 0.1.0
 */
import type * as NodeEvents from "../NodeEvents.ts"
import type * as Api from "./Api.ts"
import * as QueryDocuments from "./QueryDocuments.ts"
import * as RecordDocuments from "./RecordDocuments.ts"

const replicaOutcomes = {
  Stored: "stored",
  Refused: "refused",
  Unwanted: "unwanted",
  Kept: "kept",
  Lost: "lost",
  Superseded: "superseded",
  Full: "full",
  Failed: "failed"
} as const

const eventTypes = {
  PeerAdded: "peer-added",
  PeerRemoved: "peer-removed",
  RecordStored: "record-stored",
  RecordRemoved: "record-removed",
  PublicationStarted: "publication-started",
  PublicationRenewed: "publication-renewed",
  PublicationEnded: "publication-ended",
  KeySurrounded: "key-surrounded",
  AnnouncementStarted: "announcement-started",
  AnnouncementEnded: "announcement-ended"
} as const

/**
 * @category conversions
 * @since 0.1.0
 */
export const event = (event: NodeEvents.Event): typeof Api.Event.Type => {
  const at_ms = event.at
  switch (event._tag) {
    case "QueryStarted":
    case "QueryStepped":
    case "QueryEnded":
      return QueryDocuments.queryEvent(event)
    case "PeerAdded":
    case "PeerRemoved":
      return { type: eventTypes[event._tag], at_ms, peer: RecordDocuments.peer(event.contact), bucket: event.bucket }
    case "ReplicaReported":
      return {
        type: "replica-reported",
        at_ms,
        record: RecordDocuments.recordRow(event.key, event.record),
        peer: RecordDocuments.peer(event.contact),
        outcome: replicaOutcomes[event.outcome]
      }
    case "IdentityConflict":
      return { type: "identity-conflict", at_ms, ip: event.address.host, port: event.address.port }
    default:
      return { type: eventTypes[event._tag], at_ms, record: RecordDocuments.recordRow(event.key, event.record) }
  }
}
