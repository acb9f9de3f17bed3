/**
 * The signers and sources whose signatures failed lately. What they send next
 * is checked last.
 *
 * A signer is judged with the host that used its key, because any host can use
 * the key of another. A host from which several keys failed is suspect
 * altogether, because new keys cost nothing. A sender that forges the address of
 * another can make that one a suspect; so this decides only about strangers.
 *
 * Times are Unix milliseconds.
 *
 * @since 0.1.0
 */
import * as Hex from "../internal/hex.ts"
import { RecencyMap } from "../internal/recencyMap.ts"

/** Most signers and most hosts remembered, the latest ones: more than the sources that a large flood has. */
const capacity = 16_384

/** Milliseconds for which a failure counts. */
const lifetimeMillis = 60_000

/** Failed signers of a host that make it suspect: one may be a broken neighbour in the same house. */
const suspiciousSigners = 2

/** Failures of a signer at a host, or of different signers at a host. */
interface Failures {
  count: number
  at: number
}

const none = (): Failures => ({ count: 0, at: -Infinity })

/**
 * @internal
 */
export class FailedSignatures {
  private readonly signers = new RecencyMap<string, Failures>(capacity)
  private readonly hosts = new RecencyMap<string, Failures>(capacity)

  /** Whether the next signature of a signer at a host is likely to fail. */
  isSuspect(publicKey: Uint8Array, host: string, now: number): boolean {
    return this.hosts.size > 0 &&
      (countAt(this.hosts.get(host), now) >= suspiciousSigners ||
        countAt(this.signers.get(signerAt(publicKey, host)), now) > 0)
  }

  /** Records a signature that failed. */
  failed(publicKey: Uint8Array, host: string, now: number): void {
    const signer = this.signers.use(signerAt(publicKey, host), none)
    const isFirst = countAt(signer, now) === 0
    signer.count = 1
    signer.at = now
    const failures = this.hosts.use(host, none)
    failures.count = countAt(failures, now) + (isFirst ? 1 : 0)
    failures.at = now
  }

  /** Records a signature that was good, which clears the signer. */
  succeeded(publicKey: Uint8Array, host: string): void {
    if (this.hosts.size === 0) return
    const signer = this.signers.get(signerAt(publicKey, host))
    if (signer !== undefined) signer.count = 0
  }
}

/** The failures that still count; a clock that was set back makes none of them last longer. */
const countAt = (failures: Failures | undefined, now: number): number =>
  failures === undefined || Math.abs(now - failures.at) >= lifetimeMillis ? 0 : failures.count

/** Part of the key suffices: a host that uses the keys of others is suspect itself. */
const signerAt = (publicKey: Uint8Array, host: string): string => `${Hex.slice(publicKey, 0, 8)} ${host}`
