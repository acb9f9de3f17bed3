/**
 * The nodes that hold the records of `hosting.ts`, in a process of their own.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as References from "effect/References"
import { Dht } from "../src/Dht.ts"
import { DhtLive } from "../src/node/DhtLive.ts"

const count = Number(process.argv[2])

const node = (bootstrap: ReadonlyArray<string>) =>
  Effect.map(
    Layer.build(Layer.fresh(DhtLive({ listen: { host: "127.0.0.1", port: 0 }, bootstrap }))),
    (services) => Context.get(services, Dht)
  )

const program = Effect.gen(function*() {
  const { localAddress: { port } } = yield* node([])
  yield* Effect.forEach(Array.from({ length: count - 1 }), () => node([`127.0.0.1:${port}`]), { concurrency: 8 })
  process.send?.({ port })
  yield* Effect.callback((resume) => {
    process.once("disconnect", () => resume(Effect.void))
  })
})

Effect.runFork(
  program.pipe(Effect.scoped, Effect.provideService(References.MinimumLogLevel, "Error"))
)
