// Elements are made here only. Children are nodes or texts: no text ever becomes markup.
import { kept } from './api.js'

const SVG = 'http://www.w3.org/2000/svg'
const SVG_TAGS = /^(svg|use|path|text)$/
const TEXTS = /^(p|pre|h2|b|span|small|td|dd|code|option|summary)$/
const LABELS = /^(label|title|placeholder)$/
const SAFE_LINK = /^(#|https?:\/\/|blob:|openapi\.json$)/

// el('p.muted', { onclick: act }, 'text', [el('b', 'more')]): functions are listeners, null and false are nothing.
export function el(what, ...children) {
	const [tag, ...classes] = what.split('.')
	const props = children[0]?.constructor === Object ? children.shift() : {}
	const node = SVG_TAGS.test(tag) ? document.createElementNS(SVG, tag) : document.createElement(tag)
	if (classes[0]) node.setAttribute('class', classes.join(' '))
	if (TEXTS.test(tag)) node.dir = 'auto' // a text from elsewhere does not reorder what is around it
	for (const [name, value] of Object.entries(props)) {
		if (value == null || value === false) continue
		if (typeof value === 'function') node.addEventListener(name.slice(2), value)
		else if (name === 'value') node.value = value
		else if (/^on|^style$|^srcdoc$/.test(name) || (name === 'href' && tag === 'a' && !SAFE_LINK.test(value))) throw new TypeError(name)
		else node.setAttribute(name === 'label' ? 'aria-label' : name, value === true ? '' : LABELS.test(name) ? plain(value) : value)
	}
	node.append(...children.flat(9).filter((child) => child != null && child !== false).map((child) => (child.nodeType ? child : plain(child, 20000))))
	return node
}

export const icon = (name, ...classes) => el(['svg.icon', ...classes].join('.'), { viewBox: '0 0 24 24', 'aria-hidden': 'true' }, el('use', { href: `#i-${name}` }))
export const button = (label, act, props) => el('button.button', { type: 'button', onclick: act, ...props }, label)
export const sign = (name, label, act, more = '') => el(`button.plain${more}`, { type: 'button', label, title: label, onclick: act }, icon(name))
export const line = (text, more = '') => el(`span.line${more}`, text)
export const note = (...text) => el('p.muted', text)
export const check = (label, isOn, act) => el('label.check', el('input', { type: 'checkbox', checked: isOn, onchange: (event) => act(event.target.checked) }), label)
export const search = (label, props) => el('input', { type: 'search', placeholder: label, label, ...props })
export const options = (list, chosen) => list.map(([value, name = value]) => el('option', { value, selected: value === chosen }, name))
export const card = (title, side, ...children) => el('section.card', el('div.head', el('h2', title), side), children)
export const terms = (pairs) => el('dl', pairs.filter(([, value]) => value != null && `${value}`).map(([term, value]) => el('div', el('dt', term), el('dd', value))))
export const segments = (items, chosen, href) => items.map(([key, name, more = '']) => el(`a${more}`, { href: href(key), 'aria-current': key === chosen && 'true' }, name))
export const byId = (id) => document.getElementById(id)
export const focus = (node) => node?.focus?.({ preventScroll: true })

// A press counts: nothing is drawn until it ends, or for 3 s.
const later = new Map()
let isPressed = false
let release = 0
function press({ type, key = ' ' }) {
	if (key !== ' ') return
	isPressed = type !== 'click'
	clearTimeout(release)
	release = setTimeout(drawLater, /down/.test(type) ? 3000 : 100) // a finger's click comes late
}
for (const type of 'pointerdown pointerup pointercancel click keydown keyup'.split(' ')) addEventListener(type, press, true)
function drawLater() {
	isPressed = false
	for (const [key, draw] of later) {
		later.delete(key)
		draw()
	}
}
export function calmly(draw, key = draw) {
	later.set(key, draw)
	if (!isPressed) drawLater()
}

const parts = (node) => [node, ...(node.querySelectorAll?.('a,button,input,select,summary') ?? [])]
// Show other children; equal ones stay, and the keyboard stays where it is.
export const fill = (node, ...children) => calmly(() => {
	const next = [...el('div', children).childNodes]
	const now = [...node.childNodes]
	next.forEach((child, at) => {
		if (!now[at]) node.append(child)
		else if (!now[at].isEqualNode(child)) {
			const active = parts(now[at]).indexOf(document.activeElement)
			now[at].replaceWith(child)
			focus(parts(child)[active])
		}
	})
	now.slice(next.length).forEach((child) => child.remove())
}, node)

let saidAt = 0
let saying = 0
export function announce(text) {
	clearTimeout(saying)
	saying = setTimeout(() => {
		saidAt = Date.now()
		byId('live').textContent = plain(text)
	}, Math.max(50, saidAt + 5000 - Date.now()))
}

let offset = 0
export const setNow = (now) => { offset = now - Date.now() }
export const now = () => Date.now() + offset
export const clockDifference = () => -offset

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB']
const short = (value) => value.toFixed(value < 9.95 ? 1 : 0)
export function bytes(size) {
	if (size == null) return '–'
	let at = 0
	while (size >= 1024 && at < UNITS.length - 1) { size /= 1024; at++ }
	return `${at ? short(size).replace('.0', '') : size} ${UNITS[at]}`
}

const SPANS = [[86400, 'day', 's'], [3600, 'hour', 's'], [60, 'min', ''], [1, 's', '']]
export function span(ms) {
	if (ms == null) return '–'
	const s = Math.max(0, ms) / 1000
	if (s < 0.0095) return `${Math.round(s * 1000)} ms`
	if (s < 0.995) return `${s.toFixed(2)} s`
	if (s < 59.5) return `${short(s)} s`
	const whole = Math.round(s)
	const at = SPANS.findIndex(([size]) => whole >= size)
	const amounts = [Math.floor(whole / SPANS[at][0]), Math.floor((whole % SPANS[at][0]) / SPANS[at + 1][0])]
	return amounts.map((n, more) => n && `${n} ${SPANS[at + more][1]}${n > 1 ? SPANS[at + more][2] : ''}`).filter(Boolean).join(' ')
}

export function time(ms) {
	if (ms == null) return '–'
	const at = new Date(ms)
	if (at.toDateString() === new Date(now()).toDateString()) return clock(ms, 'medium')
	return `${at.toLocaleDateString('en-GB', { day: 'numeric', month: 'short' })} ${clock(ms)}`
}
const USUAL = new Intl.DateTimeFormat([], { timeStyle: 'short' }).resolvedOptions().hourCycle
const clocks = {}
export function clock(ms, timeStyle = 'short') {
	const hourCycle = kept('clock', USUAL)
	return (clocks[hourCycle + timeStyle] ||= new Intl.DateTimeFormat('en-GB', { timeStyle, hourCycle })).format(ms)
}

export function ago(ms) {
	const s = Math.max(0, now() - ms) / 1000
	if (s < 60) return `${Math.round(s)} s ago`
	if (s < 3600) return `${Math.floor(s / 60)} min ago`
	return s < 86400 ? `${Math.floor(s / 3600)} h ago` : `${count(Math.floor(s / 86400), 'day')} ago`
}

export const count = (n, word) => `${number(n)} ${word}${n === 1 ? '' : 's'}`
export const number = (n) => String(n).replace(/\B(?=(\d{3})+$)/g, ',')
export const nth = (n) => n + (/1[123]$/.test(String(n)) ? 'th' : ['th', 'st', 'nd', 'rd'][n % 10] || 'th')

export function ether(wei, digits = 6) {
	if (!/^-?\d+$/.test(wei ?? '')) return '–'
	const [, minus, all] = /^(-?)(.*)/.exec(wei)
	const long = all.padStart(19, '0')
	const [whole, rest] = [long.slice(0, -18), long.slice(-18).replace(/0+$/, '')]
	const cut = rest.slice(0, digits).replace(/0+$/, '')
	if (rest && !cut && !Number(whole)) return `< ${minus}0.${'1'.padStart(digits, '0')} ETH`
	return `${minus}${number(BigInt(whole))}${cut && `.${cut}`} ETH`
}

// Control characters, and what reorders or hides text.
const HIDDEN = /[^\P{C}\t\n]|[\u2028\u2029\u034f\u115f\u1160\u3164\uffa0]/gu
// A foreign text for the eye, with hidden characters as escapes.
export function plain(text, max = 500) {
	const cut = String(text ?? '')
	const shown = (cut.length > max ? cut.slice(0, max - 1) : cut).replace(HIDDEN, (one) =>
		one < ' ' ? String.fromCharCode(0x2400 + one.charCodeAt(0)) : `\\u${one.codePointAt(0).toString(16).padStart(4, '0')}`)
	return cut.length > max ? `${shown}…` : shown
}

export const names = (list) => list.join(' → ')
export const brief = (hash) => (hash.length > 14 ? `${hash.slice(0, 6)}…${hash.slice(-4)}` : hash)
