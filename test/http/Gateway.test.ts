import { assert, describe, it } from "@effect/vitest"
import * as Arr from "effect/Array"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as TestClock from "effect/testing/TestClock"
import * as Address from "../../src/Address.ts"
import * as Api from "../../src/http/Api.ts"
import { maxReplicas } from "../../src/http/GatewayApi.ts"
import { maxLookups, maxStreams } from "../../src/http/GatewayLimits.ts"
import * as Limits from "../../src/http/Limits.ts"
import { maxTopics } from "../../src/http/TopicFeeds.ts"
import * as Hex from "../../src/internal/hex.ts"
import * as NodeId from "../../src/NodeId.ts"
import * as Query from "../../src/Query.ts"
import * as Record from "../../src/Record.ts"
import { replicas } from "../../src/Replication.ts"
import { Store } from "../../src/Store.ts"
import * as Topic from "../../src/Topic.ts"
import * as Transport from "../../src/Transport.ts"
import { type Fetch, json, reader, serve, text } from "../utils/httpNode.ts"
import * as network from "../utils/network.ts"
import { offer, settled } from "../utils/served.ts"

const onNetwork = Effect.provide(Transport.layerMemoryNetwork)

const token = "0123456789abcdef"

/** Two nodes, of which `b` serves HTTP: open for reading, and for what acts for the node with the token. */
const pair = Effect.gen(function*() {
  yield* TestClock.setTime(network.now * 1000)
  const a = yield* network.node("a", network.socketOf(1))
  const b = yield* network.node("b", network.socketOf(2))
  yield* network.dht(b).bootstrap([network.socketOf(1)])
  const fetch = yield* serve(b, { token: Redacted.make(token), readable: true })
  return { a, b, fetch }
})

const authorization = `Bearer ${token}`

/** A request with a body that acts for the node. */
const sending = (method: string, body?: unknown): RequestInit => ({
  method,
  headers: { authorization, "content-type": "application/json" },
  ...(body === undefined ? {} : { body: JSON.stringify(body) })
})

/** The document of a response, checked against its schema. */
const document = Effect.fnUntraced(function*<A, I>(response: Response, schema: Schema.Codec<A, I>) {
  assert.strictEqual(response.status, 200, response.ok ? "" : yield* text(response.clone()))
  return yield* Schema.decodeUnknownEffect(schema)(yield* json(response), { onExcessProperty: "error" })
})

/** The members of a problem. */
const problem = Effect.fnUntraced(function*(response: Response) {
  assert.strictEqual(response.headers.get("content-type"), "application/problem+json")
  const body = (yield* json(response)) as { readonly [member: string]: unknown }
  assert.strictEqual(body.status, response.status)
  assert.strictEqual(body.type, `urn:effect-dht:problem:${body._tag}`)
  assert.isString(body.title)
  return body
})

const agentPath = (node: network.Node) => `/v1/agents/${Address.format(network.dht(node).agent)}`

describe("/v1/agents/{address}", () => {
  it.effect("shows what an agent publishes, with the signed records on request", () =>
    Effect.gen(function*() {
      const { a, fetch } = yield* pair
      const dht = network.dht(a)
      yield* dht.publishEndpoint({ endpoints: ["tcp://203.0.113.5:80"], natType: 3, signals: ["wss://s.example"] })
      yield* dht.publishProfile({ name: "Ann", skills: ["translation"], meta: new Map([["price", 3]]) })
      yield* dht.publishCustom({ type: 0x07, payload: Uint8Array.of(0x83, 1, 2, 3) })
      yield* settled
      const agent = yield* document(yield* fetch(agentPath(a)), Api.Agent)
      assert.deepStrictEqual(
        [agent.endpoint?.endpoints, agent.endpoint?.nat_type, agent.endpoint?.signals],
        [["tcp://203.0.113.5:80"], "port_restricted", ["wss://s.example"]]
      )
      assert.deepStrictEqual([agent.profile?.name, agent.profile?.skills], ["Ann", ["translation"]])
      assert.deepStrictEqual(agent.profile?.meta, { price: 3 })
      assert.deepStrictEqual(agent.custom.map(({ record, value }) => [record.rec_type, value]), [[7, [1, 2, 3]]])
      assert.notProperty(agent.profile, "signed_hex")

      const proven = yield* document(yield* fetch(`${agentPath(a)}?proof=true`), Api.Agent)
      const record = Result.getOrThrow(Record.decode(Hex.decode(proven.profile?.signed_hex ?? "")))
      assert.strictEqual(record.address, dht.agent)
    }).pipe(onNetwork))

  it.effect("is 404 for an agent without records, and 400 for what is no address", () =>
    Effect.gen(function*() {
      const { a, fetch } = yield* pair
      const missing = yield* problem(yield* fetch(agentPath(a)))
      assert.deepStrictEqual([missing.status, missing._tag, missing.answered], [404, "NoMatchingRecords", 1])
      const wrong = yield* problem(yield* fetch("/v1/agents/0x12"))
      assert.deepStrictEqual([wrong.status, wrong._tag], [400, "BadRequest"])
      assert.include(wrong.detail, "is not an address")
    }).pipe(onNetwork))

  it.effect("gives up a lookup after 15 seconds", () =>
    Effect.gen(function*() {
      const { b } = yield* pair
      const query = Context.get(b, Query.Query)
      const fetch = yield* serve(Context.add(b, Query.Query, { ...query, resolveAll: () => Effect.never }))
      const response = yield* Effect.forkScoped(fetch(agentPath(b)))
      yield* settled
      yield* TestClock.adjust("15 seconds")
      assert.strictEqual((yield* problem(yield* Fiber.join(response)))._tag, "TimedOut")
    }).pipe(onNetwork))

  it.effect("is looked up once for all who ask meanwhile, and anew for those who ask later", () =>
    Effect.gen(function*() {
      const { b } = yield* pair
      const query = Context.get(b, Query.Query)
      let lookups = 0
      const fetch = yield* serve(Context.add(b, Query.Query, {
        ...query,
        resolveAll: (...given) =>
          Effect.suspend(() => {
            lookups++
            return Effect.delay(query.resolveAll(...given), "1 second")
          })
      }))
      for (let times = 1; times <= 2; times++) {
        const all = []
        for (let i = 0; i < 10; i++) all.push(yield* Effect.forkScoped(fetch(agentPath(b))))
        yield* settled
        yield* TestClock.adjust("1 second")
        yield* settled
        for (const { status } of yield* Fiber.joinAll(all)) assert.strictEqual(status, 404)
        assert.strictEqual(lookups, times)
      }
    }).pipe(onNetwork))

  it.effect("is limited for each network", () =>
    Effect.gen(function*() {
      const { fetch } = yield* pair
      for (let i = 0; i < Limits.rates.lookups.perNetwork; i++) yield* fetch("/v1/topics/none")
      const response = yield* fetch("/v1/topics/none")
      assert.strictEqual(response.headers.get("retry-after"), "10")
      const limited = yield* problem(response)
      assert.deepStrictEqual([limited.status, limited._tag, limited.retry_after_seconds], [429, "RateLimited", 10])
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual((yield* fetch("/v1/topics/none")).status, 200)
    }).pipe(onNetwork))
})

