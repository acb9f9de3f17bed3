// Ends the program in order when the one that started it is gone: npm is killed, or its terminal closed, without a word
// to the programs that it runs.
import { isMainThread } from "node:worker_threads"

/** Milliseconds. */
const interval = 250

if (isMainThread) {
  const parent = process.ppid
  const watch = setInterval(() => {
    if (process.ppid === parent) return
    clearInterval(watch)
    process.kill(process.pid, "SIGTERM")
  }, interval)
  watch.unref()
}
