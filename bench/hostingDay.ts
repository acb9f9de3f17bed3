/**
 * A day of a node that hosts many identities in a simulated network, with
 * signatures that take no time: whether readers find the records at any time, and
 * what that costs.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import { Dht } from "../src/Dht.ts"
import * as Hosting from "../src/Hosting.ts"
import type * as Identity from "../src/Identity.ts"
import { Rpc } from "../src/Rpc.ts"
import { identityOf } from "../src/testing/internal/madeUp.ts"
import { Prng } from "../src/testing/internal/prng.ts"
import * as SimCrypto from "../src/testing/SimCrypto.ts"
import * as SimWorld from "../src/testing/SimWorld.ts"
import type { Row } from "./report.ts"

const crypto = SimCrypto.simulated

const announce = [{ _tag: "Endpoint", endpoints: ["https://agents.example/a1b2c3d4"] }] as const

const identity = (n: number): Identity.Identity => identityOf(crypto, `hosted ${n}`)

const percent = (part: number, whole: number): number => Math.round(part / whole * 10_000) / 100

/** Lookups by random readers, of random identities, once all are stored. */
const probesPerHour = 600

/**
 * Simulates the hours after all records are stored. Records live for an hour.
 */
export const day = (
  options: { readonly identities: number; readonly nodes: number; readonly hours: number; readonly loss: number }
): Row => {
  const { hours, identities, loss, nodes } = options
  const program = Effect.gen(function*() {
    const world = yield* SimWorld.SimWorld
    const random = new Prng(world.seed, "probes")
    const pick = (count: number) => Math.floor(random.double() * count)
    const others = yield* world.startNodes(nodes)
    const host = world.node("host", {
      // The share of the default budget, and twice that for the beginning.
      app: Hosting.layer({ datagramsPerSecond: Math.ceil(identities / 100), signaturesPerSecond: identities }),
      through: others.slice(0, 3)
    })
    yield* host.start
    world.network.conditions.loss = loss
    const inHosting = <A, E>(use: (hosting: Hosting.Hosting["Service"]) => Effect.Effect<A, E>) =>
      host.run(Hosting.Hosting.use(use))
    for (let n = 0; n < identities; n++) yield* inHosting(({ host }) => host({ signer: identity(n), announce }))
    yield* inHosting(({ settled }) => settled)
    // Renewals are in step after the first round.
    yield* Effect.sleep("1 hour")
    const sent = host.run(Rpc.use(({ traffic }) => traffic))
    const status = inHosting(({ status }) => status)
    const [before, sentBefore] = [yield* status, (yield* sent).sent]
    let [probes, found, late] = [0, 0, 0]
    const end = (yield* Clock.currentTimeMillis) + hours * 3_600_000
    while ((yield* Clock.currentTimeMillis) < end) {
      yield* Effect.sleep(3_600_000 / probesPerHour)
      const { address } = identity(pick(identities))
      probes++
      const resolved = others[pick(nodes)].run(Dht.use((dht) => dht.resolve(address)))
      if (yield* Effect.isSuccess(resolved)) found++
      if (probes % probesPerHour === 0) late = Math.max(late, (yield* status).late)
    }
    const [after, sentAfter] = [yield* status, (yield* sent).sent]
    const renewals = after.renewals - before.renewals
    const [stores, lookups, datagrams] = [
      after.stores - before.stores,
      after.lookups - before.lookups,
      sentAfter - sentBefore
    ]
    const row: Row = {
      name: `${identities} endpoints, ${nodes} nodes, ${hours} h`,
      figures: {
        "probes": { value: probes, unit: "" },
        "found": { value: percent(found, probes), unit: "%", atLeast: 100 },
        "renewals": { value: renewals, unit: "" },
        "failed": { value: after.failures - before.failures, unit: "" },
        "late": { value: late, unit: "", atMost: 0 },
        "datagrams of a renewal": { value: Math.round(datagrams / renewals * 100) / 100, unit: "", atMost: 10 },
        "of these, STOREs": { value: percent(stores, datagrams), unit: "%" },
        "lookups of a renewal": { value: percent(lookups, renewals), unit: "%", atMost: 3 }
      }
    }
    return row
  })
  return SimWorld.runSync(program, { seed: 1, crypto, within: `${hours + 48} hours` })
}
