// Texts to bytes and back by native functions alone: a loop in JavaScript takes a microsecond for every few bytes, and
// an engine of the language alone has no TextEncoder and no TextDecoder.

// eslint-disable-next-line no-control-regex
const ASCII = /^[\x00-\x7f]*$/
const encoder = typeof TextEncoder === 'function' ? new TextEncoder() : undefined

/** The text's bytes in UTF-8. */
export function encode(text) {
  if (encoder !== undefined) return encoder.encode(text)
  return Uint8Array.fromBase64(btoa(ASCII.test(text) ? text : unescape(encodeURIComponent(text))))
}

/** A text with a character for each byte. */
export function characters(bytes) {
  if (typeof bytes.toBase64 === 'function') return atob(bytes.toBase64())
  let text = ''
  // In parts, since an engine takes only so many arguments.
  for (let at = 0; at < bytes.length; at += 8192) text += String.fromCharCode.apply(null, bytes.subarray(at, at + 8192))
  return text
}

/** The text that such characters spell in UTF-8. */
export function decode(characters) {
  return ASCII.test(characters) ? characters : decodeURIComponent(escape(characters))
}

/** How many bytes a text has in UTF-8. */
export function bytesOf(text) {
  return ASCII.test(text) ? text.length : encode(text).length
}

/** The text without halves of surrogate pairs, which UTF-8 cannot spell. */
export function wellFormed(text) {
  return text.isWellFormed() ? text : text.toWellFormed()
}
