// @ts-check
// `npm run post -- "hello"`: bob posts a message in the demo of a running `npm start`, as any atproto client would: as
// a record in his repository. Option: --as alice.

import { Account, Service } from '../packages/client/src/index.ts'
import { readArguments } from './commands.js'
import { runningDemo } from './demo.js'
import { exitWith, Refusal } from './progress.js'

const COLLECTION = 'social.colibri.message'

async function post() {
  const { values, positionals } = readArguments('post')
  const text = positionals.join(' ')
  if (!text) throw new Refusal('Usage: npm run post -- "hello"')
  const { service, people, textChannel } = runningDemo()
  const person = people[values.as]
  if (!person) throw new Refusal(`Nobody is called ${values.as} here; there are ${Object.keys(people).join(' and ')}.`)
  const account = await Account.signIn(new Service(service), person.did, person.password).catch((error) => {
    throw new Refusal(`The demo does not answer (${error.message}). Is \`npm start\` running?`)
  })
  const rkey = await account.create(COLLECTION, { channel: textChannel, text, createdAt: new Date().toISOString() })
  console.log(`at://${person.did}/${COLLECTION}/${rkey}`)
}

post().catch(exitWith)
