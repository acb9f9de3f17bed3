import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import { Dht } from "../../src/Dht.ts"
import * as NodeCrypto from "../../src/node/NodeCrypto.ts"
import * as NodeId from "../../src/NodeId.ts"
import * as Record from "../../src/Record.ts"
import { Rpc } from "../../src/Rpc.ts"
import * as Byzantine from "../../src/testing/Byzantine.ts"
import * as SimWorld from "../../src/testing/SimWorld.ts"
import { layerReachability } from "../utils/network.ts"

type DhtNode = SimWorld.SimNode<SimWorld.NodeServices, unknown>

interface Cast {
  readonly world: SimWorld.World
  readonly nodes: ReadonlyArray<DhtNode>
  readonly asker: DhtNode
  readonly liar: SimWorld.SimNode<Dht, unknown>
}

/** Some nodes and a Byzantine node that they know. */
const withLiar = <A>(
  behaviour: Byzantine.Behaviour,
  play: (cast: Cast) => Effect.Effect<A, unknown, Scope.Scope>,
  options: Partial<Byzantine.Options> = {}
): A =>
  SimWorld.runSync(
    Effect.gen(function*() {
      const world = yield* SimWorld.SimWorld
      // Their own checks would count among what the liar sends.
      const nodes = yield* world.startNodes(6, { dht: { services: { reachability: layerReachability } } })
      const liar = world.machine("liar", Byzantine.layer(behaviour, { through: nodes.slice(0, 2), ...options }))
      yield* liar.start
      yield* Effect.sleep("20 seconds")
      return yield* play({ world, nodes, asker: nodes[3], liar })
    }),
    { seed: 1, crypto: NodeCrypto.fastest }
  )

/** The ids of all nodes in a cast and their addresses. */
const addressesOf = ({ liar, nodes }: Cast) =>
  new Map([...nodes, liar].map(({ identity, socket }) => [identity.nodeId, `${socket.host}:${socket.port}`]))

const namedBy = ({ asker, liar }: Cast) => asker.run(Dht.use((dht) => dht.findNodeAt(liar.socket, NodeId.zero)))

const publish = ({ nodes: [publisher] }: Cast, n: number) =>
  publisher.run(Dht.use((dht) => dht.publishEndpoint({ endpoints: [`tcp://192.0.2.1:${n}`] })))

const shownBy = ({ asker, liar }: Cast, key: NodeId.NodeId) =>
  Effect.map(asker.run(Dht.use((dht) => dht.findValueAt(liar.socket, key, 1))), ({ records }) => records)

