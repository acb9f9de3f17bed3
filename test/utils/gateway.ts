/**
 * Gateways for tests of programs that keep their own keys: nodes of the in-memory
 * network whose HTTP interface is called without a port.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as TestClock from "effect/testing/TestClock"
import * as Agent from "../../src/browser/Agent.ts"
import * as Gateway from "../../src/browser/Gateway.ts"
import { Crypto } from "../../src/Crypto.ts"
import * as Identity from "../../src/Identity.ts"
import { crypto } from "./arbitraries.ts"
import { serve } from "./httpNode.ts"
import * as network from "./network.ts"

export const token = "0123456789abcdef"

/** The global `fetch`, or a stand-in for it. */
export type Fetch = typeof globalThis.fetch

/** The `fetch` of a page whose gateway is this node. */
export const fetchOf = (node: network.Node) =>
  Effect.map(
    serve(node, { token: Redacted.make(token), readable: true }),
    (fetch): Fetch => (input, init) =>
      Effect.runPromise(fetch(String(input).replace("http://localhost:2634", ""), init))
  )

/** A gateway that changes the JSON of successful responses. */
export const lying = (fetch: Fetch, change: (body: Body) => unknown): Fetch => async (input, init) => {
  const response = await fetch(input, init)
  return response.ok ? Response.json(change(await response.json() as Body)) : response
}

export interface Body {
  readonly records: Array<{ signed_hex: string }>
  readonly next: string | null
}

/** Two joined nodes, each a gateway. */
export const pair = Effect.gen(function*() {
  yield* TestClock.setTime(network.now * 1000)
  const nodes = [
    yield* network.node("gateway a", network.socketOf(1)),
    yield* network.node("gateway b", network.socketOf(2))
  ] as const
  yield* network.dht(nodes[1]).bootstrap([network.socketOf(1)])
  return { nodes, a: yield* fetchOf(nodes[0]), b: yield* fetchOf(nodes[1]) }
})

const options = (fetch: Fetch): Gateway.Options => ({
  url: "http://localhost:2634",
  token: Redacted.make(token),
  fetch
})

/** A gateway as a program sees it. */
export const gateway = (fetch: Fetch) =>
  Effect.map(
    Layer.build(
      Layer.fresh(Gateway.layer(options(fetch))).pipe(Layer.provide(Layer.succeed(Crypto, crypto)))
    ),
    (services) => Context.get(services, Gateway.Gateway)
  )

/** An agent with a key of its own. */
export const agent = (owner: string | Identity.Identity, fetch: Fetch) =>
  Effect.map(
    Layer.build(
      Layer.fresh(Agent.layer).pipe(
        Layer.provide([
          Layer.fresh(Gateway.layer(options(fetch))),
          Identity.layer(typeof owner === "string" ? network.identity(owner) : owner),
          Layer.fresh(network.layerRandom(typeof owner === "string" ? owner : owner.address))
        ]),
        Layer.provide(Layer.succeed(Crypto, crypto))
      )
    ),
    (services) => Context.get(services, Agent.Agent)
  )
