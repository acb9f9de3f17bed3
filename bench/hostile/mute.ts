/**
 * Strangers that send one signed request each, from an address of their own, and
 * never answer.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import { createSocket } from "node:dgram"
import * as Features from "../../src/Features.ts"
import * as Message from "../../src/Message.ts"
import * as NodeId from "../../src/NodeId.ts"
import { Query } from "../../src/Query.ts"
import { Routing } from "../../src/Routing.ts"
import type { SocketAddress } from "../../src/SocketAddress.ts"
import { transactionId } from "../fixtures.ts"
import { quantile } from "../measure.ts"
import type { Row, Section } from "../report.ts"
import { contactOf, dhtOf, identity, mean, network, type Node, shareOf, some } from "./network.ts"
import { Stranger } from "./Stranger.ts"

/** Milliseconds between two strangers. */
const apartMillis = 5

/** Number of nodes that each stranger writes to. */
const addressees = 2

/** Milliseconds after the attack until what waits is served. */
const settleMillis = 2000

/** Milliseconds between the lookups of this run, so that they take as long as the attack. */
const pauseMillis = 100

/** Responses of each node that are read for strangers. */
const answersRead = 16

const k = 16

interface Mute {
  readonly id: NodeId.NodeId
  readonly host: string
  readonly request: Uint8Array
}

const muteOf = (i: number): Mute => {
  const signer = identity(`mute ${i}`)
  const body: Message.Body = i % 2 === 0
    ? { _tag: "Ping", address: signer.address }
    : { _tag: "FindNode", target: signer.nodeId }
  const features = Features.own({ client: false, sessions: true })
  return {
    id: signer.nodeId,
    host: `127.${64 + (i >> 8)}.${i & 255}.1`,
    request: Message.encode(body, { signer, transactionId: transactionId(1 << 25 | i), features })
  }
}

/** Sends a request from a socket that is closed afterwards. */
const sendOnce = ({ host, request }: Mute, to: ReadonlyArray<SocketAddress>): Promise<void> =>
  new Promise((resolve, reject) => {
    const socket = createSocket("udp4")
    let left = to.length
    socket.once("error", reject)
    socket.bind(0, host, () => {
      for (const { host, port } of to) {
        socket.send(request, port, host, () => {
          if (--left === 0) socket.close(() => resolve())
        })
      }
    })
  })

const attack = (mutes: ReadonlyArray<Mute>, nodes: ReadonlyArray<Node>) =>
  Effect.promise(async () => {
    for (const [i, mute] of mutes.entries()) {
      const started = performance.now()
      const to = Array.from({ length: addressees }, (_, j) => contactOf(nodes[(i * addressees + j) % nodes.length]))
      await sendOnce(mute, to)
      const rest = apartMillis - (performance.now() - started)
      if (rest > 0) await new Promise((resolve) => setTimeout(resolve, rest))
    }
  })

/** Figures of lookups by all nodes in turn, for as long as they are wanted. */
const lookUps = Effect.fnUntraced(
  function*(name: string, nodes: ReadonlyArray<Node>, isWanted: (i: number) => boolean) {
    const ids = nodes.map((node) => dhtOf(node).nodeId)
    const times: Array<number> = []
    const requests: Array<number> = []
    const recalls: Array<number> = []
    const found = new Set<NodeId.NodeId>()
    for (let i = 0; isWanted(i); i++) {
      const node = nodes[i % nodes.length]
      const target = NodeId.fromTopic(`${name} ${i}`)
      const started = performance.now()
      const { closest, trace } = yield* Context.get(node, Query).lookup(target)
      times.push(performance.now() - started)
      requests.push(trace.length)
      const nearest = ids.filter((id) => id !== dhtOf(node).nodeId)
        .sort((a, b) => NodeId.compareDistance(target, a, b)).slice(0, k)
      recalls.push(shareOf(nearest, new Set<string>(closest.map(({ id }) => id))))
      for (const { id } of closest) found.add(id)
      yield* Effect.sleep(pauseMillis)
    }
    return { times, requests, recall: 100 * mean(recalls), found }
  }
)

/** The ids that nodes name in response to a stranger that asks for some targets. */
const named = (nodes: ReadonlyArray<Node>, targets: ReadonlyArray<NodeId.NodeId>) =>
  Effect.promise(async () => {
    const asker = await Stranger.open(identity("asker"), "127.60.0.1")
    const ids = new Set<NodeId.NodeId>()
    for (const node of nodes) {
      for (const target of targets) {
        const answer = await asker.ask(contactOf(node), { _tag: "FindNode", target })
        if (answer?._tag !== "FindNodeResponse") throw new Error("a node did not answer")
        for (const { id } of answer.nodes ?? []) ids.add(id)
      }
    }
    asker.close()
    ids.delete(asker.contact.id)
    return ids
  })

type LookUps = Effect.Success<ReturnType<typeof lookUps>>

const rowOf = (name: string, { recall, requests, times }: LookUps, peace?: LookUps): Row => ({
  name,
  figures: {
    "lookups": { value: times.length, unit: "" },
    // The strangers share the process with the nodes, so the time is not theirs alone.
    "p50": { value: quantile(times, 0.5), unit: "ms" },
    "p95": { value: quantile(times, 0.95), unit: "ms" },
    "requests": { value: quantile(requests, 0.5), unit: "", atMost: peace && quantile(peace.requests, 0.5) },
    "of the 16 closest": { value: recall, unit: "%", atLeast: 99.9 }
  }
})

export const mute = (options: { readonly nodes: number; readonly strangers: number; readonly lookups: number }) =>
  Effect.gen(function*() {
    const nodes = yield* network(options.nodes)
    const mutes = Array.from({ length: options.strangers }, (_, i) => muteOf(i))
    const ids = new Set<string>(mutes.map(({ id }) => id))
    const strangersIn = (some: Iterable<string>) => Array.from(some).filter((id) => ids.has(id)).length
    const peace = yield* lookUps("in peace", nodes, (i) => i < options.lookups)
    const attacking = yield* Effect.forkScoped(attack(mutes, nodes))
    const amid = yield* lookUps("amid strangers", nodes, () => attacking.pollUnsafe() === undefined)
    yield* Effect.sleep(settleMillis)
    const known = nodes.flatMap((node) => Context.get(node, Routing).entriesUnsafe().map(({ contact }) => contact.id))
    const answered = yield* named(nodes, some(mutes, answersRead).map(({ id }) => id))
    const section: Section = {
      title: `${options.strangers} strangers that never answer, ${options.nodes} nodes`,
      note: `Each sends a signed request to ${addressees} nodes, at least ${apartMillis} ms after another; ` +
        `half of them a PING, half a FIND_NODE. A lookup every ${pauseMillis} ms.`,
      rows: [
        rowOf("in peace", peace),
        rowOf("amid strangers", amid, peace),
        {
          name: "strangers",
          figures: {
            "in tables": { value: strangersIn(known), unit: "", atMost: 0 },
            "in answers": { value: strangersIn(answered), unit: "", atMost: 0 },
            "found by lookups": { value: strangersIn(amid.found), unit: "", atMost: 0 }
          }
        }
      ]
    }
    return section
  }).pipe(Effect.scoped)
