/**
 * Letters left for somebody who is away, read on return.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import type { Identity } from "../../src/Identity.ts"
import * as Mailbox from "../../src/Mailbox.ts"
import type { Section } from "../report.ts"
import { dhtOf, hostOf, identity, network, type Node, node, placed } from "./network.ts"

const letterCount = 50
const senderCount = 20

/** They mostly wait for the recipient, who does not answer. */
const writers = { concurrency: 20 }

/** A node that joins, and stays as long as the scope. */
export const member = Effect.fnUntraced(function*(nodes: ReadonlyArray<Node>, who: Identity, host: string) {
  const joined = yield* node(host, { identity: who })
  yield* dhtOf(joined).bootstrap([dhtOf(nodes[0]).localAddress])
  return joined
})

/** Says who it is, so that it can be written to, and goes away. */
export const introduced = (nodes: ReadonlyArray<Node>, who: Identity, host: string) =>
  Effect.scoped(Effect.gen(function*() {
    const recipient = yield* member(nodes, who, host)
    yield* placed(dhtOf(recipient).publishProfile({ name: "away" }))
  }))

/** Leaves letters, each with a text of its own, and returns the texts. */
export const written = (nodes: ReadonlyArray<Node>, senders: number, letters: number, to: Identity) =>
  Effect.forEach(
    Array.from({ length: letters }, (_, i) => i),
    (i) => {
      const { mail } = dhtOf(nodes[i % senders])
      const body = new TextEncoder().encode(`letter ${i}`)
      return Effect.as(
        placed(mail.send({ recipient: to.address, type: Mailbox.MessageType.text, body })),
        `letter ${i}`
      )
    },
    writers
  )

const textOf = ({ body }: Mailbox.Message): string => new TextDecoder().decode(body)

/** Comes back and reads its mail once. */
export const read = (nodes: ReadonlyArray<Node>, who: Identity, host: string) =>
  Effect.scoped(Effect.gen(function*() {
    const { mail } = dhtOf(yield* member(nodes, who, host))
    const { completeness, letters } = yield* mail.read
    return { texts: new Set(letters.map(textOf)), count: letters.length, completeness }
  }))

/** Comes back and takes what the stream of its mail delivers in so many milliseconds. */
const streamed = (nodes: ReadonlyArray<Node>, who: Identity, host: string, millis: number) =>
  Effect.scoped(Effect.gen(function*() {
    const { mail } = dhtOf(yield* member(nodes, who, host))
    const texts: Array<string> = []
    yield* mail.messages.pipe(
      Stream.runForEach((letter) => Effect.sync(() => texts.push(textOf(letter)))),
      Effect.timeoutOption(millis)
    )
    return texts
  }))

export const letters = (options: { readonly nodes: number; readonly rounds: number }) =>
  Effect.gen(function*() {
    const nodes = yield* network(options.nodes)
    const figures = { read: Array.of<number>(), streamed: Array.of<number>(), twice: 0 }
    for (let round = 0; round < options.rounds; round++) {
      const away = identity(`away ${round}`)
      const host = hostOf(300 + round)
      yield* introduced(nodes, away, host)
      const texts = yield* written(nodes, senderCount, letterCount, away)
      const mail = yield* read(nodes, away, host)
      figures.read.push(texts.filter((text) => mail.texts.has(text)).length)
      figures.twice += mail.count - mail.texts.size
      const came = yield* streamed(nodes, away, host, 8000)
      figures.streamed.push(texts.filter((text) => came.includes(text)).length)
      figures.twice += came.length - new Set(came).size
    }
    const section: Section = {
      title: `${letterCount} letters of ${senderCount} senders on return, ${options.nodes} nodes, no attacker`,
      note: `${options.rounds} recipients, who were away while the letters were written.`,
      rows: [{
        name: "letters",
        figures: {
          "read, least": { value: Math.min(...figures.read), unit: "", atLeast: letterCount },
          "by the stream, least": { value: Math.min(...figures.streamed), unit: "", atLeast: letterCount },
          "delivered twice": { value: figures.twice, unit: "", atMost: 0 }
        }
      }]
    }
    return section
  }).pipe(Effect.scoped)
