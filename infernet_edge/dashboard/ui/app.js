import { get, hasToken, kept, signOut } from './api.js'
import { ago, announce, button, byId, el, fill, focus, icon, now, plain, span } from './dom.js'
import { isStale, node, on, start } from './live.js'
import { stateChip, toFix, verdict } from './parts/chip.js'

const PAGES = [['overview', 'Overview', 'o'], ['jobs', 'Jobs', 'j'], ['try', 'Try it', 't'], ['containers', 'Containers', 'c'], ['chain', 'Chain', 'h'], ['nodes', 'Nodes', 'n'], ['settings', 'Settings', 's']]
const FIRST = 4
const address = (page) => `#/${page === 'overview' ? '' : page}`

const body = document.body
const main = byId('main')
let shown = ''
let page = null
let turn = 0
const loaded = new Promise((done) => { on('load', done) })
let others = []
loaded.then(() => setTimeout(async () => {
	PAGES.forEach(([id]) => import(`./pages/${id}.js`).catch(() => {}))
	others = (await get('api/nodes').catch(() => ({ items: others }))).items
	frame()
}, 3000))

async function route() {
	const [path, query] = (location.hash || '#/').split('?')
	if (path.startsWith('#token=')) return location.reload()
	const [, word, key = ''] = path.split('/')
	const name = word || 'overview'
	if (PAGES.every(([one]) => one !== name)) return location.replace('#/')
	let id = ''
	try { id = decodeURIComponent(key) } catch { /* not valid: as none */ }
	const parameters = new URLSearchParams(query)
	body.classList.remove('more')
	body.classList.toggle('detail', id !== '')
	if (name === shown && page?.update) {
		page.update(id, parameters)
		return frame()
	}
	const mine = ++turn
	try {
		const module = await import(`./pages/${name}.js`)
		if (!node.overview) {
			setTimeout(greet, 200)
			await loaded
		}
		if (mine !== turn) return
		page?.end()
		main.replaceChildren()
		page = module.default(main, id, parameters)
		if (shown) focus(main.querySelector('h1'))
		shown = name
		scrollTo(0, 0)
	} catch (error) {
		console.error(error)
		fill(main, el('h1', 'This page could not be loaded'), el('p', error), button('Reload', () => location.reload()))
	}
	frame()
}

const COLOURS = { ok: '#1b7a43', run: '#0b5fae', warn: '#b86e00', bad: '#b3261e' }
function drawIcon(kind) {
	const link = document.querySelector('link[rel=icon]')
	const sign = new XMLSerializer().serializeToString(byId(`i-${kind}`)).replace('var(--cut)', 'white')
	const image = `data:image/svg+xml,${encodeURIComponent(`<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 24 24' fill='none' stroke='currentColor' stroke-width='2.5' color='${COLOURS[kind]}'>${sign}</svg>`)}`
	if (link.href !== image) link.href = image
}

function more() {
	body.classList.toggle('more')
	frame()
}

function frame() {
	const all = node.overview
	const [kind, sentence] = verdict()
	const name = all?.node.name || location.hostname
	document.title = plain(`${name} · ${all && kind === 'warn' ? `${toFix()} to fix` : sentence}`, 200)
	if (all) drawIcon(kind)
	fill(byId('name'), name)
	body.classList.toggle('stale', isStale())
	fill(byId('state'), stateChip(shown !== 'overview'))
	for (const place of document.querySelectorAll('.pagehead .state')) fill(place, stateChip())
	const bad = all?.containers.filter((one) => one.state === 'failed').length
	const pages = PAGES.filter(([id]) => id === shown || ({ chain: all?.chain, nodes: others[0] }[id] ?? !/chain|nodes/.test(id)))
	const items = pages.map(([id, title], at) => el(at < FIRST ? 'li' : 'li.second', el('a', { href: address(id), 'aria-current': id === shown && 'page' }, icon(id), el('span', title),
		id === 'containers' && bad > 0 && el('b.badge', bad, el('span.quiet', ' failed')))))
	if (hasToken()) items.push(el('li.second.out', el('button', { type: 'button', onclick: signOut }, icon('close'), el('span', 'Sign out'))))
	items.push(el('li.moreitem', el('button', { type: 'button', 'aria-expanded': String(body.classList.contains('more')), onclick: more }, icon('more'), el('span', 'More'))))
	fill(byId('pages'), items)
	if (all) fill(byId('about'), el('p', all.node.version.replace('+edge.', ' · edge ')), all.me.open ? null : el('p', 'Signed in as ', el('b', all.me.name.replace('token:', '')), ` (${all.me.scope})`))
	if (node.updated && !byId('updated')) main.before(el('div', { id: 'updated' }, 'The node was updated. ', button('Reload', () => location.reload())))
}

const greet = () => { if (!shown) fill(main, el('h1', verdict()[1])) }

let said = ''
on('load state', () => {
	frame()
	const [, sentence] = verdict()
	greet()
	if (said && said !== sentence) announce(sentence)
	said = sentence
})

setInterval(() => {
	if (document.hidden || isStale()) return
	for (const place of document.querySelectorAll('[data-since]')) place.textContent = span(now() - place.dataset.since)
	for (const place of document.querySelectorAll('[data-ago]')) place.textContent = ago(place.dataset.ago)
}, 1000)

let going = 0
addEventListener('keydown', (event) => {
	const { key, target } = event
	if (key === 'Escape' && body.classList.contains('more')) more()
	if (event.ctrlKey || event.metaKey || event.altKey || !kept('keys', true) || target.closest('input, textarea, select, dialog')) return
	const next = Date.now() - going < 1500 && PAGES.find((each) => each[2] === key)
	going = 0
	if (next) location.hash = address(next[0])
	else if (key === 'g') going = Date.now()
	else if (key === '/') {
		main.querySelector('input[type=search]')?.focus()
		event.preventDefault()
	} else if (key === '?') import('./parts/dialog.js').then((dialog) => dialog.showKeys(PAGES))
	else if (key === 'j' || key === 'k') {
		const rows = [...main.querySelectorAll('.rowlink')]
		rows[Math.max(0, rows.indexOf(document.activeElement) + (key === 'j' ? 1 : -1))]?.focus()
	}
})
document.querySelector('.skip').addEventListener('click', (event) => {
	event.preventDefault()
	main.focus()
})

addEventListener('hashchange', route)
frame()
route()
start()
