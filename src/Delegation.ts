/**
 * Delegations: a master key authorises an operational Ed25519 key to act for
 * its address, so that the master can stay offline or in a wallet.
 *
 * A record signed by the operational key carries the delegation with it. The
 * version of the address tells the three kinds apart: an Ed25519 master signs
 * the fields themselves; an Ethereum or Paralism wallet signs a text that its
 * owner can read (EIP-191, Bitcoin message signing).
 *
 * @module
 * @since 0.1.0
 */
import * as Bytes from "effect/Bytes"
import * as Data from "effect/Data"
import * as Result from "effect/Result"
import * as Address from "./Address.ts"
import type { Ed25519, SigningKey } from "./Crypto.ts"
import * as Hex from "./internal/hex.ts"
import * as Secp256k1 from "./internal/secp256k1.ts"
import * as Wallets from "./internal/wallets.ts"
import * as Cbor from "./wire/cbor.ts"
import { bytes, type Codec, fixedBytes, optional, required, Struct, text, uint64, uint8 } from "./wire/struct.ts"

/**
 * Permission for an operational key to act for an address, signed by the master
 * key.
 *
 * @category models
 * @since 0.1.0
 */
export interface Delegation {
  /** 32 bytes, for an Ed25519 master only: other keys are recovered from the signature. */
  readonly masterPublicKey: Uint8Array | undefined
  /** 32 bytes. */
  readonly operationalPublicKey: Uint8Array
  /** The address of the master key. */
  readonly agent: Address.Address
  /** Unix seconds, up to 64 bits. */
  readonly issuedAt: bigint
  /** The first Unix second in which the delegation no longer holds; 0 for never. */
  readonly expiresAt: bigint
  /** 8 bits. {@link networkScope} is the only one defined. */
  readonly scope: number
  /** 64 bytes for an Ed25519 master, 65 for the others. */
  readonly signature: Uint8Array
  /** The text that a wallet signed; undefined for an Ed25519 master. */
  readonly message: string | undefined
}

/**
 * The delegation is malformed, wrongly signed, expired, or for another key or
 * address.
 *
 * @category errors
 * @since 0.1.0
 */
export class InvalidDelegation extends Data.TaggedError("InvalidDelegation")<{ readonly reason: string }> {
  override get message() {
    return `Invalid delegation: ${this.reason}`
  }
}

/**
 * The scope that covers everything a node does.
 *
 * @category constants
 * @since 0.1.0
 */
export const networkScope = 1

const agent: Codec<Address.Address> = {
  read: (reader) => {
    const bytes = fixedBytes(Address.length).read(reader)
    const fault = Address.faultOf(bytes)
    if (fault !== undefined) reader.fail(fault)
    return Address.fromBytesUnsafe(bytes)
  },
  write: (writer, address) => writer.hexString(address)
}

const signature: Codec<Uint8Array> = {
  ...bytes,
  read: (reader) => {
    const signature = reader.byteString()
    if (signature.length !== 64 && signature.length !== 65) reader.fail("expected a signature of 64 or 65 bytes")
    return signature
  }
}

/** The fields that the master signs. */
const signedFields = {
  masterPublicKey: optional(1, fixedBytes(32), undefined),
  operationalPublicKey: required(2, fixedBytes(32)),
  agent: required(3, agent),
  issuedAt: required(4, uint64),
  expiresAt: required(5, uint64),
  scope: required(6, uint8)
} as const

const signedMap = new Struct(signedFields)

const map = new Struct({
  ...signedFields,
  signature: required(7, signature),
  message: optional(8, text, undefined)
})

/** The map, and each field's key and value. */
const maxItems = 1 + 2 * 8

/**
 * Reads a delegation as {@link decode} does. Returns a text if it is malformed,
 * because peers can send many such and an error costs more than reading one.
 *
 * @internal
 */
export const read = (bytes: Uint8Array): Delegation | string => {
  const reader = new Cbor.Reader(bytes, 0, bytes.length, maxItems)
  const delegation = map.readKnown(reader)
  if (reader.fault !== undefined) return reader.fault
  // A delegation has exactly one encoding: no signature covers its bytes, so a
  // copy could otherwise differ from the original.
  return Bytes.Equivalence(encode(delegation), bytes) ? delegation : "not canonical CBOR"
}

/**
 * Reads canonical CBOR: exactly the bytes {@link encode} writes. The keys and
 * the signature are views of the input. Nothing is verified.
 *
 * @category conversions
 * @since 0.1.0
 */
