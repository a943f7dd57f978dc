// Types of `rowmill-plugin/testing`: a plugin under test in Node.

import type { ColumnKind, Guest } from './index.js'

/** A table's definition, as the host gives it to a plugin. */
export interface TableDefinition {
  id: number
  database: string
  name: string
  columns: { name: string; kind: ColumnKind }[]
  key: Uint32Array
}

/**
 * A table of this full name: `table('shop.orders', { id: 'integer', total: 'decimal' })`. The first column is the key.
 */
export function table(fullName: string, columns: Record<string, ColumnKind>): TableDefinition

/** The columns' values as the contract spells them: decimals and times as texts, long integers as BigInts. */
export type Values = Record<string, unknown>

/** What a plugin said of a row. */
export type Verdict =
  | 'keep'
  | 'drop'
  | { edit: Record<string, unknown> }
  | { documents: DocumentSaid[] }
  | { fail: string }

/** A document operation. */
export interface DocumentSaid {
  operation: 'index' | 'merge' | 'delete' | 'put-item' | 'remove-item'
  /** Which item of an array. */
  item?: { array: string; key: string }
  index?: string
  id?: string
  routing?: string
  body: Record<string, unknown>
}

/** A plugin under test, configured with these settings. The constructor throws where it refuses them. */
export class Harness {
  constructor(guest: Guest, settings?: object)
  /** What the plugin says of a row. A column that is left out is absent, as if the source had not sent it. */
  row(table: TableDefinition, row: Values): Verdict
  /** What the plugin says of several rows in one batch. */
  rows(table: TableDefinition, rows: Values[]): Verdict[]
  /** What a plugin of the mode `change` says. */
  change(
    table: TableDefinition,
    operation: 'insert' | 'update' | 'delete' | 'snapshot',
    before: Values | undefined,
    after: Values | undefined
  ): Verdict
}
