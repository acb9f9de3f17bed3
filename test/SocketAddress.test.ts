import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import * as fc from "fast-check"
import * as SocketAddress from "../src/SocketAddress.ts"

const port = fc.integer({ min: 0, max: 65535 })
const ipv4 = fc.uint8Array({ minLength: 4, maxLength: 4 })
// Mostly zeros, to generate compressed, mapped and special addresses.
const ipv6 = fc.array(fc.oneof({ weight: 2, arbitrary: fc.constant(0) }, fc.constant(0xff), fc.nat(255)), {
  minLength: 16,
  maxLength: 16
}).map((bytes) => Uint8Array.from(bytes))
const mapped = ipv4.map((ip) => Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, ...ip))
const almostMapped = fc.tuple(mapped, fc.nat(11), fc.integer({ min: 1, max: 255 })).map(([ip, at, flip]) =>
  ip.with(at, ip[at] ^ flip)
)
const ip = fc.oneof(ipv4, ipv6, mapped, almostMapped)

const read = (ip: Uint8Array, port: number): SocketAddress.SocketAddress => {
  const address = SocketAddress.fromWire(ip, 0, ip.length, port)
  assert.isDefined(address)
  return address
}

const address = fc.tuple(ip, port).map(([ip, port]) => read(ip, port))
const name = fc.stringMatching(/^[a-z][a-z0-9.-]{0,20}$/)

const reason = (result: Result.Result<unknown, { readonly reason: string }>): string =>
  Result.isFailure(result) ? result.failure.reason : "accepted"

