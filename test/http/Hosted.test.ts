import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as TestClock from "effect/testing/TestClock"
import * as Address from "../../src/Address.ts"
import * as Delegation from "../../src/Delegation.ts"
import * as HostedIdentities from "../../src/HostedIdentities.ts"
import * as Hosting from "../../src/Hosting.ts"
import * as Api from "../../src/http/Api.ts"
import * as HostedApi from "../../src/http/HostedApi.ts"
import { keptEvents } from "../../src/http/HostedFeed.ts"
import * as Hex from "../../src/internal/hex.ts"
import * as Transport from "../../src/Transport.ts"
import { endpointsOf, hosting, hostOn, seedOf } from "../utils/hosting.ts"
import { json, reader, serve, text } from "../utils/httpNode.ts"
import * as network from "../utils/network.ts"
import { settled } from "../utils/served.ts"

const onNetwork = Effect.provide(Transport.layerMemoryNetwork)

const token = "0123456789abcdef"

/** A peer, and a node that hosts and serves HTTP. */
const setUp = Effect.fnUntraced(function*(options: Hosting.Options = {}) {
  yield* TestClock.setTime(network.now * 1000)
  const peer = yield* network.node("peer", network.socketOf(1))
  const node = yield* network.node("node", network.socketOf(2))
  yield* network.dht(node).bootstrap([network.socketOf(1)])
  const host = yield* hostOn(node, options)
  return { peer, host, fetch: yield* serve(host, { token: Redacted.make(token), readable: true }) }
})

const headers = { authorization: `Bearer ${token}`, "content-type": "application/json" }

const sending = (method: string, body?: unknown): RequestInit => ({
  method,
  headers,
  ...(body === undefined ? {} : { body: JSON.stringify(body) })
})

/** The document of a response, checked against its schema. */
const document = Effect.fnUntraced(function*<A, I>(response: Response, schema: Schema.Codec<A, I>) {
  assert.strictEqual(response.status, 200, response.ok ? "" : yield* text(response.clone()))
  return yield* Schema.decodeUnknownEffect(schema)(yield* json(response), { onExcessProperty: "error" })
})

const problem = Effect.fnUntraced(function*(response: Response) {
  assert.strictEqual(response.headers.get("content-type"), "application/problem+json")
  return (yield* json(response)) as { readonly [member: string]: unknown }
})

const seedHex = (name: string) => Hex.encode(seedOf(name))

const addressOf = (name: string) => Address.format(network.identity(name).address)

const pathOf = (name: string) => `/v1/hosted/${addressOf(name)}`

const request = (name: string, more: object = {}) => ({
  seed_hex: seedHex(name),
  announce: { endpoint: { endpoints: [`https://${name}.example`] } },
  ...more
})

/** Until the records that are due are stored. */
const stored = Effect.andThen(TestClock.adjust("1 minute"), settled)

