/**
 * The same network of hyperdht nodes, in a process of its own: joining, lookups,
 * and signed values from one node to another. hyperdht is no dependency of this
 * package: it is installed into a temporary folder.
 *
 * Its requests are unsigned; only the values are signed.
 *
 * @since 0.1.0
 */
import { execFile } from "node:child_process"
import { createHash } from "node:crypto"
import { createSocket } from "node:dgram"
import { once } from "node:events"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { createRequire } from "node:module"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"

export const version = "6.34.0"

/** Milliseconds that both networks get to settle in after joining. */
export const settleMillis = 60_000

/** Milliseconds. */
export interface Measured {
  readonly joined: number
  readonly findNode: ReadonlyArray<number>
  readonly firstGet: ReadonlyArray<number>
}

const run = promisify(execFile)

/**
 * Installs it, measures a network of it, and removes it. Each node makes `warmUps`
 * lookups before those that are measured. Undefined if it cannot be had.
 */
export const measure = async (nodes: number, operations: number, warmUps: number): Promise<Measured | undefined> => {
  const directory = mkdtempSync(join(tmpdir(), "effect-dht-hyperdht-"))
  try {
    writeFileSync(join(directory, "package.json"), JSON.stringify({ private: true }))
    try {
      await run("npm", ["install", "--no-audit", "--no-fund", `hyperdht@${version}`], { cwd: directory })
    } catch {
      return undefined
    }
    const program = fileURLToPath(import.meta.url)
    const { stdout } = await run(process.execPath, [program, directory, `${nodes}`, `${operations}`, `${warmUps}`])
    return JSON.parse(stdout)
  } finally {
    rmSync(directory, { recursive: true })
  }
}

// --- The child process -----------------------------------------------------------

interface KeyPair {
  readonly publicKey: Uint8Array
}

interface Node {
  readonly fullyBootstrapped: () => Promise<void>
  readonly findNode: (target: Uint8Array) => { readonly finished: () => Promise<void> }
  readonly mutablePut: (keyPair: KeyPair, value: Uint8Array) => Promise<unknown>
  readonly mutableGet: (publicKey: Uint8Array) => Promise<unknown>
}

interface HyperDht {
  new(options: object): Node
  readonly bootstrapper: (port: number, host: string) => Node
  readonly keyPair: () => KeyPair
}

const freePort = async (): Promise<number> => {
  const socket = createSocket("udp4")
  socket.bind(0, "127.0.0.1")
  await once(socket, "listening")
  const { port } = socket.address()
  socket.close()
  return port
}

const main = async (directory: string, count: number, operations: number, warmUps: number): Promise<Measured> => {
  const Dht: HyperDht = createRequire(join(directory, "package.json"))("hyperdht")
  const host = "127.0.0.1"
  const port = await freePort()
  const first = Dht.bootstrapper(port, host)
  await first.fullyBootstrapped()
  const timed = async (act: () => Promise<unknown>): Promise<number> => {
    const started = performance.now()
    await act()
    return performance.now() - started
  }
  const nodes = [first]
  const joined = await timed(() => {
    const options = { host, bootstrap: [{ host, port }], ephemeral: false, firewalled: false, quickFirewall: false }
    for (let i = 1; i < count; i++) nodes.push(new Dht(options))
    return Promise.all(nodes.map((node) => node.fullyBootstrapped()))
  })
  await new Promise((resolve) => setTimeout(resolve, settleMillis))
  for (let i = 0; i < warmUps * count; i++) {
    await nodes[i % count].findNode(createHash("sha256").update(`warm-up ${i}`).digest()).finished()
  }
  const pick = (i: number): Node => nodes[(i * 7919) % count]
  const findNode: Array<number> = []
  for (let i = 0; i < operations; i++) {
    const target = createHash("sha256").update(`target ${i}`).digest()
    findNode.push(await timed(() => pick(i).findNode(target).finished()))
  }
  const firstGet: Array<number> = []
  for (let i = 0; i < operations; i++) {
    const keyPair = Dht.keyPair()
    firstGet.push(
      await timed(async () => {
        await pick(i).mutablePut(keyPair, new TextEncoder().encode(`tcp://192.0.2.1:${i}`))
        while (await pick(i + count / 2 | 0).mutableGet(keyPair.publicKey) === null) { /* until it is found */ }
      })
    )
  }
  return { joined, findNode, firstGet }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [directory, count, operations, warmUps] = process.argv.slice(2)
  console.log(JSON.stringify(await main(directory, Number(count), Number(operations), Number(warmUps))))
  process.exit()
}
