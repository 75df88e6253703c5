// @ts-check
// Which `better-sqlite3` the PDS gets: no single version runs in every Node.
//
// Version 13 brings ready machine code for any Node from 22 on, and crashes in Node 20. Version 12 has
// to be compiled, for one Node alone; it runs in Node 20, and aborts in Node from 24.19 on (its
// statements derive from `node::ObjectWrap`, https://github.com/nodejs/node/issues/65262). So 13 it is,
// and in older Nodes `substituteSqlite` puts 12 in its place before the PDS asks for it.

import { Module, createRequire } from 'node:module'

export const COMPILED = 'better-sqlite3-12'
const FIRST_NODE_OF_13 = 22

/** Whether this version of Node, such as `20.20.2`, needs the version that is compiled. @param {string} version */
export function needsCompiled(version) {
  return Number.parseInt(version) < FIRST_NODE_OF_13
}

/** To be called before the PDS is imported. */
export function substituteSqlite() {
  if (!needsCompiled(process.versions.node)) return
  const require = createRequire(import.meta.url)
  const asked = require.resolve('better-sqlite3')
  const answer = new Module(asked)
  Object.assign(answer, { exports: require(COMPILED), loaded: true })
  require.cache[asked] = /** @type {NodeJS.Module} */ (answer)
}
