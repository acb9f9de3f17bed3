import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { defaultMaxBytes, defaultMaxKeys } from "../../../src/core/recordSet.ts"
import { nodeHost, type Setting, settings } from "../../../src/node/internal/settings.ts"

const all: ReadonlyArray<Setting<unknown>> = Object.values(settings)

describe("Settings", () => {
  it("have a variable named after the flag, both of them once", () => {
    assert.strictEqual(settings.httpTokenEnv.variable, "DHT_HTTP_TOKEN_ENV")
    for (const { flag, variable } of all) assert.strictEqual(variable, `DHT_${flag.toUpperCase().replaceAll("-", "_")}`)
    assert.lengthOf(new Set(all.map(({ flag }) => flag)), all.length)
  })

  it("accept their own defaults, as they write them", () => {
    for (const { codec, flag, standard } of all) {
      if (standard === undefined) continue
      assert.deepStrictEqual(Schema.decodeSync(codec)(Schema.encodeSync(codec)(standard)), standard, flag)
    }
  })

  it("have the limits of the store that the library has by default", () => {
    assert.strictEqual(settings.maxKeys.standard, defaultMaxKeys)
    assert.strictEqual(settings.maxBytes.standard, defaultMaxBytes)
  })

  it("read the hosts that they write", () => {
    const hosts = [{ host: "a.example", port: 1 }, { host: "192.0.2.1", port: 65535 }, {
      host: "2001:db8::1",
      port: 4121
    }]
    for (const host of hosts) {
      assert.deepStrictEqual(Schema.decodeSync(nodeHost)(Schema.encodeSync(nodeHost)(host)), host)
    }
    const text = Schema.encodeSync(settings.bootstrap.codec)(hosts)
    assert.strictEqual(text, "a.example:1,192.0.2.1:65535,[2001:db8::1]:4121")
    assert.deepStrictEqual(Schema.decodeSync(settings.bootstrap.codec)(text), hosts)
    const anyPort = { host: "localhost", port: 0 }
    assert.deepStrictEqual(
      Schema.decodeSync(settings.http.codec)(Schema.encodeSync(settings.http.codec)(anyPort)),
      anyPort
    )
  })

  it("name variables of secrets, and do not repeat what may be a secret itself", () => {
    for (const { codec } of [settings.passphraseEnv, settings.httpTokenEnv, settings.networkKeyEnv]) {
      for (const name of ["SECRET", "_s3"]) assert.strictEqual(Schema.decodeSync(codec)(name), name)
      for (const text of ["", "correct horse", "3x", "a-b"]) {
        const read = Schema.decodeResult(codec)(text)
        assert.isTrue(Result.isFailure(read), text)
        if (Result.isFailure(read)) assert.match(read.failure.message, /^takes the name of an environment variable/)
      }
    }
  })

  it("have log levels in any case", () => {
    const level = Schema.decodeSync(settings.logLevel.codec)
    assert.deepStrictEqual(["debug", "DEBUG", "warning", "Warn"].map((text) => level(text)), [
      "Debug",
      "Debug",
      "Warn",
      "Warn"
    ])
  })
})
