/**
 * A small network in this process: `demo`. It is also an example of a program
 * with several nodes: each agent below is an Effect that needs a {@link Dht},
 * and gets one of its own.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Random from "effect/Random"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Address } from "../../Address.ts"
import { Dht } from "../../Dht.ts"
import type * as Routes from "../../http/Routes.ts"
import { MessageType } from "../../Mail.ts"
import type { Host } from "../../NameResolver.ts"
import { DhtLive } from "../../node/DhtLive.ts"
import * as YoungGeneration from "../../node/internal/youngGeneration.ts"
import * as NodeHttp from "../../node/NodeHttp.ts"
import * as NodeId from "../../NodeId.ts"
import * as SocketAddress from "../../SocketAddress.ts"
import * as Output from "../Output.ts"

interface Options {
  readonly nodes: number
  readonly http: Host
  readonly json: boolean
}

// --- Content -------------------------------------------------------------------

const names = ["Ann", "Ben", "Cleo", "Dan", "Eva", "Finn", "Gus", "Hana", "Ida", "Jon", "Kim", "Lea", "Max", "Nia"]

const services = [
  { topic: "translate", brief: "Letters, menus and love songs", protocols: ["a2a", "http"], tags: ["de", "fr", "ja"] },
  { topic: "weather", brief: "Rain or shine, for the next three days", protocols: ["http"], tags: ["forecast"] },
  { topic: "chess", brief: "A patient opponent", protocols: ["mcp"], tags: ["blitz", "correspondence"] },
  { topic: "maps", brief: "The way there, and a better one", protocols: ["http", "a2a"], tags: ["walking", "cycling"] },
  { topic: "bread", brief: "Recipes for whatever flour is left", protocols: ["mcp"], tags: ["sourdough", "rye"] }
] as const

const greetings = ["Good morning!", "Is the bread ready?", "Your move.", "Take an umbrella.", "Merci bien.", "See you."]

// --- One agent -------------------------------------------------------------------

/** An agent of the network. */
interface Agent {
  readonly name: string
  readonly service: typeof services[number] | undefined
  /** Mean seconds between two actions. */
  readonly pace: number
}

/** Sleeps for about the given number of seconds. */
const pause = (seconds: number) =>
  Effect.flatMap(Random.nextBetween(0.5, 1.5), (factor) => Effect.sleep(seconds * factor * 1000))

/** Repeats an action. Failures such as an unsuccessful lookup are expected and ignored. */
const forever = <A, E, R>(what: string, action: Effect.Effect<A, E, R>) =>
  Effect.ignore(action).pipe(
    Effect.catchCause((cause) => Effect.andThen(Effect.logWarning(`${what} failed`, cause), pause(1))),
    Effect.forever,
    Effect.annotateLogs({ module: "effect-dht/cli/Demo", fiber: what }),
    Effect.forkScoped
  )

/** Runs an agent while its scope is open. `others` are the addresses that it may write to. */
const live = Effect.fnUntraced(function*({ name, pace, service }: Agent, others: ReadonlyArray<Address>) {
  const dht = yield* Dht

  yield* dht.announceProfile({ name, ...(service && { brief: service.brief, protocols: service.protocols }) })
  yield* dht.announceEndpoint({ endpoints: [`http://127.0.0.1:8080/${name.toLowerCase()}`] })

  if (service !== undefined) {
    // An announcement lasts as long as its scope, after which the next one replaces it.
    const offer = Effect.gen(function*() {
      const meta = new Map([["waiting", yield* Random.nextIntBetween(0, 9)]])
      yield* Effect.ignore(dht.announceTopic({ ...service, name, meta, ttl: 600, keepOnClose: true }))
      yield* pause(pace * 4)
    })
    yield* forever("Offers", Effect.scoped(offer))
    // Reads the agent's messages as they arrive.
    yield* Effect.forkScoped(Stream.runDrain(dht.mail.messages))
  }

  const anyAgent = Effect.suspend(() => Random.choice(others))
  const write = Effect.gen(function*() {
    yield* pause(pace * 3)
    const recipient = yield* anyAgent
    const body = new TextEncoder().encode(yield* Random.choice(greetings))
    yield* dht.mail.send({ recipient, type: MessageType.text, body, ttl: 120 })
  })
  yield* forever("Messages", write)

  const ask = Effect.gen(function*() {
    yield* pause(pace)
    const kind = yield* Random.nextIntBetween(0, 2)
    if (kind === 0) yield* dht.discover((yield* Random.choice(services)).topic)
    else if (kind === 1) yield* dht.findNode(NodeId.fromAddress(yield* anyAgent))
    else yield* dht.resolve(yield* anyAgent)
  })
  yield* forever("Questions", ask)
})

