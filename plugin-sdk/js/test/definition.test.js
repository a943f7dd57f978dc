// What a definition may say, and what the settings of a configuration may.

import assert from 'node:assert/strict'
import { test } from 'node:test'

import { plugin } from '../src/index.js'
import { Harness, table } from '../src/testing.js'

const row = () => {}

test('mistakes in the definition are found when the plugin is built', () => {
  const refused = (definition, what) => assert.throws(() => plugin(definition), { name: 'TypeError', message: what })
  refused(undefined, /it takes an object/)
  refused({ name: 'x', row, table: 'shop.orders' }, /unknown key 'table'; there are name, version, tables/)
  refused({ name: 'no spaces', row }, /`name` is 1 to 64 letters/)
  refused({ row }, /`name` is/)
  refused({ name: 'x' }, /one function of `row\(row, out\)` and `change\(change, out\)`/)
  refused({ name: 'x', row, change: row }, /one function of/)
  refused({ name: 'x', row, tables: 'shop.orders' }, /`tables` is a list/)
  refused({ name: 'x', row, indices: 'orders' }, /`indices` is a list/)
  refused({ name: 'x', row, settings: 1 }, /`settings` is an object of defaults/)
})

test('the description', () => {
  const { describe } = plugin({
    name: 'x',
    version: '1.2.3',
    tables: ['shop.*'],
    indices: ['notes', { name: '', mapping: { properties: {} } }],
    settingsSchema: { type: 'object' },
    row,
  })
  assert.deepEqual(describe(), {
    name: 'x',
    version: '1.2.3',
    tables: ['shop.*'],
    mode: 'image',
    indices: [{ name: 'notes', mapping: undefined }, { name: '', mapping: '{"properties":{}}' }],
    settingsSchema: '{"type":"object"}',
  })
})

test('settings', () => {
  const configured = (definition, settings) => {
    let got
    const guest = plugin({ name: 'x', ...definition, row: (_, __, settings) => void (got = settings) })
    new Harness(guest, settings).row(table('t', { id: 'integer' }), { id: 1 })
    return got
  }
  const refused = (definition, settings, message) => assert.throws(() => configured(definition, settings), { message })
  const settings = { currency: 'CNY', limit: 5, tags: [], any: null }
  assert.deepEqual(configured({}, {}), {})
  refused({}, { a: 1 }, "settings: unknown field 'a', there are no settings")
  assert.deepEqual(configured({ settings }, { limit: 6, any: 'x' }), { currency: 'CNY', limit: 6, tags: [], any: 'x' })
  refused({ settings }, { limits: 6 }, "settings: unknown field 'limits', expected one of 'currency', 'limit', 'tags', 'any'")
  refused({ settings }, { limit: '6' }, "settings: 'limit' is a text, expected a number")
  refused({ settings }, { tags: {} }, "settings: 'tags' is a table, expected a list")
  const configure = ({ currency }) => {
    if (currency.length !== 3) throw new Error(`currency is '${currency}', expected three letters`)
    return { lower: currency.toLowerCase() }
  }
  assert.deepEqual(configured({ settings, configure }, {}), { lower: 'cny' })
  refused({ settings, configure }, { currency: 'EURO' }, "currency is 'EURO', expected three letters")
  assert.deepEqual(configured({ configure: (given) => given }, { anything: true }), { anything: true })
})

test('a table version that was not defined fails its rows', () => {
  const guest = plugin({ name: 'x', row })
  guest.configure('{}')
  const { verdicts, bytes } = guest.transform({ table: 9, count: 2, operations: [], cells: [], bytes: new Uint8Array() })
  assert.deepEqual([...verdicts], [4, 0, 33, 4, 33, 33])
  assert.equal(new TextDecoder().decode(bytes).slice(0, 33), 'the table version was not defined')
})
