import { assert, describe, it } from "@effect/vitest"
import { globSync, readFileSync } from "node:fs"
import { join, posix } from "node:path"

/**
 * The floors of the library, from the ground up. A module imports from its own
 * floor and from those below, types included. A name that ends in `/` stands
 * for a whole directory. `core/`, `wire/` and `internal/` have no floor of their
 * own: a module reached through them counts as imported.
 */
const floors: ReadonlyArray<readonly [floor: string, modules: ReadonlyArray<string>]> = [
  ["names", ["Address", "NodeId", "SocketAddress", "Contact"]],
  ["who says it", ["Crypto", "Verifier", "Identity", "KeyStore", "Delegation"]],
  ["what is said", [
    "Record",
    "Endpoint",
    "Topic",
    "Profile",
    "Custom",
    "Withdrawal",
    "PublishHint",
    "Network",
    "Features",
    "Message",
    "TransactionId"
  ]],
  ["datagrams", ["Transport", "NameResolver"]],
  ["state", [
    "Timers",
    "WakeUp",
    "Spans",
    "PeerHealth",
    "Persistence",
    "SeenPeers",
    "NodeEvents",
    "Store",
    "DelegationChecks",
    "Reachability",
    "NodeSettings"
  ]],
  ["requests", ["Request", "Rpc"]],
  ["contacts", ["Routing"]],
  ["conversations", [
    "InFlight",
    "IdentityConflicts",
    "query/",
    "Query",
    "Subscriptions",
    "Watch",
    "Rendezvous",
    "responder/",
    "Responder"
  ]],
  ["maintenance", [
    "DialBack",
    "Bootstrap",
    "replication/",
    "Replication",
    "Maintenance",
    "ReachabilityCheck",
    "ContactChecks"
  ]],
  ["intentions", [
    "Publisher",
    "Renewal",
    "Announce",
    "StandingAnnouncements",
    "Discovery",
    "Correspondence",
    "Mail",
    "hosting/",
    "Hosting",
    "HostedIdentities"
  ]],
  ["facade", ["Assembly", "Dht", "DhtMetrics", "HostingMetrics", "NodeLog"]],
  ["cluster", ["cluster/"]],
  ["http", ["http/"]],
  ["browser", ["browser/"]],
  ["library", ["index"]],
  ["testing", ["testing/"]],
  ["node", ["node/"]],
  ["command line", ["cli/", "bin"]]
]

/** Each module, named by its path below src, and the modules it imports. */
type Imports = ReadonlyMap<string, ReadonlyArray<string>>