// --- The network -------------------------------------------------------------------

/** A node with all its services, for as long as the scope is open. It stores nothing on disk. */
const node = (seed?: Uint8Array) =>
  // Without `fresh`, all nodes would share one memoized layer.
  Layer.build(Layer.fresh(DhtLive({ listen: { host: "127.0.0.1", port: 0 }, seed }))).pipe(
    Effect.mapError(({ message }) => Output.failed(message))
  )

/** Another node of the network, joined through the node at `door`. */
const member = Effect.fnUntraced(function*(door: SocketAddress.SocketAddress, seed?: Uint8Array) {
  const services = yield* node(seed)
  yield* Effect.mapError(Context.get(services, Dht).bootstrap([door]), ({ message }) => Output.failed(message))
  return services
})

/** Maximum number of consecutive ports to try. */
const portsTried = 20

const isTaken = (error: NodeHttp.CannotServe | NodeHttp.TokenNeeded): boolean =>
  error._tag === "CannotServe" && (error.cause as NodeJS.ErrnoException).code === "EADDRINUSE"

/** The pages of the nodes by the number of the node, each as long as it is served. */
type Pages = Map<number, { readonly name: string; readonly url: string }>

/**
 * Serves the page of a node at the first free port, and lists it on the pages of
 * all. What acts for the node needs no token: no agent here outlives the demo.
 */
const serve = (
  services: Context.Context<Routes.Services>,
  { host, port }: Host,
  pages: Pages,
  number: number,
  name: string
) => {
  const sorted = () => Array.from(pages).sort(([a], [b]) => a - b).map(([, page]) => page)
  const from = (tried: number): Effect.Effect<SocketAddress.SocketAddress, Output.Failure, Scope.Scope> =>
    Layer.build(NodeHttp.layer({ host, port: port + tried, first: true, open: true, pages: sorted })).pipe(
      Effect.flatMap((server) => Effect.provideContext(NodeHttp.localAddress, server)),
      Effect.provideContext(services),
      // The nodes do not share their metrics.
      Effect.provideService(Metric.MetricRegistry, new Map()),
      Effect.catch((error) =>
        isTaken(error) && tried + 1 < portsTried && port + tried < 65_535
          ? from(tried + 1)
          : Effect.fail(
            error._tag === "TokenNeeded"
              ? Output.usage(`${error.message}; a demo has none, so use --http 127.0.0.1:${port}`)
              : Output.failed(error.message)
          )
      )
    )
  return Effect.tap(from(0), (address) =>
    Effect.acquireRelease(
      Effect.sync(() => pages.set(number, { name, url: urlOf(address) })),
      () => Effect.sync(() => pages.delete(number))
    ))
}

const urlOf = (address: SocketAddress.SocketAddress): string => `http://${SocketAddress.format(address)}/`

/** Where to look for a free port after one that was taken; 0 leaves the choice to the system. */
const after = ({ host, port }: SocketAddress.SocketAddress, { port: wanted }: Host): Host => ({
  host,
  port: wanted === 0 || port === 65_535 ? 0 : port + 1
})

