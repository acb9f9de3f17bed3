/**
 * Memory and processor time of an idle node.
 *
 * @since 0.1.0
 */
import type { FromIdle } from "./idle.ts"
import { Process } from "./process.ts"
import type { Section } from "./report.ts"

export const memory = async (nodes: number): Promise<Section> => {
  const process = new Process<never, FromIdle>("idle.ts", [`${nodes}`], ["--expose-gc"])
  const { all, microsPerSecond, one } = await process.next()
  const each = (first: number, last: number) => (last - first) / (nodes - 1) / 1024
  return {
    title: `An idle node, ${nodes} in one process`,
    rows: [{
      name: "each but the first",
      figures: {
        "of the process": { value: each(one.resident, all.resident), unit: "KiB", atMost: 300 },
        "held by JavaScript": { value: each(one.held, all.held), unit: "KiB" }
      }
    }, {
      name: "each, without a peer",
      figures: { "processor a second": { value: microsPerSecond / nodes, unit: "µs" } }
    }]
  }
}
