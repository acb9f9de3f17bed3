/**
 * The messages to the node's agent in the order in which they became known
 * here, so that an HTTP client that returns with a cursor gets each message
 * once, as long as it has not expired.
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
import { Cursors } from "./Cursors.ts"

/**
 * A message and its place in the log.
 *
 * @category models
 * @since 0.1.0
 */
export interface Note<M extends Mail.ReceivedMessage = Mail.ReceivedMessage> {
  /** The same for every delivery of this message. */
  readonly id: string
  readonly cursor: string
  readonly message: M
}

/**
 * Messages after a cursor. `reset` tells that the cursor was unknown, so that
 * they are all messages.
 *
 * @category models
 * @since 0.1.0
 */
export interface Page<M extends Mail.ReceivedMessage = Mail.ReceivedMessage> {
  readonly notes: ReadonlyArray<Note<M>>
  readonly cursor: string
  readonly reset: boolean
  readonly more: boolean
}

/**
 * Maximum number of messages in the log; expired ones are dropped first, then
 * the oldest.
 *
 * @category constants
 * @since 0.1.0
 */
export const maxNotes = 4096

/** Messages beyond the maximum that are added before room is made for them: that goes through all. */
const slack = 64

/** How long the mailbox is watched after the last client left. */
const linger = "1 minute"

interface Entry<M> {
  readonly id: string
  readonly number: number
  readonly message: M
}

/** The rule of the store; `now` is in Unix milliseconds. */
const isHeld = ({ message }: Entry<Mail.ReceivedMessage>, now: number): boolean =>
  message.record.expiresAt >= Math.floor(now / 1000)

/**
 * Messages in the order in which they became known. `max` of them are kept.
 *
 * @category models
 * @since 0.1.0
 */
export class Log<M extends Mail.ReceivedMessage> {
  private readonly cursors: Cursors
  private readonly max: number
  private readonly known: RecencyMap<string, true>
  private entries: Array<Entry<M>> = []

  constructor(startedAt: number, max: number) {
    this.cursors = new Cursors(startedAt)
    this.max = max
    this.known = new RecencyMap(2 * max)
  }

  /** Adds the messages that are new, and returns them. */
  learn(messages: ReadonlyArray<M>, now: number): ReadonlyArray<Note<M>> {
    const added: Array<Note<M>> = []
    for (const message of messages) {
      const id = sha256Hex(message.record.payload)
      if (this.known.get(id) !== undefined) continue
      this.known.set(id, true)
      const entry = { id, number: this.cursors.next(), message }
      this.entries.push(entry)
      added.push(this.noteOf(entry))
    }
    // Expired messages make room before any other.
    if (this.entries.length > this.max + slack) {
      this.entries = this.entries.filter((entry) => isHeld(entry, now)).slice(-this.max)
    }
    return added
  }

  /** At most `limit` messages after the cursor that have not expired, of those that are wanted. */
  page(
    cursor: string | undefined,
    limit: number,
    now: number,
    isWanted: (message: M) => boolean = () => true
  ): Page<M> {
    const after = cursor === undefined ? 0 : this.cursors.parse(cursor)
    const start = after ?? 0
    const waiting = this.entries.filter((entry) =>
      entry.number > start && isWanted(entry.message) && isHeld(entry, now)
    )
    const shown = waiting.slice(0, limit)
    return {
      notes: shown.map((entry) => this.noteOf(entry)),
      cursor: this.cursors.format(shown.at(-1)?.number ?? start),
      reset: after === undefined,
      more: shown.length < waiting.length
    }
  }

  private noteOf({ id, message, number }: Entry<M>): Note<M> {
    return { id, cursor: this.cursors.format(number), message }
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
  const log = new Log<Mail.ReceivedMessage>(yield* Clock.currentTimeMillis, maxNotes)
  const listeners = new Set<(note: Note) => void>()

  const learn = (messages: ReadonlyArray<Mail.ReceivedMessage>) =>
    Effect.map(Clock.currentTimeMillis, (now) => {
      for (const note of log.learn(messages, now)) for (const tell of listeners) tell(note)
    })

  /** One watch of the mailbox for all clients. */
  const watch = yield* RcRef.make({
    idleTimeToLive: linger,
    acquire: Stream.runForEachArray(mail.messages, learn).pipe(
      Effect.catchCause((cause) => Effect.logWarning("Watching the mailbox for clients failed", cause)),
      Effect.annotateLogs({ module: "effect-dht/http/MailLog", fiber: "Watch" }),
      Effect.forkScoped
    )
  })

  return MailLog.of({
    read: Effect.fn("MailLog.read")(function*(cursor, limit) {
      const { completeness, messages } = yield* mail.read
      yield* learn(messages)
      return { ...log.page(cursor, limit, yield* Clock.currentTimeMillis), completeness }
    }),
    listen: Effect.fnUntraced(function*(cursor, listener) {
      yield* RcRef.get(watch)
      const now = yield* Clock.currentTimeMillis
      // Without a pause in between, so that no message is missed or told twice.
      yield* Effect.acquireRelease(
        Effect.sync(() => {
          for (const note of log.page(cursor, maxNotes, now).notes) listener(note)
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