const agentOf = (nodes: number) => (i: number): Agent => ({
  name: i < names.length ? names[i] : `${names[i % names.length]} ${Math.floor(i / names.length) + 1}`,
  service: i % 3 === 0 ? services[(i / 3) % services.length] : undefined,
  // The first agent is the one being watched; the others together act about four times a second.
  pace: i === 0 ? 2 : Math.max(4, nodes / 4)
})

/** Leaves for a while and returns under the same name, repeatedly. */
const wander = Effect.fnUntraced(function*(
  agent: Agent,
  door: SocketAddress.SocketAddress,
  others: ReadonlyArray<Address>,
  serving: (services: Context.Context<Routes.Services>) => Effect.Effect<unknown, Output.Failure, Scope.Scope>,
  tell: (event: "left" | "returned", line: string) => Effect.Effect<void>
) {
  const seed = yield* SecureRandom.SecureRandom.use((random) => random.randomBytes(32))
  while (true) {
    const visit = Effect.gen(function*() {
      const services = yield* member(door, seed)
      yield* serving(services)
      yield* Effect.provideContext(live(agent, others), services)
      yield* Effect.sleep(`${yield* Random.nextIntBetween(20, 40)} seconds`)
    })
    yield* Effect.ignore(Effect.scoped(visit))
    yield* tell("left", `${agent.name} left without notice`)
    yield* Effect.sleep(`${yield* Random.nextIntBetween(15, 25)} seconds`)
    yield* tell("returned", `${agent.name} came back`)
  }
})

/**
 * Runs the demo until it is interrupted, which counts as success.
 *
 * @category commands
 * @since 0.1.0
 */
export const demo = ({ http, json, nodes }: Options) =>
  Effect.gen(function*() {
    YoungGeneration.letGrow()
    const first = yield* node()
    const door = Context.get(first, Dht).localAddress
    const agent = agentOf(nodes)
    const pages: Pages = new Map()
    let served = yield* serve(first, http, pages, 0, agent(0).name)
    const url = urlOf(served)
    const at = SocketAddress.format(door)
    yield* Output.print(json, { event: "serving", url, nodes, bootstrap: at }, [
      `Starting a network of ${nodes} nodes in this process. Nothing is written to disk. Press Ctrl-C to stop.`,
      `  watch the first node:  ${url}  or  effect-dht top --url ${url}`,
      "  watch another node:    choose it on that page",
      `  ask the network:       effect-dht discover translate --bootstrap ${at}`
    ])

    const startedAt = yield* Clock.currentTimeMillis
    const more = Array.from({ length: nodes - 2 }, () => member(door))
    const all = [first, ...yield* Effect.all(more, { concurrency: 4 })]
    for (const [i, services] of all.slice(1).entries()) {
      served = yield* serve(services, after(served, http), pages, i + 1, agent(i + 1).name)
    }
    const addresses = all.map((services) => Context.get(services, Dht).address)
    const seconds = ((yield* Clock.currentTimeMillis) - startedAt) / 1000
    yield* Output.print(json, { event: "joined", nodes: nodes - 1, seconds }, [
      `All have joined after ${
        seconds.toFixed(1)
      } s. They announce endpoints and offers, send messages and look each other up.`
    ])

    // Sequentially: the nodes share one processor.
    yield* Effect.forEach(all, (services, i) =>
      Effect.delay(Effect.provideContext(live(agent(i), addresses), services), "20 millis"))

    const last = agent(nodes - 1)
    const place = after(served, http)
    return yield* wander(
      last,
      door,
      addresses,
      (services) =>
        serve(services, place, pages, nodes - 1, last.name),
      (event, line) => Output.print(json, { event, name: last.name }, [line])
    )
  }).pipe(
    Effect.scoped,
    Effect.provide(SecureRandom.layerWebCrypto),
    Effect.onInterrupt(() => {
      process.exitCode = 0
      return Output.print(json, { event: "stopped" }, ["Stopped"])
    })
  )
