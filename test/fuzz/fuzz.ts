/**
 * A node that receives altered datagrams, round after round, and what must hold:
 * it throws nothing, accounts for each datagram, keeps its memory, accepts only
 * what its sender wrote, stores only what its owner signed, and serves honest
 * requests as before.
 *
 * The node is the one that users run, with real signatures. What each round
 * contains follows from the seed.
 */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import { senderOf } from "../../src/core/peers.ts"
import * as Crypto from "../../src/Crypto.ts"
import * as Dht from "../../src/Dht.ts"
import * as Features from "../../src/Features.ts"
import * as Identity from "../../src/Identity.ts"
import * as Message from "../../src/Message.ts"
import * as Network from "../../src/Network.ts"
import * as NodeCrypto from "../../src/node/NodeCrypto.ts"
import * as Record from "../../src/Record.ts"
import * as Rpc from "../../src/Rpc.ts"
import type * as SocketAddress from "../../src/SocketAddress.ts"
import { Store } from "../../src/Store.ts"
import { Prng } from "../../src/testing/internal/prng.ts"
import * as Verifier from "../../src/Verifier.ts"
import * as SessionKeys from "../../src/wire/sessionKeys.ts"
import { alter } from "./alterations.ts"
import { endpoints as honestEndpoints, messagesOf, topic } from "./messages.ts"
import { inProcess, type Sent, type Wire } from "./wires.ts"

export interface Options {
  /** Least number of datagrams that the node receives. */
  readonly count: number
  readonly seed: number
  /** What the node checks signatures and derives keys with. */
  readonly crypto?: Crypto.Provider | undefined
  /** How datagrams reach it: by a function call by default. */
  readonly wire?: Wire | undefined
  /** Whether the node also does lookups, which wait for contacts that are silent. By default it does. */
  readonly looksUp?: boolean | undefined
  /** Called now and then. */
  readonly progress?: ((received: number) => void) | undefined
  /** Whether to end with the current round. */
  readonly isOver?: (() => boolean) | undefined
}

export interface Report {
  readonly datagrams: number
  /** Those with a header that could be read, and those in the form of a session. */
  readonly framed: number
  readonly inSessions: number
  /** Number of those that the node refused, by reason. */
  readonly refused: { readonly [reason in Rpc.Refusal]: number }
  /** Number of honest requests answered, and of own requests that were answered beside altered responses. */
  readonly answered: number
  readonly asked: number
  /** Lookups among lying contacts that ended. */
  readonly looked: number
  /** Records that entered the store. */
  readonly stored: number
  /** The most milliseconds from a datagram's delivery to the next turn of the event loop. */
  readonly longestTurn: number
  /** Each a sentence. */
  readonly faults: ReadonlyArray<string>
}

const roundSize = 256
const maxFaults = 10
/** Turns of the event loop after which a datagram of which nothing was heard counts as lost. */
const maxTurns = 100_000

interface Datagram {
  readonly bytes: Uint8Array
  readonly from: SocketAddress.SocketAddress
}

interface Peer extends SocketAddress.SocketAddress {
  readonly identity: Identity.Identity
  readonly isContact: boolean
  readonly keys: ReturnType<ReturnType<typeof SessionKeys.deriver>>
}

/** What authenticates a datagram and what it authenticates: equal for two only if they say the same. */
const essence = (bytes: Uint8Array): string | undefined => {
  const frame = Message.frame(bytes)
  if (typeof frame === "string") return undefined
  const { bodyEnd, bodyStart, headerEnd, headerStart } = frame
  const text = (part: Uint8Array) => Buffer.from(part).toString("latin1")
  const covered = text(bytes.subarray(headerStart, headerEnd)) + text(bytes.subarray(bodyStart, bodyEnd))
  const proof = frame._tag === "Signed" ? text(frame.publicKey) + text(frame.signature) : text(bytes.subarray(-16))
  return `${frame._tag === "Signed" ? "" : frame.sender} ${proof} ${covered}`
}

