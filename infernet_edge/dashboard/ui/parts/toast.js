import { byId, button, el, focus, icon, sign } from '../dom.js'
import { why } from './chip.js'

const [TIME, MOST] = [4000, 3]

export function toast(text, isError) {
	const place = byId('toasts')
	const kind = isError ? 'bad' : 'ok'
	const one = el('div.toast', icon(kind, kind), el('span', text), sign('close', 'Close', () => one.remove()))
	place.append(one)
	if (place.childElementCount > MOST) place.firstElementChild.remove()
	if (!isError) setTimeout(() => one.remove(), TIME)
}

// `disabled` would lose the focus, and the next update would replace the button.
export async function attempt(pressed, work) {
	if (pressed.isBusy) return
	pressed.isBusy = true
	const look = pressed.animate({ opacity: [0.55, 0.55] }, { fill: 'forwards' })
	try { await work() } catch (error) { if (error.name !== 'AbortError') toast(why(error), true) }
	look.cancel()
	pressed.isBusy = false
}
export const action = (label, work, props) => button(label, (event) => attempt(event.currentTarget, work), props)

export const taking = (text, name, type) => [action('Copy', async () => copy(await text())), action('Download', async () => download(name, await text(), type))]

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
	focus(before)
	if (isDone) toast('Copied')
	else (await import('./dialog.js')).showText('Copy this text', text)
}

function download(name, text, type = 'application/json') {
	const href = URL.createObjectURL(new Blob([text], { type }))
	el('a', { href, download: name.replace(/[^\w.-]+/g, '_') }).click()
	setTimeout(() => URL.revokeObjectURL(href), 10000)
}
