// Building a document: pieces that copy columns, and values that the plugin computed.

import { isDecimal } from './decimal.js'
import { Fail } from './fail.js'
import { oneLine } from './json.js'
import { datetime } from './time.js'
import { bytesOf, wellFormed } from './utf8.js'

/** The words of pieces. */
const COLUMN = 0
const COLUMN_AS = 1
const VALUE = 2
const ALL_EXCEPT = 3
const BEGIN = 4
const END = 5

/** The parts of a head, and the flags that say which of them there are. */
const HEAD = { index: 0, id: 1, routing: 2 }
const FLAGS = [1, 2, 4]
const DELETE = 2
const REMOVE_ITEM = 4
/** Elasticsearch takes ids up to this many bytes. */
const MAX_ID = 512

/**
 * Builds one document, field by field, in any order with its index, id and routing. It is complete when the row ends or
 * another document begins.
 */
export class Document {
  #answer
  #out
  #operation
  #first
  #firstRange
  #count
  #pieces = 0
  #head

  /** `item` is `{ array, key }` of an item of an array. */
  constructor(operation, answer, out, item) {
    this.#answer = answer
    this.#out = out
    this.#operation = operation
    this.#first = answer.words.length
    this.#firstRange = answer.ranges.length
    answer.words.push(operation, 0)
    if (item !== undefined) {
      answer.words.push(answer.name(item.array))
      answer.range(this.#text('item key', MAX_ID, item.key) ?? '?')
    }
    this.#count = answer.words.length
    answer.words.push(0)
  }

  /** Completes the document. Only `Out` calls it. */
  end() {
    const { words, ranges } = this.#answer
    if ((this.#operation === DELETE || this.#operation === REMOVE_ITEM) && this.#pieces > 0) this.#out.note('a delete has no fields')
    words[this.#count] = this.#pieces
    if (this.#head !== undefined) {
      // Index, id and routing stand before the pieces, which move on by as many words.
      const given = this.#head.map((text, part) => [text, part]).filter(([text]) => text !== undefined)
      const pieces = words.splice(this.#first + 2)
      const moved = ranges.splice(this.#firstRange)
      for (const [text, part] of given) {
        words[this.#first + 1] |= FLAGS[part]
        this.#answer.range(text)
      }
      const n = given.length * 2
      for (const word of pieces) words.push(word)
      for (const at of moved) ranges.push(at + n)
    }
    this.#answer = undefined
  }

  /** Begins a piece; the caller pushes its words. */
  #piece() {
    if (this.#answer === undefined) {
      throw new Fail('a document was used after it was complete: another one had begun, or the row had ended')
    }
    this.#pieces += 1
    return this.#answer
  }

  #value(name, json) {
    const answer = this.#piece()
    answer.words.push(VALUE, answer.name(name))
    answer.range(json)
    return this
  }

  #part(what, limit, value) {
    const text = this.#text(what, limit, value)
    if (text !== undefined) {
      this.#head ??= [undefined, undefined, undefined]
      this.#head[HEAD[what]] = text
    }
    return this
  }

  /** The text of a part of the head; `undefined` and a mistake if there is none, or a mistake if it is too long. */
  #text(what, limit, value) {
    const text = String(value)
    if (text === '' || value === null || value === undefined) {
      this.#out.note(`the document's ${what} is ${text === '' ? 'empty' : text}`)
      return undefined
    }
    if (text.length > limit / 4) {
      const n = bytesOf(text)
      if (n > limit) this.#out.note(`the document's ${what} has ${n} bytes, more than ${limit}`)
    }
    return wellFormed(text)
  }

  /** The document goes into this index, which the plugin's `indices` must name. */
  index(name) {
    return this.#part('index', Infinity, name)
  }

  /** The document's id, 1 to 512 bytes. It must depend on the row alone. */
  id(id) {
    return this.#part('id', MAX_ID, id)
  }

  /** The document's routing value. */
  routing(value) {
    return this.#part('routing', MAX_ID, value)
  }

  /** A column under its own name. */
  column(column) {
    const number = this.#out.column(column)
    if (number !== undefined) this.#piece().words.push(COLUMN, number)
    return this
  }

  /** A column under another name. */
  columnAs(column, name) {
    const number = this.#out.column(column)
    if (number !== undefined) {
      const answer = this.#piece()
      answer.words.push(COLUMN_AS, answer.name(name), number)
    }
    return this
  }

  /** All columns under their own names. */
  all() {
    return this.allExcept([])
  }

  /** All columns under their own names, except these. */
  allExcept(columns) {
    const numbers = Array.from(columns, (column) => this.#out.column(column)).filter((number) => number !== undefined)
    this.#piece().words.push(ALL_EXCEPT, numbers.length, ...numbers)
    return this
  }

  /** Any value that JSON can spell. */
  set(name, value) {
    return this.#value(name, this.#out.json(name, value))
  }

  /** A text. */
  text(name, text) {
    return this.#value(name, JSON.stringify(String(text)))
  }

  /** An array of texts. */
  texts(name, texts) {
    return this.#value(name, JSON.stringify(Array.from(texts, String)))
  }

  /** An integer, as a number or a BigInt. */
  integer(name, value) {
    if (typeof value !== 'bigint' && !Number.isSafeInteger(value)) {
      this.#out.note(`'${name}' is no integer that a number holds exactly: ${typeof value}; beyond 2^53 use a BigInt`)
      return this.null(name)
    }
    return this.#value(name, String(value))
  }

  /** `true` or `false`. */
  boolean(name, value) {
    return this.#value(name, value ? 'true' : 'false')
  }

  /** `null`. */
  null(name) {
    return this.#value(name, 'null')
  }

  /** A decimal with all its digits, as a text. */
  decimal(name, value) {
    if (!isDecimal(String(value))) this.#out.note(`'${name}' is no decimal number`)
    return this.text(name, value)
  }

  /** A date and time without a zone, as ISO-8601. */
  datetime(name, value) {
    return this.#time(name, value, '')
  }

  /** A date and time that is in UTC: ISO-8601 with a `Z`. */
  datetimeUtc(name, value) {
    return this.#time(name, value, 'Z')
  }

  #time(name, value, zone) {
    const text = datetime(String(value))
    if (text === undefined) this.#out.note(`'${name}' is no date and time as 2026-03-04T05:06:07`)
    return this.text(name, `${text}${zone}`)
  }

  /** One JSON value that is spelled already. The host checks that it is one. */
  raw(name, json) {
    return this.#value(name, wellFormed(oneLine(String(json))))
  }

  /** An object under a name, with the fields that `build` gives it. */
  object(name, build) {
    const answer = this.#piece()
    answer.words.push(BEGIN, answer.name(name))
    build(this)
    this.#piece().words.push(END)
    return this
  }
}
