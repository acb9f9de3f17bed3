import { assert, describe, it } from "vitest"
import type { Provider } from "../../src/Crypto.ts"
import * as NodeCrypto from "../../src/node/NodeCrypto.ts"
import { fuzz } from "./fuzz.ts"
import { loopback } from "./wires.ts"

const count = 20_000

/** The faults of a node with broken cryptography. */
const broken = async (parts: Partial<Provider>): Promise<string> => {
  const { faults } = await fuzz({ count, seed: 1, looksUp: false, crypto: { ...NodeCrypto.fastest, ...parts } })
  return faults.join("\n")
}

describe("a node that receives altered datagrams", () => {
  it("survives each, accepts only what its sender wrote, and serves honest peers", async () => {
    const { answered, asked, faults, inSessions, looked, refused } = await fuzz({ count, seed: 1 })
    assert.deepStrictEqual(faults, [])
    for (
      const figure of [answered, asked, looked, inSessions, refused.bad_mac, refused.bad_signature, refused.malformed]
    ) {
      assert.isAbove(figure, 0)
    }
  })

  it("does so on a socket", async () => {
    const { datagrams, faults } = await fuzz({ count: 2000, seed: 2, looksUp: false, wire: loopback })
    assert.deepStrictEqual(faults, [])
    assert.isAtLeast(datagrams, 2000)
  })

  it("is found out if it takes any signature for good", async () => {
    assert.include(await broken({ verify: () => true }), "were accepted, but only")
  })

  it("is found out if it takes no MAC for good", async () => {
    assert.include(await broken({ deriveKey: () => new Uint8Array(32) }), "honest requests")
  })
})