const identityOf = (name: string): Identity.Identity => {
  const seed = new Prng(name, "identity").bytes(32)
  return Identity.fromSeed(NodeCrypto.fastest, seed)
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

/** Fuzzes a node. */
export const fuzz = (options: Options): Promise<Report> =>
  Effect.gen(function*() {
    const {
      count,
      crypto = NodeCrypto.fastest,
      isOver = () => false,
      looksUp = true,
      progress,
      seed,
      wire = inProcess
    } = options
    const prng = new Prng(seed, "fuzz")
    const faults: Array<string> = []
    const fault = (sentence: string): void => {
      if (faults.length < maxFaults) faults.push(sentence)
    }

    // --- The node, and its socket

    let transmitted: Array<Sent> = []
    const { anyAddress, deliver, here, layer: layerTransport, peerAddress } = yield* wire((sent) =>
      void transmitted.push(sent)
    )
    const logger = Logger.make(({ cause, logLevel, message }) => {
      if (logLevel === "Error" || logLevel === "Fatal") fault(`The node logged: ${String(message)} ${String(cause)}`)
    })
    const own = identityOf("node")
    const services = yield* Layer.build(
      Dht.layer({ passive: true }).pipe(
        Layer.provide([Verifier.layer, Layer.succeed(Identity.NodeIdentity, own)]),
        Layer.provide([layerTransport, Layer.succeed(Crypto.Crypto, crypto), SecureRandom.layerWebCrypto]),
        Layer.provide(Logger.layer([logger]))
      )
    )
    const dht = Context.get(services, Dht.Dht)
    const rpc = Context.get(services, Rpc.Rpc)
    const traffic = () => Effect.runSync(rpc.traffic)
    const handled = ({ received, refused }: Rpc.Traffic): number => received + refused
    let stored = 0
    yield* Context.get(services, Store).observe(({ record }) => {
      stored++
      if (!Record.isSigned(record, NodeCrypto.fastest)) fault("A record that its owner did not sign was stored")
    })

    // --- Its peers

    const seconds = Math.floor(Date.now() / 1000)
    const peers = Array.from({ length: 16 }, (_, i): Peer => {
      const identity = identityOf(`peer ${i}`)
      const keys = SessionKeys.deriver({ identity, network: Network.open, crypto: NodeCrypto.fastest })(own.publicKey)
      return { identity, keys, isContact: i < 8, ...peerAddress(i) }
    })
    const contacts = peers.filter(({ isContact }) => isContact)
    const others = [identityOf("owner"), identityOf("operational key"), identityOf("another")]
    let serial = 0
    const transaction = (): Message.TransactionId =>
      `${seed.toString(16).padStart(8, "0").slice(-8)}${(serial++).toString(16).padStart(32, "0")}`
    const features = Features.Bit.sessions
    const sign = ({ identity: signer }: Peer, body: Message.Body, transactionId: Message.TransactionId) =>
      Message.encode(body, { signer, transactionId, features })
    const seal = ({ identity: { nodeId }, keys }: Peer, body: Message.Body, transactionId: Message.TransactionId) =>
      Message.seal(body, { sender: senderOf(nodeId), key: keys!.send, transactionId, features })

    // A response that nothing awaits is refused by its header, so requests come first.
    const corpus: Array<Datagram> = []
    const unawaited: Array<Datagram> = []
    const requests: Array<{ readonly peer: Peer; readonly body: Message.Body }> = []
    for (const peer of peers) {
      const messages = messagesOf(peer.identity, here, others, seconds)
      const { host, port } = peer
      for (const body of messages.requests) requests.push({ peer, body })
      for (const body of [...messages.requests, ...messages.responses]) {
        const group = messages.requests.includes(body) ? corpus : unawaited
        group.push({ bytes: sign(peer, body, transaction()), from: { host, port } })
        if (peer.isContact) group.push({ bytes: seal(peer, body, transaction()), from: { host, port } })
      }
    }
    const honest = new Set([...corpus, ...unawaited].map(({ bytes }) => essence(bytes)))
    const any = <A>(values: ReadonlyArray<A>): A => values[prng.below(values.length)]
    const anywhere = () => anyAddress(prng)

    // --- Rounds

    const tally = { datagrams: 0, framed: 0, inSessions: 0, answered: 0, asked: 0, looked: 0, longestTurn: 0 }

    /** Whether it belongs to the DHT, and not to the protocol that shares the port or to the echo. */
    const isOurs = (bytes: Uint8Array): boolean =>
      ((bytes[0] ?? 0) & 0x40) === 0 && !(bytes.length > 1 && bytes[0] === 0x00 && bytes[1] === 0xec)

    /** Delivers datagrams and waits until the node has accepted or refused each. Returns how many it accepted. */
    const exchange = async (round: ReadonlyArray<Datagram>): Promise<number> => {
      const before = traffic()
      let expected = handled(before)
      const started = performance.now()
      for (const { bytes, from } of round) {
        if (isOurs(bytes)) expected++
        deliver(bytes, from)
      }
      await turn()
      tally.longestTurn = Math.max(tally.longestTurn, performance.now() - started)
      let now = traffic()
      for (let turns = 0; handled(now) < expected && turns < maxTurns; turns++) {
        const turned = performance.now()
        await turn()
        tally.longestTurn = Math.max(tally.longestTurn, performance.now() - turned)
        now = traffic()
      }
      if (handled(now) !== expected) {
        fault(`Of ${round.length} datagrams ${expected - handled(now)} got lost in the node`)
      }
      tally.datagrams += round.length
      return now.received - before.received
    }

    const alteredRound = (): ReadonlyArray<Datagram> =>
      Array.from({ length: roundSize }, () => {
        const kind = prng.below(16)
        if (kind === 0) return { bytes: prng.bytes(prng.below(1300)), from: anywhere() }
        if (kind === 1) return { bytes: Message.notice(transaction()), from: any(peers) }
        const { bytes, from } = any(kind === 2 ? unawaited : corpus)
        return { bytes: alter(prng, bytes, any(corpus).bytes), from: prng.below(2) === 0 ? from : anywhere() }
      })

    const altered = async (): Promise<void> => {
      const round = alteredRound()
      for (const { bytes } of round) {
        if (typeof Message.header(bytes) === "string") continue
        tally.framed++
        if (Message.claimedSender(bytes) !== undefined) tally.inSessions++
      }
      const accepted = await exchange(round)
      if (accepted === 0) return
      const unaltered = round.filter(({ bytes }) => isOurs(bytes) && honest.has(essence(bytes)))
      if (accepted > unaltered.length) {
        const suspects = round.filter(({ bytes }) =>
          essence(bytes) !== undefined && !unaltered.some((u) => u.bytes === bytes)
        )
        fault(
          `${accepted} of a round were accepted, but only ${unaltered.length} are what their senders wrote; among ` +
            suspects.slice(0, 3).map(({ bytes }) => Buffer.from(bytes).toString("hex")).join(", ")
        )
      }
    }

    /** An altered message, signed by a peer. */
    const signAltered = ({ identity }: Peer, bytes: Uint8Array): Uint8Array => {
      const altered = alter(prng, bytes, any(corpus).bytes)
      const frame = Message.frame(altered)
      if (typeof frame === "string" || frame._tag === "Session") return altered
      const signature = identity.sign(Message.signedBytes(frame))
      const signed = altered.slice()
      signed.set(identity.publicKey, signed.length - 67 - 32)
      signed.set(signature, signed.length - 64)
      return signed
    }

    /** Messages whose senders signed nonsense: the node may accept them, and must survive them. */
    const signedNonsense = async (): Promise<void> => {
      await exchange(Array.from({ length: 32 }, () => {
        const { bytes, from } = any(corpus)
        return { bytes: signAltered(any(peers), bytes), from }
      }))
    }

    /** Honest requests, signed and in sessions, of which each must be accepted. */
    const honestRound = async (): Promise<void> => {
      // Nonsense that a peer has signed may lack the bit for sessions, which ends its session.
      await exchange(contacts.map((peer) => {
        const { host, identity: { address }, port } = peer
        return { bytes: sign(peer, { _tag: "Ping", address }, transaction()), from: { host, port } }
      }))
      const before = traffic().refusedBy
      const round = Array.from({ length: 16 }, (): Datagram => {
        const { body, peer } = any(requests)
        const write = peer.isContact && prng.below(2) === 0 ? seal : sign
        return { bytes: write(peer, body, transaction()), from: { host: peer.host, port: peer.port } }
      })
      const accepted = await exchange(round)
      tally.answered += accepted
      if (accepted === round.length) return
      const reasons = Object.entries(traffic().refusedBy).flatMap(([reason, count]) =>
        count > before[reason as Rpc.Refusal] ? [reason] : []
      )
      fault(`Of ${round.length} honest requests ${round.length - accepted} were refused: ${reasons.join(", ")}`)
    }

    /** Pings to contacts, with altered responses before the honest ones. */
    const askedRound = async (): Promise<void> => {
      transmitted = []
      const pings = contacts.map(({ host, identity: { nodeId: id }, port }) =>
        Effect.runFork(dht.ping({ id, host, port }))
      )
      while (transmitted.length < contacts.length) await turn()
      const responses = transmitted.flatMap(({ bytes, to }): ReadonlyArray<readonly [Peer, Uint8Array]> => {
        const header = Message.header(bytes)
        const peer = contacts.find(({ host }) => host === to.host)
        if (typeof header === "string" || header.type !== Message.Type.Ping || peer === undefined) return []
        const body = messagesOf(peer.identity, here, others, seconds).responses[0]
        const write = Message.claimedSender(bytes) === undefined ? sign : seal
        return [[peer, write(peer, body, header.transactionId)]]
      })
      const round = responses.flatMap(([{ host, port }, bytes]) =>
        Array.from({ length: 16 }, () => ({ bytes: alter(prng, bytes, any(corpus).bytes), from: { host, port } }))
      ).filter(({ bytes }) => {
        const meaning = essence(bytes)
        return meaning === undefined || !honest.has(meaning) && !responses.some(([, sent]) => essence(sent) === meaning)
      })
      const accepted = await exchange(round)
      if (accepted > 0) fault(`${accepted} altered responses were accepted`)
      await exchange(responses.map(([{ host, port }, bytes]) => ({ bytes, from: { host, port } })))
      for (const ping of pings) {
        const ended = await Effect.runPromise(Fiber.await(ping))
        if (Exit.isSuccess(ended)) tally.asked++
        else fault(`A ping failed beside altered responses: ${String(ended.cause)}`)
      }
    }

    /** The response of a peer that lies, is silent, or is honest. */
    const responseOf = (peer: Peer, request: Uint8Array): Uint8Array | undefined => {
      const header = Message.header(request)
      if (typeof header === "string" || Message.isResponse(header.type)) return undefined
      const right = messagesOf(peer.identity, here, others, seconds).responses.filter((body) =>
        Message.Type[body._tag] === header.type + 1
      )
      if (right.length === 0) return undefined
      const response = any(right)
      const behaviour = prng.below(8)
      if (behaviour === 0) return undefined
      if (behaviour < 6) return signAltered(peer, sign(peer, response, header.transactionId))
      return (Message.claimedSender(request) === undefined ? sign : seal)(peer, response, header.transactionId)
    }

    /** Lookups among contacts of which most lie: each ends, with what owners signed or a typed error. */
    const lookups = async (): Promise<void> => {
      transmitted = []
      const [owner, operational] = others
      const asked = Array.from({ length: 8 }, () => [
        dht.resolve(owner.address).pipe(
          Effect.map(({ endpoints }) => {
            if (endpoints?.join() !== honestEndpoints.join()) {
              throw new Error(`the owner did not sign ${String(endpoints)}`)
            }
          })
        ),
        dht.discover(topic),
        dht.resolveAll(operational.address),
        dht.findNode(identityOf(`target ${prng.uint32()}`).nodeId)
      ]).flat()
      const running = asked.map((lookup) => Effect.runFork(Effect.asVoid<unknown, unknown, never>(lookup)))
      while (running.some((fiber) => fiber.pollUnsafe() === undefined)) {
        const requests = transmitted.splice(0)
        for (const { bytes, to } of requests) {
          const peer = contacts.find(({ host }) => host === to.host)
          const response = peer && responseOf(peer, bytes)
          if (response !== undefined) {
            deliver(response, { host: to.host, port: to.port })
            tally.datagrams++
          }
        }
        await turn()
      }
      for (const fiber of running) {
        const ended = fiber.pollUnsafe()
        if (ended !== undefined && Exit.isFailure(ended) && Cause.hasDies(ended.cause)) {
          fault(`A lookup ended with a defect: ${Cause.pretty(ended.cause)}`)
        }
        tally.looked++
      }
    }

    yield* Effect.promise(async () => {
      await askedRound()
      for (let round = 0; tally.datagrams < count && faults.length < maxFaults && !isOver(); round++) {
        await altered()
        if (round % 8 === 0) await signedNonsense()
        if (round % 64 === 0) await honestRound()
        if (round % 64 === 32) await askedRound()
        if (looksUp && round % 4096 === 1) await lookups()
        transmitted = []
        if (round % 4096 === 0) progress?.(tally.datagrams)
      }
    })
    const { refusedBy: refused } = traffic()
    return { ...tally, refused, stored, faults }
  }).pipe(Effect.scoped, Effect.runPromise)
