/**
 * A chat between two people who need not be online at the same time: each line is
 * encrypted for its recipient and stored in the network for an hour.
 *
 * In two terminals, where the second uses the port and the address printed by the
 * first. Without `--to`, replies go to the last sender.
 *
 *     npm run example examples/mailbox-chat.ts -- --name Ann
 *     npm run example examples/mailbox-chat.ts -- --name Bob --bootstrap 127.0.0.1:PORT --to ADDRESS
 *
 * With --data DIRECTORY you keep your address, and can read messages that
 * arrived while you were away. Control-D ends it.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import { Address, Dht, Mail, SocketAddress } from "effect-dht"
import { DhtLive } from "effect-dht/node"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { createInterface } from "node:readline"
import { parseArgs } from "node:util"

const { values: flags } = parseArgs({
  options: {
    name: { type: "string", default: "Anonymous" },
    to: { type: "string" },
    bootstrap: { type: "string", multiple: true, default: [] },
    data: { type: "string" }
  }
})

const terminal = createInterface({ input: process.stdin, output: process.stdout, prompt: "> " })

/** Prints a line above the one being typed. */
const show = (line: string) =>
  Effect.sync(() => {
    if (terminal.terminal) process.stdout.write("\r\u001b[K")
    process.stdout.write(`${line}\n`)
    if (terminal.terminal) terminal.prompt(true)
  })

/** Removes control characters from other people's text, which could control the terminal. */
const printable = (bytes: Uint8Array) => new TextDecoder().decode(bytes).replace(/\p{Cc}/gu, "")

const chat = Effect.gen(function*() {
  const dht = yield* Dht.Dht
  // Others need this record to get the public key that they encrypt to.
  yield* dht.announceEndpoint({ endpoints: [] })
  let other = flags.to === undefined ? undefined : yield* Effect.fromResult(Address.fromString(flags.to))
  yield* show(
    `You are ${Address.format(dht.address)}; others can join through ${SocketAddress.format(dht.localAddress)}`
  )

  const receive = Stream.runForEach(dht.mail.messages, ({ body, sender }) => {
    other = sender
    return show(printable(body))
  })

  const send = Effect.fnUntraced(function*(line: string) {
    if (other === undefined) return yield* show("No recipient: give one with --to, or wait for a message to reply to")
    const publication = yield* dht.mail.send({
      recipient: other,
      type: Mail.MessageType.text,
      body: new TextEncoder().encode(`${flags.name}: ${line}`)
    })
    yield* publication.replicas(1, { within: "5 seconds" }).pipe(
      Effect.catch(() => show("No other node has stored that line yet. Stay until it is read"))
    )
  }, Effect.catch((error) => show(`Not sent: ${error.message}`)))

  const lines = Stream.fromAsyncIterable(terminal, (cause) => new Cause.UnknownError(cause, "The terminal was closed"))
  yield* Effect.forkScoped(receive)
  yield* Stream.runForEach(lines, (line) => line === "" ? Effect.void : send(line))
})

/** With a data directory, the node keeps its identity. */
const NodeLayer = DhtLive({ listen: { host: "127.0.0.1", port: 0 }, data: flags.data, bootstrap: flags.bootstrap })

chat.pipe(Effect.scoped, Effect.provide(NodeLayer), NodeRuntime.runMain)
