/** `node world.ts NAME`: runs one of the worlds and prints what did not hold, one JSON text per line. */
import { again } from "./run.ts"
import { replayWorld, worlds } from "./worlds.ts"

const name = process.argv[2]
const run = worlds[name]
if (run === undefined) throw new Error(`There is no world "${name}", but ${Object.keys(worlds).join(", ")}`)
let held = false
try {
  const { violations } = run()
  for (const { message, property } of violations) console.log(JSON.stringify({ property, message }))
  held = violations.length === 0
} finally {
  if (!held) console.log(again(replayWorld(name)))
}
