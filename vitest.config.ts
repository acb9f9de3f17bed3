import { availableParallelism } from "node:os"
import { join } from "node:path"
import { defineConfig } from "vitest/config"
import { BaseSequencer, type Reporter, type TestSpecification } from "vitest/node"

/** Ends the output with one plain line that a person or a script can read. */
const tally: Reporter = {
  onTestRunEnd(modules, unhandledErrors) {
    const states = modules.flatMap((module) => [...module.children.allTests()].map((test) => test.result().state))
    const count = (state: string) => states.filter((other) => other === state).length
    // What does not load or cannot be set up has no tests to fail, and must not pass for it.
    const suites = modules.flatMap((module) => [module, ...module.children.allSuites()])
    const broken = suites.flatMap((suite) => suite.errors()).length + unhandledErrors.length
    const skipped = count("skipped")
    const suffix = skipped > 0 ? `, ${skipped} skipped` : ""
    console.log(`${count("passed")} passed, ${count("failed") + broken} failed${suffix}`)
  }
}

/** The files that take longest, in this run and in that of the simulated worlds. */
const longest = [
  "/test/cluster/processes.test.ts",
  "/test/simulation/worlds.test.ts",
  "/test/simulation/mutants.test.ts",
  "/test/simulation/stories.test.ts"
]

/** Begins with the longest files, so that no worker is left with one at the end. */
class LongestFirst extends BaseSequencer {
  override async sort(files: Array<TestSpecification>): Promise<Array<TestSpecification>> {
    const place = ({ moduleId }: TestSpecification) => {
      const at = longest.findIndex((end) => moduleId.endsWith(end))
      return at < 0 ? longest.length : at
    }
    return (await super.sort(files)).sort((a, b) => place(a) - place(b))
  }
}

export default defineConfig({
  // Examples import the package by its name, and get the source.
  ssr: { resolve: { conditions: ["effect-dht-source", "module", "node", "development|production"] } },
  test: {
    include: ["test/**/*.test.ts", "examples/**/*.test.ts"],
    // Those have a run of their own: npm run test:sim.
    exclude: ["test/simulation/**", "test/nat/**"],
    // Hours of virtual time and real signatures take a while on a busy machine.
    testTimeout: 60_000,
    // By default a machine with two cores has one worker.
    maxWorkers: Math.max(2, availableParallelism() - 1),
    // The programs that tests start, many of them for a moment, load faster.
    env: { NODE_COMPILE_CACHE: join(import.meta.dirname, "node_modules/.cache/compiled") },
    sequence: { sequencer: LongestFirst },
    // A worker of its own for each file would load the library two hundred times: a fifth of the time of the whole.
    isolate: false,
    reporters: ["default", tally]
  }
})
