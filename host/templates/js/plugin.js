// Orders as documents: drafts stay out of the index, and the total is in cents.

import { plugin } from 'rowmill-plugin'

export const guest = plugin({
  name: '{{name}}',
  version: '0.1.0',
  tables: ['shop.orders'],

  // The mapping is that of the table's own index, which the gateway creates with it.
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

  // What can be set in the gateway's configuration, under [plugins.settings.{{name}}].
  settings: { currency: 'CNY' },

  configure({ currency }) {
    if (currency.length !== 3) {
      throw new Error(`settings: currency is '${currency}', expected three letters, as in 'CNY'`)
    }
  },

  // Only columns that are read are copied into the plugin; the others are passed on by the host.
  columns: { read: ['state', 'total'], pass: ['id', 'customer_no'] },

  // Says what a row is: a document, none, or several. It must depend on the row and the settings alone: when a row
  // changes or goes, the host asks what it was, and deletes the documents that it no longer is.
  row(row, out, settings) {
    if (row.text('state') === 'draft') return out.drop()
    const document = out.document().column('id').columnAs('customer_no', 'customer').column('state')
    const cents = row.cents('total')
    if (cents != null) {
      document.object('amount', (amount) => amount.integer('cents', cents).text('currency', settings.currency))
    }
  },
})
