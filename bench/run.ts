/**
 * Measures the library against its goals:
 *
 *     npm run bench -- [part…] [--quick]
 *
 * The parts are signatures, messages, store, routing (together: micro), server,
 * cost, persistence, flood and memory; the default is all. Results are printed
 * and written to a file in bench/results. A missed goal is marked, but is not an
 * error.
 *
 * @since 0.1.0
 */
import { join } from "node:path"
import { parseArgs } from "node:util"
import * as NodeCrypto from "../src/node/NodeCrypto.ts"
import { cost } from "./cost.ts"
import { identity } from "./fixtures.ts"
import { flood } from "./flood.ts"
import { inTurns, median, used } from "./measure.ts"
import { memory } from "./memory.ts"
import { messages, refusals } from "./messages.ts"
import { modelledFlood } from "./modelledFlood.ts"
import { overload } from "./overload.ts"
import { persistence } from "./persistence.ts"
import { isMet, save, type Section, table } from "./report.ts"
import { routing } from "./routing.ts"
import { signatures } from "./signatures.ts"
import { store } from "./store.ts"
import { throughput } from "./throughput.ts"

const { positionals, values: { quick } } = parseArgs({
  allowPositionals: true,
  options: { quick: { type: "boolean", default: false } }
})
const rounds = quick ? 15 : 61

/** Time of a signature verification on this machine, in microseconds. */
const verifyMicros = (): number => {
  const signer = identity(NodeCrypto.fastest, "signer")
  const message = new Uint8Array(160)
  const signature = signer.sign(message)
  const check = used(() => NodeCrypto.fastest.verify(signer.publicKey, message, signature))
  return median(inTurns({ check }, 31).check)
}

const parts: { readonly [part: string]: () => AsyncGenerator<Section> } = {
  async *signatures() {
    yield signatures(rounds)
  },
  async *messages() {
    yield messages(rounds)
    yield await refusals(rounds)
  },
  async *store() {
    yield await store(rounds)
  },
  async *routing() {
    yield routing(rounds)
  },
  async *server() {
    for (const verifyThreads of quick ? [0, 1] : [0, 1, 2]) {
      yield await throughput({ verifyThreads, count: quick ? 4000 : 12_000, verifyMicros: verifyMicros() })
    }
  },
  async *cost() {
    for (const verifyThreads of [0, 1]) {
      yield await cost({ verifyThreads, rounds: quick ? 5 : 15, count: 500 })
    }
  },
  async *persistence() {
    yield* persistence(quick ? 10_000 : 100_000)
  },
  async *flood() {
    yield await flood({ turns: quick ? 2 : 4, turnMillis: quick ? 1000 : 2000 })
    yield await modelledFlood({ millis: quick ? 1000 : 4000 })
    for (const verifyThreads of [0, 1]) yield await overload({ millis: quick ? 2000 : 5000, verifyThreads })
  },
  async *memory() {
    yield await memory(50)
  }
}

const micro = ["signatures", "messages", "store", "routing"]
const named = new Set(positionals.flatMap((name) => name === "micro" ? micro : [name]))
for (const name of named) {
  if (!(name in parts)) throw new Error(`unknown part ${name}; the parts are ${Object.keys(parts).join(", ")}, micro`)
}

const sections: Array<Section> = []
for (const [name, part] of Object.entries(parts)) {
  if (named.size > 0 && !named.has(name)) continue
  for await (const section of part()) {
    sections.push(section)
    console.log(table(section))
  }
}
const verdicts = sections.flatMap(({ rows }) => rows.flatMap(({ figures }) => Object.values(figures).map(isMet)))
const path = save(sections, join(import.meta.dirname, "results"), new Date())
console.log(
  `\n${verdicts.filter((met) => met === true).length} goals met, ` +
    `${verdicts.filter((met) => met === false).length} missed. ${path}`
)
