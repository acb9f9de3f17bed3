/**
 * The program of the worker thread that locks a node's directory and keeps its
 * state. It executes calls one at a time, in order, and answers each.
 *
 * @since 0.1.0
 */
import { parentPort } from "node:worker_threads"
import * as DirectoryLock from "./directoryLock.ts"
import {
  type Options,
  type Page,
  peek,
  reasonOf,
  type SetAside,
  StateFile,
  type Step,
  type Table
} from "./stateFile.ts"

/**
 * The calls that the worker implements.
 *
 * @internal
 */
export interface Calls {
  readonly lock: (directory: string) => Exclude<DirectoryLock.Outcome, { _tag: "Locked" }> | { readonly _tag: "Locked" }
  readonly unlock: () => void
  readonly open: (options: Options) => SetAside | undefined
  readonly page: (table: Table, from: number) => Page
  readonly fact: (name: string) => string | undefined
  readonly seen: () => ReturnType<StateFile["seen"]>
  readonly write: (steps: ReadonlyArray<Step>, now: number) => void
  readonly backup: () => string
  readonly close: () => void
  readonly peek: (path: string, name: string) => string | undefined
}

/**
 * A call. Its answer carries the same number.
 *
 * @internal
 */
export interface Call {
  readonly number: number
  readonly name: keyof Calls
  readonly args: ReadonlyArray<never>
}

/**
 * @internal
 */
export interface Answer {
  readonly number: number
  readonly result?: unknown
  /** Why the call failed; undefined if it succeeded. */
  readonly failure?: string | undefined
}

let release: (() => void) | undefined
let file: StateFile | undefined
const opened = (): StateFile => {
  if (file === undefined) throw new Error("no file is open")
  return file
}

const calls: Calls = {
  lock: (directory) => {
    const outcome = DirectoryLock.take(directory)
    if (outcome._tag !== "Locked") return outcome
    release = outcome.release
    return { _tag: "Locked" }
  },
  unlock: () => release?.(),
  open: (options) => {
    file = new StateFile(options)
    return file.setAside
  },
  page: (...args) => opened().page(...args),
  fact: (...args) => opened().fact(...args),
  seen: () => opened().seen(),
  write: (...args) => opened().write(...args),
  backup: () => opened().backup(),
  close: () => file?.close(),
  peek
}

parentPort?.on("message", ({ args, name, number }: Call) => {
  const call: (...args: ReadonlyArray<never>) => unknown = calls[name]
  let answer: Answer
  try {
    answer = { number, result: call(...args) }
  } catch (error) {
    answer = { number, failure: reasonOf(error) }
  }
  parentPort?.postMessage(answer)
})
