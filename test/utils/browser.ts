/**
 * The browser for tests of pages: the executable in `CHROMIUM`, otherwise the one
 * in the dev dependencies, or Chrome on platforms where that does not run.
 */
import { execFile } from "node:child_process"
import { existsSync } from "node:fs"
import { mkdir, mkdtemp, readFile, rename, rm, writeFile } from "node:fs/promises"
import { createRequire } from "node:module"
import { dirname, join } from "node:path"
import { pathToFileURL } from "node:url"
import { promisify } from "node:util"
import { type Browser, chromium, type LaunchOptions } from "playwright-core"

/** The directories of the package's archives and of the unpacked browser. */
const modules = join(import.meta.dirname, "../../node_modules")
const entry = createRequire(import.meta.url).resolve("@sparticuz/chromium")
const packed = join(dirname(entry), "..")

/** The browser, libraries that a minimal system lacks, and fonts. */
const archives = ["chromium.br", "al2023.tar.br", "fonts.tar.br"]

/** Unpacks into a directory. The package always uses the directory for temporary files, which is set here. */
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
 * The directory of the unpacked browser, created once per version. It is renamed
 * into place, so concurrent runs do not conflict and a killed run leaves no
 * partial directory under that name.
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
      // Another process was faster.
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
      // Last, so that the system's own libraries take precedence.
      LD_LIBRARY_PATH: [...(libraries ? [libraries] : []), join(directory, "al2023/lib")].join(":")
    }
  }
}

const options = async (): Promise<LaunchOptions> => {
  const { CHROMIUM: executablePath } = process.env
  if (executablePath !== undefined && executablePath !== "") {
    if (!existsSync(executablePath)) throw new Error(`The file in CHROMIUM does not exist: ${executablePath}`)
    return { executablePath }
  }
  return process.platform === "linux" && process.arch === "x64" ? bundled() : { channel: "chrome" }
}

/** Starts the browser without a sandbox, which root and most containers lack. It opens only our own pages. */
export const launch = async (): Promise<Browser> =>
  chromium.launch({ ...await options(), args: ["--no-sandbox", "--disable-dev-shm-usage"] })