describe("/v1/topics/{topic}", () => {
  it.effect("lists the offers that match, page by page", () =>
    Effect.gen(function*() {
      const { a, fetch } = yield* pair
      const store = Context.get(a, Store)
      const topic = "übersetzen/de?"
      for (let i = 0; i < 5; i++) {
        const signer = network.identity(`agent ${i}`)
        yield* store.put(
          NodeId.fromTopic(topic),
          Result.getOrThrow(Topic.sign({
            signer,
            address: signer.address,
            payload: Topic.make({ topic, name: `${i}`, protocols: [i < 3 ? "a2a" : "mcp"], tags: ["de", `${i % 2}`] }),
            seq: 1n,
            timestamp: BigInt(network.now)
          }))
        )
      }
      const path = `/v1/topics/${encodeURIComponent(topic)}`
      const all = yield* document(yield* fetch(path), Api.Topic)
      assert.deepStrictEqual([all.topic, all.total, all.next], [topic, 5, null])
      const first = yield* document(yield* fetch(`${path}?limit=2`), Api.Topic)
      const rest = yield* document(yield* fetch(`${path}?limit=5&after=${first.next}`), Api.Topic)
      assert.deepStrictEqual([first.total, first.offers.length, rest.next], [5, 2, null])
      assert.deepStrictEqual([...first.offers, ...rest.offers], all.offers)

      const names = (query: string) =>
        Effect.map(
          Effect.flatMap(fetch(`${path}?${query}`), (response) => document(response, Api.Topic)),
          ({ offers }) => offers.map(({ name }) => name).sort()
        )
      assert.deepStrictEqual(yield* names("protocol=a2a"), ["0", "1", "2"])
      assert.deepStrictEqual(yield* names("protocol=a2a&protocol=mcp&tag=1"), ["1", "3"])
      assert.deepStrictEqual(yield* names("tag=1&tag=0"), [])
    }).pipe(onNetwork))

  it.effect("is an empty list if there are no offers", () =>
    Effect.gen(function*() {
      const { fetch } = yield* pair
      const { offers, total } = yield* document(yield* fetch("/v1/topics/none"), Api.Topic)
      assert.deepStrictEqual([offers, total], [[], 0])
    }).pipe(onNetwork))

  it.effect("takes a topic of up to 512 characters, and rejects a longer one", () =>
    Effect.gen(function*() {
      const { fetch } = yield* pair
      assert.strictEqual((yield* fetch(`/v1/topics/${"x".repeat(512)}`)).status, 200)
      assert.strictEqual((yield* problem(yield* fetch(`/v1/topics/${"x".repeat(513)}`)))._tag, "BadRequest")
    }).pipe(onNetwork))
})

/** Reads events of a stream until there are `count`. */
const take = Effect.fnUntraced(function*(stream: ReturnType<typeof reader>, count: number) {
  const events: Array<{ readonly data: { readonly [name: string]: unknown } }> = []
  while (events.length < count) {
    const more = yield* stream.next
    if (more === undefined) break
    for (const { data } of more) events.push({ data: data as { readonly [name: string]: unknown } })
  }
  return events
})

const named = ({ data }: { readonly data: { readonly [name: string]: unknown } }) => [
  data.type,
  (data.offer as { readonly name: string } | undefined)?.name
]

