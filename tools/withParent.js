// Ends a program in order when its terminal is closed, or when the one that started it is gone: npm that is killed
// says nothing to the programs that it runs.
import { isMainThread } from "node:worker_threads"

/** Milliseconds. */
const interval = 250

const end = () => process.kill(process.pid, "SIGTERM")

if (isMainThread) {
  const parent = process.ppid
  const watch = setInterval(() => {
    if (process.ppid === parent) return
    clearInterval(watch)
    end()
  }, interval)
  watch.unref()
  process.once("SIGHUP", end)
}
