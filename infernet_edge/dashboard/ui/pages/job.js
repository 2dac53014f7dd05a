import { get, part, send, textOf } from '../api.js'
import { button, calmly, el, fill, names, sign, span, terms, time } from '../dom.js'
import { node, on } from '../live.js'
import { chip, failed, jobState, may, notLoaded, sayEnd, took } from '../parts/chip.js'
import { showText } from '../parts/json.js'
import { action, confirm, copy } from '../parts/toast.js'

export const request = (containers, input) => `{"containers":${JSON.stringify(containers)},"data":${input}}`
export const submit = async (containers, input, signal) => (await get('api/jobs', { method: 'POST', body: request(containers, input), signal })).id
export function curl(containers, input) {
	const token = node.overview?.me.open ? '' : ' -H "Authorization: Bearer $TOKEN"'
	return `curl -sS '${location.origin}${location.pathname}api/jobs?wait=30' -H 'Content-Type: application/json'${token} -d '${request(containers, input).replaceAll("'", "'\\''")}'`
}

export function jobDetail(place, id, head, title) {
	const path = `api/jobs/${part(id)}`
	const ending = new AbortController()
	const { signal } = ending
	let job = null
	let drawn = ''
	const message = el('div')
	const [actions, problem, result, input, steps, course] = Array.from({ length: 6 }, () => el('section.part', { hidden: true }))
	actions.classList.add('buttons')
	head([title, sign('copy', 'Copy the id', () => copy(id))])
	place.append(message, actions, problem, result, input, steps, course)
	fill(title, el('span.mono', id))

	const inputText = () => textOf(`${path}/input`, signal).catch((error) => { throw error.status === 404 ? new Error('The input of this job is not kept') : error })
	const run = async () => { location.hash = `#/jobs/${part(await submit(job.containers, await inputText()))}` }
	async function edit() {
		node.draft = { containers: job.containers, input: await inputText() }
		location.hash = '#/try'
	}
	async function cancel() {
		if (jobState(job) === 'running' && !(await confirm('Cancel this job?', 'It is running: what it has computed is lost.', 'Cancel the job'))) return
		await send(path, { method: 'DELETE' })
		await refresh()
	}

	function show(section, is, ...children) {
		section.hidden = !is
		if (is) fill(section, children)
	}
	const draw = () => calmly(render)
	function render() {
		const isOpen = job.status === 'running'
		const again = may('submit') && !isOpen
		fill(title, chip(jobState(job)), el('span.mono', id))
		show(actions, true, isOpen && may('submit') && action('Cancel', cancel, { class: 'button danger' }), again && [action('Run again', run, { class: 'button main' }), action('Edit and run', edit)],
			action('Copy as curl', async () => copy(curl(job.containers, await inputText()))), button('Copy link', () => copy(location.href)))
		const single = job.containers.length === 1 && may('operator')
		show(problem, job.status === 'failed', el('h2', job.failed_step && job.steps > 1 ? `Error in step ${job.failed_step} of ${job.steps}` : 'Error'), el('pre.error', { tabindex: '0' }, job.error),
			single && el('a', { href: `#/containers/${part(job.containers[0])}` }, `Show the log of ${job.containers[0]}`))
		show(course, true, el('h2', 'Course'), terms([['Containers', names(job.containers)], ['Sent', `${time(job.created_at)}, by ${job.client}`], ['Waited', job.started_at && span(job.started_at - job.created_at)],
			['Took', job.finished_at && took(job)], ['Attempts', job.attempts]]))
		if (drawn === job.status) return
		drawn = job.status
		result.hidden = job.status !== 'success'
		if (!result.hidden) showText(result, 'Result', `${path}/result`, `${id}-result.json`, 'The result is not kept.', signal)
		input.hidden = false
		showText(input, 'Input', `${path}/input`, `${id}-input.json`, 'The input is not kept. jobs.keep_inputs = "all" keeps those of all jobs.', signal)
		show(steps, job.steps > 1 && !isOpen, el('h2', 'Steps'), job.containers.slice(0, 50).map((name, at) => {
			const body = el('div')
			const step = el('details', el('summary', `${at + 1}. ${name}`), body)
			step.addEventListener('toggle', () => showText(body, 'Output', `${path}/steps/${at + 1}`, `${id}-step-${at + 1}.json`, 'This output is not kept.', signal), { once: true })
			return step
		}))
	}

	async function read() {
		const { items: [one] } = await get(`api/history?limit=1&find=${part(id)}`, { signal })
		if (one?.id !== id) throw Object.assign(new Error(), { status: 404 })
		if (one.status === 'failed') {
			const { result: full } = await get(path, { signal })
			if (typeof full?.error === 'string') one.error = full.error
			const at = one.containers.indexOf(full?.container)
			one.failed_step = at === one.containers.lastIndexOf(full?.container) ? at + 1 : 0
		}
		if (job && job.status !== one.status) sayEnd(one)
		job = one
		fill(message)
		draw()
	}
	let isBusy = false
	let isChanged = false
	// One request at a time, and one more for what changed meanwhile.
	async function refresh() {
		isChanged = isBusy
		if (isBusy) return
		isBusy = true
		try {
			do await read(); while (isChanged && !(isChanged = false))
		} catch (error) {
			if (!signal.aborted) fill(message, [400, 404].includes(error.status) ? failed('This job is not here. Jobs are kept for some days, and each client sees its own.') : notLoaded('the job', error, refresh))
		}
		isBusy = false
	}
	refresh()
	const off = on('restarted', refresh)
	return { refresh, end() { off(); ending.abort() } }
}
