import { el, focus, note } from '../dom.js'

function open(title, ...content) {
	const before = document.activeElement
	const dialog = el('dialog', { 'aria-labelledby': 'asked' }, el('form', { method: 'dialog' }, el('h2', { id: 'asked' }, title), content))
	dialog.addEventListener('close', () => {
		dialog.remove()
		focus(before)
	})
	document.body.append(dialog)
	dialog.showModal()
	return dialog
}
const close = () => el('div.buttons', el('button.button', 'Close'))

export const askToken = (why) => new Promise((done) => {
	const field = el('input', { type: 'password', id: 'token', autocomplete: 'off', required: true, autofocus: true })
	const briefly = el('input', { type: 'checkbox' })
	const dialog = open('Token', el('p.why', why), el('label', { for: 'token' }, 'Paste the token that ', el('code', 'infernet-edge token new'), ' printed'), field, el('label.check', briefly, 'Only this session'), el('div.buttons', el('button.button.main', 'Use it')))
	dialog.addEventListener('close', () => {
		const text = field.value.trim()
		done(text && dialog.returnValue != null ? { text, briefly: briefly.checked } : askToken(why))
	})
})

export const confirm = (title, text, yes) => new Promise((done) => {
	const dialog = open(title, el('p', text), el('div.buttons', el('button.button', { value: '', autofocus: true }, 'Do not'), el('button.button.danger', { value: 'yes' }, yes)))
	dialog.addEventListener('close', () => done(dialog.returnValue === 'yes'))
})

export function showText(title, text) {
	const area = el('textarea', { readonly: true, rows: 8, label: title, value: text })
	open(title, el('p', 'This browser does not allow to copy. Press Ctrl+C.'), area, close())
	area.select()
}

const KEYS = [['/', 'Find'], ['j k', 'Next and previous row'], ['Ctrl Enter', 'Run, in Try it'], ['Esc', 'Close'], ['?', 'These keys']]
export const showKeys = (pages) => open('Keys', el('dl', [...pages.map(([, name, key]) => [`g ${key}`, name]), ...KEYS].map(([key, what]) => el('div', el('dt', el('kbd', key)), el('dd', what)))), note('"This browser" in Settings switches them off.'), close())
