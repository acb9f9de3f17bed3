import { execFileSync } from "node:child_process"
import { globSync } from "node:fs"
import { join } from "node:path"

const root = join(import.meta.dirname, "../..")

/** Modules of the source, by their path below src. */
const sources = globSync("**/*.ts", { cwd: join(root, "src") }).map((path) => path.replaceAll("\\", "/").slice(0, -3))

/** Prints the names that the package's own `exports` resolve. */
const program = `
const names = ${JSON.stringify(sources)}
console.log(JSON.stringify(names.filter((name) => {
  try {
    import.meta.resolve("effect-dht/" + name)
    return true
  } catch (error) {
    if (error.code !== "ERR_PACKAGE_PATH_NOT_EXPORTED") throw error
    return false
  }
})))
`

/** The modules that a program can import by their own path, below src, without `.ts`. */
export const modules: ReadonlyArray<string> = JSON.parse(
  execFileSync(
    process.execPath,
    ["--conditions=effect-dht-source", "--input-type=module", "--eval", program],
    { cwd: root, encoding: "utf8" }
  )
).toSorted()