export const decode = (bytes: Uint8Array): Result.Result<Delegation, InvalidDelegation> => {
  const delegation = read(bytes)
  return typeof delegation === "string" ? invalid(delegation) : Result.succeed(delegation)
}

/**
 * Returns the one form in which records carry a delegation. Ethereum wallets
 * count the last byte of a signature (the recovery id) from 0 or from 27, and
 * both verify; the canonical form counts from 27.
 *
 * @category conversions
 * @since 0.1.0
 */
export const canonical = (delegation: Delegation): Delegation => {
  const { agent, signature } = delegation
  return Address.version(agent) === Address.Version.ethereum && signature.length === 65 && signature[64] < 2
    ? { ...delegation, signature: Uint8Array.from(signature).fill(27 + signature[64], 64) }
    : delegation
}

/**
 * Writes canonical CBOR. Throws a `RangeError` for a value that does not fit
 * its field.
 *
 * @category conversions
 * @since 0.1.0
 */
export const encode = (delegation: Delegation): Uint8Array => {
  const { length } = delegation.signature
  if (length !== 64 && length !== 65) throw new RangeError(`a signature is 64 or 65 bytes, got ${length}`)
  assertFields(delegation)
  return map.encode(delegation)
}

/**
 * Returns when an encoded delegation was issued, in Unix seconds; 0 if it is
 * malformed.
 *
 * @category accessors
 * @since 0.1.0
 */
export const issuedAtOf = (bytes: Uint8Array): bigint => {
  const delegation = decode(bytes)
  return Result.isSuccess(delegation) ? delegation.success.issuedAt : 0n
}

/**
 * Whether the delegation has expired at `now`, in Unix seconds.
 *
 * @category verification
 * @since 0.1.0
 */
export const isExpired = (delegation: Delegation, now: number): boolean =>
  delegation.expiresAt !== 0n && delegation.expiresAt <= now

/**
 * Checks that the master of the delegation's address signed it and that it has
 * not expired at `now`, in Unix seconds. A delegation issued in the future is
 * already valid.
 *
 * @category verification
 * @since 0.1.0
 */
export const verify = (
  delegation: Delegation,
  options: { readonly crypto: Ed25519; readonly now: number }
): Result.Result<void, InvalidDelegation> =>
  isExpired(delegation, options.now)
    ? invalid(`it expired at ${delegation.expiresAt}, now is ${options.now}`)
    : verifyMaster(delegation, options.crypto)

/**
 * Checks that the master signed the delegation, whatever the time. A wallet's
 * signature takes a millisecond or two.
 *
 * @category verification
 * @since 0.1.0
 */
export const verifyMaster = (delegation: Delegation, crypto: Ed25519): Result.Result<void, InvalidDelegation> =>
  Result.flatMap(proofOf(delegation), (proof) => isProven(proof, crypto) ? Result.void : badSignature)

/**
 * The signature that proves a delegation, to be checked by the caller: that of
 * an Ed25519 key, or that of the wallet of an address (21 bytes).
 *
 * @internal
 */
export type Proof =
  & { readonly message: Uint8Array; readonly signature: Uint8Array }
  & (
    | { readonly _tag: "Ed25519"; readonly publicKey: Uint8Array }
    | { readonly _tag: "Wallet"; readonly address: Uint8Array }
  )

/**
 * Makes all checks of a delegation's own but that of its signature, whatever
 * the time, and returns what remains.
 *
 * @internal
 */
export const proofOf = (delegation: Delegation): Result.Result<Proof, InvalidDelegation> => {
  if (delegation.scope !== networkScope) return invalid(`unknown scope ${delegation.scope}`)
  switch (Address.version(delegation.agent)) {
    case Address.Version.ed25519:
      return proofOfEd25519(delegation)
    case Address.Version.ethereum:
    case Address.Version.paralism:
      return proofOfWallet(delegation)
    default:
      return invalid("no key can sign for this version of address")
  }
}

/**
 * Checks the signature of a proof.
 *
 * @internal
 */
export const isProven = (proof: Proof, crypto: Ed25519): boolean =>
  proof._tag === "Ed25519"
    ? crypto.verify(proof.publicKey, proof.message, proof.signature)
    : Wallets.isSigned(proof.address, proof.message, proof.signature)

