// What all responses have in common (contract section 1), on the real runtime.

import assert from 'node:assert/strict'
import { before, test } from 'node:test'

import { startService, UpgradeRefused } from './harness.js'

let service
before(async () => {
  service = await startService()
})

test('H02, H03, H20: errors have a code and a sentence that names the field', async () => {
  for (const [method, path, status, error, sentence] of [
    ['GET', '/nothing', 404, 'NotFound', /path/],
    ['GET', '/api/messages/', 404, 'NotFound', /path/],
    ['POST', '/api/messages', 405, 'MethodNotAllowed', /method/],
    ['GET', '/api/messages', 422, 'InvalidRequest', /channel/],
    ['GET', '/api/messages?channel=', 422, 'InvalidRequest', /channel/],
    ['GET', '/api/messages?channel=k&limit=x', 422, 'InvalidRequest', /limit/],
    ['GET', '/api/messages?channel=k&before=x', 422, 'InvalidRequest', /before/],
    ['GET', '/api/messages?channel=k&cursor=x', 422, 'InvalidRequest', /cursor/],
    ['GET', '/api/message?author=alice&rkey=x', 422, 'InvalidRequest', /author/],
    ['GET', '/api/message?author=did:plc:a', 422, 'InvalidRequest', /rkey/],
    ['GET', '/api/message?author=did:plc:a&rkey=x', 404, 'NotFound', /message/],
    ['GET', '/api/community?community=at://did:plc:a/b/c', 404, 'NotFound', /community/],
    ['GET', '/api/channels?community=3k', 422, 'InvalidRequest', /community/],
    ['GET', '/api/members', 422, 'InvalidRequest', /community/],
    ['GET', '/api/subscribe', 400, 'InvalidRequest', /upgrade/i],
  ]) {
    const answer = await service.fetchJson(path, { method })
    assert.equal(answer.status, status, `${method} ${path}`)
    assert.equal(answer.body.error, error, `${method} ${path}`)
    assert.match(answer.body.message, sentence, `${method} ${path}`)
    assert.match(answer.headers.get('content-type'), /^application\/json/, 'W01')
    assert.equal(answer.headers.get('access-control-allow-origin'), '*', 'H30: errors too')
  }
  const refused = await service.fetchJson('/api/messages', { method: 'DELETE' })
  assert.match(refused.headers.get('allow'), /GET/)
})

test('unknown things are empty lists (R01, R12, R14)', async () => {
  for (const path of [
    '/api/messages?channel=nowhere',
    '/api/messages?channel=nowhere&all',
    '/api/channels?community=at://did:plc:a/social.colibri.community/x',
    '/api/members?community=at://did:plc:a/social.colibri.community/x',
  ]) {
    const { status, body } = await service.fetchJson(path)
    assert.deepEqual([status, body], [200, []], path)
  }
})

test('H09: HEAD is GET without a body, OPTIONS is 204 on any path', async () => {
  const head = await service.fetch('/api/messages?channel=k', { method: 'HEAD' })
  assert.deepEqual([head.status, await head.text()], [200, ''])
  for (const path of ['/api/messages', '/nothing']) {
    const options = await service.fetch(path, { method: 'OPTIONS' })
    assert.equal(options.status, 204, path)
    assert.equal(options.headers.get('access-control-max-age'), '86400')
    assert.match(options.headers.get('access-control-allow-headers'), /Authorization/)
  }
})

test('R23: refused upgrades say why', async () => {
  for (const [query, status] of [
    ['?did=alice', 422],
    ['?did=did:plc:a&auth=nonsense', 401],
  ]) {
    await assert.rejects(service.connect(`/api/subscribe${query}`), (error) => {
      assert(error instanceof UpgradeRefused)
      assert.equal(error.status, status, query)
      assert(error.body.message)
      return true
    })
  }
})

test('A03–A15: one reply for each frame, in order, and errors do not close the socket', async () => {
  const socket = await service.connect('/api/subscribe')
  for (const [frame, type, message] of [
    ['{"action":"heartbeat"}', 'ack', ''],
    ['{"action":"activity"}', 'ack', ''],
    ['nonsense', 'error', 'Invalid JSON'],
    ['{"action":"dance"}', 'error', 'Unknown action: dance'],
    [`{"action":"${'x'.repeat(70_000)}"}`, 'error', 'Frame too large'],
    ['{"action":"subscribe","event_type":"weather"}', 'ack', 'Subscribed to weather'],
    ['{"action":"unsubscribe","event_type":"message"}', 'ack', 'Unsubscribed from message'],
    ['{"action":"set_state","state":"dnd"}', 'error', 'DID required for set_state'],
    ['{"action":"voice_event","voice_action":"leave"}', 'error', 'DID required for voice_event'],
  ]) {
    assert.deepEqual(await socket.request(frame), { type, message })
  }
  socket.ws.send(Buffer.from('{"action":"activity"}'))
  assert.deepEqual(await socket.request({ action: 'subscribe', event_type: 'user_status' }), {
    type: 'error',
    message: 'Invalid JSON',
  })
})
