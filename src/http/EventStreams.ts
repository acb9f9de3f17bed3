/**
 * Streams of server-sent events, with a bounded queue for each client.
 *
 * There are two kinds. A client of `response` that reads too slowly loses the
 * oldest events; they are numbered, which reveals lost ones. A client of
 * `resumable` is disconnected instead, and continues after the last event that
 * it read. A comment every 15 seconds lets both ends detect a dead connection.
 *
 * @module
 * @since 0.1.0
 */
import type * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Sse from "effect/encoding/Sse"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"

/**
 * Maximum number of events queued for one client.
 *
 * @category constants
 * @since 0.1.0
 */
export const waitingEvents = 512

const heartbeatInterval = "15 seconds"

/**
 * The input of a stream. Neither method blocks.
 *
 * @category models
 * @since 0.1.0
 */
export interface Sink<A> {
  /** Queues an event, which is built when it is sent; a lost event is never built. */
  readonly tell: (event: () => A) => void
  /** Ends the stream after the queued events. */
  readonly end: () => void
}

/**
 * The input of a resumable stream. Neither method blocks.
 *
 * @category models
 * @since 0.1.0
 */
export interface ResumableSink<A> {
  /** Queues an event with the id that a client continues after. */
  readonly tell: (id: string, event: () => A) => void
  /** Ends the stream after the queued events. */
  readonly end: () => void
}

/** A queued event; undefined stands for a comment. */
type Frame<A> = { readonly id: string; readonly event: () => A } | undefined

const textOf = <A extends { readonly type: string }>(frame: Frame<A>): string => {
  if (frame === undefined) return ": still here\n\n"
  const event = frame.event()
  return Sse.encoder.write({ _tag: "Event", event: event.type, id: frame.id, data: JSON.stringify(event) })
}

/**
 * The open streams.
 *
 * @category services
 * @since 0.1.0
 */
export class EventStreams extends Context.Service<EventStreams, {
  /**
   * A response that lasts until the events end or the client disconnects. `open`
   * is called when the response starts, and its scope ends with the stream.
   */
  readonly response: <A extends { readonly type: string }>(
    open: (sink: Sink<A>) => Effect.Effect<void, never, Scope.Scope>
  ) => HttpServerResponse.HttpServerResponse
  /** The same for a stream of which no client misses an event. */
  readonly resumable: <A extends { readonly type: string }>(
    open: (sink: ResumableSink<A>) => Effect.Effect<void, never, Scope.Scope>
  ) => HttpServerResponse.HttpServerResponse
  /** Ends all streams in order, rather than by closing the connection, and succeeds with their number. */
  readonly endAll: Effect.Effect<number>
}>()("effect-dht/http/EventStreams") {}

const make = Effect.sync(() => {
  const open = new Set<() => void>()

  const stream = <A extends { readonly type: string }>(
    strategy: "sliding" | "dropping",
    start: (
      offer: (id: string, event: () => A) => boolean,
      end: () => void
    ) => Effect.Effect<void, never, Scope.Scope>
  ) => {
    const frames = Stream.callback<Frame<A>>(
      Effect.fnUntraced(function*(queue: Queue.Queue<Frame<A>, Cause.Done>) {
        const end = () => void Queue.endUnsafe(queue)
        yield* Effect.acquireRelease(
          Effect.sync(() => open.add(end)),
          () => Effect.sync(() => open.delete(end))
        )
        const beat = Effect.sync(() => Queue.offerUnsafe(queue, undefined))
        // The first comment goes out at once, so that the client knows that it is connected.
        yield* Effect.forkScoped(Effect.repeat(beat, Schedule.spaced(heartbeatInterval)))
        yield* start((id, event) => Queue.offerUnsafe(queue, { id, event }), end)
      }),
      { bufferSize: waitingEvents, strategy }
    )
    return HttpServerResponse.stream(Stream.encodeText(Stream.map(frames, textOf)), {
      contentType: "text/event-stream",
      headers: { "x-accel-buffering": "no" }
    })
  }

  return EventStreams.of({
    response: (start) =>
      stream("sliding", (offer, end) => {
        let id = 0
        return start({ tell: (event) => void offer(String(++id), event), end })
      }),
    resumable: (start) =>
      stream("dropping", (offer, end) =>
        start({
          tell: (id, event) => {
            if (!offer(id, event)) end()
          },
          end
        })),
    endAll: Effect.sync(() => {
      for (const end of open) end()
      return open.size
    })
  })
})

/**
 * An empty set of streams. Streams still open end with the layer's scope.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<EventStreams> = Layer.effect(EventStreams, make)
