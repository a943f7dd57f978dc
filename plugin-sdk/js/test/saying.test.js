// What a plugin can say of a row, read back from the flat encoding.

import assert from 'node:assert/strict'
import { test } from 'node:test'

import { plugin } from '../src/index.js'
import { Harness, table } from '../src/testing.js'

const ORDERS = table('shop.orders', { id: 'integer', state: 'text', total: 'decimal', note: 'text' })
const ROW = { id: 1, state: 'open', total: '9.90', note: '收件人 🦀' }

const said = (row, values = ROW, more = {}) => new Harness(plugin({ name: 'x', row, ...more })).row(ORDERS, values)

function body(build, expected) {
  assert.deepEqual(said((row, out) => void build(out.document(), row)), { documents: [{ operation: 'index', body: expected }] })
}

test('the simple verdicts, and the last one holds', () => {
  assert.equal(said(() => {}), 'keep')
  assert.equal(said((row, out) => out.keep()), 'keep')
  assert.equal(said((row, out) => out.drop()), 'drop')
  assert.equal(said((row, out) => (out.document().all(), out.drop())), 'drop')
  assert.equal(said((row, out) => (out.edit().text('note', 'x'), out.keep())), 'keep')
  assert.deepEqual(said((row, out) => (out.drop(), out.document().column('id'), undefined)), {
    documents: [{ operation: 'index', body: { id: 1 } }],
  })
})

test('columns of a document', () => {
  body((document) => document.all(), ROW)
  body((document) => document.allExcept(['note', 'total']), { id: 1, state: 'open' })
  body((document) => document.column('id').columnAs('state', 'status'), { id: 1, status: 'open' })
  assert.deepEqual(said((row, out) => void out.document().all(), { id: 1, note: null }), {
    documents: [{ operation: 'index', body: { id: 1, note: null } }],
  })
})

test('values of a document', () => {
  body(
    (document) =>
      document
        .set('any', { a: [1, 'é', null, { b: 18446744073709551615n }] })
        .text('text', 'a"\\\n\u2028🦀')
        .texts('texts', new Set(['a', 'b']))
        .integer('integer', -5)
        .integer('long', 18446744073709551615n)
        .boolean('yes', true)
        .null('nothing')
        .decimal('decimal', '99.90')
        .datetime('at', '2026-03-04 05:06:07.100000')
        .datetimeUtc('utc', '2026-03-04T05:06:07Z')
        .raw('raw', '{"a":\n1}'),
    {
      any: { a: [1, 'é', null, { b: 18446744073709552000 }] },
      text: 'a"\\\n\u2028🦀',
      texts: ['a', 'b'],
      integer: -5,
      long: 18446744073709552000,
      yes: true,
      nothing: null,
      decimal: '99.90',
      at: '2026-03-04T05:06:07.100',
      utc: '2026-03-04T05:06:07Z',
      raw: { a: 1 },
    }
  )
  body(
    (document) => document.object('a', (a) => a.column('id').object('b', (b) => b.text('c', 'd')).integer('e', 1)).null('f'),
    { a: { id: 1, b: { c: 'd' }, e: 1 }, f: null }
  )
})

test('long integers keep their digits', () => {
  const guest = plugin({ name: 'x', row: (row, out) => void out.document().set('n', [18446744073709551615n]) })
  guest.configure('{}')
  guest.defineTable(ORDERS)
  const { bytes } = guest.transform({ table: 1, count: 1, operations: [], cells: [1, 1, 1, 1], bytes: Uint8Array.of(49) })
  assert.equal(new TextDecoder().decode(bytes), '[18446744073709551615]n')
})

test('index, id and routing, in any order with the fields', () => {
  assert.deepEqual(
    said((row, out) => {
      out.document().column('id').id(`${row.integer('id')}-é`).text('t', row.text('note')).index('orders-notes')
      out.merge().id(18446744073709551615n).routing('r').text('t', 'ü')
      out.document().index('收').column('note')
    }),
    {
      documents: [
        { operation: 'index', index: 'orders-notes', id: '1-é', body: { id: 1, t: '收件人 🦀' } },
        { operation: 'merge', id: '18446744073709551615', routing: 'r', body: { t: 'ü' } },
        { operation: 'index', index: '收', body: { note: '收件人 🦀' } },
      ],
    }
  )
})

test('items of an array', () => {
  const { documents } = said((row, out) => {
    out.putItem('lines', row.integer('id')).routing('r').id('7').text('note', 'ü').column('state')
    out.removeItem('lines', '1-8').id('8').index('orders-full')
  })
  assert.deepEqual(documents, [
    { operation: 'put-item', id: '7', routing: 'r', item: { array: 'lines', key: '1' }, body: { note: 'ü', state: 'open' } },
    { operation: 'remove-item', index: 'orders-full', id: '8', item: { array: 'lines', key: '1-8' }, body: {} },
  ])
  assert.deepEqual(said((row, out) => void out.putItem('lines', '')), { fail: "the document's item key is empty" })
  assert.deepEqual(said((row, out) => void out.removeItem('lines', 1).column('id')), { fail: 'a delete has no fields' })
})

test('edits', () => {
  assert.deepEqual(
    said((row, out) => void out.edit().text('note', 'x').null('state').text('note', 'é').absent('total').set('id', 7)),
    { edit: { note: 'é', state: null, total: undefined, id: 7 } }
  )
})

