import { readFileSync } from "node:fs"
import { join } from "node:path"

const directory = process.env.VECTORS_DIR ?? join(import.meta.dirname, "../vectors")

/** One file of recorded vectors, of the shape `A`; `VECTORS_DIR` names another directory of such files. */
export const vectors = <A>(name: string): A => JSON.parse(readFileSync(join(directory, name), "utf8"))
