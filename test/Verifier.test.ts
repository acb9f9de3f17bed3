import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Result from "effect/Result"
import * as fc from "fast-check"
import { execFile } from "node:child_process"
import type { Worker } from "node:worker_threads"
import * as Address from "../src/Address.ts"
import * as Delegation from "../src/Delegation.ts"
import * as NodeCrypto from "../src/node/NodeCrypto.ts"
import * as NodeVerifier from "../src/node/NodeVerifier.ts"
import * as Verifier from "../src/Verifier.ts"

const crypto = NodeCrypto.fastest
const layers = {
  "on the calling thread": Verifier.layer.pipe(Layer.provide(NodeCrypto.layer)),
  "on one worker": NodeVerifier.layerWorkers({ workers: 1, capacity: 16 }),
  "on two workers": NodeVerifier.layerWorkers({ workers: 2, capacity: 16 })
}

/** Texts signed by the wallet of an Ethereum and of a Paralism address, as delegations carry them. */
const byWallets = (["ethereum", "paralism"] as const).map((chain) => {
  const { agent, message, signature } = Result.getOrThrow(Delegation.delegateSecp256k1({
    chain,
    privateKey: new Uint8Array(32).fill(3),
    operationalPublicKey: new Uint8Array(32),
    issuedAt: 0n,
    expiresAt: 0n
  }))
  return { address: Address.toBytes(agent), text: new TextEncoder().encode(message), signature }
})

interface Check {
  readonly publicKey: Uint8Array
  readonly message: Uint8Array
  readonly signature: Uint8Array
}

const signed = (message: Uint8Array): Check => {
  const key = crypto.signingKey(new Uint8Array(32).fill(message.length))
  return { publicKey: key.publicKey, message, signature: key.sign(message) }
}

const good = signed(new TextEncoder().encode("message"))
const bad: Check = { ...good, message: new TextEncoder().encode("another") }

const run = (verifier: Verifier.Verifier["Service"], check: Check, done: (valid: boolean) => void): boolean =>
  verifier.check(check.publicKey, check.message, check.signature, done)

/** The result of one check. */
const ask = (verifier: Verifier.Verifier["Service"], check: Check): Effect.Effect<boolean> =>
  Effect.callback((resume) => {
    assert.isTrue(run(verifier, check, (valid) => resume(Effect.succeed(valid))))
  })

/** The results of as many checks as are accepted at once, in the order of the checks. */
const askAll = (verifier: Verifier.Verifier["Service"], checks: ReadonlyArray<Check>): Effect.Effect<Array<boolean>> =>
  Effect.callback((resume) => {
    const answers = new Map<number, boolean>()
    for (const [i, check] of checks.entries()) {
      const accepted = run(verifier, check, (valid) => {
        assert.isFalse(answers.has(i))
        answers.set(i, valid)
        if (answers.size === checks.length) resume(Effect.succeed(checks.map((_, i) => answers.get(i) ?? false)))
      })
      assert.isTrue(accepted)
    }
  })

