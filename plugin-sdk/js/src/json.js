// Values as JSON on one line.

/** Any value as JSON, BigInts with all their digits; `undefined` for what JSON has no word for. */
export function toJson(value) {
  if (typeof value === 'bigint') return value.toString()
  if (typeof value === 'number' && !Number.isFinite(value)) return undefined
  if (typeof value !== 'object') return JSON.stringify(value)
  try {
    return JSON.stringify(value)
  } catch (error) {
    // The one thing of JavaScript that JSON.stringify refuses and JSON can spell.
    if (error instanceof TypeError && hasBigInt(value, [])) return spell(value)
    throw error
  }
}

function hasBigInt(value, above) {
  if (typeof value === 'bigint') return true
  if (typeof value !== 'object' || value === null || above.includes(value)) return false
  return Object.values(value).some((child) => hasBigInt(child, [...above, value]))
}

function spell(value) {
  if (typeof value === 'bigint') return value.toString()
  if (typeof value?.toJSON === 'function') return spell(value.toJSON())
  if (Array.isArray(value)) return `[${value.map((item) => spell(item) ?? 'null').join(',')}]`
  if (typeof value !== 'object' || value === null) return JSON.stringify(value)
  const fields = Object.entries(value).map(([name, field]) => [name, spell(field)])
  return `{${fields.filter(([, field]) => field !== undefined).map(([name, field]) => `${JSON.stringify(name)}:${field}`).join(',')}}`
}

/** Replaces line breaks by spaces. Inside of strings JSON allows none, so the value stays the same. */
export function oneLine(json) {
  return /[\n\r]/.test(json) ? json.replace(/[\n\r]/g, ' ') : json
}
