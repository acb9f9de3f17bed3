import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as TestConsole from "effect/testing/TestConsole"
import { networkInterfaces } from "node:os"
import * as Address from "../../src/Address.ts"
import * as Cli from "../../src/cli/Cli.ts"
import { Dht } from "../../src/Dht.ts"
import { DhtLive } from "../../src/node/DhtLive.ts"
import { Routing } from "../../src/Routing.ts"
import { SeenPeers } from "../../src/SeenPeers.ts"
import * as SocketAddress from "../../src/SocketAddress.ts"

describe("a short-lived node", () => {
  it.live("gets responses, and stays out of the routing tables of the peers that it queries", () =>
    Effect.gen(function*() {
      const nodes = yield* Effect.forEach(
        [1, 2],
        () => Layer.build(Layer.fresh(DhtLive({ listen: { host: "127.0.0.1", port: 0 } })))
      )
      const [first, second] = nodes.map((node) => Context.get(node, Dht))
      yield* second.bootstrap([first.localAddress])
      const at = SocketAddress.format(first.localAddress)
      const named = Address.format(first.address)
      yield* first.publishEndpoint({ endpoints: ["quic://192.0.2.1:4433"] })

      const commands = [
        ["ping", at],
        ["ping", named, "--bootstrap", at],
        ["resolve", named, "--bootstrap", at],
        ["find-node", named, "--bootstrap", at],
        ["publish", "topic", "tea", "--name", "Ann", "--bootstrap", at],
        ["discover", "tea", "--bootstrap", at]
      ]
      for (const command of commands) {
        const exitCode = yield* Cli.main(command).pipe(
          Effect.provide([NodeServices.layer, ConfigProvider.layer(ConfigProvider.fromEnv({ env: {} }))])
        )
        assert.strictEqual(exitCode, 0, `${command.join(" ")}: ${(yield* TestConsole.errorLines).join("\n")}`)
      }
      for (const [i, node] of nodes.entries()) {
        const contacts = (yield* Context.get(node, Routing).entries).map(({ contact }) => contact.address)
        assert.deepStrictEqual(contacts, [[first, second][1 - i].address])
        assert.strictEqual((yield* Context.get(node, SeenPeers).counts).week, 1)
      }
    }).pipe(Effect.scoped, Effect.provide(TestConsole.layer)))

  it.live("reaches the nodes of its own network, and no others", () =>
    Effect.gen(function*() {
      const key = { NETWORK_KEY: "correct horse" }
      const node = yield* Layer.build(
        Layer.fresh(DhtLive({
          listen: { host: "127.0.0.1", port: 0 },
          network: "acme",
          networkKey: Redacted.make(key.NETWORK_KEY)
        }))
      )
      const { address, localAddress } = Context.get(node, Dht)
      const at = SocketAddress.format(localAddress)
      const run = (command: ReadonlyArray<string>, env: { readonly [name: string]: string }) =>
        Cli.main(command).pipe(
          Effect.provide([NodeServices.layer, ConfigProvider.layer(ConfigProvider.fromEnv({ env }))])
        )
      const inside = ["--network", "acme", "--network-key-env", "NETWORK_KEY"]
      for (const command of [["ping", at], ["find-node", Address.format(address), "--bootstrap", at]]) {
        assert.strictEqual(yield* run([...command, ...inside], key), 0)
        const variables = { ...key, DHT_NETWORK: "acme", DHT_NETWORK_KEY_ENV: "NETWORK_KEY" }
        assert.strictEqual(yield* run(command, variables), 0)
      }
      assert.strictEqual(yield* run(["ping", at, "--network", "acme"], key), 1)
      assert.include((yield* TestConsole.errorLines).join("\n"), "that --network and --network-key-env are those")
      assert.strictEqual(yield* run(["ping", at, ...inside], {}), 2)
    }).pipe(Effect.scoped, Effect.provide(TestConsole.layer)), 60_000)

  const hasIpv6 = Object.values(networkInterfaces()).flat().some((one) => one?.address === "::1")

  it.live.skipIf(!hasIpv6)(
    "reaches a node over its address family, whatever other addresses its name has",
    () =>
      Effect.gen(function*() {
        for (const host of ["::1", "127.0.0.1"]) {
          const node = yield* Layer.build(Layer.fresh(DhtLive({ listen: { host, port: 0 } })))
          const { address, localAddress } = Context.get(node, Dht)
          const at = `localhost:${localAddress.port}`
          for (const command of [["ping", at], ["find-node", Address.format(address), "--bootstrap", at]]) {
            const exitCode = yield* Cli.main(command).pipe(
              Effect.provide([NodeServices.layer, ConfigProvider.layer(ConfigProvider.fromEnv({ env: {} }))])
            )
            assert.strictEqual(exitCode, 0, `${command.join(" ")}: ${(yield* TestConsole.errorLines).join("\n")}`)
          }
        }
      }).pipe(Effect.scoped, Effect.provide(TestConsole.layer))
  )
})