/**
 * Authorises the key `operationalPublicKey` (32 bytes) to act for the address
 * of an Ed25519 master. Times are Unix seconds; 0 for `expiresAt` means never.
 * Throws a `RangeError` for a time that does not fit 64 bits or a key of
 * another length.
 *
 * @example
 * ```ts run
 * import { Crypto, Delegation, Endpoint, Identity, Record } from "effect-dht"
 * import * as Result from "effect/Result"
 *
 * // The key of the address stays offline; the node acts for it for a day.
 * const [master, node] = [1, 2].map((n) => Identity.fromSeed(Crypto.noble, new Uint8Array(32).fill(n)))
 * const delegation = Delegation.encode(Delegation.delegate({
 *   master,
 *   operationalPublicKey: node.publicKey,
 *   issuedAt: 1_700_000_000n,
 *   expiresAt: 1_700_086_400n
 * }))
 * const record = Result.getOrThrow(Endpoint.sign({
 *   signer: node,
 *   address: master.address,
 *   payload: Endpoint.make({ endpoints: ["tcp://203.0.113.5:8080"] }),
 *   seq: 1n,
 *   timestamp: 1_700_000_000n,
 *   ttl: 3600,
 *   delegation
 * }))
 * const judge = Record.authority({ crypto: Crypto.noble })
 * console.log(Result.isSuccess(judge(master.nodeId, record, 1_700_000_001))) // => true
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const delegate = (options: {
  readonly master: SigningKey
  readonly operationalPublicKey: Uint8Array
  readonly issuedAt: bigint
  readonly expiresAt: bigint
}): Delegation => {
  const fields: Fields = {
    masterPublicKey: options.master.publicKey,
    operationalPublicKey: options.operationalPublicKey,
    agent: Address.fromPublicKey(options.master.publicKey),
    issuedAt: options.issuedAt,
    expiresAt: options.expiresAt,
    scope: networkScope
  }
  return { ...fields, signature: options.master.sign(signedBytes(fields)), message: undefined }
}

/**
 * Authorises a key as {@link delegate} does, for the Ethereum or Paralism
 * address of a secp256k1 private key (32 bytes).
 *
 * @category constructors
 * @since 0.1.0
 */
export const delegateSecp256k1 = (options: {
  readonly chain: "ethereum" | "paralism"
  readonly privateKey: Uint8Array
  readonly operationalPublicKey: Uint8Array
  readonly issuedAt: bigint
  readonly expiresAt: bigint
}): Result.Result<Delegation, Address.InvalidKey> => {
  const key = Secp256k1.publicKeyOf(options.privateKey)
  if (key === undefined) {
    return Result.fail(new Address.InvalidKey({ reason: "not a secp256k1 private key of 32 bytes" }))
  }
  const chain = Wallets.chains[options.chain]
  const fields: Fields = {
    masterPublicKey: undefined,
    operationalPublicKey: options.operationalPublicKey,
    agent: chain.address(key) as Address.Address,
    issuedAt: options.issuedAt,
    expiresAt: options.expiresAt,
    scope: networkScope
  }
  assertFields(fields)
  const message = messageOf(chain, fields)
  return Result.succeed({ ...fields, signature: chain.sign(options.privateKey, encoder.encode(message)), message })
}

/**
 * Returns the text that the wallet of an Ethereum or Paralism address has to
 * sign (EIP-191 `personal_sign`, Bitcoin `signmessage`). The delegation then
 * consists of the same fields, this text and the signature.
 *
 * @category constructors
 * @since 0.1.0
 */
export const authorizationMessage = (options: {
  readonly operationalPublicKey: Uint8Array
  readonly agent: Address.Address
  readonly issuedAt: bigint
  readonly expiresAt: bigint
}): Result.Result<string, InvalidDelegation> => {
  const fields: Fields = { ...options, masterPublicKey: undefined, scope: networkScope }
  const fault = faultOf(fields)
  if (fault !== undefined) return invalid(fault)
  switch (Address.version(options.agent)) {
    case Address.Version.ethereum:
      return Result.succeed(messageOf(Wallets.chains.ethereum, fields))
    case Address.Version.paralism:
      return Result.succeed(messageOf(Wallets.chains.paralism, fields))
    default:
      return invalid(`${Address.format(options.agent)} is not an address of Ethereum or Paralism`)
  }
}

/** The fields that the master signs. */
type Fields = Omit<Delegation, "signature" | "message">

