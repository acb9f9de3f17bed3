/**
 * A program of this directory in a process of its own, which exchanges messages
 * with its parent in strict alternation.
 *
 * @since 0.1.0
 */
import { type ChildProcess, fork } from "node:child_process"
import { join } from "node:path"

export class Process<Told, Said> {
  private readonly child: ChildProcess

  constructor(file: string, args: ReadonlyArray<string> = [], nodeOptions: ReadonlyArray<string> = []) {
    this.child = fork(join(import.meta.dirname, file), [...args], { execArgv: [...nodeOptions] })
  }

  /** The next message from the process. */
  next(): Promise<Said> {
    return new Promise((resolve, reject) => {
      const onExit = (code: number | null) => reject(new Error(`a process of the benchmark ended with ${code}`))
      this.child.once("exit", onExit)
      this.child.once("message", (message) => {
        this.child.off("exit", onExit)
        resolve(message as Said)
      })
    })
  }

  /** The reply to a message. */
  ask(message: Told & object): Promise<Said> {
    const said = this.next()
    this.child.send(message)
    return said
  }

  end(): Promise<void> {
    return new Promise((resolve) => {
      this.child.once("exit", () => resolve())
      this.child.disconnect()
    })
  }
}
