// What the pages with a state share: drawing after changes, and reading a form.

import { render, type ComponentChild } from 'preact'

/** Makes the function that draws the page once after any number of changes. */
export function drawing(view: () => ComponentChild): () => void {
  let isDue = false
  return () => {
    if (isDue) return
    isDue = true
    queueMicrotask(() => {
      isDue = false
      render(view(), document.getElementById('page')!)
    })
  }
}

/** The text in a field of the form that is submitted; '' without such a field. */
export const textIn = (event: SubmitEvent, name: string) =>
  String(new FormData(event.currentTarget as HTMLFormElement).get(name) ?? '')
