/**
 * Identities that a running node hosts: `hosted`.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { Stdio } from "effect/Stdio"
import * as Stream from "effect/Stream"
import { createReadStream } from "node:fs"
import * as Address from "../../Address.ts"
import type { Hosted, IdentityTable, Merged, TableUnavailable } from "../../cluster/IdentityTable.ts"
import type { Crypto } from "../../Crypto.ts"
import * as Delegation from "../../Delegation.ts"
import * as HostedIdentities from "../../HostedIdentities.ts"
import * as Api from "../../http/Api.ts"
import type { Client } from "../../http/Client.ts"
import * as HostedRequests from "../../http/HostedRequests.ts"
import * as SchemaFaults from "../../http/SchemaFaults.ts"
import * as Hex from "../../internal/hex.ts"
import { decodeUtf8 } from "../../internal/text.ts"
import { type Database, settings } from "../../node/internal/settings.ts"
import * as NodeCrypto from "../../node/NodeCrypto.ts"
import * as Tables from "../Database.ts"
import * as Gateway from "../Gateway.ts"
import * as Identities from "../Identities.ts"
import { type Line, LineSplitter } from "../LineSplitter.ts"
import * as Output from "../Output.ts"
import type { About } from "./Publish.ts"

interface Options {
  /** Where the identities are; without it, they are those of a node. */
  readonly database: Option.Option<Database>
  /** The name of an environment variable. */
  readonly databaseKeyEnv: Option.Option<string>
  /** URL of the node's HTTP server. */
  readonly node: Option.Option<string>
  readonly data: Option.Option<string>
  /** The name of an environment variable. */
  readonly httpTokenEnv: Option.Option<string>
  readonly json: boolean
}

type Failing = Parameters<typeof Gateway.failureOf>[0]

type HostRequest = typeof Api.HostRequest.Type

type Identity = typeof Api.HostedIdentity.Type

type NodeOptions = Pick<Options, "data" | "httpTokenEnv" | "node">

const clientOf = ({ data, httpTokenEnv, node }: NodeOptions): Effect.Effect<Client, Output.Failure> =>
  Option.isSome(node)
    ? Effect.map(Gateway.at(node.value, { data, httpTokenEnv }), ({ client }) => client)
    : Gateway.get({ data: Option.getOrElse(data, () => settings.data.standard), httpTokenEnv })

const failed = Effect.mapError(Gateway.failureOf)

/** Acts on the table of the database if one is given, else through the node. */
const withEither = <A, R, A2, R2>(
  { database, databaseKeyEnv, ...options }: Options,
  { isNew = false, node, table }: {
    readonly isNew?: boolean
    readonly table: (table: IdentityTable["Service"]) => Effect.Effect<A, Output.Failure | TableUnavailable, R>
    readonly node: (client: Client) => Effect.Effect<A2, Output.Failure, R2>
  }
): Effect.Effect<A | A2, Output.Failure, Exclude<R, Crypto> | R2> =>
  Effect.gen(function*() {
    if (Option.isNone(database)) return yield* Effect.flatMap(clientOf(options), node)
    if (Option.isSome(options.node)) {
      return yield* Output.usage("--node and --database: give one of them (environment: DHT_DATABASE)")
    }
    return yield* Tables.run({ database: database.value, databaseKeyEnv }, isNew, table)
  })

// --- Reading -----------------------------------------------------------------------

const timeOf = (millis: number | null): string => millis === null ? "never" : Output.time(Math.floor(millis / 1000))

const statusRows = (status: typeof Api.HostingStatus.Type) => {
  const { datagrams_per_s, due, ended, failing, identities, late, reachable, records, refused } = status
  const ill = [[failing, "failing"], [ended, "ended"], [refused, "refused"]].flatMap(([count, name]) =>
    count === 0 ? [] : [`${count} ${name}`]
  )
  return Output.table([
    ["identities", `${identities}${ill.length === 0 ? "" : `, ${ill.join(", ")}`}`],
    ["records", `${records}, ${due} due, ${late} late`],
    ["budget", `${datagrams_per_s} datagrams a second`],
    ["network", reachable ? "reachable" : "out of reach"]
  ])
}

/**
 * Lists the hosted identities, failing ones first.
 *
 * @category commands
 * @since 0.1.0
 */