describe("/v1/topics/{topic}/events", () => {
  const put = (node: network.Node, seq: bigint, ttl?: number) =>
    Context.get(node, Store).put(
      NodeId.fromTopic("chess"),
      offer("chess", "ann", ttl === undefined ? { seq } : { seq, ttl })
    )

  it.effect("tells of the present offers, then of each change, and continues after the last one seen", () =>
    Effect.gen(function*() {
      const { b, fetch } = yield* pair
      yield* put(b, 1n)
      const first = reader(yield* fetch("/v1/topics/chess/events"))
      const [present] = yield* take(first, 1)
      assert.strictEqual(present.data.type, "present")
      assert.deepStrictEqual((present.data.offers as ReadonlyArray<{ name: string }>).map(({ name }) => name), [
        "ann 1"
      ])
      yield* put(b, 2n)
      const [changed] = yield* take(first, 1)
      assert.deepStrictEqual(named(changed), ["changed", "ann 2"])
      yield* first.leave

      yield* put(b, 3n)
      yield* settled
      const headers = { "last-event-id": String(changed.data.cursor) }
      const again = reader(yield* fetch("/v1/topics/chess/events", { headers }))
      assert.deepStrictEqual((yield* take(again, 1)).map(named), [["changed", "ann 3"]])
      yield* again.leave

      // Without clients for longer than the node remembers: everything is told again.
      yield* TestClock.adjust("2 minutes")
      const late = reader(yield* fetch("/v1/topics/chess/events", { headers }))
      assert.deepStrictEqual((yield* take(late, 1)).map(({ data }) => data.type), ["present"])
      yield* late.leave
    }).pipe(onNetwork))

  it.effect("watches at most 64 topics, each once for all of its clients", () =>
    Effect.gen(function*() {
      const { fetch } = yield* pair
      const streams = []
      for (let i = 0; i < maxTopics; i++) {
        streams.push(reader(yield* fetch(`/v1/topics/${i}/events`)), reader(yield* fetch(`/v1/topics/${i}/events`)))
      }
      const refused = yield* problem(yield* fetch("/v1/topics/another/events"))
      assert.deepStrictEqual([refused.status, refused._tag], [503, "TooMany"])
      for (const { leave } of streams) yield* leave
      // A minute after the last client of a topic left, there is room for another.
      yield* settled
      yield* TestClock.adjust("1 minute")
      const stream = reader(yield* fetch("/v1/topics/another/events"))
      assert.strictEqual((yield* take(stream, 1))[0].data.type, "present")
      yield* stream.leave
    }).pipe(onNetwork))

  it.effect("tells a client with a filter when an offer enters or leaves it", () =>
    Effect.gen(function*() {
      const { b, fetch } = yield* pair
      const signer = network.identity("ann")
      const putTag = (tag: string, seq: bigint) =>
        Context.get(b, Store).put(
          NodeId.fromTopic("chess"),
          Result.getOrThrow(Topic.sign({
            signer,
            address: signer.address,
            payload: Topic.make({ topic: "chess", name: tag, tags: [tag] }),
            seq,
            timestamp: BigInt(network.now)
          }))
        )
      yield* putTag("de", 1n)
      const stream = reader(yield* fetch("/v1/topics/chess/events?tag=fr"))
      assert.deepStrictEqual((yield* take(stream, 1))[0].data.offers, [])
      yield* putTag("fr", 2n)
      assert.deepStrictEqual((yield* take(stream, 1)).map(named), [["appeared", "fr"]])
      yield* putTag("de", 3n)
      assert.deepStrictEqual((yield* take(stream, 1)).map(named), [["gone", "de"]])
      yield* stream.leave
    }).pipe(onNetwork))
})

describe("/v1/announcements", () => {
  const topicPath = "/v1/announcements/topics/translate"

  it.effect("keeps an offer until it is deleted, and tells which nodes hold a copy", () =>
    Effect.gen(function*() {
      const { a, b, fetch } = yield* pair
      const body = { name: "Ann", protocols: ["a2a"], meta: { price: 3 }, ttl: 600 }
      const put = yield* fetch(`${topicPath}?replicas=1&within=10s`, sending("PUT", body))
      const announced = yield* document(put, Api.Announcement)
      assert.deepStrictEqual(
        [announced.topic, announced.name, announced.standing, announced.durable, announced.wanted],
        ["translate", "Ann", true, false, 8]
      )
      assert.deepStrictEqual(announced.confirmed.map(({ node_id_hex }) => node_id_hex), [network.dht(a).nodeId])
      assert.deepStrictEqual(yield* document(yield* fetch(topicPath), Api.Announcement), announced)

      // Renewed many times.
      yield* TestClock.adjust("1 hour")
      const { offers } = yield* network.dht(a).discover("translate")
      assert.deepStrictEqual(offers.map(({ address }) => address), [network.dht(b).agent])

      assert.strictEqual((yield* fetch(topicPath, sending("DELETE"))).status, 204)
      yield* settled
      assert.strictEqual((yield* problem(yield* fetch(topicPath)))._tag, "NotAnnounced")
      assert.strictEqual((yield* problem(yield* fetch(topicPath, sending("DELETE")))).status, 404)
      assert.deepStrictEqual((yield* document(yield* fetch("/v1/topics/translate"), Api.Topic)).offers, [])
    }).pipe(onNetwork))

  it.effect("keeps an endpoint and a profile, and lists them among those of programs", () =>
    Effect.gen(function*() {
      const { b, fetch } = yield* pair
      yield* network.dht(b).announceTopic({ topic: "chess" })
      const endpoint = { endpoints: ["tcp://203.0.113.5:80"], nat_type: "full_cone" }
      yield* document(yield* fetch("/v1/announcements/endpoint", sending("PUT", endpoint)), Api.Announcement)
      yield* document(yield* fetch("/v1/announcements/profile", sending("PUT", { name: "Ann" })), Api.Announcement)
      const list = yield* document(yield* fetch("/v1/announcements"), Api.Announcements)
      assert.deepStrictEqual(
        list.announcements.map(({ record, standing, title }) => [record.type_name, title, standing]),
        [["topic", "chess", false], ["endpoint", "tcp://203.0.113.5:80", true], ["profile", "Ann", true]]
      )
      assert.deepStrictEqual(list.unpublished, [])
      const agent = yield* document(yield* fetch(agentPath(b)), Api.Agent)
      assert.deepStrictEqual([agent.endpoint?.nat_type, agent.profile?.name], ["full_cone", "Ann"])
    }).pipe(onNetwork))

  it("can wait for as many copies as a record has", () => assert.strictEqual(maxReplicas, replicas))

  it.effect("says in a problem how many copies there are, and keeps the announcement", () =>
    Effect.gen(function*() {
      const { fetch } = yield* pair
      const response = yield* fetch(`${topicPath}?replicas=8&within=500ms`, sending("PUT", { name: "Ann" }))
      const lacking = yield* problem(response)
      assert.deepStrictEqual(
        [lacking.status, lacking._tag, lacking.wanted, lacking.confirmed],
        [504, "NotEnoughReplicas", 8, 1]
      )
      assert.strictEqual((yield* fetch(topicPath)).status, 200)
    }).pipe(onNetwork))

  it.effect("names the field that does not fit, and what else is wrong", () =>
    Effect.gen(function*() {
      const { fetch } = yield* pair
      const tooLong = yield* problem(yield* fetch(topicPath, sending("PUT", { name: "A".repeat(600) })))
      assert.deepStrictEqual([tooLong.status, tooLong._tag], [422, "InvalidRecord"])
      assert.include(tooLong.excess, { field: "name", size: 600, unit: "bytes" })
      const wrong: ReadonlyArray<readonly [path: string, body: unknown, status: number, said: string]> = [
        ["/v1/announcements/endpoint", { endpoints: ["x"] }, 422, "is not a URL"],
        ["/v1/announcements/endpoint", {}, 400, "endpoints"],
        ["/v1/announcements/endpoint", { endpoints: [], nat_type: "other" }, 400, "nat_type"],
        [topicPath, { ttl: 9000 }, 422, "7200"],
        [topicPath, { ttl: 0 }, 400, "ttl"],
        [topicPath, { name: 1 }, 400, "name"],
        [`${topicPath}?replicas=9`, {}, 400, "replicas"],
        [`${topicPath}?replicas=1&within=10h`, {}, 400, "within"],
        [topicPath, [], 400, "object"]
      ]
      for (const [path, body, status, said] of wrong) {
        const refused = yield* problem(yield* fetch(path, sending("PUT", body)))
        assert.strictEqual(refused.status, status, said)
        assert.include(refused.detail, said)
      }
      const broken = yield* fetch(topicPath, { ...sending("PUT"), body: "{" })
      assert.strictEqual((yield* problem(broken))._tag, "BadRequest")
      const form = { method: "PUT", headers: { authorization, "content-type": "text/plain" }, body: "name=x" }
      assert.strictEqual((yield* problem(yield* fetch(topicPath, form)))._tag, "UnsupportedMediaType")
    }).pipe(onNetwork))
})

