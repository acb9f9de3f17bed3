/**
 * Identities that nodes of a story host.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import type * as Dht from "../../Dht.ts"
import * as Hosting from "../../Hosting.ts"
import type * as Liveness from "../PropertiesLiveness.ts"
import type * as SimWorld from "../SimWorld.ts"
import { identityOf } from "./madeUp.ts"
import type { DhtNode, Resident, Stage } from "./storyStage.ts"

/** Lifetime of hosted records, in seconds. */
const ttl = 300

/** Enough for a few dozen records. */
const datagramsPerSecond = 40

/**
 * The hosting nodes of a story.
 *
 * @internal
 */
export interface Hosts {
  /** To be installed on the node of that name. */
  readonly layer: (name: string) => Layer.Layer<never, never, Dht.Services | SimWorld.Machine>
  readonly host: (resident: Resident, identities: number) => Effect.Effect<void, unknown>
  /** Keeps every other identity at a node from signing for a while. */
  readonly seal: (resident: Resident, seconds: number) => Effect.Effect<void>
  /** The records that the nodes keep alive, without those of nodes that have restarted. */
  readonly announced: Effect.Effect<ReadonlyArray<Liveness.Announced>>
}

/**
 * Makes the hosts of a story.
 *
 * @internal
 */
export const make = ({ crypto, residents }: Stage): Hosts => {
  const sealed = new Set<string>()
  /** That of each node that was started, by its name. */
  const services = new Map<string, Hosting.Hosting["Service"]>()
  let count = 0

  const hosting = <A, E>({ name, run }: DhtNode, use: (service: Hosting.Hosting["Service"]) => Effect.Effect<A, E>) =>
    run(Effect.suspend(() => use(services.get(name)!)))

  return {
    layer: (name) =>
      Layer.effectDiscard(Hosting.Hosting.use((service) => Effect.sync(() => void services.set(name, service)))).pipe(
        Layer.provide(Hosting.layer({ datagramsPerSecond }))
      ),
    host: ({ node }, identities) =>
      Effect.forEach(
        Array.from({ length: identities }, () => count++),
        (n) => {
          const { agent, delegation, publicKey, sign } = identityOf(crypto, `hosted ${n}`)
          return hosting(
            node,
            ({ host }) =>
              host({
                signer: {
                  agent,
                  delegation,
                  publicKey,
                  sign: (bytes) =>
                    sealed.has(node.name) && n % 2 === 1
                      ? Effect.fail(new Hosting.SignerFailed({ reason: "the key is sealed" }))
                      : sign(bytes)
                },
                announce: [{ _tag: "Endpoint", endpoints: [`https://${n}.example`] }],
                ttl
              })
          )
        },
        { discard: true }
      ),
    seal: ({ node }, seconds) =>
      Effect.sync(() => void sealed.add(node.name)).pipe(
        Effect.andThen(Effect.sleep(seconds * 1000)),
        Effect.andThen(Effect.sync(() => void sealed.delete(node.name)))
      ),
    announced: Effect.gen(function*() {
      const announced: Array<Liveness.Announced> = []
      for (const { node } of residents) {
        const hosted = yield* Effect.orElseSucceed(hosting(node, ({ list }) => Stream.runCollect(list)), () => [])
        for (const { records } of hosted) {
          for (const { key, record } of records) {
            if (record !== undefined) announced.push({ publisher: node.name, key, record })
          }
        }
      }
      return announced
    })
  }
}
