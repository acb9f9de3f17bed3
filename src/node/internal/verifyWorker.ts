/**
 * The program of a worker thread that checks signatures until it is
 * terminated. Its first message says that it is ready, every later one that
 * there are answers.
 *
 * @since 0.1.0
 */
import { parentPort, workerData } from "node:worker_threads"
import { fastest } from "./nativeEd25519.ts"
import { serve } from "./verifyLane.ts"

const tell = (): void => parentPort?.postMessage(null)

tell()
serve(workerData, fastest.verify, tell)
