// The answer to one batch in the flat encoding of the contract: words, and the texts that they point into.

import { bytesOf, encode, wellFormed } from './utf8.js'

/** The answer to one batch. */
export class Answer {
  constructor() {
    this.words = []
    /** All texts behind each other. */
    this.text = ''
    /** Where ranges stand in `words`: they count characters until `finish`. */
    this.ranges = []
    this.names = new Map()
  }

  /** Pushes the range of a text. */
  range(text) {
    this.ranges.push(this.words.length)
    this.words.push(this.text.length, text.length)
    this.text += text
  }

  /** The number of a field name. */
  name(name) {
    const known = this.names.get(name)
    if (known !== undefined) return known
    const text = wellFormed(String(name))
    if (!this.names.has(text)) this.names.set(text, this.names.size)
    return this.names.get(text)
  }

  /** Back to where a row began. */
  rewind(words, text, ranges) {
    this.words.length = words
    this.ranges.length = ranges
    if (this.text.length !== text) this.text = this.text.slice(0, text)
  }

  /** The output record of the contract. */
  finish() {
    const names = []
    for (const name of this.names.keys()) {
      names.push(this.text.length, name.length)
      this.text += name
    }
    const bytes = encode(this.text)
    if (bytes.length !== this.text.length) {
      const pairs = this.ranges.map((at) => [this.words, at])
      for (let at = 0; at < names.length; at += 2) pairs.push([names, at])
      this.#count(pairs)
    }
    return { verdicts: Uint32Array.from(this.words), names: Uint32Array.from(names), bytes }
  }

  /** Makes ranges of characters ranges of bytes. */
  #count(pairs) {
    let [characters, bytes] = [0, 0]
    // In the order of the text, so that each part of it is measured once.
    for (const [words, at] of pairs.sort((a, b) => a[0][a[1]] - b[0][b[1]] || a[0][a[1] + 1] - b[0][b[1] + 1])) {
      const [start, length] = [words[at], words[at + 1]]
      bytes += bytesOf(this.text.slice(characters, start))
      const n = bytesOf(this.text.slice(start, start + length))
      words[at] = bytes
      words[at + 1] = n
      bytes += n
      characters = start + length
    }
  }
}
