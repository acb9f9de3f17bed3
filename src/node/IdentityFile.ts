/**
 * The identity file of a node, `identity.ed25519` in its data directory.
 *
 * The file has one of two formats, detected when it is read. With a passphrase
 * it is the blob of `Identity.seal` (95 bytes). Without one it is text: lines
 * that begin with `#` are comments, and one line has the private key in 64 hex
 * digits and, after a space, its address. The address is optional and serves as
 * a check against damage.
 *
 * The file appears atomically, and this module never overwrites one. It is
 * private to its owner (mode 0600): like ssh, we refuse to read a file of ours
 * that other users can read or change. Windows has no such modes, so the check
 * is skipped there.
 *
 * @module
 * @since 0.1.0
 */
import type * as SecureRandom from "effect/crypto/SecureRandom"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import * as Address from "../Address.ts"
import { Crypto, type Provider } from "../Crypto.ts"
import * as Identity from "../Identity.ts"
import * as Hex from "../internal/hex.ts"
import * as DelegationFile from "./DelegationFile.ts"
import * as NewFile from "./internal/newFile.ts"

/**
 * @category constants
 * @since 0.1.0
 */
export const fileName = "identity.ed25519"

/**
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** Data directory; `create` makes it with mode 0700, and its parents. */
  readonly directory: string
  /** Encrypts a new file and opens an encrypted one; ignored for a plain-text file. */
  readonly passphrase?: Redacted.Redacted | undefined
}

/**
 * An identity and the path of its file.
 *
 * @category models
 * @since 0.1.0
 */
export interface Kept {
  readonly identity: Identity.Identity
  readonly path: string
  readonly encrypted: boolean
}

// --- Errors ------------------------------------------------------------------

/**
 * The file does not exist.
 *
 * @category errors
 * @since 0.1.0
 */
export class NoIdentityFile extends Data.TaggedError("NoIdentityFile")<{ readonly path: string }> {
  override get message() {
    return `There is no identity at ${this.path}`
  }
}

/**
 * The file already exists and was left unchanged.
 *
 * @category errors
 * @since 0.1.0
 */
export class IdentityFileExists extends Data.TaggedError("IdentityFileExists")<{ readonly path: string }> {
  override get message() {
    return `${this.path} already holds an identity; it was not changed`
  }
}

/**
 * The file has neither of the two formats.
 *
 * @category errors
 * @since 0.1.0
 */
export class DamagedIdentityFile extends Data.TaggedError("DamagedIdentityFile")<{
  readonly path: string
  readonly reason: string
}> {
  override get message() {
    return `${this.path} is not an identity file, or is damaged: ${this.reason}. It was not changed`
  }
}

/**
 * Other users can read or change the file. `mode` is its permission bits.
 *
 * @category errors
 * @since 0.1.0
 */
export class ExposedIdentityFile extends Data.TaggedError("ExposedIdentityFile")<{
  readonly path: string
  readonly mode: number
}> {
  override get message() {
    const mode = this.mode.toString(8).padStart(4, "0")
    return `Other users of this machine can read or change ${this.path} (mode ${mode}), and this key is all it takes to ` +
      `impersonate the node. Restrict access: chmod 600 ${this.path}`
  }
}

/**
 * The file is encrypted and no passphrase was given.
 *
 * @category errors
 * @since 0.1.0
 */
export class PassphraseNeeded extends Data.TaggedError("PassphraseNeeded")<{ readonly path: string }> {
  override get message() {
    return `${this.path} is encrypted and needs its passphrase`
  }
}

/**
 * The operating system denied access or failed.
 *
 * @category errors
 * @since 0.1.0
 */
export class CannotAccess extends Data.TaggedError("CannotAccess")<{
  readonly path: string
  readonly cause: unknown
}> {
  override get message() {
    const { code, message } = this.cause as NodeJS.ErrnoException
    return `Cannot use ${this.path}: ${code === undefined ? message : reasons[code] ?? message}`
  }
}

const reasons: { readonly [code: string]: string | undefined } = {
  EACCES: "permission denied",
  EEXIST: "it is not a directory",
  EISDIR: "it is a directory",
  ENOENT: "it cannot be created there",
  ENOSPC: "the disk is full",
  ENOTDIR: "a part of the path is not a directory",
  EPERM: "the operation is not permitted here",
  EROFS: "the disk is read-only"
}

// --- Reading -----------------------------------------------------------------

/**
 * Reasons why the identity of a data directory cannot be loaded.
 *
 * @category errors
 * @since 0.1.0
 */
export type CannotLoad =
  | DamagedIdentityFile
  | ExposedIdentityFile
  | PassphraseNeeded
  | Identity.CannotUnlock
  | CannotAccess
  | DelegationFile.UnusableDelegationFile

/**
 * Reads the identity of a data directory. If there is a delegation beside it,
 * the identity acts for the address named there, see `DelegationFile`.
 *
 * @category constructors
 * @since 0.1.0
 */
