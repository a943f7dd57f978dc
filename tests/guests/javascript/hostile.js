// A plugin that does harm as JavaScript can, its deed chosen by its settings. Only rows whose `mark` is "trap me" meet it.

import { log, plugin } from 'rowmill-plugin'

const kept = []

const deeds = {
  throw: () => {
    throw new Error('a reason')
  },
  clock: () => Date.now(),
  date: () => new Date(),
  random: () => Math.random(),
  loop: () => {
    for (;;);
  },
  recurse: () => deeds.recurse() + 1,
  memory: () => {
    for (;;) kept.push(new Uint8Array(1 << 20).fill(1))
  },
  texts: () => {
    for (let text = 'x'; ; text += text) kept.push(text)
  },
  regex: () => /^(a+)+$/.test(`${'a'.repeat(64)}!`),
  flood: () => {
    for (let n = 0; n < 1000; n += 1) log.error(`flood ${n}`)
  },
  prototype: (row, out) => {
    Object.getPrototypeOf(out).end = () => {}
    Array.prototype.push = () => {
      throw new Error('no more words')
    }
  },
}

export const guest = plugin({
  name: 'hostile-js',
  settings: { do: '' },
  row(row, out, settings) {
    if (row.text('mark') !== 'trap me') return out.edit().text('note', 'unharmed')
    deeds[settings.do](row, out)
  },
})
