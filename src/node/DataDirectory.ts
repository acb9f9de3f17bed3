/**
 * A data directory, which belongs to one running node at a time: its identity
 * and its state are one, and two nodes of one identity would take each other's
 * datagrams.
 *
 * The directory is locked, by a file in it, until the scope closes or the
 * process ends, be it killed. That holds among the processes of a machine,
 * whatever network they see, and among those of one process. On a file system
 * without locks, or without room for the file, it cannot be locked: the node
 * runs all the same, and the log says so.
 *
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
 * Another node has the directory: in the process `pid` on the machine `host`,
 * which are undefined where that node could not say so.
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
    return `A node runs in ${directory} already, in ${holder}. Give each node a directory of its own`
  }
}

/**
 * A directory that is ours.
 *
 * @category services
 * @since 0.1.0
 */
export class DataDirectory extends Context.Service<DataDirectory, {
  /** Where it is. */
  readonly path: string
  /**
   * The thread that works in it.
   *
   * @internal
   */
  readonly call: StateThread.Caller
}>()("effect-dht/node/DataDirectory") {}

/** What a disk is given to lock a file, or to let go of it. */
const timeout = "5 seconds"

/** A node that is being stopped lets go of its directory within this time: 20 attempts, 100 ms apart. */
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
            // Who has something to keep there says what follows from that.
            return Effect.logDebug(`${path} cannot be locked: ${outcome.reason}`)
        }
      }),
      Effect.catchTag(
        "CallFailed",
        ({ reason }) =>
          Effect.logWarning(`${path} cannot be locked, so take care that no other node uses it: ${reason}`)
      ),
      Effect.retry(handover)
    )
    return { path, call }
  },
  Effect.annotateLogs({ module: "effect-dht/node/DataDirectory" })
)

/**
 * Takes a directory, which is made with mode 0700 if there is none. Where
 * another node has it, that one is given two seconds to end, and then this
 * fails; a program that can wait for longer builds the layer again.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (directory: string): Layer.Layer<DataDirectory, DirectoryInUse> =>
  Layer.effect(DataDirectory, make(directory))