export const list = (options: ListOptions) =>
  withEither(options, { node: (client) => listOfNode(client, options), table: (table) => listOfTable(table, options) })

interface ListOptions extends Options {
  readonly state: Option.Option<"failing" | "ended" | "good">
  readonly limit: number
}

const listOfNode = Effect.fnUntraced(function*(client: Client, { json, limit, state }: ListOptions) {
  const { identities, next, refused, status } = yield* failed(
    client.hosted.list({ query: { limit, ...(Option.isSome(state) ? { state: state.value } : {}) } })
  )
  yield* Output.print(json, { status, identities, refused, next }, [
    ...statusRows(status),
    ...refused.map(({ address, problem }) => `refused  ${address}  ${problem.reason}`),
    ...identities.map(({ address, copies, problem, records, state }) =>
      `${state.padEnd(7)}  ${address}  ${records} ${records === 1 ? "record" : "records"}` +
      `${copies === null ? "" : `, at least ${copies} copies`}${problem === null ? "" : `: ${problem.reason}`}`
    ),
    ...moreThan(limit, next !== null)
  ])
})

const moreThan = (limit: number, hasMore: boolean) => hasMore ? [`More than ${limit}; --limit shows more of them`] : []

const listOfTable = Effect.fnUntraced(function*(
  { counts, faults, list }: IdentityTable["Service"],
  { json, limit, state }: ListOptions
) {
  const wanted = Option.getOrUndefined(state)
  if (wanted === "ended") {
    return yield* Output.usage("--state ended: in a database, identities whose delegation has ended are failing ones")
  }
  const { identities, ...others } = yield* counts
  const good = Stream.filter(list, ({ fault }) => fault === undefined)
  const found = yield* Stream.runCollect(Stream.take(
    wanted === "failing" ? faults : wanted === "good" ? good : Stream.concat(faults, good),
    limit + 1
  ))
  const rows = found.slice(0, limit).map(({ address, fault, replicas, ttl }) => ({
    address: Address.format(address),
    state: stateOf(fault),
    replicas,
    ttl,
    fault: fault ?? null
  }))
  yield* Output.print(json, { counts: { identities, ...others }, identities: rows, more: found.length > limit }, [
    ...Output.table([
      ["identities", `${identities}${others.faults === 0 ? "" : `, ${others.faults} failing`}`],
      ...(others.removed === 0 ? [] : [["removed", `${others.removed}, yet to be withdrawn`] as const])
    ]),
    ...rows.map(({ address, fault, state }) => `${state.padEnd(7)}  ${address}${fault === null ? "" : `: ${fault}`}`),
    ...moreThan(limit, found.length > limit)
  ])
})

const identityRows = ({ address, delegation_expires_at, durable, records, replicas, state, ttl }: Identity) => [
  ...Output.table([
    ["address", address],
    ["state", state],
    ["copies", `${replicas} wanted`],
    ["lifetime", `${ttl} s`],
    ...(delegation_expires_at === null
      ? []
      : [
        [
          "delegation",
          delegation_expires_at === "0" ? "until a later one" : `until ${Output.time(BigInt(delegation_expires_at))}`
        ] as const
      ]),
    ...(durable === null ? [] : [["kept", durable ? "also over restarts of the node" : "while the node runs"] as const])
  ]),
  ...records.flatMap(({ content, copies, due_ms, key_node_id_hex, problem, rec_type }) => [
    "",
    ...Output.table([
      [content?.record.type_name ?? `type ${rec_type}`, content?.title ?? "not signed yet"],
      ["key", key_node_id_hex],
      ["copies", copies],
      [problem === null ? "renewed" : "tried again", timeOf(due_ms)],
      ...(problem === null ? [] : [["failed", problem.reason] as const])
    ])
  ])
]

/**
 * Shows a hosted identity.
 *
 * @category commands
 * @since 0.1.0
 */
export const show = ({ address, ...options }: Options & { readonly address: Address.Address }) =>
  withEither(options, {
    node: Effect.fnUntraced(function*(client) {
      const identity = yield* failed(client.hosted.identity({ params: { address: Address.format(address) } }))
      yield* Output.print(options.json, identity, identityRows(identity))
    }),
    table: Effect.fnUntraced(function*({ get, runners }) {
      const row = yield* get(address)
      if (Option.isNone(row)) return yield* notThere(address)
      const { fault, replicas, ttl } = row.value
      const records = (yield* runners.records(address)).map(({ due, holders, key, record }) => ({
        key_node_id_hex: key,
        rec_type: record.type,
        copies: holders.length,
        due_ms: due
      }))
      const facts = { address: Address.format(address), state: stateOf(fault), replicas, ttl, fault: fault ?? null }
      yield* Output.print(options.json, { ...facts, records }, [
        ...Output.table([
          ["address", facts.address],
          ["state", facts.state],
          ["copies", `${replicas} wanted`],
          ["lifetime", `${ttl} s`],
          ...(fault === undefined ? [] : [["failed", fault] as const])
        ]),
        ...records.flatMap(({ copies, due_ms, key_node_id_hex, rec_type }) => [
          "",
          ...Output.table([["type", rec_type], ["key", key_node_id_hex], ["copies", copies], [
            "renewed",
            timeOf(due_ms)
          ]])
        ])
      ])
    })
  })

const notThere = (address: Address.Address) => Output.failed(`${Address.format(address)} is not in the database`)

const stateOf = (fault: string | undefined) => fault === undefined ? "good" : "failing"

// --- Changing ------------------------------------------------------------------------

/**
 * Hosts the identity of a data directory.
 *
 * @category commands
 * @since 0.1.0
 */
export const add = Effect.fnUntraced(function*(
  options: Options & About & {
    readonly identity: string
    readonly passphraseEnv: Option.Option<string>
    readonly endpoint: ReadonlyArray<string>
    readonly topic: ReadonlyArray<string>
    readonly tag: ReadonlyArray<string>
    readonly skill: ReadonlyArray<string>
    readonly replicas: number
    readonly ttl: number
  }
) {
  const { brief, endpoint: endpoints, name, protocol: protocols, skill: skills, tag: tags, topic } = options
  const profile = name === "" ? undefined : { name, brief, protocols, skills }
  if (endpoints.length === 0 && topic.length === 0 && profile === undefined) {
    return yield* Output.usage("Nothing is announced: give --endpoint, --topic or --name")
  }
  const { identity: { delegation, seed } } = yield* Identities.load({
    data: options.identity,
    passphraseEnv: options.passphraseEnv
  })
  const payload: HostRequest = {
    seed_hex: Hex.encode(Redacted.value(seed)),
    ...(delegation === undefined ? {} : { delegation_hex: Hex.encode(Delegation.encode(delegation)) }),
    announce: {
      ...(endpoints.length === 0 ? {} : { endpoint: { endpoints } }),
      ...(profile === undefined ? {} : { profile }),
      topics: topic.map((topic) => ({ topic, name, brief, protocols, tags }))
    },
    replicas: options.replicas,
    ttl: options.ttl
  }
  yield* withEither(options, {
    isNew: true,
    node: Effect.fnUntraced(function*(client) {
      const identity = yield* failed(client.hosted.host({ payload }))
      yield* Output.print(options.json, identity, identityRows(identity))
    }),
    table: Effect.fnUntraced(function*({ merge }) {
      const hosted = yield* Effect.mapError(hostedOf(payload), ({ fault }) => Output.usage(fault))
      const [merged] = yield* merge([hosted], { replace: false })
      const address = Address.format(hosted.signer.agent)
      if (typeof merged !== "string") return yield* Output.usage(merged.message)
      if (merged === "Differs") {
        return yield* Output.failed(`${address} is in the database with other contents: remove it first`)
      }
      yield* Output.print(options.json, { address, added: merged === "Added" }, [
        merged === "Added"
          ? `In the database: ${address}. Runners host it within seconds`
          : `In the database already: ${address}`
      ])
    })
  })
})

/**
 * Stops hosting an identity.
 *
 * @category commands
 * @since 0.1.0
 */
export const remove = Effect.fnUntraced(function*(
  { address: given, keepRecords, ...options }: Options & {
    readonly address: Address.Address
    readonly keepRecords: boolean
  }
) {
  const address = Address.format(given)
  const told = (fate: string) =>
    Output.print(options.json, { removed: address, keepRecords }, [`No longer hosted: ${address}. Its records ${fate}`])
  yield* withEither(options, {
    node: (client) =>
      failed(client.hosted.remove({ params: { address }, query: keepRecords ? { keep_records: "true" } : {} })).pipe(
        Effect.andThen(told(keepRecords ? "are left to expire" : "are withdrawn"))
      ),
    table: Effect.fnUntraced(function*({ get, remove }) {
      if (keepRecords) {
        return yield* Output.usage("--keep-records: what is removed from a database is always withdrawn")
      }
      if (Option.isNone(yield* get(given))) return yield* notThere(given)
      yield* remove([given])
      yield* told("are withdrawn by the runner that hosts it")
    })
  })
})

// --- Many ----------------------------------------------------------------------------

/** Maximum bytes of a line: a request that is longer would be refused. */
const maxLine = 1 << 16

/** Requests in flight, and lines that are written to the table together. */
const atOnce = 16
const batch = 500

/** Lines between two messages of progress. */
const progressLines = 10_000

/** Why a line is not imported. */
interface Fault {
  readonly fault: string
}

/** As a node decodes it: what it does not know is a fault, such as of a misspelt member. */
const decodeRequest = Schema.decodeUnknownResult(Api.HostRequest, { onExcessProperty: "error" })

/** The request of a line. What is not JSON is not quoted: it may be secret. */
const requestOf = (bytes: Uint8Array | undefined): Result.Result<HostRequest, Fault> => {
  if (bytes === undefined) return Result.fail({ fault: `it is longer than ${maxLine} bytes` })
  const text = decodeUtf8(bytes)
  let value: unknown
  try {
    value = JSON.parse(text ?? "")
  } catch {
    return Result.fail({ fault: "it is not JSON" })
  }
  return Result.mapError(decodeRequest(value), ({ issue }) => ({
    fault: SchemaFaults.first(issue, (name) => name === "" ? "the line" : `the member ${name}`)
  }))
}

type Imported = "imported" | "updated" | "unchanged"

/** Outcome of a line. */
interface Outcome {
  readonly number: number
  readonly result: Result.Result<Imported, Fault>
}

/** Errors of the request's own line; any other ends the import. */
const isOfLine = (error: Failing): error is Extract<Failing, { readonly detail: string }> =>
  "detail" in error && error._tag !== "Unauthorized" && error._tag !== "NotHosting" && error._tag !== "RateLimited"

/** Imports a line through a node. */
const importOne = (client: Client, isUpdating: boolean) =>
  Effect.fnUntraced(function*({ bytes, number }: Line): Effect.fn.Return<Outcome, Failing> {
    const request = requestOf(bytes)
    if (Result.isFailure(request)) return { number, result: Result.fail(request.failure) }
    const payload = request.success
    const attempt: Effect.Effect<Imported, Failing> = client.hosted.host({ payload }).pipe(
      Effect.as("imported" as const),
      Effect.catchTag("AlreadyHosted", (error) => {
        if (!isUpdating) return Effect.fail(error)
        const { address } = error
        return Effect.as(client.hosted.update({ params: { address }, payload }), "updated" as const)
      }),
      Effect.catchTag(
        "RateLimited",
        ({ retry_after_seconds }) => Effect.delay(attempt, `${retry_after_seconds} seconds`)
      )
    )
    return yield* attempt.pipe(
      Effect.map((imported) => ({ number, result: Result.succeed(imported) })),
      Effect.catchIf(isOfLine, ({ detail }) => Effect.succeed({ number, result: Result.fail({ fault: detail }) }))
    )
  })

/** The identity of a request, for the table. */
const hostedOf = Effect.fnUntraced(function*(request: HostRequest): Effect.fn.Return<Hosted, Fault> {
  if (request.mail === true) return yield* Effect.fail({ fault: "mail: it is not read for identities in a database" })
  const options = yield* Effect.mapError(HostedRequests.identityOf(request), ({ detail }) => ({ fault: detail }))
  return yield* Effect.mapError(
    Effect.fromResult(HostedIdentities.optionsOf(NodeCrypto.fastest, options)),
    ({ message }) => ({ fault: message })
  )
})

/** Imports lines into the table. `seen` has the number of the line of each address so far. */
const importMany = (
  { merge }: IdentityTable["Service"],
  isUpdating: boolean,
  seen: Map<Address.Address, number>
) =>
  Effect.fnUntraced(function*(lines: ReadonlyArray<Line>): Effect.fn.Return<ReadonlyArray<Outcome>, TableUnavailable> {
    const outcomes: Array<Outcome> = []
    const identities: Array<{ readonly number: number; readonly hosted: Hosted }> = []
    for (const { bytes, number } of lines) {
      const read = yield* Effect.result(Effect.flatMap(Effect.fromResult(requestOf(bytes)), hostedOf))
      if (Result.isFailure(read)) {
        outcomes.push({ number, result: Result.fail(read.failure) })
        continue
      }
      const { agent } = read.success.signer
      const first = seen.get(agent)
      if (first === undefined) {
        seen.set(agent, number)
        identities.push({ number, hosted: read.success })
      } else {
        const fault = `${Address.format(agent)} is on line ${first} already, which counts`
        outcomes.push({ number, result: Result.fail({ fault }) })
      }
    }
    const merged = yield* merge(identities.map(({ hosted }) => hosted), { replace: isUpdating })
    for (const [i, { hosted: { signer }, number }] of identities.entries()) {
      outcomes.push({ number, result: resultOf(merged[i], signer.agent) })
    }
    return outcomes.sort((a, b) => a.number - b.number)
  })

const resultOf = (merged: Merged, address: Address.Address): Outcome["result"] => {
  if (typeof merged !== "string") return Result.fail({ fault: merged.message })
  switch (merged) {
    case "Added":
      return Result.succeed("imported")
    case "Replaced":
      return Result.succeed("updated")
    case "Same":
      return Result.succeed("unchanged")
    case "Differs":
      return Result.fail({
        fault: `${Address.format(address)} is in the database with other contents: --update replaces them`
      })
  }
}

const linesOf = Effect.fnUntraced(function*(file: string) {
  const { stdin } = yield* Stdio
  const unreadable = ({ message }: { readonly message: string }) => Output.failed(`The file cannot be read: ${message}`)
  const input = file === "-"
    ? Stream.mapError(stdin, unreadable)
    : Stream.suspend(() =>
      Stream.fromAsyncIterable<Uint8Array, Output.Failure>(
        createReadStream(file),
        (error) => unreadable(error as Error)
      )
    )
  const splitter = new LineSplitter(maxLine)
  return Stream.concat(
    Stream.flatMap(input, (chunk) => Stream.fromIterable(splitter.push(chunk))),
    Stream.suspend(() => Stream.fromIterable(splitter.end()))
  )
})

/**
 * Hosts the identities of a file, one line of JSON each.
 *
 * @category commands
 * @since 0.1.0
 */
export const importFrom = Effect.fnUntraced(function*(
  { file, update, ...options }: Options & { readonly file: string; readonly update: boolean }
) {
  const lines = yield* linesOf(file)
  // A node does not say whether an identity that it hosts is the same.
  const counts = { imported: 0, updated: 0, ...(Option.isSome(options.database) ? { unchanged: 0 } : {}), failed: 0 }
  const total = () => Object.values(counts).reduce((total, count) => total + count, 0)
  const text = () =>
    Object.entries(counts).flatMap(([name, count]) => count > 0 || name === "imported" ? [`${count} ${name}`] : [])
      .join(", ")

  const note = Effect.fnUntraced(function*({ number, result }: Outcome) {
    const name = Result.isSuccess(result) ? result.success : "failed"
    counts[name] = (counts[name] ?? 0) + 1
    if (Result.isFailure(result)) yield* Output.warn(`line ${number}: ${result.failure.fault}`)
    if (total() % progressLines === 0) yield* Output.warn(`${total()} lines: ${text()}`)
  })

  yield* withEither(options, {
    isNew: true,
    node: (client) =>
      lines.pipe(
        Stream.mapEffect((line) => Effect.mapError(importOne(client, update)(line), Gateway.failureOf), {
          concurrency: atOnce,
          unordered: true
        }),
        Stream.runForEach(note)
      ),
    table: (table) =>
      lines.pipe(
        Stream.grouped(batch),
        Stream.mapEffect(importMany(table, update, new Map())),
        Stream.runForEach((outcomes) => Effect.forEach(outcomes, note, { discard: true }))
      )
  })
  yield* Output.print(options.json, counts, [text()])
  if (counts.failed > 0) return yield* Output.failed(`${counts.failed} of ${total()} lines were not imported`)
})
