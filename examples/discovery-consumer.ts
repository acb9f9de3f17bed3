/**
 * Service discovery, the consumer: prints the current offers under a topic, and
 * from then on each change. The offer of a stopped provider disappears at once,
 * that of a killed one when its last announcement expires, within the hour.
 *
 *     npm run example examples/discovery-consumer.ts -- --bootstrap 127.0.0.1:PORT --language de
 *
 * with the port that `discovery-provider.ts` printed.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import { Address, Dht } from "effect-dht"
import { DhtLive } from "effect-dht/node"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { parseArgs } from "node:util"

const { values: flags } = parseArgs({
  options: {
    language: { type: "string", multiple: true, default: [] },
    bootstrap: { type: "string", multiple: true, default: [] }
  }
})

const consumer = Effect.gen(function*() {
  const dht = yield* Dht.Dht
  yield* dht.watchTopic("translate", { protocols: ["http"], tags: flags.language }).pipe(
    Stream.runForEach(Effect.fnUntraced(function*({ _tag, offer }) {
      yield* Console.log(`${_tag}: ${offer.name}, ${Address.format(offer.address)}`)
      if (_tag !== "Appeared") return
      const { endpoints } = yield* dht.resolve(offer.address)
      yield* Console.log(`  at ${endpoints?.join(", ")}`)
    }))
  )
})

consumer.pipe(
  Effect.provide(DhtLive({ listen: { host: "127.0.0.1", port: 0 }, bootstrap: flags.bootstrap })),
  NodeRuntime.runMain
)
