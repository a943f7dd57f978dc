// Where messages go outside of the sandbox, in tests: standard error.

export const isSandboxed = false
export const write = (level, message) => console.error(`${level}: ${message}`)
