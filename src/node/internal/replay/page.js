/**
 * Shows a recording: lanes of nodes with the datagrams between them, the events
 * around a cursor, and the state of a node at that moment. Texts of the recording
 * are untrusted; they become text, never markup.
 */

/** @import * as Types from "./types.d.ts" */
/**
 * A point of the diagram, in CSS pixels.
 *
 * @typedef {{ readonly x: number, readonly y: number }} Point
 */
/**
 * A row of a table or a store at the cursor.
 *
 * @typedef {{ readonly cells: ReadonlyArray<string>, readonly change: "new" | "gone" | undefined }} Row
 */

// --- The recording ---------------------------------------------------------------

/**
 * @template {HTMLElement} E
 * @param {string} id
 * @param {new () => E} type
 */
const byId = (id, type) => {
  const element = document.getElementById(id)
  if (!(element instanceof type)) throw new Error(`The page has no #${id}`)
  return element
}

/** @type {Types.Recording} */
const recording = JSON.parse(byId("recording", HTMLScriptElement).textContent ?? "")
const { bands, changes, end, events, failures, machines, omitted } = recording

/** @param {number} millis */
const clock = (millis) => {
  const whole = Math.floor(millis)
  const two = (/** @type {number} */ n) => String(n).padStart(2, "0")
  const seconds = Math.floor(whole / 1000)
  return `${two(Math.floor(seconds / 3600))}:${two(Math.floor(seconds / 60) % 60)}:${two(seconds % 60)}.${
    String(whole % 1000).padStart(3, "0")
  }`
}

/** @param {number} millis */
const span = (millis) => millis < 1000 ? `${Math.round(millis * 10) / 10} ms` : `${Math.round(millis / 100) / 10} s`

/** @param {number | null} machine */
const nameOf = (machine) => machine === null ? "elsewhere" : machines[machine].name

/** @param {Types.Event} event */
const lanesOf = (event) =>
  (event.kind === "datagram" ? [event.from, event.to] : [event.machine]).filter((lane) => lane !== null)

/** @param {Types.Event} event */
const isPing = (event) => event.kind === "datagram" && (event.type === "Ping" || event.type === "Pong")

/** @param {Types.Event} event */
const textOf = (event) =>
  event.kind === "datagram"
    ? `${nameOf(event.from)} › ${nameOf(event.to)}: ${event.type}${event.what === "" ? "" : ` ${event.what}`}` +
      (event.outcome === "delivered" ? "" : ` × ${event.outcome}`)
    : event.kind === "step" || event.machine === null || event.what.includes(nameOf(event.machine))
    ? event.what
    : `${nameOf(event.machine)}: ${event.what}`

/** The events with each transaction. */
const conversations = new Map()
for (const [i, event] of events.entries()) {
  if (event.kind !== "datagram" || event.transaction === null) continue
  conversations.set(event.transaction, [...conversations.get(event.transaction) ?? [], i])
}

/** The longest flight of a datagram, in milliseconds. */
const longest = events.reduce(
  (longest, event) => event.kind === "datagram" ? Math.max(longest, event.at - event.sentAt) : longest,
  0
)

/**
 * The position of the first item that is not before; the length if there is none.
 *
 * @template A
 * @param {ReadonlyArray<A>} items
 * @param {(item: A) => boolean} isBefore
 */
const firstNot = (items, isBefore) => {
  let [low, high] = [0, items.length]
  while (low < high) {
    const middle = (low + high) >> 1
    if (isBefore(items[middle])) low = middle + 1
    else high = middle
  }
  return low
}

// --- Time --------------------------------------------------------------------------

/** The moments at which something happens, and their places: gaps grow with the logarithm of their duration. */
const moments = Array.from(
  new Set([0, end, ...events.flatMap((event) => event.kind === "datagram" ? [event.sentAt, event.at] : [event.at])])
).sort((a, b) => a - b)
const places = [0]
for (let i = 1; i < moments.length; i++) {
  places.push(places[i - 1] + 3 + 9 * Math.log2(1 + (moments[i] - moments[i - 1]) / 2))
}

/** @param {number} at */
const placeOf = (at) => {
  const i = Math.min(firstNot(moments, (moment) => moment < at), moments.length - 1)
  if (i === 0 || moments[i] <= at) return places[i]
  const share = (at - moments[i - 1]) / (moments[i] - moments[i - 1])
  return places[i - 1] + share * (places[i] - places[i - 1])
}

/** @param {number} place */
const momentAt = (place) => {
  const i = Math.min(firstNot(places, (other) => other < place), places.length - 1)
  if (i === 0 || places[i] <= place) return moments[i]
  const share = (place - places[i - 1]) / (places[i] - places[i - 1])
  return moments[i - 1] + share * (moments[i] - moments[i - 1])
}

const whole = Math.max(1, places[places.length - 1])

// --- What is shown -----------------------------------------------------------------

