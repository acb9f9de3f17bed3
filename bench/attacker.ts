/**
 * A flood from many sources of the loopback network, as a process of its own.
 * All is encoded beforehand.
 *
 * @since 0.1.0
 */
import { createSocket, type Socket } from "node:dgram"
import { attackerHost, datagramsOf, type Kind } from "./attacks.ts"

/** Commands to the attacker: what to send from which sources, then to send for a time at a rate per second. */
export type ToAttacker =
  | {
    readonly _tag: "Prepare"
    readonly port: number
    readonly kind: Kind
    readonly sources: number
    readonly isOneHost: boolean
  }
  | { readonly _tag: "Run"; readonly perSecond: number; readonly millis: number }

export type FromAttacker =
  | { readonly _tag: "Prepared" }
  | { readonly _tag: "Done"; readonly sent: number }

let sockets: ReadonlyArray<Socket> = []
let packets: ReadonlyArray<Uint8Array> = []
let prepared: Kind | undefined

const open = (host: string, port: number): Promise<Socket> =>
  new Promise((resolve, reject) => {
    const socket = createSocket("udp4")
    socket.once("error", reject)
    socket.bind(0, host, () => socket.connect(port, "127.0.0.1", () => resolve(socket)))
  })

const prepare = async (
  { isOneHost, kind, port, sources }: Extract<ToAttacker, { readonly _tag: "Prepare" }>
): Promise<void> => {
  for (const socket of sockets) socket.close()
  sockets = await Promise.all(Array.from({ length: sources }, (_, i) => open(attackerHost({ isOneHost }, i), port)))
  if (kind !== prepared) packets = datagramsOf(kind)
  prepared = kind
}

const run = async (perSecond: number, millis: number): Promise<number> => {
  const started = performance.now()
  let sent = 0
  for (let elapsed = 0; elapsed < millis; elapsed = performance.now() - started) {
    // A process that was held up does not make up for all of it at once.
    for (let burst = 0; sent < elapsed * perSecond / 1000 && burst < 200; burst++) {
      sockets[sent % sockets.length].send(packets[sent % packets.length])
      sent++
    }
    await new Promise((resolve) => setImmediate(resolve))
  }
  return sent
}

const say = (message: FromAttacker): void => {
  process.send?.(message)
}

process.on("message", async (message: ToAttacker) => {
  if (message._tag === "Prepare") {
    await prepare(message)
    say({ _tag: "Prepared" })
  } else {
    say({ _tag: "Done", sent: await run(message.perSecond, message.millis) })
  }
})
process.on("disconnect", () => process.exit())
