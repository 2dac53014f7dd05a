import { part, send, sleep } from '../api.js'
import { brief, bytes, count, el, fill, number, sign, span, terms, time } from '../dom.js'
import { node } from '../live.js'
import { chip, may, why } from '../parts/chip.js'
import { eachLine, logView } from '../parts/log.js'
import { action, confirm, copy, toast } from '../parts/toast.js'
import { cpu, memory, slots } from './containers.js'

export async function act(id, name, { state, slots } = node.overview.containers.find((one) => one.id === id) || {}) {
	if (name === 'restart' && state === 'ready' && !(await confirm(`Restart ${id}?`, `${slots?.used ? count(slots.used, 'running job') : 'Jobs that run there'} will be started again.`, 'Restart'))) return
	await send(`api/containers/${part(id)}/${name}`, { method: 'POST' })
	toast(name === 'restart' ? `${id} is starting` : `Pulling the image of ${id}`)
}

export function containerDetail(place, id, head, title) {
	const ending = new AbortController()
	const { signal } = ending
	const about = el('div.part')
	const actions = el('div.part.buttons')
	const logs = el('section.part', { hidden: true })
	let one
	head(title)
	fill(title, id)
	place.append(actions, about, logs)

	function draw(item) {
		one = item
		if (!one) return fill(about, el('p.muted', 'No container has this name in the configuration.'))
		const { hour, state } = one
		const press = (label, name) => action(label, () => act(id, name, one), { disabled: name === 'pull' && !!one.pull })
		fill(title, chip(state), id)
		fill(actions, may('submit') && el('a.button.main', { href: `#/try?container=${part(id)}` }, 'Try it'),
			one.managed && may('operator') && [press(state === 'failed' ? 'Start now' : state === 'asleep' ? 'Start' : one.new_digest ? 'Restart with the new image' : 'Restart', 'restart'), press('Pull', 'pull')])
		fill(about, one.reason && el(state === 'failed' ? 'p.error' : 'p', one.reason),
			one.pull && el('p', `Pulling its image: ${bytes(one.pull.bytes)}${one.pull.of ? ` of ${bytes(one.pull.of)}` : ''}`), one.pull_error && el('p.error', one.pull_error),
			one.new_digest && el('p', 'A new image is there. A restart uses it.'), !one.managed && el('p', `Runs at ${one.url} and is not managed here.`),
			terms([['Since', one.since && time(one.since)], ['Next start', one.next_start_at && time(one.next_start_at)], ['Restarts', one.restarts], ['Slots', slots(one)],
				['Last hour', hour && `${number(hour.done)} done, ${number(hour.failed)} failed${hour.p50_ms == null ? '' : `, typically ${span(hour.p50_ms)}`}`], ['CPU', cpu(one)], ['Memory', memory(one)],
				['Image', one.image], ['Digest', one.digest && [el('span.mono', brief(one.digest.replace('sha256:', ''))), sign('copy', 'Copy the digest', () => copy(one.digest))]]]))
		if (!logs.hidden || !one.managed) return
		logs.hidden = false
		if (may('operator')) follow()
		else fill(logs, el('h2', 'Log'), el('p.muted', 'The log needs a token with the scope operator.'))
	}

	async function follow() {
		const log = logView(id)
		const state = el('p.muted')
		logs.append(el('h2', 'Log'), log.node, state)
		let newest = 0
		for (let pause = 1000; !signal.aborted; pause = Math.min(30000, pause * 2)) {
			try {
				const response = await send(`api/containers/${part(id)}/logs?tail=300&follow=true`, { signal })
				fill(state)
				const from = newest
				await eachLine(response, (line) => {
					if (line.t && line.t <= from) return // it was shown before the connection was lost
					pause = 1000
					newest = Math.max(newest, line.t || 0)
					log.add(line)
				})
				fill(state, 'The log has ended. It goes on when the container starts.')
			} catch (error) {
				if (signal.aborted) return
				fill(state, `The log cannot be read: ${why(error)}`)
				if (error.status === 403 || error.status === 404) return
			}
			await sleep(pause, signal).catch(() => {})
		}
	}

	return { draw, end: () => ending.abort() }
}
