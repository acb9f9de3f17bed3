/**
 * Encrypted messages: `mailbox send` and `mailbox read`.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import * as Address from "../../Address.ts"
import * as Hex from "../../internal/hex.ts"
import { decodeUtf8 } from "../../internal/text.ts"
import * as Mail from "../../Mail.ts"
import * as Identities from "../Identities.ts"
import * as Output from "../Output.ts"
import * as Session from "../Session.ts"
import { publish } from "./Publish.ts"

interface Common extends Session.Joining {
  readonly data: Option.Option<string>
  readonly passphraseEnv: Option.Option<string>
  readonly json: boolean
}

/**
 * @category commands
 * @since 0.1.0
 */
export const send = (
  options: Common & { readonly address: Address.Address; readonly text: Uint8Array; readonly ttl: number }
) =>
  publish(
    options,
    `a message to ${Address.format(options.address)}`,
    Mail.Mail.use((mail) =>
      mail.send({
        recipient: options.address,
        type: Mail.MessageType.text,
        body: options.text,
        ttl: options.ttl
      })
    ).pipe(
      Effect.catchTag("NoRecipientKey", ({ message }) => Output.failed(message))
    )
  )

const jsonOf = ({ body, record, sender, type }: Mail.ReceivedMessage) => ({
  sender: Address.format(sender),
  timestamp: record.timestamp,
  expiresAt: BigInt(record.expiresAt),
  type,
  text: decodeUtf8(body),
  bodyHex: Hex.encode(body)
})

const linesOf = ({ body, record, sender, type }: Mail.ReceivedMessage): ReadonlyArray<string> => {
  const text = decodeUtf8(body) ?? `(type ${type}) ${Hex.encode(body)}`
  // Continuation lines are indented, so that untrusted text cannot imitate the start of a message.
  const [first, ...more] = text.replace(/\n$/, "").split("\n")
  const head = `${Output.time(record.timestamp)}  ${Address.format(sender)}`
  return [`${head}  ${first}`, ...more.map((line) => `    ${line}`)]
}

/**
 * @category commands
 * @since 0.1.0
 */
export const read = Effect.fnUntraced(
  function*({ data, json, passphraseEnv, watch, ...joining }: Common & { readonly watch: boolean }) {
    if (Option.isNone(data)) {
      return yield* Output.usage("The recipient is missing. Give its data directory with --data (or set DHT_DATA)")
    }
    const { identity } = yield* Identities.load({ data: data.value, passphraseEnv })
    const address = Address.format(identity.agent)
    const reader = <A, E, R>(reading: Effect.Effect<A, E, R>) =>
      reading.pipe(
        Effect.provide(Session.speakFor(identity, data)),
        Effect.provide(Session.layer(joining, data))
      )
    if (watch) {
      return yield* Session.untilInterrupted(reader(
        Mail.Mail.use((mail) =>
          Stream.runForEach(mail.messages, (message) => Output.print(json, jsonOf(message), linesOf(message)))
        )
      ))
    }
    const { completeness, messages } = yield* reader(Mail.Mail.use((mail) => mail.read))
    yield* Output.print(
      json,
      { address, messages: messages.map(jsonOf), completeness: { ...completeness } },
      messages.length === 0
        ? [`No messages to ${address}`]
        : [...messages.flatMap(linesOf), "", Output.completeness(completeness)]
    )
  }
)
