// What a plugin says of a row: verdicts, written straight into the words of the contract.

import { Document } from './document.js'
import { Fail, reasonOf } from './fail.js'
import { toJson } from './json.js'
import { NONE } from './table.js'
import { wellFormed } from './utf8.js'

/** The words of verdicts. */
const KEEP = 0
const DROP = 1
const EDIT = 2
const DOCUMENTS = 3
const FAIL = 4

/**
 * Takes what a plugin says of one row. Nothing said means keep; of contradicting words the last ones hold.
 *
 * A mistake (a column that does not exist, an empty id) does not interrupt the plugin: it is kept, and the row fails
 * with it when the plugin returns.
 */
export class Out {
  #table
  #answer
  #first
  #count = -1
  #said = KEEP
  #open
  #mistake

  constructor(table, answer) {
    this.#table = table
    this.#answer = answer
    this.#first = answer.mark()
  }

  /** Ends the row: `error` is what the plugin threw. Only the driver calls it. */
  end(error) {
    this.#close()
    const reason = error === undefined ? this.#mistake : reasonOf(error, this.#table.fullName)
    if (reason !== undefined) {
      this.#rewind()
      this.#answer.words.push(FAIL)
      this.#answer.range(wellFormed(reason))
    } else if (this.#answer.words.length === this.#first.words) {
      this.#answer.words.push(KEEP)
    }
    // Whoever kept the object finds it dead, instead of writing into another row's answer.
    this.#answer = undefined
  }

  #rewind() {
    this.#answer.rewind(this.#first)
  }

  #begin(verdict) {
    if (this.#answer === undefined) throw new Fail('`out` was used after the row had ended')
    this.#close()
    this.#rewind()
    this.#answer.words.push(verdict)
    this.#said = verdict
  }

  #close() {
    this.#open?.end()
    this.#open = undefined
  }

  /** The row goes on to the next plugin; after the last one it becomes a document of its own columns. */
  keep() {
    this.#begin(KEEP)
  }

  /** The row is filtered: it is no document. */
  drop() {
    this.#begin(DROP)
  }

  /** The row fails with this reason and becomes a dead letter. The same as throwing it. */
  fail(reason) {
    this.#mistake = String(reason)
  }

  /** The row goes on to the next plugin with changed cells. */
  edit() {
    this.#begin(EDIT)
    this.#answer.words.push(0)
    this.#open = new Edit(this.#answer, this)
    return this.#open
  }

  /** One more document of the row. */
  document() {
    return this.#document(0)
  }

  /** One more document of the row, to be merged with what rows of other tables give to it. */
  merge() {
    return this.#document(1)
  }

  /** Deletes a document. Only in the mode `change`. */
  delete() {
    return this.#document(2)
  }

  /**
   * One more document of the row: an item of the array `array` in a document that several rows build. `key` tells it from
   * the other items that rows of this table put there.
   */
  putItem(array, key) {
    return this.#document(3, { array, key })
  }

  /** Takes such an item out. Only in the mode `change`. */
  removeItem(array, key) {
    return this.#document(4, { array, key })
  }

  #document(operation, item) {
    if (this.#said === DOCUMENTS && this.#answer !== undefined) {
      this.#close()
    } else {
      this.#begin(DOCUMENTS)
      this.#count = this.#answer.words.length
      this.#answer.words.push(0)
    }
    this.#answer.words[this.#count] += 1
    this.#open = new Document(operation, this.#answer, this, item)
    return this.#open
  }

  /** The number of a column; `undefined` for an optional one that the table lacks. Notes a mistake. */
  column(name) {
    const place = this.#table.places.get(name)
    if (place === undefined) this.note(`table ${this.#table.fullName} has no column '${name}'`)
    return place === undefined || place.number === NONE ? undefined : place.number
  }

  /** Keeps a mistake; the first one holds. */
  note(mistake) {
    this.#mistake ??= mistake
  }

  /** The JSON of a value, or `null` and a mistake. */
  json(what, value) {
    let json
    try {
      json = toJson(value)
    } catch (error) {
      this.note(`'${what}' cannot be written as JSON: ${error.message}`)
      return 'null'
    }
    if (json === undefined) this.note(`'${what}' cannot be written as JSON: it is ${String(value)}`)
    return json ?? 'null'
  }
}

/** Changes cells of a row that goes on to the next plugin. The last change of a cell holds. */
class Edit {
  #answer
  #out
  #cells = new Map()

  constructor(answer, out) {
    this.#answer = answer
    this.#out = out
  }

  end() {
    const { words } = this.#answer
    words[words.length - 1] = this.#cells.size
    for (const [column, json] of this.#cells) {
      words.push(column)
      this.#answer.range(json)
    }
    this.#answer = undefined
  }

  #cell(column, json) {
    if (this.#answer === undefined) throw new Fail('an edit was used after something else had been said of the row')
    const number = this.#out.column(column)
    if (number !== undefined) this.#cells.set(number, json)
    return this
  }

  /** Sets a column to any value that JSON can spell. */
  set(column, value) {
    return this.#cell(column, this.#out.json(column, value))
  }

  /** Sets a column to a text. */
  text(column, text) {
    return this.#cell(column, JSON.stringify(String(text)))
  }

  /** Sets a column to NULL. */
  null(column) {
    return this.#cell(column, 'null')
  }

  /** Takes the column out of the row, as if the source had not sent it. */
  absent(column) {
    return this.#cell(column, '')
  }
}