/** The routes that act for the node, or show what is private to it. */
const own: ReadonlyArray<readonly [method: string, path: string]> = [
  ["PUT", "/v1/announcements/endpoint"],
  ["DELETE", "/v1/announcements/endpoint"],
  ["PUT", "/v1/announcements/profile"],
  ["DELETE", "/v1/announcements/profile"],
  ["PUT", "/v1/announcements/topics/x"],
  ["DELETE", "/v1/announcements/topics/x"],
  ["GET", "/v1/backup"],
  ["GET", "/v1/mail"],
  ["POST", "/v1/mail"],
  ["POST", "/v1/records"],
  // The same routes in another spelling.
  ["GET", "/v1/%6dail"],
  ["GET", "//v1/mail"],
  ["PUT", "/%76%31/announcements/profile"]
]

const body = (method: string): RequestInit =>
  method === "GET" ? { method } : { method, headers: { "content-type": "application/json" }, body: "{}" }

describe("what acts for the node", () => {
  it.effect("needs the token, though all else can be read without it", () =>
    Effect.gen(function*() {
      const { b, fetch } = yield* pair
      const closed = yield* serve(b)
      for (const [method, path] of own) {
        for (const ask of [fetch, closed] satisfies ReadonlyArray<Fetch>) {
          const response = yield* ask(path, body(method))
          assert.strictEqual(response.status, 401, `${method} ${path}`)
          assert.strictEqual(response.headers.get("www-authenticate"), "Bearer")
          assert.strictEqual((yield* problem(response))._tag, "Unauthorized")
        }
      }
      const wrong = yield* fetch("/v1/mail", { headers: { authorization: "Bearer fedcba9876543210" } })
      assert.strictEqual(wrong.status, 401)
      for (const path of ["/v1/network", "/v1/announcements", "/v1/overview"]) {
        assert.strictEqual((yield* fetch(path)).status, 200, path)
      }
    }).pipe(onNetwork))

  it.effect("needs none on a node that is open", () =>
    Effect.gen(function*() {
      const { b } = yield* pair
      const fetch = yield* serve(b, { open: true })
      const put = { ...body("PUT"), body: JSON.stringify({ name: "Ann" }) }
      assert.strictEqual((yield* fetch("/v1/announcements/profile", put)).status, 200)
      assert.strictEqual((yield* fetch("/v1/mail")).status, 200)
    }).pipe(onNetwork))

  it.effect("is refused to pages of other origins, on an open node too", () =>
    Effect.gen(function*() {
      const { b } = yield* pair
      const fetch = yield* serve(b, { open: true })
      for (const headers of [{ origin: "https://evil.example" }, { "sec-fetch-site": "cross-site" }]) {
        const response = yield* fetch("/v1/announcements/profile", { method: "PUT", headers, body: "{}" })
        assert.strictEqual((yield* problem(response))._tag, "CrossOrigin")
      }
      const rebound = yield* fetch("/v1/mail", { headers: { host: "evil.example:2634" } })
      assert.strictEqual((yield* problem(rebound))._tag, "UnknownHost")
    }).pipe(onNetwork))
})

describe("a malformed request", () => {
  it.effect("is answered with one sentence that names the part at fault", () =>
    Effect.gen(function*() {
      const { fetch } = yield* pair
      const profile = "/v1/announcements/profile"
      for (
        const [path, init, detail] of [
          ["/v1/records/xyz", {}, "key in the path is wrong: expected 64 hex digits"],
          ["/v1/topics/x?limit=abc", {}, "The parameter limit is wrong: expected a finite number"],
          ["/v1/topics/x?limit=1001", {}, "The parameter limit is wrong: expected a value between 0 and 1000"],
          ["/v1/topics/x?after=abc", {}, "The parameter after is wrong: expected the next of the previous page"],
          ["/v1/topics/x?protocols=a2a", {}, "The parameter protocols is unknown"],
          [
            `${profile}?within=1h`,
            sending("PUT", {}),
            "The parameter within is wrong: expected a time such as 500ms or 10s, at most 60s"
          ],
          [profile, sending("PUT", []), "The body is wrong: expected object"],
          [profile, sending("PUT", { name: 1 }), "The member name of the body is wrong: expected string | null"],
          [profile, sending("PUT", { skills: ["a", 2] }), "The member skills.1 of the body is wrong: expected string"],
          [
            profile,
            sending("PUT", { ttl: 0 }),
            "The member ttl of the body is wrong: expected a value between 1 and 604800"
          ],
          [profile, sending("PUT", { nam: "Ann" }), "The member nam of the body is unknown"],
          ["/v1/records", sending("POST", {}), "The member signed_hex of the body is missing"],
          [
            "/v1/records",
            sending("POST", { signed_hex: "abc" }),
            "The member signed_hex of the body is wrong: expected pairs of hex digits"
          ]
        ] as const
      ) {
        const refused = yield* problem(yield* fetch(path, init))
        assert.deepStrictEqual([refused._tag, refused.detail], ["BadRequest", detail], path)
      }
    }).pipe(onNetwork))

  it.effect("replaces nothing: a misspelled member is not left out", () =>
    Effect.gen(function*() {
      const { fetch } = yield* pair
      const profile = "/v1/announcements/profile"
      yield* fetch(profile, sending("PUT", { name: "Ann" }))
      assert.strictEqual((yield* fetch(profile, sending("PUT", { nmae: "Ann B." }))).status, 400)
      assert.strictEqual((yield* document(yield* fetch(profile), Api.Announcement)).name, "Ann")
    }).pipe(onNetwork))
})

