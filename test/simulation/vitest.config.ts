import { defineConfig } from "vitest/config"
import base from "../../vitest.config.ts"

/** The simulated worlds, which take a minute or two: `npm run test:sim`. */
export default defineConfig({
  test: {
    ...base.test,
    include: ["test/simulation/**/*.test.ts"],
    exclude: [],
    // Mutants run in processes of their own.
    maxConcurrency: 2,
    maxWorkers: 2,
    testTimeout: 300_000
  }
})
