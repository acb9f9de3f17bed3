/**
 * What a node knows of its peers, kept in its data directory between runs:
 * addresses worth trying at the next start (`peers`), and which nodes were
 * seen when (`seen-peers`). Text files, for people to read; written every hour
 * and when the scope closes, each by writing another one and renaming it. While
 * it runs, `listening` says where, for other programs on the machine.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import { Bootstrap } from "../Bootstrap.ts"
import { SeenPeers } from "../SeenPeers.ts"
import * as SocketAddress from "../SocketAddress.ts"
import { Transport } from "../Transport.ts"

/** Addresses that are remembered. */
const remembered = 64

const saveInterval = "1 hour"

/** Bytes: many times what is written. */
const maxLength = 1 << 24

/**
 * The addresses that a node of this data directory remembered, the healthiest
 * first; none if there is no file, or it cannot be read. Damaged lines are
 * skipped.
 *
 * @category constructors
 * @since 0.1.0
 */
export const addresses = (directory: string): Effect.Effect<ReadonlyArray<SocketAddress.SocketAddress>> =>
  Effect.map(read(Path.join(directory, "peers")), (text) =>
    text.split("\n").flatMap((line) => {
      const address = SocketAddress.fromString(line.trim())
      return Result.isSuccess(address) ? [address.success] : []
    }).slice(0, remembered))

/**
 * Where a node of this data directory runs now, if one does and was not
 * stopped too roughly to say otherwise.
 *
 * @category constructors
 * @since 0.1.0
 */
export const listening = (directory: string): Effect.Effect<SocketAddress.SocketAddress | undefined> =>
  Effect.map(read(Path.join(directory, "listening")), (text) => {
    const address = SocketAddress.fromString(text.trim())
    if (Result.isFailure(address)) return undefined
    const { host, port } = address.success
    // Who listens everywhere is reached on the loopback interface.
    return { host: host === "0.0.0.0" ? "127.0.0.1" : host === "::" ? "::1" : host, port }
  })

/**
 * Takes up what the directory remembers of seen peers, and saves both files
 * every hour and when the scope closes. A directory that cannot be written to
 * costs a warning, and nothing else.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (directory: string): Layer.Layer<never, never, Bootstrap | SeenPeers | Transport> =>
  Layer.effectDiscard(Effect.gen(function*() {
    const bootstrap = yield* Bootstrap
    const seen = yield* SeenPeers
    const { address } = yield* Transport
    yield* seen.parse(yield* read(Path.join(directory, "seen-peers")))

    const save = Effect.gen(function*() {
      const peers = yield* bootstrap.candidates(remembered)
      // Before the first contact there is nothing to say, and something to lose.
      if (peers.length > 0) {
        yield* write(Path.join(directory, "peers"), peers.map((peer) => `${SocketAddress.format(peer)}\n`).join(""))
      }
      yield* write(Path.join(directory, "seen-peers"), yield* seen.format)
    }).pipe(
      Effect.catchCause((cause) => Effect.logWarning("What is known of peers could not be saved", cause)),
      Effect.annotateLogs({ module: "effect-dht/node/PeerFiles", directory })
    )
    const here = Path.join(directory, "listening")
    yield* Effect.ignore(write(here, `${SocketAddress.format(address)}\n`))
    yield* Effect.addFinalizer(() => Effect.ignore(Effect.tryPromise(() => Fs.rm(here, { force: true }))))
    yield* Effect.addFinalizer(() => save)
    yield* save.pipe(Effect.repeat(Schedule.spaced(saveInterval)), Effect.delay(saveInterval), Effect.forkScoped)
  }))

/** The text of a file, empty where there is none to read. */
const read = (path: string): Effect.Effect<string> =>
  Effect.tryPromise(async () => {
    const { size } = await Fs.stat(path)
    return size > maxLength ? "" : await Fs.readFile(path, "utf8")
  }).pipe(Effect.orElseSucceed(() => ""))

const write = (path: string, text: string) =>
  Effect.tryPromise(async () => {
    const next = `${path}.next`
    await Fs.writeFile(next, text, { mode: 0o600, flush: true })
    await Fs.rename(next, path)
  })
