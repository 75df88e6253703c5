// @ts-check
// The lexicons of the records that the service reads (`lexicons/`), and the corpus beside them: what a lexicon says of each
// record. What the service's parser says of it, `tests/native/record_lexicons.rs` checks; where the two differ, the corpus
// names the rule of the contract by which they do (N210).

import assert from 'node:assert/strict'
import { readFileSync, readdirSync } from 'node:fs'
import { test } from 'node:test'

import { jsonToLex, Lexicons } from '@atproto/lexicon'

const ROOT = new URL('../../', import.meta.url)
const FOLDER = new URL('lexicons/', ROOT)
const read = (/** @type {string} */ path) => readFileSync(new URL(path, ROOT), 'utf8')

/** @typedef {{ why: string, set?: Record<string, any>, drop?: string[], parser: boolean, lexicon: boolean, rule?: string }} Case */
/** @type {{ collection: string, record: Record<string, any>, cases: Case[] }[]} */
const corpus = JSON.parse(read('lexicons/corpus.json'))
const documents = readdirSync(FOLDER)
  .filter((name) => name.startsWith('social.colibri.'))
  .map((name) => ({ name, document: JSON.parse(read(`lexicons/${name}`)) }))
const lexicons = new Lexicons(documents.map(({ document }) => document))

/** Writes out what the corpus writes short: a text or a value many times. @param {any} value @returns {any} */
function whole(value) {
  if (Array.isArray(value)) return value.map(whole)
  if (value === null || typeof value !== 'object') return value
  if (typeof value.times !== 'number') return Object.fromEntries(Object.entries(value).map(([name, field]) => [name, whole(field)]))
  return value.repeat === undefined ? Array(value.times).fill(whole(value.items)) : value.repeat.repeat(value.times)
}

/** What a lexicon says against a record, if anything. @param {string} collection @param {Record<string, any>} record */
function objection(collection, record) {
  try {
    lexicons.assertValidRecord(collection, /** @type {any} */ (jsonToLex({ $type: collection, ...whole(record) })))
  } catch (error) {
    return /** @type {Error} */ (error).message
  }
}

/** @param {Record<string, any>} record @param {Case} change */
function changed(record, { set = {}, drop = [] }) {
  return Object.fromEntries(Object.entries({ ...record, ...set }).filter(([name]) => name in set || !drop.includes(name)))
}

test('N210: each file is the lexicon of its name, and every record of it has cases', () => {
  for (const { name, document } of documents) assert.equal(`${document.id}.json`, name)
  const records = documents.map(({ document }) => document).filter(({ defs }) => defs.main.type === 'record')
  assert.deepEqual([...new Set(corpus.map(({ collection }) => collection))].sort(), records.map(({ id }) => id).sort())
  for (const { id, defs } of records) {
    const touched = corpus.filter(({ collection }) => collection === id).flatMap(({ record }) => Object.keys(record))
    const without = Object.keys(defs.main.record.properties).filter((field) => !touched.includes(field))
    assert.deepEqual(without, id.endsWith('.reaction') ? ['targetMessage'] : [], id)
  }
})

test('N210: a lexicon says of every record what the corpus says, and a rule stands where the parser says otherwise', () => {
  const contract = read('docs/contract.md')
  const isRule = (/** @type {string} */ name) => contract.includes(`**${name}`) || contract.includes(`\n## ${name} `)
  const wrong = []
  for (const { collection, record, cases } of corpus) {
    const why = objection(collection, record)
    assert.equal(why, undefined, collection)
    for (const one of cases) {
      const said = objection(collection, changed(record, one))
      if ((said === undefined) !== one.lexicon) wrong.push(`${collection}: ${one.why}: ${said}`)
      if (one.parser === one.lexicon) assert.equal(one.rule, undefined, `${collection}: ${one.why}: they agree`)
      else assert(one.rule && isRule(one.rule), `${collection}: ${one.why}: no rule of the contract (${one.rule})`)
    }
  }
  assert.deepEqual(wrong, [])
})
