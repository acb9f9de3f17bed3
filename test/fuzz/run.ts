/**
 * Fuzzes a node, in process or with `--udp` over sockets of the loopback network:
 * `npm run fuzz -- --count 1000000 --seed 1`. Ends with 1 if it found a fault. An
 * interrupt (SIGINT, SIGTERM) ends it early with the counts until then.
 */
import { parseArgs } from "node:util"
import { fuzz } from "./fuzz.ts"
import { inProcess, loopback } from "./wires.ts"

const { values } = parseArgs({
  options: {
    count: { type: "string", default: "1000000" },
    seed: { type: "string", default: "1" },
    udp: { type: "boolean", default: false }
  }
})
const [count, seed] = [Number(values.count), Number(values.seed)]
if (!Number.isSafeInteger(count) || count < 1 || !Number.isSafeInteger(seed) || seed < 0) {
  console.error("--count takes a number of datagrams, 1 or more, and --seed a whole number from 0 on")
  process.exit(2)
}

const started = performance.now()
const progress = (received: number): void => {
  globalThis.gc?.()
  console.log(`${received} datagrams, heap ${(process.memoryUsage().heapUsed / 2 ** 20).toFixed(1)} MiB`)
}
let isOver = false
for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => isOver = true)
const wire = values.udp ? loopback : inProcess
const { faults, ...report } = await fuzz({ count, seed, progress, wire, isOver: () => isOver })
console.log({ ...report, seconds: Math.round((performance.now() - started) / 1000) })
for (const fault of faults) console.error(`FAULT ${fault}`)
process.exit(faults.length === 0 ? 0 : 1)
