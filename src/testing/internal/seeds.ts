/**
 * Text of the two seeds of a run.
 *
 * @since 0.1.0
 */

/**
 * Formats the seeds of a run, as in `seed 7, schedule seed 3`; a schedule seed
 * that is not set is omitted.
 *
 * @internal
 */
export const seedsOf = (
  { scheduleSeed, seed }: { readonly seed: number | string; readonly scheduleSeed?: number | null | undefined }
): string =>
  scheduleSeed === undefined || scheduleSeed === null ? `seed ${seed}` : `seed ${seed}, schedule seed ${scheduleSeed}`
