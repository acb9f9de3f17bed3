/**
 * Identity files, with errors in terms of the command line.
 *
 * @since 0.1.0
 */
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Redacted from "effect/Redacted"
import type { Crypto } from "../Crypto.ts"
import * as Identity from "../Identity.ts"
import * as IdentityFile from "../node/IdentityFile.ts"
import * as NodeCrypto from "../node/NodeCrypto.ts"
import * as Output from "./Output.ts"
import * as Secrets from "./Secrets.ts"

/**
 * Options that select an identity.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  readonly data: string
  /** The name of an environment variable. */
  readonly passphraseEnv: Option.Option<string>
}

type Problem = IdentityFile.NoIdentityFile | IdentityFile.IdentityFileExists | IdentityFile.CannotLoad

const explain = (options: Options) => (error: Problem): Output.Failure => {
  switch (error._tag) {
    case "NoIdentityFile":
      return Output.failed(`${error.message}; "effect-dht identity new --data ${options.data}" creates one`)
    case "PassphraseNeeded":
      return Output.failed(
        `${error.message}: put it in an environment variable and give the variable's name with --passphrase-env`
      )
    case "CannotUnlock":
      return Output.failed(
        `The identity in ${options.data} cannot be decrypted: the passphrase is wrong or the file is damaged`
      )
    default:
      return Output.failed(error.message)
  }
}

/** The passphrase that a flag names, if it is given. */
const passphraseOf = (flag: string, name: Option.Option<string>) =>
  Option.isNone(name) ? Effect.undefined : Secrets.fromEnv(flag, name.value)

const command = <Kept extends IdentityFile.Kept>(
  run: (options: IdentityFile.Options) => Effect.Effect<Kept, Problem, Crypto | SecureRandom.SecureRandom>
) =>
  Effect.fnUntraced(function*(options: Options) {
    const passphrase = yield* passphraseOf("--passphrase-env", options.passphraseEnv)
    const kept = yield* run({ directory: options.data, passphrase }).pipe(
      Effect.provide([NodeCrypto.layer, SecureRandom.layerWebCrypto]),
      Effect.mapError(explain(options))
    )
    // Giving a passphrase implies that the file is expected to be encrypted.
    if (passphrase !== undefined && !kept.encrypted) {
      yield* Output.warn(`Warning: ${kept.path} is not encrypted, so --passphrase-env has no effect`)
    }
    return kept
  })

/**
 * @category constructors
 * @since 0.1.0
 */
export const load = command(IdentityFile.load)

/**
 * Loads the identity without the delegation beside it.
 *
 * @category constructors
 * @since 0.1.0
 */
export const loadKey = command(IdentityFile.loadKey)

/**
 * @category constructors
 * @since 0.1.0
 */
export const create = command(IdentityFile.create)

/**
 * @category constructors
 * @since 0.1.0
 */
export const loadOrCreate = command(IdentityFile.loadOrCreate)

/**
 * The identity of a data directory, or a temporary one if there is no directory.
 *
 * @category constructors
 * @since 0.1.0
 */
export const loadOrForget = (
  { data, passphraseEnv }: { readonly data: Option.Option<string>; readonly passphraseEnv: Option.Option<string> }
): Effect.Effect<Identity.Identity, Output.Failure> =>
  Option.isSome(data)
    ? Effect.map(load({ data: data.value, passphraseEnv }), ({ identity }) => identity)
    : Effect.provide(Identity.generate, [NodeCrypto.layer, SecureRandom.layerWebCrypto])

/**
 * The passphrase of a new or rewritten identity file.
 *
 * @category models
 * @since 0.1.0
 */
export interface NewPassphrase {
  /** The name of an environment variable. */
  readonly newPassphraseEnv: Option.Option<string>
}

const written = (
  { newPassphraseEnv }: NewPassphrase,
  write: (
    passphrase: Redacted.Redacted | undefined
  ) => Effect.Effect<
    IdentityFile.Kept,
    IdentityFile.IdentityFileExists | IdentityFile.CannotAccess,
    SecureRandom.SecureRandom
  >
) =>
  Effect.flatMap(passphraseOf("--new-passphrase-env", newPassphraseEnv), (passphrase) =>
    write(passphrase).pipe(
      Effect.provide(SecureRandom.layerWebCrypto),
      Effect.mapError(({ message }) => Output.failed(message))
    ))

/**
 * Copies the identity of a data directory to a new file.
 *
 * @category constructors
 * @since 0.1.0
 */
export const exportTo = Effect.fnUntraced(function*(options: Options & NewPassphrase & { readonly file: string }) {
  const { encrypted, identity } = yield* loadKey(options)
  if (encrypted && Option.isNone(options.newPassphraseEnv)) {
    return yield* Output.usage(
      "The identity is encrypted: name the variable of the copy's passphrase with --new-passphrase-env"
    )
  }
  return yield* written(options, (passphrase) => IdentityFile.exportTo(options.file, identity, passphrase))
})

/**
 * Gives a data directory the identity in a file.
 *
 * @category constructors
 * @since 0.1.0
 */
export const importFrom = Effect.fnUntraced(function*(options: Options & NewPassphrase & { readonly file: string }) {
  const passphrase = yield* passphraseOf("--passphrase-env", options.passphraseEnv)
  const { encrypted, identity } = yield* IdentityFile.readFrom(options.file, passphrase).pipe(
    Effect.provide(NodeCrypto.layer),
    Effect.mapError((error) => error._tag === "NoIdentityFile" ? Output.failed(error.message) : explain(options)(error))
  )
  if (encrypted && Option.isNone(options.newPassphraseEnv)) {
    return yield* Output.usage(
      "The identity is encrypted: name the variable of its passphrase in the directory with --new-passphrase-env"
    )
  }
  return yield* written(
    options,
    (passphrase) => IdentityFile.importInto({ directory: options.data, passphrase }, identity)
  )
})

/**
 * Encrypts the identity of a data directory with another passphrase, or with
 * none.
 *
 * @category constructors
 * @since 0.1.0
 */
export const changePassphrase = Effect.fnUntraced(
  function*(options: Options & NewPassphrase & { readonly none: boolean }) {
    if (options.none === Option.isSome(options.newPassphraseEnv)) {
      return yield* Output.usage(
        "Name the variable of the new passphrase with --new-passphrase-env, or remove the passphrase with --none"
      )
    }
    const { identity } = yield* loadKey(options)
    return yield* written(options, (passphrase) => IdentityFile.changePassphrase(options.data, identity, passphrase))
  }
)
