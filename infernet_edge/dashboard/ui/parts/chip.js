import { announce, button, count, el, fill, icon, now, span, time } from '../dom.js'
import { isStale, node } from '../live.js'

// The others are idle.
const KINDS = { ok: 'success ready delivered active', run: 'running starting sending sent computing', wait: 'waiting accepted', bad: 'failed' }
const WORDS = { success: 'finished', ignored: 'skipped' }
export const mark = (kind, text) => el(`span.chip.${kind}`, icon(kind), el('span', text))
export function chip(state) {
	const kind = Object.keys(KINDS).find((each) => KINDS[each].split(' ').includes(state)) || 'idle'
	return mark(kind, (WORDS[state] || state).replace(/./, (first) => first.toUpperCase()))
}
// The status does not say whether a job waits or was cancelled.
export const jobState = (job) => (job.cancelled ? 'cancelled' : job.status === 'running' && (job.started_at == null || job.position != null) ? 'waiting' : job.status)

export const took = (job) => span(job.finished_at - (job.started_at ?? job.created_at))
export const sayEnd = (job) => announce(`The job ${{ success: 'finished', cancelled: 'was cancelled' }[jobState(job)] || 'failed'}`)

export function may(scope) {
	const mine = node.overview?.me.scope
	return mine === 'operator' || mine === scope
}

export const toFix = ({ attention, left_out: more } = node.overview) => attention.length + more.attention

export function verdict() {
	const all = node.overview
	if (!all) return ['run', node.error ? `Cannot read the node: ${why(node.error)}` : 'Connecting']
	if (node.state === 'paused') return ['run', `Paused. Last seen ${time(node.seen)}`]
	if (isStale()) return ['bad', `Cannot reach the node. Last seen ${time(node.seen)}`]
	if (!all.intake.open) return ['bad', `Not taking jobs: ${all.intake.reason}`]
	const n = toFix()
	if (n) return ['warn', `Working, but ${count(n, 'thing')} need${n === 1 ? 's' : ''} you`]
	const of = all.containers.length
	const ready = of - all.containers.filter((one) => one.state === 'starting').length
	return ready < of ? ['run', `Starting: ${ready} of ${count(of, 'container')} ${ready === 1 ? 'is' : 'are'} ready`] : ['ok', 'Working normally']
}

const CONNECTIONS = { live: 'Live', reconnecting: 'Reconnecting', starting: 'Connecting', polling: 'Every 10 s', paused: 'Paused' }
export function stateChip(fixes) {
	const n = node.overview && toFix()
	if (fixes && n && node.state === 'live') return el('a.chip.bad', { href: '#/' }, icon('bad'), `${n} to fix`)
	return el('span.chip.idle', icon('live'), node.slowed ? 'Slowed down' : CONNECTIONS[node.state])
}

export const pageHead = (title, ...actions) => el('div.pagehead', el('h1', { tabindex: '-1' }, title), el('span.state', stateChip()), viewing(), el('div.actions', actions))

function viewing() {
	const { me } = node.overview || {}
	if (!me || me.open || me.scope === 'operator') return null
	const submits = me.scope === 'submit'
	return el('details.viewing', el('summary.chip.idle', submits ? 'Own jobs only' : 'Viewing only'), el('p', 'Your token ', el('code', me.name.replace('token:', '')),
		submits ? ' may run jobs and see its own. Changes need' : ' may look. Jobs need the scope submit, changes need', ' operator: ', el('code', 'infernet-edge token new NAME --scope operator')))
}

export function why(error) {
	const scope = error.status === 403 && error.body?.params?.scope
	return scope ? `this needs a token with the scope ${scope}` : error.message
}
export const failed = (...text) => el('p.failed', { role: 'alert' }, text)
export const notLoaded = (what, error, again) => failed(`Could not load ${what}: ${why(error)}. `, button('Try again', again))
export const grey = (what) => el('div.grey', { role: 'img', label: `Loading ${what}` }, el('i'), el('i'), el('i'))

export async function show(place, what, load, draw) {
	const timer = setTimeout(() => fill(place, grey(what)), place.firstChild ? 1e6 : 200)
	try {
		const data = await load()
		fill(place, draw(data))
		place.isDrawn = true
	} catch (error) {
		if (error.name !== 'AbortError' && (error.status !== 0 || !place.isDrawn)) fill(place, notLoaded(what, error, () => show(place, what, load, draw)))
	}
	clearTimeout(timer)
}

export const growing = (since) => el('span.v', { 'data-since': since }, span(now() - since))
