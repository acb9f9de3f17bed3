/**
 * A node in a process of its own with little heap, and strangers that fill its
 * store with records at any number of keys.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import { defaultMaxBytes } from "../../src/core/recordSet.ts"
import type { Identity } from "../../src/Identity.ts"
import * as NodeId from "../../src/NodeId.ts"
import * as Record from "../../src/Record.ts"
import type { SocketAddress } from "../../src/SocketAddress.ts"
import { bytes32, unixSeconds } from "../fixtures.ts"
import * as fixtures from "../fixtures.ts"
import { Process } from "../process.ts"
import type { Row, Section } from "../report.ts"
import type { FromServer, ToServer } from "../server.ts"
import { crypto, identity } from "./network.ts"
import { inParallel, Stranger } from "./Stranger.ts"

/** MiB of JavaScript heap that the node has. */
const heapMiB = 256

/** With a young generation as small as the command `node` keeps it. */
const nodeOptions = [`--max-old-space-size=${heapMiB}`, "--max-semi-space-size=2"]
const honestCount = 1000
const outstanding = 64
const mib = 1024 * 1024

/** Free for applications, and of a category that may live at any key. */
const anywhere = 0x11

const record = (publisher: Identity): Record.SignedRecord =>
  Result.getOrThrow(Record.sign({
    signer: publisher,
    address: publisher.address,
    type: anywhere,
    seq: 1n,
    timestamp: BigInt(unixSeconds()),
    ttl: 7200,
    payload: new Uint8Array(100)
  }))

const self = fixtures.identity(crypto, "server").nodeId

/** A key to which no other node of the network is likely to be as close. */
const near = (name: string): NodeId.NodeId => {
  const bytes = bytes32(name)
  bytes.set(NodeId.toBytes(self).subarray(0, 2))
  return NodeId.fromBytesUnsafe(bytes)
}

interface Flood {
  readonly name: string
  readonly subnets: number
  readonly count: number
  readonly keyOf: (i: number) => NodeId.NodeId
  readonly recordOf: (i: number) => Record.SignedRecord
}

const open = (second: number, count: number) =>
  Promise.all(
    Array.from({ length: count }, (_, i) => Stranger.open(identity(`${second} ${i}`), `127.${second}.${i}.1`))
  )

const has = async (asker: Stranger, server: SocketAddress, key: NodeId.NodeId, { signature }: Record.SignedRecord) => {
  const answer = await asker.ask(server, { _tag: "FindValue", target: key, recordType: anywhere, subscribe: false })
  return answer?._tag === "FindValueResponse" &&
    (answer.records ?? []).some((found) => found.signature.every((byte, i) => byte === signature[i]))
}

const flooded = async (flood: Flood): Promise<Row> => {
  const server = new Process<ToServer, FromServer>("server.ts", [], nodeOptions)
  const listening = await server.next()
  if (listening._tag !== "Listening") throw new Error("the server did not start")
  const address = { host: "127.0.0.1", port: listening.port }
  const usage = async () => {
    const used = await server.ask({ _tag: "Usage" })
    if (used._tag !== "Used") throw new Error("the server did not say what it uses")
    return used
  }
  const store = async (stranger: Stranger, key: NodeId.NodeId, record: Record.SignedRecord) => {
    const answer = await stranger.ask(address, { _tag: "Store", record, key })
    return answer?._tag === "StoreResponse" && answer.stored
  }

  const honest = await open(1, 20)
  const before = await usage()
  const kept = Array.from({ length: honestCount }, (_, i) => ({
    key: near(`honest ${i}`),
    record: record(identity(`honest ${i}`)),
    stranger: honest[i % honest.length]
  }))
  const late = kept.splice(honestCount - honestCount / 10)
  await inParallel(kept, outstanding, ({ key, record, stranger }) => store(stranger, key, record))

  const attackers = await open(66, flood.subnets)
  const started = performance.now()
  let most = before.residentBytes
  let taken = 0
  const step = 10_000
  for (let from = 0; from < flood.count; from += step) {
    const tasks = Array.from({ length: Math.min(step, flood.count - from) }, (_, i) => from + i)
    await inParallel(tasks, outstanding, async (i) => {
      if (await store(attackers[i % attackers.length], flood.keyOf(i), flood.recordOf(i))) taken++
    })
    most = Math.max(most, (await usage()).residentBytes)
  }
  const seconds = (performance.now() - started) / 1000
  const after = await usage()

  await inParallel(late, outstanding, ({ key, record, stranger }) => store(stranger, key, record))
  const left = async (records: typeof kept) => {
    let found = 0
    await inParallel(records, 8, async ({ key, record, stranger }) => {
      if (await has(stranger, address, key, record)) found++
    })
    return 100 * found / records.length
  }
  const keptShare = await left(kept)
  const lateShare = await left(late)
  for (const stranger of [...honest, ...attackers]) stranger.close()
  await server.end()
  return {
    name: `${flood.name}, ${flood.count} keys, ${flood.subnets} subnets`,
    figures: {
      "near honest left": { value: keptShare, unit: "%", atLeast: 99 },
      "late ones taken": { value: lateShare, unit: "%", atLeast: 99 },
      "junk taken": { value: 100 * taken / flood.count, unit: "%" },
      "store": { value: after.storeBytes / mib, unit: "MiB", atMost: defaultMaxBytes / mib },
      "keys": { value: after.keys, unit: "" },
      "RSS idle": { value: before.residentBytes / mib, unit: "MiB" },
      "RSS grew by": { value: (most - before.residentBytes) / mib, unit: "MiB", atMost: 1.2 * defaultMaxBytes / mib },
      "of it heap": { value: (after.heapBytes - before.heapBytes) / mib, unit: "MiB" },
      "buffers": { value: (after.bufferBytes - before.bufferBytes) / mib, unit: "MiB" },
      "STOREs": { value: flood.count / seconds, unit: "/s" }
    }
  }
}

export const fill = (options: { readonly keys: number }) =>
  Effect.promise(async (): Promise<Section> => {
    const one = record(identity("junk"))
    const own = (i: number) => record(identity(`junk ${i}`))
    const anyKey = (i: number) => NodeId.fromBytesUnsafe(bytes32(`key ${i}`))
    const few = Math.ceil(options.keys / 5)
    const floods: ReadonlyArray<Flood> = [
      { name: "one record at any key", subnets: 1, count: options.keys, keyOf: anyKey, recordOf: () => one },
      { name: "a publisher for each key", subnets: 50, count: few, keyOf: anyKey, recordOf: own },
      { name: "the same at near keys", subnets: 50, count: few, keyOf: (i) => near(`key ${i}`), recordOf: own }
    ]
    const rows: Array<Row> = []
    for (const flood of floods) rows.push(await flooded(flood))
    return {
      title: `A node with ${heapMiB} MiB of heap whose store is filled`,
      note: `${honestCount} honest records at near keys, of 20 subnets, a tenth of them stored after the junk; ` +
        `records of type 0x${anywhere.toString(16)}, which may live at any key; the senders' addresses are proved.`,
      rows
    }
  })
