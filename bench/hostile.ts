/**
 * What strangers can do to what others store and read, each attack beside its
 * peace in the same run:
 *
 *     npm run bench:hostile -- [attack…] [--quick] [--nodes 24,256] [--keys 1000000]
 *
 * The attacks are offers, mailbox, crowd, junk, fill, replay, ground, mute and
 * hour; all of them if none is named. All is over UDP loopback in this process, but for
 * the node that is filled, which has a process of its own, and the hour, which is
 * simulated. Figures go to the terminal and into a file of bench/results.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import { join } from "node:path"
import { parseArgs } from "node:util"
import { crowd } from "./hostile/crowd.ts"
import { fill } from "./hostile/fill.ts"
import { ground } from "./hostile/ground.ts"
import { hour } from "./hostile/hour.ts"
import { junk } from "./hostile/junk.ts"
import { mailbox } from "./hostile/mailbox.ts"
import { mute } from "./hostile/mute.ts"
import { offers } from "./hostile/offers.ts"
import { replay } from "./hostile/replay.ts"
import { isMet, save, type Section, table } from "./report.ts"

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    quick: { type: "boolean", default: false },
    nodes: { type: "string" },
    keys: { type: "string" }
  }
})
const { quick } = values
const results = join(import.meta.dirname, "results")

const attacks: { readonly [attack: string]: () => ReadonlyArray<Effect.Effect<Section, unknown>> } = {
  offers: () =>
    (values.nodes ?? (quick ? "24" : "24,256")).split(",").map((nodes) =>
      offers({ nodes: Number(nodes), rounds: quick ? 2 : 5 })
    ),
  mailbox: () => [mailbox({ nodes: 24, rounds: quick ? 1 : 5 })],
  crowd: () => [
    crowd({
      nodes: quick ? 40 : 100,
      publishers: quick ? [10, 50, 200] : [10, 30, 100, 200, 300, 500, 700, 1000],
      results
    })
  ],
  junk: () => [junk({ nodes: 24, publishers: quick ? [2, 100] : [2, 100, 1000] })],
  fill: () => [fill({ keys: Number(values.keys ?? (quick ? 20_000 : 1_000_000)) })],
  replay: () => [replay({ nodes: quick ? 24 : 44, owners: quick ? 5 : 20, readers: quick ? 24 : 44 })],
  ground: () => [
    ground({ nodes: 150, counts: quick ? [20] : [20, 40], rounds: quick ? 1 : 5, readers: quick ? 8 : 20 })
  ],
  mute: () => [
    mute(quick ? { nodes: 24, strangers: 2000, lookups: 50 } : { nodes: 24, strangers: 19_000, lookups: 200 })
  ],
  hour: () => [hour(quick ? { nodes: 30, publishers: 30, minutes: 10 } : { nodes: 110, publishers: 100, minutes: 60 })]
}

for (const name of positionals) {
  if (!(name in attacks)) throw new Error(`no attack is called ${name}; there are ${Object.keys(attacks).join(", ")}`)
}

const main = Effect.gen(function*() {
  const sections: Array<Section> = []
  for (const [name, attack] of Object.entries(attacks)) {
    if (positionals.length > 0 && !positionals.includes(name)) continue
    for (const measured of attack()) {
      const section = yield* measured
      sections.push(section)
      console.log(table(section))
    }
  }
  return sections
})

const sections = await Effect.runPromise(main)
const verdicts = sections.flatMap(({ rows }) => rows.flatMap(({ figures }) => Object.values(figures).map(isMet)))
console.log(
  `\n${verdicts.filter((met) => met === true).length} goals met, ` +
    `${verdicts.filter((met) => met === false).length} missed. ${save(sections, results, new Date())}`
)
