/**
 * Ids that were ground until they are close to a key, of nodes that say yes to
 * every STORE and keep nothing.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Scope from "effect/Scope"
import type { Contact } from "../../src/Contact.ts"
import type { Identity } from "../../src/Identity.ts"
import * as NodeId from "../../src/NodeId.ts"
import { RecordType } from "../../src/Record.ts"
import type { Publication } from "../../src/Replication.ts"
import { encodeObserved } from "../../src/SocketAddress.ts"
import { quantile } from "../measure.ts"
import type { Row, Section } from "../report.ts"
import { introduced, member, read } from "./mailbox.ts"
import {
  contactOf,
  dhtOf,
  discovered,
  hostOf,
  identity,
  mean,
  network,
  type Node,
  offer,
  placed,
  some
} from "./network.ts"
import { type Behaviour, inParallel, Stranger } from "./Stranger.ts"

/** Leading bits that a ground id shares with the key. */
const bits = 12

/**
 * Identities among which there are `count` within reach of any key: what is ground
 * for one key does for all.
 */
const pool = (count: number): ReadonlyArray<string> =>
  Array.from({ length: Math.ceil(count * 1.6) << bits }, (_, i) => `ground ${i}`)

interface Ground {
  readonly name: string
  readonly id: NodeId.NodeId
}

const closestTo = (all: ReadonlyArray<Ground>, key: NodeId.NodeId, count: number): ReadonlyArray<Identity> => {
  const close = all.filter(({ id }) => NodeId.commonPrefixLength(key, id) >= bits)
  return close.slice(0, count).map(({ name }) => identity(name))
}

/** Names its accomplices only, takes every record and shows none, but to the publisher that asks for its own. */
const accomplice = (others: () => ReadonlyArray<Contact>): Behaviour => {
  const taken = new Map<string, Parameters<Behaviour>[0] & { readonly _tag: "Store" }>()
  return (request, from, { identity }) => {
    const observed = encodeObserved(from)
    switch (request._tag) {
      case "Ping":
        return { _tag: "Pong", address: identity.address, observed }
      case "FindNode":
        return { _tag: "FindNodeResponse", nodes: others().slice(0, 12), observed }
      case "FindValue": {
        const mine = taken.get(from.host)
        const isPublisher = mine !== undefined && request.publisher === mine.record.address
        return {
          _tag: "FindValueResponse",
          nodes: others().slice(0, 8),
          record: undefined,
          observed,
          records: isPublisher ? [mine.record] : undefined
        }
      }
      case "Store":
        taken.set(from.host, request)
        return { _tag: "StoreResponse", stored: true, alreadyHad: false, reason: 0 }
      default:
        return undefined
    }
  }
}

/** Ground nodes that all nodes of the network have heard from. */
const surround = Effect.fnUntraced(function*(nodes: ReadonlyArray<Node>, identities: ReadonlyArray<Identity>) {
  const strangers: Array<Stranger> = []
  const contacts = () => strangers.map(({ contact }) => contact)
  yield* Effect.acquireRelease(
    Effect.promise(async () => {
      for (const [i, who] of identities.entries()) {
        strangers.push(await Stranger.open(who, `127.77.${i}.1`, accomplice(contacts)))
      }
    }),
    () => Effect.sync(() => strangers.forEach((stranger) => stranger.close()))
  )
  yield* Effect.promise(() =>
    inParallel(
      strangers.flatMap((stranger) => nodes.map((node) => ({ stranger, node: contactOf(node) }))),
      32,
      ({ node, stranger }) => stranger.ask(node, { _tag: "Ping", address: stranger.identity.address })
    )
  )
})

interface Play {
  readonly nodes: ReadonlyArray<Node>
  /** Counts the plays. */
  readonly number: number
  readonly isFirst: boolean
  /** Surrounds a key, for as long as the scope. */
  readonly attack: (key: NodeId.NodeId) => Effect.Effect<void, never, Scope.Scope>
  readonly found: Found
  /** How many nodes look. */
  readonly readers: number
  /** One without our bit, and the nodes that it knows. */
  readonly reader: Stranger
  readonly table: ReadonlyArray<Contact>
}

interface Found {
  readonly shares: Array<number>
  readonly times: Array<number>
  readonly plain: Array<number>
  warned: number
  publications: number
}

const empty = (): Found => ({ shares: [], times: [], plain: [], warned: 0, publications: 0 })

const timed = Effect.fnUntraced(function*<E>(found: Found, look: Effect.Effect<boolean, E>) {
  const started = performance.now()
  const isFound = yield* look
  found.times.push(performance.now() - started)
  found.shares.push(isFound ? 1 : 0)
})

/** Publishes before the attack or after it, and takes note of whether the publisher is warned. */
const published = Effect.fnUntraced(function*<E, R>(
  { attack, found, isFirst }: Play,
  key: NodeId.NodeId,
  publish: Effect.Effect<Publication, E, R>
) {
  if (isFirst) yield* attack(key)
  const publication = yield* placed(publish)
  if (!isFirst) yield* attack(key)
  found.publications++
  if (yield* publication.isSurrounded) found.warned++
})