const importsOf = (module: string, source: string): ReadonlyArray<string> =>
  [...source.matchAll(/^(?:import|export)\b[^"]*?\bfrom "(\.[^"]+)"|\bimport\s*\(?\s*"(\.[^"]+)"/gm)]
    .map(([, from, bare]) => posix.join(posix.dirname(module), from ?? bare).replace(/\.ts$/, ""))

const floorOf = (module: string): number =>
  floors.findIndex(([, modules]) =>
    modules.some((name) => name.endsWith("/") ? module.startsWith(name) : module === name)
  )

const isInternal = (module: string): boolean => /^(core|wire|internal)\//.test(module)

/** The chains of imports that end on a higher floor than they start on. */
const upward = (imports: Imports): ReadonlyArray<string> => {
  const found: Array<string> = []
  const show = (module: string): string =>
    `src/${module}.ts` + (isInternal(module) ? "" : ` (${floors[floorOf(module)][0]})`)
  const follow = (chain: ReadonlyArray<string>, seen: Set<string>): void => {
    for (const module of imports.get(chain[chain.length - 1]) ?? []) {
      if (isInternal(module)) {
        if (seen.has(module)) continue
        seen.add(module)
        follow([...chain, module], seen)
      } else if (floorOf(module) > floorOf(chain[0])) {
        found.push([...chain, module].map(show).join(" -> "))
      }
    }
  }
  for (const module of imports.keys()) {
    if (floorOf(module) !== -1) follow([module], new Set())
  }
  return found
}

/** A chain of imports from each module back to itself, if there is one, types included. */
const circles = (imports: Imports): ReadonlyArray<string> => {
  const back = (start: string): ReadonlyArray<string> | undefined => {
    const seen = new Set<string>()
    const follow = (chain: ReadonlyArray<string>): ReadonlyArray<string> | undefined => {
      for (const module of imports.get(chain[chain.length - 1]) ?? []) {
        if (module === start) return [...chain, module]
        if (seen.has(module)) continue
        seen.add(module)
        const found = follow([...chain, module])
        if (found !== undefined) return found
      }
      return undefined
    }
    return follow([start])
  }
  return [...imports.keys()].flatMap((module) => back(module)?.join(" -> ") ?? [])
}

const src = join(import.meta.dirname, "../src")
const imports: Imports = new Map(
  globSync("**/*.ts", { cwd: src }).sort().map((path) => {
    const module = path.replaceAll("\\", "/").replace(/\.ts$/, "")
    return [module, importsOf(module, readFileSync(join(src, path), "utf8"))]
  })
)

describe("architecture", () => {
  it("has a floor for every module", () => {
    const unassigned = [...imports.keys()].filter((module) => !isInternal(module) && floorOf(module) === -1)
    assert.deepStrictEqual(unassigned, [], "add them to the table of floors in test/architecture.test.ts")
  })

  it("imports downwards only", () => {
    assert.deepStrictEqual(upward(imports), [])
  })

  it("lets one module alone change the routing table", () => {
    const importers = (name: string) =>
      [...imports].filter(([, names]) => names.includes(name)).map(([module]) => module)
    assert.deepStrictEqual(importers("core/routingTable"), ["Routing"], "report to Routing, or read from it")
    assert.deepStrictEqual(
      importers("core/buckets"),
      ["core/networkSize", "core/routingTable", "core/tableMaintenance"],
      "ask the routing table"
    )
  })

  it("imports wire modules one way only, types included", () => {
    const reaches = (from: string, to: string, seen = new Set<string>()): boolean =>
      (imports.get(from) ?? []).some((next) => next === to || !seen.has(next) && reaches(next, to, seen.add(next)))
    const circular = [...imports.keys()].filter((module) => module.startsWith("wire/") && reaches(module, module))
    assert.deepStrictEqual(circular, [])
  })

  it("imports in no circle, types included", () => {
    assert.deepStrictEqual(circles(imports), [])
    const house: Imports = new Map([["A", ["B", "C"]], ["B", []], ["C", ["core/c"]], ["core/c", ["B", "A"]]])
    assert.deepStrictEqual(circles(house), [
      "A -> C -> core/c -> A",
      "C -> core/c -> A -> C",
      "core/c -> A -> C -> core/c"
    ])
  })

  it("imports no barrel", () => {
    const importers = [...imports].filter(([, names]) => names.some((name) => posix.basename(name) === "index"))
    assert.deepStrictEqual(importers.map(([module]) => module), [], "import the module, not the barrel")
  })

  it("recognises an import in each of its forms", () => {
    const source = `import * as A from "../A.ts"
import type { B } from "./B.ts"
import {
  type C,
  c
} from "../c/C.ts"
import "./side.ts"
import * as Effect from "effect/Effect"
export * as D from "./D.ts"
export type { E } from "./E.ts"
const later = () => import("./F.ts")
`
    assert.deepStrictEqual(
      importsOf("node/X", source),
      ["A", "node/B", "c/C", "node/side", "node/D", "node/E", "node/F"]
    )
  })

  it("follows a chain of imports through internal modules", () => {
    const house: Imports = new Map([
      ["Record", ["internal/a", "NodeId"]],
      ["Rpc", ["internal/a", "Record"]],
      ["internal/a", ["internal/b"]],
      ["internal/b", ["internal/a", "Rpc"]]
    ])
    assert.deepStrictEqual(upward(house), [
      "src/Record.ts (what is said) -> src/internal/a.ts -> src/internal/b.ts -> src/Rpc.ts (requests)"
    ])
  })
})
