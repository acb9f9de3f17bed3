/**
 * Writes the API reference, `docs/api`, from the docstrings: one page for each
 * module that a program can import, with its declarations as the compiler
 * writes them, by category.
 */
import { execFileSync } from "node:child_process"
import { globSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join, posix } from "node:path"

const root = join(import.meta.dirname, "..")
const out = join(import.meta.dirname, "api")

/** What `exports` of package.json lets through, but for the barrels. */
const modules = globSync("{*,http/*,node/*,testing/*}.ts", { cwd: join(root, "src") })
  .map((path) => path.replaceAll("\\", "/").replace(/\.ts$/, ""))
  .filter((name) => name !== "bin" && posix.basename(name) !== "index")
  .sort()

/** A declaration with what is said of it. */
interface Item {
  readonly name: string
  readonly category: string
  readonly text: string
  readonly code: string
}

const declaration =
  /^(?<exported>export )?(?:declare )?(?:abstract )?(?:const|class|function|interface|type) (?<name>\w+)/

const docstring = /^\/\*\*(?:[^*]|\*(?!\/))*\*\//

/** The prose of a docstring, without its tags. */
const prose = (comment: string): string =>
  comment
    .replace(/^\/\*\*|\*\/$/g, "")
    .replace(/^ ?\* ?/gm, "")
    .replace(/^@\w+.*$/gm, "")
    .replace(/\{@link ([^}]+)\}/g, "`$1`")
    .trim()

/** Declarations begin at the left margin, and so do their docstrings. */
const statements = (source: string): ReadonlyArray<{ readonly comment: string; readonly code: string }> =>
  source.split(/\n(?=\/\*\*|export |declare |import |type |interface )/).reduce<
    Array<{ comment: string; code: string }>
  >((found, part) => {
    const comment = docstring.exec(part)?.[0] ?? ""
    const code = part.slice(comment.length).trim()
    const last = found.at(-1)
    if (last !== undefined && last.code === "") found[found.length - 1] = { comment: comment || last.comment, code }
    else found.push({ comment, code })
    return found
  }, [])

const items = (source: string): ReadonlyArray<Item> => {
  const all = statements(source)
  /** What a class extends is a constant of its own in a declaration file. */
  const bases = new Map(all.flatMap(({ code }) => {
    const base = /^declare const (\w+_base): ([^]*);$/.exec(code)
    return base === null ? [] : [[base[1], base[2]] as const]
  }))
  return all.flatMap(({ code, comment }) => {
    const { exported, name } = declaration.exec(code)?.groups ?? {}
    if (name === undefined || bases.has(name)) return []
    const base = bases.get(`${name}_base`)
    const category = exported === undefined ? "not exported" : /@category (.+)/.exec(comment)?.[1] ?? "others"
    return [{
      name,
      category,
      text: prose(comment),
      code: code.replace(/^(export )?(declare )?/, "").replace(
        `${name}_base`,
        // The type of an error's base is long, and says only this.
        base === undefined || base.includes("YieldableError") ? `Data.TaggedError("${name}")` : base
      )
    }]
  })
}

const page = (name: string, about: string, source: string): string => {
  const found = items(source)
  const categories = [...new Set(found.map(({ category }) => category))]
    .sort((a, b) => Number(a === "not exported") - Number(b === "not exported"))
  const sections = categories.flatMap((category) => [
    `## ${category}`,
    ...found.filter((item) => item.category === category).flatMap(({ code, name, text }) => [
      `### ${name}`,
      text,
      `\`\`\`ts\n${code}\n\`\`\``
    ])
  ])
  return `${[`# effect-dht/${name}`, about, ...sections].filter((part) => part !== "").join("\n\n")}\n`
}

const temporary = mkdtempSync(join(tmpdir(), "effect-dht-api-"))
try {
  const options = ["--emitDeclarationOnly", "--declarationMap", "false", "--stripInternal", "--outDir", temporary]
  execFileSync(
    process.execPath,
    [join(root, "node_modules/typescript/bin/tsc"), "-p", "tsconfig.build.json", ...options],
    { cwd: root, stdio: "inherit" }
  )
  rmSync(out, { recursive: true, force: true })
  const lines = modules.map((name) => {
    const header = docstring.exec(readFileSync(join(root, "src", `${name}.ts`), "utf8"))?.[0] ?? ""
    const path = join(out, `${name}.md`)
    mkdirSync(dirname(path), { recursive: true })
    writeFileSync(path, page(name, prose(header), readFileSync(join(temporary, `${name}.d.ts`), "utf8")))
    return `| [${name}](${name}.md) | ${prose(header).split("\n\n")[0].replaceAll("\n", " ")} |`
  })
  const index = `# Modules\n\n| module | what it is |\n| --- | --- |\n${lines.join("\n")}\n`
  writeFileSync(join(out, "README.md"), index)
  console.log(`${modules.length} modules in docs/api`)
} finally {
  rmSync(temporary, { recursive: true, force: true })
}
