// Text with facets: which parts of a text are bold, a link, a mention (lexicon social.colibri.richtext.facet).

import type { Facet } from './api.ts'

const FACET = 'social.colibri.richtext.facet'
const bytesOf = (text: string) => new TextEncoder().encode(text)

export interface Segment {
  text: string
  /** The features that cover it, by their short names: bold, link … */
  features: Map<string, Facet['features'][number]>
}

/** A text in pieces that each have the same features from end to end. Facets count UTF-8 bytes. */
export function segments(text: string, facets: Facet[] | null): Segment[] {
  const bytes = bytesOf(text)
  const inside = (facets ?? []).filter(({ index }) => index.byteStart < index.byteEnd && index.byteEnd <= bytes.length)
  const cuts = new Set([0, bytes.length, ...inside.flatMap(({ index }) => [index.byteStart, index.byteEnd])])
  const places = [...cuts].sort((a, b) => a - b)
  return places.slice(0, -1).map((start, n) => {
    const end = places[n + 1] ?? start
    const covering = inside.filter(({ index }) => index.byteStart <= start && end <= index.byteEnd)
    const named = covering
      .flatMap(({ features }) => features)
      .map((one) => [one.$type.split('#').at(-1) ?? '', one] as const)
    return { text: new TextDecoder().decode(bytes.subarray(start, end)), features: new Map(named) }
  })
}

/** The links and the mentions in what somebody typed; `didOf` knows the handles that may be mentioned. */
export function facetsOf(text: string, didOf: (handle: string) => string | undefined): Facet[] {
  const found: Facet[] = []
  const add = (start: number, length: number, feature: Facet['features'][number]) => {
    const byteStart = bytesOf(text.slice(0, start)).length
    const byteEnd = byteStart + bytesOf(text.slice(start, start + length)).length
    found.push({ index: { byteStart, byteEnd }, features: [feature] })
  }
  for (const { 0: uri, index } of text.matchAll(/https?:\/\/[^\s<>"]*[^\s<>".,;:!?)\]]/g))
    add(index, uri.length, { $type: `${FACET}#link`, uri })
  for (const { 0: name, index } of text.matchAll(/@[a-z0-9.-]*[a-z0-9]/gi)) {
    const did = didOf(name.slice(1))
    if (did) add(index, name.length, { $type: `${FACET}#mention`, did })
  }
  return found
}

/** Whether a link leads to a page, and not to a script. */
export const isWeb = (uri: string | undefined): uri is string => /^https?:\/\//i.test(uri ?? '')
