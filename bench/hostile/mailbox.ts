/**
 * Messages to a recipient that is offline, read on its return.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import type { Identity } from "../../src/Identity.ts"
import * as Mail from "../../src/Mail.ts"
import type { Section } from "../report.ts"
import { dhtOf, hostOf, identity, network, type Node, node, placed } from "./network.ts"

const messageCount = 50
const senderCount = 20

/** They mostly wait for the recipient, which does not answer. */
const writers = { concurrency: 20 }

/** A node that joins, and stays as long as the scope. */
export const member = Effect.fnUntraced(function*(nodes: ReadonlyArray<Node>, who: Identity, host: string) {
  const joined = yield* node(host, { identity: who })
  yield* dhtOf(joined).bootstrap([dhtOf(nodes[0]).localAddress])
  return joined
})

/** Publishes a profile, so that it can receive messages, and leaves. */
export const introduced = (nodes: ReadonlyArray<Node>, who: Identity, host: string) =>
  Effect.scoped(Effect.gen(function*() {
    const recipient = yield* member(nodes, who, host)
    yield* placed(dhtOf(recipient).publishProfile({ name: "away" }))
  }))

/** Sends messages, each with a text of its own, and returns the texts. */
export const written = (nodes: ReadonlyArray<Node>, senders: number, messages: number, to: Identity) =>
  Effect.forEach(
    Array.from({ length: messages }, (_, i) => i),
    (i) => {
      const { mail } = dhtOf(nodes[i % senders])
      const body = new TextEncoder().encode(`message ${i}`)
      return Effect.as(
        placed(mail.send({ recipient: to.address, type: Mail.MessageType.text, body })),
        `message ${i}`
      )
    },
    writers
  )

const textOf = ({ body }: Mail.Message): string => new TextDecoder().decode(body)

/** Returns and reads its mailbox once. */
export const read = (nodes: ReadonlyArray<Node>, who: Identity, host: string) =>
  Effect.scoped(Effect.gen(function*() {
    const { mail } = dhtOf(yield* member(nodes, who, host))
    const { completeness, messages } = yield* mail.read
    return { texts: new Set(messages.map(textOf)), count: messages.length, completeness }
  }))

/** Returns and takes what the stream of messages delivers within `millis`. */
const streamed = (nodes: ReadonlyArray<Node>, who: Identity, host: string, millis: number) =>
  Effect.scoped(Effect.gen(function*() {
    const { mail } = dhtOf(yield* member(nodes, who, host))
    const texts: Array<string> = []
    yield* mail.messages.pipe(
      Stream.runForEach((message) => Effect.sync(() => texts.push(textOf(message)))),
      Effect.timeoutOption(millis)
    )
    return texts
  }))

export const mailbox = (options: { readonly nodes: number; readonly rounds: number }) =>
  Effect.gen(function*() {
    const nodes = yield* network(options.nodes)
    const figures = { read: Array.of<number>(), streamed: Array.of<number>(), twice: 0 }
    for (let round = 0; round < options.rounds; round++) {
      const away = identity(`away ${round}`)
      const host = hostOf(300 + round)
      yield* introduced(nodes, away, host)
      const texts = yield* written(nodes, senderCount, messageCount, away)
      const mailbox = yield* read(nodes, away, host)
      figures.read.push(texts.filter((text) => mailbox.texts.has(text)).length)
      figures.twice += mailbox.count - mailbox.texts.size
      const came = yield* streamed(nodes, away, host, 8000)
      figures.streamed.push(texts.filter((text) => came.includes(text)).length)
      figures.twice += came.length - new Set(came).size
    }
    const section: Section = {
      title: `${messageCount} messages of ${senderCount} senders on return, ${options.nodes} nodes, no attacker`,
      note: `${options.rounds} recipients, each offline while the messages were sent.`,
      rows: [{
        name: "mailbox",
        figures: {
          "read, least": { value: Math.min(...figures.read), unit: "", atLeast: messageCount },
          "by the stream, least": { value: Math.min(...figures.streamed), unit: "", atLeast: messageCount },
          "delivered twice": { value: figures.twice, unit: "", atMost: 0 }
        }
      }]
    }
    return section
  }).pipe(Effect.scoped)
