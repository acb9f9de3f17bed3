import { assert, describe, it } from "@effect/vitest"
import * as fc from "fast-check"
import { type Action, bucketOf, type Row, Share } from "../../src/core/share.ts"

/** Few identities in few buckets, so that commands meet each other. */
const addresses = ["a0", "a1", "b0", "b1", "c0"]
const bucket = (address: string): number => "abc".indexOf(address[0])

/** A table and the runners that follow it, each of which acts at once. */
class Cluster {
  readonly table = new Map<string, Row>()
  version = 0
  readonly runners: ReadonlyArray<{ readonly share: Share<Row>; readonly hosted: Map<string, number>; seen: number }>

  constructor(runners: number) {
    this.runners = Array.from({ length: runners }, () => ({ share: new Share<Row>(), hosted: new Map(), seen: 0 }))
  }

  put(address: string, isRemoved: boolean): void {
    if (isRemoved && !this.table.has(address)) return
    this.table.set(address, { address, bucket: bucket(address), version: ++this.version, isRemoved })
  }

  apply(runner: number, actions: ReadonlyArray<Action<Row>>): void {
    const { hosted } = this.runners[runner]
    for (const action of actions) {
      if (action._tag === "Drop") hosted.delete(action.address)
      else if (action._tag === "Host") hosted.set(action.row.address, action.row.version)
      else {
        const { address, version } = action.row
        hosted.delete(address)
        if (this.table.get(address)?.version === version) this.table.delete(address)
      }
    }
  }

  load(runner: number): void {
    const { share } = this.runners[runner]
    for (const bucket of share.unloaded) {
      this.apply(runner, share.loaded(bucket, [...this.table.values()].filter((row) => row.bucket === bucket)))
    }
  }

  follow(runner: number): void {
    const at = this.runners[runner]
    const rows = [...this.table.values()].filter(({ version }) => version > at.seen)
    at.seen = this.version
    this.apply(runner, at.share.changed(rows.toSorted((a, b) => a.version - b.version)))
  }

  release(runner: number): void {
    const { share } = this.runners[runner]
    for (const bucket of share.lostBy(Infinity)) this.apply(runner, share.release(bucket))
  }
}

type Command = (cluster: Cluster) => void

const command = (runners: number): fc.Arbitrary<Command> => {
  const runner = fc.nat(runners - 1)
  const bucket = fc.nat(2)
  return fc.oneof(
    fc.tuple(fc.constantFrom(...addresses), fc.boolean()).map(([address, isRemoved]): Command => (cluster) =>
      cluster.put(address, isRemoved)
    ),
    fc.tuple(runner, bucket).map(([runner, bucket]): Command => ({ runners }) => runners[runner].share.gain(bucket)),
    fc.tuple(runner, bucket).map(([runner, bucket]): Command => ({ runners }) => runners[runner].share.lose(bucket, 0)),
    runner.map((runner): Command => (cluster) => cluster.load(runner)),
    runner.map((runner): Command => (cluster) => cluster.follow(runner)),
    runner.map((runner): Command => (cluster) => cluster.release(runner))
  )
}

describe("share", () => {
  it("hosts every identity of the table at one runner, as its row says, once each bucket has one and all have read", () =>
    fc.assert(
      fc.property(
        fc.array(command(3), { maxLength: 60 }),
        fc.tuple(fc.nat(2), fc.nat(2), fc.nat(2)),
        (commands, owners) => {
          const cluster = new Cluster(3)
          for (const run of commands) run(cluster)
          for (const [runner, { share }] of cluster.runners.entries()) {
            for (const [bucket, owner] of owners.entries()) {
              if (owner === runner) share.gain(bucket)
              else share.lose(bucket, 0)
            }
          }
          for (const runner of cluster.runners.keys()) {
            cluster.release(runner)
            cluster.load(runner)
            cluster.follow(runner)
          }
          const hosted = cluster.runners.flatMap(({ hosted }) => [...hosted])
          const expected = [...cluster.table.values()].map(({ address, version }) => [address, version] as const)
          assert.sameDeepMembers(hosted, expected)
          assert.isFalse([...cluster.table.values()].some(({ isRemoved }) => isRemoved), "what is removed is withdrawn")
          for (const { hosted, share } of cluster.runners) assert.strictEqual(share.size, hosted.size)
        }
      ),
      { numRuns: 2000 }
    ))

  it("hosts nothing of a bucket that it has not", () =>
    fc.assert(
      fc.property(fc.array(command(1), { maxLength: 40 }), (commands) => {
        const cluster = new Cluster(1)
        const [{ hosted, share }] = cluster.runners
        for (const run of commands) {
          const before = new Set(hosted.keys())
          const owned = new Set(share.owned)
          run(cluster)
          for (const address of hosted.keys()) assert.isTrue(before.has(address) || owned.has(bucket(address)))
        }
      })
    ))

  it("continues with a bucket that was lost until it is released", () => {
    const cluster = new Cluster(1)
    const [{ hosted, share }] = cluster.runners
    cluster.put("a0", false)
    share.gain(0)
    cluster.load(0)
    share.lose(0, 5)
    cluster.follow(0)
    assert.deepStrictEqual([...hosted.keys()], ["a0"])
    assert.deepStrictEqual(share.lostBy(4), [])
    assert.deepStrictEqual(share.lostBy(5), [0])
    cluster.release(0)
    assert.deepStrictEqual([...hosted.keys()], [])
  })

  it("asks for nothing that is hosted as it should be when a bucket comes back", () => {
    const cluster = new Cluster(1)
    const [{ share }] = cluster.runners
    cluster.put("a0", false)
    cluster.put("a1", false)
    share.gain(0)
    cluster.load(0)
    share.lose(0, 5)
    share.gain(0)
    cluster.put("a1", false)
    assert.deepStrictEqual(share.unloaded, [0])
    assert.deepStrictEqual(
      share.loaded(0, [...cluster.table.values()]).map((action) => action._tag === "Host" && action.row.address),
      ["a1"]
    )
  })

  it("divides the key space into 256 ranges", () => {
    assert.strictEqual(bucketOf("00".padEnd(64, "f")), 0)
    assert.strictEqual(bucketOf("ff".padEnd(64, "0")), 255)
  })
})
