/**
 * A flood of well-framed requests with bad signatures, from many sources of the
 * loopback network, as a process of its own. All is encoded beforehand.
 *
 * @since 0.1.0
 */
import { createSocket, type Socket } from "node:dgram"
import * as Message from "../src/Message.ts"
import * as NodeCrypto from "../src/node/NodeCrypto.ts"
import { identity, nodeId, transactionId } from "./fixtures.ts"

/** Commands to the attacker: the sources to open, then to send for a time at a rate per second. */
export type ToAttacker =
  | { readonly _tag: "Prepare"; readonly port: number; readonly sources: number; readonly kind: "networks" | "ports" }
  | { readonly _tag: "Run"; readonly perSecond: number; readonly millis: number }

export type FromAttacker =
  | { readonly _tag: "Prepared" }
  | { readonly _tag: "Done"; readonly sent: number }

/** More than the keys of most sources, and few enough to be made in a moment. */
const packetCount = 4099

let sockets: ReadonlyArray<Socket> = []
let packets: ReadonlyArray<Uint8Array> = []

const open = (host: string, port: number): Promise<Socket> =>
  new Promise((resolve, reject) => {
    const socket = createSocket("udp4")
    socket.once("error", reject)
    socket.bind(0, host, () => socket.connect(port, "127.0.0.1", () => resolve(socket)))
  })

/** A request whose signature fails only after the whole computation. Each has a key of its own. */
const forged = (i: number): Uint8Array => {
  const signer = identity(NodeCrypto.fastest, `attacker ${i}`)
  const bytes = Message.encode(
    { _tag: "FindNode", target: nodeId(`target ${i}`) },
    { signer, transactionId: transactionId(i) }
  ).slice()
  bytes[bytes.length - 64] ^= 1
  return bytes
}

const prepare = async (port: number, sources: number, kind: "networks" | "ports"): Promise<void> => {
  for (const socket of sockets) socket.close()
  sockets = await Promise.all(
    Array.from(
      { length: sources },
      (_, i) => open(kind === "ports" ? "127.20.0.1" : `127.${20 + (i >> 8)}.${i & 255}.1`, port)
    )
  )
  packets = Array.from({ length: packetCount }, (_, i) => forged(i))
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
    await prepare(message.port, message.sources, message.kind)
    say({ _tag: "Prepared" })
  } else {
    say({ _tag: "Done", sent: await run(message.perSecond, message.millis) })
  }
})
process.on("disconnect", () => process.exit())
