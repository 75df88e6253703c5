// @ts-check
// Every npm script: what it does, its options, what must be installed for it. `--help` and the readers of arguments are
// made from this table, so that an option is written once. `npm run admin` has commands of its own (admin-commands.js).
//
// Promises: an unknown option, an option without its value and a value that cannot be meant are one sentence each
// (Refusal). Uses only Node's own modules, because it runs before any package is installed.

import { isAbsolute, join, resolve } from 'node:path'
import { parseArgs } from 'node:util'

import { ADMIN } from './admin-commands.js'
import { LOCAL_DIR, ROOT, WRANGLER_CONFIG } from './paths.js'
import { Refusal } from './progress.js'

/**
 * @typedef {object} Option
 * @property {string} about @property {string} [value] the word for its value in the help; without one it is a switch
 * @property {string} [default]
 *
 * @typedef {object} Command
 * @property {string} script the module that does it
 * @property {Record<string, import('./admin-commands.js').AdminCommand>} [commands] what its first words choose from
 * @property {string[]} [first] arguments that always come first
 * @property {string} about what it does, in one sentence
 * @property {string} [arguments] what may follow the options; without it, nothing
 * @property {Record<string, Option>} [options]
 * @property {import('./toolchain.js').Needs} [needs] what must be installed; without it, the script sees to that itself
 */

const NETWORK = { network: true }
const BENCH = { network: true, rust: true }
const ROOT_OPTION = { value: 'DIR', default: ROOT, about: 'another clone to measure' }
const JSON_OPTION = { about: 'print the numbers as JSON' }
const PORT = { value: 'PORT', default: '8787', about: 'where it listens; 0 is any free port' }
const HOST = { value: 'ADDRESS', default: '127.0.0.1', about: 'the address on which it listens' }
const STATE = { value: 'DIR', default: join(LOCAL_DIR, 'serve'), about: 'the folder that keeps the database and the objects' }
const STEPS = 'names of steps, and *.test.js files of the steps that have them'

