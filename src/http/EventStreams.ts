/**
 * Streams of server-sent events for clients of any speed: what waits for one
 * client is bounded, and who is slow misses the oldest.
 *
 * The events of a stream are numbered, so that a client sees what it missed.
 * A comment every 15 seconds tells both ends that the other one is there.
 *
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
 * How many events wait for one client.
 *
 * @category constants
 * @since 0.1.0
 */
export const waitingEvents = 512

const heartbeatInterval = "15 seconds"

/**
 * Where the events of one stream go; neither waits.
 *
 * @category models
 * @since 0.1.0
 */
export interface Sink<A> {
  /** The event is made when it is sent, which one that the client misses never is. */
  readonly tell: (event: () => A) => void
  /** After what was told so far. */
  readonly end: () => void
}

/** A comment where there is no event. */
type Frame<A> = { readonly id: number; readonly event: () => A } | undefined

const textOf = <A extends { readonly type: string }>(frame: Frame<A>): string => {
  if (frame === undefined) return ": still here\n\n"
  const event = frame.event()
  return Sse.encoder.write({ _tag: "Event", event: event.type, id: String(frame.id), data: JSON.stringify(event) })
}

/**
 * The streams that are open.
 *
 * @category services
 * @since 0.1.0
 */
export class EventStreams extends Context.Service<EventStreams, {
  /**
   * An answer that goes on until the events or the client end it. `open` is
   * called when the answer is sent, and its scope ends with the stream.
   */
  readonly response: <A extends { readonly type: string }>(
    open: (sink: Sink<A>) => Effect.Effect<void, never, Scope.Scope>
  ) => HttpServerResponse.HttpServerResponse
  /** Ends all of them, so that their clients see an end and no broken connection; succeeds with how many there were. */
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
        // At once, so that the client knows that it is connected.
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
 * No streams at first; those that are open end with the layer's scope.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<EventStreams> = Layer.effect(EventStreams, make)
