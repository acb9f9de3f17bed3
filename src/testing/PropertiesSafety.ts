/**
 * Checks of invariants while a world runs: of each datagram as it arrives, and of
 * each node at an interval.
 *
 * Nodes with {@link Safety.probe} are checked. The work per datagram does not
 * grow with the number of nodes or records; stores and tables are read at the
 * interval.
 *
 * @module
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Result from "effect/Result"
import * as Scope from "effect/Scope"
import type { Address } from "../Address.ts"
import { Crypto } from "../Crypto.ts"
import type * as Dht from "../Dht.ts"
import { NodeIdentity } from "../Identity.ts"
import { RecencyMap } from "../internal/recencyMap.ts"
import { sha256Hex } from "../internal/sha256.ts"
import * as Message from "../Message.ts"
import * as NodeId from "../NodeId.ts"
import { NodeSettings } from "../NodeSettings.ts"
import * as Record from "../Record.ts"
import { Replication } from "../Replication.ts"
import { Routing } from "../Routing.ts"
import * as Rpc from "../Rpc.ts"
import * as SocketAddress from "../SocketAddress.ts"
import { type Row, Store } from "../Store.ts"
import { Transport } from "../Transport.ts"
import * as RecordOrder from "./internal/recordOrder.ts"
import { type Facts, type Property, Violation } from "./Properties.ts"
import type { Delivery, Host } from "./SimNetwork.ts"
import { Closed, type Machine, type World } from "./SimWorld.ts"
import { VirtualTime } from "./VirtualTime.ts"

/**
 * @category models
 * @since 0.1.0
 */
export interface Safety {
  /** To be installed on each node to check, as its `app` or beside it. */
  readonly probe: Layer.Layer<never, never, Dht.Services | Machine>
  /** The violations so far, at most 100. Nodes that end with the world are checked as it closes. */
  readonly violations: ReadonlyArray<Violation>
  /** Checks all nodes now. */
  readonly sweep: () => void
  /** Checks a record that a node returned to its application for a key. */
  readonly returned: (node: string, key: NodeId.NodeId, record: Record.SignedRecord) => void
  /** Checks, a while later, that a record is gone that a node withdraws now. */
  readonly withdrawn: (node: string, key: NodeId.NodeId, record: Record.SignedRecord) => void
}

/**
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** Time between two checks of all nodes; defaults to 30 seconds. */
  readonly interval?: Duration.Input | undefined
  /** The authority of signers; defaults to `Record.authority`, as in nodes. */
  readonly policy?: Record.Policy | undefined
  /** Maximum number of keys in a store; defaults to 100 000, as in nodes. */
  readonly maxKeys?: number | undefined
  /** Maximum bytes of the records in a store; defaults to 64 MiB, as in nodes. */
  readonly maxBytes?: number | undefined
}

const maxViolations = 100

/** Kademlia's K. */
const k = 16

/** Milliseconds for which a request is remembered. */
const requestMillis = 60_000

/** Records whose fault is remembered. */
const rememberedRecords = 10_000

/** Stored records checked at each sweep of a node. */
const judgedPerSweep = 16

/** Remembered pairs of an address and its id. */
const rememberedIds = 50_000

/** Milliseconds after which a record that was stored survives a crash. */
const savedMillis = 2000

/** Milliseconds for a withdrawal to reach every holder; when it has expired, an old record can be stored again. */
const withdrawnMillis = 20_000

/** Latency in milliseconds from which a live node may seem silent. */
const highLatencyMillis = 500

