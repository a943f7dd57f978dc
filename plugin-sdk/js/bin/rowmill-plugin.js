#!/usr/bin/env node
// The command `rowmill-plugin`: builds a plugin out of its source.

import { parseArgs } from 'node:util'

import { build, BuildError } from '../lib/build.js'

const USAGE = `Builds a Rowmill plugin out of JavaScript or TypeScript.

  rowmill-plugin build FILE [-o FILE.wasm] [--engine NAME]

  FILE           the module that has \`export const guest = plugin({ … })\`
  -o, --out OUT  where the plugin goes; FILE with .wasm at its end where it is left out
  --engine NAME  what runs the JavaScript in the sandbox: quickjs (small and quick, the default) or starlingmonkey
                 (all of the web's text functions; needs @bytecodealliance/componentize-js)
`

try {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      out: { type: 'string', short: 'o' },
      engine: { type: 'string' },
      help: { type: 'boolean', short: 'h' },
    },
  })
  const [command, source, ...more] = positionals
  if (values.help) {
    process.stdout.write(USAGE)
  } else if (command !== 'build' || source === undefined || more.length > 0) {
    process.stderr.write(USAGE)
    process.exitCode = 2
  } else {
    const started = Date.now()
    const { out, size } = await build(source, values)
    process.stdout.write(`${out}: ${(size / 1e6).toFixed(1)} MB, in ${((Date.now() - started) / 1000).toFixed(1)} s\n`)
  }
} catch (error) {
  const isUsage = error?.code?.startsWith?.('ERR_PARSE_ARGS')
  process.stderr.write(`rowmill-plugin: ${isUsage || error instanceof BuildError ? error.message : error.stack}\n`)
  process.exitCode = isUsage ? 2 : 1
}
