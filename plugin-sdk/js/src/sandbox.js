// In the sandbox there is no clock and no randomness. Asking for them says so, instead of ending the call in a trap.

const none = (what) => () => {
  throw new Error(`there is no ${what} in the sandbox: what a plugin says depends on the row and the settings alone`)
}

Math.random = none('randomness')

const Engine = Date
const noClock = none('clock')

/** `Date` for times that are given; the present one is an error. */
globalThis.Date = class Date extends Engine {
  constructor(...given) {
    if (given.length === 0) noClock()
    super(...given)
  }

  static now() {
    return noClock()
  }
}