/** @type {Record<string, Command>} */
export const COMMANDS = {
  start: {
    script: 'scripts/start.js',
    about: 'From a clone to a running service with a demo community on a local network.',
    options: {
      live: { about: 'read the public network instead of a local one' },
      port: PORT,
      reset: { about: 'forget the demo first' },
    },
  },
  test: { script: 'scripts/test.js', about: 'Every check, or those named.', arguments: STEPS },
  setup: {
    script: 'scripts/toolchain.js',
    about: 'Installs all that the other commands need, and nothing twice.',
    options: { 'to-serve': { about: 'only what `npm run serve` needs with a built Worker' } },
  },
  build: { script: 'scripts/build.js', about: 'Builds the Worker and prints its size.' },
  serve: {
    script: 'scripts/serve.js',
    about: 'Runs the built Worker with its objects and its database on this machine.',
    options: {
      port: PORT,
      host: HOST,
      state: STATE,
      config: { value: 'FILE', default: WRANGLER_CONFIG, about: 'another wrangler.toml' },
    },
    needs: {},
  },
  lint: { script: 'scripts/test.js', first: ['format', 'clippy', 'types', 'pages'], about: 'The checks that run nothing.' },
  'test:native': { script: 'scripts/test.js', first: ['native'], about: 'The tests in Rust.' },
  'test:network': { script: 'scripts/test.js', first: ['network'], about: 'The tests of the local network.', arguments: STEPS },
  'test:e2e': { script: 'scripts/test.js', first: ['e2e'], about: 'The end-to-end tests on workerd.', arguments: STEPS },
  'test:schemathesis': { script: 'scripts/test.js', first: ['schemathesis'], about: 'The service against its own description.' },
  post: {
    script: 'scripts/post.js',
    about: 'Posts a message into the demo of a running `npm start`.',
    arguments: 'the text',
    options: { as: { value: 'NAME', default: 'bob', about: 'who says it: alice or bob' } },
    needs: {},
  },
  listen: {
    script: 'scripts/listen.js',
    about: 'Subscribes to a community and its messages, and prints each frame as a line of JSON.',
    options: {
      service: { value: 'URL', about: 'the service; that of a running `npm start` by default' },
      community: { value: 'AT-URI', about: 'the community; that of the demo by default' },
    },
    needs: {},
  },
  replay: {
    script: 'scripts/replay.js',
    about: 'Feeds a file of Jetstream frames, one a line, to a running service.',
    arguments: 'FILE.jsonl',
    options: {
      control: { value: 'URL', about: 'the control address of another local network than that of `npm start`' },
      port: { value: 'PORT', about: 'serve the file as a stream on this port instead; 0 is any' },
    },
    needs: NETWORK,
  },
  import: {
    script: 'scripts/import.js',
    about: 'Plays an export (R43) to a service, which takes its records as from its stream.',
    arguments: 'FILE',
    options: {
      state: { value: 'DIR', about: 'the folder of a service that is started for it' },
      url: { value: 'SERVICE', about: 'the URL of a running service instead' },
      port: { value: 'PORT', about: 'where that service reads its stream' },
      merge: { about: 'add to what is there: from the second file on' },
    },
    needs: {},
  },
  admin: {
    script: 'scripts/admin.js',
    about: 'Operates a running service: status, moderation, exports, and what is wrong with it.',
    commands: ADMIN,
    options: {
      url: { value: 'URL', default: 'http://127.0.0.1:8787', about: 'the service' },
      'key-file': { value: 'FILE', about: 'the file with the API key; without it INVITE_API_KEY of the environment' },
      json: { about: 'print answers as JSON' },
    },
    needs: {},
  },
  backup: {
    script: 'scripts/backup.js',
    about: 'Copies the database and the objects of a `serve`, also while it runs, to a new folder.',
    arguments: 'FOLDER',
    options: { state: STATE },
    needs: {},
  },
  restore: {
    script: 'scripts/restore.js',
    about: 'Makes the state of a `serve`, which must not run, that of a backup.',
    arguments: 'FOLDER',
    options: { state: STATE, replace: { about: 'also if the folder has a state, which stays beside the new one' } },
    needs: {},
  },
  'bench:rest': {
    script: 'tests/bench/rest.js',
    about: 'How fast the service answers reads.',
    options: {
      connections: { value: 'N,N', default: '1,8,32', about: 'clients at a time' },
      rounds: { value: 'N', default: '5', about: 'rounds' },
      seconds: { value: 'N', default: '1', about: 'seconds a round' },
      large: { value: 'N', default: '1000000', about: 'messages in the index' },
      only: { value: 'WORD', default: '', about: 'paths whose names contain this' },
      root: ROOT_OPTION,
      json: JSON_OPTION,
    },
    needs: BENCH,
  },
  'bench:backfill': {
    script: 'tests/bench/backfill.js',
    about: 'How fast the service recovers from an outage.',
    options: {
      people: { value: 'N', default: '30', about: 'people who write' },
      records: { value: 'N', default: '12000', about: 'what they write' },
    },
    needs: BENCH,
  },
  'bench:repository': {
    script: 'tests/bench/repository.js',
    about: 'How fast the service reads a large repository.',
    options: {
      megabytes: { value: 'N', default: '50', about: 'the size of the archive' },
      shares: { value: 'N,N', default: '0.001,0.1', about: "Colibri's share of its records" },
      root: ROOT_OPTION,
    },
    needs: BENCH,
  },
  'bench:blobs': { script: 'tests/bench/blobs.js', about: 'What a blob costs through the service.', needs: BENCH },
  'bench:fanout': {
    script: 'tests/bench/fanout.js',
    about: 'How fast events reach many sockets.',
    options: {
      sockets: { value: 'N,N', default: '1,100,1000,5000', about: 'sockets' },
      rounds: { value: 'N', default: '5', about: 'rounds' },
      sleep: { value: 'SECONDS', default: '30', about: 'how long sleeping sockets are watched' },
      root: ROOT_OPTION,
      json: JSON_OPTION,
    },
    needs: BENCH,
  },
  'bench:ingest': {
    script: 'tests/bench/ingest.js',
    about: 'How fast the service stores the stream.',
    options: {
      events: { value: 'N', default: '100000', about: 'events a run' },
      runs: { value: 'N', default: '3', about: 'runs' },
      seed: { value: 'N', default: '1', about: 'what the events are made from' },
      root: ROOT_OPTION,
      against: { value: 'DIR', about: 'a clone to compare with' },
      floor: { about: 'also measure an object that only stores the frames' },
      external: { value: 'COMMAND', about: 'also measure a program that reads the stream at JETSTREAM_URL' },
      counter: { value: 'COMMAND', about: 'prints how many messages that program has stored' },
      json: JSON_OPTION,
    },
    needs: BENCH,
  },
  'bench:decisions': {
    script: 'tests/bench/decisions.js',
    about: 'How fast moderators decide while the stream is taken in.',
    options: {
      rate: { value: 'N', default: '300', about: 'decisions asked for per second' },
      seconds: { value: 'N', default: '10', about: 'seconds, with the stream and without' },
      events: { value: 'N', default: '60000', about: 'events in the stream' },
      root: ROOT_OPTION,
      json: JSON_OPTION,
    },
    needs: BENCH,
  },
  'bench:limits': {
    script: 'tests/bench/limits.js',
    about: 'How much longer others wait beside a client at ten times its limits.',
    options: {
      rounds: { value: 'N', default: '5', about: 'rounds' },
      seconds: { value: 'N', default: '5', about: 'seconds of each part of a round' },
      only: { value: 'WORD', default: '', about: 'floods whose names contain this' },
      root: ROOT_OPTION,
      json: JSON_OPTION,
    },
    needs: BENCH,
  },
  load: {
    script: 'tests/bench/load.js',
    about: 'Realistic clients at a service, and a report of times, losses and memory.',
    options: {
      url: { value: 'URL', about: 'a running service; one is started for it by default' },
      community: { value: 'AT-URI', about: 'of a running service: the community that the clients follow' },
      as: { value: 'HANDLE', about: 'of a running service: who posts; LOAD_PASSWORD has the app password' },
      pid: { value: 'PID', about: 'of a running service on this machine: the process whose memory is shown' },
      sockets: { value: 'N', default: '50', about: 'clients' },
      rate: { value: 'N', default: '1', about: 'messages a second' },
      minutes: { value: 'N', default: '1', about: 'how long' },
      elsewhere: { about: 'the service is on another machine, and is mine' },
      json: JSON_OPTION,
    },
    needs: BENCH,
  },
  soak: {
    script: 'tests/soak/main.js',
    about: 'Honest people next to all attacks of strangers, and a table of the results.',
    options: {
      minutes: { value: 'N', default: '10', about: 'minutes of attacks, after a tenth of it in quiet' },
      only: { value: 'NAME,NAME', about: 'attackers whose names contain one of these' },
      json: JSON_OPTION,
    },
    needs: BENCH,
  },
  record: { script: 'tests/fixtures/record.js', about: 'Records tests/fixtures/network.jsonl anew.', needs: NETWORK },
  'record:archives': { script: 'tests/fixtures/record-archives.js', about: 'Records the archives in tests/fixtures anew.', needs: NETWORK },
  studio: {
    script: 'scripts/studio.js',
    about: "Opens the runtime's own explorer on the database of a state folder.",
    options: { port: { ...PORT, default: '0' }, state: STATE },
    needs: {},
  },
  variables: {
    script: 'scripts/variables.js',
    about: 'Writes docs/configuration.md and .dev.vars.example from the table of variables.',
    options: { check: { about: 'only say whether they are current' } },
  },
  'client:types': {
    script: 'scripts/client-types.js',
    about: 'Writes the types of packages/client from openapi.json and asyncapi.json.',
    options: { check: { about: 'only say whether they are current' } },
  },
  release: {
    script: 'scripts/release.js',
    about: 'Makes an archive of the built Worker that compiles nothing, after checking versions and notes.',
    options: {
      out: { value: 'DIR', default: join(LOCAL_DIR, 'release'), about: 'the folder for it' },
      draft: { about: 'of an unfinished version' },
      'with-packages': { about: 'with its packages and its own Node, for machines like this one without npm or a network' },
    },
    needs: { rust: true },
  },
  dev: {
    script: 'scripts/dev.js',
    about: "wrangler's own development server, which builds again after a change.",
    options: { port: PORT, host: HOST },
    needs: { rust: true },
  },
  deploy: {
    script: 'scripts/deploy.js',
    about: 'Asks once whom to believe, applies the migrations, uploads the Worker, and names missing secrets.',
    options: {
      'dry-run': { about: 'build and show what would be uploaded; contacts nobody' },
      env: { value: 'NAME', about: 'an environment of wrangler.toml' },
    },
    needs: { rust: true },
  },
}

