import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import * as Latency from "../../src/testing/Latency.ts"
import * as Nat from "../../src/testing/Nat.ts"
import * as SimCrypto from "../../src/testing/SimCrypto.ts"
import * as SimHttp from "../../src/testing/SimHttp.ts"
import * as SimWorld from "../../src/testing/SimWorld.ts"

const interrupted: Array<string> = []

/** An application that serves a few routes under `ann.example`. */
const routes = HttpRouter.addAll([
  HttpRouter.route(
    "GET",
    "/hello/:name",
    Effect.map(HttpRouter.params, ({ name }) => HttpServerResponse.text(`hello ${name}`))
  ),
  HttpRouter.route(
    "POST",
    "/echo",
    Effect.gen(function*() {
      const request = yield* HttpServerRequest.HttpServerRequest
      const body = yield* request.json
      const from = Option.getOrUndefined(request.remoteAddress)
      return yield* HttpServerResponse.json({ body, from }, { status: 201 })
    })
  ),
  HttpRouter.route(
    "GET",
    "/slow",
    Effect.as(Effect.sleep("1 minute"), HttpServerResponse.text("slow")).pipe(
      Effect.onInterrupt(() => Effect.sync(() => interrupted.push("slow")))
    )
  ),
  HttpRouter.route(
    "GET",
    "/ticks",
    HttpServerResponse.stream(
      Stream.fromSchedule(Schedule.spaced("1 second")).pipe(Stream.map((n) => new TextEncoder().encode(`${n}`)))
    )
  )
])

const app = HttpRouter.serve(routes, { disableLogger: true, disableListenLog: true }).pipe(
  Layer.provide(SimHttp.layerServer({ port: 8080, hostname: "ann.example" }))
)

const get = (url: string) => Effect.flatMap(HttpClient.get(url), ({ text }) => text)

/** Runs with Ann, who serves, and Bob; latency is 50 ms without jitter. */
const run = <A, E>(
  program: (given: {
    readonly world: SimWorld.World
    readonly ann: SimWorld.SimNode<SimWorld.NodeServices, unknown>
    readonly bob: SimWorld.SimNode<SimWorld.NodeServices, unknown>
  }) => Effect.Effect<A, E>,
  behind?: "Ann" | "Bob"
): A =>
  SimWorld.runSync(
    Effect.gen(function*() {
      const world = yield* SimWorld.SimWorld
      const nat = { host: { behind: Nat.fullCone } }
      const ann = world.node("ann", { app, ...(behind === "Ann" ? nat : {}) })
      const bob = world.node("bob", { through: [ann], ...(behind === "Bob" ? nat : {}) })
      yield* ann.start
      yield* Effect.ignore(bob.start)
      return yield* program({ world, ann, bob })
    }),
    { seed: 1, crypto: SimCrypto.simulated, network: { latency: Latency.constant(50), jitterMillis: 0 } }
  )

/** The result and the virtual milliseconds that it took. */
const timed = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function*() {
    const before = yield* Clock.currentTimeMillis
    const result = yield* effect
    return [result, (yield* Clock.currentTimeMillis) - before] as const
  })

const failed = <A, E extends { readonly message: string }, R>(effect: Effect.Effect<A, E, R>) =>
  timed(Effect.map(Effect.flip(effect), ({ message }) => message))