/** Returns why the fields cannot be encoded; undefined if they can. */
const faultOf = ({ expiresAt, issuedAt, masterPublicKey, operationalPublicKey, scope }: Fields): string | undefined => {
  for (const key of [masterPublicKey, operationalPublicKey]) {
    if (key !== undefined && key.length !== 32) return `a public key is 32 bytes, got ${key.length}`
  }
  if (!Cbor.isUint(issuedAt)) return `issuedAt ${issuedAt} is not a number of 64 bits`
  if (!Cbor.isUint(expiresAt)) return `expiresAt ${expiresAt} is not a number of 64 bits`
  if (!Cbor.isUint(scope, 0xff)) return `scope ${scope} is not a number of 8 bits`
}

const assertFields = (fields: Fields): void => {
  const fault = faultOf(fields)
  if (fault !== undefined) throw new RangeError(fault)
}

const invalid = (reason: string): Result.Result<never, InvalidDelegation> =>
  Result.fail(new InvalidDelegation({ reason }))

/**
 * The verdict on a {@link Proof} that does not hold.
 *
 * @internal
 */
export const badSignature: Result.Result<never, InvalidDelegation> = invalid("bad signature")

const encoder = new TextEncoder()

// --- Ed25519 masters ---

const domain = encoder.encode("a2al-del\0")

const signedBytes = (fields: Fields): Uint8Array => {
  assertFields(fields)
  const writer = new Cbor.Writer()
  writer.raw(domain)
  signedMap.write(writer, fields)
  return writer.result()
}

const proofOfEd25519 = (delegation: Delegation): Result.Result<Proof, InvalidDelegation> => {
  const { masterPublicKey } = delegation
  if (masterPublicKey === undefined) return invalid("the master key is missing")
  if (delegation.message !== undefined) return invalid("an Ed25519 master signs no message")
  if (Address.fromPublicKey(masterPublicKey) !== delegation.agent) {
    return invalid("the address is not that of the master key")
  }
  const { signature } = delegation
  return Result.succeed({ _tag: "Ed25519", publicKey: masterPublicKey, message: signedBytes(delegation), signature })
}

// --- Wallets ---

const messageOf = (chain: Wallets.Chain, fields: Fields): string =>
  `A2AL Delegation Authorization
Authorize this Ed25519 key to operate on behalf of your ${chain.name} address.

op_key:${Hex.encode(fields.operationalPublicKey)}
agent:${Address.format(fields.agent)}
scope:${fields.scope}
issued_at:${fields.issuedAt}
expires_at:${fields.expiresAt}
`

const proofOfWallet = (delegation: Delegation): Result.Result<Proof, InvalidDelegation> => {
  const { message, signature } = delegation
  if (delegation.masterPublicKey !== undefined) return invalid("only an Ed25519 master has its key in the delegation")
  if (message === undefined) return invalid("the signed message is missing")
  if (signature.length !== 65) return invalid("expected a signature of 65 bytes")
  const unsaid = new Set(["op_key", "agent", "scope", "issued_at", "expires_at"])
  for (const line of message.split("\n")) {
    const colon = line.indexOf(":")
    if (colon < 0) continue
    const name = line.slice(0, colon).trim()
    // A repeated line must be true as well: another reader may take its value.
    if (says(delegation, name, line.slice(colon + 1).trim()) === false) {
      return invalid(`the signed message has another ${name}`)
    }
    unsaid.delete(name)
  }
  if (unsaid.size > 0) return invalid(`the signed message lacks ${Array.from(unsaid).join(", ")}`)
  const address = Address.toBytes(delegation.agent)
  return Result.succeed({ _tag: "Wallet", address, message: encoder.encode(message), signature })
}

/** Whether a line of the message agrees with the delegation; undefined for a line about something else. */
const says = (fields: Fields, name: string, value: string): boolean | undefined => {
  switch (name) {
    case "op_key":
      return value.toLowerCase().replace(/^0x/, "") === Hex.encode(fields.operationalPublicKey)
    case "agent": {
      const address = Address.fromString(value)
      return Result.isSuccess(address) && address.success === fields.agent
    }
    case "scope":
      return isDecimal(value, BigInt(fields.scope))
    case "issued_at":
      return isDecimal(value, fields.issuedAt)
    case "expires_at":
      return isDecimal(value, fields.expiresAt)
  }
}

const isDecimal = (text: string, expected: bigint): boolean => /^\d{1,20}$/.test(text) && BigInt(text) === expected
