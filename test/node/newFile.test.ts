import { assert, describe, it } from "@effect/vitest"
import * as Fs from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as NewFile from "../../src/node/internal/newFile.ts"

/** Entries of a directory after an operation. */
const after = async (work: (directory: string) => Promise<unknown>): Promise<Array<string>> => {
  const directory = Fs.mkdtempSync(join(tmpdir(), "effect-dht-"))
  try {
    await work(directory)
    return Fs.readdirSync(directory)
  } finally {
    Fs.rmSync(directory, { recursive: true })
  }
}

describe("newFile", () => {
  it("appears atomically and private to its owner", async () => {
    const files = await after(async (directory) => {
      const path = join(directory, "file")
      const temporaries = new Set<string>()
      for (const content of ["one", "two"]) {
        await NewFile.write(path, content, (temporary) => {
          assert.strictEqual(Fs.readFileSync(temporary, "utf8"), content)
          assert.strictEqual(Fs.statSync(temporary).mode & 0o777, 0o600)
          temporaries.add(temporary)
          return Fs.promises.rename(temporary, path)
        })
        assert.strictEqual(Fs.readFileSync(path, "utf8"), content)
      }
      assert.strictEqual(temporaries.size, 2, "the name can be guessed")
      NewFile.replaceSync(path, "three")
      assert.strictEqual(Fs.readFileSync(path, "utf8"), "three")
      assert.strictEqual(Fs.statSync(path).mode & 0o777, 0o600)
    })
    assert.deepStrictEqual(files, ["file"])
  })

  it("leaves nothing behind if it cannot get its name", async () => {
    const files = await after(async (directory) => {
      const path = join(directory, "taken")
      Fs.mkdirSync(path)
      await NewFile.write(path, "text", (temporary) => Fs.promises.link(temporary, path)).then(
        () => assert.fail("it has a name that was taken"),
        () => {}
      )
      assert.throws(() => NewFile.replaceSync(path, "text"))
    })
    assert.deepStrictEqual(files, ["taken"])
  })
})
