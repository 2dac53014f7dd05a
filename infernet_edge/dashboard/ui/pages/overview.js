import { keep, part } from '../api.js'
import { button, bytes, card, clockDifference, count, el, ether, fill, icon, line, names, note, now, number, sign, span, time } from '../dom.js'
import { isStale, load, node, on } from '../live.js'
import { chip, growing, may, pageHead, verdict } from '../parts/chip.js'

export default function overview(main) {
	const title = el('span')
	const shape = el('span.sign')
	const under = el('p.under')
	const tiles = el('div.tiles')
	const chart = el('div.body.chart')
	const [needs, containers, failures, phone] = ['div', 'div', 'div', 'div'].map((tag) => el(tag))
	const rest = el('div.two', card('Jobs in the last hour', el('span.legend', el('i.done'), 'done ', el('i.failed'), 'failed ↓'), chart),
		card('Containers', el('a', { href: '#/containers' }, 'All'), containers), card('Last failures', el('a', { href: '#/jobs?state=failed' }, 'All failed jobs'), failures), phone)
	main.append(el('div.verdict', shape, el('div', pageHead(title), under)), needs, tiles, rest)
	let drawn = ''

	function draw() {
		const [kind, sentence] = verdict()
		fill(shape, icon(kind, kind))
		fill(title, sentence)
		const all = node.overview
		fill(under, summary(all))
		fill(needs, clock(), all.attention.map(attention))
		fill(tiles, tilesOf(all))
		fill(containers, all.containers.length ? all.containers.slice(0, 8).map(container) : noContainers())
		fill(failures, all.failures.length ? all.failures.map(failure) : el('p.row.muted', 'No job failed lately.'))
		fill(phone, all.node.urls[0] && card('Open on your phone', null, el('div.body', all.node.urls.map((url) => el('p', el('a', { href: url }, url))), note('In the same Wi-Fi. It asks for a token where the node needs one.'))))
		drawChart(all)
	}

	async function drawChart({ history, failures: past, jobs, containers: known }) {
		const isEmpty = !history.done.some(Boolean) && !history.failed.some(Boolean)
		const state = isEmpty ? 'empty' : JSON.stringify(history)
		if (state === drawn) return
		drawn = state
		if (!isEmpty) return (await import('../parts/chart.js')).drawHistory(chart, history)
		const never = !past.length && !jobs.running && !jobs.waiting
		fill(chart, el('p.empty', never ? 'No jobs yet. ' : 'No job ended in the last hour. ', known.length > 0 && el('a.button', { href: '#/try' }, 'Try it')))
	}

	draw()
	return { end: on('load state jobs', draw) }
}

function summary({ jobs: { running, waiting }, intake, started_at: started }) {
	return [intake.open ? 'Taking jobs. ' : '', running + waiting ? `${number(running)} ${running === 1 ? 'is' : 'are'} running and ${number(waiting)} wait${waiting === 1 ? 's' : ''}. ` : 'None is running. ', isStale() ? '' : `Up ${span(now() - started)}.`]
}

function clock() {
	const difference = clockDifference()
	const much = span(Math.abs(difference))
	return Math.abs(difference) < 120000 ? null : attention({ id: 'clock', level: 'warning', title: `The clocks differ by ${much}`, text: `This browser is ${difference > 0 ? 'ahead of' : 'behind'} the node. All times here are the node's.`, fix: 'set the clock that is wrong.' })
}

const ACTIONS = { restart: 'Start now', pull: 'Pull its image', log: 'Show its log', renew_token: 'Show the tokens' }
const LINKS = { log: (id) => `#/containers/${part(id)}`, renew_token: () => '#/settings?tab=access' }

async function press(pressed, id, name) {
	const [{ act }, { attempt }] = await Promise.all([import('./container.js'), import('../parts/toast.js')])
	attempt(pressed, () => act(id, name))
}

