/**
 * Checks signatures on other cores, in worker threads.
 *
 * @since 0.1.0
 */
import type * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { availableParallelism } from "node:os"
import { Worker } from "node:worker_threads"
import { Verifier } from "../Verifier.ts"
import { allocate, Lane, maxMessage } from "./internal/verifyLane.ts"
import { fastest } from "./NodeCrypto.ts"

/**
 * Worker threads that check signatures with `NodeCrypto.fastest`.
 *
 * `workers` is how many (by default one for each core but one, and at least
 * one). `capacity` is how many checks may be outstanding (by default 1024);
 * every worker has an equal share of it, rounded up to a power of two, and costs
 * 1.3 kB of memory for each. A message longer than 1200 bytes is checked on the
 * calling thread.
 *
 * The layer is ready when its workers are. They never keep the process alive,
 * and end with the scope of the layer; checks that are outstanding then are
 * dropped. A worker that dies or cannot be started is replaced by the main
 * thread, with a warning in the log: none of its checks is lost.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerWorkers = (options?: {
  readonly workers?: number | undefined
  readonly capacity?: number | undefined
}): Layer.Layer<Verifier> => {
  const workers = Math.max(1, options?.workers ?? availableParallelism() - 1)
  const share = Math.max(1, (options?.capacity ?? 1024) / workers)
  return Layer.effect(Verifier, make(workers, 2 ** Math.ceil(Math.log2(share))))
}

const make = Effect.fnUntraced(function*(workers: number, laneSize: number) {
  const lanes: Array<Lane> = []
  yield* Effect.forEach(Array.from({ length: workers }), () => startWorker(lanes, laneSize), {
    concurrency: "unbounded",
    discard: true
  })
  const runFork = Effect.runForkWith(yield* Effect.context<never>())
  let isClosed = false
  yield* Effect.addFinalizer(() =>
    Effect.sync(() => {
      isClosed = true
    })
  )

  return Verifier.of({
    check: (publicKey, message, signature, done) => {
      if (isClosed) return false
      const fits = publicKey.length === 32 && signature.length === 64 && message.length <= maxMessage
      if (!fits || lanes.length === 0) {
        done(fastest.verify(publicKey, message, signature))
        return true
      }
      const lane = leastBusy(lanes)
      if (lane.isFull) return false
      lane.submit(publicKey, message, signature, (valid) => {
        // Called from outside of any fiber, where a bug of the caller would end
        // the process and keep the other answers from being taken.
        try {
          done(valid)
        } catch (defect) {
          runFork(Effect.logError("The answer of a signature check could not be handled", defect))
        }
      })
      return true
    }
  })
})

const leastBusy = (lanes: ReadonlyArray<Lane>): Lane => {
  let best = lanes[0]
  for (let i = 1; i < lanes.length; i++) if (lanes[i].outstanding < best.outstanding) best = lanes[i]
  return best
}

// The file next to this one, which is TypeScript in the source tree and
// JavaScript in the package.
const extension = import.meta.url.endsWith(".ts") ? ".ts" : ".js"
const program = new URL(`./internal/verifyWorker${extension}`, import.meta.url)

/** Keeps a lane in `lanes` while a worker of the scope serves it. */
const startWorker = Effect.fnUntraced(
  function*(lanes: Array<Lane>, laneSize: number): Effect.fn.Return<void, Cause.UnknownError, Scope.Scope> {
    const runFork = Effect.runForkWith(yield* Effect.context<never>())
    let isStopping = false
    const { lane, worker } = yield* Effect.acquireRelease(
      Effect.try(() => {
        const memory = allocate(laneSize)
        const lane = new Lane(memory)
        // Flags that are meant for the main program (as `--input-type`) could stop the worker from starting.
        const worker = new Worker(program, { workerData: memory, name: "effect-dht verifier", execArgv: [] })
        return { lane, worker }
      }),
      ({ worker }) =>
        Effect.promise(() => {
          isStopping = true
          return worker.terminate()
        })
    )
    yield* Effect.callback<void>((resume) => {
      let reason: unknown = "it exited"
      worker.once("message", () => {
        lanes.push(lane)
        worker.on("message", () => lane.take())
        // Not before: until now it is all that the process waits for.
        worker.unref()
        resume(Effect.void)
      })
      worker.on("error", (error) => {
        reason = error
      })
      worker.on("exit", () => {
        const index = lanes.indexOf(lane)
        if (index >= 0) lanes.splice(index, 1)
        resume(Effect.void)
        if (isStopping) return
        runFork(Effect.logWarning("A worker that checks signatures died, others take its place", reason))
        lane.takeOver(fastest.verify)
      })
    })
  },
  Effect.catch(({ cause }) =>
    Effect.logWarning("A worker that checks signatures cannot be started, others take its place", cause)
  )
)
