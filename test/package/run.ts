/**
 * Uses the package as a stranger would: packs it, installs the tarball into an
 * empty project, type-checks and runs a program against it there, and starts
 * and stops a node with the installed command.
 */
import assert from "node:assert/strict"
import { execFileSync, spawn } from "node:child_process"
import { once } from "node:events"
import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { delimiter, dirname, join } from "node:path"
import { createInterface } from "node:readline"

const root = join(import.meta.dirname, "../..")
const temporary = mkdtempSync(join(tmpdir(), "effect-dht-package-"))
const project = join(temporary, "project")

// The command finds its interpreter on the PATH: let it be the one we run on.
const env = { ...process.env, PATH: dirname(process.execPath) + delimiter + process.env.PATH }

const run = (cwd: string, command: string, ...args: ReadonlyArray<string>): void => {
  console.log(`> ${command} ${args.join(" ")}`)
  execFileSync(command, args, { cwd, env, stdio: "inherit", timeout: 180_000 })
}

const installTarball = (): void => {
  run(root, "npm", "pack", "--silent", "--pack-destination", temporary)
  const tarball = readdirSync(temporary).find((name) => name.endsWith(".tgz"))
  assert(tarball !== undefined, "npm pack wrote no tarball")
  mkdirSync(project)
  writeFileSync(join(project, "package.json"), JSON.stringify({ private: true, type: "module" }))
  run(project, "npm", "install", "--prefer-offline", join(temporary, tarball))
}

const useLibrary = (): void => {
  copyFileSync(join(import.meta.dirname, "consumer.ts"), join(project, "consumer.ts"))
  const options = { strict: true, noEmit: true, module: "nodenext", target: "es2024", types: ["node"] }
  const typeRoots = [join(root, "node_modules/@types")]
  writeFileSync(join(project, "tsconfig.json"), JSON.stringify({ compilerOptions: { ...options, typeRoots } }))
  run(project, join(root, "node_modules/.bin/tsc"), "--project", ".")
  run(project, process.execPath, "consumer.ts")
}

const startAndStopNode = async (): Promise<void> => {
  const command = join(project, "node_modules/.bin/effect-dht")
  const args = ["node", "--listen", "127.0.0.1:0", "--no-http", "--json", "--data", join(temporary, "data")]
  console.log(`> effect-dht ${args.join(" ")}`)
  const node = spawn(command, args, {
    cwd: project,
    env,
    stdio: ["ignore", "pipe", "inherit"],
    timeout: 60_000,
    killSignal: "SIGKILL"
  })
  const exit = once(node, "exit")
  let ready = false
  try {
    for await (const line of createInterface({ input: node.stdout })) {
      console.log(line)
      if (!ready && JSON.parse(line).event === "ready") ready = node.kill("SIGTERM")
    }
    await exit
  } finally {
    node.kill("SIGKILL")
  }
  const end = node.signalCode ?? `exit code ${node.exitCode}`
  assert(ready, `the node ended before it was ready: ${end}`)
  assert.equal(node.exitCode, 0, `the node did not end well: ${end}`)
}

try {
  installTarball()
  useLibrary()
  await startAndStopNode()
  console.log("The package installs, type-checks, runs and stops")
} finally {
  rmSync(temporary, { recursive: true, force: true })
}
