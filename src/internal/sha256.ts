/**
 * SHA-256: OpenSSL's on Node, the noble library's elsewhere. Ids are hashes, so
 * this runs for every packet.
 *
 * @since 0.1.0
 */
import { sha256 as portable } from "@noble/hashes/sha2.js"
import * as Hex from "./hex.ts"

interface NodeCrypto {
  readonly hash?: (algorithm: "sha256", data: Uint8Array, encoding: "hex") => string
}

const native = (globalThis as {
  readonly process?: { readonly getBuiltinModule?: (id: "node:crypto") => NodeCrypto }
}).process?.getBuiltinModule?.("node:crypto").hash

/**
 * The digest as 64 hex digits.
 *
 * @internal
 */
export const sha256Hex: (data: Uint8Array) => string = native === undefined
  ? (data) => Hex.encode(portable(data))
  : (data) => native("sha256", data, "hex")

/**
 * The first bytes of the digest in hex digits. It is a text of its own: a slice
 * of a text keeps the whole of it in memory.
 *
 * @internal
 */
export const sha256Prefix = (data: Uint8Array, bytes: number): string => Hex.slice(sha256(data), 0, bytes)

/**
 * The digest's 32 bytes.
 *
 * @internal
 */
export const sha256 = (data: Uint8Array): Uint8Array => Hex.decode(sha256Hex(data))
