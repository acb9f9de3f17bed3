/**
 * Agent cards of the A2A protocol: a document on a web server that describes an
 * agent. A profile names its URL and the SHA-256 of its bytes, so that readers
 * can tell whether it is still the one that the agent has signed.
 *
 * @module
 * @since 0.1.0
 */
import * as Bytes from "effect/Bytes"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Hex from "../internal/hex.ts"
import { sha256 } from "../internal/sha256.ts"
import { decodeUtf8 } from "../internal/text.ts"
import type { ProfilePayload } from "../Profile.ts"
import { boundedFetch, type CannotFetch, isOfInternet } from "./internal/boundedFetch.ts"

/**
 * The name of the card's URL in the `meta` of a profile.
 *
 * @category constants
 * @since 0.1.0
 */
export const metaName = "agent_card"

/**
 * What a profile says about a card: `hash` is the SHA-256 of its bytes.
 *
 * @category models
 * @since 0.1.0
 */
export interface Reference {
  readonly url: string
  readonly hash: Uint8Array
}

/**
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** Whether a card is fetched from this machine and from private networks. Defaults to false. */
  readonly allowPrivate?: boolean | undefined
}

/**
 * There is no card at the URL.
 *
 * @category errors
 * @since 0.1.0
 */
export class NoCard extends Data.TaggedError("NoCard")<{ readonly url: string; readonly reason: string }> {
  override get message() {
    return `There is no agent card at ${this.url}: ${this.reason}`
  }
}

/**
 * Whether a card is the one that was signed.
 *
 * - `Matches`: its bytes have the hash.
 * - `Changed`: they have another one, `found`.
 * - `Unreachable`: there is no card at the URL, or none that may be fetched.
 *
 * @category models
 * @since 0.1.0
 */
export type Verdict =
  | { readonly _tag: "Matches"; readonly url: string; readonly hash: Uint8Array }
  | { readonly _tag: "Changed"; readonly url: string; readonly hash: Uint8Array; readonly found: Uint8Array }
  | { readonly _tag: "Unreachable"; readonly url: string; readonly hash: Uint8Array; readonly reason: string }

const fetch = (url: string, { allowPrivate = false }: Options = {}) =>
  boundedFetch(url, allowPrivate ? () => true : isOfInternet)

const isObject = (bytes: Uint8Array): boolean => {
  try {
    const card: unknown = JSON.parse(decodeUtf8(bytes) ?? "")
    return typeof card === "object" && card !== null && !Array.isArray(card)
  } catch {
    return false
  }
}

/**
 * Fetches the card at a URL, for a profile that is to name it. At most 256 KiB,
 * ten seconds and five redirects; from public addresses only, unless allowed.
 *
 * @category constructors
 * @since 0.1.0
 */
export const refer = (url: string, options?: Options): Effect.Effect<Reference, NoCard> =>
  fetch(url, options).pipe(
    Effect.mapError(({ reason }) => new NoCard({ url, reason })),
    Effect.filterOrFail(isObject, () => new NoCard({ url, reason: "the document is not a JSON object" })),
    Effect.map((bytes) => ({ url, hash: sha256(bytes) }))
  )

/**
 * The fields of a profile that names a card.
 *
 * @category conversions
 * @since 0.1.0
 */
export const fields = ({ hash, url }: Reference): Pick<ProfilePayload, "cardHash" | "meta"> => ({
  cardHash: hash,
  meta: new Map([[metaName, url]])
})

/**
 * Same for the HTTP interface of a node.
 *
 * @category conversions
 * @since 0.1.0
 */
export const payload = ({ hash, url }: Reference) => ({
  card_hash_hex: Hex.encode(hash),
  meta: { [metaName]: url }
})

/**
 * The fields of a profile that may name a card.
 *
 * @category models
 * @since 0.1.0
 */
export interface ReferringPayload extends Pick<ProfilePayload, "cardHash"> {
  readonly meta: ReadonlyMap<string, unknown>
}

/**
 * What a profile says about a card; undefined if it names none.
 *
 * @category accessors
 * @since 0.1.0
 */
export const referenceOf = ({ cardHash, meta }: ReferringPayload): Reference | undefined => {
  const url = meta.get(metaName)
  return typeof url === "string" && cardHash.length === 32 ? { url, hash: cardHash } : undefined
}

/**
 * Fetches a card, within the limits of {@link refer}, and compares it with what
 * was signed.
 *
 * @category checks
 * @since 0.1.0
 */
export const verify = ({ hash, url }: Reference, options?: Options): Effect.Effect<Verdict> =>
  Effect.match(fetch(url, options), {
    onSuccess: (bytes): Verdict => {
      const found = sha256(bytes)
      return Bytes.Equivalence(found, hash)
        ? { _tag: "Matches", url, hash }
        : { _tag: "Changed", url, hash, found }
    },
    onFailure: ({ reason }: CannotFetch): Verdict => ({ _tag: "Unreachable", url, hash, reason })
  })
