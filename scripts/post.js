// @ts-check
// `npm run post -- "hello"`: bob posts a message in the demo of a running `npm start`, as any atproto client would: as
// a record in his repository. Option: --as alice.

import { readArguments } from './commands.js'
import { runningDemo } from './demo.js'
import { exitWith, Refusal } from './progress.js'

async function post() {
  const { values, positionals } = readArguments('post')
  const text = positionals.join(' ')
  if (!text) throw new Refusal('Usage: npm run post -- "hello"')
  const { pds, people, textChannel } = runningDemo()
  const person = people[values.as]
  if (!person) throw new Refusal(`Nobody is called ${values.as} here; there are ${Object.keys(people).join(' and ')}.`)
  const { Account } = await import('../tests/network/account.js')
  const { xrpc } = await import('../tests/network/xrpc.js')
  const input = { identifier: person.handle, password: person.password }
  const session = await xrpc(pds, 'com.atproto.server.createSession', { input }).catch((error) => {
    throw new Refusal(`The PDS of the demo does not answer (${error.message}). Is \`npm start\` running?`)
  })
  const { uri } = await new Account(pds, session, person.password).message(textChannel, text)
  console.log(uri)
}

post().catch(exitWith)
