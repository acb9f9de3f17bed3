/**
 * Signature verification in worker threads.
 *
 * @module
 * @since 0.1.0
 */
import type * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { availableParallelism } from "node:os"
import { Worker } from "node:worker_threads"
import { Verifier } from "../Verifier.ts"
import { verify } from "./internal/verify.ts"
import { allocate, fits, type Kind, Lane } from "./internal/verifyLane.ts"

/**
 * A verifier that runs `NodeCrypto.fastest` in worker threads.
 *
 * `workers` is the number of threads (default: one per core but one, at least
 * one). `capacity` is the number of outstanding checks (default 1024), shared
 * equally among the workers and rounded up per worker to a power of two; each
 * takes 1.3 kB of memory. A message longer than 1200 bytes is verified on the
 * calling thread.
 *
 * The layer is built once its workers are ready. They never keep the process
 * alive, and end with the scope of the layer; checks outstanding at that point
 * are dropped. If a worker dies or cannot be started, the main thread takes over
 * its checks, including outstanding ones, and a warning is logged.
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

  const check = (
    kind: Kind,
    signer: Uint8Array,
    message: Uint8Array,
    signature: Uint8Array,
    done: (valid: boolean) => void
  ): boolean => {
    if (isClosed) return false
    if (!fits(kind, signer, message, signature) || lanes.length === 0) {
      done(verify(kind, signer, message, signature))
      return true
    }
    const lane = leastBusy(lanes)
    if (lane.isFull) return false
    lane.submit(kind, signer, message, signature, (valid) => {
      // Called outside of any fiber: an error thrown by the caller's callback
      // would end the process and leave the other results undelivered.
      try {
        done(valid)
      } catch (defect) {
        runFork(Effect.logError("The callback of a signature check failed", defect))
      }
    })
    return true
  }

  return Verifier.of({
    check: (...args) => check("Ed25519", ...args),
    checkWallet: (...args) => check("Wallet", ...args)
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

/** Adds a lane to `lanes` while a worker of the scope serves it. */
const startWorker = Effect.fnUntraced(
  function*(lanes: Array<Lane>, laneSize: number): Effect.fn.Return<void, Cause.UnknownError, Scope.Scope> {
    const runFork = Effect.runForkWith(yield* Effect.context<never>())
    let isStopping = false
    const { lane, worker } = yield* Effect.acquireRelease(
      Effect.try(() => {
        const memory = allocate(laneSize)
        const lane = new Lane(memory)
        // Node flags for the main program (such as `--input-type`) could keep the worker from starting.
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
        // Only now: until then the worker may be the only thing that keeps the process alive.
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
        runFork(Effect.logWarning("A verifier thread died and was replaced by the remaining threads", reason))
        lane.takeOver(verify)
      })
    })
  },
  Effect.catch(({ cause }) =>
    Effect.logWarning("A verifier thread could not be started and was replaced by the remaining threads", cause)
  )
)
