import { get, part, pieces, send } from '../api.js'
import { button, el, fill, note, now, nth, plain, span } from '../dom.js'
import { node, on } from '../live.js'
import { request, submit } from '../pages/job.js'
import { chip, failed, growing, jobState, sayEnd, why } from './chip.js'
import { showText } from './json.js'
import { taking } from './toast.js'

const [MOST, PACE, WAIT] = [1 << 20, 100, 30]

// All slots take jobs of the same line.
function inLine(id, position) {
	const { slots, hour } = node.overview.containers.find((one) => one.id === id) || {}
	const ms = (hour?.p50_ms * position) / slots?.of
	return `${nth(position)} in line${ms > 0 ? `, about ${span(ms)}` : ''}`
}

export function runner(place) {
	let ending = new AbortController()
	let id = ''
	const line = el('div.chosen')
	const output = el('div')
	const path = () => `api/jobs/${part(id)}`

	function say(state, text, canCancel) {
		fill(line, chip(state), el('span', text), canCancel && button('Cancel', cancel))
	}
	async function cancel(event) {
		event.currentTarget.disabled = true
		try {
			if (id) await send(path(), { method: 'DELETE' })
			else ending.abort()
		} catch (error) {
			fill(output, failed(why(error)))
		}
	}
	const open = () => id && el('a.button', { href: `#/jobs/${part(id)}` }, 'Open the job')
	const problem = (text) => el('pre.error', { role: 'alert' }, text)

	function ended({ status, result, detail }) {
		const [sent, started, finished] = [detail.created_at, detail.started_at, detail.finished_at].map(Date.parse)
		const state = detail.cancelled ? 'cancelled' : status
		say(state, started && finished ? `waited ${span(started - sent)}, took ${span(finished - started)}` : '')
		sayEnd({ status, ...detail })
		if (status === 'failed' && !detail.cancelled) output.append(problem(result?.error))
		return state
	}

	async function job(containers, input, signal) {
		id = await submit(containers, input, signal)
		const began = now()
		const state = (one) => {
			const isWaiting = jobState(one) === 'waiting'
			say(isWaiting ? 'waiting' : 'running', isWaiting && one.position ? inLine(one.container || containers[0], one.position) : growing(one.started_at || began), true)
		}
		state({ status: 'running' })
		const off = on('jobs', (event) => event.changed.filter((one) => one.id === id && one.status === 'running').forEach(state))
		let answer
		try {
			for (let wait = 0; answer = await get(`${path()}?wait=${wait}&detail=true`, { signal, wait: wait * 1000 }), answer.status === 'running'; wait = WAIT) {
				const { position, container, started_at: started } = answer.detail
				state({ status: 'running', position, container, started_at: started && Date.parse(started) })
			}
		} finally {
			off()
		}
		if (ended(answer) === 'success') await showText(output, 'Result', `${path()}/result`, `${id}.json`, 'The result is not kept.', signal, open())
		else output.append(open())
	}

	async function stream(containers, input, signal) {
		const began = now()
		const view = el('pre.json', { tabindex: '0', role: 'log', 'aria-live': 'off' })
		output.append(view)
		say('running', growing(began), true)
		const response = await send('api/jobs/stream', { method: 'POST', body: request(containers, input), signal, wait: 60000 })
		let [text, shown, isLong, broke] = ['', 0, false, false]
		const draw = () => {
			const follows = view.scrollHeight - view.scrollTop - view.clientHeight < 40
			if (text.length > shown) view.append(plain(text.slice(shown), Infinity))
			shown = text.length
			if (follows) view.scrollTop = view.scrollHeight
		}
		const timer = setInterval(() => { if (id) draw() }, PACE)
		try {
			await pieces(response, (piece) => {
				text += piece
				if (!id && text.includes('\n')) {
					id = text.slice(0, text.indexOf('\n'))
					text = text.slice(id.length + 1)
				}
				isLong ||= text.length > MOST
				text = text.slice(0, MOST)
			})
		} catch (error) {
			if (signal.aborted) throw error
			broke = true
		} finally {
			clearInterval(timer)
		}
		draw()
		const answer = await get(`${path()}?detail=true`, { signal })
		if (answer.status !== 'running') ended(answer)
		else say('failed', 'The stream broke off')
		output.append(el('div.buttons', isLong && note('The end is not shown.'), broke && note('The stream broke off.'), taking(() => text, `${id}.txt`, 'text/plain'), open()))
	}

	return {
		async run(containers, input, isStream) {
			ending.abort()
			const { signal } = (ending = new AbortController())
			id = ''
			place.replaceChildren(line, output)
			fill(output)
			say('waiting', 'Sending')
			try {
				await (isStream ? stream : job)(containers, input, signal)
			} catch (error) {
				if (signal !== ending.signal) return
				id ||= error.body?.params?.id || ''
				say(signal.aborted ? 'cancelled' : 'failed', '')
				if (!signal.aborted) fill(output, problem(error.message), open())
			}
		},
		end: () => ending.abort(),
	}
}
