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

/** A message to a puppet and its time of arrival in Unix milliseconds. */
export interface Heard {
  readonly at: number
  readonly body: Message.Body
  readonly from: SocketAddress.SocketAddress
}

/** Makes a puppet answer with `reply` until the scope closes; `undefined` sends nothing. Each message is added to the result. */
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
 * Runs everything that can run without time passing. The test clock waits only for
 * fibers that it woke itself, so a test must settle before it adjusts the clock.
 */
export const settled = Effect.repeat(TestClock.adjust(0), { times: 50 })

/** A FIND_VALUE response without nodes. */
export const found = (...records: ReadonlyArray<SignedRecord>): Message.Body => ({
  _tag: "FindValueResponse",
  nodes: null,
  record: undefined,
  observed: undefined,
  records
})

/** Answers like a peer that accepts every record and has neither contacts nor records; `undefined` for other messages. */
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

/** An offer of `owner` for a topic, signed at the start of virtual time. */
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
