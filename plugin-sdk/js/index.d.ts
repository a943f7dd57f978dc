// Types of the SDK for Rowmill plugins in JavaScript and TypeScript.

/** What the values of a column are. */
export type ColumnKind =
  | 'unknown' | 'integer' | 'unsigned-integer' | 'boolean' | 'bit' | 'float' | 'double' | 'decimal' | 'date' | 'time'
  | 'date-time' | 'timestamp' | 'text' | 'binary' | 'enumeration' | 'set' | 'json'

/** A table as `columns` is shown it. */
export interface Table {
  /** The database; empty where the source does not tell it. */
  readonly database: string
  /** The table's name without the database. */
  readonly name: string
  /** `database.table`, or the table alone where the database is not told. */
  readonly fullName: string
  readonly columns: readonly { readonly name: string; readonly kind: ColumnKind }[]
  /** The names of the primary key's columns. */
  readonly key: readonly string[]
  /** Whether the table has a column of this name. */
  has(name: string): boolean
}

/**
 * The columns that a plugin works with: a list of names that it reads, or lists by role.
 *
 * `read` columns are copied into the plugin, `pass` columns only have to exist: documents copy them on the host. A column
 * that the table lacks is an error, unless it is optional.
 */
export type Columns =
  | readonly string[]
  | {
      readonly read?: readonly string[]
      readonly readOptional?: readonly string[]
      readonly pass?: readonly string[]
      readonly passOptional?: readonly string[]
    }

/** The value of a cell: `null` for SQL NULL, `undefined` where the source did not send the column. */
export type Cell<T> = T | null | undefined

/**
 * One image of a row: how a row is, or how it was.
 *
 * A reader throws a {@link Fail} that names column and table where the column does not exist, was not asked for, or does
 * not hold such a value. Since some sources do not type their values, numbers, booleans and times are also read from
 * texts that spell them.
 */
export interface Row {
  /** The table's name with its database. */
  readonly table: string
  /** What the values of a column are, as far as the host knows. */
  kind(column: string): ColumnKind
  /** The cell as it came: the text of one JSON value; empty if the source did not send the column. */
  raw(column: string): string
  /** Whether the value is SQL NULL. */
  isNull(column: string): boolean
  /** Whether the source did not send the column. */
  isAbsent(column: string): boolean
  /** A text, enum, set or any other value that is spelled as a JSON string. */
  text(column: string): Cell<string>
  /** The content of a string, or the spelling of a number or boolean: for columns of unknown type. */
  scalar(column: string): Cell<string>
  /** An integer: a number, or a BigInt where a number would lose digits (beyond 2^53). */
  integer(column: string): Cell<number | bigint>
  /** An integer as a BigInt. */
  bigint(column: string): Cell<bigint>
  /** A floating-point number. Decimals and long integers lose digits: see `decimal` and `bigint`. */
  number(column: string): Cell<number>
  /** A boolean: `true`, `false`, or MySQL's 0 and 1. */
  boolean(column: string): Cell<boolean>
  /** Any number with all its digits, as text. */
  decimal(column: string): Cell<string>
  /** An amount in hundredths: `99.90` is `9990n`. Fails where it is no whole number of them. */
  cents(column: string): Cell<bigint>
  /** A day: `2026-03-04`. A number is taken as days since 1970-01-01. */
  date(column: string): Cell<string>
  /** A time of day or a length of time: `-12:34:56.789000`. A number is taken as microseconds. */
  time(column: string): Cell<string>
  /** A DATETIME or TIMESTAMP without a zone: `2026-03-04T05:06:07.123`. A number is taken as an epoch. */
  datetime(column: string): Cell<string>
  /** The bytes of a binary column. */
  bytes(column: string): Cell<Uint8Array>
  /** The bits of a BIT column as a number: a BigInt beyond 2^53. */
  bit(column: string): Cell<number | bigint>
  /** The label of an ENUM column; of a source without labels its number as text. */
  enumeration(column: string): Cell<string>
  /** The labels of a SET column. */
  set(column: string): Cell<string[]>
  /** The value of a JSON column. Its numbers are JavaScript's: those beyond 2^53 lose digits. */
  json(column: string): Cell<any>
  /** A failure of this column, to be thrown, for values that the plugin itself finds wrong. */
  wrong(column: string, what: string): Fail
}

