/**
 * The version of this library.
 *
 * @since 0.1.0
 */

/**
 * As in `package.json`.
 *
 * @internal
 */
export const version = "0.1.0"
