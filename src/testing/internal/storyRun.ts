/**
 * Runs stories and programs in a watched world, and reports violations.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as References from "effect/References"
import * as Result from "effect/Result"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type * as Crypto from "../../Crypto.ts"
import * as Delegation from "../../Delegation.ts"
import { Dht } from "../../Dht.ts"
import * as Endpoint from "../../Endpoint.ts"
import * as Mail from "../../Mail.ts"
import * as NodeId from "../../NodeId.ts"
import { Query } from "../../Query.ts"
import * as Record from "../../Record.ts"
import type { Publication } from "../../Replication.ts"
import { Store } from "../../Store.ts"
import * as Byzantine from "../Byzantine.ts"
import * as Fault from "../Fault.ts"
import * as Latency from "../Latency.ts"
import type { Violation } from "../Properties.ts"
import * as Liveness from "../PropertiesLiveness.ts"
import * as Safety from "../PropertiesSafety.ts"
import * as SimCrypto from "../SimCrypto.ts"
import type * as SimNetwork from "../SimNetwork.ts"
import * as SimWorld from "../SimWorld.ts"
import * as VirtualTime from "../VirtualTime.ts"
import { addressOf, delegate } from "./masters.ts"
import {
  announcedTtl,
  calmMinutes,
  type Deed,
  hasMessages,
  type Master,
  masters,
  routers,
  sentences,
  sorted,
  spokenTtl,
  type Story,
  topics
} from "./story.ts"

/**
 * The result of a run. `reached` names what happened in it: kinds of events, faults
 * of the network, and tags of errors.
 *
 * @internal
 */
export interface Outcome {
  readonly hash: string
  readonly violations: ReadonlyArray<Violation>
  readonly reached: ReadonlyArray<string>
}

/**
 * A program in a watched world; returns the violations that it found itself.
 *
 * @internal
 */
export type Program = (
  world: SimWorld.World,
  safety: Safety.Safety,
  reached: Set<string>
) => Effect.Effect<ReadonlyArray<Violation>, unknown, SimWorld.SimWorld | VirtualTime.VirtualTime | Scope.Scope>

/**
 * Runs a program in a watched world until both have ended. Throws a `RunFailed` if
 * the program fails. `onWorld` is given the world before anything happens in it.
 *
 * @internal
 */
export const runProgram = (
  program: Program,
  options: SimWorld.RunOptions,
  bounds?: Pick<Safety.Options, "maxKeys" | "maxBytes">,
  onWorld?: (world: SimWorld.World) => void
): Outcome => {
  let hash = ""
  let found: ReadonlyArray<Violation> = []
  /** Grows until the world has closed: each node is checked as it closes. */
  let watched: ReadonlyArray<Violation> = []
  const reached = new Set<string>()
  const whole = Effect.gen(function*() {
    const world = yield* SimWorld.SimWorld
    onWorld?.(world)
    const safety = yield* Safety.watch(world, bounds)
    watched = safety.violations
    found = yield* program(world, safety, reached)
    safety.sweep()
    for (const [what, count] of Object.entries(world.network.counts)) if (count > 0) reached.add(`network: ${what}`)
    hash = world.trace.hash
  }).pipe(
    Effect.scoped,
    Effect.provide(SimWorld.layer(options)),
    // The logs of thousands of worlds have no reader.
    Effect.provideService(References.MinimumLogLevel, "None")
  )
  const exit = VirtualTime.runSyncExit(Safety.leavesNothing(whole, options), options)
  const outcome = (...left: ReadonlyArray<Violation>): Outcome => ({
    hash,
    violations: [...found, ...watched, ...left],
    reached: [...reached]
  })
  if (Exit.isSuccess(exit)) return outcome()
  const error = Cause.squash(exit.cause)
  if (error instanceof Error && "_tag" in error && error._tag === "Violation") {
    return outcome(error as Violation)
  }
  throw new SimWorld.RunFailed({
    seed: options.seed,
    scheduleSeed: options.scheduleSeed,
    reason: error instanceof Error ? error.stack ?? error.message : String(error),
    cause: error
  })
}

const scheduleOf = ({ scheduleSeed }: Story): string =>
  scheduleSeed === undefined
    ? "in order"
    : typeof scheduleSeed === "number"
    ? "random"
    : /^[a-z]+(:\d)?/.exec(scheduleSeed)?.[0] ?? scheduleSeed

