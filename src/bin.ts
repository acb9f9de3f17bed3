#!/usr/bin/env node
/**
 * The program `effect-dht`.
 *
 * @since 0.1.0
 */
import { enableCompileCache } from "node:module"

// Half of what a short command takes is the compiling of its modules, which Node keeps from the second time on.
enableCompileCache()

await import("./cli/Main.ts")
