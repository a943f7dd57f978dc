// Maps orders to documents: skips drafts, and converts the total to cents.

import { plugin } from 'rowmill-plugin'

export const guest = plugin({
  name: '{{name}}',
  version: '0.1.0',
  tables: ['shop.orders'],

  // The mapping of the table's default index, which the gateway creates with it.
  indices: [
    {
      name: '',
      mapping: {
        properties: {
          id: { type: 'long' },
          customer: { type: 'keyword' },
          state: { type: 'keyword' },
          amount: { properties: { cents: { type: 'long' }, currency: { type: 'keyword' } } },
        },
      },
    },
  ],

  // Default settings. The gateway's configuration can override them under [plugins.settings.{{name}}].
  settings: { currency: 'CNY' },

  configure({ currency }) {
    if (currency.length !== 3) {
      throw new Error(`settings: currency is '${currency}', expected three letters, as in 'CNY'`)
    }
  },

  // Only `read` columns are copied into the plugin. The host copies `pass` columns into documents itself.
  columns: { read: ['state', 'total'], pass: ['id', 'customer_no'] },

  // Maps a row to one document, none or several. The result may depend only on the row and the settings: when a row
  // changes or is deleted, the host calls this with the before image and deletes the documents that no longer apply.
  row(row, out, settings) {
    if (row.text('state') === 'draft') return out.drop()
    const document = out.document().column('id').columnAs('customer_no', 'customer').column('state')
    const cents = row.cents('total')
    if (cents != null) {
      document.object('amount', (amount) => amount.integer('cents', cents).text('currency', settings.currency))
    }
  },
})
