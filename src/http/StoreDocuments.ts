/**
 * Builds the documents of the records that a node holds. Their schemas are in
 * {@link Api}.
 *
 * @module
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Store from "../Store.ts"
import type * as Api from "./Api.ts"
import * as Lists from "./Lists.ts"
import * as RecordDocuments from "./RecordDocuments.ts"

const storePlaceOf = (after: string | undefined): Store.Place | undefined => {
  if (after === undefined) return undefined
  const [key, record] = Lists.pairOf(after)
  return { key, record }
}

const storeNext = (next: Store.Place | undefined): string | null =>
  next === undefined ? null : `${next.key}.${next.record}`

/**
 * An element of `/debug/store`, with 64-bit integers.
 *
 * @category models
 * @since 0.1.0
 */
export type StoredRecord = {
  readonly key_node_id_hex: string
  readonly address_hex: string
  readonly rec_type: number
  readonly seq: bigint
  readonly timestamp: bigint
  readonly ttl_seconds: number
  readonly payload_cbor_len: number
}

const countRecords = (counts: ReadonlyArray<Store.Count>): number => counts.reduce((sum, { count }) => sum + count, 0)

/**
 * `/debug/store` with its headers: the total number of records and the position
 * of the next page.
 *
 * @category documents
 * @since 0.1.0
 */
export const store = Effect.fnUntraced(function*({ after, limit }: Lists.Part): Effect.fn.Return<
  { readonly records: ReadonlyArray<StoredRecord>; readonly total: number; readonly next: string | null },
  never,
  Store.Store
> {
  const store = yield* Store.Store
  const { next, rows } = yield* store.page({ limit, from: storePlaceOf(after) })
  return {
    records: yield* Lists.inSteps(rows, (row) => ({
      key_node_id_hex: row.key,
      address_hex: row.address,
      rec_type: row.type,
      seq: row.seq,
      timestamp: row.timestamp,
      ttl_seconds: row.ttl,
      payload_cbor_len: row.payloadLength
    })),
    total: countRecords(yield* store.counts),
    next: storeNext(next)
  }
})

/**
 * `/v1/store`.
 *
 * @category documents
 * @since 0.1.0
 */
export const storeReport = Effect.fnUntraced(function*(
  { after, limit, type }: Lists.Part & { readonly type?: number | undefined }
): Effect.fn.Return<typeof Api.StoreReport.Type, never, Store.Store> {
  const store = yield* Store.Store
  const { next, rows } = yield* store.page({ limit, from: storePlaceOf(after), type })
  const counts = yield* store.counts
  return {
    keys: yield* store.size,
    records: countRecords(counts),
    by_type: counts.map(({ count, type }) => ({
      rec_type: type,
      type_name: RecordDocuments.typeName(type),
      records: count
    })),
    listed: yield* Lists.inSteps(rows, (held) => RecordDocuments.row(held.key, held, held.payloadLength)),
    next: storeNext(next)
  }
})