/** One run of a node, from start to stop. */
interface Life {
  readonly name: string
  readonly id: NodeId.NodeId
  readonly socket: SocketAddress.SocketAddress
  readonly addresses: ReadonlyArray<SocketAddress.SocketAddress>
  readonly host: Host | undefined
  readonly clock: Clock.Clock
  readonly crypto: Crypto["Service"]
  readonly routing: Routing["Service"]
  readonly store: Store["Service"]
  readonly replication: Replication["Service"]
  /** Reads an effect of the node's that completes synchronously, by the node's clock. */
  readonly read: <A>(effect: Effect.Effect<A>) => A
  readonly pending: Effect.Effect<number>
  /** Whether it announces sessions. */
  readonly hasSessions: boolean
  readonly startedAt: number
  /** Milliseconds that its clock is ahead of the world's, and virtual time since which they are known not to have changed. */
  ahead: number
  aheadSince: number
  /** The newest record of each slot that it acknowledged or stored. */
  readonly newest: Map<string, Version & { readonly at: number }>
  /** Rows of its store at the last check, with their records that have a delegation. */
  judged: Map<string, ReadonlyArray<Record.SignedRecord>>
  /** Its verified contacts at the last check. */
  contacts: ReadonlyArray<NodeId.NodeId>
  /** The addresses from which responses came. */
  readonly answered: Set<string>
  /** Hosts that sent requests, until a response comes from them. */
  readonly strangers: Map<Host, Stranger>
}

/** Bytes between a node and a host from which no response has come, as they arrive. */
interface Stranger {
  requested: number
  replied: number
}

/** A record as far as others of its slot are compared with it. */
interface Version extends RecordOrder.Rank {
  readonly key: NodeId.NodeId
  readonly slot: string
  /** Names it among the rows of a store. */
  readonly row: string
  readonly lastSecond: number
}

const rowNameOf = (
  { address, key, seq, timestamp, type }: Pick<Row, "address" | "key" | "seq" | "timestamp" | "type">
): string => `${key} ${address} ${type} ${seq} ${timestamp}`

const versionOf = (key: NodeId.NodeId, record: Record.SignedRecord): Version => {
  const { delegatedAt, seq, timestamp } = record
  return {
    key,
    slot: RecordOrder.slotOf(key, record),
    row: rowNameOf({ ...record, key }),
    lastSecond: RecordOrder.lastSecond(record),
    delegatedAt,
    seq,
    timestamp
  }
}

const pendingOf = ({ pending }: Life): number => Effect.runSync(pending)

/** What a node left that stopped. */
interface Remains {
  readonly stored: ReadonlyArray<Version>
  /** The slots of the records whose copies it maintained, with these. */
  readonly maintained: ReadonlyArray<Version>
}

/** A withdrawal that is still to be checked. */
interface Withdrawn {
  readonly by: Life
  readonly version: Version
  readonly at: number
  /** The disturbances of the network before. */
  readonly disturbances: number
}

/** A request that reached a node. */
interface Received {
  readonly at: number
  /** Of its datagram. */
  readonly bytes: number
  times: number
  replies: number
  notices: number
  /** Its key, and the record to be stored. */
  readonly key: NodeId.NodeId | undefined
  readonly record: Version | undefined
}

/** Counts that show whether the network delivered everything. */
interface Conditions {
  readonly at: number
  readonly disturbances: number
  /** Datagrams dropped by routers that translate addresses. */
  readonly filtered: number
}

/**
 * Checks a world until the scope closes.
 *
 * @category constructors
 * @since 0.1.0
 */