describe("a page of a named origin", () => {
  const origin = "https://app.example"

  it.effect("may ask what it can send, send it with the token, and read the response", () =>
    Effect.gen(function*() {
      const { b } = yield* pair
      const fetch = yield* serve(b, { token: Redacted.make(token), origins: [origin] })
      const question = { origin, "access-control-request-method": "PUT" }
      const preflight = yield* fetch("/v1/announcements/profile", { method: "OPTIONS", headers: question })
      assert.strictEqual(preflight.status, 204)
      assert.strictEqual(preflight.headers.get("access-control-allow-origin"), origin)
      assert.strictEqual(preflight.headers.get("access-control-allow-methods"), "GET, PUT, DELETE")
      assert.include(preflight.headers.get("access-control-allow-headers"), "authorization")
      assert.isNull(preflight.headers.get("access-control-allow-credentials"))

      const headers = { origin, authorization, "sec-fetch-site": "cross-site" }
      const response = yield* fetch("/v1/network", { headers })
      assert.strictEqual(response.status, 200)
      assert.strictEqual(response.headers.get("access-control-allow-origin"), origin)
      assert.strictEqual(response.headers.get("vary"), "origin")
      // Without the token it learns that it needs one.
      const refused = yield* fetch("/v1/network", { headers: { origin } })
      assert.deepStrictEqual([refused.status, refused.headers.get("access-control-allow-origin")], [401, origin])
    }).pipe(onNetwork))

  it.effect("is no page of another origin", () =>
    Effect.gen(function*() {
      const { b } = yield* pair
      const fetch = yield* serve(b, { token: Redacted.make(token), readable: true, origins: [origin] })
      for (const other of ["https://evil.example", "http://app.example", "https://app.example:8443", "null"]) {
        const headers = { origin: other, authorization, "access-control-request-method": "PUT" }
        for (const method of ["GET", "OPTIONS"]) {
          const response = yield* fetch("/v1/network", { method, headers })
          assert.strictEqual(response.status, 403, other)
          assert.isNull(response.headers.get("access-control-allow-origin"))
        }
      }
    }).pipe(onNetwork))
})

