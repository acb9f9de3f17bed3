/**
 * What a hosted identity announces, as fields and as the payloads of records.
 *
 * @since 0.1.0
 */
import * as Result from "effect/Result"
import * as Endpoint from "../Endpoint.ts"
import type * as NodeId from "../NodeId.ts"
import * as Profile from "../Profile.ts"
import type { CustomBytes, Lifetime } from "../Publisher.ts"
import * as Record from "../Record.ts"
import * as Topic from "../Topic.ts"

/**
 * What a hosted identity announces. See the methods of `Publisher` for the
 * fields and their limits. An identity has one endpoint, one profile, one offer
 * under each topic and one custom record of a type at a key.
 *
 * @category models
 * @since 0.1.0
 */
export type Content =
  | { readonly _tag: "Endpoint" } & Parameters<typeof Endpoint.make>[0] & Lifetime
  | { readonly _tag: "Profile" } & Parameters<typeof Profile.make>[0] & Lifetime
  | { readonly _tag: "Topic" } & Parameters<typeof Topic.make>[0] & Lifetime
  | { readonly _tag: "Custom" } & CustomBytes

/**
 * A record as an identity announces it: a content, encoded.
 *
 * @category models
 * @since 0.1.0
 */
export interface EncodedContent {
  readonly key: NodeId.NodeId
  readonly type: number
  readonly payload: Uint8Array
  /** Seconds, if the content says how long it lives. */
  readonly ttl: number | undefined
}

/**
 * Decodes what an identity announces.
 *
 * @category conversions
 * @since 0.1.0
 */
export const decodeContent = (
  { key, payload, ttl, type }: EncodedContent
): Result.Result<Content, Record.InvalidRecord> => {
  switch (type) {
    case Record.RecordType.endpoint:
      return Result.map(Endpoint.decode(payload), ({ endpoints, ...fields }) => ({
        _tag: "Endpoint",
        ...fields,
        endpoints: endpoints ?? [],
        ttl
      }))
    case Record.RecordType.profile:
      return Result.map(Profile.decode(payload), (fields) => ({ _tag: "Profile", ...fields, ttl }))
    case Record.RecordType.topic:
      return Result.map(Topic.decode(payload), ({ protocols, tags, ...fields }) => ({
        _tag: "Topic",
        ...fields,
        protocols: protocols ?? undefined,
        tags: tags ?? undefined,
        ttl
      }))
    default:
      return Result.succeed({ _tag: "Custom", type, payload, key, ttl })
  }
}

/**
 * @internal
 */
export const typeOf = (content: Content): number => {
  switch (content._tag) {
    case "Endpoint":
      return Record.RecordType.endpoint
    case "Profile":
      return Record.RecordType.profile
    case "Topic":
      return Record.RecordType.topic
    case "Custom":
      return content.type
  }
}

/**
 * @internal
 */
export const signContent = (
  content: Content,
  stamped: Omit<Parameters<typeof Record.sign>[0], "type" | "payload">
): Result.Result<Record.SignedRecord, Record.InvalidRecord> => {
  switch (content._tag) {
    case "Endpoint":
      return Result.flatMap(Endpoint.parse(content), (payload) => Endpoint.sign({ ...stamped, payload }))
    case "Profile":
      return Profile.sign({ ...stamped, payload: Profile.make(content) })
    case "Topic":
      return Topic.sign({ ...stamped, payload: Topic.make(content) })
    case "Custom":
      return Record.sign({ ...stamped, type: content.type, payload: content.payload })
  }
}
