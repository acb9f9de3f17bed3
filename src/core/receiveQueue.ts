/**
 * Received datagrams that wait to be served, by the standing of their source.
 * Each standing has a fair queue of its own, so strangers displace only
 * strangers.
 *
 * @since 0.1.0
 */
import type { SocketAddress } from "../SocketAddress.ts"
import { FairQueue } from "./fairQueue.ts"

/**
 * How a datagram is received, the best standing first:
 *
 * - `awaited`: it has the transaction of a pending request, which only the
 *   requested peer and observers on the path know.
 * - `session`: its MAC shows that it is from a peer that answered at its source
 *   address. No one else can send one.
 * - `known`: its source address is that of a contact that answered there.
 * - `stranger`: anything else.
 * - `suspect`: signatures from its source have failed, or it is not in canonical form.
 *
 * @internal
 */
export const Standing = { awaited: 0, session: 1, known: 2, stranger: 3, suspect: 4 } as const

/**
 * @internal
 */
export type Standing = typeof Standing[keyof typeof Standing]

/**
 * Turns after which a standing is served at the latest, while better ones wait:
 * peers in sessions get a quarter, other known contacts a third, strangers an
 * eighth and suspects a sixteenth of the turns, whatever else is sent. Known contacts cannot starve strangers, because
 * every contact was a stranger once: a newcomer comes in while the contacts of a
 * whole table flood.
 */
const every = [1, 3, 3, 8, 16]

/**
 * Bounds on waiting items. A few hundredths of a second of work wait in each
 * queue: what waited longer is hardly worth an answer. Suspects get few turns,
 * and so a short queue.
 */
const limits = [
  { capacity: 1024, perSource: 256 },
  { capacity: 1024, perSource: 256 },
  { capacity: 1024, perSource: 256 },
  { capacity: 1024, perSource: 256 },
  { capacity: 256, perSource: 256 }
]

/** A queue, and how many turns in a row it waited for better ones. */
interface Class<A> {
  readonly queue: FairQueue<A>
  readonly every: number
  waited: number
}

/**
 * @internal
 */
export class ReceiveQueue<A> {
  private readonly classes: ReadonlyArray<Class<A>> = limits.map((options, standing) => ({
    queue: new FairQueue<A>(options),
    every: every[standing],
    waited: 0
  }))

  /** Number of items that wait. */
  get size(): number {
    return this.classes.reduce((sum, { queue }) => sum + queue.size, 0)
  }

  /** Queues an item. Returns the item that is lost for it, which may be the item itself; undefined if there is room for all. */
  offer(standing: Standing, from: SocketAddress, item: A): A | undefined {
    return this.classes[standing].queue.offer(from, item)
  }

  /** Takes the next item of a standing that is `worst` or better: of the best, unless another has waited for too many turns. */
  take(worst: Standing): A | undefined {
    let next: Class<A> | undefined
    for (let standing = 0; standing <= worst; standing++) {
      const candidate = this.classes[standing]
      if (candidate.queue.size === 0) candidate.waited = 0
      else if (next === undefined || ++candidate.waited >= candidate.every) next = candidate
    }
    if (next !== undefined) next.waited = 0
    return next?.queue.takeOne()
  }
}
