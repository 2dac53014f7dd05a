// Does each one run, and why not; and one of them.
import { get, part } from '../api.js'
import { bytes, count, el, line, number } from '../dom.js'
import { node, on } from '../live.js'
import { chip, pageHead, show } from '../parts/chip.js'
import { sides, tableOf } from '../parts/table.js'
import { containerDetail } from './container.js'
import { doing, noContainers } from './overview.js'

const EVERY = 10000
const SOON = 3000

export const slots = (one) => `${one.slots.used} of ${count(one.slots.of, 'slot')}${one.waiting ? `, ${number(one.waiting)} wait${one.waiting === 1 ? 's' : ''}` : ''}`
export const memory = (one) => one.memory == null ? null : `${bytes(one.memory)}${one.memory_limit ? ` of ${bytes(one.memory_limit)}` : ''}`
export const cpu = (one) => one.cpu_percent == null ? null : `${Math.round(one.cpu_percent)} %`
const note = (one) => (one.state === 'ready' && !one.pull ? '' : doing(one))

const COLUMNS = [
	['State', 'state', (one) => chip(one.state)], ['Container', 'title', (one) => [line(one.id), line(note(one), '.second')]], ['Slots', 'meta', slots], ['CPU', 'meta.client', cpu], ['Memory', 'meta.client', memory],
	['Restarts', 'meta.client', (one) => one.restarts != null && [one.restarts, el('span.narrow', ` restart${one.restarts === 1 ? '' : 's'}`)]], ['', 'sub', (one) => note(one) && line(note(one))],
]

export default function containers(main, id) {
	let items = []
	const table = tableOf('Containers', COLUMNS, (one) => one.id, (one) => `#/containers/${part(one.id)}`)
	const list = el('div')
	main.append(pageHead('Containers'))
	const side = sides(main, el('div.card', list), 'containers', () => '#/containers', containerDetail)

	function draw() {
		table.draw(items, side.selected)
		if (side.detail && items.length) side.detail.draw(items.find((one) => one.id === side.selected))
		return items.length ? table.node : noContainers()
	}
	const load = () => show(list, 'the containers', async () => { items = (await get('api/containers')).items }, draw)
	let timer = 0
	let due = Infinity
	function after(ms) {
		if (Date.now() + ms >= due) return
		clearTimeout(timer)
		due = Date.now() + ms
		timer = setTimeout(() => { due = Infinity; load() }, ms)
	}
	function measured({ containers: uses = [] }) {
		items = items.map((one) => ({ ...one, ...uses.find((each) => each.id === one.id) }))
		if (items.length) draw()
	}

	side.select(id, draw)
	load()
	const ends = [on('containers restarted', () => after(SOON)), on('jobs', () => after(EVERY)), on('machine', measured), on('load', () => { if (node.state === 'polling') load() })]
	return {
		update: (one) => side.select(one, draw),
		end() {
			ends.forEach((end) => end())
			clearTimeout(timer)
			side.end()
		},
	}
}
