/**
 * Argon2id (RFC 9106) with the parameters of the encrypted identity: OpenSSL's on
 * Node 24.7 or later, which is four times as fast as the noble library's.
 *
 * @since 0.1.0
 */
import { argon2id as portable } from "@noble/hashes/argon2.js"

interface NodeCrypto {
  readonly argon2Sync?: (algorithm: "argon2id", parameters: {
    readonly message: Uint8Array
    readonly nonce: Uint8Array
    readonly passes: number
    readonly memory: number
    readonly parallelism: number
    readonly tagLength: number
  }) => Uint8Array
}

const native = (globalThis as {
  readonly process?: { readonly getBuiltinModule?: (id: "node:crypto") => NodeCrypto }
}).process?.getBuiltinModule?.("node:crypto").argon2Sync

const passes = 3
/** In KiB: 64 MiB. */
const memory = 65536
const parallelism = 4
const tagLength = 32

/**
 * The portable implementation, exported for a test that compares the two.
 *
 * @internal
 */
export const deriveKeyPortable = (passphrase: Uint8Array, salt: Uint8Array): Uint8Array =>
  portable(passphrase, salt, { t: passes, m: memory, p: parallelism, dkLen: tagLength })

/**
 * Derives a 32-byte key from a passphrase and a salt. It blocks for a quarter of
 * a second by design, which slows down guessing.
 *
 * @internal
 */
export const deriveKey: (passphrase: Uint8Array, salt: Uint8Array) => Uint8Array = native === undefined
  ? deriveKeyPortable
  : (message, nonce) => native("argon2id", { message, nonce, passes, memory, parallelism, tagLength })