describe("SimHttp", () => {
  it("carries a request and its response, by name and by IP address, with the latency of each", () => {
    run(({ ann, bob }) =>
      Effect.gen(function*() {
        assert.deepStrictEqual(yield* timed(bob.run(get("http://ann.example:8080/hello/bob"))), ["hello bob", 100])
        assert.strictEqual(yield* bob.run(get(`http://${ann.host.ip}:8080/hello/you`)), "hello you")
        assert.deepStrictEqual(yield* timed(ann.run(get("http://localhost:8080/hello/me"))), ["hello me", 1])
      })
    )
  })

  it("carries bodies, and says who sent them", () => {
    run(({ bob }) =>
      Effect.gen(function*() {
        const response = yield* bob.run(Effect.gen(function*() {
          const request = yield* HttpClientRequest.bodyJson(HttpClientRequest.post("http://ann.example:8080/echo"), [1])
          const response = yield* HttpClient.execute(request)
          return [response.status, yield* response.json]
        }))
        assert.deepStrictEqual(response, [201, { body: [1], from: bob.host.ip }])
      })
    )
  })

  it("answers with the error of the server", () => {
    run(({ bob }) =>
      Effect.gen(function*() {
        const { status } = yield* bob.run(HttpClient.get("http://ann.example:8080/nowhere"))
        assert.strictEqual(status, 404)
      })
    )
  })

  it("fails after ten seconds if the request or the response is lost", () => {
    run(({ ann, bob, world }) =>
      Effect.gen(function*() {
        const request = failed(bob.run(get("http://ann.example:8080/hello/bob")))
        world.network.partition([bob.host])
        assert.deepStrictEqual(yield* request, [
          "Transport: the request timed out (GET http://ann.example:8080/hello/bob)",
          10_000
        ])
        world.network.heal()
        world.network.cut(ann.host, bob.host)
        assert.strictEqual((yield* request)[1], 10_050)
        world.network.heal()
        world.network.conditions.loss = 1
        assert.strictEqual((yield* request)[1], 10_000)
      })
    )
  })

  it("is refused at a port without a server, and fails at once for an unknown name", () => {
    run(({ ann, bob }) =>
      Effect.gen(function*() {
        const [message, millis] = yield* failed(bob.run(get("http://ann.example/hello")))
        assert.match(message, /refused/)
        assert.strictEqual(millis, 100)
        assert.match((yield* failed(bob.run(get("http://eve.example/"))))[0], /no host is called eve.example/)
        yield* ann.leave
        assert.match((yield* failed(bob.run(get("http://ann.example:8080/hello"))))[0], /refused/)
      })
    )
  })

  it("gets no answer from a machine without power, until it is up again", () => {
    run(({ ann, bob }) =>
      Effect.gen(function*() {
        const slow = yield* Effect.forkChild(failed(bob.run(get("http://ann.example:8080/slow"))))
        yield* Effect.sleep("1 second")
        yield* ann.crash()
        assert.match((yield* Fiber.join(slow))[0], /timed out/)
        assert.match((yield* failed(bob.run(get("http://ann.example:8080/hello/a"))))[0], /timed out/)
        yield* ann.start
        assert.strictEqual(yield* bob.run(get("http://ann.example:8080/hello/a")), "hello a")
      })
    )
  })

  it("interrupts the handler if the client gives up", () => {
    interrupted.length = 0
    run(({ bob }) =>
      Effect.gen(function*() {
        yield* bob.run(Effect.timeoutOption(get("http://ann.example:8080/slow"), "10 seconds"))
        assert.deepStrictEqual(interrupted, [])
        yield* Effect.sleep("50 millis")
        assert.deepStrictEqual(interrupted, ["slow"])
      })
    )
  })

  it("streams a response until the network or the server stops it", () => {
    run(({ ann, bob, world }) =>
      Effect.gen(function*() {
        const seen: Array<string> = []
        const ticks = failed(bob.run(
          Effect.gen(function*() {
            const { stream } = yield* HttpClient.get("http://ann.example:8080/ticks")
            yield* Stream.runForEach(Stream.decodeText(stream), (text) => Effect.sync(() => seen.push(text)))
          }).pipe(Effect.mapError(({ cause }) => cause as Error))
        ))
        const first = yield* Effect.forkChild(ticks)
        yield* Effect.sleep("3500 millis")
        assert.deepStrictEqual(seen.splice(0), ["0", "1", "2"])
        world.network.partition([bob.host])
        assert.match((yield* Fiber.join(first))[0], /timed out/)
        world.network.heal()
        const second = yield* Effect.forkChild(ticks)
        yield* Effect.sleep("2500 millis")
        yield* ann.leave
        assert.match((yield* Fiber.join(second))[0], /reset/)
        assert.deepStrictEqual(seen, ["0", "1"])
      })
    )
  })

  it("reaches out from behind a router, but not in", () => {
    const hello = get("http://ann.example:8080/hello/you")
    assert.strictEqual(run(({ bob }) => bob.run(hello), "Bob"), "hello you")
    assert.match(run(({ bob }) => failed(bob.run(hello)), "Ann")[0], /timed out/)
  })

  it("refuses a port that another machine on the host has", () => {
    const error = run(({ ann, world }) => {
      const other = world.machine("other", Layer.provide(app, Layer.empty), { host: ann.host })
      return Effect.flip(other.start)
    })
    assert.match(String(error), /ServeError/)
  })
})
