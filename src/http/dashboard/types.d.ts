/**
 * Types of the documents as the page uses them, so that a change of a document
 * is type-checked against the page.
 */
import type * as Api from "../Api.ts"

export type Overview = typeof Api.Overview.Type
export type Buckets = typeof Api.Buckets.Type
export type Bucket = Buckets["buckets"][number]
export type TrafficReport = typeof Api.TrafficReport.Type
export type Histogram = typeof Api.Histogram.Type
export type History = typeof Api.History.Type
export type Sample = typeof Api.Sample.Type
export type StoreReport = typeof Api.StoreReport.Type
export type RecordRow = typeof Api.RecordRow.Type
export type Replication = typeof Api.Replication.Type
export type Queries = typeof Api.Queries.Type
export type Query = typeof Api.Query.Type
export type QueryStep = typeof Api.QueryStep.Type
export type Peer = typeof Api.Peer.Type
export type FoundRecord = typeof Api.FoundRecord.Type
export type Announcements = typeof Api.Announcements.Type
export type Hosted = typeof Api.HostedIdentities.Type
export type Network = typeof Api.Network.Type
export type Event = typeof Api.Event.Type
export type LookupEvent = typeof Api.LookupEvent.Type
export type LookupRequest = typeof Api.LookupRequest.Type
