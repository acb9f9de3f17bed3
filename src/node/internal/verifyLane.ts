/**
 * Memory shared by the main thread and one verifier thread: a ring of checks,
 * written by the main thread and answered in place and in order by the worker.
 *
 * Each side counts the checks it has processed, and a check's slot is its number
 * modulo the size of the ring. The counters wrap around at 2^32, a multiple of
 * the size because that is a power of two.
 *
 * @since 0.1.0
 */
/**
 * A kind of check: who signed is a public key of Ed25519 (32 bytes, a signature
 * has 64) or the address of a wallet (21 bytes, a signature has 65).
 *
 * @internal
 */
export type Kind = "Ed25519" | "Wallet"

const kinds: ReadonlyArray<Kind> = ["Ed25519", "Wallet"]

/** Lengths of the signer and of the signature, in bytes. */
const lengths: { readonly [kind in Kind]: readonly [signer: number, signature: number] } = {
  Ed25519: [32, 64],
  Wallet: [21, 65]
}

/**
 * Checks a signature of its kind.
 *
 * @internal
 */
export type Verify = (kind: Kind, signer: Uint8Array, message: Uint8Array, signature: Uint8Array) => boolean

/**
 * Whether a check has the lengths of its kind and fits into a slot.
 *
 * @internal
 */
export const fits: Verify = (kind, signer, message, signature) =>
  signer.length === lengths[kind][0] && signature.length === lengths[kind][1] && message.length <= maxMessage

/**
 * Maximum message length of a slot, in bytes: the longest datagram.
 *
 * @internal
 */
export const maxMessage = 1200

// Layout of a slot.
const signerAt = 0
const signatureAt = 32
const messageAt = 97
const lengthAt = messageAt + maxMessage
const kindAt = lengthAt + 2
const verdictAt = kindAt + 1
const slotSize = verdictAt + 1

// Layout of the header: 32-bit counters, each in a cache line of its own
// because two threads write them.
const submittedAt = 0
const answeredAt = 16
const toldAt = 32
const counters = 48
const slotsAt = counters * 4

/** Number of answers per notification of the main thread, while more are to come. */
const answersPerTelling = 8

/**
 * Memory for `size` checks, a power of two.
 *
 * @internal
 */
export const allocate = (size: number): SharedArrayBuffer => new SharedArrayBuffer(slotsAt + size * slotSize)

/**
 * The main thread's end of a lane.
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
    this.callbacks = Array.from({ length: size }, () => noop)
  }

  /** Number of checks whose answer has not been delivered. */
  get outstanding(): number {
    return this.submitted - this.taken | 0
  }

  get isFull(): boolean {
    return this.outstanding > this.mask
  }

  /** Submits a check that fits. The caller has made sure that the lane is not full. */
  submit(
    kind: Kind,
    signer: Uint8Array,
    message: Uint8Array,
    signature: Uint8Array,
    done: (valid: boolean) => void
  ): void {
    const index = this.submitted & this.mask
    const at = index * slotSize
    const slots = this.slots
    slots.set(signer, at + signerAt)
    slots.set(signature, at + signatureAt)
    slots.set(message, at + messageAt)
    slots[at + lengthAt] = message.length
    slots[at + lengthAt + 1] = message.length >> 8
    slots[at + kindAt] = kinds.indexOf(kind)
    this.callbacks[index] = done
    this.submitted = this.submitted + 1 | 0
    Atomics.store(this.counters, submittedAt, this.submitted)
    Atomics.notify(this.counters, submittedAt)
  }

  /** Delivers all available answers. */
  take(): void {
    // Cleared first, so that an answer that the loop misses is notified again.
    Atomics.store(this.counters, toldAt, 0)
    while (this.taken !== Atomics.load(this.counters, answeredAt)) {
      const verdict = this.slots[(this.taken & this.mask) * slotSize + verdictAt]
      this.next()(verdict === 1)
    }
  }

  /** Delivers the answers of a terminated worker, and computes the missing ones with `verify`. */
  takeOver(verify: Verify): void {
    const slot = new Slot(this.slots)
    const answered = Atomics.load(this.counters, answeredAt)
    for (let i = answered; i !== this.submitted; i = i + 1 | 0) slot.answer(i & this.mask, verify)
    Atomics.store(this.counters, answeredAt, this.submitted)
    this.take()
  }

  /** Removes the next callback before it runs, since it may throw or reenter this lane. */
  private next(): (valid: boolean) => void {
    const index = this.taken & this.mask
    const done = this.callbacks[index]
    this.callbacks[index] = noop
    this.taken = this.taken + 1 | 0
    return done
  }
}

const noop = (): void => {}

/** A view of one slot at a time, copied out of shared memory because native code may not accept shared buffers. */
class Slot {
  private readonly slots: Uint8Array
  private readonly signer = new Uint8Array(32)
  private readonly signature = new Uint8Array(65)
  private readonly message = new Uint8Array(maxMessage)

  constructor(slots: Uint8Array) {
    this.slots = slots
  }

  /** Verifies the check in a slot and writes the result into it. */
  answer(index: number, verify: Verify): void {
    const slots = this.slots
    const at = index * slotSize
    const length = slots[at + lengthAt] | slots[at + lengthAt + 1] << 8
    const kind = kinds[slots[at + kindAt]]
    const [signerLength, signatureLength] = lengths[kind]
    this.signer.set(slots.subarray(at + signerAt, at + signatureAt))
    this.signature.set(slots.subarray(at + signatureAt, at + messageAt))
    this.message.set(slots.subarray(at + messageAt, at + messageAt + length))
    const valid = verify(
      kind,
      this.signer.subarray(0, signerLength),
      this.message.subarray(0, length),
      this.signature.subarray(0, signatureLength)
    )
    slots[at + verdictAt] = valid ? 1 : 0
  }
}

/**
 * The worker's end of a lane: answers checks for the life of the thread, and
 * sleeps while there are none. `tell` notifies the main thread of answers, at
 * most once until the main thread has taken them.
 *
 * @internal
 */
export const serve = (memory: SharedArrayBuffer, verify: Verify, tell: () => void): never => {
  const lane = new Int32Array(memory, 0, counters)
  const slots = new Uint8Array(memory, slotsAt)
  const mask = slots.length / slotSize - 1
  const slot = new Slot(slots)
  let answered = 0
  while (true) {
    // A wake-up does not imply a new check: this loop may already have
    // answered the check that the notification was for.
    while (Atomics.load(lane, submittedAt) === answered) Atomics.wait(lane, submittedAt, answered)
    slot.answer(answered & mask, verify)
    answered = answered + 1 | 0
    Atomics.store(lane, answeredAt, answered)
    const isPause = answered % answersPerTelling === 0 || answered === Atomics.load(lane, submittedAt)
    if (isPause && Atomics.exchange(lane, toldAt, 1) === 0) tell()
  }
}