const view = {
  cursor: 0,
  machine: 0,
  failure: 0,
  withPings: true,
  /** The place at the left edge, and CSS pixels per unit of place. */
  left: 0,
  zoom: 1
}

const steps = events.flatMap((event, i) => event.kind === "step" ? [i] : [])

/** The events that the shown failure rests on; without a failure, the steps of the story. */
let marked = new Set(failures[0]?.events ?? steps)

const failureIndex = () => {
  const failure = failures[view.failure]
  return failure === undefined ? events.length - 1 : Math.max(0, firstNot(events, ({ at }) => at <= failure.at) - 1)
}

/** @param {number} i */
const isShown = (i) => view.withPings || !isPing(events[i]) || marked.has(i)

// --- Canvases ------------------------------------------------------------------------

const overview = byId("overview", HTMLCanvasElement)
const canvas = byId("lanes", HTMLCanvasElement)

const top = 62
const bottom = 14
const laneHeight = Math.max(18, Math.min(38, 460 / Math.max(1, machines.length)))
const height = top + machines.length * laneHeight + bottom

/** @param {number} lane */
const yOf = (lane) => top + (lane + 0.5) * laneHeight

/** The width of the names on the left, in CSS pixels. */
let gutter = 90

/** @param {number} at */
const xOf = (at) => gutter + 8 + (placeOf(at) - view.left) * view.zoom

/** The width of the diagram to the right of the names. */
const widthOf = () => Math.max(50, canvas.clientWidth - gutter - 8)

/** @type {Record<string, string>} */
let colors = {}
const readColors = () => {
  const style = getComputedStyle(document.documentElement)
  const names = "paper card sunk ink soft hair find store ping other lost marked wait look split split2 down"
  colors = Object.fromEntries(names.split(" ").map((name) => [name, style.getPropertyValue(`--${name}`).trim()]))
}

/**
 * The context of a canvas, cleared, in CSS pixels.
 *
 * @param {HTMLCanvasElement} canvas
 * @param {number} height
 */
const blank = (canvas, height) => {
  const context = canvas.getContext("2d")
  if (context === null) throw new Error("The browser has no canvas")
  const ratio = window.devicePixelRatio || 1
  const width = canvas.clientWidth
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio)
    canvas.height = Math.round(height * ratio)
    canvas.style.height = `${height}px`
  }
  context.setTransform(ratio, 0, 0, ratio, 0, 0)
  context.clearRect(0, 0, width, height)
  context.font = "11px system-ui, sans-serif"
  context.textBaseline = "middle"
  return context
}

/** @param {Types.Datagram} datagram */
const colorOf = ({ outcome, type }) =>
  outcome !== "delivered"
    ? colors.lost
    : type === "Ping" || type === "Pong"
    ? colors.ping
    : type.startsWith("Find")
    ? colors.find
    : type.startsWith("Store") || type.startsWith("Push")
    ? colors.store
    : type === "malformed" || type === "Notice"
    ? colors.lost
    : colors.other

/**
 * The ends of the arrow of a datagram. One that is dropped when it is sent ends
 * on its way.
 *
 * @param {Types.Datagram} datagram
 * @returns {readonly [Point, Point]}
 */
const arrowOf = ({ at, from, outcome, sentAt, to }) => {
  const start = { x: xOf(sentAt), y: from === null ? top - 8 : yOf(from) }
  const target = to === null ? start.y + laneHeight * 0.6 : yOf(to)
  if (outcome === "delivered" || at > sentAt) return [start, { x: xOf(at), y: to === null ? target : yOf(to) }]
  return [start, { x: start.x + 14, y: start.y + (target - start.y) * 0.45 }]
}

/** The numbers of the events in the window. */
const visible = () => {
  const from = momentAt(view.left - 20 / view.zoom)
  const to = momentAt(view.left + (widthOf() + 20) / view.zoom) + longest
  const first = firstNot(events, ({ at }) => at < from)
  const last = firstNot(events, ({ at }) => at <= to)
  /** With more arrows than pixels can show, every n-th is drawn, and all that matter. */
  const stride = Math.max(1, Math.ceil((last - first) / 2000))
  const found = []
  for (let i = first; i < last; i++) {
    if (isShown(i) && (i % stride === 0 || marked.has(i) || events[i].kind !== "datagram")) found.push(i)
  }
  return found
}

/** Draws texts where no other is yet. */
class Labels {
  /** @type {Array<readonly [x: number, y: number, width: number]>} */
  drawn = []

  /** @param {CanvasRenderingContext2D} context */
  constructor(context) {
    this.context = context
  }