/** @param {string} name @returns {Command} */
export function commandNamed(name) {
  const command = Object.hasOwn(COMMANDS, name ?? '') && COMMANDS[name]
  if (!command) throw new Refusal(`There is no command ${name}. The commands: ${Object.keys(COMMANDS).join(' ')}`)
  return command
}

const called = (/** @type {string} */ name) => (name === 'start' || name === 'test' ? `npm ${name}` : `npm run ${name}`)

/**
 * The command that the first words of `args` choose, its whole name, and the arguments behind it.
 * @param {string} name @param {string[]} args
 * @returns {{ command: Pick<Command, 'about' | 'arguments' | 'options' | 'commands'>, called: string, chosen?: string, rest: string[] }}
 */
function chosenBy(name, args) {
  const command = commandNamed(name)
  const whole = called(name)
  if (!command.commands || args.length === 0 || args[0].startsWith('-')) return { command, called: whole, rest: args }
  const words = [2, 1].find((count) => Object.hasOwn(command.commands, args.slice(0, count).join(' ')))
  if (!words) throw new Refusal(`${whole} has no command ${args[0]}. See: ${whole} -- --help`)
  const chosen = args.slice(0, words).join(' ')
  const own = command.commands[chosen]
  const options = { ...own.options, ...(own.isLocal ? {} : command.options) }
  return { command: { ...own, options }, called: `${whole} -- ${chosen}`, chosen, rest: args.slice(words) }
}

