import { assert, describe, it } from "@effect/vitest"
import * as fc from "fast-check"
import * as TopFrame from "../../src/cli/TopFrame.ts"

const peer = { node_id_hex: "ab".repeat(32), address: "a0Ab", ip: "192.0.2.1", port: 4121 }

const record = {
  key_node_id_hex: "cd".repeat(32),
  address: "a0Ab",
  rec_type: 4,
  type_name: "topic",
  seq: "1",
  timestamp: "1000",
  ttl_seconds: 3600,
  expires_at: "4600",
  payload_cbor_len: 20
} as const

const contact = (health: "good" | "unknown" | "bad", rtt_ms: number | null) => ({
  peer,
  heard_ms_ago: 1000,
  fresh: true,
  added_ms_ago: 1000,
  learned_from_hex: null,
  health,
  rtt_ms
})

const query = (i: number) => ({
  query: i,
  kind: "find_value" as const,
  target_hex: `${i}`.padStart(64, "0").split("").toReversed().join(""),
  rec_type: 1,
  duration_ms: 12.34,
  outcome: "found" as const,
  requests: 16,
  records: 2,
  closest: [],
  started_at_ms: 1_990_000,
  steps: []
})

const refused = {
  late: 0,
  unawaited: 0,
  malformed: 0,
  unknown_type: 0,
  too_large: 0,
  unreachable: 0,
  bad_signature: 1,
  bad_mac: 0,
  denied: 0,
  overload: 0
}

/** A sample with values in every part. */
const sample: TopFrame.Sample = {
  overview: {
    at_ms: 2_000_000,
    started_at_ms: 1_940_000,
    ready: true,
    identity: { address: "a0Ab", node_id_hex: "ab".repeat(32) },
    agent: "a0Ab",
    name: null,
    writes: "token",
    pages: [],
    reachability: {
      local_addr: "0.0.0.0:4121",
      local_addrs: ["0.0.0.0:4121"],
      public_host: null,
      reachable: "open",
      reachable_why: "",
      observed_addr: "203.0.113.5:4121",
      mapping: "consistent"
    },
    passive: false,
    network: {
      name: null,
      has_key: false,
      estimated_size: 1234,
      confidence: 0.5,
      contacts: 7,
      verified_contacts_1h: 6,
      reach_1h: 7,
      reach_24h: 8,
      reach_7d: 9,
      unique_since_start: 10
    },
    traffic: {
      received: 1000,
      in_sessions: 600,
      sent: 900,
      refused: 8,
      refused_by: { ...refused, late: 7 },
      completed: 500,
      pending: 3
    },
    store: { keys: 4, bytes: 9000, max_bytes: 67_108_864, subscriptions: 2 },
    publishing: { announcements: 2, records: 3, messages: 1, complete: 1, confirmed_replicas: 20, wanted_replicas: 24 },
    hosting: null,
    persistence: { degraded: null, queued: 1, written: 77, dropped: 0 }
  },
  buckets: {
    self_node_id_hex: "ab".repeat(32),
    k: 16,
    buckets: Array.from({ length: 10 }, (_, bucket) => ({
      bucket,
      waiting: 5,
      contacts: [contact("bad", null), contact("good", 3), contact("unknown", 1), contact("good", 2)]
    }))
  },
  queries: { kept: 64, total: 20, queries: Array.from({ length: 20 }, (_, i) => query(i)) },
  announcements: {
    wanted: 8,
    total: 6,
    unpublished: [],
    next: null,
    announcements: Array.from({ length: 6 }, (_, i) => ({
      record,
      title: `topic ${i}`,
      topic: `topic ${i}`,
      name: "Ann",
      standing: true,
      durable: true,
      renews_at: "2600",
      wanted: 8,
      confirmed: [peer, peer]
    }))
  },
  store: {
    keys: 4,
    records: 5,
    by_type: [{ rec_type: 1, type_name: "endpoint", records: 4 }, { rec_type: 4, type_name: "topic", records: 1 }],
    listed: [],
    next: null
  },
  history: { interval_ms: 5000, kept_ms: 3_600_000, samples: [] }
}

const state: TopFrame.State = { url: "http://127.0.0.1:2634", sample, previous: undefined, problem: undefined }

/** Four samples, of which every other one has no response times. */
const history = {
  ...sample.history,
  samples: [0, 20, 40, 60].map((rate, i) => ({
    at_ms: 1_985_000 + 5000 * i,
    received_per_s: rate / 2,
    sent_per_s: rate / 2,
    refused_per_s: 0,
    p50_ms: null,
    p95_ms: [10, null, 20, null][i],
    contacts: 5 + i,
    estimated_size: 10,
    keys: 1
  }))
}

