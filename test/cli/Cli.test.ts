import { assert, describe, it } from "@effect/vitest"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as TestClock from "effect/testing/TestClock"
import * as Fs from "node:fs"
import { join } from "node:path"
import * as Address from "../../src/Address.ts"
import * as Delegation from "../../src/Delegation.ts"
import * as Endpoint from "../../src/Endpoint.ts"
import { version as stated } from "../../src/internal/version.ts"
import { settings } from "../../src/node/internal/settings.ts"
import * as NodeId from "../../src/NodeId.ts"
import * as Record from "../../src/Record.ts"
import * as Topic from "../../src/Topic.ts"
import { type Ran, run } from "../utils/commandLine.ts"
import * as Network from "../utils/network.ts"
import { temporary } from "../utils/temporary.ts"

/** The line of JSON that a command printed. */
const document = ({ error, exitCode, out }: Ran) => {
  assert.deepStrictEqual({ exitCode, error, lines: out.length }, { exitCode: 0, error: [], lines: 1 })
  return JSON.parse(out[0])
}

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex")

/** Every command, by its path. */
const commands = [
  ["node"],
  ["host"],
  ["ping"],
  ["resolve"],
  ["find-node"],
  ["network"],
  ["discover"],
  ["publish"],
  ["publish", "endpoint"],
  ["publish", "topic"],
  ["publish", "profile"],
  ["publish", "custom"],
  ["announce"],
  ["announce", "endpoint"],
  ["announce", "topic"],
  ["announce", "profile"],
  ["announcements"],
  ["withdraw"],
  ["withdraw", "endpoint"],
  ["withdraw", "topic"],
  ["withdraw", "profile"],
  ["mailbox"],
  ["mailbox", "send"],
  ["mailbox", "read"],
  ["mcp"],
  ["identity"],
  ["identity", "show"],
  ["identity", "new"],
  ["identity", "export"],
  ["identity", "import"],
  ["identity", "passphrase"],
  ["identity", "delegate"],
  ["identity", "accept"],
  ["backup"],
  ["record"],
  ["record", "decode"],
  ["simulate"],
  ["soak"],
  ["replay"],
  ["demo"],
  ["top"]
]

const native = `a0${"11".repeat(20)}`

