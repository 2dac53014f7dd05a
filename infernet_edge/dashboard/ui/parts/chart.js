import { clock, el, fill, number, span } from '../dom.js'

const [LEFT, HEIGHT, LOW, MINUTE] = [52, 150, 96, 60000]

function scale(value, least) {
	const power = 10 ** Math.floor(Math.log10(value))
	const step = Math.max(least, [0.5, 1, 2, 5].map((part) => part * power).find((one) => one * 3 >= value))
	return { step, top: step * Math.ceil(value / step) }
}
const svg = (width, height, ...children) => el('svg', { width, height, viewBox: `0 0 ${width} ${height}`, 'aria-hidden': 'true' }, children)
const text = (x, y, anchor, label) => el('text', { x, y, 'text-anchor': anchor }, label)
const gridLine = (y, width, label) => [el('path.grid', { d: `M${LEFT} ${y.toFixed(1)}H${width}` }), text(LEFT - 6, y + 4, 'end', label)]

export function drawHistory(place, { done, failed, p50_ms: typical, end, step_s: seconds }) {
	const step = seconds * 1000
	const start = end - done.length * step
	const sum = (list) => number(list.reduce((a, b) => a + b, 0))
	const [most, worst, slowest] = [done, failed, typical].map((list) => Math.max(...list))
	const plot = (label) => el('div.plot', { role: 'img', label })
	const bars = plot(`${sum(done)} jobs done, ${sum(failed)} failed in the last hour; most in a minute: ${number(most)}`)
	const times = plot(`Typical time of a job, by minute: at most ${span(slowest)}`)
	let width = 0

	function draw() {
		if (width === bars.clientWidth || !bars.clientWidth) return
		width = bars.clientWidth
		const wide = (width - LEFT) / done.length
		const x = (at) => LEFT + at * wide
		const { step: grid, top } = scale(Math.max(most, 1), 1)
		const below = worst && Math.min(40, Math.max(10, (HEIGHT * worst) / (top + worst)))
		const zero = HEIGHT - below - 4
		const y = (n) => zero - (n > 0 ? (n * (zero - 10)) / top : (n * below) / (worst || 1))
		const bar = (n, at) => (n ? `M${(x(at) + wide * 0.15).toFixed(1)} ${zero}h${(wide * 0.7).toFixed(1)}V${y(n).toFixed(1)}h${(-wide * 0.7).toFixed(1)}z` : '')
		fill(bars, svg(width, HEIGHT, Array.from({ length: top / grid + 1 }, (_, n) => gridLine(y(n * grid), width, number(n * grid))),
			el('path.done', { d: done.map(bar).join('') }), el('path.failed', { d: failed.map((n, at) => bar(-n, at)).join('') })))

		const { top: high } = scale(Math.max(slowest, 1), 1)
		const floor = LOW - 20
		const py = (ms) => (floor - (ms * (floor - 10)) / high).toFixed(1)
		let [curve, area] = ['', '']
		typical.forEach((ms, at) => {
			if (ms == null) return
			const point = `${x(at + 0.5).toFixed(1)} ${py(ms)}`
			const goesOn = typical[at - 1] != null
			curve += `${goesOn ? 'L' : 'M'}${point}h.1`
			area += `${goesOn ? 'L' : `M${x(at + 0.5).toFixed(1)} ${floor}L`}${point}${typical[at + 1] == null ? `V${floor}` : ''}`
		})
		const every = (width < 420 ? 15 : 10) * MINUTE
		const marks = []
		for (let ms = Math.ceil(start / every) * every; x((ms - start) / step) < width - 28; ms += every) marks.push(text(x((ms - start) / step), LOW - 4, 'middle', clock(ms)))
		fill(times, svg(width, LOW, [0, high / 2, high].map((ms) => gridLine(Number(py(ms)), width, high < 1000 ? `${Number(ms.toFixed(1))} ms` : `${Number((ms / 1000).toFixed(2))} s`)), el('path.area', { d: area }), el('path.curve', { d: curve }), marks))
	}

	const table = el('details', { ontoggle: () => {
		if (table.childElementCount > 1) return
		const rows = done.map((n, at) => [clock(start + at * step), n, failed[at], span(typical[at])]).filter(([, n, bad]) => n || bad).reverse()
		table.append(el('table.small', el('tr', ['Minute', 'Done', 'Failed', 'Typical time'].map((title) => el('th', { scope: 'col' }, title))), rows.map((row) => el('tr', row.map((cell) => el('td', cell))))))
	} }, el('summary.muted', 'Show as table'))
	place.replaceChildren(bars, el('h3', 'Typical time'), times, table)
	draw()
	const watch = new ResizeObserver(() => (bars.isConnected ? draw() : watch.disconnect()))
	watch.observe(place)
}