test('mistakes fail the row with what is wrong', () => {
  const fails = (row, fail) => assert.deepEqual(said(row), { fail })
  const on = (build) => (row, out) => void build(out.document())
  fails(on((document) => document.column('nota')), "table shop.orders has no column 'nota'")
  fails(on((document) => document.id('')), "the document's id is empty")
  fails(on((document) => document.id(null)), "the document's id is null")
  fails(on((document) => document.id(undefined)), "the document's id is undefined")
  fails(on((document) => document.id('é'.repeat(257))), "the document's id has 514 bytes, more than 512")
  fails(on((document) => document.integer('n', 1.5)), "'n' is no integer that a number holds exactly: number; beyond 2^53 use a BigInt")
  fails(on((document) => document.integer('n', 2 ** 53)), "'n' is no integer that a number holds exactly: number; beyond 2^53 use a BigInt")
  fails(on((document) => document.set('n', undefined)), "'n' cannot be written as JSON: it is undefined")
  fails(on((document) => document.set('n', NaN)), "'n' cannot be written as JSON: it is NaN")
  fails(on((document) => document.decimal('n', 'x')), "'n' is no decimal number")
  fails(on((document) => document.datetime('n', 'x')), "'n' is no date and time as 2026-03-04T05:06:07")
  fails((row, out) => {
    const first = out.document()
    out.document()
    first.column('id')
  }, 'a document was used after it was complete: another one had begun, or the row had ended')
  const loop = {}
  loop.self = loop
  assert.match(said(on((document) => document.set('n', loop))).fail, /^'n' cannot be written as JSON: .*circular/i)
})

test('half surrogate pairs do not move what stands beside them', () => {
  assert.deepEqual(said((row, out) => void out.document().id('a\ud800').text('t', '\udc00x').text('\ud83e', 'é')), {
    documents: [{ operation: 'index', id: 'a\ufffd', body: { t: '\udc00x', '\ufffd': 'é' } }],
  })
})

test('a row that fails leaves nothing behind', () => {
  const guest = plugin({
    name: 'x',
    row(row, out) {
      out.document().id(row.text('note')).text('t', 'é').column('id')
      if (row.integer('id') % 2 === 1) throw row.wrong('note', 'é')
    },
  })
  const rows = [1, 2, 3, 4].map((id) => ({ ...ROW, id, note: `n${id}` }))
  const expected = rows.map(({ id, note }) =>
    id % 2 === 1
      ? { fail: "column 'note' of shop.orders: é" }
      : { documents: [{ operation: 'index', id: note, body: { t: 'é', id } }] }
  )
  assert.deepEqual(new Harness(guest).rows(ORDERS, rows), expected)
})

test('`out` is dead after its row', () => {
  let kept
  const guest = plugin({
    name: 'x',
    row(row, out) {
      kept?.drop()
      kept = out
    },
  })
  const verdicts = new Harness(guest).rows(ORDERS, [ROW, ROW])
  assert.deepEqual(verdicts, ['keep', { fail: '`out` was used after the row had ended' }])
})

test('changes', () => {
  const audit = plugin({
    name: 'audit',
    change({ operation, before, after, row }, out) {
      if (operation === 'delete') out.delete().id(row.integer('id'))
      else out.document().all().text('was', before?.text('state') ?? operation).text('is', after.text('state'))
    },
  })
  assert.equal(audit.describe().mode, 'change')
  const harness = new Harness(audit)
  const paid = { ...ROW, state: 'paid' }
  assert.deepEqual(harness.change(ORDERS, 'update', ROW, paid).documents[0].body, { ...paid, was: 'open', is: 'paid' })
  assert.deepEqual(harness.change(ORDERS, 'insert', undefined, ROW).documents[0].body, { ...ROW, was: 'insert', is: 'open' })
  assert.deepEqual(harness.change(ORDERS, 'delete', ROW, undefined), {
    documents: [{ operation: 'delete', id: '1', body: {} }],
  })
  const wrong = plugin({ name: 'x', change: (change, out) => void out.delete().column('id') })
  assert.deepEqual(new Harness(wrong).change(ORDERS, 'insert', undefined, ROW), { fail: 'a delete has no fields' })
})

test('random documents of every kind of text come back as they were', () => {
  const seed = Number(process.env.SEED ?? Date.now() % 2 ** 31)
  console.log(`SEED=${seed}`)
  let state = seed
  const random = (n) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return Math.floor((state / 2 ** 32) * n)
  }
  const texts = ['', 'a', 'é', '收件人', '🦀', '"\\\n', 'plain ascii text', '\u2028', 'z'.repeat(300)]
  const text = () => texts[random(texts.length)]
  for (let round = 0; round < 300; round += 1) {
    const plan = Array.from({ length: 1 + random(6) }, (_, id) => ({
      id, note: text(), routing: text(), deep: text(), fails: random(4) === 0, name: text() + 'x',
    }))
    const guest = plugin({
      name: 'x',
      row(row, out) {
        const { note, routing, deep, fails, name } = plan[row.integer('id')]
        const document = out.document().text('note', note)
        if (routing !== '') document.routing(routing)
        document.object('o', (o) => o.text(name, deep)).columnAs('note', 'copied')
        assert.equal(row.text('note'), note)
        if (fails) out.fail(deep + '.')
      },
    })
    const rows = plan.map(({ id, note }) => ({ id, note }))
    const expected = plan.map(({ note, routing, deep, fails, name }) => {
      if (fails) return { fail: deep + '.' }
      const head = routing === '' ? {} : { routing }
      return { documents: [{ operation: 'index', ...head, body: { note, o: { [name]: deep }, copied: note } }] }
    })
    assert.deepEqual(new Harness(guest).rows(ORDERS, rows), expected, `SEED=${seed}, round ${round}`)
  }
})
