/**
 * The messages to the node's agent in the order in which they became known
 * here, so that an HTTP client that returns with a cursor gets each message
 * once.
 *
 * The order is kept in memory: after a restart of the node all messages that
 * the network still holds are listed again, under a new cursor.
 *
 * @module
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as RcRef from "effect/RcRef"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { RecencyMap } from "../internal/recencyMap.ts"
import { sha256Hex } from "../internal/sha256.ts"
import * as Mail from "../Mail.ts"
import type { Completeness } from "../Query.ts"

/**
 * A message and its place in the log.
 *
 * @category models
 * @since 0.1.0
 */
export interface Note {
  /** The same for every delivery of this message. */
  readonly id: string
  readonly cursor: string
  readonly message: Mail.ReceivedMessage
}

/**
 * Messages after a cursor. `reset` tells that the cursor was unknown, so that
 * they are all messages.
 *
 * @category models
 * @since 0.1.0
 */
export interface Page {
  readonly notes: ReadonlyArray<Note>
  readonly cursor: string
  readonly reset: boolean
  readonly more: boolean
}

/**
 * Maximum number of messages in the log; the oldest are dropped first.
 *
 * @category constants
 * @since 0.1.0
 */
export const maxNotes = 4096

/** How long the mailbox is watched after the last client left. */
const linger = "1 minute"

/** Messages in the order in which they became known. */
class Log {
  private readonly epoch: string
  private readonly known = new RecencyMap<string, true>(2 * maxNotes)
  private notes: Array<Note> = []
  private number = 0

  constructor(epoch: string) {
    this.epoch = epoch
  }

  /** Adds the messages that are new, and returns them. Expired ones make room. */
  learn(messages: ReadonlyArray<Mail.ReceivedMessage>, now: number): ReadonlyArray<Note> {
    const added: Array<Note> = []
    for (const message of messages) {
      const id = sha256Hex(message.record.payload)
      if (this.known.get(id) !== undefined) continue
      this.known.use(id, () => true)
      added.push({ id, cursor: this.cursorOf(++this.number), message })
    }
    if (added.length > 0) {
      this.notes = [...this.notes, ...added].filter(({ message }) => message.record.expiresAt * 1000 >= now)
        .slice(-maxNotes)
    }
    return added
  }

  page(cursor: string | undefined, limit: number): Page {
    const after = cursor === undefined ? 0 : this.numberOf(cursor)
    const waiting = after === undefined ? this.notes : this.notes.filter((note) => this.place(note) > after)
    const notes = waiting.slice(0, limit)
    const last = notes.at(-1)
    return {
      notes,
      cursor: last?.cursor ?? (after === undefined ? this.cursorOf(0) : this.cursorOf(after)),
      reset: after === undefined,
      more: notes.length < waiting.length
    }
  }

  private cursorOf(number: number): string {
    return `${this.epoch}.${number}`
  }

  private place({ cursor }: Note): number {
    return Number(cursor.split(".")[1])
  }

  /** The number in a cursor; undefined if this log did not give it. */
  private numberOf(cursor: string): number | undefined {
    const [epoch, text] = cursor.split(".")
    const number = Number(text)
    return epoch === this.epoch && Number.isInteger(number) && number >= 0 && number <= this.number
      ? number
      : undefined
  }
}

/**
 * The log of messages.
 *
 * @category services
 * @since 0.1.0
 */
export class MailLog extends Context.Service<MailLog, {
  /** Reads the mailbox, and returns at most `limit` messages after the cursor. */
  readonly read: (
    cursor: string | undefined,
    limit: number
  ) => Effect.Effect<Page & { readonly completeness: Completeness }>
  /** Tells `listener` of every message after the cursor, until the scope closes. */
  readonly listen: (
    cursor: string | undefined,
    listener: (note: Note) => void
  ) => Effect.Effect<void, never, Scope.Scope>
}>()("effect-dht/http/MailLog") {}

const make = Effect.gen(function*() {
  const mail = yield* Mail.Mail
  const log = new Log((yield* Clock.currentTimeMillis).toString(36))
  const listeners = new Set<(note: Note) => void>()

  const learn = (messages: ReadonlyArray<Mail.ReceivedMessage>) =>
    Effect.map(Clock.currentTimeMillis, (now) => {
      for (const note of log.learn(messages, now)) for (const tell of listeners) tell(note)
    })

  /** One watch of the mailbox for all clients. */
  const watch = yield* RcRef.make({
    idleTimeToLive: linger,
    acquire: Stream.runForEach(mail.messages, (message) => learn([message])).pipe(
      Effect.catchCause((cause) => Effect.logWarning("Watching the mailbox for clients failed", cause)),
      Effect.annotateLogs({ module: "effect-dht/http/MailLog", fiber: "Watch" }),
      Effect.forkScoped
    )
  })

  return MailLog.of({
    read: Effect.fn("MailLog.read")(function*(cursor, limit) {
      const { completeness, messages } = yield* mail.read
      yield* learn(messages)
      return { ...log.page(cursor, limit), completeness }
    }),
    listen: Effect.fnUntraced(function*(cursor, listener) {
      yield* RcRef.get(watch)
      // Without a pause in between, so that no message is missed or told twice.
      yield* Effect.acquireRelease(
        Effect.sync(() => {
          for (const note of log.page(cursor, maxNotes).notes) listener(note)
          listeners.add(listener)
        }),
        () => Effect.sync(() => listeners.delete(listener))
      )
    })
  })
})

/**
 * The messages to this node's agent.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<MailLog, never, Mail.Mail> = Layer.effect(MailLog, make)
