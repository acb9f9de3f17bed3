import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as TestClock from "effect/testing/TestClock"
import type * as Features from "../../src/Features.ts"
import type * as Message from "../../src/Message.ts"
import type { SignedRecord } from "../../src/Record.ts"
import * as SocketAddress from "../../src/SocketAddress.ts"
import * as Topic from "../../src/Topic.ts"
import * as network from "./network.ts"

/** A message to a puppet, and when it came in Unix milliseconds. */
export interface Heard {
  readonly at: number
  readonly body: Message.Body
  readonly from: SocketAddress.SocketAddress
}

/** Lets a puppet answer by itself until the scope closes; `undefined` is silence. The result grows with what it hears. */
export const serve = Effect.fnUntraced(function*(
  puppet: network.Puppet,
  reply: (body: Message.Body, from: SocketAddress.SocketAddress) => Message.Body | undefined,
  features?: Features.Features
) {
  const heard: Array<Heard> = []
  yield* Effect.forkScoped(Effect.forever(Effect.gen(function*() {
    const { from, message: { body, transactionId } } = yield* puppet.receive
    heard.push({ at: yield* Clock.currentTimeMillis, body, from })
    const answer = reply(body, from)
    if (answer !== undefined) yield* puppet.send(from, answer, transactionId, features)
  })))
  return heard
})

/**
 * Lets everything happen that needs no time. The test clock waits only for
 * what it woke itself, so what a test starts comes to rest before time passes.
 */
export const settled = Effect.repeat(TestClock.adjust(0), { times: 50 })

/** A FIND_VALUE answer without nodes. */
export const found = (...records: ReadonlyArray<SignedRecord>): Message.Body => ({
  _tag: "FindValueResponse",
  nodes: null,
  record: undefined,
  observed: undefined,
  records
})

/** What a peer says that takes every record, and knows nobody and nothing; `undefined` where nothing is to be said. */
export const helpful =
  (puppet: network.Puppet) => (body: Message.Body, from: SocketAddress.SocketAddress): Message.Body | undefined => {
    switch (body._tag) {
      case "Ping":
        return { _tag: "Pong", address: puppet.address, observed: SocketAddress.encodeObserved(from) }
      case "FindNode":
        return { _tag: "FindNodeResponse", nodes: null, observed: undefined }
      case "FindValue":
        return found()
      case "Store":
        return { _tag: "StoreResponse", stored: true, alreadyHad: false, reason: 0 }
      default:
        return undefined
    }
  }

/** What somebody offers under a topic, signed when virtual time begins. */
export const offer = (
  topic: string,
  owner: string,
  options: { readonly seq?: bigint; readonly ttl?: number } = {}
): SignedRecord => {
  const signer = network.identity(owner)
  return Result.getOrThrow(Topic.sign({
    signer,
    address: signer.address,
    payload: Topic.make({ topic, name: `${owner} ${options.seq ?? 1}` }),
    seq: options.seq ?? 1n,
    timestamp: BigInt(network.now),
    ttl: options.ttl ?? 3600
  }))
}
