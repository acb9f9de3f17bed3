/**
 * The memory that the main thread and one verifying worker share: a ring of
 * checks, written by the one and answered in place and in order by the other.
 *
 * Each counts how many checks it has done its part of, and a check's place in
 * the ring is its number modulo the ring's size. The counters wrap around at
 * 2^32, which a size that is a power of two does not notice.
 *
 * @since 0.1.0
 */
import type { Ed25519 } from "../../Crypto.ts"

/**
 * The longest message that fits in a slot, in bytes: a whole datagram.
 *
 * @internal
 */
export const maxMessage = 1200

// What a slot is made of.
const keyAt = 0
const signatureAt = 32
const messageAt = 96
const lengthAt = messageAt + maxMessage
const verdictAt = lengthAt + 2
const slotSize = verdictAt + 2

// What stands before the slots: 32-bit counters, each in a cache line of its
// own because two threads write them.
const submittedAt = 0
const answeredAt = 16
const toldAt = 32
const counters = 48
const slotsAt = counters * 4

/** How many answers the main thread is told of at once, while there are more to come. */
const answersPerTelling = 8

/**
 * Memory for `size` checks, a power of two.
 *
 * @internal
 */
export const allocate = (size: number): SharedArrayBuffer => new SharedArrayBuffer(slotsAt + size * slotSize)

/**
 * The main thread's end.
 *
 * @internal
 */
export class Lane {
  private readonly counters: Int32Array
  private readonly slots: Uint8Array
  private readonly mask: number
  private readonly callbacks: Array<(valid: boolean) => void>
  private submitted = 0
  private taken = 0

  constructor(memory: SharedArrayBuffer) {
    this.counters = new Int32Array(memory, 0, counters)
    this.slots = new Uint8Array(memory, slotsAt)
    const size = this.slots.length / slotSize
    this.mask = size - 1
    this.callbacks = Array.from({ length: size }, () => nobody)
  }

  /** Checks whose answer was not passed on yet. */
  get outstanding(): number {
    return this.submitted - this.taken | 0
  }

  get isFull(): boolean {
    return this.outstanding > this.mask
  }

  /** Hands over a check. The caller has looked at the lengths, and whether the lane is full. */
  submit(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array, done: (valid: boolean) => void): void {
    const index = this.submitted & this.mask
    const at = index * slotSize
    const slots = this.slots
    slots.set(publicKey, at + keyAt)
    slots.set(signature, at + signatureAt)
    slots.set(message, at + messageAt)
    slots[at + lengthAt] = message.length
    slots[at + lengthAt + 1] = message.length >> 8
    this.callbacks[index] = done
    this.submitted = this.submitted + 1 | 0
    Atomics.store(this.counters, submittedAt, this.submitted)
    Atomics.notify(this.counters, submittedAt)
  }

  /** Passes on every answer there is. */
  take(): void {
    // First of all, so that an answer that the loop does not see is told of.
    Atomics.store(this.counters, toldAt, 0)
    while (this.taken !== Atomics.load(this.counters, answeredAt)) {
      const verdict = this.slots[(this.taken & this.mask) * slotSize + verdictAt]
      this.next()(verdict === 1)
    }
  }

  /** Passes on the answers of a worker that is no more, and does the rest of its work with `verify`. */
  takeOver(verify: Ed25519["verify"]): void {
    const slot = new Slot(this.slots)
    const answered = Atomics.load(this.counters, answeredAt)
    for (let i = answered; i !== this.submitted; i = i + 1 | 0) slot.answer(i & this.mask, verify)
    Atomics.store(this.counters, answeredAt, this.submitted)
    this.take()
  }

  /** The callback whose turn it is. It may throw or come back to this lane, so the turn is over before it runs. */
  private next(): (valid: boolean) => void {
    const index = this.taken & this.mask
    const done = this.callbacks[index]
    this.callbacks[index] = nobody
    this.taken = this.taken + 1 | 0
    return done
  }
}

const nobody = (): void => {}

/** One slot at a time out of shared memory, which native code need not be able to read. */
class Slot {
  private readonly slots: Uint8Array
  private readonly publicKey = new Uint8Array(32)
  private readonly signature = new Uint8Array(64)
  private readonly message = new Uint8Array(maxMessage)

  constructor(slots: Uint8Array) {
    this.slots = slots
  }

  /** Does the check of a slot and writes the verdict into it. */
  answer(index: number, verify: Ed25519["verify"]): void {
    const slots = this.slots
    const at = index * slotSize
    const length = slots[at + lengthAt] | slots[at + lengthAt + 1] << 8
    this.publicKey.set(slots.subarray(at + keyAt, at + signatureAt))
    this.signature.set(slots.subarray(at + signatureAt, at + messageAt))
    this.message.set(slots.subarray(at + messageAt, at + messageAt + length))
    slots[at + verdictAt] = verify(this.publicKey, this.message.subarray(0, length), this.signature) ? 1 : 0
  }
}

/**
 * The worker's end: answers checks as long as the thread lives, and sleeps
 * while there are none. `tell` lets the main thread know that it has something
 * to take, and is not called again before it has taken it.
 *
 * @internal
 */
export const serve = (memory: SharedArrayBuffer, verify: Ed25519["verify"], tell: () => void): never => {
  const lane = new Int32Array(memory, 0, counters)
  const slots = new Uint8Array(memory, slotsAt)
  const mask = slots.length / slotSize - 1
  const slot = new Slot(slots)
  let answered = 0
  while (true) {
    // Being woken is no proof of work: the call that wakes may come after the
    // check that it is for was seen and done.
    while (Atomics.load(lane, submittedAt) === answered) Atomics.wait(lane, submittedAt, answered)
    slot.answer(answered & mask, verify)
    answered = answered + 1 | 0
    Atomics.store(lane, answeredAt, answered)
    const isPause = answered % answersPerTelling === 0 || answered === Atomics.load(lane, submittedAt)
    if (isPause && Atomics.exchange(lane, toldAt, 1) === 0) tell()
  }
}
