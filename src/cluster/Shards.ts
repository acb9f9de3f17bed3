/**
 * The assignment of buckets to runners, by Effect's cluster: runners are known by
 * their rows in the database, and a bucket belongs to the runner that has the lock
 * of its shard. Runners send each other nothing, so they need no address that the
 * others can reach.
 *
 * A runner that stops orderly hands its buckets over at once. One that dies loses
 * them after 8 to 12 seconds, and a new one gets its share within some seconds.
 *
 * @module
 * @since 0.1.0
 */
import * as MessageStorage from "effect/cluster/MessageStorage"
import * as RunnerAddress from "effect/cluster/RunnerAddress"
import * as RunnerHealth from "effect/cluster/RunnerHealth"
import * as Runners from "effect/cluster/Runners"
import type { RunnerStorage } from "effect/cluster/RunnerStorage"
import * as Sharding from "effect/cluster/Sharding"
import * as ShardingConfig from "effect/cluster/ShardingConfig"
import * as SqlRunnerStorage from "effect/cluster/SqlRunnerStorage"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as References from "effect/References"
import type { SqlClient } from "effect/sql/SqlClient"
import { buckets } from "../core/share.ts"

/**
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /**
   * Names the runner: different from those of other runners, and the same after a
   * restart, so that it takes its buckets back at once. The address of its node is
   * such a name.
   */
  readonly name: string
}

/** Seconds after which a runner that does not answer for its buckets has lost them. */
const expirationSeconds = 12

const configOf = ({ name }: Options) =>
  ShardingConfig.layer({
    runnerAddress: Option.some(RunnerAddress.make(name, 1)),
    shardsPerGroup: buckets,
    shardLockRefreshInterval: "4 seconds",
    shardLockExpiration: `${expirationSeconds} seconds`,
    refreshAssignmentsInterval: "1 second",
    // Here, how often a runner looks for shards that it may take.
    entityMessagePollInterval: "2 seconds"
  })

/**
 * Assigns buckets by any storage of runners and locks.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options): Layer.Layer<Sharding.Sharding, never, RunnerStorage> =>
  Layer.fresh(Sharding.layer).pipe(
    Layer.provide(Layer.fresh(Runners.layerNoop)),
    Layer.provide(Layer.fresh(MessageStorage.layerNoop)),
    Layer.provide(Layer.fresh(RunnerHealth.layerNoop)),
    Layer.provide(configOf(options)),
    // It warns every few seconds of an outage, which the runner reports once.
    Layer.provide(Layer.succeed(References.MinimumLogLevel, "Error"))
  )

/**
 * Assigns buckets by tables in the database, `dht_runners` and `dht_locks`, which
 * are created if there are none. The database has to be within reach.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerSql = (options: Options): Layer.Layer<Sharding.Sharding, never, SqlClient> =>
  layer(options).pipe(
    Layer.provide(Layer.orDie(SqlRunnerStorage.layerWith({ prefix: "dht" }))),
    Layer.provide(configOf(options))
  )

/**
 * Names the singleton of each bucket so that it has a shard of its own.
 *
 * @internal
 */
export const singletonOf = (
  shardOf: (name: string) => number,
  bucket: number
): string => {
  for (let n = 0;; n++) {
    const name = `hosted/${bucket}/${n}`
    if (shardOf(name) === bucket + 1) return name
  }
}

/**
 * Time after which a runner without the database no longer counts on its buckets.
 *
 * @internal
 */
export const expirationMillis = expirationSeconds * 1000
