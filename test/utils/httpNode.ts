import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as HttpRouter from "effect/http/HttpRouter"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Guard from "../../src/http/Guard.ts"
import * as Routes from "../../src/http/Routes.ts"
import type * as Network from "./network.ts"

/** A server-sent event. */
export interface SentEvent {
  readonly id: number
  readonly type: string
  readonly data: unknown
}

/** Sends a request for a path to a node. */
export type Fetch = (path: string, options?: RequestInit) => Effect.Effect<Response>

/** Answers requests like the node's server, but without a port, as the host `localhost:2634`. */
export const serve = Effect.fnUntraced(function*(
  node: Network.Node,
  options: Routes.Options & Partial<Guard.Options> = {}
) {
  const routes = Layer.mergeAll(Routes.layer(options), Guard.layer({ port: 2634, ...options })).pipe(
    Layer.provide(Layer.succeedContext(node)),
    // Nodes of one process must not share their metrics.
    Layer.provide(Layer.succeed(Metric.MetricRegistry, new Map())),
    // Streams outlive the request and need the clock of the test as well.
    Layer.provideMerge(Layer.succeed(Clock.Clock, yield* Clock.Clock))
  )
  const { handler } = yield* Effect.acquireRelease(
    Effect.sync(() => HttpRouter.toWebHandler(routes, { disableLogger: true, routerConfig: Routes.routerConfig })),
    ({ dispose }) => Effect.promise(dispose)
  )
  // Contains the clock of the test.
  const context = yield* Effect.context<never>()
  const fetch: Fetch = (path, options) =>
    Effect.promise(() => {
      const request = new Request(`http://localhost:2634${path}`, options)
      if (!request.headers.has("host")) request.headers.set("host", "localhost:2634")
      return handler(request, context)
    })
  return fetch
})

export const text = (response: Response) => Effect.promise(() => response.text())

export const json = (response: Response) => Effect.map(text(response), (body): unknown => JSON.parse(body))

const decoder = new TextDecoder()

/** Reads the events of a response. Run `leave` at the end. */
export const reader = (response: Response) => {
  const source = response.body!.getReader()
  let pending = ""
  const parse = (): Array<SentEvent> => {
    const parts = pending.split("\n\n")
    pending = parts.pop()!
    return parts.flatMap((part) => {
      const field = (name: string) =>
        part.split("\n").find((line) => line.startsWith(`${name}: `))?.slice(name.length + 2)
      const data = field("data")
      return data === undefined
        ? []
        : [{ id: Number(field("id")), type: field("event")!, data: JSON.parse(data) as unknown }]
    })
  }
  return {
    /** The events since the last call; undefined at the end. */
    next: Effect.promise(async () => {
      const { done, value } = await source.read()
      if (done) return undefined
      pending += decoder.decode(value, { stream: true })
      return parse()
    }),
    leave: Effect.promise(() => source.cancel())
  }
}

/** All events of a response that ends by itself. */
export const all = Effect.fnUntraced(function*(response: Response) {
  const { next } = reader(response)
  const events: Array<SentEvent> = []
  while (true) {
    const more = yield* next
    if (more === undefined) return events
    events.push(...more)
  }
})
