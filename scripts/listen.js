// @ts-check
// `npm run listen`: follows a community and its messages, and prints each event as one line of JSON. After a break it
// connects again, and prints what it missed. Options: --service URL, --community AT-URI; the default is the demo of a
// running `npm start`.

import { Line, Service } from '../packages/client/src/index.ts'
import { readArguments } from './commands.js'
import { runningDemo } from './demo.js'
import { exitWith, Refusal, say } from './progress.js'

async function listen() {
  const { values } = readArguments('listen')
  const service = new Service(values.service ?? runningDemo().service)
  const community = values.community ?? runningDemo().communityUri
  await service.get('/api/server', {}).catch((error) => {
    throw new Refusal(`${service.url} does not answer (${error.message}). Is \`npm start\` running?`)
  })
  const line = new Line(async () => [service.socketAddress('/api/subscribe'), []], {
    event: (frame) => {
      if (frame.type === 'error') return exitWith(new Refusal(`the service refuses: ${frame.message}`))
      console.log(JSON.stringify(frame))
    },
    readAnew: () => say(`listening to ${community}; Ctrl-C ends`),
    resumed: (_, missed) => say(`connected again; ${missed} events came meanwhile`),
    state: (state) => {
      if (state === 'connecting') say('connecting')
    },
  })
  line.followMessages()
  line.follow(community)
}

listen().catch(exitWith)
