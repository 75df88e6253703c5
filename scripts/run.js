// @ts-check
// What each npm script runs first: `node scripts/run.js NAME ARGUMENTS`.
//
// Promises, for every command in commands.js: `--help` explains it, changes nothing and exits 0; an unknown option and
// an old Node are one sentence each; what the command needs is installed before its first module is loaded.
//
// An old Node must be able to read this file, so it imports the others only after it has looked.

const OLDEST_NODE = 20

if (Number(process.versions.node.split('.')[0]) < OLDEST_NODE) {
  process.stderr.write(
    `\nNode ${OLDEST_NODE} or later is needed; this is ${process.versions.node}. Install a newer one from https://nodejs.org\n`,
  )
  process.exit(1)
}

const [, , name, ...rest] = process.argv
const [{ commandNamed, helpOf, readArguments }, { exitWith }] = await Promise.all([import('./commands.js'), import('./progress.js')])
try {
  const command = commandNamed(name)
  if (rest.includes('--help') || rest.includes('-h')) {
    console.log(helpOf(name, rest))
    process.exit(0)
  }
  readArguments(name, rest)
  if (command.needs) await (await import('./toolchain.js')).setUp(command.needs)
  const [{ pathToFileURL }, { join }, { ROOT }, { continueUnderNode24 }] = await Promise.all([
    import('node:url'),
    import('node:path'),
    import('./paths.js'),
    import('./node24.js'),
  ])
  const script = join(ROOT, command.script)
  const load = () => import(pathToFileURL(script).href)
  process.argv = [process.execPath, script, ...(command.first ?? []), ...rest]
  // Without `needs` nothing may be installed yet, the newer Node included.
  await (command.needs ? continueUnderNode24(script, load) : load())
} catch (error) {
  exitWith(error)
}