/** The workers that an effect starts. */
const withWorkers = <A, E, R>(f: (workers: ReadonlyArray<Worker>) => Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.suspend(() => {
    const workers: Array<Worker> = []
    const onWorker = (worker: Worker) => {
      workers.push(worker)
    }
    process.on("worker", onWorker)
    return Effect.ensuring(f(workers), Effect.sync(() => process.off("worker", onWorker)))
  })

const anyCheck: fc.Arbitrary<Check> = fc.record({
  message: fc.uint8Array({ maxLength: 1300 }),
  cut: fc.constantFrom("", "publicKey", "signature"),
  flip: fc.option(fc.constantFrom<keyof Check>("publicKey", "message", "signature"), { nil: undefined })
}).map(({ cut, flip, message }) => {
  const check = signed(message)
  if (flip !== undefined && check[flip].length > 0) {
    return { ...check, [flip]: check[flip].with(0, check[flip][0] ^ 1) }
  }
  return cut === "" ? check : { ...check, [cut]: check.signature.slice(0, 31) }
})

describe("Verifier", () => {
  it.live("continues when a caller fails to handle a result", () =>
    Effect.gen(function*() {
      const verifier = yield* Verifier.Verifier
      run(verifier, good, () => {
        throw new Error("a bug of the caller")
      })
      assert.deepStrictEqual(yield* askAll(verifier, [good, bad, good]), [true, false, true])
    }).pipe(Effect.provide(layers["on one worker"])))

  for (const [where, layer] of Object.entries(layers)) {
    describe(where, () => {
      it.effect("answers every check once, with the result of the signature provider", () =>
        Effect.gen(function*() {
          const verifier = yield* Verifier.Verifier
          const samples = fc.sample(fc.array(anyCheck, { minLength: 1, maxLength: 16 }), 20)
          for (const checks of samples) {
            const expected = checks.map((check) => crypto.verify(check.publicKey, check.message, check.signature))
            assert.deepStrictEqual(yield* askAll(verifier, checks), expected)
          }
        }).pipe(Effect.provide(layer)))

      it.effect("checks the signatures of wallets beside those of keys", () =>
        Effect.gen(function*() {
          const verifier = yield* Verifier.Verifier
          const askWallet = ({ address, signature, text }: (typeof byWallets)[number]) =>
            Effect.callback<boolean>((resume) => {
              assert.isTrue(verifier.checkWallet(address, text, signature, (valid) => resume(Effect.succeed(valid))))
            })
          const [ethereum, paralism] = byWallets
          const answers = yield* Effect.all([
            askWallet(ethereum),
            ask(verifier, good),
            askWallet(paralism),
            askWallet({ ...ethereum, address: paralism.address }),
            askWallet({ ...ethereum, text: ethereum.text.with(0, 0) }),
            askWallet({ ...paralism, signature: paralism.signature.with(40, paralism.signature[40] ^ 1) }),
            askWallet({ ...paralism, signature: paralism.signature.subarray(1) }),
            askWallet({ ...ethereum, address: ethereum.address.with(0, 0xa0) }),
            ask(verifier, bad)
          ], { concurrency: "unbounded" })
          assert.deepStrictEqual(answers, [true, true, true, false, false, false, false, false, false])
        }).pipe(Effect.provide(layer)))

      it.effect("answers checks that are started by the result of another", () =>
        Effect.gen(function*() {
          const verifier = yield* Verifier.Verifier
          const answers = yield* Effect.callback<Array<boolean>>((resume) => {
            const answers: Array<boolean> = []
            const next = (): void => {
              run(verifier, answers.length % 2 === 0 ? good : bad, (valid) => {
                answers.push(valid)
                if (answers.length === 100) resume(Effect.succeed(answers))
                else next()
              })
            }
            next()
          })
          assert.deepStrictEqual(answers, answers.map((_, i) => i % 2 === 0))
        }).pipe(Effect.provide(layer)))

      it.effect("has read the bytes when check returns", () =>
        Effect.gen(function*() {
          const verifier = yield* Verifier.Verifier
          const check = {
            publicKey: good.publicKey.slice(),
            message: good.message.slice(),
            signature: good.signature.slice()
          }
          const answer = yield* Effect.callback<boolean>((resume) => {
            run(verifier, check, (valid) => resume(Effect.succeed(valid)))
            for (const bytes of Object.values(check)) bytes.fill(0)
          })
          assert.isTrue(answer)
        }).pipe(Effect.provide(layer)))
    })
  }

  it.effect("answers before check returns on the calling thread", () =>
    Effect.gen(function*() {
      const verifier = yield* Verifier.Verifier
      const answers: Array<boolean> = []
      for (const check of [good, bad]) run(verifier, check, (valid) => answers.push(valid))
      assert.deepStrictEqual(answers, [true, false])
    }).pipe(Effect.provide(layers["on the calling thread"])))
})

describe("NodeVerifier", () => {
  for (const workers of [1, 2]) {
    it.effect(`refuses a check beyond its capacity and accepts new ones after results (${workers} workers)`, () =>
      Effect.gen(function*() {
        const verifier = yield* Verifier.Verifier
        for (let round = 0; round < 3; round++) {
          let answered = 0
          yield* Effect.callback<void>((resume) => {
            const done = (valid: boolean): void => {
              assert.isTrue(valid)
              if (++answered === 8) resume(Effect.void)
            }
            for (let i = 0; i < 8; i++) assert.isTrue(run(verifier, good, done))
            for (let i = 0; i < 3; i++) assert.isFalse(run(verifier, good, () => assert.fail("was refused")))
          })
          assert.strictEqual(answered, 8)
        }
      }).pipe(Effect.provide(NodeVerifier.layerWorkers({ workers, capacity: 8 }))))
  }

  it.effect("rounds the share of each worker up to a power of two", () =>
    Effect.gen(function*() {
      const verifier = yield* Verifier.Verifier
      let accepted = 0
      while (run(verifier, good, () => {})) accepted++
      assert.strictEqual(accepted, 2 * 4)
    }).pipe(Effect.provide(NodeVerifier.layerWorkers({ workers: 2, capacity: 5 }))))

  it.effect("answers the checks left by a dead worker, logs a warning, and continues", () => {
    const logged: Array<string> = []
    const logger = Logger.layer([Logger.make(({ logLevel }) => {
      logged.push(logLevel)
    })])
    return withWorkers((workers) =>
      Effect.gen(function*() {
        const verifier = yield* Verifier.Verifier
        for (const worker of workers) {
          assert.isTrue(yield* ask(verifier, good))
          const checks = Array.from({ length: 64 }, (_, i) => i % 3 === 0 ? bad : good)
          const answers = askAll(verifier, checks)
          const dead = Effect.promise(() => worker.terminate())
          const [both] = yield* Effect.all([answers, dead], { concurrency: "unbounded" })
          assert.deepStrictEqual(both, checks.map((check) => check === good))
        }
        assert.strictEqual(workers.length, 2)
        assert.deepStrictEqual(logged, ["Warn", "Warn"])
        assert.deepStrictEqual(yield* askAll(verifier, [good, bad]), [true, false])
      }).pipe(Effect.provide(NodeVerifier.layerWorkers({ workers: 2, capacity: 256 }).pipe(Layer.provide(logger))))
    )
  })

  it.effect("checks on the calling thread if no worker can be started, and logs a warning", () => {
    const warnings: Array<string> = []
    const logger = Logger.make(({ logLevel, message }) => {
      if (logLevel === "Warn") warnings.push(String(message))
    })
    return Effect.gen(function*() {
      const verifier = yield* Verifier.Verifier
      assert.isTrue(yield* ask(verifier, good))
      assert.isFalse(yield* ask(verifier, bad))
      assert.strictEqual(warnings.length, 2)
      assert.include(warnings[0], "could not be started")
    }).pipe(
      // More memory than the machine has.
      Effect.provide(NodeVerifier.layerWorkers({ workers: 2, capacity: 2 ** 50 })),
      Effect.provide(Logger.layer([logger]))
    )
  })

  it.effect("stops its workers with the scope of the layer, and refuses checks afterwards", () =>
    withWorkers((workers) =>
      Effect.gen(function*() {
        const verifier = yield* Effect.gen(function*() {
          const verifier = yield* Verifier.Verifier
          assert.isTrue(yield* ask(verifier, good))
          for (const worker of workers) assert.isAbove(worker.threadId, 0)
          return verifier
        }).pipe(Effect.provide(NodeVerifier.layerWorkers({ workers: 2 })))
        assert.strictEqual(workers.length, 2)
        for (const worker of workers) assert.strictEqual(worker.threadId, -1)
        assert.isFalse(run(verifier, good, () => assert.fail("was refused")))
      })
    ))

  it.effect("does not keep a process alive", () =>
    Effect.gen(function*() {
      const program = `
        import * as Effect from "effect/Effect"
        import * as NodeVerifier from "./src/node/NodeVerifier.ts"
        import { Verifier } from "./src/Verifier.ts"
        Effect.runFork(Effect.gen(function*() {
          yield* Verifier
          process.stdout.write("ready")
          yield* Effect.callback(() => {})
        }).pipe(Effect.provide(NodeVerifier.layerWorkers({ workers: 2 }))))
      `
      const output = yield* Effect.callback<string, Error>((resume) => {
        execFile(
          process.execPath,
          ["--input-type=module", "--eval", program],
          { cwd: new URL("..", import.meta.url) },
          (error, stdout) => resume(error === null ? Effect.succeed(stdout) : Effect.fail(error))
        )
      })
      assert.strictEqual(output, "ready")
    }))
})