describe("a guest", () => {
  const origin = "https://app.example"
  const options = { token: Redacted.make(token), records: [origin] }
  const signed_hex = Hex.encode(offer("chess", "guest").bytes)

  const posting = (headers: Record<string, string>, body: unknown = { signed_hex }): RequestInit => ({
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body: JSON.stringify(body)
  })

  it.effect("publishes a record that it signed, from a page of a named origin, without the token", () =>
    Effect.gen(function*() {
      const { a, b } = yield* pair
      const fetch = yield* serve(b, options)
      const question = {
        origin,
        "access-control-request-method": "POST",
        "access-control-request-headers": "content-type"
      }
      const preflight = yield* fetch("/v1/records", { method: "OPTIONS", headers: question })
      assert.strictEqual(preflight.status, 204)
      assert.strictEqual(preflight.headers.get("access-control-allow-origin"), origin)
      assert.strictEqual(preflight.headers.get("access-control-allow-methods"), "POST")
      assert.include(preflight.headers.get("access-control-allow-headers"), "content-type")
      const response = yield* fetch("/v1/records?replicas=1", posting({ origin, "sec-fetch-site": "cross-site" }))
      assert.strictEqual(response.headers.get("access-control-allow-origin"), origin)
      yield* document(response, Api.Published)
      assert.strictEqual((yield* network.dht(a).discover("chess")).offers.length, 1)
      // A proxy in front of the node may pass on the name that clients use.
      const named = { origin, host: "gateway.example" }
      assert.strictEqual((yield* fetch("/v1/records", posting(named))).status, 200)
    }).pipe(onNetwork))

  it.effect("is of a named origin, or of every one and no page at all under *", () =>
    Effect.gen(function*() {
      const { b } = yield* pair
      const named = yield* serve(b, options)
      for (const other of ["https://evil.example", "http://app.example", "null", "*"]) {
        const response = yield* named("/v1/records", posting({ origin: other }))
        assert.include([401, 403], response.status, other)
        assert.isNull(response.headers.get("access-control-allow-origin"))
        const question = { origin: other, "access-control-request-method": "POST" }
        const preflight = yield* named("/v1/records", { method: "OPTIONS", headers: question })
        assert.include([401, 403], preflight.status, other)
      }
      assert.strictEqual((yield* named("/v1/records", posting({}))).status, 401)
      const all = yield* serve(b, { ...options, records: ["*"] })
      for (const headers of [{ origin: "https://any.example" }, { origin: "null" }, {}]) {
        const response = yield* all("/v1/records", posting(headers))
        assert.strictEqual(response.status, 200)
        assert.strictEqual(response.headers.get("access-control-allow-origin"), headers.origin ?? null)
      }
    }).pipe(onNetwork))

  it.effect("learns that its token is wrong, if it sends one", () =>
    Effect.gen(function*() {
      const { b } = yield* pair
      const fetch = yield* serve(b, { ...options, records: ["*"], readable: true })
      const response = yield* fetch("/v1/records", posting({ authorization: "Bearer fedcba9876543210" }))
      assert.strictEqual((yield* problem(response))._tag, "Unauthorized")
    }).pipe(onNetwork))

  it.effect("is refused on every other route, as without --http-records", () =>
    Effect.gen(function*() {
      const { b } = yield* pair
      for (const records of [[origin], ["*"]]) {
        for (const readable of [false, true]) {
          const fetch = yield* serve(b, { ...options, records, readable })
          for (const [method, path] of own) {
            if (path === "/v1/records") continue
            const response = yield* fetch(path, { ...body(method), headers: { origin } })
            assert.include([401, 403], response.status, `${method} ${path}`)
            const plain = yield* fetch(path, body(method))
            assert.strictEqual(plain.status, 401, `${method} ${path}`)
          }
          for (const path of ["/v1/records/x", "//v1/records", "/v1/%72ecords"]) {
            const response = yield* fetch(path, posting({ origin }))
            assert.isAtLeast(response.status, 400, path)
          }
          // Documents are shared with pages under --http-origin only.
          const overview = yield* fetch("/v1/overview", { headers: { origin } })
          assert.include([401, 403], overview.status)
          assert.isNull(overview.headers.get("access-control-allow-origin"))
        }
      }
      const closed = yield* serve(b, options)
      const key = NodeId.fromTopic("chess")
      assert.strictEqual((yield* closed(`/v1/records/${key}`, { headers: { origin } })).status, 401)
      const readable = yield* serve(b, { ...options, readable: true })
      const read = yield* readable(`/v1/records/${key}`, { headers: { origin } })
      assert.deepStrictEqual([read.status, read.headers.get("access-control-allow-origin")], [404, origin])
    }).pipe(onNetwork))

  it.effect("has limits of its own, which leave the owner's alone", () =>
    Effect.gen(function*() {
      const { b } = yield* pair
      const fetch = yield* serve(b, { ...options, records: ["*"] })
      for (let i = 0; i < Limits.rates.records.perNetwork; i++) yield* fetch("/v1/records", posting({}))
      const refused = yield* fetch("/v1/records", posting({}))
      assert.strictEqual(refused.headers.get("retry-after"), "10")
      assert.strictEqual((yield* problem(refused))._tag, "RateLimited")
      assert.strictEqual((yield* fetch("/v1/announcements/profile", sending("PUT", { name: "Ben" }))).status, 200)
    }).pipe(onNetwork))

  it.effect("waits for copies for at most ten seconds", () =>
    Effect.gen(function*() {
      const { b } = yield* pair
      const fetch = yield* serve(b, { ...options, records: ["*"] })
      const waiting = yield* Effect.forkScoped(fetch("/v1/records?replicas=8&within=60s", posting({})))
      yield* settled
      yield* TestClock.adjust("10 seconds")
      yield* settled
      assert.strictEqual((yield* problem(yield* Fiber.join(waiting)))._tag, "NotEnoughReplicas")
    }).pipe(onNetwork))

  it.effect("is told what is wrong with a record", () =>
    Effect.gen(function*() {
      const { b } = yield* pair
      const fetch = yield* serve(b, { ...options, records: ["*"] })
      for (
        const [sent, status, tag] of [
          [{ signed_hex: "00" }, 422, "InvalidRecord"],
          [{ signed_hex: `${signed_hex.slice(0, -2)}ff` }, 422, "InvalidRecord"],
          [{ signed_hex: "xyz" }, 400, "BadRequest"],
          [{}, 400, "BadRequest"],
          [{ signed_hex, key: "12" }, 400, "BadRequest"]
        ] as const
      ) {
        const refused = yield* problem(yield* fetch("/v1/records", posting({}, sent)))
        assert.deepStrictEqual([refused.status, refused._tag], [status, tag], JSON.stringify(sent))
      }
    }).pipe(onNetwork))
})

