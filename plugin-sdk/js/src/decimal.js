// Decimals as text, scaled exactly whatever their number of digits.

const DECIMAL = /^([-+]?)(\d*)(?:\.(\d*))?(?:[eE]([-+]?\d{1,7}))?$/
const I64_MAX = 9223372036854775807n
const I64_MIN = -9223372036854775808n

/** Whether a text spells a decimal number. */
export function isDecimal(text) {
  const found = DECIMAL.exec(text)
  return found !== null && found[2].length + (found[3]?.length ?? 0) > 0 && Math.abs(Number(found[4] ?? 0)) <= 1_000_000
}

/** The number times 10^`scale` as a BigInt, if that is an integer: `toScaled('99.90', 2)` is `9990n`. Else `undefined`. */
export function toScaled(text, scale) {
  // Nearly all amounts are spelled so.
  if (scale === 2 && text.length < 16 && /^-?\d+\.\d\d$/.test(text)) return BigInt(text.replace('.', ''))
  if (!isDecimal(text)) return undefined
  const [, sign, whole, fraction = '', exponent = '0'] = DECIMAL.exec(text)
  let digits = (whole + fraction).replace(/^0+/, '')
  if (digits === '') return 0n
  // What has to be written behind the digits, or taken off their end, so that they count the wanted unit.
  const shift = scale + Number(exponent) - fraction.length
  if (shift >= 0) {
    // Beyond what any column holds; a number of a million digits would only cost time.
    if (shift > 1000) return undefined
    digits += '0'.repeat(shift)
  } else {
    if (!/^0*$/.test(digits.slice(shift))) return undefined
    digits = digits.slice(0, shift)
  }
  const value = BigInt(digits === '' ? '0' : digits)
  return sign === '-' ? -value : value
}

/** The amount in hundredths as a BigInt, if that is an integer of 64 bits: `toCents('99.90')` is `9990n`. Else `undefined`. */
export function toCents(text) {
  const cents = toScaled(text, 2)
  return cents !== undefined && cents <= I64_MAX && cents >= I64_MIN ? cents : undefined
}
