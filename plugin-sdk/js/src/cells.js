// The cells of a batch as texts.

import { characters, decode } from './utf8.js'

/** The cells of one batch: its bytes are made characters once, and each cell is cut from them. */
export class Cells {
  #ends
  #text

  constructor(batch) {
    this.#ends = batch.cells
    this.#text = characters(batch.bytes instanceof Uint8Array ? batch.bytes : Uint8Array.from(batch.bytes))
  }

  /** A cell's JSON; empty if the source did not send the column. */
  raw(at) {
    return decode(this.#text.slice(at === 0 ? 0 : this.#ends[at - 1], this.#ends[at]))
  }
}
