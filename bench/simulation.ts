/**
 * Speed of the simulator in processor time: what a world of an application test
 * costs, and a datagram in a larger world. Other programs slow a core down, so each
 * figure is also given in units of fixed work that is measured beside it, by which
 * runs can be compared.
 *
 * npm run bench:simulation -- [worlds] [nodes of the larger world]
 */
import * as Effect from "effect/Effect"
import * as References from "effect/References"
import { Dht } from "../src/Dht.ts"
import { fastest } from "../src/node/NodeCrypto.ts"
import * as Fault from "../src/testing/Fault.ts"
import { Prng } from "../src/testing/internal/prng.ts"
import * as SimCrypto from "../src/testing/SimCrypto.ts"
import * as SimWorld from "../src/testing/SimWorld.ts"
import { median, used } from "./measure.ts"

const [worlds = 20, nodes = 150] = process.argv.slice(2).map(Number)

/** Worlds that warm the compiler up. */
const warmUp = 6

/** Microseconds of processor, of all threads. */
const processor = (): number => {
  const { system, user } = process.cpuUsage()
  return system + user
}

/** Fixed work with objects, strings and a map, as a simulation has them. */
const unit = used(() => {
  const known = new Map<string, { readonly value: number }>()
  let sum = 0
  for (let i = 0; i < 40_000; i++) {
    sum += known.get(`k${i & 255}`)?.value ?? 0
    known.set(`k${i & 1023}`, { value: i })
  }
  return sum
})

const timed = (run: () => void): number => {
  const before = processor()
  run()
  return processor() - before
}

/** Ten minutes of eight nodes that announce and resolve each other, with ten faults. */
const application = Effect.fnUntraced(function*(seed: number) {
  const world = yield* SimWorld.SimWorld
  const random = new Prng(seed, "faults")
  const started = yield* world.startNodes(8)
  const any = () => started[random.below(started.length)]
  for (const node of started) {
    yield* node.run(Dht.use((dht) => dht.announceEndpoint({ endpoints: [`tcp://${node.host.ip}:80`] })))
  }
  for (let i = 0; i < 10; i++) {
    yield* Effect.sleep("30 seconds")
    yield* Fault.inject(world, started, Fault.draw(random, Fault.kinds, started.length))
    const { identity: { address } } = any()
    yield* Effect.forkScoped(Effect.ignore(any().run(Dht.use((dht) => dht.resolve(address)))))
  }
  world.network.heal()
  yield* Effect.forEach(started, ({ start }) => Effect.ignore(start), { discard: true })
  yield* Effect.sleep("5 minutes")
})

for (const [name, crypto] of [["stand-in", SimCrypto.simulated], ["real", fastest]] as const) {
  const run = (seed: number) =>
    SimWorld.runSync(Effect.provideService(application(seed), References.MinimumLogLevel, "Warn"), { seed, crypto })
  const times: Array<number> = []
  const units: Array<number> = []
  for (let seed = 0; seed < warmUp + worlds; seed++) {
    const time = timed(() => run(seed))
    const beside = timed(() => {
      for (let i = 0; i < 4; i++) unit(i)
    }) / 4
    if (seed < warmUp) continue
    times.push(time)
    units.push(time / beside)
  }
  const millis = median(times) / 1000
  console.log(
    `${name} signatures: ${millis.toFixed(1)} ms a world, ${(1000 / millis).toFixed(1)} worlds a second and core, ` +
      `${median(units).toFixed(1)} units`
  )
}

const larger = Effect.gen(function*() {
  const world = yield* SimWorld.SimWorld
  yield* world.startNodes(nodes)
  const before = { processor: processor(), delivered: world.network.counts.delivered }
  yield* Effect.sleep("30 minutes")
  const datagrams = world.network.counts.delivered - before.delivered
  const micros = (processor() - before.processor) / datagrams
  console.log(`${nodes} nodes at rest: ${micros.toFixed(1)} µs a datagram, trace hash ${world.trace.hash}`)
})
SimWorld.runSync(larger, { seed: 7, crypto: SimCrypto.simulated })
