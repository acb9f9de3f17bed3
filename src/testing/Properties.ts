/**
 * The properties that hold in every world, and their {@link Violation}s.
 * `PropertiesSafety` checks a world while it runs; `PropertiesLiveness` checks
 * one that had time to recover from its last fault.
 *
 * @module
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import { seedsOf } from "./internal/seeds.ts"

/**
 * The properties by name, each as a sentence.
 *
 * @category constants
 * @since 0.1.0
 */
export const properties = {
  RecordsAreGood: "every record that a node stores or returns is signed, alive, and within its signer's authority",
  AuthorityEnds: "a node neither stores, lists nor returns a record whose delegation has expired",
  NeverOlder:
    "a node lists no record older than the newest of the slot that it stored or acknowledged, until that expires",
  TableIsSound: "a bucket has at most K contacts, each once and in the bucket of its id, and never the node itself",
  LiveContactsStay: "a contact that responds keeps its place",
  UnverifiedStays: "a node names only contacts that it has heard from itself",
  VerifiedHaveAnswered: "a contact counts as heard from only once it has answered at its address",
  StrangersGetLittle: "a host that has answered no request gets replies of at most three times the bytes of its own",
  OneReply: "a request has at most one reply",
  StoreIsBounded: "a store stays within its limits of keys, of bytes and of records at each key",
  NothingIsLeft: "closing and interruption leave no pending request, timer or fiber behind",
  AnnouncedIsFound: "every live node finds the newest version of every announced record",
  ResolvedIsNewest: "every live node resolves an address to the newest version of its endpoint",
  SurroundedIsTold: "a publisher is told that its key is surrounded if, and only if, it is",
  AnnouncedIsReplicated:
    "8 of the 16 live nodes closest to a record hold it, or all that accept unsolicited datagrams if fewer do",
  TablesAreConnected: "every live node reaches, through contacts, every node that accepts unsolicited datagrams",
  WithdrawalsArrive: "a withdrawal takes the place of its record at every node, if every datagram arrives",
  RestartsResume:
    "a node that starts again with its state has the records that it had, and maintains those that it did",
  WithdrawnVanishes: "a record that is no longer renewed is gone once it has expired",
  MessagesArriveOnce: "every message arrives exactly once",
  WritesAreRead: "a node reads what it has published, or a newer record, until that expires or is withdrawn",
  WatchesAreDifferences: "the changes of a watch are the differences of snapshots, whose records never become older",
  MacsAreChecked: "a message with a MAC is answered only if its sender made it",
  OnlyThePeerResponds: "a request gets its response from the id that it was sent to",
  SessionsAreMutual: "nodes use a MAC only if both announce sessions",
  SessionsLast: "requests between nodes with a session need no signature while both have its key, whatever others send",
  SessionsResume: "a peer that has lost a session is asked again at once, and in a session after two minutes",
  NoticesAreFew: "a notice of a lost session answers one request, and is smaller",
  ReachabilityIsTold: "a node knows whether strangers reach it, two minutes after it joined and five after it moved",
  ClosedAreClients: "no open node has a contact that strangers cannot reach",
  MeetWhereAllowed: "two nodes meet if their routers let them",
  OnlyRequestersAreCalled: "a node that others want to meet sends only to those that have proved their address",
  MeetingsAreFew: "a node hears of at most 40 requests to meet it in ten seconds from each node that it attends at"
} as const

/**
 * @category models
 * @since 0.1.0
 */
export type Property = keyof typeof properties

/**
 * Details of a violation, by name.
 *
 * @category models
 * @since 0.1.0
 */
export type Facts = Readonly<{ [name: string]: string | number | bigint }>

/**
 * A property that did not hold. `atMillis` is virtual time since the start. The
 * seeds are those of the world; with them the violation recurs.
 *
 * @category errors
 * @since 0.1.0
 */
export class Violation extends Data.TaggedError("Violation")<{
  readonly property: Property
  /** The name of the node at fault. */
  readonly node: string
  readonly atMillis: number
  readonly facts: Facts
  readonly seed: number | string
  readonly scheduleSeed: number | string | undefined
}> {
  override get message() {
    const facts = Object.entries(this.facts).map(([name, value]) => `${name} ${value}`).join(", ")
    return `${clockTime(this.atMillis)} ${this.node}: ${this.property}, that ${properties[this.property]}, ` +
      `does not hold: ${facts} (${seedsOf(this)})`
  }
}

/**
 * Formats virtual time as `hh:mm:ss`, with milliseconds unless they are zero.
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
