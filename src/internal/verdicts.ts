/**
 * Verdicts of checks that are expensive and whose result never changes, such as
 * that of a signature, by the hash of all that was checked.
 *
 * @since 0.1.0
 */
import { RecencyMap } from "./recencyMap.ts"

/**
 * Remembers a bounded number of verdicts. Failures have room of their own,
 * because they are free to make up and would crowd out the rest.
 *
 * @internal
 */
export class Verdicts {
  private readonly valid: RecencyMap<string, true>
  private readonly invalid: RecencyMap<string, true>

  constructor(options: { readonly valid: number; readonly invalid: number }) {
    this.valid = new RecencyMap(options.valid)
    this.invalid = new RecencyMap(options.invalid)
  }

  /** The verdict, if it is known. Counts as a use. */
  of(id: string): boolean | undefined {
    if (this.valid.get(id) !== undefined) return this.valid.use(id, () => true)
    return this.invalid.get(id) === undefined ? undefined : !this.invalid.use(id, () => true)
  }

  remember(id: string, verdict: boolean): void {
    const kept = verdict ? this.valid : this.invalid
    kept.set(id, true)
  }
}
