/**
 * The key of a hosted identity, which may be elsewhere.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import type * as Address from "../Address.ts"
import type { ExchangeKey, SigningKey } from "../Crypto.ts"
import type * as Delegation from "../Delegation.ts"
import * as Record from "../Record.ts"

/**
 * Signs for a hosted identity. An `Identity` is one: that of a seed, or of an
 * operational key with its delegation. A key that is elsewhere, in a key
 * management service or a wallet, signs with an effect.
 *
 * @category models
 * @since 0.1.0
 */
export interface Signer {
  /** The address that is hosted. */
  readonly agent: Address.Address
  /** 32 bytes. */
  readonly publicKey: Uint8Array
  /** Authorises the key to act for `agent`; undefined if that is its own address. */
  readonly delegation: Delegation.Delegation | undefined
  /** Returns an Ed25519 signature of 64 bytes, or an effect that does within 10 seconds. */
  readonly sign: (bytes: Uint8Array) => Uint8Array | Effect.Effect<Uint8Array, SignerFailed>
  /** The same key for encryption; without it messages to the identity cannot be read. */
  readonly exchangeKey?: ExchangeKey | undefined
}

/**
 * A signer gave no valid signature.
 *
 * @category errors
 * @since 0.1.0
 */
export class SignerFailed extends Data.TaggedError("SignerFailed")<{ readonly reason: string }> {
  override get message() {
    return `The signer failed: ${this.reason}`
  }
}

/**
 * A signer without what signs: enough to draft records.
 *
 * @internal
 */
export type Signatory = Pick<Signer, "agent" | "delegation" | "publicKey">

/** Longest wait for a signature. */
const signatureTimeout = "10 seconds"

const noSignature = new Uint8Array(64)

/**
 * Makes drafts of records in the place of a signer.
 *
 * @internal
 */
export const drafter = ({ publicKey }: Signatory): SigningKey => ({ publicKey, sign: () => noSignature })

/**
 * A draft with the signature of its signer, and whether that is valid is for the caller to check.
 *
 * @internal
 */
export const signDraft = Effect.fnUntraced(function*(signer: Signer, draft: Record.SignedRecord) {
  const bytes = Record.signedBytes(draft)
  const signature = yield* Effect.suspend(() => {
    const signature = signer.sign(bytes)
    return Effect.isEffect(signature) ? signature : Effect.succeed(signature)
  }).pipe(
    Effect.timeoutOrElse({
      duration: signatureTimeout,
      orElse: () => new SignerFailed({ reason: `no signature within ${signatureTimeout}` })
    }),
    Effect.catchDefect((defect) =>
      new SignerFailed({ reason: defect instanceof Error ? defect.message : String(defect) })
    )
  )
  if (signature.length !== noSignature.length) {
    return yield* new SignerFailed({ reason: `a signature has 64 bytes, not ${signature.length}` })
  }
  const record = Record.detach(draft)
  record.signature.set(signature)
  return record
})