function attention(one) {
	const kind = one.level === 'problem' ? 'bad' : 'warn'
	const actions = (one.actions || []).filter((name) => ACTIONS[name] && may('operator')).map((name) => (LINKS[name] ? el('a.button', { href: LINKS[name](one.container) }, ACTIONS[name])
		: button(ACTIONS[name], (event) => press(event.currentTarget, one.container, name))))
	const hide = one.id.startsWith('access.') && button('Hide', () => { keep(`hide.${one.id}`, true); load() })
	return el(`section.attention.${kind}`, { 'data-id': one.id }, icon(kind, kind),
		el('div.text', el('h2', el('span.quiet', kind === 'bad' ? 'Problem: ' : 'Warning: '), one.title), el('p', one.text),
			(one.fix || one.command) && el('p', el('b', 'Fix: '), one.fix, ' ', one.command && command(one.command))), el('div.buttons', actions, hide))
}
const command = (text) => el('span.command', el('code', text), sign('copy', 'Copy the command', async () => (await import('../parts/toast.js')).copy(text)))

function tile(label, value, under, share = null, high = 0.9) {
	const bar = el('i')
	if (share != null) bar.style.width = `${Math.min(100, Math.max(2, 100 * share)).toFixed(0)}%`
	return el('div.tile', el('h2', label), el('strong.v', value), el('p', under), share != null && el(`div.meter${share > high ? '.warn' : ''}`, bar))
}

function tilesOf({ machine: m, chain, jobs: { running, waiting, hour } }) {
	return [
		tile('Running', number(running), `${number(waiting)} more wait${waiting === 1 ? 's' : ''}`),
		tile('Done, last hour', number(hour.done), hour.failed ? `${number(hour.failed)} failed` : 'none failed'),
		tile('Typical time', span(hour.p50_ms), hour.p95_ms == null ? 'no job yet' : `1 in 20 over ${span(hour.p95_ms)}`),
		m.disk_size && tile('Disk free', bytes(m.disk_free), m.disk_days_left == null ? `of ${bytes(m.disk_size)}` : `At today's pace for about ${count(Math.floor(m.disk_days_left), 'more day')}`, 1 - m.disk_free / m.disk_size),
		m.memory_size && tile('Memory used', bytes(m.memory_used), `of ${bytes(m.memory_size)}`, m.memory_used / m.memory_size),
		m.temperature_c != null && tile('Temperature', `${Math.round(m.temperature_c)} °C`, m.throttled ? 'Slowed down by heat' : 'slows at 80 °C', m.temperature_c / 85, m.throttled ? 0 : 1),
		chain && el('a', { href: '#/chain' }, tile('Chain', chain.head_at ? growing(chain.head_at) : 'no head', `head age · ${ether(chain.balance, 3)}`)),
	]
}

export function doing(one) {
	if (one.pull) return `pulling its image: ${one.pull.of ? `${Math.floor((100 * one.pull.bytes) / one.pull.of)} % of ${bytes(one.pull.of)}` : bytes(one.pull.bytes)}`
	if (one.state === 'elsewhere' && one.url) return `Runs at ${one.url}`
	const { slots, hour } = one
	return one.reason || [slots && `${slots.used} of ${count(slots.of, 'slot')}`, one.cpu_percent != null && `CPU ${Math.round(one.cpu_percent)} %`, one.memory != null && bytes(one.memory),
		!slots && hour && (hour.done || hour.failed ? `${number(hour.done)} done${hour.failed ? `, ${number(hour.failed)} failed` : ''} in the last hour` : 'no job in the last hour')].filter(Boolean).join(' · ')
}
const container = (one) => el('a.row', { href: `#/containers/${part(one.id)}` }, el('b', one.id), chip(one.state), line(doing(one)))
const failure = (job) => el('a.row', { href: `#/jobs/${part(job.id)}` }, el('b', names(job.containers)), el('small', time(job.finished_at || job.created_at)), line(job.error))

export const noContainers = () => el('div.none', el('p', 'No containers yet. A node runs jobs in containers. Add one to config.toml:'), el('pre', '[[containers]]\nid = "hello"\nimage = "docker.io/USER/IMAGE:TAG"'),
	el('p', 'then ', el('code', 'infernet-edge reload'), '. ', el('code', 'infernet-edge help containers'), ' explains all options.'))
