// The cells of a batch as texts.

const decoder = new TextDecoder()

/**
 * The cells of one batch. Nearly all batches hold long runs of plain ASCII, in which a byte is a character: those are
 * decoded once and cut, since a call of the decoder costs more than most cells are long.
 */
export class Cells {
  constructor(batch, width) {
    this.ends = batch.cells
    this.bytes = batch.bytes instanceof Uint8Array ? batch.bytes : Uint8Array.from(batch.bytes)
    this.width = width
    const text = decoder.decode(this.bytes)
    this.isAscii = text.length === this.bytes.length
    /** The text that cells are cut from, and where it begins in `bytes`; `undefined` where cells are decoded alone. */
    this.text = this.isAscii ? text : undefined
    this.from = 0
  }

  /** Goes on to the image whose first cell this is. */
  enter(first) {
    if (this.isAscii || this.width === 0) return
    const from = this.start(first)
    const to = this.ends[first + this.width - 1]
    const text = decoder.decode(this.bytes.subarray(from, to))
    this.text = text.length === to - from ? text : undefined
    this.from = from
  }

  start(at) {
    return at === 0 ? 0 : this.ends[at - 1]
  }

  /** A cell's JSON; empty if the source did not send the column. */
  raw(at) {
    const start = at === 0 ? 0 : this.ends[at - 1]
    const end = this.ends[at]
    return this.text === undefined
      ? decoder.decode(this.bytes.subarray(start, end))
      : this.text.slice(start - this.from, end - this.from)
  }
}
