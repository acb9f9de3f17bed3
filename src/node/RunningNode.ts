/**
 * Where the node of a data directory listens, in the file `listening` while it
 * runs, for other programs on the machine.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import * as SocketAddress from "../SocketAddress.ts"
import { Transport } from "../Transport.ts"
import * as NewFile from "./internal/newFile.ts"

/** Bytes: more than any address has. */
const maxLength = 256

/**
 * Where a node of this data directory runs now, if one does and was not
 * stopped too roughly to say otherwise.
 *
 * @category constructors
 * @since 0.1.0
 */
export const listening = (directory: string): Effect.Effect<SocketAddress.SocketAddress | undefined> =>
  Effect.map(read(fileIn(directory)), (text) => {
    const address = SocketAddress.fromString(text.trim())
    if (Result.isFailure(address)) return undefined
    const { host, port } = address.success
    // Who listens everywhere is reached on the loopback interface.
    return { host: host === "0.0.0.0" ? "127.0.0.1" : host === "::" ? "::1" : host, port }
  })

/**
 * Says where the transport is bound until the scope closes. A directory that
 * cannot be written to is no obstacle.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (directory: string): Layer.Layer<never, never, Transport> =>
  Layer.effectDiscard(Effect.gen(function*() {
    const { address } = yield* Transport
    const path = fileIn(directory)
    const text = `${SocketAddress.format(address)}\n`
    yield* Effect.acquireRelease(
      Effect.ignore(write(path, text)),
      () =>
        Effect.gen(function*() {
          // Another node may have been started in the same directory.
          if ((yield* read(path)) === text) yield* Effect.ignore(Effect.tryPromise(() => Fs.rm(path, { force: true })))
        })
    )
  }))

const fileIn = (directory: string): string => Path.join(directory, "listening")

/** The text of a file, empty where there is none to read. */
const read = (path: string): Effect.Effect<string> =>
  Effect.tryPromise(async () => {
    const found = await Fs.stat(path)
    return found.isFile() && found.size <= maxLength ? await Fs.readFile(path, "utf8") : ""
  }).pipe(Effect.orElseSucceed(() => ""))

/** Whoever reads sees the whole text or nothing. */
const write = (path: string, text: string) =>
  Effect.tryPromise(() => NewFile.write(path, text, (temporary) => Fs.rename(temporary, path)))
