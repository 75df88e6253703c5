// @ts-check
// The CID of a blob, as a PDS names it.

import { createHash } from 'node:crypto'

const DIGITS = 'abcdefghijklmnopqrstuvwxyz234567'
/** Version 1, raw bytes, SHA-256, 32 bytes. */
const RAW_SHA256 = Buffer.from([1, 0x55, 0x12, 0x20])

/** The CID of these bytes. @param {Buffer | string} bytes */
export const cidOf = (bytes) => inBase32(Buffer.concat([RAW_SHA256, createHash('sha256').update(bytes).digest()]))

/** The text of a binary CID. @param {Buffer} cid */
export function inBase32(cid) {
  const bits = [...cid].map((byte) => byte.toString(2).padStart(8, '0')).join('')
  const fives = bits.match(/.{1,5}/g) ?? []
  return `b${fives.map((five) => DIGITS[parseInt(five.padEnd(5, '0'), 2)]).join('')}`
}
