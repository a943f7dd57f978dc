// Columns by name: what a plugin asks for, and where that stands in each table version.

/** No such column, or no such cell. */
export const NONE = -1

const ROLES = { read: [true, false], readOptional: [true, true], pass: [false, false], passOptional: [false, true] }

/** The table as `columns` is shown it. */
export function tableOf(record) {
  const names = record.columns.map((column) => column.name)
  return {
    database: record.database,
    name: record.name,
    fullName: record.database === '' ? record.name : `${record.database}.${record.name}`,
    columns: Array.from(record.columns, ({ name, kind }) => ({ name, kind })),
    key: Array.from(record.key, (number) => names[number]),
    has: (name) => names.includes(name),
  }
}

/** What is worked out of a table version once: names to places. */
export class TableState {
  /**
   * @param table what `tableOf` made
   * @param wanted `undefined` for all columns, a list of names that are read, or lists by role
   */
  constructor(table, wanted) {
    this.fullName = table.fullName
    /** The numbers of the columns that the host copies in, in the order of an image's cells. */
    this.asked = []
    /** Places by name. */
    this.places = new Map()
    table.columns.forEach(({ name, kind }, number) => {
      this.places.set(name, { name, number, cell: NONE, kind })
    })
    const missing = []
    for (const { name, read, optional } of listed(table, wanted)) {
      let place = this.places.get(name)
      if (place === undefined) {
        if (!optional) missing.push(name)
        place = { name, number: NONE, cell: NONE, kind: 'unknown' }
        this.places.set(name, place)
      }
      if (read && place.number !== NONE && place.cell === NONE) {
        place.cell = this.asked.length
        this.asked.push(place.number)
      }
    }
    if (missing.length > 0) {
      const columns = missing.length === 1 ? 'column' : 'columns'
      throw new Error(`table ${table.fullName} has no ${columns} '${missing.join("', '")}'`)
    }
  }
}

function listed(table, wanted) {
  if (wanted === undefined || wanted === null) {
    return table.columns.map(({ name }) => ({ name, read: true, optional: false }))
  }
  const roles = Array.isArray(wanted) ? { read: wanted } : wanted
  return Object.entries(roles).flatMap(([role, names]) => {
    if (!(role in ROLES)) {
      throw new Error(`columns: unknown key '${role}'; there are ${Object.keys(ROLES).join(', ')}`)
    }
    const [read, optional] = ROLES[role]
    return Array.from(names, (name) => ({ name, read, optional }))
  })
}
