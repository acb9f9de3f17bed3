import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import * as fc from "fast-check"
import * as Address from "../../src/Address.ts"
import { findValueResponse } from "../../src/core/answer.ts"
import { caps, overheadBytes, RecordSet } from "../../src/core/recordSet.ts"
import * as Hex from "../../src/internal/hex.ts"
import { sha256 } from "../../src/internal/sha256.ts"
import * as NodeId from "../../src/NodeId.ts"
import * as Record from "../../src/Record.ts"
import type { Place, Rows, Stored } from "../../src/Store.ts"
import * as Topic from "../../src/Topic.ts"
import { heapBytes } from "../utils/heap.ts"

// --- Records that nobody signed ---

const key = (n: number) => n.toString(16).padStart(64, "0") as NodeId.NodeId
const address = (n: number) => "a0" + n.toString(16).padStart(40, "0") as Address.Address

interface Draft {
  readonly type: number
  readonly address?: number
  readonly signer?: number
  readonly note?: number
  readonly delegatedAt?: number
  readonly seq?: number
  readonly timestamp?: number
  readonly expiresAt?: number
}

const never = 2 ** 40

/** Equal drafts make records of equal bytes. */
const record = (draft: Draft): Record.SignedRecord => {
  const { address: owner = 0, delegatedAt = 0, expiresAt = never, note = 0, seq = 0, signer = 0, timestamp = 0, type } =
    draft
  return {
    bytes: new TextEncoder().encode([owner, delegatedAt, expiresAt, note, seq, signer, timestamp, type].join()),
    address: address(owner),
    type,
    payload: Uint8Array.of(note),
    seq: BigInt(seq),
    timestamp: BigInt(timestamp),
    ttl: expiresAt - timestamp,
    expiresAt,
    publicKey: new Uint8Array(32).fill(signer),
    signature: new Uint8Array(64),
    delegation: undefined,
    delegatedAt: BigInt(delegatedAt)
  }
}

const bytes = (records: Iterable<Record.SignedRecord>): Array<string> => Array.from(records, (r) => Hex.encode(r.bytes))

const verdicts = (set: RecordSet, drafts: ReadonlyArray<Draft>, now = 0): Array<string> =>
  drafts.map((draft) => set.put(key(0), record(draft), now)._tag)

const keysOf = ({ evicted }: Stored): Array<NodeId.NodeId> => Array.from(new Set(evicted.map(({ key }) => key)))

const types = (set: RecordSet, at = 0, now = 0): Array<number> => set.getAll(key(at), 0, now).map((r) => r.type)

const topic = 0x10
const mailbox = 0x80

// --- The specification, word by word, in arrays ---

class Model {
  /** The least recently used key first. */
  cells: Array<{ readonly key: NodeId.NodeId; records: Array<Record.SignedRecord> }> = []
  maxKeys: number

  constructor(maxKeys: number) {
    this.maxKeys = maxKeys
  }

  expire(now: number): void {
    this.retain((r) => r.expiresAt >= now)
  }

  put(at: NodeId.NodeId, record: Record.SignedRecord): string {
    const category = Record.category(record.type)
    const cell = this.cells.find((cell) => cell.key === at)
    const held = cell?.records.find((r) => sameSlot(r, record))
    if (held !== undefined && !Record.isNewer(record, held)) return "Stale"
    const others = cell === undefined ? [] : cell.records.filter((r) => Record.category(r.type) !== category)
    let same = cell === undefined ? [] : cell.records.filter((r) => Record.category(r.type) === category && r !== held)
    same.push(record)
    const drop = (victim: Record.SignedRecord | undefined) => {
      same = same.filter((r) => r !== victim)
    }
    if (category === "sovereign" && same.length > 8) drop(same.find((r) => r.type !== 1) ?? oldest(same))
    if (category === "topic" && same.length > 100) drop(oldest(same))
    if (category === "mailbox") {
      const signers = same.filter((r) => sameBytes(r.publicKey, record.publicKey))
      if (signers.length > 4) drop(oldest(signers))
      if (same.length > 50) drop(oldest(same))
    }
    this.cells = this.cells.filter((other) => other !== cell)
    if (cell === undefined) this.cells = this.cells.slice(Math.max(0, this.cells.length + 1 - this.maxKeys))
    this.cells.push({ key: at, records: [...others, ...same] })
    return same.includes(record) ? "Stored" : "Full"
  }

  getAll(at: NodeId.NodeId, type: number): Array<Record.SignedRecord> {
    const cell = this.cells.find((cell) => cell.key === at)
    if (cell === undefined) return []
    this.cells = [...this.cells.filter((other) => other !== cell), cell]
    return cell.records.filter((r) => type === 0 || r.type === type)
  }

  get(at: NodeId.NodeId): Record.SignedRecord | undefined {
    return this.getAll(at, 1).reduce<Record.SignedRecord | undefined>(
      (newest, r) => newest === undefined || Record.isNewer(r, newest) ? r : newest,
      undefined
    )
  }

  getAllByAddress(owner: Address.Address, type: number): Array<Record.SignedRecord> {
    return this.cells.flatMap((cell) => cell.records).filter((r) =>
      r.address === owner && (type === 0 || r.type === type)
    )
  }

  invalidate(at: NodeId.NodeId, type: number): void {
    const cell = this.cells.find((cell) => cell.key === at)
    this.retain((r) => !cell?.records.includes(r) || type !== 0 && r.type !== type)
  }

  private retain(keep: (record: Record.SignedRecord) => boolean): void {
    for (const cell of this.cells) cell.records = cell.records.filter(keep)
    this.cells = this.cells.filter((cell) => cell.records.length > 0)
  }
}

const sameBytes = (a: Uint8Array, b: Uint8Array): boolean => Hex.encode(a) === Hex.encode(b)

const sameSlot = (a: Record.SignedRecord, b: Record.SignedRecord): boolean => {
  const category = Record.category(a.type)
  return category === Record.category(b.type) && (
    category === "sovereign"
      ? a.address === b.address && a.type === b.type
      : sameBytes(a.publicKey, b.publicKey) &&
        (category === "topic" || a.type === b.type && sameBytes(a.payload, b.payload))
  )
}

const oldest = (records: ReadonlyArray<Record.SignedRecord>): Record.SignedRecord =>
  records.reduce((oldest, r) => r.timestamp < oldest.timestamp ? r : oldest)

// --- Random work, from alphabets so small that everything collides ---

type Operation =
  | { readonly op: "put"; readonly key: number; readonly draft: Draft }
  | { readonly op: "getAll" | "get" | "invalidate"; readonly key: number; readonly type: number }
  | { readonly op: "getAllByAddress"; readonly address: number; readonly type: number }
  | { readonly op: "setMaxKeys"; readonly maxKeys: number }
  | { readonly op: "wait"; readonly seconds: number }

