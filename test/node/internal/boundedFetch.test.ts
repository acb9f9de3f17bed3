import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/testing/TestClock"
import { boundedFetch, isOfInternet, maxRedirects, maxSize } from "../../../src/node/internal/boundedFetch.ts"
import { webServer } from "../../utils/webServer.ts"

const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes)

const onlyFirst = (ip: string) => ip === "127.0.0.1"

const private_ = "its address is private or special, which is not allowed"

describe("boundedFetch", () => {
  it("takes no address for one of the Internet that is private, special, or holds an IPv4 address", () => {
    const others = [
      "0.0.0.0 10.0.0.1 100.64.0.1 100.127.255.255 127.0.0.1 127.255.255.254 169.254.169.254 172.16.0.1 172.31.255.255",
      "192.0.0.1 192.0.2.1 192.88.99.1 192.168.0.1 198.18.0.1 198.19.255.255 198.51.100.1 203.0.113.1 224.0.0.1 240.0.0.1",
      "255.255.255.255 :: ::1 ::7f00:1 ::ffff:127.0.0.1 ::ffff:8.8.8.8 64:ff9b::7f00:1 64:ff9b:1::1 100::1 fc00::1 fd00::1",
      "fe80::1 fec0::1 ff02::1 2001::1 2001:db8::1 2002:7f00:1:: 3fff::1 localhost example.com 1 256.1.1.1"
    ].join(" ").split(" ").concat("")
    const internet = ["8.8.8.8", "1.1.1.1", "100.128.0.1", "172.32.0.1", "198.20.0.1", "2606:4700::1111", "2a00::1"]
    assert.deepStrictEqual(others.filter(isOfInternet), [])
    assert.deepStrictEqual(internet.filter((ip) => !isOfInternet(ip)), [])
  })

  it.effect("follows redirects to a document, also relative ones, and no more than so many", () =>
    Effect.gen(function*() {
      const { requested, url } = yield* webServer(({ url }, response) => {
        const left = Number(url?.slice(1))
        if (left === 0) response.end("here")
        else response.writeHead(302, { location: `/${left - 1}` }).end()
      })
      assert.strictEqual(text(yield* boundedFetch(`${url}/${maxRedirects}`, onlyFirst)), "here")
      const { reason } = yield* Effect.flip(boundedFetch(`${url}/${maxRedirects + 1}`, onlyFirst))
      assert.strictEqual(reason, `there are more than ${maxRedirects} redirects`)
      assert.lengthOf(requested, 2 * (maxRedirects + 1))
    }))

  it.effect("connects to no address that is not allowed, however it is written, named or redirected to", () =>
    Effect.gen(function*() {
      const inner = yield* webServer((_, response) => response.end("secret"))
      const hosts = [
        "127.0.0.1",
        "localhost",
        "2130706433",
        "0x7f.1",
        "127.1",
        "0.0.0.0",
        "[::1]",
        "[::ffff:127.0.0.1]"
      ]
      for (const host of hosts) {
        const { reason } = yield* Effect.flip(boundedFetch(`http://${host}:${inner.port}/`, isOfInternet))
        assert.strictEqual(reason, private_, host)
      }
      for (const host of ["127.0.0.2", "0.0.0.0", "[::1]", "[::ffff:127.0.0.1]"]) {
        const location = `http://${host}:${inner.port}/`
        const outer = yield* webServer((_, response) => response.writeHead(307, { location }).end())
        const { reason } = yield* Effect.flip(boundedFetch(outer.url, onlyFirst))
        assert.strictEqual(reason, `the server redirects to ${location}: ${private_}`)
      }
      assert.deepStrictEqual(inner.requested, [])
    }))

  it.effect("fetches from http and https only, without a user name or password", () =>
    Effect.gen(function*() {
      const { requested, url } = yield* webServer(({ url }, response) =>
        response.writeHead(302, { location: decodeURIComponent(url?.slice(1) ?? "") }).end()
      )
      const wrong = [
        "file:///etc/passwd",
        "ftp://127.0.0.1/",
        "data:text/plain,a",
        "http://ann:secret@127.0.0.1/",
        "http://"
      ]
      for (const text of wrong) {
        yield* Effect.flip(boundedFetch(text, onlyFirst))
        yield* Effect.flip(boundedFetch(`${url}/${encodeURIComponent(text)}`, onlyFirst))
      }
      yield* Effect.flip(boundedFetch("nonsense", onlyFirst))
      assert.lengthOf(requested, wrong.length)
    }))

  it.effect("says why there is no document", () =>
    Effect.gen(function*() {
      const server = yield* webServer(({ url }, response) =>
        url === "/reset" ? response.destroy() : response.writeHead(404).end("none")
      )
      const reasonOf = (url: string) => Effect.map(Effect.flip(boundedFetch(url, onlyFirst)), ({ reason }) => reason)
      assert.strictEqual(yield* reasonOf(`${server.url}/`), "the server answered 404")
      assert.match(yield* reasonOf(`${server.url}/reset`), /closed|hang up/)
      assert.strictEqual(yield* reasonOf("http://no-such-name.invalid/"), "the name does not exist")
      yield* server.close
      assert.strictEqual(yield* reasonOf(server.url), "no server answers there")
    }))

  it.effect("reads no more of a document than its limit, and hangs up", () =>
    Effect.gen(function*() {
      const gone = yield* Deferred.make<void>()
      const { url } = yield* webServer(({ url }, response) => {
        if (url === "/fits") return response.end("a".repeat(maxSize))
        const more = () => {
          while (!response.destroyed && response.write("a".repeat(1 << 14)));
        }
        response.on("drain", more)
        response.on("close", () => Deferred.doneUnsafe(gone, Effect.void))
        more()
      })
      assert.lengthOf(yield* boundedFetch(`${url}/fits`, onlyFirst), maxSize)
      const { reason } = yield* Effect.flip(boundedFetch(url, onlyFirst))
      assert.strictEqual(reason, `the document is longer than ${maxSize} bytes`)
      yield* Deferred.await(gone)
    }))

  it.effect("hangs up when its time is over, or when it is interrupted", () =>
    Effect.gen(function*() {
      const steps = yield* Effect.all([
        Deferred.make<void>(),
        Deferred.make<void>(),
        Deferred.make<void>(),
        Deferred.make<void>()
      ])
      let at = 0
      const next = () => Deferred.doneUnsafe(steps[at++], Effect.void)
      const { url } = yield* webServer((_, response) => {
        response.write("a")
        response.on("close", next)
        next()
      })
      const late = yield* Effect.forkScoped(Effect.flip(boundedFetch(url, onlyFirst)), { startImmediately: true })
      yield* Deferred.await(steps[0])
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual((yield* Fiber.join(late)).reason, "it took longer than 10 seconds")
      yield* Deferred.await(steps[1])
      const unwanted = yield* Effect.forkScoped(boundedFetch(url, onlyFirst), { startImmediately: true })
      yield* Deferred.await(steps[2])
      yield* Fiber.interrupt(unwanted)
      yield* Deferred.await(steps[3])
    }))
})
