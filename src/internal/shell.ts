/**
 * Command lines that are printed to be copied into a shell.
 *
 * @since 0.1.0
 */

/**
 * A text as one word: single quotes keep every character but themselves.
 *
 * @internal
 */
export const word = (text: string): string =>
  /^[\w./:=@%+,-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`