describe("SocketAddress", () => {
  describe("fromWire", () => {
    it("reads the output of ipBytes, at any offset", () => {
      fc.assert(fc.property(address, fc.uint8Array({ maxLength: 8 }), (address, before) => {
        const ip = SocketAddress.ipBytes(address.host)
        assert.isDefined(ip)
        const bytes = Uint8Array.of(...before, ...ip, 1, 2)
        assert.deepStrictEqual(SocketAddress.fromWire(bytes, before.length, ip.length, address.port), address)
      }))
    })

    it("reads an IPv4-mapped IPv6 address as IPv4", () => {
      fc.assert(fc.property(mapped, port, (ip, port) => {
        assert.deepStrictEqual(read(ip, port), read(ip.subarray(12), port))
      }))
    })

    it("refuses every length but 4 and 16", () => {
      for (let length = 0; length <= 20; length++) {
        const result = SocketAddress.fromWire(new Uint8Array(20), 0, length, 1)
        assert.strictEqual(result === undefined, length !== 4 && length !== 16)
      }
    })
  })

  describe("zone ids", () => {
    it("are refused with a reason, in any form of the address", () => {
      for (
        const text of ["[fe80::1%lo]:4121", "[fe80::1%lo]", "fe80::1%lo:4121", "fe80::1%lo", " [FE80::1%25lo]:4121 "]
      ) {
        for (const result of [SocketAddress.fromString(text), SocketAddress.splitHostPort(text)]) {
          assert.match(reason(result), /zone ids are not supported, such as "%(25)?lo"/)
        }
      }
    })

    it("are ignored if there is no IPv6 address before them", () => {
      for (const text of ["a%b:1", "100%:1", "%:1", "[::1]:4121", "::g%lo", "127.0.0.1%lo:1"]) {
        assert.isUndefined(SocketAddress.zoneReason(text))
      }
    })
  })

  describe("ipBytes", () => {
    it("returns the bytes that an address was read from", () => {
      fc.assert(fc.property(fc.oneof(ipv4, almostMapped), (ip) => {
        assert.deepStrictEqual(SocketAddress.ipBytes(read(ip, 0).host), ip)
      }))
    })

    it("treats a host that is not a strict IP address as a name", () => {
      const names = [
        "",
        "localhost",
        "1.2.3",
        "1.2.3.4.5",
        "1.2.3.256",
        "01.2.3.4",
        "1.2.3.4 ",
        "1..3.4",
        "1.2.3.",
        "1.2.3.+4",
        "1.2.3.1e1",
        "::g",
        "1::2::3",
        "[::1]",
        "fe80::1%eth0"
      ]
      for (const host of names) assert.isUndefined(SocketAddress.ipBytes(host), host)
    })

    it("never throws on arbitrary text", () => {
      fc.assert(fc.property(fc.oneof(fc.string(), fc.stringMatching(/^[0-9.:a-f]*$/)), (host) => {
        const ip = SocketAddress.ipBytes(host)
        assert.include([undefined, 4, 16], ip?.length)
      }))
    })
  })

  describe("observed addresses", () => {
    it("are read back as written, with 6 bytes for IPv4 and 18 for IPv6", () => {
      fc.assert(fc.property(address, (address) => {
        const bytes = SocketAddress.encodeObserved(address)
        assert.strictEqual(bytes.length, address.host.includes(":") ? 18 : 6)
        assert.deepStrictEqual(SocketAddress.decodeObserved(bytes), address)
      }))
    })

    it("are 127.0.0.1:0 for a peer without an IP", () => {
      fc.assert(fc.property(name, port, (host, port) => {
        assert.deepStrictEqual(
          SocketAddress.decodeObserved(SocketAddress.encodeObserved({ host, port })),
          { host: "127.0.0.1", port: 0 }
        )
      }))
    })

    it("are refused unless they are 6 or 18 bytes", () => {
      for (let length = 0; length <= 20; length++) {
        const result = SocketAddress.decodeObserved(new Uint8Array(length))
        assert.strictEqual(result === undefined, length !== 6 && length !== 18)
      }
    })
  })

  describe("format and fromString", () => {
    it("preserve an IP address and port", () => {
      fc.assert(fc.property(address, (address) => {
        assert.deepStrictEqual(SocketAddress.fromString(SocketAddress.format(address)), Result.succeed(address))
      }))
    })

    it("write an IPv6 address in brackets and a peer without an IP by its bare name", () => {
      assert.strictEqual(SocketAddress.format({ host: "1.2.3.4", port: 5 }), "1.2.3.4:5")
      assert.strictEqual(SocketAddress.format({ host: "1.2.3.4", port: 0 }), "1.2.3.4:0")
      assert.strictEqual(SocketAddress.format({ host: "::1", port: 5 }), "[::1]:5")
      assert.strictEqual(SocketAddress.format({ host: "alice", port: 0 }), "alice")
    })

    it("convert other spellings of an IP address to the canonical one", () => {
      assert.deepStrictEqual(
        SocketAddress.fromString(" [2001:DB8:0:0::0:1]:80\n"),
        Result.succeed({ host: "2001:db8::1", port: 80 })
      )
      assert.deepStrictEqual(
        SocketAddress.fromString("[::ffff:1.2.3.4]:80"),
        Result.succeed({ host: "1.2.3.4", port: 80 })
      )
    })

    it("report what to do about a text that is not an IP address with a port", () => {
      assert.match(reason(SocketAddress.fromString("1.2.3.4")), /port is missing/)
      assert.match(reason(SocketAddress.fromString("seed.example.org:4121")), /"seed.example.org" .* resolve/)
      assert.match(reason(SocketAddress.fromString("::1:4121")), /\[address\]:port/)
      assert.match(reason(SocketAddress.fromString("1.2.3.4:65536")), /"65536" is not a port/)
      assert.match(reason(SocketAddress.fromString("1.2.3.4:")), /"" is not a port/)
    })
  })

  describe("splitHostPort", () => {
    it("splits names, IPv4 addresses and bracketed IPv6 addresses from the port", () => {
      for (const host of ["seed.example.org", "localhost", "1.2.3.4"]) {
        assert.deepStrictEqual(SocketAddress.splitHostPort(`${host}:4121`), Result.succeed({ host, port: 4121 }))
      }
      assert.deepStrictEqual(SocketAddress.splitHostPort("[::1]:4121"), Result.succeed({ host: "::1", port: 4121 }))
    })

    it("refuses ambiguous and unrelated texts", () => {
      for (const text of ["::1:80", ":80", "[]:80", "[host]:80", "udp://host:80", "a b:80", "host:-1", "host:1.5"]) {
        assert.isTrue(Result.isFailure(SocketAddress.splitHostPort(text)), text)
      }
    })

    it("never throws on arbitrary text, and returns a host and a 16-bit port or nothing", () => {
      fc.assert(fc.property(fc.oneof(fc.string(), fc.stringMatching(/^[[\]0-9.:a-f]*$/)), (text) => {
        const result = SocketAddress.splitHostPort(text)
        if (Result.isSuccess(result)) {
          assert.notStrictEqual(result.success.host, "")
          assert.isTrue(result.success.port >= 0 && result.success.port <= 65535)
        }
      }))
    })
  })

  describe("key", () => {
    it("is equal for equal socket addresses and for no others", () => {
      fc.assert(fc.property(address, address, (a, b) => {
        const same = a.host === b.host && a.port === b.port
        assert.strictEqual(SocketAddress.key(a) === SocketAddress.key(b), same)
        assert.strictEqual(SocketAddress.key({ ...a }), SocketAddress.key(a))
      }))
    })
  })

  describe("isReachable", () => {
    const at = (host: string, port = 4121) => SocketAddress.isReachable({ host, port })

    it("respects the bounds of every unreachable range", () => {
      const borders: ReadonlyArray<readonly [string, string]> = [
        ["0.0.0.0", "1.0.0.0"],
        ["0.255.255.255", "1.0.0.0"],
        ["224.0.0.0", "223.255.255.255"],
        ["239.255.255.255", "223.255.255.255"],
        ["255.255.255.255", "223.255.255.255"],
        ["::", "::1"],
        ["ff00::", "feff::"],
        ["ff02::1", "feff::"]
      ]
      for (const [outside, inside] of borders) {
        assert.isFalse(at(outside), outside)
        assert.isTrue(at(inside), inside)
      }
    })

    it("is false for port 0 of an IP, and true for a name, which has no port", () => {
      for (const host of ["192.0.2.1", "2001:db8::1", "fe80::1%eth0"]) {
        assert.isTrue(at(host), host)
        assert.isFalse(at(host, 0), host)
        assert.isFalse(at(host, 65_536), host)
      }
      assert.isTrue(at("peer", 0))
    })

    it("is false for an IPv4-mapped address, which is IPv4 in canonical text", () => {
      assert.isFalse(at("::ffff:192.0.2.1"))
      assert.isFalse(at("::ffff:c000:201"))
    })
  })

  describe("isReachableFrom", () => {
    /** Hosts from the narrowest scope to the widest. */
    const scopes = [
      ["127.0.0.1", "127.255.0.9", "::1"],
      ["169.254.1.1", "fe80::1"],
      ["10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "fd00::1", "fec0::1"],
      ["192.0.2.1", "8.8.8.8", "2001:db8::1", "peer"]
    ]

    it("is true for a scope that is the same or wider, of either version of IP", () => {
      for (const [i, hosts] of scopes.entries()) {
        for (const [j, others] of scopes.entries()) {
          for (const host of hosts) {
            for (const other of others) {
              assert.strictEqual(
                SocketAddress.isReachableFrom({ host, port: 1 }, { host: other, port: 1 }),
                i >= j,
                `${host} from ${other}`
              )
            }
          }
        }
      }
    })

    it("is false for an unreachable address, and from another host for one with a zone", () => {
      const from = { host: "127.0.0.1", port: 4121 }
      assert.isFalse(SocketAddress.isReachableFrom({ host: "192.0.2.1", port: 0 }, from))
      assert.isFalse(SocketAddress.isReachableFrom({ host: "fe80::1%eth0", port: 4121 }, from))
    })
  })

  describe("isPublic, subnet and source", () => {
    it("respect the bounds of every range that is not public", () => {
      const borders: ReadonlyArray<readonly [string, string]> = [
        ["0.0.0.0", "0.0.0.1"],
        ["10.255.255.255", "11.0.0.0"],
        ["10.0.0.0", "9.255.255.255"],
        ["100.64.0.0", "100.63.255.255"],
        ["100.127.255.255", "100.128.0.0"],
        ["127.0.0.0", "126.255.255.255"],
        ["127.255.255.255", "128.0.0.0"],
        ["169.254.0.0", "169.253.255.255"],
        ["169.254.255.255", "169.255.0.0"],
        ["172.16.0.0", "172.15.255.255"],
        ["172.31.255.255", "172.32.0.0"],
        ["192.168.0.0", "192.167.255.255"],
        ["192.168.255.255", "192.169.0.0"],
        ["224.0.0.0", "223.255.255.255"],
        ["239.255.255.255", "240.0.0.0"],
        ["::", "::2"],
        ["::1", "::2"],
        ["fc00::", "fbff::"],
        ["fdff::", "fe00::"],
        ["fe80::", "fe7f::"],
        ["febf::", "fec0::"],
        ["ff00::", "feff::"]
      ]
      for (const [inside, outside] of borders) {
        assert.isFalse(SocketAddress.isPublic(inside), inside)
        assert.isTrue(SocketAddress.isPublic(outside), outside)
      }
    })

    it("return a subnet exactly for public IP addresses", () => {
      fc.assert(fc.property(fc.oneof(address.map(({ host }) => host), name), (host) => {
        assert.strictEqual(SocketAddress.subnet(host) !== undefined, SocketAddress.isPublic(host))
      }))
    })

    it("put only hosts that differ in the host part into one subnet", () => {
      const pair = fc.tuple(fc.oneof(ipv4, ipv6), fc.nat(15), fc.integer({ min: 1, max: 255 }))
      fc.assert(fc.property(pair, ([ip, at, flip]) => {
        const i = at % ip.length
        const other = ip.slice()
        other[i] ^= flip
        const [a, b] = [read(ip, 0).host, read(other, 0).host]
        fc.pre(SocketAddress.isPublic(a) && SocketAddress.isPublic(b) && a.includes(":") === b.includes(":"))
        const hostPart = i >= (a.includes(":") ? 6 : ip.length - 1)
        assert.strictEqual(SocketAddress.subnet(a) === SocketAddress.subnet(b), hostPart)
      }))
    })

    it("count the public IPv6 hosts of one subnet as one source, and each other host as itself", () => {
      assert.strictEqual(SocketAddress.source("2600:db8:1:2::3"), "2600:db8:1::/48")
      for (const host of ["8.8.4.4", "192.168.1.1", "fd00::7", "::1"]) {
        assert.strictEqual(SocketAddress.source(host), host)
      }
    })

    it("write the subnet as a prefix", () => {
      assert.strictEqual(SocketAddress.subnet("8.8.4.4"), "8.8.4.0/24")
      assert.strictEqual(SocketAddress.subnet("::ffff:8.8.4.4"), "8.8.4.0/24")
      assert.strictEqual(SocketAddress.subnet("2001:db8:1:2::3"), "2001:db8:1::/48")
    })
  })
})
