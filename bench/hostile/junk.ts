/**
 * Junk at a topic and in a mailbox: records as large as they may be, from as far
 * in the future as is accepted, left at all nodes around the key.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import * as Features from "../../src/Features.ts"
import type { Identity } from "../../src/Identity.ts"
import * as Mail from "../../src/Mail.ts"
import * as NodeId from "../../src/NodeId.ts"
import * as Record from "../../src/Record.ts"
import * as Topic from "../../src/Topic.ts"
import { unixSeconds } from "../fixtures.ts"
import type { Row, Section } from "../report.ts"
import { introduced, read, written } from "./mailbox.ts"
import {
  contactOf,
  discovered,
  hostOf,
  identity,
  mean,
  nearestTo,
  network,
  type Node,
  offersUnder,
  shareOf,
  some
} from "./network.ts"
import { inParallel, isThere, Stranger } from "./Stranger.ts"

/** Seconds: a record may be a minute from the future. */
const ahead = 55
const manySubnets = 50
const honestCount = 20
const readerCount = 12

/** As many nodes as anybody may take for the closest. */
const targets = 32
/** Requests of all attackers together that wait for an answer. */
const outstanding = 32

const maxTopicPayload = 512

/** An offer with the largest payload. */
const junkOffer = (topic: string, agent: Identity): Record.SignedRecord => {
  const payload = (name: string) => Topic.make({ topic, name })
  const room = maxTopicPayload - Topic.encode(payload("a".repeat(256))).length
  return Result.getOrThrow(Topic.sign({
    signer: agent,
    address: agent.address,
    seq: 1n,
    timestamp: BigInt(unixSeconds() + ahead),
    ttl: Topic.maxTtl,
    payload: payload("a".repeat(256 + room))
  }))
}

/** A record with the form of a message and the largest payload. */
const junkMessage = (to: Identity, agent: Identity): Record.SignedRecord => {
  const payload = (length: number) =>
    Mail.encode({
      recipient: to.address,
      sender: agent.address,
      ephemeralPublicKey: new Uint8Array(32).fill(9),
      ciphertext: new Uint8Array(length),
      nonce: new Uint8Array(12)
    })
  const room = Mail.maxPayload - payload(256).length
  return Result.getOrThrow(Record.sign({
    signer: agent,
    address: agent.address,
    type: Record.RecordType.mailbox,
    seq: 1n,
    timestamp: BigInt(unixSeconds() + ahead),
    ttl: 7200,
    payload: payload(256 + room)
  }))
}

/**
 * Attackers whose address is proved, in one /24 or one in each of many. They say
 * that they will be gone soon, so they take no place among the closest.
 */
const attackers = (subnets: number): Effect.Effect<ReadonlyArray<Stranger>, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.promise(() =>
      Promise.all(Array.from(
        { length: Math.max(subnets, 8) },
        (_, i) =>
          Stranger.open(
            identity(`attacker ${subnets} ${i}`),
            `127.66.${i % subnets}.${1 + Math.floor(i / subnets)}`,
            isThere,
            Features.Bit.client
          )
      ))
    ),
    (strangers) => Effect.sync(() => strangers.forEach((stranger) => stranger.close()))
  )

/** Leaves records of as many publishers at all nodes around the key. */
const litter = (
  nodes: ReadonlyArray<Node>,
  strangers: ReadonlyArray<Stranger>,
  key: NodeId.NodeId,
  records: ReadonlyArray<Record.SignedRecord>
) => {
  const holders = nearestTo(nodes, key, targets).map(contactOf)
  const tasks = holders.flatMap((holder) =>
    records.map((record, i) => ({ holder, record, stranger: strangers[i % strangers.length] }))
  )
  return Effect.promise(() =>
    inParallel(
      tasks,
      outstanding,
      ({ holder, record, stranger }) => stranger.ask(holder, { _tag: "Store", record, key })
    )
  )
}

interface Case {
  readonly name: string
  readonly subnets: number
  readonly publishers: number
  readonly isFirst: boolean
}

