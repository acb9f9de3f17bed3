/** The one prompt for the node's token, which this tab keeps until it is closed. */
import { byId, fieldOf } from "./dom.js"
import * as Node from "./node.js"

const dialog = fieldOf("gate", HTMLDialogElement)
const field = fieldOf("token", HTMLInputElement)
const cancel = fieldOf("gate-cancel", HTMLButtonElement)

/** @type {((given: boolean) => void) | undefined} */
let answer = undefined

/** @param {boolean} given */
const close = (given) => {
  answer?.(given)
  answer = undefined
  field.value = ""
  dialog.close()
}

/**
 * Prompts for the token. Succeeds with whether there is one now.
 *
 * @param {{ readonly reads: boolean }} options `reads`: the node shows nothing without it, so there is no way around
 */
export const ask = ({ reads }) => {
  byId("gate-title").textContent = reads ? "This node requires its token" : "This needs the node's token"
  byId("gate-where").replaceChildren(
    ...(reads
      ? ["It is the value of the variable that ", code("--http-token-env"), " names."]
      : [
        "It is in the file ",
        code("http-token"),
        " of the node's data directory, or in the variable that ",
        code("--http-token-env"),
        " names."
      ])
  )
  byId("gate-error").textContent = Node.hasToken() ? "The node rejected this token." : ""
  cancel.hidden = reads
  answer?.(false)
  if (!dialog.open) {
    if (reads) dialog.show()
    else dialog.showModal()
  }
  field.focus()
  return /** @type {Promise<boolean>} */ (new Promise((resolve) => {
    answer = resolve
  }))
}

/** @param {string} text */
const code = (text) => {
  const element = document.createElement("code")
  element.textContent = text
  return element
}

cancel.addEventListener("click", () => close(false))
dialog.addEventListener("cancel", (event) => {
  event.preventDefault()
  if (!cancel.hidden) close(false)
})
fieldOf("gate-form", HTMLFormElement).addEventListener("submit", (event) => {
  event.preventDefault()
  Node.setToken(field.value.trim(), cancel.hidden === true)
  close(true)
})

/**
 * Runs an action that acts for the node, and prompts for the token as often as
 * the node wants another. Succeeds with undefined if the reader gives up.
 *
 * @template A
 * @param {() => Promise<A>} action
 * @returns {Promise<A | undefined>}
 */
export const withToken = async (action) => {
  while (true) {
    try {
      return await action()
    } catch (error) {
      if (!(error instanceof Node.Unauthorized)) throw error
      if (!await ask({ reads: false })) return undefined
    }
  }
}
