// Dates and times as ISO-8601 text, exact to the microsecond; and from the numbers that sources without types send.

const DATE = /^(\d{4})-(\d\d)-(\d\d)$/
const TIME = /^(-?)(\d{1,4}):([0-5]\d):([0-5]\d)(?:\.(\d{1,9}))?$/
const DATE_TIME = /^(\d{4}-\d\d-\d\d)(?:[T ]([01]\d|2[0-3]):([0-5]\d):([0-5]\d)(?:\.(\d{1,9}))?Z?)?$/

/** As this SDK spells it, but for zeros at the end. */
const ISO = /^\d{4}-(?:0\d|1[0-2])-(?:[0-2]\d|3[01])T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{3}(?:\d{3})?)?$/

const pad = (value, length) => String(value).padStart(length, '0')
const micros = (digits) => (digits ?? '').slice(0, 6).padEnd(6, '0')

/** `2026-03-04`, or `undefined` for what is no date. MySQL's zero date passes. */
export function date(text) {
  const found = DATE.exec(text)
  return found !== null && found[2] <= '12' && found[3] <= '31' ? text : undefined
}

/** Whether the calendar has the day that a date, or a date and time, begins with. MySQL's zero dates are none. */
export function isValidDate(text) {
  const found = DATE.exec(text.slice(0, 10))
  if (found === null) return false
  const [year, month, day] = [Number(found[1]), Number(found[2]), Number(found[3])]
  const leap = (year % 4 === 0 && year % 100 !== 0) || year % 400 === 0
  const days = month === 2 ? (leap ? 29 : 28) : [4, 6, 9, 11].includes(month) ? 30 : 31
  return month >= 1 && month <= 12 && day >= 1 && day <= days
}

/** `-12:34:56` with microseconds where there are any, or `undefined` for what is no time. */
export function time(text) {
  const found = TIME.exec(text)
  if (found === null) return undefined
  const fraction = micros(found[5])
  return `${found[1]}${pad(Number(found[2]), 2)}:${found[3]}:${found[4]}${fraction === '000000' ? '' : `.${fraction}`}`
}

/** `2026-03-04T05:06:07` with as many groups of three digits as it needs, without a zone; or `undefined`. */
export function datetime(text) {
  // Nearly all are spelled so.
  const local = text.endsWith('Z') ? text.slice(0, -1) : text
  if (ISO.test(local) && !local.endsWith('000')) return local
  const found = DATE_TIME.exec(text)
  if (found === null || date(found[1]) === undefined) return undefined
  if (found[2] === undefined) return `${found[1]}T00:00:00`
  return `${found[1]}T${found[2]}:${found[3]}:${found[4]}${group(micros(found[5]))}`
}

function group(fraction) {
  if (fraction === '000000') return ''
  return fraction.endsWith('000') ? `.${fraction.slice(0, 3)}` : `.${fraction}`
}

/** The day that is this number of days after 1970-01-01. */
export function dateOfEpochDays(days) {
  // Howard Hinnant's civil_from_days: eras of 400 years that begin in March. `Date` ends at the year 275760.
  const z = days + 719468n
  const era = floorDivide(z, 146097n)
  const doe = z - era * 146097n
  const yoe = (doe - doe / 1460n + doe / 36524n - doe / 146096n) / 365n
  const doy = doe - (365n * yoe + yoe / 4n - yoe / 100n)
  const mp = (5n * doy + 2n) / 153n
  const month = mp < 10n ? mp + 3n : mp - 9n
  const year = yoe + era * 400n + (month <= 2n ? 1n : 0n)
  return `${year < 0n ? '-' : ''}${pad(year < 0n ? -year : year, 4)}-${pad(month, 2)}-${pad(doy - (153n * mp + 2n) / 5n + 1n, 2)}`
}

/** The time of this many microseconds. */
export function timeOfMicroseconds(value) {
  const all = value < 0n ? -value : value
  const seconds = all / 1000000n
  const fraction = pad(all % 1000000n, 6)
  const text = `${pad(seconds / 3600n, 2)}:${pad((seconds / 60n) % 60n, 2)}:${pad(seconds % 60n, 2)}`
  return `${value < 0n ? '-' : ''}${text}${fraction === '000000' ? '' : `.${fraction}`}`
}

/**
 * The date and time of an epoch number whose unit is told by its size alone: from 10^17 on nanoseconds, from 10^14 on
 * microseconds, else milliseconds.
 */
export function datetimeOfEpoch(number) {
  const size = number < 0n ? -number : number
  const all =
    size >= 100000000000000000n ? floorDivide(number, 1000n) : size >= 100000000000000n ? number : number * 1000n
  const seconds = floorDivide(all, 1000000n)
  const days = floorDivide(seconds, 86400n)
  const ofDay = seconds - days * 86400n
  const fraction = pad(all - seconds * 1000000n, 6)
  return `${dateOfEpochDays(days)}T${pad(ofDay / 3600n, 2)}:${pad((ofDay / 60n) % 60n, 2)}:${pad(ofDay % 60n, 2)}${group(fraction)}`
}

function floorDivide(a, b) {
  const quotient = a / b
  return a % b < 0n ? quotient - 1n : quotient
}
