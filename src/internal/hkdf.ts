/**
 * HKDF with SHA-256 (RFC 5869), the same for all providers of cryptography.
 * Node's own makes objects for its keys, which takes longer than the digests.
 *
 * @since 0.1.0
 */
import { hkdf } from "@noble/hashes/hkdf.js"
import { sha256 } from "@noble/hashes/sha2.js"

/**
 * Derives a key of 32 bytes from a shared secret.
 *
 * @internal
 */
export const derive = (secret: Uint8Array, salt: Uint8Array, info: Uint8Array): Uint8Array =>
  hkdf(sha256, secret, salt, info, 32)
