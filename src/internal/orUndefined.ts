/**
 * Failures of libraries as values: they throw for unusable keys, modified
 * ciphertext and text that is not UTF-8, which the network may always send.
 *
 * @since 0.1.0
 */

/**
 * Evaluates an expression; undefined if it throws.
 *
 * @internal
 */
export const orUndefined = <A>(evaluate: () => A): A | undefined => {
  try {
    return evaluate()
  } catch {
    return undefined
  }
}
