/**
 * A chat between two people who need not be there at the same time: each line
 * is encrypted to its one reader and left in the network for an hour.
 *
 * In two terminals; the second gets the port and the address that the first
 * prints. The first answers whoever wrote last.
 *
 *     npm run example examples/mailbox-chat.ts -- --name Ann
 *     npm run example examples/mailbox-chat.ts -- --name Bob --bootstrap 127.0.0.1:PORT --to ADDRESS
 *
 * With --data DIRECTORY you have the same address next time, and can read what
 * was written to you meanwhile. Control-D ends it.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import { Address, Dht, Mailbox, SocketAddress } from "effect-dht"
import { DhtLive } from "effect-dht/node"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { createInterface } from "node:readline"
import { parseArgs } from "node:util"

const { values: flags } = parseArgs({
  options: {
    name: { type: "string", default: "Somebody" },
    to: { type: "string" },
    bootstrap: { type: "string", multiple: true, default: [] },
    data: { type: "string" }
  }
})

const terminal = createInterface({ input: process.stdin, output: process.stdout, prompt: "> " })

/** Shows a line above the one that is being typed. */
const show = (line: string) =>
  Effect.sync(() => {
    if (terminal.terminal) process.stdout.write("\r\u001b[K")
    process.stdout.write(`${line}\n`)
    if (terminal.terminal) terminal.prompt(true)
  })

/** What other people write may hold anything, also what commands a terminal. */
const printable = (bytes: Uint8Array) => new TextDecoder().decode(bytes).replace(/\p{Cc}/gu, "")

const chat = Effect.gen(function*() {
  const dht = yield* Dht.Dht
  // Whoever writes to us takes our public key from this record.
  yield* dht.announceEndpoint({ endpoints: [] })
  let other = flags.to === undefined ? undefined : yield* Effect.fromResult(Address.fromString(flags.to))
  yield* show(`You are ${Address.format(dht.address)}; others join through ${SocketAddress.format(dht.localAddress)}`)

  const receive = Stream.runForEach(dht.mail.messages, ({ body, sender }) => {
    other = sender
    return show(printable(body))
  })

  const send = Effect.fnUntraced(function*(line: string) {
    if (other === undefined) return yield* show("Nobody has written yet, and there is no --to: whom is it for?")
    const note = yield* dht.mail.send({
      recipient: other,
      type: Mailbox.MessageType.text,
      body: new TextEncoder().encode(`${flags.name}: ${line}`)
    })
    yield* note.replicas(1, { within: "5 seconds" }).pipe(
      Effect.catch(() => show("Nobody else keeps that line yet: stay until it is read"))
    )
  }, Effect.catch((error) => show(`Not sent: ${error.message}`)))

  const lines = Stream.fromAsyncIterable(terminal, (cause) => new Cause.UnknownError(cause, "The terminal is gone"))
  yield* Effect.forkScoped(receive)
  yield* Stream.runForEach(lines, (line) => line === "" ? Effect.void : send(line))
})

/** With a data directory, the same node each time. */
const NodeLayer = DhtLive({ listen: { host: "127.0.0.1", port: 0 }, data: flags.data, bootstrap: flags.bootstrap })

chat.pipe(Effect.scoped, Effect.provide(NodeLayer), NodeRuntime.runMain)
