/**
 * A file that appears under its name whole, for its owner's eyes only. It is
 * made under a temporary name that cannot be guessed, exclusively: a link that
 * lies in wait there is not followed. Nothing is left under that name.
 *
 * @since 0.1.0
 */
import { randomBytes } from "node:crypto"
import { renameSync, rmSync, writeFileSync } from "node:fs"
import * as Fs from "node:fs/promises"

const temporaryFor = (path: string): string => `${path}.${randomBytes(8).toString("hex")}`

/** Exclusive (O_EXCL), and for the owner only. */
const flag = "wx"
const mode = 0o600

/**
 * Writes the content to a new file beside `path`, on the disk itself, and lets
 * `place` give it that name.
 *
 * @internal
 */
export const write = async <A>(
  path: string,
  content: Uint8Array | string,
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
 * Writes the content to a new file and puts it in the place of `path`.
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
