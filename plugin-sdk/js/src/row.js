// Reading rows: one image's cells by column, as the type that the plugin needs.

import { fromBase64 } from './base64.js'
import { isDecimal, toCents } from './decimal.js'
import { Fail } from './fail.js'
import { NONE } from './table.js'
import * as time from './time.js'

/** Thrown by the readers of one value; `Row` adds column and table. */
class Wrong {
  constructor(what) {
    this.what = what
  }
}

const wrong = (what) => {
  throw new Wrong(what)
}

/** One image of a row: how a row is, or how it was. */
export class Row {
  #table
  #cells
  #first

  constructor(table, cells, first) {
    this.#table = table
    this.#cells = cells
    this.#first = first
  }

  /** The table's name with its database. */
  get table() {
    return this.#table.fullName
  }

  /** What the values of a column are, as far as the host knows. */
  kind(column) {
    return this.#table.places.get(column)?.kind ?? 'unknown'
  }

  /** The cell as it came: the text of one JSON value; empty if the source did not send the column. */
  raw(column) {
    const place = this.#table.places.get(column)
    if (place !== undefined && place.cell !== NONE) return this.#cells.raw(this.#first + place.cell)
    if (place === undefined) throw new Fail(`table ${this.table} has no column '${column}'`)
    // Optional, and this table lacks it.
    if (place.number === NONE) return ''
    throw this.wrong(column, 'the plugin did not ask to read this column')
  }

  /** Whether the value is SQL NULL. */
  isNull(column) {
    return this.raw(column) === 'null'
  }

  /** Whether the source did not send the column. */
  isAbsent(column) {
    return this.raw(column) === ''
  }

  /** A text, enum, set or any other value that is spelled as a JSON string. */
  text(column) {
    return this.#read(column, string)
  }

  /** The content of a string, or the spelling of a number or boolean. */
  scalar(column) {
    return this.#read(column, scalar)
  }

  /** An integer: a number, or a BigInt beyond 2^53. */
  integer(column) {
    return this.#read(column, integer)
  }

  /** An integer as a BigInt. */
  bigint(column) {
    return this.#read(column, bigint)
  }

  /** A floating-point number. */
  number(column) {
    return this.#read(column, number)
  }

  /** A boolean: `true`, `false`, or MySQL's 0 and 1. */
  boolean(column) {
    return this.#read(column, boolean)
  }

  /** Any number with all its digits, as text. */
  decimal(column) {
    return this.#read(column, decimal)
  }

  /** An amount in hundredths, as a BigInt. */
  cents(column) {
    return this.#read(column, (cell) => toCents(token(cell)) ?? wrong(isDecimal(token(cell)) ? 'not a whole number of cents' : 'expected a decimal number'))
  }

  /** A day as `2026-03-04`. A number is taken as days since 1970-01-01. */
  date(column) {
    return this.#read(column, (cell) =>
      isNumber(cell)
        ? time.dateOfEpochDays(small(cell, 1n << 40n))
        : (time.date(token(cell)) ?? wrong('expected a date as 2026-03-04'))
    )
  }

  /** A time of day or a length of time as `-12:34:56.789000`. A number is taken as microseconds. */
  time(column) {
    return this.#read(column, (cell) =>
      isNumber(cell)
        ? time.timeOfMicroseconds(small(cell, (1n << 63n) - 1n))
        : (time.time(token(cell)) ?? wrong('expected a time as 12:34:56'))
    )
  }

  /** A DATETIME or TIMESTAMP as `2026-03-04T05:06:07.123`, without a zone. A number is taken as an epoch. */
  datetime(column) {
    return this.#read(column, (cell) =>
      isNumber(cell)
        ? time.datetimeOfEpoch(small(cell, (1n << 63n) - 1n))
        : (time.datetime(token(cell)) ?? wrong('expected a date and time as 2026-03-04T05:06:07'))
    )
  }

  /** The bytes of a binary column. */
  bytes(column) {
    return this.#read(column, bytes)
  }

  /** The bits of a BIT column as a number: a BigInt beyond 2^53. */
  bit(column) {
    return this.#read(column, bit)
  }

  /** The label of an ENUM column; of a source without labels its number as text. */
  enumeration(column) {
    return this.#read(column, scalar)
  }

  /** The labels of a SET column. */
  set(column) {
    return this.#read(column, labels)
  }

  /** The value of a JSON column. Its numbers are JavaScript's: those beyond 2^53 lose digits. */
  json(column) {
    return this.#read(column, parse)
  }

  #read(column, reader) {
    const cell = this.raw(column)
    if (cell === '') return undefined
    if (cell === 'null') return null
    try {
      return reader(cell)
    } catch (error) {
      throw error instanceof Wrong ? this.wrong(column, error.what) : error
    }
  }

  /** A failure of this column, to be thrown, for values that the plugin itself finds wrong. */
  wrong(column, what) {
    return new Fail(`column '${column}' of ${this.table}: ${what}`)
  }
}

