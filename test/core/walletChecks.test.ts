import { assert, describe, it } from "@effect/vitest"
import { type Origin, WalletChecks } from "../../src/core/walletChecks.ts"

const request = (network: string): Origin => ({ network, isAwaited: false })
const response = (network: string): Origin => ({ network, isAwaited: true })

/** Checks that finish when told to. */
const setUp = () => {
  const started: Array<string> = []
  const running: Array<(valid: boolean) => void> = []
  const verdicts: Array<readonly [id: string, valid: boolean | undefined]> = []
  let isDue = false
  const checks = new WalletChecks({
    wake: () => {
      isDue = true
    }
  })
  const check = (id: string, origin: Origin, now = 0) =>
    checks.check(
      {
        id,
        start: (done) => {
          started.push(id)
          running.push(done)
          return true
        }
      },
      origin,
      now,
      (valid) => verdicts.push([id, valid])
    )
  const refused = () => verdicts.filter(([, valid]) => valid === undefined).map(([id]) => id)
  /** Finishes the check that runs, and takes the next turn. */
  const turn = (valid = true) => {
    running.shift()?.(valid)
    if (isDue) {
      isDue = false
      checks.next()
    }
  }
  return { check, checks, refused, running, started, turn, verdicts }
}

describe("the checks of wallets' signatures", () => {
  it("run one at a time, and at most one a turn even if each is finished at once", () => {
    const { check, running, started, turn } = setUp()
    for (const id of ["a", "b", "c"]) check(id, request("net"))
    assert.deepStrictEqual(started, ["a"])
    running.shift()?.(true)
    check("d", request("net"))
    assert.deepStrictEqual(started, ["a"])
    for (let i = 0; i < 5; i++) turn()
    assert.deepStrictEqual(started, ["a", "b", "c", "d"])
    check("e", request("net"))
    assert.strictEqual(started.at(-1), "e")
  })

  it("of one network are at most 16 a second, and those of others unaffected", () => {
    const { check, refused, turn } = setUp()
    for (let i = 0; i < 100; i++) {
      check(`flood ${i}`, request("flooding"))
      turn()
    }
    check("honest", request("honest"))
    assert.deepStrictEqual(refused(), Array.from({ length: 84 }, (_, i) => `flood ${i + 16}`))
    check("later", request("flooding"), 1000)
    assert.notInclude(refused(), "later")
  })

  it("of all networks are at most 64 a second, of which one over its limit uses nothing up", () => {
    const { check, refused, turn } = setUp()
    const ask = (network: number) => {
      check(`${network}`, request(`network ${network}`))
      turn()
    }
    for (let i = 0; i < 1000; i++) ask(0)
    assert.strictEqual(refused().length, 984)
    for (let network = 1; network <= 48; network++) ask(network)
    assert.strictEqual(refused().length, 984)
    ask(49)
    assert.strictEqual(refused().at(-1), "49")
  })

  it("of responses to our own requests have no limit, and take turns with those of requests", () => {
    const { check, refused, started, turn } = setUp()
    for (let i = 0; i < 200; i++) check(`response ${i}`, response("holder"))
    for (let i = 0; i < 4; i++) check(`request ${i}`, request("net"))
    assert.deepStrictEqual(refused(), [])
    for (let i = 0; i < 8; i++) turn()
    assert.strictEqual(started.filter((id) => id.startsWith("request")).length, 4)
  })

  it("take turns among networks, and are refused if too many wait", () => {
    const { check, refused, started, turn } = setUp()
    for (let i = 0; i < 300; i++) check(`greedy ${i}`, response("greedy"))
    check("modest", response("modest"))
    turn()
    turn()
    assert.include(started, "modest")
    assert.strictEqual(refused().length, 300 - 257)
  })

  it("are made once for all callers that wait for the same one, up to a bounded number of callers", () => {
    const { check, started, turn, verdicts } = setUp()
    for (let i = 0; i < 100; i++) check("same", request("net"))
    assert.deepStrictEqual(started, ["same"])
    turn(false)
    assert.strictEqual(verdicts.filter(([, valid]) => valid === false).length, 64)
    assert.strictEqual(verdicts.filter(([, valid]) => valid === undefined).length, 36)
  })

  it("go on after one for which the verifier had no room", () => {
    const { check, checks, started, verdicts } = setUp()
    checks.check({ id: "no room", start: () => false }, request("net"), 0, (valid) => verdicts.push(["no room", valid]))
    checks.next()
    check("next", request("net"))
    assert.deepStrictEqual(verdicts, [["no room", undefined]])
    assert.deepStrictEqual(started, ["next"])
  })
})