/** One change of a row, with both images. */
export interface Change {
  readonly operation: 'insert' | 'update' | 'delete' | 'snapshot'
  /** The row before the change; of an update and a delete. */
  readonly before: Row | undefined
  /** The row after the change; not of a delete. */
  readonly after: Row | undefined
  /** The row after the change, or for a delete the row before it. */
  readonly row: Row
}

/** What an id, an index's name or a routing value is made of. */
export type Name = string | number | bigint

/**
 * Builds one document, field by field, in any order with its index, id and routing. It is complete when the row ends or
 * another document begins. A column is copied by the host, so it costs the plugin next to nothing; where its cell is
 * absent the field is left out.
 */
export interface Document {
  /** The document goes into this index, which the plugin's `indices` must name. */
  index(name: Name): this
  /** The document's id, 1 to 512 bytes. It must depend on the row alone. */
  id(id: Name): this
  /** The document's routing value. */
  routing(value: Name): this
  /** A column under its own name. */
  column(column: string): this
  /** A column under another name. */
  columnAs(column: string, name: string): this
  /** All columns under their own names. */
  all(): this
  /** All columns under their own names, except these. */
  allExcept(columns: Iterable<string>): this
  /** Any value that JSON can spell; BigInts keep all their digits. */
  set(name: string, value: unknown): this
  /** A text. */
  text(name: string, text: string): this
  /** An array of texts. */
  texts(name: string, texts: Iterable<string>): this
  /** An integer. */
  integer(name: string, value: number | bigint): this
  /** `true` or `false`. */
  boolean(name: string, value: boolean): this
  /** `null`. */
  null(name: string): this
  /** A decimal with all its digits, as a text. */
  decimal(name: string, value: string): this
  /** A date and time without a zone, as ISO-8601. */
  datetime(name: string, value: string): this
  /** A date and time that is in UTC: ISO-8601 with a `Z`. */
  datetimeUtc(name: string, value: string): this
  /** One JSON value that is spelled already. The host checks that it is one. */
  raw(name: string, json: string): this
  /** An object under a name, with the fields that `build` gives it. */
  object(name: string, build: (object: this) => void): this
}

/** Deletes a document; it has no fields. */
export interface Deletion {
  index(name: Name): this
  id(id: Name): this
  routing(value: Name): this
}

/** Changes cells of a row that goes on to the next plugin. The last change of a cell holds. */
export interface Edit {
  /** Sets a column to any value that JSON can spell. */
  set(column: string, value: unknown): this
  /** Sets a column to a text. */
  text(column: string, text: string): this
  /** Sets a column to NULL. */
  null(column: string): this
  /** Takes the column out of the row, as if the source had not sent it. */
  absent(column: string): this
}

/** Takes what a plugin says of one row. Nothing said means keep; of contradicting words the last ones hold. */
export interface Out {
  /** The row goes on to the next plugin; after the last one it becomes a document of its own columns. */
  keep(): void
  /** The row is filtered: it is no document. */
  drop(): void
  /** The row fails with this reason and becomes a dead letter. The same as throwing it. */
  fail(reason: string): void
  /** The row goes on to the next plugin with changed cells. */
  edit(): Edit
  /** One more document of the row. The row is then settled: further plugins do not see it. */
  document(): Document
  /** One more document of the row, to be merged with what rows of other tables give to it. */
  merge(): Document
  /**
   * One more document of the row: an item of the array `array` in a document that several rows build, an order's line
   * inside of its order. `key` tells it from the other items that rows of this table put there; `id` is the id of the
   * document that holds the array.
   */
  putItem(array: string, key: string | number | bigint): Document
}

