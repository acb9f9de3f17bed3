/**
 * What wallets sign: the digest of a text (EIP-191, Bitcoin message signing),
 * with a signature from which the signer's key, and so its address, is
 * recovered. A recovery takes a millisecond or two.
 *
 * @since 0.1.0
 */
import { keccak_256 } from "@noble/hashes/sha3.js"
import * as Bytes from "effect/Bytes"
import * as Hex from "./hex.ts"
import * as Secp256k1 from "./secp256k1.ts"
import { sha256 } from "./sha256.ts"

const encoder = new TextEncoder()

/**
 * Rules of a chain's wallets for addresses and message signatures.
 *
 * @internal
 */
export interface Chain {
  readonly name: string
  /** The 42 hex digits of an address. */
  readonly address: (key: Secp256k1.Point) => string
  /** Returns 65 bytes. */
  readonly sign: (privateKey: Uint8Array, text: Uint8Array) => Uint8Array
  /** Recovers those of the signer from a signature of 65 bytes; undefined if it has none. */
  readonly signer: (signature: Uint8Array, text: Uint8Array) => string | undefined
}

const ethereumDigest = (text: Uint8Array): Uint8Array =>
  keccak_256(Bytes.concat([encoder.encode(`\x19Ethereum Signed Message:\n${text.length}`), text]))

/** Bitcoin's length-prefixed string. */
const varstr = (bytes: Uint8Array): Uint8Array => {
  const { length } = bytes
  const prefix = length < 0xfd
    ? [length]
    : length <= 0xffff
    ? [0xfd, length & 0xff, length >> 8]
    : [0xfe, length & 0xff, length >> 8 & 0xff, length >> 16 & 0xff, length >>> 24]
  return Bytes.concat([Uint8Array.from(prefix), bytes])
}

const paralismDigest = (text: Uint8Array): Uint8Array =>
  sha256(sha256(Bytes.concat([varstr(encoder.encode("Bitcoin Signed Message:\n")), varstr(text)])))

/**
 * @internal
 */
export const chains: { readonly ethereum: Chain; readonly paralism: Chain } = {
  // r, s, then the recovery id, to which most wallets add 27.
  ethereum: {
    name: "Ethereum",
    address: Secp256k1.ethereumAddress,
    sign: (privateKey, text) => {
      const signature = Secp256k1.sign(privateKey, ethereumDigest(text))
      return Bytes.concat([signature.subarray(1), Uint8Array.of(27 + signature[0])])
    },
    signer: (signature, text) => {
      const v = signature[64]
      const recovery = v < 27 ? v : v - 27
      if (recovery > 1) return undefined
      const key = Secp256k1.recover(recovery, signature.subarray(0, 64), ethereumDigest(text))
      return key && Secp256k1.ethereumAddress(key)
    }
  },
  // 27, plus the recovery id, plus 4 if the address is that of the compressed
  // key; then r, s.
  paralism: {
    name: "Paralism",
    address: Secp256k1.paralismAddress,
    sign: (privateKey, text) => {
      const signature = Secp256k1.sign(privateKey, paralismDigest(text))
      signature[0] += 31
      return signature
    },
    signer: (signature, text) => {
      const header = signature[0] - 27
      if (header < 0 || header > 7) return undefined
      const key = Secp256k1.recover(header & 3, signature.subarray(1), paralismDigest(text))
      return key && Secp256k1.paralismAddress(key, (header & 4) !== 0)
    }
  }
}

/**
 * Whether the wallet of an address signed a text. The address is 21 bytes, the
 * first of which tells the chain; any other address or signature is not valid.
 *
 * @internal
 */
export const isSigned = (address: Uint8Array, text: Uint8Array, signature: Uint8Array): boolean => {
  const chain = address[0] === 0xa3 ? chains.ethereum : address[0] === 0xa2 ? chains.paralism : undefined
  return chain !== undefined && signature.length === 65 && chain.signer(signature, text) === Hex.encode(address)
}
