// A table that becomes cards on a phone: the same rows, by CSS.
import { el } from '../dom.js'

// Rows keep their elements while they stay the same. A column is [title, rank, cell(row)]; ranks on a card:
// title, state (right of it), meta (muted), sub (a line of its own).
export function tableOf(caption, columns, keyOf, href) {
	const body = el('tbody')
	const node = el('table', el('caption.quiet', caption), el('thead', el('tr', columns.map(([title, rank]) => el(`th.${rank}`, { scope: 'col', 'aria-sort': title === 'Sent' && 'descending' }, title)))), body)
	let rows = new Map()

	// Show these, in this order; `selected` is a key.
	function draw(items, selected) {
		const next = new Map()
		let at = body.firstChild
		for (const item of items) {
			const key = keyOf(item)
			const old = rows.get(key)
			let row = el('tr', { 'aria-selected': key === selected && 'true', 'data-key': key }, columns.map(([, rank, cell]) => el(`td.${rank}`, rank === 'title' && href ? el('a.rowlink', { href: href(item) }, cell(item)) : cell(item))))
			if (old?.isEqualNode(row)) row = old
			else if (old) {
				const hadFocus = old.contains(document.activeElement)
				if (old === at) at = row
				old.replaceWith(row)
				if (hadFocus) row.querySelector('a').focus({ preventScroll: true })
			}
			if (row === at) at = row.nextSibling
			else body.insertBefore(row, at)
			next.set(key, row)
		}
		for (const [key, row] of rows) if (!next.has(key)) row.remove()
		rows = next
	}
	return { node, draw }
}
