/**
 * A data directory, which belongs to one running node at a time. Two nodes with
 * the identity in it would receive each other's datagrams.
 *
 * A lock file in the directory is held until the scope closes or the process
 * ends, however it ends. The lock excludes other processes on the same machine,
 * including those in other network namespaces, and other nodes in the same
 * process. On a file system without locks, or without room for the lock file,
 * the node runs unlocked and logs the reason.
 *
 * @module
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as StateThread from "./internal/stateThread.ts"

/**
 * Another node uses the directory. `pid` and `host` identify its process and
 * machine, and are undefined if that node could not record them.
 *
 * @category errors
 * @since 0.1.0
 */
export class DirectoryInUse extends Data.TaggedError("DirectoryInUse")<{
  readonly directory: string
  readonly pid: number | undefined
  readonly host: string | undefined
}> {
  override get message() {
    const { directory, host, pid } = this
    const holder = pid === undefined ? "another process" : `process ${pid}${host === undefined ? "" : ` on ${host}`}`
    return `A node already runs in ${directory}, in ${holder}. Give each node a directory of its own`
  }
}

/**
 * A locked data directory.
 *
 * @category services
 * @since 0.1.0
 */
export class DataDirectory extends Context.Service<DataDirectory, {
  /** Path of the directory. */
  readonly path: string
  /**
   * The thread that does the disk work.
   *
   * @internal
   */
  readonly call: StateThread.Caller
}>()("effect-dht/node/DataDirectory") {}

/** Time limit for locking a file or releasing the lock. */
const timeout = "5 seconds"

/** Time for a stopping node to release its directory: 20 attempts, 100 ms apart. */
const handover = { times: 20, schedule: Schedule.spaced("100 millis") }

const make = Effect.fnUntraced(
  function*(path: string): Effect.fn.Return<DataDirectory["Service"], DirectoryInUse, Scope.Scope> {
    const thread = yield* Effect.result(StateThread.start)
    if (Result.isFailure(thread)) return { path, call: () => Effect.fail(thread.failure) }
    const call = thread.success
    yield* Effect.addFinalizer(() => Effect.ignore(Effect.timeout(call("unlock"), timeout)))
    yield* call("lock", path).pipe(
      StateThread.inTime(timeout),
      Effect.flatMap((outcome) => {
        switch (outcome._tag) {
          case "Locked":
            return Effect.void
          case "InUse":
            return new DirectoryInUse({ directory: path, pid: outcome.holder.pid, host: outcome.holder.host })
          case "Unavailable":
            // Components that store data there log the consequences themselves.
            return Effect.logDebug(`${path} cannot be locked: ${outcome.reason}`)
        }
      }),
      Effect.catchTag(
        "CallFailed",
        ({ reason }) => Effect.logWarning(`${path} cannot be locked. Make sure that no other node uses it: ${reason}`)
      ),
      Effect.retry(handover)
    )
    return { path, call }
  },
  Effect.annotateLogs({ module: "effect-dht/node/DataDirectory" })
)

/**
 * Locks a directory, creating it with mode 0700 if it does not exist. If
 * another node holds the lock, waits two seconds for it to stop, then fails with
 * `DirectoryInUse`. To wait longer, retry the layer.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (directory: string): Layer.Layer<DataDirectory, DirectoryInUse> =>
  Layer.effect(DataDirectory, make(directory))
