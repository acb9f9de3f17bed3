/**
 * Normalization of text that people type and programs compare.
 *
 * @since 0.1.0
 */

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

/**
 * The reason why a string is not a valid topic; undefined if it is.
 *
 * @internal
 */
export const topicFault = (topic: string): string | undefined =>
  topic === "" ? "it is empty" : topic.isWellFormed() ? undefined : "it has a lone surrogate and is not valid text"
