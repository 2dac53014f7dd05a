// JSON for the eye, from its text: nothing is decoded.
import { button, bytes, el, plain } from '../dom.js'

const SHOWN = 65536 // characters, until "Show all"
const LONG = 200 // characters of a text
const DEEP = 3 // levels that are open
const LEVELS = 50 // levels that are elements of their own
const NODES = 20000 // parts of a tree; the rest is text
const SIGNS = '{}[],:'
const BLANK = ' \t\r\n'

// The end of a string that begins at `at`.
function endOfString(text, at) {
	for (let next = text.indexOf('"', at + 1); next >= 0; next = text.indexOf('"', next + 1)) {
		let before = next
		while (text[before - 1] === '\\') before--
		if ((next - before) % 2 === 0) return next + 1
	}
	return text.length
}

// The tokens of a text: those of strings begin with a quote.
function tokens(text) {
	const found = []
	for (let at = 0, end; at < text.length; at = end) {
		end = at + 1
		if (text[at] === '"') end = endOfString(text, at)
		else if (BLANK.includes(text[at])) continue
		else if (!SIGNS.includes(text[at])) while (end < text.length && !`${SIGNS}${BLANK}"`.includes(text[end])) end++
		found.push(text.slice(at, end))
	}
	return found
}

function leaf(kind, text) {
	const node = el(`span.${kind}`, plain(text, LONG))
	return text.length <= LONG ? [node] : [node, ' ', button(`Show ${bytes(Math.min(text.length, SHOWN))}`, (event) => {
		node.textContent = plain(text, SHOWN) // a longer line would stop the browser
		event.currentTarget.remove()
	}, { class: 'show' })]
}

// The tree of a text; one that is cut off or not JSON is shown as far as it goes.
function tree(text) {
	const list = tokens(text)
	const top = el('span')
	const open = [top]
	const newLine = () => `\n${'  '.repeat(Math.min(LEVELS, open.length - 1))}`
	for (let at = 0; at < list.length; at++) {
		const one = list[at]
		const node = open[open.length - 1]
		const isEnd = one === '}' || one === ']'
		if (at > NODES) {
			node.append(plain(list.slice(at).join(''), SHOWN))
			break
		}
		if ('{[,'.includes(list[at - 1] || ' ') && !isEnd) node.append(newLine())
		if ('{['.includes(one) && '}]'.includes(list[at + 1] || ' ')) node.append(one + list[++at])
		else if ('{['.includes(one)) {
			const isFlat = open.length > LEVELS
			const inner = isFlat ? node : el('span')
			if (isFlat) node.append(one)
			else node.append(...(open.length > DEEP ? [el('details', el('summary', one), inner)] : [one, inner]))
			open.push(inner)
		} else if (isEnd) {
			if (open.length > 1) open.pop()
			node.append(newLine())
			open[open.length - 1].append(one)
		} else node.append(...(one[0] === '"' ? leaf(list[at + 1] === ':' ? 'k' : 's', one) : SIGNS.includes(one) ? [one === ':' ? ': ' : one] : leaf('n', one)))
	}
	return top
}

// `size`: bytes of all of it; `more` reads it, where `text` is its beginning.
export function jsonView(text, size, more) {
	const view = el('pre.json', { tabindex: '0' }, tree(text.slice(0, SHOWN)))
	if (text.length <= SHOWN && !more) return view
	const all = button(size ? `Show all (${bytes(size)})` : 'Show all', async () => {
		view.replaceChildren(tree(more ? await more() : text))
		all.parentElement.remove()
	})
	return [view, el('p.muted', 'This is the beginning. ', all)]
}

const problem = (text) => {
	try { JSON.parse(text) } catch ({ message }) { return message }
	return ''
}
// What is wrong with a text that is to be JSON, and where; "" for nothing.
export function jsonError(text) {
	const found = problem(text)
	if (!found) return ''
	let [good, end] = [0, text.length] // not all browsers say where: the shortest beginning with it
	while (end - good > 1) {
		const middle = (good + end) >> 1
		if (/^$|end of|unterminated/i.test(problem(text.slice(0, middle)))) good = middle
		else end = middle
	}
	return `Line ${text.slice(0, end).split('\n').length}: ${plain(found.replace(/ at position.*| \(line.*/, ''), 160)}`
}
