/**
 * The two seeds of a run, for people.
 *
 * @since 0.1.0
 */

/**
 * As in `seed 7, schedule seed 3`; a run without a schedule seed has none to
 * speak of.
 *
 * @internal
 */
export const seedsOf = (
  { scheduleSeed, seed }: { readonly seed: number | string; readonly scheduleSeed?: number | null | undefined }
): string =>
  scheduleSeed === undefined || scheduleSeed === null ? `seed ${seed}` : `seed ${seed}, schedule seed ${scheduleSeed}`
