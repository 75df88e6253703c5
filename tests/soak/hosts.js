// @ts-check
// Other hosts as the soak plays them: HTTP servers on 127.0.0.1, a directory, and the CIDs of blobs.
//
// Promises: a closed host has released every connection.

import { once } from 'node:events'
import { createServer } from 'node:http'

/** @typedef {(url: URL, response: import('node:http').ServerResponse) => void} Answer */

/** A host that answers everything with `answer`. @param {Answer} answer */
export async function openHost(answer) {
  const server = createServer((request, response) => {
    // A client that hangs up in the middle of an answer is not an error here.
    response.on('error', () => {})
    answer(new URL(request.url ?? '/', 'http://host'), response)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = /** @type {import('node:net').AddressInfo} */ (server.address())
  const name = `127.0.0.1:${port}`
  return {
    name,
    url: `http://${name}`,
    close: () =>
      new Promise((resolve) => {
        server.close(resolve)
        server.closeAllConnections()
      }),
  }
}

/** @param {import('node:http').ServerResponse} response @param {object} body @param {number} [status] */
export function json(response, body, status = 200) {
  response.writeHead(status, { 'content-type': 'application/json' })
  response.end(JSON.stringify(body))
}

/** A document that leads to `pds`. @param {string} did @param {string} pds */
export const documentOf = (did, pds) => ({
  id: did,
  alsoKnownAs: [],
  verificationMethod: [
    { id: `${did}#atproto`, type: 'Multikey', controller: did, publicKeyMultibase: 'zQ3shqwJEJyMBsBXCWyCBpUBMqxcon9oHB7mCvx4sSpMdLJwc' },
  ],
  service: [{ id: '#atproto_pds', type: 'AtprotoPersonalDataServer', serviceEndpoint: pds }],
})

/** The `n`th of many blobs of `size` bytes. @param {number} n @param {number} size */
export function blobOf(n, size) {
  const bytes = Buffer.alloc(size, 7)
  bytes.writeUInt32BE(n)
  return bytes
}
