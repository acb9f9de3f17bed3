import { assert, describe, it } from "@effect/vitest"
import * as IpNetwork from "effect/net/IpNetwork"
import * as NetAddress from "effect/net/NetAddress"
import * as fc from "fast-check"
import { NetworkFilter, type NetworkRules } from "../../src/core/networkFilter.ts"

const networks = (...texts: ReadonlyArray<string>) => texts.map(IpNetwork.fromStringUnsafe)

const filter = (rules: { readonly allow?: ReadonlyArray<string>; readonly deny?: ReadonlyArray<string> }) =>
  new NetworkFilter({ allowFrom: networks(...rules.allow ?? []), denyFrom: networks(...rules.deny ?? []) })

/** Few high bits differ, so that networks and hosts often meet. */
const octet = fc.constantFrom(0, 1, 127, 128, 255)
const ipv4 = fc.tuple(octet, octet, octet, octet).map((octets) =>
  NetAddress.ipv4FromBytesUnsafe(Uint8Array.from(octets))
)
const ipv6 = fc.tuple(octet, octet, octet).map(([a, b, c]) => {
  const bytes = new Uint8Array(16)
  // Not the prefix of IPv4-mapped addresses.
  bytes.set([0x20, a, b])
  bytes[15] = c
  return NetAddress.ipv6FromBytesUnsafe(bytes)
})
const address: fc.Arbitrary<NetAddress.IpAddress> = fc.oneof(ipv4, ipv6)
const network: fc.Arbitrary<IpNetwork.IpNetwork> = fc.oneof(
  fc.tuple(ipv4, fc.nat(32)).map(([ip, length]) => IpNetwork.fromAddressUnsafe(ip, length)),
  fc.tuple(ipv6, fc.nat(128)).map(([ip, length]) => IpNetwork.fromAddressUnsafe(ip, length))
)
const list = fc.array(network, { maxLength: 6 })
const rules = fc.record({ allowFrom: list, denyFrom: list })

const isIn = (networks: ReadonlyArray<IpNetwork.IpNetwork> | undefined, ip: NetAddress.IpAddress) =>
  networks?.some((network) => IpNetwork.contains(network, ip)) === true

const admits = (rules: NetworkRules, ip: NetAddress.IpAddress) =>
  new NetworkFilter(rules).admits(NetAddress.formatIp(ip))

describe("NetworkFilter", () => {
  it("admits the hosts of allowed networks, or all if there are none, except those of denied ones", () => {
    fc.assert(fc.property(rules, address, (rules, ip) => {
      const isAllowed = rules.allowFrom.length === 0 || isIn(rules.allowFrom, ip)
      assert.strictEqual(admits(rules, ip), isAllowed && !isIn(rules.denyFrom, ip))
    }))
  })

  it("admits the first and the last address of a network, and not those beside it", () => {
    const beside = (ip: NetAddress.IpAddress, step: 1n | -1n): NetAddress.IpAddress | undefined => {
      const isIpv4 = NetAddress.isIpv4Address(ip)
      const octets = isIpv4 ? NetAddress.ipv4ToOctets(ip) : NetAddress.ipv6ToOctets(ip)
      const number = octets.reduce((sum, octet) => sum << 8n | BigInt(octet), 0n) + step
      if (number < 0n || number >> BigInt(octets.length * 8) > 0n) return undefined
      const bytes = Uint8Array.from(octets, (_, i) => Number(number >> BigInt(8 * (octets.length - 1 - i)) & 0xffn))
      return isIpv4 ? NetAddress.ipv4FromBytesUnsafe(bytes) : NetAddress.ipv6FromBytesUnsafe(bytes)
    }
    fc.assert(fc.property(network, (network) => {
      const [first, last] = [IpNetwork.firstAddress(network), IpNetwork.lastAddress(network)]
      for (const ip of [first, last]) assert.isTrue(admits({ allowFrom: [network] }, ip))
      for (const ip of [beside(first, -1n), beside(last, 1n)]) {
        if (ip !== undefined) assert.isFalse(admits({ allowFrom: [network] }, ip))
      }
    }))
  })

  it("does not depend on the order of the networks, nor on repetitions", () => {
    fc.assert(fc.property(rules, address, ({ allowFrom, denyFrom }, ip) => {
      const other = { allowFrom: [...allowFrom, ...allowFrom].toReversed(), denyFrom: [...denyFrom].toReversed() }
      assert.strictEqual(admits(other, ip), admits({ allowFrom, denyFrom }, ip))
    }))
  })

  it("admits every host without rules", () => {
    for (const host of ["192.0.2.1", "2001:db8::1", "fe80::1%eth0", "alice"]) {
      assert.isTrue(new NetworkFilter({}).admits(host), host)
    }
  })

  it("takes a host with a zone for its address, and an IPv4-mapped one for IPv4", () => {
    const local = filter({ deny: ["fe80::/10", "192.0.2.0/24"] })
    assert.isFalse(local.admits("fe80::1%eth0"))
    assert.isFalse(local.admits("::ffff:192.0.2.7"))
    assert.isTrue(local.admits("::ffff:198.51.100.7"))
  })

  it("admits a name unless networks are allowed", () => {
    assert.isTrue(filter({ deny: ["0.0.0.0/0", "::/0"] }).admits("alice"))
    assert.isFalse(filter({ allow: ["0.0.0.0/0", "::/0"] }).admits("alice"))
  })
})