describe("Byzantine", () => {
  for (const behaviour of Object.keys(Byzantine.behaviours) as Array<Byzantine.Behaviour>) {
    it(`a node that ${behaviour} is up and known to others`, () => {
      withLiar(
        behaviour,
        Effect.fnUntraced(function*({ asker, liar }) {
          const { contact } = yield* asker.run(Dht.use((dht) => dht.ping(liar.socket)))
          assert.strictEqual(contact.id, liar.identity.nodeId)
        })
      )
    })
  }

  it("a node that drops requests does not answer", () => {
    withLiar(
      "dropsRequests",
      Effect.fnUntraced(function*(cast) {
        assert.match(String(yield* Effect.flip(namedBy(cast))), /did not answer FindNode/)
      })
    )
  })

  it("a node that invents nodes names at most 16 that do not exist", () => {
    withLiar(
      "inventsNodes",
      Effect.fnUntraced(function*(cast) {
        const named = yield* namedBy(cast)
        assert.isAbove(named.length, 8)
        assert.isFalse(named.some(({ id }) => addressesOf(cast).has(id)))
        assert.notDeepEqual(named, yield* namedBy(cast))
      })
    )
  })

  it("a node that misplaces nodes names existing ones at wrong addresses", () => {
    withLiar(
      "misplacesNodes",
      Effect.fnUntraced(function*(cast) {
        const named = yield* namedBy(cast)
        assert.isAbove(named.length, 3)
        for (const { host, id, port } of named) {
          const place = addressesOf(cast).get(id)
          assert.isDefined(place)
          assert.notStrictEqual(`${host}:${port}`, place)
        }
      })
    )
  })

  it("a node that eclipses names only itself and its accomplices", () => {
    withLiar(
      "eclipses",
      Effect.fnUntraced(function*(cast) {
        const named = yield* namedBy(cast)
        assert.deepStrictEqual(named.map(({ id }) => id), [cast.liar.identity.nodeId])
      })
    )
    SimWorld.runSync(
      Effect.gen(function*() {
        const world = yield* SimWorld.SimWorld
        const [node, accomplice] = yield* world.startNodes(2)
        const liar = world.machine(
          "liar",
          Byzantine.layer("eclipses", { through: [node], accomplices: [accomplice] })
        )
        yield* liar.start
        yield* Effect.sleep("1 second")
        const named = yield* node.run(Dht.use((dht) => dht.findNodeAt(liar.socket, NodeId.zero)))
        assert.deepStrictEqual(named.map(({ id }) => id), [liar.identity.nodeId, accomplice.identity.nodeId])
      }),
      { seed: 1, crypto: NodeCrypto.fastest }
    )
  })

  it("a node that serves stale records keeps returning the first version", () => {
    withLiar(
      "servesStale",
      Effect.fnUntraced(function*(cast) {
        const first = yield* publish(cast, 1)
        yield* Effect.sleep("10 seconds")
        assert.deepStrictEqual((yield* shownBy(cast, first.key)).map(({ seq }) => seq), [first.record.seq])
        const second = yield* publish(cast, 2)
        yield* Effect.sleep("10 seconds")
        assert.isAbove(Number(second.record.seq - first.record.seq), 0)
        assert.deepStrictEqual((yield* shownBy(cast, first.key)).map(({ seq }) => seq), [first.record.seq])
      })
    )
  })

  it("a node that serves forged records returns records with invalid signatures and records of unauthorized signers", () => {
    withLiar(
      "servesForged",
      Effect.fnUntraced(function*(cast) {
        const { key, record } = yield* publish(cast, 1)
        yield* Effect.sleep("10 seconds")
        const now = Number(record.timestamp)
        const crypto = NodeCrypto.fastest
        const wrong = new Set<string>()
        for (let i = 0; i < 20; i++) {
          for (const shown of yield* shownBy(cast, key)) {
            if (Result.isFailure(Record.verify(shown, { crypto, now }))) wrong.add("signature")
            else if (Result.isFailure(Record.authority({ crypto })(key, shown, now))) wrong.add("authority")
            else wrong.add("nothing")
          }
        }
        assert.deepStrictEqual([...wrong].sort(), ["authority", "signature"])
      })
    )
  })

  it("a node that floods sends datagrams at the configured rate, which are read, or refused if they are garbage", () => {
    const of = (behaviour: Byzantine.Behaviour) =>
      withLiar(
        behaviour,
        Effect.fnUntraced(function*({ nodes, world }) {
          const traffic = Effect.map(
            Effect.forEach(nodes, (node) => node.run(Rpc.use((rpc) => rpc.traffic))),
            (all) => ({
              received: all.reduce((sum, { received }) => sum + received, 0),
              refused: all.reduce((sum, { refused }) => sum + refused, 0)
            })
          )
          const before = yield* traffic
          const sent = world.network.counts.sent
          yield* Effect.sleep("10 seconds")
          const after = yield* traffic
          return {
            sent: world.network.counts.sent - sent,
            received: after.received - before.received,
            refused: after.refused - before.refused
          }
        }),
        { rate: 100 }
      )
    const requests = of("floods")
    assert.isAbove(requests.received, 900)
    assert.isBelow(requests.refused, 10)
    const garbage = of("floodsGarbage")
    assert.isAbove(garbage.refused, 900)
    assert.isBelow(garbage.received, 200)
  })
})
