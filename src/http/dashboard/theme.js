/**
 * Light, dark, or as the system has it. Runs before the page is shown, so that
 * it does not flash.
 */
{
  const key = "effect-dht-theme"
  /** A browser may be told to keep nothing. */
  const kept = () => {
    try {
      return localStorage.getItem(key) ?? "auto"
    } catch {
      return "auto"
    }
  }
  /** @param {string} theme */
  const apply = (theme) => {
    document.documentElement.dataset.theme = theme
  }
  apply(kept())
  document.addEventListener("DOMContentLoaded", () => {
    for (const input of document.querySelectorAll("input[name=\"theme\"]")) {
      if (!(input instanceof HTMLInputElement)) continue
      input.checked = input.value === kept()
      input.addEventListener("change", () => {
        apply(input.value)
        try {
          localStorage.setItem(key, input.value)
        } catch {
          // Then it holds until the page is left.
        }
      })
    }
  })
}
