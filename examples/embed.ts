/**
 * The DHT inside an Effect application: an application service (`Phonebook.ts`)
 * depends on the node, announces the application's endpoint while it runs, and
 * finds another one.
 *
 * In two terminals, where the second uses the output of the first:
 *
 *     npm run example examples/embed.ts -- --url http://192.0.2.1:8080
 *     npm run example examples/embed.ts -- --bootstrap 127.0.0.1:PORT --find ADDRESS
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import { Address, Dht, SocketAddress } from "effect-dht"
import { DhtLive } from "effect-dht/node"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { parseArgs } from "node:util"
import { Phonebook } from "./Phonebook.ts"

const { values: flags } = parseArgs({
  options: {
    url: { type: "string", default: "http://127.0.0.1:8080" },
    listen: { type: "string", default: "127.0.0.1:0" },
    bootstrap: { type: "string", multiple: true, default: [] },
    find: { type: "string" }
  }
})

/** A node that has joined the network. */
const NodeLayer = Layer.unwrap(
  Effect.map(
    Effect.fromResult(SocketAddress.fromString(flags.listen)),
    (listen) => DhtLive({ listen, bootstrap: flags.bootstrap })
  )
)

const application = Effect.gen(function*() {
  const phonebook = yield* Phonebook
  const { localAddress } = yield* Dht.Dht
  yield* Console.log(`${Address.format(phonebook.own)} is at ${flags.url}`)
  if (flags.find !== undefined) {
    const { url } = yield* phonebook.find(yield* Effect.fromResult(Address.fromString(flags.find)))
    return yield* Console.log(`${flags.find} is at ${url}`)
  }
  yield* Console.log(`Others can join through ${SocketAddress.format(localAddress)}`)
  return yield* Effect.never
})

application.pipe(
  Effect.provide(Phonebook.layer(flags.url).pipe(Layer.provideMerge(NodeLayer))),
  NodeRuntime.runMain
)
