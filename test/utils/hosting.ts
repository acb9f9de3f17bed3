import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import type { Address } from "../../src/Address.ts"
import { Dht } from "../../src/Dht.ts"
import * as HostedIdentities from "../../src/HostedIdentities.ts"
import * as Hosting from "../../src/Hosting.ts"
import { sha256 } from "../../src/internal/sha256.ts"
import * as Network from "./network.ts"

type ServicesOf<C> = C extends Context.Context<infer Services> ? Services : never

export type Host = Context.Context<ServicesOf<Network.Node> | HostedIdentities.HostedIdentities | Hosting.Hosting>

/** Adds hosting to a node; it stops with the scope. */
export const hostOn = Effect.fnUntraced(function*(node: Network.Node, options: Hosting.Options = {}) {
  const layer = Layer.fresh(HostedIdentities.layer).pipe(
    Layer.provideMerge(Layer.fresh(Hosting.layer(options))),
    Layer.provide([Layer.succeedContext(node), Layer.fresh(Network.layerRandom("hosting"))])
  )
  return Context.merge(node, yield* Layer.build(layer))
})

export const hosting = (host: Host) => Context.get(host, Hosting.Hosting)

export const identities = (host: Host) => Context.get(host, HostedIdentities.HostedIdentities)

/** The private key of `Network.identity(name)`. */
export const seedOf = (name: string): Uint8Array => sha256(new TextEncoder().encode(name))

export const keyOf = (name: string): HostedIdentities.Key => ({ seed: Redacted.make(seedOf(name)) })

/** The endpoints that a node resolves; undefined if there are none. */
export const endpointsOf = (reader: Context.Context<Dht>, address: Address) =>
  Effect.map(
    Effect.result(Context.get(reader, Dht).resolve(address)),
    (found) => Result.isSuccess(found) ? found.success.endpoints?.join() : undefined
  )
