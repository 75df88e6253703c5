// Compares the served reference of the API with the service: each documented parameter and field is refused by name if
// it is missing or malformed.

import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { before, test } from 'node:test'

import { startService } from './harness.js'

const KEY = 'the key of the tests'
/** Without a key there are no pushes. It is that of RFC 8291, appendix A. */
const VAPID = 'yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw'
let service, document
before(async () => {
  service = await startService({ env: { INVITE_API_KEY: KEY, VAPID_PRIVATE_KEY: VAPID } })
  ;({ body: document } = await service.fetchJson('/openapi.json'))
})

const resolve = (value) =>
  value.$ref
    ? value.$ref
        .slice(2)
        .split('/')
        .reduce((at, key) => at[key], document)
    : value

/** Every operation, with an example request from the document. */
function operations() {
  return Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => {
      const parameters = (operation.parameters ?? []).map(resolve)
      const query = new Map(parameters.filter((one) => one.in === 'query' && one.required).map((one) => [one.name, one.example]))
      const fields = operation.requestBody?.content['application/json']
      return { path: path.replace(/\{\w+\}/g, 'nothing'), method: method.toUpperCase(), operation, parameters, query, fields }
    }),
  )
}

/** A socket requires an upgrade first. */
const isNoSocket = ({ operation }) => !operation.responses[101]
/** Without a token such an operation reads no parameter. */
const takesTheKey = ({ operation }) => !operation.security || operation.security.some((one) => !one.ServiceAuth)

const send = ({ path, method, operation }, query, body) =>
  service.fetchJson(query.size > 0 ? `${path}?${new URLSearchParams([...query])}` : path, {
    method,
    headers: { ...(operation.security && { authorization: `Bearer ${KEY}` }) },
    body: body && JSON.stringify(body),
  })

async function refusedFor(one, name, answer) {
  const { status, body } = await answer
  // N157: the lexicons have a 400 for it.
  const expected = one.path.startsWith('/xrpc/') ? 400 : 422
  assert.deepEqual([status, body.error], [expected, 'InvalidRequest'], `${one.path} ${name}: ${JSON.stringify(body)}`)
  assert.match(body.message, new RegExp(`\\b${name}\\b`), 'H02: named')
}

test('the document is there, and is asked for again', async () => {
  const answer = await service.fetch('/openapi.json')
  assert.equal(answer.headers.get('content-type'), 'application/json')
  assert.equal((await answer.json()).openapi, '3.1.0')
  const again = await service.fetch('/openapi.json', { headers: { 'if-none-match': answer.headers.get('etag') } })
  assert.deepEqual([again.status, await again.text()], [304, ''])
})

test('H04, H08: what the document requires is required, by name', async () => {
  let asked = 0
  for (const one of operations().filter(isNoSocket).filter(takesTheKey)) {
    for (const name of one.query.keys()) {
      for (const left of ['', undefined]) {
        const query = new Map(one.query)
        if (left === undefined) query.delete(name)
        else query.set(name, left)
        await refusedFor(one, name, send(one, query, one.fields?.example))
        asked += 1
      }
    }
    for (const name of one.fields?.schema.required ?? []) {
      const { [name]: _, ...others } = one.fields.example
      await refusedFor(one, name, send(one, one.query, others))
      const wrong = one.fields.schema.properties[name].type === 'integer' ? 'seven' : 7
      await refusedFor(one, name, send(one, one.query, { ...others, [name]: wrong }))
      asked += 2
    }
  }
  assert(asked > 40, `${asked} requests`)
})

test('H04–H06: what is malformed is refused by name, wherever the document gives a form', async () => {
  const wrong = { Did: 'alice', Rkey: 'a/b', AtUri: '3kcom', UriOrRkey: 'a b', Cid: 'bafy', Cursor: 'x', Timestamp: 'today', integer: '1.5' }
  let asked = 0
  for (const one of operations().filter(isNoSocket).filter(takesTheKey)) {
    for (const { name, schema } of one.parameters.filter((parameter) => parameter.in === 'query')) {
      const value = wrong[schema.$ref?.split('/').at(-1) ?? schema.type]
      if (value === undefined) continue
      // Of an export one of two things is required, for which OpenAPI has no word (R43).
      const isOfOneThing = one.operation.operationId === 'exportRecords' && name === 'cursor'
      const needed = isOfOneThing ? [['did', 'did:plc:member']] : []
      await refusedFor(one, name, send(one, new Map([...one.query, ...needed, [name, value]]), one.fields?.example))
      asked += 1
    }
  }
  assert(asked > 35, `${asked} requests`)
})

test('the page needs nothing but the document, and runs nothing but its own script', async () => {
  const answer = await service.fetch('/docs')
  const html = await answer.text()
  assert.match(answer.headers.get('content-type'), /^text\/html/)
  const policy = answer.headers.get('content-security-policy')
  for (const [tag, directive] of [
    ['style', 'style-src'],
    ['script', 'script-src'],
  ]) {
    const [, inside] = html.match(new RegExp(`<${tag}[^>]*>([\\s\\S]*?)</${tag}>`))
    const hash = createHash('sha256').update(inside).digest('base64')
    assert(policy.includes(`${directive} 'sha256-${hash}'`), `${directive} in ${policy}`)
    assert.equal(html.split(`<${tag}`).length, 2, `one ${tag}`)
  }
  assert.match(policy, /default-src 'none'/)
  assert.doesNotMatch(html, /(src|href)="?(https?:)?\/\//, 'no address outside')
  const again = await service.fetch('/docs', { headers: { 'if-none-match': answer.headers.get('etag') } })
  assert.equal(again.status, 304)
})
