/** A world in which one node hosts identities: its signers and its network fail, and come back. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import * as Hosting from "../../src/Hosting.ts"
import type * as Identity from "../../src/Identity.ts"
import { identityOf } from "../../src/testing/internal/madeUp.ts"
import * as Liveness from "../../src/testing/PropertiesLiveness.ts"
import * as SimCrypto from "../../src/testing/SimCrypto.ts"
import { leaveAll, standIn } from "./nodes.ts"
import { type Outcome, runProgram } from "./run.ts"

const identity = (n: number): Identity.Identity => identityOf(SimCrypto.simulated, `hosted ${n}`)

const endpoint = (n: number): Hosting.Content => ({ _tag: "Endpoint", endpoints: [`https://${n}.example`] })

/** Every record that is hosted is where readers find it once renewals have had their time. */
export const hosting = (): Outcome =>
  runProgram(
    Effect.fnUntraced(function*(world, safety) {
      const others = yield* world.startNodes(32, { app: safety.probe })
      const host = world.node("host", {
        app: Layer.merge(safety.probe, Hosting.layer({ datagramsPerSecond: 40 })),
        through: others.slice(0, 3)
      })
      yield* host.start
      const vault = { isSealed: false }
      const add = (n: number) => {
        const { agent, delegation, publicKey, sign } = identity(n)
        return host.run(Hosting.Hosting.use(({ host }) =>
          Effect.orDie(host({
            signer: {
              agent,
              delegation,
              publicKey,
              // Every fifth key is in the vault.
              sign: (bytes) =>
                vault.isSealed && n % 5 === 0
                  ? Effect.fail(new Hosting.SignerFailed({ reason: "the vault is sealed" }))
                  : sign(bytes)
            },
            announce: [endpoint(n)],
            ttl: 300
          }))
        ))
      }
      for (let n = 0; n < 15; n++) yield* add(n)
      yield* Effect.sleep("3 minutes")
      vault.isSealed = true
      yield* Effect.sleep("4 minutes")
      vault.isSealed = false
      yield* Effect.sleep("3 minutes")
      // Until every record has expired elsewhere.
      world.network.partition([host.host])
      yield* Effect.sleep("8 minutes")
      world.network.heal()
      // Until all are renewed by a node that knows its neighbours again.
      yield* Effect.sleep("8 minutes")
      for (let n = 15; n < 18; n++) yield* add(n)
      yield* Effect.sleep("3 minutes")
      const hosted = yield* host.run(Hosting.Hosting.use(({ list }) => Stream.runCollect(list)))
      const announced = hosted.flatMap(({ records }) =>
        records.flatMap(({ key, record }) => record === undefined ? [] : [{ publisher: "host", key, record }])
      )
      // Those that were added last may wait for a network that is still out of reach: then the others are not found.
      if (announced.length < 15) throw new Error(`only ${announced.length} of 18 records were signed`)
      const found = yield* Liveness.check(world, [...others, host], { announced })
      yield* leaveAll([...others, host])
      return found
    }),
    standIn
  )
