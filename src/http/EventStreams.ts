/**
 * Streams of server-sent events. Each client has a bounded queue, and a slow
 * client loses the oldest events.
 *
 * The events of a stream are numbered, which reveals lost ones. A comment every
 * 15 seconds lets both ends detect a dead connection.
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

/** A queued event; undefined stands for a comment. */
type Frame<A> = { readonly id: number; readonly event: () => A } | undefined

const textOf = <A extends { readonly type: string }>(frame: Frame<A>): string => {
  if (frame === undefined) return ": still here\n\n"
  const event = frame.event()
  return Sse.encoder.write({ _tag: "Event", event: event.type, id: String(frame.id), data: JSON.stringify(event) })
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
  /** Ends all streams in order, rather than by closing the connection, and succeeds with their number. */
  readonly endAll: Effect.Effect<number>
}>()("effect-dht/http/EventStreams") {}

const make = Effect.sync(() => {
  const sinks = new Set<Sink<never>>()

  const response: EventStreams["Service"]["response"] = <A extends { readonly type: string }>(
    open: (sink: Sink<A>) => Effect.Effect<void, never, Scope.Scope>
  ) => {
    const frames = Stream.callback<Frame<A>>(
      Effect.fnUntraced(function*(queue: Queue.Queue<Frame<A>, Cause.Done>) {
        let id = 0
        const sink: Sink<A> = {
          tell: (event) => Queue.offerUnsafe(queue, { id: ++id, event }),
          end: () => Queue.endUnsafe(queue)
        }
        yield* Effect.acquireRelease(
          Effect.sync(() => sinks.add(sink)),
          () => Effect.sync(() => sinks.delete(sink))
        )
        const beat = Effect.sync(() => Queue.offerUnsafe(queue, undefined))
        // The first comment goes out at once, so that the client knows that it is connected.
        yield* Effect.forkScoped(Effect.repeat(beat, Schedule.spaced(heartbeatInterval)))
        yield* open(sink)
      }),
      { bufferSize: waitingEvents, strategy: "sliding" }
    )
    return HttpServerResponse.stream(Stream.encodeText(Stream.map(frames, textOf)), {
      contentType: "text/event-stream",
      headers: { "x-accel-buffering": "no" }
    })
  }

  return EventStreams.of({
    response,
    endAll: Effect.sync(() => {
      for (const sink of sinks) sink.end()
      return sinks.size
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