interface Alphabet {
  readonly keys: number
  readonly types: ReadonlyArray<number>
  readonly signers: number
  readonly notes: number
  readonly lifetime: number
}

const small: Alphabet = { keys: 4, types: [1, 2, 3, 0x20, 0x10, 0x11, 0x80, 0x81], signers: 3, notes: 2, lifetime: 400 }

/** Each of these reaches the caps of its category. */
const crowds: ReadonlyArray<Alphabet> = [
  { keys: 2, types: [1, 1, 2, 3, 4, 5, 6, 7, 8], signers: 4, notes: 1, lifetime: 100_000 },
  { keys: 1, types: [topic], signers: 115, notes: 1, lifetime: 100_000 },
  { keys: 1, types: [mailbox], signers: 4, notes: 8, lifetime: 100_000 },
  { keys: 1, types: [mailbox, 0x81], signers: 40, notes: 4, lifetime: 100_000 }
]

const draft = (alphabet: Alphabet, now: fc.Arbitrary<number> = fc.constant(0)): fc.Arbitrary<Draft> =>
  fc.record({
    type: fc.constantFrom(...alphabet.types),
    address: fc.nat(alphabet.signers),
    signer: fc.nat(alphabet.signers - 1),
    note: fc.nat(alphabet.notes - 1),
    delegatedAt: fc.nat(1),
    seq: fc.nat(2),
    timestamp: fc.nat(5),
    expiresAt: fc.tuple(now, fc.nat(alphabet.lifetime)).map(([a, b]) => a + b)
  })

const operation = (alphabet: Alphabet): fc.Arbitrary<Operation> => {
  const at = fc.nat(alphabet.keys - 1)
  const type = fc.constantFrom(0, ...alphabet.types)
  return fc.oneof(
    { weight: 30, arbitrary: fc.record({ op: fc.constant("put" as const), key: at, draft: draft(alphabet) }) },
    { weight: 6, arbitrary: fc.record({ op: fc.constant("getAll" as const), key: at, type }) },
    { weight: 3, arbitrary: fc.record({ op: fc.constant("get" as const), key: at, type }) },
    {
      weight: 2,
      arbitrary: fc.record({ op: fc.constant("getAllByAddress" as const), address: fc.nat(alphabet.signers), type })
    },
    { weight: 1, arbitrary: fc.record({ op: fc.constant("invalidate" as const), key: at, type }) },
    { weight: 1, arbitrary: fc.record({ op: fc.constant("setMaxKeys" as const), maxKeys: fc.nat(5) }) },
    { weight: 3, arbitrary: fc.record({ op: fc.constant("wait" as const), seconds: fc.nat(90) }) }
  )
}

const work = (alphabet: Alphabet, most: number): fc.Arbitrary<ReadonlyArray<Operation>> =>
  fc.array(operation(alphabet), { maxLength: most, size: "max" })

const anyWork: fc.Arbitrary<ReadonlyArray<Operation>> = fc.oneof(
  work(small, 100),
  // Shrinking takes minutes where it takes a crowd to fail.
  ...crowds.map((alphabet) => fc.noShrink(work(alphabet, 400)))
)

/** The draft at the time it is put: its lifetime counts from then. */
const aged = (draft: Draft, now: number): Draft => ({ ...draft, expiresAt: now + (draft.expiresAt ?? 0) })

