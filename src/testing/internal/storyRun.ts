/**
 * Runs stories and programs in a watched world, and reports violations.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as References from "effect/References"
import * as Result from "effect/Result"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type * as Crypto from "../../Crypto.ts"
import * as Delegation from "../../Delegation.ts"
import { Dht, type Options } from "../../Dht.ts"
import * as Endpoint from "../../Endpoint.ts"
import * as Mail from "../../Mail.ts"
import * as NodeId from "../../NodeId.ts"
import { Query } from "../../Query.ts"
import { Reachability } from "../../Reachability.ts"
import * as Record from "../../Record.ts"
import type { Publication } from "../../Replication.ts"
import * as SocketAddress from "../../SocketAddress.ts"
import { Store } from "../../Store.ts"
import * as Byzantine from "../Byzantine.ts"
import * as Fault from "../Fault.ts"
import * as History from "../History.ts"
import * as Latency from "../Latency.ts"
import type { Violation } from "../Properties.ts"
import * as Liveness from "../PropertiesLiveness.ts"
import * as Safety from "../PropertiesSafety.ts"
import * as SimCrypto from "../SimCrypto.ts"
import type * as SimNetwork from "../SimNetwork.ts"
import * as SimWorld from "../SimWorld.ts"
import * as VirtualTime from "../VirtualTime.ts"
import { addressOf, delegate } from "./masters.ts"
import * as OldNode from "./oldNode.ts"
import {
  announcedTtl,
  calmMinutes,
  type Deed,
  inOrder,
  type Master,
  masters,
  type Router,
  routers,
  sentences,
  spokenTtl,
  type Story,
  type Topic,
  topics
} from "./story.ts"
import * as StoryHosts from "./storyHosts.ts"
import * as StoryMeetings from "./storyMeetings.ts"
import * as StorySessions from "./storySessions.ts"
import { isOpen, report, type Resident, type Stage } from "./storyStage.ts"
import * as StoryStrangers from "./storyStrangers.ts"
import * as StorySurroundings from "./storySurroundings.ts"

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

/** A message that must arrive unless its sender or recipient restarts or loses its state. */
interface Message {
  readonly id: string
  readonly from: Resident
  readonly to: Resident
  readonly fromLife: number
  readonly toId: string
}

/** The first endpoint of a node that it published, and the last. */
interface Endpoints {
  readonly first: Record.SignedRecord
  last: Record.SignedRecord
  /** The disturbances when the last was about to be published. */
  before: string
}

/** A watch that goes on. */
interface Watching {
  readonly watcher: Resident
  readonly life: number
  readonly topic: Topic
  /** As the history names it. */
  readonly name: string
  readonly scope: Scope.Closeable
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

/** The first of the types of custom records that fill a key. */
const firstCustomType = 0x03

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
      const old: Array<SimWorld.SimNode<never, unknown>> = []
      const liars: Array<SimWorld.SimNode<never, unknown>> = []
      const withdrawn: Array<Liveness.Announced & { readonly happening: number }> = []
      /** The last event in which a node published at a key. */
      const lastPublished = new Map<string, number>()
      let happening = 0
      const sent: Array<Message> = []
      const received: Array<Liveness.Message> = []
      const speeches: Array<Speech> = []
      const happenings = inOrder(story.happenings)
      const has = (...kinds: ReadonlyArray<Deed["do"]>) => happenings.some(({ deed }) => kinds.includes(deed.do))
      const endpoints = new Map<Resident, Endpoints>()
      /** The watches by node and topic, with the scopes that end them. */
      const watches = new Map<string, Watching>()
      let version = 0

      let changes = 0
      network.observe({
        changed: () => {
          changes++
        }
      })
      const stage: Stage = {
        world,
        crypto,
        residents,
        history: History.make(world),
        disturbances: () => {
          const { blocked, lost, overflowed } = network.counts
          return `${changes} ${blocked} ${lost} ${overflowed} ${residents.map(({ life }) => life).join()}`
        },
        found: []
      }

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

