// The texts of a page, in the first of the reader's languages that there is a file for; else in English.

import { de } from './de.ts'
import { en, type Texts } from './en.ts'

const LANGUAGES: Record<string, Texts> = { en, de }
const wanted = navigator.languages
  .map((language) => language.split('-')[0] ?? '')
  .find((language) => language in LANGUAGES)

export const t: Texts = LANGUAGES[wanted ?? 'en'] ?? en

/** Names the language and the title of the page. */
export function entitle(title: string) {
  document.documentElement.lang = t.language
  document.title = title
}

const clock = new Intl.DateTimeFormat(t.language, { hour: '2-digit', minute: '2-digit' })
const calendar = new Intl.DateTimeFormat(t.language, { dateStyle: 'medium', timeStyle: 'short' })

/** A time of the API as a reader wants it: the hour if it is today, else the day too. */
export function timeOf(text: string): string {
  const time = new Date(text)
  if (Number.isNaN(time.getTime())) return text
  return (time.toDateString() === new Date().toDateString() ? clock : calendar).format(time)
}