  /**
   * @param {string} text
   * @param {number} x
   * @param {number} y
   * @param {string} color
   * @param {number} most
   */
  draw(text, x, y, color, most = 260) {
    const { context } = this
    let short = text
    while (short.length > 4 && context.measureText(short).width > most) short = `${short.slice(0, -3)}…`
    const width = context.measureText(short).width
    if (x + width > canvas.clientWidth - 2) x = Math.max(gutter + 4, canvas.clientWidth - 4 - width)
    if (this.drawn.some(([x2, y2, width2]) => Math.abs(y - y2) < 13 && x < x2 + width2 + 6 && x2 < x + width + 6)) {
      return false
    }
    this.drawn.push([x, y, width])
    context.globalAlpha = 0.88
    context.fillStyle = colors.card
    context.fillRect(x - 2, y - 7, width + 4, 14)
    context.globalAlpha = 1
    context.fillStyle = color
    context.fillText(short, x, y)
    return true
  }
}

/** Arrows of one color and width, drawn at once: thousands of separate strokes would take longer than a frame. */
class Arrows {
  lines = new Path2D()
  heads = new Path2D()
  crosses = new Path2D()

  /**
   * @param {Point} from
   * @param {Point} to
   * @param {boolean} isLost
   * @param {boolean} withHead
   */
  add(from, to, isLost, withHead) {
    this.lines.moveTo(from.x, from.y)
    this.lines.lineTo(to.x, to.y)
    if (!withHead) return
    if (isLost) {
      for (const side of [-1, 1]) {
        this.crosses.moveTo(to.x - 4, to.y - 4 * side)
        this.crosses.lineTo(to.x + 4, to.y + 4 * side)
      }
      return
    }
    const angle = Math.atan2(to.y - from.y, to.x - from.x)
    this.heads.moveTo(to.x, to.y)
    for (const side of [-0.4, 0.4]) {
      this.heads.lineTo(to.x - 8 * Math.cos(angle + side), to.y - 8 * Math.sin(angle + side))
    }
    this.heads.closePath()
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {string} color
   * @param {number} width
   */
  draw(context, color, width) {
    context.strokeStyle = color
    context.fillStyle = color
    context.lineWidth = width
    context.setLineDash(color === colors.lost ? [4, 3] : [])
    context.stroke(this.lines)
    context.setLineDash([])
    context.stroke(this.crosses)
    context.fill(this.heads)
  }
}

/** @param {CanvasRenderingContext2D} context */
const drawBands = (context) => {
  const right = canvas.clientWidth
  const [from, to] = [momentAt(view.left), momentAt(view.left + widthOf() / view.zoom)]
  context.fillStyle = colors.down
  for (const lane of machines.keys()) context.fillRect(gutter, yOf(lane) - laneHeight / 2 + 2, right, laneHeight - 4)
  /** @type {Map<string, number>} */
  const sides = new Map()
  const rows = machines.map(() => 0)
  const seen = bands.filter((band) => band.to >= from && band.from <= to)
  const isDense = seen.length > 1000
  for (const kind of ["up", "partition", "request", "lookup", "cut", "clock"]) {
    for (const band of seen) {
      if (band.kind !== kind) continue
      const x = Math.max(gutter, xOf(band.from))
      const width = Math.max(1.5, Math.min(right, xOf(band.to)) - x)
      const y = yOf(band.machine)
      if (kind === "up") {
        context.fillStyle = colors.card
        context.fillRect(x, y - laneHeight / 2 + 2, width, laneHeight - 4)
      } else if (kind === "partition") {
        const side = sides.get(band.what) ?? sides.size
        sides.set(band.what, side)
        context.fillStyle = side % 2 === 0 ? colors.split : colors.split2
        context.fillRect(x, y - laneHeight / 2 + 1, width, laneHeight - 2)
      } else if (isDense && width < 3) {
        continue
      } else if (kind === "request") {
        context.fillStyle = band.isGood ? colors.wait : colors.lost
        context.globalAlpha = band.isGood ? 0.55 : 1
        context.fillRect(x, y + 4 + (rows[band.machine]++ % 3) * 3, width, 2)
        context.globalAlpha = 1
      } else if (kind === "lookup") {
        context.fillStyle = colors.look
        context.globalAlpha = band.isGood ? 0.6 : 1
        context.fillRect(x, y - 7, width, 3)
        context.globalAlpha = 1
      } else {
        context.strokeStyle = kind === "cut" ? colors.lost : colors.other
        context.setLineDash(kind === "cut" ? [2, 4] : [8, 3])
        context.lineWidth = 2
        context.beginPath()
        context.moveTo(x, y + laneHeight / 2 - 3)
        context.lineTo(x + width, y + laneHeight / 2 - 3)
        context.stroke()
        context.setLineDash([])
      }
    }
  }
  context.strokeStyle = colors.hair
  context.lineWidth = 1
  for (const lane of machines.keys()) {
    context.beginPath()
    context.moveTo(gutter, yOf(lane))
    context.lineTo(right, yOf(lane))
    context.stroke()
  }
  return seen
}

/** Marks times on the upper edge, at least 110 pixels apart. */
const drawTimes = (/** @type {CanvasRenderingContext2D} */ context) => {
  context.fillStyle = colors.soft
  context.strokeStyle = colors.hair
  context.lineWidth = 1
  for (let x = gutter + 8; x < canvas.clientWidth - 70; x += 110) {
    const at = momentAt(view.left + (x - gutter - 8) / view.zoom)
    context.fillText(clock(at), x, 10)
    context.beginPath()
    context.moveTo(x - 3.5, 4)
    context.lineTo(x - 3.5, height)
    context.stroke()
  }
}

const draw = () => {
  const context = blank(canvas, height)
  const labels = new Labels(context)
  const current = events[view.cursor]
  const conversation = new Set(
    current?.kind === "datagram" ? conversations.get(current.transaction) ?? [view.cursor] : [view.cursor]
  )
  const shown = visible()
  context.save()
  context.beginPath()
  context.rect(gutter, 0, canvas.clientWidth, height)
  context.clip()
  const seen = drawBands(context)
  drawTimes(context)

  const failure = failures[view.failure]
  if (failure !== undefined) {
    const x = xOf(failure.at)
    context.strokeStyle = colors.marked
    context.lineWidth = 2
    context.beginPath()
    context.moveTo(x, 34)
    context.lineTo(x, height)
    context.stroke()
    if (failure.machine !== null) {
      context.beginPath()
      context.arc(x, yOf(failure.machine), 8, 0, 7)
      context.stroke()
    }
    if (x > gutter && x < canvas.clientWidth) {
      context.font = "600 12px system-ui, sans-serif"
      labels.draw(failure.title, x + 6, 27, colors.marked)
      context.font = "11px system-ui, sans-serif"
    }
  }
  if (current !== undefined) {
    context.strokeStyle = colors.ink
    context.lineWidth = 1
    context.globalAlpha = 0.5
    context.beginPath()
    context.moveTo(xOf(current.at), 18)
    context.lineTo(xOf(current.at), height)
    context.stroke()
    context.globalAlpha = 1
  }

  const isClose = widthOf() / Math.max(1, shown.length) > 22
  const withHeads = shown.length < 1000
  /** @type {Map<string, Arrows>} */
  const plain = new Map()
  /** @type {Array<() => void>} */
  const special = []
  /** @type {Array<readonly [rank: number, draw: () => void]>} */
  const texts = []
  for (const i of shown) {
    const event = events[i]
    const [isMarked, isCurrent] = [marked.has(i), conversation.has(i)]
    if (event.kind === "datagram") {
      const [from, to] = arrowOf(event)
      const isLost = event.outcome !== "delivered"
      const color = colorOf(event)
      if (isMarked || isCurrent) {
        special.push(() => {
          const arrow = new Arrows()
          arrow.add(from, to, isLost, true)
          if (isMarked) {
            context.globalAlpha = 0.28
            context.strokeStyle = colors.marked
            context.lineWidth = 9
            context.stroke(arrow.lines)
            context.globalAlpha = 1
          }
          arrow.draw(context, color, isCurrent ? 2.6 : 2)
        })
      } else {
        const arrows = plain.get(color) ?? new Arrows()
        plain.set(color, arrows)
        arrows.add(from, to, isLost, withHeads)
      }
      if (isMarked || isCurrent || isClose && !isPing(event)) {
        const text = `${event.type} ${event.what}`.trim()
        const rank = isCurrent ? 0 : isMarked ? 1 : 2
        texts.push([rank, () =>
          labels.draw(
            text,
            (from.x + to.x) / 2 + 5,
            (from.y + to.y) / 2 - 4,
            isCurrent ? colors.ink : color,
            rank === 2 ? 110 : 230
          )])
      }
    } else {
      const x = xOf(event.at)
      const y = event.machine === null || event.kind === "step" ? 44 : yOf(event.machine)
      const color = event.kind === "node" ? colors.wait : event.kind === "step" ? colors.marked : colors.ink
      context.fillStyle = isMarked ? colors.marked : color
      context.beginPath()
      if (event.kind === "node") context.rect(x - 1.5, y - 5, 3, 10)
      else if (event.kind === "step") {
        for (const [dx, dy] of [[0, -6], [6, 0], [0, 6], [-6, 0]]) context.lineTo(x + dx, y + dy)
      } else context.arc(x, y, 4.5, 0, 7)
      context.fill()
      if (event.kind === "step" && event.machine !== null) {
        context.strokeStyle = colors.marked
        context.lineWidth = 1
        context.setLineDash([1, 3])
        context.beginPath()
        context.moveTo(x, 50)
        context.lineTo(x, yOf(event.machine))
        context.stroke()
        context.setLineDash([])
      }
      if (event.kind !== "node" || isMarked || isCurrent) {
        texts.push([
          event.kind === "step" ? -1 : isCurrent ? 0 : 1,
          () => labels.draw(event.kind === "step" ? event.what : textOf(event), x + 8, y, colors.ink, 220)
        ])
      }
    }
  }
  context.globalAlpha = withHeads ? 0.7 : 0.25
  for (const [color, arrows] of plain) arrows.draw(context, color, 1.2)
  context.globalAlpha = 1
  for (const draw of special) draw()
  for (const [, draw] of texts.sort(([a], [b]) => a - b)) draw()
  /** The sides of partitions that are named; each is once. */
  const named = new Set()
  for (const band of seen) {
    if (!["partition", "cut", "clock"].includes(band.kind)) continue
    const side = `${band.from} ${band.what}`
    if (band.kind === "partition" && named.has(side)) continue
    named.add(side)
    labels.draw(
      band.kind === "partition" ? `separated: ${band.what}` : band.what,
      Math.max(gutter, xOf(band.from)) + 4,
      yOf(band.machine) + laneHeight / 2 - 7,
      band.kind === "cut" ? colors.lost : colors.soft,
      180
    )
  }
  for (const lane of current === undefined ? [] : lanesOf(current)) {
    context.fillStyle = colors.ink
    context.beginPath()
    context.arc(xOf(current.at), yOf(lane), 3.5, 0, 7)
    context.fill()
  }
  context.restore()

  for (const [lane, { isBehindRouter, name }] of machines.entries()) {
    context.font = `${lane === view.machine ? "700 " : ""}12px system-ui, sans-serif`
    context.fillStyle = lane === failure?.machine ? colors.marked : lane === view.machine ? colors.ink : colors.soft
    if (lane === view.machine) context.fillRect(0, yOf(lane) - laneHeight / 2 + 3, 3, laneHeight - 6)
    const text = name.length > gutter / 7 ? `${name.slice(0, Math.floor(gutter / 7) - 1)}…` : name
    context.fillText(text + (isBehindRouter && gutter > 90 ? " (NAT)" : ""), 8, yOf(lane))
  }
  context.font = "11px system-ui, sans-serif"
  context.fillStyle = colors.soft
  context.fillText("story", 8, 44)
}

/** The number of datagrams per pixel of the overview, for its width. */
let histogram = { width: 0, counts: /** @type {Array<number>} */ ([]) }

const drawOverview = () => {
  const height = 44
  const context = blank(overview, height)
  const width = overview.clientWidth
  if (histogram.width !== width) {
    histogram = { width, counts: Array.from({ length: width + 1 }, () => 0) }
    for (const { at } of events) histogram.counts[Math.round(placeOf(at) / whole * width)]++
  }
  const most = Math.max(1, ...histogram.counts)
  context.beginPath()
  for (const [x, count] of histogram.counts.entries()) {
    const tall = Math.sqrt(count / most) * (height - 12)
    context.rect(x, height - tall, 1, tall)
  }
  context.fillStyle = colors.ping
  context.fill()
  const xIn = (/** @type {number} */ at) => placeOf(at) / whole * width
  for (const band of bands) {
    if (band.kind !== "partition") continue
    context.fillStyle = colors.wait
    context.fillRect(xIn(band.from), height - 4, Math.max(2, xIn(band.to) - xIn(band.from)), 4)
  }
  for (const i of marked) {
    context.fillStyle = colors.marked
    context.globalAlpha = events[i].kind === "step" ? 1 : 0.6
    context.fillRect(xIn(events[i].at) - 1, 0, 2, events[i].kind === "step" ? 12 : 8)
  }
  context.globalAlpha = 1
  const failure = failures[view.failure]
  if (failure !== undefined) {
    context.fillStyle = colors.marked
    context.fillRect(xIn(failure.at) - 1.5, 0, 3, height)
  }
  const from = view.left / whole * width
  const window = Math.max(4, widthOf() / view.zoom / whole * width)
  context.globalAlpha = 0.14
  context.fillStyle = colors.find
  context.fillRect(from, 0, window, height)
  context.globalAlpha = 1
  context.strokeStyle = colors.find
  context.lineWidth = 1.5
  context.strokeRect(from + 0.5, 0.75, window, height - 1.5)
  if (events[view.cursor] !== undefined) {
    context.fillStyle = colors.ink
    context.fillRect(xIn(events[view.cursor].at) - 0.5, 0, 1, height)
  }
}

// --- Texts -----------------------------------------------------------------------------

/**
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {string} [text]
 * @param {ReadonlyArray<Node>} [children]
 */
const h = (tag, text, children = []) => {
  const element = document.createElement(tag)
  if (text !== undefined) element.textContent = text
  element.append(...children)
  return element
}

/**
 * @param {string} text
 * @param {() => void} act
 */
const button = (text, act) => {
  const element = h("button", text)
  element.type = "button"
  element.addEventListener("click", act)
  return element
}

/**
 * A button with the time and the text of an event.
 *
 * @param {number} i
 */
const eventButton = (i) => {
  const element = button("", () => go(i))
  element.append(h("time", clock(events[i].at)), h("span", textOf(events[i])))
  return element
}

const showHeader = () => {
  const failure = failures[view.failure]
  document.title = `${recording.title} · effect-dht replay`
  byId("failure", HTMLDivElement).classList.toggle("none", failure === undefined)
  byId("kicker", HTMLElement).textContent = failure === undefined
    ? "Nothing failed"
    : `${failure.machine === null ? "The run" : nameOf(failure.machine)}, at ${clock(failure.at)}`
  byId("title", HTMLElement).textContent = failure === undefined ? recording.title : failure.title
  byId("sentence", HTMLElement).textContent = failure === undefined
    ? "Every property holds in this world."
    : failure.sentence
  byId("facts", HTMLElement).replaceChildren(
    ...(failure?.facts ?? []).map(([name, value]) => h("div", undefined, [h("dt", name), h("dd", value)]))
  )
  const others = byId("failures", HTMLDivElement)
  others.hidden = failures.length < 2
  others.replaceChildren(...failures.map(({ machine, title }, i) => {
    const element = button(machine === null ? title : `${title}, ${nameOf(machine)}`, () => {
      view.failure = i
      marked = new Set(failures[i].events)
      showHeader()
      go(failureIndex())
    })
    element.setAttribute("aria-pressed", String(i === view.failure))
    return element
  }))
}

const showStory = () => {
  const isTold = steps.length > 0
  byId("world", HTMLElement).textContent = recording.story.filter((line) => !isTold || !/^ {2}at /.test(line)).join(
    "; "
  )
  byId("steps", HTMLElement).replaceChildren(...steps.map((i) => h("li", undefined, [eventButton(i)])))
  byId("command", HTMLElement).textContent = recording.command
}

/** @type {ReadonlyArray<ReadonlyArray<Types.Change>>} */
const changesOf = machines.map((_, machine) => changes.filter((change) => change.machine === machine))

/**
 * The rows of a part of a node's state at the end of the cursor's instant, and
 * those that this instant changed.
 *
 * @param {Types.Change["part"]} part
 * @returns {ReadonlyArray<Row>}
 */
const rowsAt = (part) => {
  const at = events[view.cursor]?.at ?? 0
  const last = firstNot(events, (event) => event.at <= at) - 1
  const first = firstNot(events, (event) => event.at < at)
  /** @type {Map<string, Row>} */
  const rows = new Map()
  for (const { after, key, part: of, row } of changesOf[view.machine] ?? []) {
    if (after > last) break
    if (of !== part) continue
    const isNow = after >= first
    if (row !== null) rows.set(key, { cells: row, change: isNow ? "new" : undefined })
    else if (isNow) rows.set(key, { cells: rows.get(key)?.cells ?? [], change: "gone" })
    else rows.delete(key)
  }
  return [...rows.values()]
}

/** @param {Types.Change["part"]} part */
const showRows = (part) => {
  const rows = rowsAt(part)
  byId(`${part}-count`, HTMLElement).textContent = String(rows.filter(({ change }) => change !== "gone").length)
  const shown = rows.map(({ cells, change }) => {
    const row = h("tr", undefined, cells.map((cell) => h("td", cell)))
    if (change !== undefined) row.className = change
    return row
  })
  const empty = h("td", "empty")
  empty.className = "empty"
  byId(part, HTMLTableElement).tBodies[0].replaceChildren(...(shown.length > 0 ? shown : [h("tr", undefined, [empty])]))
}

const showState = () => {
  const machine = machines[view.machine]
  if (machine === undefined) return
  const at = events[view.cursor]?.at ?? 0
  const now = bands.filter((band) => band.machine === view.machine && band.from <= at && at < band.to)
  byId("machine", HTMLSelectElement).value = String(view.machine)
  const isUp = now.some(({ kind }) => kind === "up")
  const special = now.flatMap(({ kind, what }) =>
    kind === "partition" ? [`separated: ${what}`] : kind === "cut" || kind === "clock" ? [what] : []
  )
  byId("status", HTMLElement).textContent = [
    isUp ? "up" : "down",
    ...special,
    machine.socket,
    `id ${machine.id.slice(0, 16)}…`
  ]
    .join(" · ")
  const pending = now.filter(({ kind }) => kind === "request" || kind === "lookup")
  byId("pending-count", HTMLElement).textContent = String(pending.length)
  const items = pending.map(({ from, isGood, kind, to, what }) =>
    h(
      "li",
      `${what.replace(/: .*/, "")} · since ${span(at - from)}, ${
        isGood ? kind === "request" ? "answered" : "ends" : "fails"
      } in ${span(to - at)}`
    )
  )
  const empty = h("li", "nothing")
  empty.className = "empty"
  byId("pending", HTMLElement).replaceChildren(...(items.length > 0 ? items : [empty]))
  showRows("table")
  showRows("store")
}

/** Events listed before and after the cursor. */
const around = matchMedia("(max-width: 800px)").matches ? 4 : 7

const showEvents = () => {
  const event = events[view.cursor]
  const now = byId("now", HTMLDivElement)
  const near = byId("near", HTMLElement)
  const position = byId("position", HTMLOutputElement)
  if (event === undefined) {
    position.textContent = "no events"
    return
  }
  position.textContent = `${omitted + view.cursor + 1} of ${omitted + events.length} · ${clock(event.at)}`
  const facts = event.kind === "datagram"
    ? `sent ${clock(event.sentAt)}, ${event.outcome}${
      event.at > event.sentAt ? ` after ${span(event.at - event.sentAt)}` : ""
    }, ${event.bytes} bytes${event.isInSession ? ", in a session" : ""}`
    : { step: "a step of the story", change: "a change of the world", node: "an event of the node" }[event.kind]
  const others = event.kind === "datagram" && event.transaction !== null
    ? (conversations.get(event.transaction) ?? []).filter((/** @type {number} */ i) => i !== view.cursor)
    : []
  now.replaceChildren(
    h("b", textOf(event)),
    h("span", `${facts}${failures.length > 0 && marked.has(view.cursor) ? " · the failure rests on it" : ""}`),
    ...(others.length === 0 ? [] : [h("br")]),
    ...others.slice(0, 6).map((/** @type {number} */ i) => {
      const other = events[i]
      const isLater = i > view.cursor
      return button(
        `${isLater ? "›" : "‹"} ${other.kind === "datagram" ? other.type : ""} ${span(Math.abs(other.at - event.at))}`,
        () => go(i)
      )
    })
  )
  const before = []
  for (let i = view.cursor - 1; i >= 0 && before.length < around; i--) if (isShown(i)) before.unshift(i)
  const after = []
  for (let i = view.cursor + 1; i < events.length && after.length < around; i++) if (isShown(i)) after.push(i)
  near.replaceChildren(...[...before, view.cursor, ...after].map((i) => {
    const event = events[i]
    const item = h("li", undefined, [eventButton(i)])
    if (marked.has(i)) item.classList.add("marked")
    if (event.kind === "datagram" && event.outcome !== "delivered") item.classList.add("dropped")
    if (i === view.cursor) item.firstElementChild?.setAttribute("aria-current", "true")
    return item
  }))
}

// --- Moving ------------------------------------------------------------------------------

let isWaiting = false
/** Draws once per frame, however often it is called. */
const paint = () => {
  if (isWaiting) return
  isWaiting = true
  requestAnimationFrame(() => {
    isWaiting = false
    gutter = canvas.clientWidth < 600 ? 62 : 96
    const seen = widthOf() / view.zoom
    view.left = seen >= whole ? 0 : Math.min(whole - seen * 0.5, Math.max(-0.1 * seen, view.left))
    draw()
    drawOverview()
  })
}

/** @param {number} i */
const go = (i) => {
  const count = events.length
  if (count === 0) return paint()
  view.cursor = Math.max(0, Math.min(count - 1, i))
  const x = (placeOf(events[view.cursor].at) - view.left) * view.zoom
  const width = widthOf()
  if (x < width * 0.08 || x > width * 0.8) {
    view.left = placeOf(events[view.cursor].at) -
      width * (Math.abs(x) > 2 * width ? 0.55 : x < width * 0.08 ? 0.7 : 0.2) / view.zoom
  }
  showEvents()
  showState()
  paint()
}

/**
 * Goes to the next event in a direction that matches.
 *
 * @param {1 | -1} by
 * @param {(i: number) => boolean} matches
 */
const seek = (by, matches) => {
  for (let i = view.cursor + by; i >= 0 && i < events.length; i += by) if (matches(i)) return go(i)
}

/** @param {number} machine */
const choose = (machine) => {
  view.machine = Math.max(0, Math.min(machines.length - 1, machine))
  showState()
  paint()
}

/**
 * Zooms, and keeps a place of the window where it is.
 *
 * @param {number} factor
 * @param {number} [x]
 */
const zoom = (factor, x) => {
  const at = x ?? (events[view.cursor] === undefined ? 0 : (placeOf(events[view.cursor].at) - view.left) * view.zoom)
  const place = view.left + at / view.zoom
  view.zoom = Math.max(widthOf() / whole * 0.8, Math.min(8, view.zoom * factor))
  view.left = place - at / view.zoom
  paint()
}

const all = () => {
  view.zoom = widthOf() / whole * 0.97
  view.left = 0
  paint()
}

/** @type {Record<string, (event: KeyboardEvent) => void>} */
const keys = {
  ArrowRight: ({ shiftKey }) => seek(1, (i) => isShown(i) && (!shiftKey || lanesOf(events[i]).includes(view.machine))),
  ArrowLeft: ({ shiftKey }) => seek(-1, (i) => isShown(i) && (!shiftKey || lanesOf(events[i]).includes(view.machine))),
  ArrowDown: () => choose(view.machine + 1),
  ArrowUp: () => choose(view.machine - 1),
  Home: () => go(0),
  End: () => go(events.length - 1),
  n: () => seek(1, (i) => marked.has(i)),
  p: () => seek(-1, (i) => marked.has(i)),
  v: () => go(failureIndex()),
  "+": () => zoom(1.5),
  "=": () => zoom(1.5),
  "-": () => zoom(1 / 1.5),
  "0": all
}

document.addEventListener("keydown", (event) => {
  const act = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key]
  const isField = event.target instanceof HTMLSelectElement || event.target instanceof HTMLInputElement
  if (act === undefined || event.ctrlKey || event.metaKey || event.altKey || isField) return
  event.preventDefault()
  act(event)
})

