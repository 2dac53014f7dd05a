import { calmly, el, focus, sign } from '../dom.js'

// Rows are not made again for the same object. A column is [title, rank, cell(row)]; ranks on a card: title, state (right of it),
// meta (muted), sub (a line of its own).
export function tableOf(caption, columns, keyOf, href) {
	const body = el('tbody')
	const node = el('table', el('caption.quiet', caption), el('thead', el('tr', columns.map(([title, rank]) => el(`th.${rank}`, { scope: 'col', 'aria-sort': title === 'Sent' && 'descending' }, title)))), body)
	let rows = new Map()

	const draw = (items, selected) => calmly(() => {
		const next = new Map()
		let at = body.firstChild
		for (const item of items) {
			const key = keyOf(item)
			const known = rows.get(key)
			const old = known?.row
			const isSame = known?.item === item && known.selected === (key === selected)
			let row = isSame ? old : el('tr', { 'aria-selected': key === selected && 'true', 'data-key': key }, columns.map(([, rank, cell]) => el(`td.${rank}`, rank === 'title' && href ? el('a.rowlink', { href: href(item) }, cell(item)) : cell(item))))
			if (isSame || old?.isEqualNode(row)) row = old
			else if (old) {
				const hadFocus = old.contains(document.activeElement)
				if (old === at) at = row
				old.replaceWith(row)
				if (hadFocus) focus(row.querySelector('a'))
			}
			if (row === at) at = row.nextSibling
			else body.insertBefore(row, at)
			next.set(key, { row, item, selected: key === selected })
		}
		for (const [key, { row }] of rows) if (!next.has(key)) row.remove()
		rows = next
	}, body)
	return { node, draw }
}

// `home()`: the address of the list; `open(side, id, head)` returns { end }.
export function sides(main, list, what, home, open) {
	const side = el('div.card.side', { hidden: true })
	let detail = null
	let selected = ''
	const close = () => { location.hash = home() }
	const escape = (event) => { if (event.key === 'Escape' && selected && !document.querySelector('dialog')) close() }
	addEventListener('keydown', escape)
	main.append(el('div.sides', list, side))
	return {
		get selected() { return selected },
		get detail() { return detail },
		select(id, redraw) {
			if (id === selected) return
			const before = selected
			selected = id
			detail?.end()
			detail = null
			side.hidden = !id
			const title = el('h2', { tabindex: '-1' })
			side.replaceChildren(el('button.button.back', { type: 'button', onclick: close }, `Back to the ${what}`))
			if (id) detail = open(side, id, (more) => side.append(el('div.idhead', title, more, sign('close', 'Close', close, '.close'))), title)
			redraw()
			if (id) focus(title)
			else main.querySelector(`[data-key="${CSS.escape(before)}"] a`)?.focus()
		},
		end() {
			detail?.end()
			removeEventListener('keydown', escape)
		},
	}
}
