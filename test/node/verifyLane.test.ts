import { assert, describe, it } from "@effect/vitest"
import { once } from "node:events"
import { setTimeout as pause } from "node:timers/promises"
import { Worker } from "node:worker_threads"
import { allocate, Lane } from "../../src/node/internal/verifyLane.ts"
import * as NodeCrypto from "../../src/node/NodeCrypto.ts"

describe("the lane between a thread and its worker", () => {
  it("answers no check that was not submitted, however often the worker is woken", async () => {
    const memory = allocate(16)
    const lane = new Lane(memory)
    const program = new URL("../../src/node/internal/verifyWorker.ts", import.meta.url)
    const worker = new Worker(program, { workerData: memory, execArgv: [] })
    await once(worker, "message")
    worker.on("message", () => lane.take())

    const key = NodeCrypto.fastest.signingKey(new Uint8Array(32))
    const message = new Uint8Array(100)
    const signature = key.sign(message)
    const check = (signature: Uint8Array) =>
      new Promise<boolean>((resolve) => lane.submit("Ed25519", key.publicKey, message, signature, resolve))
    assert.isTrue(await check(signature))
    // A thread delayed between submitting work and waking the worker wakes it
    // after the work is done.
    for (let i = 0; i < 20; i++) {
      Atomics.notify(new Int32Array(memory), 0)
      await pause(2)
    }
    assert.strictEqual(lane.outstanding, 0)
    // If the worker were ahead, this would get the result of the slot's previous check.
    for (let i = 0; i < 32; i++) assert.isFalse(await check(signature.with(40, signature[40] ^ 1)))
    await worker.terminate()
  })
})