describe("/v1/mail", () => {
  /** `a` can be written to, and `b` reads its mail over HTTP. */
  const correspondents = Effect.gen(function*() {
    const nodes = yield* pair
    yield* network.dht(nodes.a).publishProfile({ name: "Ann" })
    yield* network.dht(nodes.b).publishProfile({ name: "Ben" })
    yield* settled
    const write = (text: string, ttl?: number) =>
      Effect.andThen(
        network.dht(nodes.a).mail.send({
          recipient: network.dht(nodes.b).agent,
          type: 3,
          body: new TextEncoder().encode(text),
          ttl
        }),
        settled
      )
    const read = (cursor?: string, limit = 100) =>
      Effect.flatMap(
        nodes.fetch(`/v1/mail?limit=${limit}`, {
          headers: { authorization, ...(cursor === undefined ? {} : { "last-event-id": cursor }) }
        }),
        (response) => document(response, Api.Mailbox)
      )
    return { ...nodes, write, read }
  })

  const textsOf = ({ notes }: typeof Api.Mailbox.Type) => notes.map(({ text }) => text)

  it.effect("sends a message", () =>
    Effect.gen(function*() {
      const { a, b, fetch } = yield* correspondents
      const to = Address.format(network.dht(a).agent)
      const sent = yield* document(
        yield* fetch("/v1/mail?replicas=1", sending("POST", { to, text: "See you at noon" })),
        Api.Published
      )
      assert.strictEqual(sent.record.type_name, "mailbox")
      assert.strictEqual(sent.confirmed.length, 1)
      const { messages } = yield* network.dht(a).mail.read
      assert.deepStrictEqual(
        messages.map(({ body, sender }) => [new TextDecoder().decode(body), sender]),
        [["See you at noon", network.dht(b).agent]]
      )
    }).pipe(onNetwork))

  it.effect("tells why a message cannot be sent", () =>
    Effect.gen(function*() {
      const { a, fetch } = yield* correspondents
      const to = Address.format(network.dht(a).agent)
      const stranger = Address.format(network.addressOf("stranger"))
      const wrong: ReadonlyArray<readonly [body: unknown, status: number, tag: string]> = [
        [{ to: stranger, text: "x" }, 404, "NoRecipientKey"],
        [{ to: "x", text: "x" }, 400, "BadRequest"],
        [{ to }, 400, "BadRequest"],
        [{ to, text: "x", body_hex: "00" }, 400, "BadRequest"],
        [{ to, body_hex: "0" }, 400, "BadRequest"],
        [{ to, text: "x".repeat(390) }, 422, "InvalidRecord"]
      ]
      for (const [body, status, tag] of wrong) {
        const refused = yield* problem(yield* fetch("/v1/mail", sending("POST", body)))
        assert.deepStrictEqual([refused.status, refused._tag], [status, tag], JSON.stringify(body))
      }
    }).pipe(onNetwork))

  it.effect("lists each message once for a client that returns with its cursor", () =>
    Effect.gen(function*() {
      const { read, write } = yield* correspondents
      yield* write("one")
      yield* write("two")
      const first = yield* read()
      assert.deepStrictEqual([textsOf(first), first.reset, first.more], [["one", "two"], false, false])
      yield* write("three")
      const second = yield* read(first.cursor)
      assert.deepStrictEqual(textsOf(second), ["three"])
      assert.deepStrictEqual(textsOf(yield* read(second.cursor)), [])
      assert.deepStrictEqual(textsOf(yield* read()), ["one", "two", "three"])
      const part = yield* read(undefined, 2)
      assert.deepStrictEqual([textsOf(part), part.more], [["one", "two"], true])
      assert.deepStrictEqual(textsOf(yield* read(part.cursor)), ["three"])
      // Of another run of the node.
      const reset = yield* read("abc.7")
      assert.deepStrictEqual([textsOf(reset), reset.reset], [["one", "two", "three"], true])
    }).pipe(onNetwork))

  it.effect("lists no message that has expired, on a quiet mailbox either", () =>
    Effect.gen(function*() {
      const { fetch, read, write } = yield* correspondents
      yield* write("one", 60)
      yield* write("two")
      const first = yield* read(undefined, 1)
      assert.deepStrictEqual([textsOf(first), first.more], [["one"], true])
      yield* TestClock.adjust("62 seconds")
      const all = yield* read()
      assert.deepStrictEqual([textsOf(all), all.more], [["two"], false])
      assert.deepStrictEqual(textsOf(yield* read(first.cursor)), ["two"])
      const stream = reader(yield* fetch("/v1/mail", { headers: { authorization, accept: "text/event-stream" } }))
      const [event] = yield* take(stream, 1)
      assert.strictEqual((event.data.note as typeof Api.Note.Type).text, "two")
      yield* stream.leave
    }).pipe(onNetwork))

  it.effect("streams messages as they arrive, each once for a cursor", () =>
    Effect.gen(function*() {
      const { fetch, write } = yield* correspondents
      const stream = (cursor?: string) =>
        Effect.map(
          fetch("/v1/mail", {
            headers: {
              authorization,
              accept: "text/event-stream",
              ...(cursor === undefined ? {} : { "last-event-id": cursor })
            }
          }),
          reader
        )
      yield* write("one")
      const first = yield* stream()
      const [one] = yield* take(first, 1)
      yield* write("two")
      yield* TestClock.adjust("5 seconds")
      const [two] = yield* take(first, 1)
      const noteOf = ({ data }: typeof one) => (data.note as typeof Api.Note.Type)
      assert.deepStrictEqual([noteOf(one).text, noteOf(two).text], ["one", "two"])
      yield* first.leave
      const again = yield* stream(noteOf(one).cursor)
      assert.deepStrictEqual((yield* take(again, 1)).map((event) => noteOf(event).text), ["two"])
      yield* again.leave
    }).pipe(onNetwork))
})

describe("the limits of the gateway", () => {
  const streaming: RequestInit = { headers: { authorization, accept: "text/event-stream" } }

  const refusedBy = Effect.fnUntraced(function*(response: Response) {
    const { _tag, status } = yield* problem(response)
    return [status, _tag]
  })

  it.effect("count lookups of all routes together", () =>
    Effect.gen(function*() {
      const { fetch } = yield* pair
      for (let i = 0; i < Limits.rates.lookups.perNetwork; i++) yield* fetch("/v1/topics/none")
      assert.deepStrictEqual(yield* refusedBy(yield* fetch("/v1/mail", { headers: { authorization } })), [
        429,
        "RateLimited"
      ])
    }).pipe(onNetwork))

  it.effect("count writes of all routes together", () =>
    Effect.gen(function*() {
      const { fetch } = yield* pair
      const path = "/v1/announcements/profile"
      for (let i = 0; i < Limits.rates.writes.perNetwork; i++) yield* fetch(path, sending("DELETE"))
      assert.deepStrictEqual(yield* refusedBy(yield* fetch("/v1/records", sending("POST", { signed_hex: "00" }))), [
        429,
        "RateLimited"
      ])
    }).pipe(onNetwork))

  it.effect("hold for the concurrent lookups of all routes together", () =>
    Effect.gen(function*() {
      const { b } = yield* pair
      const query = Context.get(b, Query.Query)
      const fetch = yield* serve(
        Context.add(b, Query.Query, { ...query, resolveAll: () => Effect.never }),
        { token: Redacted.make(token), readable: true }
      )
      for (let i = 0; i < maxLookups; i++) yield* Effect.forkScoped(fetch(agentPath(b)))
      yield* settled
      const read = fetch("/v1/mail", { headers: { authorization } })
      assert.deepStrictEqual(yield* refusedBy(yield* read), [503, "TooMany"])
      yield* TestClock.adjust("15 seconds")
      assert.strictEqual((yield* read).status, 200)
    }).pipe(onNetwork))

  it.effect("hold for the streams of all routes together", () =>
    Effect.gen(function*() {
      const { fetch } = yield* pair
      const streams = []
      for (let i = 0; i < maxStreams; i++) streams.push(reader(yield* fetch("/v1/topics/none/events", streaming)))
      assert.deepStrictEqual(yield* refusedBy(yield* fetch("/v1/mail", streaming)), [503, "TooMany"])
      yield* Effect.forEach(streams, ({ leave }) => leave, { discard: true })
      yield* settled
      const response = yield* fetch("/v1/mail", streaming)
      assert.strictEqual(response.status, 200)
      yield* reader(response).leave
    }).pipe(onNetwork))
})

