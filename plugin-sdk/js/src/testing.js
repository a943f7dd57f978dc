// Testing a plugin in Node: rows from values, and a reader of what the plugin said. The reader follows the text of the
// contract and shares no code with the builders of documents.

import { toJson } from './json.js'

const encoder = new TextEncoder()
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
const OPERATIONS = ['insert', 'update', 'delete', 'snapshot']

/**
 * A table of this full name: `table('shop.orders', { id: 'integer', total: 'decimal' })`. The first column is the key.
 */
export function table(fullName, columns) {
  const point = fullName.indexOf('.')
  return {
    id: 1,
    database: point < 0 ? '' : fullName.slice(0, point),
    name: fullName.slice(point + 1),
    columns: Object.entries(columns).map(([name, kind]) => ({ name, kind })),
    key: Uint32Array.of(0),
  }
}

/** A plugin under test, configured with these settings. Throws where it refuses them. */
export class Harness {
  #guest
  #isChange

  constructor(guest, settings = {}) {
    this.#guest = guest
    this.#isChange = guest.describe().mode === 'change'
    refusing(() => guest.configure(toJson(settings)))
  }

  /**
   * What the plugin says of a row, given as an object of the columns' values as the contract spells them: decimals and
   * times as texts, long integers as BigInts. A column that is left out is absent, as if the source had not sent it.
   */
  row(table, row) {
    return this.rows(table, [row])[0]
  }

  /** What the plugin says of several rows in one batch. */
  rows(table, rows) {
    return this.#run(table, rows.map((row) => [row]), new Uint8Array())
  }

  /** What a plugin of the mode `change` says: `change(orders, 'update', before, after)`. */
  change(table, operation, before, after) {
    return this.#run(table, [[before, after]], Uint8Array.of(OPERATIONS.indexOf(operation)))[0]
  }

  #run(table, images, operations) {
    if (this.#isChange !== operations.length > 0) {
      throw new Error(`the plugin has the mode ${this.#isChange ? 'change: use change()' : 'image: use row()'}`)
    }
    const asked = refusing(() => this.#guest.defineTable(table))
    const cells = []
    let text = ''
    let bytes = 0
    for (const image of images.flat()) {
      for (const number of asked) {
        const value = image?.[table.columns[number].name]
        const cell = value === undefined ? '' : toJson(value)
        text += cell
        bytes += encoder.encode(cell).length
        cells.push(bytes)
      }
    }
    const output = this.#guest.transform({
      table: table.id,
      count: images.length,
      operations,
      cells: Uint32Array.from(cells),
      bytes: encoder.encode(text),
    })
    const reader = new Reader(output, table)
    const verdicts = images.map(([before, after]) => reader.verdict(after ?? before ?? {}))
    if (reader.at !== output.verdicts.length) throw new Error('words are left after the last verdict')
    return verdicts
  }
}

/** Makes the text of a refusal an error. */
function refusing(call) {
  try {
    return call()
  } catch (refusal) {
    throw typeof refusal === 'string' ? new Error(refusal) : refusal
  }
}

/** Reads the words of an output from the first to the last. Throws where they break the contract. */
class Reader {
  constructor(output, table) {
    this.output = output
    this.table = table
    this.at = 0
  }

  word() {
    const word = this.output.verdicts[this.at]
    if (word === undefined) throw new Error('the verdicts end too early')
    this.at += 1
    return word
  }

  bytes(start, length) {
    if (start + length > this.output.bytes.length) throw new Error('a range leaves the bytes')
    return decoder.decode(this.output.bytes.subarray(start, start + length))
  }

  range() {
    return this.bytes(this.word(), this.word())
  }

  column() {
    const column = this.table.columns[this.word()]
    if (column === undefined) throw new Error('a column that the table does not have')
    return column.name
  }

  name() {
    const at = this.word() * 2
    if (at >= this.output.names.length) throw new Error('a name that there is not')
    return this.bytes(this.output.names[at], this.output.names[at + 1])
  }

  json(text) {
    if (/[\n\r]/.test(text)) throw new Error('a value holds a line break')
    return JSON.parse(text)
  }

  many(read) {
    return Array.from({ length: this.word() }, read)
  }

  verdict(row) {
    switch (this.word()) {
      case 0:
        return 'keep'
      case 1:
        return 'drop'
      case 2: {
        const cells = this.many(() => [this.column(), this.range()])
        return { edit: Object.fromEntries(cells.map(([column, text]) => [column, text === '' ? undefined : this.json(text)])) }
      }
      case 3:
        return { documents: this.many(() => this.document(row)) }
      case 4:
        return { fail: this.range() }
      default:
        throw new Error('an unknown verdict')
    }
  }

  document(row) {
    const operation = ['index', 'merge', 'delete', 'put-item', 'remove-item'][this.word()]
    const flags = this.word()
    const document = { operation }
    if (flags & 1) document.index = this.range()
    if (flags & 2) document.id = this.range()
    if (flags & 4) document.routing = this.range()
    if (operation?.endsWith('item')) document.item = { array: this.name(), key: this.range() }
    const open = [['', {}]]
    this.many(() => this.piece(row, open))
    if (operation === undefined || flags > 7 || open.length !== 1) throw new Error('a document that breaks the contract')
    return { ...document, body: open[0][1] }
  }

  piece(row, open) {
    const put = (name, value) => {
      const fields = open.at(-1)[1]
      if (Object.hasOwn(fields, name)) throw new Error(`the field '${name}' stands twice`)
      if (value !== undefined) fields[name] = value
    }
    // What the host copies, as a reader of the document's JSON would see it.
    const cell = (column) => (row[column] === undefined ? undefined : JSON.parse(toJson(row[column])))
    const kind = this.word()
    if (kind === 0) {
      const column = this.column()
      put(column, cell(column))
    } else if (kind === 1) {
      const name = this.name()
      put(name, cell(this.column()))
    } else if (kind === 2) {
      const name = this.name()
      put(name, this.json(this.range()))
    } else if (kind === 3) {
      const except = this.many(() => this.column())
      for (const { name } of this.table.columns.filter((column) => !except.includes(column.name))) put(name, cell(name))
    } else if (kind === 4) {
      open.push([this.name(), {}])
    } else if (kind === 5 && open.length > 1) {
      put(...open.pop())
    } else {
      throw new Error('an unknown piece, or an object ends that did not begin')
    }
  }
}
