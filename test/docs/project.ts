import { copyFileSync, mkdtempSync, symlinkSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { root } from "./markdown.ts"

/** Creates a package of the same name, so that programs in it can import it; returns its directory. */
export const makeProject = (): string => {
  const project = mkdtempSync(join(tmpdir(), "effect-dht-docs-"))
  copyFileSync(join(root, "package.json"), join(project, "package.json"))
  for (const name of ["src", "node_modules"]) symlinkSync(join(root, name), join(project, name))
  const compilerOptions = { noUnusedLocals: false, types: ["node"] }
  writeFileSync(
    join(project, "tsconfig.json"),
    JSON.stringify({ extends: join(root, "tsconfig.json"), include: ["*.ts"], exclude: [], compilerOptions })
  )
  return project
}
