// The SDK for Rowmill plugins in JavaScript: `plugin({ … })` makes the guest that a file exports.

export { fromBase64, toBase64 } from './base64.js'
export { toCents, toScaled } from './decimal.js'
export { Fail } from './fail.js'
export { log } from './log.js'
export { plugin } from './plugin.js'
export { isValidDate } from './time.js'
