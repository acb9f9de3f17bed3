/**
 * One node in a process of its own, as a target for a load generator:
 *
 *     node bench/server.ts --contacts 200 --verify-threads 1
 *
 * Reports its address, as a line of JSON or as a message to its parent process,
 * and runs until it is killed or its parent disconnects.
 *
 * @since 0.1.0
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { parseArgs } from "node:util"
import type { Contact } from "../src/Contact.ts"
import { Dht } from "../src/Dht.ts"
import { DhtLive } from "../src/node/DhtLive.ts"
import * as NodeCrypto from "../src/node/NodeCrypto.ts"
import * as Record from "../src/Record.ts"
import { Rpc } from "../src/Rpc.ts"
import { Store } from "../src/Store.ts"
import { bytes32, contactsAround, endpointRecord, identity, unixSeconds } from "./fixtures.ts"

/** Messages to the parent process: first the address, then a reply to each command. */
export type FromServer =
  | { readonly _tag: "Pinged"; readonly isAlive: boolean }
  | { readonly _tag: "Checked"; readonly cpuMicros: number }
  | { readonly _tag: "Listening"; readonly port: number; readonly pid: number }
  | {
    readonly _tag: "Used"
    readonly cpuMicros: number
    /** Bytes of the whole process, what V8 has of them for objects and for buffers, and those that its store counts. */
    readonly residentBytes: number
    readonly heapBytes: number
    readonly bufferBytes: number
    readonly storeBytes: number
    readonly keys: number
    /**
     * The most processor time of the main thread between two ticks of a timer of 1 ms since the last request:
     * the delay of the event loop without what other processes cause. 0 without `--turns`.
     */
    readonly maxTurnMillis: number
    /** Datagrams that were read from the socket, refused ones included. */
    readonly datagrams: number
  }

/** Commands of the parent process. */
export type ToServer =
  | { readonly _tag: "Usage" | "ReadMail" }
  /** Checks signatures of as many records, each of an owner of its own. */
  | { readonly _tag: "Check"; readonly count: number }
  | { readonly _tag: "Ping"; readonly contact: Contact }

const { values: options } = parseArgs({
  options: {
    "contacts": { type: "string", default: "200" },
    "data": { type: "string" },
    "port": { type: "string", default: "0" },
    // Takes processor time itself.
    "turns": { type: "boolean", default: false },
    "verify-threads": { type: "string", default: "0" }
  }
})

const say = (message: FromServer): void => {
  if (process.send === undefined) process.stdout.write(`${JSON.stringify(message)}\n`)
  else process.send(message)
}

process.on("disconnect", () => process.exit())

/** Microseconds of the processor for the signature checks of as many records. */
const check = (count: number): number => {
  const records = Array.from(
    { length: count },
    (_, i) => endpointRecord(identity(NodeCrypto.fastest, `checked ${i}`), unixSeconds())
  )
  const before = process.threadCpuUsage()
  if (!records.every((record) => Record.isSigned(record, NodeCrypto.fastest))) throw new Error("a bad signature")
  const { system, user } = process.threadCpuUsage(before)
  return system + user
}

const server = Effect.gen(function*() {
  const dht = yield* Dht
  const rpc = yield* Rpc
  const store = yield* Store
  const context = yield* Effect.context<never>()
  const read = Effect.runSyncWith(context)
  const fork = Effect.runForkWith(context)
  let maxTurnMicros = 0
  let usedMicros = 0
  const measureTurn = () => {
    const { system, user } = process.threadCpuUsage()
    maxTurnMicros = Math.max(maxTurnMicros, system + user - usedMicros)
    usedMicros = system + user
  }
  if (options.turns) setInterval(measureTurn, 1)
  process.on("message", (command: ToServer) => {
    if (command._tag === "Ping") {
      const ping = Effect.andThen(dht.addContact(command.contact), dht.ping(command.contact))
      fork(Effect.map(Effect.exit(ping), ({ _tag }) => say({ _tag: "Pinged", isAlive: _tag === "Success" })))
      return
    }
    if (command._tag === "Check") return say({ _tag: "Checked", cpuMicros: check(command.count) })
    if (command._tag === "ReadMail") fork(Stream.runDrain(dht.mail.messages))
    // Of the whole process: threads that check signatures are work done as well.
    const { system, user } = process.cpuUsage()
    const { arrayBuffers, heapTotal, rss } = process.memoryUsage()
    const { received, refused } = read(rpc.traffic)
    say({
      _tag: "Used",
      cpuMicros: system + user,
      residentBytes: rss,
      heapBytes: heapTotal,
      bufferBytes: arrayBuffers,
      storeBytes: read(store.bytes),
      keys: read(store.size),
      maxTurnMillis: maxTurnMicros / 1000,
      datagrams: received + refused
    })
    maxTurnMicros = 0
  })
  for (const contact of contactsAround(dht.nodeId, Number(options.contacts))) yield* dht.addContact(contact)
  say({ _tag: "Listening", port: dht.localAddress.port, pid: process.pid })
  return yield* Effect.never
})

NodeRuntime.runMain(Effect.provide(
  server,
  DhtLive({
    seed: bytes32("server"),
    listen: { host: "127.0.0.1", port: Number(options.port) },
    data: options.data,
    verifyThreads: Number(options["verify-threads"])
  })
))