const texts = (state: TopFrame.State, columns: number, rows: number) =>
  TopFrame.frame(state, { columns, rows }).map(({ text }) => text)

/** The same sample with every text replaced. */
const withTexts = <A>(value: A, replace: (text: string) => string): A =>
  (typeof value === "string"
    ? replace(value)
    : Array.isArray(value)
    ? value.map((element) => withTexts(element, replace))
    : typeof value === "object" && value !== null
    ? Object.fromEntries(Object.entries(value).map(([name, field]) => [name, withTexts(field, replace)]))
    : value) as A

describe("The frame of top", () => {
  it("shows identity, traffic, store, recent lookups and peers by bucket on 80 x 24", () => {
    const previous = {
      ...sample,
      overview: {
        ...sample.overview,
        at_ms: 1_998_000,
        traffic: { ...sample.overview.traffic, received: 980, sent: 890, completed: 497, pending: 0 }
      }
    }
    assert.deepStrictEqual(texts({ ...state, previous }, 80, 24), [
      "effect-dht top  http://127.0.0.1:2634  ready, up 60 s",
      "node     a0Ab at 0.0.0.0:4121",
      "seen     203.0.113.5:4121, mapping consistent",
      "network  about 1234 nodes (confidence 0.50), 7 contacts, 6 in the last hour",
      "traffic  10.0/s received (1000), 5.0/s sent (900), 0.0/s refused (8)",
      "refused  7 late, 1 bad signature",
      "requests 1.5/s answered (500), 3 pending",
      "store    4 keys, 5 records: 4 endpoint, 1 topic; 2 subscriptions",
      "own      2 announcements, 3 records, 20 of 24 copies confirmed",
      "disk     77 changes written, 1 waiting",
      "",
      "lookup      target        outcome        took  requests  records  ended",
      ...["0", "1", "2", "3", "4"].map((i) =>
        `find_value  ${i}00000000000  found       12.3 ms        16        2  9 s ago`
      ),
      "",
      "bucket  # good  + unknown  x bad  waiting  median round trip",
      ...["0", "1", "2", "3", "4"].map((i) => `     ${i}  ##+x                            5  2.0 ms`)
    ])
  })

  it("shows which private network the node belongs to", () => {
    const overview = { ...sample.overview, network: { ...sample.overview.network, name: "acme", has_key: true } }
    const lines = texts({ ...state, sample: { ...sample, overview } }, 120, 24)
    assert.include(lines[3], "network  acme, with a key: about 1234 nodes")
  })

  it("fits into a terminal of any size", () => {
    fc.assert(fc.property(fc.nat(200), fc.nat(80), fc.boolean(), (columns, rows, hasProblem) => {
      const lines = texts({ ...state, problem: hasProblem ? "no answer" : undefined }, columns, rows)
      assert.isAtMost(lines.length, rows)
      for (const line of lines) assert.isAtMost(line.length, columns)
    }))
  })

  it("is visible ASCII but for its own marks, whatever untrusted texts contain", () => {
    const nasty = fc.oneof(
      fc.string({ unit: "binary" }),
      fc.constantFrom("\u001b[2J", "\r\n", "\u009b31m", "\u202e", "\u0000", "日本", "\u0301", "█…")
    )
    fc.assert(fc.property(nasty, nasty, (a, b) => {
      const stranger = withTexts({ ...state, previous: sample, problem: a }, (text) => a + text + b)
      // Wide enough to cut nothing: there are no marks.
      for (const line of texts(stranger, 4000, 60)) assert.match(line, /^[\x20-\x7e]*$/)
      for (const line of texts({ ...stranger, sample: { ...stranger.sample, history } }, 60, 60)) {
        assert.match(line, /^[\x20-\x7e▁-█]*…?$/)
      }
    }))
  })

  it("marks a line that it cuts", () => {
    const [first] = texts(state, 30, 24)
    assert.strictEqual(first, "effect-dht top  http://127.0.…")
    assert.deepStrictEqual(texts(state, 1, 24)[0], "…")
  })

  it("shows the last minutes as sparklines, each with its latest value", () => {
    const lines = texts({ ...state, sample: { ...sample, history } }, 120, 24)
    assert.include(lines, "20 s     ▁▃▆█ 60.0/s  ▅ █  p95 -  ▅▆▇█ 8 contacts")
  })

  it("colors what is good, doubtful and bad, and nothing else changes", () => {
    const colored = (line: TopFrame.Line | undefined) =>
      line?.paint?.map(({ color, from, to }) => [color, line.text.slice(from, to).trim()])
    const lines = TopFrame.frame(state, { columns: 80, rows: 40 })
    assert.deepStrictEqual(colored(lines[0]), [["good", "ready"]])
    assert.deepStrictEqual(colored(lines.find(({ text }) => text.startsWith("find_value"))), [["good", "found"]])
    assert.deepStrictEqual(colored(lines.find(({ text }) => text.includes("##+x"))), [
      ["good", "##"],
      ["warning", "+"],
      ["bad", "x"]
    ])
    const lost = { ...sample, overview: { ...sample.overview, ready: false } }
    const [first] = TopFrame.frame({ ...state, sample: lost }, { columns: 80, rows: 40 })
    assert.deepStrictEqual(colored(first), [["bad", "NOT READY, no contacts"]])
    fc.assert(fc.property(fc.nat(100), (columns) => {
      for (const { paint = [], text } of TopFrame.frame(state, { columns, rows: 40 })) {
        let at = 0
        for (const { from, to } of paint) {
          assert.isTrue(at <= from && from < to && to <= text.length)
          at = to
        }
      }
    }))
  })

  it("tells what the keys do, where there are keys and room", () => {
    const first = (keys: TopFrame.State["keys"], columns: number) => texts({ ...state, keys }, columns, 24)[0]
    const head = "effect-dht top  http://127.0.0.1:2634  ready, up 60 s"
    assert.strictEqual(first("running", 80), `${head}${" ".repeat(12)}q quit  p pause`)
    assert.strictEqual(first("paused", 80), `${head}, paused q quit  p continue`)
    assert.strictEqual(first("running", 60), head)
    assert.strictEqual(first(undefined, 80), head)
  })

  it("leaves out the announcements first if rows are few, and lists everything if they are unlimited", () => {
    const titles = (rows: number) =>
      TopFrame.frame(state, { columns: 80, rows }).filter(({ style }) => style === "Title")
        .map(({ text }) => text.split(" ")[0])
    assert.deepStrictEqual(titles(9), ["effect-dht"])
    assert.deepStrictEqual(titles(15), ["effect-dht", "lookup"])
    assert.deepStrictEqual(titles(24), ["effect-dht", "lookup", "bucket"])
    assert.deepStrictEqual(titles(40), ["effect-dht", "lookup", "bucket", "announced"])
    const all = texts(state, 80, Infinity)
    assert.strictEqual(all.filter((line) => line.startsWith("find_value")).length, 20)
    assert.strictEqual(all.filter((line) => line.includes("##+x")).length, 10)
    assert.include(all, "topic       2 of 8   in 10 min   topic 5, Ann")
  })

  it("gives the rows that one part does not need to another", () => {
    const buckets = { ...sample.buckets, buckets: sample.buckets.buckets.slice(0, 1) }
    const lines = texts({ ...state, sample: { ...sample, buckets } }, 80, 24)
    assert.strictEqual(lines.filter((line) => line.startsWith("find_value")).length, 9)
    assert.strictEqual(lines.length, 24)
  })

  it("shows no rate before the second sample, and none below 0 after a restart", () => {
    assert.include(texts(state, 80, 24).join("\n"), "-/s received (1000)")
    const traffic = {
      received: 5000,
      in_sessions: 0,
      sent: 5000,
      refused: 5000,
      refused_by: refused,
      completed: 5000,
      pending: 0
    }
    const previous = { ...sample, overview: { ...sample.overview, at_ms: 1_999_000, traffic } }
    assert.include(texts({ ...state, previous }, 80, 24).join("\n"), "0.0/s received (1000)")
  })

  it("reports at the top that the node no longer answers, and the time of the last update", () => {
    const [, line] = TopFrame.frame({ ...state, problem: "no answer" }, { columns: 80, rows: 24 })
    assert.deepStrictEqual(line, { text: "no answer; last update at 1970-01-01T00:33:20Z", style: "Alert" })
  })

  it("warns of a node that is not ready, and of one that cannot write", () => {
    const overview = {
      ...sample.overview,
      ready: false,
      persistence: { degraded: "the disk is full", queued: 1, written: 0, dropped: 0 }
    }
    const lines = TopFrame.frame({ ...state, sample: { ...sample, overview } }, { columns: 80, rows: 24 })
    assert.include(lines[0].text, "NOT READY")
    assert.deepInclude(lines, { text: "disk     NOT WRITING: the disk is full", style: "Alert" })
  })
})
