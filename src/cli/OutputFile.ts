/**
 * Files that a command writes.
 *
 * @since 0.1.0
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import * as NewFile from "../node/internal/newFile.ts"
import * as Output from "./Output.ts"

const reasons: { readonly [code: string]: string } = {
  EEXIST: "the file exists already",
  ENOENT: "the directory does not exist",
  ENOTDIR: "a part of the path is not a directory",
  EISDIR: "it is a directory",
  EACCES: "permission denied",
  EPERM: "permission denied",
  EROFS: "the file system is read-only",
  ENOSPC: "the disk is full"
}

const attempt = <A>(what: string, path: string, action: () => Promise<A>): Effect.Effect<A, Output.Failure> =>
  Effect.tryPromise({
    try: action,
    catch: (error) => {
      const { code = "", message } = error as NodeJS.ErrnoException
      return Output.failed(`The ${what} cannot be written to ${path}: ${reasons[code] ?? message}`)
    }
  })

/**
 * Fails early if the file could not be written, rather than after hours of work.
 * `what` names the file in messages.
 *
 * @category running
 * @since 0.1.0
 */
export const prepare = (what: string, path: string): Effect.Effect<void, Output.Failure> =>
  attempt(what, path, async () => {
    const known = await Fs.stat(path).catch(() => undefined)
    if (known?.isDirectory() === true) throw Object.assign(new Error("it is a directory"), { code: "EISDIR" })
    await Fs.access(known === undefined ? Path.dirname(path) : path, Fs.constants.W_OK)
  })

/**
 * Same for a file that must not exist yet.
 *
 * @category running
 * @since 0.1.0
 */
export const prepareNew = (what: string, path: string): Effect.Effect<void, Output.Failure> =>
  attempt(what, path, async () => {
    const isThere = await Fs.lstat(path).then(() => true, () => false)
    if (isThere) throw Object.assign(new Error("it exists"), { code: "EEXIST" })
    await Fs.access(Path.dirname(path), Fs.constants.W_OK)
  })

/**
 * Writes the file, also where it is a pipe or a device.
 *
 * @category running
 * @since 0.1.0
 */
export const write = (what: string, path: string, content: string): Effect.Effect<void, Output.Failure> =>
  attempt(what, path, () => Fs.writeFile(path, content))

/**
 * Replaces the file atomically: a crash leaves the old content or the new. It is
 * not interrupted, so that no temporary file is left behind.
 *
 * @category running
 * @since 0.1.0
 */
export const replace = (what: string, path: string, content: string): Effect.Effect<void, Output.Failure> =>
  Effect.uninterruptible(
    attempt(what, path, () => NewFile.write(path, content, (temporary) => Fs.rename(temporary, path)))
  )

/**
 * Writes a new file, private to its owner, which appears only when it is
 * complete; fails if there is one. Interrupting it leaves no temporary file
 * behind.
 *
 * @category running
 * @since 0.1.0
 */
export const create = <E>(
  what: string,
  path: string,
  content: Stream.Stream<Uint8Array, E>
): Effect.Effect<void, Output.Failure> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.gen(function*() {
      const stopped = yield* Deferred.make<never, Error>()
      const bytes = Stream.toAsyncIterable(Stream.interruptWhen(content, Deferred.await(stopped)))
      const writing = yield* Effect.forkChild(
        attempt(what, path, () => NewFile.write(path, bytes, (temporary) => Fs.link(temporary, path)))
      )
      return yield* restore(Fiber.join(writing)).pipe(
        Effect.onInterrupt(() =>
          Effect.andThen(Deferred.fail(stopped, new Error("it was interrupted")), Fiber.await(writing))
        )
      )
    })
  )
