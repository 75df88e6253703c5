// A push service and the keys of its browsers, for tests of Web Push: it takes what the service sends, and decrypts it
// (RFC 8291) as a browser does; `sentBy` checks who sent it (RFC 8292).

import assert from 'node:assert/strict'
import { createDecipheriv, createECDH, createPublicKey, hkdfSync, randomBytes, verify } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'

import { atEnd, eventually } from './harness.js'

export const SUBJECT = 'mailto:tests@example.com'

/** A key of P-256, in base64url: the private part has all of its 32 bytes. */
export function keyPair() {
  const ecdh = createECDH('prime256v1')
  ecdh.generateKeys()
  const secret = Buffer.concat([Buffer.alloc(32), ecdh.getPrivateKey()]).subarray(-32)
  return { ecdh, secret: secret.toString('base64url'), shown: ecdh.getPublicKey('base64url') }
}

/** The push service: `requests` has what came, decrypted; `statuses` what it answers next, then 201. */
export async function pushService() {
  const browsers = new Map()
  const service = { requests: [], statuses: [], origin: '', host: '' }
  const server = createServer(async (request, response) => {
    const body = Buffer.concat(await request.toArray())
    const status = service.statuses.shift() ?? 201
    service.requests.push({ path: request.url, status, headers: request.headers, body, said: browsers.get(request.url)?.(body) })
    response.writeHead(status).end()
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  atEnd(() => server.close())
  service.host = `127.0.0.1:${server.address().port}`
  service.origin = `http://${service.host}`
  /** A browser at it: its subscription. */
  service.browser = (path) => {
    const { ecdh, shown } = keyPair()
    const auth = randomBytes(16)
    browsers.set(path, (body) => decrypted(body, ecdh, auth))
    return { endpoint: service.origin + path, expirationTime: null, keys: { p256dh: shown, auth: auth.toString('base64url') } }
  }
  /** Waits for the `n`th request to a path. */
  service.got = async (path, n) => {
    const all = () => service.requests.filter((request) => request.path === path)
    await eventually(() => all().length >= n, { what: `${n} pushes to ${path}` })
    return all()[n - 1]
  }
  return service
}

/** RFC 8291, the browser's side. */
function decrypted(body, ecdh, auth) {
  const [salt, size, length] = [body.subarray(0, 16), body.readUInt32BE(16), body[20]]
  const sender = body.subarray(21, 21 + length)
  assert(body.length - 21 - length <= size, 'one record')
  const derive = (material, by, info, bytes) => Buffer.from(hkdfSync('sha256', material, by, info, bytes))
  const info = Buffer.concat([Buffer.from('WebPush: info\0'), ecdh.getPublicKey(), sender])
  const material = derive(ecdh.computeSecret(sender), auth, info, 32)
  const key = derive(material, salt, 'Content-Encoding: aes128gcm\0', 16)
  const nonce = derive(material, salt, 'Content-Encoding: nonce\0', 12)
  const sealed = body.subarray(21 + length)
  const decipher = createDecipheriv('aes-128-gcm', key, nonce)
  decipher.setAuthTag(sealed.subarray(-16))
  const plain = Buffer.concat([decipher.update(sealed.subarray(0, -16)), decipher.final()])
  assert.equal(plain.at(-1), 2, 'the last record')
  return JSON.parse(plain.subarray(0, -1))
}

/** RFC 8292: who sent a request, as the push service checks it. */
export function sentBy({ headers: { authorization } }, audience) {
  const [, token, key] = /^vapid t=([^,]+), k=(.+)$/.exec(authorization)
  const [header, claims, signature] = token.split('.')
  const point = Buffer.from(key, 'base64url')
  const [x, y] = [point.subarray(1, 33), point.subarray(33)].map((part) => part.toString('base64url'))
  const jwk = createPublicKey({ key: { kty: 'EC', crv: 'P-256', x, y }, format: 'jwk' })
  const options = { key: jwk, dsaEncoding: /** @type {const} */ ('ieee-p1363') }
  assert(verify('sha256', Buffer.from(`${header}.${claims}`), options, Buffer.from(signature, 'base64url')))
  const { aud, exp, sub } = JSON.parse(Buffer.from(claims, 'base64url').toString())
  assert.deepEqual([aud, sub], [audience, SUBJECT])
  assert(exp * 1000 > Date.now() && exp * 1000 <= Date.now() + 24 * 3600 * 1000)
  return key
}
