/**
 * Light, dark, or the system's theme. Runs before the page is rendered, to avoid
 * a flash of the other theme.
 */
{
  const key = "effect-dht-theme"
  /** The stored theme; storage may be unavailable. */
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
          // Storage is unavailable: the theme is kept until the page is left.
        }
      })
    }
  })
}
