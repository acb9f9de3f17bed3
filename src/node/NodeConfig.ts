/**
 * Settings of a node, read with Effect's `Config` from the environment or from
 * another `ConfigProvider`.
 *
 * Each setting is named after its option of {@link DhtLive} or flag of
 * `effect-dht node`, in capitals after `DHT_`. An empty variable counts as
 * unset. An invalid value fails with a `ConfigError` that names the variable.
 * The private key has no setting: it belongs in a file, see `IdentityFile`.
 *
 * @module
 * @since 0.1.0
 */
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { IpNetwork } from "effect/net/IpNetwork"
import type * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as SchemaIssue from "effect/SchemaIssue"
import type { Host } from "../NameResolver.ts"
import type { SocketAddress } from "../SocketAddress.ts"
import * as DhtLive from "./DhtLive.ts"
import * as Settings from "./internal/settings.ts"

const { settings } = Settings

/**
 * The secret in the variable that a setting names. If that is empty or not set,
 * this is a failure, lest an unencrypted identity is created or an open network
 * joined. The name is not repeated: it may be the secret itself.
 */
const secretOf = (setting: Settings.Setting<string>): Config.Config<Redacted.Redacted> =>
  Config.flatMap(
    Settings.config(setting),
    (name) =>
      Config.orElse(Settings.secret(name), () =>
        Config.fail(
          new Schema.SchemaError(
            new SchemaIssue.Pointer(
              [setting.variable],
              new SchemaIssue.InvalidValue({ message: "the variable that it names is empty or not set" })
            )
          )
        ))
  )

/**
 * `DHT_LISTEN`: the IP addresses and UDP ports to listen on, such as
 * `0.0.0.0:4121`, comma-separated.
 *
 * @category configuration
 * @since 0.1.0
 */
export const listen: Config.Config<ReadonlyArray<SocketAddress>> = Settings.config(settings.listen)

/**
 * `DHT_DATA`: the data directory.
 *
 * @category configuration
 * @since 0.1.0
 */
export const data: Config.Config<string> = Settings.config(settings.data)

/**
 * `DHT_PASSPHRASE_ENV`: the name of the variable that holds the passphrase of
 * the identity in the data directory.
 *
 * @category configuration
 * @since 0.1.0
 */
export const passphrase: Config.Config<Redacted.Redacted> = secretOf(settings.passphraseEnv)

/**
 * `DHT_NETWORK`: the name of a private network.
 *
 * @category configuration
 * @since 0.1.0
 */
export const network: Config.Config<string> = Settings.config(settings.network)

/**
 * `DHT_NETWORK_KEY_ENV`: the name of the variable that holds the secret key of a
 * private network.
 *
 * @category configuration
 * @since 0.1.0
 */
export const networkKey: Config.Config<Redacted.Redacted> = secretOf(settings.networkKeyEnv)

/**
 * `DHT_PASSIVE`: `true` for a node that starts no lookups of its own accord.
 *
 * @category configuration
 * @since 0.1.0
 */
export const passive: Config.Config<boolean> = Settings.config(settings.passive)

/**
 * `DHT_NO_SESSIONS`: `true` for a node that signs every message.
 *
 * @category configuration
 * @since 0.1.0
 */
export const sessions: Config.Config<boolean> = Config.map(
  Settings.config(settings.noSessions),
  (noSessions) => !noSessions
)

/**
 * `DHT_PUBLIC_HOST`: the node's public IP address.
 *
 * @category configuration
 * @since 0.1.0
 */
export const publicHost: Config.Config<string> = Settings.config(settings.publicHost)

/**
 * `DHT_ALLOW_FROM`: networks to exchange datagrams with, such as
 * `203.0.113.0/24`, comma-separated.
 *
 * @category configuration
 * @since 0.1.0
 */
export const allowFrom: Config.Config<ReadonlyArray<IpNetwork>> = Settings.config(settings.allowFrom)

/**
 * `DHT_DENY_FROM`: networks to exchange no datagrams with, comma-separated.
 *
 * @category configuration
 * @since 0.1.0
 */
export const denyFrom: Config.Config<ReadonlyArray<IpNetwork>> = Settings.config(settings.denyFrom)

/**
 * `DHT_MAX_KEYS`: maximum number of keys in the store.
 *
 * @category configuration
 * @since 0.1.0
 */
export const maxKeys: Config.Config<number> = Settings.config(settings.maxKeys)

/**
 * `DHT_MAX_BYTES`: maximum bytes of memory for the records in the store.
 *
 * @category configuration
 * @since 0.1.0
 */
export const maxBytes: Config.Config<number> = Settings.config(settings.maxBytes)

/**
 * `DHT_VERIFY_THREADS`: threads that verify signatures.
 *
 * @category configuration
 * @since 0.1.0
 */
export const verifyThreads: Config.Config<number> = Settings.config(settings.verifyThreads)

/**
 * `DHT_BOOTSTRAP`: nodes to join through, `host:port`, comma-separated.
 *
 * @category configuration
 * @since 0.1.0
 */
export const bootstrap: Config.Config<ReadonlyArray<Host>> = Settings.config(settings.bootstrap)

/**
 * `DHT_HTTP`: the address of the HTTP server, `host:port`, for `NodeHttp.layer`.
 *
 * @category configuration
 * @since 0.1.0
 */
export const http: Config.Config<Host> = Settings.config(settings.http)

const orUndefined = <A>(config: Config.Config<A>): Config.Config<A | undefined> => Config.withDefault(config, undefined)

/**
 * The options of {@link DhtLive}. Unset variables are undefined, which selects
 * the default.
 *
 * @category configuration
 * @since 0.1.0
 */
export const options: Config.Config<DhtLive.Options> = Config.all({
  listen: orUndefined(listen),
  data: orUndefined(data),
  passphrase: orUndefined(passphrase),
  bootstrap: orUndefined(bootstrap),
  network: orUndefined(network),
  networkKey: orUndefined(networkKey),
  passive: orUndefined(passive),
  sessions: orUndefined(sessions),
  publicHost: orUndefined(publicHost),
  allowFrom: orUndefined(allowFrom),
  denyFrom: orUndefined(denyFrom),
  maxKeys: orUndefined(maxKeys),
  maxBytes: orUndefined(maxBytes),
  verifyThreads: orUndefined(verifyThreads)
})

/**
 * A node with the options of the configuration. Options given here and not
 * undefined take precedence.
 *
 * @example
 * ```ts
 * import { Dht } from "effect-dht"
 * import { NodeConfig } from "effect-dht/node"
 * import * as Effect from "effect/Effect"
 *
 * // DHT_LISTEN=0.0.0.0:4121 DHT_BOOTSTRAP=dht.example.net:4121 DHT_DATA=/var/lib/dht
 * const program = Effect.gen(function*() {
 *   const { contacts } = yield* Dht.Dht.use((dht) => dht.stats)
 *   yield* Effect.log(`${contacts} contacts`)
 * }).pipe(Effect.provide(NodeConfig.layerDht({ passive: true })))
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layerDht = (
  given: DhtLive.Options = {}
): Layer.Layer<
  Layer.Success<ReturnType<typeof DhtLive.DhtLive>>,
  Config.ConfigError | Layer.Error<ReturnType<typeof DhtLive.DhtLive>>
> =>
  Layer.unwrap(Effect.map(options, (configured) => {
    const overrides = Object.entries(given).filter(([, value]) => value !== undefined)
    return DhtLive.DhtLive({ ...configured, ...Object.fromEntries(overrides) })
  }))
