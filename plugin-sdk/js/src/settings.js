// Settings from the gateway's configuration, checked against the defaults that the plugin gives.

/**
 * The settings that the plugin gets: `given` over `defaults`.
 *
 * A key that the defaults do not have is refused, so that a misspelled one is found; so is a value of another type than
 * its default. A default of `null` takes any type.
 */
export function settingsOver(defaults, given) {
  const known = Object.keys(defaults)
  for (const [key, value] of Object.entries(given)) {
    if (!known.includes(key)) {
      const there = known.length === 0 ? 'there are no settings' : `expected ${oneOf(known)}`
      throw new Error(`settings: unknown field '${key}', ${there}`)
    }
    const [wanted, found] = [typeOf(defaults[key]), typeOf(value)]
    if (wanted !== 'null' && wanted !== found) throw new Error(`settings: '${key}' is ${found}, expected ${wanted}`)
  }
  return { ...defaults, ...given }
}

function oneOf(names) {
  const quoted = names.map((name) => `'${name}'`)
  return quoted.length === 1 ? quoted[0] : `one of ${quoted.join(', ')}`
}

function typeOf(value) {
  if (value === null) return 'null'
  if (Array.isArray(value)) return 'a list'
  return { object: 'a table', string: 'a text', number: 'a number', boolean: 'a boolean' }[typeof value] ?? typeof value
}