/** @type {Record<string, () => void>} */
const buttons = {
  first: () => go(0),
  back: () => seek(-1, isShown),
  forth: () => seek(1, isShown),
  last: () => go(events.length - 1),
  "previous-mark": () => seek(-1, (i) => marked.has(i)),
  "next-mark": () => seek(1, (i) => marked.has(i)),
  "to-failure": () => go(failureIndex()),
  out: () => zoom(1 / 1.5),
  in: () => zoom(1.5),
  all
}
for (const [id, act] of Object.entries(buttons)) byId(id, HTMLButtonElement).addEventListener("click", act)

const pings = byId("pings", HTMLInputElement)
pings.addEventListener("change", () => {
  view.withPings = pings.checked
  go(view.cursor)
})

const select = byId("machine", HTMLSelectElement)
select.append(...machines.map(({ name }, i) => {
  const option = h("option", name)
  option.value = String(i)
  return option
}))
select.addEventListener("change", () => choose(Number(select.value)))

// --- The pointer ---------------------------------------------------------------------------

/**
 * @param {Point} point
 * @param {Point} from
 * @param {Point} to
 */
const distance = (point, from, to) => {
  const [dx, dy] = [to.x - from.x, to.y - from.y]
  const length = dx * dx + dy * dy
  const share = length === 0
    ? 0
    : Math.max(0, Math.min(1, ((point.x - from.x) * dx + (point.y - from.y) * dy) / length))
  return Math.hypot(point.x - from.x - share * dx, point.y - from.y - share * dy)
}

