// What the readers of a row give for every type of column, and what they say of a cell that holds something else.

import assert from 'node:assert/strict'
import { test } from 'node:test'

import { Fail, fromBase64, isValidDate, plugin, toBase64, toCents, toScaled } from '../src/index.js'
import { Harness, table } from '../src/testing.js'

const KINDS = [
  'unknown', 'integer', 'unsigned-integer', 'boolean', 'bit', 'float', 'double', 'decimal', 'date', 'time', 'date-time',
  'timestamp', 'text', 'binary', 'enumeration', 'set', 'json',
]

/** What `read` makes of a cell, which is given as JSON text. */
function reading(cell, read) {
  let value
  const guest = plugin({ name: 'reader', row: (row) => void (value = read(row)) })
  guest.configure('{}')
  const asked = guest.defineTable({ id: 1, database: 'shop', name: 't', columns: [{ name: 'c', kind: 'unknown' }], key: [0] })
  assert.deepEqual([...asked], [0])
  const bytes = new TextEncoder().encode(cell)
  const output = guest.transform({ table: 1, count: 1, operations: [], cells: [bytes.length], bytes })
  if (output.verdicts[0] === 4) return { fail: new TextDecoder().decode(output.bytes) }
  return value
}

function check(cell, method, expected) {
  assert.deepEqual(reading(cell, (row) => row[method]('c')), expected, `${method} of ${cell}`)
}

function fails(cell, method, what) {
  check(cell, method, { fail: `column 'c' of shop.t: ${what}` })
}

test('every reader gives null for NULL and undefined for a column that was not sent', () => {
  const readers = [
    'text', 'scalar', 'integer', 'bigint', 'number', 'boolean', 'decimal', 'cents', 'date', 'time', 'datetime', 'bytes',
    'bit', 'enumeration', 'set', 'json',
  ]
  for (const reader of readers) {
    check('null', reader, null)
    check('', reader, undefined)
  }
  check('null', 'isNull', true)
  check('', 'isNull', false)
  check('', 'isAbsent', true)
  check('null', 'isAbsent', false)
  check('{"a": 1}', 'raw', '{"a": 1}')
})

test('texts', () => {
  check('"open"', 'text', 'open')
  check('""', 'text', '')
  check('"收件人 🦀 é"', 'text', '收件人 🦀 é')
  check('"a\\"b\\\\c\\n\\u00e9\\ud83e\\udd80"', 'text', 'a"b\\c\né🦀')
  fails('1', 'text', 'expected a text')
  check('1.50', 'scalar', '1.50')
  check('true', 'scalar', 'true')
  fails('[1]', 'scalar', 'expected a single value, got an object or an array')
  check('"vip"', 'enumeration', 'vip')
  check('3', 'enumeration', '3')
})

test('integers lose no digit', () => {
  check('0', 'integer', 0)
  check('-0', 'integer', 0)
  check('"-7"', 'integer', -7)
  check('9007199254740991', 'integer', 9007199254740991)
  check('9007199254740992', 'integer', 9007199254740992n)
  check('18446744073709551615', 'integer', 18446744073709551615n)
  check('-9223372036854775808', 'bigint', -9223372036854775808n)
  check('5', 'bigint', 5n)
  fails('1.5', 'integer', 'expected an integer, got a number with a fraction or an exponent')
  fails('"x"', 'bigint', 'expected an integer')
  fails('true', 'integer', 'expected an integer')
})

test('numbers and booleans', () => {
  check('1.5e3', 'number', 1500)
  check('"0.25"', 'number', 0.25)
  fails('1e999', 'number', 'the number is too large for a double')
  fails('"NaN"', 'number', 'expected a number')
  fails('""', 'number', 'expected a number')
  check('true', 'boolean', true)
  check('0', 'boolean', false)
  check('"1"', 'boolean', true)
  fails('2', 'boolean', 'expected true, false, 0 or 1')
})

test('decimals', () => {
  check('"99.90"', 'decimal', '99.90')
  check('"123456789012345678901234567890.123456789"', 'decimal', '123456789012345678901234567890.123456789')
  check('7', 'decimal', '7')
  fails('"x"', 'decimal', 'expected a decimal number')
  check('"99.90"', 'cents', 9990n)
  fails('"99.905"', 'cents', 'not a whole number of cents')
  const scaled = [
    ['99.90', 2, 9990n], ['99.9', 2, 9990n], ['-0.01', 2, -1n], ['99.905', 2, undefined], ['99.9050', 3, 99905n],
    ['1e3', 2, 100000n], ['1.5e-1', 2, 15n], ['120e-2', 0, undefined], ['1200e-2', 0, 12n], ['0e-400', 2, 0n],
    ['1e-400', 2, undefined], ['.5', 1, 5n], ['5.', 0, 5n], ['', 0, undefined], ['.', 0, undefined], ['1e9999999', 0, undefined],
  ]
  for (const [text, scale, expected] of scaled) assert.equal(toScaled(text, scale), expected, `${text} by ${scale}`)
  assert.equal(toCents('92233720368547758.08'), undefined)
  assert.equal(toCents('-92233720368547758.08'), -9223372036854775808n)
})

