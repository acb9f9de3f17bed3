import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import * as Endpoint from "../src/Endpoint.ts"
import { hintsOf, type Whereabouts } from "../src/PublishHint.ts"
import * as Topic from "../src/Topic.ts"
import * as network from "./utils/network.ts"

const signer = network.identity("signer")
const stamp = { signer, address: signer.address, seq: 1n, timestamp: BigInt(network.now), ttl: 3600 }

const record = (endpoints: ReadonlyArray<string>, natType: Endpoint.NatType = Endpoint.NatType.unknown) =>
  Result.getOrThrow(Endpoint.sign({ ...stamp, payload: Endpoint.make({ endpoints, natType }) }))

const at = (bound: string, known: { readonly publicHost?: string; readonly observed?: string } = {}): Whereabouts => {
  const socket = (text: string) => {
    const port = text.lastIndexOf(":")
    return { host: text.slice(0, port), port: Number(text.slice(port + 1)) }
  }
  return {
    bound: socket(bound),
    publicHost: known.publicHost,
    observed: known.observed === undefined ? undefined : socket(known.observed)
  }
}

const tags = (endpoints: ReadonlyArray<string>, node: Whereabouts | undefined, natType?: Endpoint.NatType) =>
  hintsOf(record(endpoints, natType), node).map(({ _tag }) => _tag)

describe("the hint that v0.2 peers look for the node elsewhere", () => {
  const quic = ["quic://203.0.113.5:4121"]
  const elsewhere = ["EndpointElsewhere"]
  const cases: ReadonlyArray<readonly [string, Whereabouts | undefined, ReadonlyArray<string>]> = [
    ["is given for a port other than the bound one", at("0.0.0.0:4000"), elsewhere],
    ["is not given for the bound port of a node that listens on all addresses", at("0.0.0.0:4121"), []],
    ["is not given for its IPv6 equivalent", at(":::4121"), []],
    ["is not given for the bound address", at("203.0.113.5:4121"), []],
    ["is given for a host other than the bound one", at("203.0.113.9:4121"), elsewhere],
    ["is given if only the machine itself can reach the node", at("127.0.0.1:4121"), elsewhere],
    ["is not given if a private address may be behind the public one", at("192.168.1.5:4121"), []],
    [
      "is given if the public host differs",
      at("192.168.1.5:4121", { publicHost: "203.0.113.9" }),
      elsewhere
    ],
    ["is not given for the public host", at("0.0.0.0:4121", { publicHost: "203.0.113.5" }), []],
    ["is given for a host other than the public one", at("0.0.0.0:4121", { publicHost: "203.0.113.9" }), elsewhere],
    ["is not given for the observed address", at("10.0.0.1:7", { observed: "203.0.113.5:4121" }), []],
    ["is not given if nothing is known about the node", undefined, []]
  ]
  for (const [name, node, expected] of cases) {
    it(name, () => assert.deepStrictEqual(tags(quic, node), expected))
  }

  it("is about the first QUIC URL with an IP and a port", () => {
    const node = at("0.0.0.0:4121")
    assert.deepStrictEqual(tags(["tcp://203.0.113.5:1", "quic://a.example:1", "quic://203.0.113.5"], node), [])
    assert.deepStrictEqual(tags(["quic://a.example:1", "QUIC://[2001:db8::1]:9/path"], node), elsewhere)
    assert.deepStrictEqual(tags(["quic://203.0.113.5:4121", "quic://203.0.113.5:9"], node), [])
  })

  it("is not given behind a symmetric translator, as v0.2 peers then take no address from the record", () => {
    assert.deepStrictEqual(tags(["quic://203.0.113.5:9"], at("0.0.0.0:4121"), Endpoint.NatType.symmetric), [])
  })
})

describe("the hint that holders do not show an endpoint record", () => {
  const sized = (size: number) => {
    const empty = record(["tcp://"]).bytes.length
    const found = Array.from({ length: 8 }, (_, i) => record([`tcp://${"x".repeat(size - empty - i)}`]))
      .find(({ bytes }) => bytes.length === size)
    assert.isDefined(found)
    return found
  }
  const hint = (size: number) =>
    hintsOf(sized(size), undefined).map((hint) => hint._tag === "EndpointUnanswered" && [hint.limit, hint.versions])

  it("begins above 486 bytes for version 0.1 and above 976 for 0.2", () => {
    assert.deepStrictEqual(hint(486), [])
    assert.deepStrictEqual(hint(487), [[486, ["0.1"]]])
    assert.deepStrictEqual(hint(976), [[486, ["0.1"]]])
    assert.deepStrictEqual(hint(977), [[486, ["0.1", "0.2"]]])
  })

  it("is given for endpoint records only", () => {
    const topic = Result.getOrThrow(
      Topic.sign({ ...stamp, payload: Topic.make({ topic: "t", name: "x".repeat(400) }) })
    )
    assert.isAbove(topic.bytes.length, 486)
    assert.deepStrictEqual(hintsOf(topic, undefined), [])
  })
})
