// The reason for which a row cannot be handled.

import { isSandboxed } from '#host-log'

/**
 * Why a row cannot be handled. Thrown in `row` or `change`, it makes the row a dead letter with this reason; its
 * neighbours go on. Name columns in it, not values: the reason is logged, and the dead letter holds the row anyway.
 */
export class Fail extends Error {
  constructor(reason) {
    super(reason)
    this.name = 'Fail'
  }
}

/**
 * What the host is told of an error that the plugin threw. A `Fail` was written for the host's reader. Of any other
 * error the name helps the plugin's author, and in tests the place.
 */
export function reasonOf(error, table) {
  if (error instanceof Fail) return error.message
  if (!(error instanceof Error)) return `${table}: the plugin threw ${typeof error === 'string' ? error : typeof error}`
  // In the sandbox it would be a line of the bundled file, which nobody has seen.
  const place = /([\w.-]+\.m?[jt]s:\d+)(?::\d+)?\)?$/m.exec(isSandboxed ? '' : (error.stack ?? ''))
  return `${table}: ${error.name}: ${error.message}${place ? ` (${place[1]})` : ''}`
}