test('dates and times in all spellings', () => {
  check('"2026-03-04"', 'date', '2026-03-04')
  check('19782', 'date', '2024-02-29')
  check('-1', 'date', '1969-12-31')
  fails('"2026-13-04"', 'date', 'expected a date as 2026-03-04')
  check('"-12:34:56.789"', 'time', '-12:34:56.789000')
  check('"838:59:59"', 'time', '838:59:59')
  check('-45296789000', 'time', '-12:34:56.789000')
  fails('"12:60:00"', 'time', 'expected a time as 12:34:56')
  check('"2026-03-04T05:06:07.123456"', 'datetime', '2026-03-04T05:06:07.123456')
  check('"2026-03-04 05:06:07.100000"', 'datetime', '2026-03-04T05:06:07.100')
  check('"2026-03-04T05:06:07Z"', 'datetime', '2026-03-04T05:06:07')
  check('"2026-03-04"', 'datetime', '2026-03-04T00:00:00')
  check('"0000-00-00 00:00:00"', 'datetime', '0000-00-00T00:00:00')
  check('1772323200000001', 'datetime', '2026-03-01T00:00:00.000001')
  check('1772323200000001000', 'datetime', '2026-03-01T00:00:00.000001')
  check('1772323200000', 'datetime', '2026-03-01T00:00:00')
  check('-1', 'datetime', '1969-12-31T23:59:59.999')
  fails('"2026-03-04T25:06:07"', 'datetime', 'expected a date and time as 2026-03-04T05:06:07')
  fails('99999999999999999999', 'datetime', 'the number is out of range')
  for (const day of ['2024-02-29', '2000-02-29T05:06:07', '2026-12-31', '0000-01-01']) assert.ok(isValidDate(day), day)
  for (const day of ['2023-02-29', '1900-02-29', '0000-00-00', '2026-04-31', '2026-13-01', 'x']) assert.ok(!isValidDate(day), day)
})

test('bytes, bits, sets and JSON', () => {
  check('"AP+A"', 'bytes', Uint8Array.of(0, 255, 128))
  check('""', 'bytes', new Uint8Array())
  fails('"AP+"', 'bytes', 'expected base64')
  check('32769', 'bit', 32769)
  check('18446744073709551615', 'bit', 18446744073709551615n)
  check('true', 'bit', 1)
  check('"AYA="', 'bit', 32769)
  fails('"AAAAAAAAAAAA"', 'bit', 'more than 64 bits')
  fails('-1', 'bit', 'expected bits as a number')
  check('"vip,gift"', 'set', ['vip', 'gift'])
  check('""', 'set', [])
  check('["a","b"]', 'set', ['a', 'b'])
  fails('[1]', 'set', 'expected an array of texts')
  check('{"a":[1,null]}', 'json', { a: [1, null] })
  for (let n = 0; n < 40; n += 1) {
    const bytes = Uint8Array.from({ length: n }, (_, i) => (i * 89 + n) % 256)
    assert.equal(toBase64(bytes), Buffer.from(bytes).toString('base64'))
    assert.deepEqual(fromBase64(toBase64(bytes)), bytes)
  }
})

test('a column that is not there, or was not asked for', () => {
  const orders = table('shop.orders', { id: 'integer', note: 'text' })
  const run = (columns, read) => new Harness(plugin({ name: 'x', columns, row: (row) => void read(row) })).row(orders, { id: 1, note: 'n' })
  assert.deepEqual(run(['id'], (row) => row.text('note')), {
    fail: "column 'note' of shop.orders: the plugin did not ask to read this column",
  })
  assert.deepEqual(run(undefined, (row) => row.text('nite')), { fail: "table shop.orders has no column 'nite'" })
  assert.throws(() => run(['ida', 'nota']), { message: "table shop.orders has no columns 'ida', 'nota'" })
  assert.throws(() => run({ reed: ['id'] }), { message: /columns: unknown key 'reed'/ })
  assert.equal(run({ read: ['id'], readOptional: ['missing'] }, (row) => assert.equal(row.text('missing'), undefined)), 'keep')
  assert.equal(run((found) => found.key, (row) => assert.equal(row.integer('id'), 1)), 'keep')
  assert.equal(run([], (row) => assert.equal(row.kind('note'), 'text')), 'keep')
})

test('what a plugin throws fails its row alone, and names the table', () => {
  const orders = table('shop.orders', { id: 'integer' })
  const harness = new Harness(
    plugin({
      name: 'x',
      row(row, out) {
        const id = row.integer('id')
        if (id === 1) throw row.wrong('id', 'is one')
        if (id === 2) throw new Fail('no rate')
        if (id === 3) undefined.field
        if (id === 4) throw 'a text'
        if (id === 5) return Promise.resolve()
        if (id === 6) out.fail('said so')
        out.document().column('id')
      },
    })
  )
  const verdicts = harness.rows(orders, [1, 2, 3, 4, 5, 6, 7].map((id) => ({ id })))
  assert.deepEqual(verdicts.slice(0, 2), [{ fail: "column 'id' of shop.orders: is one" }, { fail: 'no rate' }])
  assert.match(verdicts[2].fail, /^shop\.orders: TypeError: .*field.* \(reading\.test\.js:\d+\)$/)
  assert.deepEqual(verdicts.slice(3), [
    { fail: 'shop.orders: the plugin threw a text' },
    { fail: 'row is async: a plugin has nothing to wait for' },
    { fail: 'said so' },
    { documents: [{ operation: 'index', body: { id: 7 } }] },
  ])
})

test('every kind of the contract is known', () => {
  const columns = Object.fromEntries(KINDS.map((kind) => [kind, kind]))
  const guest = plugin({ name: 'x', row: (row) => assert.deepEqual(KINDS.map((kind) => row.kind(kind)), KINDS) })
  assert.equal(new Harness(guest).row(table('t', columns), {}), 'keep')
})