export const watch = Effect.fnUntraced(function*(
  world: World,
  options: Options = {}
): Effect.fn.Return<Safety, never, Scope.Scope> {
  const { maxBytes = 64 * 1024 * 1024, maxKeys = 100_000 } = options
  const { network, seed, timeline } = world
  const violations: Array<Violation> = []
  /** Running nodes by socket address. */
  const up = new Map<string, Life>()
  const byIp = new Map<string, Array<Life>>()
  const byId = new Map<NodeId.NodeId, Life>()
  const requests = new Map<string, Received>()
  const faults = new RecencyMap<string, { readonly fault: string | undefined }>(rememberedRecords)
  const ids = new RecencyMap<Address, NodeId.NodeId>(rememberedIds)
  const remains = new Map<NodeId.NodeId, Remains>()
  let withdrawals: ReadonlyArray<Withdrawn> = []
  /** Starts and stops of nodes. */
  let turnovers = 0
  let policy = options.policy
  let changes = 0
  let highestLatency = 0
  let history: ReadonlyArray<Conditions> = []

  const report = (property: Property, node: string, facts: Facts): void => {
    if (violations.length >= maxViolations) return
    if (violations.some((other) => other.property === property && other.node === node)) return
    const { elapsedMillis: atMillis, scheduleSeed } = timeline
    violations.push(new Violation({ property, node, atMillis, facts, seed, scheduleSeed }))
  }

  // --- Records -----------------------------------------------------------------

  /** The fault of a record at a key that does not depend on the time. */
  const faultOf = (life: Life, key: NodeId.NodeId, record: Record.SignedRecord): string | undefined =>
    faults.use(`${key} ${sha256Hex(record.bytes)}`, () => {
      const signedAt = Number(record.timestamp)
      const form = Record.fault(record, signedAt)
      if (form !== undefined) return { fault: Record.toError(form).message }
      if (!Record.isSigned(record, life.crypto)) return { fault: "bad signature" }
      policy ??= Record.authority({ crypto: life.crypto })
      const allowed = policy(key, record, signedAt)
      return { fault: Result.isFailure(allowed) ? allowed.failure.message : undefined }
    }).fault

  const judge = (life: Life, key: NodeId.NodeId, record: Record.SignedRecord, where: string): void => {
    const fault = faultOf(life, key, record)
    if (fault !== undefined) report("RecordsAreGood", life.name, { where, key, type: record.type, fault })
  }

  /** `now` is in Unix seconds of the node's own clock. */
  const judgeTime = (
    life: Life,
    key: NodeId.NodeId,
    record: Record.SignedRecord,
    where: string,
    now: number
  ): void => {
    const { type } = record
    const lastSecond = RecordOrder.ownLastSecond(record)
    if (lastSecond < now) {
      report("RecordsAreGood", life.name, { where, key, type, fault: `expired ${now - lastSecond} s ago` })
    }
    const until = RecordOrder.authorityOf(record)
    if (until !== undefined && until <= now) {
      report("AuthorityEnds", life.name, { where, key, type, ended: `${BigInt(now) - until} s ago` })
    }
  }

  const secondsOf = (life: Life): number => Math.floor(life.clock.currentTimeMillisUnsafe() / 1000)

  // --- Datagrams ---------------------------------------------------------------

  const senderOf = ({ from, sentAtMillis, source }: Delivery): Life | undefined => {
    const life = source.router === undefined
      ? up.get(SocketAddress.key(from))
      : byIp.get(source.ip)?.find((_, __, all) => all.length === 1)
    return life !== undefined && sentAtMillis >= life.startedAt ? life : undefined
  }

  /** Whether the node's clock has run with that of the world since `millis` of virtual time. */
  const isSteadySince = (life: Life, millis: number): boolean => {
    const ahead = life.clock.currentTimeMillisUnsafe() - timeline.currentTimeMillisUnsafe()
    if (ahead !== life.ahead) {
      life.ahead = ahead
      life.aheadSince = timeline.elapsedMillis
    }
    return life.aheadSince <= millis
  }

  const request = (life: Life, frame: Message.Frame): void => {
    const id = `${SocketAddress.key(life.socket)} ${frame.transactionId}`
    const known = requests.get(id)
    if (known !== undefined) {
      known.times++
      return
    }
    const body = Message.readBody(frame)
    const received = { at: timeline.elapsedMillis, bytes: frame.bytes.length, times: 1, replies: 0, notices: 0 }
    if (typeof body === "string") {
      requests.set(id, { ...received, key: undefined, record: undefined })
    } else if (body._tag === "Store") {
      const { record } = body
      const isOwn = body.key === undefined || body.key === NodeId.zero ||
        RecordOrder.kindOf(record.type) === "sovereign"
      const key = isOwn || body.key === undefined ? Record.ownKey(record) : body.key
      requests.set(id, { ...received, key, record: versionOf(key, record) })
    } else {
      requests.set(id, { ...received, key: "target" in body ? body.target : undefined, record: undefined })
    }
  }

  const strangerTo = ({ strangers }: Life, host: Host): Stranger => {
    const known = strangers.get(host)
    if (known !== undefined) return known
    const stranger = { requested: 0, replied: 0 }
    strangers.set(host, stranger)
    return stranger
  }

  const answered = (life: Life, { from, source }: Delivery): void => {
    life.answered.add(SocketAddress.key(from))
    life.answered.add(source.ip)
    life.strangers.delete(source)
  }

  const replied = (life: Life, { payload, target }: Delivery): void => {
    if (life.answered.has(target.ip)) return
    const stranger = strangerTo(life, target)
    stranger.replied += payload.length
    const most = Rpc.amplification * stranger.requested * (network.counts.duplicated === 0 ? 1 : 2)
    if (stranger.replied > most) {
      report("StrangersGetLittle", life.name, { host: nameOf({ host: target.ip, port: 4121 }), ...stranger })
    }
  }

  const reply = (life: Life, frame: Message.Frame, delivery: Delivery): void => {
    const { sentAtMillis: sentAt } = delivery
    const about = requests.get(`${SocketAddress.key(life.socket)} ${frame.transactionId}`)
    if (about === undefined) return
    replied(life, delivery)
    about.replies++
    // A duplicate made by the network looks like another reply.
    if (about.replies > about.times * (network.counts.duplicated === 0 ? 1 : 2)) {
      report("OneReply", life.name, { transaction: frame.transactionId, requests: about.times, replies: about.replies })
    }
    if (frame.type === Message.Type.Pong) return
    const body = Message.readBody(frame)
    if (typeof body === "string") return
    switch (body._tag) {
      case "FindNodeResponse":
        return passedOn(life, body, sentAt)
      case "FindValueResponse":
        passedOn(life, body, sentAt)
        if (about.key !== undefined) listed(life, about.key, body, sentAt)
        return
      case "StoreResponse": {
        const { record } = about
        if (record !== undefined && body.stored) taken(life, record, sentAt)
      }
    }
  }

  const taken = (life: Life, version: Version, at: number): void => {
    const newest = life.newest.get(version.slot)
    if (newest === undefined || RecordOrder.compare(newest, version) < 0) {
      life.newest.set(version.slot, { ...version, at })
    }
  }

  /** A record of its own as well: what was acknowledged may be older than one that expires sooner. */
  const stored = (life: Life, key: NodeId.NodeId, record: Record.SignedRecord): void =>
    taken(life, versionOf(key, record), timeline.elapsedMillis)

  /** Grows with each event that may keep a datagram from its receiver. */
  const disturbed = (): number => {
    const { blocked, lost, overflowed } = network.counts
    return blocked + lost + overflowed + changes + turnovers
  }

  type Listing = Extract<Message.Body, { readonly _tag: "FindNodeResponse" | "FindValueResponse" }>

  const passedOn = (life: Life, { nodes }: Pick<Listing, "nodes">, sentAt: number): void => {
    for (const { id } of nodes ?? []) {
      const entry = life.routing.entryUnsafe(id)
      if (entry === undefined || entry.verifiedAt !== undefined) continue
      // It may have left the table since and returned as unverified.
      if (isSteadySince(life, sentAt) && entry.addedAt < timeline.startMillis + sentAt + life.ahead) {
        report("UnverifiedStays", life.name, { contact: id })
      }
    }
  }

  const listed = (
    life: Life,
    key: NodeId.NodeId,
    body: Extract<Listing, { readonly _tag: "FindValueResponse" }>,
    sentAt: number
  ): void => {
    const records = body.record === undefined ? body.records ?? [] : [body.record, ...(body.records ?? [])]
    const now = isSteadySince(life, sentAt)
      ? Math.floor((timeline.startMillis + sentAt + life.ahead) / 1000)
      : undefined
    for (const record of records) {
      judge(life, key, record, "an answer")
      if (now === undefined) continue
      judgeTime(life, key, record, "an answer", now)
      const held = life.newest.get(RecordOrder.slotOf(key, record))
      if (
        held !== undefined && held.at < sentAt && held.lastSecond >= now &&
        RecordOrder.compare(record, held) < 0 && !isCrowded(life, key)
      ) {
        report("NeverOlder", life.name, {
          key,
          type: record.type,
          stored: `seq ${held.seq} of ${held.timestamp}`,
          listed: `seq ${record.seq} of ${record.timestamp}`
        })
      }
    }
  }

  /** Whether the newer record may have been evicted. */
  const isCrowded = (life: Life, key: NodeId.NodeId): boolean => {
    if (life.read(life.store.size) >= maxKeys || life.read(life.store.bytes) > maxBytes / 2) return true
    for (const [at, count] of countsOf(life)) {
      if (at.startsWith(key) && count >= RecordOrder.most[at.slice(NodeId.length * 2 + 1) as RecordOrder.Kind]) {
        return true
      }
    }
    return false
  }

  const rowsOf = (life: Life) => life.read(life.store.page({ limit: Infinity })).rows

  const recordsOf = (life: Life, { address, seq, timestamp, type }: Row): ReadonlyArray<Record.SignedRecord> =>
    life.read(life.store.getAllByAddress(address, type)).filter((record) =>
      record.seq === seq && record.timestamp === timestamp
    )

  const countsOf = (life: Life): Map<string, number> => {
    const counts = new Map<string, number>()
    for (const { key, type } of rowsOf(life)) {
      const at = `${key} ${RecordOrder.kindOf(type)}`
      counts.set(at, (counts.get(at) ?? 0) + 1)
    }
    return counts
  }

  const noticed = (life: Life, transaction: Message.TransactionId, bytes: number): void => {
    const about = requests.get(`${SocketAddress.key(life.socket)} ${transaction}`)
    if (about !== undefined) about.notices++
    const most = about === undefined ? 0 : about.times * (network.counts.duplicated === 0 ? 1 : 2)
    if (about !== undefined && about.notices <= most && bytes <= about.bytes) return
    report("NoticesAreFew", life.name, {
      transaction,
      requests: about?.times ?? 0,
      notices: about?.notices ?? 1,
      bytes
    })
  }

  const delivered = (delivery: Delivery): void => {
    const transaction = Message.noticed(delivery.payload)
    if (transaction !== undefined) {
      const life = senderOf(delivery)
      if (life !== undefined) noticed(life, transaction, delivery.payload.length)
      return
    }
    const frame = Message.frame(delivery.payload)
    if (typeof frame === "string") return
    if (frame._tag === "Session") {
      const life = senderOf(delivery)
      const peer = up.get(SocketAddress.key(delivery.to))
      if (life !== undefined && peer !== undefined && !(life.hasSessions && peer.hasSessions)) {
        report("SessionsAreMutual", life.name, { peer: peer.name })
      }
    }
    const latency = timeline.elapsedMillis - delivery.sentAtMillis
    if (latency > highestLatency) highestLatency = latency
    if (Message.isResponse(frame.type)) {
      const life = senderOf(delivery)
      if (life !== undefined) reply(life, frame, delivery)
      const asker = up.get(SocketAddress.key(delivery.to))
      if (asker !== undefined) answered(asker, delivery)
    } else {
      const life = up.get(SocketAddress.key(delivery.to))
      if (life === undefined) return
      request(life, frame)
      if (!life.answered.has(delivery.source.ip)) {
        strangerTo(life, delivery.source).requested += delivery.payload.length
      }
    }
  }

  // --- Nodes -------------------------------------------------------------------

  const checkTable = (life: Life): void => {
    const counts = new Map<number, number>()
    const met = new Set<NodeId.NodeId>()
    const unsound = (facts: Facts) => report("TableIsSound", life.name, facts)
    for (const { bucket, contact, verifiedAt } of life.routing.entriesUnsafe()) {
      const { address, id } = contact
      if (verifiedAt !== undefined && !life.answered.has(SocketAddress.key(contact))) {
        report("VerifiedHaveAnswered", life.name, { contact: id, at: SocketAddress.key(contact) })
      }
      const count = (counts.get(bucket) ?? 0) + 1
      counts.set(bucket, count)
      if (count > k) unsound({ bucket, contacts: count })
      if (met.has(id)) unsound({ bucket, twice: id })
      met.add(id)
      if (id === life.id) unsound({ bucket, itself: id })
      else if (NodeId.bucketIndex(life.id, id) !== bucket) unsound({ bucket, stray: id })
      if (ids.use(address, () => NodeId.fromAddress(address)) !== id) unsound({ bucket, id, address })
    }
  }

  /** Whether every datagram since that moment arrived soon, unless a router filtered it or its receiver was down. */
  const isCalmSince = (moment: Conditions, now: Conditions): boolean =>
    moment.disturbances === now.disturbances && highestLatency < highLatencyMillis

  /** Whether it is behind a router, which translates its address. */
  const isTranslated = ({ host }: Life): boolean => host?.router !== undefined

  /** Whether its router filters unsolicited datagrams, so that it is a client of the others. */
  const isClosed = ({ host }: Life): boolean => host?.admitsStrangers === false

  /** Whether it has another address than it started with, where others do not know it. */
  const hasMoved = ({ addresses, host }: Life): boolean =>
    host !== undefined && !addresses.some((address) => address.host === host.ip)

  const checkContacts = (life: Life, calmSince: number | undefined, isFiltered: boolean): void => {
    if (calmSince !== undefined && life.startedAt < calmSince && isSteadySince(life, calmSince)) {
      const isHeard = (other: Life) =>
        !isClosed(other) && !hasMoved(other) && (!isFiltered || !isTranslated(life) && !isTranslated(other))
      for (const id of life.contacts) {
        const other = byId.get(id)
        if (
          life.routing.entryUnsafe(id) === undefined && other !== undefined && other.startedAt < calmSince &&
          isHeard(other)
        ) {
          report("LiveContactsStay", life.name, { gone: other.name, id })
        }
      }
    }
    life.contacts = life.routing.entriesUnsafe().flatMap(({ contact, verifiedAt }) =>
      verifiedAt === undefined ? [] : [contact.id]
    )
  }

  const checkStore = (life: Life): void => {
    const now = secondsOf(life)
    const keys = life.read(life.store.size)
    const bytes = life.read(life.store.bytes)
    if (keys > maxKeys) report("StoreIsBounded", life.name, { keys, limit: maxKeys })
    if (bytes > maxBytes) report("StoreIsBounded", life.name, { bytes, limit: maxBytes })
    for (const [at, records] of countsOf(life)) {
      const limit = RecordOrder.most[at.slice(NodeId.length * 2 + 1) as RecordOrder.Kind]
      if (records > limit) report("StoreIsBounded", life.name, { at, records, limit })
    }
    const judged: Life["judged"] = new Map()
    let left = judgedPerSweep
    for (const held of rowsOf(life)) {
      const { key } = held
      const row = rowNameOf(held)
      const known = life.judged.get(row)
      if (known !== undefined) {
        judged.set(row, known)
      } else if (left > 0) {
        left--
        const records = recordsOf(life, held)
        for (const record of records) judge(life, key, record, "the store")
        judged.set(row, records.filter(({ delegation }) => delegation !== undefined))
      }
      for (const record of judged.get(row) ?? []) judgeTime(life, key, record, "the store", now)
    }
    life.judged = judged
    for (const [slot, { lastSecond }] of life.newest) if (lastSecond < now) life.newest.delete(slot)
  }

  /** Checked once everything of the node has closed. */
  const checkRemains = (life: Life): void => {
    const pending = pendingOf(life)
    if (pending > 0) report("NothingIsLeft", life.name, { pending })
  }

  /** What it stored long enough ago, and maintains, while its clock runs with the world's. */
  const remainsOf = (life: Life): Remains => {
    if (!isSteadySince(life, life.startedAt)) return { stored: [], maintained: [] }
    const rows = new Set(rowsOf(life).map(rowNameOf))
    const before = timeline.elapsedMillis - savedMillis
    const isSaved = ({ row, slot }: Version): boolean => {
      const newest = life.newest.get(slot)
      return newest !== undefined && newest.row === row && newest.at <= before && rows.has(row)
    }
    return {
      stored: Array.from(life.newest.values()).filter(isSaved),
      maintained: life.read(life.replication.replicated).map(({ key, record }) => versionOf(key, record)).filter(
        isSaved
      )
    }
  }

  /** Compares what a node starts with and what it left. */
  const checkRestart = (life: Life, { maintained, stored }: Remains): void => {
    const now = secondsOf(life)
    const compare = (what: string, before: ReadonlyArray<Version>, after: (slot: string) => Version | undefined) => {
      for (const version of before) {
        const found = after(version.slot)
        if (found !== undefined && RecordOrder.compare(found, version) >= 0) continue
        if (version.lastSecond < now || isCrowded(life, version.key)) continue
        report("RestartsResume", life.name, {
          key: version.key,
          [`${what} before`]: `seq ${version.seq}`,
          [`${what} now`]: found === undefined ? "nothing" : `seq ${found.seq}`
        })
      }
    }
    compare("stored", stored, (slot) => life.newest.get(slot))
    const jobs = new Map(
      life.read(life.replication.replicated)
        .map(({ key, record }) => versionOf(key, record))
        .map((version) => [version.slot, version])
    )
    compare("maintained", maintained, (slot) => jobs.get(slot))
  }

  const isOnTime = (life: Life, since: number): boolean => isSteadySince(life, since) && life.ahead === 0

  /** Whether the nodes have stored the withdrawals in place of the records, if nothing kept a datagram from its receiver. */
  const checkWithdrawals = (): void => {
    const due = withdrawals.filter(({ at }) => at + withdrawnMillis <= timeline.elapsedMillis)
    withdrawals = withdrawals.filter((withdrawn) => !due.includes(withdrawn))
    for (const { at, by, disturbances, version } of due) {
      if (disturbed() !== disturbances || !isOnTime(by, at)) continue
      for (const life of up.values()) {
        if (!isOnTime(life, at) || isTranslated(life) || hasMoved(life)) continue
        const newest = life.newest.get(version.slot)
        // The publisher does not know who has a record of an earlier run. A node that has
        // stored the record only now may have had the withdrawal, until that expired.
        if (newest === undefined || newest.at < by.startedAt || newest.at > at + withdrawnMillis) continue
        if (RecordOrder.compare(newest, version) > 0) continue
        if (!rowsOf(life).some((row) => rowNameOf(row) === newest.row)) continue
        report("WithdrawalsArrive", by.name, {
          key: version.key,
          holder: life.name,
          withdrawn: `seq ${version.seq}`,
          held: `seq ${newest.seq}`
        })
      }
    }
  }

  const sweep = (): void => {
    const { blocked, filtered, lost, overflowed } = network.counts
    const now = { at: timeline.elapsedMillis, disturbances: blocked + lost + overflowed + changes, filtered }
    const [earlier] = history
    const calmSince = history.length === 2 && isCalmSince(earlier, now) ? earlier.at : undefined
    const isFiltered = calmSince !== undefined && earlier.filtered !== filtered
    history = [...history, now].slice(-2)
    highestLatency = 0
    for (const life of up.values()) {
      checkTable(life)
      checkContacts(life, calmSince, isFiltered)
      checkStore(life)
    }
    checkWithdrawals()
    for (const [id, { at }] of requests) {
      if (at > now.at - requestMillis) break
      requests.delete(id)
    }
  }

  // --- The probe ---------------------------------------------------------------

  const hostAt = (host: string) => network.hosts.find(({ ip }) => ip === host)

  const nameOf = ({ host, port }: SocketAddress.SocketAddress): string => {
    const name = hostAt(host)?.name ?? host
    return port === 4121 ? name : `${name}:${port}`
  }

  const neighbours = (life: Life): Array<Life> => byIp.get(life.socket.host) ?? []

  const begin = Effect.gen(function*() {
    const clock = yield* Clock.Clock
    const { nodeId: id } = yield* NodeIdentity
    const { address: socket, addresses } = yield* Transport
    const life: Life = {
      name: nameOf(socket),
      id,
      socket,
      addresses,
      host: hostAt(socket.host),
      clock,
      crypto: yield* Crypto,
      routing: yield* Routing,
      store: yield* Store,
      replication: yield* Replication,
      read: Effect.runSyncWith(yield* Effect.context<never>()),
      pending: (yield* Rpc.Rpc).pending,
      hasSessions: (yield* NodeSettings).sessions,
      startedAt: timeline.elapsedMillis,
      ahead: clock.currentTimeMillisUnsafe() - timeline.currentTimeMillisUnsafe(),
      aheadSince: timeline.elapsedMillis,
      newest: new Map(),
      judged: new Map(),
      contacts: [],
      answered: new Set(),
      strangers: new Map()
    }
    for (const address of addresses) up.set(SocketAddress.key(address), life)
    byId.set(id, life)
    byIp.set(socket.host, [...neighbours(life), life])
    // What an earlier run left, and what it stores from now on.
    turnovers++
    for (const row of rowsOf(life)) for (const record of recordsOf(life, row)) stored(life, row.key, record)
    const left = remains.get(id)
    if (left !== undefined) checkRestart(life, left)
    yield* life.store.observe(({ key, record }) => stored(life, key, record))
    yield* Scope.addFinalizer(yield* Closed, Effect.sync(() => checkRemains(life)))
    return life
  })

  const end = (life: Life) =>
    Effect.sync(() => {
      turnovers++
      remains.set(life.id, remainsOf(life))
      for (const address of life.addresses.map(SocketAddress.key)) if (up.get(address) === life) up.delete(address)
      if (byId.get(life.id) === life) byId.delete(life.id)
      byIp.set(life.socket.host, neighbours(life).filter((other) => other !== life))
    })

  yield* Effect.acquireRelease(
    Effect.sync(() =>
      network.observe({
        delivered,
        changed: () => {
          changes++
        }
      })
    ),
    (stop) => Effect.sync(stop)
  )
  yield* Effect.sync(sweep).pipe(
    Effect.delay(options.interval ?? "30 seconds"),
    Effect.forever,
    Effect.forkScoped
  )

  return {
    probe: Layer.effectDiscard(Effect.acquireRelease(begin, end)),
    violations,
    sweep,
    returned: (node, key, record) => {
      const life = Array.from(up.values()).find(({ name }) => name === node)
      if (life === undefined) return
      judge(life, key, record, "what it returned")
      judgeTime(life, key, record, "what it returned", secondsOf(life))
    },
    withdrawn: (node, key, record) => {
      const by = Array.from(up.values()).find(({ name }) => name === node)
      if (by === undefined) return
      const version = versionOf(key, record)
      withdrawals = [...withdrawals, { by, version, at: timeline.elapsedMillis, disturbances: disturbed() }]
    }
  }
})

/**
 * Runs a program that opens and closes a world, and fails if a timer or a fiber
 * is left.
 *
 * @category running
 * @since 0.1.0
 */
export const leavesNothing = <A, E, R>(
  program: Effect.Effect<A, E, R>,
  options: { readonly seed: number | string }
): Effect.Effect<A, E | Violation, R | VirtualTime> =>
  Effect.gen(function*() {
    const timeline = yield* VirtualTime
    const before = timeline.timers
    let fibers = 0
    const result = yield* Effect.provideService(program, Metric.FiberRuntimeMetrics, {
      recordFiberStart: () => {
        fibers++
      },
      recordFiberEnd: () => {
        fibers--
      }
    })
    const timers = timeline.timers - before
    if (fibers === 0 && timers === 0) return result
    return yield* new Violation({
      property: "NothingIsLeft",
      node: "the world",
      atMillis: timeline.elapsedMillis,
      facts: { fibers, timers },
      seed: options.seed,
      scheduleSeed: timeline.scheduleSeed
    })
  })
