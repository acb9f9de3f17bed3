/**
 * The floods that are measured, over UDP and modelled: their datagrams, their
 * sources, and the goals for the peers meanwhile.
 *
 * @since 0.1.0
 */
import * as Result from "effect/Result"
import * as Delegation from "../src/Delegation.ts"
import * as Mail from "../src/Mail.ts"
import * as Message from "../src/Message.ts"
import * as NodeCrypto from "../src/node/NodeCrypto.ts"
import * as Record from "../src/Record.ts"
import { bytes32, endpointRecord, identity, nodeId, transactionId, unixSeconds } from "./fixtures.ts"
import { quantile } from "./measure.ts"
import type { Figure } from "./report.ts"

const crypto = NodeCrypto.fastest
const server = identity(crypto, "server")
const flooder = identity(crypto, "flooder")

/** Datagrams of a flood, which are sent again and again. A prime number, so that every source sends many of them. */
const count = 4099

// --- Datagrams ---------------------------------------------------------------

/** The transaction of a datagram, which none of the honest peers has. */
const transactionOf = (i: number): string => transactionId(1 << 24 | i)

const find = (i: number): Uint8Array =>
  Message.encode(
    { _tag: "FindNode", target: nodeId(`target ${i}`) },
    { signer: identity(crypto, `attacker ${i}`), transactionId: transactionOf(i) }
  )

const storing = (record: Record.SignedRecord, i: number): Uint8Array =>
  Message.encode(
    { _tag: "Store", record, key: Record.category(record.type) === "mailbox" ? server.nodeId : undefined },
    { signer: flooder, transactionId: transactionOf(i) }
  )

/** A request whose signature fails only after the whole computation, under a key of its own. */
const badlySigned = (i: number): Uint8Array => {
  const bytes = find(i).slice()
  bytes[bytes.length - 64] ^= 1
  return bytes
}

/** As many unknown fields as a body may have, so that reading takes as long as it can. Its signature is bad, too. */
const slow = (i: number): Uint8Array => {
  const bytes = find(i)
  const frame = Message.frame(bytes)
  if (typeof frame === "string") throw new Error(frame)
  const unknown = Array.from({ length: 190 }, (_, key) => [0x18, 32 + key, 0x60]).flat()
  return Buffer.concat([
    bytes.subarray(0, frame.bodyStart),
    Uint8Array.of(0xb8, 1 + unknown.length / 3),
    bytes.subarray(frame.bodyStart + 1, frame.bodyEnd),
    Uint8Array.from(unknown),
    bytes.subarray(frame.bodyEnd)
  ])
}

/** A record under a wallet's delegation that the wallet did not sign. */
const forged = (nth: number): Record.SignedRecord => {
  const signature = wallets.signature.slice()
  new DataView(signature.buffer).setUint32(36, nth)
  return endpointRecord(flooder, unixSeconds(), { ...wallets, signature })
}

const wallets = Result.getOrThrow(Delegation.delegateSecp256k1({
  chain: "ethereum",
  privateKey: bytes32("wallet"),
  operationalPublicKey: flooder.publicKey,
  issuedAt: BigInt(unixSeconds()),
  expiresAt: 0n
}))

/** A message to the node, of a sender of its own. */
const message = (i: number): Record.SignedRecord => {
  const sender = identity(crypto, `sender ${i}`)
  const payload = Mail.seal({
    crypto,
    sender: sender.address,
    recipient: server.address,
    recipientPublicKey: server.publicKey,
    type: Mail.MessageType.text,
    body: bytes32(`body ${i}`),
    ephemeralSeed: bytes32(`ephemeral ${i}`),
    nonce: new Uint8Array(12)
  })
  return Result.getOrThrow(Record.sign({
    signer: sender,
    address: sender.address,
    type: Record.RecordType.mailbox,
    payload: Result.getOrThrow(payload),
    seq: 1n,
    timestamp: BigInt(unixSeconds()),
    ttl: 3600
  }))
}

const datagrams = {
  "bad signatures": badlySigned,
  "slow datagrams": slow,
  "STOREs of one forged wallet delegation": (i: number) => storing(forged(1), i),
  "STOREs of forged wallet delegations": (i: number) => storing(forged(i + 1), i),
  "mail to the node": (i: number) => storing(message(i), i)
}

export type Kind = keyof typeof datagrams

