import { get, hasToken, keep, kept, signOut } from '../api.js'
import { button, check, el, fill, line, note, options, search, segments, sign, terms, time } from '../dom.js'
import { node, on } from '../live.js'
import { may, pageHead, show } from '../parts/chip.js'
import { action, confirm, copy } from '../parts/toast.js'

const TABS = [['values', 'Values'], ['access', 'Access'], ['browser', 'This browser'], ['about', 'About']]
const said = (value) => (value === 'hidden' ? 'set (hidden)' : typeof value === 'string' && value ? value : JSON.stringify(value))
const code = (text) => el('code', text)

export default function settings(main, _id, query) {
	let all = {}
	const tabs = el('div.segments')
	const body = el('div.card')
	const find = search('Find a key', { oninput: drawValues })
	let isChanged = false
	const values = el('div')
	const result = el('div.card.body', { hidden: true, role: 'status' })
	main.append(pageHead('Settings', may('operator') && action('Reload configuration', reload)), el('div.filters', tabs), el('div.stack', result, body))

	function drawValues() {
		const word = find.value.toLowerCase()
		const items = (all.items || []).filter((one) => `${one.key} ${one.description}`.toLowerCase().includes(word) && (!isChanged || one.source !== 'default'))
		fill(values, items.slice(0, 500).map((one) => el('div.row', el('b.mono', one.key), sign('copy', `Copy ${one.key}`, () => copy(one.key)),
			line([said(one.value), one.value !== 'hidden' && one.source !== 'default' && el('small', ` (default ${said(one.default)})`)]),
			el('small.all', [one.description, one.source, `after a ${one.changes}`].filter(Boolean).join(' · ')))), items.length ? null : el('p.empty', 'No key matches.'))
	}

	function valuesTab() {
		drawValues()
		const { files = [], problems = [] } = all
		return [el('div.head', el('div.tools', find, check('only changed', isChanged, (is) => { isChanged = is; drawValues() }))), problems.map((text) => el('p.error', text)), values,
			el('p.foot', files.length ? `Files: ${files.join(', ')}. Change them there, then reload.` : 'No configuration file: all values are the defaults.')]
	}
	function accessTab() {
		const { tokens = [], tls } = all
		return el('div.body', el('h2', 'Tokens'), tokens.length ? tokens.map((one) => el('div.row', el('b', one.name), one.scope, line(`last used ${one.last_used_at ? time(one.last_used_at) : 'never'}${one.expires_at ? ` · expires ${time(one.expires_at)}` : ''}`)))
			: note('None: anybody in your network can use this node.'), note(['Make one: ', code('infernet-edge token new NAME --scope operator')]), el('h2', 'Connection'),
		tls ? terms([['Certificate', el('span.mono', tls.fingerprint)], ['Valid until', time(tls.not_after)]]) : el('p', 'Anybody in the same Wi-Fi can read the token. ', code('server.tls'), ' prevents that.'),
		terms([['Addresses', (node.overview?.node.urls || []).map((url) => el('p', url))]]))
	}
	function browserTab() {
		const choice = (id, name, ...list) => el('p.chosen', el('label', { for: id }, name), el('select', { id, onchange: ({ target }) => {
			keep(id, target.value || null)
			if (id === 'theme') document.documentElement.dataset.theme = target.value
		} }, options(list, kept(id))))
		return el('div.body', choice('theme', 'Theme', ['', 'As the system'], ['light', 'Light'], ['dark', 'Dark']), choice('clock', 'Times', ['', 'As the browser'], ['h23', '24 h'], ['h12', '12 h']), check(' Single keys (press ? for a list)', kept('keys', true), (is) => keep('keys', is)), hasToken() && el('p', button('Forget the token', forget)))
	}
	const aboutTab = () => el('div.body', el('p', `Version ${node.overview.node.version}, BSD-3-Clause`), el('p', code('infernet-edge doctor'), ' examines the machine and says how to fix what it finds.'), el('p', el('a', { href: 'openapi.json' }, 'The API of this node'), ' (OpenAPI)'))

	function draw() {
		const shown = may('operator') ? TABS : TABS.slice(2)
		const [tab] = shown.find(([key]) => key === query.get('tab')) || shown[0]
		fill(tabs, segments(shown, tab, (key) => `#/settings?tab=${key}`))
		return { values: valuesTab, access: accessTab, browser: browserTab, about: aboutTab }[tab]()
	}

	async function forget() {
		if (await confirm('Forget the token?', 'This browser needs it again to see this node. Its last inputs are forgotten, too.', 'Forget it')) signOut()
	}
	async function reload() {
		const { applied, needs_restart: later, problems, notes } = await get('api/reload', { method: 'POST', wait: 20000 })
		const list = (title, found) => found.length > 0 && el('p', el('b', `${title}: `), found.join(', '))
		result.hidden = false
		fill(result, list('Not reloaded', problems), list('In force now', applied), list('Needs a restart', later), list('Check', notes), [...problems, ...applied, ...later, ...notes].length ? null : el('p', 'Nothing has changed.'))
		load()
	}
	const load = () => show(body, 'the settings', async () => { all = may('operator') ? await get('api/settings') : {} }, draw)
	load()
	const off = on('restarted', load)
	return {
		update(_, following) {
			query = following
			fill(body, draw())
		},
		end: off,
	}
}
