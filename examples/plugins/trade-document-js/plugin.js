// Shapes rows of the `trade` table into documents: renamed and nested fields, readable status, exact cents, UTC times.
//
// A line-by-line port of the bundled plugin `trade-document` in Rust. It accepts rows of every source format, even if column
// types are unknown.

import { isValidDate, plugin } from 'rowmill-plugin'

import mapping from './mapping.json'

const STATUS = new Map([
  ['NEW', 'new'], ['PAID', 'paid'], ['SHIPPED', 'shipped'], ['DONE', 'done'], ['CLOSED', 'closed'],
  // Sources without labels send the number in the ENUM.
  ['1', 'new'], ['2', 'paid'], ['3', 'shipped'], ['4', 'done'], ['5', 'closed'],
])

export const guest = plugin({
  name: 'trade-document-js',
  version: '0.1.0',
  tables: ['trade'],
  indices: [{ name: '', mapping }],
  settings: { currency: 'CNY', indexDetail: false },

  configure({ currency }) {
    if (!/^[A-Z]{3}$/.test(currency)) {
      throw new Error(`settings: currency is '${currency}', expected three capital letters, as in 'CNY'`)
    }
  },

  columns: {
    read: ['status', 'amount', 'created_at'],
    readOptional: ['currency', 'tags', 'pay_time', 'ship_time', 'updated_at', 'receiver_name', 'is_paid'],
    pass: ['id', 'trade_no'],
    passOptional: [
      'title', 'buyer_id', 'buyer_memo', 'seller_id', 'seller_memo', 'shop_name', 'receiver_phone', 'receiver_addr',
      'pay_channel', 'quantity', 'ext', 'detail', 'remark',
    ],
  },

  row(row, out, { currency, indexDetail }) {
    const document = out.document()
    document.column('id').columnAs('trade_no', 'tradeNo').column('title').column('quantity').column('remark').column('ext')
    if (indexDetail) document.column('detail')

    const status = row.scalar('status')
    // An unknown status is passed on unchanged.
    if (status != null) document.text('status', STATUS.get(status) ?? status)
    const paid = row.boolean('is_paid')
    if (paid != null) document.boolean('paid', paid)
    const tags = row.set('tags')
    if (tags != null) document.texts('tags', tags)

    time(row, document, 'created_at', 'createdAt')
    time(row, document, 'updated_at', 'updatedAt')
    time(row, document, 'ship_time', 'shippedAt')

    document.object('buyer', (buyer) => buyer.columnAs('buyer_id', 'id').columnAs('buyer_memo', 'memo'))
    document.object('seller', (seller) =>
      seller.columnAs('seller_id', 'id').columnAs('shop_name', 'shop').columnAs('seller_memo', 'memo')
    )
    document.object('receiver', (receiver) => {
      const name = row.text('receiver_name')
      if (name != null) receiver.text('name', name.trim())
      receiver.columnAs('receiver_phone', 'phone').columnAs('receiver_addr', 'address')
    })
    document.object('pay', (pay) => {
      pay.columnAs('pay_channel', 'channel')
      time(row, pay, 'pay_time', 'time')
      const cents = row.cents('amount')
      if (cents != null) pay.integer('amountCents', cents)
      pay.text('currency', row.text('currency')?.trim().toUpperCase() || currency)
    })
  },
})

/** A time in ISO-8601 with a `Z`; nothing for NULL, and for MySQL's zero dates, which no date field takes. */
function time(row, document, column, name) {
  const text = row.datetime(column)
  if (text != null && isValidDate(text)) document.datetimeUtc(name, text)
}
