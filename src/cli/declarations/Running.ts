/**
 * The commands that run a node until they are interrupted.
 *
 * @since 0.1.0
 */
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import { logFormats, settings } from "../../node/internal/settings.ts"
import * as Options from "../Options.ts"
import * as Parameter from "../Parameter.ts"
import { handler } from "./Handler.ts"

/** Flags of every long-running node. */
const running = {
  listen: Options.listen,
  ...Options.joining,
  data: Options.data,
  http: Parameter.defaulted(settings.http),
  noHttp: Parameter.toggle(settings.noHttp),
  httpTokenEnv: Options.httpTokenEnv,
  httpOpen: Parameter.toggle(settings.httpOpen),
  httpOrigin: Options.httpOrigin,
  httpRecords: Options.httpRecords,
  otlp: Flag.optional(Parameter.ofSetting(settings.otlp)),
  logFormat: Parameter.defaulted(settings.logFormat, Flag.Literals("log-format", logFormats)),
  passphraseEnv: Options.newPassphraseEnv,
  passive: Parameter.toggle(settings.passive, Flag.Boolean("passive")),
  noSessions: Parameter.toggle(settings.noSessions),
  publicHost: Flag.optional(Parameter.ofSetting(settings.publicHost)),
  ...Options.networks,
  maxKeys: Parameter.defaulted(settings.maxKeys),
  maxBytes: Parameter.defaulted(settings.maxBytes),
  hostingDatagrams: Parameter.defaulted(settings.hostingDatagrams),
  hostingSignatures: Parameter.defaulted(settings.hostingSignatures),
  verifyThreads: Flag.optional(Parameter.ofSetting(settings.verifyThreads)),
  json: Options.jsonEvents
}

export const node = Command.make(
  "node",
  { ...running, hosting: Parameter.toggle(settings.hosting) },
  handler(() => import("../commands/Node.ts").then(({ node }) => node))
).pipe(
  Command.withDescription(
    "Run a node until it is interrupted (Ctrl-C). The first start creates its identity, the file identity.ed25519 in the " +
      "data directory"
  ),
  Command.withShortDescription("Run a node"),
  Command.withExamples([
    { command: "effect-dht node", description: "The first node of a network" },
    { command: "effect-dht node --bootstrap dht.example.net:4121", description: "Another node, on another machine" },
    {
      command: "DHT_LISTEN=[::]:4121 DHT_DATA=/var/lib/dht DHT_LOG_FORMAT=json effect-dht node",
      description: "Configured by the environment"
    }
  ])
)

export const host = Command.make(
  "host",
  {
    ...running,
    database: Flag.optional(Parameter.ofSetting(settings.database)),
    databaseKeyEnv: Options.databaseKeyEnv
  },
  handler(() => import("../commands/Host.ts").then(({ host }) => host))
).pipe(
  Command.withDescription(
    "Run a node that hosts the identities of a table in a database until it is interrupted (Ctrl-C). Several of them share " +
      "the table: each hosts its part, and takes over from those that stop"
  ),
  Command.withShortDescription("Run a node that hosts identities from a database"),
  Command.withExamples([
    {
      command: "effect-dht host --database-key-env HOSTING_KEY --bootstrap dht.example.net:4121",
      description: "A single runner, whose table is a file in its data directory"
    },
    {
      command:
        "DHT_DATABASE=postgres://agents:secret@db.example.net/agents effect-dht host --database-key-env HOSTING_KEY",
      description: "One of many, on each machine"
    }
  ])
)
