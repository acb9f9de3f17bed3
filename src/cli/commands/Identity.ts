/**
 * The identity of a data directory: `identity show`, `new`, `export`, `import`,
 * `passphrase`, `delegate` and `accept`.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Address from "../../Address.ts"
import * as Delegation from "../../Delegation.ts"
import { withDelegation } from "../../Identity.ts"
import * as Hex from "../../internal/hex.ts"
import * as DelegationFile from "../../node/DelegationFile.ts"
import type { Kept } from "../../node/IdentityFile.ts"
import { fastest } from "../../node/NodeCrypto.ts"
import * as Identities from "../Identities.ts"
import * as Output from "../Output.ts"
import * as Payloads from "../Payloads.ts"

interface Options extends Identities.Options {
  readonly json: boolean
}

const print = (json: boolean, { encrypted, identity, path }: Kept) => {
  const document = {
    address: Address.format(identity.address),
    nodeId: identity.nodeId,
    publicKey: Hex.encode(identity.publicKey),
    file: path,
    encrypted,
    delegation: identity.delegation && Payloads.delegation(identity.delegation)
  }
  return Output.print(
    json,
    document,
    Output.table([
      ["address", document.address],
      ["node id", document.nodeId],
      ["public key", document.publicKey],
      ["file", `${path} (${encrypted ? "encrypted" : "not encrypted"})`],
      ...(identity.delegation === undefined ? [] : Payloads.delegationRows(identity.delegation))
    ])
  )
}

/**
 * @category commands
 * @since 0.1.0
 */
export const show = (options: Options) => Effect.flatMap(Identities.load(options), (kept) => print(options.json, kept))

/**
 * @category commands
 * @since 0.1.0
 */
export const create = (options: Options) =>
  Effect.flatMap(Identities.create(options), (kept) => print(options.json, kept))

type Moving = Options & Identities.NewPassphrase

/**
 * @category commands
 * @since 0.1.0
 */
export const exportTo = (options: Moving & { readonly file: string }) =>
  Effect.flatMap(Identities.exportTo(options), (kept) => print(options.json, kept))

/**
 * @category commands
 * @since 0.1.0
 */
export const importFrom = (options: Moving & { readonly file: string }) =>
  Effect.flatMap(Identities.importFrom(options), (kept) => print(options.json, kept))

/**
 * @category commands
 * @since 0.1.0
 */
export const passphrase = (options: Moving & { readonly none: boolean }) =>
  Effect.flatMap(Identities.changePassphrase(options), (kept) => print(options.json, kept))

/**
 * Lets another key act for the identity of the data directory.
 *
 * @category commands
 * @since 0.1.0
 */
export const delegate = Effect.fnUntraced(function*(
  options: Options & {
    readonly publicKey: Uint8Array
    /** Seconds. */
    readonly lifetime: Option.Option<number>
  }
) {
  const { identity } = yield* Identities.load(options)
  const issuedAt = BigInt(Math.floor((yield* Clock.currentTimeMillis) / 1000))
  const delegation = Delegation.delegate({
    master: identity,
    operationalPublicKey: options.publicKey,
    issuedAt,
    expiresAt: Option.match(options.lifetime, { onNone: () => 0n, onSome: (seconds) => issuedAt + BigInt(seconds) })
  })
  const encoded = Hex.encode(Delegation.encode(delegation))
  yield* Output.print(options.json, { ...Payloads.delegation(delegation), encoded }, [encoded])
})

/**
 * Stores a delegation, which makes the identity of the data directory act for
 * the address that signed it.
 *
 * @category commands
 * @since 0.1.0
 */
export const accept = Effect.fnUntraced(function*(options: Options & { readonly delegation: Delegation.Delegation }) {
  const { data, delegation } = options
  const kept = yield* Identities.loadKey(options)
  const identity = yield* Effect.mapError(
    Effect.fromResult(withDelegation(kept.identity, delegation, fastest)),
    ({ message }) => Output.failed(message)
  )
  const now = Math.floor((yield* Clock.currentTimeMillis) / 1000)
  if (Delegation.isExpired(delegation, now)) {
    return yield* Output.failed(`The delegation expired at ${Output.time(delegation.expiresAt)}. Get a new one`)
  }
  const held = yield* Effect.orElseSucceed(DelegationFile.load(data), () => undefined)
  if (held !== undefined && held.agent === delegation.agent && held.issuedAt > delegation.issuedAt) {
    return yield* Output.failed(
      `A later delegation is already stored, issued ${Output.time(held.issuedAt)}; this one is of ${
        Output.time(delegation.issuedAt)
      }`
    )
  }
  yield* Effect.mapError(
    DelegationFile.save(data, Delegation.canonical(delegation)),
    ({ message }) => Output.failed(message)
  )
  yield* print(options.json, { ...kept, identity })
})
