/**
 * The rule that topic and mailbox records are stored only at the key that their
 * payload names: that of the topic or of the recipient.
 *
 * The protocol permits any key. Without this rule, one signature would suffice
 * for records at any number of keys, and an agent's offer for one topic could
 * take the slot of its offer for another.
 *
 * @since 0.1.0
 */
import * as Result from "effect/Result"
import * as NodeId from "../NodeId.ts"
import * as Record from "../Record.ts"
import * as Topic from "../Topic.ts"
import * as Mailbox from "../wire/mailbox.ts"

/**
 * The reason why a record does not belong at a key; undefined if it does or if
 * its type does not determine a key.
 *
 * @internal
 */
export const placementFault = (
  key: NodeId.NodeId,
  { address, payload, type }: Record.SignedRecord
): string | undefined => {
  switch (type) {
    case Record.RecordType.topic: {
      const topic = Topic.decode(payload)
      return Result.isSuccess(topic) && Topic.belongsTo(topic.success, key) ? undefined : "it is of another topic"
    }
    case Record.RecordType.mailbox: {
      const message = Mailbox.read(payload)
      if (typeof message === "string") return message
      if (message.sender !== address) return "the message is from another sender"
      return NodeId.fromAddress(message.recipient) === key ? undefined : "the message is to another recipient"
    }
  }
}

/**
 * The key that the payload of a record names; undefined if its type does not
 * determine a key, and if the payload cannot be read.
 *
 * @internal
 */
export const keyOf = ({ payload, type }: Record.SignedRecord): NodeId.NodeId | undefined => {
  switch (type) {
    case Record.RecordType.topic: {
      const topic = Topic.decode(payload)
      return Result.isSuccess(topic) ? NodeId.fromTopic(topic.success.topic) : undefined
    }
    case Record.RecordType.mailbox: {
      const message = Mailbox.read(payload)
      return typeof message === "string" ? undefined : NodeId.fromAddress(message.recipient)
    }
  }
}
