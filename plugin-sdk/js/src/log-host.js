// Where messages go in the sandbox: the contract's import.

import { log } from 'rowmill:plugin/log@1.0.0'

export const write = (level, message) => log(level, message)
