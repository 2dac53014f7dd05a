import { get, part } from '../api.js'
import { ago, brief, card, count, el, ether, fill, line, names, now, number, segments, sign, terms, time } from '../dom.js'
import { isHead, node, on } from '../live.js'
import { chip, mark, pageHead, show } from '../parts/chip.js'
import { tableOf } from '../parts/table.js'
import { action, copy } from '../parts/toast.js'

const [MOST, SOON] = [1000, 2000]
const [BEHIND, FEW] = [3, 20] // times without a block; deliveries that can be paid

const hex = (hash) => hash && [el('span.mono', brief(hash)), sign('copy', `Copy ${brief(hash)}`, () => copy(hash))]
const amount = (wei) => wei && el('span', { title: `${number(wei)} wei` }, ether(wei))
const row = (one, id) => [line(`#${id} ${names(one.containers || [])}`), line(one.reason, '.second')]
const state = (one) => chip(one.state)
const sub = ['', 'sub', (one) => one.reason && line(one.reason)]
const SUBSCRIPTIONS = [['State', 'state', state], ['Subscription', 'title', (one) => row(one, one.id)], ['Owner', 'meta', (one) => hex(one.owner)], ['Next due', 'meta', (one) => one.next_due && time(one.next_due)], sub]
const DELIVERIES = [['State', 'state', state], ['Delivery', 'title', (one) => row(one, `${one.subscription}/${one.interval}`)], ['Transaction', 'meta', (one) => hex(one.transaction)], ['Client', 'meta', (one) => one.client], ['Paid', 'meta', (one) => amount(one.paid)], ['Gas', 'meta', (one) => amount(one.fee)], ['Changed', 'meta', (one) => time(one.changed_at)], sub]

export default function chain(main, _id, query) {
	let known = null
	let wanted = ''
	const prices = {}
	const about = el('div.card.body')
	const filters = el('div.segments')
	const lists = [['subscriptions', 'Subscriptions', SUBSCRIPTIONS, 'No contract has asked this node yet.'], ['deliveries', 'Deliveries', DELIVERIES, 'Nothing was delivered yet.']].map(([path, name, columns, empty]) => {
		const list = { path, empty, items: [], next: null, table: tableOf(name, columns, (one) => String(one.id ?? one.number)), body: el('div'), foot: el('div.foot', { hidden: true }) }
		return Object.assign(list, { card: card(name, path === 'subscriptions' && filters, list.body, list.foot) })
	})
	const [subscriptions, deliveries] = lists
	main.append(pageHead('Chain'), el('div.stack', about, lists.map((list) => list.card)))

	function summary(all) {
		const isBehind = !all.head || now() - all.head_at > (all.block_seconds ? Math.max(20, BEHIND * all.block_seconds) : 60) * 1000
		const cost = usual()
		const left = all.balance && cost && BigInt(all.balance) / cost
		const servers = all.rpc.map((one) => el('p', mark(one.ok ? 'ok' : 'bad', one.host), ' ', el('small', one.ok ? one.ms != null && `${Math.round(one.ms)} ms` : one.reason)))
		return [el('p.chosen', mark(isBehind ? 'bad' : 'ok', isBehind ? 'Behind' : 'In step'), all.head ? el('span.v', `Block ${number(all.head)}, `, el('span', { 'data-ago': all.head_at }, ago(all.head_at))) : 'No block yet', `· ${all.name || `chain ${all.chain_id}`}`),
			terms([['Balance', [amount(all.balance), cost > 0 && left != null && [' ', mark(left < FEW ? 'warn' : 'idle', `enough for about ${number(left)} deliveries`)]]], ['Account', hex(all.address)], ['Payment wallet', hex(all.payment_wallet)], ['Gas, last day', amount(all.gas_spent_day)], ['In flight', all.pending], ['RPC servers', servers]])]
	}

	function usual() {
		const fees = deliveries.items.filter((one) => one.fee).map((one) => BigInt(one.fee))
		return fees.length && fees.reduce((a, b) => a + b) / BigInt(fees.length)
	}
	function price() {
		for (const one of subscriptions.items) prices[one.id] = one
		deliveries.items = deliveries.items.map((one) => {
			const { payment_amount: wei, payment_token: token } = prices[one.subscription] || {}
			return one.state === 'delivered' && wei && !Number(token) ? { ...one, paid: wei } : one
		})
	}

	const look = () => { if (known) fill(about, summary(known)) }
	function draw(list) {
		price()
		look()
		for (const each of lists) each.table.draw(each.items)
		list.foot.hidden = !list.next || list.items.length >= MOST
		fill(list.foot, el('span', count(list.items.length, 'row')), action('Show older', () => more(list)))
		return list.items.length ? list.table.node : el('p.empty', list.empty)
	}
	const page = (list, more = '') => get(`api/chain/${list.path}?limit=50${list.path === 'subscriptions' && wanted ? `&state=${wanted}` : ''}${more}`)
	async function more(list) {
		const found = await page(list, `&before=${part(list.next)}`)
		list.items.push(...found.items)
		list.next = found.next
		draw(list)
	}
	function load() {
		wanted = ['served', 'skipped'].find((each) => each === query.get('show')) || ''
		fill(filters, segments([['', 'All'], ['served', 'Served'], ['skipped', 'Skipped']], wanted, (key) => `#/chain?show=${key}`))
		show(about, 'the chain', async () => { known = await get('api/chain') }, () => summary(known))
		for (const list of lists) show(list.body, `the ${list.path}`, async () => Object.assign(list, await page(list)), () => draw(list))
	}
	load()
	const timer = setInterval(look, 5000) // no event says that no block comes
	let soon = 0
	const off = on('chain restarted', (event) => {
		if (!event || !isHead(event.changed)) soon ||= setTimeout(() => { soon = 0; load() }, SOON)
		else if (known) known = { ...known, ...node.overview.chain, rpc: known.rpc }
		look()
	})
	return {
		update(_, following) {
			query = following
			load()
		},
		end() {
			off()
			clearInterval(timer)
		},
	}
}
