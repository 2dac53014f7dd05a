import { get } from '../api.js'
import { ago, card, count, el, note, number } from '../dom.js'
import { mark, pageHead, show } from '../parts/chip.js'

const EVERY = 30000
const HEALTH = { healthy: ['ok', 'Working'], unhealthy: ['warn', 'Not well'], unreachable: ['bad', 'Not reached'] }

function other({ name, url, health, reason, containers, pending, seen_at: seen, protected: needs }) {
	return card(name, mark(...(HEALTH[health] || ['idle', 'Not asked'])), el('div.body', el('p', url),
		el('p', count(containers.length, 'container'), pending == null ? '' : ` · ${number(pending)} pending`, seen ? [' · seen ', el('span', { 'data-ago': seen }, ago(seen))] : ''),
		reason && el('p', reason), needs && note('Its page needs a token of its own.'),
		/^https?:\/\//.test(url) && el('a.button', { href: url, target: '_blank', rel: 'noopener noreferrer' }, `Open ${name} ↗`)))
}

export default function nodes(main) {
	const list = el('div.stack')
	main.append(pageHead('Nodes'), list)
	const load = () => show(list, 'the nodes', () => get('api/nodes'), ({ items, problem }) => [items.length ? el('div.nodes', items.map(other)) : el('p.card.empty', 'No other node was found. ', el('code', 'discovery.enabled = true'), ' on both finds them.'), problem && note(problem)])
	load()
	const timer = setInterval(() => { if (!document.hidden) load() }, EVERY)
	return { end: () => clearInterval(timer) }
}
