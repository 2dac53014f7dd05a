// A list, and beside it (on a phone in its place) one of its rows.
import { el, sign } from '../dom.js'

// `home()` is the address of the list; `open(side, id, head)` shows details and returns { end }.
export function sides(main, list, what, home, open) {
	const side = el('div.card.side', { hidden: true })
	let detail = null
	let selected = ''
	const close = () => { location.hash = home() }
	const escape = (event) => { if (event.key === 'Escape' && selected && !document.querySelector('dialog')) close() }
	document.addEventListener('keydown', escape)
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
			if (id) title.focus({ preventScroll: true })
			else main.querySelector(`[data-key="${CSS.escape(before)}"] a`)?.focus()
		},
		end() {
			detail?.end()
			document.removeEventListener('keydown', escape)
		},
	}
}