/** Looks from some nodes, and as a reader without our bit. */
const lookedFor = Effect.fnUntraced(function*(
  { found, nodes, reader, readers, table }: Play,
  key: NodeId.NodeId,
  type: 1 | 16,
  look: (node: Node) => Effect.Effect<boolean>
) {
  for (const node of some(nodes, readers)) yield* timed(found, look(node))
  const records = yield* Effect.promise(() => reader.collect(table, key, type))
  found.plain.push(records.length > 0 ? 1 : 0)
})

const played = {
  offer: Effect.fnUntraced(function*(play: Play) {
    const { nodes, number } = play
    const topic = `surrounded ${number}`
    const key = NodeId.fromTopic(topic)
    const publisher = dhtOf(nodes[number * 7 % nodes.length])
    yield* published(play, key, publisher.publish(offer(topic, identity(topic)), key))
    yield* lookedFor(
      play,
      key,
      RecordType.topic,
      (node) => Effect.map(discovered(node, topic), ({ size }) => size === 1)
    )
  }),

  /** The publisher leaves before anybody looks: what it holds itself does not count. */
  endpoint: Effect.fnUntraced(function*(play: Play) {
    const { nodes, number } = play
    const publisher = identity(`endpoint ${number}`)
    const outer = yield* Effect.scope
    yield* Effect.scoped(Effect.gen(function*() {
      const joined = dhtOf(yield* member(nodes, publisher, hostOf(500 + number)))
      yield* published(
        { ...play, attack: (key) => Effect.provideService(play.attack(key), Scope.Scope, outer) },
        publisher.nodeId,
        joined.publishEndpoint({ endpoints: ["tcp://192.0.2.1:1"] })
      )
    }))
    yield* lookedFor(
      play,
      publisher.nodeId,
      RecordType.endpoint,
      (node) => Effect.isSuccess(dhtOf(node).resolve(publisher.address))
    )
  }),

  message: Effect.fnUntraced(function*(play: Play) {
    const { nodes, number } = play
    const recipient = identity(`recipient ${number}`)
    const host = hostOf(600 + number)
    yield* introduced(nodes, recipient, host)
    const send = dhtOf(nodes[number * 7 % nodes.length]).mail.send({
      recipient: recipient.address,
      type: 3,
      body: new TextEncoder().encode("message")
    })
    yield* published(play, recipient.nodeId, send)
    yield* timed(play.found, Effect.map(read(nodes, recipient, host), ({ texts }) => texts.has("message")))
  })
}

const rowOf = (what: string, count: number, isFirst: boolean, found: Found): Row => ({
  name: count === 0
    ? `${what}, in peace`
    : `${what}, ${count} ground ids ${isFirst ? "before" : "after"} it is published`,
  figures: {
    "found": { value: 100 * mean(found.shares), unit: "%", atLeast: count > 20 ? undefined : 99 },
    ...found.plain.length === 0 ? {} : { "without our bit": { value: 100 * mean(found.plain), unit: "%" } },
    "publishers warned": {
      value: 100 * found.warned / found.publications,
      unit: "%",
      // One that was settled before looks again within the hour.
      atLeast: isFirst && count > 0 && count <= 20 ? 100 : undefined,
      atMost: count === 0 ? 0 : undefined
    },
    "p50": { value: quantile(found.times, 0.5), unit: "ms" },
    "p95": { value: quantile(found.times, 0.95), unit: "ms" }
  }
})

export const ground = (options: {
  readonly nodes: number
  readonly counts: ReadonlyArray<number>
  readonly rounds: number
  readonly readers: number
}) =>
  Effect.gen(function*() {
    const started = performance.now()
    const all = pool(Math.max(...options.counts)).map((name): Ground => ({ name, id: identity(name).nodeId }))
    const perSecond = all.length / (performance.now() - started) * 1000
    const nodes = yield* network(options.nodes)
    const reader = yield* Effect.promise(() => Stranger.open(identity("reader"), "127.99.0.1"))
    const table = yield* Effect.promise(() => reader.join(contactOf(nodes[0])))

    const rows: Array<Row> = []
    for (const what of ["offer", "endpoint", "message"] as const) {
      for (const count of [0, ...options.counts]) {
        for (const isFirst of count === 0 ? [true] : [true, false]) {
          const found = empty()
          for (let round = 0; round < options.rounds; round++) {
            const number = rows.length * options.rounds + round
            const attack = (key: NodeId.NodeId) => surround(nodes, closestTo(all, key, count))
            yield* Effect.scoped(
              played[what]({ nodes, number, isFirst, attack, found, readers: options.readers, reader, table })
            )
          }
          rows.push(rowOf(what, count, isFirst, found))
        }
      }
    }
    reader.close()
    const section: Section = {
      title: `Ids ground to ${bits} bits of a key, ${options.nodes} nodes`,
      note: `${options.rounds} keys each, read by ${options.readers} nodes. ${
        perSecond.toFixed(0)
      } ids were ground a second.`,
      rows
    }
    return section
  }).pipe(Effect.scoped)
