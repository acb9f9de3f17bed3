/**
 * The identity of a data directory: `identity show` and `identity new`.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Address from "../../Address.ts"
import * as Hex from "../../internal/hex.ts"
import type { Kept } from "../../node/IdentityFile.ts"
import * as Identities from "../Identities.ts"
import * as Output from "../Output.ts"

interface Options extends Identities.Options {
  readonly json: boolean
}

const print = (json: boolean, { encrypted, identity, path }: Kept) => {
  const document = {
    address: Address.format(identity.address),
    nodeId: identity.nodeId,
    publicKey: Hex.encode(identity.publicKey),
    file: path,
    encrypted
  }
  return Output.print(
    json,
    document,
    Output.table([
      ["address", document.address],
      ["node id", document.nodeId],
      ["public key", document.publicKey],
      ["file", `${path} (${encrypted ? "encrypted" : "not encrypted"})`]
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