/** Takes what a plugin of the mode `change` says of one change. */
export interface ChangeOut extends Out {
  /** Deletes a document. */
  delete(): Deletion
  /** Takes an item out of an array. Only in the mode `change`. */
  removeItem(array: string, key: string | number | bigint): Deletion
}

/** The settings that `row` gets: what `configure` returned, or those that it was given. */
export type Settings<Given, Configured> = [Configured] extends [void] ? Given : Configured

/** What both modes of a plugin have. */
interface Definition<Given, Configured> {
  /** Short and unique in a gateway: letters, digits, `-`, `_`, `.`. Settings are found by it. */
  name: string
  /** The plugin's own version, for people. */
  version?: string
  /**
   * The tables of which it wants rows: `database.table`, `*` for any text; a pattern without a point is matched against
   * the table's name alone. All tables where it is left out.
   */
  tables?: readonly string[]
  /**
   * The indices that it may write to besides the configured one; with a mapping the host creates them by it. The empty
   * name gives the mapping of the configured one.
   */
  indices?: readonly (string | { name: string; mapping?: object | string })[]
  /** The settings' defaults. Keys that are not here are refused, and so are values of another type. */
  settings?: Given
  /** A JSON Schema of the settings, for people and tools. */
  settingsSchema?: object | string
  /** Checks the settings. What it throws refuses them; what it returns is what `row` gets. */
  configure?(settings: Given): Configured
  /** The columns that it works with; all of them are read where it is left out. */
  columns?: Columns | ((table: Table, settings: Settings<Given, Configured>) => Columns | undefined)
}

/** A plugin that is a function of one row image: which documents such a row is. */
export interface ImagePlugin<Given = {}, Configured = void> extends Definition<Given, Configured> {
  /** Says what one row image is. What it throws makes the row a dead letter. It depends on its arguments alone. */
  row(row: Row, out: Out, settings: Settings<Given, Configured>): void
  change?: undefined
}

/** A plugin that sees whole changes, and answers for deletes itself. */
export interface ChangePlugin<Given = {}, Configured = void> extends Definition<Given, Configured> {
  /** Says what is to be done for one change. */
  change(change: Change, out: ChangeOut, settings: Settings<Given, Configured>): void
  row?: undefined
}

/** What a plugin's file exports as `guest`: the calls of the contract. */
export interface Guest {
  describe(): object
  configure(settings: string): void
  defineTable(table: object): Uint32Array
  transform(batch: object): { verdicts: Uint32Array; names: Uint32Array; bytes: Uint8Array }
}

/** Makes the plugin of a file: `export const guest = plugin({ … })`. */
export function plugin<Given extends object = {}, Configured = void>(
  definition: ImagePlugin<Given, Configured>
): Guest
export function plugin<Given extends object = {}, Configured = void>(
  definition: ChangePlugin<Given, Configured>
): Guest

/** Why a row cannot be handled. Name columns in the reason, not values: it is logged. */
export class Fail extends Error {
  constructor(reason: string)
}

/** Messages for the host's log. They are rate-limited there, and should not carry row values. */
export const log: {
  debug(message: string): void
  info(message: string): void
  warn(message: string): void
  error(message: string): void
}

/** A decimal in hundredths: `toCents('99.90')` is `9990n`; `undefined` where it is no whole number of 64 bits of them. */
export function toCents(decimal: string): bigint | undefined

/** A decimal times 10^`scale`, where that is an integer: `toScaled('0.125', 3)` is `125n`. */
export function toScaled(decimal: string, scale: number): bigint | undefined

/** Whether the calendar has the day that a date, or a date and time, begins with. MySQL's zero dates are none. */
export function isValidDate(text: string): boolean

/** The bytes of base64; `undefined` for what is none. */
export function fromBase64(text: string): Uint8Array | undefined

/** Bytes as base64. */
export function toBase64(bytes: Uint8Array): string
