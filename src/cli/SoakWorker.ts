/**
 * The program of the worker threads of `soak`: answers each seed with how its
 * story went.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import { parentPort } from "node:worker_threads"
import * as NodeCrypto from "../node/NodeCrypto.ts"
import { runSeed } from "../testing/internal/campaign.ts"

/** Milliseconds for shrinking a story. */
const shrinkMillis = 60_000

const now = (): number => Effect.runSync(Clock.currentTimeMillis)

parentPort?.on("message", (seed: number) => {
  const startShrinking = () => {
    const until = now() + shrinkMillis
    return () => now() > until
  }
  parentPort?.postMessage(runSeed(seed, NodeCrypto.fastest, startShrinking))
})
