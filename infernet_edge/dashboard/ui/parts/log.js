// A log that grows: 2,000 lines, drawn once a frame; it never moves while a user reads.
import { button, el } from '../dom.js'
import { count, plain, time } from '../format.js'
import { copy, download } from './toast.js'

const LINES = 2000
const NEAR = 40 // px from the end
const LONG = 4096 // characters of a line
// What gives orders to a terminal: CSI and OSC sequences of ECMA-48.
const ANSI = /\u001b(?:\[[0-?]*[ -/]*[@-~]|\][^\u0007\u001b]*(?:\u0007|\u001b\\)?|[@-Z\\^_])/g
const shown = ({ l, dropped }) => (dropped == null ? String(l).replace(ANSI, '') : `${count(dropped, 'line')} left out: there were too many at once`)

export class Log {
	constructor(name) {
		this.lines = []
		this.waiting = []
		this.missed = 0
		this.word = ''
		this.drawing = 0
		this.isNear = true
		this.view = el('div.log.wrap', { role: 'log', 'aria-live': 'off', label: `Log of ${plain(name)}`, tabindex: '0', onscroll: () => this.scrolled() })
		this.newer = button('', () => this.toEnd(), { class: 'button newer', hidden: true })
		const check = (label, isOn, act) => el('label.check', el('input', { type: 'checkbox', checked: isOn, onchange: (event) => act(event.target.checked) }), label)
		const toggle = (kind) => (is) => this.view.classList.toggle(kind, is)
		this.follows = true
		const find = el('input', { type: 'search', placeholder: 'Find', label: 'Find in the log', oninput: () => this.find(find.value) })
		const text = () => `${this.lines.map(shown).join('\n')}\n`
		this.node = el('div', el('div.tools', check('Follow', true, (is) => { this.follows = is; if (is) this.toEnd() }), check('Wrap', true, toggle('wrap')), check('Times', false, toggle('times')), find,
			button('Copy', () => copy(text())), button('Download', () => download(`${name}.log`, text(), 'text/plain'))), el('div.logbox', this.view, this.newer))
	}

	scrolled() {
		const { scrollHeight, scrollTop, clientHeight } = this.view
		this.isNear = scrollHeight - scrollTop - clientHeight < NEAR
		if (this.isNear) this.seen()
	}
	seen() {
		this.missed = 0
		this.newer.hidden = true
	}
	toEnd() {
		this.view.scrollTop = this.view.scrollHeight
		this.isNear = true
		this.seen()
	}

	// A line is { t: ms since 1970, s: "out" or "err", l: text } or { dropped: number of lines }.
	add(line) {
		this.waiting.push(line)
		if (this.waiting.length > LINES) this.waiting.shift()
		this.drawing ||= requestAnimationFrame(() => this.draw())
	}

	draw() {
		this.drawing = 0
		const { view, waiting } = this
		const before = view.scrollTop
		view.append(...waiting.map((line) => this.row(line)))
		this.lines = [...this.lines, ...waiting].slice(-LINES)
		this.missed += waiting.length
		this.waiting = []
		const first = view.children[Math.max(0, view.childElementCount - LINES)]
		const gone = first.offsetTop - view.firstElementChild.offsetTop
		while (view.firstElementChild !== first) view.firstElementChild.remove()
		if (this.follows && this.isNear) return this.toEnd()
		if (gone) view.scrollTop = before - gone // what is read stays where it is
		this.newer.hidden = false
		this.newer.textContent = `${count(this.missed, 'new line')} ↓`
	}

	row(line) {
		const row = el(line.dropped == null ? (line.s === 'err' ? 'div.err' : 'div') : 'div.note', line.t ? el('time', time(line.t)) : null, el('span', plain(shown(line), LONG) || ' '))
		if (this.word) this.mark(row)
		return row
	}

	find(word) {
		this.word = word.toLowerCase()
		for (const row of this.view.children) this.mark(row)
		this.view.querySelector('mark')?.scrollIntoView({ block: 'nearest' })
	}
	mark(row) {
		const place = row.lastElementChild
		const text = place.textContent
		const at = this.word ? text.toLowerCase().indexOf(this.word) : -1
		const end = at + this.word.length
		place.replaceChildren(...(at < 0 ? [text] : [text.slice(0, at), el('mark', text.slice(at, end)), text.slice(end)]))
	}
}

export async function eachLine(response, take) {
	const reader = response.body.getReader()
	const decoder = new TextDecoder()
	let rest = ''
	for (;;) {
		const { done, value } = await reader.read()
		if (done) return
		const lines = (rest + decoder.decode(value, { stream: true })).split('\n')
		rest = lines.pop()
		for (const line of lines) if (line) take(JSON.parse(line))
	}
}
