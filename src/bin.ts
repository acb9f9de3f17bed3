#!/usr/bin/env node
/**
 * The program `effect-dht`.
 *
 * @since 0.1.0
 */
import * as Module from "node:module"
import * as YoungGeneration from "./node/internal/youngGeneration.ts"

const [major, minor] = process.versions.node.split(".").map(Number)
if (major < 22 || (major === 22 && minor < 19)) {
  process.stderr.write(`effect-dht needs Node 22.19 or later, and this is ${process.versions.node}\n`)
  process.exit(1)
}

// Compiling modules takes half the time of a short command. Node caches the
// result from the second run on; other runtimes that can run this have no such
// cache.
Module.enableCompileCache?.()

// Before anything else: loading the command alone would let it grow to 32 MiB.
YoungGeneration.keepSmall()

await import("./cli/Main.ts")
