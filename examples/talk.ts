/**
 * A conversation between two programs, neither of which need be reachable from the
 * internet: `connect` gets through their routers, and `Intercom.ts` is a protocol of
 * its own over the port of the node.
 *
 * In two terminals, where the second uses the output of the first:
 *
 *     npm run example examples/talk.ts
 *     npm run example examples/talk.ts -- --bootstrap 127.0.0.1:PORT --to ADDRESS
 *
 * Between two homes, both join through a node with a public address:
 * `--bootstrap dht.example.net:4121 --listen 0.0.0.0:0`.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import { Address, Dht, SocketAddress } from "effect-dht"
import { DhtLive } from "effect-dht/node"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import { createInterface } from "node:readline"
import { parseArgs } from "node:util"
import { Intercom } from "./Intercom.ts"

const { values: flags } = parseArgs({
  options: {
    listen: { type: "string", default: "127.0.0.1:0" },
    bootstrap: { type: "string", multiple: true, default: [] },
    to: { type: "string" }
  }
})

const NodeLayer = Layer.unwrap(
  Effect.map(
    Effect.fromResult(SocketAddress.fromString(flags.listen)),
    (listen) => DhtLive({ listen, bootstrap: flags.bootstrap })
  )
)

const typed = Stream.fromAsyncIterable(createInterface({ input: process.stdin }), (error) => error)

const conversation = Effect.gen(function*() {
  const dht = yield* Dht.Dht
  const intercom = yield* Intercom
  /** Where to send what is typed: the last node that we met. */
  let peer: SocketAddress.SocketAddress | undefined
  yield* intercom.lines.pipe(
    // Control characters would change the terminal.
    Stream.runForEach(({ text }) => Console.log(`> ${text.replaceAll(/\p{Cc}/gu, "")}`)),
    Effect.forkScoped({ startImmediately: true })
  )
  yield* dht.incoming.pipe(
    Stream.runForEach((met) => {
      peer = met.peer
      return Console.log(`${Address.format(met.peer.address)} is here`)
    }),
    Effect.forkScoped({ startImmediately: true })
  )
  yield* Console.log(`You are ${Address.format(dht.address)}`)
  yield* Console.log(`Others can join through ${SocketAddress.format(dht.localAddress)}`)
  if (flags.to !== undefined) {
    const met = yield* dht.connect(yield* Effect.fromResult(Address.fromString(flags.to)))
    peer = met.peer
    yield* Console.log(met.how === "Direct" ? "Connected" : "Connected through the routers")
  }
  yield* Stream.runForEach(typed, (text) =>
    peer === undefined
      ? Console.log("No one is here yet")
      : Effect.catch(intercom.say(peer, text), ({ message }) => Console.log(message)))
})

conversation.pipe(
  Effect.scoped,
  Effect.provide(Layer.provideMerge(Intercom.layer, NodeLayer)),
  NodeRuntime.runMain
)
