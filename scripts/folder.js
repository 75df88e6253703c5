// @ts-check
// Makes a folder for state, or says in one sentence why it cannot keep any. Asked before a build, which takes minutes.

import { accessSync, constants, existsSync, mkdirSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'

import { Refusal } from './progress.js'

/** @type {Record<string, string>} */
const REASONS = {
  EEXIST: 'it is a file',
  ENOTDIR: 'it, or a folder of its path, is a file',
  EACCES: 'this user may not write there',
  EPERM: 'this user may not write there',
  EROFS: 'its file system cannot be written',
  ENOSPC: 'the disk is full',
  ENOENT: 'nothing can be made there',
}

/** Why the system refused something, in words. @param {any} error */
export const reasonOf = (error) => REASONS[error.code] ?? error.message

/** @param {string} folder that `--state` names @param {any} error */
export function noState(folder, error) {
  const reason = reasonOf(error)
  return new Refusal(`The folder ${folder} cannot keep the state: ${reason}. Give --state a folder that you may write.`)
}

/**
 * Makes a folder and those above it. Not mkdir's `recursive`, which never ends where nothing can be made (/proc).
 * @param {string} folder @param {number} [mode]
 */
export function makeFolder(folder, mode) {
  const missing = [folder]
  while (!existsSync(dirname(missing[0]))) missing.unshift(dirname(missing[0]))
  for (const path of missing) {
    try {
      mkdirSync(path, { mode })
    } catch (error) {
      // Another service may make the same folder at the same time.
      if (error.code !== 'EEXIST' || !statSync(path).isDirectory()) throw error
    }
  }
}

/** The part of the folder that belongs to `serve`. @param {string} folder @returns {string} */
export function stateFolder(folder) {
  const serve = join(folder, 'serve')
  try {
    makeFolder(serve)
    // SQLite would open a database that it may only read.
    accessSync(serve, constants.W_OK)
    return serve
  } catch (error) {
    throw noState(folder, error)
  }
}
