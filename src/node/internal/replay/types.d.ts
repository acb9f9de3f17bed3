/**
 * Types of the recording as the page uses them, so that a change of it is
 * type-checked against the page.
 */
export type { Band, Change, Datagram, Event, Failure, Happening, Recording } from "../../../testing/Recording.ts"
