// A table that becomes cards on a phone: the same rows, by CSS.
import { el } from '../dom.js'

// Rows keep their elements while they stay the same. A column is [title, rank, cell(row)]; ranks on a card:
// title, state (right of it), meta (muted), sub (a line of its own).
export class Table {
	constructor(caption, columns, key, href) {
		this.columns = columns
		this.key = key
		this.href = href
		this.body = el('tbody')
		this.node = el('table', el('caption.quiet', caption), el('thead', el('tr', columns.map(([title, rank]) => el(`th.${rank}`, { scope: 'col', 'aria-sort': title === 'Sent' ? 'descending' : null }, title)))), this.body)
		this.rows = new Map()
	}

	// Show these, in this order; `selected` is a key.
	draw(items, selected) {
		const next = new Map()
		let at = this.body.firstChild
		for (const item of items) {
			const key = this.key(item)
			const old = this.rows.get(key)
			let row = this.row(item, key, key === selected)
			if (old?.isEqualNode(row)) row = old
			else if (old) {
				const hadFocus = old.contains(document.activeElement)
				if (old === at) at = row
				old.replaceWith(row)
				if (hadFocus) row.querySelector('a').focus({ preventScroll: true })
			}
			if (row === at) at = row.nextSibling
			else this.body.insertBefore(row, at)
			next.set(key, row)
		}
		for (const [key, row] of this.rows) if (!next.has(key)) row.remove()
		this.rows = next
	}

	row(item, key, isSelected) {
		return el('tr', { 'aria-selected': isSelected ? 'true' : null, 'data-key': key }, this.columns.map(([, rank, cell]) =>
			el(`td.${rank}`, rank === 'title' && this.href ? el('a.rowlink', { href: this.href(item) }, cell(item)) : cell(item))))
	}
}
