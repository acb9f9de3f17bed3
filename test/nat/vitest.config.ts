import { defineConfig } from "vitest/config"
import base from "../../vitest.config.ts"

/** Processes behind real routers, which needs root, iproute2 and nftables: `npm run test:nat`. */
export default defineConfig({
  test: {
    ...base.test,
    include: ["test/nat/**/*.test.ts"],
    exclude: [],
    // Some of what is tested takes minutes: a router that was restarted is noticed at the next request.
    testTimeout: 600_000
  }
})
