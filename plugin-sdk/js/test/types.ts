// What the types take and what they refuse; `tsc` is the test. A line under `@ts-expect-error` must not compile.

import { log, plugin, toCents, type Guest, type Row } from 'rowmill-plugin'
import { Harness, table, type Verdict } from 'rowmill-plugin/testing'

const orders: Guest = plugin({
  name: 'order-document',
  version: '0.1.0',
  tables: ['shop.orders'],
  indices: ['order-notes', { name: '', mapping: { properties: {} } }],
  settings: { currency: 'CNY', limit: 5 },
  configure({ currency, limit }) {
    if (currency.length !== 3 || limit < 0) throw new Error('no')
    // @ts-expect-error a setting that has no default
    currency.limits
  },
  columns: { read: ['state'], passOptional: ['note'] },
  row(row, out, settings) {
    if (row.text('state') === 'draft') return out.drop()
    const cents: bigint | null | undefined = row.cents('total')
    const id = row.integer('id')
    if (cents == null || id == null) throw row.wrong('total', 'is NULL')
    out
      .document()
      .id(id)
      .column('id')
      .object('total', (total) => total.integer('cents', cents).text('currency', settings.currency))
    // @ts-expect-error NULL is no text
    out.edit().text('note', row.text('note'))
    // @ts-expect-error a decimal is a text: a number would lose digits
    const price: number = row.decimal('price')
    // @ts-expect-error only in the mode `change`
    out.delete()
    // @ts-expect-error the third argument has what `settings` has
    settings.currencies
    log.info(String(price))
  },
})

plugin({
  name: 'mapped',
  settings: { names: [] as string[] },
  configure: ({ names }) => new Set(names),
  columns: (table, names) => table.columns.map(({ name }) => name).filter((name) => names.has(name)),
  row(row: Row, out, names) {
    if (!names.has(row.scalar('name') ?? '')) out.drop()
  },
})

plugin({
  name: 'audit',
  change({ operation, before, row }, out) {
    if (operation === 'delete') out.delete().id(row.integer('id') ?? 0).routing('r')
    // @ts-expect-error there is none of an insert
    before.text('state')
    // @ts-expect-error an operation that there is not
    if (operation === 'truncate') out.drop()
  },
})

// @ts-expect-error a misspelled key
plugin({ name: 'x', table: ['shop.orders'], row() {} })
// @ts-expect-error neither row nor change
plugin({ name: 'x' })

const verdict: Verdict = new Harness(orders, { currency: 'EUR' }).row(table('shop.orders', { id: 'integer' }), { id: 1n })
if (verdict !== 'keep' && verdict !== 'drop' && 'documents' in verdict) verdict.documents[0]?.body
export const cents: bigint | undefined = toCents('1.00')
