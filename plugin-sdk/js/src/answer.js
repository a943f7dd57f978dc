// The answer to one batch in the flat encoding of the contract: words, and the texts that they point into.

import { bytesOf, encode, wellFormed } from './utf8.js'

/** The answer to one batch. */
export class Answer {
  constructor() {
    this.words = []
    /** The texts that stand behind each other in the answer's bytes, and how many characters they have. */
    this.texts = []
    this.length = 0
    /** Where ranges stand in `words`: they count characters until `finish`. */
    this.ranges = []
    this.names = new Map()
  }

  /** Pushes the range of a text. */
  range(text) {
    this.ranges.push(this.words.length)
    this.words.push(this.length, text.length)
    this.texts.push(text)
    this.length += text.length
  }

  /** The number of a field name. */
  name(name) {
    const known = this.names.get(name)
    if (known !== undefined) return known
    const text = wellFormed(String(name))
    if (!this.names.has(text)) this.names.set(text, this.names.size)
    return this.names.get(text)
  }

  /** Where a row begins, for `rewind`. */
  mark() {
    return { words: this.words.length, texts: this.texts.length, length: this.length, ranges: this.ranges.length }
  }

  /** Back to where a row began. */
  rewind({ words, texts, length, ranges }) {
    this.words.length = words
    this.texts.length = texts
    this.length = length
    this.ranges.length = ranges
  }

  /** The output record of the contract. */
  finish() {
    const names = []
    for (const name of this.names.keys()) {
      names.push(this.length, name.length)
      this.texts.push(name)
      this.length += name.length
    }
    const text = this.texts.join('')
    const bytes = encode(text)
    if (bytes.length !== text.length) {
      const pairs = this.ranges.map((at) => [this.words, at])
      for (let at = 0; at < names.length; at += 2) pairs.push([names, at])
      count(pairs, text)
    }
    return { verdicts: Uint32Array.from(this.words), names: Uint32Array.from(names), bytes }
  }
}

/** Makes ranges of characters of `text` ranges of bytes. */
function count(pairs, text) {
  let [characters, bytes] = [0, 0]
  // In the order of the text, so that each part of it is measured once.
  for (const [words, at] of pairs.sort((a, b) => a[0][a[1]] - b[0][b[1]] || a[0][a[1] + 1] - b[0][b[1] + 1])) {
    const [start, length] = [words[at], words[at + 1]]
    bytes += bytesOf(text.slice(characters, start))
    const n = bytesOf(text.slice(start, start + length))
    words[at] = bytes
    words[at + 1] = n
    bytes += n
    characters = start + length
  }
}
