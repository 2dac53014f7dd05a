// A text of a job: its beginning as a tree, all of it to copy and to download.
import { head, textOf } from '../api.js'
import { button, bytes, el, fill } from '../dom.js'
import { why } from './chip.js'
import { jsonView } from './json.js'
import { copy, download, toast } from './toast.js'

const SHOWN = 65536 // bytes

// `absent` says why there may be none; `more` are further buttons.
export async function showText(place, name, path, file, absent, signal, more) {
	const whole = (act) => textOf(path, signal).then(act).catch((error) => toast(why(error), true))
	try {
		const { text, size, all } = await head(path, SHOWN, signal)
		fill(place, el('div.parthead', el('h2', name), el('span', button('Copy', () => whole(copy)), button('Download', () => whole((found) => download(file, found))), more)),
			jsonView(text, size, all ? null : () => textOf(path, signal)), el('p.muted', `${bytes(size)}. Long texts are shortened here, not in copies.`))
	} catch (error) {
		if (!signal.aborted) fill(place, el('h2', name), el('p.muted', error.status === 404 ? absent : `Could not load it: ${why(error)}`))
	}
}
