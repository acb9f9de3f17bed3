import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { spawnSync } from "node:child_process"
import { createSocket } from "node:dgram"
import { once } from "node:events"
import * as Fs from "node:fs"
import { type AddressInfo, createServer } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Processes from "./utils/processes.ts"

const temporary = Effect.acquireRelease(
  Effect.sync(() => Fs.mkdtempSync(join(tmpdir(), "effect-dht-"))),
  (directory) => Effect.sync(() => Fs.rmSync(directory, { recursive: true }))
)

/** A node on a free port of this machine, once it is ready. */
const node = Effect.fnUntraced(function*(data: string, ...args: ReadonlyArray<string>) {
  const process = yield* Processes.start("node", "--json", "--listen", "127.0.0.1:0", "--data", data, ...args)
  const { address, http, listen } = yield* process.event("ready")
  return { process, data, address, http, listen }
})

const portOf = (address: string) => Number(address.slice(address.lastIndexOf(":") + 1))

/** Fails if the UDP port is still in use. */
const bindUdp = (port: number) =>
  Effect.promise(async () => {
    const socket = createSocket("udp4").bind({ port, address: "127.0.0.1", exclusive: true })
    await once(socket, "listening")
    socket.close()
    await once(socket, "close")
  })

/** Fails if the TCP port is still in use. */
const bindTcp = (port: number) =>
  Effect.promise(async () => {
    const server = createServer().listen(port, "127.0.0.1")
    await once(server, "listening")
    server.close()
    await once(server, "close")
  })

/** The one document that a command printed. */
const printed = ({ code, error, out }: Processes.Ended) => {
  assert.deepStrictEqual({ code, error, lines: out.length }, { code: 0, error: [], lines: 1 })
  return JSON.parse(out[0])
}

