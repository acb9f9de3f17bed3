/**
 * A task that runs in turns of the event loop while there is work for it. A fiber
 * that waits and is woken for each datagram costs as much as reading one.
 *
 * @since 0.1.0
 */
import type * as Scheduler from "effect/Scheduler"

/**
 * Runs the task at once when it is woken after a pause. After each run it rests until
 * the event loop has turned, so that what arrives meanwhile is read before the next one.
 *
 * @internal
 */
export class Turns {
  private readonly dispatcher: Scheduler.SchedulerDispatcher
  private readonly task: () => boolean
  private state: "new" | "idle" | "resting" | "closed" = "new"
  private isWanted = false

  /** `task` returns whether there is more to do at once. It must not throw. */
  constructor(dispatcher: Scheduler.SchedulerDispatcher, task: () => boolean) {
    this.dispatcher = dispatcher
    this.task = task
  }

  /** Says that there may be work. Before the start it waits. */
  wake(): void {
    this.isWanted = true
    if (this.state === "idle") this.run()
  }

  /** Begins with the next turn; does nothing if that was called before. */
  start(): void {
    if (this.state !== "new") return
    this.state = "resting"
    this.dispatcher.scheduleTask(this.next, 0)
  }

  /** Ends all runs. */
  close(): void {
    this.state = "closed"
  }

  private run(): void {
    this.state = "resting"
    this.isWanted = this.task()
    this.dispatcher.scheduleTask(this.next, 0)
  }

  private readonly next = (): void => {
    if (this.state !== "resting") return
    this.state = "idle"
    if (this.isWanted) this.run()
  }
}
