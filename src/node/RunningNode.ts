/**
 * The addresses that a running node listens on, published for other programs on
 * the machine in files of its data directory: `listening` for UDP, `serving` for
 * HTTP.
 *
 * @module
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import * as SocketAddress from "../SocketAddress.ts"
import { Transport } from "../Transport.ts"
import * as NewFile from "./internal/newFile.ts"

/** Bytes: longer than any address. */
const maxLength = 256

/**
 * The address of the node that runs in this data directory; undefined if none
 * does. Stale after a crash, until the next start.
 *
 * @category constructors
 * @since 0.1.0
 */
export const listening = (directory: string): Effect.Effect<SocketAddress.SocketAddress | undefined> =>
  published(Path.join(directory, "listening"))

/**
 * The address of the HTTP server of the node that runs in this data directory;
 * undefined if there is none. Stale after a crash, until the next start.
 *
 * @category constructors
 * @since 0.1.0
 */
export const serving = (directory: string): Effect.Effect<SocketAddress.SocketAddress | undefined> =>
  published(Path.join(directory, "serving"))

const published = (path: string): Effect.Effect<SocketAddress.SocketAddress | undefined> =>
  Effect.map(read(path), (text) => {
    const address = SocketAddress.fromString(text.trim())
    if (Result.isFailure(address)) return undefined
    const { host, port } = address.success
    // A node that listens on every address is reachable on the loopback interface.
    return { host: host === "0.0.0.0" ? "127.0.0.1" : host === "::" ? "::1" : host, port }
  })

/**
 * Publishes the address of the transport until the scope closes. Does nothing
 * if the directory cannot be written to.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (directory: string): Layer.Layer<never, never, Transport> =>
  Layer.effectDiscard(
    Effect.flatMap(Transport, ({ address }) => publish(Path.join(directory, "listening"), address))
  )

/**
 * Publishes the address of the HTTP server until the scope closes. Does nothing
 * if the directory cannot be written to.
 *
 * @category constructors
 * @since 0.1.0
 */
export const publishServing = (
  directory: string,
  address: SocketAddress.SocketAddress
): Effect.Effect<void, never, Scope.Scope> => publish(Path.join(directory, "serving"), address)

const publish = Effect.fnUntraced(function*(path: string, address: SocketAddress.SocketAddress) {
  const text = `${SocketAddress.format(address)}\n`
  yield* Effect.acquireRelease(
    Effect.ignore(write(path, text)),
    () =>
      Effect.gen(function*() {
        // Another node may have been started in the same directory and replaced the file.
        if ((yield* read(path)) === text) yield* Effect.ignore(Effect.tryPromise(() => Fs.rm(path, { force: true })))
      })
  )
})

/** The text of a file; empty if it cannot be read. */
const read = (path: string): Effect.Effect<string> =>
  Effect.tryPromise(async () => {
    const found = await Fs.stat(path)
    return found.isFile() && found.size <= maxLength ? await Fs.readFile(path, "utf8") : ""
  }).pipe(Effect.orElseSucceed(() => ""))

/** Replaces the file atomically: a reader sees the whole text or none. */
const write = (path: string, text: string) =>
  Effect.tryPromise(() => NewFile.write(path, text, (temporary) => Fs.rename(temporary, path)))
