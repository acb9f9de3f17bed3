import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as TestConsole from "effect/testing/TestConsole"
import * as SocketAddress from "../../src/SocketAddress.ts"
import * as commandLine from "../utils/commandLine.ts"
import { running } from "../utils/runningNode.ts"
import { webServer } from "../utils/webServer.ts"

const run = (...args: ReadonlyArray<string>) => commandLine.run(args)

const captured = Effect.provide(TestConsole.layer)

const lastOf = ({ out }: commandLine.Ran) => JSON.parse(out.at(-1) ?? "")

describe("the card of an agent", () => {
  for (const command of ["announce", "publish"]) {
    it.live(`is named by "${command} profile" and checked by "resolve"`, () =>
      Effect.gen(function*() {
        const { address, data, peer } = yield* running
        let card = "{\"name\": \"Ann\"}"
        const { url } = yield* webServer((_, response) => response.end(card))
        const refused = yield* run(command, "profile", "--agent-card", url, "--data", data)
        assert.deepStrictEqual([refused.exitCode, refused.error], [
          1,
          [`effect-dht: There is no agent card at ${url}: its address is private or special, which is not allowed`]
        ])
        const bootstrap = ["--bootstrap", SocketAddress.format(peer.localAddress)]
        const resolve = (...more: ReadonlyArray<string>) => run("resolve", address, ...bootstrap, "--json", ...more)
        yield* run(command, "profile", "--name", "Ann", "--data", data)
        const none = yield* resolve("--verify-card")
        assert.strictEqual(none.exitCode, 1)
        assert.isNull(lastOf(none).card)
        assert.match(none.error.join(), /has published no profile that names a card/)

        const named = yield* run(
          command,
          "profile",
          "--name",
          "Ann",
          "--agent-card",
          url,
          "--allow-private",
          "--data",
          data
        )
        assert.deepStrictEqual([named.exitCode, named.error], [0, []])
        assert.notProperty(lastOf(yield* resolve()), "card")
        const matches = yield* resolve("--verify-card", "--allow-private")
        assert.strictEqual(matches.exitCode, 0)
        assert.deepInclude(lastOf(matches).card, { result: "matches", url })
        card = "{\"name\": \"Mallory\"}"
        const changed = yield* resolve("--verify-card", "--allow-private")
        assert.strictEqual(changed.exitCode, 1)
        assert.deepInclude(lastOf(changed).card, { result: "changed", url, sha256: lastOf(matches).card.sha256 })
        const unreachable = yield* resolve("--verify-card")
        assert.strictEqual(unreachable.exitCode, 1)
        assert.include(lastOf(unreachable).card, { result: "unreachable" })
      }).pipe(captured))
  }
})
