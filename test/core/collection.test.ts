import { assert, describe, it } from "@effect/vitest"
import * as fc from "fast-check"
import type { Contact } from "../../src/Contact.ts"
import { type Action, Collection } from "../../src/core/collection.ts"
import * as arbitraries from "../utils/arbitraries.ts"

const contacts: ReadonlyArray<Contact> = fc.sample(arbitraries.contact, { numRuns: 6, seed: 1 })
const digest = (n: number): string => n.toString(16).padStart(12, "0")

interface Holder {
  /** What it lists. */
  readonly lists: ReadonlyArray<number>
  /** Which of them it has. */
  readonly has: ReadonlyArray<number>
  readonly isSilent: boolean
  /** How many fit its answers. */
  readonly fits: number
}

const holder: fc.Arbitrary<Holder> = fc.record({
  lists: fc.uniqueArray(fc.nat(30), { maxLength: 20 }),
  lies: fc.nat(3),
  isSilent: fc.boolean(),
  fits: fc.integer({ min: 1, max: 5 })
}).map(({ lies, lists, ...rest }) => ({
  ...rest,
  lists,
  has: lies === 0 ? [] : lists.filter((n) => n % (lies + 1) > 0)
}))

const world = fc.record({
  holders: fc.array(holder, { maxLength: 6 }),
  order: fc.array(fc.nat(20), { maxLength: 200 })
})

/** Answers in any order until it is done. */
const drive = (
  { holders, order }: { readonly holders: ReadonlyArray<Holder>; readonly order: ReadonlyArray<number> }
) => {
  const collection = new Collection({ perRequest: 4, maxInFlight: 2 })
  holders.forEach(({ lists }, i) => collection.lists(contacts[i], lists.map(digest)))
  const waiting: Array<Extract<Action, { readonly _tag: "Fetch" }>> = []
  const brought = new Set<string>()
  let requests = 0
  while (true) {
    const action = collection.poll()
    if (action._tag === "Done") break
    if (action._tag === "Fetch") {
      requests++
      waiting.push(action)
      continue
    }
    const [{ digests, holder }] = waiting.splice((order[requests % order.length] ?? 0) % waiting.length, 1)
    const { fits, has, isSilent } = holders[contacts.findIndex(({ id }) => id === holder.id)]
    if (isSilent) collection.failed(holder.id, digests)
    else {
      const some = has.map(digest).filter((name) => digests.includes(name)).slice(0, fits)
      for (const name of some) brought.add(name)
      collection.delivered(holder.id, digests, some)
    }
  }
  return { collection, requests, brought, waiting }
}

describe("Collection", () => {
  it("brings all that any holder has that answers, whatever the others claim", () => {
    fc.assert(fc.property(world, (w) => {
      const { brought, collection, waiting } = drive(w)
      const honest = w.holders.filter(({ has, isSilent, lists }) => !isSilent && has.length === lists.length)
      for (const n of honest.flatMap(({ has }) => has)) assert.include(Array.from(brought), digest(n))
      assert.strictEqual(collection.seen, brought.size)
      assert.strictEqual(collection.held, new Set(w.holders.flatMap(({ lists }) => lists)).size)
      assert.deepStrictEqual(waiting, [])
    }))
  })

  it("asks for each record about once where holders tell the truth", () => {
    fc.assert(fc.property(fc.array(holder, { minLength: 1, maxLength: 6 }), (holders) => {
      const truthful = holders.map((holder) => ({ ...holder, has: holder.lists, isSilent: false, fits: 4 }))
      const { brought, requests } = drive({ holders: truthful, order: [] })
      assert.isAtMost(requests, Math.ceil(brought.size / 4) + 2 * holders.length)
    }))
  })

  it("gives up after a bounded number of requests, however much a liar lists", () => {
    const liar: Holder = { lists: Array.from({ length: 150 }, (_, i) => i), has: [], isSilent: false, fits: 4 }
    assert.isAtMost(drive({ holders: [liar], order: [] }).requests, 4)
    const collection = new Collection({ maxDigests: 100 })
    collection.lists(contacts[0], liar.lists.map(digest))
    assert.strictEqual(collection.held, 100)
  })

  it("does not ask for what is here", () => {
    const collection = new Collection()
    collection.has(digest(1))
    collection.lists(contacts[0], [digest(1), digest(2)])
    assert.deepStrictEqual(collection.poll(), { _tag: "Fetch", holder: contacts[0], digests: [digest(2)] })
    assert.deepStrictEqual([collection.seen, collection.held], [1, 2])
  })
})
