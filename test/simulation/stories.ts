/**
 * Shows each mutant by a short story, found by chance, or says why none does. A story
 * may violate a property other than the one that must catch the mutant:
 *
 *     node test/simulation/stories.ts
 *
 * Each story is found and shrunk anew, which takes long. The exit code is 1 if a
 * story is missing, is too long, or does not repeat.
 */
import { storyOf, wrongWith } from "./mutantRun.ts"
import { mutants } from "./mutants.ts"

for (const { name, property, story } of mutants) {
  console.log(`\nA node that ${name}: ${property}`)
  if (typeof story === "string") {
    console.log(`no story shows it: ${story}`)
    continue
  }
  const found = await storyOf(name, story)
  const wrong = wrongWith(found)
  if (found !== null) console.log(`${found.steps} steps, hash ${found.hash}\n${found.description}`)
  if (wrong === undefined) continue
  console.log(`WRONG: ${wrong}`)
  process.exitCode = 1
}
