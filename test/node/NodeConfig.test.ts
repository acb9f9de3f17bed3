import { assert, describe, it } from "@effect/vitest"
import * as Config from "effect/Config"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as IpNetwork from "effect/net/IpNetwork"
import * as Redacted from "effect/Redacted"
import * as Ref from "effect/Ref"
import { Dht } from "../../src/Dht.ts"
import * as NodeConfig from "../../src/node/NodeConfig.ts"
import { NodeSettings } from "../../src/NodeSettings.ts"
import { Store } from "../../src/Store.ts"

type Environment = { readonly [variable: string]: string }

const under = (env: Environment) => Effect.provide(ConfigProvider.layer(ConfigProvider.fromEnv({ env })))

const nothing = {
  listen: undefined,
  data: undefined,
  passphrase: undefined,
  bootstrap: undefined,
  network: undefined,
  networkKey: undefined,
  passive: undefined,
  sessions: undefined,
  publicHost: undefined,
  allowFrom: undefined,
  denyFrom: undefined,
  maxKeys: undefined,
  maxBytes: undefined,
  verifyThreads: undefined
}

describe("The configuration of a node", () => {
  it.effect("has a variable for each option", () =>
    Effect.gen(function*() {
      const options = yield* NodeConfig.options.pipe(under({
        DHT_LISTEN: "[::]:4121",
        DHT_DATA: "/var/lib/dht",
        DHT_BOOTSTRAP: "a.example:1, 192.0.2.1:2,",
        DHT_NETWORK: "acme",
        DHT_NETWORK_KEY_ENV: "OTHER_SECRET",
        OTHER_SECRET: "battery staple",
        DHT_PASSPHRASE_ENV: "SECRET",
        SECRET: "correct horse",
        DHT_PASSIVE: "true",
        DHT_NO_SESSIONS: "true",
        DHT_PUBLIC_HOST: "2001:DB8:0::1",
        DHT_ALLOW_FROM: "203.0.113.0/24, 2001:DB8::/32,",
        DHT_DENY_FROM: "203.0.113.7",
        DHT_MAX_KEYS: "5000",
        DHT_MAX_BYTES: "8388608",
        DHT_VERIFY_THREADS: "0"
      }))
      assert.deepStrictEqual(options, {
        listen: [{ host: "::", port: 4121 }],
        data: "/var/lib/dht",
        bootstrap: [{ host: "a.example", port: 1 }, { host: "192.0.2.1", port: 2 }],
        network: "acme",
        networkKey: Redacted.make("battery staple"),
        passphrase: Redacted.make("correct horse"),
        passive: true,
        sessions: false,
        publicHost: "2001:db8::1",
        allowFrom: ["203.0.113.0/24", "2001:db8::/32"].map(IpNetwork.fromStringUnsafe),
        denyFrom: [IpNetwork.fromStringUnsafe("203.0.113.7/32")],
        maxKeys: 5000,
        maxBytes: 8_388_608,
        verifyThreads: 0
      })
    }))

  it.effect("uses the default for a variable that is unset or empty", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* NodeConfig.options.pipe(under({})), nothing)
      const empty = Object.fromEntries(
        [
          "LISTEN",
          "DATA",
          "BOOTSTRAP",
          "NETWORK",
          "NETWORK_KEY_ENV",
          "PASSPHRASE_ENV",
          "PASSIVE",
          "NO_SESSIONS",
          "PUBLIC_HOST",
          "ALLOW_FROM",
          "DENY_FROM",
          "MAX_KEYS",
          "MAX_BYTES",
          "VERIFY_THREADS"
        ].map((
          name
        ) => [`DHT_${name}`, ""])
      )
      assert.deepStrictEqual(yield* NodeConfig.options.pipe(under(empty)), nothing)
    }))

  it.effect("has the address of the HTTP server", () =>
    Effect.gen(function*() {
      const http = yield* NodeConfig.http.pipe(under({ DHT_HTTP: "localhost:0" }))
      assert.deepStrictEqual(http, { host: "localhost", port: 0 })
    }))

  it.effect("fails if a secret cannot be found, and does not repeat the name", () =>
    Effect.gen(function*() {
      for (const setting of ["DHT_PASSPHRASE_ENV", "DHT_NETWORK_KEY_ENV"]) {
        for (const env of [{}, { SECRET: "" }]) {
          const { message } = yield* Effect.flip(
            Effect.asVoid(NodeConfig.options).pipe(under({ ...env, [setting]: "SECRET" }))
          )
          assert.include(message, setting)
          assert.notInclude(message, "SECRET")
        }
      }
    }))

  const settings: Readonly<Record<string, Config.Config<unknown>>> = {
    DHT_BOOTSTRAP: NodeConfig.bootstrap,
    DHT_HTTP: NodeConfig.http
  }
  const wrong: ReadonlyArray<readonly [variable: string, text: string, says: string]> = [
    ["DHT_LISTEN", "4121", "write host:port"],
    ["DHT_LISTEN", "localhost:4121", "IP address of this machine"],
    ["DHT_LISTEN", "0.0.0.0:65536", "65535"],
    ["DHT_PASSIVE", "maybe", "true or false"],
    ["DHT_PUBLIC_HOST", "example.net", "IP address"],
    ["DHT_PUBLIC_HOST", "fe80::1%lo", "zone ids are not supported"],
    ["DHT_ALLOW_FROM", "example.net", "write a network such as"],
    ["DHT_ALLOW_FROM", ",", "write a network such as"],
    ["DHT_ALLOW_FROM", "203.0.113.0/33", "write a network such as"],
    ["DHT_ALLOW_FROM", "203.0.113.7/24", "write 203.0.113.0/24"],
    ["DHT_DENY_FROM", "2001:db8::1/32", "write 2001:db8::/32"],
    ["DHT_DENY_FROM", "10.0.0.0/8,x", "\"x\""],
    ["DHT_DENY_FROM", "::ffff:203.0.113.0/120", "IPv4 in its own form"],
    ["DHT_DENY_FROM", "fe80::1%lo", "zone ids are not supported"],
    ["DHT_LISTEN", "[fe80::1%lo]:4121", "zone ids are not supported"],
    ["DHT_BOOTSTRAP", "fe80::1%lo:4121", "zone ids are not supported"],
    ["DHT_MAX_KEYS", "0", "1 to"],
    ["DHT_MAX_KEYS", "1e3", "1 to"],
    ["DHT_MAX_BYTES", "1048575", "1048576 to"],
    ["DHT_MAX_BYTES", "64MiB", "1048576 to"],
    ["DHT_VERIFY_THREADS", "-1", "0 to 64"],
    ["DHT_NETWORK", "n".repeat(65), "longer than 64 characters"],
    ["DHT_BOOTSTRAP", "a:1,b", "\"b\""],
    ["DHT_BOOTSTRAP", "a:0", "port 0"],
    ["DHT_HTTP", "2634", "write host:port"]
  ]
  for (const [variable, text, says] of wrong) {
    it.effect(`reports an invalid variable by name, with the reason: ${variable}=${text}`, () =>
      Effect.gen(function*() {
        const { message } = yield* Effect.flip(
          Effect.asVoid(settings[variable] ?? NodeConfig.options).pipe(under({ [variable]: text }))
        )
        for (const part of [variable, `"${text}"`, says]) assert.include(message, part)
      }))
  }

  it.live("builds the node that it describes, unless the program overrides it", () =>
    Effect.gen(function*() {
      const node = yield* Layer.build(Layer.fresh(NodeConfig.layerDht({ maxKeys: undefined, passive: false }))).pipe(
        under({
          DHT_LISTEN: "127.0.0.1:0",
          DHT_PUBLIC_HOST: "203.0.113.9",
          DHT_PASSIVE: "true",
          DHT_MAX_BYTES: "8388608"
        })
      )
      const dht = Context.get(node, Dht)
      assert.strictEqual(dht.localAddress.host, "127.0.0.1")
      assert.strictEqual(yield* dht.publicHost, "203.0.113.9")
      assert.strictEqual(Context.get(node, Store).maxBytes, 8_388_608)
      assert.isFalse(yield* Ref.get(Context.get(node, NodeSettings).passive))
    }))

  it.effect("builds no node if it is invalid", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(Layer.build(NodeConfig.layerDht()).pipe(under({ DHT_LISTEN: "x" })))
      assert.instanceOf(error, Config.ConfigError)
    }))
})
