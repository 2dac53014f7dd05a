// It never moves while a user reads.
import { lines } from '../api.js'
import { button, check, count, el, plain, search, time } from '../dom.js'
import { taking } from './toast.js'

const [LINES, NEAR, LONG] = [2000, 40, 4096]
// What gives orders to a terminal: CSI and OSC sequences of ECMA-48.
const ANSI = /\u001b(?:\[[0-?]*[ -/]*[@-~]|\][^\u0007\u001b]*(?:\u0007|\u001b\\)?|[@-Z\\^_])/g
const shown = ({ l, dropped }) => (dropped == null ? String(l).replace(ANSI, '') : `${count(dropped, 'line')} left out: there were too many at once`)

export function logView(name) {
	let lines = []
	let waiting = []
	let missed = 0
	let word = ''
	let drawing = 0
	let isNear = true
	let follows = true
	const view = el('div.log.wrap', { role: 'log', 'aria-live': 'off', label: `Log of ${name}`, tabindex: '0', onscroll: scrolled })
	const newer = button('', toEnd, { class: 'button newer', hidden: true })
	const toggle = (kind) => (is) => view.classList.toggle(kind, is)
	const field = search('Find', { label: 'Find in the log', oninput: find })
	const text = () => `${lines.map(shown).join('\n')}\n`
	const node = el('div', el('div.tools', check('Follow', true, (is) => { follows = is; if (is) toEnd() }), check('Wrap', true, toggle('wrap')), check('Times', false, toggle('times')), field,
		taking(text, `${name}.log`, 'text/plain')), el('div.logbox', view, newer))

	function scrolled() {
		const { scrollHeight, scrollTop, clientHeight } = view
		isNear = scrollHeight - scrollTop - clientHeight < NEAR
		if (isNear) seen()
	}
	function seen() {
		missed = 0
		newer.hidden = true
	}
	function toEnd() {
		view.scrollTop = view.scrollHeight
		isNear = true
		seen()
	}

	// { t: ms since 1970, s: "out" or "err", l: text } or { dropped: lines }
	function add(line) {
		waiting.push(line)
		if (waiting.length > LINES) waiting.shift()
		drawing ||= requestAnimationFrame(draw)
	}

	function draw() {
		drawing = 0
		const before = view.scrollTop
		view.append(...waiting.map(row))
		lines = [...lines, ...waiting].slice(-LINES)
		missed += waiting.length
		waiting = []
		const first = view.children[Math.max(0, view.childElementCount - LINES)]
		const gone = first.offsetTop - view.firstElementChild.offsetTop
		while (view.firstElementChild !== first) view.firstElementChild.remove()
		if (follows && isNear) return toEnd()
		if (gone) view.scrollTop = before - gone
		newer.hidden = false
		newer.textContent = `${count(missed, 'new line')} ↓`
	}

	function row(line) {
		const made = el(line.dropped == null ? (line.s === 'err' ? 'div.err' : 'div') : 'div.note', line.t > 0 && el('time', time(line.t)), el('span', plain(shown(line), LONG) || ' '))
		if (word) mark(made)
		return made
	}

	function find() {
		word = field.value.toLowerCase()
		for (const row of view.children) mark(row)
		view.querySelector('mark')?.scrollIntoView({ block: 'nearest' })
	}
	function mark(row) {
		const place = row.lastElementChild
		const text = place.textContent
		const at = word ? text.toLowerCase().indexOf(word) : -1
		const end = at + word.length
		place.replaceChildren(...(at < 0 ? [text] : [text.slice(0, at), el('mark', text.slice(at, end)), text.slice(end)]))
	}
	return { node, add }
}

export const eachLine = (response, take) => lines(response, (line) => { if (line) take(JSON.parse(line)) })