/** @param {[string, string][]} rows */
function table(rows) {
  const width = Math.max(...rows.map(([left]) => left.length), 0)
  return rows.map(([left, right]) => `${left.padEnd(width)}  ${right}`)
}

/** What `--help` prints. @param {string} name @param {string[]} [args] */
export function helpOf(name, args = []) {
  const { command, called: whole } = chosenBy(name, args.filter((arg) => !arg.startsWith('-')).slice(0, 2))
  const { about, arguments: positionals, options = {}, commands = {} } = command
  const rows = Object.entries(options).map(([option, { value, about: meaning, default: preset }]) => /** @type {[string, string]} */ ([
    `  --${option}${value ? ` ${value}` : ''}`,
    meaning + (preset ? ` (${preset})` : ''),
  ]))
  const ofCommands = Object.entries(commands).map(([chosen, own]) => /** @type {[string, string]} */ ([
    `  ${[chosen, own.arguments].filter(Boolean).join(' ')}`,
    own.about,
  ]))
  const isOneOfMany = whole.includes(' -- ')
  const takes = positionals ? [isOneOfMany ? positionals : `[${positionals}]`] : []
  const more = [...(ofCommands.length > 0 ? ['COMMAND'] : []), ...(rows.length > 0 ? ['[options]'] : []), ...takes]
  const dashes = more.length > 0 && !isOneOfMany ? ['--'] : []
  return [
    about,
    `\nUsage: ${[whole, ...dashes, ...more].join(' ')}`,
    ...(rows.length > 0 ? ['', ...table(rows)] : []),
    ...(ofCommands.length > 0 ? ['\nCommands:', ...table(ofCommands), `\n${whole} -- COMMAND --help explains one of them.`] : []),
  ].join('\n')
}

/**
 * A path that was typed as an argument of an npm script, which npm runs in the folder of the package.
 * @param {string} path @param {string} script
 */
export function typedPath(path, script) {
  const typedIn = process.env.npm_lifecycle_event === script ? process.env.INIT_CWD : undefined
  return isAbsolute(path) ? path : resolve(typedIn ?? process.cwd(), path)
}

/**
 * The arguments of a command; throws a Refusal in one sentence.
 * @param {string} name @param {string[]} [args]
 * @returns {{ values: Record<string, any>, positionals: string[], chosen?: string }}
 */
export function readArguments(name, args = process.argv.slice(2)) {
  const { command, called: whole, chosen, rest } = chosenBy(name, args)
  const { options = {}, arguments: positional } = command
  const spec = Object.entries(options).map(([option, { value, default: preset }]) => [
    option,
    value ? { type: 'string', ...(preset !== undefined && { default: preset }) } : { type: 'boolean', default: false },
  ])
  const see = `See: ${whole}${chosen ? '' : ' --'} --help`
  let read
  try {
    read = parseArgs({ args: rest, options: Object.fromEntries(spec), allowPositionals: true })
  } catch (error) {
    const unknown = /^Unknown option '(-[^']*)'/.exec(error.message)?.[1]
    throw new Refusal(unknown ? `${whole} has no option ${unknown}. ${see}` : `${error.message.split('\n')[0].replace(/\.$/, '')}. ${see}`)
  }
  if (command.commands && !chosen) throw new Refusal(`${whole} needs a command: ${Object.keys(command.commands).join(', ')}. ${see}`)
  if (read.positionals.length > 0 && !positional) throw new Refusal(`${whole} takes no ${read.positionals[0]}. ${see}`)
  for (const [option, { value }] of Object.entries(options)) checkValue(option, value, read.values[option], see)
  return { values: /** @type {any} */ (read.values), positionals: read.positionals, chosen }
}

/** @param {string} option @param {string | undefined} kind @param {any} given @param {string} see */
function checkValue(option, kind, given, see) {
  if (given === undefined) return
  if (kind === 'PORT' && !(/^\d{1,5}$/.test(given) && Number(given) <= 65_535))
    throw new Refusal(`--${option} must be a number from 0 to 65535, not ${given}. ${see}`)
  if (kind === 'N' && !(Number(given) > 0))
    throw new Refusal(`--${option} must be a number above 0, not ${given}. ${see}`)
  if (kind === 'URL' && !URL.canParse(given)) throw new Refusal(`--${option} must be a URL, not ${given}. ${see}`)
}
