/**
 * Lower-case hexadecimal text, fast enough for every packet: native with Node's
 * `Buffer`, portable on other hosts.
 *
 * @since 0.1.0
 */
import { bytesToHex } from "@noble/hashes/utils.js"

/** The two `Buffer` methods used, called on any `Uint8Array`. */
interface NativeHex {
  readonly hexSlice: (this: Uint8Array, start: number, end: number) => string
  readonly hexWrite: (this: Uint8Array, text: string, at: number) => number
}

const native: NativeHex | undefined = (globalThis as { readonly Buffer?: { readonly prototype: NativeHex } }).Buffer
  ?.prototype

/**
 * Encodes `bytes[start, end)`.
 *
 * @internal
 */
export const slice: (bytes: Uint8Array, start: number, end: number) => string = native === undefined
  ? (bytes, start, end) => bytesToHex(bytes.subarray(start, end))
  : (bytes, start, end) => native.hexSlice.call(bytes, start, end)

/**
 * Encodes all bytes.
 *
 * @internal
 */
export const encode = (bytes: Uint8Array): string => slice(bytes, 0, bytes.length)

const digit = (code: number): number => code < 58 ? code - 48 : code - 87

/**
 * Decodes trusted lower-case hex text into `target` from `at` on. The text must
 * be validated before, as ids and keys are: it is not checked here.
 *
 * @internal
 */
export const write: (target: Uint8Array, text: string, at: number) => void = native === undefined
  ? (target, text, at) => {
    for (let i = 0; i < text.length; i += 2) {
      target[at++] = digit(text.charCodeAt(i)) << 4 | digit(text.charCodeAt(i + 1))
    }
  }
  : (target, text, at) => {
    native.hexWrite.call(target, text, at)
  }

/**
 * Decodes trusted lower-case hex text, see {@link write}.
 *
 * @internal
 */
export const decode = (text: string): Uint8Array => {
  const bytes = new Uint8Array(text.length >> 1)
  write(bytes, text, 0)
  return bytes
}