describe("/v1/records", () => {
  const signer = network.identity("offline")

  const sign = (options: { readonly type?: number; readonly payload?: Uint8Array; readonly seq?: bigint } = {}) =>
    Result.getOrThrow(Record.sign({
      signer,
      address: signer.address,
      type: options.type ?? 0x07,
      payload: options.payload ?? Uint8Array.of(0x01),
      seq: options.seq ?? 1n,
      timestamp: BigInt(network.now),
      ttl: 3600
    }))

  it.effect("publishes a record that the client has signed, and shows it as it was signed", () =>
    Effect.gen(function*() {
      const { a, fetch } = yield* pair
      const signed_hex = Hex.encode(sign().bytes)
      const { confirmed, record } = yield* document(
        yield* fetch("/v1/records?replicas=1", sending("POST", { signed_hex })),
        Api.Published
      )
      assert.deepStrictEqual(record.key_node_id_hex, signer.nodeId)
      assert.deepStrictEqual(confirmed.map(({ node_id_hex }) => node_id_hex), [network.dht(a).nodeId])
      const { records, total } = yield* document(yield* fetch(`/v1/records/${signer.nodeId}`), Api.Records)
      assert.deepStrictEqual([records.map((it) => it.signed_hex), total], [[signed_hex], 1])
      assert.strictEqual((yield* fetch(`/v1/records/${signer.nodeId}?type=7`)).status, 200)
      const none = yield* problem(yield* fetch(`/v1/records/${signer.nodeId}?type=8`))
      assert.deepStrictEqual([none.status, none._tag], [404, "NoMatchingRecords"])
    }).pipe(onNetwork))

  it.effect("lets other fibers run while a long list of records is built", () =>
    Effect.gen(function*() {
      const { b } = yield* pair
      const record = sign()
      const query = Context.get(b, Query.Query)
      const records = Arr.makeBy(1000, (i) => ({ ...record, seq: BigInt(i) }))
      const completeness = { answered: 1, holders: 1, seen: 1000, held: 1000 }
      const readAll = () => Effect.succeed({ records, completeness })
      const fetch = yield* serve(Context.add(b, Query.Query, { ...query, readAll }))
      let turns = 0
      yield* Effect.forkScoped(Effect.forever(Effect.andThen(Effect.sync(() => turns++), Effect.yieldNow)))
      const turnsOf = Effect.fnUntraced(function*(limit: number) {
        const before = turns
        const { records } = yield* document(yield* fetch(`/v1/records/${signer.nodeId}?limit=${limit}`), Api.Records)
        assert.strictEqual(records.length, limit)
        return turns - before
      })
      // Nothing but the length of the list differs.
      const ofShort = yield* turnsOf(1)
      assert.isAbove((yield* turnsOf(1000)) - ofShort, 20)
    }).pipe(onNetwork))

  it.effect("puts an offer at the key of its topic", () =>
    Effect.gen(function*() {
      const { a, fetch } = yield* pair
      const signed_hex = Hex.encode(offer("chess", "offline").bytes)
      yield* document(yield* fetch("/v1/records?replicas=1", sending("POST", { signed_hex })), Api.Published)
      assert.strictEqual((yield* network.dht(a).discover("chess")).offers.length, 1)
      const key = NodeId.fromTopic("go")
      const misplaced = yield* problem(yield* fetch("/v1/records", sending("POST", { signed_hex, key })))
      assert.deepStrictEqual([misplaced.status, misplaced._tag], [422, "InvalidRecord"])
    }).pipe(onNetwork))

  it.effect("refuses a record that peers would refuse", () =>
    Effect.gen(function*() {
      const { fetch } = yield* pair
      const forged = sign().bytes.slice()
      forged[forged.length - 1] ^= 1
      yield* fetch("/v1/records", sending("POST", { signed_hex: Hex.encode(sign({ seq: 5n }).bytes) }))
      const wrong: ReadonlyArray<readonly [bytes: Uint8Array, status: number, tag: string]> = [
        [Uint8Array.of(1, 2, 3), 422, "InvalidRecord"],
        [forged, 422, "InvalidRecord"],
        [sign({ payload: new Uint8Array(1000) }).bytes, 422, "RecordTooLarge"],
        [sign({ seq: 2n }).bytes, 409, "StaleRecord"]
      ]
      for (const [bytes, status, tag] of wrong) {
        const refused = yield* problem(yield* fetch("/v1/records", sending("POST", { signed_hex: Hex.encode(bytes) })))
        assert.deepStrictEqual([refused.status, refused._tag], [status, tag])
      }
      yield* TestClock.adjust("2 hours")
      const late = sign({ seq: 9n, type: 0x08 }).bytes
      const expired = yield* problem(yield* fetch("/v1/records", sending("POST", { signed_hex: Hex.encode(late) })))
      assert.strictEqual(expired._tag, "RecordExpired")
    }).pipe(onNetwork))
})

describe("/v1/network", () => {
  it.effect("shows the network as the node sees it", () =>
    Effect.gen(function*() {
      const { fetch } = yield* pair
      const shown = yield* document(yield* fetch("/v1/network"), Api.Network)
      assert.deepInclude(shown, {
        name: null,
        has_key: false,
        membership: "joined",
        contacts: 1,
        local_addr: "9.0.2.1:4121",
        local_addrs: ["9.0.2.1:4121"]
      })
    }).pipe(onNetwork))

  it.effect("tells which nodes it tried to join through, and why each failed", () =>
    Effect.gen(function*() {
      const node = yield* network.node("a", network.socketOf(1))
      yield* Effect.forkScoped(network.dht(node).bootstrap([network.socketOf(9)]).pipe(Effect.ignore))
      yield* TestClock.adjust("1 minute")
      const { failures, membership } = yield* document(yield* (yield* serve(node))("/v1/network"), Api.Network)
      assert.strictEqual(membership, "alone")
      assert.deepStrictEqual(failures.map(({ address }) => address), ["9.0.9.1:4121"])
    }).pipe(onNetwork))
})
