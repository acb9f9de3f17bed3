/**
 * The nodes that lookups have found, and which of them are absent: they do not
 * answer, or are no longer found where they belong.
 *
 * What is stored while a node is absent is stored at others in its place. Once it
 * is back, it should have a copy (as in the hinted handoff of Dynamo). So nodes
 * that something was stored without are asked at times whether they are back.
 * Times are milliseconds.
 *
 * @since 0.1.0
 */
import type { Contact } from "../Contact.ts"
import { type HeapItem, IndexedHeap } from "../internal/indexedHeap.ts"
import * as NodeId from "../NodeId.ts"

/** Maximum number of nodes that are remembered. */
const maxNodes = 16_384

const minuteMillis = 60_000

/**
 * An absent node is asked again after a quarter of the absence that is known for
 * certain: 30 times on the first day, which is the last. So its return is noticed
 * within a quarter of its absence; or at once, if nothing is known of it for that
 * long when something is stored without it.
 */
const pauseShare = 4
const minPauseMillis = minuteMillis
const maxAbsenceMillis = 24 * 60 * minuteMillis

/**
 * A node that is absent again within this time has not really been back. Its
 * absence continues, and with it the pauses.
 */
const flapMillis = 10 * minuteMillis

class Known implements HeapItem {
  contact: Contact
  /** The beginning of the last absence; undefined if there was none. */
  since: number | undefined
  /** When it was last noticed to be absent, or asked. */
  missedAt = -Infinity
  backAt = -Infinity
  /** When it is asked next. */
  due = 0
  place = -1

  constructor(contact: Contact) {
    this.contact = contact
  }
}

/**
 * What has copies at nodes. All are the first 32 bits of ids and keys.
 *
 * @internal
 */
export interface Held {
  readonly position: number
  /** Number of nodes that should hold a copy. */
  readonly wanted: number
  readonly holders: ReadonlyArray<number>
}

const space = 2 ** 32

const distance = (a: number, b: number): number => (a ^ b) >>> 0

/** The distance within which a node should have a copy. */
const reachOf = ({ holders, position, wanted }: Held): number =>
  holders.length < wanted
    ? space
    : holders.map((holder) => distance(holder, position)).sort((a, b) => a - b)[wanted - 1]

/**
 * Those of the nodes that are among the `wanted` closest, together with the
 * holders, and hold nothing; nearest first.
 *
 * @internal
 */
export const lacking = (held: Held, nodes: ReadonlyArray<Contact>): ReadonlyArray<Contact> => {
  const { holders, position, wanted } = held
  const reach = reachOf(held)
  let near: Array<Contact> | undefined
  for (const node of nodes) {
    const prefix = NodeId.prefix(node.id)
    if (distance(prefix, position) < reach && !holders.includes(prefix)) (near ??= []).push(node)
  }
  if (near === undefined) return none
  const distanceOf = ({ id }: Contact) => distance(NodeId.prefix(id), position)
  return near.sort((a, b) => distanceOf(a) - distanceOf(b)).filter((node, i) =>
    i + holders.filter((holder) => distance(holder, position) < distanceOf(node)).length < wanted
  )
}

const none: ReadonlyArray<Contact> = []

/**
 * @internal
 */
export class KnownNodes {
  /** By the first 32 bits of the id; those that were found longest ago first. */
  private readonly nodes = new Map<number, Known>()
  private readonly absent = new Map<number, Known>()
  /** Absent nodes that something was stored without. */
  private readonly lacked = new IndexedHeap<Known>((a, b) => a.due < b.due)

  /** When `probe` has the next node to ask; undefined if it has none. */
  get nextProbe(): number | undefined {
    return this.lacked.peek()?.due
  }

  /**
   * Notes what a lookup found: of the nodes whose id begins with bits that are
   * `expected`, those that it did not find are absent. Returns the nodes that are
   * new or back.
   */
  found(contacts: ReadonlyArray<Contact>, expected: (prefix: number) => boolean, now: number): ReadonlyArray<Contact> {
    const prefixes = new Set(contacts.map(({ id }) => NodeId.prefix(id)))
    for (const [prefix, known] of this.nodes) {
      if (expected(prefix) && !prefixes.has(prefix)) this.leave(prefix, known, now)
    }
    return contacts.filter((contact) => this.arrive(contact, now))
  }

  /** Notes that nodes do not answer. */
  silent(contacts: ReadonlyArray<Contact>, now: number): void {
    for (const { id } of contacts) {
      const prefix = NodeId.prefix(id)
      const known = this.nodes.get(prefix)
      if (known?.contact.id === id) this.leave(prefix, known, now)
    }
  }

  /** Notes that a node answers. Returns whether it was absent. */
  answered(contact: Contact, now: number): boolean {
    const known = this.nodes.get(NodeId.prefix(contact.id))
    return known?.contact.id === contact.id && this.arrive(contact, now)
  }

  /** Has the absent nodes that lack a copy asked whether they are back. */
  expect(held: Held): void {
    if (this.absent.size === 0) return
    const { holders, position } = held
    const reach = reachOf(held)
    for (const [prefix, known] of this.absent) {
      if (known.place >= 0 || distance(prefix, position) >= reach || holders.includes(prefix)) continue
      this.schedule(prefix, known)
    }
  }

  /** The node to ask whether it is back, if it is time. */
  probe(now: number): Contact | undefined {
    for (let next = this.lacked.peek(); next !== undefined && next.due <= now; next = this.lacked.peek()) {
      this.lacked.remove(next)
      const { contact } = next
      next.missedAt = now
      if (this.schedule(NodeId.prefix(contact.id), next)) return contact
    }
    return undefined
  }

  /** Returns whether the node is new or was absent. */
  private arrive(contact: Contact, now: number): boolean {
    const prefix = NodeId.prefix(contact.id)
    const known = this.nodes.get(prefix)
    this.nodes.delete(prefix)
    if (known === undefined) {
      this.nodes.set(prefix, new Known(contact))
      const [oldest] = this.nodes.keys()
      if (this.nodes.size > maxNodes) this.forget(oldest)
      return true
    }
    this.nodes.set(prefix, known)
    known.contact = contact
    if (!this.absent.delete(prefix)) return false
    if (known.place >= 0) this.lacked.remove(known)
    known.backAt = now
    return true
  }

  private leave(prefix: number, known: Known, now: number): void {
    known.missedAt = now
    if (this.absent.has(prefix)) return
    if (known.since === undefined || now - known.backAt >= flapMillis) known.since = now
    this.absent.set(prefix, known)
  }

  /** Returns false, and forgets the node, if it has been absent for too long. */
  private schedule(prefix: number, known: Known): boolean {
    const absence = known.missedAt - (known.since ?? known.missedAt)
    if (absence > maxAbsenceMillis) {
      this.forget(prefix)
      return false
    }
    known.due = known.missedAt + Math.max(absence / pauseShare, minPauseMillis)
    this.lacked.push(known)
    return true
  }

  private forget(prefix: number): void {
    const known = this.nodes.get(prefix)
    this.nodes.delete(prefix)
    this.absent.delete(prefix)
    if (known !== undefined && known.place >= 0) this.lacked.remove(known)
  }
}
