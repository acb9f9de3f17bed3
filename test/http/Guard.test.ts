import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Guard from "../../src/http/Guard.ts"
import { digest, type Head, judge, type Policy } from "../../src/internal/httpGuard.ts"
import * as Transport from "../../src/Transport.ts"
import { json, serve } from "../utils/httpNode.ts"
import * as Network from "../utils/network.ts"

const token = "0123456789abcdef"

const open: Policy = {
  hosts: new Set(["localhost:2634", "127.0.0.1:2634", "[::1]:2634"]),
  anyIpPort: undefined,
  token: undefined,
  isOpen: Guard.isOpen
}

const closed: Policy = { ...open, token: digest(token) }

/** The error of a rejected request; undefined if it passes. */
const refusal = (policy: Policy, headers: Head["headers"], options: Partial<Head> = {}) =>
  judge(policy, {
    method: "GET",
    path: "/debug/stats",
    ...options,
    headers: { host: "localhost:2634", ...headers }
  })?.error

describe("the host name of a request", () => {
  it("is one of its own, with its port", () => {
    for (const host of ["localhost:2634", "LocalHost:2634", "127.0.0.1:2634", "[::1]:2634"]) {
      assert.isUndefined(refusal(open, { host }), host)
    }
  })

  it("is not another name that resolves to the server", () => {
    for (
      const host of [
        "evil.example:2634",
        "localhost.evil.example:2634",
        "localhost",
        "localhost:80",
        "127.0.0.1:1",
        "127.0.0.1.nip.io:2634",
        "192.0.2.1:2634",
        "localhost:2634, evil.example",
        "",
        undefined
      ]
    ) assert.strictEqual(refusal(open, { host }), "UnknownHost", host)
  })

  it("may be any IP address, but no other name, if the server is bound to all addresses", () => {
    const everywhere = { ...open, anyIpPort: 2634 }
    for (const host of ["192.0.2.1:2634", "[2001:db8::1]:2634"]) assert.isUndefined(refusal(everywhere, { host }), host)
    for (const host of ["192.0.2.1:80", "192.0.2.1", "evil.example:2634", "1.2.3.4.example:2634", "[x]:2634"]) {
      assert.strictEqual(refusal(everywhere, { host }), "UnknownHost", host)
    }
  })

  it("may omit the default port of HTTP", () => {
    const plain = { ...open, anyIpPort: 80 }
    assert.isUndefined(refusal(plain, { host: "192.0.2.1" }))
    assert.isUndefined(refusal(plain, { host: "192.0.2.1:80" }))
  })

  it("may be any name with the token, which other pages do not have", () => {
    assert.isUndefined(refusal(closed, { host: "node.example", authorization: `Bearer ${token}` }))
    assert.strictEqual(refusal(closed, { host: "node.example", authorization: "Bearer x" }), "UnknownHost")
  })
})

describe("the token", () => {
  it("admits a request that carries it", () => {
    for (const authorization of [`Bearer ${token}`, `bearer ${token}`, `BEARER  ${token}`]) {
      assert.isUndefined(refusal(closed, { authorization }), authorization)
    }
  })

  it("is required: a missing, wrong or misplaced one is rejected", () => {
    const wrong = [
      undefined,
      "",
      "Bearer",
      "Bearer ",
      `Bearer ${token}x`,
      `Bearer ${token.slice(1)}`,
      `Bearer ${token} ${token}`,
      `Basic ${token}`,
      token
    ]
    for (const authorization of wrong) {
      assert.strictEqual(refusal(closed, { authorization }), "Unauthorized", authorization)
    }
    assert.strictEqual(refusal(closed, {}, { path: `/debug/stats?token=${token}` }), "Unauthorized")
  })

  it("is not needed for the page, its files and /health, but for similar paths", () => {
    for (const path of ["/", "/health", "/health/live", "/health/ready", "/assets/page.js"]) {
      assert.isUndefined(refusal(closed, {}, { path }), path)
    }
    for (
      const path of [
        "//",
        "/health/",
        "/health/other",
        "/healthy",
        "/assets",
        "/debug/assets/x",
        "/metrics",
        "/v1/events"
      ]
    ) {
      assert.strictEqual(refusal(closed, {}, { path }), "Unauthorized", path)
    }
  })
})

describe("the origin of a request", () => {
  it("is absent, or the same origin", () => {
    assert.isUndefined(refusal(open, {}))
    assert.isUndefined(refusal(open, { "sec-fetch-site": "none" }))
    assert.isUndefined(refusal(open, { "sec-fetch-site": "same-origin", origin: "http://localhost:2634" }))
    assert.isUndefined(refusal(open, { origin: "https://localhost:2634" }, { method: "POST" }))
  })

  it("is not another origin, not even another port", () => {
    for (const site of ["cross-site", "same-site"]) {
      assert.strictEqual(refusal(open, { "sec-fetch-site": site }), "CrossOrigin", site)
    }
    for (const origin of ["http://evil.example", "http://localhost:3000", "http://localhost", "null", "x"]) {
      assert.strictEqual(refusal(open, { origin }, { method: "POST" }), "CrossOrigin", origin)
    }
    const foreign = { origin: "http://evil.example", authorization: `Bearer ${token}` }
    assert.strictEqual(refusal(closed, foreign), "CrossOrigin")
  })

  it("may be a followed link, though not a form or a frame", () => {
    const link = { "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document" }
    assert.isUndefined(refusal(open, link, { path: "/" }))
    assert.strictEqual(refusal(open, link, { method: "POST" }), "CrossOrigin")
    assert.strictEqual(refusal(open, { ...link, "sec-fetch-dest": "iframe" }), "CrossOrigin")
    assert.strictEqual(refusal(open, { ...link, "sec-fetch-mode": "no-cors" }), "CrossOrigin")
  })
})

