/**
 * @since 0.1.0
 */
import type { Address } from "./Address.ts"

/**
 * A statement by an address, signed, kept by nodes that do not know its owner.
 *
 * @category models
 * @since 0.1.0
 */
export interface SignedRecord {
  /** The record as it travels: canonical CBOR, kept as received. */
  readonly bytes: Uint8Array
  /** Whose record it is. */
  readonly address: Address
  /** One of {@link RecordType}, or any other of 8 bits. */
  readonly type: number
  readonly payload: Uint8Array
  readonly seq: bigint
  /** Unix seconds, up to 64 bits. */
  readonly timestamp: bigint
  /** Seconds, up to 32 bits. */
  readonly ttl: number
  /** The last Unix second in which the record is alive: timestamp + ttl. */
  readonly expiresAt: number
  /** The signing key, 32 bytes. */
  readonly publicKey: Uint8Array
  /** 64 bytes. */
  readonly signature: Uint8Array
  /** Canonical CBOR of a delegation from the address to the signing key. */
  readonly delegation: Uint8Array | undefined
  /** When that delegation was issued, Unix seconds; 0 without one. */
  readonly delegatedAt: bigint
}