describe("RecordSet", () => {
  describe("put", () => {
    it("keeps one sovereign record for each address and type", () => {
      const set = new RecordSet()
      const drafts = [{ type: 1 }, { type: 1, signer: 1 }, { type: 2 }, { type: 1, address: 1 }]
      assert.deepStrictEqual(verdicts(set, drafts), ["Stored", "Stale", "Stored", "Stored"])
    })

    it("keeps one topic record for each signing key", () => {
      const set = new RecordSet()
      const drafts = [{ type: topic }, { type: 0x11, address: 1 }, { type: topic, signer: 1 }]
      assert.deepStrictEqual(verdicts(set, drafts), ["Stored", "Stale", "Stored"])
    })

    it("keeps one mailbox record for each signing key, type and payload", () => {
      const set = new RecordSet()
      const drafts = [{ type: mailbox }, { type: mailbox, address: 1 }, { type: 0x81 }, { type: mailbox, note: 1 }]
      assert.deepStrictEqual(verdicts(set, drafts), ["Stored", "Stale", "Stored", "Stored"])
    })

    it("returns the record that a newer one replaced, and the one that a stale record was compared with", () => {
      const set = new RecordSet()
      const [first, second] = [record({ type: 1 }), record({ type: 1, seq: 1 })]
      assert.deepStrictEqual(set.put(key(0), first, 0), {
        _tag: "Stored",
        replaced: undefined,
        evicted: []
      })
      assert.deepStrictEqual(set.put(key(0), second, 0), {
        _tag: "Stored",
        replaced: first,
        evicted: []
      })
      assert.deepStrictEqual(set.put(key(0), first, 0), { _tag: "Stale", held: second })
      assert.deepStrictEqual(set.getAll(key(0), 0, 0), [second])
    })

    it("lists the other categories first and the category just put last", () => {
      const set = new RecordSet()
      verdicts(set, [{ type: 2 }, { type: topic }, { type: mailbox }, { type: 3 }])
      assert.deepStrictEqual(types(set), [topic, mailbox, 2, 3])
      verdicts(set, [{ type: 2, seq: 1 }])
      assert.deepStrictEqual(types(set), [topic, mailbox, 3, 2])
      verdicts(set, [{ type: topic, seq: 1 }])
      assert.deepStrictEqual(types(set), [mailbox, 3, 2, topic])
    })

    it("evicts the earliest put sovereign record that is not an endpoint", () => {
      const set = new RecordSet()
      verdicts(set, [1, 2, 3, 4, 5, 6, 7, 8].map((type) => ({ type, timestamp: 10 - type })))
      verdicts(set, [{ type: 2, seq: 1 }, { type: 9 }])
      assert.deepStrictEqual(types(set), [1, 4, 5, 6, 7, 8, 2, 9])
    })

    it("evicts the endpoint with the oldest timestamp if there are only endpoints", () => {
      const set = new RecordSet()
      verdicts(set, [5, 3, 4, 6, 7, 8, 9, 10].map((timestamp) => ({ type: 1, address: timestamp, timestamp })))
      assert.deepStrictEqual(verdicts(set, [{ type: 1, timestamp: 11 }, { type: 2, timestamp: 12 }]), [
        "Stored",
        "Full"
      ])
      assert.notInclude(set.getAll(key(0), 0, 0).map((r) => r.timestamp), 3n)
    })

    it("evicts the topic record with the oldest timestamp, even if it is the one put", () => {
      const set = new RecordSet()
      verdicts(set, Array.from({ length: 100 }, (_, signer) => ({ type: topic, signer, timestamp: 100 + signer })))
      assert.deepStrictEqual(
        verdicts(set, [{ type: topic, signer: 200, timestamp: 99 }, { type: topic, signer: 201, timestamp: 500 }]),
        ["Full", "Stored"]
      )
      const signers = set.getAll(key(0), 0, 0).map((r) => r.publicKey[0])
      assert.deepStrictEqual(signers, [...Array.from({ length: 99 }, (_, i) => i + 1), 201])
    })

    it("evicts a signer's own oldest mailbox record before those of others", () => {
      const set = new RecordSet()
      verdicts(set, [{ type: mailbox, signer: 1, timestamp: 1 }])
      verdicts(set, [7, 5, 6, 8, 9].map((timestamp, note) => ({ type: mailbox, note, timestamp })))
      assert.deepStrictEqual(set.getAll(key(0), 0, 0).map((r) => r.timestamp), [1n, 7n, 6n, 8n, 9n])
    })

    it("evicts the oldest of all mailbox records if the key has too many", () => {
      const set = new RecordSet()
      const notes = Array.from({ length: 50 }, (_, i) => ({
        type: mailbox,
        signer: i >> 2,
        note: i & 3,
        timestamp: 100 + (i * 7) % 50
      }))
      verdicts(set, notes)
      assert.deepStrictEqual(
        verdicts(set, [{ type: mailbox, signer: 90, timestamp: 99 }, { type: mailbox, signer: 91, timestamp: 500 }]),
        ["Full", "Stored"]
      )
      const timestamps = set.getAll(key(0), 0, 0).map((r) => Number(r.timestamp))
      assert.deepStrictEqual(timestamps, [...notes.slice(1).map((note) => note.timestamp), 500])
    })

    it("replaces an expired record by any record of its slot", () => {
      const set = new RecordSet()
      verdicts(set, [{ type: 1, seq: 5, expiresAt: 10 }])
      assert.deepStrictEqual(verdicts(set, [{ type: 1, seq: 4 }], 10), ["Stale"])
      assert.deepStrictEqual(verdicts(set, [{ type: 1, seq: 4 }], 11), ["Stored"])
    })

    it("keeps the first of two records that are equally new", () => {
      const set = new RecordSet()
      const [first, second] = [record({ type: 1 }), record({ type: 1, note: 1 })]
      set.put(key(0), first, 0)
      assert.strictEqual(set.put(key(0), second, 0)._tag, "Stale")
      assert.deepStrictEqual(set.getAll(key(0), 0, 0), [first])
    })
  })

  describe("the order of use", () => {
    const filled = () => {
      const set = new RecordSet({ maxKeys: 3 })
      for (const at of [0, 1, 2]) set.put(key(at), record({ type: 1 }), 0)
      return set
    }
    const victimOf = (set: RecordSet, now = 0) => {
      const verdict = set.put(key(9), record({ type: 1 }), now)
      return verdict._tag === "Stored" ? keysOf(verdict) : []
    }

    it("evicts the key that was put longest ago", () => {
      assert.deepStrictEqual(victimOf(filled()), [key(0)])
    })

    it("counts a put and every read of a key as a use, whatever the read finds", () => {
      const uses: ReadonlyArray<(set: RecordSet) => unknown> = [
        (set) => set.put(key(0), record({ type: 2 }), 0),
        (set) => set.getAll(key(0), 0, 0),
        (set) => set.getAll(key(0), topic, 0),
        (set) => set.get(key(0), 0)
      ]
      for (const use of uses) {
        const set = filled()
        use(set)
        assert.deepStrictEqual(victimOf(set), [key(1)])
      }
    })

    it("does not count a stale put or a read of the whole set as a use", () => {
      const glances: ReadonlyArray<(set: RecordSet) => unknown> = [
        (set) => set.put(key(0), record({ type: 1 }), 0),
        (set) => set.getAllByAddress(address(0), 0, 0),
        (set) => Array.from(set.rows(0)),
        (set) => set.invalidate(key(0), topic)
      ]
      for (const glance of glances) {
        const set = filled()
        glance(set)
        assert.deepStrictEqual(victimOf(set), [key(0)])
      }
    })

    it("evicts no live key while there are expired ones", () => {
      const set = new RecordSet({ maxKeys: 3 })
      set.put(key(0), record({ type: 1 }), 0)
      set.put(key(1), record({ type: 1, expiresAt: 10 }), 0)
      set.put(key(2), record({ type: 1 }), 0)
      assert.deepStrictEqual(victimOf(set, 1000), [])
      assert.strictEqual(set.getAll(key(0), 0, 1000).length, 1)
    })

    it("applies a lower limit at the next new key", () => {
      const set = filled()
      set.setMaxKeys(1)
      set.put(key(1), record({ type: 2 }), 0)
      assert.strictEqual(set.size, 3)
      assert.deepStrictEqual(victimOf(set), [key(0), key(2), key(1)])
      assert.strictEqual(set.size, 1)
    })

    it("never evicts the new key, and stays within the limit", () => {
      fc.assert(
        fc.property(fc.nat(4), fc.array(fc.tuple(fc.nat(20), draft(small)), { maxLength: 60 }), (maxKeys, puts) => {
          const set = new RecordSet({ maxKeys })
          for (const [at, draft] of puts) {
            const made = record(draft)
            const verdict = set.put(key(at), made, 0)
            assert.isAtMost(set.size, Math.max(maxKeys, 1))
            if (verdict._tag !== "Stored") continue
            assert.notInclude(keysOf(verdict), key(at))
            assert.include(set.getAll(key(at), 0, 0), made)
          }
        })
      )
    })
  })

  describe("records of peers", () => {
    it("are evicted independently of their timestamps", () => {
      interface Put {
        readonly key: number
        readonly type: number
        readonly signer: number
        readonly network: number
        readonly skew: number
      }
      const put: fc.Arbitrary<Put> = fc.record({
        key: fc.nat(1),
        type: fc.constantFrom(1, 2, topic, topic, topic, mailbox, mailbox, mailbox),
        signer: fc.nat(130),
        network: fc.nat(3),
        skew: fc.integer({ min: -3600, max: 60 })
      })
      const fate = (puts: ReadonlyArray<Put>, isSkewed: boolean) => {
        const set = new RecordSet({
          maxKeys: 2,
          maxBytes: 200_000,
          secret: new Uint8Array(32),
          isNear: (k) => k === key(0)
        })
        for (const [seq, { key: at, network, signer, skew, type }] of puts.entries()) {
          const timestamp = 20_000 + (isSkewed ? skew : 0)
          // What is the owner's is at the owner's key.
          const owner = type < topic ? at : signer
          const draft = { type, signer, address: owner, note: signer, seq, timestamp, expiresAt: never }
          set.put(key(at), record(draft), 20_000, `network ${network}`)
        }
        return Array.from(set.rows(20_000), ({ address, key, type }) => `${key} ${address} ${type}`)
      }
      fc.assert(fc.property(fc.array(put, { minLength: 300, maxLength: 400 }), (puts) => {
        assert.deepStrictEqual(fate(puts, true), fate(puts, false))
      }))
    })
  })

  describe("reading", () => {
    it("returns arrays that the caller may change", () => {
      const set = new RecordSet()
      verdicts(set, [{ type: 1 }, { type: 2 }])
      const taken = set.getAll(key(0), 0, 0)
      taken.length = 0
      assert.deepStrictEqual(types(set), [1, 2])
    })

    it("holds a record under its key until a newer one replaces it or it is removed", () => {
      const set = new RecordSet()
      const [old, other, next] = [{ type: 1 }, { type: 2 }, { type: 1, seq: 1 }].map(record)
      const held = () => [old, other, next].map((record) => set.holds(key(0), record))
      assert.deepStrictEqual(held(), [false, false, false])
      set.put(key(0), old, 0)
      set.put(key(0), other, 0)
      assert.deepStrictEqual(held(), [true, true, false])
      assert.isFalse(set.holds(key(1), old))
      set.put(key(0), next, 0)
      assert.deepStrictEqual(held(), [false, true, true])
      // The same but for one byte.
      assert.isFalse(set.holds(key(0), { ...next, bytes: next.bytes.with(0, next.bytes[0] ^ 1) }))
      set.invalidate(key(0), 0)
      assert.deepStrictEqual(held(), [false, false, false])
    })

    it("finds the newest endpoint record of a key, if there is one", () => {
      const set = new RecordSet()
      verdicts(set, [{ type: 1, address: 1, seq: 1 }, { type: 1, address: 2, seq: 3 }, { type: 1, address: 3, seq: 2 }])
      verdicts(set, [{ type: 2, seq: 9 }])
      assert.strictEqual(set.get(key(0), 0)?.seq, 3n)
      set.invalidate(key(0), 1)
      assert.isUndefined(set.get(key(0), 0))
      assert.isUndefined(set.get(key(1), 0))
    })

    it("returns a record in its last second, also beside an expired one", () => {
      const set = new RecordSet()
      verdicts(set, [{ type: 1, expiresAt: 10 }, { type: 2, expiresAt: 9 }, { type: topic, expiresAt: 11 }])
      assert.deepStrictEqual(types(set, 0, 9), [1, 2, topic])
      assert.deepStrictEqual(types(set, 0, 10), [1, topic])
      assert.deepStrictEqual(types(set, 0, 11), [topic])
      assert.deepStrictEqual(types(set, 0, 12), [])
    })

    it("never returns an expired record, however rarely the set is swept", () => {
      fc.assert(fc.property(work(small, 60), fc.boolean(), (operations, sweeps) => {
        const set = new RecordSet()
        let now = 0
        for (const op of operations) {
          if (op.op === "wait") now += op.seconds
          if (op.op === "put") set.put(key(op.key), record(aged(op.draft, now)), now)
          if (sweeps) set.sweep(now, 1)
          for (let at = 0; at < small.keys; at++) {
            const read = [
              ...set.getAllByAddress(address(at), 0, now),
              ...set.getAll(key(at), 0, now),
              set.get(key(at), now)
            ]
            for (const r of read) assert.isAtLeast(r?.expiresAt ?? now, now)
          }
        }
      }))
    })

    it("has a row for every live record", () => {
      const set = new RecordSet()
      verdicts(set, [{ type: 1, address: 7, seq: 3, timestamp: 2, expiresAt: 90 }, { type: 2, expiresAt: 10 }])
      assert.deepStrictEqual(Array.from(set.rows(11)), [
        { key: key(0), address: address(7), type: 1, seq: 3n, timestamp: 2n, ttl: 88, expiresAt: 90, payloadLength: 1 }
      ])
    })
  })

  describe("page", () => {
    /** All pages of this size, `between` one and the next. */
    const pages = (set: RecordSet, limit: number, between: () => void = () => {}) => {
      const pages: Array<ReadonlyArray<string>> = []
      let from: Place | undefined = undefined
      do {
        const { next, rows }: Rows = set.page(0, limit, from)
        pages.push(rows.map(({ key, seq, type }) => `${key} ${type} ${seq}`))
        from = next
        between()
      } while (from !== undefined)
      return pages
    }

    it("has every live record once on all pages, which are full except for the last", () => {
      fc.assert(fc.property(anyWork, fc.integer({ min: 1, max: 5 }), (operations, limit) => {
        const set = new RecordSet()
        for (const op of operations) {
          if (op.op === "put") set.put(key(op.key), record({ ...op.draft, expiresAt: never }), 0)
        }
        const all = Array.from(set.rows(0), ({ key, seq, type }) => `${key} ${type} ${seq}`)
        const parts = pages(set, limit)
        assert.deepStrictEqual(parts.flat(), all)
        for (const part of parts.slice(0, -1)) assert.strictEqual(part.length, limit)
        assert.strictEqual(parts.length, Math.max(1, Math.ceil(all.length / limit)))
      }))
    })

    it("continues at its place after the keys around it were removed", () => {
      const set = new RecordSet()
      for (let i = 0; i < 10; i++) set.put(key(i), record({ type: 1, seq: i, expiresAt: never }), 0)
      let removed = 0
      const seen = pages(set, 3, () => {
        if (removed === 0) { for (const i of [2, 3, 9]) set.invalidate(key(i), 0) }
        removed++
        set.put(key(0), record({ type: 1, seq: 100 + removed, expiresAt: never }), 0)
      }).flat()
      assert.deepStrictEqual(seen, [0, 1, 2, 4, 5, 6, 7, 8].map((i) => `${key(i)} 1 ${i}`))
    })

    it("leaves out expired records", () => {
      const set = new RecordSet()
      for (let i = 0; i < 6; i++) set.put(key(i), record({ type: 1, seq: i, expiresAt: i % 2 === 0 ? 10 : never }), 0)
      const { next, rows } = set.page(11, 3)
      assert.deepStrictEqual([rows.map(({ seq }) => seq), next], [[1n, 3n, 5n], undefined])
    })
  })

  describe("bytes", () => {
    it("are at least the memory used by records that each have their own key, network and address", () => {
      const set = new RecordSet()
      /** What was read out of a datagram and detached, as the store does. */
      const received = (n: number): Record.SignedRecord => {
        const publicKey = sha256(Uint8Array.of(n, n >> 8))
        const bytes = Record.encode({
          address: Address.fromPublicKey(publicKey),
          type: topic,
          payload: Topic.encode(Topic.make({ topic: `topic ${n}`, name: "an agent", brief: "It does something" })),
          seq: 1_700_000_000_000_000_000n + BigInt(n),
          timestamp: 1_700_000_000n,
          ttl: 3600,
          publicKey,
          signature: new Uint8Array(64),
          delegation: undefined
        })
        return Record.detach(Result.getOrThrow(Record.decode(bytes)))
      }
      const fill = (from: number, to: number) => {
        for (let n = from; n < to; n++) {
          const key = NodeId.fromBytesUnsafe(sha256(Uint8Array.of(n >> 8, n)))
          assert.strictEqual(set.put(key, received(n), 1_700_000_000, `network ${n}`)._tag, "Stored")
        }
      }
      // What is compiled and cached at first is no record's.
      fill(0, 4000)
      const [before, counted] = [heapBytes(), set.bytes]
      fill(4000, 24_000)
      assert.isAtMost(heapBytes() - before, set.bytes - counted)
    })
  })

  describe("sweep", () => {
    it("removes records that expired over a minute ago, although none is read", () => {
      const set = new RecordSet()
      set.put(key(0), record({ type: 1, expiresAt: 100 }), 0)
      set.put(key(1), record({ type: 1, expiresAt: 5000 }), 0)
      set.put(key(1), record({ type: 2, expiresAt: 100 }), 0)
      assert.isFalse(set.sweep(161, 100))
      assert.strictEqual(set.size, 1)
      assert.deepStrictEqual(types(set, 1, 161), [1])
    })

    it("has nothing to do in an empty set at any time", () => {
      const set = new RecordSet()
      assert.isFalse(set.sweep(2 ** 40, 1))
      set.put(key(0), record({ type: 1 }), 2 ** 40)
      assert.isFalse(set.sweep(2 ** 40 + 1, 1))
    })

    it("continues where it stopped, with at most `limit` keys at a time", () => {
      const expiries = fc.array(fc.nat(2000), { maxLength: 40 })
      fc.assert(fc.property(expiries, fc.nat(2000), fc.integer({ min: 1, max: 5 }), (expiries, now, limit) => {
        const set = new RecordSet()
        expiries.forEach((expiresAt, at) => set.put(key(at), record({ type: 1, expiresAt }), 0))
        for (let size = set.size, more = true; more; size = set.size) {
          more = set.sweep(now, limit)
          assert.isAtLeast(set.size, size - limit)
        }
        assert.isAtLeast(set.size, expiries.filter((expiresAt) => expiresAt >= now).length)
        assert.isAtMost(set.size, expiries.filter((expiresAt) => expiresAt >= now - 60).length)
      }))
    })

    it("has nothing to remove before the time that the set names, and has then", () => {
      const expiries = fc.array(fc.nat(2000), { maxLength: 40 })
      fc.assert(fc.property(expiries, (expiries) => {
        const set = new RecordSet()
        expiries.forEach((expiresAt, at) => set.put(key(at), record({ type: 1, expiresAt }), 0))
        while (set.size > 0) {
          const { size, sweepAt } = set
          set.sweep(sweepAt - 1, Infinity)
          assert.strictEqual(set.size, size)
          set.sweep(sweepAt, Infinity)
          assert.isBelow(set.size, size)
        }
        assert.strictEqual(set.sweepAt, Infinity)
      }))
    })

    it("finds records that expire after the clock was ahead for a while", () => {
      const set = new RecordSet()
      set.put(key(0), record({ type: 1 }), 0)
      set.sweep(100_000, Infinity)
      set.put(key(1), record({ type: 1, expiresAt: 200 }), 100)
      set.sweep(1000, Infinity)
      assert.strictEqual(set.size, 1)
    })
  })

  describe("a record of a peer", () => {
    const secret = (n: number) => new Uint8Array(16).fill(n)
    /** One of many topic records: `n` is its signer, its owner and its timestamp, of one size. */
    const offer = (n: number, draft: Partial<Draft> = {}) =>
      record({ type: topic, address: n, signer: n & 255, timestamp: n, ...draft })
    const offers = (from: number, count: number) => Array.from({ length: count }, (_, i) => offer(from + i))
    /** Two bytes of the signer tell a thousand apart. */
    const numbered = (n: number): Record.SignedRecord => ({
      ...offer(n),
      publicKey: Uint8Array.of(n >> 8, n, ...new Uint8Array(30))
    })
    const numberOf = ({ publicKey }: Record.SignedRecord) => 256 * publicKey[0] + publicKey[1]
    const kept = (set: RecordSet, at = 0) => set.getAll(key(at), 0, 0)
    const costOf = (records: Iterable<Record.SignedRecord>) =>
      Array.from(records).reduce((sum, { bytes }) => sum + bytes.length + overheadBytes, 0)
    /** The observable state of a set. */
    const image = (set: RecordSet) => ({
      bytes: set.bytes,
      counts: set.countsByType,
      rows: Array.from(set.rows(0)),
      keys: set.size
    })

    it("displaces one of the network with the most records at a full key", () => {
      for (const order of ["few first", "many first"]) {
        const set = new RecordSet({ secret: secret(1) })
        const many = offers(0, 100).map((r) => () => set.put(key(0), r, 0, "many")._tag)
        const few = offers(100, 40).map((r, i) => () => set.put(key(0), r, 0, `few ${i >> 2}`)._tag)
        for (const put of order === "few first" ? [...few, ...many] : [...many, ...few]) put()
        const held = kept(set).map(({ timestamp }) => Number(timestamp))
        assert.strictEqual(held.length, 100)
        assert.includeMembers(held, Array.from({ length: 40 }, (_, i) => 100 + i), order)
      }
    })

    it("never displaces one of a network with fewer records at the key, in any order of arrival", () => {
      const arrivals = fc.array(fc.nat(6), { minLength: 150, maxLength: 250 })
      fc.assert(
        fc.property(fc.noShrink(arrivals), (arrivals) => {
          const set = new RecordSet({ secret: secret(1) })
          const networkOf = new Map<number, number>()
          for (const [n, network] of arrivals.entries()) {
            const before = kept(set).map(({ timestamp }) => Number(timestamp))
            const verdict = set.put(key(0), offer(n), 0, String(network))
            if (verdict._tag !== "Stored") continue
            networkOf.set(n, network)
            const count = (of: number | undefined) => [...before, n].filter((i) => networkOf.get(i) === of).length
            for (const { record } of verdict.evicted) {
              const loser = networkOf.get(Number(record.timestamp))
              for (const i of before) assert.isAtLeast(count(loser), count(networkOf.get(i)))
            }
          }
        }),
        { numRuns: 20 }
      )
    })

    it("is kept or evicted by the secret of the holder if all networks have equally many", () => {
      const sample = (holder: number) => {
        const set = new RecordSet({ secret: secret(holder) })
        for (let n = 0; n < 1000; n++) set.put(key(0), numbered(n), 0, `network ${n}`)
        return kept(set).map(numberOf)
      }
      const samples = Array.from({ length: 16 }, (_, holder) => sample(holder))
      assert.deepStrictEqual(sample(0), samples[0])
      for (const one of samples) assert.strictEqual(one.length, 100)
      assert.isAtLeast(new Set(samples.flat()).size, 700)
    })

    it("is kept independently of its arrival and timestamp", () => {
      const signers = new Set<number>()
      for (const order of [1, -1]) {
        const set = new RecordSet({ secret: secret(1) })
        for (let i = 0; i < 200; i++) {
          const n = order === 1 ? i : 199 - i
          set.put(key(0), { ...numbered(n), timestamp: BigInt(order === 1 ? n : 1000 - n) }, 0, `network ${n}`)
        }
        for (const r of kept(set)) signers.add(numberOf(r))
      }
      assert.strictEqual(signers.size, 100)
    })

    it("makes room for a renewal by its own network, and is refused only as a newcomer", () => {
      const set = new RecordSet({ secret: secret(1) })
      for (const r of offers(0, 150)) set.put(key(0), r, 0, "one")
      for (const r of kept(set)) {
        const renewed = offer(Number(r.timestamp), { seq: 1 })
        assert.strictEqual(set.put(key(0), renewed, 0, "one")._tag, "Stored")
      }
      assert.strictEqual(kept(set).length, 100)
    })

    it("is renewed within the limit of a full set, although larger and of the network with the most bytes", () => {
      const room = 40 * (overheadBytes + 100)
      for (const isNear of [true, false]) {
        const set = new RecordSet({ maxBytes: room, isNear: () => isNear })
        set.put(key(99), record({ type: 1, address: 99 }), 0)
        for (let n = 0; n < 60; n++) set.put(key(n), record({ type: 1, address: n }), 0, `network ${n & 15}`)
        for (let seq = 1; seq < 20; seq++) {
          const owner = Array.from({ length: 60 }, (_, n) => n).find((n) => types(set, n).length > 0) ?? NaN
          const renewed = { ...record({ type: 1, address: owner, seq }), bytes: new Uint8Array(900) }
          assert.strictEqual(set.put(key(owner), renewed, 0, `network ${owner & 15}`)._tag, "Stored")
          assert.isAtMost(set.bytes, room)
          assert.deepStrictEqual(types(set, 99), [1])
        }
      }
    })

    it("never displaces this node's own records, at the key or in the set", () => {
      const set = new RecordSet({ maxBytes: 120 * (overheadBytes + 60), secret: secret(1) })
      const own = offers(0, 60)
      for (const r of own) set.put(key(0), r, 0)
      for (const r of offers(60, 190)) set.put(key(0), r, 0, `network ${r.timestamp}`)
      for (let n = 0; n < 1000; n++) set.put(key(1 + n), record({ type: 1, address: n }), 0, `network ${n}`)
      assert.includeMembers(bytes(kept(set)), bytes(own))
      // Nor does a newer version of the only record of a stranger that is left.
      const small = new RecordSet({ maxBytes: 2 * overheadBytes + 200 })
      const ours = record({ type: 2 })
      small.put(key(0), ours, 0)
      small.put(key(1), record({ type: 1 }), 0, "one")
      const grown = { ...record({ type: 1, seq: 1 }), bytes: new Uint8Array(300) }
      assert.deepStrictEqual(small.put(key(1), grown, 0, "one"), { _tag: "Full", scope: "Store" })
      assert.deepStrictEqual([kept(small), types(small, 1)], [[ours], [1]])
    })

    it("is evicted for this node's own records, which displace the oldest of their own only if nothing else is left", () => {
      const set = new RecordSet({ secret: secret(1) })
      for (const r of offers(0, 100)) set.put(key(0), r, 0, `network ${r.timestamp}`)
      for (const r of offers(100, 101)) assert.strictEqual(set.put(key(0), r, 0)._tag, "Stored")
      assert.deepStrictEqual(
        kept(set).map(({ timestamp }) => Number(timestamp)),
        Array.from({ length: 100 }, (_, i) => 101 + i)
      )
    })

    it("is evicted before the near ones if it is far, and never displaces a near one", () => {
      const near = Array.from({ length: 10 }, (_, n) => n)
      const set = new RecordSet({
        maxBytes: 30 * (overheadBytes + 40),
        isNear: (at) => near.some((n) => key(n) === at)
      })
      for (let n = 0; n < 1000; n++) set.put(key(100 + n), record({ type: 1, address: n }), 0, `network ${n}`)
      for (const n of near) {
        assert.strictEqual(set.put(key(n), record({ type: 1, address: n }), 0, "one")._tag, "Stored")
      }
      for (let n = 0; n < 1000; n++) set.put(key(2000 + n), record({ type: 1, address: n }), 0, `network ${n}`)
      for (const n of near) assert.deepStrictEqual(types(set, n), [1])
    })

    it("is evicted first if its network or address has the most bytes", () => {
      const room = 100 * (overheadBytes + 40)
      for (const who of ["network", "address"]) {
        const set = new RecordSet({ maxBytes: room })
        for (let n = 0; n < 20; n++) {
          assert.strictEqual(set.put(key(n), record({ type: 1, address: n }), 0, `few ${n >> 1}`)._tag, "Stored")
        }
        for (let n = 100; n < 1000; n++) {
          const [address, network] = who === "network" ? [n, "many"] : [999, `network ${n}`]
          set.put(key(n), record({ type: topic, address, signer: n & 255 }), 0, network)
        }
        for (let n = 20; n < 40; n++) {
          assert.strictEqual(set.put(key(n), record({ type: 1, address: n }), 0, `few ${n >> 1}`)._tag, "Stored", who)
        }
        for (let n = 0; n < 40; n++) assert.deepStrictEqual(types(set, n), [1], who)
      }
    })

    it("changes nothing if it is refused, neither the records nor the next eviction", () => {
      const size = fc.constantFrom(2 ** 30, 2 ** 30 + 1, 2 ** 31)
      const puts = fc.array(
        fc.record({ key: fc.nat(6), n: fc.nat(255), network: fc.nat(3), size, far: fc.boolean() }),
        { minLength: 20, maxLength: 120 }
      )
      let refused = 0
      fc.assert(fc.property(fc.noShrink(puts), fc.integer({ min: 2, max: 20 }), (puts, room) => {
        const make = () =>
          new RecordSet({ maxBytes: room * 2 ** 31, maxKeys: 12, secret: secret(1), isNear: (at) => at < key(10) })
        const [set, spared] = [make(), make()]
        let removed = 0
        set.watch({
          added: () => {},
          removed: () => {
            removed++
          }
        })
        for (const { far, key: at, n, network, size } of puts) {
          const given = { ...offer(n), bytes: { length: size } as Uint8Array }
          const where = key(far ? at + 10 : at)
          const [before, told] = [image(set), removed]
          const verdict = set.put(where, given, 0, String(network))
          if (verdict._tag !== "Full") {
            // The one that was never shown what was refused behaves as the other.
            assert.deepStrictEqual(spared.put(where, given, 0, String(network)), verdict)
            continue
          }
          refused++
          assert.deepStrictEqual(image(set), before)
          assert.strictEqual(removed, told)
        }
        assert.deepStrictEqual(image(set), image(spared))
      }))
      assert.isAbove(refused, 100)
    })

    it("counts in bytes, which never exceed the limit and are zero once all are removed", () => {
      const put = fc.record({
        key: fc.nat(9),
        type: fc.constantFrom(1, 2, topic, mailbox),
        n: fc.nat(20),
        network: fc.option(fc.nat(3)),
        size: fc.nat(900),
        seq: fc.nat(3),
        wait: fc.nat(40)
      })
      fc.assert(fc.property(fc.array(put, { maxLength: 120 }), fc.integer({ min: 2, max: 30 }), (puts, room) => {
        const set = new RecordSet({ maxBytes: room * 2000, isNear: (at) => at < key(5) })
        let held: Array<readonly [NodeId.NodeId, Record.SignedRecord]> = []
        let now = 0
        const forget = (key: NodeId.NodeId, record: Record.SignedRecord) => {
          held = held.filter((other) => other[0] !== key || other[1] !== record)
        }
        set.watch({ added: (key, record) => held.push([key, record]), removed: forget })
        for (const { key: n, n: signer, network, seq, size, type, wait } of puts) {
          now += wait
          const given = {
            ...record({ type, signer, seq, address: signer, expiresAt: now + 100 * (1 + seq) }),
            bytes: new Uint8Array(100 + size)
          }
          const verdict = set.put(key(n), given, now, network === null ? undefined : String(network))
          if (verdict._tag === "Stored" && verdict.replaced !== undefined) forget(key(n), verdict.replaced)
          if (wait === 0) set.invalidate(key(signer), type)
          assert.strictEqual(set.bytes, costOf(held.map(([, record]) => record)))
          // One record always has room.
          assert.isAtMost(set.bytes, room * 2000)
        }
        set.sweep(now + 1_000_000, Infinity)
        assert.strictEqual(set.bytes, 0)
      }))
    })

    it("counts for the network with fewer bytes among those that sent it", () => {
      const set = new RecordSet({ secret: secret(1) })
      const honest = offers(200, 5)
      // Copied and brought by another before its publisher comes.
      for (const r of [...offers(0, 90), ...honest]) set.put(key(0), r, 0, "many")
      for (const r of honest) assert.strictEqual(set.put(key(0), r, 0, "few")._tag, "Stale")
      for (const r of honest) set.put(key(0), r, 0, "many")
      for (const r of offers(100, 60)) set.put(key(0), r, 0, "many")
      assert.includeMembers(bytes(kept(set)), bytes(honest))
    })

    it("is contended if the key or the set is half full, or its network is a large user", () => {
      const set = new RecordSet({ maxBytes: 400 * (overheadBytes + 40) })
      const isContended = (network: string, type = topic, at = 0) => set.isContended(key(at), type, network)
      assert.isFalse(isContended("one"))
      for (const r of offers(0, 4)) set.put(key(0), r, 0, "one")
      assert.isTrue(isContended("one"))
      assert.isFalse(isContended("two"))
      for (const r of offers(4, 46)) set.put(key(0), r, 0, `network ${r.timestamp}`)
      assert.isTrue(isContended("two"))
      assert.isFalse(isContended("two", topic, 1))
      for (let n = 0; n < 20; n++) set.put(key(10 + n), record({ type: 1, address: n }), 0, "two")
      assert.isTrue(isContended("two", 1, 1))
      assert.isFalse(isContended("three", 1, 1))
      for (let n = 0; n < 140; n++) set.put(key(100 + n), record({ type: 1, address: n }), 0, `network ${n}`)
      assert.isTrue(isContended("three", 1, 1))
    })
  })

  describe("the order of a response", () => {
    const fill = (sizes: ReadonlyArray<number>) => {
      const set = new RecordSet({ secret: new Uint8Array(16).fill(7) })
      sizes.forEach((size, signer) =>
        set.put(key(0), { ...record({ type: topic, signer }), bytes: new Uint8Array(size).fill(signer) }, 0, "one")
      )
      return set
    }
    /** What so many answers carry, by signer. */
    const rounds = (set: RecordSet, answers: number) => {
      const times = new Map<number, number>()
      for (let i = 0; i < answers; i++) {
        const records = set.inTurn(key(0), 0, 0)
        const { body, served } = findValueResponse({
          nodes: [],
          records,
          observed: undefined,
          legacy: false,
          lists: false
        })
        set.served(key(0), served)
        for (const { publicKey: [signer] } of body.records ?? []) times.set(signer, (times.get(signer) ?? 0) + 1)
      }
      return times
    }

    it("serves every record of a crowded key equally often", () => {
      fc.assert(fc.property(fc.integer({ min: 5, max: 100 }), fc.integer({ min: 1, max: 60 }), (count, answers) => {
        const times = rounds(fill(Array.from({ length: count }, () => 300)), answers)
        const all = Array.from({ length: count }, (_, signer) => times.get(signer) ?? 0)
        assert.isAtMost(Math.max(...all) - Math.min(...all), 1)
      }))
    })

    it("serves large records too, without holding up small ones", () => {
      const sizes = fc.array(fc.constantFrom(150, 300, 600, 900), { minLength: 2, maxLength: 100 })
      fc.assert(fc.property(sizes, (sizes) => {
        const set = fill(sizes)
        // In so many answers the first in turn was each of them at least once.
        const times = rounds(set, sizes.length)
        sizes.forEach((_, signer) => assert.isAtLeast(times.get(signer) ?? 0, 1))
      }))
    })

    /** The same hundred records at each of the holders of a key, by rank. */
    const holdersOf = (ranks: number, timestamps: (n: number) => number = (n) => n) =>
      Array.from({ length: ranks }, (_, rank) => {
        const set = new RecordSet({ secret: new Uint8Array(16).fill(rank) })
        for (let signer = 0; signer < 100; signer++) {
          const signature = new Uint8Array(64).fill(signer * 101 & 255)
          const given = { ...record({ type: topic, signer, timestamp: timestamps(signer) }), signature }
          set.put(key(0), given, 0, "one")
        }
        return set
      })
    const signersOf = (records: ReadonlyArray<Record.SignedRecord>) => records.map(({ publicKey: [signer] }) => signer)

    it("shows a reader that takes a few records from each holder few of them twice", () => {
      for (const ranks of [8, 16]) {
        const seen = new Set<number>()
        const holders = holdersOf(ranks)
        for (let tries = 1; tries <= 3; tries++) {
          for (const [rank, set] of holders.entries()) {
            for (const signer of signersOf(set.inTurn(key(0), 0, 0, rank)).slice(0, 4)) seen.add(signer)
            set.served(key(0), 4)
          }
          assert.isAtLeast(seen.size, Math.min(3.5 * ranks * tries, 95))
        }
      }
    })

    it("does not depend on timestamps or the order of arrival, and begins with other records every hour", () => {
      const [set] = holdersOf(1)
      const [other] = holdersOf(1, (n) => 100 - n)
      const starts = Array.from({ length: 24 }, (_, hour) => {
        const order = signersOf(set.inTurn(key(0), 0, hour * 3600, 0))
        assert.deepStrictEqual(order, signersOf(other.inTurn(key(0), 0, hour * 3600, 0)))
        return order[0]
      })
      assert.isAtLeast(new Set(starts).size, 20)
    })
  })

  it("agrees with the specification in every sequence of operations", () => {
    fc.assert(
      fc.property(anyWork, fc.integer({ min: 1, max: 4 }), (operations, maxKeys) => {
        const set = new RecordSet({ maxKeys })
        const model = new Model(maxKeys)
        let now = 0
        for (const op of operations) {
          switch (op.op) {
            case "put": {
              // A record that expires with the last second of a minute is swept as soon as it has.
              const expiresAt = now + Math.floor((op.draft.expiresAt ?? 0) / 60) * 60 + 59
              const made = record({ ...op.draft, expiresAt })
              assert.strictEqual(set.put(key(op.key), made, now)._tag, model.put(key(op.key), made))
              break
            }
            case "getAll":
              assert.deepStrictEqual(
                bytes(set.getAll(key(op.key), op.type, now)),
                bytes(model.getAll(key(op.key), op.type))
              )
              break
            case "get":
              assert.strictEqual(set.get(key(op.key), now), model.get(key(op.key)))
              break
            case "getAllByAddress":
              assert.sameMembers(
                set.getAllByAddress(address(op.address), op.type, now),
                model.getAllByAddress(address(op.address), op.type)
              )
              break
            case "invalidate":
              set.invalidate(key(op.key), op.type)
              model.invalidate(key(op.key), op.type)
              break
            case "setMaxKeys":
              set.setMaxKeys(Math.max(op.maxKeys, 1))
              model.maxKeys = Math.max(op.maxKeys, 1)
              break
            case "wait":
              now += op.seconds * 60
              set.sweep(now, Infinity)
              model.expire(now)
          }
          assert.strictEqual(set.size, model.cells.length)
        }
        const rows = Array.from(set.rows(now), ({ key, seq, type }) => `${key} ${type} ${seq}`)
        assert.sameMembers(
          rows,
          model.cells.flatMap(({ key, records }) => records.map((r) => `${key} ${r.type} ${r.seq}`))
        )
        set.sweep(now + 120, Infinity)
        const types = Map.groupBy(set.rows(now), ({ type }) => type)
        assert.deepStrictEqual(
          set.countsByType,
          Array.from(types, ([type, { length: count }]) => ({ type, count })).sort((a, b) => a.type - b.type)
        )
      })
    )
  })

  it("keeps every category at every key within its cap", () => {
    fc.assert(fc.property(anyWork, (operations) => {
      const set = new RecordSet()
      for (const op of operations) {
        if (op.op !== "put") continue
        set.put(key(op.key), record({ ...op.draft, expiresAt: never }), 0)
        const held = Map.groupBy(set.getAll(key(op.key), 0, 0), (r) => Record.category(r.type))
        for (const [category, records] of held) assert.isAtMost(records.length, caps[category])
        for (const mine of Map.groupBy(held.get("mailbox") ?? [], (r) => r.publicKey[0]).values()) {
          assert.isAtMost(mine.length, caps.mailboxPerSigner)
        }
      }
    }))
  })

  it("retains nothing but its keys", () => {
    // Whatever maps the set is made of, none outgrows the keys, and all are empty in the end.
    const mapsOf = (set: RecordSet) => Object.values(set).filter((field) => field instanceof Map)
    fc.assert(fc.property(anyWork, fc.integer({ min: 1, max: 4 }), (operations, maxKeys) => {
      const set = new RecordSet({ maxKeys })
      let now = 0
      for (const op of operations) {
        if (op.op === "wait") now += op.seconds
        if (op.op === "put") set.put(key(op.key), record(aged(op.draft, now)), now)
        if (op.op === "invalidate") set.invalidate(key(op.key), op.type)
        for (const map of mapsOf(set)) assert.isAtMost(map.size, set.size)
      }
      set.sweep(now + 1_000_000, Infinity)
      assert.strictEqual(set.size, 0)
      for (const map of mapsOf(set)) assert.strictEqual(map.size, 0)
    }))
  })

  describe("the merge", () => {
    // Within the caps, and with records of one slot that are equally new only if they are equal.
    const alphabet: Alphabet = { keys: 1, types: [1, 0x20, topic, mailbox], signers: 3, notes: 1, lifetime: 0 }
    const some = fc.array(
      draft(alphabet).map((draft) => record({ ...draft, address: draft.signer ?? 0, expiresAt: never })),
      { maxLength: 12 }
    )
    const holding = (records: Iterable<Record.SignedRecord>): RecordSet => {
      const set = new RecordSet()
      for (const r of records) set.put(key(0), r, 0)
      return set
    }
    const held = (set: RecordSet): Array<string> => bytes(set.getAll(key(0), 0, 0)).sort()
    const merge = (a: RecordSet, b: RecordSet): RecordSet =>
      holding([...a.getAll(key(0), 0, 0), ...b.getAll(key(0), 0, 0)])

    it("is commutative: the order of arrival does not matter", () => {
      const shuffled = some.chain((records) =>
        fc.tuple(fc.constant(records), fc.shuffledSubarray(records, { minLength: records.length }))
      )
      fc.assert(fc.property(shuffled, ([records, reordered]) => {
        assert.deepStrictEqual(held(holding(reordered)), held(holding(records)))
      }))
    })

    it("is associative: the grouping of merges does not matter", () => {
      fc.assert(fc.property(some, some, some, (a, b, c) => {
        const [x, y, z] = [holding(a), holding(b), holding(c)]
        assert.deepStrictEqual(held(merge(merge(x, y), z)), held(merge(x, merge(y, z))))
        assert.deepStrictEqual(held(merge(x, merge(y, z))), held(holding([...c, ...a, ...b])))
      }))
    })

    it("is idempotent: a known record is stale and changes nothing", () => {
      fc.assert(fc.property(some, (records) => {
        const set = holding(records)
        const before = bytes(set.getAll(key(0), 0, 0))
        for (const r of records) assert.strictEqual(set.put(key(0), r, 0)._tag, "Stale")
        assert.deepStrictEqual(bytes(set.getAll(key(0), 0, 0)), before)
      }))
    })

    it("keeps the newest record of each slot and no other", () => {
      fc.assert(fc.property(some, (records) => {
        const newest = records.filter((r) => !records.some((other) => sameSlot(r, other) && Record.isNewer(other, r)))
        assert.deepStrictEqual(held(holding(records)), Array.from(new Set(bytes(newest))).sort())
      }))
    })
  })
})
