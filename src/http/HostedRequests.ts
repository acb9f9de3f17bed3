/**
 * Requests to host an identity, as programs write them in JSON.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as Custom from "../Custom.ts"
import * as Delegation from "../Delegation.ts"
import type * as HostedIdentities from "../HostedIdentities.ts"
import * as Hex from "../internal/hex.ts"
import * as Record from "../Record.ts"
import * as Gateway from "./Gateway.ts"
import type * as HostedApi from "./HostedApi.ts"
import * as Problem from "./Problem.ts"

const badRequest = (detail: string) => Effect.fail(Problem.make("BadRequest", detail))

/**
 * The key of a request. What is wrong is not quoted: it may be secret.
 *
 * @internal
 */
export const keyOf = Effect.fnUntraced(function*(
  seedHex: string,
  delegationHex: string | undefined
) {
  const digits = seedHex.toLowerCase()
  if (!/^[0-9a-f]{64}$/.test(digits)) return yield* badRequest("seed_hex: write the private key in 64 hex digits")
  const seed = Redacted.make(Hex.decode(digits))
  if (delegationHex === undefined) return { seed }
  const encoded = delegationHex.toLowerCase()
  if (!/^(?:[0-9a-f]{2})+$/.test(encoded)) return yield* badRequest("delegation_hex: write it in hex digits")
  const delegation = yield* Effect.mapError(
    Effect.fromResult(Delegation.decode(Hex.decode(encoded))),
    Problem.ofHosting
  )
  return { seed, delegation }
})

type Announced = typeof HostedApi.HostRequest.Type["announce"]

/** The payload of a custom record, given as a value or as bytes. */
const payloadOf = Effect.fnUntraced(function*({ payload_hex, type, value }: NonNullable<Announced["custom"]>[number]) {
  if ((value === undefined) === (payload_hex === undefined)) {
    return yield* badRequest("custom: write the payload either as value or as payload_hex")
  }
  if (payload_hex !== undefined) return Hex.decode(payload_hex.toLowerCase())
  if (!Record.isCustom(type)) {
    return yield* badRequest(
      `custom: ${type} is not a type that is left to applications: 3 to 15, 17 to 31, 129 to 143`
    )
  }
  const encoded = Custom.make({ type, schema: Schema.Json as Schema.Codec<Schema.Json, Custom.Value> }).encode(
    value ?? null
  )
  return yield* Effect.mapError(Effect.fromResult(encoded), Problem.ofHosting)
})

/**
 * What an identity announces.
 *
 * @internal
 */
export const contentsOf = Effect.fnUntraced(function*({ custom = [], endpoint, profile, topics = [] }: Announced) {
  const contents: Array<HostedIdentities.Content> = []
  if (endpoint !== undefined) contents.push({ _tag: "Endpoint", ...Gateway.endpointOf(endpoint) })
  if (profile !== undefined) contents.push({ _tag: "Profile", ...Gateway.profileOf(profile) })
  for (const topic of topics) contents.push({ _tag: "Topic", ...topic })
  for (const each of custom) {
    const { key, ttl, type } = each
    contents.push({ _tag: "Custom", type, payload: yield* payloadOf(each), key: key?.toLowerCase(), ttl })
  }
  return contents
})

/**
 * The identity of a request.
 *
 * @internal
 */
export const identityOf = Effect.fnUntraced(function*(
  { announce, delegation_hex, mail, replicas, seed_hex, ttl }: typeof HostedApi.HostRequest.Type
) {
  const key = yield* keyOf(seed_hex, delegation_hex)
  const contents = yield* contentsOf(announce)
  if (contents.length === 0 && mail !== true) {
    return yield* badRequest(
      "announce: it is empty. Give an endpoint, a profile, topics or custom records, or read its mail"
    )
  }
  return { ...key, announce: contents, replicas, ttl, mail }
})