/** The shares of honest offers that some nodes and some readers without our bit find. */
const foundOffers = Effect.fnUntraced(
  function*(nodes: ReadonlyArray<Node>, topic: string, names: ReadonlyArray<string>) {
    const shares: Array<number> = []
    for (const reader of some(nodes, readerCount)) shares.push(shareOf(names, yield* discovered(reader, topic)))
    return mean(shares)
  }
)

const foundWithoutBits = (nodes: ReadonlyArray<Node>, topic: string, names: ReadonlyArray<string>) =>
  Effect.promise(async () => {
    const stranger = await Stranger.open(identity("reader"), "127.99.0.1")
    const table = await stranger.join(contactOf(nodes[0]))
    const seen = new Set<string>()
    for (let attempt = 0; attempt < 3; attempt++) {
      const records = await stranger.collect(table, NodeId.fromTopic(topic), Record.RecordType.topic)
      for (const { address } of records) seen.add(address)
    }
    stranger.close()
    return shareOf(names, seen)
  })

const inOrder = <E, R, E2, R2>(
  isFirst: boolean,
  attack: Effect.Effect<unknown, E, R>,
  honest: Effect.Effect<ReadonlyArray<string>, E2, R2>
) =>
  Effect.gen(function*() {
    if (isFirst) yield* attack
    const names = yield* honest
    if (!isFirst) yield* attack
    return names
  })

const measured = Effect.fnUntraced(function*(
  nodes: ReadonlyArray<Node>,
  strangers: ReadonlyArray<Stranger>,
  number: number,
  { name, ...test }: Case
) {
  const atLeast = test.publishers === 0 ? 100 : test.subnets === 1 ? 99.9 : 95

  const topic = `junk ${number}`
  const agents = Array.from({ length: test.publishers }, (_, i) => identity(`junk ${i}`))
  const names = yield* inOrder(
    test.isFirst,
    litter(nodes, strangers, NodeId.fromTopic(topic), agents.map((agent) => junkOffer(topic, agent))),
    Effect.map(offersUnder(nodes, topic, honestCount), (published) => published.map(({ record }) => record.address))
  )
  const offers = yield* foundOffers(nodes, topic, names)
  const plain = yield* foundWithoutBits(nodes, topic, names)

  const away = identity(`away ${number}`)
  const host = hostOf(400 + number)
  yield* introduced(nodes, away, host)
  const texts = yield* inOrder(
    test.isFirst,
    litter(nodes, strangers, away.nodeId, agents.map((agent) => junkMessage(away, agent))),
    written(nodes, honestCount, honestCount, away)
  )
  const mailbox = yield* read(nodes, away, host)
  const row: Row = {
    name,
    figures: {
      "offers found": { value: 100 * offers, unit: "%", atLeast },
      "without our bit": { value: 100 * plain, unit: "%" },
      "messages read": { value: 100 * shareOf(texts, mailbox.texts), unit: "%", atLeast }
    }
  }
  return row
})

export const junk = (options: {
  readonly nodes: number
  readonly publishers: ReadonlyArray<number>
}) =>
  Effect.gen(function*() {
    const nodes = yield* network(options.nodes)
    const cases: Array<Case> = [{ name: "in peace", subnets: 1, publishers: 0, isFirst: true }]
    for (const subnets of [1, manySubnets]) {
      for (const publishers of options.publishers) {
        if (publishers < subnets) continue
        for (const isFirst of [true, false]) {
          const from = subnets === 1 ? "of one /24" : `of ${subnets} subnets`
          cases.push({
            name: `${publishers} junk publishers ${from}, ${isFirst ? "before" : "after"} the honest`,
            subnets,
            publishers,
            isFirst
          })
        }
      }
    }
    const rows: Array<Row> = []
    const strangers = new Map([[1, yield* attackers(1)], [manySubnets, yield* attackers(manySubnets)]])
    for (const [number, test] of cases.entries()) {
      rows.push(yield* measured(nodes, strangers.get(test.subnets) ?? [], number, test))
    }
    const section: Section = {
      title: `Junk at a topic and in a mailbox, ${options.nodes} nodes`,
      note: `${honestCount} honest offers and messages, each of another network; junk of the largest size, ` +
        `${ahead} s from the future, at the ${targets} nodes closest to the key.`,
      rows
    }
    return section
  }).pipe(Effect.scoped)
