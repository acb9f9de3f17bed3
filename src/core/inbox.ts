/**
 * Messages to hosted identities, in the order in which they became known. Each
 * counts once; the last ones are remembered, for readers that come later.
 *
 * @since 0.1.0
 */
import type { Address } from "../Address.ts"
import { RecencyMap } from "../internal/recencyMap.ts"
import { sha256Prefix } from "../internal/sha256.ts"
import type * as Record from "../Record.ts"
import type { ReceivedMessage } from "./letters.ts"

/**
 * A message to a hosted identity.
 *
 * @category models
 * @since 0.1.0
 */
export interface HostedMessage extends ReceivedMessage {
  readonly recipient: Address
}

/**
 * @internal
 */
export interface Limits {
  /** Messages that are remembered in all, and of one recipient. */
  readonly messages: number
  readonly ofRecipient: number
  /** Records that are known, so that none counts twice: more than the messages, which are dropped before. */
  readonly known: number
}

const usual: Limits = { messages: 16_384, ofRecipient: 64, known: 131_072 }

/** How often expired messages are looked for when there is no room. */
const cleanMillis = 60_000

const idOf = ({ payload }: Record.SignedRecord): string => sha256Prefix(payload, 16)

/** The rule of the store; `now` is in Unix milliseconds. */
const isHeld = ({ record }: HostedMessage, now: number): boolean => record.expiresAt >= Math.floor(now / 1000)

/**
 * @internal
 */
export class Inbox {
  private readonly limits: Limits
  private readonly known: RecencyMap<string, true>
  /** All that are remembered, the last one first. */
  private readonly messages = new RecencyMap<HostedMessage, true>(Infinity)
  private readonly byRecipient = new Map<Address, Array<HostedMessage>>()
  private cleanedAt = -Infinity

  constructor(limits: Limits = usual) {
    this.limits = limits
    this.known = new RecencyMap(limits.known)
  }

  /** Number of messages that are remembered. */
  get size(): number {
    return this.messages.size
  }

  /** Those of the records that were not here before. From now on they are known. */
  unknown(records: ReadonlyArray<Record.SignedRecord>): ReadonlyArray<Record.SignedRecord> {
    const unknown = records.filter((record) => this.known.get(idOf(record)) === undefined)
    for (const record of records) this.known.set(idOf(record), true)
    return unknown
  }

  /** Remembers a message. Expired ones make room first, then the oldest of all, or of its recipient. */
  remember(message: HostedMessage, now: number): void {
    const own = this.byRecipient.get(message.recipient) ?? []
    this.byRecipient.set(message.recipient, own)
    own.push(message)
    this.messages.set(message, true)
    if (own.length > this.limits.ofRecipient) this.drop(own[0])
    if (this.messages.size > this.limits.messages) this.clean(now)
    while (this.messages.size > this.limits.messages) this.drop(this.messages.oldest?.key)
  }

  /** The records of the messages to a recipient that are remembered and have not expired. */
  recordsOf(recipient: Address, now: number): ReadonlyArray<Record.SignedRecord> {
    return (this.byRecipient.get(recipient) ?? []).filter((message) => isHeld(message, now)).map(({ record }) => record)
  }

  /** All messages that are remembered and have not expired, oldest first. */
  all(now: number): ReadonlyArray<HostedMessage> {
    return Array.from(this.messages, ({ key }) => key).filter((message) => isHeld(message, now)).reverse()
  }

  /** Drops the messages to a recipient. */
  forget(recipient: Address): void {
    for (const message of this.byRecipient.get(recipient)?.slice() ?? []) this.drop(message)
  }

  private clean(now: number): void {
    if (Math.abs(now - this.cleanedAt) < cleanMillis) return
    this.cleanedAt = now
    for (const { key } of Array.from(this.messages)) if (!isHeld(key, now)) this.drop(key)
  }

  private drop(message: HostedMessage | undefined): void {
    if (message === undefined) return
    this.messages.delete(message)
    const own = this.byRecipient.get(message.recipient)
    own?.splice(own.indexOf(message), 1)
    if (own?.length === 0) this.byRecipient.delete(message.recipient)
  }
}