      const upNow = () => residents.filter(({ node }) => node.isUp)
      /** The running nodes through which any node can join. */
      const openNow = () => upNow().filter(isOpen)

      /** The addresses of nodes that a host with these families can reach. */
      const socketsFor = (
        families: ReadonlyArray<SocketAddress.Family>,
        introducers: ReadonlyArray<Resident>
      ): ReadonlyArray<{ readonly socket: SocketAddress.SocketAddress }> =>
        introducers.flatMap(({ node: { host: { ip, otherIp }, socket: { port } } }) =>
          [ip, otherIp]
            .filter((host) => host !== undefined && families.includes(SocketAddress.family(host)))
            .slice(0, 1)
            .flatMap((host) => host === undefined ? [] : [{ socket: { host, port } }])
        )

      const familiesOf = ({ node: { host: { ip, otherIp } } }: Resident) =>
        [ip, ...(otherIp === undefined ? [] : [otherIp])].map(SocketAddress.family)

      const add = (host?: SimNetwork.HostOptions, dht: Pick<Options, "sessions"> = {}): Resident => {
        const name = `node ${residents.length}`
        // After it lost its state, a node behind a router can rejoin only through these: others cannot reach it.
        const introducers = host === undefined ? openNow() : residents.filter(isOpen)
        const through = socketsFor(host?.families ?? ["ipv4"], introducers).slice(0, 3)
        const app = Layer.mergeAll(
          safety.probe,
          ...(has("send") ? [reader(() => resident)] : []),
          ...(has("host") ? [hosts.layer(name)] : []),
          ...(has("surround") ? [surroundings.layer(name)] : [])
        )
        const resident: Resident = {
          node: world.node(name, { app, through, host, dht: { ...dht, maxBytes: story.maxBytes } }),
          signs: dht.sessions === false,
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

      /** Whether the others need it to join: two open nodes stay up, and all through which the families meet. */
      const isNeeded = (resident: Resident) =>
        isOpen(resident) && openNow().length <= 2 || resident.node.host.otherIp !== undefined

      const stop = Effect.fnUntraced(function*(resident: Resident, how: Effect.Effect<void>) {
        if (!resident.node.isUp || isNeeded(resident)) return
        yield* recordWithdrawals(resident)
        yield* how
      })

      /** Whether there are two families, and a node that knows that it is reached over both. */
      const familiesMeet = Effect.suspend(() =>
        Effect.map(
          Effect.forEach(
            residents.filter(({ node }) => node.isUp && node.host.otherIp !== undefined),
            ({ node }) =>
              node.run(Reachability.use(({ isDualUnsafe }) => Effect.map(Clock.currentTimeMillis, isDualUnsafe)))
          ),
          (isDual) => isDual.includes(true)
        )
      )

      const hosts = StoryHosts.make(stage)
      const meetings = StoryMeetings.make(stage)
      const sessions = StorySessions.make(stage, { start, stop })
      const strangers = StoryStrangers.make(stage)
      const surroundings = StorySurroundings.make(stage)

      const publishedEndpoint = (resident: Resident, record: Record.SignedRecord, before: string) => {
        const known = endpoints.get(resident)
        if (known === undefined) endpoints.set(resident, { first: record, last: record, before })
        else if (Record.isNewer(record, known.last)) Object.assign(known, { last: record, before })
      }

      const publish = Effect.fnUntraced(function*(resident: Resident) {
        const { node } = resident
        const before = stage.disturbances()
        const publication = Dht.use((dht) =>
          dht.publishEndpoint({ endpoints: [`tcp://192.0.2.1:${++version}`], ttl: announcedTtl })
        )
        const { record } = yield* stage.history.write(node, node.run(publication))
        publishedEndpoint(resident, record, before)
      })

      /** A stranger stores the first endpoint of a node everywhere, and all look for the last. */
      const replay = Effect.fnUntraced(function*({ node }: Resident, { before, first, last }: Endpoints) {
        yield* strangers.replay(first)
        const missed: Array<string> = []
        yield* Effect.forEach(upNow(), (reader) =>
          Effect.map(
            Effect.option(reader.node.run(Query.use((query) => query.resolve(node.identity.nodeId)))),
            (found) => {
              if (Option.isNone(found) || Record.isNewer(last, found.value.record)) missed.push(reader.node.name)
            }
          ), { concurrency: 8, discard: true })
        const isCalm = liars.length === 0 && stage.disturbances() === before
        if (!isCalm) return
        for (const name of missed) report(stage, "ResolvedIsNewest", name, { publisher: node.name })
      })

      /** Announces in a child scope of the node's scope, so that the announcement can end earlier. */
      const announce = Effect.fnUntraced(function*(resident: Resident, topic: string) {
        const { announced, node } = resident
        if (announced.has(topic)) return
        recordPublication(resident, topic === "" ? node.identity.nodeId : NodeId.fromTopic(topic))
        const { life } = resident
        const before = stage.disturbances()
        const done = yield* node.run(Effect.gen(function*() {
          const dht = yield* Dht
          const scope = yield* Scope.fork(yield* Effect.scope)
          const announcement = (topic === ""
            ? dht.announceEndpoint({ endpoints: [`tcp://192.0.2.1:${++version}`], ttl: announcedTtl })
            : dht.announceTopic({ topic, name: `${++version}`, ttl: announcedTtl })).pipe(Scope.provide(scope))
          let current: Effect.Effect<Publication> | undefined
          const { key, record } = yield* stage.history.write(
            node,
            Effect.flatMap(announcement, (announced) => {
              current = announced.current
              return announced.current
            })
          )
          if (topic === "") publishedEndpoint(resident, record, before)
          return { key, current: current!, scope }
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

      const returned = (resident: Resident, key: NodeId.NodeId, type: number, isAll = false) =>
        stage.history.read(
          resident.node,
          key,
          type,
          resident.node.run(
            Query.use((query) => isAll ? query.aggregateRecords(key, type) : query.findRecords(key, { type }))
          ).pipe(Effect.tapError(noteError))
        ).pipe(
          Effect.map((records) => {
            for (const record of records) safety.returned(resident.node.name, key, record)
          })
        )

      const watch = Effect.fnUntraced(function*(watcher: Resident, topic: Topic) {
        const { life, node } = watcher
        const at = `${node.name} ${topic}`
        const known = watches.get(at)
        if (known?.life === life) return
        const name = `${topic} (${happening})`
        yield* node.run(Effect.gen(function*() {
          const scope = yield* Scope.fork(yield* Effect.scope)
          watches.set(at, { watcher, life, topic, name, scope })
          const changes = Stream.unwrap(Dht.use((dht) => Effect.succeed(dht.watchTopic(topic))))
          yield* Stream.runForEach(changes, (change) => Effect.sync(() => stage.history.changed(node, name, change)))
            .pipe(Effect.forkIn(scope))
        }))
      })

      /** Compares what each watch has shown with what is there, where nothing is about to expire. */
      const settleWatches = Effect.forEach(
        [...watches.values()],
        Effect.fnUntraced(function*({ life, name, topic, watcher }) {
          const key = NodeId.fromTopic(topic)
          if (!watcher.node.isUp || watcher.life !== life || withdrawn.some((record) => record.key === key)) return
          if (residents.some(({ wasSet }) => wasSet)) return
          const records = yield* watcher.node.run(
            Query.use((query) => query.aggregateRecords(key, Record.RecordType.topic))
          ).pipe(Effect.orElseSucceed((): ReadonlyArray<Record.SignedRecord> => []))
          stage.history.settled(watcher.node, name, records)
        })
      )

      /** Publishes the endpoint of a node with a number that others of its records may have. */
      const sign = ({ node }: Resident, seq: number, ago: number) => {
        const { identity } = node
        const record = Result.getOrThrow(Endpoint.sign({
          signer: identity,
          address: identity.address,
          payload: Endpoint.make({ endpoints: [`tcp://192.0.2.1:${++version}`] }),
          seq: BigInt(seq),
          timestamp: BigInt(Math.floor(node.clock.currentTimeMillisUnsafe() / 1000) - ago),
          ttl: announcedTtl
        }))
        return node.run(Dht.use((dht) => dht.publish(record)))
      }

      const fill = ({ node }: Resident, records: number) =>
        Effect.forEach(
          Array.from({ length: records }, (_, i) => firstCustomType + i),
          (type) =>
            node.run(Dht.use((dht) => dht.publishCustom({ type, payload: Uint8Array.of(0xa0), ttl: announcedTtl }))),
          { discard: true }
        )

      const move = (resident: Resident, router: Router | undefined) =>
        Effect.sync(() => {
          const { host } = resident.node
          if (!isNeeded(resident) && SocketAddress.family(host.ip) === "ipv4") {
            network.move(host, router && routers[router])
          }
        })

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

      const inBackground = (effect: Effect.Effect<unknown, unknown, Scope.Scope>) =>
        Effect.asVoid(Effect.forkScoped(Effect.ignore(Effect.tapError(Effect.scoped(effect), noteError))))

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
              return inBackground(publish(pick(deed.node)))
            case "withdraw": {
              const resident = pick(deed.node)
              return Effect.gen(function*() {
                const ending = Array.from(resident.announced.values())
                for (const { current, key } of ending) {
                  safety.withdrawn(resident.node.name, key, yield* (yield* current).current)
                }
                yield* recordWithdrawals(resident)
                yield* Effect.forEach(
                  ending,
                  ({ key, scope }) => stage.history.withdraw(resident.node, key, Scope.close(scope, Exit.void)),
                  { discard: true }
                )
              })
            }
            case "offer":
              return inBackground(announce(pick(deed.node), deed.topic))
            case "discover":
              return inBackground(
                returned(pick(deed.node), NodeId.fromTopic(deed.topic), Record.RecordType.topic, true)
              )
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
            case "watch":
              return inBackground(watch(pick(deed.node), deed.topic))
            case "unwatch": {
              const at = `${pick(deed.node).node.name} ${deed.topic}`
              const watching = watches.get(at)
              watches.delete(at)
              return watching === undefined ? Effect.void : Scope.close(watching.scope, Exit.void)
            }
            case "sign":
              return inBackground(sign(pick(deed.node), deed.seq, deed.ago))
            case "fill":
              return inBackground(fill(pick(deed.node), deed.records))
            case "host":
              return inBackground(hosts.host(pick(deed.node), deed.identities))
            case "seal":
              return inBackground(hosts.seal(pick(deed.node), deed.seconds))
            case "connect":
              return inBackground(meetings.connect(pick(deed.node), pick(deed.peer), deed.millis))
            case "pretend":
              return inBackground(meetings.pretend(pick(deed.node)))
            case "mob":
              return inBackground(meetings.mob(pick(deed.node)))
            case "move":
              return move(pick(deed.node), deed.router)
            case "reboot":
              return inBackground(sessions.reboot(pick(deed.node), deed.state))
            case "tamper":
              return inBackground(sessions.tamper)
            case "forge": {
              const known = endpoints.get(pick(deed.node))
              return known === undefined ? Effect.void : inBackground(strangers.forge(known.last))
            }
            case "replay": {
              const known = endpoints.get(pick(deed.node))
              return known === undefined ? Effect.void : inBackground(replay(pick(deed.node), { ...known }))
            }
            case "stuff":
              return inBackground(strangers.stuff(deed.topic, deed.records))
            case "surround":
              return inBackground(surroundings.surround(NodeId.fromTopic(deed.topic), deed.liars))
          }
        })

      // --- Start

      for (let i = 0; i < story.nodes; i++) add()
      for (const { nodes, router } of story.households ?? []) {
        const behind = network.router(routers[router])
        for (let i = 0; i < nodes; i++) add({ behind })
      }
      for (let i = 0; i < (story.signing ?? 0); i++) add({}, { sessions: false })
      for (let i = 0; i < (story.families?.dual ?? 0); i++) add({ families: ["ipv4", "ipv6"] })
      for (let i = 0; i < (story.families?.ipv6 ?? 0); i++) add({ families: ["ipv6"] })
      yield* start(residents[0])
      yield* Effect.forEach(
        residents.slice(1),
        (resident, i) =>
          Effect.suspend(() => {
            const reachable = socketsFor(familiesOf(resident), residents.filter(isOpen))
            const through = reachable.slice(0, 1 + Math.min(i, 2)).map(({ socket }) => socket)
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
      for (const [i, router] of (story.old ?? []).entries()) {
        const machine = world.machine(`old ${i}`, OldNode.layer, { host: { behind: routers[router] } })
        yield* machine.start
        yield* machine.run(
          OldNode.OldNode.use(({ greet }) =>
            Effect.forEach(residents.slice(0, 3), ({ node }) => greet(node.socket), { discard: true })
          )
        )
        old.push(machine)
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
      const joined = openNow().filter(({ isAlone }) => !isAlone)
      yield* Effect.forEach(upNow().filter(({ isAlone }) => isAlone), (resident) =>
        Effect.ignore(
          resident.node.run(Dht.use((dht) =>
            dht.bootstrap(socketsFor(familiesOf(resident), joined).slice(0, 1).map(({ socket }) => socket))
          ))
        ))
      yield* Effect.sleep(calmMinutes * 60_000)

      world.note("the network is checked")
      yield* Effect.forEach(
        masters.filter((master) => speeches.some((speech) => speech.master === master)),
        (master) =>
          Effect.forEach(
            upNow(),
            (resident) => returned(resident, keyOf(master), Record.RecordType.endpoint),
            { concurrency: 8 }
          )
      )
      const announced = (yield* Effect.forEach(upNow(), announcedBy)).flat()
      if (has("host")) announced.push(...yield* hosts.announced)
      const seconds = Math.floor(world.timeline.currentTimeMillisUnsafe() / 1000)
      const isDue = ({ from, fromLife, to, toId }: Message) =>
        from.node.isUp && from.life === fromLife && to.node.isUp && to.node.identity.nodeId === toId
      const found = yield* Liveness.check(
        world,
        residents.map(({ node }) => node),
        {
          // Liars around a key name only each other, and the closest nodes of one family are not those of the other.
          announced: has("surround") || story.families !== undefined ? [] : announced,
          replicas: 8 - liars.length,
          published: [...has("surround") ? [] : spoken(seconds), ...(yield* familiesMeet) ? announced : []],
          surroundings: surroundings.told(announced),
          withdrawn: withdrawn.filter((record) =>
            record.happening > (lastPublished.get(`${record.publisher} ${record.key}`) ?? 0)
          ),
          sent: sent.filter(isDue).map(({ id, to }) => ({ id, recipient: `${to.node.name} (${to.life})` })),
          received
        }
      )

      if (has("watch")) yield* settleWatches
      if (has("tamper", "reboot")) yield* sessions.check
      if (has("connect", "mob", "move", "pretend") || old.length > 0) yield* meetings.check(old)

      // --- End

      world.note("all nodes leave")
      const machines = [liars, old, sessions.machines, strangers.machines, surroundings.machines].flat()
      yield* Effect.forEach([...residents.map(({ node }) => node), ...machines], ({ leave }) => leave, {
        discard: true
      })
      yield* Effect.sleep("10 seconds")
      return [...found, ...stage.found, ...stage.history.violations]
    }),
    settings(story, crypto),
    { maxBytes: story.maxBytes },
    onWorld
  )
}
