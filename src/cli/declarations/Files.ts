/**
 * The commands that read and write files of identities and records, without a network.
 *
 * @since 0.1.0
 */
import * as Command from "effect/cli/Command"
import * as Options from "../Options.ts"
import { handler } from "./Handler.ts"

const show = Command.make(
  "show",
  { data: Options.data, passphraseEnv: Options.passphraseEnv, json: Options.json },
  handler(() => import("../commands/Identity.ts").then(({ show }) => show))
).pipe(
  Command.withDescription("Show the address, node id and public key of a data directory"),
  Command.withExamples([{ command: "effect-dht identity show --data ./data --json" }])
)

const create = Command.make(
  "new",
  { data: Options.data, passphraseEnv: Options.newPassphraseEnv, json: Options.json },
  handler(() => import("../commands/Identity.ts").then(({ create }) => create))
).pipe(
  Command.withDescription("Create an identity in a data directory that has none"),
  Command.withExamples([
    { command: "effect-dht identity new --data ./data" },
    {
      command: "DHT_PASSPHRASE=… effect-dht identity new --data ./data --passphrase-env DHT_PASSPHRASE",
      description: "Encrypted"
    }
  ])
)

const identityFileFlags = {
  data: Options.data,
  passphraseEnv: Options.passphraseEnv,
  newPassphraseEnv: Options.rewrittenPassphraseEnv,
  json: Options.json
}

const exportTo = Command.make(
  "export",
  { file: Options.identityFile, ...identityFileFlags },
  handler(() => import("../commands/Identity.ts").then(({ exportTo }) => exportTo))
).pipe(
  Command.withDescription(
    "Copy the identity of a data directory to a new file, encrypted with --new-passphrase-env. A copy is enough to " +
      "act as the node: keep it as safe as the directory"
  ),
  Command.withShortDescription("Copy an identity to a file"),
  Command.withExamples([{
    command: "DHT_BACKUP=… effect-dht identity export ann.identity --data ./data --new-passphrase-env DHT_BACKUP"
  }])
)

const importFrom = Command.make(
  "import",
  { file: Options.identityFile, ...identityFileFlags },
  handler(() => import("../commands/Identity.ts").then(({ importFrom }) => importFrom))
).pipe(
  Command.withDescription(
    "Give a data directory that has no identity the one in a file, whose passphrase is in --passphrase-env. Only one node " +
      "of an identity can run at a time"
  ),
  Command.withShortDescription("Take an identity from a file"),
  Command.withExamples([{
    command: "DHT_BACKUP=… effect-dht identity import ann.identity --data ./new --passphrase-env DHT_BACKUP " +
      "--new-passphrase-env DHT_BACKUP"
  }])
)

const passphrase = Command.make(
  "passphrase",
  { ...identityFileFlags, none: Options.toggle("none", "Store the identity without encryption") },
  handler(() => import("../commands/Identity.ts").then(({ passphrase }) => passphrase))
).pipe(
  Command.withDescription(
    "Encrypt the identity of a data directory with another passphrase, or the first one. A running node is not affected"
  ),
  Command.withShortDescription("Change the passphrase of an identity"),
  Command.withExamples([
    {
      command: "effect-dht identity passphrase --data ./data --passphrase-env OLD --new-passphrase-env NEW",
      description: "Both variables hold a passphrase"
    },
    { command: "effect-dht identity passphrase --data ./data --passphrase-env OLD --none" }
  ])
)

const delegate = Command.make(
  "delegate",
  {
    publicKey: Options.publicKey,
    lifetime: Options.lifetime,
    data: Options.data,
    passphraseEnv: Options.passphraseEnv,
    json: Options.json
  },
  handler(() => import("../commands/Identity.ts").then(({ delegate }) => delegate))
).pipe(
  Command.withDescription(
    "Sign a delegation: it lets another key publish and read messages for the address of --data, whose own key can then " +
      "stay offline. A later delegation to another key replaces an earlier one"
  ),
  Command.withShortDescription("Let another key act for an address"),
  Command.withExamples([{
    command: "effect-dht identity delegate PUBLIC-KEY --data ./master --lifetime 2592000",
    description: "Valid for thirty days"
  }])
)

const accept = Command.make(
  "accept",
  {
    delegation: Options.delegation,
    data: Options.data,
    passphraseEnv: Options.passphraseEnv,
    json: Options.json
  },
  handler(() => import("../commands/Identity.ts").then(({ accept }) => accept))
).pipe(
  Command.withDescription(
    "Store a delegation in the data directory: from then on the node there and all commands with the same --data " +
      "publish and read messages for the address that signed it"
  ),
  Command.withShortDescription("Act for the address of a delegation"),
  Command.withExamples([{ command: "effect-dht identity accept DELEGATION --data ./data" }])
)

export const identity = Command.make("identity").pipe(
  Command.withDescription("Show, create, move or encrypt the identity of a node, and let it act for another address"),
  Command.withSubcommands([show, create, exportTo, importFrom, passphrase, delegate, accept])
)

const decode = Command.make(
  "decode",
  { hex: Options.hex, json: Options.json },
  handler(() => import("../commands/Record.ts").then(({ decode }) => decode))
).pipe(
  Command.withDescription("Show the contents of a record, and whether its signature, time and authority are valid"),
  Command.withExamples([
    { command: "effect-dht record decode a801…" },
    { command: "effect-dht record decode - < record.hex", description: "From a file" }
  ])
)

export const record = Command.make("record").pipe(
  Command.withDescription("Inspect a record"),
  Command.withSubcommands([decode])
)
