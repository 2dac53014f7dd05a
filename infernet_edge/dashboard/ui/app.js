// The frame of the page: its pages, the navigation, keys, and what every page shows.
import { hasToken, kept, signOut } from './api.js'
import { announce, byId, button, el, fill, icon } from './dom.js'
import { ago, now, plain, span } from './format.js'
import { isStale, node, on, start } from './live.js'
import { may, stateChip, toFix, verdict } from './parts/chip.js'

// Module, name, key; its default function gets main, an id, the query.
const PAGES = [['overview', 'Overview', 'o'], ['jobs', 'Jobs', 'j'], ['try', 'Try it', 't'], ['containers', 'Containers', 'c'], ['chain', 'Chain', 'h'], ['settings', 'Settings', 's']]
const FIRST = 4 // pages in the bar of a phone
const ROUTE = /^#\/(?:(jobs|containers)\/([^/]+)|(jobs|try|containers|chain|settings)|)$/
const address = (page) => `#/${page === 'overview' ? '' : page}`

const body = document.body
const main = byId('main')
let shown = ''
let page = null
let turn = 0
const loaded = new Promise((done) => { on('load', done) }) // no page is drawn before
// The other pages, for when the node is not there.
loaded.then(() => setTimeout(() => PAGES.forEach(([id]) => import(`./pages/${id}.js`).catch(() => {})), 3000))

async function route() {
	const [path, query] = (location.hash || '#/').split('?')
	const found = ROUTE.exec(path)
	if (path.startsWith('#token=')) return location.reload()
	if (!found) return location.replace('#/')
	const name = found[1] || found[3] || 'overview'
	let id = ''
	try { id = decodeURIComponent(found[2] || '') } catch { /* not valid: as none */ }
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
		if (shown) main.querySelector('h1').focus({ preventScroll: true })
		shown = name
		scrollTo(0, 0)
	} catch (error) {
		console.error(error)
		fill(main, el('h1', 'This page could not be loaded'), el('p', plain(error)), button('Reload', () => location.reload()))
	}
	frame()
}

const ICONS = {
	ok: ['#1b7a43', 'M8 1a7 7 0 1 0 .1 0z', 'M5 8l2 2 4-4'], run: ['#0b5fae', 'M8 1a7 7 0 1 0 .1 0z', 'M6 5l5 3-5 3z'],
	warn: ['#b86e00', 'M8 1l7.5 14H.5z', 'M8 6v4M8 12v1'], bad: ['#b3261e', 'M5 1h6l4 4v6l-4 4H5l-4-4V5z', 'M5 5l6 6M11 5l-6 6'],
}
function drawIcon([colour, shape, sign]) {
	const link = document.querySelector('link[rel=icon]')
	const image = `data:image/svg+xml,${encodeURIComponent(`<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'><path fill='${colour}' d='${shape}'/><path fill='none' stroke='white' stroke-width='2' d='${sign}'/></svg>`)}`
	if (link.href !== image) link.href = image
}

function more() {
	body.classList.toggle('more')
	frame()
}

function frame() {
	const all = node.overview
	const [kind, sentence] = verdict()
	const name = plain(all?.node.name || location.hostname, 60)
	document.title = `${name} · ${all && kind === 'warn' ? `${toFix()} to fix` : sentence}`
	if (all) drawIcon(ICONS[kind])
	fill(byId('name'), name)
	body.classList.toggle('stale', isStale())
	fill(byId('state'), stateChip(shown !== 'overview'))
	for (const place of document.querySelectorAll('.pagehead .state')) fill(place, stateChip())
	const bad = all?.containers.filter((one) => one.state === 'failed').length
	const pages = PAGES.filter(([id]) => id !== 'chain' || all?.chain)
	const items = pages.map(([id, title], at) => el(at < FIRST ? 'li' : 'li.second', el('a', { href: address(id), 'aria-current': id === shown ? 'page' : null }, icon(id), el('span', title),
		id === 'containers' && bad ? el('b.badge', bad, el('span.quiet', ' failed')) : null)))
	if (hasToken()) items.push(el('li.second.out', el('button', { type: 'button', onclick: signOut }, icon('close'), el('span', 'Sign out'))))
	items.push(el('li.moreitem', el('button', { type: 'button', 'aria-expanded': String(body.classList.contains('more')), onclick: more }, icon('more'), el('span', 'More'))))
	fill(byId('pages'), items)
	if (all) fill(byId('about'), el('p', plain(all.node.version.replace('+edge.', ' · edge '), 60)), all.me.open ? null : el('p', 'Signed in as ', el('b', plain(all.me.name.replace('token:', ''), 60)), ` (${all.me.scope})`))
	if (node.updated && !byId('updated')) main.before(el('div', { id: 'updated' }, 'The node was updated. ', button('Reload', () => location.reload())))
}

// Before there is anything to show.
const greet = () => { if (!shown) fill(main, el('h1', verdict()[1])) }

let said = ''
on('load state', () => {
	frame()
	const [, sentence] = verdict()
	greet()
	if (said && said !== sentence) announce(sentence)
	said = sentence
})

// Times that grow, while a user looks.
setInterval(() => {
	if (document.hidden || isStale()) return
	for (const place of document.querySelectorAll('[data-since]')) place.textContent = span(now() - place.dataset.since)
	for (const place of document.querySelectorAll('[data-ago]')) place.textContent = ago(place.dataset.ago)
}, 1000)

let going = 0 // when "g" was pressed
document.addEventListener('keydown', (event) => {
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
