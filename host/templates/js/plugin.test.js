// Tests the plugin in Node, without the sandbox, so that a debugger works. Run them with `npm test`.

import assert from 'node:assert/strict'
import { test } from 'node:test'

import { Harness, table } from 'rowmill-plugin/testing'

import { guest } from './plugin.js'

const orders = table('shop.orders', { id: 'integer', customer_no: 'text', state: 'text', total: 'decimal' })

test('an open order becomes a document and a draft does not', () => {
  const plugin = new Harness(guest, { currency: 'EUR' })
  assert.deepEqual(plugin.row(orders, { id: 1, customer_no: 'C1', state: 'open', total: '9.90' }), {
    documents: [
      { operation: 'index', body: { id: 1, customer: 'C1', state: 'open', amount: { cents: 990, currency: 'EUR' } } },
    ],
  })
  assert.equal(plugin.row(orders, { id: 2, customer_no: 'C1', state: 'draft', total: '0.00' }), 'drop')
})

test('a total that is not in cents fails the row', () => {
  const order = { id: 1, customer_no: 'C1', state: 'open', total: '0.005' }
  assert.deepEqual(new Harness(guest).row(orders, order), {
    fail: "column 'total' of shop.orders: not a whole number of cents",
  })
})

test('settings are checked', () => {
  assert.throws(() => new Harness(guest, { currency: 'EURO' }), /currency is 'EURO', expected three letters/)
  assert.throws(() => new Harness(guest, { curency: 'EUR' }), /unknown field 'curency', expected 'currency'/)
})
