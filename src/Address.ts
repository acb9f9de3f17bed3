/**
 * @since 0.1.0
 */
import type * as Brand from "effect/Brand"

/**
 * 42 lower-case hex digits, 21 bytes: version, then a hash of the key.
 *
 * @category models
 * @since 0.1.0
 */
export type Address = string & Brand.Brand<"effect-dht/Address">
