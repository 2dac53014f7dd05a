// Nothing is decoded.
import { head, textOf } from '../api.js'
import { button, bytes, el, fill, note, plain } from '../dom.js'
import { why } from './chip.js'
import { taking } from './toast.js'

const [SHOWN, LONG, DEEP, LEVELS, NODES] = [65536, 200, 3, 50, 20000]
const SIGNS = '{}[],:'

// Texts, also without an end; signs; what is between.
const TOKENS = /"[^"\\]*(?:\\.?[^"\\]*)*"?|[{}[\],:]|[^{}[\],:" \t\r\n]+/gs

function leaf(kind, text) {
	const node = el(`span.${kind}`, plain(text, LONG))
	return text.length <= LONG ? [node] : [node, ' ', button(`Show ${bytes(Math.min(text.length, SHOWN))}`, (event) => {
		node.textContent = plain(text, SHOWN) // a longer line would stop the browser
		event.currentTarget.remove()
	}, { class: 'show' })]
}

function tree(text) {
	const list = text.match(TOKENS) || []
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

function jsonView(text, size, more) {
	const view = el('pre.json', { tabindex: '0' }, tree(text.slice(0, SHOWN)))
	if (text.length <= SHOWN && !more) return view
	const all = button(size ? `Show all (${bytes(size)})` : 'Show all', async () => {
		view.replaceChildren(tree(more ? await more() : text))
		all.parentElement.remove()
	})
	return [view, note('This is the beginning. ', all)]
}

export async function showText(place, name, path, file, absent, signal, more) {
	const whole = () => textOf(path, signal)
	try {
		const { text, size, all } = await head(path, SHOWN, signal)
		fill(place, el('div.parthead', el('h2', name), el('span', taking(whole, file), more)),
			jsonView(text, size, !all && whole), note(`${bytes(size)}. Long texts are shortened here, not in copies.`))
	} catch (error) {
		if (!signal.aborted) fill(place, el('h2', name), note(error.status === 404 ? absent : `Could not load it: ${why(error)}`))
	}
}

const problem = (text) => {
	try { JSON.parse(text) } catch ({ message }) { return message }
	return ''
}
export function jsonError(text) {
	const found = problem(text)
	if (!found) return ''
	let [good, end] = [0, text.length] // not all browsers say where: the shortest beginning with it
	while (end - good > 1) {
		const middle = (good + end) >> 1
		if (/^$|end of|unterminated/i.test(problem(text.slice(0, middle)))) good = middle
		else end = middle
	}
	return `Line ${text.slice(0, end).split('\n').length}: ${plain(found.replace(/^JSON.parse: | at (pos|line).*/g, ''), 160)}`
}