// Most of the time is spent waiting.
describe.concurrent("processes", () => {
  it.live("refuse to share a data directory until the first is killed", () =>
    Effect.gen(function*() {
      const data = yield* temporary
      const first = yield* node(data, "--no-http")
      const { code, error } = yield* Processes.run("node", "--listen", "127.0.0.1:0", "--no-http", "--data", data)
      assert.strictEqual(code, 1)
      assert.include(error.join("\n"), `A node already runs in ${data}, at ${first.listen}`)
      assert.strictEqual(Fs.readFileSync(join(data, "listening"), "utf8").trim(), first.listen)
      yield* first.process.kill("SIGKILL")
      yield* first.process.ended
      const next = yield* node(data, "--no-http")
      assert.strictEqual(next.address, first.address)
    }).pipe(Effect.scoped), 120_000)

  it.live("find each other, outlive one that is killed, and stop when told to", () =>
    Effect.gen(function*() {
      const directory = yield* temporary
      const a = yield* node(join(directory, "a"), "--http", "127.0.0.1:0")
      const [b, c] = yield* Effect.all([
        node(join(directory, "b"), "--no-http", "--bootstrap", a.listen),
        node(join(directory, "c"), "--no-http", "--bootstrap", a.listen)
      ], { concurrency: "unbounded" })
      yield* Effect.forEach([b, c], ({ process }) => process.event("joined"), { concurrency: "unbounded" })
      assert.isNull(b.http)

      // A newcomer counts as a peer once it has answered a ping, which it does not wait for.
      const peers = Effect.promise(() =>
        fetch(`http://${a.http}/debug/stats`).then((answer) => answer.json() as Promise<{ total_peers: number }>)
      ).pipe(Effect.map(({ total_peers }) => total_peers))
      const hasBoth = peers.pipe(Effect.delay("50 millis"), Effect.repeat({ until: (count) => count >= 2 }))
      assert.strictEqual(yield* Effect.timeout(hasBoth, "30 seconds"), 2)

      // Under the identity of b, while b runs.
      const url = "tcp://192.0.2.1:4121"
      const publication = printed(
        yield* Processes.run(
          "publish",
          "endpoint",
          "--endpoint",
          url,
          "--data",
          b.data,
          "--bootstrap",
          a.listen,
          "--json"
        )
      )
      assert.strictEqual(publication.address, b.address)
      assert.strictEqual(publication.copies, 3)

      const resolve = (via: string) => Processes.run("resolve", b.address, "--bootstrap", via, "--json")
      assert.deepStrictEqual(printed(yield* resolve(c.listen)).endpoints, [url])

      yield* Processes.run("mailbox", "send", b.address, "hello", "--data", c.data, "--bootstrap", a.listen)
      const { messages } = printed(
        yield* Processes.run("mailbox", "read", "--data", b.data, "--bootstrap", c.listen, "--json")
      )
      yield* Processes.run("publish", "profile", "--name", "Cleo", "--data", c.data, "--bootstrap", a.listen)
      // Without an endpoint the other records remain.
      const { endpoints, records } = printed(
        yield* Processes.run("resolve", c.address, "--bootstrap", a.listen, "--json")
      )
      assert.deepStrictEqual([endpoints, records[0].kind, records[0].payload.name], [[], "profile", "Cleo"])
      assert.deepStrictEqual(
        messages.map(({ sender, text }: { readonly sender: string; readonly text: string }) => [sender, text]),
        [[c.address, "hello"]]
      )

      yield* b.process.kill("SIGKILL")
      assert.strictEqual((yield* b.process.ended).signal, "SIGKILL")
      assert.deepStrictEqual(printed(yield* resolve(c.listen)).endpoints, [url])

      yield* a.process.kill("SIGTERM")
      yield* c.process.kill("SIGINT")
      for (const { process } of [a, c]) {
        const { code, error, out } = yield* process.ended
        assert.deepStrictEqual({ code, error }, { code: 0, error: [] })
        assert.strictEqual(out.at(-1), "{\"event\":\"stopped\"}")
      }

      // None of their processes, ports and sockets is left.
      for (const { listen, process } of [a, b, c]) {
        assert.isFalse(process.isAlive())
        yield* bindUdp(portOf(listen))
      }
      yield* bindTcp(portOf(a.http))
      for (const { data } of [a, b, c]) {
        assert.strictEqual(Fs.statSync(data).mode & 0o777, 0o700)
        assert.strictEqual(Fs.statSync(join(data, "identity.ed25519")).mode & 0o777, 0o600)
      }
    }), 120_000)

  it.live("publish and read messages for the address that delegated to their key", () =>
    Effect.gen(function*() {
      const directory = yield* temporary
      const [master, own, other] = ["master", "own", "other"].map((name) => join(directory, name))
      const shown = Effect.fnUntraced(function*(...args: ReadonlyArray<string>) {
        return printed(yield* Processes.run(...args, "--json"))
      })
      const { address: agent } = yield* shown("identity", "new", "--data", master)
      yield* shown("identity", "new", "--data", other)
      const { address, publicKey } = yield* shown("identity", "new", "--data", own)
      const { encoded } = yield* shown("identity", "delegate", publicKey, "--data", master)
      yield* shown("identity", "accept", encoded, "--data", own)

      const node = yield* Processes.start("node", "--json", "--listen", "127.0.0.1:0", "--no-http", "--data", own)
      const ready = yield* node.event("ready")
      assert.deepStrictEqual([ready.address, ready.agent], [address, agent])
      const via = ["--bootstrap", ready.listen]
      const profile = yield* shown("publish", "profile", "--name", "Ann", "--data", own, ...via)
      assert.strictEqual(profile.address, agent)
      yield* shown("mailbox", "send", agent, "hello", "--data", other, ...via)
      const inbox = yield* shown("mailbox", "read", "--data", own, ...via)
      assert.strictEqual(inbox.address, agent)
      assert.deepStrictEqual(inbox.messages.map(({ text }: { readonly text: string }) => text), ["hello"])
    }).pipe(Effect.scoped), 120_000)

  it("fail if their output cannot be written, except when its reader has left", () => {
    const args = ["src/bin.ts", "simulate", "--nodes", "5", "--hours", "0.02", "--json"]
    const full = Fs.openSync("/dev/full", "w")
    assert.strictEqual(spawnSync(process.execPath, args, { stdio: ["ignore", full, "ignore"] }).status, 1)
    Fs.closeSync(full)
    const left = spawnSync("sh", ["-c", `{ ${[process.execPath, ...args].join(" ")}; echo $? >&2; } | true`])
    assert.strictEqual(left.stderr.toString().trim(), "0")
  })

  it.live("stop a whole network in order when the terminal is closed", () =>
    Effect.gen(function*() {
      const demo = yield* Processes.start("demo", "--nodes", "4", "--http", "127.0.0.1:0", "--json")
      yield* demo.event("joined")
      yield* demo.kill("SIGHUP")
      const { code, error, out } = yield* demo.ended
      assert.deepStrictEqual({ code, error }, { code: 0, error: [] })
      assert.strictEqual(out.at(-1), "{\"event\":\"stopped\"}")
    }), 120_000)

  for (const signal of ["SIGHUP", "SIGINT", "SIGTERM"] as const) {
    it.live(`stop in order at ${signal}, even if it arrives twice at once`, () =>
      Effect.gen(function*() {
        const { data, listen, process } = yield* node(yield* temporary, "--http", "127.0.0.1:0")
        yield* process.kill(signal)
        yield* process.kill(signal)
        const { code, error, out } = yield* process.ended
        assert.deepStrictEqual({ code, error }, { code: 0, error: [] })
        assert.strictEqual(out.at(-1), "{\"event\":\"stopped\"}")
        assert.isFalse(Fs.existsSync(join(data, "listening")))
        yield* bindUdp(portOf(listen))
      }), 120_000)
  }

  it.live("exit at once at a second signal while they stop", () =>
    Effect.gen(function*() {
      // A collector that never answers delays the end of a node that sends it
      // spans.
      const collector = createServer().listen(0, "127.0.0.1")
      yield* Effect.addFinalizer(() => Effect.sync(() => collector.close()))
      yield* Effect.promise(() => once(collector, "listening"))
      const { port } = collector.address() as AddressInfo
      const { process } = yield* node(yield* temporary, "--no-http", "--otlp", `http://127.0.0.1:${port}`)
      yield* process.kill("SIGTERM")
      yield* Effect.sleep("1500 millis")
      yield* process.kill("SIGINT")
      assert.strictEqual((yield* process.ended).code, 130)
    }), 120_000)

  for (const signal of ["SIGHUP", "SIGINT", "SIGKILL", "SIGTERM"] as const) {
    it.live(`end with the npm that started them when it gets ${signal}`, () =>
      Effect.gen(function*() {
        const data = yield* temporary
        const npm = yield* Processes.script("start", "--json", "--listen", "127.0.0.1:0", "--no-http", "--data", data)
        const { listen } = yield* npm.event("ready")
        yield* npm.kill(signal)
        // Its output ends with the last of its processes.
        assert.strictEqual((yield* npm.ended).out.at(-1), "{\"event\":\"stopped\"}")
        assert.isFalse(Fs.existsSync(join(data, "listening")))
        yield* bindUdp(portOf(listen))
      }), 120_000)
  }

  const { scripts } = JSON.parse(Fs.readFileSync(join(import.meta.dirname, "../package.json"), "utf8"))

  it("replace the shell that npm starts, so that signals reach them", () => {
    for (const name of ["start", "dht", "demo", "example", "test", "test:sim", "bench"]) {
      assert.match(scripts[name], /^exec /, name)
    }
  })

  it.live(
    "end in order if they do not handle a closed terminal, as examples do not",
    () =>
      Effect.gen(function*() {
        const [, command, ...args] = scripts.example.split(" ")
        assert.strictEqual(command, "node")
        const provider = yield* Processes.program(process.execPath, [...args, "examples/discovery-provider.ts"])
        yield* provider.line(/offers translations/)
        yield* provider.kill("SIGHUP")
        assert.deepInclude(yield* provider.ended, { code: 130, signal: null })
      }),
    120_000
  )

  it("start if the runtime has no compile cache", () => {
    const without = `import Module, { syncBuiltinESMExports } from "node:module"
      delete Module.enableCompileCache
      syncBuiltinESMExports()`
    const args = ["--import", `data:text/javascript,${encodeURIComponent(without)}`, "src/bin.ts", "--version"]
    const { status, stderr } = spawnSync(process.execPath, args)
    assert.deepStrictEqual({ status, stderr: stderr.toString() }, { status: 0, stderr: "" })
  })

  it("keep the young generation of the heap small, except for networks in one process", () => {
    const atEnd = `import { getHeapSpaceStatistics } from "node:v8"
      process.on("exit", () => {
        const young = getHeapSpaceStatistics().find(({ space_name }) => space_name === "new_space")
        process.stderr.write(String(young.space_size))
      })`
    const youngMiB = (...args: ReadonlyArray<string>) => {
      const watched = ["--import", `data:text/javascript,${encodeURIComponent(atEnd)}`, "src/bin.ts", ...args]
      return Number(spawnSync(process.execPath, watched).stderr.toString()) / 2 ** 20
    }
    assert.isAtMost(youngMiB("node", "--help"), 4)
    assert.isAbove(youngMiB("simulate", "--nodes", "20", "--hours", "0.02", "--json"), 4)
  })

  it.live("keep their identity across restarts", () =>
    Effect.gen(function*() {
      const data = yield* temporary
      const session = Effect.scoped(Effect.gen(function*() {
        const { address, process } = yield* node(data, "--no-http")
        yield* process.kill("SIGTERM")
        assert.strictEqual((yield* process.ended).code, 0)
        return address
      }))
      assert.strictEqual(yield* session, yield* session)
    }), 120_000)

  it.live(
    "keep what is announced over HTTP with the token of their data directory, also after they were killed",
    () =>
      Effect.gen(function*() {
        const data = yield* temporary
        const withHttp = node(data, "--http", "127.0.0.1:0")
        const request = (http: string, method: string) =>
          Effect.promise(async () => {
            const token = Fs.readFileSync(join(data, "http-token"), "utf8").trim()
            const response = await fetch(`http://${http}/v1/announcements/topics/translate`, {
              method,
              headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
              ...(method === "PUT" ? { body: JSON.stringify({ name: "Ann" }) } : {})
            })
            const { durable, name } = await response.json() as { readonly durable: boolean; readonly name: string }
            return { status: response.status, durable, name }
          })
        const announced = { status: 200, durable: true, name: "Ann" }
        const first = yield* withHttp
        assert.strictEqual(Fs.readFileSync(join(data, "serving"), "utf8").trim(), first.http)
        assert.deepStrictEqual(yield* request(first.http, "PUT"), announced)
        yield* first.process.kill("SIGKILL")
        yield* first.process.ended
        const second = yield* withHttp
        assert.deepStrictEqual(yield* request(second.http, "GET"), announced)
        yield* second.process.kill("SIGTERM")
        yield* second.process.ended
        assert.isFalse(Fs.existsSync(join(data, "serving")))
      }).pipe(Effect.scoped),
    120_000
  )

  it.live(
    "end with one line and without a stack if a port is in use or an address is invalid",
    () =>
      Effect.gen(function*() {
        const directory = yield* temporary
        const { http, listen } = yield* node(join(directory, "a"), "--http", "127.0.0.1:0")
        const failures = yield* Effect.all([
          Processes.run("node", "--listen", listen, "--no-http", "--data", join(directory, "b")),
          Processes.run("node", "--listen", "127.0.0.1:0", "--http", http, "--data", join(directory, "c")),
          Processes.run("resolve", "nobody", "--bootstrap", listen),
          Processes.run("resolve", `a0${"11".repeat(20)}`, "--bootstrap", listen)
        ], { concurrency: 2 })
        assert.deepStrictEqual(
          failures.map(({ code, error, out }) => ({ code, lines: error.length, out })),
          [1, 1, 2, 1].map((code) => ({ code, lines: 1, out: [] }))
        )
        assert.include(failures[0].error[0], "in use")
        assert.include(failures[1].error[0], "in use")
      }),
    60_000
  )

  it.live(
    "stay up when no bootstrap node answers, report it once, and join when one does",
    () =>
      Effect.gen(function*() {
        const directory = yield* temporary
        // A port that was free a moment ago.
        const later = yield* Effect.scoped(node(join(directory, "a"), "--no-http"))
        const { process } = yield* node(join(directory, "b"), "--no-http", "--bootstrap", later.listen)
        yield* process.event("bootstrap-failed")
        yield* Processes.start("node", "--json", "--listen", later.listen, "--no-http", "--data", later.data)
        yield* process.event("joined")
        yield* process.kill("SIGTERM")
        const { code, error } = yield* process.ended
        assert.strictEqual(code, 0)
        assert.strictEqual(error.length, 1)
        assert.include(error[0], later.listen)
      }),
    120_000
  )

  it.live(
    "are ready as the first of their network if the bootstrap list names only them; not if other addresses are silent",
    () =>
      Effect.gen(function*() {
        const directory = yield* temporary
        // A port that was free a moment ago.
        const { listen } = yield* Effect.scoped(node(join(directory, "a"), "--no-http"))
        const silent = createSocket("udp4").bind({ port: 0, address: "127.0.0.1" })
        yield* Effect.promise(() => once(silent, "listening"))
        yield* Effect.addFinalizer(() => Effect.sync(() => silent.close()))
        const own = `localhost:${portOf(listen)}`
        const start = Effect.fnUntraced(function*(event: string, ...bootstrap: ReadonlyArray<string>) {
          const process = yield* Processes.start(
            "node",
            "--json",
            "--listen",
            listen,
            "--http",
            "127.0.0.1:0",
            "--data",
            join(directory, "a"),
            ...bootstrap.flatMap((host) => ["--bootstrap", host])
          )
          const { http } = yield* process.event("ready")
          const told = yield* process.event(event)
          const health = yield* Effect.promise(() => fetch(`http://${http}/health`))
          yield* process.kill("SIGTERM")
          return { told, status: health.status, error: (yield* process.ended).error }
        })

        const first = yield* start("first", own, listen)
        assert.deepStrictEqual({ status: first.status, error: first.error }, { status: 200, error: [] })

        const dead = `127.0.0.1:${silent.address().port}`
        const mixed = yield* start("bootstrap-failed", own, dead)
        assert.strictEqual(mixed.status, 503)
        assert.deepStrictEqual<unknown>(mixed.told.failures, [{ address: dead, reason: "no answer in 10 s" }])
        assert.lengthOf(mixed.error, 1)
        assert.include(mixed.error[0], dead)
      }),
    120_000
  )
})
