// Times in ms.

const TOKEN = 'infernet.token'
const [TIMEOUT, SLOWED] = [10000, 3]

const failure = (status, text, body) => Object.assign(new Error(text), { status, body })

function stored(act, kind = 'localStorage') {
	try { return act(window[kind]) } catch { return null }
}
export const kept = (name, usual = null) => stored((all) => JSON.parse(all.getItem(`infernet.${name}`))) ?? usual
export const keep = (name, value) => stored((all) => (value == null ? all.removeItem(`infernet.${name}`) : all.setItem(`infernet.${name}`, JSON.stringify(value))))

let token = stored((all) => all.getItem(TOKEN), 'sessionStorage') || stored((all) => all.getItem(TOKEN)) || ''
export const hasToken = () => token !== ''
export function setToken(text, briefly) {
	token = text
	for (const kind of ['localStorage', 'sessionStorage']) {
		stored((all) => (text && briefly === (kind === 'sessionStorage') ? all.setItem(TOKEN, text) : all.removeItem(TOKEN)), kind)
	}
}
export function signOut() {
	setToken('')
	stored((all) => Object.keys(all).filter((key) => key.startsWith('infernet.')).forEach((key) => all.removeItem(key)))
	location.assign('#/')
	location.reload()
}
// A token leaves the address before any request.
const [, given] = location.hash.split('#token=')
if (given) {
	history.replaceState(null, '', '#/')
	setToken(given, false)
}
addEventListener('storage', ({ key, oldValue, newValue }) => { if (key === TOKEN && oldValue === token && !newValue) location.reload() })

export const listeners = { signedIn() {}, slowed() {} }
let signingIn = null
function signIn(used, why) {
	if (used !== token) return
	signingIn ||= import('./parts/dialog.js')
		.then((dialog) => dialog.askToken(used ? why : 'This node needs a token.'))
		.then(({ text, briefly }) => setToken(text, briefly))
		.finally(() => { signingIn = null; listeners.signedIn() })
	return signingIn
}

export const sleep = (ms, signal) => new Promise((done, fail) => {
	const timer = setTimeout(done, ms)
	signal?.addEventListener('abort', () => { clearTimeout(timer); fail(signal.reason) })
})

// Resolves to a response with status 2xx; asks for a token, waits while the node limits the rate.
// `wait`: ms beyond the time limit; `first`: its answer.
export async function send(path, { method = 'GET', body, headers, signal, wait = 0, first } = {}) {
	for (let slowed = 0; ; first = null) {
		if (signingIn) await signingIn
		signal?.throwIfAborted()
		const used = token
		const sent = { ...headers, ...(used && { authorization: `Bearer ${used}` }), ...(body != null && { 'content-type': 'application/json' }) }
		const stop = new AbortController()
		const timer = setTimeout(() => stop.abort(), TIMEOUT + wait)
		signal?.addEventListener('abort', () => stop.abort())
		let response
		try {
			response = first || await fetch(path, { method, body, headers: sent, signal: stop.signal, cache: 'no-store', credentials: 'omit', redirect: 'error' })
		} catch (error) {
			if (signal?.aborted) throw error
			throw failure(0, stop.signal.aborted ? 'No answer yet' : 'The node cannot be reached')
		} finally {
			clearTimeout(timer)
		}
		if (response.ok) return response
		const refusal = await refusalOf(response)
		if (response.status === 401) await signIn(used, refusal.message)
		else if (response.status === 429 && slowed++ < SLOWED) {
			listeners.slowed(true)
			await sleep(1000 * Math.min(60, response.headers.get('retry-after') || 1), signal)
			listeners.slowed(false)
		} else throw refusal
	}
}

async function refusalOf(response) {
	const text = await response.text().catch(() => '')
	let body = null
	try { body = JSON.parse(text) } catch { /* a proxy answers HTML */ }
	return failure(response.status, body?.error?.message ?? body?.error ?? `HTTP ${response.status} ${response.statusText}`, body)
}

export const get = async (path, options) => (await send(path, options)).json()
export const textOf = async (path, signal) => (await send(path, { signal, wait: 60000 })).text()

export async function pieces(response, take) {
	const reader = response.body.getReader()
	const decoder = new TextDecoder()
	for (let done, value; ({ done, value } = await reader.read()), !done;) take(decoder.decode(value, { stream: true }))
}

export function lines(response, take) {
	let rest = ''
	return pieces(response, (piece) => {
		const all = (rest + piece).split(/\r?\n/)
		rest = all.pop()
		all.forEach((line) => take(line))
	})
}

export async function head(path, max, signal) {
	const response = await send(path, { signal, headers: { range: `bytes=0-${max - 1}` } })
	const size = Number(/\d+$/.exec(response.headers.get('content-range') ?? response.headers.get('content-length')))
	return { text: await response.text(), size, all: response.status === 200 || size <= max }
}

export const part = encodeURIComponent