describe("/v1/hosted", () => {
  it.effect("hosts an identity, shows its records, changes it and removes it", () =>
    Effect.gen(function*() {
      const { fetch, peer } = yield* setUp()
      const announce = {
        endpoint: { endpoints: ["https://ann.example"], nat_type: "full_cone" },
        profile: { name: "Ann", card_hash_hex: "AB".repeat(32) },
        topics: [{ topic: "translate", name: "Ann", tags: ["de"] }, { topic: "chess", name: "Ann" }],
        custom: [{ type: 7, value: { jobs: 3 } }, { type: 8, payload_hex: "f5", ttl: 600 }]
      }
      const added = yield* document(
        yield* fetch("/v1/hosted", sending("POST", { seed_hex: seedHex("ann"), announce, replicas: 3, ttl: 1800 })),
        Api.HostedIdentity
      )
      assert.deepInclude(added, { address: addressOf("ann"), state: "good", replicas: 3, ttl: 1800, durable: false })
      assert.deepStrictEqual(added.records.map(({ content }) => content), [null, null, null, null, null, null])
      yield* stored
      const shown = yield* document(yield* fetch(pathOf("ann")), Api.HostedIdentity)
      assert.deepStrictEqual(
        shown.records.map((
          { content, copies, problem }
        ) => [content?.title, content?.record.ttl_seconds, copies, problem]),
        [
          ["https://ann.example", 1800, 1, null],
          ["Ann", 1800, 1, null],
          ["translate", 1800, 1, null],
          ["chess", 1800, 1, null],
          ["custom type 7", 1800, 1, null],
          ["custom type 8", 600, 1, null]
        ]
      )
      assert.deepStrictEqual(shown.records[4].content?.value, { jobs: 3 })
      assert.isNull(shown.durable)
      assert.strictEqual(yield* endpointsOf(peer, network.identity("ann").address), "https://ann.example")

      const change = { announce: { endpoint: { endpoints: ["https://ben.example"] } } }
      const changed = yield* document(yield* fetch(pathOf("ann"), sending("PATCH", change)), Api.HostedIdentity)
      assert.deepStrictEqual([changed.records.length, changed.replicas, changed.ttl], [1, 3, 1800])
      yield* stored
      assert.strictEqual(yield* endpointsOf(peer, network.identity("ann").address), "https://ben.example")

      assert.strictEqual((yield* fetch(pathOf("ann"), sending("DELETE"))).status, 204)
      assert.strictEqual((yield* problem(yield* fetch(pathOf("ann"))))._tag, "NotHosted")
      assert.strictEqual((yield* problem(yield* fetch(pathOf("ann"), sending("DELETE"))))._tag, "NotHosted")
      yield* stored
      assert.isUndefined(yield* endpointsOf(peer, network.identity("ann").address))
    }).pipe(onNetwork))

  it.effect("hosts the address that delegates to an operational key, and continues with the next delegation", () =>
    Effect.gen(function*() {
      const { fetch, peer } = yield* setUp()
      const master = network.identity("master")
      const delegationOf = (expiresAt: bigint, issuedAt: bigint) =>
        Hex.encode(Delegation.encode(Delegation.delegate({
          master,
          operationalPublicKey: network.identity("operational").publicKey,
          issuedAt,
          expiresAt
        })))
      const end = BigInt(network.now + 3600)
      const added = yield* document(
        yield* fetch(
          "/v1/hosted",
          sending("POST", { ...request("operational"), delegation_hex: delegationOf(end, 0n) })
        ),
        Api.HostedIdentity
      )
      assert.deepInclude(added, { address: addressOf("master"), delegation_expires_at: String(end) })
      yield* stored
      assert.strictEqual(yield* endpointsOf(peer, master.address), "https://operational.example")
      yield* TestClock.adjust("2 hours")
      yield* settled
      const { identities: [ended] } = yield* document(yield* fetch("/v1/hosted?state=ended"), Api.HostedIdentities)
      assert.deepInclude(ended, { address: addressOf("master"), state: "ended", due_ms: null })
      const next = { seed_hex: seedHex("operational"), delegation_hex: delegationOf(0n, 1n) }
      yield* document(yield* fetch(pathOf("master"), sending("PATCH", next)), Api.HostedIdentity)
      yield* stored
      assert.strictEqual(yield* endpointsOf(peer, master.address), "https://operational.example")
    }).pipe(onNetwork))

  it.effect("lists failing identities first, page by page and by state", () =>
    Effect.gen(function*() {
      const { fetch, host } = yield* setUp()
      const failing = network.identity("failing")
      for (const name of ["a", "b", "c"]) yield* fetch("/v1/hosted", sending("POST", request(name)))
      yield* hosting(host).host({
        signer: {
          agent: failing.agent,
          publicKey: failing.publicKey,
          delegation: undefined,
          sign: () => Effect.fail(new Hosting.SignerFailed({ reason: "the vault is sealed" }))
        },
        announce: [{ _tag: "Endpoint", endpoints: ["https://failing.example"] }]
      })
      yield* fetch("/v1/hosted", sending("POST", request("d")))
      yield* stored
      const namesOf = (identities: ReadonlyArray<{ readonly address: string }>) =>
        identities.map(({ address }) => ["a", "b", "c", "d", "failing"].find((name) => addressOf(name) === address))
      const all = yield* document(yield* fetch("/v1/hosted"), Api.HostedIdentities)
      assert.deepStrictEqual(namesOf(all.identities), ["failing", "a", "b", "c", "d"])
      assert.deepInclude(all.identities[0], {
        state: "failing",
        records: 1,
        failing: 1,
        copies: 0,
        problem: { _tag: "SignerFailed", reason: "The signer failed: the vault is sealed" }
      })
      assert.deepInclude(all.status, { identities: 5, failing: 1, ended: 0, refused: 0, records: 5, late: 0 })
      assert.strictEqual(all.status.failing_records.SignerFailed, 1)
      assert.isNull(all.next)
      const paged: Array<string | undefined> = []
      let after = ""
      do {
        const page = yield* document(yield* fetch(`/v1/hosted?limit=2${after}`), Api.HostedIdentities)
        paged.push(...namesOf(page.identities))
        after = page.next === null ? "" : `&after=${page.next}`
      } while (after !== "")
      assert.deepStrictEqual(paged, ["failing", "a", "b", "c", "d"])
      const good = yield* document(yield* fetch("/v1/hosted?state=good&limit=1"), Api.HostedIdentities)
      assert.deepStrictEqual(namesOf(good.identities), ["a"])
      const failed = yield* document(yield* fetch("/v1/hosted?state=failing"), Api.HostedIdentities)
      assert.deepStrictEqual(namesOf(failed.identities), ["failing"])
      const overview = yield* document(yield* fetch("/v1/overview"), Api.Overview)
      assert.deepInclude(overview.hosting ?? {}, { identities: 5, failing: 1 })
    }).pipe(onNetwork))

  it("names the reasons for which renewals fail", () => assert.deepStrictEqual(HostedApi.reasons, Hosting.reasons))

  it.effect("says in a problem what is wrong with a request, and hosts nothing of it", () =>
    Effect.gen(function*() {
      const { fetch, host } = yield* setUp({ maxRecords: 3 })
      yield* fetch("/v1/hosted", sending("POST", request("hosted")))
      const endpoints = (count: number) => ({ endpoint: { endpoints: [`https://${"a".repeat(count)}.example`] } })
      const topic = { topic: "a" }
      const wrong: ReadonlyArray<readonly [body: object, status: number, tag: string, said: string]> = [
        [request("hosted"), 409, "AlreadyHosted", "is hosted already"],
        [request("a", { announce: endpoints(1500) }), 422, "RecordTooLarge", "endpoints is too long"],
        [request("a", { announce: { topics: [topic, topic] } }), 422, "SameSlot", "would replace each other"],
        [
          request("a", { announce: { topics: [topic, { topic: "b" }, { topic: "c" }] } }),
          409,
          "TooManyRecords",
          "3 records"
        ],
        [request("a", { announce: { endpoint: { endpoints: ["x"] } } }), 422, "InvalidRecord", "is not a URL"],
        [request("a", { announce: { custom: [{ type: 7 }] } }), 400, "BadRequest", "value or as payload_hex"],
        [request("a", { announce: { custom: [{ type: 1, value: 1 }] } }), 400, "BadRequest", "left to applications"],
        [request("a", { announce: { custom: [{ type: 1, payload_hex: "01" }] } }), 422, "InvalidRecord", ""],
        [request("a", { announce: undefined }), 400, "BadRequest", "announce"],
        [request("a", { announce: {} }), 400, "BadRequest", "announce: it is empty"],
        [request("a", { announce: { topic: [topic] } }), 400, "BadRequest", "announce.topic of the body is unknown"],
        [request("a", { replicas: 17 }), 400, "BadRequest", "replicas"],
        [request("a", { ttl: 0 }), 400, "BadRequest", "ttl"],
        [request("a", { delegation_hex: "00" }), 422, "InvalidDelegation", "Invalid delegation"],
        [request("a", { delegation_hex: "x" }), 400, "BadRequest", "delegation_hex"]
      ]
      for (const [body, status, tag, said] of wrong) {
        const refused = yield* problem(yield* fetch("/v1/hosted", sending("POST", body)))
        assert.deepStrictEqual([refused.status, refused._tag], [status, tag], String(refused.detail))
        assert.include(refused.detail, said)
      }
      assert.deepInclude(yield* hosting(host).status, { identities: 1, records: 1 })
      const patches: ReadonlyArray<readonly [body: object, tag: string]> = [
        [{ seed_hex: seedHex("a") }, "InvalidRecord"],
        [{ delegation_hex: "00" }, "BadRequest"]
      ]
      for (const [body, tag] of patches) {
        assert.strictEqual((yield* problem(yield* fetch(pathOf("hosted"), sending("PATCH", body))))._tag, tag)
      }
      assert.strictEqual((yield* problem(yield* fetch("/v1/hosted/0x12")))._tag, "BadRequest")
    }).pipe(onNetwork))

  it.effect("takes all that an identity announces in one request, up to 64 KiB", () =>
    Effect.gen(function*() {
      const { fetch } = yield* setUp()
      const topics = Array.from({ length: 50 }, (_, n) => ({ topic: `topic ${n}`, brief: "x".repeat(140) }))
      const added = yield* document(
        yield* fetch("/v1/hosted", sending("POST", request("a", { announce: { topics } }))),
        Api.HostedIdentity
      )
      assert.lengthOf(added.records, 50)
      const large = { ...request("b"), ignored: "x".repeat(70_000) }
      assert.strictEqual((yield* problem(yield* fetch("/v1/hosted", sending("POST", large))))._tag, "TooLarge")
    }).pipe(onNetwork))

  it.effect("never shows a private key, not even one that is malformed", () =>
    Effect.gen(function*() {
      const { fetch } = yield* setUp()
      const secrets = [seedHex("ann"), `${seedHex("ann")}00`, seedHex("ann").slice(2), 123_456_789_012_345]
      const texts: Array<string> = []
      for (const seed_hex of secrets) {
        texts.push(yield* text(yield* fetch("/v1/hosted", sending("POST", { ...request("ann"), seed_hex }))))
        texts.push(yield* text(yield* fetch(pathOf("ann"), sending("PATCH", { seed_hex }))))
      }
      yield* stored
      for (const path of [pathOf("ann"), "/v1/hosted", "/v1/overview", "/v1/announcements", "/debug/replication"]) {
        texts.push(yield* text(yield* fetch(path)))
      }
      for (const said of texts) {
        assert.notInclude(said, seedHex("ann").slice(2, 20))
        assert.notInclude(said, "123456789012345")
      }
    }).pipe(onNetwork))

  it.effect("needs the token for each change", () =>
    Effect.gen(function*() {
      const { fetch } = yield* setUp()
      for (const [method, path] of [["POST", "/v1/hosted"], ["PATCH", pathOf("a")], ["DELETE", pathOf("a")]]) {
        const response = yield* fetch(path, { method, headers: { "content-type": "application/json" }, body: "{}" })
        assert.strictEqual(response.status, 401, `${method} ${path}`)
      }
      assert.strictEqual((yield* fetch("/v1/hosted")).status, 200)
    }).pipe(onNetwork))

  it.effect("tells that a node hosts nothing", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(network.now * 1000)
      const node = yield* network.node("node", network.socketOf(2))
      const fetch = yield* serve(node, { open: true })
      const asked: ReadonlyArray<readonly [method: string, path: string]> = [
        ["GET", "/v1/hosted"],
        ["GET", "/v1/hosted/events"],
        ["GET", pathOf("a")],
        ["POST", "/v1/hosted"],
        ["PATCH", pathOf("a")],
        ["DELETE", pathOf("a")]
      ]
      for (const [method, path] of asked) {
        const body = method === "POST" ? request("a") : method === "PATCH" ? {} : undefined
        const refused = yield* problem(yield* fetch(path, sending(method, body)))
        assert.deepStrictEqual([refused.status, refused._tag], [404, "NotHosting"], `${method} ${path}`)
      }
      assert.isNull((yield* document(yield* fetch("/v1/overview"), Api.Overview)).hosting)
    }).pipe(onNetwork))
})

