import type { Story } from "../../src/testing/internal/story.ts"

/** A short story with a schedule of its own. */
export const story: Story = {
  seed: 1,
  scheduleSeed: "pct:2:3:5000",
  nodes: 3,
  latency: 20,
  loss: 0,
  duplication: 0,
  happenings: [{ at: 1, deed: { do: "crash", node: 4 } }]
}
