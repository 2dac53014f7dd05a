// The node as it is now. Times in ms.
import { get, kept, lines, listeners, send, sleep } from './api.js'
import { now, setNow } from './dom.js'

const TYPES = 'job,container,storage,chain,attention,minute,machine'
const BEAT = 15000 // between the node's comments
const HIDDEN = 30000
const [SILENCE, SOON, POLL, LONGEST] = [3000, 3000, 10000, 30000]

// `state`: as in chip.js; `seen`: when it was last known; `draft`: of Try it.
export const node = { overview: null, state: 'starting', seen: 0, updated: false, slowed: false }

const readers = {}
// Call `act` with each event of these names. Returns what ends it.
export function on(names, act) {
	for (const name of names.split(' ')) (readers[name] ||= new Set()).add(act)
	return () => names.split(' ').forEach((name) => readers[name].delete(act))
}
const publish = (name, data) => readers[name]?.forEach((act) => act(data))

function become(state) {
	if (state === 'live') node.seen = now()
	if (node.state === state) return
	node.state = state
	publish('state')
}
export const isStale = () => node.state === 'reconnecting' || node.state === 'paused'

let soon = 0
let version = ''
export async function load() {
	clearTimeout(soon)
	soon = 0
	const found = await get('api/overview', { first: await window.first })
	window.first = null
	if (found.left_out.containers) found.containers = (await get('api/containers')).items
	if (node.state === 'paused') node.state = 'starting'
	setNow(found.now)
	node.seen = found.now
	node.overview = found
	attend(found.attention)
	check(found.node.version)
	publish('load', found)
}
const attend = (items) => { node.overview.attention = items.filter((one) => !kept(`hide.${one.id}`)) }
function check(newer) {
	if (version && newer !== version) node.updated = true
	version ||= newer
}
const loadSoon = () => { soon ||= setTimeout(() => load().catch(() => {}), SOON) }

export const isHead = (changed) => node.overview?.chain && changed?.every((one) => one.event === 'head.advanced')

// After a minute without a job nothing need be read.
function isQuiet(history, { end, done, failed }) {
	const { done: good, failed: bad, p50_ms: times } = history
	if (done || failed || good[0] || bad[0] || Math.abs(end - history.end) > 999) return false
	history.end += history.step_s * 1000
	for (const list of [good, bad, times]) list.push(list.shift())
	publish('state')
	return true
}

let last = ''
let boot = ''
export function take(name, data) {
	const all = node.overview
	if (name === 'hello' || name === 'resync') {
		setNow(data.now)
		if (boot && (data.boot !== boot || name === 'resync')) {
			check(data.version)
			load().catch(() => {})
			publish('restarted')
		}
		boot = data.boot
	} else if (name === 'jobs') {
		Object.assign(all.jobs, { running: data.running, waiting: data.waiting })
		const failed = data.changed.filter((job) => job.status === 'failed').reverse()
		all.failures = [...failed, ...all.failures.filter((old) => failed.every((job) => job.id !== old.id))].slice(0, 5)
	} else if (name === 'attention' || name === 'machine') {
		if (data.items) {
			Object.assign(all, { intake: data.intake, left_out: { attention: 0 } })
			attend(data.items)
		}
		else Object.assign(all.machine, data)
		for (const one of data.containers || []) Object.assign(all.containers.find((each) => each.id === one.id) || {}, one)
		publish('state')
	} else if (isHead(data.changed)) {
		const { number, timestamp } = data.changed[data.changed.length - 1]
		Object.assign(all.chain, { head: number, head_at: timestamp * 1000 })
	} else if (name !== 'minute' || !isQuiet(all.history, data)) loadSoon()
	publish(name, data)
}

// Server-sent events; EventSource could not send the token.
function parse(response, alive) {
	let [name, data] = ['', '']
	return lines(response, (line) => {
		alive()
		const [, field, text] = /^(\w*):? ?(.*)$/.exec(line) || []
		if (field === 'id') last = text
		else if (field === 'event') name = text
		else if (field === 'data') data += text
		else if (!line && data) {
			take(name, JSON.parse(data))
			name = data = ''
		}
	})
}

let wanted = new AbortController()
// Returns whether any event came, and whether a proxy holds them back.
async function follow() {
	const mine = (wanted = new AbortController())
	let heard = false
	let timer = setTimeout(() => mine.abort('blocked'), 2 * SILENCE)
	const alive = () => {
		heard = true
		clearTimeout(timer)
		timer = setTimeout(() => mine.abort(), BEAT + SILENCE)
		become('live')
	}
	try {
		const headers = last ? { 'last-event-id': last } : {}
		const response = await send(`api/events?types=${TYPES}&every=0.5`, { headers, signal: mine.signal })
		await parse(response, alive)
	} catch (error) {
		if (error.status >= 400) return { heard, blocked: true }
	} finally {
		clearTimeout(timer)
		mine.abort()
	}
	return { heard, blocked: mine.signal.reason === 'blocked' }
}

const again = () => { if (node.state !== 'live') wanted.abort() }
let away = 0
document.addEventListener('visibilitychange', () => {
	clearTimeout(away)
	if (document.hidden) away = setTimeout(() => { become('paused'); wanted.abort() }, HIDDEN)
	else again()
})
addEventListener('online', again)
listeners.signedIn = () => { last = ''; wanted.abort() }
listeners.slowed = (is) => { node.slowed = is; publish('state') }

export async function start() {
	for (let pause = 1000; ; pause = Math.min(LONGEST, pause * 2)) {
		try {
			while (node.state === 'paused' && document.hidden) await new Promise((shown) => document.addEventListener('visibilitychange', shown, { once: true }))
			await load()
			const { heard, blocked } = await follow()
			if (heard) pause = 500
			if (blocked) {
				become('polling')
				for (let n = 0; n < 6 && node.state === 'polling'; n++) { await rest(POLL); if (!document.hidden) await load() }
				continue
			}
		} catch (error) {
			node.error = error
			publish('state')
		}
		if (node.state === 'paused' && document.hidden) continue
		become('reconnecting')
		await rest(pause * (0.7 + Math.random() * 0.6))
	}
}

async function rest(ms) {
	wanted = new AbortController()
	await sleep(ms, wanted.signal).catch(() => {})
}
