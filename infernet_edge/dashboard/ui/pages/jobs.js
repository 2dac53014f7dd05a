import { get, part } from '../api.js'
import { button, calmly, count, el, fill, icon, line, names, nth, options, search, segments, span, time } from '../dom.js'
import { node, on } from '../live.js'
import { chip, grey, growing, jobState, may, notLoaded, pageHead, took, why } from '../parts/chip.js'
import { sides, tableOf } from '../parts/table.js'
import { toast } from '../parts/toast.js'
import { jobDetail } from './job.js'

const [PAGE, MOST, LATE] = [50, 1000, 4000]
const FILTERS = ['state', 'container', 'client', 'find']

function second(job) {
	if (job.error) return job.cancelled ? 'cancelled' : job.error
	if (job.position) return `${nth(job.position)} in line`
	return job.status === 'running' && job.steps > 1 && job.container ? `at ${job.container}` : ''
}
const byAge = (a, b) => (a.id < b.id ? 1 : -1)
const narrow = (text) => el('span.narrow', text)
function course(job) {
	if (job.finished_at) return [narrow('took '), took(job)]
	return job.started_at && jobState(job) === 'running' ? [narrow('for '), growing(job.started_at)] : [narrow('not started'), el('span.broad', '–')]
}
const COLUMNS = [
	['State', 'state', (job) => chip(jobState(job))],
	['Containers', 'title', (job) => [line(names(job.containers)), line(job.client, '.client'), line(second(job), '.second')]],
	['Sent', 'meta', (job) => time(job.created_at)], ['Took', 'meta', course], ['Client', 'meta.client', (job) => job.client],
	['', 'sub', (job) => second(job) && line(second(job))],
]

