// @ts-check
// Service-auth tokens as an account's server makes them, with keys of the test, for tokens that a real PDS would not
// sign; and how a proof is shown, and got from the service.

import { createPrivateKey, createPublicKey, generateKeyPairSync, randomBytes, sign } from 'node:crypto'

const BASE58 = '123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz'
/** Curves: their names in Node, the algorithm, the code of the key, the order of the group. */
const CURVES = {
  k256: ['secp256k1', 'ES256K', [0xe7, 0x01], 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n],
  p256: ['prime256v1', 'ES256', [0x80, 0x24], 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n],
}

const base64url = (value) => Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url')

/** @param {Buffer} bytes */
function base58(bytes) {
  let number = BigInt(`0x${bytes.toString('hex')}`)
  let text = ''
  for (; number > 0n; number /= 58n) text = BASE58[Number(number % 58n)] + text
  return text
}

/** A key of an account. @param {'k256' | 'p256'} curve */
export function newKey(curve = 'k256') {
  const [name, alg, code, order] = CURVES[curve]
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: /** @type {string} */ (name) })
  const { x, y } = createPublicKey(createPrivateKey(privateKey.export({ type: 'pkcs8', format: 'pem' }))).export({ format: 'jwk' })
  const [left, right] = [x, y].map((half) => Buffer.from(String(half), 'base64url'))
  const point = Buffer.concat([Buffer.from([2 + (right[31] & 1)]), left])
  const multikey = `z${base58(Buffer.concat([Buffer.from(/** @type {number[]} */ (code)), point]))}`
  /** @param {string} message @param {boolean} high */
  const signature = (message, high) => {
    const made = sign('sha256', Buffer.from(message), { key: privateKey, dsaEncoding: 'ieee-p1363' })
    const s = BigInt(`0x${made.subarray(32).toString('hex')}`)
    const n = /** @type {bigint} */ (order)
    const isHigh = s > n / 2n
    const wanted = isHigh === high ? s : n - s
    return Buffer.concat([made.subarray(0, 32), Buffer.from(wanted.toString(16).padStart(64, '0'), 'hex')]).toString('base64url')
  }
  return {
    alg,
    multikey,
    /**
     * A token with these claims; by default of `iss` for `aud` and `lxm`, valid for a minute.
     * @param {Record<string, any>} claims @param {{ header?: object, high?: boolean }} [options]
     */
    token(claims, { header = {}, high = false } = {}) {
      const now = Math.floor(Date.now() / 1000)
      const said = { iat: now, exp: now + 60, jti: randomBytes(16).toString('hex'), ...claims }
      const message = `${base64url({ typ: 'JWT', alg, ...header })}.${base64url(said)}`
      return `${message}.${signature(message, high)}`
    },
  }
}

/**
 * The document of a DID with this key. @param {string} did @param {string | undefined} multikey @param {string} pds
 */
export const documentOf = (did, multikey, pds) => ({
  id: did,
  alsoKnownAs: [],
  verificationMethod: multikey
    ? [{ id: `${did}#atproto`, type: 'Multikey', controller: did, publicKeyMultibase: multikey }]
    : [],
  service: [{ id: '#atproto_pds', type: 'AtprotoPersonalDataServer', serviceEndpoint: pds }],
})

/** The header of a proof or a key. @param {string} proof */
export const bearer = (proof) => ({ authorization: `Bearer ${proof}` })

/** A socket token for a person, which the holder of the key asks for (R25). @param {any} service @param {string} key @param {string} did */
export async function vouch(service, key, did) {
  const { body } = await service.fetchJson('/api/authentication', { method: 'POST', headers: bearer(key), body: JSON.stringify({ did }) })
  return body.token
}
