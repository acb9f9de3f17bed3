import { assert, describe, it } from "@effect/vitest"
import * as fc from "fast-check"
import { Families } from "../../src/core/families.ts"

const minute = 60_000
const hour = 60 * minute

describe("Families", () => {
  it("are both reached once strangers came over each of them, and only then", () => {
    const families = new Families()
    assert.isFalse(families.isDual(0))
    families.heard("ipv4", true, 0)
    families.heard("ipv6", false, 0)
    assert.isFalse(families.isDual(1))
    families.heard("ipv6", true, 2)
    assert.isTrue(families.isDual(3))
  })

  it("are both reached while something comes over each within an hour, and a stranger within a day", () => {
    const families = new Families()
    for (const family of ["ipv4", "ipv6"] as const) families.heard(family, true, 0)
    assert.isTrue(families.isDual(59 * minute))
    assert.isFalse(families.isDual(60 * minute))
    for (let now = hour; now < 24 * hour; now += 30 * minute) {
      families.heard("ipv4", true, now)
      families.heard("ipv6", false, now)
      assert.isTrue(families.isDual(now))
    }
    families.heard("ipv6", false, 24 * hour)
    assert.isFalse(families.isDual(24 * hour))
  })

  it("are never both reached by datagrams of one", () => {
    fc.assert(
      fc.property(
        fc.constantFrom("ipv4", "ipv6"),
        fc.array(fc.tuple(fc.boolean(), fc.nat(48 * hour))),
        fc.nat(48 * hour),
        (family, heard, now) => {
          const families = new Families()
          for (const [isUninvited, at] of heard) families.heard(family, isUninvited, at)
          assert.isFalse(families.isDual(now))
        }
      )
    )
  })
})