export default function jobs(main, id, query) {
	let items = []
	let newer = []
	let next = null
	let room = PAGE
	let searched = null
	let turn = 0
	let isBusy = true
	let missed = [] // while a request is in flight; its answer may be older
	let late = 0

	function hash(changes, job = side.selected) {
		const all = new URLSearchParams(query)
		for (const [name, value] of Object.entries(changes)) if (value) all.set(name, value); else all.delete(name)
		return `#/jobs${job ? `/${part(job)}` : ''}${all.size ? `?${all}` : ''}`
	}
	const go = (changes) => { location.hash = hash(changes) }
	const table = tableOf('Jobs, the newest first', COLUMNS, (job) => job.id, (job) => hash({}, job.id))
	const states = el('div.segments', { role: 'group', label: 'State' })
	const container = el('select.hid', { label: 'Container', onchange: () => go({ container: container.value }) })
	const client = search('Client', { class: 'hid', onchange: () => go({ client: client.value.trim() }) })
	let typing = 0
	const find = search('Find an id', { maxlength: 36, oninput: () => { clearTimeout(typing); typing = setTimeout(() => go({ find: find.value.trim() }), 300) } })
	const filters = el('div.filters', states, find, container, may('operator') && client, button([icon('settings'), 'Filter'], () => filters.classList.toggle('opened')))
	const news = button('', () => { load(); scrollTo(0, 0) })
	const list = el('div')
	const foot = el('div.foot')
	main.append(pageHead('Jobs', may('submit') && el('a.button.main', { href: '#/try' }, icon('try'), 'New job')), filters)
	const side = sides(main, el('div', news, el('div.card', list, foot)), 'jobs', () => hash({}, null), jobDetail)

	const fits = (job) => FILTERS.every((name) => {
		const wanted = query.get(name)
		return !wanted || (name === 'state' ? jobState(job) === wanted : name === 'container' ? job.containers.includes(wanted) : name === 'client' ? job.client === wanted : job.id.startsWith(wanted))
	})

	const draw = () => calmly(render)
	function render() {
		const { jobs: { running, waiting } = {}, containers = [] } = node.overview || {}
		const isFiltered = FILTERS.some((name) => query.get(name))
		const many = (n) => (n > 0 && el('small', ` ${n}`))
		fill(states, segments([['', 'All'], ['running', ['Running', many(running)]], ['waiting', ['Waiting', many(waiting)]], ['failed', 'Failed'], ['success', 'Finished', '.wide']], query.get('state') || '', (state) => hash({ state })))
		const wanted = query.get('container') || ''
		fill(container, options([['', 'All containers'], ...[...new Set([...containers.map((one) => one.id), wanted])].filter(Boolean).map((name) => [name])]))
		container.value = wanted
		for (const [input, name] of [[client, 'client'], [find, 'find']]) if (document.activeElement !== input) input.value = query.get(name) || ''
		if (items.length) {
			if (list.firstChild !== table.node) list.replaceChildren(table.node)
			table.draw(items, side.selected)
		} else if (!isBusy) {
			fill(list, el('p.empty', isFiltered ? ['No job matches. ', el('a.button', { href: '#/jobs' }, 'Clear the filter')] : ['No jobs yet. ', may('submit') && el('a.button', { href: '#/try' }, 'Try it')]))
		}
		const isPart = isFiltered && searched && next
		fill(foot, el('span', items.length ? `The newest ${items.length}. ` : '', isPart ? `Searched back to ${time(searched)}.` : ''), next && items.length < MOST && button(isPart ? 'Search further' : 'Show older', () => load(next), { disabled: isBusy }))
		foot.hidden = !items.length && !next
		news.hidden = !newer.length
		news.textContent = newer.length > PAGE ? `More than ${PAGE} new jobs` : count(newer.length, 'new job')
	}

	async function load(before) {
		const mine = ++turn
		const wanted = new URLSearchParams({ limit: PAGE })
		for (const name of FILTERS) if (query.get(name)) wanted.set(name, query.get(name).replace(name === 'state' ? 'running' : /$^/, 'computing'))
		if (before) wanted.set('before', before)
		isBusy = true
		const slow = setTimeout(() => { if (!items.length) fill(list, grey('the jobs')) }, 200)
		try {
			const found = await get(`api/history?${wanted}`)
			if (mine !== turn) return
			const known = new Set(before ? items.map((job) => job.id) : [])
			items = [...(before ? items : []), ...found.items.filter((job) => !known.has(job.id))]
			if (!before) newer = []
			room = Math.max(PAGE, items.length)
			next = found.next
			searched = found.searched_to
		} catch (error) {
			if (mine !== turn) return
			if (!items.length) return fill(list, notLoaded('the jobs', error, () => load()))
			toast(`Could not load the jobs: ${why(error)}`, true)
		} finally {
			clearTimeout(slow)
		}
		isBusy = false
		draw()
		missed.splice(0).forEach(changed)
	}

	function takeNewer() {
		items = [...newer, ...items].sort(byAge)
		if (items.length > room) next = items[room - 1].id
		items.length = Math.min(items.length, room)
		newer = []
		draw()
	}

	const isAtTop = () => scrollY <= 100 && !main.querySelector('.rowlink:focus')
	async function readAgain() {
		late = 0
		side.detail?.refresh()
		if (!items.length || isAtTop()) return load()
		const found = await get(`api/history?limit=${Math.min(500, items.length)}&before=${items[0].id.slice(0, 24)}ffffffffffff`).catch(() => null)
		if (found) changed({ changed: found.items })
	}

	function changed(event) {
		if (isBusy && missed.push(event) > PAGE) missed.shift()
		if (event.more) late ||= setTimeout(readAgain, LATE)
		for (const job of event.changed) {
			const now = [items, newer].find((all) => all.some((one) => one.id === job.id))
			if (now) {
				const at = now.findIndex((one) => one.id === job.id)
				now[at] = { ...now[at], position: null, ...job }
			} else if (fits(job) && !(next && job.id < items.at(-1)?.id)) newer.push(job) // not below the list
		}
		newer.sort(byAge).splice(PAGE + 1)
		if (isBusy || !isAtTop()) draw()
		else takeNewer()
		if (event.changed.some((job) => job.id === side.selected)) side.detail.refresh()
	}

	load()
	side.select(id, draw)
	const ends = [on('jobs', changed), on('load', draw), on('restarted', () => load())]
	return {
		update(job, following) {
			const isOther = `${query}` !== `${following}`
			query = following
			if (isOther) {
				items = []
				load()
			}
			side.select(job, () => {})
			draw()
		},
		end() {
			ends.forEach((end) => end())
			side.end()
			clearTimeout(late)
			turn++
		},
	}
}
