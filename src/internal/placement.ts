/**
 * The key that a record's payload names: a topic's, or a recipient's.
 *
 * The protocol lets a topic or mailbox record be stored at any key. A node of
 * this library takes one from a peer only where it belongs: otherwise one
 * signature would do for records at any number of keys, and an agent's offer
 * under one topic could take the slot of its offer under another.
 *
 * @since 0.1.0
 */
import * as Result from "effect/Result"
import * as Mailbox from "../Mailbox.ts"
import * as NodeId from "../NodeId.ts"
import * as Record from "../Record.ts"
import * as Topic from "../Topic.ts"

/**
 * Why a record does not belong at a key; undefined where it does, or where its
 * type says nothing of its key.
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
      const note = Mailbox.decode(payload)
      if (Result.isFailure(note)) return note.failure.message
      if (note.success.sender !== address) return "the note is by another sender"
      return NodeId.fromAddress(note.success.recipient) === key ? undefined : "the note is to another recipient"
    }
  }
}
