// Base64 of the standard alphabet, padded: how cells spell bytes.

const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/'
const VALUES = new Uint8Array(128)
for (let i = 0; i < 64; i += 1) VALUES[ALPHABET.charCodeAt(i)] = i
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/

/** The bytes, or `undefined` for what is no base64. */
export function fromBase64(text) {
  if (!BASE64.test(text)) return undefined
  if (typeof Uint8Array.fromBase64 === 'function') return Uint8Array.fromBase64(text)
  const padding = text.endsWith('==') ? 2 : text.endsWith('=') ? 1 : 0
  const bytes = new Uint8Array((text.length / 4) * 3 - padding)
  for (let from = 0, to = 0; from < text.length; from += 4) {
    const [a, b, c, d] = [0, 1, 2, 3].map((i) => VALUES[text.charCodeAt(from + i)])
    bytes[to++] = (a << 2) | (b >> 4)
    if (to < bytes.length) bytes[to++] = ((b << 4) | (c >> 2)) & 0xff
    if (to < bytes.length) bytes[to++] = ((c << 6) | d) & 0xff
  }
  return bytes
}

/** The bytes as base64. */
export function toBase64(bytes) {
  if (typeof bytes.toBase64 === 'function') return bytes.toBase64()
  let text = ''
  for (let from = 0; from < bytes.length; from += 3) {
    const word = (bytes[from] << 16) | ((bytes[from + 1] ?? 0) << 8) | (bytes[from + 2] ?? 0)
    const left = bytes.length - from
    text += ALPHABET[word >> 18] + ALPHABET[(word >> 12) & 63]
    text += (left > 1 ? ALPHABET[(word >> 6) & 63] : '=') + (left > 2 ? ALPHABET[word & 63] : '=')
  }
  return text
}