describe("a named origin", () => {
  const app = "https://app.example"
  const named: Policy = { ...closed, origins: new Set([app]) }
  const records: Policy = { ...closed, records: new Set([app]) }

  it("may be asked for under any name of the server, which its pages did not make", () => {
    const headers = { host: "gateway.example", origin: app }
    assert.strictEqual(refusal(named, headers), "Unauthorized")
    assert.isUndefined(refusal({ ...named, token: undefined }, headers))
    assert.strictEqual(refusal(named, { host: "evil.example:2634", origin: "http://evil.example:2634" }), "UnknownHost")
  })

  it("of records is so for records only", () => {
    const post = (path: string, origin: string | undefined, policy = records) =>
      refusal(policy, { origin }, { method: "POST", path })
    assert.isUndefined(post("/v1/records", app))
    assert.strictEqual(post("/v1/records", undefined), "Unauthorized")
    assert.strictEqual(post("/v1/records", "https://evil.example"), "Unauthorized")
    for (const path of ["/v1/mail", "/v1/records/", "/v1/recordsx", "//v1/records", "/v1/lookup"]) {
      assert.strictEqual(post(path, app), "Unauthorized", path)
      assert.strictEqual(
        post(path, app, { ...records, token: undefined }),
        path === "/v1/records/" ? undefined : "CrossOrigin",
        path
      )
    }
    for (const method of ["GET", "PUT", "DELETE"]) {
      assert.strictEqual(refusal(records, { origin: app }, { method, path: "/v1/records" }), "Unauthorized", method)
    }
  })
})

describe("Guard", () => {
  it.effect("checks every route, including nonexistent ones", () =>
    Effect.gen(function*() {
      const a = yield* Network.node("a", Network.socketOf(1))
      const fetch = yield* serve(a, { token: Redacted.make(token) })
      const status = (path: string, headers: Record<string, string>) =>
        Effect.map(fetch(path, { headers }), ({ status }) => status)
      for (const path of ["/debug/identity", "/v1/overview", "/v1/events", "/metrics", "/openapi.json", "/x"]) {
        assert.strictEqual(yield* status(path, {}), 401, path)
        assert.strictEqual(yield* status(path, { host: "evil.example" }), 421, path)
      }
      assert.strictEqual(yield* status("/debug/identity", { authorization: `Bearer ${token}` }), 200)
      assert.strictEqual(yield* status("/health", {}), 503)
    }).pipe(Effect.provide(Transport.layerMemoryNetwork)))

  it.effect("reports what is missing, and how to send it", () =>
    Effect.gen(function*() {
      const a = yield* Network.node("a", Network.socketOf(1))
      const response = yield* (yield* serve(a, { token: Redacted.make(token) }))("/debug/identity")
      assert.strictEqual(response.headers.get("www-authenticate"), "Bearer")
      const { _tag, detail } = (yield* json(response)) as { readonly _tag: string; readonly detail: string }
      assert.strictEqual(_tag, "Unauthorized")
      assert.include(detail, "Authorization: Bearer")
    }).pipe(Effect.provide(Transport.layerMemoryNetwork)))

  it.effect("protects every response from other origins, including errors", () =>
    Effect.gen(function*() {
      const a = yield* Network.node("a", Network.socketOf(1))
      const fetch = yield* serve(a)
      const answers = [
        yield* fetch("/debug/identity"),
        yield* fetch("/x"),
        yield* fetch("/debug/identity", { method: "POST" }),
        yield* fetch("/v1/store?limit=x"),
        yield* fetch("/debug/identity", { headers: { host: "evil.example" } })
      ]
      assert.deepStrictEqual(answers.map(({ status }) => status), [200, 404, 405, 400, 421])
      for (const { headers, status } of answers) {
        assert.strictEqual(headers.get("content-security-policy"), Guard.contentSecurityPolicy, `${status}`)
        assert.strictEqual(headers.get("x-content-type-options"), "nosniff")
        assert.strictEqual(headers.get("cross-origin-resource-policy"), "same-origin")
        assert.strictEqual(headers.get("x-frame-options"), "DENY")
        assert.strictEqual(headers.get("cache-control"), "no-store")
        assert.isNull(headers.get("access-control-allow-origin"))
        assert.isNull(headers.get("set-cookie"))
      }
    }).pipe(Effect.provide(Transport.layerMemoryNetwork)))
})
