/**
 * Text of the two seeds of a run.
 *
 * @since 0.1.0
 */

/**
 * Formats the seeds of a run, as in `seed 7, schedule seed 3` or `seed 7, schedule
 * pct:2:3`; a schedule that is not set is omitted.
 *
 * @internal
 */
export const seedsOf = (
  { scheduleSeed, seed }: { readonly seed: number | string; readonly scheduleSeed?: number | string | null | undefined }
): string =>
  scheduleSeed === undefined || scheduleSeed === null
    ? `seed ${seed}`
    : `seed ${seed}, schedule ${typeof scheduleSeed === "number" ? "seed " : ""}${scheduleSeed}`
