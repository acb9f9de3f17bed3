import { assert, describe, it } from "@effect/vitest"
import { Translator } from "../../../src/testing/internal/translator.ts"

const inside = (port: number) => ({ key: `10.0.0.2:${port}` })
const remote = (n: number) => ({ host: `9.0.${n >> 8}.${n & 255}`, port: 1 })
const options = {
  host: "9.9.9.9",
  mapping: "AddressAndPortDependent",
  filtering: "AddressAndPortDependent",
  lifetimeMillis: 1000
} as const

describe("translator", () => {
  it("has at most as many mappings as ports, and refuses new ones then", () => {
    const table = new Translator(options)
    let mapped = 0
    for (let n = 0; n < 70_000; n++) if (table.outbound(inside(1), remote(n), 0) !== undefined) mapped++
    assert.strictEqual(mapped, 65_536 - 1024)
    assert.strictEqual(table.size, 65_536 - 1024)
    assert.isDefined(table.outbound(inside(1), remote(0), 0))
  })

  it("reuses the ports of expired mappings", () => {
    const table = new Translator(options)
    for (let n = 0; n < 70_000; n++) table.outbound(inside(1), remote(n), 0)
    assert.isDefined(table.outbound(inside(2), remote(0), 1001))
  })

  it("does not grow with hosts that keep sending to new destinations", () => {
    const table = new Translator(options)
    for (let n = 0; n < 100_000; n++) table.outbound(inside(1), remote(n & 0xffff), n * 10)
    assert.isAtMost(table.size, 1024)
  })

  it("never gives two live mappings the same port", () => {
    const table = new Translator(options)
    const ports = Array.from({ length: 5000 }, (_, n) => table.outbound(inside(1), remote(n), 0)?.port)
    assert.strictEqual(new Set(ports).size, 5000)
  })
})
