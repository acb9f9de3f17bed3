/**
 * Recordings of simulated worlds, to be read afterwards: each datagram with what
 * it says, what happened to the nodes, their routing tables and stores at every
 * moment, and the events that a violation rests on.
 *
 * A recording is plain data; `Recorder` makes it, and `ReplayPage` of
 * `effect-dht/node` makes a page of it.
 *
 * @module
 * @since 0.1.0
 */
import type { DropReason } from "./SimNetwork.ts"

/**
 * The number of a machine in `machines`.
 *
 * @category models
 * @since 0.1.0
 */
export type MachineNumber = number

/**
 * @category models
 * @since 0.1.0
 */
export interface Machine {
  readonly name: string
  /** Its id in hex, the last one if it lost its state. */
  readonly id: string
  readonly socket: string
  readonly isBehindRouter: boolean
}

/**
 * A datagram that arrived or was dropped. All times are virtual milliseconds since
 * the start.
 *
 * @category models
 * @since 0.1.0
 */
export interface Datagram {
  readonly kind: "datagram"
  readonly at: number
  readonly sentAt: number
  /** Null for a host without a machine. */
  readonly from: MachineNumber | null
  readonly to: MachineNumber | null
  readonly outcome: "delivered" | DropReason
  readonly type: string
  readonly what: string
  readonly isResponse: boolean
  /** Whether it has a MAC in place of a signature. */
  readonly isInSession: boolean
  readonly bytes: number
  /** Equal for a request and its responses. Null if it could not be read. */
  readonly transaction: number | null
}

/**
 * Something that happened on a machine, or in the world: a step of the story, a
 * change of the world (a start, a crash, a partition), or an event of a node, such
 * as a timeout.
 *
 * @category models
 * @since 0.1.0
 */
export interface Happening {
  readonly kind: "step" | "change" | "node"
  readonly at: number
  readonly machine: MachineNumber | null
  readonly what: string
}

/**
 * @category models
 * @since 0.1.0
 */
export type Event = Datagram | Happening

/**
 * A row that entered a table or a store, or changed in it; null if it left.
 *
 * @category models
 * @since 0.1.0
 */
export interface Change {
  /** The number of the event that it follows; -1 for the state before the first. */
  readonly after: number
  readonly machine: MachineNumber
  readonly part: "table" | "store"
  readonly key: string
  readonly row: ReadonlyArray<string> | null
}

/**
 * Something that lasts: a machine is up, on one side of a partition, cut off from
 * another, has a wrong clock, waits for a response, or does a lookup.
 *
 * @category models
 * @since 0.1.0
 */
export interface Band {
  readonly kind: "up" | "partition" | "cut" | "clock" | "request" | "lookup"
  readonly machine: MachineNumber
  readonly from: number
  readonly to: number
  readonly what: string
  /** Whether a request or a lookup succeeded; true for other bands. */
  readonly isGood: boolean
}

/**
 * A violation, or the error that ended the run.
 *
 * @category models
 * @since 0.1.0
 */
export interface Failure {
  readonly title: string
  /** The property as a sentence, or the message of the error. */
  readonly sentence: string
  readonly machine: MachineNumber | null
  readonly at: number
  readonly facts: ReadonlyArray<readonly [name: string, value: string]>
  /** The numbers of the events that it rests on, in order. */
  readonly events: ReadonlyArray<number>
}

/**
 * What is known of a run besides its events.
 *
 * @category models
 * @since 0.1.0
 */
export interface About {
  readonly title: string
  /** The story line by line, or the seeds. */
  readonly story: ReadonlyArray<string>
  /** The command that repeats the run. */
  readonly command: string
}

/**
 * A recorded run, as plain data.
 *
 * @category models
 * @since 0.1.0
 */
export interface Recording extends About {
  readonly machines: ReadonlyArray<Machine>
  /** In order of time. */
  readonly events: ReadonlyArray<Event>
  /** Number of events before the first of `events`, which are not kept. */
  readonly omitted: number
  readonly changes: ReadonlyArray<Change>
  readonly bands: ReadonlyArray<Band>
  readonly failures: ReadonlyArray<Failure>
  /** Virtual milliseconds at the end. */
  readonly end: number
}
