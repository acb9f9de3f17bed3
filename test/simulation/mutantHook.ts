/** Loaded with `--import`: replaces the source of one module by that of the mutant in `MUTANT`. */
import { registerHooks } from "node:module"
import { join } from "node:path"
import { pathToFileURL } from "node:url"
import { mutants, mutate } from "./mutants.ts"

const mutant = mutants.find(({ name }) => name === process.env.MUTANT)
if (mutant === undefined) throw new Error(`Unknown mutant: ${process.env.MUTANT}`)
const target = pathToFileURL(join(import.meta.dirname, "../../src", mutant.file)).href

registerHooks({
  load: (url, context, nextLoad) => {
    const loaded = nextLoad(url, context)
    if (url !== target) return loaded
    const source = typeof loaded.source === "string"
      ? loaded.source
      : Buffer.from(loaded.source as Uint8Array).toString()
    return { ...loaded, source: mutate(mutant, source) }
  }
})
