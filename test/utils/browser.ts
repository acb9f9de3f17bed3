/**
 * The browser that pages are tested in: the one that `CHROMIUM` names, or the
 * one that comes with the dev dependencies, or Chrome where that does not run.
 */
import { execFile } from "node:child_process"
import { existsSync } from "node:fs"
import { mkdir, mkdtemp, readFile, rename, rm, writeFile } from "node:fs/promises"
import { createRequire } from "node:module"
import { dirname, join } from "node:path"
import { pathToFileURL } from "node:url"
import { promisify } from "node:util"
import { type Browser, chromium, type LaunchOptions } from "playwright-core"

/** Where the package has its archives, and where they are unpacked. */
const modules = join(import.meta.dirname, "../../node_modules")
const entry = createRequire(import.meta.url).resolve("@sparticuz/chromium")
const packed = join(dirname(entry), "..")

/** The browser, the libraries that a bare system lacks, and fonts. */
const archives = ["chromium.br", "al2023.tar.br", "fonts.tar.br"]

/** Unpacks into a directory. The package knows only the system's directory for temporary files: here it is another. */
const unpack = (directory: string) =>
  promisify(execFile)(process.execPath, [
    "--input-type=module",
    "--eval",
    `import { inflate } from ${JSON.stringify(pathToFileURL(entry).href)}
     await Promise.all(process.argv.slice(1).map((path) => inflate(path)))`,
    ...archives.map((name) => join(packed, "bin", name))
  ], { env: { ...process.env, TMPDIR: directory } })

const fontconfig = (directory: string) =>
  `<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
  <dir>${join(directory, "fonts")}</dir>
  <cachedir>${join(directory, "fonts-cache")}</cachedir>
</fontconfig>
`

/**
 * The directory of the unpacked browser, which is made once for each version.
 * It appears whole or not at all, so that several may do this at a time, and a
 * run that is killed meanwhile leaves nothing that the next would take for it.
 */
const unpacked = async (): Promise<string> => {
  const { version } = JSON.parse(await readFile(join(packed, "package.json"), "utf8"))
  const cache = join(modules, ".cache")
  const directory = join(cache, `chromium-${version}`)
  if (existsSync(directory)) return directory
  await mkdir(cache, { recursive: true })
  const next = await mkdtemp(`${directory}-`)
  try {
    await unpack(next)
    await writeFile(join(next, "fonts.conf"), fontconfig(directory))
    await rename(next, directory).catch((error) => {
      // Another was faster.
      if (!existsSync(directory)) throw error
    })
  } finally {
    await rm(next, { recursive: true, force: true })
  }
  return directory
}

const bundled = async (): Promise<LaunchOptions> => {
  const directory = await unpacked()
  const { LD_LIBRARY_PATH: libraries } = process.env
  return {
    executablePath: join(directory, "chromium"),
    env: {
      ...process.env,
      FONTCONFIG_FILE: join(directory, "fonts.conf"),
      // Last: what the system has fits the rest of the system.
      LD_LIBRARY_PATH: [...(libraries ? [libraries] : []), join(directory, "al2023/lib")].join(":")
    }
  }
}

const options = async (): Promise<LaunchOptions> => {
  const { CHROMIUM: executablePath } = process.env
  if (executablePath !== undefined && executablePath !== "") {
    if (!existsSync(executablePath)) throw new Error(`CHROMIUM names ${executablePath}, and there is no such file`)
    return { executablePath }
  }
  return process.platform === "linux" && process.arch === "x64" ? bundled() : { channel: "chrome" }
}

/** Starts it. Root and most containers can have no sandbox, and the only pages it sees are ours. */
export const launch = async (): Promise<Browser> =>
  chromium.launch({ ...await options(), args: ["--no-sandbox", "--disable-dev-shm-usage"] })