describe("effect-dht", () => {
  describe("help", () => {
    for (const command of [[], ...commands]) {
      it.effect(`explains "${["effect-dht", ...command].join(" ")}" on the standard output`, () =>
        Effect.gen(function*() {
          const { error, exitCode, out } = yield* run([...command, "--help"])
          assert.strictEqual(exitCode, 0)
          assert.deepStrictEqual(error, [])
          assert.include(out.join("\n"), ["effect-dht", ...command].join(" "))
        }))
    }

    for (const command of [[], ["publish"], ["mailbox"], ["identity"], ["record"]]) {
      it.effect(`is the answer to "${["effect-dht", ...command].join(" ")}" alone, which is wrong usage`, () =>
        Effect.gen(function*() {
          const { error, exitCode, out } = yield* run(command)
          assert.strictEqual(exitCode, 2)
          assert.deepStrictEqual(out, [])
          assert.include(error.join("\n"), "SUBCOMMANDS")
        }))
    }

    it.effect("has an example for each command without subcommands", () =>
      Effect.gen(function*() {
        const groups = new Set(["publish", "announce", "withdraw", "mailbox", "identity", "record"])
        for (const command of commands.filter((path) => path.length > 1 || !groups.has(path[0]))) {
          const { out } = yield* run([...command, "--help"])
          assert.include(out.join("\n").split("EXAMPLES")[1], ["effect-dht", ...command].join(" "))
        }
      }))

    it.effect("names the environment variable of each flag of a node, and of a runner", () =>
      Effect.gen(function*() {
        let all = (yield* run(["top", "--help"])).out.join("\n")
        for (const command of ["node", "host"]) {
          const help = (yield* run([command, "--help"])).out.join("\n")
          const flags = help.split("GLOBAL FLAGS")[0].replace(/\n {4,}/g, " ").split("\n")
            .filter((line) => line.startsWith("  --"))
          assert.isAbove(flags.length, 10)
          for (const line of flags) {
            const [, name] = /^ {2}--([a-z-]+)/.exec(line) ?? []
            assert.include(line, `environment: DHT_${name.toUpperCase().replaceAll("-", "_")}`)
          }
          all += help
        }
        for (const { flag } of Object.values(settings)) assert.match(all, new RegExp(`^ {2}--${flag}\\b`, "m"))
      }))

    it.effect("has lines of at most 80 characters without a terminal", () =>
      Effect.gen(function*() {
        for (const command of [[], ...commands]) {
          const lines = (yield* run([...command, "--help"])).out.join("\n").split("\n")
          assert.deepStrictEqual(lines.filter((line) => line.length > 80), [], command.join(" "))
        }
      }))

    it.effect("prints completions for the supported shells, and rejects others", () =>
      Effect.gen(function*() {
        for (const shell of ["bash", "zsh", "fish", "powershell", "pwsh"]) {
          const { exitCode, out } = yield* run(["--completions", shell])
          assert.strictEqual(exitCode, 0)
          assert.include(out.join("\n"), "effect-dht", shell)
        }
        const { error, exitCode, out } = yield* run(["--completions", "sh"])
        assert.deepStrictEqual({ exitCode, out }, { exitCode: 2, out: [] })
        assert.include(error.join("\n"), "\"bash\"")
      }))

    it.effect("prints the version of the package", () =>
      Effect.gen(function*() {
        const { version } = JSON.parse(Fs.readFileSync(join(import.meta.dirname, "../../package.json"), "utf8"))
        assert.strictEqual(stated, version)
        assert.include((yield* run(["--version"])).out.join(), version)
      }))
  })

  describe("wrong usage", () => {
    it.effect("suggests only similar names", () =>
      Effect.gen(function*() {
        for (const args of [["foo"], ["bar"], ["get"], ["node", "--bob"], ["node", "-x"]]) {
          const { error, exitCode } = yield* run(args)
          assert.strictEqual(exitCode, 2)
          assert.notInclude(error.join("\n"), "did you mean", args.join(" "))
        }
      }))

    const via = ["--bootstrap", "127.0.0.1:1"]
    const wrong: ReadonlyArray<readonly [args: ReadonlyArray<string>, says: string]> = [
      [["nod"], "did you mean node?"],
      [["tpo"], "did you mean top?"],
      [["resovle"], "did you mean resolve?"],
      [["publish", "topix"], "did you mean topic?"],
      [["node", "--lisen", "127.0.0.1:0"], "did you mean --listen?"],
      [["node", "--log-format", "xml"], "logfmt"],
      [["node", "--otlp", "ftp://a"], "--otlp \"ftp://a\""],
      [["node", "--public-host", "example.net"], "IP address"],
      [["node", "--allow-from", "example.net"], "203.0.113.0/24"],
      [["node", "--allow-from", ","], "203.0.113.0/24"],
      [["node", "--deny-from", "10.0.0.0/8", "--deny-from", "203.0.113.7/24"], "write 203.0.113.0/24"],
      [["backup", "-"], "the path of a file"],
      [["node", "--max-keys", "0"], "1 to"],
      [["node", "--max-bytes", "64MiB"], "1048576 to"],
      [["node", "--verify-threads", "two"], "0 to"],
      [["node", "--listen", "4121"], "write host:port"],
      [["node", "--listen", "localhost:4121"], "IP address"],
      [["node", "--listen", "127.0.0.1:65536"], "65535"],
      [["node", "--listen", "1:2:3"], "[address]:port"],
      [["node", "--listen", "127.0.0.1:1,"], "\"\": "],
      [["node", "--listen", "127.0.0.1:1,localhost:2"], "\"localhost:2\": write an IP address"],
      [
        ["node", "--listen", "127.0.0.1:1", "--listen", "[::1]:1", "--listen", "127.0.0.1:1"],
        "127.0.0.1:1 is given twice"
      ],
      [["node", "--listen", Array(17).fill("127.0.0.1:0").join(",")], "at most 16 addresses"],
      [["node", "--bootstrap", "example.net"], "write host:port"],
      [["node", "--bootstrap", "example.net:0"], "port 0"],
      [["node", "--bootstrap", "a:1", "--bootstrap", "b"], "\"b\""],
      [["node", "--http", "2634"], "write host:port"],
      [["node", "--http-origin", "app.example"], "https://app.example"],
      [["node", "--http-origin", "https://app.example/page"], "without a path"],
      [["node", "--http-origin", "*"], "is not an origin"],
      [["withdraw", "topic", ""], "is not a topic"],
      [["announce", "endpoint"], "--endpoint"],
      [["announce", "topic", "t", "--ttl", "7201", ...via], "1 to 7200"],
      [["identity", "export", "-"], "the path of a file"],
      [["identity", "passphrase", "--new-passphrase-env", "not a name"], "name of an environment variable"],
      [["ping"], "host:port"],
      [["ping", "example.net"], "write host:port"],
      [["ping", native.replace("a0", "A0"), ...via], "checksum"],
      [["ping", native], "--bootstrap"],
      [["ping", "example.net:1", "example.org:1"], "example.org:1"],
      [["resolve", "agent", ...via], "not an address"],
      [["resolve", "a0".repeat(22), ...via], "not an address"],
      [["resolve", native.replace("a0", "A0"), ...via], "checksum"],
      [["resolve", native], "--bootstrap"],
      [["find-node", "12", ...via], "64 hex digits"],
      [["find-node", "zz".repeat(32), ...via], "64 hex digits"],
      [["find-node", NodeId.zero], "--bootstrap"],
      [["discover", "", ...via], "topic"],
      [["discover", "translate"], "--bootstrap"],
      [["publish", "endpoint", ...via], "--endpoint"],
      [["publish", "endpoint", "--endpoint", "somewhere", ...via], "URL"],
      [["publish", "endpoint", "--endpoint", "quic://a:1"], "--bootstrap"],
      [["publish", "endpoint", "--endpoint", "quic://a:1", "--ttl", "-5", ...via], "1 to"],
      [["publish", "endpoint", "--endpoint", "quic://a:1", "--ttl", "0", ...via], "1 to"],
      [["publish", "endpoint", "--endpoint", "quic://a:1", "--ttl", "1h", ...via], "1 to"],
      [["publish", "endpoint", "--endpoint", "quic://a:1", "--ttl", "4294967296", ...via], "1 to"],
      [["publish", "endpoint", "--endpoint", "quic://a:1", "--nat-type", "bad", ...via], "full-cone"],
      [["publish", "topic", "", ...via], "topic"],
      [["mailbox", "send", native, ...via], "text"],
      [["mailbox", "send", native, "", ...via], "389"],
      [["mailbox", "send", native, "€".repeat(130), ...via], "389"],
      [["mailbox", "read", ...via], "--data"],
      [["record", "decode", "xyz"], "hex digits"],
      [["record", "decode", "abc"], "byte"],
      [["record", "decode", ""], "hex digits"],
      [["simulate", "--nodes", "1"], "2 to"],
      [["simulate", "--nodes", "many"], "2 to"],
      [["simulate", "--nodes", "4", "--endpoints", "5"], "--endpoints"],
      [["simulate", "--nodes", "3", "--topics", "1"], "--topics"],
      [["simulate", "--nodes", "4", "--byzantine", "0.75"], "--nodes"],
      [["simulate", "--hours", "0"], "hours"],
      [["simulate", "--hours", "2h"], "hours"],
      [["simulate", "--seed", "-1"], "integer"],
      [["simulate", "--latency", "50"], "p50=50ms"],
      [["simulate", "--latency", "p99=50ms"], "p50=50ms"],
      [["simulate", "--loss", "1"], "less than 1"],
      [["simulate", "--loss", "5%"], "less than 1"],
      [["simulate", "--churn", "0.3/d"], "0.3/h"],
      [["simulate", "--byzantine", "1.5"], "less than 1"],
      [["simulate", "--partition", "2h"], "at=2h,for=30m,share=0.4"],
      [["simulate", "--partition", "at=2h,for=30m"], "at=2h,for=30m,share=0.4"],
      [["simulate", "--partition", "at=2,for=30,share=0.4"], "at=2h,for=30m,share=0.4"],
      [["simulate", "--partition", "at=2h,for=0s,share=0.4"], "at=2h,for=30m,share=0.4"],
      [["simulate", "--partition", "at=2h,for=30m,share=1"], "at=2h,for=30m,share=0.4"],
      [["simulate", "--partition", "at=2h,for=30m,share=0"], "at=2h,for=30m,share=0.4"],
      [["simulate", "--partition", "at=2h,for=30m,share=0.4,x"], "at=2h,for=30m,share=0.4"],
      [["simulate", "--partition", "at=2h,at=3h,share=0.4"], "at=2h,for=30m,share=0.4"],
      [["simulate", "--partition", "at=2h=3h,for=30m,share=0.4"], "at=2h,for=30m,share=0.4"],
      [["simulate", "--hours", "Infinity"], "hours"],
      [["simulate", "--latency", "10001ms"], "p50=50ms"],
      [["simulate", "--latency", "0x10ms"], "p50=50ms"],
      [["simulate", "--churn", "/h"], "0.3/h"],
      [["simulate", "--churn", "0.3/h/h"], "0.3/h"],
      [["simulate", "--seed", "9007199254740993"], "integer"],
      [["simulate", "--hours", "2", "--partition", "at=2h,for=30m,share=0.4"], "--partition"],
      [["simulate", "--signatures", "none"], "stand-in"],
      [["simulate", "--report", "-"], "the name of a file"],
      [["publish", "topic", "t", "--ttl", "7201", ...via], "1 to 7200"],
      [["publish", "topic", "t", "--data", "", ...via], "--data"],
      [["simulate", "--lookups", "-1"], "non-negative"],
      [["demo", "--nodes", "1"], "2 to"],
      [["demo", "--nodes", "1000000"], "2 to"],
      [["demo", "--http", "2634"], "write host:port"],
      [["top", "--url", "127.0.0.1:2634"], "http://"],
      [["top", "--http-token-env", "NOT_SET"], "NOT_SET"],
      [["top", "--http-token-env", "not a name"], "name of an environment variable, not the token"],
      [["identity", "delegate", "xyz"], "64 hex digits"],
      [["identity", "delegate", native, "--lifetime", "0"], "64 hex digits"],
      [["identity", "delegate", NodeId.zero, "--lifetime", "0"], "1 to 9999999999"],
      [["identity", "show", "--passphrase-env", "not a name"], "name of an environment variable"],
      [["identity", "show", "--passphrase-env", "NOT_SET"], "NOT_SET"]
    ]
    for (const [args, says] of wrong) {
      it.effect(`gets one line and exit code 2: effect-dht ${args.join(" ")}`, () =>
        Effect.gen(function*() {
          const { error, exitCode, out } = yield* run(args)
          assert.strictEqual(exitCode, 2)
          assert.deepStrictEqual(out, [])
          assert.strictEqual(error.length, 1)
          assert.notInclude(error[0], "\n")
          assert.isTrue(error[0].startsWith("effect-dht: "))
          assert.include(error[0], says)
        }))
    }

    it.effect("includes an empty passphrase, with which nothing is written", () =>
      Effect.gen(function*() {
        const data = join(yield* temporary, "data")
        const { error, exitCode } = yield* run(["identity", "new", "--data", data, "--passphrase-env", "P"], { P: "" })
        assert.strictEqual(exitCode, 2)
        assert.strictEqual(error.length, 1)
        assert.isFalse(Fs.existsSync(data))
      }))

    it.effect("does not repeat a name that may be the passphrase itself", () =>
      Effect.gen(function*() {
        const { error } = yield* run(["identity", "show", "--passphrase-env", "correct horse"])
        assert.notInclude(error.join(), "horse")
      }))

    const variables = {
      DHT_LISTEN: "x",
      DHT_BOOTSTRAP: "127.0.0.1:1,x",
      DHT_HTTP: "x",
      DHT_NO_HTTP: "perhaps",
      DHT_OTLP: "ftp://a",
      DHT_LOG_FORMAT: "xml",
      DHT_PASSIVE: "perhaps",
      DHT_PUBLIC_HOST: "x",
      DHT_MAX_KEYS: "x",
      DHT_MAX_BYTES: "64MiB",
      DHT_VERIFY_THREADS: "x",
      DHT_NETWORK: "n".repeat(65),
      DHT_JSON: "perhaps",
      DHT_LOG_LEVEL: "loud"
    }
    for (const [name, text] of Object.entries(variables)) {
      it.effect(`is reported for environment variables, by name: ${name}=${text}`, () =>
        Effect.gen(function*() {
          const { error, exitCode, out } = yield* run(["node"], { [name]: text })
          assert.deepStrictEqual({ exitCode, lines: error.length, out }, { exitCode: 2, lines: 1, out: [] })
          assert.include(error[0], `${name} "${text}": `)
        }))
    }

    const {
      bootstrap,
      http,
      httpTokenEnv,
      listen,
      maxBytes,
      maxKeys,
      networkKeyEnv,
      otlp,
      passphraseEnv,
      publicHost,
      verifyThreads
    } = settings
    const ofNode: ReadonlyArray<{ readonly flag: string; readonly variable: string }> = [
      bootstrap,
      http,
      httpTokenEnv,
      listen,
      maxBytes,
      maxKeys,
      networkKeyEnv,
      otlp,
      passphraseEnv,
      publicHost,
      verifyThreads
    ]
    for (const { flag, variable } of ofNode) {
      it.effect(`is explained in the same words for --${flag} and for ${variable}`, () =>
        Effect.gen(function*() {
          const byFlag = yield* run(["node", `--${flag}`, "?"])
          const byVariable = yield* run(["node"], { [variable]: "?" })
          assert.deepStrictEqual([byFlag.exitCode, byVariable.exitCode, byFlag.error.length], [2, 2, 1])
          assert.include(byFlag.error[0], `: --${flag} `)
          assert.deepStrictEqual(byVariable.error, [byFlag.error[0].replace(`--${flag}`, variable)])
        }))
    }

    it.effect("is that of the flag if both are given", () =>
      Effect.gen(function*() {
        const { error } = yield* run(["node", "--listen", "x"], { DHT_LISTEN: "y" })
        assert.lengthOf(error, 1)
        assert.include(error[0], "--listen \"x\": ")
        assert.notInclude(error[0], "DHT_LISTEN")
      }))
  })

  describe("identity", () => {
    it.effect("creates an identity, shows it, and creates no second one", () =>
      Effect.gen(function*() {
        const data = join(yield* temporary, "data")
        const made = document(yield* run(["identity", "new", "--data", data, "--json"]))
        const shown = document(yield* run(["identity", "show", "--data", data, "--json"]))
        assert.deepStrictEqual(shown, made)
        const publicKey = Buffer.from(made.publicKey, "hex")
        const address = Address.fromPublicKey(publicKey)
        assert.deepStrictEqual(made, {
          address: Address.format(address),
          nodeId: NodeId.fromAddress(address),
          publicKey: hex(publicKey),
          file: join(data, "identity.ed25519"),
          encrypted: false
        })
        const again = yield* run(["identity", "new", "--data", data])
        assert.strictEqual(again.exitCode, 1)
        assert.strictEqual(again.error.length, 1)
        assert.deepStrictEqual(document(yield* run(["identity", "show", "--data", data, "--json"])), made)
      }))

    it.effect("encrypts it with the passphrase of an environment variable", () =>
      Effect.gen(function*() {
        const data = yield* temporary
        const options = ["--data", data, "--passphrase-env", "SECRET", "--json"]
        const made = document(yield* run(["identity", "new", ...options], { SECRET: "correct horse" }))
        assert.isTrue(made.encrypted)
        assert.deepStrictEqual(
          document(yield* run(["identity", "show", ...options], { SECRET: "correct horse" })),
          made
        )
        const wrong = yield* run(["identity", "show", ...options], { SECRET: "wrong" })
        assert.strictEqual(wrong.exitCode, 1)
        assert.include(wrong.error.join(), "passphrase")
        const without = yield* run(["identity", "show", "--data", data])
        assert.strictEqual(without.exitCode, 1)
        assert.include(without.error.join(), "--passphrase-env")
      }))

    it.effect("warns if a passphrase is given for an unencrypted file", () =>
      Effect.gen(function*() {
        const data = yield* temporary
        yield* run(["identity", "new", "--data", data])
        const { error, exitCode } = yield* run(["identity", "show", "--data", data, "--passphrase-env", "S"], {
          S: "x"
        })
        assert.strictEqual(exitCode, 0)
        assert.strictEqual(error.length, 1)
        assert.include(error[0], "not encrypted")
      }))

    it.effect("is in the directory given by DHT_DATA, unless --data gives another", () =>
      Effect.gen(function*() {
        const data = yield* temporary
        const other = yield* temporary
        const made = document(yield* run(["identity", "new", "--json"], { DHT_DATA: data }))
        assert.strictEqual(made.file, join(data, "identity.ed25519"))
        const second = document(yield* run(["identity", "new", "--json", "--data", other], { DHT_DATA: data }))
        assert.strictEqual(second.file, join(other, "identity.ed25519"))
      }))

    it.effect("never shows the private key", () =>
      Effect.gen(function*() {
        const data = yield* temporary
        const made = yield* run(["identity", "new", "--data", data])
        const shown = yield* run(["identity", "show", "--data", data, "--json"])
        const [, seed] = /^([0-9a-f]{64}) /m.exec(Fs.readFileSync(join(data, "identity.ed25519"), "utf8")) ?? []
        assert.isDefined(seed)
        assert.notInclude([...made.out, ...shown.out].join(), seed)
      }))
  })

  describe("identity delegate and accept", () => {
    it.effect("let the key of one directory act for the address of another", () =>
      Effect.gen(function*() {
        yield* TestClock.setTime(Network.now * 1000)
        const [master, data] = [join(yield* temporary, "m"), join(yield* temporary, "d")]
        const { address: agent } = document(yield* run(["identity", "new", "--data", master, "--json"]))
        const { address, publicKey } = document(yield* run(["identity", "new", "--data", data, "--json"]))
        const sign = ["identity", "delegate", publicKey, "--data", master, "--lifetime", "100"]
        const signed = document(yield* run([...sign, "--json"]))
        assert.deepInclude(signed, {
          agent,
          operationalPublicKey: publicKey,
          issuedAt: String(Network.now),
          expiresAt: String(Network.now + 100)
        })
        assert.deepStrictEqual((yield* run(sign)).out, [signed.encoded])

        const { encoded, ...delegation } = signed
        const accepted = document(yield* run(["identity", "accept", encoded, "--data", data, "--json"]))
        assert.deepInclude(accepted, { address, delegation })
        assert.deepStrictEqual(document(yield* run(["identity", "show", "--data", data, "--json"])), accepted)
        assert.include((yield* run(["identity", "show", "--data", data])).out.join("\n"), agent)

        // Neither one for another key, nor an older one, nor an expired one.
        const refused = yield* run(["identity", "accept", encoded, "--data", master])
        assert.strictEqual(refused.exitCode, 1)
        assert.include(refused.error.join(), publicKey)
        yield* TestClock.adjust("10 seconds")
        const later = document(yield* run([...sign, "--json"]))
        document(yield* run(["identity", "accept", later.encoded, "--data", data, "--json"]))
        assert.strictEqual((yield* run(["identity", "accept", encoded, "--data", data])).exitCode, 1)
        yield* TestClock.adjust("100 seconds")
        assert.strictEqual((yield* run(["identity", "accept", later.encoded, "--data", data])).exitCode, 1)
        assert.strictEqual(
          document(yield* run(["identity", "show", "--data", data, "--json"])).delegation.expiresAt,
          later.expiresAt
        )

        Fs.writeFileSync(join(data, "delegation"), "damaged\n")
        const damaged = yield* run(["identity", "show", "--data", data])
        assert.strictEqual(damaged.exitCode, 1)
        assert.include(damaged.error.join(), join(data, "delegation"))
      }))

    it.effect("reject an invalid key or delegation as wrong usage", () =>
      Effect.gen(function*() {
        for (const args of [["delegate", "ab"], ["accept", "xyz"], ["accept", "a0"]]) {
          const { exitCode } = yield* run(["identity", ...args, "--data", yield* temporary])
          assert.strictEqual(exitCode, 2)
        }
      }))
  })

  describe("failure", () => {
    it.effect("is one line and exit code 1, and leaves the disk unchanged", () =>
      Effect.gen(function*() {
        const directory = yield* temporary
        const file = join(directory, "file")
        const damaged = join(directory, "damaged")
        Fs.writeFileSync(file, "mine")
        Fs.mkdirSync(damaged)
        Fs.writeFileSync(join(damaged, "identity.ed25519"), "what is this")
        const failing = [
          ["node", "--listen", "127.0.0.1:0", "--no-http", "--data", file],
          ["node", "--listen", "127.0.0.1:0", "--no-http", "--data", join(file, "data")],
          ["node", "--listen", "127.0.0.1:0", "--no-http", "--data", damaged],
          ["identity", "new", "--data", file],
          ["identity", "new", "--data", damaged],
          ["identity", "show", "--data", damaged],
          ["identity", "show", "--data", directory],
          ["publish", "topic", "translate", "--data", damaged, "--bootstrap", "127.0.0.1:1"],
          ["mailbox", "read", "--data", directory, "--bootstrap", "127.0.0.1:1"],
          ["record", "decode", "a0"]
        ]
        for (const args of failing) {
          const { error, exitCode, out } = yield* run(args)
          assert.deepStrictEqual({ args, exitCode, lines: error.length, out }, { args, exitCode: 1, lines: 1, out: [] })
          assert.notInclude(error[0], "\n")
        }
        assert.strictEqual(Fs.readFileSync(file, "utf8"), "mine")
        assert.strictEqual(Fs.readFileSync(join(damaged, "identity.ed25519"), "utf8"), "what is this")
        assert.deepStrictEqual(Fs.readdirSync(damaged), ["identity.ed25519"])
        assert.deepStrictEqual(Fs.readdirSync(directory).toSorted(), ["damaged", "file"])
      }))

    it.effect("is wrong usage if HTTP is reachable from other machines without a strong token", () =>
      Effect.gen(function*() {
        const node = ["node", "--listen", "127.0.0.1:0", "--data", yield* temporary]
        const secrets = { SHORT: "0123456789abcde" }
        for (
          const [args, said] of [
            [["--http", "0.0.0.0:0"], "needs a token; --http-token-env"],
            [["--http", "127.0.0.1:0", "--http-token-env", "SHORT"], "fewer than 16 characters"],
            [["--http", "127.0.0.1:0", "--http-token-env", "NONE"], "NONE is empty or not set"],
            [["--http", "127.0.0.1:0", "--http-token-env", "0123-456"], "not the token"]
          ] as const
        ) {
          const { error, exitCode, out } = yield* run([...node, ...args], secrets)
          assert.deepStrictEqual({ args, exitCode, lines: error.length, out }, { args, exitCode: 2, lines: 1, out: [] })
          assert.include(error[0], said)
          assert.notInclude(error[0], "0123")
        }
      }))

    it.effect("is one line for a defect, with the stack at log level debug", () =>
      Effect.gen(function*() {
        const console = yield* Console.Console
        const broken = {
          ...console,
          error: console.error,
          log: () => {
            throw new TypeError("broken")
          }
        }
        const args = ["identity", "new", "--data"]
        const show = (extra: ReadonlyArray<string>) =>
          Effect.gen(function*() {
            const { error, exitCode } = yield* Effect.provideService(
              run([...args, yield* temporary, ...extra]),
              Console.Console,
              broken
            )
            assert.strictEqual(exitCode, 1)
            return error
          })
        const plain = yield* show([])
        assert.strictEqual(plain.length, 1)
        assert.notInclude(plain[0], "\n")
        assert.include(plain[0], "broken")
        assert.match((yield* show(["--log-level", "debug"])).join("\n"), /TypeError: broken\n\s+at /)
      }))
  })

  describe("record decode", () => {
    const signer = Network.identity("signer")
    const stamp = { signer, address: signer.address, seq: 18446744073709551615n, timestamp: 1000n, ttl: 60 }
    const endpoint = Result.getOrThrow(Endpoint.sign({
      ...stamp,
      payload: Endpoint.make({ endpoints: ["quic://192.0.2.1:4121"], natType: Endpoint.NatType.symmetric })
    }))

    /** Decodes at a time given in Unix seconds. */
    const decodeAt = (seconds: number, bytes: Uint8Array, ...options: ReadonlyArray<string>) =>
      Effect.andThen(TestClock.setTime(seconds * 1000), run(["record", "decode", hex(bytes), ...options]))

    it.effect("shows all fields and the payload, its seq in full, and that everything is valid", () =>
      Effect.gen(function*() {
        const { exitCode, out } = yield* decodeAt(1010, endpoint.bytes, "--json")
        assert.strictEqual(exitCode, 0)
        assert.deepStrictEqual(JSON.parse(out[0]), {
          address: Address.format(signer.address),
          type: 1,
          seq: "18446744073709551615",
          timestamp: "1000",
          ttl: 60,
          expiresAt: "1060",
          kind: "endpoint",
          ownKey: signer.nodeId,
          payload: {
            endpoints: ["quic://192.0.2.1:4121"],
            natType: "symmetric",
            signal: "",
            signals: [],
            turns: []
          },
          payloadHex: hex(endpoint.payload),
          publicKey: hex(signer.publicKey),
          signature: hex(endpoint.signature),
          holds: { signature: true, time: true, authority: true },
          faults: []
        })
      }))

    it.effect("accepts capital digits, a 0x prefix and white space", () =>
      Effect.gen(function*() {
        yield* TestClock.setTime(1_010_000)
        const text = `0x ${hex(endpoint.bytes).toUpperCase().replace(/../g, "$& ")}\n`
        const { exitCode } = yield* run(["record", "decode", text])
        assert.strictEqual(exitCode, 0)
      }))

    it.effect("reports an expired record", () =>
      Effect.gen(function*() {
        const { faults, holds } = document(yield* decodeAt(1061, endpoint.bytes, "--json"))
        assert.deepStrictEqual(holds, { signature: true, time: false, authority: true })
        assert.strictEqual(faults.length, 1)
      }))

    it.effect("reports a record from the future", () =>
      Effect.gen(function*() {
        const { holds } = document(yield* decodeAt(100, endpoint.bytes, "--json"))
        assert.deepStrictEqual(holds, { signature: true, time: false, authority: true })
      }))

    it.effect("reports a bad signature", () =>
      Effect.gen(function*() {
        const bytes = endpoint.bytes.slice()
        bytes[bytes.length - 1] ^= 1
        const { holds } = document(yield* decodeAt(1010, bytes, "--json"))
        assert.deepStrictEqual(holds, { signature: false, time: true, authority: true })
      }))

    it.effect("reports a key without authority for the address", () =>
      Effect.gen(function*() {
        const { address } = Network.identity("someone else")
        const bytes = Record.encode({ ...endpoint, address })
        const { holds } = document(yield* decodeAt(1010, bytes, "--json"))
        assert.isFalse(holds.authority)
      }))

    it.effect("shows a delegation, and that it is valid", () =>
      Effect.gen(function*() {
        const master = Network.identity("master")
        const delegation = Delegation.encode(Delegation.delegate({
          master,
          operationalPublicKey: signer.publicKey,
          issuedAt: 900n,
          expiresAt: 0n
        }))
        const record = Result.getOrThrow(Topic.sign({
          ...stamp,
          address: master.address,
          payload: Topic.make({ topic: "translate", meta: new Map([["price", 3]]) }),
          delegation
        }))
        const decoded = document(yield* decodeAt(1010, record.bytes, "--json"))
        assert.strictEqual(decoded.delegation, hex(delegation))
        assert.strictEqual(decoded.delegatedAt, "900")
        assert.strictEqual(decoded.kind, "topic")
        assert.deepStrictEqual(decoded.payload.meta, { price: 3 })
        assert.deepStrictEqual(decoded.holds, { signature: true, time: true, authority: true })
      }))

    it.effect("prints no control characters of untrusted text", () =>
      Effect.gen(function*() {
        const record = Result.getOrThrow(Topic.sign({
          ...stamp,
          payload: Topic.make({ topic: "t", name: "\u001b[2J\nroot#\u202e" })
        }))
        const { out } = yield* decodeAt(1010, record.bytes)
        // oxlint-disable-next-line no-control-regex
        assert.notMatch(out.join(""), /[\u0000-\u001f\u202e]/)
        assert.include(out.join("\n"), "\\u{1b}[2J\\u{a}root#\\u{202e}")
      }))
  })
})
