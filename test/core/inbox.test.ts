import { assert, describe, it } from "@effect/vitest"
import type { Address } from "../../src/Address.ts"
import { type HostedMessage, Inbox } from "../../src/core/inbox.ts"
import type * as Record from "../../src/Record.ts"

const [ann, ben] = ["1", "2"].map((digit) => "a0".padEnd(42, digit) as Address)

const recordOf = (n: number, expiresAt = 2000): Record.SignedRecord =>
  ({ payload: Uint8Array.of(n >> 8, n), expiresAt }) as Record.SignedRecord

const message = (n: number, recipient = ann, expiresAt = 2000): HostedMessage => ({
  recipient,
  sender: ann,
  type: 3,
  body: Uint8Array.of(n),
  record: recordOf(n, expiresAt)
})

/** Unix milliseconds. */
const now = 1_000_000

const bodies = (messages: ReadonlyArray<HostedMessage>) => messages.map(({ body }) => body[0])

describe("an inbox", () => {
  it("counts a record once, as long as it remembers it", () => {
    const inbox = new Inbox({ messages: 2, ofRecipient: 2, known: 3 })
    assert.lengthOf(inbox.unknown([1, 2, 3].map((n) => recordOf(n))), 3)
    assert.lengthOf(inbox.unknown([1, 2, 3].map((n) => recordOf(n))), 0)
    assert.deepStrictEqual(inbox.unknown([recordOf(4)]), [recordOf(4)])
    assert.deepStrictEqual(inbox.unknown([recordOf(3)]), [])
    assert.deepStrictEqual(inbox.unknown([recordOf(1)]), [recordOf(1)])
  })

  it("remembers the last messages in their order, at most so many of a recipient and in all", () => {
    const inbox = new Inbox({ messages: 3, ofRecipient: 2, known: 9 })
    for (const n of [1, 2, 3]) inbox.remember(message(n), now)
    assert.deepStrictEqual(bodies(inbox.all(now)), [2, 3])
    inbox.remember(message(4, ben), now)
    inbox.remember(message(5, ben), now)
    assert.deepStrictEqual(bodies(inbox.all(now)), [3, 4, 5])
    assert.strictEqual(inbox.size, 3)
    assert.deepStrictEqual(inbox.recordsOf(ben, now), [recordOf(4), recordOf(5)])
  })

  it("drops expired messages before others", () => {
    const inbox = new Inbox({ messages: 3, ofRecipient: 3, known: 9 })
    inbox.remember(message(1), now)
    inbox.remember(message(2, ben, 1001), now)
    inbox.remember(message(3), now)
    inbox.remember(message(4, ben), now + 5000)
    assert.deepStrictEqual(bodies(inbox.all(now + 5000)), [1, 3, 4])
  })

  it("shows no expired message, and none of a recipient that is forgotten", () => {
    const inbox = new Inbox()
    inbox.remember(message(1, ann, 1001), now)
    inbox.remember(message(2), now)
    inbox.remember(message(3, ben), now)
    assert.deepStrictEqual(bodies(inbox.all(now + 5000)), [2, 3])
    assert.deepStrictEqual(inbox.recordsOf(ann, now + 5000), [recordOf(2)])
    inbox.forget(ann)
    assert.deepStrictEqual(bodies(inbox.all(now)), [3])
    inbox.forget(ben)
    assert.strictEqual(inbox.size, 0)
  })
})