/** The datagrams of a flood. */
export const datagramsOf = (kind: Kind): ReadonlyArray<Uint8Array> =>
  Array.from({ length: count }, (_, i) => datagrams[kind](i))

// --- Floods ------------------------------------------------------------------

export interface Attack {
  readonly kind: Kind
  readonly sources: number
  /** Whether the sources are ports of one host; otherwise each is in a network of its own. */
  readonly isOneHost: boolean
  /** Goals: the highest losses in percent, and the highest p99 in milliseconds. */
  readonly contactsLost: number
  readonly contactsP99?: number
  readonly strangersLost?: number
}

const few = { isOneHost: false, contactsLost: 1, contactsP99: 100, strangersLost: 10 }
const many = { isOneHost: false, contactsLost: 10 }

export const attacks: ReadonlyArray<Attack> = [
  { kind: "bad signatures", sources: 1, ...few },
  { kind: "bad signatures", sources: 16, ...few, isOneHost: true },
  { kind: "bad signatures", sources: 5, ...few },
  { kind: "bad signatures", sources: 16, ...few },
  { kind: "bad signatures", sources: 1000, ...many },
  { kind: "bad signatures", sources: 10_000, ...many },
  { kind: "slow datagrams", sources: 16, ...few },
  { kind: "slow datagrams", sources: 1000, ...many },
  { kind: "STOREs of one forged wallet delegation", sources: 16, ...few },
  { kind: "STOREs of forged wallet delegations", sources: 16, ...few },
  { kind: "STOREs of forged wallet delegations", sources: 1000, ...many },
  { kind: "mail to the node", sources: 16, ...few },
  { kind: "mail to the node", sources: 1000, ...many }
]

export const nameOf = ({ isOneHost, kind, sources }: Attack): string =>
  `${kind}, ${sources} ${isOneHost ? "ports of a host" : sources === 1 ? "source" : "sources"}`

export const attackPerSecond = 20_000

/** Peers of each kind, and PINGs a second of all peers of a kind together. */
export const peersOfKind = 8
export const honestPerSecond = 250

/** Milliseconds of the attack before the measurement. */
export const headStartMillis = 1500

/** Milliseconds that the event loop may stand still, in processor time. */
export const maxStallMillis = 20

/** The host of the `i`th source of an attack. */
export const attackerHost = ({ isOneHost }: Pick<Attack, "isOneHost">, i: number): string =>
  isOneHost ? "127.20.0.1" : `127.${20 + (i >> 8)}.${i & 255}.1`

/** The host of the `i`th honest peer of a kind. */
export const honestHost = (kind: "contact" | "stranger", i: number): string =>
  `127.${kind === "contact" ? 1 : 2}.${i}.1`

/** The PINGs of the peers of a kind, and the milliseconds to their responses. */
export interface Noticed {
  readonly sent: number
  readonly latencies: ReadonlyArray<number>
}

const lost = ({ latencies, sent }: Noticed): number => 100 * (1 - latencies.length / sent)

/** What contacts and strangers noticed of an attack, beside what they did without one. */
export const figuresOf = (
  { contactsLost, contactsP99, strangersLost }: Attack,
  peace: { readonly contacts: Noticed; readonly strangers: Noticed },
  meanwhile: { readonly contacts: Noticed; readonly strangers: Noticed }
): { readonly [column: string]: Figure } => {
  const figures: { [column: string]: Figure } = {}
  for (const kind of ["contacts", "strangers"] as const) {
    const isContact = kind === "contacts"
    const { latencies } = meanwhile[kind]
    figures[`${kind} lost`] = {
      value: lost(meanwhile[kind]),
      unit: "%",
      atMost: isContact ? contactsLost : strangersLost
    }
    figures[`p50, ${kind}`] = { value: quantile(latencies, 0.5), unit: "ms" }
    figures[`p99, ${kind}`] = {
      value: quantile(latencies, 0.99),
      unit: "ms",
      atMost: isContact ? contactsP99 : undefined
    }
  }
  figures["lost in peace"] = { value: lost(peace.contacts), unit: "%" }
  figures["p50 in peace"] = { value: quantile(peace.contacts.latencies, 0.5), unit: "ms" }
  figures["p99 in peace"] = { value: quantile(peace.contacts.latencies, 0.99), unit: "ms" }
  return figures
}
