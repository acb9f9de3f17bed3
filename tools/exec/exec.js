#!/usr/bin/env node
// The npm scripts begin with `exec`, so that the program takes the place of the shell and npm's signals reach it.
// The shell of Windows knows no such word, and finds this instead.
import { spawn } from "node:child_process"

const line = process.argv.slice(2).map((word) => `"${word.replaceAll("\"", "\"\"")}"`).join(" ")
spawn(line, { shell: true, stdio: "inherit" }).once("exit", (code) => {
  process.exitCode = code ?? 1
})
