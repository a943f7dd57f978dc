// A plugin's definition, and behind it the four calls of the contract.

import { Answer } from './answer.js'
import { Cells } from './cells.js'
import { Fail } from './fail.js'
import { Out } from './out.js'
import { Change, Row } from './row.js'
import { settingsOver } from './settings.js'
import { TableState, tableOf } from './table.js'

const KEYS = [
  'name', 'version', 'tables', 'indices', 'settings', 'settingsSchema', 'configure', 'columns', 'row', 'change',
]

/**
 * Makes the plugin of a file: `export const guest = plugin({ … })`.
 *
 * A mistake in the definition throws, so that the build fails with it.
 */
export function plugin(definition) {
  check(definition)
  const isChange = definition.change !== undefined
  let settings
  const tables = new Map()

  return {
    describe: () => ({
      name: definition.name,
      version: definition.version ?? '0.0.0',
      tables: definition.tables ?? [],
      mode: isChange ? 'change' : 'image',
      indices: (definition.indices ?? []).map((index) =>
        typeof index === 'string' ? { name: index, mapping: undefined } : { name: index.name, mapping: json(index.mapping) }
      ),
      settingsSchema: json(definition.settingsSchema),
    }),

    configure(text) {
      settings = refusing(() => {
        const given = JSON.parse(text)
        const checks = definition.settings !== undefined || definition.configure === undefined
        const found = checks ? settingsOver(definition.settings ?? {}, given) : given
        return definition.configure?.(found) ?? found
      })
      tables.clear()
    },

    defineTable(record) {
      return refusing(() => {
        const table = tableOf(record)
        const { columns } = definition
        const wanted = typeof columns === 'function' ? definition.columns(table, settings) : columns
        const state = new TableState(table, wanted)
        tables.set(record.id, state)
        return Uint32Array.from(state.asked)
      })
    },

    transform(batch) {
      const answer = new Answer()
      const table = tables.get(batch.table)
      const images = isChange ? 2 : 1
      const width = table?.asked.length ?? 0
      const problem =
        table === undefined
          ? 'the table version was not defined'
          : batch.cells.length !== batch.count * images * width
            ? 'the batch does not have the cells that the plugin asked for'
            : undefined
      if (problem !== undefined) {
        for (let i = 0; i < batch.count; i += 1) new Out({ fullName: '' }, answer).end(new Fail(problem))
        return answer.finish()
      }
      const cells = new Cells(batch)
      for (let i = 0; i < batch.count; i += 1) {
        const first = i * images * width
        const out = new Out(table, answer)
        let error
        try {
          const row = new Row(table, cells, first)
          const said = isChange
            ? definition.change(new Change(batch.operations[i], row, new Row(table, cells, first + width)), out, settings)
            : definition.row(row, out, settings)
          if (typeof said?.then === 'function') {
            throw new Fail(`${isChange ? 'change' : 'row'} is async: a plugin has nothing to wait for`)
          }
        } catch (thrown) {
          error = thrown ?? new Error(`the plugin threw ${thrown}`)
        }
        out.end(error)
      }
      return answer.finish()
    },
  }
}

const json = (value) => (value === undefined || typeof value === 'string' ? value : JSON.stringify(value))

/** Runs what may refuse: the message of what it throws goes to the host, as the error of the call. */
function refusing(run) {
  try {
    return run()
  } catch (error) {
    // The contract's error is a text, and engines take what is thrown for it.
    throw error instanceof Error ? error.message : String(error)
  }
}

function check(definition) {
  const refuse = (what) => {
    throw new TypeError(`plugin(): ${what}`)
  }
  if (typeof definition !== 'object' || definition === null) refuse('it takes an object: plugin({ name, row, … })')
  for (const key of Object.keys(definition)) {
    if (!KEYS.includes(key)) refuse(`unknown key '${key}'; there are ${KEYS.join(', ')}`)
  }
  const { name, tables, indices, row, change, settings } = definition
  if (typeof name !== 'string' || !/^[\w.-]{1,64}$/.test(name)) {
    refuse('`name` is 1 to 64 letters, digits, `-`, `_` or `.`; settings are found by it')
  }
  if ((typeof row === 'function') === (typeof change === 'function')) {
    refuse('it needs one function of `row(row, out)` and `change(change, out)`')
  }
  const isList = (list) => list === undefined || Array.isArray(list)
  if (!isList(tables)) refuse("`tables` is a list of patterns: ['shop.orders']")
  if (!isList(indices)) refuse("`indices` is a list of names, or of { name, mapping }: ['order-notes']")
  if (settings !== undefined && (typeof settings !== 'object' || settings === null)) {
    refuse("`settings` is an object of defaults: { currency: 'CNY' }")
  }
}
