/**
 * The messages to hosted identities, for HTTP clients: each once per cursor, in
 * the order in which they became known here, as {@link MailLog} has those of the
 * node's own agent.
 *
 * @module
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Address } from "../Address.ts"
import * as Hosting from "../Hosting.ts"
import * as MailLog from "./MailLog.ts"

type Note = MailLog.Note<Hosting.HostedMessage>

/**
 * Maximum number of messages to all identities; expired ones are dropped first,
 * then the oldest.
 *
 * @category constants
 * @since 0.1.0
 */
export const maxNotes = 16_384

/**
 * The messages to hosted identities.
 *
 * @category services
 * @since 0.1.0
 */
export class HostedMail extends Context.Service<HostedMail, {
  /** Returns at most `limit` messages to an identity after the cursor. */
  readonly read: (
    recipient: Address,
    cursor: string | undefined,
    limit: number
  ) => Effect.Effect<MailLog.Page<Hosting.HostedMessage>>
  /** Tells `listener` of every message to an identity after the cursor, until the scope closes. */
  readonly listen: (
    recipient: Address,
    cursor: string | undefined,
    listener: (note: Note) => void
  ) => Effect.Effect<void, never, Scope.Scope>
}>()("effect-dht/http/HostedMail") {}

const make = Effect.gen(function*() {
  const hosting = Option.getOrUndefined(yield* Effect.serviceOption(Hosting.Hosting))
  const log = new MailLog.Log<Hosting.HostedMessage>(yield* Clock.currentTimeMillis, maxNotes)
  const listeners = new Set<(note: Note) => void>()

  if (hosting !== undefined) {
    yield* Stream.runForEachArray(hosting.messages, (messages) =>
      Effect.map(Clock.currentTimeMillis, (now) => {
        for (const note of log.learn(messages, now)) for (const tell of listeners) tell(note)
      })).pipe(
        Effect.catchCause((cause) => Effect.logWarning("Following the mail of hosted identities failed", cause)),
        Effect.annotateLogs({ module: "effect-dht/http/HostedMail", fiber: "Follow" }),
        Effect.forkScoped({ startImmediately: true })
      )
  }

  const isTo = (recipient: Address) => (message: Hosting.HostedMessage) => message.recipient === recipient

  return HostedMail.of({
    read: (recipient, cursor, limit) =>
      Effect.map(Clock.currentTimeMillis, (now) => log.page(cursor, limit, now, isTo(recipient))),
    listen: Effect.fnUntraced(function*(recipient, cursor, listener) {
      const now = yield* Clock.currentTimeMillis
      const tell = (note: Note) => {
        if (isTo(recipient)(note.message)) listener(note)
      }
      // Without a pause in between, so that no message is missed or told twice.
      yield* Effect.acquireRelease(
        Effect.sync(() => {
          for (const note of log.page(cursor, maxNotes, now, isTo(recipient)).notes) listener(note)
          listeners.add(tell)
        }),
        () => Effect.sync(() => listeners.delete(tell))
      )
    })
  })
})

/**
 * The messages to the hosted identities; none for a node that hosts none.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<HostedMail> = Layer.effect(HostedMail, make)
