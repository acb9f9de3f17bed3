/**
 * What must hold in every world, each by its name: what is wrong when it does
 * not is a {@link Violation}. `PropertiesSafety` watches a world while it runs,
 * `PropertiesLiveness` looks at one in which nothing went wrong for a while.
 *
 * @module
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import { seedsOf } from "./internal/seeds.ts"

/**
 * The properties, in a sentence each.
 *
 * @category constants
 * @since 0.1.0
 */
export const properties = {
  RecordsAreGood: "what a node keeps or returns is signed, alive, and its signer's to say",
  AuthorityEnds: "a node neither keeps, lists nor returns what was signed by a key whose delegation is over",
  NeverOlder: "a node that acknowledged a record lists no older one of its slot",
  TableIsSound: "a bucket has at most K contacts, each once, in the bucket of its id, and never the node itself",
  LiveContactsStay: "a contact that answers keeps its place",
  UnverifiedStays: "a node passes on only contacts that it heard from itself",
  OneReply: "a request has at most one reply",
  StoreIsBounded: "a store keeps to its limits, in keys, in bytes and for each key",
  NothingIsLeft: "what is closed or given up leaves no call, no timer and no fiber",
  AnnouncedIsFound: "every live node finds the newest version of every announced record",
  ResolvedIsNewest: "no live node resolves an address to an older version than its newest",
  SurroundedIsTold: "a publisher is told that nodes surround its key, where they do and nowhere else",
  AnnouncedIsReplicated: "of the 16 live nodes closest to a record, 8 hold it, or as many as strangers reach",
  TablesAreConnected: "every live node reaches every one that strangers reach, along the contacts of such nodes",
  WithdrawnVanishes: "a record that nobody renews is gone when its time is over",
  MessagesArriveOnce: "every message arrives, and once"
} as const

/**
 * @category models
 * @since 0.1.0
 */
export type Property = keyof typeof properties

/**
 * What there is to say about a violation, by name.
 *
 * @category models
 * @since 0.1.0
 */
export type Facts = Readonly<{ [name: string]: string | number | bigint }>

/**
 * A property that did not hold. `atMillis` is virtual time since the beginning,
 * the seeds are those of the world, by which it comes about again.
 *
 * @category errors
 * @since 0.1.0
 */
export class Violation extends Data.TaggedError("Violation")<{
  readonly property: Property
  /** Whose fault it is; the name of the world's node. */
  readonly node: string
  readonly atMillis: number
  readonly facts: Facts
  readonly seed: number | string
  readonly scheduleSeed: number | undefined
}> {
  override get message() {
    const facts = Object.entries(this.facts).map(([name, value]) => `${name} ${value}`).join(", ")
    return `${clockTime(this.atMillis)} ${this.node}: ${this.property}, that ${properties[this.property]}, ` +
      `does not hold: ${facts} (${seedsOf(this)})`
  }
}

/**
 * Virtual time as `hh:mm:ss`, with milliseconds where there are some.
 *
 * @category formatting
 * @since 0.1.0
 */
export const clockTime = (millis: number): string => {
  const whole = Math.floor(millis)
  const seconds = Math.floor(whole / 1000)
  const two = (n: number) => String(n).padStart(2, "0")
  const rest = whole % 1000
  return `${two(Math.floor(seconds / 3600))}:${two(Math.floor(seconds / 60) % 60)}:${two(seconds % 60)}` +
    (rest === 0 ? "" : `.${String(rest).padStart(3, "0")}`)
}