export const load = (options: Options): Effect.Effect<Kept, NoIdentityFile | CannotLoad, Crypto> =>
  Effect.gen(function*() {
    const kept = yield* loadKey(options)
    const delegation = yield* DelegationFile.load(options.directory)
    if (delegation === undefined) return kept
    const delegated = Identity.withDelegation(kept.identity, delegation, yield* Crypto)
    if (Result.isSuccess(delegated)) return { ...kept, identity: delegated.success }
    const path = Path.join(options.directory, DelegationFile.fileName)
    return yield* new DelegationFile.UnusableDelegationFile({ path, reason: delegated.failure.message })
  })

/**
 * Reads the identity of a data directory, without its delegation.
 *
 * @category constructors
 * @since 0.1.0
 */
export const loadKey = (
  options: Options
): Effect.Effect<Kept, NoIdentityFile | Exclude<CannotLoad, DelegationFile.UnusableDelegationFile>, Crypto> =>
  readFrom(Path.join(options.directory, fileName), options.passphrase)

/**
 * Reads an identity file at any path, such as one that {@link exportTo} wrote.
 *
 * @category constructors
 * @since 0.1.0
 */
export const readFrom = (
  path: string,
  passphrase: Redacted.Redacted | undefined
): Effect.Effect<Kept, NoIdentityFile | Exclude<CannotLoad, DelegationFile.UnusableDelegationFile>, Crypto> =>
  Effect.gen(function*() {
    const { bytes, mode } = yield* Effect.flatten(attempt(path, () => read(path)))
    const parsed = isSealed(bytes) ? undefined : parse(yield* Crypto, bytes)
    if (typeof parsed === "string") return yield* new DamagedIdentityFile({ path, reason: parsed })
    if ((mode & 0o077) !== 0) return yield* new ExposedIdentityFile({ path, mode })
    if (parsed !== undefined) return { identity: parsed, path, encrypted: false }
    if (passphrase === undefined) return yield* new PassphraseNeeded({ path })
    return { identity: yield* Identity.unseal(bytes, passphrase), path, encrypted: true }
  })

/** Maximum bytes of the file, comments included. */
const maxLength = 4096

/** Content of the file, and its permission bits if we own it. */
interface Found {
  readonly bytes: Uint8Array
  readonly mode: number
}

/** Reads the file, or returns why it cannot be an identity. */
const read = async (path: string): Promise<Effect.Effect<Found, NoIdentityFile | DamagedIdentityFile>> => {
  try {
    const found = await Fs.stat(path)
    // Reading a pipe would block until another process writes to it.
    if (!found.isFile()) return new DamagedIdentityFile({ path, reason: "it is not a file" })
    if (found.size > maxLength) return new DamagedIdentityFile({ path, reason: "it is too long" })
    // Windows has no user ids, so the mode is not checked there.
    const mode = found.uid === process.getuid?.() ? found.mode & 0o777 : 0
    return Effect.succeed({ bytes: await Fs.readFile(path), mode })
  } catch (cause) {
    if (codeOf(cause) === "ENOENT") return new NoIdentityFile({ path })
    throw cause
  }
}

/** Whether the content begins like the blob of `Identity.seal`. */
const isSealed = (bytes: Uint8Array): boolean => new TextDecoder().decode(bytes.subarray(0, 7)) === "a2al-k1"

/** Returns the identity in the text, or the reason why there is none. */
const parse = (crypto: Provider, bytes: Uint8Array): Identity.Identity | string => {
  const lines = new TextDecoder().decode(bytes).split("\n").map((line) => line.trim())
  const [line, ...more] = lines.filter((line) => line !== "" && !line.startsWith("#"))
  if (line === undefined) return "it contains no key"
  if (more.length > 0) return "it has more than one line that is not a comment"
  const [, seed, address] = /^([0-9a-f]{64})(?:\s+(\S+))?$/i.exec(line) ?? []
  if (seed === undefined) return "expected a key of 64 hex digits"
  const identity = Identity.fromSeed(crypto, Hex.decode(seed.toLowerCase()))
  if (address === undefined) return identity
  const named = Address.fromString(address)
  return Result.isSuccess(named) && named.success === identity.address
    ? identity
    : "the address beside the key is not the address of the key"
}

// --- Writing -----------------------------------------------------------------

/**
 * Creates an identity and its file in the data directory. Fails with
 * `IdentityFileExists` if there is one; of concurrent calls, one succeeds.
 *
 * @category constructors
 * @since 0.1.0
 */
export const create = (
  options: Options
): Effect.Effect<Kept, IdentityFileExists | CannotAccess, Crypto | SecureRandom.SecureRandom> =>
  save(options, Identity.generate)

/**
 * Gives a data directory an existing identity. Fails with `IdentityFileExists`
 * if it has one.
 *
 * @category constructors
 * @since 0.1.0
 */
export const importInto = (
  options: Options,
  identity: Identity.Identity
): Effect.Effect<Kept, IdentityFileExists | CannotAccess, SecureRandom.SecureRandom> =>
  save(options, Effect.succeed(identity))

