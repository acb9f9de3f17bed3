/**
 * The size of V8's young generation, where objects are allocated first.
 *
 * V8 lets it grow with what survives, not with what is live: to 128 MiB within
 * seconds, which is more than all records of a full store. A node keeps little
 * of what a request allocates, and takes as much processor time without growth.
 *
 * @since 0.1.0
 */
import { setFlagsFromString } from "node:v8"

/** V8's own factor. */
const usualGrowth = 2

/**
 * The flag is read whenever the generation might grow, so it can be set at any
 * time; V8 ignores it among the options of Node. Other runtimes refuse it.
 */
const setGrowth = (factor: number): void => {
  if (process.versions.deno !== undefined || process.versions.bun !== undefined) return
  setFlagsFromString(`--semi-space-growth-factor=${factor}`)
}

/**
 * Keeps the young generation as small as it is, for a long-running node.
 *
 * @internal
 */
export const keepSmall = (): void => setGrowth(1)

/**
 * Lets it grow, for a program with many nodes: their datagrams in flight are
 * young garbage.
 *
 * @internal
 */
export const letGrow = (): void => setGrowth(usualGrowth)