/** @param {Point} point */
const eventAt = (point) => {
  let best = { i: -1, far: 14 }
  for (const i of visible()) {
    const event = events[i]
    const [from, to] = event.kind === "datagram"
      ? arrowOf(event)
      : [{ x: xOf(event.at), y: event.machine === null || event.kind === "step" ? 44 : yOf(event.machine) }]
    const far = distance(point, from, to ?? from)
    if (far < best.far) best = { i, far }
  }
  return best.i
}

/** @type {{ x: number, left: number, hasMoved: boolean } | undefined} */
let drag

canvas.addEventListener("pointerdown", (event) => {
  drag = { x: event.offsetX, left: view.left, hasMoved: false }
  canvas.setPointerCapture(event.pointerId)
})
canvas.addEventListener("pointermove", (event) => {
  if (drag === undefined) return
  if (Math.abs(event.offsetX - drag.x) > 4) drag.hasMoved = true
  if (!drag.hasMoved) return
  view.left = drag.left - (event.offsetX - drag.x) / view.zoom
  paint()
})
canvas.addEventListener("pointercancel", () => {
  drag = undefined
})
canvas.addEventListener("pointerup", (event) => {
  const wasDragged = drag?.hasMoved
  drag = undefined
  if (wasDragged !== false) return
  const lane = Math.floor((event.offsetY - top) / laneHeight)
  if (event.offsetX < gutter) return choose(lane)
  const i = eventAt({ x: event.offsetX, y: event.offsetY })
  if (i >= 0) {
    if (lane >= 0 && lane < machines.length) view.machine = lane
    go(i)
  } else if (lane >= 0 && lane < machines.length) choose(lane)
})
canvas.addEventListener("wheel", (event) => {
  // The page scrolls with the wheel alone.
  const isZoom = event.ctrlKey || event.metaKey
  const by = event.shiftKey ? event.deltaY : event.deltaX
  if (!isZoom && by === 0) return
  event.preventDefault()
  if (isZoom) return zoom(Math.exp(-event.deltaY / 300), event.offsetX - gutter - 8)
  view.left += by / view.zoom
  paint()
}, { passive: false })

/** @param {PointerEvent} event */
const scrub = (event) => {
  if (event.buttons === 0) return
  const at = momentAt(event.offsetX / overview.clientWidth * whole)
  go(firstNot(events, (other) => other.at < at))
}
overview.addEventListener("pointerdown", (event) => {
  overview.setPointerCapture(event.pointerId)
  scrub(event)
})
overview.addEventListener("pointermove", scrub)

// --- The start ------------------------------------------------------------------------------

readColors()
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  readColors()
  paint()
})
new ResizeObserver(paint).observe(canvas)
view.machine = failures[0]?.machine ?? 0
showHeader()
showStory()
go(failures.length > 0 ? failureIndex() : 0)