const save = <R>({ directory, passphrase }: Options, making: Effect.Effect<Identity.Identity, never, R>) =>
  Effect.gen(function*() {
    const path = Path.join(directory, fileName)
    yield* attempt(directory, () => makeDirectory(directory))
    // Check before encrypting, which is slow.
    if (yield* attempt(path, () => exists(path))) return yield* new IdentityFileExists({ path })
    return yield* exportTo(path, yield* making, passphrase)
  })

/**
 * Writes an identity to a new file at any path, encrypted if there is a
 * passphrase. Fails with `IdentityFileExists` if the file exists.
 *
 * @category constructors
 * @since 0.1.0
 */
export const exportTo = (
  path: string,
  identity: Identity.Identity,
  passphrase: Redacted.Redacted | undefined
): Effect.Effect<Kept, IdentityFileExists | CannotAccess, SecureRandom.SecureRandom> =>
  Effect.gen(function*() {
    const content = yield* contentOf(identity, passphrase)
    const written = yield* attempt(path, () => write(Path.dirname(path), path, content))
    return written
      ? { identity, path, encrypted: passphrase !== undefined }
      : yield* new IdentityFileExists({ path })
  })

/**
 * Writes the identity of a data directory again, encrypted with another
 * passphrase, or without one as plain text. A crash leaves the old file or the
 * new one.
 *
 * @category constructors
 * @since 0.1.0
 */
export const changePassphrase = (
  directory: string,
  identity: Identity.Identity,
  passphrase: Redacted.Redacted | undefined
): Effect.Effect<Kept, CannotAccess, SecureRandom.SecureRandom> =>
  Effect.gen(function*() {
    const path = Path.join(directory, fileName)
    const content = yield* contentOf(identity, passphrase)
    yield* attempt(path, async () => {
      await NewFile.write(path, content, (temporary) => Fs.rename(temporary, path))
      await syncDirectory(directory)
    })
    return { identity, path, encrypted: passphrase !== undefined }
  })

const contentOf = (
  identity: Identity.Identity,
  passphrase: Redacted.Redacted | undefined
): Effect.Effect<Uint8Array | string, never, SecureRandom.SecureRandom> =>
  passphrase === undefined ? Effect.succeed(format(identity)) : Identity.seal(identity, passphrase)

/**
 * Reads the identity of a data directory, or creates one if there is none.
 *
 * @category constructors
 * @since 0.1.0
 */
export const loadOrCreate = (
  options: Options
): Effect.Effect<Kept & { readonly created: boolean }, CannotLoad, Crypto | SecureRandom.SecureRandom> => {
  const found = Effect.map(load(options), (kept) => ({ ...kept, created: false }))
  const made = Effect.map(create(options), (kept) => ({ ...kept, created: true }))
  return found.pipe(
    Effect.catchTag("NoIdentityFile", () => made),
    // Another process created it first: use that one.
    Effect.catchTag("IdentityFileExists", () =>
      found.pipe(
        Effect.catchTag("NoIdentityFile", ({ path }) =>
          new CannotAccess({ path, cause: new Error("the file was created and removed repeatedly") }))
      ))
  )
}

const format = (identity: Identity.Identity): string =>
  "# The private key of a DHT node, and its address. Keep it secret:\n" +
  "# a copy of this key is enough to impersonate the node.\n" +
  `${Hex.encode(Redacted.value(identity.seed))} ${Address.format(identity.address)}\n`

/** Creates a directory and its parents. `mkdir` with `recursive` never returns for a path in `/proc`. */
const makeDirectory = async (path: string): Promise<void> => {
  try {
    await Fs.mkdir(path, { mode: 0o700 })
  } catch (cause) {
    const parent = Path.dirname(path)
    if (codeOf(cause) === "ENOENT" && parent !== path && !(await exists(parent))) {
      await makeDirectory(parent)
      await makeDirectory(path)
    } else if (codeOf(cause) !== "EEXIST" || !(await Fs.stat(path)).isDirectory()) {
      throw cause
    }
  }
}

/** Writes the file and returns whether it was created; false if one exists. */
const write = async (directory: string, path: string, content: Uint8Array | string) => {
  try {
    // A rename would replace an existing file; a link fails instead.
    await NewFile.write(path, content, (temporary) => Fs.link(temporary, path))
  } catch (cause) {
    if (codeOf(cause) === "EEXIST") return false
    throw cause
  }
  await syncDirectory(directory)
  return true
}

/** Makes the directory entry durable, on systems that can sync a directory. */
const syncDirectory = async (directory: string): Promise<void> => {
  const handle = await Fs.open(directory).catch(() => undefined)
  if (handle === undefined) return
  await handle.sync().catch(() => {})
  await handle.close()
}

const exists = (path: string): Promise<boolean> =>
  Fs.lstat(path).then(() => true, (cause) => {
    if (codeOf(cause) === "ENOENT") return false
    throw cause
  })

const attempt = <A>(path: string, evaluate: () => Promise<A>): Effect.Effect<A, CannotAccess> =>
  Effect.uninterruptible(Effect.tryPromise({ try: evaluate, catch: (cause) => new CannotAccess({ path, cause }) }))

const codeOf = (cause: unknown): string | undefined => (cause as NodeJS.ErrnoException).code
