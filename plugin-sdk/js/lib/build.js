// From a plugin's source to a component that imports nothing but the contract.

import { existsSync } from 'node:fs'
import { mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

/** A failure that its message explains in full. */
export class BuildError extends Error {}

/**
 * The engines that can be built in. Each is told to leave out all that it would take from WASI, so that the component
 * imports the contract alone.
 */
const ENGINES = {
  async quickjs(file) {
    const { componentize } = await import('componentize-qjs')
    const jsSource = await readFile(file, 'utf8')
    return componentize({ jsSource, witPath: WIT, world: WORLD, stubWasi: true, sync: true })
  },
  async starlingmonkey(file) {
    const { componentize } = await import('@bytecodealliance/componentize-js').catch((error) => {
      if (error.code !== 'ERR_MODULE_NOT_FOUND') throw error
      throw new BuildError('this engine is a package of its own: npm install -D @bytecodealliance/componentize-js@0.23.0')
    })
    const disableFeatures = ['stdio', 'random', 'clocks', 'http', 'fetch-event']
    return componentize({ sourcePath: file, witPath: WIT, worldName: WORLD, disableFeatures })
  },
}

/** The package's copy of the contract. */
const WIT = fileURLToPath(new URL('../wit', import.meta.url))
const WORLD = 'transform'

/** Builds `source` into `out`; tells where and how large it is. */
export async function build(source, { out = `${source.replace(/\.[^.]+$/, '')}.wasm`, engine = 'quickjs' } = {}) {
  if (!existsSync(source)) throw new BuildError(`${source}: no such file`)
  if (!Object.hasOwn(ENGINES, engine)) {
    throw new BuildError(`there is no engine '${engine}'; there are ${Object.keys(ENGINES).join(', ')}`)
  }
  const folder = await mkdtemp(join(tmpdir(), 'rowmill-plugin-'))
  try {
    const bundled = join(folder, 'plugin.js')
    await bundle(resolve(source), bundled)
    const { component } = await ENGINES[engine](bundled).catch((error) => {
      throw error instanceof BuildError ? error : new BuildError(readable(error.message))
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
        if (log.code === 'UNRESOLVED_IMPORT') throw new Error(log.message)
        handle(level, log)
      },
    })
    const { output } = await bundle.write({ file, format: 'esm', codeSplitting: false })
    const { exports } = output[0]
    if (!exports.includes('guest')) {
      throw new BuildError(
        `${source} has no \`export const guest = plugin({ … })\`; it exports ${exports.join(', ') || 'nothing'}`
      )
    }
  } catch (error) {
    throw error instanceof BuildError ? error : new BuildError(readable(error.message))
  } finally {
    await bundle?.close()
  }
}

/** What went wrong when the plugin's file ran, without what the engine's tools say around it. */
function readable(message) {
  const lines = message.split('\n').filter((line) => line.trim() !== '' && !/^\s+at |wizer|stack backtrace/i.test(line))
  return lines.join('\n').replace(/^.*JavaScript module evaluation: /, 'the plugin throws when it is loaded: ')
}
