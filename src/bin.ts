#!/usr/bin/env node
/**
 * The program `effect-dht`.
 *
 * @since 0.1.0
 */
import * as Module from "node:module"

const [major, minor] = process.versions.node.split(".").map(Number)
if (major < 22 || (major === 22 && minor < 19)) {
  process.stderr.write(`effect-dht needs Node 22.19 or later, and this is ${process.versions.node}\n`)
  process.exit(1)
}

// Half of what a short command takes is the compiling of its modules, which Node keeps from the second time on. Other
// runtimes, which run this all the same, have no such thing.
Module.enableCompileCache?.()

await import("./cli/Main.ts")
