import { assert, describe, it } from "@effect/vitest"
import { existsSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { read, root } from "./markdown.ts"

/** Exported names of the reference's `dht` package, version 0.1.7. */
const exported = `
DefaultAlpha DefaultStagger DebugHTTPAddr DefaultMaxTotalKeys ErrNoEndpoint ErrNoMatchingRecords ErrStaleRecord
ObservedAddr BootstrapSeed Transport Keystore OnObservedAddr RecordAuth MaxStoreKeys Logger SeenPeersPath DebugStats
NewNode AddContact Address BindPeerAddr Bootstrap BootstrapAddrs BootstrapCandidateAddrs Close DebugHTTPHandler
DebugStatsData EstimatedNetworkSize EstimatedNetworkSizeFiltered FindNode FindValue FindValueWithNodes LocalAddr
LocalStoreGet LocalStoreGetByAddress LocalStoreInvalidate LocalStorePut NodeID PeerAllowContact PeerHealthOf PeerRTT Ping
PingIdentity PublishEndpointRecord PublishMailboxRecord PublishTopicRecord RemoveRepSetsForPublisher SelfExtIP
SendNATProbeReq SetMaxStoreKeys SetPassiveRouting SetSelfExtIP Start StartDebugHTTP StartWithBootstrap StoreAt
PeerHealthState PeerIdentity Query Alpha Stagger NewQuery AggregateRecords FindRecords Resolve RecordAuthFunc Store
NewStore DebugRecords Get GetAll GetAllByAddress Invalidate Len Put SetMaxKeys StoreRecordDebug
`.trim().split(/\s+/)

/** Modules of Effect that the document mentions. */
const effects = new Set(["Logger", "References"])

const rows = read("docs/api-map.md").split("\n").filter((line) => line.startsWith("| ")).map((line) => line.split("|"))

/** The source of the module with this name, if there is one. */
const sourceOf = (module: string): string => {
  const path = ["", "node", "http"].map((folder) => join(root, "src", folder, `${module}.ts`)).find(existsSync)
  return path === undefined ? "" : readFileSync(path, "utf8")
}

/** Names of the form `Module.name` in a text that the module neither exports nor has as a method. */
const unknown = (text: string): ReadonlyArray<string> =>
  [...text.matchAll(/`([A-Z]\w+)\.(\w+)/g)]
    .filter(([, module, name]) =>
      !effects.has(module) &&
      !new RegExp(
        `export (?:const|type|class|interface) ${name}\\b|export (?:type )?\\{[^}]*\\b${name}\\b|^ {2}readonly ${name}[?:]`,
        "m"
      )
        .test(sourceOf(module))
    )
    .map(([, module, name]) => `${module}.${name}`)

describe("docs/api-map.md", () => {
  it("has a row for every export of the reference", () => {
    const there = rows.map(([, go]) => go).join(" ")
    assert.deepStrictEqual(exported.filter((name) => !new RegExp(`\\b${name}\\b`).test(there)), [])
  })

  it("names only existing exports", () => {
    assert.deepStrictEqual(rows.flatMap(([, , here]) => unknown(here)), [])
    assert.deepStrictEqual(unknown("`Store.nothing`, `Nothing.at`"), ["Store.nothing", "Nothing.at"])
  })
})
