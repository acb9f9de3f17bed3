import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fs from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Program from "./program.ts"

/** The log line of an interrupted node. */
const interrupted = { code: 130, error: "" }

describe.concurrent("examples", () => {
  it.live("embed: an application service announces its endpoint and finds another", () =>
    Effect.gen(function*() {
      const url = "http://192.0.2.1:8080"
      const first = yield* Program.start("embed.ts", "--url", url)
      const [address, port] = yield* first.prints(/^(\S+) is at \S+\n.* through (\S+)\n/)
      const second = yield* Program.start("embed.ts", "--bootstrap", port, "--find", address)
      yield* second.prints(new RegExp(`^${address} is at ${url}$`, "m"))
      assert.deepStrictEqual(yield* second.ended, { code: 0, error: "" })
      yield* first.kill
      assert.deepStrictEqual(yield* first.ended, interrupted)
    }), 90_000)

  it.live(
    "talk: two programs exchange lines by a protocol of their own over the port of the node",
    () =>
      Effect.gen(function*() {
        const ann = yield* Program.start("talk.ts")
        const [address, port] = yield* ann.prints(/^You are (\S+)\n.* through (\S+)\n/)
        yield* ann.type("hello?")
        yield* ann.prints(/^No one is here yet$/m)
        const bob = yield* Program.start("talk.ts", "--bootstrap", port, "--to", address)
        const [itself] = yield* bob.prints(/^You are (\S+)\n/)
        yield* bob.prints(/^Connected$/m)
        yield* ann.prints(new RegExp(`^${itself} is here$`, "m"))
        yield* bob.type("hello Ann")
        yield* ann.prints(/^> hello Ann$/m)
        yield* ann.type("hello Bob")
        yield* bob.prints(/^> hello Bob$/m)
        yield* bob.hangUp
        assert.deepStrictEqual(yield* bob.ended, { code: 0, error: "" })
      }),
    90_000
  )

  it.live("counting store: a node with a store of its own counts what it stores", () =>
    Effect.gen(function*() {
      const counting = yield* Program.start("counting-store.ts")
      yield* counting.prints(/^1 record of its own, 1 of a peer$/m)
      assert.deepStrictEqual(yield* counting.ended, { code: 0, error: "" })
    }), 90_000)

  it.live(
    "discovery: a consumer sees current and new providers, and no others",
    () =>
      Effect.gen(function*() {
        const provide = (name: string, language: string, ...bootstrap: ReadonlyArray<string>) =>
          Program.start("discovery-provider.ts", "--name", name, "--language", language, ...bootstrap)
        const ann = yield* provide("Ann", "de")
        const [port] = yield* ann.prints(/through (\S+)\n/)
        const consumer = yield* Program.start("discovery-consumer.ts", "--bootstrap", port, "--language", "de")
        yield* consumer.prints(/^Appeared: Ann, \S+\n {2}at http:/)
        const fred = yield* provide("Fred", "fr", "--bootstrap", port)
        yield* fred.prints(/through/)
        yield* provide("Carl", "de", "--bootstrap", port)
        // The next to appear is Carl.
        yield* consumer.prints(/^Appeared: Ann, .*\n.*\nAppeared: Carl, \S+\n {2}at http:/)
        yield* consumer.kill
        assert.deepStrictEqual(yield* consumer.ended, interrupted)
      }),
    90_000
  )

  it.live(
    "mailbox chat: two people write to each other, and a line waits for an absent recipient",
    () =>
      Effect.gen(function*() {
        const data = yield* Effect.acquireRelease(
          Effect.sync(() => Fs.mkdtempSync(join(tmpdir(), "effect-dht-"))),
          (directory) => Effect.sync(() => Fs.rmSync(directory, { recursive: true }))
        )
        const ann = yield* Program.start("mailbox-chat.ts", "--name", "Ann")
        const [address, port] = yield* ann.prints(/^You are (\S+); .* through (\S+)\n/)
        yield* ann.type("hello?")
        yield* ann.prints(/^No recipient/m)

        const asBob = ["--name", "Bob", "--data", data, "--bootstrap", port, "--to", address]
        const bob = yield* Program.start("mailbox-chat.ts", ...asBob)
        yield* bob.prints(/^You are/)
        yield* bob.type("hello \u001b[31mAnn")
        // Control characters are not shown.
        yield* ann.prints(/^Bob: hello \[31mAnn\n/m)
        yield* ann.type("hello Bob")
        yield* bob.prints(/^Ann: hello Bob\n/m)
        yield* bob.type("x".repeat(400))
        yield* bob.prints(/^Not sent: .* at most 389/m)
        yield* bob.hangUp
        assert.deepStrictEqual(yield* bob.ended, { code: 0, error: "" })

        yield* ann.type("are you there?")
        const again = yield* Program.start("mailbox-chat.ts", ...asBob)
        yield* again.prints(/^Ann: are you there\?\n/m)
      }),
    90_000
  )
})
