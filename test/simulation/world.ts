/** `node world.ts NAME` runs one of the worlds and prints the violations, one JSON text per line. */
import { replayHint } from "./run.ts"
import { replayWorld, worlds } from "./worlds.ts"

const name = process.argv[2]
const run = worlds[name]
if (run === undefined) throw new Error(`Unknown world: "${name}". The worlds are ${Object.keys(worlds).join(", ")}`)
let passed = false
try {
  const { violations } = run()
  for (const { message, property } of violations) console.log(JSON.stringify({ property, message }))
  passed = violations.length === 0
} finally {
  if (!passed) console.log(replayHint(replayWorld(name)))
}
