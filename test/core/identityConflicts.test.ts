import { assert, describe, it } from "@effect/vitest"
import { IdentityConflicts } from "../../src/core/identityConflicts.ts"

const now = 1_700_000_000_000
const minute = 60_000
const address = (n: number) => ({ host: `192.0.2.${n}`, port: 4121 })

describe("IdentityConflicts", () => {
  it("probes an address once in ten minutes", () => {
    const conflicts = new IdentityConflicts()
    assert.isTrue(conflicts.shouldAsk(address(1), "Named", now))
    assert.isFalse(conflicts.shouldAsk(address(1), "Named", now + 10 * minute - 1))
    assert.isTrue(conflicts.shouldAsk(address(1), "Named", now + 10 * minute))
  })

  it("probes at most six addresses per minute for each reason, so that one reason does not exhaust the other's limit", () => {
    const conflicts = new IdentityConflicts()
    const asked = (reason: "Named" | "Signed", at: number) =>
      Array.from({ length: 100 }, (_, i) => conflicts.shouldAsk(address(i), reason, at)).filter(Boolean).length
    assert.strictEqual(asked("Named", now), 6)
    assert.strictEqual(asked("Signed", now), 6)
    assert.strictEqual(asked("Named", now + minute), 6)
  })

  it("reports a conflict with an address once in ten minutes, and again after the clock was set back", () => {
    const conflicts = new IdentityConflicts()
    assert.isTrue(conflicts.isNews(address(1), now))
    assert.isFalse(conflicts.isNews(address(1), now + minute))
    assert.isTrue(conflicts.isNews(address(2), now + minute))
    assert.isTrue(conflicts.isNews(address(1), now - 60 * minute))
    assert.isTrue(conflicts.isNews(address(1), now - 50 * minute))
  })
})
