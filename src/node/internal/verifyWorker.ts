/**
 * The program of a worker thread that verifies signatures until terminated. Its
 * first message means that it is ready, each later one that there are answers.
 *
 * @since 0.1.0
 */
import { parentPort, workerData } from "node:worker_threads"
import { verify } from "./verify.ts"
import { serve } from "./verifyLane.ts"

const tell = (): void => parentPort?.postMessage(null)

tell()
serve(workerData, verify, tell)
