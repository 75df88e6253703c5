// Feeds of channels (R80, R81), on the real runtime with a real PDS, read by a feed parser, and by a parser that refuses what XML
// forbids.

import assert from 'node:assert/strict'
import { before, test } from 'node:test'
import { parseAtomFeed, parseJsonFeed } from 'feedsmith'
import { SaxesParser } from 'saxes'

import { COLLECTION } from '../network/records.js'
import { answers, garden, openPlace } from './place.js'
import { bearer } from './tokens.js'

const KEY = 'the key of the tests of feeds'
const HOSTILE = ['<script>alert(1)</script> & "quotes" \'too\'', ']]><![CDATA[x]]>', 'bell \u0007 escape \u001b \ufffe \uffff', 'two\r\nlines 🦜']

let place, service, alice, bob, community, channel
before(async () => {
  place = await openPlace({ env: { INVITE_API_KEY: KEY } })
  service = place.service
  ;({ alice, bob, community, channel } = await garden(place))
  await answers(service, `/api/members?community=${community.uri}`, 200, (members) => members.length === 2)
})

const path = (kind, named = community.rkey) => `/feed/${named}/${channel.rkey}.${kind}`

/** The text of a feed, which must be well-formed. */
async function atom(named) {
  const answer = await service.fetch(path('atom', named))
  assert.equal(answer.status, 200)
  assert.equal(answer.headers.get('content-type'), 'application/atom+xml; charset=utf-8')
  const text = await answer.text()
  const parser = new SaxesParser({ xmlns: true })
  parser.on('error', (error) => assert.fail(`${error.message}\n${text}`))
  parser.write(text).close()
  return { text, etag: answer.headers.get('etag') }
}

test('R80, R81: a feed parser reads what people wrote, hostile or not', async () => {
  const written = []
  for (const text of HOSTILE) written.push(await bob.message(channel.rkey, text))
  const last = written.at(-1)
  await answers(service, `/api/message?author=${bob.did}&rkey=${last.rkey}`)
  const { text } = await atom()
  const feed = parseAtomFeed(text)
  assert.equal(feed.title.value, 'hall – Garden')
  assert.equal(feed.id, channel.uri.replace(alice.did, encodeURIComponent(alice.did)))
  assert.equal(new URL(feed.links[0].href, service.url).pathname, path('atom', alice.did), 'its own address, by which anybody finds it')
  const allowed = (text) => text.replace(/[\u0007\u001b\ufffe\uffff]/g, '\ufffd')
  assert.deepEqual(feed.entries.map((entry) => entry.content.value), HOSTILE.map(allowed).reverse())
  assert.deepEqual(feed.entries.map((entry) => entry.id), written.map(({ uri }) => uri.replace(bob.did, encodeURIComponent(bob.did))).reverse())
  for (const { title, authors, published, updated } of feed.entries) {
    assert(title.value && authors[0].name && !Number.isNaN(Date.parse(published)) && !Number.isNaN(Date.parse(updated)))
  }
  const { body, headers } = await service.fetchJson(path('json'))
  assert.equal(headers.get('content-type'), 'application/feed+json; charset=utf-8')
  const json = parseJsonFeed(body)
  assert.deepEqual(json.items.map((item) => [item.id, item.content_text]), written.map(({ uri }, n) => [uri, HOSTILE[n]]).reverse())
})

test('R80, H12: conditional, by both names, from the cache and without it, and anew after an edit', async () => {
  const first = await atom()
  for (const named of [community.rkey, alice.did, encodeURIComponent(alice.did)]) {
    for (let again = 0; again < 3; again++) assert.deepEqual(await atom(named), first, named)
    const answer = await service.fetch(path('atom', named), { headers: { 'if-none-match': first.etag } })
    assert.deepEqual([answer.status, await answer.text()], [304, ''])
  }
  const { rkey } = await bob.message(channel.rkey, 'typo')
  await answers(service, `/api/message?author=${bob.did}&rkey=${rkey}`)
  const second = await atom()
  assert.notEqual(second.etag, first.etag)
  await bob.put(COLLECTION.message, rkey, { text: 'typed', channel: channel.rkey, createdAt: '2026-03-01T12:00:00.000Z' })
  await answers(service, `/api/message?author=${bob.did}&rkey=${rkey}`, 200, (message) => message.edited)
  const edited = parseAtomFeed((await atom()).text).entries.find((entry) => entry.id.endsWith(rkey))
  assert.equal(edited.content.value, 'typed')
  assert(Date.parse(edited.updated) > Date.parse(edited.published))
})

test('R80: what is not for everybody has no feed, and no cache keeps one', async () => {
  const body = (members_only) => JSON.stringify({ community_uri: community.uri, members_only })
  const set = (on) => service.fetchJson('/api/community/members-only', { method: 'PUT', headers: bearer(KEY), body: body(on) })
  for (const on of [true, false, true]) {
    assert.equal((await set(on)).status, 200)
    for (const kind of ['atom', 'json']) {
      for (const headers of [{}, bearer(KEY)]) {
        for (let again = 0; again < 3; again++) {
          assert.equal((await service.fetch(path(kind), { headers })).status, on ? 404 : 200, `${kind} ${on}`)
        }
      }
    }
  }
  for (const unknown of ['/feed/nothing/nothing.atom', `/feed/${community.rkey}/nothing.json`, '/feed/%20/x.atom', '/feed/did:plc:x/y.json']) {
    assert.deepEqual([(await service.fetchJson(unknown)).status, (await service.fetchJson(unknown)).body.error], [404, 'NotFound'], unknown)
  }
})
