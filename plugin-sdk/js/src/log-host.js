// Where messages go in the sandbox: the contract's import. What else differs there comes along.

import './sandbox.js'

import { log } from 'rowmill:plugin/log@1.0.0'

export const isSandboxed = true
export const write = (level, message) => log(level, message)
