// Answers to a press: they go by themselves, errors stay until closed.
import { byId, button, el, icon, sign } from '../dom.js'
import { why } from './chip.js'

const TIME = 4000
const MOST = 3

export function toast(text, isError) {
	const place = byId('toasts')
	const kind = isError ? 'bad' : 'ok'
	const one = el('div.toast', icon(kind, kind), el('span', text), sign('close', 'Close', () => one.remove()))
	place.append(one)
	if (place.childElementCount > MOST) place.firstElementChild.remove()
	if (!isError) setTimeout(() => one.remove(), TIME)
}

export async function attempt(pressed, work) {
	pressed.disabled = true
	try { await work() } catch (error) { if (error.name !== 'AbortError') toast(why(error), true) }
	pressed.disabled = false
}
export const action = (label, work, props) => button(label, (event) => attempt(event.currentTarget, work), props)

export const confirm = async (...question) => (await import('./dialog.js')).confirm(...question)

// On http:// there is no Clipboard API; at worst show the text selected.
export async function copy(text) {
	try {
		await navigator.clipboard.writeText(text)
		return toast('Copied')
	} catch { /* not on http */ }
	const area = el('textarea.tocopy', { readonly: true, value: text })
	const before = document.activeElement
	document.body.append(area)
	area.select()
	const isDone = document.execCommand('copy')
	area.remove()
	before.focus({ preventScroll: true })
	if (isDone) toast('Copied')
	else (await import('./dialog.js')).showText('Copy this text', text)
}

export function download(name, text, type = 'application/json') {
	const href = URL.createObjectURL(new Blob([text], { type }))
	el('a', { href, download: name.replace(/[^\w.-]+/g, '_') }).click()
	setTimeout(() => URL.revokeObjectURL(href), 10000)
}