describe("/v1/hosted of a node that hosts from a database", () => {
  it.effect("is to be read, and says where to make changes", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(network.now * 1000)
      const host = yield* hostOn(yield* network.node("node", network.socketOf(2)))
      const fetch = yield* serve(Context.omit(HostedIdentities.HostedIdentities)(host), { open: true })
      assert.strictEqual((yield* fetch("/v1/hosted")).status, 200)
      for (
        const [method, path, body] of [
          ["POST", "/v1/hosted", request("a")],
          ["PATCH", pathOf("a"), {}],
          ["DELETE", pathOf("a"), undefined]
        ] as const
      ) {
        const refused = yield* problem(yield* fetch(path, sending(method, body)))
        assert.deepStrictEqual([refused.status, refused._tag], [404, "NotHosting"], `${method} ${path}`)
        assert.include(refused.detail, "change them there")
      }
    }).pipe(onNetwork))
})

describe("/v1/hosted/{address}/mail", () => {
  it.effect("has the messages to an identity after a cursor, each once, and streams those that arrive", () =>
    Effect.gen(function*() {
      const { fetch, peer } = yield* setUp()
      const recipient = network.identity("ann").address
      yield* fetch("/v1/hosted", sending("POST", request("ann", { mail: true })))
      yield* fetch("/v1/hosted", sending("POST", request("ben")))
      yield* stored
      const send = (text: string) =>
        network.dht(peer).mail.send({ recipient, type: 3, body: new TextEncoder().encode(text) })
      const arrived = Effect.andThen(TestClock.adjust("11 minutes"), settled)
      const path = `${pathOf("ann")}/mail`
      const empty = yield* document(yield* fetch(path, { headers }), Api.HostedMailbox)
      assert.deepStrictEqual([empty.reads_mail, empty.notes.length], [true, 0])
      yield* send("one")
      yield* send("two")
      yield* arrived
      const first = yield* document(yield* fetch(`${path}?limit=1`, { headers }), Api.HostedMailbox)
      assert.deepStrictEqual([first.notes.map(({ text }) => text), first.more], [["one"], true])
      assert.strictEqual(first.notes[0].from, Address.format(network.dht(peer).agent))
      const after = (cursor: string) => ({ headers: { ...headers, "last-event-id": cursor } })
      const rest = yield* document(yield* fetch(path, after(first.cursor)), Api.HostedMailbox)
      assert.deepStrictEqual([rest.notes.map(({ text }) => text), rest.more, rest.reset], [["two"], false, false])
      const stream = reader(
        yield* fetch(path, { headers: { ...headers, "last-event-id": first.cursor, accept: "text/event-stream" } })
      )
      yield* send("three")
      yield* arrived
      yield* arrived
      const texts: Array<unknown> = []
      while (texts.length < 2) {
        for (const { data } of (yield* stream.next) ?? []) {
          texts.push((yield* Schema.decodeUnknownEffect(Api.NoteEvent)(data)).note.text)
        }
      }
      yield* stream.leave
      assert.deepStrictEqual(texts, ["two", "three"])
      const last = yield* document(yield* fetch(path, { headers }), Api.HostedMailbox)
      assert.deepStrictEqual(last.notes.map(({ text }) => text), ["one", "two", "three"])

      const other = yield* document(yield* fetch(`${pathOf("ben")}/mail`, { headers }), Api.HostedMailbox)
      assert.deepStrictEqual([other.reads_mail, other.notes.length], [false, 0])
      assert.strictEqual((yield* problem(yield* fetch(`${pathOf("eve")}/mail`, { headers })))._tag, "NotHosted")
      assert.strictEqual((yield* fetch(path)).status, 401)
      yield* fetch(pathOf("ann"), sending("PATCH", { mail: false }))
      const ended = yield* document(yield* fetch(pathOf("ann")), Api.HostedIdentity)
      assert.isFalse(ended.reads_mail)
    }).pipe(onNetwork))
})

