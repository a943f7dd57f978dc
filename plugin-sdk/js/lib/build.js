// From a plugin's source to a component that imports nothing but the contract.

import { existsSync } from 'node:fs'
import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

/** A failure that its message explains in full. */
export class BuildError extends Error {}

/** Everything that the engine could take from WASI: without it the component imports the contract alone. */
const FEATURES = ['stdio', 'random', 'clocks', 'http', 'fetch-event']

/** The contract: a copy in the published package, the original in a checkout. */
function contract() {
  const found = ['../wit', '../../../wit'].map((path) => fileURLToPath(new URL(path, import.meta.url))).find((path) =>
    existsSync(join(path, 'rowmill-plugin.wit'))
  )
  if (found === undefined) throw new BuildError('the package lacks its copy of the contract (wit/); install it again')
  return found
}

/** Builds `source` into `out`; tells where and how large it is. */
export async function build(source, out = source.replace(/\.[^.]+$/, '') + '.wasm') {
  if (!existsSync(source)) throw new BuildError(`${source}: no such file`)
  const { componentize } = await import('@bytecodealliance/componentize-js')
  const folder = await mkdtemp(join(tmpdir(), 'rowmill-plugin-'))
  try {
    const bundled = join(folder, 'plugin.js')
    await bundle(resolve(source), bundled)
    const { component } = await componentize({
      sourcePath: bundled,
      witPath: contract(),
      worldName: 'transform',
      disableFeatures: FEATURES,
    }).catch((error) => {
      throw new BuildError(readable(error.message, folder))
    })
    // Moved into place as a whole: a gateway may be watching the folder.
    const part = `${out}.part`
    await writeFile(part, component)
    await rename(part, out)
    return { out, size: component.length }
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

/** One file of the plugin, the SDK and whatever else it imports. */
async function bundle(source, file) {
  const { rolldown } = await import('rolldown')
  let bundle
  try {
    bundle = await rolldown({
      input: source,
      external: /^rowmill:/,
      platform: 'neutral',
      resolve: { conditionNames: ['rowmill', 'import', 'default'], mainFields: ['module', 'main'] },
      onLog(level, log, handle) {
        // What is not found would become an import of the component, which no host has.
        if (log.code === 'UNRESOLVED_IMPORT') throw new BuildError(log.message)
        handle(level, log)
      },
    })
    const { output } = await bundle.write({ file, format: 'esm', codeSplitting: false })
    const exports = output[0].exports
    if (!exports.includes('guest')) {
      throw new BuildError(
        `${source} has no \`export const guest = plugin({ … })\`; it exports ${exports.join(', ') || 'nothing'}`
      )
    }
  } catch (error) {
    throw error instanceof BuildError ? error : new BuildError(error.message)
  } finally {
    await bundle?.close()
  }
}

/** What went wrong in the plugin's own code, without the engine's frames and our folder. */
function readable(message, folder) {
  return message
    .split('\n')
    .map((line) => line.replaceAll(`${folder}/`, ''))
    .filter((line) => line.trim() !== '' && !/wizer|stack backtrace/i.test(line))
    .join('\n')
}
