import { assert, describe, it } from "@effect/vitest"
import { describe as describeFailure, type Failure } from "../../src/testing/internal/campaign.ts"
import { type Deed, format, replayCommand, type Story } from "../../src/testing/internal/story.ts"
import { assertHolds } from "./assertHolds.ts"
import { explore } from "./explore.ts"
import { runStory } from "./run.ts"
import { eventful, small } from "./worlds.ts"

describe("stories", () => {
  it("the same story gives the same trace", () => {
    for (const story of [small, { ...small, scheduleSeed: 7 }, eventful]) {
      assert.strictEqual(runStory(story).hash, runStory(story).hash)
    }
  })

  it("all properties hold under the schedule seeds 1 to 100, each with a different trace", () => {
    const hashes = new Set<string>()
    for (let scheduleSeed = 1; scheduleSeed <= 100; scheduleSeed++) {
      const story = { ...small, scheduleSeed }
      assertHolds(() => {
        const outcome = runStory(story)
        hashes.add(outcome.hash)
        return outcome
      }, replayCommand(story))
    }
    assert.strictEqual(hashes.size, 100)
  })

  it("a node that speaks from a new port in a session finds what it looks for with its first lookup", () => {
    // Three times its small request is hardly enough for a response and the ping that proves its address.
    const story: Story = {
      seed: 0,
      nodes: 3,
      latency: 20,
      loss: 0,
      duplication: 0,
      households: [{ router: "portRestrictedCone", nodes: 1 }],
      liars: [],
      happenings: [{ at: 51, deed: { do: "offer", node: 0, topic: "water" } }]
    }
    assertHolds(() => runStory(story), replayCommand(story))
  })

  it("a node behind a router that lost its state is not asked before it has sent to others", () => {
    const story: Story = {
      seed: 0,
      nodes: 3,
      latency: 20,
      loss: 0,
      duplication: 0,
      households: [{ router: "portRestrictedCone", nodes: 2 }],
      happenings: [{ at: 0, deed: { do: "reboot", node: 4, state: "lost" } }]
    }
    assertHolds(() => runStory(story), replayCommand(story))
  })

  it("a node may list a record older than one that it acknowledged, if a newer one took the place and has expired", () => {
    // Node 0 has already published its record of a minute when node 2 stores one there. After that minute, only the
    // first record, of node 1, is left.
    const story: Story = {
      seed: 0,
      nodes: 3,
      latency: 20,
      loss: 0,
      duplication: 0,
      happenings: [
        { at: 0, deed: { do: "speak", node: 1, master: "Ann", seconds: 0 } },
        { at: 1, deed: { do: "speak", node: 2, master: "Ann", seconds: 0 } },
        { at: 1, deed: { do: "speak", node: 0, master: "Ann", seconds: 60 } }
      ]
    }
    assertHolds(() => runStory(story), replayCommand(story))
  })

  it("all properties hold in sixty generated stories", () => {
    const failure = explore({ seed: 1, runs: 60 })
    assert.isUndefined(failure, failure && describeFailure(failure))
  })
})

