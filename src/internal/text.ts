/**
 * Normalization of text that people type and programs compare.
 *
 * @since 0.1.0
 */
import { orUndefined } from "./orUndefined.ts"

/**
 * The text in Unicode's composed form (NFC), so that "é" as one character equals
 * "e" with a combining accent.
 *
 * @internal
 */
export const normal = (text: string): string => text.normalize("NFC")

/**
 * @internal
 */
export const normalAll = (texts: ReadonlyArray<string>): ReadonlyArray<string> => texts.map(normal)

/** Maximum characters of a network's name. */
const maxNetworkName = 64

/**
 * The reason why a string cannot name a private network; undefined if it can.
 *
 * @internal
 */
export const networkFault = (name: string): string | undefined =>
  name === ""
    ? "it is empty"
    : !name.isWellFormed() || /\p{Cc}/u.test(name)
    ? "it has a control character or is not valid text"
    : normal(name).length > maxNetworkName
    ? `it is longer than ${maxNetworkName} characters`
    : undefined

/**
 * The reason why a string is not a valid topic; undefined if it is.
 *
 * @internal
 */
export const topicFault = (topic: string): string | undefined =>
  topic === "" ? "it is empty" : topic.isWellFormed() ? undefined : "it has a lone surrogate and is not valid text"

/**
 * Decodes UTF-8; undefined if the bytes are not UTF-8.
 *
 * @internal
 */
export const decodeUtf8 = (bytes: Uint8Array): string | undefined => orUndefined(() => decoder.decode(bytes))

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })
