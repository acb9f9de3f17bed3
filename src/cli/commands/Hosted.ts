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
import * as Delegation from "../../Delegation.ts"
import * as Api from "../../http/Api.ts"
import type { Client } from "../../http/Client.ts"
import * as Hex from "../../internal/hex.ts"
import { decodeUtf8 } from "../../internal/text.ts"
import { settings } from "../../node/internal/settings.ts"
import * as Gateway from "../Gateway.ts"
import * as Identities from "../Identities.ts"
import { type Line, LineSplitter } from "../LineSplitter.ts"
import * as Output from "../Output.ts"
import type { About } from "./Publish.ts"

interface Options {
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

const clientOf = ({ data, httpTokenEnv, node }: Options): Effect.Effect<Client, Output.Failure> =>
  Option.isSome(node)
    ? Effect.map(Gateway.at(node.value, { data, httpTokenEnv }), ({ client }) => client)
    : Gateway.get({ data: Option.getOrElse(data, () => settings.data.standard), httpTokenEnv })

const failed = Effect.mapError(Gateway.failureOf)

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
export const list = Effect.fnUntraced(function*(
  { limit, state, ...options }: Options & {
    readonly state: Option.Option<"failing" | "ended" | "good">
    readonly limit: number
  }
) {
  const client = yield* clientOf(options)
  const { identities, next, refused, status } = yield* failed(
    client.hosted.list({ query: { limit, ...(Option.isSome(state) ? { state: state.value } : {}) } })
  )
  yield* Output.print(options.json, { status, identities, refused, next }, [
    ...statusRows(status),
    ...refused.map(({ address, problem }) => `refused  ${address}  ${problem.reason}`),
    ...identities.map(({ address, copies, problem, records, state }) =>
      `${state.padEnd(7)}  ${address}  ${records} ${records === 1 ? "record" : "records"}` +
      `${copies === null ? "" : `, at least ${copies} copies`}${problem === null ? "" : `: ${problem.reason}`}`
    ),
    ...(next === null ? [] : [`More than ${limit}; --limit shows more of them`])
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
export const show = Effect.fnUntraced(
  function*({ address, ...options }: Options & { readonly address: Address.Address }) {
    const client = yield* clientOf(options)
    const identity = yield* failed(client.hosted.identity({ params: { address: Address.format(address) } }))
    yield* Output.print(options.json, identity, identityRows(identity))
  }
)

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
  const client = yield* clientOf(options)
  const identity = yield* failed(client.hosted.host({
    payload: {
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
  }))
  yield* Output.print(options.json, identity, identityRows(identity))
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
  const client = yield* clientOf(options)
  const address = Address.format(given)
  yield* failed(client.hosted.remove({ params: { address }, query: keepRecords ? { keep_records: "true" } : {} }))
  yield* Output.print(options.json, { removed: address, keepRecords }, [
    `No longer hosted: ${address}. Its records ${keepRecords ? "are left to expire" : "are withdrawn"}`
  ])
})

// --- Many ----------------------------------------------------------------------------

/** Maximum bytes of a line: a request that is longer would be refused. */
const maxLine = 1 << 16

/** Requests in flight. */
const atOnce = 16

/** Why a line is not imported. */
interface Fault {
  readonly fault: string
}

const decodeRequest = Schema.decodeUnknownResult(Api.HostRequest)

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
  return Result.mapError(decodeRequest(value), ({ message }) => ({ fault: message }))
}

/** Errors of the request's own line; any other ends the import. */
const isOfLine = (error: Failing): error is Extract<Failing, { readonly detail: string }> =>
  "detail" in error && error._tag !== "Unauthorized" && error._tag !== "NotHosting" && error._tag !== "RateLimited"

const importOne = Effect.fnUntraced(function*(client: Client, payload: HostRequest, isUpdating: boolean) {
  return yield* client.hosted.host({ payload }).pipe(
    Effect.as("imported" as const),
    Effect.catchTag("AlreadyHosted", (error) => {
      if (!isUpdating) return Effect.fail(error)
      const { address } = error
      return Effect.as(client.hosted.update({ params: { address }, payload }), "updated" as const)
    })
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
  const client = yield* clientOf(options)
  const { stdin } = yield* Stdio
  const unreadable = ({ message }: { readonly message: string }) => Output.failed(`The file cannot be read: ${message}`)
  const input = file === "-"
    ? Stream.mapError(stdin, unreadable)
    : Stream.fromAsyncIterable<Uint8Array, Output.Failure>(
      createReadStream(file),
      (error) => unreadable(error as Error)
    )
  const splitter = new LineSplitter(maxLine)
  const lines: Stream.Stream<Line, Output.Failure> = Stream.concat(
    Stream.flatMap(input, (chunk) => Stream.fromIterable(splitter.push(chunk))),
    Stream.suspend(() => Stream.fromIterable(splitter.end()))
  )
  const counts = { imported: 0, updated: 0, failed: 0 }

  const take = ({ bytes, number }: Line) =>
    Effect.gen(function*() {
      const request = yield* Effect.fromResult(requestOf(bytes))
      const attempt: Effect.Effect<"imported" | "updated", Failing> = importOne(client, request, update).pipe(
        Effect.catchTag("RateLimited", ({ retry_after_seconds }) =>
          Effect.delay(attempt, `${retry_after_seconds} seconds`))
      )
      counts[yield* attempt]++
    }).pipe(
      Effect.catchIf(
        (error): error is Fault | Extract<Failing, { readonly detail: string }> =>
          "fault" in error || isOfLine(error),
        (error) => {
          counts.failed++
          return Output.warn(`line ${number}: ${"fault" in error ? error.fault : error.detail}`)
        }
      ),
      Effect.mapError(Gateway.failureOf)
    )

  yield* Stream.runDrain(Stream.mapEffect(lines, take, { concurrency: atOnce, unordered: true }))
  const { failed: faults, imported, updated } = counts
  yield* Output.print(options.json, counts, [
    `${imported} imported${updated === 0 ? "" : `, ${updated} updated`}${faults === 0 ? "" : `, ${faults} failed`}`
  ])
  if (faults > 0) return yield* Output.failed(`${faults} of ${faults + imported + updated} lines were not imported`)
})