/** Reads events of a stream until there are `count`. */
const take = Effect.fnUntraced(function*(stream: ReturnType<typeof reader>, count: number) {
  const events: Array<typeof Api.HostedEvent.Type> = []
  while (events.length < count) {
    const more = yield* stream.next
    if (more === undefined) break
    for (const { data } of more) events.push(yield* Schema.decodeUnknownEffect(Api.HostedEvent)(data))
  }
  return events
})

const typesOf = (events: ReadonlyArray<{ readonly type: string }>) => events.map(({ type }) => type)

describe("/v1/hosted/events", () => {
  it.effect("tells of the state, then of what happens, and continues after the last event seen", () =>
    Effect.gen(function*() {
      const { fetch } = yield* setUp()
      const first = reader(yield* fetch("/v1/hosted/events"))
      const [state] = yield* take(first, 1)
      assert.deepStrictEqual([state.type, state.type === "status" && state.status.identities], ["status", 0])
      yield* fetch("/v1/hosted", sending("POST", request("a")))
      yield* stored
      const [started, renewed] = yield* take(first, 2)
      assert.deepStrictEqual(typesOf([started, renewed]), ["started", "renewed"])
      assert.deepInclude(renewed, { address: addressOf("a"), rec_type: 1, copies: 1, wanted: 8 })
      yield* first.leave

      yield* fetch(pathOf("a"), sending("PATCH", { replicas: 2 }))
      yield* fetch(pathOf("a"), sending("DELETE"))
      const again = reader(yield* fetch("/v1/hosted/events", { headers: { "last-event-id": renewed.cursor } }))
      // The record may be stored once more between the two, since it has too few copies.
      const types: Array<string> = []
      while (!types.includes("removed")) types.push(...typesOf(yield* take(again, 1)))
      assert.deepStrictEqual(types.filter((type) => type !== "renewed"), ["updated", "removed"])
      yield* again.leave
    }).pipe(onNetwork))

  it.effect("tells of the state again once the missed events are not known any more", () =>
    Effect.gen(function*() {
      const { fetch, host } = yield* setUp()
      const { host: add, remove } = hosting(host)
      const signer = network.identity("a")
      yield* add({ signer, announce: [] })
      const first = reader(yield* fetch("/v1/hosted/events"))
      const [{ cursor }] = yield* take(first, 1)
      yield* first.leave
      for (let i = 0; i < keptEvents / 2; i++) {
        yield* remove(signer.address)
        yield* add({ signer, announce: [] })
        yield* Effect.yieldNow
      }
      const known = reader(yield* fetch("/v1/hosted/events", { headers: { "last-event-id": cursor } }))
      assert.strictEqual((yield* take(known, 1))[0].type, "removed")
      yield* known.leave
      yield* remove(signer.address)
      yield* settled
      const late = reader(yield* fetch("/v1/hosted/events", { headers: { "last-event-id": cursor } }))
      assert.strictEqual((yield* take(late, 1))[0].type, "status")
      yield* late.leave
    }).pipe(onNetwork))
})