describe("a story", () => {
  /** A property that fails for stories with both a crash and an announcement. */
  const forbidden = (story: Story): Failure | undefined =>
    ["crash", "announce"].every((what) => story.happenings.some(({ deed }) => deed.do === what))
      ? { story, kind: "violated", problems: ["violated"] }
      : undefined

  it("that fails is shrunk to the shortest that fails", () => {
    const failure = explore({ seed: 1, runs: 1000, failureOf: forbidden })
    assert.isDefined(failure)
    assert.strictEqual(failure.story.happenings.length, 2)
    assert.strictEqual(failure.story.nodes, 3)
  })

  it("names its groups of nodes, and the steps of its features", () => {
    const deeds: ReadonlyArray<Deed> = [
      { do: "watch", node: 0, topic: "bread" },
      { do: "unwatch", node: 0, topic: "bread" },
      { do: "sign", node: 1, seq: 2, ago: 30 },
      { do: "fill", node: 1, records: 9 },
      { do: "host", node: 0, identities: 4 },
      { do: "seal", node: 0, seconds: 60 },
      { do: "connect", node: 3, peer: 4, millis: 0 },
      { do: "connect", node: 3, peer: 4, millis: 40 },
      { do: "move", node: 1, router: "symmetric" },
      { do: "move", node: 1 },
      { do: "reboot", node: 2, state: "lost" },
      { do: "tamper" },
      { do: "forge", node: 1 },
      { do: "replay", node: 1 },
      { do: "pretend", node: 3 },
      { do: "mob", node: 3 },
      { do: "stuff", topic: "water", records: 110 },
      { do: "surround", topic: "water", liars: 8 }
    ]
    const story: Story = {
      seed: 4,
      nodes: 3,
      latency: 20,
      loss: 0,
      duplication: 0,
      signing: 1,
      families: { ipv6: 2, dual: 1 },
      old: ["fullCone"],
      maxBytes: 65_536,
      happenings: deeds.map((deed, at) => ({ at, deed }))
    }
    const lines = format(story).split("\n")
    assert.strictEqual(lines[0], "seed 4: 3 nodes, 20 ms apart, 0 % lost, 0 % twice, stores of 65536 bytes")
    assert.deepStrictEqual(lines.slice(1, -1).map((line) => line.replace(/^ {2}(at [\d:]+ )?/, "")), [
      "node 3 signs every message",
      "node 4 has addresses of both families",
      "node 5 and node 6 have IPv6 addresses only",
      "a node of the reference is behind a full cone NAT",
      "node 0 watches bread",
      "node 0 stops watching bread",
      "node 1 publishes its endpoint with the number 2, signed 30 s ago",
      "node 1 publishes 9 custom records",
      "node 0 hosts 4 more identities",
      "every other identity at node 0 cannot sign for 60 s",
      "node 3 connects to node 4",
      "node 3 connects to node 4 and gives up after 40 ms",
      "node 1 moves behind a symmetric NAT",
      "node 1 moves to another public address",
      "node 2 crashes, loses its state and starts again while all others ask it",
      "all nodes ask each other, and an attacker on the path repeats, alters and reflects what they send",
      "a stranger stores forged endpoints of node 1 at all nodes",
      "a stranger stores the first endpoint of node 1 at all nodes",
      "a forger asks all nodes to meet node 3 in the name of a host",
      "all nodes ask each other to meet node 3, again and again",
      "a stranger stores 110 offers of water at all nodes",
      "8 liars with ids close to water join"
    ])
  })

  it("is printed line by line with the command that runs it again", () => {
    const story: Story = {
      seed: 4,
      scheduleSeed: 5,
      nodes: 3,
      latency: 20,
      loss: 0.015,
      duplication: 0,
      households: [{ router: "fullCone", nodes: 1 }, { router: "symmetric", nodes: 2 }],
      liars: ["floods"],
      happenings: [
        { at: 190, deed: { do: "crash", node: 8 } },
        { at: 200, deed: { do: "join" } },
        { at: 201, deed: { do: "cut", from: 8, to: 6 } },
        { at: 10, deed: { do: "announce", node: 1 } },
        { at: 20, deed: { do: "speak", node: 3, master: "Ann", seconds: 60 } },
        { at: 30, deed: { do: "speak", node: 3, master: "Eve", seconds: 0 } },
        { at: 40, deed: { do: "ask", node: 4, master: "Eve" } }
      ]
    }
    assert.strictEqual(
      format(story),
      "seed 4, schedule seed 5: 3 nodes, liars: floods, 20 ms apart, 1.5 % lost, 0 % twice\n" +
        "  node 3 is behind a full cone NAT\n" +
        "  node 4 and node 5 are behind a symmetric NAT\n" +
        "  at 00:00:10 node 1 announces its endpoint\n" +
        "  at 00:00:20 node 3 publishes an endpoint for Ann with a delegation of 60 s\n" +
        "  at 00:00:30 node 3 publishes an endpoint for Eve with a delegation without expiry\n" +
        "  at 00:00:40 node 4 resolves Eve\n" +
        "  at 00:03:10 node 2 crashes\n" +
        "  at 00:03:20 a new node joins\n" +
        "  at 00:03:21 datagrams from node 1 to node 6 are blocked\n" +
        `run it again: effect-dht replay '${JSON.stringify(story)}'`
    )
  })
})