const OPERATIONS = ['insert', 'update', 'delete', 'snapshot']

/** One change of a row, with both images. */
export class Change {
  constructor(operation, before, after) {
    this.operation = OPERATIONS[operation] ?? 'snapshot'
    this.before = this.operation === 'update' || this.operation === 'delete' ? before : undefined
    this.after = this.operation === 'delete' ? undefined : after
  }

  /** The row after the change, or for a delete the row before it. */
  get row() {
    return this.after ?? this.before
  }
}

function parse(cell) {
  try {
    return JSON.parse(cell)
  } catch {
    return wrong('the cell is no JSON value')
  }
}

const isString = (cell) => cell.charCodeAt(0) === 34
const isTree = (cell) => cell[0] === '{' || cell[0] === '['
const isNumber = (cell) => !isString(cell) && !isTree(cell) && cell !== 'true' && cell !== 'false'

function string(cell) {
  if (!isString(cell)) return wrong('expected a text')
  return cell.includes('\\') ? parse(cell) : cell.slice(1, -1)
}

/** The content of a string that has no escape, or the spelling of a number: what digits and dates are made of. */
const token = (cell) => (isString(cell) ? cell.slice(1, -1) : cell)

function scalar(cell) {
  if (isString(cell)) return string(cell)
  return isTree(cell) ? wrong('expected a single value, got an object or an array') : cell
}

function digits(cell) {
  const text = token(cell)
  if (/^-?\d+$/.test(text)) return text
  return wrong(
    isNumber(cell) ? 'expected an integer, got a number with a fraction or an exponent' : 'expected an integer'
  )
}

function integer(cell) {
  const text = digits(cell)
  const value = Number(text)
  return Number.isSafeInteger(value) ? value + 0 : BigInt(text)
}

const bigint = (cell) => BigInt(digits(cell))

function small(cell, limit) {
  const value = bigint(cell)
  return value <= limit && -value <= limit ? value : wrong('the number is out of range')
}

function number(cell) {
  const text = token(cell)
  const value = /^-?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?$/.test(text) ? Number(text) : wrong('expected a number')
  return Number.isFinite(value) ? value : wrong('the number is too large for a double')
}

function boolean(cell) {
  switch (token(cell)) {
    case 'true':
    case '1':
      return true
    case 'false':
    case '0':
      return false
    default:
      return wrong('expected true, false, 0 or 1')
  }
}

function decimal(cell) {
  const text = token(cell)
  return isDecimal(text) ? text : wrong('expected a decimal number')
}

function bytes(cell) {
  return fromBase64(string(cell)) ?? wrong('expected base64')
}

function bit(cell) {
  if (cell === 'true') return 1
  if (cell === 'false') return 0
  if (!isString(cell)) {
    const value = integer(cell)
    return value >= 0 && value < 1n << 64n ? value : wrong('expected bits as a number')
  }
  // Base64 of little-endian bytes, as Debezium writes them without types.
  const little = bytes(cell)
  if (little.length > 8) return wrong('more than 64 bits')
  const value = little.reduceRight((sum, byte) => (sum << 8n) | BigInt(byte), 0n)
  return value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : value
}

function labels(cell) {
  const all = isTree(cell) ? parse(cell) : string(cell).split(',')
  if (!Array.isArray(all) || all.some((label) => typeof label !== 'string')) return wrong('expected an array of texts')
  return all.filter((label) => label !== '')
}
