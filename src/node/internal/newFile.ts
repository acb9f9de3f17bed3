/**
 * A file that appears atomically and is private to its owner. It is written
 * under an unpredictable temporary name, opened exclusively so that a planted
 * link is not followed. The temporary file is always removed.
 *
 * @since 0.1.0
 */
import { randomBytes } from "node:crypto"
import { renameSync, rmSync, writeFileSync } from "node:fs"
import * as Fs from "node:fs/promises"

const temporaryFor = (path: string): string => `${path}.${randomBytes(8).toString("hex")}`

/** Exclusive creation (O_EXCL). */
const flag = "wx"
const mode = 0o600

/**
 * Writes the content durably to a new private file beside `path`; `place` then
 * moves or links it to `path`.
 *
 * @internal
 */
export const write = async <A>(
  path: string,
  content: Uint8Array | string | AsyncIterable<Uint8Array>,
  place: (temporary: string) => Promise<A>
): Promise<A> => {
  const temporary = temporaryFor(path)
  const file = await Fs.open(temporary, flag, mode)
  try {
    try {
      await file.writeFile(content)
      await file.sync()
    } finally {
      await file.close()
    }
    return await place(temporary)
  } finally {
    await Fs.rm(temporary, { force: true })
  }
}

/**
 * Writes the content to a new file and replaces `path` with it.
 *
 * @internal
 */
export const replaceSync = (path: string, content: string): void => {
  const temporary = temporaryFor(path)
  try {
    writeFileSync(temporary, content, { flag, mode })
    renameSync(temporary, path)
  } catch (cause) {
    rmSync(temporary, { force: true })
    throw cause
  }
}
