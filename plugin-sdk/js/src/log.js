// Messages for the host's log. They are rate-limited there, and should not carry row values.

import { write } from '#host-log'

const at = (level) => (message) => write(level, String(message))

export const log = { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') }
