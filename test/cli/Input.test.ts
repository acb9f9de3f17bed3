import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import * as Stdio from "effect/Stdio"
import * as Stream from "effect/Stream"
import * as TestConsole from "effect/testing/TestConsole"
import * as Cli from "../../src/cli/Cli.ts"
import * as Delegation from "../../src/Delegation.ts"
import * as Endpoint from "../../src/Endpoint.ts"
import * as Network from "../utils/network.ts"

type Input = Stream.Stream<Uint8Array>

/** Runs a command line with this standard input. */
const run = Effect.fnUntraced(function*(args: ReadonlyArray<string>, stdin: Input, isTerminal = false) {
  const before = [(yield* TestConsole.logLines).length, (yield* TestConsole.errorLines).length]
  const stdio = Stdio.layerTest({ stdin, stdinIsTerminal: Effect.succeed(isTerminal) })
  const exitCode = yield* Cli.main(args).pipe(
    Effect.provide([
      Layer.provideMerge(stdio, NodeServices.layer),
      ConfigProvider.layer(ConfigProvider.fromEnv({ env: {} }))
    ])
  )
  const out = (yield* TestConsole.logLines).slice(before[0]).map(String)
  const error = (yield* TestConsole.errorLines).slice(before[1]).map(String)
  return { exitCode, out, error: error.join("\n"), lines: error.length }
})

const bytes = (text: string) => new TextEncoder().encode(text)

const signer = Network.identity("signer")
const record = Result.getOrThrow(Endpoint.sign({
  signer,
  address: signer.address,
  payload: Endpoint.make({ endpoints: ["quic://192.0.2.1:4121"] }),
  seq: 1n,
  timestamp: 0n,
  ttl: 60
}))
const digits = Buffer.from(record.bytes).toString("hex")

describe("the standard input", () => {
  for (const argument of [["-"], []]) {
    const named = argument.length > 0 ? "for -" : "for an argument that is missing"

    it.effect(`provides a record as hex digits or raw bytes, in any chunks, ${named}`, () =>
      Effect.gen(function*() {
        const args = ["record", "decode", ...argument, "--json"]
        for (
          const stdin of [
            Stream.make(bytes(`${digits}\n`)),
            Stream.make(bytes("0x"), bytes(digits.slice(0, 11)), bytes(digits.slice(11))),
            Stream.make(record.bytes.subarray(0, 9), record.bytes.subarray(9))
          ]
        ) {
          const { error, exitCode, out } = yield* run(args, stdin)
          assert.deepStrictEqual({ exitCode, error }, { exitCode: 0, error: "" })
          assert.deepStrictEqual(JSON.parse(out[0]).payload.endpoints, ["quic://192.0.2.1:4121"])
        }
      }))

    it.effect(`provides the text of a message, up to the maximum length, ${named}`, () =>
      Effect.gen(function*() {
        const args = ["mailbox", "send", `a0${"11".repeat(20)}`, ...argument]
        const { error, exitCode } = yield* run(args, Stream.make(bytes("x".repeat(390))))
        assert.strictEqual(exitCode, 2)
        assert.include(error, "390 bytes")
        // Failing for lack of a bootstrap node shows that the text was accepted.
        assert.include((yield* run(args, Stream.make(bytes("x".repeat(389))))).error, "--bootstrap")
      }))

    it.effect(`provides a delegation, ${named}`, () =>
      Effect.gen(function*() {
        const args = ["identity", "accept", ...argument, "--data", "/nonexistent"]
        assert.include((yield* run(args, Stream.make(bytes("zz")))).error, "hex digits")
        const delegation = Delegation.delegate({
          master: signer,
          operationalPublicKey: Network.identity("other").publicKey,
          issuedAt: 1n,
          expiresAt: 0n
        })
        const text = Buffer.from(Delegation.encode(delegation)).toString("hex")
        // Failing for lack of an identity shows that the delegation was accepted.
        assert.include((yield* run(args, Stream.make(bytes(`${text}\n`)))).error, "no identity")
      }))

    it.effect(`is rejected as text if it is not UTF-8, ${named}`, () =>
      Effect.gen(function*() {
        const args = ["mailbox", "send", `a0${"11".repeat(20)}`, ...argument]
        for (const wrong of [[0xff, 0xfe], [0x61, 0xc3], [0xed, 0xa0, 0x80]]) {
          const { error, exitCode, lines } = yield* run(args, Stream.make(Uint8Array.from(wrong)))
          assert.deepStrictEqual({ exitCode, lines }, { exitCode: 2, lines: 1 })
          assert.include(error, "not UTF-8")
        }
      }))

    it.effect(`is read up to a limit, ${named}`, () =>
      Effect.gen(function*() {
        const args = ["mailbox", "send", `a0${"11".repeat(20)}`, ...argument]
        const { error, exitCode } = yield* run(args, Stream.forever(Stream.make(new Uint8Array(1000))))
        assert.strictEqual(exitCode, 2)
        assert.include(error, "longer than")
      }))
  }

  it.effect("is not waited for if no argument names it: on a terminal, empty, or silent", () =>
    Effect.gen(function*() {
      for (const args of [["mailbox", "send", `a0${"11".repeat(20)}`], ["record", "decode"]]) {
        for (
          const [stdin, isTerminal] of [[Stream.never, true], [Stream.empty, false], [Stream.never, false]] as const
        ) {
          const { error, exitCode, lines } = yield* run(args, stdin, isTerminal)
          assert.deepStrictEqual({ exitCode, lines }, { exitCode: 2, lines: 1 })
          assert.include(error, args[0] === "record" ? "The record is missing" : "The text is missing")
        }
      }
    }))

  it.effect("provides text that an argument cannot hold", () =>
    Effect.gen(function*() {
      // Node's replacement for bytes in an argument that are not UTF-8.
      const { error, exitCode } = yield* run(["mailbox", "send", `a0${"11".repeat(20)}`, "a\ufffd"], Stream.never)
      assert.strictEqual(exitCode, 2)
      assert.include(error, "not UTF-8")
    }))
})