type DhtNode = SimWorld.SimNode<SimWorld.NodeServices, unknown>

/** A message that must arrive unless its sender or recipient restarts or loses its state. */
interface Message {
  readonly id: string
  readonly from: Resident
  readonly to: Resident
  readonly fromLife: number
  readonly toId: string
}

/** A node and its announcements. */
interface Resident {
  readonly node: DhtNode
  /** Number of its starts. */
  life: number
  /** Whether it has failed to join so far. */
  isAlone: boolean
  /** Whether its clock was set: a record from before can then outlive its withdrawal. */
  wasSet: boolean
  /** Its announcements by topic, empty for its endpoint, with the scopes that end them. */
  readonly announced: Map<string, {
    readonly key: NodeId.NodeId
    readonly type: number
    readonly current: Effect.Effect<Publication>
    readonly scope: Scope.Closeable
  }>
}

/** A record that a node published for a master. */
interface Speech {
  readonly master: Master
  readonly by: Resident
  readonly life: number
  readonly record: Record.SignedRecord
  /** Whether the clock of the node was right. */
  readonly isOnTime: boolean
}

const settings = (story: Story, crypto: Crypto.Provider): SimWorld.RunOptions => ({
  seed: story.seed,
  scheduleSeed: story.scheduleSeed,
  crypto,
  within: "2 days",
  network: { latency: Latency.plane({ medianMillis: story.latency }), duplication: story.duplication }
})

/** Most messages from one sender to one mailbox, which holds no more. */
const messagesToOne = 4

const cryptoOf = (story: Story, real: Crypto.Provider): Crypto.Provider =>
  story.realSignatures ? real : SimCrypto.simulated

/**
 * Names of the keys and addresses in a story besides those of nodes.
 *
 * @internal
 */
export const namesIn = (story: Story, real: Crypto.Provider): ReadonlyArray<readonly [hex: string, name: string]> => [
  ...topics.map((topic) => [NodeId.fromTopic(topic), `topic ${topic}`] as const),
  ...masters.flatMap((master) => {
    const address = addressOf(master, cryptoOf(story, real))
    return [[address, master], [NodeId.fromAddress(address), master]] as const
  })
]

/**
 * Runs a story with its checks. `real` are the signatures of stories that need
 * real ones.
 *
 * @internal
 */
