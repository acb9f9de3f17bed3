/**
 * Uses the package as its users do: packs it, checks its entry points, installs
 * the tarball into an empty project, type-checks, bundles and runs a program
 * against it, and starts a node with the installed command, requests its page
 * and stops it.
 */
import assert from "node:assert/strict"
import { execFileSync, spawn } from "node:child_process"
import { once } from "node:events"
import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { delimiter, dirname, join } from "node:path"
import { createInterface } from "node:readline"
import { build } from "rolldown"

const root = join(import.meta.dirname, "../..")
const temporary = mkdtempSync(join(tmpdir(), "effect-dht-package-"))
const project = join(temporary, "project")

// The command takes its interpreter from the PATH: make it the running one.
const env = { ...process.env, PATH: dirname(process.execPath) + delimiter + process.env.PATH }

const run = (cwd: string, command: string, ...args: ReadonlyArray<string>): void => {
  console.log(`> ${command} ${args.join(" ")}`)
  execFileSync(command, args, { cwd, env, stdio: "inherit", timeout: 180_000 })
}

const pack = (): string => {
  run(root, "npm", "pack", "--silent", "--pack-destination", temporary)
  const tarball = readdirSync(temporary).find((name) => name.endsWith(".tgz"))
  assert(tarball !== undefined, "npm pack wrote no tarball")
  return join(temporary, tarball)
}

/** Whether the entry points resolve, with types, in every module system. */
const lint = (tarball: string): void => {
  const tool = (name: string) => join(root, "node_modules/.bin", name)
  run(root, tool("publint"), "--strict", tarball)
  run(root, tool("attw"), "--profile", "esm-only", "--format", "ascii", tarball)
}

const installTarball = (tarball: string): void => {
  mkdirSync(project)
  writeFileSync(join(project, "package.json"), JSON.stringify({ private: true, type: "module" }))
  run(project, "npm", "install", "--prefer-offline", tarball)
}

const useLibrary = (): void => {
  copyFileSync(join(import.meta.dirname, "consumer.ts"), join(project, "consumer.ts"))
  const typeRoots = [join(root, "node_modules/@types")]
  const common = { strict: true, noEmit: true, target: "es2024", types: ["node"], typeRoots }
  for (const resolution of [{ module: "nodenext" }, { module: "esnext", moduleResolution: "bundler" }]) {
    writeFileSync(join(project, "tsconfig.json"), JSON.stringify({ compilerOptions: { ...common, ...resolution } }))
    run(project, join(root, "node_modules/.bin/tsc"), "--project", ".")
  }
  run(project, process.execPath, "consumer.ts")
}

/** A program that needs one module of the library does not bundle the others. */
const bundle = async (): Promise<void> => {
  const input = join(project, "small.js")
  writeFileSync(input, `import { NodeId } from "effect-dht"\nconsole.log(NodeId.fromTopic("topic"))\n`)
  const { output: [{ code }] } = await build({ input, platform: "node", write: false, logLevel: "warn" })
  console.log(`> a bundle of NodeId alone has ${code.length} characters`)
  assert(code.includes("topic:"), "the bundle lacks what it is for")
  for (const service of ["effect-dht/Dht", "effect-dht/Query", "effect-dht/Store"]) {
    assert(!code.includes(`"${service}"`), `a bundle of NodeId alone contains ${service}`)
  }
}

/** The page of the node, and one of its files of each kind. */
const seePage = async (http: string): Promise<void> => {
  for (const path of ["/", "/assets/main.js", "/assets/style.css", "/assets/icon.svg"]) {
    const response = await fetch(`http://${http}${path}`)
    assert.equal(response.status, 200, `${path} is not served`)
  }
}

const startAndStopNode = async (): Promise<void> => {
  const command = join(project, "node_modules/.bin/effect-dht")
  const args = ["node", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--json", "--data", join(temporary, "data")]
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
      const { event, http } = JSON.parse(line)
      if (ready || event !== "ready") continue
      await seePage(http)
      ready = node.kill("SIGTERM")
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
  const tarball = pack()
  lint(tarball)
  installTarball(tarball)
  useLibrary()
  await bundle()
  await startAndStopNode()
  console.log("The package installs, type-checks, bundles, runs and stops")
} finally {
  rmSync(temporary, { recursive: true, force: true })
}
