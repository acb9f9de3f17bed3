import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as fc from "fast-check"
import { Dht } from "../src/Dht.ts"
import * as Hex from "../src/internal/hex.ts"
import * as Network from "../src/Network.ts"
import { Routing } from "../src/Routing.ts"
import { Rpc } from "../src/Rpc.ts"
import * as SimCrypto from "../src/testing/SimCrypto.ts"
import * as SimWorld from "../src/testing/SimWorld.ts"

const selected = (network: string | undefined, key?: string) =>
  Network.make({ network, networkKey: key === undefined ? undefined : Redacted.make(key) })

describe("Network", () => {
  it("is that of the reference without a name and a key", () => {
    assert.strictEqual(selected(undefined), Network.open)
    assert.strictEqual(new TextDecoder().decode(Network.open.prefix), "a2al-msg\0")
  })

  it("has a prefix of its own for each pair of a name and a key", () => {
    const name = fc.option(
      fc.string({ unit: "grapheme", minLength: 1, maxLength: 16 })
        .map((text) => text.normalize("NFC"))
        .filter((text) => !/\p{Cc}/u.test(text)),
      { nil: undefined }
    )
    const key = fc.option(fc.string({ minLength: 1 }), { nil: undefined })
    fc.assert(fc.property(name, key, name, key, (name, key, otherName, otherKey) => {
      const isSame = name === otherName && key === otherKey
      assert.strictEqual(
        Hex.encode(selected(name, key).prefix) === Hex.encode(selected(otherName, otherKey).prefix),
        isSame
      )
    }))
  })

  it("is the same for two encodings of one name", () => {
    assert.deepStrictEqual(selected("cafe\u0301"), selected("caf\u00e9"))
  })

  it("cannot have an empty, overlong or unprintable name, or an empty key", () => {
    for (const name of ["", "n".repeat(65), "a\0b", "\ud800"]) assert.throws(() => selected(name), RangeError, "name")
    assert.throws(() => selected("acme", ""), RangeError, "key")
  })

  it("is shown without its key", () => {
    assert.strictEqual(Network.format(Network.open), "open")
    assert.strictEqual(Network.format(selected("acme")), "acme")
    assert.strictEqual(Network.format(selected("acme", "secret")), "acme, with a key")
    assert.strictEqual(Network.format(selected(undefined, "secret")), "private, with a key")
    assert.notInclude(JSON.stringify(selected("acme", "secret")), "secret")
  })
})

describe("Two networks that meet", () => {
  const endpoint = { endpoints: ["tcp://192.0.2.1:4433"] }

  const meeting = (mine: Network.Options, theirs: Network.Options) =>
    SimWorld.runSync(
      Effect.gen(function*() {
        const world = yield* SimWorld.SimWorld
        const ours = yield* world.startNodes(4, { dht: mine })
        // The first node of the other network; the next ones join through our nodes besides it.
        const first = world.node("first", { dht: theirs })
        yield* first.start
        const others = [
          first,
          ...Array.from({ length: 3 }, (_, i) => world.node(`other ${i}`, { dht: theirs, through: [first, ours[i]] }))
        ]
        yield* Effect.forEach(others.slice(1), (node) => node.start)
        yield* ours[1].run(Dht.use((dht) => dht.announceEndpoint(endpoint)))
        yield* others[1].run(Dht.use((dht) => dht.announceEndpoint(endpoint)))
        yield* Effect.sleep("30 minutes")
        const contactsOf = (nodes: ReadonlyArray<SimWorld.SimNode<SimWorld.NodeServices, unknown>>) =>
          Effect.map(
            Effect.forEach(nodes, (node) => node.run(Routing.use((routing) => routing.entries))),
            (tables) => new Set(tables.flatMap((entries) => entries.map(({ contact }) => contact.id)))
          )
        const idsOf = (nodes: typeof ours) => nodes.map(({ identity }) => identity.nodeId)
        const refused = yield* ours[0].run(Rpc.use((rpc) => rpc.traffic))
        return {
          ours: yield* contactsOf(ours),
          others: yield* contactsOf(others),
          ourIds: idsOf(ours),
          otherIds: idsOf(others),
          foreign: refused.refusedBy.bad_signature,
          resolved: yield* ours[2].run(Dht.use((dht) => dht.resolve(ours[1].identity.address))).pipe(
            Effect.map(({ endpoints }) => endpoints)
          ),
          crossed: yield* Effect.result(ours[2].run(Dht.use((dht) => dht.resolve(others[1].identity.address))))
        }
      }),
      { seed: 1, crypto: SimCrypto.simulated }
    )

  const acme = { network: "acme" }
  const pairs: ReadonlyArray<readonly [string, Network.Options, Network.Options]> = [
    ["of different names", acme, { network: "other" }],
    ["of which one is open", {}, acme],
    ["of different keys", { ...acme, networkKey: Redacted.make("one") }, {
      ...acme,
      networkKey: Redacted.make("another")
    }]
  ]
  for (const [what, mine, theirs] of pairs) {
    it(`never merge: ${what}`, () => {
      const met = meeting(mine, theirs)
      assert.isAbove(met.foreign, 0, "they did not meet")
      assert.deepStrictEqual([...met.ours].sort(), [...met.ourIds].sort())
      assert.deepStrictEqual([...met.others].sort(), [...met.otherIds].sort())
      assert.deepStrictEqual(met.resolved, endpoint.endpoints)
      assert.strictEqual(Result.isFailure(met.crossed) && met.crossed.failure._tag, "NoEndpoint")
    })
  }

  it("merge if they are one: the same name and key", () => {
    const met = meeting(acme, acme)
    assert.deepStrictEqual([...met.ours].sort(), [...met.ourIds, ...met.otherIds].sort())
    assert.isTrue(Result.isSuccess(met.crossed))
  })
})
