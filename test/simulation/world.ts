/** `node world.ts NAME`: runs one of the worlds and prints what did not hold, one JSON text per line. */
import { worlds } from "./worlds.ts"

const name = process.argv[2]
const run = worlds[name]
if (run === undefined) throw new Error(`There is no world "${name}", but ${Object.keys(worlds).join(", ")}`)
const { violations } = run()
for (const { message, property } of violations) console.log(JSON.stringify({ property, message }))
