/**
 * Text that people type and programs compare: one spelling for what looks the
 * same.
 *
 * @since 0.1.0
 */

/**
 * The text in Unicode's composed form (NFC): "é" typed as one character and as
 * "e" with an accent is one text.
 *
 * @internal
 */
export const normal = (text: string): string => text.normalize("NFC")

/**
 * @internal
 */
export const normalAll = (texts: ReadonlyArray<string>): ReadonlyArray<string> => texts.map(normal)

/**
 * Why a string is no name for a topic, or undefined if it is one.
 *
 * @internal
 */
export const topicFault = (topic: string): string | undefined =>
  topic === "" ? "it is empty" : topic.isWellFormed() ? undefined : "it is not text: it has a lone surrogate"
