import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"

/** Bytes that JavaScript holds, on its heap and in buffers, once garbage is collected. */
export const heapBytes = (): number => {
  setFlagsFromString("--expose-gc")
  const collect: () => void = runInNewContext("gc")
  // One after the other: buffers are swept while the program goes on, and each collection waits for that of the last.
  for (let i = 0; i < 4; i++) collect()
  const { arrayBuffers, heapUsed } = process.memoryUsage()
  return heapUsed + arrayBuffers
}
