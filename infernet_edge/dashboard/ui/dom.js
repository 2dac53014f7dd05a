// Elements are made here only. Children are nodes or texts: no text ever becomes markup.

const SVG = 'http://www.w3.org/2000/svg'
const SVG_TAGS = new Set(['svg', 'use', 'path', 'text'])
const TEXTS = /^(p|pre|h2|b|span|small|td|dd|code|option|summary)$/
const SAFE_LINK = /^(#|https?:\/\/|blob:|openapi\.json$)/

// el('p.muted', { onclick: act }, 'text', el('b', 'more')): properties may be left out, functions are listeners,
// null and false are nothing, lists are flattened.
export function el(what, ...children) {
	const [tag, ...classes] = what.split('.')
	const props = children[0]?.constructor === Object ? children.shift() : {}
	const node = SVG_TAGS.has(tag) ? document.createElementNS(SVG, tag) : document.createElement(tag)
	if (classes[0]) node.setAttribute('class', classes.join(' '))
	if (TEXTS.test(tag)) node.dir = 'auto' // a text from elsewhere does not reorder what is around it
	for (const [name, value] of Object.entries(props)) {
		if (value == null || value === false) continue
		if (typeof value === 'function') node.addEventListener(name.slice(2), value)
		else if (name === 'value') node.value = value
		else if (/^on|^style$|^srcdoc$/.test(name) || (name === 'href' && tag === 'a' && !SAFE_LINK.test(value))) throw new TypeError(name)
		else node.setAttribute(name === 'label' ? 'aria-label' : name, value === true ? '' : value)
	}
	node.append(...children.flat(9).filter((child) => child != null && child !== false))
	return node
}

// A drawing of index.html.
export const icon = (name, ...classes) => el(['svg.icon', ...classes].join('.'), { viewBox: '0 0 24 24', 'aria-hidden': 'true' }, el('use', { href: `#i-${name}` }))
export const button = (label, act, props) => el('button.button', { type: 'button', onclick: act, ...props }, label)
// A button that is a drawing alone; `label` is for screen readers.
export const sign = (name, label, act, more = '') => el(`button.plain${more}`, { type: 'button', label, title: label, onclick: act }, icon(name))
// One line, cut at its end.
export const line = (text, more = '') => el(`span.line${more}`, text)
// A card with a head; `side` is right in it.
export const card = (title, side, ...children) => el('section.card', el('div.head', el('h2', title), side), children)
// Terms and those values that there are.
export const terms = (pairs) => el('dl', pairs.filter(([, value]) => value != null && value !== '').map(([term, value]) => el('div', el('dt', term), el('dd', value))))
// Links of which one is chosen: [key, name, class].
export const segments = (items, chosen, href) => items.map(([key, name, more = '']) => el(`a${more}`, { href: href(key), 'aria-current': key === chosen && 'true' }, name))
export const byId = (id) => document.getElementById(id)

// Show other children; equal ones are kept, with their focus.
export function fill(node, ...children) {
	const next = [...el('div', children).childNodes]
	const now = [...node.childNodes]
	next.forEach((child, at) => {
		if (!now[at]) node.append(child)
		else if (!now[at].isEqualNode(child)) now[at].replaceWith(child)
	})
	now.slice(next.length).forEach((child) => child.remove())
}

let saidAt = 0
let saying = 0
// Say something to screen readers, at most once in 5 s: the latest.
export function announce(text) {
	clearTimeout(saying)
	saying = setTimeout(() => {
		saidAt = Date.now()
		byId('live').textContent = text
	}, Math.max(50, saidAt + 5000 - Date.now()))
}
