/**
 * Networks that share a protocol and never meet.
 *
 * The signature of each message covers a prefix. In the open network it is that
 * of the reference; a private network has its own, derived from its name and,
 * for one that outsiders cannot enter, from a secret key. A message of another
 * network is thus one with a bad signature, and its sender never becomes a
 * contact. Records do not depend on the network: they are valid in each.
 *
 * @module
 * @since 0.1.0
 */
import * as Redacted from "effect/Redacted"
import { sha256 } from "./internal/sha256.ts"
import { networkFault, normal } from "./internal/text.ts"

/**
 * Selects a network. Without either option it is the open one.
 *
 * @category configuration
 * @since 0.1.0
 */
export interface Options {
  /** Name of a private network, 1 to 64 characters. It is no secret: use a key to keep others out. */
  readonly network?: string | undefined
  /** Secret that all nodes of a private network share. Make it long: a guess can be checked against any message. */
  readonly networkKey?: Redacted.Redacted | undefined
}

/**
 * A network.
 *
 * @category models
 * @since 0.1.0
 */
export interface Network {
  /** In Unicode's composed form (NFC). */
  readonly name: string | undefined
  /** Whether a message needs the network's key. */
  readonly hasKey: boolean
  /** 32 bytes that stand for the name and the key; none for the open network. */
  readonly hash: Uint8Array
  /** The first of the bytes that the signature of a message covers. */
  readonly prefix: Uint8Array
}

const encoder = new TextEncoder()

/** The prefix of the reference. */
const messagePrefix = encoder.encode("a2al-msg\0")

/**
 * The network of the reference.
 *
 * @category constants
 * @since 0.1.0
 */
export const open: Network = { name: undefined, hasKey: false, hash: new Uint8Array(0), prefix: messagePrefix }

/**
 * Returns the selected network. Throws a `RangeError` for an invalid name or an
 * empty key.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = ({ network, networkKey }: Options): Network => {
  if (network === undefined && networkKey === undefined) return open
  const fault = network === undefined ? undefined : networkFault(network)
  if (fault !== undefined) throw new RangeError(`${JSON.stringify(network)} cannot name a network: ${fault}`)
  const key = networkKey === undefined ? "" : Redacted.value(networkKey)
  if (networkKey !== undefined && key === "") throw new RangeError("The key of a network is empty")
  const name = network === undefined ? undefined : normal(network)
  // A name has no zero byte, so each pair of a name and a key has a text of its own.
  const hash = sha256(encoder.encode(`effect-dht network\0${name ?? ""}\0${key}`))
  const prefix = new Uint8Array(messagePrefix.length + hash.length)
  prefix.set(messagePrefix)
  prefix.set(hash, messagePrefix.length)
  return { name, hasKey: networkKey !== undefined, hash, prefix }
}

/**
 * Formats a network for people, without its key.
 *
 * @category conversions
 * @since 0.1.0
 */
export const format = ({ hasKey, name }: Pick<Network, "hasKey" | "name">): string =>
  name === undefined ? hasKey ? "private, with a key" : "open" : hasKey ? `${name}, with a key` : name
