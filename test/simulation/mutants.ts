/**
 * Faults injected into the source: at least one for each property, which must
 * detect it in the world named with it.
 */
import { readFileSync } from "node:fs"
import { join } from "node:path"
import type { Property } from "../../src/testing/Properties.ts"

export interface Mutant {
  readonly name: string
  /** Relative to src/. */
  readonly file: string
  /** The text to replace, which occurs exactly once. */
  readonly text: string
  readonly replacement: string
  readonly property: Property
  /** One of `worlds`. */
  readonly world: string
  /** The seed of a random story that shows it (`stories.ts`), or the reason why none does. */
  readonly story: number | string
}

export const mutants: ReadonlyArray<Mutant> = [
  {
    name: "accepts an equal seq as newer",
    file: "Record.ts",
    text: `    : a.seq !== b.seq
    ? a.seq > b.seq
    : a.timestamp > b.timestamp`,
    replacement: "    : a.seq >= b.seq",
    property: "NeverOlder",
    world: "sameSeq",
    story: 461
  },
  {
    name: "keeps a pending request after its interruption",
    file: "core/requests.ts",
    text: `"it was not waited for any longer")
      this.forget(pending)`,
    replacement: `"it was not waited for any longer")`,
    property: "NothingIsLeft",
    world: "interrupted",
    story: 1
  },
  {
    name: "keeps a pending request after its interruption until it closes",
    file: "core/requests.ts",
    text: `"it was not waited for any longer")
      this.forget(pending)`,
    replacement: `"it was not waited for any longer")`,
    property: "NothingIsLeft",
    world: "small",
    story: 1
  },
  {
    name: "evicts the least recently seen contact although it is alive",
    file: "core/routingTable.ts",
    text: "if (alive || probe.heard) {",
    replacement: "if (bucket === undefined) {",
    property: "LiveContactsStay",
    world: "crowd",
    story: 21
  },
  {
    name: "replicates to 7",
    file: "replication/job.ts",
    text: "export const replicas = 8",
    replacement: "export const replicas = 7",
    property: "AnnouncedIsReplicated",
    world: "crowd",
    story: 10
  },
  {
    name: "returns expired records",
    file: "core/recordSet.ts",
    text: "return cell === undefined || cell.nextExpiry >= now || this.dropExpired(cell, now) ? cell : undefined",
    replacement: "return cell",
    property: "RecordsAreGood",
    world: "shortLived",
    story: 17
  },
  {
    name: "names unverified contacts",
    file: "core/routingTable.ts",
    text: "(entry) => entry.verifiedAt > cutoff && isWell(entry), found)",
    replacement: "isWell, found)",
    property: "UnverifiedStays",
    world: "eventful",
    story: 0
  },
  {
    name: "adds peers that have not answered",
    file: "Routing.ts",
    text: "if (isProved) admit(contact, now)",
    replacement: "admit(contact, now)",
    property: "VerifiedHaveAnswered",
    world: "crowd",
    story: 0
  },
  {
    name: "sends strangers whole answers",
    file: "Routing.ts",
    text: ": Rpc.amplification * from.bytes + (proofs.creditOf(from) ?? 0)",
    replacement: ": Rpc.amplification * from.bytes + 1200",
    property: "StrangersGetLittle",
    world: "crowd",
    story: 16
  },
  {
    name: "keeps a record longer than its delegation",
    file: "wire/record.ts",
    text: ", lastSecond(delegated))",
    replacement: ")",
    property: "AuthorityEnds",
    world: "delegations",
    story: 3
  },
  {
    name: "skips the authority check",
    file: "core/vetting.ts",
    text: "const allowed = policy(key, record, now)",
    replacement: "const allowed: ReturnType<Record.Policy> = Result.void",
    property: "RecordsAreGood",
    world: "forgery",
    story: 8
  },
  {
    name: "stores records with a bad signature",
    file: "Responder.ts",
    text: `if (!valid) return void refuse("Invalid", () => "its signature is bad")`,
    replacement: "",
    property: "RecordsAreGood",
    world: "forgery",
    story: 107
  },
  {
    name: "replies twice",
    file: "Rpc.ts",
    text: "send(reply.body, from, transactionId, session)",
    replacement: "for (let i = 0; i < 2; i++) send(reply.body, from, transactionId, session)",
    property: "OneReply",
    world: "small",
    story: 0
  },
  {
    name: "puts one contact too many into a bucket",
    file: "core/routingTable.ts",
    text: "if (bucket.entries.length < this.k) return this.insert(bucket, candidate, now)",
    replacement: "if (bucket.entries.length <= this.k) return this.insert(bucket, candidate, now)",
    property: "TableIsSound",
    world: "crowd",
    story: 21
  },
  {
    name: "stores one record too many at a key",
    file: "core/recordSet.ts",
    text: "sovereign: 8,",
    replacement: "sovereign: 9,",
    property: "StoreIsBounded",
    world: "talkative",
    story: 151
  },
  {
    name: "renews too late",
    file: "Renewal.ts",
    text: "Record.renewsAt(record) * 1000",
    replacement: "Number(record.timestamp) * 1000 + record.ttl * 5000",
    property: "AnnouncedIsFound",
    world: "long",
    story: 7
  },
  {
    name: "does not learn requesters",
    file: "core/proofs.ts",
    text: "if (paid < 1 ||",
    replacement: "if (paid < 99 ||",
    property: "TablesAreConnected",
    world: "eventful",
    story: 0
  },
  {
    name: "does not read its own records",
    file: "query/reader.ts",
    text: "for (const record of [...find.known ?? [], ...yield* store.getAll(target, find.type)]) reading.take(record)",
    replacement: "for (const record of find.known ?? []) reading.take(record)",
    property: "WritesAreRead",
    world: "histories",
    story: 150
  },
  {
    name: "compares each snapshot of a watch with the first",
    file: "Discovery.ts",
    text: "return [after, changes(before, after)",
    replacement: "return [before, changes(before, after)",
    property: "WatchesAreDifferences",
    world: "histories",
    story: 15
  },
  {
    name: "renews a withdrawn announcement",
    file: "Renewal.ts",
    text: `"Renewal", ...annotations }),
    Effect.forkScoped`,
    replacement: `"Renewal", ...annotations }),
    Effect.forkDetach`,
    property: "WithdrawnVanishes",
    world: "long",
    story: 20
  },
  {
    name: "lets the announcements that end expire",
    file: "Announce.ts",
    text: "const isLeft = keep ||",
    replacement: "const isLeft = !keep ||",
    property: "WithdrawalsArrive",
    world: "long",
    story: 10
  },
  {
    name: "does not save a record that takes the place of another",
    file: "Store.ts",
    text: `      if (persistence.isLasting) {
        persistence.save({ _tag: "Stored"`,
    replacement: `      if (persistence.isLasting && verdict.replaced === undefined) {
        persistence.save({ _tag: "Stored"`,
    property: "RestartsResume",
    world: "restarts",
    story: 13
  },
  {
    name: "does not maintain the records of its last run",
    file: "Replication.ts",
    text: "for (const { key, record } of yield* persistence.kept.publications) yield* begin(key, record)",
    replacement: "yield* persistence.kept.publications",
    property: "RestartsResume",
    world: "restarts",
    story: 166
  },
  {
    name: "delivers a message more than once",
    file: "Mail.ts",
    text: "for (const record of fresh) seen.set(payloadId(record), true)",
    replacement: "",
    property: "MessagesArriveOnce",
    world: "eventful",
    story: 209
  },
  {
    name: "evicts offers of the networks with the fewest at a key",
    file: "core/recordSet.ts",
    text: "counts.get(entry.network) !== most",
    replacement: "counts.get(entry.network) === most",
    property: "AnnouncedIsReplicated",
    world: "junkOffers",
    story: 4
  },
  {
    name: "reads only the records that fit into the first responses",
    file: "query/reader.ts",
    text: "const step = collection.poll()",
    replacement: `const step: ReturnType<typeof collection.poll> = { _tag: "Done" }`,
    property: "MessagesArriveOnce",
    world: "junkMessages",
    story: 388
  },
  {
    name: "evicts messages of the networks with the fewest in a mailbox",
    file: "core/recordSet.ts",
    text: "counts.get(entry.network) !== most",
    replacement: "counts.get(entry.network) === most",
    property: "MessagesArriveOnce",
    world: "junkMessages",
    story: 4
  },
  {
    name: "exceeds the byte limit of its store",
    file: "core/recordSet.ts",
    text: "this.weight + count.weight > this.maxBytes",
    replacement: "this.weight + count.weight > 2 * this.maxBytes",
    property: "StoreIsBounded",
    world: "filling",
    story: 68
  },
  {
    name: "keeps far records as long as near ones",
    file: "Routing.ts",
    text: "core.networkSize.closerNodes(key, clock.currentTimeMillisUnsafe()) < nearRanks",
    replacement: "key.length > 0",
    property: "AnnouncedIsReplicated",
    world: "filling",
    story: "a record is far only in a network of more than 48 nodes, which takes too long for a random story"
  },
  {
    name: "treats records that peers stored here as its own",
    file: "Query.ts",
    text: "const own = (yield* store.getOwn(",
    replacement: "const own = (yield* store.getAll(",
    property: "ResolvedIsNewest",
    world: "replays",
    story: 463
  },
  {
    name: "does not notice ids that surround a key",
    file: "core/density.ts",
    text: "const threshold = 1e-6",
    replacement: "const threshold = -1",
    property: "SurroundedIsTold",
    world: "surrounding",
    story: 58
  },
  {
    name: "accepts a wrong MAC",
    file: "Message.ts",
    text:
      "return Hmac.isEqual(Hmac.mac(key, writer.result()), Hex.slice(bytes, bytes.length - macLength, bytes.length))",
    replacement: "return true",
    property: "MacsAreChecked",
    world: "sessions",
    story: 13
  },
  {
    name: "uses the same key in both directions",
    file: "wire/sessionKeys.ts",
    text: "Bytes.concat([from, to])))",
    replacement: "Bytes.concat([from, to]).sort()))",
    property: "MacsAreChecked",
    world: "sessions",
    story: 13
  },
  {
    name: "derives the same key for what it sends as its peer does",
    file: "wire/sessionKeys.ts",
    text: "receive: key(publicKey, identity.publicKey)",
    replacement: "receive: key(identity.publicKey, publicKey)",
    property: "SessionsResume",
    world: "sessions",
    story: 13
  },
  {
    name: "accepts a response of any id",
    file: "core/requests.ts",
    text: "return id === (peer.id ?? this.options.own) ? pending : undefined",
    replacement: "return id === this.options.own ? undefined : pending",
    property: "OnlyThePeerResponds",
    world: "sessions",
    story: 25
  },
  {
    name: "uses a MAC with peers that do not announce sessions",
    file: "core/sessions.ts",
    text: "if (!isAnnounced) return new Peer(contact)",
    replacement: "if (!isAnnounced && publicKey === undefined) return known ?? new Peer(contact)",
    property: "SessionsAreMutual",
    world: "sessions",
    story: 25
  },
  {
    name: "takes notices from any address",
    file: "core/requests.ts",
    text:
      "if (pending === undefined || session === undefined || !SocketAddress.isSame(pending.peer, from)) return false",
    replacement: "if (pending === undefined || session === undefined) return false",
    property: "SessionsLast",
    world: "sessions",
    story: 25
  },
  {
    name: "believes that a peer is where its repeated messages come from",
    file: "Rpc.ts",
    text: "sessions.heard(contact, publicKey, isAnnounced, isAnswer, now)",
    replacement: "sessions.heard(contact, publicKey, isAnnounced, true, now)",
    property: "SessionsLast",
    world: "sessions",
    story: 25
  },
  {
    name: "gives a session up when a datagram is lost",
    file: "core/sessions.ts",
    text: "const maxUnanswered = 2",
    replacement: "const maxUnanswered = 1",
    property: "SessionsLast",
    world: "sessions",
    story: 25
  },
  {
    name: "ignores notices",
    file: "core/requests.ts",
    text: "    this.options.sessions.pause(session, this.options.now())\n    pending.attempts.delete(transaction)",
    replacement: "    if (session.contact.id.length > 0) return true\n    pending.attempts.delete(transaction)",
    property: "SessionsResume",
    world: "sessions",
    story: 126
  },
  {
    name: "never resumes a lost session",
    file: "core/sessions.ts",
    text: "session.pausedUntil = now + pauseMillis",
    replacement: "session.pausedUntil = Infinity",
    property: "SessionsResume",
    world: "sessions",
    story: 25
  },
  {
    name: "forgets a session as soon as another peer is heard from",
    file: "core/peers.ts",
    text: "this.maxProved = options.proved ?? 2048",
    replacement: "this.maxProved = options.proved ?? 1",
    property: "SessionsResume",
    world: "sessions",
    story: 25
  },
  {
    name: "sends three notices for one",
    file: "Rpc.ts",
    text: "transmit(Message.notice(header.transactionId), from, now)",
    replacement: "for (let i = 0; i < 3; i++) transmit(Message.notice(header.transactionId), from, now)",
    property: "NoticesAreFew",
    world: "sessions",
    story: 25
  },
  {
    name: "renews hosted records after they have expired",
    file: "core/sweep.ts",
    text: "const interval = lifetime / 2\n",
    replacement: "const interval = lifetime * 2\n",
    property: "AnnouncedIsFound",
    world: "hosting",
    story: 33
  },
  {
    name: "stores hosted records at the nodes of any region",
    file: "core/sweep.ts",
    text: "return closer >= wanted",
    replacement: "return true || closer >= wanted",
    property: "AnnouncedIsReplicated",
    world: "hosting",
    story: 482
  },
  {
    name: "forgets hosted records that failed",
    file: "core/sweep.ts",
    text: "    this.schedule(item, time + pause)\n    return now + pause",
    replacement: "    return now + pause",
    property: "AnnouncedIsFound",
    world: "hosting",
    story: 50
  },
  {
    name: "hosts nothing more once the network was out of reach",
    file: "core/sweep.ts",
    text: "this.pausedUntil = time + Math.min(firstPauseMillis * 2 ** (this.outages - 1), maxOutagePauseMillis)",
    replacement: "this.pausedUntil = Infinity",
    property: "AnnouncedIsFound",
    world: "hosting",
    story: 33
  },
  {
    name: "loses hosted records whose lookup found nothing",
    file: "core/sweep.ts",
    text: "      this.parked--\n      this.queue(item)",
    replacement: "      this.parked--\n      if (closest.length > 0) this.queue(item)",
    property: "AnnouncedIsFound",
    world: "hosting",
    story: 33
  },
  {
    name: "takes an answer for the datagram of a stranger",
    file: "core/reachability.ts",
    text: "this.mayExpect(host, now) || host ===",
    replacement: "host ===",
    property: "ReachabilityIsTold",
    world: "routers",
    story: 11
  },
  {
    name: "never finds out that it is closed",
    file: "core/reachability.ts",
    text: "return failed.length < quorum ? [] : failed",
    replacement: "return []",
    property: "ReachabilityIsTold",
    world: "routers",
    story: 11
  },
  {
    name: "takes itself for closed because one path is broken",
    file: "core/reachability.ts",
    text: "if (strangersOf(this.agreeing(now)) === undefined) this.close(now)",
    replacement: "if (this.agreeing(now).length > 0) this.close(now)",
    property: "ReachabilityIsTold",
    world: "oneWay",
    story:
      "in a network of few nodes, one must be tested anew where another cannot send to it: 5 of 12 000 random stories are so, and none of them shows it"
  },
  {
    name: "does not notice another router",
    file: "core/reachability.ts",
    text: "      this.isDoubtful = true\n      this.doubtfulAt = now\n      this.changed()\n",
    replacement: "",
    property: "ReachabilityIsTold",
    world: "routers",
    story: 32
  },
  {
    name: "keeps to itself that it is closed",
    file: "Rpc.ts",
    text: "settings.client || reachability.isClosedUnsafe()",
    replacement: "settings.client",
    property: "ClosedAreClients",
    world: "routers",
    story: 11
  },
  {
    name: "takes each peer that answers for one that strangers reach",
    file: "core/contactReachability.ts",
    text: "const shows = isAnswer && now - known.heardAt >= heardMillis",
    replacement: "const shows = isAnswer",
    property: "ClosedAreClients",
    world: "routers",
    story: 45
  },
  {
    name: "keeps contacts that it found closed",
    file: "Routing.ts",
    text: "health.reachableUnsafe(id, false)",
    replacement: "return",
    property: "ClosedAreClients",
    world: "routers",
    story: 45
  },
  {
    name: "pings a node that it wants to meet only where it was told",
    file: "Rendezvous.ts",
    text: `          if (contact.id !== id || isAnswer) return
          meeting.isAt(contact)`,
    replacement: "          if (contact.id !== id || isAnswer) return",
    property: "MeetWhereAllowed",
    world: "meetings",
    story: 41
  },
  {
    name: "keeps a connection open after its scope has closed",
    file: "Rendezvous.ts",
    text: "yield* keepAlive(connection.peer)",
    replacement: "yield* Effect.forkDetach(Effect.scoped(Effect.andThen(keepAlive(connection.peer), Effect.never)))",
    property: "NothingIsLeft",
    world: "meetings",
    story: 11
  },
  {
    name: "tries on to meet a node after its interruption",
    file: "Rendezvous.ts",
    text: "find(NodeId.fromAddress(address), relays),",
    replacement: `Effect.flatMap(
        Effect.forkDetach(find(NodeId.fromAddress(address), relays)),
        (fiber) => Effect.callback((resume) => void fiber.addObserver(resume))
      ),`,
    property: "NothingIsLeft",
    world: "meetings",
    story: 72
  },
  {
    name: "introduces requesters that have not proved their address",
    file: "Rendezvous.ts",
    text: "whenProved(from, room, introduce, () => respond(\"Busy\"))",
    replacement: "introduce()",
    property: "OnlyRequestersAreCalled",
    world: "meetings",
    story: 1184
  },
  {
    name: "tells an attendant of every request",
    file: "core/rendezvous.ts",
    text: " && this.byAttendant.allow(callee, now)",
    replacement: "",
    property: "MeetingsAreFew",
    world: "meetings",
    story: 72
  },
  {
    name: "keeps no copies at nodes of both families",
    file: "core/replicaSet.ts",
    text: " || isDual && closer.filter((other) => other.isDual).length < this.wantedDual",
    replacement: "",
    property: "AnnouncedIsFound",
    world: "twoFamilies",
    story: 381
  }
]

const src = join(import.meta.dirname, "../../src")

/** Returns the source with the fault; throws unless its text occurs exactly once. */
export const mutate = ({ name, replacement, text }: Mutant, source: string): string => {
  const parts = source.split(text)
  if (parts.length !== 2) {
    throw new Error(`The mutant that ${name} has ${parts.length - 1} places, not one: bring its text up to date`)
  }
  return parts.join(replacement)
}

export const sourceOf = ({ file }: Mutant): string => readFileSync(join(src, file), "utf8")
