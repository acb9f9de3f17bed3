/**
 * Service discovery, the provider: announces a service under a topic until it is
 * stopped. `discovery-consumer.ts` is the other side.
 *
 *     npm run example examples/discovery-provider.ts -- --name Ann --language de --language fr
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import { Dht, SocketAddress } from "effect-dht"
import { DhtLive } from "effect-dht/node"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import { parseArgs } from "node:util"

const { values: flags } = parseArgs({
  options: {
    name: { type: "string", default: "Anonymous" },
    language: { type: "string", multiple: true, default: ["en"] },
    bootstrap: { type: "string", multiple: true, default: [] }
  }
})

const provider = Effect.gen(function*() {
  const dht = yield* Dht.Dht
  // The endpoint of the service; the offer below describes it.
  yield* dht.announceEndpoint({ endpoints: ["http://127.0.0.1:8080/translate"] })
  yield* dht.announceTopic({ topic: "translate", name: flags.name, protocols: ["http"], tags: flags.language })
  yield* Console.log(
    `${flags.name} offers translations; others can join through ${SocketAddress.format(dht.localAddress)}`
  )
  return yield* Effect.never
})

provider.pipe(
  // Both announcements are withdrawn when this scope closes, as it does on Ctrl-C.
  Effect.scoped,
  Effect.provide(DhtLive({ listen: { host: "127.0.0.1", port: 0 }, bootstrap: flags.bootstrap })),
  NodeRuntime.runMain
)