export const runStory = (
  story: Story,
  real: Crypto.Provider,
  onWorld?: (world: SimWorld.World) => void
): Outcome => {
  const crypto = cryptoOf(story, real)
  return runProgram(
    Effect.fnUntraced(function*(world, safety, reached) {
      const { network } = world
      const residents: Array<Resident> = []
      const liars: Array<SimWorld.SimNode<never, unknown>> = []
      const withdrawn: Array<Liveness.Announced & { readonly happening: number }> = []
      /** The last event in which a node published at a key. */
      const lastPublished = new Map<string, number>()
      let happening = 0
      const sent: Array<Message> = []
      const received: Array<Liveness.Message> = []
      const speeches: Array<Speech> = []
      const happenings = sorted(story)
      const readsMessages = hasMessages(story)
      let version = 0

      const reader = (resident: () => Resident) =>
        Layer.effectDiscard(Effect.gen(function*() {
          const { mail } = yield* Dht
          const { name } = yield* Effect.map(Effect.sync(resident), ({ node }) => node)
          const life = resident().life
          yield* mail.messages.pipe(
            Stream.runForEach((message) =>
              Effect.sync(() =>
                received.push({ recipient: `${name} (${life})`, id: new TextDecoder().decode(message.body) })
              )
            ),
            Effect.forkScoped
          )
        }))

      const isOpen = ({ node }: Resident) => node.host.router === undefined
      const upNow = () => residents.filter(({ node }) => node.isUp)
      /** The running nodes through which any node can join. */
      const openNow = () => upNow().filter(isOpen)

      const add = (host?: SimNetwork.HostOptions): Resident => {
        // After it lost its state, a node behind a router can rejoin only through these: others cannot reach it.
        const introducers = host === undefined ? openNow() : residents.filter(isOpen)
        const through = introducers.slice(0, 3).map(({ node }) => node)
        const app = readsMessages ? Layer.merge(safety.probe, reader(() => resident)) : safety.probe
        const resident: Resident = {
          node: world.node(`node ${residents.length}`, { app, through, host }),
          life: 0,
          isAlone: false,
          wasSet: false,
          announced: new Map()
        }
        residents.push(resident)
        return resident
      }

      const start = Effect.fnUntraced(function*(resident: Resident) {
        if (resident.node.isUp) return
        resident.life++
        const joined = yield* Effect.match(resident.node.start, { onFailure: () => false, onSuccess: () => true })
        resident.isAlone = !joined
      })

      /** The newest version of each record that a node announces, from its own store. */
      const announcedBy = Effect.fnUntraced(function*({ announced, node }: Resident) {
        const found: Array<Liveness.Announced> = []
        for (const { current, key, type } of announced.values()) {
          const held = yield* node.run(Store.use((store) => store.getAll(key, type))).pipe(
            Effect.orElseSucceed(() => [])
          )
          const own = held.filter(({ address }) => address === node.identity.address)
          const { record } = yield* current
          const newest = own.reduce((newest, other) => other.seq > newest.seq ? other : newest, record)
          found.push({ publisher: node.name, key, record: newest })
        }
        return found
      })

      const recordWithdrawals = Effect.fnUntraced(function*(resident: Resident) {
        const last = yield* announcedBy(resident)
        if (!resident.wasSet) { for (const record of last) withdrawn.push({ ...record, happening }) }
        resident.announced.clear()
      })

      const recordPublication = (resident: Resident, key: NodeId.NodeId) =>
        lastPublished.set(`${resident.node.name} ${key}`, happening)

      const stop = Effect.fnUntraced(function*(resident: Resident, how: Effect.Effect<void>) {
        if (!resident.node.isUp || isOpen(resident) && openNow().length <= 2) return
        yield* recordWithdrawals(resident)
        yield* how
      })

      /** Announces in a child scope of the node's scope, so that the announcement can end earlier. */
      const announce = Effect.fnUntraced(function*(resident: Resident, topic: string) {
        const { announced, node } = resident
        if (announced.has(topic)) return
        recordPublication(resident, topic === "" ? node.identity.nodeId : NodeId.fromTopic(topic))
        const { life } = resident
        const done = yield* node.run(Effect.gen(function*() {
          const dht = yield* Dht
          const scope = yield* Scope.fork(yield* Effect.scope)
          const announcement = yield* (topic === ""
            ? dht.announceEndpoint({ endpoints: [`tcp://192.0.2.1:${++version}`], ttl: announcedTtl })
            : dht.announceTopic({ topic, name: `${++version}`, ttl: announcedTtl })).pipe(Scope.provide(scope))
          return { key: announcement.key, current: announcement.current, scope }
        }))
        if (resident.life === life && node.isUp) {
          announced.set(topic, { ...done, type: topic === "" ? Record.RecordType.endpoint : Record.RecordType.topic })
        }
      })

      const write = Effect.fnUntraced(function*(from: Resident, to: Resident) {
        const toId = to.node.identity.nodeId
        if (sent.filter((message) => message.from === from && message.toId === toId).length >= messagesToOne) return
        const id = `message${sent.length}`
        const message: Message = { id, from, to, fromLife: from.life, toId }
        const publication = yield* from.node.run(Dht.use(({ mail }) =>
          mail.send({
            recipient: to.node.identity.address,
            type: Mail.MessageType.text,
            body: new TextEncoder().encode(id),
            ttl: 14_400
          })
        ))
        // With a wrong clock, it may expire before it is delivered.
        const { offsetMillis } = from.node.clock
        if (publication !== undefined && Math.abs(offsetMillis) < 60_000) sent.push(message)
      })

      const returned = (resident: Resident, key: NodeId.NodeId, type: number) =>
        resident.node.run(Query.use((query) => query.findRecords(key, { type }))).pipe(
          Effect.map((records) => {
            for (const record of records) safety.returned(resident.node.name, key, record)
          })
        )

      const keyOf = (master: Master) => NodeId.fromAddress(addressOf(master, crypto))

      const speak = Effect.fnUntraced(function*(by: Resident, master: Master, seconds: number) {
        const { life, node } = by
        const now = BigInt(Math.floor(node.clock.currentTimeMillisUnsafe() / 1000))
        const delegation = delegate(master, crypto, {
          operationalPublicKey: node.identity.publicKey,
          issuedAt: now,
          expiresAt: seconds === 0 ? 0n : now + BigInt(seconds)
        })
        const record = Result.getOrThrow(Endpoint.sign({
          signer: node.identity,
          address: delegation.agent,
          payload: Endpoint.make({ endpoints: [`tcp://192.0.2.1:${++version}`] }),
          seq: BigInt(version),
          timestamp: now,
          ttl: spokenTtl,
          delegation: Delegation.encode(delegation)
        }))
        const isOnTime = node.clock.offsetMillis === 0
        yield* node.run(Dht.use((dht) => dht.publish(record)))
        speeches.push({ master, by, life, record, isOnTime })
      })

      /** The newest record for each master, if it is valid and its publisher still maintains its copies. */
      const spoken = (now: number): ReadonlyArray<Liveness.Announced> =>
        masters.flatMap((master) => {
          const all = speeches.filter((speech) => speech.master === master)
          // With a wrong clock, it may become valid later or expire earlier.
          if (all.length === 0 || all.some(({ isOnTime }) => !isOnTime)) return []
          const { by, life, record } = all.reduce((last, other) =>
            Record.isNewer(other.record, last.record) ? other : last
          )
          const { expiresAt } = Result.getOrThrow(Delegation.decode(record.delegation ?? new Uint8Array()))
          const counts = (expiresAt === 0n || expiresAt > now) && by.node.isUp && by.life === life
          return counts ? [{ publisher: by.node.name, key: keyOf(master), record }] : []
        })

      const noteError = (error: unknown) =>
        Effect.sync(() => {
          const isTagged = typeof error === "object" && error !== null && "_tag" in error
          reached.add(`error: ${isTagged ? String(error._tag) : String(error)}`)
        })

      const inBackground = (effect: Effect.Effect<unknown, unknown>) =>
        Effect.asVoid(Effect.forkScoped(Effect.ignore(Effect.tapError(effect, noteError))))

      const pick = (number: number): Resident => residents[number % residents.length]

      const perform = (deed: Deed): Effect.Effect<void, unknown, Scope.Scope> =>
        Effect.suspend((): Effect.Effect<void, unknown, Scope.Scope> => {
          switch (deed.do) {
            case "crash":
              return stop(pick(deed.node), pick(deed.node).node.crash())
            case "forget":
              return stop(pick(deed.node), pick(deed.node).node.crash({ state: "Lost" }))
            case "leave":
              return stop(pick(deed.node), pick(deed.node).node.leave)
            case "restart":
              return inBackground(start(pick(deed.node)))
            case "join":
              return inBackground(start(add()))
            case "partition":
            case "heal":
            case "cut":
              return Fault.inject(world, residents.map(({ node }) => node), deed)
            case "clock":
              pick(deed.node).wasSet = true
              return Fault.inject(world, residents.map(({ node }) => node), deed)
            case "announce":
              return inBackground(announce(pick(deed.node), ""))
            case "publish":
              recordPublication(pick(deed.node), pick(deed.node).node.identity.nodeId)
              return inBackground(
                pick(deed.node).node.run(
                  Dht.use((dht) =>
                    dht.publishEndpoint({ endpoints: [`tcp://192.0.2.1:${++version}`], ttl: announcedTtl })
                  )
                )
              )
            case "withdraw": {
              const resident = pick(deed.node)
              return Effect.gen(function*() {
                const scopes = Array.from(resident.announced.values(), ({ scope }) => scope)
                yield* recordWithdrawals(resident)
                yield* Effect.forEach(scopes, (scope) => Scope.close(scope, Exit.void), { discard: true })
              })
            }
            case "offer":
              return inBackground(announce(pick(deed.node), deed.topic))
            case "discover":
              return inBackground(returned(pick(deed.node), NodeId.fromTopic(deed.topic), Record.RecordType.topic))
            case "resolve":
              return inBackground(
                returned(pick(deed.node), pick(deed.peer).node.identity.nodeId, Record.RecordType.endpoint)
              )
            case "send":
              return inBackground(write(pick(deed.node), pick(deed.peer)))
            case "speak":
              return inBackground(speak(pick(deed.node), deed.master, deed.seconds))
            case "ask":
              return inBackground(returned(pick(deed.node), keyOf(deed.master), Record.RecordType.endpoint))
          }
        })

      // --- Start

      for (let i = 0; i < story.nodes; i++) add()
      for (const { nodes, router } of story.households ?? []) {
        const behind = network.router(routers[router])
        for (let i = 0; i < nodes; i++) add({ behind })
      }
      yield* start(residents[0])
      yield* Effect.forEach(
        residents.slice(1),
        (resident, i) =>
          Effect.suspend(() => {
            const through = residents.filter(isOpen).slice(0, 1 + Math.min(i, 2)).map(({ node }) => node.socket)
            return Effect.andThen(
              start(resident),
              Effect.ignore(resident.node.run(Dht.use((dht) => dht.bootstrap(through))))
            )
          }),
        { concurrency: 4, discard: true }
      )
      for (const [i, behaviour] of (story.liars ?? []).entries()) {
        const through = residents.slice(0, 3).map(({ node }) => node)
        const liar = world.machine(`liar ${i}`, Byzantine.layer(behaviour, { through, rate: 20 }))
        yield* liar.start
        liars.push(liar)
      }
      network.conditions.loss = story.loss
      reached.add(`schedule: ${scheduleOf(story)}`)
      for (const { router } of story.households ?? []) reached.add(`router: ${router}`)
      for (const liar of story.liars ?? []) reached.add(`liar: ${liar}`)

      // --- Events

      const startedAt = world.timeline.elapsedMillis
      const told = sentences(story)
      for (const { at, deed } of happenings) {
        yield* Effect.sleep(Math.max(0, startedAt + at * 1000 - world.timeline.elapsedMillis))
        world.note(told[happening], "node" in deed ? pick(deed.node).node : undefined)
        happening++
        reached.add(`event: ${deed.do}`)
        yield* perform(deed)
      }
      yield* Effect.sleep("1 minute")

      // --- Recovery

      world.note("the faults end, and the network recovers")
      network.heal()
      Object.assign(network.conditions, { loss: 0, duplication: 0 })
      yield* Effect.forEach(residents, ({ node }) => node.clock.offsetMillis === 0 ? Effect.void : node.setClock(0))
      yield* Effect.sleep("20 seconds")
      const first = openNow().find(({ isAlone }) => !isAlone)
      yield* Effect.forEach(upNow().filter(({ isAlone }) => isAlone), (resident) =>
        Effect.ignore(
          resident.node.run(Dht.use((dht) => dht.bootstrap(first === undefined ? [] : [first.node.socket])))
        ))
      yield* Effect.sleep(calmMinutes * 60_000)

      world.note("the network is checked")
      yield* Effect.forEach(
        masters.filter((master) => speeches.some((speech) => speech.master === master)),
        (master) =>
          Effect.forEach(
            upNow(),
            (resident) => Effect.ignore(returned(resident, keyOf(master), Record.RecordType.endpoint)),
            { concurrency: 8 }
          )
      )
      const announced = (yield* Effect.forEach(upNow(), announcedBy)).flat()
      const seconds = Math.floor(world.timeline.currentTimeMillisUnsafe() / 1000)
      const isDue = ({ from, fromLife, to, toId }: Message) =>
        from.node.isUp && from.life === fromLife && to.node.isUp && to.node.identity.nodeId === toId
      const found = yield* Liveness.check(
        world,
        residents.map(({ node }) => node),
        {
          announced,
          replicas: 8 - liars.length,
          published: spoken(seconds),
          withdrawn: withdrawn.filter((record) =>
            record.happening > (lastPublished.get(`${record.publisher} ${record.key}`) ?? 0)
          ),
          sent: sent.filter(isDue).map(({ id, to }) => ({ id, recipient: `${to.node.name} (${to.life})` })),
          received
        }
      )

      // --- End

      world.note("all nodes leave")
      yield* Effect.forEach([...residents.map(({ node }) => node), ...liars], ({ leave }) => leave, { discard: true })
      yield* Effect.sleep("10 seconds")
      return found
    }),
    settings(story, crypto),
    undefined,
    onWorld
  )
}
